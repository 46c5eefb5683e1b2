"""Heads for the tests of the cache's policy, as the parsers make them of what peers send."""

from __future__ import annotations

from collections.abc import Sequence

from txproxy.wire.fields import Field, FieldTokenizer, write_fields
from txproxy.wire.h1 import parse_reply_head, parse_request_head
from txproxy.wire.limits import HeadLimits
from txproxy.wire.messages import ReplyHead, RequestHead

_TOKENIZER = FieldTokenizer()
_LIMITS = HeadLimits()

DATE = b"Tue, 15 Nov 1994 08:12:31 GMT"
LATER = b"Tue, 15 Nov 1994 08:12:32 GMT"
EARLIER = b"Tue, 15 Nov 1994 08:12:30 GMT"


def request_of(
    *fields: Field, method: bytes = b"GET", target: bytes = b"/a", host: bytes = b"example.com"
) -> RequestHead:
    """Return a request."""
    head = b"%b %b HTTP/1.1\r\n%b\r\n\r\n" % (method, target, write_fields([(b"Host", host), *fields]))
    return parse_request_head(head, _TOKENIZER, _LIMITS)


def reply_of(*fields: Field, status: int = 200, method: bytes = b"GET") -> ReplyHead:
    """Return a reply to a request of a method."""
    lines = b"".join([b"%b: %b\r\n" % field for field in fields])
    return parse_reply_head(b"HTTP/1.1 %d Said\r\n%b\r\n" % (status, lines), _TOKENIZER, method)


def values_in(fields: Sequence[Field], name: bytes) -> list[bytes]:
    """Return the values of a name, in any case of letters."""
    return [value for spelled, value in fields if spelled.lower() == name.lower()]
