"""Connections to one backend that carry several requests at once, as HTTP/2 allows. It does no I/O either.

    idle ── leased ──> sharing <── one more, one less ──> full
    sharing, full ── old, used up, or told to go ──> leaving ── its last request ended ──> retired
    sharing ── its last request ended ──> idle, or retired

What is leased is a place on a connection, which the connection itself makes: for its owner that is a connection. The
one that was put to use last is filled first, so that others run empty and are closed. Connections are made for as many
waiting requests as one of them will carry. What is leaving counts against ``max_connections``: what it carries may take
hours. Only those that the backend has ended stand beside as many others, if there is nothing else. ``_settle`` is the
only place where a connection moves, ``_lease`` and ``release`` those where it is filled.
"""

from __future__ import annotations

from itertools import chain, islice
from typing import Any

from txproxy.policy.candidate import Candidate
from txproxy.policy.deadlines import NEVER
from txproxy.upstream.pool import NOTHING, Pool, PoolLimits, Todo, Waiter

MOST_STREAMS = 100
"""Requests that a connection carries at once, if the backend allows it: what RFC 9113 section 6.5.2 asks for at least,
and what backends that count abuse are used to."""

MOST_REQUESTS = 2**30 - 2
"""Streams for which a connection has numbers (RFC 9113 section 5.1.1)."""


class SharedConnection:
    """What the pool knows, and asks, of a connection."""

    # Slots, so that a connection's own attributes are few enough for the compact form; see ``patience``.
    __slots__ = ("home", "most_streams", "number", "requests", "streams", "was_ended")

    is_reusable: bool
    """It is open, and the backend takes further requests on it."""

    def __init__(self) -> None:
        self.requests = 0
        """How many requests it was given; the pool counts them."""
        self.streams = 0
        """How many of them are under way; the pool counts them too."""
        self.most_streams = -1
        """How many may be under way at once; may change, also to less than there are, or to 0. Below that: unknown."""
        self.was_ended = False
        """The backend has said that it takes no more requests on it."""
        self.number = 0
        """Of its making: later ones have higher numbers."""
        self.home: dict[Any, None] | None = None
        """Where the pool has it."""

    def lease(self) -> Any:
        """Return a place for one request: it has the connection as ``connection``."""
        raise NotImplementedError

    def retire(self) -> None:
        """Close: the pool has let go of it already, and it carries nothing."""
        raise NotImplementedError


