"""What objects take of memory, as the allocators of CPython and of the C library hand it out."""

from __future__ import annotations

from collections.abc import Iterable
from sys import getsizeof
from typing import Any

_MOST_SMALL_BYTES = 512
"""Larger objects come from the C library, which keeps their size beside them (CPython, Objects/obmalloc.c)."""
_STEP_BYTES = 16
_BESIDE_BYTES = 8
_SHARED_INTS = range(-5, 257)
"""CPython has one object for each of these."""
_SINGLE = frozenset((type(None), bool))
_WITHOUT_PARTS = frozenset((bytes, str))
_SEQUENCES = (tuple, list, frozenset)
_DEEPEST = 4


def allocated_bytes(value: object) -> int:
    """Return the bytes that an object takes itself, without what it refers to."""
    size = getsizeof(value)
    if size > _MOST_SMALL_BYTES:
        size += _BESIDE_BYTES
    return size + -size % _STEP_BYTES


def deep_bytes(value: object, deepest: int = _DEEPEST) -> int:
    """Return the bytes that a value takes with all that it is made of: numbers, bytes, containers, slotted records.

    :param deepest: levels that are looked into; below them nothing is counted.
    """
    kind = type(value)
    if kind is float:
        return _FLOAT_BYTES
    if kind is int:
        return 0 if value in _SHARED_INTS else allocated_bytes(value)
    if kind in _SINGLE or value == () or value == b"":
        return 0
    size = allocated_bytes(value)
    if kind in _WITHOUT_PARTS or not deepest:
        return size
    for part in _parts(value):
        size += deep_bytes(part, deepest - 1)
    return size


def shrink_set(members: set[Any]) -> int:
    """Make a set's table fit: it keeps room for as many as it has ever held.

    :return: bytes that it takes more than before, which is less than 0 or 0.
    """
    before = getsizeof(members)
    kept = list(members)
    members.clear()
    members.update(kept)
    return getsizeof(members) - before


def _parts(value: object) -> Iterable[object]:
    """Return what a value refers to."""
    if isinstance(value, _SEQUENCES):
        return value
    if isinstance(value, dict):
        return [*value, *value.values()]
    return [getattr(value, name, None) for name in getattr(type(value), "__slots__", ())]


_FLOAT_BYTES = allocated_bytes(0.5)
