"""Memory pressure: how much the cache may take while the whole process takes too much."""

from __future__ import annotations

import os
from collections.abc import Callable

_STATM = "/proc/self/statm"
_BACK_BELOW = 0.9
"""Part of the limit below which the cache is given room back."""
_MARGIN = 1 / 64
"""Part of the limit that is freed beyond what is needed, so that not every look has to free some."""
_BACK_STEP = 1 / 32
"""Part of the cache's size that it is given back at a time."""


def resident_bytes(path: str = _STATM) -> int | None:
    """Return the resident set size of this process in bytes; None where the system does not tell (proc(5), statm).

    :param path: where the system tells it.
    """
    try:
        with open(path, "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None


class Pressure:
    """Says how large the cache may be.

    What is freed need not go back to the system: allocators keep it for what comes next. So having shrunk once, the
    cache shrinks again only if the process has grown further, and never loses all it has to a number that stands still.

    :param max_bytes: what the cache may take at most.
    :param max_rss_bytes: what the process may take; 0: whatever it likes.
    :param resident: returns the resident set size in bytes, or None if it is not known.
    """

    def __init__(self, max_bytes: int, max_rss_bytes: int, resident: Callable[[], int | None] = resident_bytes) -> None:
        self._max_bytes = max_bytes
        self._max_rss_bytes = max_rss_bytes
        self._resident = resident
        self._answered_bytes = max_rss_bytes
        """The size of the process that was last answered by shrinking; the limit before that."""
        self.allowed_bytes = max_bytes
        """What the cache may take now."""

    def look(self, held_bytes: int) -> int:
        """Return what the cache may take from now on; to be asked about once a second.

        :param held_bytes: what it takes now.
        """
        limit = self._max_rss_bytes
        resident = self._resident() if limit else None
        if resident is None:
            return self.allowed_bytes
        if resident > self._answered_bytes:
            # What went on growing counts, and at first what is above the limit.
            surplus = resident - self._answered_bytes + int(limit * _MARGIN)
            self.allowed_bytes = max(0, min(self.allowed_bytes, held_bytes) - surplus)
        elif resident < limit * _BACK_BELOW:
            self.allowed_bytes = min(self._max_bytes, self.allowed_bytes + int(self._max_bytes * _BACK_STEP))
        self._answered_bytes = max(limit, resident)
        return self.allowed_bytes
