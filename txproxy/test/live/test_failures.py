"""Failures: each with its status and reason, the backends' and the clients' own."""

from __future__ import annotations

import pytest

from .helpers import get
from .judge import JudgedRequest
from .peers import (
    Backend,
    BackendConnection,
    Client,
    ProxyProcess,
    close_without_reply,
    config_for,
    http_reply,
    never,
    raw,
    unused_port,
    wait_for,
)
from .replies import NotHttp, Reply


def one_line_of(reply: Reply, proxy: ProxyProcess) -> str:
    """Check what every reply of our own is like, and return its end reason."""
    assert reply.value("Content-Type") == "text/plain; charset=utf-8"
    assert reply.value("Server") == "txproxy"
    assert reply.value("Date")
    line = proxy.access_lines(1)[-1]
    assert line["request_id"].encode() in reply.body
    assert reply.value("X-Request-Id") == line["request_id"]
    told = reply.body.decode().lower()
    assert "127.0.0.1" not in told and "traceback" not in told and "/" not in told
    reason: str = line["end"]
    return reason


def test_a_refused_connection_is_502() -> None:
    """R13, D6: one dead backend: 502 with reason connect-failed."""
    with ProxyProcess(config_for(f"127.0.0.1:{unused_port()}")) as proxy:
        reply = get(proxy.port)
        assert (reply.status, one_line_of(reply, proxy)) == (502, "connect-failed")


def test_a_missing_unix_socket_is_502() -> None:
    """R13: the same for a unix socket that is not there."""
    with ProxyProcess(config_for("unix:/nonexistent/backend.sock")) as proxy:
        reply = get(proxy.port)
        assert (reply.status, one_line_of(reply, proxy)) == (502, "connect-failed")


def test_an_unknown_name_is_503_with_retry_after() -> None:
    """R13: a name that nobody knows leads to no backend."""
    with ProxyProcess(config_for("nobody.invalid:80")) as proxy:
        reply = get(proxy.port)
        assert (reply.status, one_line_of(reply, proxy)) == (503, "no-backend")
        assert reply.value("Retry-After")


def test_no_place_is_503_with_retry_after() -> None:
    """R13: pool and queue full: 503 with Retry-After and reason queue-full."""
    with (
        Backend(never()) as backend,
        ProxyProcess(
            config_for(backend.address, cluster='pool.max_connections = 1\npool.when_full = "refuse"')
        ) as proxy,
        Client(proxy.port) as held,
    ):
        held.send(b"GET /held HTTP/1.1\r\nHost: a\r\n\r\n")
        backend.wait_for_requests(1)
        reply = get(proxy.port)
        assert int(reply.value("Retry-After") or 0) >= 1
        assert (reply.status, one_line_of(reply, proxy)) == (503, "queue-full")


def test_no_reply_in_time_is_504() -> None:
    """R13: 504 with reason reply-timeout."""
    with (
        Backend(never()) as backend,
        ProxyProcess(config_for(backend.address, cluster="timeouts.first_byte_s = 1")) as proxy,
    ):
        reply = get(proxy.port)
        assert (reply.status, one_line_of(reply, proxy)) == (504, "reply-timeout")


def test_bad_framing_of_a_backend_is_502() -> None:
    """R13: 502 with reason bad-reply."""
    bad = raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\nok!")
    with Backend(bad) as backend, ProxyProcess(config_for(backend.address)) as proxy:
        reply = get(proxy.port)
        assert (reply.status, one_line_of(reply, proxy)) == (502, "bad-reply")


def test_a_backend_that_closes_instead_of_replying() -> None:
    """R2: a POST whose backend closes is 502 and was sent once; it is not known whether it acted."""
    with Backend(close_without_reply()) as backend, ProxyProcess(config_for(backend.address)) as proxy:
        reply = get(proxy.port, method="POST", body=b"pay")
        assert (reply.status, one_line_of(reply, proxy)) == (502, "bad-reply")
        assert len(backend.requests) == 1


def test_dead_backends_are_passed_over() -> None:
    """R1: with one of two backends dead all clients get their reply from the other, of any method."""
    with Backend() as backend, ProxyProcess(config_for(f"127.0.0.1:{unused_port()}", backend.address)) as proxy:
        for number in range(10):
            assert get(proxy.port, f"/{number}", method="POST", body=b"abc").body == b"abc"
        lines = proxy.access_lines(10)
    assert {line["backend"].split(",")[-1] for line in lines} == {backend.address}
    assert sum(line["tries"] for line in lines) > 10
    assert max(line["tries"] for line in lines) == 2


