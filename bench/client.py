"""A small keep-alive client for exact numbers of requests."""

from __future__ import annotations

import socket
from collections.abc import Iterable

from bench.bulk import connect, content_length, read_head


class ReplyError(Exception):
    """A reply that was not a complete 200."""


def request_bytes(target: str = "/") -> bytes:
    """Return a request without a body."""
    return f"GET {target} HTTP/1.1\r\nHost: bench\r\n\r\n".encode()


def read_reply(sock: socket.socket) -> int:
    """Read one whole reply with a Content-Length; return the length of its body.

    :raises ReplyError: it is not a 200, or was cut.
    """
    head = read_head(sock)
    if b" 200 " not in head[:16]:
        raise ReplyError(f"unexpected reply {head[:120]!r}")
    length = content_length(head)
    if len(sock.recv(length, socket.MSG_WAITALL)) != length:
        raise ReplyError("the body was cut")
    return length


def ask(sockets: Iterable[socket.socket], target: str = "/") -> None:
    """Send one request on each of *sockets* at once, then read every reply."""
    asked = list(sockets)
    for sock in asked:
        sock.sendall(request_bytes(target))
    for sock in asked:
        read_reply(sock)


def fetch(port: int, target: str = "/", timeout_s: float = 10.0) -> int:
    """Send one request on a connection of its own; return the length of the reply's body."""
    with connect(port, timeout_s) as sock:
        sock.sendall(request_bytes(target))
        return read_reply(sock)


def field_of(port: int, target: str, name: bytes) -> bytes:
    """Return the value of a field of the reply to one request, or an empty string."""
    with connect(port, 10.0) as sock:
        sock.sendall(request_bytes(target))
        return field_in(read_head(sock), name)


def field_in(head: bytes, name: bytes) -> bytes:
    """Return the value of a field of *head*, or an empty string; HAProxy spells names in small letters."""
    for line in head.split(b"\r\n")[1:]:
        key, _, value = line.partition(b":")
        if key.lower() == name.lower():
            return value.strip()
    return b""


def send_requests(port: int, first: int, count: int, connections: int = 16, target: str = "/item/{0}?n={0}") -> None:
    """Send exactly *count* requests with targets that all differ, numbered from *first*.

    :param target: ``{0}`` in it stands for the number.
    """
    sockets = [connect(port, 10.0) for _ in range(connections)]
    try:
        for start in range(first, first + count, connections):
            used = sockets[: min(connections, first + count - start)]
            for index, sock in enumerate(used):
                sock.sendall(request_bytes(target.format(start + index)))
            for sock in used:
                read_reply(sock)
    finally:
        for sock in sockets:
            sock.close()
