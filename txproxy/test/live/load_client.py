"""An open-loop client: requests leave when they are due, whether or not earlier ones were answered.

Run as a script, on the standard library alone: ``load_client.py PORT RATE SECONDS METHOD``. It prints the moment at
which it begins, and at the end a line of JSON for each request. It ends early, and properly, when its standard input
does. Latency counts from the moment at which a request was due, so a stall shows in all that it delayed.
"""

from __future__ import annotations

import gc
import json
import select
import socket
import sys
import time
from collections import deque

_BODY = b"0123456789abcdef" * 8
_LEAD_S = 0.2
_DRAIN_S = 30.0


class Sent:
    """A request and what became of it."""

    __slots__ = ("backend", "done_s", "due_s", "error", "id", "sent_s", "status")

    def __init__(self, id: str, due_s: float) -> None:
        self.id = id
        self.due_s = due_s
        self.sent_s = 0.0
        self.done_s = 0.0
        self.status = 0
        self.backend = ""
        self.error = ""


class LoadClient:
    """Sends requests over as many keep-alive connections as it takes, the one used last first."""

    def __init__(self, port: int, method: str) -> None:
        self._port = port
        self._method = method
        self._head = f"{method} /load HTTP/1.1\r\nHost: drill.example\r\n"
        if method in ("POST", "PUT"):
            self._head += f"Content-Length: {len(_BODY)}\r\n"
        self._body = _BODY if method in ("POST", "PUT") else b""
        # First, so that its number is low enough for select(), which waits in microseconds and not milliseconds.
        self._epoll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        self._rested: deque[int] = deque()
        self._waiting: dict[int, Sent] = {}
        self._buffers: dict[int, bytes] = {}
        self._is_told = False
        self.all: list[Sent] = []

    def run(self, rate: float, seconds: float) -> None:
        """Send at a rate per second for so long, or until standard input ends, then wait for what is still out."""
        self._epoll.register(0, select.EPOLLIN | select.EPOLLHUP)
        begin = time.monotonic() + _LEAD_S
        print(f"begin {begin}", flush=True)
        number = 0
        while not self._is_told:
            due = begin + number / rate
            if due - begin >= seconds:
                break
            while not self._is_told and (now := time.monotonic()) < due:
                self._receive(due - now)
            self._send(Sent(f"{self._method}-{number}", due))
            number += 1
        deadline = time.monotonic() + _DRAIN_S
        while self._waiting and time.monotonic() < deadline:
            self._receive(0.1)
        for one in self._waiting.values():
            one.error = "no answer"

    def _send(self, one: Sent) -> None:
        self.all.append(one)
        try:
            number = self._rested.pop() if self._rested else self._connect()
            one.sent_s = time.monotonic()
            self._waiting[number] = one
            self._sockets[number].sendall(f"{self._head}X-Id: {one.id}\r\n\r\n".encode() + self._body)
        except OSError as reason:
            one.error = f"sending: {reason}"

    def _connect(self) -> int:
        made = socket.create_connection(("127.0.0.1", self._port), 10.0)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        number = made.fileno()
        self._sockets[number] = made
        self._buffers[number] = b""
        self._epoll.register(number, select.EPOLLIN)
        return number

    def _receive(self, timeout_s: float) -> None:
        if not select.select([self._epoll], [], [], timeout_s)[0]:
            return
        for number, _ in self._epoll.poll(0):
            if number == 0:
                self._is_told = True
                self._epoll.unregister(0)
                continue
            try:
                data = self._sockets[number].recv(65536)
            except OSError as reason:
                self._drop(number, f"receiving: {reason}")
                continue
            if not data:
                self._drop(number, "closed instead of an answer")
                continue
            self._take(number, self._buffers[number] + data)

    def _take(self, number: int, data: bytes) -> None:
        head, end, body = data.partition(b"\r\n\r\n")
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:]) if end else {}
        length = int(fields.get(b"content-length", b"0"))
        if not end or len(body) < length:
            self._buffers[number] = data
            return
        self._buffers[number] = b""
        one = self._waiting.pop(number, None)
        if one is None or len(body) > length:
            print(f"an answer to nothing: {data[:200]!r}", file=sys.stderr)
            sys.exit(1)
        one.done_s = time.monotonic()
        one.status = int(head[9:12])
        one.backend = fields.get(b"x-backend", b"").decode()
        if fields.get(b"connection") == b"close":
            self._drop(number, "")
        else:
            self._rested.append(number)

    def _drop(self, number: int, error: str) -> None:
        one = self._waiting.pop(number, None)
        if one is not None:
            one.error = error
            one.done_s = time.monotonic()
        if number in self._rested:
            self._rested.remove(number)
        self._epoll.unregister(number)
        self._sockets.pop(number).close()


def main() -> None:
    """Send as the command line says."""
    port, rate, seconds, method = sys.argv[1:]
    client = LoadClient(int(port), method)
    gc.collect()
    gc.disable()
    client.run(float(rate), float(seconds))
    for one in client.all:
        print(json.dumps([one.id, one.due_s, one.sent_s, one.done_s, one.status, one.backend, one.error]))


if __name__ == "__main__":
    main()
