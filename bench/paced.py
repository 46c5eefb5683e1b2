"""Replies timed at a fixed rate: ``python -m bench.paced CONNECTIONS RATE SECONDS PORT...``.

Requests leave when the schedule says so, whether or not earlier ones have been answered, each on the connection
that has rested longest. So a stall of the proxy shows in every reply it delayed instead of slowing the questions.
With several ports each is asked RATE times a second, in turn: what disturbs the machine disturbs all of them.
Prints a list with one JSON object for each port, with the times in microseconds.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time
from collections import deque
from collections.abc import Sequence

from bench.bulk import content_length
from bench.client import request_bytes

DRAIN_S = 5.0
# So fast every connection is asked once before any is timed: the first request of a connection is not in question.
FIRST_RATE = 1000.0


class Way:
    """What came of the requests to one port."""

    __slots__ = ("errors", "late_ns", "rested", "times_ns")

    def __init__(self) -> None:
        self.rested: deque[int] = deque()
        self.times_ns: list[int] = []
        self.late_ns: list[int] = []
        self.errors = 0

    def figures(self) -> dict[str, float]:
        """Return counts, and percentiles in microseconds."""
        return {
            "requests": len(self.times_ns),
            "errors": self.errors,
            "p50_us": quantile(self.times_ns, 0.5),
            "p99_us": quantile(self.times_ns, 0.99),
            "late_p99_us": quantile(self.late_ns, 0.99),
        }


class PacedClient:
    """An open-loop client on many keep-alive connections.

    :param ports: the loopback ports to ask, in turn.
    :param connections: how many connections to open to each.
    """

    def __init__(self, ports: Sequence[int], connections: int) -> None:
        # Opened first, so that its number is low enough for select(): that one waits in microseconds, epoll in
        # whole milliseconds.
        self._epoll = select.epoll()
        self._sockets: dict[int, tuple[socket.socket, Way]] = {}
        self._sent: dict[int, int] = {}
        self._buffers: dict[int, bytes] = {}
        self.ways = [Way() for _ in ports]
        for port, way in zip(ports, self.ways, strict=True):
            for _ in range(connections):
                sock = socket.create_connection(("127.0.0.1", port), 30.0)
                sock.setblocking(False)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._sockets[sock.fileno()] = sock, way
                way.rested.append(sock.fileno())
                self._epoll.register(sock.fileno(), select.EPOLLIN)

    def run(self, count: int, rate: float) -> None:
        """Ask *count* times on each way, at *rate* per second on each, then wait for the replies still out."""
        step = 1e9 / rate / len(self.ways)
        begin = time.monotonic_ns()
        for index in range(count * len(self.ways)):
            due = begin + int(index * step)
            while (now := time.monotonic_ns()) < due:
                self._receive((due - now) / 1e9)
            self._send(self.ways[index % len(self.ways)], due, index)
        deadline = time.monotonic() + DRAIN_S
        while self._sent and time.monotonic() < deadline:
            self._receive(0.1)
        for number in self._sent:
            self._sockets[number][1].errors += 1

    def _send(self, way: Way, due: int, index: int) -> None:
        if not way.rested:
            way.errors += 1
            return
        number = way.rested.popleft()
        now = time.monotonic_ns()
        way.late_ns.append(now - due)
        self._sent[number] = now
        try:
            self._sockets[number][0].send(request_bytes(f"/item/{index}"))
        except OSError:
            self._drop(number)

    def _receive(self, timeout_s: float) -> None:
        if not select.select([self._epoll], [], [], timeout_s)[0]:
            return
        for number, _ in self._epoll.poll(0):
            sock, way = self._sockets[number]
            try:
                data = sock.recv(65536)
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
                way.errors += 1
            sent = self._sent.pop(number, None)
            if sent is None:
                way.errors += 1
                continue
            way.times_ns.append(now - sent)
            way.rested.append(number)

    def _drop(self, number: int) -> None:
        sock, way = self._sockets.pop(number)
        way.errors += 1
        self._sent.pop(number, None)
        self._buffers.pop(number, None)
        self._epoll.unregister(number)
        sock.close()
        if number in way.rested:
            way.rested.remove(number)


def quantile(values: list[int], share: float) -> float:
    """Return the value in nanoseconds below which *share* of *values* lies, as microseconds."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] / 1e3 if ordered else float("nan")


def main() -> None:
    """Measure as the command line says."""
    connections, rate, seconds = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
    client = PacedClient([int(word) for word in sys.argv[4:]], connections)
    client.run(connections, FIRST_RATE)
    for way in client.ways:
        way.times_ns.clear()
        way.late_ns.clear()
    client.run(int(seconds * rate), rate)
    print(json.dumps([way.figures() for way in client.ways]))


if __name__ == "__main__":
    main()
