"""The beginning of a TLS connection, read and not answered: whom a client asks for, and what it wants to speak.

A ClientHello (RFC 8446 section 4.1.2) may come in any number of pieces, records and fragments. It is read to choose a
server that it is passed on to, byte for byte, so that what is read here has to be what that server will read: what is
ambiguous counts as nothing.
"""

from __future__ import annotations

import re
from typing import NamedTuple

MOST_BYTES = 16384
"""Of a ClientHello with its record headers; those of browsers have 2 KiB with a key share of ML-KEM."""

_HANDSHAKE = 22
_CLIENT_HELLO = 1
_MAJOR_VERSION = 3
_RECORD_HEADER_BYTES = 5
_MOST_FRAGMENT_BYTES = 16384
_MESSAGE_HEADER_BYTES = 4

_SERVER_NAME = 0
_HOST_NAME = 0
_ALPN = 16

_NAME = re.compile(rb"[a-z0-9_.-]{1,255}")


class ClientHello(NamedTuple):
    """What a client has said before anybody answered."""

    server_name: str = ""
    """Lower case, without a dot at its end (SNI, RFC 6066 section 3); empty if it names none. With Encrypted Client
    Hello it is the public name."""
    protocols: tuple[str, ...] = ()
    """What it offers to speak, in its order (ALPN, RFC 7301), in Latin-1."""
    problem: str = ""
    """Why nothing was read: ``not TLS``, ``too long`` or ``malformed``."""


_NOT_TLS = ClientHello(problem="not TLS")
_TOO_LONG = ClientHello(problem="too long")
_MALFORMED = ClientHello(problem="malformed")


class ClientHelloReader:
    """Reads the ClientHello at the beginning of a connection, and keeps all that comes meanwhile."""

    __slots__ = ("_at", "_left", "_message", "received")

    def __init__(self) -> None:
        self.received = bytearray()
        """All that has been fed, to be passed on."""
        self._at = 0
        """Where what was not looked at yet begins."""
        self._left = 0
        """What is still to come of the current record."""
        self._message = bytearray()

    def feed(self, data: bytes) -> ClientHello | None:
        """Take what has come.

        :return: what the client says, as soon as that is settled; None as long as more has to come. Never raises.
        """
        self.received += data
        end = min(len(self.received), MOST_BYTES)
        while self._at < end:
            if not self._left:
                problem = self._begin_record(end)
                if problem is not None:
                    return problem
                if not self._left or self._at == end:
                    break
            fragment = self.received[self._at : min(end, self._at + self._left)]
            self._message += fragment
            self._at += len(fragment)
            self._left -= len(fragment)
            found = self._look()
            if found is not None:
                return found
        return _TOO_LONG if end == MOST_BYTES else None

    def _begin_record(self, end: int) -> ClientHello | None:
        """Read the header of a record, if all of it has come; return what speaks against it."""
        header = self.received[self._at : min(end, self._at + _RECORD_HEADER_BYTES)]
        if header[0] != _HANDSHAKE or len(header) > 1 and header[1] != _MAJOR_VERSION:
            return _NOT_TLS
        if len(header) == _RECORD_HEADER_BYTES:
            self._left = int.from_bytes(header[3:], "big")
            if not 0 < self._left <= _MOST_FRAGMENT_BYTES:
                return _NOT_TLS
            self._at += _RECORD_HEADER_BYTES
        return None

    def _look(self) -> ClientHello | None:
        """Return what the message says, or what speaks against it; None as long as more of it has to come."""
        message = self._message
        if message[0] != _CLIENT_HELLO:
            return _NOT_TLS
        if len(message) < _MESSAGE_HEADER_BYTES:
            return None
        end = _MESSAGE_HEADER_BYTES + int.from_bytes(message[1:4], "big")
        if end > MOST_BYTES:
            return _TOO_LONG
        return _parse(bytes(message[_MESSAGE_HEADER_BYTES:end])) if len(message) >= end else None


class _Malformed(Exception):
    pass


class _Cursor:
    """Takes vectors (RFC 8446 section 3.4) from the front of some bytes."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def take(self, count: int) -> bytes:
        end = self._at + count
        if end > len(self._data):
            raise _Malformed
        taken = self._data[self._at : end]
        self._at = end
        return taken

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def vector(self, size: int) -> bytes:
        return self.take(self.number(size))


def _parse(body: bytes) -> ClientHello:
    """Return what the body of a ClientHello says."""
    try:
        return _read(_Cursor(body))
    except _Malformed:
        return _MALFORMED


def _read(cursor: _Cursor) -> ClientHello:
    cursor.take(2 + 32)  # Version and random.
    cursor.vector(1)  # Session id.
    cursor.vector(2)  # Cipher suites.
    cursor.vector(1)  # Compression methods.
    if not cursor:
        return ClientHello()  # Before TLS 1.3 there need be no extensions.
    extensions = _Cursor(cursor.vector(2))
    if cursor:
        raise _Malformed
    found: dict[int, bytes] = {}
    while extensions:
        kind, content = extensions.number(2), extensions.vector(2)
        if kind in (_SERVER_NAME, _ALPN):
            if kind in found:
                raise _Malformed  # RFC 8446 section 4.2 forbids it: whom would the server take it to mean?
            found[kind] = content
    name = _server_name(found[_SERVER_NAME]) if _SERVER_NAME in found else ""
    protocols = _protocols(found[_ALPN]) if _ALPN in found else ()
    return ClientHello(name, protocols)


def _server_name(content: bytes) -> str:
    names = _list_of(content)
    found = b""
    while names:
        kind, name = names.number(1), names.vector(2)
        if kind == _HOST_NAME:
            if found or not name:
                raise _Malformed  # No more than one name of a type (RFC 6066 section 3).
            found = name
    found = found.lower().removesuffix(b".")
    if found and not _NAME.fullmatch(found):
        raise _Malformed
    return found.decode("ascii")


def _protocols(content: bytes) -> tuple[str, ...]:
    names = _list_of(content)
    protocols = []
    while names:
        name = names.vector(1)
        if not name:
            raise _Malformed
        protocols.append(name.decode("latin-1"))
    return tuple(protocols)


def _list_of(content: bytes) -> _Cursor:
    """Return what stands in an extension that is one list, which may not be empty."""
    cursor = _Cursor(content)
    listed = _Cursor(cursor.vector(2))
    if cursor or not listed:
        raise _Malformed
    return listed
