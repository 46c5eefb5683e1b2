"""gRPC by grpcio through the proxy: to a server that speaks HTTP/2 end to end, and what an HTTP/1.1 backend gets."""

from __future__ import annotations

import hashlib
import random
import struct
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from .client import DEADLINE_S, wait_for
from .grpc_judge import SERVICE, TOGETHER, Caller, JudgeServer, Messages, grpc
from .helpers import MIB, settled
from .http2_front import cluster, connect, section
from .judge import JudgedRequest
from .peers import Backend, BackendConnection, ProxyProcess, by_target, config_for, raw, unused_port
from .tls_front import Front, front, listener
from .tls_identities import Issuer

BOTH = pytest.mark.parametrize("scheme", ["https", "http"])


def message(data: bytes) -> bytes:
    """Return a message as it stands in a body."""
    return struct.pack(">BI", 0, len(data)) + data


def _old(connection: BackendConnection, request: JudgedRequest) -> None:
    """Answer as a server of gRPC would if it spoke HTTP/1.1."""
    body = message(b"old: " + request.body[5:])
    connection.send(
        b"HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\nTransfer-Encoding: chunked\r\nTrailer: grpc-status\r\n\r\n"
        b"%x\r\n%b\r\n0\r\ngrpc-status: 0\r\ngrpc-message: fine\r\nx-sum: %d\r\n\r\n" % (len(body), body, len(body))
    )


_REFUSED = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\nContent-Length: 0\r\n"
    b"grpc-status: 9\r\ngrpc-message: not %C3%A4gain\r\n\r\n"
)
_CUT = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n"
    + message(b"one")
    + b"\r\n"
)


class Shop(NamedTuple):
    """A proxy between clients and a server of gRPC."""

    front: Front
    server: JudgeServer

    def line(self, method: str, holds: Callable[[dict[str, Any]], object] = bool) -> dict[str, Any]:
        """Wait for a call's line in the access log, of which something holds, and return the last one."""
        target = f"/{SERVICE}/{method}"

        def found() -> list[dict[str, Any]]:
            return [line for line in self.front.proxy.access_lines() if line["target"] == target and holds(line)]

        wait_for(found, f"the line of {target}")
        return found()[-1]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """Listeners with TLS and without; a server of gRPC, an HTTP/1.1 backend, and one that is not there."""
    directory = tmp_path_factory.mktemp("grpc")
    root = Issuer()
    leaf = root.leaf("a.example")
    handlers = {"/old.Judge/Cut": raw(_CUT, then_close=True), "/old.Judge/Refuse": raw(_REFUSED)}
    with JudgeServer() as server, Backend(by_target(handlers, _old)) as backend:
        config = front(
            backend.address,
            cluster("grpc", server.address, f"/{SERVICE}/", 'protocol = "h2"'),
            cluster("gone", f"127.0.0.1:{unused_port()}", "/gone.Judge/", 'protocol = "h2"'),
            listener("https", 'tls = "main"'),
            listener("http"),
            section("main", [leaf.save(directory, "a")]),
        )
        with ProxyProcess(config) as proxy:
            yield Shop(Front(proxy, backend, root, {"a": leaf}, directory), server)
            assert backend.violations == []


# Calls of each kind


@BOTH
def test_one_message_each_way(shop: Shop, scheme: str) -> None:
    """Metadata both ways, twice the same name, and bytes of any value; the fields of a proxy on the way."""
    sent = (("key", "v1"), ("key", "v 2"), ("blob-bin", bytes(range(256))), ("blob-bin", b""), ("x-percent", "%25"))
    with Caller(shop.front, scheme) as caller:
        answer, call = caller.one("Echo").with_call(b"content", metadata=sent, timeout=DEADLINE_S)
        assert (answer, call.code(), call.details()) == (b"content", grpc.StatusCode.OK, "")
        first, last = list(call.initial_metadata()), list(call.trailing_metadata())
        assert ("first", "1") in first and ("first-bin", bytes(range(256))) in first, first
        assert ("via", "2.0 txproxy") in first, first
        assert last == [("last", "2"), ("last", "3"), ("last-bin", b"\x00\xff,\x00")]
        assert caller.one("Echo")(b"", timeout=DEADLINE_S) == b""
        caller.one("Echo")(b"", metadata=sent, timeout=DEADLINE_S)
    got: dict[str, list[Any]] = {}
    for name, value in shop.server.metadata:
        got.setdefault(name, []).append(value)
    assert (got["key"], got["blob-bin"], got["x-percent"]) == (["v1", "v 2"], [bytes(range(256)), b""], ["%25"])
    assert (got["via"], got["x-forwarded-for"], got["x-forwarded-proto"]) == (["2.0 txproxy"], ["127.0.0.1"], [scheme])
    assert got["user-agent"][0].startswith("grpc-python")
    line = shop.line("Echo", lambda line: (line["bytes_in"], line["bytes_out"]) == (5, 5))
    assert (line["version"], line["status"], line["end"], line["method"]) == ("2.0", 200, "ok", "POST")


