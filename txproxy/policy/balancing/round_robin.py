"""Round robin: turns by weight."""

from __future__ import annotations

from collections.abc import Iterator

from txproxy.policy.balancing.policy import Random
from txproxy.policy.balancing.turns import Turns, others
from txproxy.policy.candidate import Candidate
from txproxy.policy.facts import RequestFacts

_MOST_AWAY = 256
"""How many are remembered while they are away: backends that the DNS tells of may come under ever new names."""


class RoundRobin:
    """Smooth weighted round robin: exact shares, and no candidate is ever a whole turn ahead of its share.

    Candidates of the same weight form a group, within which turns go round. Groups take turns by the sum of their
    weights, as single servers do in nginx: each gains its weight, the one with the most pays the total. So a turn costs
    the number of different weights, however many candidates there are.

    When a candidate cannot be used, the next is chosen by turns that are counted apart, so that the share of one that
    is dead is spread over all others, by weight.
    """

    reads_request = False

    def __init__(self) -> None:
        self._candidates: tuple[Candidate, ...] = ()
        self._groups: list[_Group] = []
        self._total = 0.0
        self._away: dict[str, float] = {}
        """What is owed to those who are not there, the first to leave first."""
        self._failovers = Turns()

    def __call__(
        self, candidates: tuple[Candidate, ...], request: RequestFacts, now: float, random: Random
    ) -> Iterator[Candidate]:
        """Yield candidates in the order in which one request tries them; see ``Policy``."""
        first = self.take(candidates)
        yield first
        yield from others(first, candidates, self._failovers.take)

    def take(self, candidates: tuple[Candidate, ...]) -> Candidate:
        """Return whose turn it is.

        :param candidates: as a policy is given them.
        """
        if candidates is not self._candidates:
            self._adapt(candidates)
        groups = self._groups
        group = groups[0]
        if len(groups) > 1:
            most = float("-inf")
            for each in groups:
                credit = each.credit = each.credit + each.weight
                if credit > most:
                    group, most = each, credit
            group.credit = most - self._total
        members = group.members
        turn = group.turn
        group.turn = turn + 1 if turn + 1 < len(members) else 0
        return members[turn]

    def _adapt(self, candidates: tuple[Candidate, ...]) -> None:
        """Form groups anew; what is owed to a candidate stays owed, so that changes let nobody jump the queue."""
        owed, away, present = self._owed(), self._away, frozenset(candidates)
        for candidate in [each for each in owed if each not in present]:
            away[candidate.name] = owed.pop(candidate)
        for candidate in candidates:
            if candidate not in owed:
                owed[candidate] = away.pop(candidate.name, 0.0)
        total = self._total = sum(candidate.weight for candidate in candidates)
        while len(away) > _MOST_AWAY:
            # What is owed to all is nothing; it must stay so when one is forgotten, or it would add up.
            lost = away.pop(next(iter(away)))
            for candidate in candidates:
                owed[candidate] += lost * candidate.weight / total
        members: dict[float, list[Candidate]] = {candidate.weight: [] for candidate in candidates}
        # Stable: those who are owed the same stay in the order in which they were to have their turns.
        for candidate in sorted(owed, key=owed.__getitem__, reverse=True):
            members[candidate.weight].append(candidate)
        self._groups = [
            _Group(group, weight, total, [owed[candidate] for candidate in group]) for weight, group in members.items()
        ]
        self._candidates = candidates
        self._failovers.keep(candidates)

    def _owed(self) -> dict[Candidate, float]:
        """Return, in the order in which they are to be served, how many turns each candidate is behind its share."""
        owed: dict[Candidate, float] = {}
        for group in self._groups:
            members, turn = group.members, group.turn
            each = (group.credit / self._total + turn) / len(members)
            for place in (*range(turn, len(members)), *range(turn)):
                owed[members[place]] = each + group.beyond[place] - (place < turn)
        return owed


class _Group:
    """Candidates of one weight.

    :param members: in the order of their turns.
    :param weight: of each.
    :param total: weight of all candidates of all groups.
    :param owed: how many turns each member is behind its share.
    """

    __slots__ = ("beyond", "credit", "members", "turn", "weight")

    def __init__(self, members: list[Candidate], weight: float, total: float, owed: list[float]) -> None:
        self.members = members
        self.weight = weight * len(members)
        self.credit = total * sum(owed)
        mean = sum(owed) / len(owed)
        self.beyond = [each - mean for each in owed]
        """What each is owed beyond the mean of the group: it has its say when groups are formed anew."""
        self.turn = 0
        """Place of the member that is next."""
