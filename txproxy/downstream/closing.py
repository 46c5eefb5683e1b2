"""How a client connection ends: at once, after its last bytes, or in stages.

A client that still sends while we close would be answered with a reset, which can destroy the reply before it is read.
So after a refusal our side is shut first, and what still comes is read and thrown away for a while (RFC 9112 section
9.6).
"""

from __future__ import annotations

from typing import Any

from txproxy.bridge.valve import Reason
from txproxy.downstream.replying import ReplyingConnection
from txproxy.errors import ClientLeft, ProxyError
from txproxy.wire.bodies import ChunkedReader, LengthReader

_LINGER_BYTES = 65536
_LINGER_S = 2.0


class ClosingConnection(ReplyingConnection):
    """Closes, and keeps the deadlines of that.

    :param site: the listener that it belongs to.
    """

    def __init__(self, site: Any) -> None:
        super().__init__(site)
        self._reader: LengthReader | ChunkedReader | None = None
        """Of the current request's body, until all of it has come."""
        self._buffer: bytes | bytearray = b""
        """What came after the current request."""
        self._read_closed = False
        """The client has said that it sends no more."""
        self._linger_bytes = 0
        self._unread_before = 0
        """Bytes that the client had not read when that was last looked at."""

    def _close(self, abort: bool, refused: bool = False, may_be_sending: bool = False) -> None:
        """Close.

        :param abort: with a reset, whatever waits to be sent.
        :param refused: the client was refused, perhaps in the middle of what it sends.
        :param may_be_sending: the client does not know yet that there will be no further exchange.
        """
        transport = self.transport
        unread = refused or may_be_sending or self._reader is not None or bool(self._buffer)
        self._closing = True
        self._reader = None
        self._buffer = b""
        self.is_full = False
        transport.unregisterProducer()
        if abort:
            transport.abortConnection()
            return
        queued = self._queued()
        self._unread_before = self._unread()
        if unread and not self._read_closed:
            self._linger_bytes = _LINGER_BYTES
            self.valve.open_wide()
            transport.loseWriteConnection()
            # A long reply that is still on its way has the time that any reply has; a refusal is short.
            self._expect(self.settings.write_timeout_s if queued and not refused else _LINGER_S)
        else:
            transport.loseConnection()
            self._expect(self.settings.write_timeout_s)

    def _left(self) -> None:
        """The client has left: whoever works for it is told to stop."""
        exchange = self.exchange
        if exchange is not None:
            self._closing = True
            self._reader = None
            self._cancel_upstream(exchange)
            exchange.error = ClientLeft()
            exchange.status = ClientLeft.status
            self._keep_alive = False
            self._finish(exchange, ClientLeft.end_reason)

    def _discard(self, data: bytes) -> None:
        self._linger_bytes -= len(data)
        if self._linger_bytes < 0:
            # No more is read. Closing now would answer what has come since with a reset, and destroy what the kernel
            # has not delivered yet; the deadline closes.
            self.valve.shut(Reason.PIPELINED)

    def _closing_takes_long(self) -> None:
        """The last bytes were not read in time, or the client does not close its side."""
        if not self._queued() and not self.transport.disconnecting:
            # Not with a reset, which could still destroy what the client has not read.
            self.transport.loseConnection()
            self._expect(_LINGER_S)
        elif self._reads_on():
            self._expect(self.settings.write_timeout_s)
        else:
            self.transport.abortConnection()

    def _reads_on(self) -> bool:
        """Return whether the client has read anything since this was last asked."""
        before, self._unread_before = self._unread_before, self._unread()
        return self._unread_before < before

    def _queued(self) -> int:
        return getattr(self.transport, "queued_bytes", 0)

    def _unread(self) -> int:
        # What waits here moves only when a third of the kernel's buffer, which may hold megabytes, is free again.
        ask = getattr(self.transport, "unread_bytes", None)
        return self._queued() if ask is None else int(ask())

    def _expect(self, patience_s: float) -> None:
        self.deadline = self.site.clock() + patience_s
        if self.deadline < self.look_at:
            self.site.deadlines.watch(self)

    def cut(self, error: ProxyError) -> None:
        """End whatever is under way: the time for a graceful stop is over."""
        if self.exchange is not None:
            self.fail(self.exchange, error)
        self.transport.abortConnection()
