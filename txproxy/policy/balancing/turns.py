"""Turns by weight among sets that change from one time to the next, and what comes after a policy's first choice."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from txproxy.policy.candidate import Candidate

_CHOSEN = 3
"""Further candidates that are chosen one by one; who asks for more takes them as they come. As a rule only a cluster
whose pools are all full gets there, and then a request must not cost the square of the cluster's size."""


class Turns:
    """Smooth weighted round robin, as nginx does it: exact shares, and no candidate's turns in one run.

    Each turn adds every weight to that candidate's credit, takes the one with the most and charges it the total. Those
    who do not take part neither gain nor lose, so that each turn may be one of another set of candidates.
    """

    __slots__ = ("_credits",)

    def __init__(self) -> None:
        self._credits: dict[str, float] = {}

    def take(self, candidates: Sequence[Candidate]) -> Candidate:
        """Return whose turn it is; there must be one at least."""
        credits = self._credits
        best = candidates[0]
        most = float("-inf")
        total = 0.0
        for candidate in candidates:
            weight = candidate.weight
            total += weight
            name = candidate.name
            credit = credits[name] = credits.get(name, 0.0) + weight
            if credit > most:
                best, most = candidate, credit
        credits[best.name] = most - total
        return best

    def keep(self, candidates: Sequence[Candidate]) -> None:
        """Forget the others if they have become many; who was away for a while goes on where it was."""
        if len(self._credits) <= 2 * len(candidates):
            return
        credits = {each.name: self._credits[each.name] for each in candidates if each.name in self._credits}
        # Those who left took their credit with them; over time that must not add up.
        surplus = sum(credits.values()) / max(1, len(credits))
        self._credits = {name: credit - surplus for name, credit in credits.items()}


def others(
    first: Candidate, candidates: Sequence[Candidate], take: Callable[[list[Candidate]], Candidate]
) -> Iterator[Candidate]:
    """Yield the candidates that come after the first.

    :param take: returns the best of those that are left.
    """
    left = [candidate for candidate in candidates if candidate is not first]
    at = 0
    for _ in range(min(_CHOSEN, len(left))):
        candidate = take(left)
        at = left.index(candidate)
        del left[at]
        yield candidate
    yield from left[at:]
    yield from left[:at]