class SharedPool(Pool):
    """The state of one backend's connections; where a method is not explained here, ``Pool`` explains it.

    :param limits: its settings.
    :param candidate: what balancing policies know of the backend.
    """

    def __init__(self, limits: PoolLimits, candidate: Candidate | None = None) -> None:
        super().__init__(_bounded(limits), candidate)
        self.idle: dict[Any, None] = {}  # type: ignore[assignment]
        """Connections that carry nothing; like the others, in the order in which they came here."""
        self.sharing: dict[Any, None] = {}
        """Those that carry requests, and can carry more."""
        self.full: dict[Any, None] = {}
        """Those that carry as much as they may."""
        self.leaving: dict[Any, None] = {}
        """Those that complete what they carry, and get no more."""
        self._expected = min(MOST_STREAMS, self.limits.max_requests)
        """How many requests the next connection will carry, as far as can be known."""

    def change(self, limits: PoolLimits) -> None:
        """Take other limits."""
        super().change(_bounded(limits))
        self._expected = min(self._expected, self.limits.max_requests)

    @property
    def total(self) -> int:
        """Connections that count against the limit, those being made included."""
        return len(self.idle) + len(self.sharing) + len(self.full) + len(self.leaving) + self.connecting

    @property
    def dials_suffice(self) -> bool:
        """Whether those who wait need nothing but the connections that are being made."""
        return self._places_made >= len(self.waiting)

    @property
    def is_full(self) -> bool:
        """Whether a request would have to wait or be refused."""
        return not (self._with_room(0) or self._may_dial or self._places_made > len(self.waiting))

    @property
    def _places_made(self) -> int:
        return self.connecting * self._expected

    @property
    def _may_dial(self) -> bool:
        total, most = self.total, self.limits.max_connections
        if self._is_shut_out():
            return False
        if total < most or self.idle or self.sharing or self.full or self.connecting:
            return total < most
        return total < 2 * most and total - sum(connection.was_ended for connection in self.leaving) < most

    def take(self, now: float) -> Any | None:
        """Lease a place, or return None if there is none."""
        connection = self._with_room(0)
        if connection is None:
            return None
        self.candidate.active += 1
        return self._lease(connection)

    def enqueue(self, waiter: Waiter) -> Todo:
        """Let a request wait for a place.

        One that wants a fresh one is given none on a connection that there is now. It comes before all that do not: a
        backend may complete only so many requests on a connection, and leave out what comes after them; it is not to
        be left out again and again.
        """
        if waiter.fresh and self.waiting:
            places = [*self.waiting.items()]
            ahead = sum(other.fresh for other in self.waiting)
            self.waiting = dict([*places[:ahead], (waiter, self.stats.created), *places[ahead:]])
        else:
            self.waiting[waiter] = self.stats.created if waiter.fresh else 0
        self.candidate.active += 1
        return self.assign()

    def has_room_to_wait(self) -> bool:
        """Whether one more request may be enqueued."""
        limits, wait = self.limits, len(self.waiting) - self._places_made
        if wait < 0 or self._may_dial or limits.when_full == "overflow" or self._with_room(0) is not None:
            return True
        return limits.when_full == "queue" and wait < limits.queue

    def connected(self, connection: Any) -> Todo:
        """Take a connection that was made."""
        self.connecting -= 1
        self.stats.created += 1
        connection.number = self.stats.created
        connection.home = self.idle
        self.idle[connection] = None
        self._expect(connection)
        return self.assign()

    def changed(self, connection: Any) -> Todo:
        """Take note that a connection may carry more or fewer requests than before, or no more."""
        self._expect(connection)
        self._settle(connection)
        return self.assign()

    def connect_failed(self) -> list[Waiter]:
        """Take note that a connection could not be made.

        :return: who is to be told: those who waited for it, which are those who have waited longest; nobody if there is
            room on another connection.
        """
        share = min(-(-len(self.waiting) // max(1, self.connecting)), self._expected)
        self.connecting -= 1
        self.stats.failed += 1
        if self._with_room(0) is None:
            return self._leave_first(share)
        # All who wait have wanted a new one: what there is is better than none.
        self.waiting.update(dict.fromkeys(islice(self.waiting, share), 0))
        return []

    def left_behind(self) -> list[Waiter]:
        """Return the requests that wait without a limit although no connection is being made for them any more."""
        return [each for each in islice(self.waiting, self._places_made, None) if each.deadline == NEVER]

    def release(self, place: Any) -> Todo:
        """Take a place back; its connection stays if it may carry another request."""
        connection = place.connection
        self.leased -= 1
        self.candidate.active -= 1
        connection.streams -= 1
        self._settle(connection)
        return self.assign() if self.waiting else NOTHING

    def lost(self, connection: Any) -> Todo:
        """Forget a connection that was closed, with all that it carried."""
        if connection.home is self.idle:
            self.stats.discarded += 1
        self._move(connection, None)
        self.leased -= connection.streams
        self.candidate.active -= connection.streams
        connection.streams = 0
        return self.assign() if self.waiting else NOTHING

    def assign(self) -> Todo:
        """Give places to those who wait, and say how many more connections are to be made for the rest."""
        leases = []
        if self.sharing or self.idle:
            for waiter, after in self.waiting.items():
                connection = self._with_room(after)
                if connection is not None:
                    leases.append((waiter, self._lease(connection)))
                elif not after:
                    break  # The others want no less.
            for waiter, _ in leases:
                del self.waiting[waiter]
        dials = self._dials()
        self.connecting += dials
        return Todo(leases, dials)

    def summary(self) -> str:
        """Return its statistics in a few words."""
        stats = self.stats
        return (
            f"{stats.created} connections made, {stats.reused} times reused, {stats.failed} failed, "
            f"{stats.discarded} closed while idle; {stats.queued} requests queued, {stats.exhausted} refused; now "
            f"{len(self.idle)} idle, {self._busy} active with {self.leased} requests, {len(self.waiting)} waiting"
        )

    @property
    def _busy(self) -> int:
        return len(self.sharing) + len(self.full) + len(self.leaving)

    def _expect(self, connection: Any) -> None:
        if connection.most_streams:
            self._expected = min(connection.most_streams, self.limits.max_requests)

    def _with_room(self, after: int) -> Any | None:
        """Return a connection that can carry one more request.

        :param after: only one that was made after so many others, unless no more can be made.
        """
        for connection in reversed(self.sharing):
            if connection.number > after:
                return connection
        for connection in reversed(self.idle):
            if connection.number > after and connection.most_streams:
                return connection
        return None if not after or self._may_dial or self.connecting else self._with_room(0)

    def _lease(self, connection: Any) -> Any:
        self.leased += 1
        if connection.requests:
            self.stats.reused += 1
        connection.requests += 1
        connection.streams += 1
        self._settle(connection)
        return connection.lease()

    def _settle(self, connection: Any) -> None:
        """Put a connection where it belongs, after anything about it has changed."""
        may_go_on = connection.is_reusable and connection.requests < self.limits.max_requests
        if connection.streams:
            if not may_go_on:
                self._move(connection, self.leaving)
            elif connection.streams < connection.most_streams:
                self._move(connection, self.sharing)
            else:
                self._move(connection, self.full)
        elif may_go_on and (connection.home is self.idle or self._keeps_one_more()):
            self._move(connection, self.idle)
        else:
            if connection.home is self.idle:
                self.stats.discarded += 1
            self._move(connection, None)
            connection.retire()

    def _keeps_one_more(self) -> bool:
        """Return whether a connection that has become idle, and still counts as busy, is kept."""
        limits = self.limits
        wanted = len(self.idle) < limits.max_idle or self.waiting
        return bool(self.keeps_idle and wanted and self.total <= limits.max_connections)

    def _move(self, connection: Any, home: dict[Any, None] | None) -> None:
        if connection.home is not home:
            if connection.home is not None:
                del connection.home[connection]
            connection.home = home
            if home is not None:
                home[connection] = None

    def _dials(self) -> int:
        wanted = -(-len(self.waiting) // self._expected) - self.connecting
        if wanted <= 0 or self._is_shut_out():
            return 0
        if self.limits.when_full == "overflow":
            return wanted
        return min(wanted, max(self.limits.max_connections - self.total, int(self._may_dial)))

    def _is_shut_out(self) -> bool:
        """Return whether the backend lets nothing be sent on any connection: one more would be no better."""
        if self.sharing or not (self.idle or self.full):
            return False
        return not any(connection.most_streams for connection in chain(self.idle, self.full))

    def __repr__(self) -> str:
        return (
            f"<SharedPool {len(self.idle)} idle, {self._busy} carrying {self.leased}, "
            f"{self.connecting} connecting, {len(self.waiting)} waiting>"
        )


def _bounded(limits: PoolLimits) -> PoolLimits:
    return limits._replace(max_requests=min(limits.max_requests, MOST_REQUESTS))
