"""The last stage: takes an exchange to a backend, and to another one if that is safe, and brings its reply back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from twisted.python.failure import Failure

from txproxy.errors import InternalError, MethodRefused, NoReply, ProxyError, TooOld, Unprocessed
from txproxy.exchange import NOT_YET, Exchange
from txproxy.pipeline import chain as chains
from txproxy.policy import retries
from txproxy.wire.messages import ReplyHead, RequestHead
from txproxy.wire.upgrade import upgrade_of

_UNAVAILABLE = 501
"""Statuses above it may say that the backend cannot serve."""


class ForwardTools(NamedTuple):
    """What the forwarding stages of all routes share."""

    clock: Callable[[], float]
    """The monotonic clock, in seconds."""
    call_later: Callable[..., Any]
    """The reactor's."""
    random: Callable[[], float]
    """Numbers from 0 to 1."""
    cache: Any = None
    """What routes with a cache share; see ``cache.engine``."""
    tracing: Any = None
    """The stage that all routes have, if there are traces; see ``pipeline.tracing``."""


class Forward:
    """Forwards the exchanges of one route. It keeps nothing of an exchange but what stands in the exchange itself.

    :param route: whose rules apply.
    :param tools: see there.
    """

    def __init__(self, route: Any, tools: ForwardTools) -> None:
        self._route = route
        self._clock = tools.clock
        self._call_later = tools.call_later
        self._random = tools.random

    def start(self, exchange: Exchange) -> None:
        """Take an exchange to the backend whose turn it is."""
        exchange.forward = self
        request = exchange.request
        assert request is not None
        if request.options is not None and b"upgrade" in request.options:
            self._ask_for_upgrade(exchange, request)
        if exchange.body is not None:
            exchange.body.keep_at_most(exchange.cluster.settings.retry.body_bytes)
        self._begin(exchange, True)

    def _ask_for_upgrade(self, exchange: Exchange, request: RequestHead) -> None:
        protocols = upgrade_of(request, self._route.rules.upgrades)
        if protocols:
            exchange.request = request.with_upgrade(protocols)
        elif request.protocol:
            raise MethodRefused(f"CONNECT for {request.protocol!r}")

    def start_again(self, exchange: Exchange) -> None:
        """Take an exchange to a backend: it has waited until something was known of them, or long enough."""
        self._begin(exchange, False)

    def _begin(self, exchange: Exchange, may_wait: bool) -> None:
        now = self._clock()
        try:
            backend = exchange.cluster.pick(exchange, now, may_wait)
            if backend is not None:
                self._try(exchange, backend, now)
        except Exception:
            exchange.cluster.withdrew(exchange)
            chains.fail(exchange, Failure())

    def _try(self, exchange: Exchange, backend: Any, now: float) -> None:
        tried = exchange.backends_tried
        exchange.backends_tried = (*tried, backend) if tried else (backend,)
        exchange.tries += 1
        exchange.backend = backend
        exchange.tried_at = now
        unsafe = exchange.request.method not in retries.IDEMPOTENT  # type: ignore[union-attr]
        while (connection := backend.pool.take(now)) is not None:
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
        backend.enqueue(exchange, self, now)

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

    def turned_away(self, exchange: Exchange) -> None:
        """Find another backend: the one that the exchange has waited for is to get no more requests.

        Nothing was sent, so that this is no try, unless it was sent before on a connection that was dead. If no other
        has a place for it, it waits for the same one again.
        """
        now = self._clock()
        try:
            another = exchange.cluster.pick_another(exchange, now)
            if another is None or another.pool.is_full and not another.pool.has_room_to_wait():
                exchange.backend.enqueue(exchange, self, now, again=True)
                return
            if not exchange.connection_replaced:
                exchange.backends_tried = exchange.backends_tried[:-1]
                exchange.tries -= 1
            self._try(exchange, another, now)
        except Exception:
            chains.fail(exchange, Failure())

    def _send(self, exchange: Exchange, connection: Any) -> None:
        route = self._route
        exchange.server = connection
        head = connection.write_head(
            exchange.request,
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
        self.count_reply(exchange, reply)
        chain = self._route.chain
        if chain.on_reply:
            # Stages may change the reply; the parser's own may be another exchange's too.
            exchange.reply = reply.copy()
            if not chain.reply(exchange, self._agreed):
                return False
            self._start_agreed(exchange, exchange.reply)
        else:
            self._start_reply(exchange, reply)
        return not exchange.ended

    def _start_agreed(self, exchange: Exchange, reply: ReplyHead) -> None:
        """Give the client a head that stages may have changed, all but whether there is a tunnel behind it."""
        request, is_tunnel = exchange.request, exchange.server.is_tunnel
        says_so = reply.status == 101 or reply.status < 300 and request.is_for_tunnel  # type: ignore[union-attr]
        # A backend's own 2xx to an extended CONNECT is no tunnel either; the client's stream knows what that means.
        if says_so != is_tunnel and (is_tunnel or not request.protocol):  # type: ignore[union-attr]
            words = "" if is_tunnel else "no "
            detail = f"a stage has set status {reply.status} where there is {words}tunnel"
            chains.fail(exchange, Failure(InternalError(detail)))
        else:
            self._start_reply(exchange, reply)

    def _start_reply(self, exchange: Exchange, reply: ReplyHead) -> None:
        """Give the client the head of a reply that all stages agree to."""
        if exchange.server.is_tunnel:
            exchange.client.start_tunnel(exchange, reply)
            self._limit_age(exchange)
        else:
            exchange.client.start_reply(exchange, reply)

    def _limit_age(self, exchange: Exchange) -> None:
        """Have a tunnel end in time."""
        limit_s = 0.0 if exchange.server is None else exchange.server.tunnel_max_s
        if limit_s:
            exchange.attempt = self._call_later(limit_s, self._too_old, exchange, limit_s)

    def _too_old(self, exchange: Exchange, limit_s: float) -> None:
        exchange.attempt = None
        exchange.client.fail(exchange, TooOld(f"after {limit_s:g} s"))

    def count_reply(self, exchange: Exchange, reply: ReplyHead) -> None:
        """Take note of the head of a reply: no other backend is asked any more."""
        if exchange.body is not None:
            exchange.body.let_go()
        if exchange.backend.is_watched or reply.status > _UNAVAILABLE:
            exchange.cluster.replied(exchange, reply.status)

    def _agreed(self, exchange: Exchange) -> None:
        connection = exchange.server
        if connection is not None:
            self._start_agreed(exchange, exchange.reply)  # type: ignore[arg-type]
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
        request, body, cluster = exchange.request, exchange.body, exchange.cluster
        assert request is not None
        failure = retries.Failure(
            error=error,
            method=request.method,
            tries=exchange.tries,
            resent=exchange.resent,
            reused=reused,
            reply_begun=begun,
            bytes_down=exchange.head_sent or exchange.interim_sent,
            body_held=body is None or body.can_be_sent,
            replaced=exchange.connection_replaced,
        )
        kind, why = retries.decide(failure, cluster.settings.retry)
        now = self._clock()
        if kind is retries.Kind.REPLACE:
            exchange.connection_replaced = True
            exchange.backend.enqueue(exchange, self, now, fresh=True)
            return
        cluster.try_failed(exchange, error, now)
        if kind is not retries.Kind.GIVE_UP:
            another = cluster.pick_another(exchange, now)
            if another is not None and kind is retries.Kind.ELSEWHERE:
                self._try(exchange, another, now)
                return
            if another is None and not _may_ask_the_same(exchange, error):
                why = "no-backend-left"
            elif not cluster.may_retry(now):
                why = "budget"
            else:
                # What was refused has not been sent, as far as that is counted.
                exchange.resent += not isinstance(error, Unprocessed)
                wait_s = retries.backoff_s(cluster.settings.retry, self._random)
                backend = another or exchange.backend
                exchange.attempt = self._call_later(wait_s, self._again, exchange, backend, error)
                return
        self._give_up(exchange, error, why)

    def _give_up(self, exchange: Exchange, error: ProxyError, why: str) -> None:
        exchange.retry_refused = why
        exchange.cluster.gave_up(exchange, error, self._clock())
        exchange.client.fail(exchange, error)

    def _again(self, exchange: Exchange, backend: Any, error: ProxyError) -> None:
        exchange.attempt = None
        now = self._clock()
        cluster = exchange.cluster
        try:
            if not cluster.may_be_asked(backend):
                backend = cluster.pick_another(exchange, now)
            if backend is None:
                self._give_up(exchange, error, "no-backend-left")
            else:
                self._try(exchange, backend, now)
        except Exception:
            chains.fail(exchange, Failure())


def _may_ask_the_same(exchange: Exchange, error: ProxyError) -> bool:
    """Return whether a backend that has failed may do better the next time, if there is no other.

    One that has closed the connection may, once, and one that had no time for the request; one that is silent will
    stay so.
    """
    if isinstance(error, Unprocessed):
        return True
    return isinstance(error, NoReply) and not exchange.connection_replaced
