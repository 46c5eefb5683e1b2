"""Reads messages as a connection does, from pieces, and says in plain values what came out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from txproxy.errors import BadBody, BadReply, ProxyError
from txproxy.wire.bodies import ChunkedReader, LengthReader, UntilCloseReader, write_chunk
from txproxy.wire.fields import Field, FieldTokenizer
from txproxy.wire.forwarding import PLAIN_RULES, Hop, RequestRules, make_hop, write_last_chunk, write_request_head
from txproxy.wire.h1 import parse_reply_head, parse_request_head, parse_request_line
from txproxy.wire.heads import HeadGatherer, skip_empty_lines
from txproxy.wire.limits import REPLY_LIMITS, HeadLimits
from txproxy.wire.messages import ReplyHead, RequestHead

LIMITS = HeadLimits()
HOP = make_hop(b"192.0.2.1", False, b"http", b"8080", b"txproxy")
TRUSTED_HOP = make_hop(b"10.0.0.1", True, b"http", b"8080", b"txproxy")
# One for all tests, as one serves a whole process: what a section leaves behind would show in the next.
TOKENIZER = FieldTokenizer()

Reader = LengthReader | ChunkedReader | UntilCloseReader


def request_of(head: bytes, limits: HeadLimits = LIMITS) -> RequestHead:
    """Return the model of a request's head."""
    return parse_request_head(head, TOKENIZER, limits)


def request_with(*lines: bytes, line: bytes = b"GET /x HTTP/1.1", host: bytes = b"Host: a.example") -> RequestHead:
    """Return the model of a request with these field lines after Host; no Host line if ``host`` is empty."""
    return request_of(b"\r\n".join((line, *([host] if host else []), *lines, b"", b"")))


def reply_of(head: bytes, method: bytes = b"GET") -> ReplyHead:
    """Return the model of a reply's head."""
    return parse_reply_head(head, TOKENIZER, method)


def reply_with(*lines: bytes, line: bytes = b"HTTP/1.1 200 OK", method: bytes = b"GET") -> ReplyHead:
    """Return the model of a reply with these field lines."""
    return reply_of(b"\r\n".join((line, *lines, b"", b"")), method)


def facts(model: RequestHead | ReplyHead) -> dict[str, Any]:
    """Return all that a parser says of a head."""
    return {name: getattr(model, name) for name in model.__slots__ if name not in ("block", "lines")}


def forwarded(
    request: RequestHead, hop: Hop = HOP, host: bytes | None = None, rules: RequestRules = PLAIN_RULES
) -> bytes:
    """Return the head that goes upstream."""
    return write_request_head(request, request.target, host, hop, b"id-1", rules)


def lines_of(head: bytes) -> list[bytes]:
    """Return the field lines of a head."""
    return head.removesuffix(b"\r\n\r\n").split(b"\r\n")[1:]


class Read(NamedTuple):
    """What became of the bytes of one message."""

    head: dict[str, Any] | None = None
    content: bytes = b""
    trailers: tuple[Field, ...] = ()
    rest: bytes = b""
    complete: bool = False
    head_error: int = 0
    """Status of the error that the head was refused with."""
    body_error: int = 0


def cut(raw: bytes, at: int) -> tuple[bytes, bytes]:
    """Return two pieces."""
    return raw[:at], raw[at:]


def single_bytes(raw: bytes) -> Iterator[bytes]:
    """Return pieces of one byte."""
    for position in range(len(raw)):
        yield raw[position : position + 1]


def read_request(pieces: Iterable[bytes], limits: HeadLimits = LIMITS) -> Read:
    """Read one request from a connection that ends after the last piece."""
    waiting = iter(pieces)
    first = b""
    for piece in waiting:
        first += piece
        if len(first) >= 4 or first.strip(b"\r\n"):
            break
    gatherer = HeadGatherer(limits)
    try:
        found = gatherer.feed(skip_empty_lines(first))
        while True:
            if found is not None:
                request = request_of(found[0], limits)
                break
            line = gatherer.first_line()
            if line is not None:
                parse_request_line(line, limits)
            more = next(waiting, None)
            if more is None:
                return Read()
            found = gatherer.feed(more)
    except ProxyError as error:
        return Read(head_error=error.status)
    reader: Reader = LengthReader(request.content_length or 0)
    if request.chunked:
        reader = ChunkedReader(BadBody)
    return read_body(reader, [found[1], *waiting])._replace(head=facts(request))


def read_reply(pieces: Iterable[bytes], method: bytes = b"GET") -> tuple[list[int], Read]:
    """Read one reply from a connection that ends after the last piece.

    :return: the statuses of the interim replies, and what became of the final one.
    """
    waiting = iter(pieces)
    interim: list[int] = []
    gatherer = HeadGatherer(REPLY_LIMITS, BadReply, BadReply, BadReply)
    more: bytes | None = next(waiting, b"")
    try:
        while True:
            found = None if more is None else gatherer.feed(more)
            if found is not None:
                reply = reply_of(found[0], method)
                if reply.status >= 200:
                    break
                interim.append(reply.status)
                gatherer = HeadGatherer(REPLY_LIMITS, BadReply, BadReply, BadReply)
                more = found[1] or next(waiting, None)
            elif more is None:
                return interim, Read()
            else:
                more = next(waiting, None)
    except ProxyError as error:
        return interim, Read(head_error=error.status)
    reader: Reader = UntilCloseReader()
    if reply.chunked:
        reader = ChunkedReader(BadReply)
    elif reply.content_length is not None:
        reader = LengthReader(reply.content_length)
    return interim, read_body(reader, [found[1], *waiting])._replace(head=facts(reply))


def read_body(reader: Reader, pieces: Sequence[bytes]) -> Read:
    """Read one body from a connection that ends after the last piece."""
    content: list[bytes] = []
    rest: list[bytes] = []
    try:
        for piece in pieces:
            if reader.done:
                rest.append(piece)
            elif piece:
                content.append(reader.feed(piece))
    except ProxyError as error:
        return Read(content=b"".join(content), body_error=error.status)
    complete = reader.end()
    return Read(None, b"".join(content), tuple(reader.trailers), reader.rest + b"".join(rest), complete)


def as_sent_upstream(request: RequestHead, read: Read, hop: Hop) -> bytes:
    """Return the whole request as a backend gets it."""
    head = forwarded(request, hop)
    if not request.chunked:
        return head + read.content
    return head + (write_chunk(read.content) if read.content else b"") + write_last_chunk(list(read.trailers))


def status_of(call: Callable[..., object], *arguments: Any, **named: Any) -> int:
    """Return the status of the error that a call raises, or 0."""
    try:
        call(*arguments, **named)
    except ProxyError as error:
        return error.status
    return 0
