"""A backend that reads request bodies and counts them: ``python -m bench.sink PORT``.

One thread for all connections, as a thread for each would take more than any proxy. Bodies are dropped inside the
kernel (see :mod:`bench.bulk`). The reply comes when the whole body has been read, and says how long it was; it is an
error if that is not what the target says, so that a client that sees no reply bodies knows it too.
"""

from __future__ import annotations

import contextlib
import re
import select
import socket
import sys

from bench.bulk import CHUNK

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+) *\r\n")
_EXPECTED = re.compile(rb"post /sink/(\d+) ")
_MAX_HEAD = 65536


class WrongRequestError(Exception):
    """A request that this backend does not read."""


def reply(status: bytes, content: bytes, *, last: bool = False) -> bytes:
    """Return a whole reply.

    :param last: say that the connection ends with it.
    """
    end = b"Connection: close\r\n" if last else b""
    return b"HTTP/1.1 %b\r\nContent-Type: text/plain\r\n%bContent-Length: %d\r\n\r\n%b" % (
        status,
        end,
        len(content),
        content,
    )


class Reading:
    """What has come on one connection. Pure: bytes in, replies out."""

    __slots__ = ("_length", "_pending", "_right", "ended", "left")

    def __init__(self) -> None:
        self._pending = b""
        self._length = 0
        self._right = True
        self.left = 0
        """Bytes of the body that are still to come."""
        self.ended = False
        """Whether the last reply is the last one of the connection."""

    def received(self, data: bytes) -> bytes:
        """Take bytes that begin outside of a body; return the replies to what is complete.

        :raises WrongRequestError: a body without a length, or an endless head.
        """
        replies = b""
        data = self._pending + data
        while data and not self.ended:
            head, end, rest = data.partition(b"\r\n\r\n")
            if not end:
                if len(data) > _MAX_HEAD:
                    raise WrongRequestError("an endless head")
                break
            self._begin(head.lower() + b"\r\n")
            came = min(self.left, len(rest))
            replies += self.counted(came)
            data = rest[came:]
        self._pending = data
        return replies

    def _begin(self, head: bytes) -> None:
        if b"\r\ntransfer-encoding:" in head:
            raise WrongRequestError("a body without a length")
        length, expected = _LENGTH.search(head), _EXPECTED.match(head)
        self._length = self.left = int(length[1]) if length else 0
        self._right = expected is None or int(expected[1]) == self._length
        self.ended = b" http/1.0\r\n" in head or b"\r\nconnection: close\r\n" in head

    def counted(self, count: int) -> bytes:
        """Take *count* bytes of the body; return the reply if it is complete."""
        self.left -= count
        if self.left:
            return b""
        return reply(b"200 OK" if self._right else b"500 Wrong Count", b"%d" % self._length, last=self.ended)


class Sink:
    """All connections of the backend."""

    def __init__(self, server: socket.socket) -> None:
        self._server = server
        self._epoll = select.epoll()
        self._connections: dict[int, tuple[socket.socket, Reading]] = {}
        # The kernel copies nothing into it with MSG_TRUNC, yet the call wants a buffer of the full size.
        self._buffer = bytearray(CHUNK)
        server.setblocking(False)
        self._epoll.register(server, select.EPOLLIN)

    def serve(self) -> None:
        """Serve until the process is ended."""
        while True:
            for number, _ in self._epoll.poll():
                if number == self._server.fileno():
                    self._accept()
                else:
                    self._read(number)

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                sock, _ = self._server.accept()
                sock.setblocking(False)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._connections[sock.fileno()] = sock, Reading()
                self._epoll.register(sock, select.EPOLLIN)

    def _read(self, number: int) -> None:
        sock, reading = self._connections[number]
        try:
            if reading.left:
                count = sock.recv_into(self._buffer, min(reading.left, CHUNK), socket.MSG_TRUNC)
                answer = reading.counted(count)
            else:
                data = sock.recv(65536)
                count, answer = len(data), reading.received(data)
            if answer:
                # A few hundred bytes: they have room wherever an answer is read before the next request is sent.
                sock.sendall(answer)
        except BlockingIOError:
            return
        except (OSError, WrongRequestError):
            count = 0
        if not count or (reading.ended and not reading.left):
            self._epoll.unregister(number)
            del self._connections[number]
            sock.close()


def main() -> None:
    """Serve on the port of the command line."""
    with socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=4096) as server:
        Sink(server).serve()


if __name__ == "__main__":
    main()
