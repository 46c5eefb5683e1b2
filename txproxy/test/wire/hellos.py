"""ClientHellos, made from their parts as RFC 8446 section 4.1.2 and RFC 6066 have them."""

from __future__ import annotations

from collections.abc import Sequence


def vector(size: int, content: bytes) -> bytes:
    """Return content with its length before it.

    :param size: of the length, in bytes.
    """
    return len(content).to_bytes(size, "big") + content


def extension(kind: int, content: bytes) -> bytes:
    """Return an extension."""
    return kind.to_bytes(2, "big") + vector(2, content)


def server_name(*names: bytes, kind: int = 0) -> bytes:
    """Return the extension that names servers."""
    return extension(0, vector(2, b"".join(bytes([kind]) + vector(2, name) for name in names)))


def alpn(*protocols: bytes) -> bytes:
    """Return the extension that offers protocols."""
    return extension(16, vector(2, b"".join(vector(1, protocol) for protocol in protocols)))


def body(extensions: bytes | None = b"", session: bytes = b"s" * 32) -> bytes:
    """Return the body of a ClientHello.

    :param extensions: None for a client that knows of none.
    """
    start = b"\x03\x03" + b"r" * 32 + vector(1, session) + vector(2, b"\x13\x01\x0a\x0a") + vector(1, b"\0")
    return start if extensions is None else start + vector(2, extensions)


def message(content: bytes, kind: int = 1) -> bytes:
    """Return a message of a handshake."""
    return bytes([kind]) + vector(3, content)


def records(content: bytes, most: int = 16384, kind: int = 22, version: bytes = b"\x03\x01") -> bytes:
    """Return content in records of at most so many bytes."""
    pieces = [content[start : start + most] for start in range(0, len(content), most)]
    return b"".join(bytes([kind]) + version + vector(2, piece) for piece in pieces)


def hello(name: bytes = b"", protocols: Sequence[bytes] = (), more: bytes = b"", most: int = 16384) -> bytes:
    """Return a whole ClientHello in its records.

    :param more: further extensions, before the others.
    :param most: bytes of a record.
    """
    extensions = more
    if name:
        extensions += server_name(name)
    if protocols:
        extensions += alpn(*protocols)
    return records(message(body(extensions)), most)
