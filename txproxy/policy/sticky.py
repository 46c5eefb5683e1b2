"""Stickiness: a signed cookie keeps a client at its backend."""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Iterator

from txproxy.policy.balancing.policy import Policy, Random
from txproxy.policy.candidate import Candidate
from txproxy.policy.facts import RequestFacts
from txproxy.wire.cookies import cookies_of

_VALUE_BYTES = 16
_MOST_VALUES = 10_000
"""That are remembered, for making one takes 2 µs."""


class StickyPolicy:
    """Puts the backend first that the request's cookie names; the rest is another policy's.

    The cookie's value is a MAC of the names of cluster and backend: there is nothing in it to decode, it tells nothing
    of the backend, and whoever lacks the key can make none that is accepted.

    :param policy: chooses for requests without a cookie that is accepted, and what comes after its backend.
    :param cookie_name: name of the cookie.
    :param key: secret, the same for all workers.
    :param cluster_name: name of the cluster, so that a cookie is of no use at another.
    """

    def __init__(self, policy: Policy, cookie_name: str, key: bytes, cluster_name: str) -> None:
        self.cookie_name = cookie_name.encode("ascii")
        self.observe_latency = getattr(policy, "observe_latency", None)
        self._policy = policy
        self._key = key
        self._cluster_name = cluster_name.encode()
        self._candidates: tuple[Candidate, ...] = ()
        self._by_value: dict[bytes, Candidate] = {}
        self._values: dict[str, bytes] = {}

    def __call__(
        self, candidates: tuple[Candidate, ...], request: RequestFacts, now: float, random: Random
    ) -> Iterable[Candidate]:
        """Return candidates in the order in which one request tries them; see ``Policy``."""
        kept = self.kept(candidates, request)
        if kept is None:
            return self._policy(candidates, request, now, random)
        return self._with_first(kept, candidates, request, now, random)

    def kept(self, candidates: tuple[Candidate, ...], request: RequestFacts) -> Candidate | None:
        """Return the candidate that a cookie of the request names; None if there is none that does."""
        by_value: dict[bytes, Candidate] | None = None
        # One that is forged, or left from elsewhere, does not hide ours.
        for value in cookies_of(request.head.fields, self.cookie_name):
            by_value = by_value or self._candidates_by_value(candidates)
            if value in by_value:
                return by_value[value]
        return None

    def _candidates_by_value(self, candidates: tuple[Candidate, ...]) -> dict[bytes, Candidate]:
        if candidates is not self._candidates:
            self._candidates = candidates
            self._by_value = {self.value_for(candidate.name): candidate for candidate in candidates}
            self._values = {candidate.name: value for value, candidate in self._by_value.items()}
        return self._by_value

    def value_for(self, name: str) -> bytes:
        """Return the cookie's value for a backend.

        :param name: of the backend, as its candidate has it.
        """
        value = self._values.get(name)
        if value is None:
            if len(self._values) >= _MOST_VALUES:
                self._values.clear()  # Backends that the DNS named once may never come back.
            mac = hmac.digest(self._key, self._cluster_name + b"\0" + name.encode(), "sha256")
            value = self._values[name] = mac[:_VALUE_BYTES].hex().encode("ascii")
        return value

    def _with_first(
        self, kept: Candidate, candidates: tuple[Candidate, ...], request: RequestFacts, now: float, random: Random
    ) -> Iterator[Candidate]:
        yield kept
        # Asked only now: a client that stays takes no one's turn.
        for candidate in self._policy(candidates, request, now, random):
            if candidate is not kept:
                yield candidate
