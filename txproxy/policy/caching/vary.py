"""Variants: which fields of a request select a stored reply, and what they say (RFC 9111 section 4.1)."""

from __future__ import annotations

import re
from functools import lru_cache

from txproxy.policy.caching.fields import FieldTable, joined
from txproxy.wire.fields import CLAIM_NAMES
from txproxy.wire.grammar import OWS, is_token
from txproxy.wire.messages import ReplyHead, RequestHead

MOST_NAMES = 32
"""Fields that may select one reply; a reply that names more is never reused."""
_MOST_VARY_BYTES = 1024
_MOST_REMEMBERED_BYTES = 256
_MOST_MEMBERS = 32

_NOT_AS_SENT = (CLAIM_NAMES - {b"x-forwarded-host", b"x-forwarded-proto"}) | frozenset(
    (b"if-match", b"if-modified-since", b"if-none-match", b"if-range", b"if-unmodified-since", b"range", b"via")
)
"""Fields of which the backend sees other values than the client sent, and that the primary key does not hold: what it
chose by them cannot be known again from the next request."""

_NOT_LISTS = frozenset(
    b"authorization content-type cookie date from host origin proxy-authorization referer user-agent".split()
)
"""Fields that may hold commas and are no lists: whitespace beside a comma is a part of their value."""

_QUOTED = re.compile(rb'("(?:[^"\\]|\\.)*")')
_MEMBER = re.compile(rb"([!#$%&'*+.^_`|~0-9a-z-]+)(?:[ \t]*;[ \t]*q=([01])(?:\.([0-9]{0,3}))?)?")
_SAME_CODINGS = {b"x-gzip": b"gzip", b"x-compress": b"compress"}

_ABSENT = b"-,"
_NOMINATED = b"!"


def vary_names(reply: ReplyHead, table: FieldTable | None = None) -> tuple[bytes, ...] | None:
    """Return the fields of a request that select a reply.

    :param table: of the reply's fields, if there is one already.
    :return: lower-case names in order of the alphabet, each once; none without Vary; None if no other request can be
        known to select the same reply: ``*`` among them, a name that is no token, too many, or a field that the
        backend does not see as the client sent it.
    """
    value = joined(reply.fields, b"vary") if table is None else table.joined(b"vary")
    if value is None:
        return ()
    return _names_in(value) if len(value) <= _MOST_VARY_BYTES else None


@lru_cache(maxsize=1024)
def _names_in(value: bytes) -> tuple[bytes, ...] | None:
    names = {name for member in value.split(b",") if (name := member.strip(OWS).lower())}
    if len(names) > MOST_NAMES or b"*" in names or not names.isdisjoint(_NOT_AS_SENT) or not all(map(is_token, names)):
        return None
    return tuple(sorted(names))


def secondary_key(names: tuple[bytes, ...], request: RequestHead) -> bytes:
    """Return what a request says in the fields that select a reply; equal for two requests that select the same.

    Fields of one name are combined, whitespace of lists is taken away, and Accept-Encoding and Accept-Language are
    brought into one order. Nothing else is taken for the same. A field that is absent matches only where it is absent
    too, and one that Connection names, which does not reach the backend, only where it is named too.

    :param names: what ``vary_names`` returned.
    :param request: as the backend sees it, but for what the proxy itself sets.
    """
    return b"".join([_part(name, request) for name in names])


def _part(name: bytes, request: RequestHead) -> bytes:
    value = joined(request.fields, name)
    if value is None:
        return _ABSENT
    value = _recall_normal(name, value) if len(value) <= _MOST_REMEMBERED_BYTES else _normal(name, value)
    # Lengths keep the values apart, whatever bytes they hold.
    mark = _NOMINATED if request.options and name in request.options else b""
    return b"%b%d:%b," % (mark, len(value), value)


def _normal(name: bytes, value: bytes) -> bytes:
    if name == b"accept-encoding":
        ranked = _ranked(value)
        if ranked is not None:
            return _normal_codings(ranked)
    elif name == b"accept-language":
        ranked = _ranked(value)
        if ranked is not None:
            return _written(ranked)
    elif name in _NOT_LISTS:
        return value
    return _without_whitespace(value)


_recall_normal = lru_cache(maxsize=2048)(_normal)


def _without_whitespace(value: bytes) -> bytes:
    """Return a list without whitespace beside its commas, those within quoted strings left alone."""
    if b"," not in value:
        return value
    quotes = value.count(b'"')
    if not quotes:
        return b",".join([part.strip(OWS) for part in value.split(b",")])
    if quotes > _MOST_MEMBERS:
        return value
    # Quoted strings are the odd pieces.
    pieces = _QUOTED.split(value)
    return b"".join([piece if index % 2 else _without_whitespace_outside(piece) for index, piece in enumerate(pieces)])


def _without_whitespace_outside(piece: bytes) -> bytes:
    """Return what stands outside of quoted strings without whitespace beside its commas; its own ends are no commas."""
    first, comma, rest = piece.partition(b",")
    if not comma:
        return piece
    *middle, last = rest.split(b",")
    return b",".join([first.rstrip(OWS), *[part.strip(OWS) for part in middle], last.lstrip(OWS)])


def _ranked(value: bytes) -> dict[bytes, int] | None:
    """Return the members of a list and their weights in thousandths (RFC 9110 section 12.4.2).

    Their order means nothing (sections 12.5.3 and 12.5.4), nor does the case of letters.

    :return: None if it is not valid, says two things of one member, or is very long.
    """
    members = [member for part in value.lower().split(b",") if (member := part.strip(OWS))]
    if len(members) > _MOST_MEMBERS:
        return None
    ranked: dict[bytes, int] = {}
    for member in members:
        found = _MEMBER.fullmatch(member)
        if found is None:
            return None
        name, whole, part = found.groups()
        weight = 1000 if whole is None else int(whole) * 1000 + int((part or b"").ljust(3, b"0"))
        if weight > 1000 or ranked.setdefault(name, weight) != weight:
            return None
    return ranked


def _normal_codings(ranked: dict[bytes, int]) -> bytes:
    """Return codings that are accepted (RFC 9110 section 12.5.3)."""
    for other, usual in _SAME_CODINGS.items():
        if other in ranked and ranked.get(usual, ranked[other]) == ranked[other]:
            ranked[usual] = ranked.pop(other)
    if b"*" not in ranked:
        # What is not listed is not acceptable; identity is, unless it is refused.
        ranked = {name: weight for name, weight in ranked.items() if weight or name == b"identity"}
    return _written(ranked)


def _written(ranked: dict[bytes, int]) -> bytes:
    return b",".join(
        [name if weight == 1000 else b"%b;q=%d" % (name, weight) for name, weight in sorted(ranked.items())]
    )
