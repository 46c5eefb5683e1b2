"""Entries for tests of stores."""

from __future__ import annotations

from collections.abc import Iterator

from txproxy.cache.entry import PLAIN, Entry, Terms, Variant
from txproxy.policy.caching.directives import ResponseDirectives
from txproxy.policy.caching.freshness import Freshness
from txproxy.wire.fields import FieldTokenizer
from txproxy.wire.h1 import parse_reply_head
from txproxy.wire.messages import ReplyHead, RequestHead

NOW = 1_000_000_000.0
"""Seconds since the epoch at which entries are made."""
ETAG = b'ETag: "1"'

_tokenizer = FieldTokenizer()


SILENT = ResponseDirectives()


class CountedSet(set[Entry]):
    """Counts the places of its table that are looked at, as CPython does it: who iterates begins at the front each time,
    at places that may be empty by now; ``pop`` goes on where the last one ended.
    """

    def __init__(self, members: set[Entry]) -> None:
        super().__init__(members)
        self._places = list(members)
        self._at = 0
        self.steps = 0

    def __iter__(self) -> Iterator[Entry]:
        for place in self._places:
            self.steps += 1
            if place in self:
                yield place

    def pop(self) -> Entry:
        while True:
            place = self._places[self._at % len(self._places)]
            self._at += 1
            self.steps += 1
            if place in self:
                self.discard(place)
                return place


def stale_for(while_s: int | None = None, if_error_s: int | None = None) -> ResponseDirectives:
    """Return what says how long a reply may be used when it is stale (RFC 5861), in seconds."""
    return ResponseDirectives(stale_while_revalidate=while_s, stale_if_error=if_error_s)


def reply_of(*lines: bytes, status: bytes = b"200 OK") -> ReplyHead:
    """Return a head as it comes from a backend."""
    section = b"".join(line + b"\r\n" for line in lines)
    return parse_reply_head(b"HTTP/1.1 %b\r\n%b\r\n" % (status, section), _tokenizer, b"GET")


def key_of(url: bytes, added: bytes = b"") -> bytes:
    """Return a key as a route makes it."""
    return url + b" " + added


def entry_of(
    url: bytes,
    *lines: bytes,
    body: bytes = b"content",
    variant: Variant = PLAIN,
    lifetime_s: float = 60,
    said: ResponseDirectives = SILENT,
    tags: tuple[bytes, ...] = (),
    added: bytes = b"",
    received_at: float = NOW,
) -> Entry:
    """Return an entry; without a line that holds a validator it expires."""
    terms = Terms(Freshness(lifetime_s, 0.0, received_at), said, tags)
    return Entry(key_of(url, added), variant, reply_of(*lines), body, terms)


def request_of(**fields: bytes) -> RequestHead:
    """Return a request with fields."""
    named = [(name.replace("_", "-").encode(), value) for name, value in fields.items()]
    return RequestHead(b"GET", b"/", 1, named, {})


def language_of(names: tuple[bytes, ...], request: RequestHead) -> bytes:
    """Return the values of the fields that a reply varies by, as ``secondary_key`` does."""
    values = dict(request.fields)
    return b"|".join(values.get(name, b"-") for name in names)