@BOTH
def test_failures_are_told(shop: Shop, scheme: str) -> None:
    """Status, details of any letters and metadata of a call that fails at once, or after some messages."""
    with Caller(shop.front, scheme) as caller:
        with pytest.raises(grpc.RpcError) as caught:
            caller.one("Fail")("schön 100 % ☃".encode(), timeout=DEADLINE_S)
        assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert caught.value.details() == "schön 100 % ☃"
        assert ("reason", "none") in list(caught.value.trailing_metadata())
        call = caller.many("Break")(b"", timeout=DEADLINE_S)
        got: list[bytes] = []
        with pytest.raises(grpc.RpcError):
            got.extend(call)
            got.append(b"a clean end")
        with pytest.raises(grpc.RpcError):
            for each in caller.many("Break")(b"", timeout=DEADLINE_S):
                got.append(each)
        assert got == [b"1", b"2", b"3"] or got == [b"1", b"2", b"3"] * 2
        assert (call.code(), call.details()) == (grpc.StatusCode.DATA_LOSS, "after three")
        assert ("reason", "broken") in list(call.trailing_metadata())
        with pytest.raises(grpc.RpcError) as caught:
            caller.one("Unknown")(b"", timeout=DEADLINE_S)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert shop.line("Break")["end"] == "ok"


@BOTH
def test_many_messages_back(shop: Shop, scheme: str) -> None:
    """Each message arrives while the server waits to send the next."""
    with Caller(shop.front, scheme) as caller:
        call = caller.many("Step")(b"50", timeout=DEADLINE_S)
        for number in range(50):
            shop.server.go_on.release()
            assert next(call) == b"%d" % number
        assert list(call) == [] and call.code() is grpc.StatusCode.OK


@BOTH
def test_many_messages_there(shop: Shop, scheme: str) -> None:
    """Messages of all sizes, then one answer."""
    chosen = random.Random(7)
    messages = [chosen.randbytes(chosen.choice((0, 1, 100, 16_379, 16_384, 70_000))) for _ in range(200)]
    digest = hashlib.sha256(b"".join(messages)).hexdigest().encode()
    with Caller(shop.front, scheme) as caller:
        assert caller.from_many("Digest")(iter(messages), timeout=DEADLINE_S) == b"200 " + digest
        assert caller.from_many("Digest")(iter(()), timeout=DEADLINE_S).startswith(b"0 ")


@BOTH
def test_both_ways_at_once(shop: Shop, scheme: str) -> None:
    """A dialogue: each message waits for the answer to the one before; and a server that goes on after our end."""
    with Caller(shop.front, scheme) as caller:
        messages = Messages()
        call = caller.both("Chat")(iter(messages), timeout=DEADLINE_S)
        for number in range(200):
            messages.put(b"%d" % number)
            assert next(call) == b"re: %d" % number
        messages.put(None)
        assert list(call) == [] and call.code() is grpc.StatusCode.OK
        messages = Messages()
        call = caller.both("After")(iter(messages), timeout=DEADLINE_S)
        assert next(call) == b"hello", "the server speaks first"
        for number in range(5):
            messages.put(b"%d" % number)
        messages.put(None)
        assert list(call) == [b"4", b"3", b"2", b"1", b"0"]