def test_all_dead_is_502() -> None:
    """D6: when no backend is left the last failure decides."""
    with ProxyProcess(config_for(f"127.0.0.1:{unused_port()}", f"127.0.0.1:{unused_port()}")) as proxy:
        reply = get(proxy.port)
        assert (reply.status, one_line_of(reply, proxy)) == (502, "connect-failed")
        assert proxy.access_lines(1)[0]["tries"] == 2


def test_a_backend_may_come_back() -> None:
    """D6: stopped, 502; back on its port, served again with no restart."""
    with Backend() as first:
        port = first.port
        with ProxyProcess(config_for(first.address)) as proxy, Client(proxy.port) as client:
            assert client.request().status == 200
            first.stop()
            wait_for(lambda: not first.open_connections, "the connections of the stopped backend to end")
            assert client.request().status == 502
            assert client.request().status == 502
            with Backend(port=port):
                assert client.request().status == 200
            assert [line["end"] for line in proxy.access_lines(4)] == ["ok", "connect-failed", "connect-failed", "ok"]


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("framing", ["Content-Length: 100\r\n", "Transfer-Encoding: chunked\r\n"])
def test_a_reply_that_is_cut_looks_cut(how: str, framing: str) -> None:
    """R13: a backend that ends in mid-body ends the client's connection, never a short body that looks whole."""
    part = b"5\r\nabcde\r\n" if "chunked" in framing else b"abcde"

    def answer(connection: BackendConnection, request: JudgedRequest) -> None:
        connection.send(f"HTTP/1.1 200 OK\r\n{framing}\r\n".encode() + part)
        if how == "close":
            connection.close()
        else:
            connection.reset()

    with Backend(answer) as backend, ProxyProcess(config_for(backend.address)) as proxy:
        with Client(proxy.port) as client:
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert client.read_until_closed()
            try:
                replies = client.exchanged().replies
            except NotHttp:
                replies = []
            assert all(not reply.complete or reply.status == 502 for reply in replies)
        (line,) = proxy.access_lines(1)
        assert line["end"] in (("reply-cut",) if how == "close" else ("reply-cut", "bad-reply"))


@pytest.mark.parametrize("how", ["close", "reset", "half-close"])
def test_a_client_that_leaves_frees_the_backend(how: str) -> None:
    """HF20: the client leaves while the backend works: its connection is closed at once, and 499 is logged."""
    with Backend(never()) as backend, ProxyProcess(config_for(backend.address)) as proxy, Client(proxy.port) as client:
        client.send(b"POST /work HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")
        backend.wait_for_requests(1)
        {"close": client.close, "reset": client.reset, "half-close": client.half_close}[how]()
        # Far sooner than any timeout of the configuration could do it.
        assert backend.connections[0].gone.wait(20)
        (line,) = proxy.access_lines(1)
    assert (line["status"], line["end"], line["bytes_in"], line["bytes_out"]) == (499, "client-left", 3, 0)


def test_a_client_that_leaves_in_the_reply_frees_the_backend() -> None:
    """HF20: the same within a reply; the line has the bytes so far."""

    def answer(connection: BackendConnection, request: JudgedRequest) -> None:
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + b"x" * 30)

    with Backend(answer) as backend, ProxyProcess(config_for(backend.address)) as proxy, Client(proxy.port) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.read_until(lambda: client.received.endswith(b"x" * 30))
        client.close()
        assert backend.connections[0].gone.wait(20)
        (line,) = proxy.access_lines(1)
    assert (line["end"], line["bytes_out"]) == ("client-left", 30)
    assert line["status"] in (200, 499)


def test_a_client_that_leaves_in_its_body_frees_the_backend() -> None:
    """HF20: a client that goes in the middle of its upload leaves no complete request upstream."""
    with Backend() as backend, ProxyProcess(config_for(backend.address)) as proxy, Client(proxy.port) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        wait_for(lambda: backend.connections and b"abc" in backend.connections[0].received, "the first chunk")
        client.close()
        assert backend.connections[0].gone.wait(20)
        (line,) = proxy.access_lines(1)
    assert line["end"] in ("client-left", "bad-body")
    assert backend.requests == []


def test_an_early_reply_to_an_upload() -> None:
    """A backend that answers before the body has ended: the client gets that reply, and no other request mixes in."""

    def refuse(connection: BackendConnection, request: JudgedRequest) -> None:
        if request.target == b"/upload":
            connection.send(http_reply(403, b"no", "Connection: close\r\n", "Forbidden"))
            connection.close()

    with Backend(on_head=refuse) as backend, ProxyProcess(config_for(backend.address)) as proxy:
        backend.on_request = lambda connection, request: connection.send(http_reply(body=b"ok"))
        with Client(proxy.port) as client:
            client.send(b"PUT /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\n" + b"x" * 100_000)
            assert client.reply("PUT").status == 403
        assert get(proxy.port, "/after").body == b"ok"
