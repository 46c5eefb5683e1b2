"""How long a backend is left out that real requests failed at, and which ejection of a series this is."""

from __future__ import annotations

from txproxy.policy.deadlines import NEVER


class Ejections:
    """The ejections of one backend: each one of a series is longer by one length of the first.

    A series ends when the backend has been back for as long as the longest ejection.

    :param ejection_s: seconds of the first.
    :param max_ejection_s: seconds above which they do not grow.
    """

    def __init__(self, ejection_s: float, max_ejection_s: float) -> None:
        self._ejection_s = ejection_s
        self._max_ejection_s = max_ejection_s
        self.number = 0
        """Ejections of the present series."""
        self.ends_at = NEVER
        """When the present ejection ends; ``NEVER`` without one."""
        self.forgotten_at = NEVER
        """When the series ends if there is no further ejection."""

    def begin(self, now: float, at_least: int = 1) -> float:
        """Count another ejection.

        :param at_least: which one of a series this is, if it is not the next one only.
        :return: how long it lasts, in seconds.
        """
        self.forget(now)
        self.number = max(self.number + 1, at_least)
        self.forgotten_at = NEVER
        seconds = min(self._ejection_s * self.number, self._max_ejection_s)
        self.ends_at = now + seconds
        return seconds

    def end(self) -> None:
        """End the present ejection; the backend is not back yet, but on trial."""
        self.ends_at = NEVER

    def came_back(self, now: float) -> None:
        """End the present ejection, if any: the backend is judged as any other again, so the series may end, too."""
        self.ends_at = NEVER
        if self.number and self.forgotten_at == NEVER:
            self.forgotten_at = now + self._max_ejection_s

    def forget(self, now: float) -> None:
        """End the series if its time has come."""
        if now >= self.forgotten_at:
            self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self.number = 0
        self.ends_at = self.forgotten_at = NEVER
