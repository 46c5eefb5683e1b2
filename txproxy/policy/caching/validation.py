"""Validation: asking a backend whether a stored reply still holds, and answering clients that ask us (RFC 9111
section 4.3, RFC 9110 section 13).
"""

from __future__ import annotations

import re
from typing import NamedTuple

from txproxy.policy.caching.dates import parse_date
from txproxy.policy.caching.fields import joined
from txproxy.wire.fields import Field, kind_of
from txproxy.wire.grammar import OWS
from txproxy.wire.messages import ReplyHead, RequestHead

_ENTITY_TAG = re.compile(rb'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"')
_BETWEEN_TAGS = re.compile(rb"[ \t]*,[ \t,]*(?:W/)?")
_BEFORE_TAGS = re.compile(rb"[ \t,]*(?:W/)?")

_ORIGIN_CONDITIONS = frozenset((b"if-match", b"if-unmodified-since"))
CONDITIONS = _ORIGIN_CONDITIONS | frozenset((b"if-modified-since", b"if-none-match", b"if-range", b"range"))
"""Fields by which a client wants less than the whole."""

_NOT_IN_NOT_MODIFIED = frozenset(
    b"content-digest content-disposition content-encoding content-language content-length content-md5 content-range "
    b"content-type digest repr-digest trailer transfer-encoding".split()
)
"""What says of a representation more than whether it has changed (RFC 9110 section 15.4.5)."""

_NOT_STORED = frozenset(
    b"connection keep-alive proxy-authenticate proxy-authentication-info proxy-authorization proxy-connection te "
    b"transfer-encoding upgrade".split()
)
"""Fields of the connection that a message came on (RFC 9111 section 3.1)."""
_OF_THE_BODY = frozenset(
    b"content-digest content-encoding content-length content-md5 content-range digest etag repr-digest trailer".split()
)
"""Fields that say what the stored bytes are: what a reply without those bytes says of them does not change them
(RFC 9111 section 3.2)."""
_OF_THE_REPLY = frozenset((b"age", b"date"))
"""Fields that say when a reply was made: those of the old reply say nothing about the new one."""


class Validators(NamedTuple):
    """What tells one representation from another (RFC 9110 section 8.8), each None if there is none that is valid."""

    etag: bytes | None
    last_modified: bytes | None


def validators_of(reply: ReplyHead) -> Validators:
    """Return the validators of a reply, byte for byte."""
    etag, modified = joined(reply.fields, b"etag"), joined(reply.fields, b"last-modified")
    return Validators(
        etag if etag is not None and _ENTITY_TAG.fullmatch(etag) else None,
        modified if modified is not None and parse_date(modified) is not None else None,
    )


def conditional_fields(validators: Validators) -> list[Field]:
    """Return the fields that ask a backend whether a stored reply still holds (RFC 9111 section 4.3.1).

    Both, where there are both: who understands entity tags ignores the date (RFC 9110 section 13.1.3).
    """
    fields = []
    if validators.etag is not None:
        fields.append((b"If-None-Match", validators.etag))
    if validators.last_modified is not None:
        fields.append((b"If-Modified-Since", validators.last_modified))
    return fields


def without_conditions(fields: list[Field]) -> list[Field]:
    """Return a client's fields without its own conditions and ranges: we ask for the whole, or with our conditions."""
    return [field for field in fields if field[0].lower() not in CONDITIONS]


def has_conditions(request: RequestHead) -> bool:
    """Return whether a request has any condition or range: one look, so that a plain one needs no other."""
    return not CONDITIONS.isdisjoint([name.lower() for name, _ in request.fields])


def asks_origin(request: RequestHead) -> bool:
    """Return whether a request has a condition that only the origin can judge: If-Match or If-Unmodified-Since.

    A cache may ignore them (RFC 9111 section 4.3.2); but a client that goes on with a download that was cut would be
    given the rest of another representation.
    """
    return not _ORIGIN_CONDITIONS.isdisjoint([name.lower() for name, _ in request.fields])


def is_not_modified(request: RequestHead, reply: ReplyHead, received_at: float) -> bool:
    """Return whether a client's conditions on a stored reply are answered with 304 (RFC 9111 section 4.3.2).

    :param reply: that would be sent otherwise.
    :param received_at: when it was received, in seconds since the epoch; what counts where it has no date of its own.
    """
    if request.method not in (b"GET", b"HEAD") or not 200 <= reply.status < 300:
        return False  # RFC 9110 section 13.2.1
    tags = joined(request.fields, b"if-none-match")
    if tags is not None:
        return tags == b"*" or _lists(tags, validators_of(reply).etag)
    value = joined(request.fields, b"if-modified-since")
    since = None if value is None else parse_date(value)
    return since is not None and _modified_at(reply, received_at) <= since


