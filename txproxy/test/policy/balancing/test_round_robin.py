"""Turns by weight."""

from __future__ import annotations

from collections import Counter
from itertools import groupby

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txproxy.policy.balancing.round_robin import RoundRobin
from txproxy.policy.candidate import Candidate
from txproxy.test.policy.picking import Asker, candidates_of, many

_weights = st.lists(st.integers(1, 7), min_size=1, max_size=6)
_float_weights = st.lists(st.floats(0.1, 10), min_size=2, max_size=6)


def _longest_run(names: str) -> int:
    return max(len(list(run)) for _, run in groupby(names))


class ShareTests(SynchronousTestCase):
    """Who is first."""

    def setUp(self) -> None:
        self.asker = Asker(RoundRobin())

    def test_equalWeightsRotate(self) -> None:
        """Plain rotation, from the first (D7: 30 requests over 3 backends, 10 each)."""
        self.assertEqual(self.asker.names(candidates_of(1, 1, 1), 30), "abc" * 10)
        self.assertEqual(Asker(RoundRobin()).names(candidates_of(4, 4), 4), "abab")
        self.assertEqual(Asker(RoundRobin()).names(candidates_of(2), 3), "aaa")

    def test_sharesAreExact(self) -> None:
        """Weights 1:2:3 and 60 requests: 10, 20, 30 (D7); 3:1 and 400: 300, 100 (B1)."""
        self.assertEqual(Counter(self.asker.names(candidates_of(1, 2, 3), 60)), {"a": 10, "b": 20, "c": 30})
        self.assertEqual(Counter(Asker(RoundRobin()).names(candidates_of(3, 1), 400)), {"a": 300, "b": 100})

    def test_noRunIsLongerThanItMust(self) -> None:
        """With 3:1 no run is longer than 3 (B1); a heavy one among many light ones comes every other time."""
        self.assertEqual(_longest_run(self.asker.names(candidates_of(3, 1), 400)), 3)
        self.assertEqual(Asker(RoundRobin()).names(candidates_of(5, 1, 1), 7), "abaaaca")
        self.assertLessEqual(_longest_run(Asker(RoundRobin()).names(candidates_of(20, *[1] * 20), 400)), 2)

    def test_hugeWeights(self) -> None:
        """65535 to 1: the light one has its one turn in 65536."""
        self.assertEqual(Counter(self.asker.names(candidates_of(65535, 1), 65536)), {"a": 65535, "b": 1})

    @settings(max_examples=80, deadline=None)
    @given(_weights)
    def test_everyCycleIsFair(self, weights: list[int]) -> None:
        """In every cycle each backend has exactly its share, and at no moment is one a whole turn ahead of it."""
        total = sum(weights)
        candidates = candidates_of(*weights)
        names = Asker(RoundRobin()).names(candidates, 3 * total)
        for start in range(0, 3 * total, total):
            found = Counter(names[start : start + total])
            self.assertEqual([found[each.name] for each in candidates], weights)
        counts: Counter[str] = Counter()
        for number, name in enumerate(names, 1):
            counts[name] += 1
            # Ahead of one's share by a turn or more would be a burst.
            self.assertLess(counts[name] * total, weights[ord(name) - ord("a")] * number + total)

    @settings(max_examples=60, deadline=None)
    @given(_float_weights)
    def test_fractionsAreSharesToo(self, weights: list[float]) -> None:
        """Weights that slow start has made smaller: nobody is a whole turn ahead of its share, nor starves."""
        candidates = candidates_of(*weights)
        total = sum(weights)
        counts = Counter(Asker(RoundRobin()).names(candidates, 500))
        for candidate in candidates:
            share = candidate.weight / total * 500
            self.assertLess(counts[candidate.name], share + 1.001)
            self.assertGreater(counts[candidate.name], share - len(candidates))


