"""Ranges: a part of a stored reply for a client that asks for one (RFC 9110 section 14).

Only one range is served: a request for several is answered with the whole, as a server may (section 14.2). The parts
of a multipart/byteranges may overlap and be many, so that a small request makes a large reply, and few clients ask.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import NamedTuple

from txproxy.policy.caching.dates import parse_date
from txproxy.policy.caching.fields import joined
from txproxy.policy.caching.validation import has_strong_date, validators_of
from txproxy.wire.fields import Field
from txproxy.wire.grammar import OWS
from txproxy.wire.messages import ReplyHead, RequestHead

_RANGE = re.compile(rb"([0-9]*)-([0-9]*)")
_MOST_DIGITS = 18
"""Positions of more digits lie beyond every body."""
_FAR = 10**_MOST_DIGITS

_NOT_OF_A_PART = frozenset(b"content-digest content-length content-md5 content-range trailer transfer-encoding".split())
"""Fields of a 200 that say something else of its parts (RFC 9530 section 2), or are made anew."""


class Part(NamedTuple):
    """A part of a body, in bytes from its start."""

    start: int
    end: int
    """One past the last byte."""
    total: int
    """Length of the whole."""


class Unsatisfiable(Enum):
    """No byte of the whole is in the range that was asked for: 416."""

    UNSATISFIABLE = "unsatisfiable"


UNSATISFIABLE = Unsatisfiable.UNSATISFIABLE


def part_of(request: RequestHead, reply: ReplyHead, total_bytes: int) -> Part | Unsatisfiable | None:
    """Return the part of a stored reply that a request asks for.

    Other conditions come first: what is answered with 304 has no part (RFC 9110 section 13.2.2).

    :param total_bytes: length of the stored body.
    :return: None for the whole: no range is asked for, or one that is not understood, or several, or If-Range names
        another representation.
    """
    if request.method != b"GET" or reply.status != 200:
        return None
    value = joined(request.fields, b"range")
    if value is None:
        return None
    asked = _only_range(value)
    if asked is None or not _is_for(request, reply):
        return None
    return _cut(*asked, total_bytes)


def _only_range(value: bytes) -> tuple[int | None, int | None] | None:
    """Return the first and last position of the only range; None for the first means so many bytes of the end.

    :return: None if there are several, or it is not valid (RFC 9110 section 14.1.2).
    """
    unit, _, text = value.partition(b"=")
    if unit.strip(OWS).lower() != b"bytes":
        return None
    found = _RANGE.fullmatch(text.strip(OWS + b","))
    if found is None or found.group() == b"-":
        return None
    first, last = (_position(digits) if digits else None for digits in found.groups())
    if first is not None and last is not None and last < first:
        return None
    return first, last


def _position(digits: bytes) -> int:
    digits = digits.lstrip(b"0")
    return int(digits or b"0") if len(digits) <= _MOST_DIGITS else _FAR


def _cut(first: int | None, last: int | None, total: int) -> Part | Unsatisfiable | None:
    if first is None:
        if not last:
            return UNSATISFIABLE
        # The end of nothing is nothing, which no Content-Range can say (section 14.4).
        return Part(max(0, total - last), total, total) if total else None
    if first >= total:
        return UNSATISFIABLE
    return Part(first, total if last is None else min(last + 1, total), total)


def _is_for(request: RequestHead, reply: ReplyHead) -> bool:
    """Return whether If-Range, where there is one, names the stored representation (RFC 9110 section 13.1.5)."""
    value = joined(request.fields, b"if-range")
    if value is None:
        return True
    etag, modified = validators_of(reply)
    if value == etag:
        return not value.startswith(b"W/")
    if modified is None or not has_strong_date(reply):
        return False
    return parse_date(value) == parse_date(modified)


def partial_head(reply: ReplyHead, part: Part) -> ReplyHead:
    """Return the head of a 206 that is cut from a 200 (RFC 9110 section 15.3.7)."""
    length = b"%d" % (part.end - part.start)
    head = reply.copy()
    head.status, head.reason = 206, b"Partial Content"
    head.fields = [field for field in reply.fields if field[0].lower() not in _NOT_OF_A_PART]
    head.fields += [
        (b"Content-Range", b"bytes %d-%d/%d" % (part.start, part.end - 1, part.total)),
        (b"Content-Length", length),
    ]
    for name in (b"transfer-encoding", b"trailer"):
        head.known.pop(name, None)
    head.known[b"content-length"] = length
    head.content_length = part.end - part.start
    head.chunked = head.until_close = head.lacks_length = False
    return head


def unsatisfiable_fields(total_bytes: int) -> list[Field]:
    """Return the fields that a 416 has for this (RFC 9110 section 15.5.17)."""
    return [(b"Content-Range", b"bytes */%d" % total_bytes)]
