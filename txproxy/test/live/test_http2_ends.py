"""How streams and connections of HTTP/2 end before they would: clients that leave, backends that are cut, and stops."""

from __future__ import annotations

import signal
import socket
import threading
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from .helpers import TXPROXY, Command
from .http2_client import CANCEL, GREATEST_ID, NO_ERROR, REFUSED_STREAM, Http2Client
from .judge import JudgedRequest
from .peers import DEADLINE_S, Backend, BackendConnection, ProxyProcess, config_for, http_reply, wait_for

FAR_SOONER_S = 20
"""Than any timeout of a configuration here could end anything."""


class Held:
    """A backend's handler that answers by path, and holds what is asked for under ``/half`` and ``/waiting``."""

    def __init__(self) -> None:
        self.go_on = threading.Event()

    def __call__(self, connection: BackendConnection, request: JudgedRequest) -> None:
        target = request.target.decode()
        if target.startswith("/never"):
            return
        if target.startswith("/part"):
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 60\r\n\r\n" + b"x" * 30)
            return
        if target.startswith("/waiting"):
            self.go_on.wait(DEADLINE_S)
        if target.startswith("/half"):
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 60\r\n\r\n" + b"x" * 30)
            self.go_on.wait(DEADLINE_S)
            connection.send(b"y" * 30)
        elif target.startswith("/cut/"):
            how, framing = target.split("/")[2:]
            head = "Content-Length: 100" if framing == "length" else "Transfer-Encoding: chunked"
            body = b"x" * 50 if framing == "length" else b"32\r\n" + b"x" * 50 + b"\r\n"
            connection.send(f"HTTP/1.1 200 OK\r\n{head}\r\n\r\n".encode() + body)
            self.go_on.wait(DEADLINE_S)
            connection.reset() if how == "reset" else connection.close()
        else:
            connection.send(http_reply(body=request.body))


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[Held, Backend, ProxyProcess]]:
    """A backend that holds some replies, and a proxy in front of it, for all tests here that stop no proxy."""
    held = Held()
    with Backend(held) as backend, ProxyProcess(config_for(backend.address)) as proxy:
        yield held, backend, proxy


@pytest.fixture
def held(served: tuple[Held, Backend, ProxyProcess]) -> Iterator[Held]:
    """What the backend does; it holds nothing yet."""
    one = served[0]
    one.go_on = threading.Event()
    yield one
    one.go_on.set()


@pytest.fixture
def backend(served: tuple[Held, Backend, ProxyProcess], held: Held) -> Backend:
    """The backend."""
    return served[1]


@pytest.fixture
def proxy(served: tuple[Held, Backend, ProxyProcess]) -> ProxyProcess:
    """The proxy."""
    return served[2]


@pytest.fixture
def tag() -> str:
    """An end of targets that no other test has."""
    return f"?{uuid.uuid4().hex}"


def connection_of(backend: Backend, target: str) -> BackendConnection:
    """Wait for a request, complete or not, and return its connection."""

    def found() -> list[BackendConnection]:
        return [one for one in list(backend.connections) if f" {target} HTTP".encode() in one.received]

    wait_for(found, f"{target} at the backend")
    return found()[0]


def line_of(proxy: ProxyProcess, target: str) -> dict[str, Any]:
    """Wait for the line of a target in the access log and return it."""

    def found() -> list[dict[str, Any]]:
        return [line for line in proxy.access_lines() if line["target"] == target]

    wait_for(found, f"the line of {target}")
    (line,) = found()
    return line


# Clients that leave


def begun(client: Http2Client, backend: Backend, tag: str) -> list[BackendConnection]:
    """Begin three requests: one that waits for its reply, one within its reply, one within its content."""
    client.open(f"/never{tag}", "POST", body=b"abc")
    part = client.open(f"/part{tag}")
    upload = client.open(f"/upload{tag}", "POST", ended=False)
    client.send_body(upload, b"12345", ended=False)
    assert client.pump(lambda: len(part.body) == 30)
    connections = [connection_of(backend, path + tag) for path in ("/never", "/part", "/upload")]
    wait_for(lambda: b"12345" in connections[2].received, "the content")
    return connections


