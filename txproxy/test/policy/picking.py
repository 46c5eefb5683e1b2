"""Asks balancing policies, as a cluster does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from random import Random

from txproxy.policy.balancing.policy import Policy
from txproxy.policy.candidate import Candidate
from txproxy.policy.facts import RequestFacts
from txproxy.wire.fields import Field
from txproxy.wire.messages import RequestHead

Candidates = tuple[Candidate, ...]


def candidates_of(*weights: float) -> Candidates:
    """Return candidates a, b, c ... with these weights."""
    return tuple(Candidate(chr(ord("a") + number), weight) for number, weight in enumerate(weights))


def many(count: int, weight: float = 1) -> Candidates:
    """Return candidates of one weight, with addresses for names."""
    return tuple(Candidate(f"10.0.{number // 256}.{number % 256}:80", weight) for number in range(count))


def facts_of(client: str = "192.0.2.1", target: bytes = b"/", fields: Sequence[Field] = ()) -> RequestFacts:
    """Return the facts of a GET."""
    return RequestFacts(RequestHead(b"GET", target, 1, list(fields), {}), client, "http", "web")


FACTS = facts_of()


class Asker:
    """Asks one policy again and again, with chance that comes out the same each time."""

    def __init__(self, policy: Policy, seed: int = 1) -> None:
        self.policy = policy
        self.now = 100.0
        self.random: Callable[[], float] = Random(seed).random

    def order(self, candidates: Candidates, facts: RequestFacts = FACTS, most: int | None = None) -> list[Candidate]:
        """Return the candidates in the order of one request, at most so many."""
        return list(islice(self.policy(candidates, facts, self.now, self.random), most))

    def first(self, candidates: Candidates, facts: RequestFacts = FACTS) -> Candidate:
        """Return the first candidate; the rest is never asked for."""
        return self.order(candidates, facts, 1)[0]

    def server(self, candidates: Candidates, dead: str, facts: RequestFacts = FACTS) -> str:
        """Return who serves a request if some are dead; no more candidates are asked for than are tried.

        :param dead: their names.
        """
        order = self.policy(candidates, facts, self.now, self.random)
        return next(each.name for each in order if each.name not in dead)

    def names(self, candidates: Candidates, count: int) -> str:
        """Return the names of the first candidates of so many requests."""
        return "".join(self.first(candidates).name for _ in range(count))
