"""Which backend is next."""

from __future__ import annotations

from collections import Counter
from itertools import groupby
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txproxy.policy.balancing import RoundRobin

_weights = st.lists(st.integers(1, 7), min_size=1, max_size=6)


class _Backend(NamedTuple):
    name: str
    weight: int


def _picks(weights: list[int], count: int) -> list[int]:
    balancer = RoundRobin(weights)
    return [balancer.pick() for _ in range(count)]


class RoundRobinTests(SynchronousTestCase):
    """Smooth weighted round robin."""

    def test_equalWeightsRotate(self) -> None:
        """Plain rotation, from the first (D7: 30 requests over 3 backends, 10 each)."""
        self.assertEqual(_picks([1, 1, 1], 30), [0, 1, 2] * 10)
        self.assertEqual(_picks([4, 4], 4), [0, 1, 0, 1])
        self.assertEqual(_picks([2], 3), [0, 0, 0])

    def test_sharesAreExact(self) -> None:
        """Weights 1:2:3 and 60 requests: 10, 20, 30 (D7); 3:1 and 400: 300, 100 (B1)."""
        self.assertEqual(Counter(_picks([1, 2, 3], 60)), {0: 10, 1: 20, 2: 30})
        self.assertEqual(Counter(_picks([3, 1], 400)), {0: 300, 1: 100})

    def test_noRunIsLongerThanItMust(self) -> None:
        """With 3:1 no run is longer than 3 (B1), and turns interleave as nginx's do."""
        self.assertEqual(max(len(list(run)) for _, run in groupby(_picks([3, 1], 400))), 3)
        self.assertEqual(_picks([5, 1, 1], 7), [0, 0, 1, 0, 2, 0, 0])

    @settings(max_examples=80, deadline=None)
    @given(_weights)
    def test_everyCycleIsFair(self, weights: list[int]) -> None:
        """In every cycle each backend has exactly its share, and at no moment is one a whole turn ahead of it."""
        total = sum(weights)
        picks = _picks(weights, 3 * total)
        for start in range(0, 3 * total, total):
            found = Counter(picks[start : start + total])
            self.assertEqual([found[index] for index in range(len(weights))], weights)
        counts = [0] * len(weights)
        for number, index in enumerate(picks, 1):
            counts[index] += 1
            # Ahead of one's share by a turn or more would be a burst.
            self.assertLess(counts[index] * total, weights[index] * number + total)

    @settings(max_examples=60, deadline=None)
    @given(_weights)
    def test_candidatesAreAllBackendsFromTheNextOn(self, weights: list[int]) -> None:
        """Each backend stands in the order once, the one whose turn it is first."""
        backends = [_Backend(str(number), weight) for number, weight in enumerate(weights)]
        expected = _picks(weights, 10)
        balancer = RoundRobin(weights)
        for first in expected:
            order = balancer.candidates(backends)
            self.assertEqual(order, backends[first:] + backends[:first])
