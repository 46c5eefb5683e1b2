"""Which entries have a tag."""

from __future__ import annotations

from sys import getsizeof

from txproxy.cache.entry import Entry
from txproxy.cache.footprint import allocated_bytes, shrink_set


class TagIndex:
    """Entries by tag; an entry without tags costs nothing."""

    __slots__ = ("_entries", "_held_bytes")

    def __init__(self) -> None:
        self._entries: dict[bytes, set[Entry]] = {}
        self._held_bytes = 0

    @property
    def footprint_bytes(self) -> int:
        """What it takes of memory, without the entries themselves."""
        return self._held_bytes + getsizeof(self._entries)

    def add(self, entry: Entry) -> None:
        """Take up an entry."""
        for tag in entry.tags:
            tagged = self._entries.get(tag)
            if tagged is None:
                tagged = self._entries[tag] = set()
                self._held_bytes += allocated_bytes(tag) + getsizeof(tagged)
            before = getsizeof(tagged)
            tagged.add(entry)
            self._held_bytes += getsizeof(tagged) - before

    def discard(self, entry: Entry) -> None:
        """Let go of an entry."""
        for tag in entry.tags:
            tagged = self._entries.get(tag)
            if tagged is None:  # A tag that it names twice, or all of which were taken.
                continue
            tagged.discard(entry)
            if not tagged:
                self._forget(tag, tagged)

    def compact(self) -> None:
        """Give back what is taken for entries and tags that are gone; costs as much as there are of them."""
        self._entries = dict(self._entries)
        for tagged in self._entries.values():
            self._held_bytes += shrink_set(tagged)

    def take_tagged(self, tag: bytes, most: int) -> list[Entry]:
        """Return entries that have a tag, and forget that they have it; whoever takes them discards them then.

        ``pop``, for it goes on where the last one ended; see ``Expiry.take_due``.

        :param most: how many to return at most.
        """
        tagged = self._entries.get(tag)
        if tagged is None:
            return []
        taken = [tagged.pop() for _ in range(min(most, len(tagged)))]
        if not tagged:
            self._forget(tag, tagged)
        return taken

    def _forget(self, tag: bytes, tagged: set[Entry]) -> None:
        self._held_bytes -= allocated_bytes(tag) + getsizeof(tagged)
        del self._entries[tag]
