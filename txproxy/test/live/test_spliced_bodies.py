"""Long bodies that the kernel moves: byte for byte, counted to the byte, and whoever is waited for has the deadline."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import threading
import time
from pathlib import Path

import pytest

from .helpers import MIB, at_once
from .judge import JudgedRequest
from .peers import DEADLINE_S, Backend, BackendConnection, Client, ProxyProcess, config_for, http_reply, wait_for

SIZE = 64 * MIB
"""More than the socket buffers of two connections can hold."""


def pattern(count: int) -> bytes:
    return random.Random(count).randbytes(count)


def pipes_of(proxy: ProxyProcess) -> int:
    """Return how many ends of pipes the proxy has open."""
    names = []
    for each in Path(f"/proc/{proxy.pid}/fd").iterdir():
        with contextlib.suppress(OSError):  # Closed meanwhile.
            names.append(os.readlink(each))
    return sum(name.startswith("pipe:") for name in names)


def begin(connection: BackendConnection, size: int = SIZE) -> None:
    connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)


def test_bodies_of_all_sizes_share_connections() -> None:
    """Around the limits of splicing, both ways, chunked ones among them: each exchange gets its own bytes."""
    sizes = [0, 1, 65_536, 262_143, 262_144, 262_145, 327_680, 500_001, MIB, 3 * MIB + 7]

    def answer(connection: BackendConnection, request: JudgedRequest) -> None:
        size = int(request.target.rpartition(b"/")[2])
        connection.send(http_reply(body=pattern(size), fields=f"X-Got: {request.body_sha256}\r\n"))

    def talk(seed: int) -> None:
        chance = random.Random(seed)
        with Client(proxy.port) as client:
            for _ in range(12):
                up, down = chance.choice(sizes), chance.choice(sizes)
                framing = b"Content-Length: %d\r\n\r\n" % up
                body = pattern(up)
                if chance.random() < 0.3:
                    framing = b"Transfer-Encoding: chunked\r\n\r\n"
                    body = b"%x\r\n%b\r\n0\r\n\r\n" % (up, body) if up else b"0\r\n\r\n"
                client.send(b"POST /%d HTTP/1.1\r\nHost: a\r\n" % down + framing + body, 2 * DEADLINE_S)
                reply = client.reply("POST", 2 * DEADLINE_S)
                assert reply.body == pattern(down)
                assert reply.value("X-Got") == hashlib.sha256(pattern(up)).hexdigest()

    with (
        Backend(answer, record_limit=1 << 16, body_limit=0) as backend,
        ProxyProcess(config_for(backend.address)) as proxy,
    ):
        with Client(proxy.port) as client:
            client.request("/1")  # The reactor runs, with the pipes that itself needs.
        before = pipes_of(proxy)
        at_once([lambda seed=seed: talk(seed) for seed in range(8)])
        lines = proxy.access_lines(97)
        assert pipes_of(proxy) > before, "nothing was spliced"
        assert backend.violations == []
    assert {line["end"] for line in lines} == {"ok"}
    assert all(line["bytes_out"] == int(line["target"][1:]) for line in lines)


def test_requests_that_wait_behind_a_long_reply_are_answered_next() -> None:
    """The bytes behind a spliced body belong to the next reply, those behind the request to the next request."""
    size = 2 * MIB

    def answer(connection: BackendConnection, request: JudgedRequest) -> None:
        connection.send(http_reply(body=pattern(size) if request.target == b"/long" else request.target))

    with Backend(answer) as backend, ProxyProcess(config_for(backend.address)) as proxy, Client(proxy.port) as client:
        requests = [b"/a", b"/long", b"/b", b"/long", b"/c"]
        client.send(b"".join(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % target for target in requests))
        wait_for(lambda: client.read_until(lambda: client.received.endswith(b"/c"), 1), "the last reply")
        bodies = [reply.body for reply in client.exchanged().replies]
    assert bodies == [b"/a", pattern(size), b"/b", pattern(size), b"/c"]


def test_a_reply_that_is_cut_is_counted_to_the_byte() -> None:
    """What has come goes to the client, which sees that it is not all; the line says as much."""
    sent = 5 * MIB + 11

    def answer(connection: BackendConnection, request: JudgedRequest) -> None:
        begin(connection)
        connection.send(pattern(sent))
        connection.close()

    with Backend(answer) as backend, ProxyProcess(config_for(backend.address)) as proxy, Client(proxy.port) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.read_until_closed()
        (reply,) = client.exchanged().replies
        (line,) = proxy.access_lines(1)
    assert not reply.complete
    assert bytes(reply.body) == pattern(sent)
    assert (line["end"], line["bytes_out"]) == ("reply-cut", sent)


def test_a_backend_that_stalls_in_a_long_reply_is_given_up() -> None:
    """between_bytes_s holds while bytes are spliced, and for the backend alone."""
    sent = 3 * MIB

    def answer(connection: BackendConnection, request: JudgedRequest) -> None:
        begin(connection)
        connection.send(pattern(sent))

    more = "[cluster.origin.timeouts]\nbetween_bytes_s = 1\n"
    with (
        Backend(answer) as backend,
        ProxyProcess(config_for(backend.address, more=more)) as proxy,
        Client(proxy.port) as client,
    ):
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.read_until_closed()
        (line,) = proxy.access_lines(1)
    assert (line["end"], line["bytes_out"]) == ("reply-cut", sent)


def test_a_client_that_reads_slowly_is_waited_for() -> None:
    """Neither write_timeout_s nor between_bytes_s ends a reply that is being read, however slowly."""
    size = 4 * MIB

    def answer(connection: BackendConnection, request: JudgedRequest) -> None:
        connection.send(http_reply(body=pattern(size)))

    more = "[cluster.origin.timeouts]\nbetween_bytes_s = 1\n"
    with (
        Backend(answer) as backend,
        ProxyProcess(config_for(backend.address, listener="write_timeout_s = 1", more=more)) as proxy,
        Client(proxy.port, receive_buffer=1 << 16) as client,
    ):
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        begun = time.monotonic()
        while time.monotonic() - begun < 4:
            assert client.read_some(65_536), "cut"
            time.sleep(0.2)
        assert client.reply(timeout_s=2 * DEADLINE_S).body == pattern(size)
        (line,) = proxy.access_lines(1)
    assert (line["end"], line["bytes_out"]) == ("ok", size)


def test_a_client_that_stalls_in_a_long_upload_is_given_up() -> None:
    """body_timeout_s holds while bytes are spliced, and what has come is counted."""
    sent = 3 * MIB + 5
    with (
        Backend(record_limit=1 << 16, body_limit=0) as backend,
        ProxyProcess(config_for(backend.address, listener="body_timeout_s = 1")) as proxy,
        Client(proxy.port) as client,
    ):
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % SIZE)
        client.send(pattern(sent))
        assert client.read_until_closed()
        assert client.exchanged().statuses == [408]
        (line,) = proxy.access_lines(1)
        assert (line["end"], line["bytes_in"]) == ("request-timeout", sent)
        wait_for(lambda: not backend.open_connections, "the upstream connection to be aborted")
    assert backend.requests == []


def test_a_backend_that_reads_no_more_of_an_upload_is_given_up() -> None:
    """It has first_byte_s, and the client is not blamed for the standstill, though its own time is shorter."""
    release = threading.Event()

    def hold(connection: BackendConnection, request: JudgedRequest) -> None:
        release.wait(3 * DEADLINE_S)

    more = "[cluster.origin.timeouts]\nfirst_byte_s = 2\n"
    with (
        Backend(on_head=hold, receive_buffer=1 << 16) as backend,
        ProxyProcess(config_for(backend.address, listener="body_timeout_s = 1", more=more)) as proxy,
        Client(proxy.port) as client,
    ):
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % SIZE)
        with contextlib.suppress(AssertionError, OSError):
            client.send(bytes(SIZE), 4)
        (line,) = proxy.access_lines(1, 2 * DEADLINE_S)
        release.set()
    assert (line["status"], line["end"]) == (504, "reply-timeout")


def test_an_early_reply_ends_a_long_upload() -> None:
    """A backend that refuses in the middle is heard at once; it gets no more, nor does anybody else on its connection."""

    def refuse(connection: BackendConnection, request: JudgedRequest) -> None:
        connection.send(http_reply(413, body=b"too much"))

    with (
        Backend(lambda *_: None, on_head=refuse, record_limit=1 << 16, body_limit=0) as backend,
        ProxyProcess(config_for(backend.address)) as proxy,
        Client(proxy.port) as client,
    ):
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % SIZE)
        with contextlib.suppress(AssertionError, OSError):
            client.send(bytes(SIZE))
        client.read_until(lambda: b"too much" in client.received)
        (reply,) = client.exchanged().replies
        assert (reply.status, reply.body) == (413, b"too much")
        (line,) = proxy.access_lines(1)
        assert line["end"] == "ok"
        assert line["bytes_in"] < SIZE


@pytest.mark.parametrize("side", ["client", "backend"])
def test_resets_in_the_middle_leave_nothing_behind(side: str) -> None:
    """Ten times each way: descriptors and pipes return, and the next exchange is whole."""
    size, half_read = 8 * MIB, threading.Event()

    def answer(connection: BackendConnection, request: JudgedRequest) -> None:
        if request.target == b"/fine":
            connection.send(http_reply(body=b"fine"))
            return
        begin(connection, size)
        connection.send(bytes(MIB))
        if side == "backend":
            assert half_read.wait(DEADLINE_S)  # A reset destroys what has not been read.
            connection.reset()
            return
        connection.send(bytes(size - MIB))

    with Backend(answer) as backend, ProxyProcess(config_for(backend.address)) as proxy:
        with Client(proxy.port) as client:
            assert client.request("/fine").body == b"fine"
        before, pipes = proxy.fd_count(), pipes_of(proxy)
        for _ in range(10):
            half_read.clear()
            with Client(proxy.port, receive_buffer=1 << 16) as client:
                client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                assert client.read_until(lambda: len(client.received) > 600_000)  # noqa: B023
                half_read.set()
                if side == "client":
                    client.reset()
                else:
                    client.read_until_closed()
        # A few empty pipes are kept for the next.
        wait_for(lambda: proxy.fd_count() - (pipes_of(proxy) - pipes) <= before, "the descriptors to return")
        with Client(proxy.port) as client:
            assert client.request("/fine").body == b"fine"
        ends = [line["end"] for line in proxy.access_lines(12) if line["target"] == "/"]
    assert ends == ["client-left" if side == "client" else "reply-cut"] * 10
