"""The entries of one primary key (RFC 9111 section 4.1): one, or a tuple of several, the newest first.

All have the field names of the newest reply's Vary: when a resource comes to vary by something else, what is known of
it by the former names says no more which request it answers.
"""

from __future__ import annotations

from collections.abc import Callable

from txproxy.cache.entry import Entry
from txproxy.wire.messages import RequestHead

MOST_VARIANTS = 64
"""Entries of one primary key; a client can invent as many values of a field as it likes."""

Variants = Entry | tuple[Entry, ...]
SecondaryKey = Callable[[tuple[bytes, ...], RequestHead], bytes]
"""See ``policy.caching.vary.secondary_key``."""


def members_of(found: Variants | None) -> tuple[Entry, ...]:
    """Return the entries."""
    if found is None:
        return ()
    return found if isinstance(found, tuple) else (found,)


def chosen(found: Variants, request: RequestHead, secondary_key: SecondaryKey) -> Entry | None:
    """Return the entry that answers a request, or None."""
    members = found if isinstance(found, tuple) else (found,)
    names = members[0].variant.names
    if not names:
        return members[0]
    wanted = secondary_key(names, request)
    for entry in members:
        if entry.variant.secondary_key == wanted:
            return entry
    return None


def displaced_by(entry: Entry, members: tuple[Entry, ...]) -> tuple[list[Entry], list[Entry]]:
    """Return which entries have to go for a new one, by what they are.

    :param members: those with its key, the newest first.
    :return: what it replaces or makes unknowable; and what there is no room for: of several, the one that was found
        least often, so that whoever invents variants cannot push out those that are asked for.
    """
    variant = entry.variant
    replaced = [each for each in members if each.variant.names != variant.names or each.variant == variant]
    rest = [each for each in members if each.variant.names == variant.names and each.variant != variant]
    if len(rest) < MOST_VARIANTS:
        return replaced, []
    return replaced, [min(reversed(rest), key=lambda each: each.hits)]


def without(found: Variants, entry: Entry) -> Variants | None:
    """Return what is left when an entry goes; None if nothing is."""
    rest = tuple(each for each in members_of(found) if each is not entry)
    return rest if len(rest) > 1 else rest[0] if rest else None