class ChangeTests(SynchronousTestCase):
    """The set and the weights change between requests."""

    def setUp(self) -> None:
        self.asker = Asker(RoundRobin())

    def test_theTurnGoesOn(self) -> None:
        """When one leaves, those go on who would have been next; the first does not get a turn with each change."""
        candidates = candidates_of(1, 1, 1, 1)
        self.assertEqual(self.asker.names(candidates, 2), "ab")
        self.assertEqual(self.asker.names(candidates[:3], 3), "cab")
        self.assertEqual(sorted(self.asker.names(candidates, 4)), ["a", "b", "c", "d"])

    def test_oneRequestBetweenTwoChanges(self) -> None:
        """Changes as frequent as requests leave the shares as they are."""
        candidates = candidates_of(1, 1, 1, 1)
        found: Counter[str] = Counter()
        for number in range(400):
            candidates[3].weight = 0.1 + number / 1000
            found[self.asker.first((*candidates,)).name] += 1
        expected = sum((0.1 + number / 1000) / (3.1 + number / 1000) for number in range(400))
        self.assertApproximates(found["d"], expected, 3)
        for name in "abc":
            self.assertApproximates(found[name], (400 - expected) / 3, 3)

    def test_whoFlapsGetsNoMore(self) -> None:
        """Coming and going all the time gives nobody more than its turns, nor less, and takes nobody else's."""
        for period in (1, 2, 5, 30):
            for weights in ((1, 1, 1), (3, 1, 1), (1, 2, 2)):
                asker, candidates = Asker(RoundRobin()), candidates_of(*weights)
                found: Counter[str] = Counter()
                share: Counter[str] = Counter()
                for number in range(600):
                    present = candidates if number // period % 2 else candidates[:2]
                    # Another tuple each time: what does not differ must not change anything.
                    found[asker.first((*present,)).name] += 1
                    total = sum(each.weight for each in present)
                    share.update({each.name: each.weight / total for each in present})
                for name in "abc":
                    self.assertApproximates(found[name], share[name], 3)

    def test_whoComesBackIsNotFlooded(self) -> None:
        """One that was away for long gets its share from now on, and not what it missed."""
        candidates = candidates_of(1, 1, 1)
        self.asker.names(candidates, 3)
        self.asker.names(candidates[:2], 1000)
        self.assertLessEqual(self.asker.names(candidates, 9).count("c"), 4)

    def test_whoGoesForGoodIsForgotten(self) -> None:
        """Backends that come and go under ever new names change nothing for the one that stays."""
        (stays,) = candidates_of(1)
        mine = sum(self.asker.first((stays, Candidate(f"new {number}"))) is stays for number in range(1000))
        self.assertApproximates(mine, 500, 2)

    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.tuples(st.sets(st.integers(1, 5)), st.integers(1, 4)), min_size=40, max_size=80))
    def test_whoStaysDoesNotStarve(self, changes: list[tuple[set[int], int]]) -> None:
        """Whatever others do, one that is always there gets its share of the turns, give or take a few."""
        candidates = candidates_of(1, 1, 2, 1, 3, 1)
        share, mine = 0.0, 0
        for others, requests in changes:
            present = (candidates[0], *(candidates[index] for index in sorted(others)))
            mine += self.asker.names(present, requests).count("a")
            share += requests / sum(each.weight for each in present)
        self.assertApproximates(mine, share, 4)


class FailoverTests(SynchronousTestCase):
    """Those who come after the first."""

    def spread(self, weights: tuple[float, ...], requests: int, dead: str) -> Counter[str]:
        """Return who serves the requests if some are dead."""
        asker, candidates = Asker(RoundRobin()), candidates_of(*weights)
        return Counter(asker.server(candidates, dead) for _ in range(requests))

    def test_aDeadOnesShareIsSpread(self) -> None:
        """Over all others, and by their weights; the same if two are dead."""
        self.assertEqual(self.spread((1, 1, 1), 30, "a"), {"b": 15, "c": 15})
        self.assertEqual(self.spread((1, 1, 1, 1), 40, "bc"), {"a": 20, "d": 20})
        self.assertEqual(self.spread((4, 3, 1), 80, "a"), {"b": 60, "c": 20})

    def test_failoversTakeNoTurns(self) -> None:
        """The order of the first ones is the same whether they fail or not."""
        asker, candidates = Asker(RoundRobin()), candidates_of(1, 1, 1)
        firsts = "".join(asker.order(candidates, most=1 + number % 3)[0].name for number in range(9))
        self.assertEqual(firsts, "abcabcabc")

    def test_allFull(self) -> None:
        """A thousand of which none can be used: each is named once."""
        candidates = many(1000)
        order = Asker(RoundRobin()).order(candidates)
        self.assertEqual((len(order), set(order)), (1000, set(candidates)))
