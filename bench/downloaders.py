"""Many clients that download at once: ``python -m bench.downloaders PORT CLIENTS EACH``.

Each client keeps one connection and asks for the next body of 1 MiB as soon as it has the last one. All of them
download once, then ``ready N`` is printed and a line of standard input (or its end) waited for; then each downloads
EACH times, and ``done`` is printed with one JSON object.

Every head is read and every byte counted; bodies are dropped inside the kernel, but for those of every sixteenth
client, which are compared with what the backend sends.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time
from collections.abc import Iterable

from bench.bulk import CHUNK, connect, content, content_length
from bench.client import request_bytes
from bench.holder import is_alive, source
from bench.paced import quantile

TIMEOUT_S = 30.0
REQUEST = request_bytes("/mebibyte")
CHECKED_EVERY = 16


class WrongReplyError(Exception):
    """A reply was not the one that was asked for."""


class Downloader:
    """One client, which downloads the same 1 MiB again and again.

    :param sock: its connection.
    :param expected: what the body must be; None to count its bytes only.
    """

    __slots__ = ("_begun_ns", "_expected", "_head", "_left", "_sock", "left")

    def __init__(self, sock: socket.socket, expected: memoryview | None = None) -> None:
        self._sock = sock
        self._expected = expected
        self._begun_ns = 0
        self._head: bytes | None = b""
        self._left = 0
        self.left = 0
        """Downloads that are still to be made."""

    def begin(self, count: int) -> None:
        """Ask for the first of *count* downloads."""
        self.left = count
        self._ask()

    def _ask(self) -> None:
        self._head, self._left = b"", CHUNK
        self._begun_ns = time.monotonic_ns()
        self._sock.sendall(REQUEST)

    def receive(self, buffer: memoryview) -> int:
        """Take what has come.

        :param buffer: to read into, and never more at once than it holds; one for all clients.
        :return: the nanoseconds of the download that is complete with it, 0 if none is.
        :raises WrongReplyError: something else came than what was asked for, or the end.
        """
        if self._head is not None:
            self._receive_head(min(65536, len(buffer)))
        else:
            flags = socket.MSG_TRUNC if self._expected is None else 0
            got = self._sock.recv_into(buffer, min(self._left, len(buffer)), flags)
            if not got:
                raise WrongReplyError(f"closed {self._left} bytes before the end of a body")
            self._count(buffer[:got])
        if self._left or self._head is not None:
            return 0
        took = time.monotonic_ns() - self._begun_ns
        self.left -= 1
        if self.left:
            self._ask()
        return took

    def _receive_head(self, most: int) -> None:
        assert self._head is not None
        step = self._sock.recv(most)
        if not step:
            raise WrongReplyError("closed before a reply")
        head, end, body = (self._head + step).partition(b"\r\n\r\n")
        if not end:
            self._head = head
            return
        if not head.startswith(b"HTTP/1.1 200 ") or content_length(head) != CHUNK:
            raise WrongReplyError(f"unexpected reply {head[:200]!r}")
        self._head = None
        self._count(memoryview(body))

    def _count(self, data: memoryview) -> None:
        at = CHUNK - self._left
        self._left -= len(data)
        if self._left < 0:
            raise WrongReplyError(f"{-self._left} bytes after a body")
        if self._expected is not None and data != self._expected[at : at + len(data)]:
            raise WrongReplyError(f"other bytes than the backend's between {at} and {at + len(data)}")


class Downloads:
    """All clients together.

    :param sockets: their connections, which must not block.
    """

    def __init__(self, sockets: Iterable[socket.socket]) -> None:
        expected = memoryview(content())
        self._epoll = select.epoll()
        self._clients: dict[int, Downloader] = {}
        self._buffer = memoryview(bytearray(CHUNK))
        self.times_ns: list[int] = []
        self.errors: list[str] = []
        for index, sock in enumerate(sockets):
            self._clients[sock.fileno()] = Downloader(sock, None if index % CHECKED_EVERY else expected)
            self._epoll.register(sock, select.EPOLLIN)

    def run(self, each: int, timeout_s: float = TIMEOUT_S) -> None:
        """Have every client download *each* times.

        :param timeout_s: how long nothing may come.
        """
        under_way = len(self._clients)
        for client in self._clients.values():
            client.begin(each)
        while under_way:
            events = self._epoll.poll(timeout_s)
            if not events:
                self.errors.append(f"nothing came for {timeout_s:.0f} s, {under_way} clients wait")
                return
            for number, _ in events:
                client = self._clients[number]
                try:
                    took = client.receive(self._buffer)
                except (WrongReplyError, OSError) as error:
                    self.errors.append(f"{type(error).__name__}: {error}")
                    self._epoll.unregister(number)
                    del self._clients[number]
                    under_way -= 1
                    continue
                if took:
                    self.times_ns.append(took)
                    under_way -= not client.left


def main() -> None:
    """Warm up, report, wait, download, report."""
    port, clients, each = (int(word) for word in sys.argv[1:])
    sockets = [connect(port, TIMEOUT_S, source(index)) for index in range(clients)]
    for sock in sockets:
        sock.setblocking(False)
    downloads = Downloads(sockets)
    downloads.run(1)
    downloads.times_ns.clear()
    print(f"ready {clients - len(downloads.errors)}", flush=True)
    sys.stdin.readline()
    downloads.run(each)
    closed = sum(not is_alive(sock) for sock in sockets)
    if closed:
        downloads.errors.append(f"{closed} connections were closed, or had more to read")
    report = {
        "done": len(downloads.times_ns),
        "errors": len(downloads.errors),
        "first_error": downloads.errors[0] if downloads.errors else "",
        "p50_ms": quantile(downloads.times_ns, 0.5) / 1e3,
        "p99_ms": quantile(downloads.times_ns, 0.99) / 1e3,
    }
    print(f"done {json.dumps(report)}", flush=True)


if __name__ == "__main__":
    main()
