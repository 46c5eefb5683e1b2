"""How much a peer may ask for without any use: what has brought down other servers, counted and bounded.

Each attack of this kind is a frame that costs its sender next to nothing: streams that are reset as soon as they are
opened (CVE-2023-44487), or that we are made to reset (CVE-2025-8671), PING, SETTINGS, PRIORITY, WINDOW_UPDATE and empty
DATA without end (CVE-2019-9511 to 9518). Resets have a budget per minute. All other frames that carry nothing cost
credit, which useful ones and time bring back.
"""

from __future__ import annotations

from collections import deque

_WINDOW_S = 60.0
_MOST_CREDIT = 1000.0
"""Frames without use in a row; browsers send a dozen."""
_CREDIT_PER_S = 20.0
_REQUEST_CREDIT = 4.0
_DATA_CREDIT = 2.0
"""Content may be answered by a WINDOW_UPDATE for its stream and one for the connection."""
_CREDIT_PER_BYTE = 1 / 1024
"""Go's client gives both windows back for every 4 KiB that it has read."""


class Floods:
    """The budgets of one connection.

    :param resets: streams that may end early within 60 s.
    """

    __slots__ = ("_credit", "_looked_at", "_most_resets", "_resets")

    def __init__(self, resets: int) -> None:
        self._most_resets = resets
        self._resets: deque[float] | None = None
        self._credit = _MOST_CREDIT
        self._looked_at = -1.0

    def is_reset_too_often(self, now: float) -> bool:
        """Count a stream that has ended early, by the peer or because of it; return whether that was one too many.

        :param now: the moment, in seconds.
        """
        resets = self._resets
        if resets is None:
            resets = self._resets = deque()
        while resets and resets[0] <= now - _WINDOW_S:
            resets.popleft()
        resets.append(now)
        return len(resets) > self._most_resets

    def is_without_use(self, now: float, cost: int = 1) -> bool:
        """Count a frame that carries nothing; return whether that was one too many.

        :param now: the moment, in seconds.
        :param cost: how many it counts for.
        """
        credit = self._credit - cost
        if self._looked_at < 0.0:
            self._looked_at = now
        elif credit < 0.0:
            credit = min(_MOST_CREDIT, credit + (now - self._looked_at) * _CREDIT_PER_S)
            self._looked_at = now
        self._credit = credit
        return credit < 0.0

    def request_came(self) -> None:
        """Take note of a request."""
        if self._credit < _MOST_CREDIT:
            self._credit += _REQUEST_CREDIT

    def content_went(self, size: int) -> None:
        """Take note of content, in whichever direction.

        :param size: in bytes.
        """
        if self._credit < _MOST_CREDIT:
            self._credit += _DATA_CREDIT + size * _CREDIT_PER_BYTE
