"""How long things took: fixed buckets, so that what several processes have counted can be added up."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator

BOUNDS_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0)
"""Upper ends of the buckets, which belong to them, as Prometheus has it; what took longer is in one more."""
BUCKETS = len(BOUNDS_S) + 1


class Histogram:
    """Counts durations by buckets."""

    __slots__ = ("counts", "sum_s")

    def __init__(self) -> None:
        self.counts = [0] * BUCKETS
        """Of each bucket alone."""
        self.sum_s = 0.0

    def add_all(self, seconds: list[float]) -> None:
        """Count some, which costs less than one by one.

        :param seconds: how long each took; they are sorted here.
        """
        if not seconds:
            return
        seconds.sort()
        counts = self.counts
        first, last = bisect_left(BOUNDS_S, seconds[0]), bisect_left(BOUNDS_S, seconds[-1])
        begin = 0
        for index in range(first, last):
            end = bisect_right(seconds, BOUNDS_S[index], begin)
            counts[index] += end - begin
            begin = end
        counts[last] += len(seconds) - begin
        self.sum_s += sum(seconds)


def histogram_numbers(names: list[str], sum_name: str, histogram: Histogram) -> Iterator[tuple[str, int]]:
    """Yield the numbers of a histogram that are not 0.

    :param names: of its buckets.
    :param sum_name: of the sum, in microseconds.
    """
    for name, count in zip(names, histogram.counts, strict=True):
        if count:
            yield name, count
    if histogram.sum_s:
        yield sum_name, int(histogram.sum_s * 1e6)


def quantile_s(counts: list[int], part: float) -> float:
    """Return an estimate of how long that part of all took at most, in seconds; 0 if there is none.

    Within a bucket they are taken to be evenly spread, as Prometheus does.

    :param counts: of each bucket alone.
    :param part: 0.99 for the 99th percentile.
    """
    rank = part * sum(counts)
    if not rank:
        return 0.0
    for index, count in enumerate(counts[:-1]):
        if rank <= count:
            below = BOUNDS_S[index - 1] if index else 0.0
            return below + (BOUNDS_S[index] - below) * rank / count
        rank -= count
    return BOUNDS_S[-1]
