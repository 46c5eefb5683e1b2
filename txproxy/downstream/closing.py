"""How a connection of HTTP/1.1 ends with the exchange that is under way, if there is one; and how it goes on."""

from __future__ import annotations

from typing import Any

from txproxy.downstream.replying import ReplyingConnection
from txproxy.errors import ClientLeft, ProxyError
from txproxy.exchange import Exchange
from txproxy.wire.bodies import ChunkedReader, LengthReader, UntilCloseReader
from txproxy.wire.heads import HeadGatherer


class ClosingConnection(ReplyingConnection):
    """Closes.

    :param site: the listener that it belongs to.
    """

    _gatherer: HeadGatherer | None
    """Of the head that is coming in; None if none is."""

    def __init__(self, site: Any) -> None:
        super().__init__(site)
        self._reader: LengthReader | ChunkedReader | UntilCloseReader | None = None
        """Of the current request's body, until all of it has come."""
        self._buffer: bytes | bytearray = b""
        """What came after the current request."""

    @property
    def under_way(self) -> int:
        """Exchanges that have not ended."""
        return self.exchange is not None

    def exchanges(self) -> tuple[Exchange, ...]:
        """Return the exchanges that have not ended."""
        return () if self.exchange is None else (self.exchange,)

    def site_changed(self, hops_change: bool) -> None:
        """Go on as the listener's site now says; see ``LingeringConnection``. An idle connection has its new time."""
        before_s = self.settings.keepalive_timeout_s
        super().site_changed(hops_change)
        longer_s = self.settings.keepalive_timeout_s - before_s
        if longer_s and not (self.under_way or self._gatherer or self._closing or self.is_full):
            self.deadline += longer_s
            if self.deadline < self.look_at:
                self.site.deadlines.watch(self)

    def _close(self, abort: bool, refused: bool = False, may_be_sending: bool = False) -> None:
        """Close.

        :param abort: with a reset, whatever waits to be sent.
        :param refused: the client was refused, perhaps in the middle of what it sends.
        :param may_be_sending: the client does not know yet that there will be no further exchange.
        """
        unread = refused or may_be_sending or self._reader is not None or bool(self._buffer)
        self._reader = None
        self._buffer = b""
        self._shut(abort, unread, refused)

    def _left(self) -> None:
        """The client has left: whoever works for it is told to stop."""
        exchange = self.exchange
        if exchange is not None:
            self._closing = True
            self._reader = None
            exchange.cancel_upstream()
            exchange.failed(ClientLeft())
            exchange.status = ClientLeft.status
            self._keep_alive = False
            self._finish(exchange, ClientLeft.end_reason)

    def cut(self, error: ProxyError) -> None:
        """End whatever is under way: the time for a graceful stop is over."""
        if self.exchange is not None:
            self.fail(self.exchange, error)
        self.transport.abortConnection()
