"""When stored replies are of no more use: buckets of moments, looked at in small steps."""

from __future__ import annotations

from heapq import heappop, heappush
from sys import getsizeof

from txproxy.cache.entry import NEVER, Entry
from txproxy.cache.footprint import shrink_set

_PART = 8
"""How late an entry may be noticed: by this part of the time that it had left when it was stored."""


class Expiry:
    """A wheel whose buckets are the wider the farther they are away, so that they are few.

    A year ahead is known to six weeks, a minute ahead to eight seconds: an entry that is noticed late takes room a
    while longer, and nothing else, for it is its freshness that says whether it may be used.
    """

    __slots__ = ("_buckets", "_ends", "_held_bytes")

    def __init__(self) -> None:
        self._buckets: dict[int, set[Entry]] = {}
        self._ends: list[int] = []
        self._held_bytes = 0

    @property
    def footprint_bytes(self) -> int:
        """What it takes of memory, without the entries themselves."""
        return self._held_bytes + getsizeof(self._buckets) + getsizeof(self._ends)

    def plan(self, entry: Entry, now: float) -> None:
        """Look at an entry when it is of no more use; never, if it always will be.

        :param now: seconds since the epoch.
        """
        until = entry.useful_until(now)
        if until == NEVER:
            return
        left_s = max(1, int(until - now))
        width_s = 1 << max(0, (left_s // _PART).bit_length() - 1)
        end = (int(max(until, now)) // width_s + 1) * width_s
        bucket = self._buckets.get(end)
        if bucket is None:
            bucket = self._buckets[end] = set()
            heappush(self._ends, end)
            self._held_bytes += getsizeof(bucket)
        before = getsizeof(bucket)
        bucket.add(entry)
        entry.bucket = bucket
        self._held_bytes += getsizeof(bucket) - before

    def forget(self, entry: Entry) -> None:
        """Plan no look at an entry any more."""
        bucket, entry.bucket = entry.bucket, None
        if bucket is not None:
            bucket.discard(entry)
            if not bucket:
                self._held_bytes += shrink_set(bucket)  # Its end may be weeks away.

    def compact(self) -> None:
        """Give back what the buckets take for entries that are gone; costs as much as there are entries."""
        for bucket in self._buckets.values():
            self._held_bytes += shrink_set(bucket)

    def take_due(self, now: float, most: int) -> list[Entry]:
        """Return entries that are of no more use, and forget them.

        What a step costs depends on how many it takes, not on how many were taken before: who iterates over a set
        from its front passes all places that are empty by now, while ``pop`` goes on where the last one ended.

        :param now: seconds since the epoch.
        :param most: how many to return at most.
        """
        taken: list[Entry] = []
        while self._ends and self._ends[0] <= now and len(taken) < most:
            bucket = self._buckets[self._ends[0]]
            while bucket and len(taken) < most:
                entry = bucket.pop()
                entry.bucket = None
                taken.append(entry)
            if not bucket:
                self._held_bytes -= getsizeof(bucket)
                del self._buckets[heappop(self._ends)]
        return taken
