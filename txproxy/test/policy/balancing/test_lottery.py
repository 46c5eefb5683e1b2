"""Chance by weight."""

from __future__ import annotations

from collections import Counter
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txproxy.policy.balancing.lottery import Lottery, PowerOfTwo, WeightedRandom
from txproxy.test.policy.picking import Asker, candidates_of, many

_ALMOST_ONE = 1 - 2**-53
_weights = st.lists(st.one_of(st.integers(1, 65535), st.floats(1e-3, 65535)), min_size=2, max_size=8)
_chance = st.one_of(st.sampled_from([0.0, 0.5, _ALMOST_ONE]), st.floats(0, _ALMOST_ONE))


class LotteryTests(SynchronousTestCase):
    """Draws by weight."""

    def test_chancesAreWeights(self) -> None:
        """The line from 0 to the sum of the weights is cut into stretches."""
        lottery = Lottery(candidates_of(3, 1))
        for chance, expected in ((0.0, "a"), (0.74, "a"), (0.76, "b"), (_ALMOST_ONE, "b")):
            self.assertEqual(lottery.draw(lambda chance=chance: chance).name, expected)

    def test_theSecondIsDrawnFromTheOthers(self) -> None:
        """By their weights, as if the first were not there."""
        lottery, random = Lottery(candidates_of(2, 1, 1)), Random(3).random
        found = Counter(one.name + other.name for one, other in (lottery.draw_two(random) for _ in range(24000)))
        for pair, expected in (("ab", 6000), ("ac", 6000), ("ba", 4000), ("ca", 4000), ("bc", 2000), ("cb", 2000)):
            self.assertApproximates(found[pair], expected, 300)

    @settings(max_examples=300, deadline=None)
    @given(_weights, _chance, _chance)
    def test_twoAreNeverTheSame(self, weights: list[float], first: float, second: float) -> None:
        """Whatever comes out, edges of rounding included."""
        chances = [second, first]
        one, other = Lottery(candidates_of(*weights)).draw_two(chances.pop)
        self.assertIsNot(one, other)


class WeightedRandomTests(SynchronousTestCase):
    """The policy ``random``."""

    def test_shares(self) -> None:
        """Weights 1:2:3 and 6,000 requests: about 1,000, 2,000, 3,000."""
        found = Counter(Asker(WeightedRandom()).names(candidates_of(1, 2, 3), 6000))
        for name, expected in (("a", 1000), ("b", 2000), ("c", 3000)):
            self.assertApproximates(found[name], expected, 150)

    def test_aDeadOnesShareIsSpread(self) -> None:
        """By weight."""
        asker, candidates = Asker(WeightedRandom()), candidates_of(4, 3, 1)
        found = Counter(asker.server(candidates, "a") for _ in range(4000))
        self.assertApproximates(found["c"], 1000, 120)


class PowerOfTwoTests(SynchronousTestCase):
    """The policy ``p2c``."""

    def setUp(self) -> None:
        self.asker = Asker(PowerOfTwo())

    def test_theIdlerOfTwo(self) -> None:
        """Of two backends the idler is always taken, by weight."""
        candidates = candidates_of(1, 1)
        candidates[0].active = 3
        self.assertEqual(self.asker.names(candidates, 20), "b" * 20)
        candidates[0].weight, candidates[1].active = 4, 1
        self.assertEqual(self.asker.names((*candidates,), 20), "a" * 20)

    def test_theBusiestIsNeverTaken(self) -> None:
        """It loses against any other."""
        candidates = candidates_of(1, 1, 1, 1)
        candidates[2].active = 1
        self.assertEqual(set(self.asker.names(candidates, 300)), {"a", "b", "d"})

    def test_idleSharesAreWeights(self) -> None:
        """While all are idle: 1:2:3 of 6,000 requests."""
        found = Counter(self.asker.names(candidates_of(1, 2, 3), 6000))
        for name, expected in (("a", 1000), ("b", 2000), ("c", 3000)):
            self.assertApproximates(found[name], expected, 150)

    def test_evenerThanChance(self) -> None:
        """1,000 requests that stay, on 100 backends: none has more than a few above the mean; chance alone has far more."""

        def busiest(asker: Asker) -> int:
            candidates = many(100)
            for _ in range(1000):
                asker.first(candidates).active += 1
            return max(each.active for each in candidates)

        self.assertLessEqual(busiest(self.asker), 13)
        self.assertGreater(busiest(Asker(WeightedRandom())), 15)

    def test_aDeadOnesShareIsSpread(self) -> None:
        """Over all others."""
        candidates = candidates_of(1, 1, 1, 1)
        found = Counter(self.asker.server(candidates, "a") for _ in range(3000))
        for name in "bcd":
            self.assertApproximates(found[name], 1000, 150)
