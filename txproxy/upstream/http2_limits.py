"""What a backend that speaks HTTP/2 may send, on connections for requests and on those for checks.

Backends are trusted more than clients: what they send follows from requests of ours, and a stream that they reset has
cost them one. But what they may send without having been asked would cost time without bound, if it had none.
"""

from __future__ import annotations

from txproxy.wire.http2.engine import Engine, EngineSettings
from txproxy.wire.http2.floods import Floods
from txproxy.wire.limits import REPLY_LIMITS

_SETTINGS = EngineSettings(max_header_bytes=REPLY_LIMITS.section_bytes)
_FOLD = 10
"""So many times as many frames without use as from a client: for one that streams small messages, thousands may be on
their way when their streams are cancelled."""


class BackendFloods(Floods):
    """The budgets of one connection to a backend."""

    __slots__ = ("_uncounted",)

    def __init__(self) -> None:
        super().__init__(0)
        self._uncounted = 0

    def is_reset_too_often(self, now: float) -> bool:
        """Return False: one that has too much to do may refuse as many streams as it is asked for."""
        return False

    def is_without_use(self, now: float) -> bool:
        """Count a frame that carries nothing; return whether that was one too many.

        :param now: the moment, in seconds.
        """
        self._uncounted += 1
        if self._uncounted < _FOLD:
            return False
        self._uncounted = 0
        return super().is_without_use(now)


def make_engine(floods: Floods) -> Engine:
    """Return our side of a new connection to a backend."""
    return Engine(True, _SETTINGS, floods)
