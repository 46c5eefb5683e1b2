"""The stages of one route, compiled: tuples of the hooks that exist, so that a stage that is absent costs nothing."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from txproxy.errors import InternalError, ProxyError
from txproxy.exchange import Exchange, Reply
from txproxy.observe.log import Logger
from txproxy.pipeline.stage import Decision, Verdict

log = Logger()

Hook = Callable[[Exchange], Decision]


class Chain:
    """Runs hooks in order. While none of them waits, all run in one synchronous call.

    :param stages: in the order in which they see a request.
    :param forward: the last stage: takes the exchange to a backend with ``start(exchange)``.
    """

    def __init__(self, stages: Sequence[Any], forward: Any) -> None:
        self._on_request = _hooks(stages, "on_request")
        # A reply passes the stages on its way back.
        self.on_reply = _hooks(stages[::-1], "on_reply")
        self.on_end = _hooks(stages, "on_end")
        self.forward = forward.start
        """What follows when all stages agree to a request."""
        self.goes_by_head = all(
            getattr(stage, "goes_by_head", False) for stage in stages if hasattr(stage, "on_request")
        )
        """Stages that have agreed to a request agree to each that has an equal head."""

    def start(self, exchange: Exchange) -> bool:
        """Let the stages decide on a request, then forward it.

        :return: whether all stages have agreed at once.
        :raises Exception: whatever a stage raises before one has waited.
        """
        if self._on_request:
            # The first hook that does anything but agree at once hands over to `_run` and its kin.
            for index, hook in enumerate(self._on_request):
                decision = hook(exchange)
                if decision is not None and not _settle(exchange, decision, self._on_request, index, self.forward):
                    return False
        self.forward(exchange)
        return True

    def reply(self, exchange: Exchange, go_on: Callable[[Exchange], None]) -> bool:
        """Let the stages decide on a reply's head.

        :param go_on: called with the exchange if a stage had to wait and all agree in the end.
        :return: True if all agree at once; False if one waits, or has answered by itself.
        """
        return _run(exchange, self.on_reply, 0, go_on)

    def end(self, exchange: Exchange) -> None:
        """Tell the stages that an exchange has ended."""
        for hook in self.on_end:
            try:
                hook(exchange)
            except Exception:
                log.failure("{hook} failed at the end of {exchange}", hook=hook, exchange=exchange)


def _hooks(stages: Sequence[Any], name: str) -> tuple[Hook, ...]:
    return tuple(hook for stage in stages if (hook := getattr(stage, name, None)) is not None)


def _run(exchange: Exchange, hooks: tuple[Hook, ...], start: int, go_on: Callable[[Exchange], None]) -> bool:
    for index in range(start, len(hooks)):
        try:
            decision = hooks[index](exchange)
        except Exception:
            fail(exchange, Failure())
            return False
        if decision is not None and not _settle(exchange, decision, hooks, index, go_on):
            return False
    return True


def _settle(
    exchange: Exchange, decision: Any, hooks: tuple[Hook, ...], index: int, go_on: Callable[[Exchange], None]
) -> bool:
    """Act on what a hook returned; return True if the next hook is to run now."""
    if isinstance(decision, Reply):
        if decision.status < 200 or decision.status < 300 and exchange.request.is_for_tunnel:  # type: ignore[union-attr]
            # The client would take what comes next for the other end of a tunnel, or wait for more (RFC 9110 sections
            # 9.3.6 and 15.2).
            fail(exchange, Failure(InternalError(f"a stage cannot answer with {decision.status} by itself")))
        else:
            exchange.client.respond(exchange, decision)
        return False
    if inspect.iscoroutine(decision):
        decision = Deferred.fromCoroutine(decision)
    if not isinstance(decision, Deferred):
        fail(exchange, Failure(InternalError(f"{hooks[index]} returned {decision!r}")))
        return False
    state = {"waited": False, "agreed": False}

    def decided(verdict: Verdict) -> None:
        # Whoever ends the exchange takes the decision out of its place first, and then cancels it.
        if exchange.attempt is not decision:
            return
        exchange.attempt = None
        if verdict is not None:
            _settle(exchange, verdict, hooks, index, go_on)
        elif not state["waited"]:
            state["agreed"] = True
        elif _run(exchange, hooks, index + 1, go_on):
            go_on(exchange)

    def raised(failure: Failure) -> None:
        if exchange.attempt is decision:
            exchange.attempt = None
            fail(exchange, failure)

    exchange.attempt = decision
    decision.addCallbacks(decided, raised)
    decision.addErrback(lambda failure: fail(exchange, failure))
    state["waited"] = True
    return state["agreed"]


def fail(exchange: Exchange, failure: Failure) -> None:
    """End an exchange because something raised: as the error says, or as a bug of ours with a log line."""
    error = failure.value
    if not isinstance(error, ProxyError):
        log.failure("internal error in exchange {id}", failure=failure, id=exchange.id.decode("latin-1"))
        error = InternalError(repr(error), logged=True)
    if not exchange.ended:
        exchange.client.fail(exchange, error)
