"""How late the event loop is: a call that should come at regular times says so."""

from __future__ import annotations

from txproxy.observe.histogram import BUCKETS, Histogram, histogram_numbers

_NAMES = [f"loop|lag|{index}" for index in range(BUCKETS)]
_RECENT = 100
"""Calls whose latest is shown: 10 s of a tick of 0.1 s."""


class LoopLag:
    """Counts by how much the calls of a ticker come too late.

    What holds up the loop for some milliseconds holds up every request that comes meanwhile.
    """

    def __init__(self) -> None:
        self._histogram = Histogram()
        self._due = -1.0
        self._worst_s = self._worst_before_s = 0.0
        self._calls = 0

    def ticked(self, now: float, interval_s: float) -> None:
        """Take note that the call has come.

        :param now: the moment, in seconds of the monotonic clock.
        :param interval_s: seconds between two calls, as it should be.
        """
        if self._due < 0:
            self._due = now + interval_s
            return
        lag_s = max(0.0, now - self._due)
        self._histogram.add_all([lag_s])
        self._worst_s = max(self._worst_s, lag_s)
        self._calls += 1
        if self._calls == _RECENT:
            self._calls, self._worst_before_s, self._worst_s = 0, self._worst_s, 0.0
        # Calls that were left out because one came too late are not late themselves.
        self._due += interval_s * (1 + lag_s // interval_s)

    def stopped(self) -> None:
        """Take note that the calls have an end: the next one begins anew."""
        self._due = -1.0

    @property
    def worst_s(self) -> float:
        """The longest of the last calls, in seconds."""
        return max(self._worst_s, self._worst_before_s)

    def numbers(self) -> dict[str, int]:
        """Return all numbers that are not 0, by flat names."""
        return dict(histogram_numbers(_NAMES, "loop|lag_us", self._histogram))