def _lists(value: bytes, etag: bytes | None) -> bool:
    """Return whether a list of entity tags has one, by weak comparison (RFC 9110 section 8.8.3.2); no if not valid."""
    if etag is None:
        return False
    opaque = etag.removeprefix(b"W/")[1:-1]
    pieces = value.split(b'"')
    if opaque not in pieces[1::2] or len(pieces) % 2 == 0:
        return False
    before, *between, after = pieces[::2]
    return bool(
        _BEFORE_TAGS.fullmatch(before) and all(map(_BETWEEN_TAGS.fullmatch, between)) and not after.strip(OWS + b",")
    )


def _modified_at(reply: ReplyHead, received_at: float) -> float:
    for name in (b"last-modified", b"date"):
        moment = _date_in(reply, name)
        if moment is not None:
            return moment
    return received_at


def not_modified_of(reply: ReplyHead) -> list[Field]:
    """Return the fields that a 304 made from a stored reply carries (RFC 9110 section 15.4.5).

    All but those that describe the representation; Last-Modified is among them only where no entity tag is. What is no
    such description, as Access-Control-Allow-Origin, a browser may need for a 304 as for a 200.
    """
    names = _NOT_IN_NOT_MODIFIED
    if joined(reply.fields, b"etag") is not None:
        names |= {b"last-modified"}
    return [field for field in reply.fields if field[0].lower() not in names]


def is_same_representation(stored: ReplyHead, fresh: ReplyHead, total_bytes: int | None = None) -> bool:
    """Return whether a reply without a body is about a stored reply, which ``freshened`` may then update.

    A 304 (RFC 9111 section 4.3.4) came for conditions that were made from this stored reply alone. So one without any
    validator is about it too; one with another strong validator is not, unless it is that of a stored weak one: nginx
    with gzip sends ``W/"x"`` with a 200, and ``"x"`` with the 304 to it.

    A reply to HEAD (section 4.3.5) must have the same status, the same of each validator that it has, and the same
    length; else the stored one is stale.

    :param total_bytes: length of the stored body, where the stored head does not tell it.
    """
    if fresh.status == 304:
        return _is_about(stored, fresh)
    if fresh.status != stored.status:
        return False
    names = (b"etag", b"last-modified")
    if any(joined(fresh.fields, name) not in (None, joined(stored.fields, name)) for name in names):
        return False
    said = joined(fresh.fields, b"content-length")
    length = stored.content_length if total_bytes is None else total_bytes
    return said is None or length is None or (said.lstrip(b"0") or b"0") == b"%d" % length


def _is_about(stored: ReplyHead, fresh: ReplyHead) -> bool:
    """Return whether a 304 is about a stored reply, by the validators that it has (RFC 9111 section 4.3.4)."""
    ours, theirs = joined(stored.fields, b"etag"), joined(fresh.fields, b"etag")
    if theirs is not None and ours is not None:
        # Of two strong ones this is the strong comparison, else the weak one (RFC 9110 section 8.8.3.2).
        return ours.removeprefix(b"W/") == theirs.removeprefix(b"W/")
    modified = joined(fresh.fields, b"last-modified")
    if modified is None:
        return theirs is None
    if theirs is not None and not theirs.startswith(b"W/") and not has_strong_date(stored):
        return False
    theirs_at, ours_at = parse_date(modified), _date_in(stored, b"last-modified")
    return theirs_at is not None and theirs_at == ours_at


def has_strong_date(reply: ReplyHead) -> bool:
    """Return whether the Last-Modified of a reply tells one representation from every other of its URL: it was made
    a second later or more (RFC 9110 section 8.8.2.2).
    """
    made_at, modified_at = _date_in(reply, b"date"), _date_in(reply, b"last-modified")
    return made_at is not None and modified_at is not None and made_at - modified_at >= 1


def _date_in(reply: ReplyHead, name: bytes) -> float | None:
    value = joined(reply.fields, name)
    return None if value is None else parse_date(value)


def freshened(stored: ReplyHead, fresh: ReplyHead) -> ReplyHead:
    """Return the head of a stored reply as a later reply without a body updates it (RFC 9111 section 3.2).

    Whether it may still be stored is to be judged anew: the later reply may forbid it, set a cookie, or change Vary.

    :param stored: it is not changed.
    :param fresh: a 304, or a reply to HEAD; ``is_same_representation``.
    """
    kept = _NOT_STORED.union(_OF_THE_BODY, fresh.options or ())
    updates: dict[bytes, list[Field]] = {}
    for field in fresh.fields:
        lower = field[0].lower()
        if lower not in kept:
            updates.setdefault(lower, []).append(field)
    other = stored.copy()
    other.fields = _updated(stored.fields, updates)
    for lower in _OF_THE_REPLY:
        other.known.pop(lower, None)
    for lower, fields in updates.items():
        kind = kind_of(lower)
        if kind:
            other.known[kind] = b", ".join([value for _, value in fields])
    return other


def _updated(fields: list[Field], updates: dict[bytes, list[Field]]) -> list[Field]:
    """Return fields with all of one name replaced where the first of them stood; new ones come last."""
    left = dict(updates)
    result: list[Field] = []
    for field in fields:
        lower = field[0].lower()
        if lower in updates:
            result += left.pop(lower, ())
        elif lower not in _OF_THE_REPLY:
            result.append(field)
    for added in left.values():
        result += added
    return result
