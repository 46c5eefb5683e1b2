"""A connection to a backend between which and the client the kernel moves long bodies: zero copy."""

from __future__ import annotations

from typing import Any

from txproxy.bridge.spliced_reader import SplicedReader, splice_body
from txproxy.exchange import Exchange
from txproxy.policy.deadlines import NEVER
from txproxy.upstream.tunnelling import TunnellingConnection
from txproxy.wire.bodies import LengthReader


class SplicingConnection(TunnellingConnection):
    """Has the kernel pass on bodies of known length, where nobody has to see their bytes.

    Transports pause nobody then. That one side has to read before more can move is told with what has moved, so that
    the one that is waited for has the deadline.
    """

    def _splice_reply(self, exchange: Exchange, reader: LengthReader) -> None:
        """Read no more of a reply, if the client's connection can take it from the kernel."""
        pipes = exchange.client.pipes
        if pipes is not None:
            spliced = splice_body(reader, self.transport, exchange.client.transport, pipes, self._reply_moved)
            if spliced is not None:
                self._reader = spliced

    def _reply_moved(self, byte_count: int, client_is_full: bool) -> None:
        exchange = self._exchange
        if exchange is not None:
            exchange.bytes_out += byte_count
            exchange.client.reply_moved(client_is_full)
            if client_is_full or self.valve.reasons:
                self.deadline = NEVER
            else:
                self._expect(self._patience_s)

    def _client_is_awaited(self, exchange: Exchange) -> bool:
        """Return whether the client has the next word, which nothing has told because nothing could move at all."""
        reader = self._reader
        if isinstance(reader, SplicedReader) and reader.waits_for_target:
            self.deadline = NEVER
            exchange.client.reply_moved(True)
            return True
        return False

    def _stop_splice(self) -> None:
        """Count all that has moved of a reply, and leave both transports to those who end the exchange."""
        if isinstance(self._reader, SplicedReader):
            self._reader.stop()

    @property
    def body_target(self) -> Any:
        """Where content of the request's body may go without being read; None if it has to be."""
        return self.transport if self._is_open else None

    def body_moved(self, byte_count: int, is_full: bool) -> None:
        """Learn that content of the request's body has come here unread, or cannot come.

        :param byte_count: how much has come since the last call.
        :param is_full: the backend has to read before more can.
        """
        exchange = self._exchange
        if exchange is not None and not self._request_sent and (byte_count or is_full is not self._is_full):
            self._is_full = is_full
            if is_full:
                self._unread_before = self._unread()
            self._set_deadline(exchange)
