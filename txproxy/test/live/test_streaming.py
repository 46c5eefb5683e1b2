"""Bodies flow as they come, at the pace of the slower side, and nothing is gathered."""

from __future__ import annotations

import hashlib
import random
import select
import threading
import time
from collections.abc import Iterator

import pytest

from .helpers import MIB, settled, tcp_buffers_bytes
from .judge import JudgedRequest
from .peers import DEADLINE_S, Backend, BackendConnection, Client, ProxyProcess, config_for, http_reply, wait_for


def kernel_bytes() -> int:
    """Return more than the kernel can hold between two ends of which one has a small receive buffer.

    That is what both senders have queued, what the proxy has not read, and a pipe. A kernel lets these buffers grow
    up to its limits, if it likes: some have 32 MiB for what a connection receives.
    """
    limits = tcp_buffers_bytes()
    return (limits["rmem"] + 2 * limits["wmem"]) // MIB * MIB + 4 * MIB


KERNEL_BYTES = kernel_bytes()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class Peak:
    """The greatest memory of a process since the start of this object."""

    def __init__(self, proxy: ProxyProcess) -> None:
        self._proxy = proxy
        self._first = self.most = proxy.rss_bytes()

    @property
    def growth(self) -> int:
        """Bytes more than at the start, at the worst moment that was looked at."""
        self.most = max(self.most, self._proxy.rss_bytes())
        return self.most - self._first


