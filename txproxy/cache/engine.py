"""What all routes with a cache share: the store, what is being fetched, and what is known not to be storable."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from txproxy.cache.budget import Budget
from txproxy.cache.contest import Contest
from txproxy.cache.entry import Entry
from txproxy.cache.errand import Room
from txproxy.cache.fetch import Fetch
from txproxy.cache.guard import Health, SafeStore
from txproxy.cache.store import EVERYTHING, Purge, Statistics
from txproxy.cache.sweep import Sweep
from txproxy.policy.caching.cache_status import Word
from txproxy.policy.caching.vary import secondary_key
from txproxy.wire.messages import RequestHead

PASS_S = 30.0
"""How long requests for what turned out not to be storable do not wait for each other."""
_MOST_PASSED = 10_000
_COUNTED = {
    Word.HIT: "hits",
    Word.MISS: "misses",
    Word.STALE: "stale",
    Word.EXPIRED: "expired",
    Word.REVALIDATED: "revalidated",
    Word.BYPASS: "bypassed",
}


def _nobody(_count: int) -> None:
    """Nobody asks how many."""


class _Sum:
    """Waits for several numbers and tells their sum.

    :param missing: how many numbers.
    """

    __slots__ = ("_done", "_missing", "_sum")

    def __init__(self, missing: int, done: Callable[[int], None]) -> None:
        self._missing = missing
        self._done = done
        self._sum = 0

    def __call__(self, count: int) -> None:
        self._sum += count
        self._missing -= 1
        if not self._missing:
            self._done(self._sum)


class EngineTools(NamedTuple):
    """What an engine needs."""

    wall_clock: Callable[[], float]
    """Seconds since the epoch."""
    clock: Callable[[], float]
    """The monotonic clock, in seconds."""
    call_later: Callable[..., Any]
    """The reactor's."""


class CacheCounters:
    """What was done for requests, as plain numbers: each request that the cache has a part in counts once."""

    __slots__ = ("bypassed", "collapsed", "expired", "hits", "misses", "revalidated", "stale")

    def __init__(self) -> None:
        self.hits = 0
        self.misses = 0
        self.expired = 0
        """Stored replies that were stale and did not hold any more."""
        self.revalidated = 0
        """Stored replies of which a backend said that they still hold."""
        self.stale = 0
        """Stale replies that were sent as they were."""
        self.bypassed = 0
        self.collapsed = 0
        """Requests that were served by the fetch of another; they count among the others too."""

    def count(self, word: Word) -> None:
        """Count a request.

        :param word: what was done for it.
        """
        name = _COUNTED[word]
        setattr(self, name, getattr(self, name) + 1)


class CacheStatistics(NamedTuple):
    """All numbers of a cache."""

    hits: int
    misses: int
    expired: int
    revalidated: int
    stale: int
    bypassed: int
    collapsed: int
    store: Statistics
    health: Health
    """How it stands with the store."""


class _UnderWay:
    """What is being fetched of one URL."""

    __slots__ = ("contest", "fetches")

    def __init__(self) -> None:
        self.fetches: dict[Fetch, None] = {}
        """The oldest first."""
        self.contest = Contest()

    def is_oldest(self, fetch: Fetch) -> bool:
        """Return whether no other began before."""
        return next(iter(self.fetches)) is fetch


