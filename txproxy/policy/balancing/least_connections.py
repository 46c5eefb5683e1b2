"""Least connections: to whoever has the least to do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from txproxy.policy.balancing.policy import Random
from txproxy.policy.balancing.round_robin import RoundRobin
from txproxy.policy.balancing.turns import Turns, others
from txproxy.policy.candidate import Candidate
from txproxy.policy.facts import RequestFacts


class LeastConnections:
    """The fewest requests under way per unit of weight, as nginx counts; those who are equal take turns by weight.

    Without the turns an idle cluster would send everything to its first backend.
    """

    reads_request = False

    def __init__(self) -> None:
        self._candidates: tuple[Candidate, ...] = ()
        self._was_idle = True
        """The last choice had nothing to do, so the next in turn may have nothing either."""
        self._all_weigh_the_same = True
        self._next = 0
        self._round = RoundRobin()
        self._turns = Turns()

    def __call__(
        self, candidates: tuple[Candidate, ...], request: RequestFacts, now: float, random: Random
    ) -> Iterator[Candidate]:
        """Yield candidates in the order in which one request tries them; see ``Policy``."""
        if candidates is not self._candidates:
            self._candidates = candidates
            self._all_weigh_the_same = len({candidate.weight for candidate in candidates}) == 1
            self._turns.keep(candidates)
        # Nobody has less to do than one that is idle; else all must be looked at.
        first = self._round.take(candidates) if self._was_idle else None
        if first is None or first.active:
            first = self._next_idlest(candidates) if self._all_weigh_the_same else self._idlest(candidates)
            self._was_idle = not first.active
        yield first
        yield from others(first, candidates, self._idlest)

    def _next_idlest(self, candidates: tuple[Candidate, ...]) -> Candidate:
        """Return the idlest, and of those who are equal the one that comes next after the last choice.

        What ``_idlest`` returns if all weights are the same, at half the cost.
        """
        active = [candidate.active for candidate in candidates]
        least = min(active)
        place = active.index(least)
        start = self._next
        if place < start and least in active[start:]:
            place = active.index(least, start)
        self._next = place + 1
        return candidates[place]

    def _idlest(self, candidates: Sequence[Candidate]) -> Candidate:
        least = float("inf")
        idlest: list[Candidate] = []
        for candidate in candidates:
            load = candidate.active / candidate.weight
            if load < least:
                least = load
                idlest = [candidate]
            elif load == least:
                idlest.append(candidate)
        return idlest[0] if len(idlest) == 1 else self._turns.take(idlest)
