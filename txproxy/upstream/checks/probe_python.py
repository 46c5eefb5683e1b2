"""A check by a function of the user's."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import PurePath
from traceback import walk_tb
from typing import Any

from twisted.internet.defer import Deferred

from txproxy.observe.log import Logger
from txproxy.upstream.checks.probe import Check, ProbeTarget

log = Logger()

_LONG_CALL_S = 0.1
"""A function that holds everything up for longer is worth a warning."""


class PythonProbe:
    """Asks a function whether a backend is well.

    The function is given the target. It returns, or fires a Deferred with, or is a coroutine that returns, True,
    ``"up"`` or None if the backend is well; False, ``"down"`` or a reason in a few words if not. What it raises is a
    reason as well. It is called in the reactor's thread: one that takes its time returns a Deferred, such as that of
    ``twisted.internet.threads.deferToThread``. Its Deferred is cancelled when the time is over.

    :param reactor: provides IReactorTime.
    :param timeout_s: for one check.
    :param function: the user's.
    """

    def __init__(self, reactor: Any, timeout_s: float, function: Callable[[ProbeTarget], Any]) -> None:
        self._reactor = reactor
        self._timeout_s = timeout_s
        self._function = function
        self._has_warned = False

    def run(self, target: ProbeTarget) -> Deferred[None]:
        """Check a backend once; see ``Probe.run``."""
        check = Check(self._reactor, self._timeout_s)
        result = check.result
        check.waits_for = "answer of the function"
        called_at = self._reactor.seconds()
        answer = self._ask(check, target)
        took_s = self._reactor.seconds() - called_at
        if took_s > _LONG_CALL_S:
            self._warn_once(took_s)
        if took_s > self._timeout_s:
            check.fail(f"no answer of the function in {self._timeout_s:g} s")
        _judge(check, answer)
        return result

    def _ask(self, check: Check, target: ProbeTarget) -> Any:
        try:
            return _begun(self._function(target))
        except BaseException as error:
            # The code is the user's: whatever it raises, be it SystemExit, says nothing about the proxy.
            check.fail(_description(error))
            return None

    def _warn_once(self, took_s: float) -> None:
        if not self._has_warned:
            self._has_warned = True
            log.warn(
                "the health check {function} held up all connections for {took_s:.2f} s; let it return a Deferred",
                function=getattr(self._function, "__qualname__", type(self._function).__qualname__),
                took_s=took_s,
            )


def _begun(answer: Any) -> Any:
    return Deferred.fromCoroutine(answer) if inspect.iscoroutine(answer) else answer


def _judge(check: Check, answer: Any) -> None:
    try:
        _weigh(check, _begun(answer))
    except BaseException as error:
        # What was returned is the user's as well, and may do anything when it is looked at.
        check.fail(_description(error))


def _weigh(check: Check, answer: Any) -> None:
    if isinstance(answer, Deferred):
        # It may do whatever it likes when it is cancelled, also never fire: the check does not wait for that.
        check.hold(lambda: _give_up(answer))
        answer.addCallbacks(lambda value: _judge(check, value), lambda failure: check.fail(_description(failure.value)))
    elif answer is None or answer is True or isinstance(answer, str) and answer == "up":
        check.succeed()
    elif answer is False:
        check.fail("down")
    elif isinstance(answer, str):
        check.fail(answer or "down")
    else:
        check.fail(f"the function returned {type(answer).__name__}, not True, False or a reason")


def _give_up(answer: Deferred[Any]) -> None:
    try:
        answer.cancel()
    except BaseException as error:
        log.warn("a health check could not be cancelled: {reason}", reason=_description(error))


def _description(error: BaseException) -> str:
    """Return what was raised, and where."""
    try:
        text = f"{type(error).__name__}: {error}".rstrip(": ")
    except BaseException:
        text = type(error).__name__
    places = [(frame.f_code.co_filename, line) for frame, line in walk_tb(error.__traceback__)]
    if not places or places[-1][0] == __file__:
        return text  # It could not be called at all.
    file, line = places[-1]
    return f"{text} ({PurePath(file).name}:{line})"
