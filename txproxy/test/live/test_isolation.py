"""Nobody ever sees another's bytes."""

from __future__ import annotations

import hashlib
import random

from .helpers import at_once, get
from .judge import JudgedRequest
from .peers import Backend, BackendConnection, Client, ProxyProcess, config_for, http_reply, wait_for


def digest_reply(connection: BackendConnection, request: JudgedRequest) -> None:
    """Answer with a body that only this request can have: its target, its body's hash, and as much as it asks for; X-Close has the connection closed."""
    size = int(request.target.rpartition(b"=")[2])
    closing = request.value(b"x-close") is not None
    fields = "Connection: close\r\n" if closing else ""
    mark = request.target + b"|" + request.body_sha256.encode() + b"|"
    body = (mark * (size // len(mark) + 1))[: max(size, len(mark))]
    if size % 2:
        connection.send(f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n{fields}\r\n".encode())
        for start in range(0, len(body), 10_000):
            piece = body[start : start + 10_000]
            connection.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        connection.send(b"0\r\n\r\n")
    else:
        connection.send(http_reply(body=body, fields=fields))
    if closing:
        connection.close()


def run_client(port: int, number: int, count: int) -> None:
    """Make requests with bodies of one's own and check each reply's every byte."""
    chooser = random.Random(number)
    with Client(port) as client:
        for turn in range(count):
            size = chooser.choice((0, 1, 100, 5001, 70_000))
            content = chooser.randbytes(chooser.choice((0, 10, 3000, 80_000)))
            target = f"/client{number}/{turn}?size={size}"
            if chooser.random() < 0.3:
                half = len(content) // 2
                pieces = [piece for piece in (content[:half], content[half:]) if piece]
                wire = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
                client.send(f"PUT {target} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".encode() + wire)
                reply = client.reply("PUT")
            else:
                closing = "X-Close: 1\r\n" if chooser.random() < 0.2 else ""
                reply = client.request(target, "POST", body=content, fields=closing)
            mark = f"{target}|{hashlib.sha256(content).hexdigest()}|".encode()
            wanted = max(size, len(mark))
            assert reply.status == 200
            assert reply.body == (mark * (size // len(mark) + 1))[:wanted], (number, turn)


def test_a_hundred_clients_at_once() -> None:
    """D2: each of 100 clients gets its own replies only; 1,000 requests later the descriptors are as before."""
    with Backend(digest_reply) as backend, ProxyProcess(config_for(backend.address)) as proxy:
        run_client(proxy.port, 1000, 3)
        before = proxy.fd_count()
        at_once(lambda n=number: run_client(proxy.port, n, 10) for number in range(100))
        assert backend.violations == []
        assert len(backend.requests) == 1003
        # Idle connections to the backend may stay, up to max_idle.
        wait_for(lambda: proxy.fd_count() <= before + 32, "the descriptors to return")
        assert len(proxy.access_lines(1003)) == 1003


def test_clients_share_few_connections_safely() -> None:
    """D2: the same with 2 upstream connections, clients that leave in the middle, and a backend that closes at times."""

    def leave(number: int) -> None:
        for turn in range(10):
            with Client(proxy.port) as client:
                client.send(f"GET /leaver{number}/{turn}?size=200000 HTTP/1.1\r\nHost: a\r\n\r\n".encode())
                if turn % 2:
                    client.read_some(1000)

    with (
        Backend(digest_reply) as backend,
        ProxyProcess(
            config_for(backend.address, cluster="pool.max_connections = 2\npool.queue_timeout_s = 60")
        ) as proxy,
    ):
        jobs = [lambda n=number: run_client(proxy.port, n, 10) for number in range(20)]
        jobs += [lambda n=number: leave(n) for number in range(5)]
        at_once(jobs)
        assert backend.violations == []
        assert get(proxy.port, "/end?size=0").status == 200


def test_a_slow_client_holds_nobody_up() -> None:
    """D2: while one client does not read its reply others are served."""
    with (
        Backend(digest_reply) as backend,
        ProxyProcess(config_for(backend.address)) as proxy,
        Client(proxy.port, receive_buffer=4096) as slow,
    ):
        slow.send(b"GET /slow?size=20000000 HTTP/1.1\r\nHost: a\r\n\r\n")
        for number in range(50):
            run_client(proxy.port, number, 2)
        assert slow.read_until(lambda: len(slow.received) > 100_000)
