"""One server that is told who the client is when a connection begins, so that each connection carries one request."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.python.failure import Failure

from txproxy.errors import ProxyError
from txproxy.exchange import NOT_YET, Exchange
from txproxy.policy.deadlines import NEVER, Deadlines
from txproxy.policy.health import Health
from txproxy.upstream.backend import Backend, BackendIdentity
from txproxy.upstream.pool import PoolLimits, Todo, Waiter
from txproxy.upstream.private_pool import PrivatePool


class PrivateBackend(Backend):
    """Hands out connections to one server.

    :param identity: see ``Backend``; likewise the others.
    :param write_header: given an exchange, returns the first bytes of its connection.
    """

    pool: PrivatePool
    _connector: Any

    def __init__(
        self,
        identity: BackendIdentity,
        limits: PoolLimits,
        health: Health,
        make_connector: Callable[[Backend], Any],
        clock: Callable[[], float],
        deadlines: Deadlines,
        write_header: Callable[[Exchange], bytes],
    ) -> None:
        super().__init__(identity, limits, health, make_connector, clock, deadlines)
        self.pool = PrivatePool(limits, self.candidate)
        self._write_header = write_header
        self._dials: dict[Waiter, Deferred[Any]] = {}
        """Connections that are being made, by who waits for them."""

    def stop_waiting(self, waiter: Waiter) -> None:
        """Take a request out of the queue: its client has left, and its connection is for nobody else."""
        super().stop_waiting(waiter)
        dial = self._dials.pop(waiter, None)
        if dial is not None:
            dial.cancel()

    def _carry_out(self, todo: Todo) -> None:
        while (waiter := self.pool.next_to_serve()) is not None:
            self._dial_for(waiter)
        super()._carry_out(todo)

    def _dial_for(self, waiter: Waiter) -> None:
        # From here on the connection has a timeout of its own.
        self.deadlines.forget(waiter)
        waiter.deadline = NEVER
        exchange = waiter.exchange
        if exchange.connect_at == NOT_YET:
            exchange.connect_at = self.clock()
        connecting = self._dials[waiter] = maybeDeferred(self._connect, exchange)
        connecting.addCallbacks(
            self._connected_for, self._connect_failed_for, callbackArgs=(waiter,), errbackArgs=(waiter,)
        ).addErrback(self._bug)

    def _connect(self, exchange: Exchange) -> Deferred[Any]:
        return self._connector.connect(self._write_header(exchange))

    def _connected_for(self, connection: Any, waiter: Waiter) -> None:
        self._dials.pop(waiter, None)
        self._trust_again()
        if not connection.is_reusable:
            connection.retire()
            self._fail(waiter, self._fault_of(connection))
            return
        connection.hear_first()
        connection.in_pool = True
        self._carry_out(self.pool.connected_for(waiter, connection))

    def _connect_failed_for(self, failure: Failure, waiter: Waiter) -> None:
        self._dials.pop(waiter, None)
        self._fail(waiter, self._error_of(failure))

    def _fail(self, waiter: Waiter, error: ProxyError) -> None:
        self.complain(error)
        if self.pool.connect_failed_for(waiter):
            waiter.exchange.attempt = None
            waiter.on_lease.lease_failed(waiter.exchange, error)
        self._carry_out(self.pool.assign())
