"""Turns among sets that change."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txproxy.policy.balancing.turns import Turns, others
from txproxy.policy.candidate import Candidate
from txproxy.test.policy.picking import candidates_of, many


class TurnsTests(SynchronousTestCase):
    """Shares by weight, however the sets differ."""

    def test_asNginxTakesThem(self) -> None:
        """Weights 5, 1, 1: no run is longer than it must be."""
        turns, candidates = Turns(), candidates_of(5, 1, 1)
        self.assertEqual("".join(turns.take(candidates).name for _ in range(7)), "aabacaa")

    def test_whoDoesNotTakePartLosesNothing(self) -> None:
        """Turns of others neither count for one nor against one."""
        turns, candidates = Turns(), candidates_of(1, 1, 1)
        for _ in range(50):
            turns.take(candidates[:2])
        self.assertEqual(Counter(turns.take(candidates).name for _ in range(30)), {"a": 10, "b": 10, "c": 10})

    def test_whoLeaves(self) -> None:
        """Coming and going does not add up, neither for who stays nor for who comes back."""
        turns, candidates = Turns(), candidates_of(1, 1, 1)
        for number in range(1000):
            present = candidates[: 2 + number % 2]
            turns.keep(present)
            turns.take(present)
        found = Counter(turns.take(candidates).name for _ in range(30))
        for name in "abc":
            self.assertApproximates(found[name], 10, 2)

    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.sets(st.integers(1, 4)), min_size=50, max_size=150))
    def test_nobodyStarves(self, sets: list[set[int]]) -> None:
        """One that always takes part gets its share, but for a few turns, whoever else does."""
        turns, candidates = Turns(), candidates_of(1, 2, 1, 3, 1)
        share, mine = 0.0, 0
        for others_present in sets:
            present = [candidates[0], *(candidates[index] for index in sorted(others_present))]
            mine += turns.take(present) is candidates[0]
            share += 1 / sum(each.weight for each in present)
        self.assertApproximates(mine, share, 10)


class OthersTests(SynchronousTestCase):
    """What comes after a policy's first choice."""

    def test_theNextAreChosen(self) -> None:
        """One by one, from those that are left."""
        candidates = candidates_of(1, 1, 1, 1)
        order = others(candidates[1], candidates, lambda left: left[-1])
        self.assertEqual("".join(each.name for each in order), "dca")

    def test_chosenWhenAskedFor(self) -> None:
        """Nothing is decided before it is needed: a retry may come seconds later."""
        candidates = candidates_of(1, 1, 1)
        order = others(candidates[0], candidates, lambda left: min(left, key=lambda each: each.active))
        candidates[1].active = 1
        self.assertEqual(next(order).name, "c")

    def test_manyAreNotChosenOneByOne(self) -> None:
        """Of a thousand only the first few are; the others come as they stand, each once."""
        candidates = many(1000)
        chosen: list[Candidate] = []

        def take(left: list[Candidate]) -> Candidate:
            chosen.append(left[500])
            return left[500]

        order = list(others(candidates[0], candidates, take))
        self.assertEqual((len(chosen), order[: len(chosen)]), (3, chosen))
        self.assertEqual((len(order), set(order)), (999, set(candidates[1:])))

    def test_noOthers(self) -> None:
        """A single candidate has none after it."""
        (one,) = candidates_of(1)
        self.assertEqual(list(others(one, (one,), lambda left: left[0])), [])
