"""Replies timed at a fixed rate: ``python -m bench.paced PORT CONNECTIONS RATE SECONDS``.

Requests leave when the schedule says so, whether or not earlier ones have been answered, each on the connection
that has rested longest. So a stall of the proxy shows in every reply it delayed instead of slowing the questions.
Prints one JSON object with the times in microseconds.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time
from collections import deque

from bench.bulk import content_length
from bench.client import request_bytes

DRAIN_S = 5.0


class PacedClient:
    """An open-loop client on many keep-alive connections.

    :param port: the loopback port to ask.
    :param connections: how many connections to open.
    :param rate: requests per second over all of them.
    """

    def __init__(self, port: int, connections: int, rate: float) -> None:
        self._rate = rate
        # Opened first, so that its number is low enough for select(): that one waits in microseconds, epoll in
        # whole milliseconds.
        self._epoll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        self._rested: deque[int] = deque()
        self._sent: dict[int, int] = {}
        self._buffers: dict[int, bytes] = {}
        self.times_ns: list[int] = []
        self.late_ns: list[int] = []
        self.errors = 0
        for _ in range(connections):
            sock = socket.create_connection(("127.0.0.1", port), 30.0)
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sockets[sock.fileno()] = sock
            self._rested.append(sock.fileno())
            self._epoll.register(sock.fileno(), select.EPOLLIN)

    def run(self, seconds: float) -> None:
        """Ask for *seconds*, then wait for the replies still out."""
        step = 1e9 / self._rate
        begin = time.monotonic_ns()
        total = int(seconds * self._rate)
        for index in range(total):
            due = begin + int(index * step)
            while (now := time.monotonic_ns()) < due:
                self._receive((due - now) / 1e9)
            self._send(due, index)
        deadline = time.monotonic() + DRAIN_S
        while self._sent and time.monotonic() < deadline:
            self._receive(0.1)
        self.errors += len(self._sent)

    def _send(self, due: int, index: int) -> None:
        if not self._rested:
            self.errors += 1
            return
        number = self._rested.popleft()
        now = time.monotonic_ns()
        self.late_ns.append(now - due)
        self._sent[number] = now
        try:
            self._sockets[number].send(request_bytes(f"/item/{index}"))
        except OSError:
            self._drop(number)

    def _receive(self, timeout_s: float) -> None:
        if not select.select([self._epoll], [], [], timeout_s)[0]:
            return
        for number, _ in self._epoll.poll(0):
            try:
                data = self._sockets[number].recv(65536)
            except OSError:
                data = b""
            if not data:
                self._drop(number)
                continue
            now = time.monotonic_ns()
            data = self._buffers.pop(number, b"") + data
            end = data.find(b"\r\n\r\n")
            if end < 0 or len(data) < end + 4 + content_length(data[: end + 2]):
                self._buffers[number] = data
                continue
            if b" 200 " not in data[:16]:
                self.errors += 1
            sent = self._sent.pop(number, None)
            if sent is None:
                self.errors += 1
                continue
            self.times_ns.append(now - sent)
            self._rested.append(number)

    def _drop(self, number: int) -> None:
        self.errors += 1
        self._sent.pop(number, None)
        self._buffers.pop(number, None)
        self._epoll.unregister(number)
        self._sockets.pop(number).close()
        if number in self._rested:
            self._rested.remove(number)


def quantile(values: list[int], share: float) -> float:
    """Return the value in nanoseconds below which *share* of *values* lies, as microseconds."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] / 1e3 if ordered else float("nan")


def main() -> None:
    """Measure as the command line says."""
    port, connections, rate, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])
    client = PacedClient(port, connections, rate)
    # One round over all connections first: the first request of a connection is not what is asked about.
    client.run(connections / rate)
    client.times_ns.clear()
    client.late_ns.clear()
    client.run(seconds)
    print(
        json.dumps(
            {
                "requests": len(client.times_ns),
                "errors": client.errors,
                "p50_us": quantile(client.times_ns, 0.5),
                "p95_us": quantile(client.times_ns, 0.95),
                "p99_us": quantile(client.times_ns, 0.99),
                "late_p99_us": quantile(client.late_ns, 0.99),
            }
        )
    )


if __name__ == "__main__":
    main()
