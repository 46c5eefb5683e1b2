"""The last stage: takes an exchange to a backend, and to another one if that is safe, and brings its reply back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.python.failure import Failure

from txproxy.errors import ProxyError
from txproxy.exchange import NOT_YET, Exchange
from txproxy.pipeline import chain as chains
from txproxy.policy import retries
from txproxy.wire.forwarding import write_request_head
from txproxy.wire.messages import ReplyHead


class Forward:
    """Forwards the exchanges of one route. It keeps nothing of an exchange but what stands in the exchange itself.

    :param route: whose rules apply.
    :param clock: the monotonic clock, in seconds.
    """

    def __init__(self, route: Any, clock: Callable[[], float]) -> None:
        self._route = route
        self._clock = clock

    def start(self, exchange: Exchange) -> None:
        """Take an exchange to the backend whose turn it is."""
        exchange.forward = self
        try:
            self._try(exchange, exchange.cluster.pick(), False)
        except Exception:
            chains.fail(exchange, Failure())

    def _try(self, exchange: Exchange, backend: Any, fresh: bool) -> None:
        tried = exchange.backends_tried
        if not fresh:
            exchange.backends_tried = (*tried, backend) if tried else (backend,)
            exchange.tries += 1
        exchange.backend = backend
        now = self._clock()
        unsafe = exchange.request.method not in retries.IDEMPOTENT  # type: ignore[union-attr]
        while (connection := None if fresh else backend.pool.take(now)) is not None:
            # What is not idempotent cannot be sent again, so it is worth a system call to see that the backend has
            # not closed the connection just now.
            if unsafe and connection.is_stale():
                connection.discard()
                continue
            if exchange.connect_at == NOT_YET:
                exchange.connect_at = now
            exchange.leased_at = now
            self._send(exchange, connection)
            return
        backend.enqueue(exchange, self, now, fresh)

    def leased(self, exchange: Exchange, connection: Any) -> None:
        """Send the request: the exchange has waited for this connection."""
        exchange.leased_at = now = self._clock()
        if exchange.connect_at == NOT_YET:
            exchange.connect_at = now
        try:
            self._send(exchange, connection)
        except Exception:
            chains.fail(exchange, Failure())

    def lease_failed(self, exchange: Exchange, error: ProxyError) -> None:
        """Try another backend, if there is one, or give up."""
        try:
            self._failed(exchange, error, False, False)
        except Exception:
            chains.fail(exchange, Failure())

    def _send(self, exchange: Exchange, connection: Any) -> None:
        route = self._route
        exchange.server = connection
        head = write_request_head(
            exchange.request,  # type: ignore[arg-type]
            route.target_for(exchange) if route.rules.strip_prefix else exchange.request.target,  # type: ignore[union-attr]
            None if route.keeps_host and exchange.request.host else route.host_for(exchange.backend),  # type: ignore[union-attr]
            exchange.client.hop,
            exchange.id,
            route.request_rules,
        )
        connection.send_request(exchange, head)

    def interim_received(self, exchange: Exchange, reply: ReplyHead) -> None:
        """Pass on an interim reply (RFC 9110 section 15.2)."""
        exchange.client.send_interim(exchange, reply)

    def reply_received(self, exchange: Exchange, reply: ReplyHead) -> bool:
        """Pass on the head of a reply.

        :return: False if a stage is still deciding; the connection holds the rest until ``go_on``.
        """
        if exchange.body is not None:
            exchange.body.let_go()
        chain = self._route.chain
        if chain.on_reply:
            # Stages may change the reply; the parser's own may be another exchange's too.
            exchange.reply = reply.copy()
            if not chain.reply(exchange, self._agreed):
                return False
            reply = exchange.reply
        exchange.client.start_reply(exchange, reply)
        return True

    def _agreed(self, exchange: Exchange) -> None:
        connection = exchange.server
        if connection is not None:
            exchange.client.start_reply(exchange, exchange.reply)
            connection.go_on()

    def upstream_failed(self, exchange: Exchange, error: ProxyError, reused: bool, begun: bool) -> None:
        """Decide what a failure means for the client.

        :param reused: the connection had been idle.
        :param begun: at least one byte of a reply had come.
        """
        try:
            self._failed(exchange, error, reused, begun)
        except Exception:
            chains.fail(exchange, Failure())

    def _failed(self, exchange: Exchange, error: ProxyError, reused: bool, begun: bool) -> None:
        if exchange.ended:
            return
        request, body = exchange.request, exchange.body
        assert request is not None
        failure = retries.Failure(
            error,
            request.method,
            exchange.tries,
            reused,
            begun or exchange.head_sent,
            body is None or body.can_be_sent,
            exchange.connection_replaced,
        )
        if retries.may_replace_connection(failure):
            exchange.connection_replaced = True
            self._try(exchange, exchange.backend, True)
            return
        if retries.may_try_another(failure, exchange.cluster.tries):
            another = exchange.cluster.pick_another(exchange.backends_tried)
            if another is not None:
                self._try(exchange, another, False)
                return
        exchange.client.fail(exchange, error)
