"""Keeps the servers behind a name up to date."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from txproxy.observe.log import Logger
from txproxy.policy.dns_members import Member, pair_addresses, retry_delay_s, ttl_clamped
from txproxy.upstream.names.resolver import Answer, ResolveFailed

log = Logger()


class Resolves(Protocol):
    """What can find the addresses of a name, such as ``Resolver``."""

    def resolve(self, name: str) -> Deferred[Answer]:
        """See ``Resolver.resolve``."""


class TtlBounds(NamedTuple):
    """How long an answer is used, whatever it says itself, in seconds."""

    least_s: float = 1
    most_s: float = 300


class Discovery:
    """Asks for a name, and again when the answer is too old; what was known holds until there is another answer.

    One line of the log says when a name cannot be resolved any more, and one when it can be again.

    :param name: the host name.
    :param resolver: asks for it.
    :param call_later: as IReactorTime's.
    :param bounds: of the time between two questions.
    :param on_members: called with the servers' addresses when they are known first, and with each change of them.
    :param on_failure: called with a reason, in words, each time that the name could not be resolved.
    """

    def __init__(
        self,
        name: str,
        resolver: Resolves,
        call_later: Callable[..., Any],
        bounds: TtlBounds,
        on_members: Callable[[tuple[Member, ...]], None],
        on_failure: Callable[[str], None],
    ) -> None:
        self.name = name
        self.members: tuple[Member, ...] = ()
        """The servers, each with its addresses, the preferred one first; empty while nothing was ever known."""
        self.last_error = ""
        """Why the name could not be resolved the last time; empty if it could be."""
        self._resolver = resolver
        self._call_later = call_later
        self._bounds = bounds
        self._on_members = on_members
        self._on_failure = on_failure
        self._v4: tuple[str, ...] = ()
        self._v6: tuple[str, ...] = ()
        self._failures = 0
        self._call: Any = None
        self._question: Deferred[None] | None = None
        self._is_running = False

    def start(self) -> None:
        """Ask now, and from then on until ``stop``. What needs no name server is told before this returns."""
        if not self._is_running:
            self._is_running = True
            self._ask()

    def stop(self) -> None:
        """Ask no more and tell nothing more; nothing is left in the reactor."""
        self._is_running = False
        call, self._call = self._call, None
        question, self._question = self._question, None
        if call is not None:
            call.cancel()
        if question is not None:
            question.cancel()

    def _ask(self) -> None:
        self._call = None
        question = self._resolver.resolve(self.name).addCallbacks(self._answered, self._failed).addErrback(self._bug)
        if not question.called:
            self._question = question

    def _answered(self, answer: Answer) -> None:
        if not self._is_running:
            return
        self._ask_in(ttl_clamped(answer.ttl_s, *self._bounds))
        if self._failures:
            log.info("{name} is resolved again, after {count} failures", name=self.name, count=self._failures)
        self._failures, self.last_error = 0, ""
        # A family about which nobody had an answer is as it was.
        self._v4 = answer.v4 or (self._v4 if answer.missing == "v4" else ())
        self._v6 = answer.v6 or (self._v6 if answer.missing == "v6" else ())
        members = pair_addresses(self.members, self._v4, self._v6)
        if members != self.members:
            self.members = members
            self._on_members(members)

    def _failed(self, failure: Failure) -> None:
        if not self._is_running:
            failure.trap(CancelledError, ResolveFailed)
            return
        self._failures += 1
        self._ask_in(retry_delay_s(self._failures))
        self.last_error = getattr(failure.value, "reason", "") or repr(failure.value)
        if not failure.check(ResolveFailed):
            log.failure(
                "{name} could not be resolved for a reason that nobody foresaw", failure=failure, name=self.name
            )
        elif self._failures == 1:
            log.warn(
                "{name} cannot be resolved: {reason}; {rest}",
                name=self.name,
                reason=self.last_error,
                rest=f"its {len(self.members)} servers so far are kept" if self.members else "no server of it is known",
            )
        self._on_failure(self.last_error)

    def _ask_in(self, seconds: float) -> None:
        self._question = None
        self._call = self._call_later(seconds, self._ask)

    def _bug(self, failure: Failure) -> None:
        log.failure("the servers of {name} could not be taken over", failure=failure, name=self.name)

    def __repr__(self) -> str:
        return f"<Discovery {self.name} {len(self.members)} servers, {self._failures} failures>"
