"""To whoever has the least to do."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txproxy.policy.balancing.least_connections import LeastConnections
from txproxy.test.policy.picking import Asker, Candidates, candidates_of


def _busy(candidates: Candidates, *active: int) -> Candidates:
    for candidate, number in zip(candidates, active, strict=True):
        candidate.active = number
    return candidates


class LeastConnectionsTests(SynchronousTestCase):
    """Requests under way, per unit of weight."""

    def setUp(self) -> None:
        self.asker = Asker(LeastConnections())

    def test_theIdlestIsNext(self) -> None:
        """0/5/10 busy: the next goes to 0 (D7), in whatever order they stand, and the one after it if it fails."""
        for active, expected in (((0, 5, 10), "abc"), ((10, 0, 5), "bca"), ((5, 10, 1), "cab")):
            order = self.asker.order(_busy(candidates_of(1, 1, 1), *active))
            self.assertEqual("".join(each.name for each in order), expected)

    def test_slowRequestsDriveOthersAway(self) -> None:
        """a holds ten slow requests, b is idle: the next ten go to b (B2)."""
        candidates = _busy(candidates_of(1, 1), 10, 0)
        for _ in range(10):
            first = self.asker.first(candidates)
            self.assertEqual(first.name, "b")
            first.active += 1

    def test_weights(self) -> None:
        """Three times the weight may have three times as much to do."""
        self.assertEqual(self.asker.first(_busy(candidates_of(3, 1), 5, 2)).name, "a")
        self.assertEqual(self.asker.first(_busy(candidates_of(3, 1), 7, 2)).name, "b")
        self.assertEqual(self.asker.first(_busy(candidates_of(1, 0.1), 4, 1)).name, "a")

    def test_equalsTakeTurns(self) -> None:
        """An idle cluster does not send everything to its first backend; turns go by weight."""
        self.assertEqual(self.asker.names(candidates_of(1, 1, 1), 6), "abcabc")
        counts = Counter(Asker(LeastConnections()).names(candidates_of(3, 1), 40))
        self.assertEqual(counts, {"a": 30, "b": 10})

    def test_busyEqualsTakeTurns(self) -> None:
        """Also those who are equally busy, wherever they stand among others."""
        for weights, active, expected in (
            ((1, 1, 1, 1), (2, 2, 9, 9), {"a": 20, "b": 20}),
            ((1, 1, 1, 1), (2, 9, 9, 2), {"a": 20, "d": 20}),
            ((1, 1, 1, 1), (9, 2, 2, 2), {"b": 13, "c": 13, "d": 14}),
            ((3, 1, 1, 1), (3, 1, 9, 9), {"a": 30, "b": 10}),
        ):
            found = Asker(LeastConnections()).names(_busy(candidates_of(*weights), *active), 40)
            self.assertEqual(sorted(Counter(found).values()), sorted(expected.values()), (weights, active))
            self.assertEqual(set(found), set(expected))

    def test_aDeadOnesShareIsSpread(self) -> None:
        """A dead backend is always the idlest; those who serve instead are the idlest of the rest, in turn."""
        candidates = candidates_of(1, 1, 1, 1)
        served = Counter(self.asker.server(candidates, "a") for _ in range(300))
        for name in "bcd":
            self.assertApproximates(served[name], 100, 2)

    @settings(max_examples=100, deadline=None)
    @given(st.lists(st.tuples(st.integers(0, 9), st.sampled_from([0.3, 1, 1, 2, 5])), min_size=1, max_size=8))
    def test_nobodyHasLessToDo(self, parts: list[tuple[int, float]]) -> None:
        """Whatever the loads and weights, and however often it is asked."""
        candidates = _busy(candidates_of(*(weight for _, weight in parts)), *(active for active, _ in parts))
        for _ in range(10):
            first = self.asker.first(candidates)
            self.assertEqual(first.active / first.weight, min(each.active / each.weight for each in candidates))
            first.active += 1

    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.integers(1, 9), min_size=2, max_size=6), st.integers(1, 200))
    def test_loadsStayEven(self, weights: list[int], requests: int) -> None:
        """Requests that all stay: nobody has a request that another could have had at a lower load."""
        asker, candidates = Asker(LeastConnections()), candidates_of(*weights)
        for _ in range(requests):
            asker.first(candidates).active += 1
        least = min(each.active / each.weight for each in candidates)
        for candidate in candidates:
            self.assertLessEqual((candidate.active - 1) / candidate.weight, least)
