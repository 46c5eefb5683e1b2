"""Chance by weight: a lottery, the policy that draws one, and the policy that draws two and takes the idler."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterator, Sequence
from itertools import accumulate

from txproxy.policy.balancing.policy import Random
from txproxy.policy.balancing.turns import others
from txproxy.policy.candidate import Candidate
from txproxy.policy.facts import RequestFacts


class Lottery:
    """Draws candidates, each with a chance in proportion to its weight.

    :param candidates: at least one.
    """

    __slots__ = ("_candidates", "_last", "_sums", "_total")

    def __init__(self, candidates: Sequence[Candidate]) -> None:
        self._candidates = candidates
        self._last = len(candidates) - 1
        self._sums = list(accumulate(candidate.weight for candidate in candidates))
        self._total = self._sums[-1]

    def draw(self, random: Random) -> Candidate:
        """Return one candidate."""
        return self._candidates[bisect(self._sums, random() * self._total, 0, self._last)]

    def draw_two(self, random: Random) -> tuple[Candidate, Candidate]:
        """Return one candidate and another, which is drawn from all but the first; the same if there is only one."""
        sums, last = self._sums, self._last
        if not last:
            return self._candidates[0], self._candidates[0]
        place = bisect(sums, random() * self._total, 0, last)
        below = sums[place - 1] if place else 0.0
        weight = sums[place] - below
        # The first one's stretch is cut out of the line.
        point = random() * (self._total - weight)
        if point >= below:
            point += weight
        other = bisect(sums, point, 0, last)
        if other == place:  # Only by rounding, at an edge of the stretch.
            other = place - 1 if place else 1
        return self._candidates[place], self._candidates[other]


class Drawing:
    """What those policies have in common that draw candidates by weight, and look at no more than they have drawn."""

    reads_request = False

    def __init__(self) -> None:
        self._candidates: tuple[Candidate, ...] = ()
        self._lottery: Lottery

    def __call__(
        self, candidates: tuple[Candidate, ...], request: RequestFacts, now: float, random: Random
    ) -> Iterator[Candidate]:
        """Yield candidates in the order in which one request tries them; see ``Policy``."""
        if candidates is not self._candidates:
            self._lottery = Lottery(candidates)
            self._candidates = candidates
        first = self.choose(self._lottery, now, random)
        yield first
        yield from others(first, candidates, lambda left: self.choose(Lottery(left), now, random))

    def choose(self, lottery: Lottery, now: float, random: Random) -> Candidate:
        """Return the best of those that are drawn.

        :param now: the moment, in seconds.
        """
        raise NotImplementedError


class WeightedRandom(Drawing):
    """Draws by weight."""

    def choose(self, lottery: Lottery, now: float, random: Random) -> Candidate:
        """Return the one that is drawn."""
        return lottery.draw(random)


class PowerOfTwo(Drawing):
    """Draws two by weight and takes the one with fewer requests under way per unit of weight; if equal, the first.

    Nearly as even as looking at all of them (Mitzenmacher, "The power of two choices in randomized load balancing"), at
    a cost that does not grow. Several workers that each see their own requests only do not all run to the same backend.
    """

    def choose(self, lottery: Lottery, now: float, random: Random) -> Candidate:
        """Return the one of two that has less to do."""
        one, other = lottery.draw_two(random)
        return other if other.active * one.weight < one.active * other.weight else one
