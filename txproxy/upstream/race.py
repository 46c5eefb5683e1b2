"""Connection attempts to several addresses of one server, of which the first to succeed is kept (RFC 8305)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from txproxy.errors import ConnectFailed, ConnectTimeout, ProxyError, TlsVerify

HEAD_START_S = 0.25
"""How long an address has the field for itself (RFC 8305 section 5 recommends this "Connection Attempt Delay")."""


class Race:
    """One race: the first address at once, each other one when the one before it has failed or has had its head start.

    :param reactor: provides IReactorTime.
    :param hosts: the addresses, the preferred one first.
    :param timeout_s: when the whole race is over.
    :param attempt: given an address and the seconds that are left, returns a Deferred of its connection, which fails
        with a ProxyError. Cancelling that Deferred closes the connection, made or not.
    """

    def __init__(
        self, reactor: Any, hosts: Sequence[str], timeout_s: float, attempt: Callable[[str, float], Deferred[Any]]
    ) -> None:
        self._reactor = reactor
        self._hosts: Iterator[str] = iter(hosts)
        self._ends_at = reactor.seconds() + timeout_s
        self._attempt = attempt
        self._running: dict[str, Deferred[Any]] = {}
        self._errors: dict[str, ProxyError] = {}
        self._next: Any = None
        self._is_over = False
        self._result: Deferred[tuple[str, Any]] = Deferred(lambda _: self._end())

    def start(self) -> Deferred[tuple[str, Any]]:
        """Begin.

        :return: fires with the address that won and its connection, or fails when all have failed: with what tells
            most, which is a timeout if there was one, else a certificate that will not do. Cancelling it cancels all
            attempts.
        """
        self._start_next()
        return self._result

    def _start_next(self) -> None:
        self._next = None
        left_s = self._ends_at - self._reactor.seconds()
        host = next(self._hosts, None)
        if host is None or left_s <= 0:
            self._give_up_if_alone()
            return
        # Before the attempt, which may end at once.
        self._next = self._reactor.callLater(HEAD_START_S, self._start_next)
        attempt = self._attempt(host, left_s)
        self._running[host] = attempt
        attempt.addCallbacks(self._won, self._lost, callbackArgs=(host,), errbackArgs=(host,))

    def _won(self, connection: Any, host: str) -> None:
        if self._is_over:
            return
        del self._running[host]
        self._end()
        self._result.callback((host, connection))

    def _lost(self, failure: Failure, host: str) -> None:
        if self._is_over:
            return
        self._running.pop(host, None)
        reason: Any = failure.value
        self._errors[host] = reason
        if self._next is not None:
            self._next.cancel()
            self._start_next()
        else:
            self._give_up_if_alone()

    def _give_up_if_alone(self) -> None:
        if not self._running:
            self._end()
            self._result.errback(Failure(self._telling_error()))

    def _telling_error(self) -> ProxyError:
        errors = self._errors.values()
        detail = "; ".join(f"{host}: {error.detail}" for host, error in self._errors.items())
        for telling in (ConnectTimeout, TlsVerify):
            if any(isinstance(error, telling) for error in errors):
                return telling(detail)
        return next((error for error in errors if not error.retryable), ConnectFailed(detail))

    def _end(self) -> None:
        """Stop everything that is still under way; whoever was connected in the same moment is closed."""
        self._is_over = True
        if self._next is not None:
            self._next.cancel()
            self._next = None
        for attempt in self._running.values():
            attempt.cancel()
        self._running.clear()
