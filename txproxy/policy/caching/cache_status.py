"""What the cache did for a request, told to whoever looks: Cache-Status (RFC 9211) and X-Cache-Status."""

from __future__ import annotations

import re
from enum import Enum
from functools import lru_cache
from typing import NamedTuple

_TOKEN = re.compile(rb"[A-Za-z*][!#$%&'*+.^_`|~0-9A-Za-z:/-]*")
"""sf-token (RFC 8941 section 3.3.4)."""
_NOT_IN_STRINGS = re.compile(rb"[^\x20-\x7e]+")
_ESCAPED = re.compile(rb'(["\\])')
_MOST_DETAIL_BYTES = 256
_MOST_INTEGER = 10**15 - 1
"""sf-integer (RFC 8941 section 3.3.1)."""


class Forward(Enum):
    """Why a request went to a backend (RFC 9211 section 2.2)."""

    BYPASS = b"bypass"
    """The cache is not to handle it."""
    METHOD = b"method"
    """Its method's meaning requires it."""
    URI_MISS = b"uri-miss"
    """Nothing is stored of its URL."""
    VARY_MISS = b"vary-miss"
    """Other variants are stored of its URL."""
    MISS = b"miss"
    """Nothing that is stored can be used, for a reason that is none of these."""
    REQUEST = b"request"
    """Something fresh is stored, but the request's own directives forbid to use it."""
    STALE = b"stale"
    """Something is stored, but it is stale."""
    PARTIAL = b"partial"
    """Only a part of it is stored."""


class Word(Enum):
    """The same in one word, as other proxies have it."""

    HIT = b"HIT"
    """A stored reply that is fresh."""
    MISS = b"MISS"
    """The backend's reply; nothing stored could be used."""
    STALE = b"STALE"
    """A stored reply that is stale."""
    EXPIRED = b"EXPIRED"
    """The backend's reply; what is stored was stale and does not hold any more."""
    REVALIDATED = b"REVALIDATED"
    """A stored reply, of which the backend said that it still holds."""
    BYPASS = b"BYPASS"
    """The backend's reply; the cache was not asked."""


class Outcome(NamedTuple):
    """What the cache did for one request."""

    forward: Forward | None = None
    """Why the backend was asked; None if it was not, for this request."""
    forward_status: int | None = None
    """Status of its reply, where that is not the one that the client gets; None too if there was no reply."""
    from_store: bool = False
    """The client gets a stored reply."""
    is_stale: bool = False
    """The reply is stale as it is sent: stale-while-revalidate, stale-if-error or max-stale."""
    is_stored: bool = False
    """The backend's reply was stored, or has updated what is stored."""
    is_collapsed: bool = False
    """The request shared another one's fetch (section 2.6)."""
    ttl_s: int | None = None
    """Seconds for which the stored reply is fresh; less than 0 if it is stale."""
    detail: bytes = b""
    """Anything more: why a reply was not stored, or why a stale one was sent."""


def cache_status(name: bytes, outcome: Outcome) -> bytes:
    """Return our member of Cache-Status; it comes after those of caches nearer to the origin (section 2).

    :param name: of this cache.
    """
    forward = outcome.forward
    parts = [_bare(name)]
    if forward is not None:
        parts.append(b"fwd=" + forward.value)
        if outcome.forward_status is not None:
            parts.append(b"fwd-status=%d" % outcome.forward_status)
    elif outcome.from_store:
        parts.append(b"hit")
    if outcome.ttl_s is not None:
        parts.append(b"ttl=%d" % max(-_MOST_INTEGER, min(_MOST_INTEGER, outcome.ttl_s)))
    if forward is not None:
        # Both say something of a forwarded request only (sections 2.5 and 2.6).
        if outcome.is_stored:
            parts.append(b"stored")
        if outcome.is_collapsed:
            parts.append(b"collapsed")
    if outcome.detail:
        parts.append(b"detail=" + _bare(outcome.detail[:_MOST_DETAIL_BYTES]))
    return b"; ".join(parts)


def hit_status(name: bytes, ttl_s: int) -> bytes:
    """Return the same as ``cache_status`` for a plain hit, in a fraction of the time.

    :param ttl_s: seconds for which the stored reply is fresh.
    """
    return b"%b; hit; ttl=%d" % (_bare(name), ttl_s)


@lru_cache(maxsize=256)
def _bare(text: bytes) -> bytes:
    """Return a token, or a string where it is none (RFC 8941 sections 3.3.3 and 3.3.4).

    What neither may hold is left out.
    """
    if _TOKEN.fullmatch(text):
        return text
    return b'"%b"' % _ESCAPED.sub(rb"\\\1", _NOT_IN_STRINGS.sub(b"", text))


def word_of(outcome: Outcome) -> Word:
    """Return what X-Cache-Status says."""
    if outcome.from_store:
        if outcome.is_stale:
            return Word.STALE
        return Word.HIT if outcome.forward is None else Word.REVALIDATED
    if outcome.forward in (Forward.BYPASS, Forward.METHOD):
        return Word.BYPASS
    return Word.EXPIRED if outcome.forward is Forward.STALE else Word.MISS