def check_lines(proxy: ProxyProcess, tag: str) -> None:
    never, part, upload = (line_of(proxy, path + tag) for path in ("/never", "/part", "/upload"))
    assert (never["status"], never["end"], never["bytes_in"], never["bytes_out"]) == (499, "client-left", 3, 0)
    assert (part["end"], part["bytes_in"], part["bytes_out"]) == ("client-left", 0, 30)
    assert part["status"] in (200, 499)
    assert (upload["status"], upload["end"], upload["bytes_in"], upload["bytes_out"]) == (499, "client-left", 5, 0)
    assert {each["version"] for each in (never, part, upload)} == {"2.0"}


@pytest.mark.parametrize("code", [CANCEL, NO_ERROR])
def test_a_cancelled_stream_frees_its_backend(backend: Backend, proxy: ProxyProcess, tag: str, code: int) -> None:
    """HF20: RST_STREAM closes the backend's connection of that stream at once; the others go on; logged as 499."""
    with Http2Client(proxy.port) as client:
        connections = begun(client, backend, tag)
        for stream, connection in zip(list(client.streams.values()), connections, strict=True):
            client.cancel(stream, code)
            assert connection.gone.wait(FAR_SOONER_S), f"the backend still works for {stream}"
            assert client.request("/echo", "POST", body=b"others").body == b"others"
        check_lines(proxy, tag)
    assert f"/upload{tag}".encode() not in {request.target for request in backend.requests}


@pytest.mark.parametrize("how", ["close", "reset", "goaway"])
def test_a_client_that_leaves_frees_all_backends(backend: Backend, proxy: ProxyProcess, tag: str, how: str) -> None:
    """HF20: the end of a connection is the end of all its streams."""
    with Http2Client(proxy.port) as client:
        connections = begun(client, backend, tag)
        if how == "goaway":
            client.leave()
        client.abort() if how == "reset" else client.close()
        for connection in connections:
            assert connection.gone.wait(FAR_SOONER_S), f"the backend still works: {connection.requests}"
        check_lines(proxy, tag)
    assert f"/upload{tag}".encode() not in {request.target for request in backend.requests}


def test_a_client_that_says_goodbye_is_served(held: Held, proxy: ProxyProcess) -> None:
    """A client's GOAWAY ends nothing that is under way; the connection is closed after the last stream."""
    with Http2Client(proxy.port) as client:
        stream = client.open("/half")
        assert client.pump(lambda: stream.body)
        client.leave()
        held.go_on.set()
        client.finish(stream)
        assert bytes(stream.body) == b"x" * 30 + b"y" * 30
        assert client.pump_until_closed(FAR_SOONER_S)


def test_a_client_that_stops_sending_is_served(backend: Backend, held: Held, tag: str) -> None:
    """Q2: neither a stalled upload nor an unread reply is waited for for ever; other streams are not concerned."""
    limits = "body_timeout_s = 1\nwrite_timeout_s = 1"
    with (
        ProxyProcess(config_for(backend.address, listener=limits)) as strict,
        Http2Client(strict.port, window=10) as client,
    ):
        upload = client.open(f"/upload{tag}", "POST", ended=False)
        client.send_body(upload, b"12345", ended=False)
        unread = client.open("/echo", "POST", body=b"z" * 100, is_read=False)
        waiting = client.open("/waiting")
        client.finish(upload, unread)
        line = line_of(strict, f"/upload{tag}")
        assert (upload.status, line["status"], line["end"]) == (408, 408, "request-timeout"), line
        assert unread.reset is not None and not unread.ended and bytes(unread.body) == b"z" * 10
        assert connection_of(backend, f"/upload{tag}").gone.wait(FAR_SOONER_S)
        held.go_on.set()
        client.finish(waiting)
        assert waiting.status == 200 and client.request("/echo").status == 200


