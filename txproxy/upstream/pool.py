"""Connections to one backend: who holds which, and who waits. It does no I/O: it says what is to be done.

A connection is idle (in ``idle``, newest last), leased, or being made (``connecting``). Requests that found none wait
in ``waiting``, first come first served, and whichever connection is free first goes to the one who waits longest: it
does not matter whose wait had it made. ``assign`` is the only place where these numbers move.
"""

from __future__ import annotations

from itertools import islice
from typing import Any, NamedTuple, Protocol

from txproxy.policy.candidate import Candidate
from txproxy.policy.deadlines import NEVER


class PoolLimits(NamedTuple):
    """Settings of one pool; see the configuration's ``pool`` section."""

    max_connections: int = 256
    max_idle: int = 32
    max_requests: int = 1000
    max_age_s: float = 3600
    queue: int = 1024
    queue_timeout_s: float = 5
    when_full: str = "queue"
    """``queue``, ``overflow`` (connect beyond the limit) or ``refuse``."""
    min_idle: int = 0
    """Idle connections that are made in advance."""
    shares: bool = False
    """A connection carries several requests at once; see ``shared_pool``."""


class PooledConnection(Protocol):
    """What the pool asks of a connection."""

    requests: int
    """How many requests it has carried."""
    stale_at: float
    """When it is too old for another request, in seconds of the monotonic clock."""
    is_reusable: bool
    """It is open, and its last exchange ended at a place where the next can begin."""


class Waiter:
    """A request that waits for a connection; watched for the end of its patience.

    :param on_lease: told ``leased(exchange, connection)``, ``lease_failed(exchange, error)`` or
        ``turned_away(exchange)``; by a lobby ``start_again(exchange)``.
    :param owner: the backend: told ``waited_too_long(waiter)`` and ``stop_waiting(waiter)``.
    :param fresh: takes only a connection that has carried nothing yet.
    """

    __slots__ = ("__weakref__", "deadline", "exchange", "fresh", "look_at", "on_lease", "owner")

    def __init__(self, exchange: Any, on_lease: Any, owner: Any, fresh: bool = False) -> None:
        self.exchange = exchange
        self.on_lease = on_lease
        self.deadline = NEVER
        self.look_at = NEVER
        self.owner = owner
        self.fresh = fresh

    def deadline_passed(self) -> None:
        """Called when it has waited for too long."""
        self.owner.waited_too_long(self)

    def cancel(self) -> None:
        """Wait no longer: whoever it is for has left."""
        self.owner.stop_waiting(self)


class PoolStats:
    """Counts of a pool's life, read by whoever shows them."""

    __slots__ = ("created", "discarded", "exhausted", "failed", "queued", "reused")

    def __init__(self) -> None:
        self.created = 0
        self.reused = 0
        """Leases of a connection that had carried a request before."""
        self.queued = 0
        """Requests that had to wait for a place."""
        self.exhausted = 0
        """Requests that were refused, or waited too long."""
        self.failed = 0
        """Connections that could not be made."""
        self.discarded = 0
        """Idle connections that were closed, by the backend or by us."""


class Todo(NamedTuple):
    """The I/O that a change leaves to be done."""

    leases: list[tuple[Waiter, Any]]
    """Connections that waiting requests now have."""
    dials: int
    """Connections to be made."""


NOTHING = Todo([], 0)


