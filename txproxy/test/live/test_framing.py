"""Messages cut at every place, in every legal spelling; and what is none."""

from __future__ import annotations

import random
import time
from typing import Any

import pytest

from .helpers import at_once, get
from .judge import JudgedRequest
from .peers import Backend, BackendConnection, Client, ProxyProcess, config_for, raw, raw_exchange
from .test_forwarding import seen

REQUEST = (
    b"POST /split?a=b HTTP/1.1\r\nHost: a.example\r\nX-One: 1\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
    b'3\r\nabc\r\n00A;x="y"\r\n0123456789\r\n0\r\nX-Sum: 7\r\n\r\n'
)
REPLY = (
    b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 Fine\r\nX-Two: 2\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"3\r\nabc\r\n00A;x=y\r\n0123456789\r\n0\r\nX-Sum: 7\r\n\r\n"
)
CONTENT = b"abc0123456789"


def test_a_request_may_be_split_anywhere(proxy: ProxyProcess, backend: Backend) -> None:
    """D4: byte by byte and at every position the backend gets the same request as in one piece."""

    def ask(split: Any) -> None:
        reply = raw_exchange(proxy.port, REQUEST, split=split, replies=1).reply
        found = seen(reply)
        assert (found["method"], found["target"], reply.body) == ("POST", "/split?a=b", CONTENT), split
        assert found["values"]["x-one"] == ["1"]
        assert found["trailers"] == [["X-Sum", "7"]], split

    ask(None)
    ask("bytes")
    for first in range(1, len(REQUEST), 20):
        at_once(lambda at=at: ask(at) for at in range(first, min(first + 20, len(REQUEST))))
    assert backend.violations == []


def test_a_reply_may_be_split_anywhere() -> None:
    """D4: the same for a reply."""

    def answer(connection: BackendConnection, request: JudgedRequest) -> None:
        split = request.target[1:]
        at = range(1, len(REPLY)) if split == b"bytes" else [int(split)]
        start = 0
        for end in [*at, len(REPLY)]:
            connection.send(REPLY[start:end])
            time.sleep(0.002)
            start = end

    def ask(split: Any) -> None:
        reply = get(proxy.port, f"/{split}", fields="TE: trailers\r\nConnection: TE\r\n")
        assert (reply.status, reply.body, reply.value("X-Two")) == (200, CONTENT, "2"), split
        assert [one.status for one in reply.interim] == [103], split
        assert reply.trailers == [(b"X-Sum", b"7")], split

    with Backend(answer) as backend, ProxyProcess(config_for(backend.address)) as proxy:
        ask("bytes")
        for first in range(0, len(REPLY), 20):
            at_once(lambda at=at: ask(at) for at in range(first, min(first + 20, len(REPLY))))


def test_a_hundred_fields_pass(proxy: ProxyProcess) -> None:
    """D5: a head of 100 fields arrives whole and in order."""
    fields = "".join(f"X-Field-{number}: {'v' * number}\r\n" for number in range(97))
    found = seen(get(proxy.port, fields=fields))
    ours = [[name, value] for name, value in found["fields"] if name.startswith("X-Field-")]
    assert ours == [[f"X-Field-{number}", "v" * number] for number in range(97)]


def test_chunks_of_any_spelling_pass(proxy: ProxyProcess, backend: Backend) -> None:
    """D5: sizes in any hex case, leading zeros, extensions, trailers; wherever the segments end."""
    chooser = random.Random(5)
    for _ in range(30):
        body, wire = b"", b""
        for _ in range(chooser.randrange(1, 12)):
            piece = chooser.randbytes(chooser.choice((1, 9, 10, 15, 171, 4096, 70_000)))
            size = chooser.choice(("%x", "%X", "000%x", "%x;a", '%X;a="b;c"', "%x;a=b;c")) % len(piece)
            body, wire = body + piece, wire + size.encode() + b"\r\n" + piece + b"\r\n"
        wire = b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n" + wire + b"000\r\nX-T: 1\r\n\r\n"
        cuts = sorted(chooser.sample(range(1, len(wire)), min(20, len(wire) - 1)))
        reply = raw_exchange(proxy.port, wire, split=cuts, replies=1).reply
        assert reply.body == body
    assert backend.violations == []


@pytest.mark.parametrize("speaks", [b"SSH-2.0-OpenSSH_9\r\n", b"\x00", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"])
def test_a_backend_that_speaks_first_is_refused(speaks: bytes) -> None:
    """D3: what came before the request is no reply to it: 502, and never what it said."""

    def greet(connection: BackendConnection) -> None:
        connection.send(speaks)
        time.sleep(0.3)

    with Backend(on_connect=greet) as backend, ProxyProcess(config_for(backend.address)) as proxy:
        reply = get(proxy.port)
        (line,) = proxy.access_lines(1)
    assert (reply.status, line["end"]) == (502, "bad-reply")
    assert b"SSH" not in reply.body


GARBAGE = {
    "a request": b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "no head": b"hello there, this is no HTTP\r\n\r\n",
    "another protocol": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n",
    "version 2": b"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!",
    "length and coding": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "folded": b"HTTP/1.1 200 OK\r\nX: 1\r\n 2\r\nContent-Length: 2\r\n\r\nok",
    "an upgrade": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
    "cut in the head": b"HTTP/1.1 200 OK\r\nContent-Le",
    "nothing": b"",
    "status 42": b"HTTP/1.1 42 Answer\r\nContent-Length: 2\r\n\r\nok",
    "a huge head": b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 1_000_000 + b"\r\n\r\n",
}


def test_garbage_from_a_backend_is_never_passed_on() -> None:
    """D3: each of these is 502 with reason bad-reply, and the connection to the backend is not used again."""

    def answer(connection: BackendConnection, request: JudgedRequest) -> None:
        connection.send(GARBAGE[request.target[1:].decode().replace("%20", " ")])
        connection.close()

    with Backend(answer) as backend, ProxyProcess(config_for(backend.address)) as proxy, Client(proxy.port) as client:
        for name in GARBAGE:
            reply = client.request("/" + name.replace(" ", "%20"), "POST", body=b"")
            assert reply.status == 502, name
            assert reply.value("Server") == "txproxy", name
        lines = proxy.access_lines(len(GARBAGE))
    assert {line["end"] for line in lines} == {"bad-reply"}
    assert len(backend.connections) == len(GARBAGE)


def test_a_reply_until_close_arrives_whole() -> None:
    """D5: a body that ends with the backend's connection reaches the client with a clean end."""
    body = b"HTTP/1.1 200 OK\r\n\r\n" + b"y" * 300_000
    with (
        Backend(raw(body, then_close=True)) as backend,
        ProxyProcess(config_for(backend.address)) as proxy,
        Client(proxy.port) as client,
    ):
        for _ in range(3):
            reply = client.request()
            assert (reply.ended, reply.body) == ("chunked", b"y" * 300_000)
