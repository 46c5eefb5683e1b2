"""The circuit breaker of a cluster: while too many requests fail, all are refused at once.

    closed ── ``error_rate`` of the last ``window_s`` failed ──> open ── ``open_s`` ──> half-open
    half-open ── the trial request succeeded ──> closed, failed ──> open

Outcomes count as in ``health``: only of requests that were sent since the present state began.
"""

from __future__ import annotations

from collections import deque
from math import ceil
from typing import Literal, NamedTuple

from txproxy.policy.deadlines import NEVER
from txproxy.policy.health import Transition

FEWEST_REQUESTS = 10
"""Outcomes in the window below which it does not open: one failure of two is no rate."""

_BUCKETS = 10


class BreakerSettings(NamedTuple):
    """When a breaker opens, and for how long."""

    error_rate: float = 0
    """Part of the requests, 0 to 1, whose failure opens it; 0: it never opens."""
    window_s: float = 10
    """Seconds over which that is measured; it moves on in tenths."""
    open_s: float = 10
    """Seconds that it stays open, and after which a trial without a verdict is followed by another."""
    max_pending: int = 0
    """Requests that may wait for a reply at once; 0: no limit."""


class Breaker:
    """The state machine of one cluster's breaker.

    :param settings: when to open.
    :param now: seconds of the monotonic clock, as in every method.
    """

    def __init__(self, settings: BreakerSettings, now: float) -> None:
        self._settings = settings
        self._window = _Window(settings.window_s / _BUCKETS)
        self._trial_at = NEVER
        self.state: Literal["closed", "open", "half-open"] = "closed"
        self.since = now
        """When ``state`` began."""
        self.max_pending = settings.max_pending
        """Requests that may wait for a reply at once; 0: ``admit`` need not be told of them."""
        self.is_counting = settings.error_rate > 0
        """Whether outcomes have to be told; else ``succeeded`` and ``failed`` change nothing."""
        self.next_change_at = NEVER
        """When ``tick`` has something to do; ``NEVER`` if it has not."""

    def __repr__(self) -> str:
        return f"<Breaker {self.state} since {self.since:g}>"

    def admit(self, now: float, pending: int) -> str:
        """Say whether a request may go on; while half-open, the one that may is the trial.

        It ticks, too, so that nobody is refused a moment too long; call ``tick`` before it to see the transition.

        :param pending: requests of the cluster that wait for a reply, without this one.
        :return: nothing if it may, else why not: ``open``, ``half-open`` or ``pending``.
        """
        self.tick(now)
        if self.state == "open":
            return "open"
        is_trial = self.state == "half-open"
        if is_trial and self._trial_at != NEVER and now < self._trial_at + self._settings.open_s:
            return "half-open"
        if 0 < self._settings.max_pending <= pending:
            return "pending"
        if is_trial:
            self._trial_at = now
        return ""

    def answered(self, now: float, sent_at: float | None = None) -> Transition | None:
        """Count a request to which a good reply has begun: a success, unless ``failed`` takes that back.

        While half-open that is no verdict yet: the trial succeeds when its reply is complete, or has gone on well for
        as long as a trial may take.

        :param sent_at: when it was admitted; None if unknown: it is taken for one of the present, and while
            half-open for the trial, if that is out.
        """
        if not self._counts(sent_at):
            return None
        if self.state == "half-open":
            if self.next_change_at == NEVER:
                self.next_change_at = now + self._settings.open_s
            return None
        return self._count(now, 1, 0)

    def succeeded(self, now: float, sent_at: float | None = None) -> Transition | None:
        """Take notice that a request has ended well; it was counted when it was answered.

        :param sent_at: see ``answered``.
        """
        if self.state == "half-open" and self._counts(sent_at):
            return self._enter("closed", "the trial request succeeded", now)
        return None

    def failed(self, now: float, sent_at: float | None = None, was_answered: bool = False) -> Transition | None:
        """Count a request that failed through the cluster's fault, retries included.

        :param sent_at: see ``answered``.
        :param was_answered: it was counted as a success before.
        """
        if not self._counts(sent_at):
            return None
        if self.state == "half-open":
            return self._enter("open", "the trial request failed", now)
        return self._count(now, 0 if was_answered else 1, 1)

    def withdraw(self, admitted_at: float) -> None:
        """Take back the admission of a request that has come to no backend: if it was the trial, another may be.

        :param admitted_at: when it was admitted.
        """
        if self.state == "half-open" and self._trial_at == admitted_at:
            self._trial_at = NEVER

    def tick(self, now: float) -> Transition | None:
        """Do what is due: to be called when ``next_change_at`` has come; earlier it does nothing."""
        if now < self.next_change_at:
            return None
        if self.state == "half-open":
            return self._enter(
                "closed", f"the reply to the trial request has gone on for {self._settings.open_s:g} s", now
            )
        return self._enter("half-open", f"open for {self._settings.open_s:g} s", now)

    def retry_after_s(self, now: float) -> int:
        """Return after how many seconds, at least 1, a client that was not admitted may be."""
        if self.state != "open":
            return 1
        return max(1, ceil(self.next_change_at - now))

    def _counts(self, sent_at: float | None) -> bool:
        if not self.is_counting or self.state == "open":
            return False
        if sent_at is None:
            return self.state == "closed" or self._trial_at != NEVER
        return sent_at >= self.since

    def _count(self, now: float, requests: int, failed: int) -> Transition | None:
        total, failures = self._window.count(now, requests, failed)
        # The quotient, not a product: 3 / 30 is the same number as the 0.1 of a configuration, 0.1 * 30 is not 3.
        if total < FEWEST_REQUESTS or failures / total < self._settings.error_rate:
            return None
        return self._enter("open", f"{failures} of {total} requests failed", now)

    def _enter(self, state: Literal["closed", "open", "half-open"], reason: str, now: float) -> Transition:
        before, self.state, self.since = self.state, state, now
        self._trial_at = NEVER
        self.next_change_at = now + self._settings.open_s if state == "open" else NEVER
        self._window.clear()
        return Transition(before, state, reason)


class _Bucket:
    """Outcomes of one piece of time."""

    __slots__ = ("failures", "number", "total")

    def __init__(self, number: int) -> None:
        self.number = number
        self.total = 0
        self.failures = 0


class _Window:
    """Sums over the last buckets, the one that is being filled included."""

    def __init__(self, bucket_s: float) -> None:
        self._bucket_s = bucket_s
        self._buckets: deque[_Bucket] = deque()
        self._total = 0
        self._failures = 0

    def count(self, now: float, requests: int, failed: int) -> tuple[int, int]:
        """Add requests and failures; return the number of requests, and of failures among them."""
        number = int(now // self._bucket_s)
        buckets = self._buckets
        while buckets and buckets[0].number <= number - _BUCKETS:
            oldest = buckets.popleft()
            self._total -= oldest.total
            self._failures -= oldest.failures
        if not buckets or buckets[-1].number != number:
            buckets.append(_Bucket(number))
        buckets[-1].total += requests
        buckets[-1].failures += failed
        self._total += requests
        self._failures += failed
        return self._total, self._failures

    def clear(self) -> None:
        self._buckets.clear()
        self._total = self._failures = 0
