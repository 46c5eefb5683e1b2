"""The client's side of live tests: plain blocking sockets that send what a test says and record what comes."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from .replies import Reply, least_size, read_replies

DEADLINE_S = 30.0
"""How long a test waits for what must happen; no test waits so long unless it fails."""


def wait_for(condition: Callable[[], object], what: str, timeout_s: float = DEADLINE_S) -> None:
    """Wait until a condition holds.

    :param what: the thing awaited, for the message.
    :raises AssertionError: if it does not hold within ``timeout_s`` seconds.
    """
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout_s} s in vain for {what}"
        time.sleep(0.005)


@dataclass(slots=True)
class Exchanged:
    """What one connection received."""

    received: bytes
    closed: bool
    """The peer ended the connection, in whatever way."""
    reset: bool
    """It ended it by a reset."""
    methods: tuple[str, ...] = ()

    @property
    def replies(self) -> list[Reply]:
        """All final replies, strictly read."""
        return read_replies(self.received, self.closed, self.methods)

    @property
    def statuses(self) -> list[int]:
        """Their statuses."""
        return [reply.status for reply in self.replies]

    @property
    def reply(self) -> Reply:
        """The only reply."""
        replies = self.replies
        assert len(replies) == 1, f"{len(replies)} replies in {self.received[:300]!r}"
        return replies[0]


class Client:
    """One connection to a server, to be used as a context manager.

    :param receive_buffer: size of the receive buffer in bytes, for a client that reads slowly; 0: the system's.
    """

    def __init__(self, port: int, address: str = "127.0.0.1", receive_buffer: int = 0) -> None:
        self.received = bytearray()
        self.closed = False
        self.was_reset = False
        self.methods: list[str] = []
        self._read = 0
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(DEADLINE_S)
        self.socket.connect((address, port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def address(self) -> str:
        """Our own end, as the access log and X-Forwarded-For name it."""
        return str(self.socket.getsockname()[0])

    def close(self) -> None:
        """Close the connection."""
        self.socket.close()

    def reset(self) -> None:
        """Close the connection by a reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def half_close(self) -> None:
        """Shut down the sending side."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)

    def send(self, data: bytes, timeout_s: float = DEADLINE_S) -> bool:
        """Send all of ``data``, taking in what comes meanwhile.

        :return: False if the peer went away before.
        :raises AssertionError: if it is not taken within ``timeout_s`` seconds.
        """
        view = memoryview(data)
        deadline = time.monotonic() + timeout_s
        self.socket.setblocking(False)
        try:
            while view and not self.closed:
                readable, writable, _ = select.select([self.socket], [self.socket], [], deadline - time.monotonic())
                assert readable or writable, f"{len(view)} bytes were not taken within {timeout_s} s"
                if readable:
                    self._take()
                    continue
                try:
                    view = view[self.socket.send(view) :]
                except BlockingIOError:
                    continue
                except OSError:
                    self._drain()
            return not view
        finally:
            self.socket.setblocking(True)
            self.socket.settimeout(DEADLINE_S)

    def _drain(self) -> None:
        # The peer is gone for what we send; what it said before still stands in the buffer.
        while not self.closed:
            self._take()

    def _take(self, at_most: int = 1 << 16) -> bytes:
        try:
            data = self.socket.recv(at_most)
        except BlockingIOError:
            return b""
        except OSError as error:
            if isinstance(error, TimeoutError):
                raise
            self.closed = self.was_reset = True
            return b""
        if data:
            self.received += data
        else:
            self.closed = True
        return data

    def read_until(self, condition: Callable[[], object], timeout_s: float = DEADLINE_S) -> bool:
        """Take in what comes until a condition holds or the peer ends the connection.

        :return: whether the condition holds; False also after ``timeout_s`` seconds.
        """
        deadline = time.monotonic() + timeout_s
        while not condition():
            if self.closed:
                return bool(condition())
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            self.socket.settimeout(left)
            try:
                self._take()
            except TimeoutError:
                return bool(condition())
        return True

    def read_until_closed(self, timeout_s: float = DEADLINE_S) -> bool:
        """Take in what comes until the peer ends the connection; return whether it did."""
        self.read_until(lambda: self.closed, timeout_s)
        return self.closed

    def read_some(self, at_most: int) -> bytes:
        """Take in at most so many bytes, waiting for the first one; empty if the peer ended the connection."""
        return self._take(at_most)

    def request(
        self,
        target: str = "/",
        method: str = "GET",
        host: str = "a.example",
        body: bytes | None = None,
        fields: str = "",
    ) -> Reply:
        """Send a well-formed request and return its reply.

        :param fields: further field lines, each with its CRLF.
        """
        length = "" if body is None else f"Content-Length: {len(body)}\r\n"
        head = f"{method} {target} HTTP/1.1\r\nHost: {host}\r\n{length}{fields}\r\n"
        self.send(head.encode("latin-1") + (body or b""))
        return self.reply(method)

    def reply(self, method: str = "GET", timeout_s: float = DEADLINE_S) -> Reply:
        """Return the next reply on this connection.

        :raises AssertionError: if none has come within ``timeout_s`` seconds, or the connection ended before one.
        """
        found: list[Reply] = []
        needed = 0

        def complete() -> bool:
            nonlocal needed
            if self.closed or len(self.received) - self._read > needed:
                data = bytes(self.received[self._read :])
                found[:] = read_replies(data, self.closed, (method,))[:1]
                needed = max(len(data), least_size(data, method) - 1)
            return bool(found)

        self.read_until(complete, timeout_s)
        assert found, f"no reply; closed={self.closed}; received {bytes(self.received[self._read :][:300])!r}"
        self.methods.append(method)
        self._read += found[0].size
        return found[0]

    def exchanged(self) -> Exchanged:
        """Return all that came so far."""
        return Exchanged(bytes(self.received), self.closed, self.was_reset, tuple(self.methods))


def pieces_of(data: bytes, split: str | int | Iterable[int] | None) -> list[bytes]:
    """Cut data as a test says: not at all, ``"bytes"`` into single bytes, or at one or several positions."""
    if split is None:
        return [data]
    if split == "bytes":
        return [data[n : n + 1] for n in range(len(data))]
    assert not isinstance(split, str), split
    points = [0, *([split] if isinstance(split, int) else sorted(split)), len(data)]
    return [data[start:end] for start, end in zip(points, points[1:], strict=False) if start < end]


def raw_exchange(
    port: int,
    data: bytes,
    *,
    split: str | int | Iterable[int] | None = None,
    replies: int | None = None,
    half_close: bool = False,
    methods: Sequence[str] = (),
    timeout_s: float = DEADLINE_S,
    address: str = "127.0.0.1",
) -> Exchanged:
    """Send bytes on a new connection and return what came back.

    :param split: how the bytes are cut into sends, see ``pieces_of``.
    :param replies: read no further once so many final replies are complete; None: read until the peer closes.
    :param half_close: shut down the sending side after the last byte.
    :param methods: of the requests, so that replies to HEAD are understood.
    """
    with Client(port, address) as client:
        client.methods = list(methods)
        for piece in pieces_of(data, split):
            if not client.send(piece, timeout_s):
                break
        if half_close:
            client.half_close()
        if replies is None:
            client.read_until_closed(timeout_s)
        else:
            client.read_until(lambda: len(client.exchanged().replies) >= replies, timeout_s)
        return client.exchanged()
