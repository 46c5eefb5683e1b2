"""Whoever keeps the proxy waiting is given up in time, and nobody else notices."""

from __future__ import annotations

import time

import pytest

from .helpers import clients_of, get
from .judge import JudgedRequest
from .peers import (
    DEADLINE_S,
    Backend,
    BackendConnection,
    BlackHole,
    Client,
    ProxyProcess,
    config_for,
    http_reply,
    never,
    wait_for,
)
from .replies import NotHttp

EARLY_S = 0.05
"""How much before its time a deadline may pass, for clocks are read at different moments."""


def test_a_head_has_a_deadline_whatever_its_progress() -> None:
    """Q1: a byte at a time is 408 and close when header_timeout_s is over."""
    with Backend() as backend, ProxyProcess(config_for(backend.address, listener="header_timeout_s = 1")) as proxy:
        with Client(proxy.port) as client:
            begun = time.monotonic()
            for byte in b"GET / HTTP/1.1\r\nHost: a\r\nX-Slow: " + b"y" * 1000:
                if client.read_until(lambda: client.received, 0.1) or not client.send(bytes([byte])):
                    break
            assert client.read_until_closed()
            assert time.monotonic() - begun >= 1 - EARLY_S
            assert client.exchanged().statuses == [408]
        (line,) = proxy.access_lines(1)
        assert (line["status"], line["end"]) == (408, "request-timeout")
        assert line["total_ms"] >= 1000 * (1 - EARLY_S)
    assert backend.connections == []


def test_slow_clients_disturb_nobody() -> None:
    """Q1: 500 clients with half a head each stay while normal requests are served; then each gets its 408."""
    listener = "header_timeout_s = 4\nkeepalive_requests = 1000000"
    with Backend() as backend, ProxyProcess(config_for(backend.address, listener=listener)) as proxy:
        assert get(proxy.port).status == 200
        before = proxy.fd_count()
        with clients_of(proxy.port, 500) as slow:
            begun = time.monotonic()
            for client in slow:
                client.send(b"GET / HTTP/1.1\r\nX: ")
            with Client(proxy.port) as client:
                served = 0
                while time.monotonic() - begun < 2 or served < 100:
                    assert client.request().status == 200
                    slow[served % 500].send(b"x")
                    served += 1
            for client in slow:
                assert client.read_until_closed()
                assert client.exchanged().statuses == [408]
        wait_for(lambda: proxy.fd_count() <= before + 2, "the descriptors to return")
        lines = proxy.access_lines(served + 501)
        assert sum(line["end"] == "request-timeout" for line in lines) == 500


def test_a_body_that_stalls_is_given_up() -> None:
    """Q2: 408 when the body is idle for body_timeout_s, and the backend's connection is aborted."""
    with Backend() as backend, ProxyProcess(config_for(backend.address, listener="body_timeout_s = 1")) as proxy:
        with Client(proxy.port) as client:
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc")
            assert client.read_until_closed()
            assert client.exchanged().statuses == [408]
        (line,) = proxy.access_lines(1)
        assert (line["end"], line["bytes_in"]) == ("request-timeout", 3)
        wait_for(lambda: not backend.open_connections, "the upstream connection to be aborted")
    assert backend.requests == []


def test_a_body_that_trickles_is_no_stall() -> None:
    """Q2: the time counts from the last byte."""
    with (
        Backend() as backend,
        ProxyProcess(config_for(backend.address, listener="body_timeout_s = 1")) as proxy,
        Client(proxy.port) as client,
    ):
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\n")
        for _ in range(8):
            time.sleep(0.25)
            assert client.send(b"x")
        assert client.reply("POST").body == b"x" * 8


def endless(connection: BackendConnection, request: JudgedRequest) -> None:
    """Send a reply for as long as it is taken."""
    connection.socket.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
    while True:
        connection.socket.sendall(bytes(1 << 16))


def test_a_client_that_does_not_read_is_given_up() -> None:
    """Q2: closed after write_timeout_s without progress, the backend is freed, the line says why."""

    with (
        Backend(endless) as backend,
        ProxyProcess(config_for(backend.address, listener="write_timeout_s = 1")) as proxy,
        Client(proxy.port, receive_buffer=1 << 16) as client,
    ):
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        (line,) = proxy.access_lines(1)
        assert line["end"] == "write-timeout"
        wait_for(lambda: not backend.open_connections, "the backend to be freed")
        client.read_until_closed()
        (reply,) = client.exchanged().replies
        assert not reply.complete


def test_a_client_that_reads_slowly_is_served() -> None:
    """Q2: who reads at a steady pace is not given up, though the kernel's buffer takes nothing new for long."""

    with (
        Backend(endless) as backend,
        ProxyProcess(config_for(backend.address, listener="write_timeout_s = 2")) as proxy,
        Client(proxy.port, receive_buffer=1 << 16) as client,
    ):
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        for _ in range(60):
            assert client.socket.recv(16384)
            time.sleep(0.1)
        client.close()
        (line,) = proxy.access_lines(1)
        assert line["end"] == "client-left"


def test_a_black_hole_is_a_gateway_timeout() -> None:
    """Q6: a backend that does not accept is 504 at connect_timeout_s."""
    with BlackHole() as hole, ProxyProcess(config_for(hole.address, cluster="pool.connect_timeout_s = 1")) as proxy:
        begun = time.monotonic()
        assert get(proxy.port).status == 504
        assert time.monotonic() - begun >= 1 - EARLY_S
        (line,) = proxy.access_lines(1)
        assert (line["end"], line["tries"]) == ("connect-timeout", 1)


