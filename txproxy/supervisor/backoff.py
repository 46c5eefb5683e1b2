"""When a worker that has died is replaced."""

from __future__ import annotations

LASTING_S = 10.0
"""Who has lived so long did not die of its start."""
_FIRST_S = 0.5
_LONGEST_S = 30.0


class Backoff:
    """Says how long the next start of a worker waits: not at all, then longer with each early death in a row."""

    def __init__(self) -> None:
        self.early_deaths = 0
        """In a row."""

    def died(self, age_s: float) -> float:
        """Take note of a death.

        :param age_s: how long the worker had lived, in seconds.
        :return: in how many seconds the next one is to be started: 0, then 0.5 and double that each time, up to 30.
        """
        self.early_deaths = 1 if age_s >= LASTING_S else self.early_deaths + 1
        if self.early_deaths == 1:
            return 0.0
        # The exponent is bounded: what never recovers goes on dying for years.
        return min(_FIRST_S * 2.0 ** min(self.early_deaths - 2, 16), _LONGEST_S)
