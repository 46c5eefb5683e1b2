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

    def is_without_use(self, now: float, cost: int = 1) -> bool:
        """Count a frame that carries nothing; return whether that was one too many.

        :param now: the moment, in seconds.
        :param cost: how many it counts for.
        """
        counted, self._uncounted = divmod(self._uncounted + cost, _FOLD)
        return counted > 0 and super().is_without_use(now, counted)


class BackendEngine(Engine):
    """Our side of a connection to a backend."""

    def has_window(self, stream_id: int) -> bool:
        """Return whether a stream's own window is open; that of the connection may be shut."""
        return self.is_open(stream_id) and self._h2.streams[stream_id].outbound_flow_control_window > 0


def make_engine(floods: Floods) -> BackendEngine:
    """Return our side of a new connection to a backend."""
    return BackendEngine(True, _SETTINGS, floods)
