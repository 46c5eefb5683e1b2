"""How much of its share a backend gets that has come back and is not warm yet."""

from __future__ import annotations

from txproxy.policy.deadlines import NEVER

LEAST_SHARE = 0.1
"""Of the weight, at the start: less would leave a backend without any request in small clusters."""

_LOOKS = 20
_SHORTEST_LOOK_S = 0.1


class SlowStart:
    """The share of one backend, growing evenly from a tenth to the whole.

    :param slow_start_s: seconds until it is whole; 0: at once.
    """

    def __init__(self, slow_start_s: float) -> None:
        self._slow_start_s = slow_start_s
        self._look_s = max(slow_start_s / _LOOKS, _SHORTEST_LOOK_S)
        self._began_at = NEVER
        self.next_look_at = NEVER
        """When the share has changed by enough to be asked for again; ``NEVER`` if it does not change."""

    def begin(self, now: float) -> None:
        """Start from the least share."""
        self._began_at = now
        self.look(now)

    def stop(self) -> None:
        """Give the whole share: the backend is warm, or gets nothing for another reason."""
        self._began_at = self.next_look_at = NEVER

    def share(self, now: float) -> float:
        """Return the part of its weight that the backend has, between ``LEAST_SHARE`` and 1."""
        if self._began_at == NEVER:
            return 1.0
        return min(1.0, max(LEAST_SHARE, (now - self._began_at) / self._slow_start_s))

    def look(self, now: float) -> None:
        """Plan the next look; when the share is whole there is none."""
        if self._began_at == NEVER:
            return
        ends_at = self._began_at + self._slow_start_s
        if now >= ends_at:
            self.stop()
        else:
            self.next_look_at = min(now + self._look_s, ends_at)
