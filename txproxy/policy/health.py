"""The health of one backend: what checks, real requests and the operator say, made into one state.

    checking ── first check ──> up or down
    up ── ``fall`` checks failed in a row ──> down ── ``rise`` passed ──> up
    up ── ``failures`` requests failed in a row ──> ejected ── time ──> trial ── one request succeeded ──> up
                                                       ^─────── it failed ────┘
    ejected, trial ── ``rise`` checks passed since the ejection ──> up, ``fall`` failed ──> down

An order of the operator (draining, maintenance) hides this state. While draining, checks and time move it on
underneath; maintenance forgets it, for what comes back from a repair is looked at anew.

An outcome of a request counts only if the request was sent since the present state began: a request that hung for a
minute says what the backend was like then, whatever has been found out since.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

from txproxy.policy.deadlines import NEVER
from txproxy.policy.ejections import Ejections
from txproxy.policy.slow_start import SlowStart

State = Literal["checking", "up", "down", "ejected", "trial", "draining", "maintenance"]
STATES: tuple[State, ...] = get_args(State)
Order = Literal["serve", "drain", "maintain"]
_ORDERED: dict[Order, tuple[State, str]] = {
    "drain": ("draining", "drained by order"),
    "maintain": ("maintenance", "in maintenance by order"),
}

HARMLESS_FIRST_S = 1.0
"""Seconds for which a trial waits for a request that can be repeated elsewhere before any other may be the trial."""

_LONGEST_REASON = 200


class HealthSettings(NamedTuple):
    """How a backend's health is judged."""

    checked: bool = False
    """Whether there are active checks; without them it is up until requests fail."""
    initial: Literal["checking", "up", "down"] = "checking"
    """State before the first check has ended."""
    fall: int = 3
    """Failed checks in a row that take it down."""
    rise: int = 2
    """Passed checks in a row that bring it up."""
    failures: int = 5
    """Failed requests in a row that eject it."""
    ejection_s: float = 10
    """Seconds of the first ejection, and after which a trial without a verdict is followed by another."""
    max_ejection_s: float = 300
    """Seconds above which an ejection does not grow; after as many without one, the next is the first again."""
    slow_start_s: float = 0
    """Seconds over which its share grows after it has come back; 0: it has all of it at once."""


class Transition(NamedTuple):
    """A change of state, for the log and the counters."""

    before: str
    after: str
    reason: str
    """Short, printable, on one line."""


