"""Large bodies in both directions without a disk: a backend (``python -m bench.bulk PORT``) and the clients.

Received bytes are counted and dropped inside the kernel (MSG_TRUNC, see tcp(7)) and sent ones come from a small
file in memory, so that neither end is slower than the proxy between them.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import socket
import struct
import sys
import threading
from collections.abc import Iterable

CHUNK = 1 << 20
_MAX_HEAD = 65536
# Linux's number; the socket module of Python 3.11 does not name it.
IP_BIND_ADDRESS_NO_PORT = 24

Option = tuple[int, int, int]
"""Level, name and value, as of setsockopt()."""


class BulkError(Exception):
    """A transfer broke off, or its reply was not the one expected."""


def connect(port: int, timeout_s: float, source: str = "", options: Iterable[Option] = ()) -> socket.socket:
    """Open a blocking connection to a loopback port.

    The timeout is the kernel's: Python's own would make the socket non-blocking, and with that MSG_WAITALL and
    sendfile() return early.

    :param source: the address to come from; any if empty.
    :param options: set before it connects.
    """
    sock = socket.socket()
    for option in options:
        sock.setsockopt(*option)
    limit = struct.pack("@ll", int(timeout_s), 0)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
    try:
        if source:
            # Otherwise a port is reserved for all destinations at bind, before the destination is known (ip(7)).
            sock.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
            sock.bind((source, 0))
        sock.connect(("127.0.0.1", port))
    except OSError:
        sock.close()
        raise
    return sock


def content() -> bytes:
    """Return the CHUNK bytes that bodies consist of, over and over; within them nothing comes twice."""
    return random.Random(1).randbytes(CHUNK)


def memory_file() -> int:
    """Return the descriptor of a file of :func:`content` that exists in memory only."""
    descriptor = os.memfd_create("bench")
    os.write(descriptor, content())
    return descriptor


def send_bytes(sock: socket.socket, source: int, count: int) -> None:
    """Send *count* bytes from the file of :func:`memory_file`, over and over."""
    left = count
    while left:
        offset = (count - left) % CHUNK
        left -= os.sendfile(sock.fileno(), source, offset, min(left, CHUNK - offset))


def drop_bytes(sock: socket.socket, count: int) -> int:
    """Receive and drop up to *count* bytes; return how many came before the peer closed."""
    # The kernel copies nothing into it with MSG_TRUNC, yet the call wants a buffer of the full size.
    buffer = bytearray(CHUNK)
    got = 0
    while got < count:
        step = sock.recv_into(buffer, min(CHUNK, count - got), socket.MSG_TRUNC)
        if not step:
            break
        got += step
    return got


def read_head(sock: socket.socket) -> bytes:
    """Return one message head, with its empty line, and leave what follows in the socket.

    :raises BulkError: the peer closed inside the head, or the head is over 64 KiB.
    """
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        seen = sock.recv(_MAX_HEAD, socket.MSG_PEEK)
        if not seen:
            if head:
                raise BulkError("closed inside a head")
            return b""
        joined = head + seen
        end = joined.find(b"\r\n\r\n")
        take = len(seen) if end < 0 else end + 4 - len(head)
        head += sock.recv(take)
        if len(head) > _MAX_HEAD:
            raise BulkError("a head over 64 KiB")
    return head


def content_length(head: bytes) -> int:
    """Return the Content-Length of *head*, 0 without one."""
    found = re.search(rb"\r\ncontent-length:\s*(\d+)", head, re.IGNORECASE)
    return int(found[1]) if found else 0


def download(port: int, count: int, timeout_s: float = 300.0) -> int:
    """GET *count* bytes through a loopback port; return how many came."""
    with connect(port, timeout_s) as sock:
        sock.sendall(b"GET /bytes/%d HTTP/1.1\r\nHost: bench\r\n\r\n" % count)
        head = read_head(sock)
        if b" 200 " not in head[:16] or content_length(head) != count:
            raise BulkError(f"unexpected reply {head[:200]!r}")
        return drop_bytes(sock, count)


def upload(port: int, count: int, timeout_s: float = 300.0) -> int:
    """POST *count* bytes through a loopback port; return how many the backend says it got."""
    with connect(port, timeout_s) as sock, contextlib.ExitStack() as stack:
        source = memory_file()
        stack.callback(os.close, source)
        sock.sendall(
            b"POST /sink HTTP/1.1\r\nHost: bench\r\nContent-Type: application/octet-stream\r\n"
            b"Content-Length: %d\r\n\r\n" % count
        )
        send_bytes(sock, source, count)
        head = read_head(sock)
        body = sock.recv(content_length(head), socket.MSG_WAITALL)
        if b" 200 " not in head[:16] or not body.isdigit():
            raise BulkError(f"unexpected reply {head[:200]!r}")
        return int(body)


def verdict(head: bytes, got: int) -> bytes:
    """Return the status of the reply to *head*, after which *got* bytes came.

    A client that sees no reply bodies asks for ``/sink/COUNT``: a count that is not met is an error by its status.
    """
    expected = re.match(rb"POST /sink/(\d+) ", head)
    return b"200 OK" if not expected or int(expected[1]) == got else b"500 Wrong Count"


def answer(sock: socket.socket, source: int) -> None:
    """Serve one backend connection until its peer closes."""
    with sock, contextlib.suppress(BulkError, OSError):
        while head := read_head(sock):
            got = drop_bytes(sock, content_length(head))
            wanted = re.match(rb"GET /bytes/(\d+) ", head)
            count = int(wanted[1]) if wanted else 0
            body = b"" if wanted else b"%d" % got
            sock.sendall(
                b"HTTP/1.1 %b\r\nContent-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n%b"
                % (verdict(head, got), count or len(body), body)
            )
            send_bytes(sock, source, count)


def serve(port: int) -> None:
    """Accept backend connections for ever, a thread for each."""
    source = memory_file()
    with socket.create_server(("127.0.0.1", port), backlog=4096) as server:
        while True:
            sock, _ = server.accept()
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=answer, args=(sock, source), daemon=True).start()


if __name__ == "__main__":
    serve(int(sys.argv[1]))
