"""A user's own policy: a function of Python, called as ours are, whose faults stay one request's."""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Iterator
from typing import Any

from txproxy.errors import InternalError
from txproxy.policy.balancing.policy import Policy, Random
from txproxy.policy.candidate import Candidate
from txproxy.policy.facts import RequestFacts

_MOST_LOOKS = 8
"""Per candidate: how much of a policy is read. One that draws for ever may repeat itself so often."""


class UsersPolicy:
    """Asks a user's policy. What it repeats is left out; it may also return one candidate instead of several.

    :param reference: as the configuration has it; stands in errors.
    :param policy: the function, or an instance of the class.
    """

    def __init__(self, reference: str, policy: Policy) -> None:
        self._reference = reference
        self._policy = policy
        self._candidates: tuple[Candidate, ...] = ()
        self._members: frozenset[Candidate] = frozenset()
        self.observe_latency = getattr(policy, "observe_latency", None)
        self.reads_request = getattr(policy, "reads_request", True)

    def __call__(
        self, candidates: tuple[Candidate, ...], request: RequestFacts, now: float, random: Random
    ) -> Iterator[Candidate]:
        """Yield candidates in the order in which one request tries them; see ``Policy``.

        :raises InternalError: if the policy raises, or names what is not a candidate.
        """
        if candidates is not self._candidates:
            self._candidates, self._members = candidates, frozenset(candidates)
        members = self._members
        named: set[Candidate] = set()
        order: Iterator[Any] = iter(())
        for look in range(_MOST_LOOKS * len(candidates)):
            try:
                if look == 0:
                    order = _iterator(self._policy(candidates, request, now, random))
                candidate = next(order, None)
            except BaseException as error:  # Also what sys.exit raises: it is one request's policy, not the program.
                raise InternalError(f"policy {self._reference} raised {_described(error)}") from error
            if candidate is None:
                return
            if not isinstance(candidate, Candidate) or candidate not in members:
                raise InternalError(f"policy {self._reference} names what is not one of the candidates it was given")
            if candidate not in named:
                named.add(candidate)
                yield candidate
                if len(named) == len(members):
                    return


def _iterator(order: Iterable[Candidate] | Candidate) -> Iterator[Candidate]:
    return iter((order,) if isinstance(order, Candidate) else order)


def _described(error: BaseException) -> str:
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{traceback.format_exception_only(error)[-1].strip()} at {place.filename}:{place.lineno}"
