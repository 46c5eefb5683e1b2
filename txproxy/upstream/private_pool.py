"""Connections to a backend that are each made for one request, because they say who its client is.

Nothing is ever idle, and nobody gets a connection that was made for another: one whose request has left is closed.
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import Any

from txproxy.policy.candidate import Candidate
from txproxy.upstream.pool import Pool, PoolLimits, Todo, Waiter


class PrivatePool(Pool):
    """The state of one backend's connections.

    :param limits: its settings.
    :param candidate: see ``Pool``.
    """

    def __init__(self, limits: PoolLimits, candidate: Candidate | None = None) -> None:
        super().__init__(limits, candidate)
        self._unserved: dict[Waiter, None] = {}
        """Those who wait and have no connection that is being made, in order."""
        self._to_be_served: deque[Waiter] = deque()

    @property
    def dials_suffice(self) -> bool:
        """Whether those who wait need nothing but the connections that are being made."""
        return not self._unserved

    def take(self, now: float) -> Any | None:
        """Return None: nothing is idle."""
        return None

    def enqueue(self, waiter: Waiter) -> Todo:
        """Let a request wait for its connection."""
        self._unserved[waiter] = None
        return super().enqueue(waiter)

    def has_room_to_wait(self) -> bool:
        """Whether one more request may be enqueued; those whose connections are being made do not wait for a place."""
        limits = self.limits
        if self.total < limits.max_connections or limits.when_full == "overflow":
            return True
        return limits.when_full == "queue" and len(self._unserved) < limits.queue

    def leave(self, waiter: Waiter) -> None:
        """Let a waiting request go, with nothing."""
        self._unserved.pop(waiter, None)
        super().leave(waiter)

    def leave_all(self) -> list[Waiter]:
        """Let all waiting requests go, with nothing, and return them in order."""
        self._unserved.clear()
        return super().leave_all()

    def missing_idle(self) -> int:
        """Return 0: no connection can be made in advance."""
        return 0

    def connected_for(self, waiter: Waiter, connection: Any) -> Todo:
        """Take the connection that was made for a request; if that has left, nobody else gets it."""
        self.connecting -= 1
        self.stats.created += 1
        if waiter not in self.waiting:
            self.stats.discarded += 1
            connection.retire()
            return self.assign()
        del self.waiting[waiter]
        self.leased += 1
        return self.assign()._replace(leases=[(waiter, connection)])

    def connect_failed_for(self, waiter: Waiter) -> bool:
        """Take note that the connection for a request could not be made.

        :return: whether it has waited for that until now.
        """
        self.connecting -= 1
        if waiter not in self.waiting:
            self.stats.discarded += 1
            return False
        self.stats.failed += 1
        self.leave(waiter)
        return True

    def release(self, connection: Any) -> Todo:
        """Close a leased connection: its request is done."""
        self.leased -= 1
        self.candidate.active -= 1
        connection.retire()
        return self.assign()

    def assign(self) -> Todo:
        """Count connections that are to be made; ``next_to_serve`` says for whom."""
        wanted = len(self._unserved)
        if self.limits.when_full != "overflow":
            wanted = min(wanted, self.limits.max_connections - self.total)
        for waiter in list(islice(self._unserved, max(0, wanted))):
            del self._unserved[waiter]
            self._to_be_served.append(waiter)
            self.connecting += 1
        return Todo([], 0)

    def next_to_serve(self) -> Waiter | None:
        """Return a request whose connection is to be made now and is counted already; None if there is no more."""
        return self._to_be_served.popleft() if self._to_be_served else None