class Health:
    """The state machine of one backend. It does no I/O; every event brings the moment with it.

    :param settings: how to judge.
    :param now: seconds of the monotonic clock, as in every method.
    :param joined_late: it was added to a cluster that was serving already, so it warms up as one that has come back.
    """

    def __init__(self, settings: HealthSettings, now: float, joined_late: bool = False) -> None:
        self._settings = settings
        self._order: Order = "serve"
        self._beneath: State = "up"
        self._reason = ""
        self._passes = 0
        self._fails = 0
        self._trial_at = NEVER
        self._is_cold = joined_late
        self._ejections = Ejections(settings.ejection_s, settings.max_ejection_s)
        self._slow_start = SlowStart(settings.slow_start_s)

        self.state: State = "up"
        """What it is, orders included."""
        self.since = now
        """When ``state`` began."""
        self.last_error = ""
        """Reason of the last failed check or request, on one line; empty before the first. Recovery keeps it."""
        self.last_failure_at = -NEVER
        """When the last check or request failed."""
        self.failures = 0
        """Failed requests in a row."""
        self.is_watched = False
        """Whether ``request_succeeded`` has to be called; else it would change nothing."""
        self.next_change_at = NEVER
        """When ``tick`` has something to do; ``NEVER`` if it has not."""
        self.ejections = 0
        """Ejections of the present series, so how many times ``ejection_s`` the last one was."""
        self.is_changing = False
        """Whether checks are on their way to change the state, so that the next one is awaited with impatience."""
        self.down_since: float | None = None
        """Since when checks have taken it down, an order above that or not; None if they have not."""

        self._enter(settings.initial if settings.checked else "up", "", now)
        self._settle(now)

    def __repr__(self) -> str:
        return f"<Health {self.state} since {self.since:g}, {self.failures} failures>"

    def follow(self, before: Health, now: float) -> None:
        """Begin with what is known of the same server by another machine, whose settings were others.

        The operator's order stands, and so does what checks have found, if there are checks still. What requests have
        found is judged anew.

        :param before: the other machine; it is not changed.
        """
        if self._settings.checked and before._settings.checked and before._beneath in ("up", "down"):
            self._enter(before._beneath, before._reason, now)
        self.last_error, self.last_failure_at = before.last_error, before.last_failure_at
        self._order = before._order
        self._settle(now)

    def check_passed(self, now: float) -> Transition | None:
        """Take notice of a check that passed."""
        if self._order == "maintain":
            return None
        self._passes += 1
        self._fails = 0
        if self._beneath == "checking":
            self._enter("up", "the first check passed", now)
        elif self._beneath != "up" and self._passes >= self._settings.rise:
            self._enter("up", f"{_counted(self._passes, 'check')} passed", now)
        return self._settle(now)

    def check_failed(self, now: float, reason: str) -> Transition | None:
        """Take notice of a check that failed.

        :param reason: why, in a few words.
        """
        if self._order == "maintain":
            return None
        self._note(now, reason)
        self._fails += 1
        self._passes = 0
        if self._beneath == "checking":
            self._enter("down", f"the first check failed: {self.last_error}", now)
        elif self._beneath != "down" and self._fails >= self._settings.fall:
            self._enter("down", f"{_counted(self._fails, 'check')} failed, the last: {self.last_error}", now)
        return self._settle(now)

    def request_succeeded(self, now: float, sent_at: float | None = None) -> Transition | None:
        """Take notice of a request that the backend has answered well.

        :param sent_at: when the request was given to the backend; None if unknown: it is taken for one of the
            present, and while on trial for the trial, if that is out.
        """
        if not self._counts(sent_at):
            return None
        self.failures = 0
        if self._order == "serve":
            if self._beneath == "ejected":
                self._enter("up", "a request succeeded", now)
            elif self._beneath == "trial":
                self._enter("up", "the trial request succeeded", now)
        return self._settle(now)

    def request_failed(
        self, now: float, reason: str, may_eject: bool, sent_at: float | None = None
    ) -> Transition | None:
        """Take notice of a request that failed through the backend's fault.

        :param reason: how, in a few words.
        :param may_eject: whether the cluster can do without this backend. If not, the next failure asks again.
            One that fails its trial has been out all the time, so it goes back without being asked.
        :param sent_at: see ``request_succeeded``.
        """
        self._note(now, reason)
        if not self._counts(sent_at):
            return None
        self.failures += 1
        if self._order == "serve":
            if self._beneath == "trial":
                self._eject(f"the trial request failed: {self.last_error}", now)
            elif self._beneath == "up" and may_eject and self.failures >= self._settings.failures:
                self._eject(f"{_counted(self.failures, 'request')} failed, the last: {self.last_error}", now)
        return self._settle(now)

    def tick(self, now: float) -> Transition | None:
        """Do what is due: to be called when ``next_change_at`` has come; earlier it does nothing."""
        if self._beneath == "ejected" and now >= self._ejections.ends_at:
            self._ejections.end()
            self._enter("trial", "ejection over", now)
        self._ejections.forget(now)
        if now >= self._slow_start.next_look_at:
            self._slow_start.look(now)
        return self._settle(now)

    def order(self, order: Order, now: float) -> Transition | None:
        """Do as the operator says.

        :param order: ``drain``: no new requests, checks go on; ``maintain``: no checks either, and what was known is
            forgotten; ``serve``: take back whichever of them was given.
        :raise ValueError: there is no such order.
        """
        if order not in get_args(Order):
            raise ValueError(f"no order: {order!r}")
        if order == self._order:
            return None
        self._order = order
        self.failures = 0
        self._trial_at = NEVER
        if order == "maintain":
            self._forget(now)
        if order != "serve":
            return self._settle(now, _ORDERED[order][1])
        self._warm_up(now)
        reason = "in service by order"
        if self._beneath != "up":
            reason += f"; {self._reason or 'no check has ended yet'}"
        return self._settle(now, reason)

    def told(self, state: str, reason: str, now: float, ejections: int = 1) -> Transition | None:
        """Take over what another process, which serves the same backend, has found out.

        :param state: that the backend has come to there: ``up``, ``down`` or ``ejected``; any other says nothing here.
        :param reason: why.
        :param ejections: the number of an ejection in its series.
        """
        beneath = self._beneath
        if self._order == "maintain" or state == beneath:
            return None
        if state == "up":
            self._enter("up", one_line(reason), now)
        elif state == "down" and self._settings.checked:
            self._note(now, reason)
            self._enter("down", self.last_error, now)
        elif state == "ejected" and beneath in ("up", "trial"):
            self._note(now, reason)
            self._ejections.begin(now, ejections)
            self._passes = 0
            self._enter("ejected", self.last_error, now)
        return self._settle(now)

    def take_trial(self, now: float, idempotent: bool) -> bool:
        """Return whether a request is to be the trial; if so, it is out until its outcome is told.

        One that brings no verdict (its client left) holds up the next for ``ejection_s``.

        :param idempotent: it can be sent elsewhere if it fails; such a request goes first, if one comes soon.
        """
        if self.state != "trial" or not (idempotent or now >= self.since + HARMLESS_FIRST_S):
            return False
        if self._trial_at != NEVER and now < self._trial_at + self._settings.ejection_s:
            return False
        self._trial_at = now
        return True

    def share(self, now: float) -> float:
        """Return the part of its weight that the backend has for now: from 0.1 to 1."""
        return self._slow_start.share(now)

    def _note(self, now: float, reason: str) -> None:
        self.last_error = one_line(reason)
        self.last_failure_at = now

    def _counts(self, sent_at: float | None) -> bool:
        """Return whether the outcome of a request says anything about the present."""
        if self._order == "maintain":
            return False
        if sent_at is None:
            return self.state != "trial" or self._trial_at != NEVER
        return sent_at >= self.since

    def _eject(self, reason: str, now: float) -> None:
        seconds = self._ejections.begin(now)
        self._passes = 0
        self._enter("ejected", f"{reason}; for {seconds:g} s", now)

    def _forget(self, now: float) -> None:
        # Checks in a row need no forgetting: the first one from now on decides, whatever came before.
        self._enter("checking" if self._settings.checked else "up", "", now)
        self._ejections.clear()
        self._slow_start.stop()
        self._is_cold = True

    def _enter(self, state: State, reason: str, now: float) -> None:
        """Change what the state is beneath all orders."""
        self._beneath = state
        self._reason = reason
        self._trial_at = NEVER
        self.down_since = now if state == "down" else None
        if state in ("up", "down"):
            self._ejections.came_back(now)
        if state == "up":
            self.failures = 0
            self._warm_up(now)
        elif state != "checking":
            self._slow_start.stop()
            self._is_cold = True

    def _warm_up(self, now: float) -> None:
        """Begin the slow start that is owed; one that comes back while an order keeps it out has it later."""
        if self._is_cold and self._beneath == "up" and self._order == "serve":
            self._slow_start.begin(now)
            self._is_cold = False

    def _settle(self, now: float, reason: str = "") -> Transition | None:
        """Derive what others read from what has changed."""
        beneath = self._beneath
        self.ejections = self._ejections.number
        self.is_watched = self.failures > 0 or beneath in ("ejected", "trial")
        self.next_change_at = min(self._ejections.ends_at, self._ejections.forgotten_at, self._slow_start.next_look_at)
        self.is_changing = self._order != "maintain" and (
            beneath == "checking" or (beneath != "up" and self._passes > 0) or (beneath != "down" and self._fails > 0)
        )
        state = beneath if self._order == "serve" else _ORDERED[self._order][0]
        if state == self.state:
            return None
        before, self.state, self.since = self.state, state, now
        return Transition(before, state, reason or self._reason)


def one_line(reason: str) -> str:
    """Return a reason as it may stand in a line of the log: printable and short, whatever a peer has sent."""
    if len(reason) <= _LONGEST_REASON and reason.isprintable():
        return reason
    printable = "".join(each if each.isprintable() else " " for each in reason[: 2 * _LONGEST_REASON])
    shortened = " ".join(printable.split())
    return shortened if len(shortened) <= _LONGEST_REASON else shortened[: _LONGEST_REASON - 3] + "..."


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
