"""When a backend is checked next: spread over time while all is well, soon while something changes, seldom when it has
long been down.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import NamedTuple, Protocol

_CHANGING_S = 1.0
"""Pause between checks that may take a backend down or bring it up: the shorter, the sooner the truth is known."""
_LONG_DOWN_S = 300.0
"""A backend that has been down for longer is checked less and less often."""
_MOST_BACKED_OFF_S = 60.0
_MOMENTS = 4
"""Moments that are drawn for a check, of which the quietest is taken. Of the checks of 100 backends, up to 12 % fell
into one twenty-fifth of the interval with one moment, and 9 % with four; more than four change little."""


class Facts(Protocol):
    """What the state machine of a backend's health says; see ``policy.health``."""

    @property
    def state(self) -> str:
        """Its state; nothing is checked in ``maintenance``."""

    @property
    def is_changing(self) -> bool:
        """Whether the state is not sure: no check has decided yet, or the last ones say otherwise."""

    @property
    def down_since(self) -> float | None:
        """Since when checks have said that it is down, in seconds of the monotonic clock; None: they do not say so."""


class MonitorSettings(NamedTuple):
    """How often the backends of a cluster are checked; see the configuration's ``health`` section."""

    interval_s: float = 5.0
    """From the start of one check to the start of the next."""
    jitter: float = 0.2
    """Part of the interval, 0 to 1, by which it is made longer or shorter at random."""
    max_response_s: float = 0.0
    """A check that passes later than this has failed; 0: as late as its timeout allows."""

    @property
    def tick_s(self) -> float:
        """How often to look whether a check is due, in seconds."""
        return max(0.01, min(0.1, self.interval_s / 10))


class Agenda:
    """Moments that are taken, so that another check can be put where there are few.

    :param interval_s: over which checks are to be spread, in seconds.
    """

    def __init__(self, interval_s: float) -> None:
        self._slot_s = interval_s / 40
        self._taken: Counter[int] = Counter()

    def take(self, moment: float) -> None:
        """Note that a check is due then."""
        self._taken[int(moment / self._slot_s)] += 1

    def leave(self, moment: float) -> None:
        """Take back what ``take`` has noted."""
        slot = int(moment / self._slot_s)
        self._taken[slot] -= 1
        if not self._taken[slot]:
            del self._taken[slot]

    def crowd(self, moment: float) -> int:
        """Return how many checks are due around a moment."""
        slot, taken = int(moment / self._slot_s), self._taken
        return taken[slot - 1] + taken[slot] + taken[slot + 1]

    def __len__(self) -> int:
        return self._taken.total()


class Timetable:
    """When the checks of one backend are due: the first at once.

    :param settings: how often.
    :param agenda: shared by all backends of a cluster.
    :param now: the moment, in seconds.
    """

    __slots__ = ("_agenda", "_has_taken", "_is_spread", "_pause_s", "_settings", "_started_at", "due_at")

    def __init__(self, settings: MonitorSettings, agenda: Agenda, now: float) -> None:
        self.due_at = now
        """When to start the next check, in seconds; of no meaning while one runs."""
        self._settings = settings
        self._agenda = agenda
        self._started_at = now
        self._pause_s = settings.interval_s
        # Backends that began or failed together would be checked together for ever.
        self._is_spread = False
        self._has_taken = False

    def started(self, now: float) -> None:
        """A check has begun."""
        self._leave()
        self._started_at = now

    def ended(self, facts: Facts, now: float, random: Callable[[], float]) -> None:
        """Plan the next check, for one has ended and the health of the backend knows it.

        :param facts: the health of the backend.
        :param random: returns a number from 0 up to but not including 1.
        """
        interval_s, jitter, _ = self._settings
        if facts.is_changing:
            self._is_spread = False
            self._pause_s = interval_s
            self.due_at = max(now, self._started_at + min(interval_s, _CHANGING_S))
            return
        if facts.down_since is not None and now - facts.down_since > _LONG_DOWN_S:
            self._pause_s = min(2 * self._pause_s, max(interval_s, _MOST_BACKED_OFF_S))
        else:
            self._pause_s = interval_s
        earliest = self._started_at + (self._pause_s * (1 - jitter) if self._is_spread else 0.0)
        latest = self._started_at + self._pause_s * (1 + jitter if self._is_spread else 1.0)
        earliest, latest = max(now, earliest), max(now, latest)
        moments = [earliest + (latest - earliest) * (1 - random()) for _ in range(_MOMENTS)]
        self.due_at = min(moments, key=self._agenda.crowd)
        self._agenda.take(self.due_at)
        self._is_spread = self._has_taken = True

    def abandon(self, now: float) -> None:
        """Forget what was planned: should the backend be checked again, then at once."""
        self._leave()
        self._is_spread = False
        self.due_at = now

    def _leave(self) -> None:
        if self._has_taken:
            self._agenda.leave(self.due_at)
            self._has_taken = False
