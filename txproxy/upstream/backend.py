"""One server: its address, its share of the load, and its connections."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from twisted.internet.defer import maybeDeferred
from twisted.python.failure import Failure

from txproxy.errors import (
    BadReply,
    ConnectFailed,
    InternalError,
    NoHttp2,
    ProxyError,
    QueueFull,
    QueueTimeout,
    TlsFailed,
    TlsVerify,
)
from txproxy.observe.log import Logger
from txproxy.policy.candidate import Candidate
from txproxy.policy.deadlines import NEVER, Deadlines
from txproxy.policy.health import Health
from txproxy.upstream.connector import Connector, GreetedConnector
from txproxy.upstream.pool import NOTHING, Pool, PoolLimits, Todo, Waiter
from txproxy.upstream.shared_pool import SharedPool

log = Logger()

_QUIET_S = 60.0
"""How long the same complaint about a backend is not repeated."""


class BackendIdentity(NamedTuple):
    """What tells one backend from another, as the configuration gives it."""

    name: str
    """Its address as it was written; stands in logs."""
    host_field: bytes
    """What Host says if the route asks for the backend's own name; the port is left out if it is the default."""
    weight: int = 1
    is_backup: bool = False
    """It serves only while no backend of the first tier can."""
    hosts: tuple[str, ...] = ()
    """Addresses of the server, one of each family at most; empty for a unix socket."""
    port: int = 0
    path: str = ""
    """Of a unix socket."""
    server_name: str = "localhost"
    """Its host as the configuration has it, also if its addresses come from the DNS: its certificate is for that."""


