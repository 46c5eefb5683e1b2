"""Takes a client's connection to a backend, and to another one if that cannot be reached."""

from __future__ import annotations

from typing import Any

from twisted.python.failure import Failure

from txproxy.errors import ProxyError
from txproxy.exchange import NOT_YET, Exchange
from txproxy.pipeline import chain as chains
from txproxy.pipeline.forward import Forward, ForwardTools
from txproxy.policy import retries

_NO_METHOD = b""


class Connect(Forward):
    """Finds a backend as for a request; what is leased is a connection of the client's own.

    The exchange's client is told ``backend_connected(exchange, connection)``, or ``fail(exchange, error)``.

    :param tools: see there.
    """

    def __init__(self, tools: ForwardTools) -> None:
        super().__init__(None, tools)

    def start(self, exchange: Exchange) -> None:
        """Take a connection to the backend whose turn it is."""
        exchange.forward = self
        self._begin(exchange, True)

    def _try(self, exchange: Exchange, backend: Any, now: float) -> None:
        exchange.backends_tried = (*exchange.backends_tried, backend)
        exchange.tries += 1
        exchange.backend = backend
        exchange.tried_at = now
        backend.enqueue(exchange, self, now)

    def leased(self, exchange: Exchange, connection: Any) -> None:
        """Hand over a connection that was made."""
        exchange.leased_at = now = self._clock()
        if exchange.connect_at == NOT_YET:
            exchange.connect_at = now
        try:
            exchange.cluster.connected(exchange, now)
            exchange.client.backend_connected(exchange, connection)
        except Exception:
            chains.fail(exchange, Failure())

    def _failed(self, exchange: Exchange, error: ProxyError, reused: bool, begun: bool) -> None:
        if exchange.ended:
            return
        cluster = exchange.cluster
        failure = retries.Failure(error, _NO_METHOD, exchange.tries, 0, reused, begun, False, True, False)
        kind, why = retries.decide(failure, cluster.settings.retry)
        now = self._clock()
        cluster.try_failed(exchange, error, now)
        if kind is retries.Kind.ELSEWHERE:
            another = cluster.pick_another(exchange, now)
            if another is not None:
                self._try(exchange, another, now)
                return
            why = "no-backend-left"
        self._give_up(exchange, error, why)
