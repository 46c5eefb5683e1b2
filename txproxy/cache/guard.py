"""A store that fails never fails a request: it is passed by for a while, and comes back by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeVar

from txproxy.cache.entry import Entry, Seal
from txproxy.cache.store import EVERYTHING, Purge, Statistics, Store
from txproxy.wire.messages import RequestHead

SHORTEST_BYPASS_S = 5.0
LONGEST_BYPASS_S = 60.0
MOST_OWED = 1000
"""Purges that are kept for a store that is passed by; for more it is cleared when it comes back."""

T = TypeVar("T")


class Health(NamedTuple):
    """How it stands with a store that may fail: the first of now, the others since the start."""

    is_away: bool
    """It has failed and is not asked, or was not yet asked again."""
    failures: int
    """Calls of the store that raised."""
    bypassed: int
    """Calls that were not made, for the store had failed."""
    corrupted: int
    """Entries that were found and did not match their seals."""


_NO_STATISTICS = Statistics(0, 0, 0, 0, 0, 0, 0, 0)


def _is_variant(entry: Entry, key: bytes) -> bool:
    """Return whether it can be told by what an entry varies, whatever the store has made of it."""
    try:
        names = entry.variant.names
        return entry.key == key and type(names) is tuple and all(type(name) is bytes for name in names)
    except Exception:
        return False


class SafeStore:
    """A store behind which another may fail.

    A failure is counted, and the other store is not asked for 5 s; after each further one for twice as long, up to
    60 s, until it has held for a minute. Meanwhile nothing is found and nothing stored. What was purged meanwhile is
    purged before anything is found again: a reply that was to go is never served because the store was away.

    :param store: the other store.
    :param log: has ``warn`` and ``info``, as ``observe.log.Logger``.
    :param clock: returns seconds of the monotonic clock.
    """

    def __init__(self, store: Store, log: Any, clock: Callable[[], float]) -> None:
        self._store = store
        self._lookup = store.lookup
        self._log = log
        self._clock = clock
        self.is_sealed = store.is_sealed
        self.is_away = False
        self.failures = self.bypassed = self.corrupted = 0
        """As in ``Health``."""
        self._back_at = clock()
        self._bypass_s = SHORTEST_BYPASS_S
        self._owed: list[Purge] = []

    # One entry.

    def lookup(self, key: bytes, request: RequestHead) -> Entry | None:
        """See ``Store``; None also if the store fails, or the entry is not what was stored."""
        if self.is_away and not self._comes_back():
            return None
        lookup = self._lookup
        try:
            entry = lookup(key, request)
        except Exception as error:
            return self._failed(error, None)
        if entry is None or not self.is_sealed:
            return entry
        return self._verified(entry, key)

    def variants(self, key: bytes) -> tuple[Entry, ...]:
        """See ``Store``; none if the store fails.

        Whether an entry is whole is verified when it is found by ``lookup``: on a miss, which asks only by what replies
        vary, all bodies of a key would be read through.
        """
        nothing: tuple[Entry, ...] = ()
        entries = self._ask(lambda: tuple(self._store.variants(key)), nothing)
        if not self.is_sealed:
            return entries
        known = []
        for entry in entries:
            if _is_variant(entry, key):
                known.append(entry)
            else:
                self._drop(entry, key)
        return tuple(known)

    def put(self, entry: Entry, now: float) -> bool:
        """See ``Store``; if the store fails, the older entry stays, which is as fresh as it was."""
        if self.is_sealed:
            entry.seal = Seal.of(entry)
        return self._ask(lambda: self._store.put(entry, now), False)

    def holds(self, entry: Entry) -> bool:
        """Return whether the store holds the very body of an entry in memory, as ours does."""
        holds = getattr(self._store, "holds", None)
        return holds is not None and self._ask(lambda: bool(holds(entry)), False)

    def remove(self, entry: Entry) -> bool:
        """See ``Store``; if the store fails, the entry's URL is purged when it comes back."""
        return self._ask(lambda: self._store.remove(entry), False, Purge("url", entry.url))

    def _verified(self, entry: Entry, key: bytes) -> Entry | None:
        """Return an entry if it is what was stored, under the key that was asked for; else drop it."""
        try:
            if entry.key == key and entry.seal == Seal.of(entry):
                return entry
        except Exception as error:
            # What came back is no entry at all.
            self._log.warn("cache: an entry cannot be read: {error}", error=repr(error))
        self._drop(entry, key)
        return None

    def _drop(self, entry: Entry, key: bytes) -> None:
        self.corrupted += 1
        self._log.warn("cache: an entry does not match its checksum and is dropped: {key}", key=repr(key))
        self._ask(lambda: self._store.remove(entry), False)

    # Many entries.

    def purging(self, what: Purge) -> Iterator[int]:
        """See ``Store``; what the store does not do now is done when it comes back."""
        nothing: Iterator[int] | None = None
        steps = self._ask(lambda: self._store.purging(what), nothing, what)
        while steps is not None and (count := self._ask(lambda: next(steps, None), None, what)) is not None:
            yield count

    def purge_url(self, url: bytes) -> int:
        """See ``Store``."""
        return self._purge(Purge("url", url))

    def purge_prefix(self, prefix: bytes) -> int:
        """See ``Store``."""
        return self._purge(Purge("prefix", prefix))

    def purge_tag(self, tag: bytes) -> int:
        """See ``Store``."""
        return self._purge(Purge("tag", tag))

    def clear(self) -> int:
        """See ``Store``."""
        return self._purge(EVERYTHING)

    def _purge(self, what: Purge) -> int:
        return sum(self.purging(what))

    def expire(self, now: float, most: int = 100) -> int:
        """See ``Store``."""
        return self._ask(lambda: self._store.expire(now, most), 0)

    def limit(self, to_bytes: int, most: int = 100) -> int:
        """See ``Store``."""
        return self._ask(lambda: self._store.limit(to_bytes, most), 0)

    def resize(self, max_bytes: int, max_object_bytes: int) -> None:
        """Have another size, if the store knows how; see ``memory``."""
        resize = getattr(self._store, "resize", None)
        if resize is not None:
            self._ask(lambda: resize(max_bytes, max_object_bytes), None)

    def statistics(self) -> Statistics:
        """See ``Store``; all zero if the store fails."""
        return self._ask(self._store.statistics, _NO_STATISTICS)

    def health(self) -> Health:
        """Return what it has come to; the store is not asked for that."""
        return Health(self.is_away, self.failures, self.bypassed, self.corrupted)

    # Failing, and coming back.

    def _ask(self, call: Callable[[], T], instead: T, owed: Purge | None = None) -> T:
        """Call the store.

        :param instead: what is returned if it fails, or is away.
        :param owed: what is to be purged then.
        """
        if self.is_away and not self._comes_back():
            self._owe(owed)
            return instead
        try:
            return call()
        except Exception as error:
            self._owe(owed)
            return self._failed(error, instead)

    def _failed(self, error: Exception, instead: T) -> T:
        now = self._clock()
        if now - self._back_at >= LONGEST_BYPASS_S:
            self._bypass_s = SHORTEST_BYPASS_S
        self.failures += 1
        self._log.warn(
            "cache: the store fails and is bypassed for {seconds:g} s: {error}",
            seconds=self._bypass_s,
            error=repr(error),
        )
        self.is_away = True
        self._back_at = now + self._bypass_s
        self._bypass_s = min(2 * self._bypass_s, LONGEST_BYPASS_S)
        return instead

    def _owe(self, owed: Purge | None) -> None:
        if owed is not None and EVERYTHING not in self._owed[:1]:
            if owed == EVERYTHING or len(self._owed) >= MOST_OWED:
                self._owed.clear()
                owed = EVERYTHING
            self._owed.append(owed)

    def _comes_back(self) -> bool:
        """Return whether the store may be asked again, what it owes being done."""
        if self._clock() < self._back_at:
            self.bypassed += 1
            return False
        try:
            while self._owed:
                for _ in self._store.purging(self._owed[-1]):
                    pass
                self._owed.pop()
        except Exception as error:
            return self._failed(error, False)
        self.is_away = False
        self._log.info("cache: the store is asked again")
        return True
