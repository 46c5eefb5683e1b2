"""What every store of replies can do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

from txproxy.cache.entry import Entry
from txproxy.wire.messages import RequestHead


class Purge(NamedTuple):
    """Which entries are to go."""

    kind: str
    """``url``, ``prefix``, ``tag`` or ``all``."""
    value: bytes = b""
    """A URL as it stands in primary keys, the beginning of one, or a tag."""


EVERYTHING = Purge("all")


class Statistics(NamedTuple):
    """Numbers of a store: the first two of now, the others since the start."""

    objects: int
    held_bytes: int
    """What it takes of memory or room, with all that belongs to it."""
    stored: int
    replaced: int
    """Gone because a newer one took its place."""
    evicted: int
    """Gone because room was needed."""
    expired: int
    """Gone because of no more use."""
    purged: int
    """Gone because somebody said so."""
    refused: int
    """Not stored: too large."""


class Store(Protocol):
    """A store of replies. Moments are in seconds since the epoch."""

    is_sealed: bool
    """Entries leave this process, so each is given a seal, which is verified when it is found."""

    def lookup(self, key: bytes, request: RequestHead) -> Entry | None:
        """Return the entry that a request may be answered with, or None (RFC 9111 section 4.1)."""

    def variants(self, key: bytes) -> tuple[Entry, ...]:
        """Return all entries of a primary key, the newest first."""

    def put(self, entry: Entry, now: float) -> bool:
        """Store an entry in the place of the one that answers the same requests.

        What makes room for it goes at once; of what is too much because ``limit`` was lowered, a bounded number.

        :return: whether it is stored; if not, the older one is gone nevertheless.
        """

    def remove(self, entry: Entry) -> bool:
        """Remove an entry; return whether it was there."""

    def purging(self, what: Purge) -> Iterator[int]:
        """Purge in small steps, yielding after each how many entries it has removed.

        What is stored meanwhile may go too.
        """

    def purge_url(self, url: bytes) -> int:
        """Purge all entries of a URL at once, whatever else is in their keys; return how many."""

    def purge_prefix(self, prefix: bytes) -> int:
        """Purge all entries whose URL begins so, at once; return how many."""

    def purge_tag(self, tag: bytes) -> int:
        """Purge all entries with a tag at once; return how many."""

    def clear(self) -> int:
        """Purge everything at once; return how many entries."""

    def expire(self, now: float, most: int = 100) -> int:
        """Remove some of the entries that are of no more use; return how many."""

    def limit(self, to_bytes: int, most: int = 100) -> int:
        """Take less room from now on, or more, and evict some of what is too much at once; return how many."""

    def statistics(self) -> Statistics:
        """Return the numbers."""
