"""Durations by buckets."""

from __future__ import annotations

from random import Random

from twisted.trial.unittest import SynchronousTestCase

from txproxy.observe.histogram import BOUNDS_S, BUCKETS, Histogram, quantile_s


class HistogramTests(SynchronousTestCase):
    """What is counted where."""

    def test_bounds(self) -> None:
        """A bucket has what took as long as its upper end, and not what took longer."""
        for index, bound in enumerate(BOUNDS_S):
            histogram = Histogram()
            histogram.add_all([bound, bound * 1.001])
            self.assertEqual([histogram.counts[index], histogram.counts[index + 1]], [1, 1])

    def test_manyAtOnce(self) -> None:
        """Counting a batch is counting each."""
        random = Random(7)
        values = [random.lognormvariate(-5, 3) for _ in range(500)]
        single, batch = Histogram(), Histogram()
        for value in values:
            single.add_all([value])
        batch.add_all([])
        for begin in range(0, 500, 60):
            batch.add_all(values[begin : begin + 60])
        self.assertEqual((single.counts, sum(single.counts), len(single.counts)), (batch.counts, 500, BUCKETS))
        self.assertAlmostEqual(single.sum_s, batch.sum_s)
        for index, bound in enumerate(BOUNDS_S):
            self.assertEqual(sum(batch.counts[: index + 1]), sum(value <= bound for value in values))

    def test_quantiles(self) -> None:
        """Percentiles from 0.5 ms to 60 s are known to within a bucket."""
        for exact in (0.0004, 0.003, 0.07, 1.5, 45.0):
            histogram = Histogram()
            histogram.add_all([exact] * 99 + [exact / 100])
            estimate = quantile_s(histogram.counts, 0.99)
            self.assertLess(abs(estimate - exact), max(exact * 1.5, 0.0005))
        self.assertEqual(quantile_s([0] * BUCKETS, 0.99), 0.0)
        self.assertEqual(quantile_s([0] * len(BOUNDS_S) + [3], 0.99), BOUNDS_S[-1])
