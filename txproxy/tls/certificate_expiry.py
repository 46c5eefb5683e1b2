"""When an operator is reminded that a certificate is about to expire."""

from __future__ import annotations

_DAY_S = 86400.0
_REMINDERS_S = (30 * _DAY_S, 7 * _DAY_S, _DAY_S)
"""How long before the end."""


class Reminders:
    """Says once each that a certificate ends in less than 30, 7 and 1 days, and that it has ended.

    A reminder that would come in the first half of a certificate's life is left out: one that holds for six days
    is no reason to worry when it is new.

    :param not_before: since when the certificate holds, in seconds since 1970.
    :param not_after: until when.
    """

    __slots__ = ("_not_after", "_pending", "is_over")

    def __init__(self, not_before: float, not_after: float) -> None:
        self._not_after = not_after
        half_s = (not_after - not_before) / 2
        self._pending = [before_s for before_s in _REMINDERS_S if before_s <= half_s]
        self.is_over = False
        """Whether its end was said."""

    @property
    def next_at(self) -> float:
        """When there is something to say next, in seconds since 1970."""
        if self.is_over:
            return float("inf")
        return self._not_after - (self._pending[0] if self._pending else 0.0)

    def due(self, now: float) -> str:
        """Return what is to be said: ``soon``, ``over``, or nothing. Of several reminders that are due only the last.

        :param now: in seconds since 1970.
        """
        if self.is_over:
            return ""
        if now > self._not_after:
            self.is_over = True
            return "over"
        due = [before_s for before_s in self._pending if now >= self._not_after - before_s]
        self._pending = self._pending[len(due) :]
        return "soon" if due else ""


def shown_span(seconds: float) -> str:
    """Return a time that is left as messages show it.

    :param seconds: of it.
    """
    if seconds >= 2 * _DAY_S:
        return f"{int(seconds / _DAY_S)} days"
    if seconds >= 2 * 3600:
        return f"{int(seconds / 3600)} hours"
    return f"{max(1, int(seconds / 60))} minutes"