@BOTH
def test_large_messages(shop: Shop, scheme: str) -> None:
    """8 MiB each way, in one message and in a stream; and compressed by gRPC itself."""
    large = random.Random(8).randbytes(8 * MIB)
    with Caller(shop.front, scheme) as caller:
        assert caller.one("Echo")(large, timeout=DEADLINE_S) == large
        parts = [large[start : start + MIB] for start in range(0, len(large), MIB)]
        assert list(caller.both("Chat")(iter(parts), timeout=DEADLINE_S)) == [b"re: " + part for part in parts]
        zeros = bytes(MIB)
        assert caller.one("Echo")(zeros, timeout=DEADLINE_S, compression=grpc.Compression.Gzip) == zeros
    assert shop.line("Echo", lambda line: MIB // 1000 < line["bytes_in"] < 10_000), "compressed on the way too"


# Ends before the end


@BOTH
def test_a_deadline(shop: Shop, scheme: str) -> None:
    """The server is told how long the client will wait; the client gives up then, and the server's work ends."""
    with Caller(shop.front, scheme) as caller, pytest.raises(grpc.RpcError) as caught:
        caller.one("Wait")(b"deadline", timeout=0.5)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert shop.server.begun.get(timeout=DEADLINE_S) == shop.server.ended.get(timeout=DEADLINE_S) == "deadline"
    assert shop.server.remaining_s is not None and 0 < shop.server.remaining_s < 0.7


@BOTH
@pytest.mark.parametrize("how", ["unary", "stream", "channel"])
def test_a_cancel(shop: Shop, scheme: str, how: str) -> None:
    """HF20: whatever a client cancels, before the reply or within it, ends at the server too; logged as 499."""
    with Caller(shop.front, scheme) as caller:
        other = caller.both("Chat")
        if how == "stream":
            call = caller.many("Endless")(how.encode())
            assert next(call) == b"first"
        else:
            call = caller.one("Wait").future(how.encode())
        assert shop.server.begun.get(timeout=DEADLINE_S) == how
        if how == "channel":
            caller.channel.close()
        else:
            call.cancel()
            assert list(other(iter((b"x",)), timeout=DEADLINE_S)) == [b"re: x"], "the connection goes on"
        assert shop.server.ended.get(timeout=DEADLINE_S) == how
    left = shop.line("Endless" if how == "stream" else "Wait", lambda line: line["end"] == "client-left")
    assert left["bytes_out"] == (10 if how == "stream" else 0)
    assert left["status"] in ((200, 499) if how == "stream" else (499,))


def test_a_backend_that_is_not_there(shop: Shop) -> None:
    """A call whose backend refuses is UNAVAILABLE, which clients try again."""
    with Caller(shop.front, "https", "gone.Judge") as caller, pytest.raises(grpc.RpcError) as caught:
        caller.one("Echo")(b"", timeout=DEADLINE_S)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


# Many calls


@BOTH
def test_a_hundred_calls_together(shop: Shop, scheme: str) -> None:
    """A hundred calls on one connection, none of which ends before all have begun."""
    with Caller(shop.front, scheme) as caller:
        calls = [caller.one("Meet").future(b"%d" % number, timeout=DEADLINE_S) for number in range(TOGETHER)]
        assert [call.result() for call in calls] == [b"%d" % number for number in range(TOGETHER)]


def test_more_calls_than_streams(shop: Shop) -> None:
    """Whatever is over the limit of streams waits at the client; each call gets its own answer."""
    chosen = random.Random(11)
    messages = [b"%d " % number + chosen.randbytes(chosen.randrange(50_000)) for number in range(400)]
    with Caller(shop.front, "https") as caller:
        calls = [caller.one("Echo").future(each, timeout=DEADLINE_S) for each in messages]
        assert [call.result() for call in calls] == messages


@BOTH
def test_a_call_that_is_not_read_stalls_no_other(shop: Shop, scheme: str) -> None:
    """H4 end to end: the server of an unread call is stopped; others go on over the same connections; then all comes."""
    count = 1024
    with Caller(shop.front, scheme) as caller:
        shop.server.sent = 0
        memory = shop.front.proxy.rss_bytes()
        call = caller.many("Flood")(b"%d" % count)
        assert next(call)[:4] == bytes(4)
        held = settled(lambda: shop.server.sent)
        assert held < count // 2, f"{held} messages of 64 KiB for a call that nobody reads"
        assert shop.front.proxy.rss_bytes() - memory < 8 * MIB
        for number in range(20):
            assert caller.one("Echo")(b"%d" % number * 10_000, timeout=DEADLINE_S) == b"%d" % number * 10_000
        assert [each[:4] for each in call] == [number.to_bytes(4, "big") for number in range(1, count)]
        assert call.code() is grpc.StatusCode.OK


# Servers that end, and old ones


def test_a_server_that_restarts(shop: Shop) -> None:
    """Calls under way fail and never look complete; the next ones reach the server that came back on the same port."""
    with (
        JudgeServer() as server,
        ProxyProcess(config_for(server.address, cluster='protocol = "h2"')) as proxy,
        Caller(shop.front._replace(proxy=proxy), "web") as caller,
    ):
        assert caller.one("Echo")(b"before", timeout=DEADLINE_S) == b"before"
        call = caller.many("Endless")(b"cut")
        assert next(call) == b"first"
        server.stop()
        with pytest.raises(grpc.RpcError):
            next(call)
        with JudgeServer(server.port):
            assert caller.one("Echo")(b"after", timeout=DEADLINE_S, wait_for_ready=True) == b"after"


def test_a_server_that_ends_politely(shop: Shop) -> None:
    """A backend's GOAWAY: calls under way are finished on the old connection, new ones go elsewhere."""
    with (
        JudgeServer() as server,
        ProxyProcess(config_for(server.address, cluster='protocol = "h2"')) as proxy,
        Caller(shop.front._replace(proxy=proxy), "web") as caller,
    ):
        messages = Messages()
        call = caller.both("Chat")(iter(messages), timeout=DEADLINE_S)
        messages.put(b"1")
        assert next(call) == b"re: 1"
        ended = server.say_goodbye()
        with JudgeServer(server.port) as newer:

            def is_answered() -> bool:
                try:
                    return bool(caller.one("Echo")(b"new", timeout=DEADLINE_S) == b"new")
                except grpc.RpcError as error:
                    # What it is asked for before its GOAWAY has arrived this server cancels by itself.
                    assert error.code() is grpc.StatusCode.CANCELLED, error
                    return False

            wait_for(is_answered, "an answer of the new server")
            assert newer.metadata and not server.metadata
            messages.put(b"2")
            assert next(call) == b"re: 2"
            messages.put(None)
            assert list(call) == [] and call.code() is grpc.StatusCode.OK
            assert ended.wait(DEADLINE_S)


@BOTH
def test_what_an_old_backend_gets(shop: Shop, scheme: str) -> None:
    """An HTTP/1.1 backend gets the body and TE: trailers; its trailers are the call's status."""
    with Caller(shop.front, scheme, "old.Judge") as caller:
        answer, call = caller.one("Echo").with_call(b"content", metadata=(("key", "v"),), timeout=DEADLINE_S)
        assert (answer, call.code()) == (b"old: content", grpc.StatusCode.OK)
        assert list(call.trailing_metadata()) == [("x-sum", "17")]
        with pytest.raises(grpc.RpcError) as caught:
            caller.one("Refuse")(b"", timeout=DEADLINE_S)
        assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.FAILED_PRECONDITION, "not ägain")
        with pytest.raises(grpc.RpcError) as caught:
            list(caller.many("Cut")(b"", timeout=DEADLINE_S))
        assert caught.value.code() is not grpc.StatusCode.OK
    (request,) = [each for each in shop.front.backend.requests if each.target == b"/old.Judge/Echo"][-1:]
    assert (request.method, request.body, request.framing) == (b"POST", message(b"content"), "chunked")
    assert (request.value(b"te"), request.value(b"content-type"), request.value(b"key")) == (
        b"trailers", b"application/grpc", b"v"
    )  # fmt: skip
    assert request.value(b"host") == b"a.example" and request.value(b"via") == b"2.0 txproxy"


def test_trailers_of_a_request_reach_an_h2_backend(shop: Shop) -> None:
    """What no client of gRPC does but HTTP/2 can: trailers after the content, to a backend that ignores them."""
    grpc_fields = [(b"content-type", b"application/grpc"), (b"te", b"trailers")]
    with connect(shop.front, "https") as client:
        stream = client.open(f"/{SERVICE}/Echo", "POST", fields=grpc_fields, ended=False)
        client.send_body(stream, message(b"x"), ended=False)
        client.send_trailers(stream, [(b"x-last", b"1")])
        client.finish(stream)
        assert (stream.status, bytes(stream.body)) == (200, message(b"x"))
        assert (b"grpc-status", b"0") in stream.trailers
