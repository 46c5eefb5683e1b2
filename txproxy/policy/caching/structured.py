"""Dictionaries of Structured Field Values (RFC 8941 section 3.2), as far as cache directives need them."""

from __future__ import annotations

import re
from enum import Enum


class Other(Enum):
    """A valid value of a kind that no cache directive has."""

    OTHER = "other"


OTHER = Other.OTHER
"""Stands for a Decimal, a Token, a Byte Sequence or an Inner List."""

Value = bool | int | bytes | Other
"""A Boolean, an Integer, the bytes of a String, or ``OTHER``."""

_KEY = rb"[a-z*][a-z0-9_.*-]*"
_BARE_ITEM = (
    rb"(?:-?[0-9]{1,12}\.[0-9]{1,3}(?![0-9.])"  # Decimal
    rb"|-?[0-9]{1,15}(?![0-9.])"  # Integer
    rb'|"(?:[ !#-\[\]-~]|\\["\\])*"'  # String
    rb"|[A-Za-z*][!#$%&'*+\-.^_`|~0-9A-Za-z:/]*"  # Token
    rb"|:[A-Za-z0-9+/=]*:"  # Byte Sequence
    rb"|\?[01])"  # Boolean
)
_ITEM = re.compile(_BARE_ITEM)
_MEMBER = re.compile(rb"(?P<key>%b)(?P<equals>=?)" % _KEY)
_PARAMETER = re.compile(rb"; *%b(?:=%b)?" % (_KEY, _BARE_ITEM))
_COMMA = re.compile(rb"[ \t]*,[ \t]*")
_INTEGER = re.compile(rb"-?[0-9]+")
_ESCAPED = re.compile(rb"\\(.)")


def parse_dictionary(value: bytes) -> dict[bytes, Value] | None:
    """Return the members of a Dictionary; of those with one key, the last (RFC 8941 section 4.2.2).

    Parameters are checked and left out: no cache directive has any (RFC 9213 section 2.1).

    :param value: of a field; if it is repeated, joined by commas.
    :return: None if it is not valid; nothing if it is empty.
    """
    value = value.strip(b" ")
    members: dict[bytes, Value] = {}
    position, end = 0, len(value)
    while position < end:
        member = _MEMBER.match(value, position)
        if member is None:
            return None
        start = member.end()
        after = _after_value(value, start) if member["equals"] else start
        if after is None:
            return None
        members[member["key"]] = _value_of(value[start:after]) if member["equals"] else True
        position = _after_parameters(value, after)
        if position < end:
            comma = _COMMA.match(value, position)
            if comma is None or comma.end() == end:
                return None
            position = comma.end()
    return members


def _after_value(value: bytes, position: int) -> int | None:
    """Return where an item or an inner list ends, without its parameters; None if there is none."""
    if value[position : position + 1] == b"(":
        return _after_inner_list(value, position + 1)
    item = _ITEM.match(value, position)
    return None if item is None else item.end()


def _after_inner_list(value: bytes, position: int) -> int | None:
    position = _after_spaces(value, position)
    while value[position : position + 1] != b")":
        item = _ITEM.match(value, position)
        if item is None:
            return None
        after = _after_parameters(value, item.end())
        position = _after_spaces(value, after)
        if position == after and value[position : position + 1] != b")":
            return None
    return position + 1


def _after_parameters(value: bytes, position: int) -> int:
    while parameter := _PARAMETER.match(value, position):
        position = parameter.end()
    return position


def _after_spaces(value: bytes, position: int) -> int:
    while value[position : position + 1] == b" ":
        position += 1
    return position


def _value_of(text: bytes) -> Value:
    if text[:1] == b"?":
        return text == b"?1"
    if text[:1] == b'"':
        return _ESCAPED.sub(rb"\1", text[1:-1])
    return int(text) if _INTEGER.fullmatch(text) else OTHER
