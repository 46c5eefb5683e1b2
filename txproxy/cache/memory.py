"""The store in this process's memory: bounded by the bytes that it truly takes, the least recently used go first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from itertools import islice
from sys import getsizeof

from txproxy.cache.entry import MOST_HITS, PLAIN, Entry, Measure
from txproxy.cache.expiry import Expiry
from txproxy.cache.sorted_keys import SortedKeys
from txproxy.cache.store import EVERYTHING, Purge, Statistics
from txproxy.cache.tag_index import TagIndex
from txproxy.cache.variants import SecondaryKey, Variants, chosen, displaced_by, members_of, without
from txproxy.policy.caching.key import END_OF_URL
from txproxy.wire.messages import RequestHead

_STEP = 100
"""Entries that are removed without a pause for others: about a quarter of a millisecond."""
_MUCH_EMPTIER = 8
_FEWEST_TO_COMPACT = 128


class MemoryStore:
    """Replies in memory.

    :param max_bytes: what it may take, with fields, bodies, tables and all other overhead.
    :param max_object_bytes: the longest body that is stored.
    :param secondary_key: says what a request means to a reply that varies.
    """

    is_sealed = False

    def __init__(self, max_bytes: int, max_object_bytes: int, secondary_key: SecondaryKey) -> None:
        self.max_bytes = max_bytes
        self._limit_bytes = max_bytes
        self._ceiling_bytes = max_bytes
        """What is never exceeded: more than its size only while it has just become smaller."""
        self._max_object_bytes = max_object_bytes
        self._secondary_key = secondary_key
        self._measure = Measure()
        self._held_bytes = 0
        """Of the entries alone."""
        self._largest = 0
        """Entries for which the tables have had room since they were last made anew."""
        self._last_found: Entry | None = None
        self.on_removed: Callable[[bytes], None] | None = None
        """Is told of each body that is not held any more."""
        self._stored = self._replaced = self._evicted = self._expired = self._purged = self._refused = 0
        self._make_tables()

    def _make_tables(self) -> None:
        self._index: dict[bytes, Variants] = {}
        self._used: OrderedDict[Entry, None] = OrderedDict()
        """All entries, the least recently used first."""
        self._keys = SortedKeys()
        self._tags = TagIndex()
        self._expiry = Expiry()

    def resize(self, max_bytes: int, max_object_bytes: int) -> None:
        """Have another size from here on; what is too much is removed by and by, as ``limit`` says.

        :param max_bytes: see the class; likewise the other.
        """
        self.max_bytes = self._limit_bytes = max_bytes
        self._ceiling_bytes = max(max_bytes, self.held_bytes)
        self._max_object_bytes = max_object_bytes

    def __len__(self) -> int:
        return len(self._used)

    @property
    def held_bytes(self) -> int:
        """What the store takes of memory."""
        tables = getsizeof(self._index) + getsizeof(self._used)
        tables += self._keys.footprint_bytes + self._tags.footprint_bytes + self._expiry.footprint_bytes
        return self._held_bytes + tables

    # One entry.

    def lookup(self, key: bytes, request: RequestHead) -> Entry | None:
        """See ``Store``."""
        found = self._index.get(key)
        if found is None:
            return None
        entry: Entry | None
        if type(found) is Entry and found.variant is PLAIN:
            entry = found
        else:
            entry = chosen(found, request, self._secondary_key)
            if entry is None:
                return None
        self._used.move_to_end(entry)
        if entry.hits < MOST_HITS:
            entry.hits += 1
        last = self._last_found
        if last is not entry:
            if last is not None and last.head.block is not None:
                self._count_block(last)
            self._last_found = entry
        return entry

    def variants(self, key: bytes) -> tuple[Entry, ...]:
        """See ``Store``."""
        return members_of(self._index.get(key))

    def put(self, entry: Entry, now: float) -> bool:
        """See ``Store``."""
        # Only where the limit was lowered may there be more than that.
        needed_bytes = self._ceiling_bytes
        if self._limit_bytes < needed_bytes:
            needed_bytes = min(max(self.held_bytes, self._limit_bytes), needed_bytes)
        members = members_of(self._index.get(entry.key))
        crowded: list[Entry] = []
        if members:
            replaced, crowded = displaced_by(entry, members)
            for each in replaced:
                self._remove(each)
            self._replaced += len(replaced)
        self._measure.settle(entry)
        if len(entry.body) > self._max_object_bytes or entry.footprint_bytes > self._limit_bytes:
            self._refused += 1
            return False
        for each in crowded:
            self._remove(each)
            self._evicted += 1
        self._add(entry, now)
        self._stored += 1
        self._make_room(needed_bytes)
        return entry in self._used

    def holds(self, entry: Entry) -> bool:
        """Return whether the body of this entry is in memory anyway, until ``on_removed`` is told of it."""
        members = members_of(self._index.get(entry.key))
        return self.on_removed is not None and any(each.body is entry.body for each in members)

    def remove(self, entry: Entry) -> bool:
        """See ``Store``."""
        if entry not in self._used:
            return False
        self._remove(entry)
        self._purged += 1
        return True

    def _add(self, entry: Entry, now: float) -> None:
        self._expiry.plan(entry, now)
        others = members_of(self._index.get(entry.key))
        if others:
            entry.key = others[0].key  # One object for all of them.
            self._index[entry.key] = (entry, *others)
        else:
            self._keys.add(entry.key)
            self._index[entry.key] = entry
        self._used[entry] = None
        self._tags.add(entry)
        self._held_bytes += entry.footprint_bytes
        self._largest = max(self._largest, len(self._used))

    def _remove(self, entry: Entry) -> None:
        left = without(self._index[entry.key], entry)
        if left is None:
            del self._index[entry.key]
            self._keys.discard(entry.key)
        else:
            self._index[entry.key] = left
        del self._used[entry]
        self._expiry.forget(entry)
        self._tags.discard(entry)
        self._held_bytes -= entry.footprint_bytes
        if self._last_found is entry:
            self._last_found = None
        if self.on_removed is not None:
            self.on_removed(entry.body)

    def _make_room(self, needed_bytes: int) -> None:
        """Evict what there is too much of after an entry was stored.

        Where the limit was lowered below what is held, a step towards it is enough: ``limit`` does the rest.

        :param needed_bytes: what must not be exceeded now: the limit, or what was held before the entry.
        """
        count = 0
        while (held := self.held_bytes) > self._limit_bytes and self._used and (held > needed_bytes or count < _STEP):
            self._evict()
            count += 1

    def _evict(self) -> None:
        self._remove(next(iter(self._used)))
        self._evicted += 1
        self._compact()  # Else what tables hold for entries that are gone would cost those that are left.

    def _count_block(self, entry: Entry) -> None:
        """Count what a delivery by HTTP/2 has added: its head as a block, made once for all later ones."""
        if not entry.block_counted:
            before = entry.footprint_bytes
            self._measure.add_block(entry)
            self._held_bytes += entry.footprint_bytes - before

    # Many entries.

    def purging(self, what: Purge) -> Iterator[int]:
        """See ``Store``."""
        matching = self._named(what)
        tag = what.value if what.kind == "tag" else None
        while entries := list(islice(matching, _STEP)) if tag is None else self._tags.take_tagged(tag, _STEP):
            for entry in entries:
                self._remove(entry)
            self._purged += len(entries)
            yield len(entries)
        self._compact()

    def purge_url(self, url: bytes) -> int:
        """See ``Store``."""
        return sum(self.purging(Purge("url", url)))

    def purge_prefix(self, prefix: bytes) -> int:
        """See ``Store``."""
        return sum(self.purging(Purge("prefix", prefix)))

    def purge_tag(self, tag: bytes) -> int:
        """See ``Store``."""
        return sum(self.purging(Purge("tag", tag)))

    def clear(self) -> int:
        """See ``Store``."""
        return sum(self.purging(EVERYTHING))

    def _named(self, what: Purge) -> Iterator[Entry]:
        """Yield the entries of keys that begin alike, whatever is stored or removed meanwhile."""
        prefix = b"" if what.kind == "all" else what.value
        if what.kind == "url":
            yield from members_of(self._index.get(prefix))
            prefix += END_OF_URL
        start = prefix
        while keys := self._keys.beginning(prefix, start, _STEP):
            for key in keys:
                yield from members_of(self._index.get(key))
            # Never back to a key once passed: so it ends, however much is stored meanwhile.
            start = keys[-1] + b"\0"

    def expire(self, now: float, most: int = _STEP) -> int:
        """See ``Store``."""
        count = 0
        while count < most and (entries := self._expiry.take_due(now, most - count)):
            for entry in entries:
                self._remove(entry)
            count += len(entries)
        self._expired += count
        if count < most:
            self._compact()
        return count

    def limit(self, to_bytes: int, most: int = _STEP) -> int:
        """See ``Store``."""
        self._limit_bytes = max(0, min(to_bytes, self.max_bytes))
        count = 0
        while count < most and self._used and self.held_bytes > self._limit_bytes:
            self._evict()
            count += 1
        return count

    def _compact(self) -> None:
        """Make tables anew that have become far too large: those of Python grow only."""
        if self._largest > max(_FEWEST_TO_COMPACT, _MUCH_EMPTIER * len(self._used)):
            self._index = dict(self._index)
            self._used = OrderedDict(self._used)
            self._tags.compact()
            self._expiry.compact()
            self._largest = len(self._used)

    def statistics(self) -> Statistics:
        """See ``Store``."""
        return Statistics(
            len(self._used), self.held_bytes, self._stored, self._replaced, self._evicted, self._expired,
            self._purged, self._refused,
        )  # fmt: skip
