"""A strict reader of what a client receives: replies, and how each of them ended."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

_STATUS_LINE = re.compile(rb"(HTTP/1\.[01]) ([1-9][0-9]{2}) ([\t\x20-\x7e\x80-\xff]*)")
_FIELD = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[\t ]*([\t\x20-\x7e\x80-\xff]*?)[\t ]*")
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})(?:;.*)?")


class NotHttp(AssertionError):
    """What came is no reply of HTTP/1."""


@dataclass(slots=True)
class Reply:
    """One reply as a client received it."""

    version: bytes
    status: int
    reason: bytes
    fields: list[tuple[bytes, bytes]]
    body: bytes = field(default=b"", repr=False)
    ended: str = "none"
    """How the body ended: ``none``, ``length``, ``chunked``, ``close``, or ``truncated`` before its end."""
    trailers: list[tuple[bytes, bytes]] = field(default_factory=list)
    interim: list[Reply] = field(default_factory=list)
    """The 1xx replies before it."""
    size: int = 0
    """Bytes of all of it on the wire, its 1xx replies included."""

    @property
    def complete(self) -> bool:
        """Whether it came to its proper end."""
        return self.ended != "truncated"

    def values(self, name: str) -> list[str]:
        """Return all values of a field in order."""
        return [value.decode("latin-1") for spelled, value in self.fields if spelled.lower() == name.lower().encode()]

    def value(self, name: str) -> str | None:
        """Return the only value of a field, None if it is absent, or fail if it stands there twice."""
        values = self.values(name)
        assert len(values) <= 1, f"{name} stands there {len(values)} times: {values}"
        return values[0] if values else None


def _head(data: bytes, start: int) -> tuple[Reply, int] | None:
    end = data.find(b"\r\n\r\n", start)
    if end < 0:
        return None
    lines = data[start:end].split(b"\r\n")
    found = _STATUS_LINE.fullmatch(lines[0])
    if found is None:
        raise NotHttp(f"not a status line: {lines[0][:120]!r}")
    fields = []
    for line in lines[1:]:
        one = _FIELD.fullmatch(line)
        if one is None:
            raise NotHttp(f"not a field: {line[:120]!r}")
        fields.append((one[1], one[2]))
    return Reply(found[1], int(found[2]), found[3], fields), end + 4


def _chunks(data: bytes, start: int, reply: Reply) -> int:
    """Read a chunked body into ``reply``; return where it ends, or -1 if it does not end."""
    pieces: list[bytes] = []
    position = start
    while True:
        end = data.find(b"\r\n", position)
        if end < 0:
            break
        found = _SIZE.fullmatch(data[position:end])
        if found is None:
            raise NotHttp(f"not a chunk size: {data[position:end][:120]!r}")
        size, position = int(found[1], 16), end + 2
        if size == 0:
            reply.body = b"".join(pieces)
            return _trailers(data, position, reply)
        pieces.append(data[position : position + size])
        if len(data) < position + size + 2:
            break
        if data[position + size : position + size + 2] != b"\r\n":
            raise NotHttp("chunk data that is not followed by CRLF")
        position += size + 2
    reply.body = b"".join(pieces)
    return -1


def _trailers(data: bytes, position: int, reply: Reply) -> int:
    while True:
        end = data.find(b"\r\n", position)
        if end < 0:
            return -1
        if end == position:
            return end + 2
        one = _FIELD.fullmatch(data[position:end])
        if one is None:
            raise NotHttp(f"not a trailer: {data[position:end][:120]!r}")
        reply.trailers.append((one[1], one[2]))
        position = end + 2


def _body(data: bytes, start: int, closed: bool, method: str, reply: Reply) -> int:
    """Read a reply's body; return where it ends, or -1 if more must come."""
    lengths, codings = reply.values("content-length"), reply.values("transfer-encoding")
    if codings and (lengths or codings != ["chunked"] or reply.version == b"HTTP/1.0"):
        raise NotHttp(f"Transfer-Encoding {codings} with Content-Length {lengths} in {reply.version!r}")
    if len(lengths) > 1 or (lengths and not re.fullmatch("[0-9]+", lengths[0])):
        raise NotHttp(f"Content-Length {lengths}")
    if reply.status == 204 and (lengths or codings):
        raise NotHttp("204 with a length")
    if method == "HEAD" or reply.status in (204, 304) or (method == "CONNECT" and reply.status < 300):
        return start
    if codings:
        end = _chunks(data, start, reply)
        reply.ended = "chunked" if end >= 0 else "truncated"
        return end
    if lengths:
        end = start + int(lengths[0])
        reply.body = data[start:end]
        reply.ended = "length" if len(data) >= end else "truncated"
        return end if len(data) >= end else -1
    reply.body = data[start:]
    reply.ended = "close" if closed else "truncated"
    return len(data) if closed else -1


def least_size(data: bytes, method: str) -> int:
    """Return how many bytes the first reply has at least, so that a long one is not read again and again.

    :param method: of the request that it answers.
    """
    found = _head(data, 0)
    if found is None or found[0].status < 200 or method == "HEAD":
        return 0
    length = found[0].value("content-length")
    return found[1] + int(length) if length is not None and length.isdecimal() else found[1]


def read_replies(data: bytes, closed: bool, methods: Sequence[str] = ()) -> list[Reply]:
    """Read all replies in what one connection received.

    :param closed: the connection has ended; a body may then be truncated, and one without a length is complete.
    :param methods: of the requests in order; GET for those that are missing.
    :return: final replies; while ``closed`` is false only complete ones.
    :raises NotHttp: for anything that RFC 9112 does not allow, also for bytes after the end of what was asked for.
    """
    replies: list[Reply] = []
    position, begun = 0, 0
    interim: list[Reply] = []
    while position < len(data):
        found = _head(data, position)
        if found is None:
            if closed:
                raise NotHttp(f"cut within a head: {data[position:][:120]!r}")
            break
        reply, position = found
        if reply.status < 200 and reply.status != 101:
            interim.append(reply)
            continue
        method = methods[len(replies)] if len(replies) < len(methods) else "GET"
        end = len(data) if reply.status == 101 else _body(data, position, closed, method, reply)
        if end < 0 and not closed:
            break
        reply.interim, interim = interim, []
        reply.size = (end if end >= 0 else len(data)) - begun
        replies.append(reply)
        if end < 0:
            break
        position = begun = end
    return replies
