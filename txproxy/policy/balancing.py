"""Which backend is tried first, and which next: balancers are small objects that put candidates in order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar


class Weighted(Protocol):
    """What a balancer needs to know of a backend."""

    @property
    def weight(self) -> int:
        """Share of requests, relative to the others'; at least 1."""
        ...


B = TypeVar("B", bound=Weighted)


class RoundRobin:
    """Smooth weighted round robin, as nginx does it: exact shares, and no backend's turns in one run.

    Each pick adds every weight to that backend's credit, takes the one with the most and charges it the total.
    With equal weights this is plain rotation, for which a counter will do.

    :param weights: of the backends, in their order.
    """

    def __init__(self, weights: Sequence[int]) -> None:
        self._weights = list(weights)
        self._credits = [0] * len(self._weights)
        self._total = sum(self._weights)
        self._equal = len(set(self._weights)) <= 1
        self._next = 0

    def pick(self) -> int:
        """Return the index of the next backend; there must be one."""
        if self._equal:
            index = self._next
            self._next = index + 1 if index + 1 < len(self._weights) else 0
            return index
        credits = self._credits
        best = 0
        for index, weight in enumerate(self._weights):
            credits[index] += weight
            if credits[index] > credits[best]:
                best = index
        credits[best] -= self._total
        return best

    def candidates(self, backends: Sequence[B]) -> list[B]:
        """Return all backends in the order in which one request should try them.

        The first is the next in turn; the others follow by rotation, so that a dead backend's share is spread.
        """
        first = self.pick()
        return [*backends[first:], *backends[:first]]
