"""Checks the backends of one cluster, each in its turn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure

from txproxy.observe.log import Logger
from txproxy.policy.probing import Agenda, Facts, MonitorSettings, Timetable
from txproxy.upstream.checks.probe import Probe, ProbeFailed, ProbeTarget

__all__ = ["Monitor", "MonitorSettings"]

log = Logger()

_MOST_STARTS = 50
"""Checks that one tick starts at most: each is a connection to be made, and requests wait meanwhile."""

OnResult = Callable[[bool, str, float], None]
"""Told of a finished check: whether it passed, else why not, and how many seconds it took."""


class _Watched:
    """A backend that is checked."""

    __slots__ = ("check", "health", "on_result", "started_at", "target", "timetable")

    def __init__(self, target: ProbeTarget, health: Facts, on_result: OnResult, timetable: Timetable) -> None:
        self.target = target
        self.health = health
        self.on_result = on_result
        self.timetable = timetable
        self.check: Deferred[None] | None = None
        self.started_at = 0.0


class Monitor:
    """Checks backends for as long as it is started, each at most once at a time.

    :param reactor: provides IReactorTime.
    :param settings: how often.
    :param probe: how; see ``probes.make_probe``.
    :param clock: the monotonic clock, in seconds.
    :param random: returns a number from 0 up to but not including 1.
    """

    def __init__(
        self,
        reactor: Any,
        settings: MonitorSettings,
        probe: Probe,
        clock: Callable[[], float],
        random: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._probe = probe
        self._clock = clock
        self._random = random
        self._agenda = Agenda(settings.interval_s)
        self._watched: dict[str, _Watched] = {}
        self._loop = LoopingCall(self._tick)
        self._loop.clock = reactor

    def start(self) -> None:
        """Begin to check, with every backend that is watched at once."""
        if not self._loop.running:
            self._loop.start(self._settings.tick_s).addErrback(self._bug)

    def stop(self) -> None:
        """Check no more and give up the checks that are under way; nobody is told of them."""
        if self._loop.running:
            self._loop.stop()
        for watched in list(self._watched.values()):
            self._give_up(watched)

    def change_probe(self, probe: Probe) -> None:
        """Check in another way from the next check on.

        :param probe: see ``probes.make_probe``.
        """
        self._probe = probe

    def watch(self, target: ProbeTarget, health: Facts, on_result: OnResult) -> None:
        """Check a backend too, for the first time within a tick.

        :param target: what is checked; one of the same name that is watched already is let go.
        :param health: its state; nothing is checked while that is ``maintenance``.
        :param on_result: called once for each check that has finished, before the next one is planned, so that it
            can tell ``health``.
        """
        self.unwatch(target.name)
        timetable = Timetable(self._settings, self._agenda, self._clock())
        self._watched[target.name] = _Watched(target, health, on_result, timetable)

    def unwatch(self, name: str) -> None:
        """Check a backend no more; nobody is told of a check that is under way.

        :param name: of its target; one that is not watched is ignored.
        """
        watched = self._watched.pop(name, None)
        if watched is not None:
            self._give_up(watched)

    def give_up(self, name: str) -> None:
        """Give up the check of a backend that is under way: it was begun before an order that makes it void.

        :param name: of its target.
        """
        watched = self._watched.get(name)
        if watched is not None:
            self._give_up(watched)

    @property
    def under_way(self) -> int:
        """How many checks are under way."""
        return sum(watched.check is not None for watched in self._watched.values())

    def _tick(self) -> None:
        # What is due before the next tick is started in this one, so that nothing is ever late.
        horizon = self._clock() + self._settings.tick_s
        due = [
            watched
            for watched in self._watched.values()
            if watched.check is None and watched.timetable.due_at <= horizon and watched.health.state != "maintenance"
        ]
        due.sort(key=lambda watched: watched.timetable.due_at)
        for watched in due[:_MOST_STARTS]:
            # Somebody who is told of a check that ended at once may have let others go.
            if self._loop.running and self._watched.get(watched.target.name) is watched:
                self._begin(watched)

    def _begin(self, watched: _Watched) -> None:
        now = watched.started_at = self._clock()
        watched.timetable.started(now)
        try:
            check = self._probe.run(watched.target)
        except Exception:
            check = fail(Failure())
        watched.check = check
        if self._watched.get(watched.target.name) is not watched:
            self._give_up(watched)  # A user's check has let its own target go.
        check.addCallbacks(
            lambda _: self._ended(watched, check, ""),
            lambda failure: self._ended(watched, check, self._reason(failure, watched)),
        ).addErrback(self._bug)

    def _ended(self, watched: _Watched, check: Deferred[None], reason: str) -> None:
        if watched.check is not check:
            return  # It was given up.
        watched.check = None
        now = self._clock()
        took_s = now - watched.started_at
        if not reason and 0 < self._settings.max_response_s < took_s:
            reason = f"took {took_s:.2f} s"
        try:
            watched.on_result(not reason, reason, took_s)
        except Exception:
            self._bug(Failure())
        # Whoever was told may have let the backend go, or watch it anew.
        if self._watched.get(watched.target.name) is watched:
            watched.timetable.ended(watched.health, now, self._random)

    def _give_up(self, watched: _Watched) -> None:
        check, watched.check = watched.check, None
        watched.timetable.abandon(self._clock())
        if check is not None:
            check.cancel()

    def _reason(self, failure: Failure, watched: _Watched) -> str:
        if isinstance(failure.value, ProbeFailed):
            return failure.value.reason or "failed"
        if watched.check is not None:
            self._bug(failure)
        return "the check itself failed"

    def _bug(self, failure: Failure) -> None:
        log.failure("a fault in the health checks", failure=failure)
