"""A named set of backends, and which of them an exchange tries."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from txproxy.policy.balancing import RoundRobin
from txproxy.upstream.backend import Backend


class Cluster:
    """Chooses backends.

    :param name: as the configuration gives it.
    :param backends: at least one.
    :param tries: how many backends one request may try in all.
    """

    def __init__(self, name: str, backends: Sequence[Backend], tries: int) -> None:
        self.name = name
        self.backends = tuple(backends)
        self.tries = tries
        self._balancer = RoundRobin([backend.weight for backend in self.backends])
        self._failovers = 0
        self._only = self.backends[0] if len(self.backends) == 1 else None

    def pick(self) -> Backend:
        """Return the backend that a new request tries first: the next in turn, or another if that one is full."""
        if self._only is not None:
            return self._only
        backends = self.backends
        backend = backends[self._balancer.pick()]
        if backend.pool.is_full:
            first = backends.index(backend)
            for other in (*backends[first + 1 :], *backends[:first]):
                if not other.pool.is_full:
                    return other
        return backend

    def pick_another(self, tried: Collection[Backend]) -> Backend | None:
        """Return a backend that was not tried, or None if there is none left.

        The rest take turns of their own at this, so that the share of a dead backend is spread over all of them.
        """
        left = [backend for backend in self.backends if backend not in tried]
        left = [backend for backend in left if not backend.pool.is_full] or left
        if not left:
            return None
        turn, self._failovers = self._failovers, self._failovers + 1
        return left[turn % len(left)]

    def __repr__(self) -> str:
        return f"<Cluster {self.name} of {len(self.backends)}>"
