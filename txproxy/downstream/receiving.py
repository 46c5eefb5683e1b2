"""The half of an HTTP/1.1 connection that reads what follows a head: the body, and requests that came too early."""

from __future__ import annotations

from txproxy.bridge.body import HIGH_WATERMARK_BYTES
from txproxy.bridge.spliced_reader import SplicedReader, is_worth_a_splice, splice_body
from txproxy.bridge.valve import Reason
from txproxy.downstream.closing import ClosingConnection
from txproxy.errors import BodyTooLarge, ProxyError
from txproxy.exchange import Exchange
from txproxy.policy.deadlines import NEVER
from txproxy.wire.bodies import LengthReader

_COPIED_FIRST_BYTES = 98304
"""More than one read: where the kernel moves all behind the first, 1 MiB takes 440 microseconds instead of 370."""


class ReceivingConnection(ClosingConnection):
    """Reads bodies.

    :param site: the listener that it belongs to.
    """

    def _read_body(self, data: bytes) -> None:
        exchange, reader = self.exchange, self._reader
        assert exchange is not None and reader is not None
        body = exchange.body
        try:
            content = reader.feed(data)
            exchange.bytes_in += len(content)
            route = exchange.route
            if route is not None and 0 < route.rules.max_body_bytes < exchange.bytes_in and not reader.is_endless:
                raise BodyTooLarge(f"{exchange.bytes_in} bytes and more")
        except ProxyError as error:
            self._keep_alive = False
            self.fail(exchange, error)
            return
        if content:
            body.write(content)
        if reader.done:
            self._buffer = reader.rest
            self._reader = None
            if not self.is_full:
                self.deadline = NEVER
            body.end(reader.trailers)
        elif not self.is_full and not reader.is_endless:
            self._expect(self.settings.body_timeout_s)
            if is_worth_a_splice(reader) and not self.valve.reasons:
                self._splice_body(exchange, reader)

    def _splice_body(self, exchange: Exchange, reader: LengthReader) -> None:
        """Read no more of a body, if nothing of it is kept and the backend's connection can take it from the kernel."""
        pipes, server, body = self.site.tools.pipes, exchange.server, exchange.body
        if body.can_be_sent or body.received < _COPIED_FIRST_BYTES:
            return
        if pipes is None or server is None or server.body_target is None:
            return
        spliced = splice_body(reader, self.transport, server.body_target, pipes, self._body_moved)
        if spliced is not None:
            self._reader = body.spliced = spliced

    def _body_moved(self, byte_count: int, backend_is_full: bool) -> None:
        exchange = self.exchange
        if exchange is not None:
            exchange.bytes_in += byte_count
            exchange.body.received += byte_count
            if exchange.server is not None:
                exchange.server.body_moved(byte_count, backend_is_full)
            if not self.is_full:
                self._expect(self.settings.body_timeout_s)

    def _backend_is_awaited(self, exchange: Exchange) -> bool:
        """Return whether the backend has to read before anything can come: it has the deadline."""
        reader = self._reader
        if isinstance(reader, SplicedReader) and reader.waits_for_target:
            exchange.server.body_moved(0, True)
            self._expect(self.settings.body_timeout_s)
            return True
        return False

    def _awaits_body(self) -> None:
        """Start the clock for the next part of a body, unless the client waits to be told to send it."""
        exchange, reader = self.exchange, self._reader
        if exchange is None or reader is None or reader.is_endless or self.is_full:
            return
        if exchange.request.expects_continue and not exchange.bytes_in and not self._told_to_go_on:  # type: ignore[union-attr]
            return
        self._expect(self.settings.body_timeout_s)

    def _hold(self, data: bytes) -> None:
        if not isinstance(self._buffer, bytearray):
            self._buffer = bytearray(self._buffer)  # Many short packets would copy bytes again and again.
        self._buffer += data
        if len(self._buffer) >= HIGH_WATERMARK_BYTES:
            self.valve.shut(Reason.PIPELINED)

    def _request_is_complete(self) -> bool:
        return self._reader is None
