"""What the records of a DNS answer say about a name (RFC 1034 section 3.6.2)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

_FOREVER = float("inf")


class Record(NamedTuple):
    """One record: an address of a name, or that it is an alias."""

    name: str
    """In lower case, without a dot at its end, as is a name in ``value``."""
    kind: str
    """``A``, ``AAAA`` or ``CNAME``."""
    ttl_s: int
    value: str
    """An address, or for ``CNAME`` the name that this one is an alias of."""


class Found(NamedTuple):
    """What was found for a name."""

    addresses: tuple[str, ...] = ()
    ttl_s: float = _FOREVER
    """How long it holds: the shortest time of all records that were used."""
    alias: str = ""
    """If there is no address: the name at the end of a chain of aliases."""
    is_loop: bool = False
    """The aliases lead in a circle."""


def ttl_of(number: int) -> int:
    """Return the time to live that a record's 32 bits mean: none if the highest is set (RFC 2181 section 8)."""
    return 0 if number >> 31 else number


def follow(records: Iterable[Record], name: str, kind: str) -> Found:
    """Follow a name through the records of an answer, wherever in it they stand.

    :param records: the answer's; those of other names are passed over.
    :param name: in lower case.
    :param kind: ``A`` or ``AAAA``.
    """
    addresses: dict[str, list[Record]] = {}
    aliases: dict[str, Record] = {}
    for record in records:
        if record.kind == kind:
            addresses.setdefault(record.name, []).append(record)
        elif record.kind == "CNAME":
            aliases.setdefault(record.name, record)
    ttl_s, seen, first = _FOREVER, set(), name
    while name not in addresses:
        alias = aliases.get(name)
        if alias is None:
            return Found((), ttl_s, name if name != first else "")
        seen.add(name)
        ttl_s, name = min(ttl_s, alias.ttl_s), alias.value
        if name in seen:
            return Found((), ttl_s, is_loop=True)
    found = addresses[name]
    return Found(tuple(dict.fromkeys(each.value for each in found)), min(ttl_s, *(each.ttl_s for each in found)))
