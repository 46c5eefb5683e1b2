"""One check of a backend's health: it ends once, in time, and leaves nothing behind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from twisted.internet.defer import Deferred

from txproxy.policy.health import one_line


class ProbeTarget(NamedTuple):
    """What a probe is to check; also what a user's function is given."""

    name: str
    """The backend's address as the configuration has it."""
    hosts: tuple[str, ...]
    """Its addresses, the preferred one first; or its name."""
    port: int
    path: str = ""
    """Of a unix socket; the others mean nothing then."""
    host_field: bytes = b"localhost"
    """The backend's own name, with a port unless it is the default; what Host says unless something else is set."""
    server_name: str = "localhost"
    """The backend's host as the configuration has it; its certificate is for that unless something else is set."""


class ProbeFailed(Exception):
    """A check has failed.

    :param reason: a few words for the log.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Probe(Protocol):
    """A way to find out whether a backend is well."""

    def run(self, target: ProbeTarget) -> Deferred[None]:
        """Check a backend once.

        :return: fires with None if it is well, and fails with ProbeFailed if not, no later than the timeout. If it is
            cancelled the check is given up at once.
        """


class Check:
    """A check that is under way.

    :param reactor: provides IReactorTime.
    :param timeout_s: after which it has failed.
    """

    def __init__(self, reactor: Any, timeout_s: float) -> None:
        self.result: Deferred[None] = Deferred(self._given_up)
        """See ``Probe.run``; gone once the check has ended."""
        self.waits_for = "connection"
        """What has not come if the time is over."""
        self.timeout_s = timeout_s
        self.has_ended = False
        self._let_go: Callable[[], None] | None = None
        self._timer = reactor.callLater(timeout_s, self._timed_out)

    def hold(self, let_go: Callable[[], None]) -> None:
        """Let a function be called when the check ends, instead of any that was named before: now if it has ended."""
        if self.has_ended:
            let_go()
        else:
            self._let_go = let_go

    def succeed(self) -> None:
        """End the check: the backend is well. Ignored if it has ended."""
        if not self.has_ended:
            self._end().callback(None)

    def fail(self, reason: str) -> None:
        """End the check: the backend is not well. Ignored if it has ended.

        :param reason: a few words for the log.
        """
        if not self.has_ended:
            self._end().errback(ProbeFailed(one_line(reason)))

    def _timed_out(self) -> None:
        self.fail(f"no {self.waits_for} in {self.timeout_s:g} s")

    def _given_up(self, result: Deferred[None]) -> None:
        if not self.has_ended:
            self._end()

    def _end(self) -> Deferred[None]:
        self.has_ended = True
        if self._timer.active():
            self._timer.cancel()
        let_go, self._let_go = self._let_go, None
        if let_go is not None:
            let_go()
        result = self.result
        del self.result  # The two know each other; checks are not to leave work for the garbage collector.
        return result