class CacheEngine:
    """The cache of one worker.

    :param store: see there.
    :param name: of this cache in Cache-Status.
    :param budget: of content that is in memory besides what is stored.
    :param tools: see there.
    """

    def __init__(self, store: SafeStore, name: bytes, budget: Budget, tools: EngineTools) -> None:
        self.store = store
        self.name = name
        self.wall_clock, self.clock, self.call_later = tools
        self.counters = CacheCounters()
        self.budget = budget
        self.sweep = Sweep(self.call_later)
        """What requests purge."""
        self.sweep_elsewhere: Callable[[bytes, Callable[[int], None] | None], None] | None = None
        """Given a URL that a request purges and, if somebody wants to know, who is to be told how many replies are gone
        in other processes, has these purge it too."""
        self._rooms: dict[Room, Fetch] = {}
        """What others may join."""
        self._behind: dict[Room, Fetch] = {}
        """What nobody waits for, whether others may join it or not."""
        self._under_way: dict[bytes, _UnderWay] = {}
        """All fetches, by their URLs."""
        self._begun = 0
        self._passed: OrderedDict[int, float] = OrderedDict()
        """Until when, by hashes of rooms: these are long, and two that share one wait for nobody, and that is all."""

    # What is fetched.

    def room_of(self, key: bytes, request: RequestHead, variants: tuple[Entry, ...]) -> Room:
        """Return what a request would fetch.

        :param variants: what is stored of its key.
        """
        names = variants[0].variant.names if variants else ()
        return key, names, secondary_key(names, request) if names else b""

    def fetch_in(self, room: Room) -> Fetch | None:
        """Return the fetch that others who want the same may join; None if there is none."""
        return self._rooms.get(room)

    def begin(self, fetch: Fetch) -> None:
        """Take note of a fetch, and let others join it if they may."""
        errand = fetch.errand
        self._begun += 1
        fetch.number = self._begun
        self._under_way.setdefault(errand.url, _UnderWay()).fetches[fetch] = None
        if errand.is_shared:
            self._rooms[errand.room] = fetch
        if fetch.is_behind:
            self._behind[errand.room] = fetch

    def is_under_way(self, room: Room) -> bool:
        """Return whether a fetch that others may join, or one that nobody waits for, brings this."""
        return room in self._rooms or room in self._behind

    def close(self, fetch: Fetch) -> None:
        """Let nobody join a fetch any more."""
        room = fetch.errand.room
        for fetches in (self._rooms, self._behind):
            if fetches.get(room) is fetch:
                del fetches[room]

    def ended(self, fetch: Fetch) -> None:
        """Take note that a fetch has ended."""
        self.close(fetch)
        url = fetch.errand.url
        group = self._under_way.get(url)
        if group is not None and fetch in group.fetches:
            del group.fetches[fetch]
            if not group.fetches:
                del self._under_way[url]
        self.give_back(fetch, fetch.reserved_bytes)

    def reserve(self, fetch: Fetch, count: int) -> bool:
        """Return whether a fetch may keep so many bytes more for now."""
        if not self.budget.take(count):
            return False
        fetch.reserved_bytes += count
        return True

    def give_back(self, fetch: Fetch, count: int) -> None:
        """Take note that a fetch keeps so many bytes no more."""
        count = min(count, fetch.reserved_bytes)
        fetch.reserved_bytes -= count
        self.budget.give_back(count)

    def put(self, fetch: Fetch, entry: Entry, now: float) -> bool:
        """Store what a fetch has brought, unless something that was asked for later says otherwise.

        :param now: seconds since the epoch.
        :return: whether it is stored.
        """
        group = self._under_way.get(fetch.errand.url)
        if fetch.is_outdated or group is None:
            return False
        if not group.contest.takes(fetch.number, entry, group.is_oldest(fetch)):
            return False
        if not self.store.put(entry, now):
            return False
        if self.budget.lends and self.store.holds(entry):
            self.budget.stored(entry.body)
        return True

    def rule_out_older(self, fetch: Fetch) -> None:
        """Have nothing stored that was asked for earlier than this, which has brought what may not be stored."""
        group = self._under_way.get(fetch.errand.url)
        if group is not None and not group.is_oldest(fetch):
            group.contest.rule_out_older(fetch.number, fetch.errand.room[0])

    @property
    def fetches(self) -> list[Fetch]:
        """All fetches that are under way."""
        return [fetch for group in self._under_way.values() for fetch in group.fetches]

    def stop(self) -> None:
        """Give up what nobody waits for, and finish purges."""
        self.sweep.finish()
        self.budget.stop()
        for fetch in self.fetches:
            if not fetch.readers:
                fetch.cancel("shutdown")

    # What is not storable.

    def pass_by(self, room: Room, has_cookie: bool) -> None:
        """Have requests for this wait for nobody, for a while.

        :param has_cookie: whether those are meant that have a cookie, or those that have none.
        """
        passed, what = self._passed, hash((room, has_cookie))
        passed[what] = self.clock() + PASS_S
        passed.move_to_end(what)
        if len(passed) > _MOST_PASSED:
            passed.popitem(last=False)

    def is_passed_by(self, room: Room, has_cookie: bool) -> bool:
        """Return whether this was not storable just now."""
        what = hash((room, has_cookie))
        until = self._passed.get(what)
        if until is None:
            return False
        if until > self.clock():
            return True
        del self._passed[what]
        return False

    def may_be_stored(self, room: Room, has_cookie: bool) -> None:
        """Take note that this turned out to be storable again."""
        self._passed.pop(hash((room, has_cookie)), None)

    # What requests and operators do.

    def sweep_url(self, url: bytes, done: Callable[[int], None] = _nobody) -> None:
        """Purge all that is stored of a URL, without holding up other requests: from now on none of it is served.

        :param url: in normal form; see ``policy.caching.key``.
        :param done: is called with the number of replies that are gone when none is left, which may be at once.
        """
        elsewhere = self.sweep_elsewhere
        if elsewhere is not None:
            if done is _nobody:
                elsewhere(url, None)
            else:
                done = _Sum(2, done)
                elsewhere(url, done)
        self.sweep_here(url, done)

    def sweep_here(self, url: bytes, done: Callable[[int], None] = _nobody) -> None:
        """Purge as ``sweep_url`` does, in this process alone."""
        self.sweep.begin(url, self.purging(Purge("url", url)), done)

    def purge_url(self, url: bytes) -> int:
        """Purge all that is stored of a URL at once.

        :param url: in normal form; see ``policy.caching.key``.
        :return: how many replies are gone.
        """
        return self.purge(Purge("url", url))

    def purge_prefix(self, prefix: bytes) -> int:
        """Purge all that is stored of URLs that begin so.

        :param prefix: in normal form.
        :return: how many replies are gone.
        """
        return self.purge(Purge("prefix", prefix))

    def purge_tag(self, tag: bytes) -> int:
        """Purge all that is stored with a tag.

        :param tag: as it stands in Surrogate-Key or Cache-Tag.
        :return: how many replies are gone.
        """
        return self.purge(Purge("tag", tag))

    def purge(self, what: Purge) -> int:
        """Purge at once; return how many replies are gone."""
        return sum(self.purging(what))

    def purging(self, what: Purge) -> Iterator[int]:
        """Purge in small steps, yielding after each how many replies it has removed."""
        group = self._under_way.get(what.value)
        under_way = self.fetches if what.kind != "url" else [] if group is None else list(group.fetches)
        for fetch in under_way:
            if fetch.is_meant(what):
                self.close(fetch)
                fetch.outdate()
        yield from self.store.purging(what)

    def clear(self) -> int:
        """Purge everything; return how many replies are gone."""
        return self.purge(EVERYTHING)

    def statistics(self) -> CacheStatistics:
        """Return the numbers."""
        counters = self.counters
        return CacheStatistics(
            counters.hits,
            counters.misses,
            counters.expired,
            counters.revalidated,
            counters.stale,
            counters.bypassed,
            counters.collapsed,
            self.store.statistics(),
            self.store.health(),
        )
