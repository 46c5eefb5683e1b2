"""Cache directives of requests and replies (RFC 9111 section 5.2, RFC 5861, RFC 9213).

What is malformed or said twice is taken in the way in which less is stored and less is reused (RFC 9111 section 4.2.1).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import NamedTuple

from txproxy.policy.caching.structured import Value, parse_dictionary
from txproxy.wire.grammar import OWS, TOKEN_BYTES, is_token, split_list

GREATEST_DELTA_S = 2**31
"""What any longer time in seconds is taken for (RFC 9111 section 1.2.2)."""
ANY_STALENESS = 2**62
"""Value of ``max-stale`` without an argument: more seconds than anything can be stale."""

_MOST_BYTES = 1024
_MOST_DIRECTIVES = 64
"""No sender needs more; what has more is not looked into, so that nobody is kept waiting."""

_MALFORMED = b""
"""Argument that is neither a number nor a list of names."""
_QUOTED = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_QUOTED_OR_NOT = re.compile(rb'(?:[^"]|%b)*' % _QUOTED.pattern, re.DOTALL)
_MEMBER = re.compile(rb'(?:[^,"]|%b)+' % _QUOTED.pattern, re.DOTALL)
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
_DELTA_NAMES = frozenset((b"max-age", b"s-maxage", b"stale-while-revalidate", b"stale-if-error"))
_LIST_NAMES = frozenset((b"no-cache", b"private"))

_Pair = tuple[bytes, bytes | None]
_Arguments = dict[bytes, list[bytes | None]]
"""What directives say, by name in lower case; None for one without an argument."""


class ResponseDirectives(NamedTuple):
    """What the directives of a reply say to a shared cache (RFC 9111 section 5.2.2). Times are in seconds."""

    no_store: bool = False
    no_cache: bool = False
    """It may be used only once it was validated; not if only fields are named."""
    no_cache_fields: tuple[bytes, ...] = ()
    """Names in lower case of the fields that ``no-cache`` is about."""
    private: bool = False
    """It is for one user; not if only fields are named."""
    private_fields: tuple[bytes, ...] = ()
    public: bool = False
    must_revalidate: bool = False
    proxy_revalidate: bool = False
    must_understand: bool = False
    max_age: int | None = None
    """0 too if it is not a number (RFC 9111 section 4.2.1)."""
    s_maxage: int | None = None
    stale_while_revalidate: int | None = None
    stale_if_error: int | None = None
    is_targeted: bool = False
    """They are those of CDN-Cache-Control: neither Cache-Control nor Expires counts."""

    @property
    def withheld_fields(self) -> tuple[bytes, ...]:
        """Names in lower case of the fields that are not stored.

        Those of ``private`` must not be (RFC 9111 section 5.2.2.7); those of ``no-cache`` could not be used without
        validation (section 5.2.2.4), which is asked for nowhere but for the whole reply.
        """
        return self.private_fields + self.no_cache_fields

    @property
    def forbids_stale(self) -> bool:
        """Whether nobody may get it once it is stale, whatever else allows it (RFC 9111 section 4.2.4).

        ``s-maxage`` implies ``proxy-revalidate`` (section 5.2.2.10), so that RFC 5861 says nothing beside it.
        """
        return self.must_revalidate or self.proxy_revalidate or self.no_cache or self.s_maxage is not None


class RequestDirectives(NamedTuple):
    """What the directives of a request ask for (RFC 9111 section 5.2.1). Times are in seconds."""

    no_cache: bool = False
    no_store: bool = False
    only_if_cached: bool = False
    max_age: int | None = None
    min_fresh: int | None = None
    max_stale: int | None = None
    """``ANY_STALENESS`` without an argument."""
    stale_if_error: int | None = None
    """RFC 5861 section 4."""


NOTHING_SAID = ResponseDirectives()
NOTHING_ASKED = RequestDirectives()
_UNREADABLE_REPLY = ResponseDirectives(no_store=True)
_UNREADABLE_REQUEST = RequestDirectives(no_cache=True, no_store=True)


def parse_response(
    cache_control: bytes | None, cdn_cache_control: bytes | None = None, surrogate_control: bytes | None = None
) -> ResponseDirectives:
    """Return what a reply's directives say.

    :param cache_control: value of Cache-Control, repeated ones joined by commas; None without it.
    :param cdn_cache_control: the same of CDN-Cache-Control: if it is valid and not empty, nothing else counts (RFC 9213
        section 2.2).
    :param surrogate_control: the same of Surrogate-Control (Edge Architecture 1.0), which counts before Cache-Control
        too; what it says to one surrogate by name is not for us.
    """
    if cdn_cache_control is not None:
        if len(cdn_cache_control) > _MOST_BYTES:
            return _UNREADABLE_REPLY
        targeted = _parse_targeted(cdn_cache_control)
        if targeted is not None:
            return targeted
    if surrogate_control is not None:
        if len(surrogate_control) > _MOST_BYTES:
            return _UNREADABLE_REPLY
        targeted = _parse_surrogate(surrogate_control)
        if targeted is not None:
            return targeted
    if cache_control is None:
        return NOTHING_SAID
    return _parse_response(cache_control) if len(cache_control) <= _MOST_BYTES else _UNREADABLE_REPLY


def parse_request(cache_control: bytes | None, pragma: bytes | None) -> RequestDirectives:
    """Return what a request's directives ask for.

    :param cache_control: value of Cache-Control, repeated ones joined by commas; None without it.
    :param pragma: the same of Pragma, whose ``no-cache`` counts where there is no Cache-Control: RFC 9111 section 5.4
        leaves that open, and whoever sends it means it.
    """
    if cache_control is not None:
        return _parse_request(cache_control) if len(cache_control) <= _MOST_BYTES else _UNREADABLE_REQUEST
    if pragma is not None and b"no-cache" in split_list(pragma):
        return RequestDirectives(no_cache=True)
    return NOTHING_ASKED


@lru_cache(maxsize=512)
def _parse_response(value: bytes) -> ResponseDirectives:
    said = _arguments(value)
    return _UNREADABLE_REPLY if said is None else _response_of(said, is_targeted=False)


@lru_cache(maxsize=256)
def _parse_targeted(value: bytes) -> ResponseDirectives | None:
    members = parse_dictionary(value)
    if not members:
        return None
    return _response_of(_gather(_targeted_pairs(members)), is_targeted=True)


@lru_cache(maxsize=256)
def _parse_surrogate(value: bytes) -> ResponseDirectives | None:
    members = _members(value)
    if members is None:
        return _UNREADABLE_REPLY
    said = _gather(pair for member in members if b";" not in member for pair in _surrogate_pairs(member))
    said.pop(b"content", None)
    return _response_of(said, is_targeted=True) if said else None


def _surrogate_pairs(member: bytes) -> Iterator[_Pair]:
    """Yield what one member says: ``max-age=600+30`` lets it be sent for 30 seconds more while it is validated."""
    name, argument = _pair_of(member)
    fresh, plus, stale = (argument or b"").partition(b"+")
    if name == b"max-age" and plus:
        yield b"stale-while-revalidate", stale
        argument = fresh
    yield name, argument


@lru_cache(maxsize=256)
def _parse_request(value: bytes) -> RequestDirectives:
    asked = _arguments(value)
    if asked is None:
        return _UNREADABLE_REQUEST
    min_fresh = asked.get(b"min-fresh")
    return RequestDirectives(
        no_cache=b"no-cache" in asked,
        no_store=b"no-store" in asked,
        only_if_cached=None in asked.get(b"only-if-cached", ()),
        max_age=_limit_of(asked.get(b"max-age")),
        min_fresh=None if min_fresh is None else max(map(_demand, min_fresh)),
        max_stale=_allowance_of(asked.get(b"max-stale"), otherwise=ANY_STALENESS),
        stale_if_error=_allowance_of(asked.get(b"stale-if-error")),
    )


def _response_of(said: _Arguments, *, is_targeted: bool) -> ResponseDirectives:
    no_cache_fields = _names_of(said.get(b"no-cache"))
    private_fields = _names_of(said.get(b"private"))
    return ResponseDirectives(
        no_store=b"no-store" in said,
        no_cache=no_cache_fields is None,
        no_cache_fields=no_cache_fields or (),
        private=private_fields is None,
        private_fields=private_fields or (),
        # Two allow more than is allowed without them, so they have to be well-formed.
        public=None in said.get(b"public", ()),
        must_revalidate=b"must-revalidate" in said,
        proxy_revalidate=b"proxy-revalidate" in said,
        must_understand=None in said.get(b"must-understand", ()),
        max_age=_limit_of(said.get(b"max-age")),
        s_maxage=_limit_of(said.get(b"s-maxage")),
        stale_while_revalidate=_allowance_of(said.get(b"stale-while-revalidate")),
        stale_if_error=_allowance_of(said.get(b"stale-if-error")),
        is_targeted=is_targeted,
    )


def _arguments(value: bytes) -> _Arguments | None:
    """Return the arguments of the directives of a Cache-Control; None if they cannot be told from each other."""
    members = _members(value)
    return None if members is None else _gather(map(_pair_of, members))


def _members(value: bytes) -> list[bytes] | None:
    if b'"' not in value:
        members = value.split(b",")
    elif _QUOTED_OR_NOT.fullmatch(value) is None:
        return None  # A quote without its end may hide directives, or may be one of them.
    else:
        members = _MEMBER.findall(value)
    if len(members) > _MOST_DIRECTIVES:
        return None
    return [member for part in members if (member := part.strip(OWS))]


def _pair_of(member: bytes) -> _Pair:
    """Return name and argument of one directive; one that is malformed has the name that it begins with."""
    name, equals, text = member.partition(b"=")
    if not is_token(name):
        rest = name.lstrip(TOKEN_BYTES)
        return name[: len(name) - len(rest)].lower(), _MALFORMED
    if not equals:
        return name.lower(), None
    if _QUOTED.fullmatch(text):
        text = _ESCAPED.sub(rb"\1", text[1:-1])  # Both forms are to be taken (RFC 9111 section 5.2).
    elif not is_token(text):
        text = _MALFORMED
    return name.lower(), text


def _targeted_pairs(members: dict[bytes, Value]) -> Iterator[_Pair]:
    """Yield names and arguments; a value is malformed if its directive has another type (RFC 9213 section 2.1)."""
    for name, value in members.items():
        if value is False:
            continue
        if value is True:
            yield name, None
        elif isinstance(value, int) and name in _DELTA_NAMES:
            yield name, b"%d" % value
        elif isinstance(value, bytes) and name in _LIST_NAMES:
            yield name, value
        else:
            yield name, _MALFORMED


def _gather(pairs: Iterable[_Pair]) -> _Arguments:
    arguments: _Arguments = {}
    for name, argument in pairs:
        arguments.setdefault(name, []).append(argument)
    return arguments


def parse_delta(text: bytes) -> int | None:
    """Return a number of seconds (RFC 9111 section 1.2.2), at most ``GREATEST_DELTA_S``; None if it is none."""
    if not text.isdigit():
        return None
    # Leading zeros are fine; beyond ten digits it is too much in any case, and long numbers are slow to read.
    digits = text.lstrip(b"0")
    return min(int(digits or b"0"), GREATEST_DELTA_S) if len(digits) <= 10 else GREATEST_DELTA_S


def _limit_of(arguments: list[bytes | None] | None) -> int | None:
    """Return the least of the times that something may be used; 0 if one of them is not a number."""
    if arguments is None:
        return None
    return min(parse_delta(argument or _MALFORMED) or 0 for argument in arguments)


def _demand(argument: bytes | None) -> int:
    seconds = parse_delta(argument or _MALFORMED)
    return GREATEST_DELTA_S if seconds is None else seconds


def _allowance_of(arguments: list[bytes | None] | None, otherwise: int | None = None) -> int | None:
    """Return the least of the times that something may be used beyond its own; None if one of them is not a number.

    :param otherwise: what stands for no argument.
    """
    least = None
    for argument in arguments or ():
        seconds = otherwise if argument is None else parse_delta(argument)
        if seconds is None:
            return None
        least = seconds if least is None else min(least, seconds)
    return least


def _names_of(arguments: list[bytes | None] | None) -> tuple[bytes, ...] | None:
    """Return the names in lower case of the fields that a directive is about; None if it is about the whole reply."""
    names: list[bytes] = []
    for argument in arguments or ():
        listed = split_list(argument or b"")
        if not listed or not all(map(is_token, listed)):
            return None
        names += listed
    return tuple(dict.fromkeys(names))