def test_after_a_black_hole_the_next_server_is_tried() -> None:
    """Q6: with another backend the client gets its reply from that one."""
    with Backend() as backend, BlackHole() as hole:
        config = config_for(hole.address, backend.address, cluster="pool.connect_timeout_s = 1")
        with ProxyProcess(config) as proxy:
            assert get(proxy.port, "/kept", method="POST", body=b"abc").body == b"abc"
            (line,) = proxy.access_lines(1)
    assert (line["tries"], line["backend"], line["end"]) == (2, f"{hole.address},{backend.address}", "ok")


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_silence_after_accept_is_a_gateway_timeout(method: str) -> None:
    """Q6: no reply within first_byte_s is 504, and the connection is not used again."""
    with (
        Backend(never()) as backend,
        ProxyProcess(config_for(backend.address, cluster="timeouts.first_byte_s = 1")) as proxy,
    ):
        begun = time.monotonic()
        assert get(proxy.port, method=method, body=b"x" if method == "POST" else None).status == 504
        assert time.monotonic() - begun >= 1 - EARLY_S
        (line,) = proxy.access_lines(1)
        assert line["end"] == "reply-timeout"
        wait_for(lambda: not backend.open_connections, "the upstream connection to be closed")


@pytest.mark.parametrize("framing", ["Content-Length: 10\r\n", "Transfer-Encoding: chunked\r\n", ""])
def test_a_stall_in_the_body_cuts_the_client(framing: str) -> None:
    """Q6: after between_bytes_s the client's connection ends without a clean end of the body, and the line says why."""
    part = b"5\r\nabcde\r\n" if "chunked" in framing else b"abcde"

    def answer(connection: BackendConnection, request: JudgedRequest) -> None:
        connection.send(f"HTTP/1.1 200 OK\r\n{framing}\r\n".encode() + part)

    with (
        Backend(answer) as backend,
        ProxyProcess(config_for(backend.address, cluster="timeouts.between_bytes_s = 1")) as proxy,
    ):
        with Client(proxy.port) as client:
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert client.read_until_closed()
            try:
                replies = client.exchanged().replies
            except NotHttp:
                replies = []  # A reset may come before anything was read.
            assert all(not reply.complete for reply in replies)
        (line,) = proxy.access_lines(1)
        assert (line["end"], line["status"]) == ("reply-cut", 200)
        wait_for(lambda: not backend.open_connections, "the upstream connection to be closed")


def test_idle_clients_are_closed() -> None:
    """Q7: an idle connection ends after keepalive_timeout_s, without a word; so does one that never said anything."""
    with Backend() as backend, ProxyProcess(config_for(backend.address, listener="keepalive_timeout_s = 1")) as proxy:
        with Client(proxy.port) as silent, Client(proxy.port) as client:
            begun = time.monotonic()
            assert client.request().status == 200
            length = len(client.received)
            assert client.read_until_closed()
            assert time.monotonic() - begun >= 1 - EARLY_S
            assert len(client.received) == length
            assert silent.read_until_closed()
            assert silent.received == b""
        assert len(proxy.access_lines(1)) == 1


def test_empty_lines_keep_no_connection_open() -> None:
    """Q7: what is no request does not prolong an idle connection's time for ever."""
    with (
        Backend() as backend,
        ProxyProcess(config_for(backend.address, listener="keepalive_timeout_s = 1")) as proxy,
        Client(proxy.port) as client,
    ):
        deadline = time.monotonic() + DEADLINE_S / 3
        while not client.read_until(lambda: client.closed, 0.3):
            assert time.monotonic() < deadline, "kept open by empty lines"
            client.send(b"\r\n")


def test_a_connection_serves_so_many_requests() -> None:
    """Q7: the last of keepalive_requests is answered with Connection: close, and so the connection ends."""
    with Backend() as backend, ProxyProcess(config_for(backend.address, listener="keepalive_requests = 3")) as proxy:
        with Client(proxy.port) as client:
            replies = [client.request() for _ in range(3)]
            assert [reply.value("Connection") for reply in replies] == [None, None, "close"]
            assert client.read_until_closed()
        with Client(proxy.port) as client:
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 5)
            assert client.read_until_closed()
            assert client.exchanged().statuses == [200] * 3
        assert len(backend.requests) == 6


def test_a_request_does_not_wait_for_ever_in_the_queue() -> None:
    """R13: a request that waits for a connection over queue_timeout_s is 503 with Retry-After."""
    cluster = "pool.max_connections = 1\npool.queue_timeout_s = 1"
    with (
        Backend(
            lambda connection, request: None if request.target == b"/held" else connection.send(http_reply())
        ) as backend,
        ProxyProcess(config_for(backend.address, cluster=cluster)) as proxy,
        Client(proxy.port) as held,
    ):
        held.send(b"GET /held HTTP/1.1\r\nHost: a\r\n\r\n")
        backend.wait_for_requests(1)
        reply = get(proxy.port)
        assert reply.status == 503
        assert int(reply.value("Retry-After") or 0) >= 1
        (line,) = proxy.access_lines(1)
        assert line["end"] == "queue-timeout"
