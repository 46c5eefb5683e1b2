"""Many deadlines, one timer: a wheel of coarse ticks that is only touched when a deadline comes nearer.

A connection's deadline moves with each request, a hundred thousand times a second in all. So it is a plain attribute
of the connection, and the wheel remembers only a moment at which to look at it: no later than the deadline was when
it was last brought nearer. Looking too early costs one look; a timer per request would cost one each time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol
from weakref import ref

NEVER = float("inf")


class Expiring(Protocol):
    """What can be watched: it has a deadline, and a place where the wheel notes when it will look."""

    deadline: float
    """Moment in seconds; ``NEVER`` for none."""
    look_at: float
    """Kept by the wheel; starts as ``NEVER``."""


class Deadlines:
    """A wheel of deadlines.

    :param tick_s: how late a deadline may be noticed, in seconds.
    """

    def __init__(self, tick_s: float = 0.1) -> None:
        self.tick_s = tick_s
        self._buckets: dict[int, list[ref[Expiring]]] = {}
        # References that do not keep what has been closed: its tick may be a minute away.
        self._last_tick: int | None = None

    def __len__(self) -> int:
        """Return how many looks are planned, those of forgotten items included until their tick comes."""
        return sum(map(len, self._buckets.values()))

    def watch(self, item: Expiring) -> None:
        """Plan a look at an item whose deadline lies before the look already planned.

        Callers compare ``deadline < look_at`` themselves first, so that the usual case costs no call.
        """
        item.look_at = item.deadline
        tick = int(item.deadline / self.tick_s) + 1
        if self._last_tick is not None and tick <= self._last_tick:
            tick = self._last_tick + 1
        self._buckets.setdefault(tick, []).append(ref(item))

    def forget(self, item: Expiring) -> None:
        """Stop watching an item: its planned look will find nothing to do."""
        item.deadline = item.look_at = NEVER

    def expire(self, now: float) -> list[Expiring]:
        """Return the items whose deadlines have passed; they are watched no more until a new deadline is set."""
        return list(self.due(now))

    def due(self, now: float) -> Iterator[Expiring]:
        """Yield the items whose deadlines have passed, each looked at only when its turn comes.

        So what is done for one may forget another, or give it a new deadline, before that one's turn.
        """
        tick = int(now / self.tick_s)
        # After a long pause the ticks between are many and the buckets few.
        if self._last_tick is None or tick - self._last_tick > len(self._buckets):
            numbers = sorted(number for number in self._buckets if number <= tick)
        else:
            numbers = [number for number in range(self._last_tick + 1, tick + 1) if number in self._buckets]
        self._last_tick = tick
        for number in numbers:
            for reference in self._buckets.pop(number):
                item = reference()
                if item is not None and self._has_expired(item, now):
                    yield item

    def _has_expired(self, item: Expiring, now: float) -> bool:
        if item.look_at > now:
            return False  # Forgotten, or another look is planned that comes later than this one.
        item.look_at = NEVER
        if item.deadline <= now:
            item.deadline = NEVER
            return True
        if item.deadline < NEVER:
            self.watch(item)
        return False