# Backends that are cut


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_cut_reply_never_ends_cleanly(held: Held, proxy: ProxyProcess, how: str, framing: str) -> None:
    """A backend that is cut in mid-body: RST_STREAM on that stream only, never END_STREAM; logged as reply-cut."""
    with Http2Client(proxy.port) as client:
        cut, other = client.open(f"/cut/{how}/{framing}"), client.open("/half")
        assert client.pump(lambda: len(cut.body) == 50 and len(other.body) == 30)
        held.go_on.set()
        client.finish(cut, other)
        assert cut.reset not in (None, NO_ERROR, REFUSED_STREAM) and not cut.ended
        assert (bytes(cut.body), other.ended, other.status) == (b"x" * 50, True, 200)
        assert client.request("/echo").status == 200
        line = line_of(proxy, f"/cut/{how}/{framing}")
    assert (line["end"], line["bytes_out"]) == ("reply-cut", 50)


# Stops


def refuses(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return True
    return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_open_streams_are_finished(backend: Backend, held: Held, tag: str, number: int) -> None:
    """H7: GOAWAY(2^31-1), then GOAWAY(last id); streams in flight end with 200, new ones are refused; exit 0."""
    with Command([*TXPROXY, "run", "-c", "p.toml"], {"p.toml": config_for(backend.address)}) as proxy:
        with Http2Client(proxy.port) as client, Http2Client(proxy.port) as idle, Http2Client(proxy.port) as silent:
            assert client.request("/first").status == idle.request("/first").status == 200
            waiting, half = client.open(f"/waiting{tag}"), client.open("/half")
            upload = client.open(f"/upload{tag}", "POST", ended=False)
            client.send_body(upload, b"123", ended=False)
            assert client.pump(lambda: half.body)
            late = silent.open(f"/waiting/silent{tag}")
            for path in ("/waiting", "/upload", "/waiting/silent"):
                connection_of(backend, path + tag)
            proxy.signal(number)
            assert client.pump(lambda: len(client.goaways) == 2)
            assert client.goaways == [(GREATEST_ID, NO_ERROR), (upload.id, NO_ERROR)]
            assert proxy.process.poll() is None and not client.closed
            wait_for(lambda: refuses(proxy.port), "the port to be closed")
            refused = client.open(f"/new{tag}")
            client.finish(refused)
            assert refused.reset == REFUSED_STREAM and not refused.status
            assert idle.pump_until_closed(FAR_SOONER_S), "an idle connection is kept"
            assert [code for _, code in idle.goaways] == [NO_ERROR] * len(idle.goaways) and idle.goaways
            # One that does not read learns of the stop with its reply, and what it asked meanwhile is served or refused.
            meanwhile = silent.open("/echo/meanwhile")
            held.go_on.set()
            client.send_body(upload, b"456")
            client.finish(waiting, half, upload)
            assert [stream.status for stream in (waiting, half, upload)] == [200, 200, 200]
            assert (bytes(half.body), bytes(upload.body)) == (b"x" * 30 + b"y" * 30, b"123456")
            silent.finish(late, meanwhile)
            assert late.status == 200 and (meanwhile.status == 200 or meanwhile.reset == REFUSED_STREAM)
            # Not only when shutdown_timeout_s is over.
            assert client.pump_until_closed(FAR_SOONER_S) and silent.pump_until_closed(FAR_SOONER_S)
        assert proxy.end(timeout_s=10) == 0
        assert "Traceback" not in proxy.text and "Unhandled" not in proxy.text
    assert f"/new{tag}".encode() not in {request.target for request in backend.requests}


def test_a_second_signal_cuts(backend: Backend, tag: str) -> None:
    """G5 on HTTP/2: a second signal ends what is under way at once, cleanly for nobody; exit 0."""
    with Command([*TXPROXY, "run", "-c", "p.toml"], {"p.toml": config_for(backend.address)}) as proxy:
        with Http2Client(proxy.port) as client:
            never, half = client.open(f"/never{tag}"), client.open("/half")
            assert client.pump(lambda: half.body)
            connection_of(backend, f"/never{tag}")
            proxy.signal(signal.SIGTERM)
            assert client.pump(lambda: len(client.goaways) == 2)
            proxy.signal(signal.SIGTERM)
            assert client.pump_until_closed(FAR_SOONER_S)
            assert not half.ended and (never.status == 503 or not never.ended)
        assert proxy.end() == 0
        assert "Traceback" not in proxy.text