class Pool:
    """The state of one backend's connections.

    :param limits: its settings.
    :param candidate: what balancing policies know of the backend; its ``active`` is counted here.
    """

    def __init__(self, limits: PoolLimits, candidate: Candidate | None = None) -> None:
        self.limits = limits
        self.candidate = Candidate("") if candidate is None else candidate
        self.keeps_idle = True
        """False while the backend is to get no more requests: what becomes free is closed."""
        self.idle: list[Any] = []
        self.leased = 0
        self.connecting = 0
        self.waiting: dict[Waiter, int] = {}
        """In order. A shared pool notes how many connections there had been before one who wants a new one."""
        self.stats = PoolStats()

    def change(self, limits: PoolLimits) -> None:
        """Take other limits: what is beyond them goes when it is released, or idles for too long.

        :param limits: they share connections, or not, as those before.
        """
        self.limits = limits

    @property
    def total(self) -> int:
        """Connections that count against the limit, those being made included."""
        return len(self.idle) + self.leased + self.connecting

    @property
    def dials_suffice(self) -> bool:
        """Whether those who wait need nothing but the connections that are being made."""
        return self.connecting >= len(self.waiting)

    @property
    def is_full(self) -> bool:
        """Whether a request would have to wait or be refused."""
        return not self.idle and self.leased + self.connecting >= self.limits.max_connections

    def take(self, now: float) -> Any | None:
        """Lease the connection that was used last, or return None if none is idle."""
        idle = self.idle
        while idle:
            connection = idle.pop()
            if connection.is_reusable and now < connection.stale_at:
                self.leased += 1
                self.candidate.active += 1
                self.stats.reused += 1
                return connection
            self.stats.discarded += 1
            connection.retire()
        return None

    def enqueue(self, waiter: Waiter) -> Todo:
        """Let a request wait for a connection."""
        self.waiting[waiter] = 0
        self.candidate.active += 1
        return self.assign()

    def has_room_to_wait(self) -> bool:
        """Whether one more request may be enqueued: a connection can be made for it, or the queue is not full."""
        limits = self.limits
        if self.total < limits.max_connections or limits.when_full == "overflow":
            return True
        return limits.when_full == "queue" and len(self.waiting) < limits.queue

    def leave(self, waiter: Waiter) -> None:
        """Let a waiting request go, with nothing."""
        if waiter in self.waiting:
            del self.waiting[waiter]
            self.candidate.active -= 1

    def leave_all(self) -> list[Waiter]:
        """Let all waiting requests go, with nothing, and return them in order."""
        waiters = list(self.waiting)
        self.waiting.clear()
        self.candidate.active -= len(waiters)
        return waiters

    def missing_idle(self) -> int:
        """Return how many connections are to be made in advance now, and count them as being made."""
        limits = self.limits
        if not self.keeps_idle:
            return 0
        missing = min(limits.min_idle - len(self.idle) - self.connecting, limits.max_connections - self.total)
        self.connecting += max(0, missing)
        return max(0, missing)

    def connected(self, connection: Any) -> Todo:
        """Take a connection that was made."""
        self.connecting -= 1
        self.stats.created += 1
        self.idle.append(connection)
        return self.assign()

    def unneeded(self) -> None:
        """Take note that a connection was made and closed again, for nobody needs it any more."""
        self.connecting -= 1
        self.stats.discarded += 1

    def connect_failed(self) -> list[Waiter]:
        """Take note that a connection could not be made.

        :return: who is to be told: the request that has waited longest, if any.
        """
        self.connecting -= 1
        self.stats.failed += 1
        return self._leave_first(1)

    def _leave_first(self, count: int) -> list[Waiter]:
        waiters = list(islice(self.waiting, count))
        for waiter in waiters:
            self.leave(waiter)
        return waiters

    def left_behind(self) -> list[Waiter]:
        """Return the requests that wait without a limit although no connection is being made for them any more."""
        return []

    def release(self, connection: Any) -> Todo:
        """Take a leased connection back; it stays idle if it may carry another request."""
        self.leased -= 1
        self.candidate.active -= 1
        idle, limits = self.idle, self.limits
        if (
            connection.is_reusable
            and self.keeps_idle
            and connection.requests < limits.max_requests
            and (len(idle) < limits.max_idle or self.waiting)
            and len(idle) + self.leased + self.connecting < limits.max_connections
        ):
            idle.append(connection)
        else:
            connection.retire()
        return self.assign() if self.waiting else NOTHING

    def lost(self, connection: Any) -> Todo:
        """Forget a connection that was closed or given up, idle or leased."""
        if connection in self.idle:
            self.idle.remove(connection)
            self.stats.discarded += 1
        else:
            self.leased -= 1
            self.candidate.active -= 1
        return self.assign() if self.waiting else NOTHING

    def assign(self) -> Todo:
        """Give idle connections to those who wait, and say how many more are to be made for the rest."""
        leases = []
        for waiter in tuple(self.waiting) if self.idle else ():
            connection = self._idle_for(waiter)
            if connection is not None:
                del self.waiting[waiter]
                self.leased += 1
                leases.append((waiter, connection))
            if not self.idle:
                break
        wanted = len(self.waiting) - self.connecting
        if wanted > 0 and self.idle and self.total >= self.limits.max_connections:
            # Those who still wait want a new connection: what is idle may be as dead as the one that it replaces.
            self.idle.pop(0).retire()
            self.stats.discarded += 1
        if self.limits.when_full != "overflow":
            wanted = min(wanted, self.limits.max_connections - self.total)
        dials = max(0, wanted)
        self.connecting += dials
        return Todo(leases, dials)

    def summary(self) -> str:
        """Return its statistics in a few words."""
        stats = self.stats
        return (
            f"{stats.created} connections made, {stats.reused} times reused, {stats.failed} failed, "
            f"{stats.discarded} closed while idle; {stats.queued} requests queued, {stats.exhausted} refused; now "
            f"{len(self.idle)} idle, {self.leased} active, {len(self.waiting)} waiting"
        )

    def _idle_for(self, waiter: Waiter) -> Any | None:
        idle = self.idle
        if not waiter.fresh:
            return idle.pop()
        for connection in idle:
            if not connection.requests:
                idle.remove(connection)
                return connection
        return None

    def __repr__(self) -> str:
        return (
            f"<Pool {len(self.idle)} idle, {self.leased} leased, {self.connecting} connecting, "
            f"{len(self.waiting)} waiting>"
        )