def warm_up(proxy: ProxyProcess) -> None:
    """Make a process use what it uses but once: buffers, caches, lazily made objects."""
    for _ in range(20):
        with Client(proxy.port) as client:
            client.send(b"POST /warm HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
            client.send(chunk(b"w" * 200_000) + b"0\r\n\r\n")
            client.reply("POST")


def test_an_upload_streams_and_memory_stays() -> None:
    """HF1, in short: 64 MiB in chunks at a limited rate reach the backend as they come, within 2 MiB of memory."""
    piece, pieces = random.Random(1).randbytes(65_536), 1024
    expected = hashlib.sha256()
    with (
        Backend(
            lambda connection, _: connection.send(http_reply(body=b"ok")), record_limit=1 << 16, body_limit=0
        ) as backend,
        ProxyProcess(config_for(backend.address)) as proxy,
        Client(proxy.port) as client,
    ):
        warm_up(proxy)
        peak = Peak(proxy)
        before = sum(connection.received_count for connection in backend.connections)
        client.send(b"PUT /big HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(piece))
        expected.update(piece)
        # The first bytes are there long before the client ends.
        wait_for(
            lambda: sum(connection.received_count for connection in backend.connections) > before + len(piece),
            "the first",
        )
        for number in range(pieces - 1):
            client.send(chunk(piece))
            expected.update(piece)
            time.sleep(0.001)
            if number % 16 == 0:
                assert peak.growth < 2 * MIB
        client.send(b"0\r\n\r\n")
        assert client.reply("PUT", 2 * DEADLINE_S).body == b"ok"
        assert peak.growth < 2 * MIB
        (request,) = [request for request in backend.requests if request.target == b"/big"]
    assert request.body_length == 65_536 * pieces
    assert request.body_sha256 == expected.hexdigest()


def test_a_slow_backend_slows_the_client() -> None:
    """HF1: while the backend reads nothing the client is stopped by TCP, not buffered; then all arrives."""
    go_on = threading.Event()
    total = 2 * KERNEL_BYTES

    def hold(connection: BackendConnection, request: JudgedRequest) -> None:
        if request.target == b"/held":
            go_on.wait(3 * DEADLINE_S)

    def answer(connection: BackendConnection, request: JudgedRequest) -> None:
        connection.send(http_reply(body=b"%d" % request.body_length))

    with (
        Backend(answer, on_head=hold, receive_buffer=1 << 16, record_limit=1 << 16, body_limit=0) as backend,
        ProxyProcess(config_for(backend.address)) as proxy,
        Client(proxy.port) as client,
    ):
        warm_up(proxy)
        peak = Peak(proxy)
        client.send(b"PUT /held HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % total)
        taken = 0
        block = bytes(1 << 16)
        client.socket.setblocking(False)
        while taken < total:
            _, writable, _ = select.select([], [client.socket], [], 1)
            if not writable:
                break
            taken += client.socket.send(block[: total - taken])
            assert peak.growth < 2 * MIB
        assert taken < KERNEL_BYTES, f"{taken} bytes were taken for a backend that reads nothing"
        go_on.set()
        while taken < total:
            client.send(block[: total - taken])
            taken += min(len(block), total - taken)
        assert client.reply("PUT", 2 * DEADLINE_S).body == b"%d" % total
        assert peak.growth < 2 * MIB


def test_an_event_arrives_before_the_next_is_sent() -> None:
    """HF2: each event reaches the client while the backend waits to send the next."""
    received = threading.Semaphore(0)
    waited: list[bool] = []

    def answer(connection: BackendConnection, request: JudgedRequest) -> None:
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for number in range(20):
            connection.send(chunk(b"data: %d\n\n" % number))
            waited.append(received.acquire(timeout=DEADLINE_S))
        connection.send(b"0\r\n\r\n")

    with Backend(answer) as backend, ProxyProcess(config_for(backend.address)) as proxy, Client(proxy.port) as client:
        client.send(b"GET /events HTTP/1.1\r\nHost: a\r\n\r\n")
        for number in range(20):
            assert client.read_until(lambda n=number: b"data: %d\n" % n in client.received), number
            received.release()
        assert client.reply().ended == "chunked"
    assert waited == [True] * 20


@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
def test_a_client_that_stops_reading_stops_the_backend(framing: str) -> None:
    """HF2: upstream reads stop at the watermark, memory stays, and the client's end ends the backend's connection."""
    total = 4 * KERNEL_BYTES
    sent = 0
    fields = {"chunked": "Transfer-Encoding: chunked\r\n", "length": f"Content-Length: {total}\r\n", "close": ""}[
        framing
    ]

    def answer(connection: BackendConnection, request: JudgedRequest) -> None:
        nonlocal sent
        if request.target != b"/endless":
            connection.send(http_reply())
            return
        connection.send(f"HTTP/1.1 200 OK\r\n{fields}\r\n".encode())
        block = chunk(bytes(65_536 - 9)) if framing == "chunked" else bytes(65_536)
        while sent < total:
            connection.socket.sendall(block)
            sent += len(block)

    with (
        Backend(answer) as backend,
        ProxyProcess(config_for(backend.address)) as proxy,
        Client(proxy.port, receive_buffer=1 << 16) as client,
    ):
        warm_up(proxy)
        peak = Peak(proxy)
        client.send(b"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n")
        wait_for(lambda: sent, "the first bytes")
        assert settled(lambda: sent) < KERNEL_BYTES
        assert peak.growth < 2 * MIB
        client.close()
        wait_for(lambda: all(connection.gone.is_set() for connection in backend.connections if b"/endless" in
                             connection.received), "the end of the backend's connection")  # fmt: skip
        line = next(line for line in proxy.access_lines(21) if line["target"] == "/endless")
    assert line["end"] == "client-left"
    assert 0 < line["bytes_out"] <= KERNEL_BYTES


def pattern(count: int) -> bytes:
    return random.Random(count).randbytes(count)


@pytest.fixture(scope="module")
def body() -> Iterator[bytes]:
    yield pattern(10 * MIB)


@pytest.mark.parametrize("framing", ["chunked", "length"])
def test_a_download_over_a_small_window(body: bytes, framing: str) -> None:
    """D1: 10 MiB reach a client with a small window byte for byte."""

    def answer(connection: BackendConnection, request: JudgedRequest) -> None:
        if framing == "length":
            connection.send(http_reply(body=body))
        else:
            connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            for start in range(0, len(body), 100_003):
                connection.send(chunk(body[start : start + 100_003]))
            connection.send(b"0\r\n\r\n")

    with (
        Backend(answer) as backend,
        ProxyProcess(config_for(backend.address)) as proxy,
        Client(proxy.port, receive_buffer=16_384) as client,
    ):
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        count = 0
        while len(client.received) < len(body):
            assert client.read_some(3000), "cut"
            count += 1
            if count % 500 == 0:
                time.sleep(0.01)
        reply = client.reply(timeout_s=2 * DEADLINE_S)
    assert reply.ended == framing
    assert hashlib.sha256(reply.body).digest() == hashlib.sha256(body).digest()


@pytest.mark.parametrize("framing", ["chunked", "length"])
def test_an_upload_to_a_small_window(body: bytes, framing: str) -> None:
    """D1: 10 MiB reach a backend with a small window byte for byte."""
    with (
        Backend(lambda connection, _: connection.send(http_reply()), receive_buffer=16_384, read_bytes=3000) as backend,
        ProxyProcess(config_for(backend.address)) as proxy,
        Client(proxy.port) as client,
    ):
        if framing == "length":
            client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body))
            client.send(body, 2 * DEADLINE_S)
        else:
            client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
            for start in range(0, len(body), 100_003):
                client.send(chunk(body[start : start + 100_003]), 2 * DEADLINE_S)
            client.send(b"0\r\n\r\n")
        assert client.reply("PUT", 2 * DEADLINE_S).status == 200
        (request,) = backend.requests
    assert request.framing == framing
    assert request.body_sha256 == hashlib.sha256(body).hexdigest()
    assert backend.violations == []


def test_both_directions_at_once() -> None:
    """D1: a backend that echoes a large upload as it comes is held up by nobody."""
    size = 8 * MIB

    def answer(connection: BackendConnection, request: JudgedRequest) -> None:
        # Called at the head: the body is echoed raw by hand, with a length that is known.
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        got = bytearray(connection.received.partition(b"\r\n\r\n")[2])
        connection.send(bytes(got))
        count = len(got)
        while count < size:
            data = connection.socket.recv(65_536)
            if not data:
                return
            count += len(data)
            connection.socket.sendall(data)

    data = pattern(size)
    with (
        Backend(lambda *_: None, on_head=answer) as backend,
        ProxyProcess(config_for(backend.address)) as proxy,
        Client(proxy.port) as client,
    ):
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size)
        client.send(data, 2 * DEADLINE_S)
        reply = client.reply("POST", 2 * DEADLINE_S)
    assert reply.body == data