class Backend:
    """Hands out connections to one server.

    :param identity: which server.
    :param limits: of its pool.
    :param health: its state, as checks and requests have found it.
    :param make_connector: given this backend, returns its connector.
    :param clock: the monotonic clock, in seconds.
    :param deadlines: the wheel that watches requests that wait and connections that idle.
    """

    def __init__(
        self,
        identity: BackendIdentity,
        limits: PoolLimits,
        health: Health,
        make_connector: Callable[[Backend], Connector | GreetedConnector],
        clock: Callable[[], float],
        deadlines: Deadlines,
    ) -> None:
        self.identity = identity
        self.name = identity.name
        self.host_field = identity.host_field
        self.health = health
        self.weight = identity.weight
        """As it was configured, or set since; the candidate's may be less for a while."""
        self.candidate = Candidate(identity.name, identity.weight, self)
        self.is_member = False
        """It belongs to its cluster; not so once it was removed and only completes what is under way."""
        self.is_serving = False
        """New requests may be sent to it."""
        self.cuts = 0
        """Replies in a row that it has cut, or made a mess of, in the middle of their bodies."""
        self.is_watched = False
        """Its replies are to be reported to its cluster, good ones too."""
        self.limits = limits
        """As they were configured."""
        self.pool: Any = (SharedPool if limits.shares else Pool)(limits, self.candidate)
        self.clock = clock
        self.deadlines = deadlines
        self._complaint = ""
        """What was last said of its TLS, or of its HTTP."""
        self._quiet_until = 0.0
        self._is_distrusted = False
        self._connector = make_connector(self)

    def enqueue(self, exchange: Any, on_lease: Any, now: float, fresh: bool = False, again: bool = False) -> None:
        """Let an exchange wait for a connection; the pool had none that is idle.

        :param exchange: for whom; its ``attempt`` is the waiter while it waits.
        :param on_lease: told ``leased(exchange, connection)`` or ``lease_failed(exchange, error)`` later.
        :param now: the moment, in seconds.
        :param fresh: wait for a connection that is not idle now, for those that are may all be dead.
        :param again: it has had a place in this queue before.
        :raises QueueFull: if it may not wait.
        """
        pool = self.pool
        if fresh and not pool.limits.shares:
            self.close_idle()  # By HTTP/2 streams do that: what was refused there was not sent on a dead connection.
        if not again and not pool.has_room_to_wait():
            pool.stats.exhausted += 1
            raise QueueFull(f"{self.name}: {pool!r}")
        waiter = Waiter(exchange, on_lease, self, fresh)
        exchange.attempt = waiter
        waiter.deadline = now + pool.limits.queue_timeout_s
        todo = pool.enqueue(waiter)
        if pool.dials_suffice:
            # Its own connection is being made: that has a timeout and an error of its own.
            waiter.deadline = NEVER
            if exchange.connect_at < 0:
                exchange.connect_at = now
        else:
            pool.stats.queued += 1
            self.deadlines.watch(waiter)
        self._carry_out(todo)

    def stop_waiting(self, waiter: Waiter) -> None:
        """Take a request out of the queue: its client has left."""
        self.deadlines.forget(waiter)
        self.pool.leave(waiter)

    def release(self, connection: Any) -> None:
        """Take a connection, or a place on one, back after its exchange."""
        todo = self.pool.release(connection)
        if todo is not NOTHING:
            self._carry_out(todo)

    def lost(self, connection: Any) -> None:
        """Take note that a connection, idle or leased, is gone."""
        self._carry_out(self.pool.lost(connection))

    def changed(self, connection: Any) -> None:
        """Take note that a shared connection may carry more or fewer requests than before, or no more."""
        self._carry_out(self.pool.changed(connection))
        self._limit_patience()

    def close(self) -> None:
        """Keep no connection from here on: those that are idle are closed, and those that are still being made."""
        self.keep_idle(False)

    def close_idle(self) -> None:
        """Close all connections that carry nothing."""
        for connection in list(self.pool.idle):
            connection.retire()
            self._carry_out(self.pool.lost(connection))

    def keep_idle(self, keep: bool) -> None:
        """Keep connections for further requests, or close each as soon as it carries nothing."""
        self.pool.keeps_idle = keep
        if not keep:
            self.close_idle()

    def limit(self, limits: PoolLimits) -> None:
        """Have other limits for its connections from here on; who waits may be served at once.

        :param limits: they share connections, or not, as those before.
        """
        if limits != self.limits:
            self.limits = limits
            self.pool.change(limits)
            self._carry_out(self.pool.assign())

    def be_backup(self, is_backup: bool) -> None:
        """Serve only while no other can, or as the others do; its cluster has to look at its members anew."""
        self.identity = self.identity._replace(is_backup=is_backup)

    def readdress(self, hosts: tuple[str, ...]) -> None:
        """Connect to other addresses from here on.

        :param hosts: of the same server.
        """
        self.identity = self.identity._replace(hosts=hosts)
        self._connector.readdress(hosts)

    def turn_away(self) -> None:
        """Have all requests that wait for a connection look for another backend."""
        for waiter in self.pool.leave_all():
            deadline = waiter.deadline
            self.deadlines.forget(waiter)
            waiter.exchange.attempt = None
            waiter.on_lease.turned_away(waiter.exchange)
            again = waiter.exchange.attempt
            if isinstance(again, Waiter) and deadline < again.deadline < NEVER:
                again.deadline = deadline  # However often it moves, its patience is one.
                self.deadlines.watch(again)

    def make_idle(self) -> None:
        """Make the connections that are to be there in advance."""
        self._dial(self.pool.missing_idle())

    def _dial(self, count: int) -> None:
        for _ in range(count):
            connecting = maybeDeferred(self._connector.connect)
            connecting.addCallbacks(self._connected, self._connect_failed).addErrback(self._bug)

    def _carry_out(self, todo: Todo) -> None:
        # Dials first: a lease may bring the end of an exchange and so change the pool again.
        self._dial(todo.dials)
        for waiter, connection in todo.leases:
            self.deadlines.forget(waiter)
            if waiter.exchange.attempt is not waiter:
                connection.hand_back()  # Its client has left: whoever was served before it has had to do with that.
                continue
            waiter.exchange.attempt = None
            waiter.on_lease.leased(waiter.exchange, connection)

    def _trust_again(self) -> None:
        if self._is_distrusted:
            self._is_distrusted, self._complaint = False, ""

    def _connected(self, connection: Any) -> None:
        self._trust_again()
        if not self.pool.keeps_idle and not self.pool.waiting:
            connection.retire()
            self.pool.unneeded()
        elif connection.is_reusable:
            now = self.clock()
            connection.hear_first()
            connection.in_pool = True
            connection.stale_at = now + self.pool.limits.max_age_s
            self._carry_out(self.pool.connected(connection))
            if connection in self.pool.idle:
                connection.expect_idle(now)
            self._limit_patience()
        else:
            connection.retire()
            self._fail_first(self._fault_of(connection))

    def _fault_of(self, connection: Any) -> ProxyError:
        """Return what a new connection that cannot be used is reported as."""
        if connection.refusal:
            return TlsFailed(connection.refusal)
        # What it said before it was asked cannot be taken for a reply; if it said nothing, it saw nothing either.
        return (BadReply if connection.has_spoken else ConnectFailed)(f"{self.name} spoke first, or closed at once")

    def _connect_failed(self, failure: Failure) -> None:
        self._fail_first(self._error_of(failure))

    def _error_of(self, failure: Failure) -> ProxyError:
        error = failure.value
        if isinstance(error, ProxyError):
            return error
        self._bug(failure)  # The connector sorts every failure but its own.
        return InternalError(repr(error), logged=True)

    def complain(self, error: ProxyError) -> None:
        """Say what is wrong with the backend's TLS, or with its version of HTTP, if that is news."""
        if not isinstance(error, TlsVerify | TlsFailed | NoHttp2):
            return
        now = self.clock()
        if error.detail != self._complaint or now >= self._quiet_until:
            # It takes a person to mend this, and each request fails: one line is worth it, and one is enough.
            self._complaint, self._quiet_until = error.detail, now + _QUIET_S
            # One that does not accept us may say so only when it is connected, each time.
            self._is_distrusted = isinstance(error, TlsVerify)
            what = "cannot be verified" if self._is_distrusted else "and we do not come to terms by TLS"
            if isinstance(error, NoHttp2):
                self._is_distrusted, what = True, "does not speak HTTP/2"
            log.warn("backend {name} {what}: {words}", name=self.name, what=what, words=error.detail)

    def _fail_first(self, error: Any) -> None:
        self.complain(error)
        for waiter in self.pool.connect_failed():
            self.deadlines.forget(waiter)
            waiter.exchange.attempt = None
            waiter.on_lease.lease_failed(waiter.exchange, error)
        self._carry_out(self.pool.assign())
        self._limit_patience()

    def _limit_patience(self) -> None:
        """Let those wait no longer than others do who have relied on a connection that carries less than it might."""
        for waiter in self.pool.left_behind():
            self.pool.stats.queued += 1
            waiter.deadline = self.clock() + self.pool.limits.queue_timeout_s
            self.deadlines.watch(waiter)

    def waited_too_long(self, waiter: Waiter) -> None:
        """Refuse a request that has waited too long."""
        self.pool.leave(waiter)
        self.pool.stats.exhausted += 1
        waiter.exchange.attempt = None
        waiter.on_lease.lease_failed(waiter.exchange, QueueTimeout(self.name))

    def _bug(self, failure: Failure) -> None:
        log.failure("a connection to {name} could not be handed out", failure=failure, name=self.name)

    def __repr__(self) -> str:
        return f"<Backend {self.name} {self.pool!r}>"
