"""The half of a request's stream that speaks: the request goes to a backend as fast as that takes it.

What cannot be sent, for want of window or because the transport is full, waits here, and the valve of the client is
shut meanwhile.
"""

from __future__ import annotations

from typing import Any

from txproxy.bridge.body import HIGH_WATERMARK_BYTES
from txproxy.bridge.valve import Reason
from txproxy.errors import ProxyError, Unprocessed
from txproxy.exchange import Exchange
from txproxy.policy.deadlines import NEVER
from txproxy.wire.fields import Field
from txproxy.wire.http2.frames import MAX_FRAME_BYTES
from txproxy.wire.http2.replies import write_trailers
from txproxy.wire.http2.requests import write_request

NO_TRAILERS: list[Field] = []

_LOW_WATERMARK_BYTES = HIGH_WATERMARK_BYTES >> 1


class SendingStream:
    """Sends a request, and keeps the time.

    :param connection: where it belongs.
    """

    __slots__ = (
        "_awaits_continue",
        "_backend",
        "_ends",
        "_engine",
        "_exchange",
        "_is_deciding",
        "_is_paused",
        "_patience_s",
        "_pending",
        "_request_sent",
        "_sent_before",
        "_timeouts",
        "_trailers_to_send",
        "_unread_before",
        "connection",
        "deadline",
        "id",
    )

    body_target = None
    """Content has to be read: it is sent in frames."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.id = 0
        """Of the stream; 0 until there is one."""
        self.deadline = NEVER
        """Its connection looks at it."""
        self._backend = connection.backend
        self._engine = connection.engine
        self._timeouts = connection.timeouts
        self._exchange: Exchange | None = None
        self._request_sent = False
        self._awaits_continue = False
        """The client waits to be told to send its body."""
        self._pending = bytearray()
        """Content of the request that may not be sent yet."""
        self._ends = False
        """What is pending is the last of it."""
        self._trailers_to_send = NO_TRAILERS
        self._unread_before = -1
        """Bytes that the backend had not taken from us when they were last looked at; -1: that was not done yet."""
        self._sent_before = 0
        """Content that the connection had sent when that was last looked at."""
        self._is_deciding = False
        """A stage is deciding on the reply's head; what comes meanwhile is held."""
        self._is_paused = False
        """The client reads too slowly."""
        self._patience_s = self._timeouts.between_bytes_s

    def write_head(
        self, request: Any, target: bytes, host: bytes | None, hop: Any, request_id: bytes, rules: Any
    ) -> bytes:
        """Return a request's header block; see ``wire.http2.requests.write_request``."""
        return write_request(request, target, host, hop, request_id, rules, self.connection.scheme)

    def send_request(self, exchange: Exchange, head: bytes) -> None:
        """Send a request, with as much of its body as there is; the rest follows by ``send_body``.

        :param head: its header block.
        """
        self._exchange = exchange
        connection, body = self.connection, exchange.body
        if not connection.may_open:
            self._fail(Unprocessed(f"{self._backend.name}: the connection has gone"))
            return
        if body is None:
            self._request_sent = True
            connection.open(self, head, True)
            self._expect(self._timeouts.first_byte_s)
            connection.flush()
            return
        content = b"".join(body.attach(self))
        if body.complete and not content and not body.trailers:
            self._request_sent = True
            connection.open(self, head, True)
        else:
            connection.open(self, head, False)
            self._awaits_continue = exchange.request.expects_continue and not content  # type: ignore[union-attr]
            if body.complete:
                self._ends, self._trailers_to_send = True, body.trailers
            if content or self._ends:
                self._send(content)
        self._set_deadline(exchange)
        connection.flush()

    def send_body(self, data: bytes) -> None:
        """Send content of the request's body."""
        exchange = self._exchange
        if exchange is not None:
            self._awaits_continue = False
            self._send(data)
            self._set_deadline(exchange)
            self.connection.flush()

    def end_body(self, trailers: list[Field]) -> None:
        """Send the end of the request's body."""
        exchange = self._exchange
        if exchange is not None:
            self._ends, self._trailers_to_send = True, trailers
            if not self._pending:
                self._send_last(b"")
            self._set_deadline(exchange)
            self.connection.flush()

    def _send(self, data: bytes) -> None:
        """Send content as far as that is allowed now; the rest waits, and more is not wanted if that is much."""
        connection, pending, size = self.connection, self._pending, len(data)
        if not pending:
            room = 0 if connection.is_full else self._engine.room(self.id)
            if size <= room:
                if self._ends:
                    self._send_last(data)
                else:
                    self._send_data(data)
                return
            if room:
                self._send_data(data[:room])
                data = data[room:]
            self._unread_before, self._sent_before = connection.unread(), connection.content_sent
            connection.wait(self)
        pending += data
        if len(pending) >= HIGH_WATERMARK_BYTES:
            self._exchange.client.valve.shut(Reason.PEER_IS_SLOW)  # type: ignore[union-attr]

    def _send_data(self, data: bytes, ended: bool = False) -> None:
        self.connection.content_sent += len(data)
        self._engine.send_data(self.id, data, ended)

    def _send_last(self, data: bytes) -> None:
        block = write_trailers(self._trailers_to_send) if self._trailers_to_send else b""
        if not block:
            self._send_data(data, True)
        else:
            if data:
                self._send_data(data)
            self._engine.send_trailers(self.id, block)
        self._request_sent = True

    def send_waiting(self) -> bool:
        """Send one frame of what waits; called by the connection when it is this stream's turn.

        :return: whether anything was sent.
        """
        pending, exchange = self._pending, self._exchange
        size = min(MAX_FRAME_BYTES, self._engine.room(self.id), len(pending))
        if exchange is None or size <= 0:
            return False
        data = bytes(pending[:size])
        del pending[:size]
        if self._ends and not pending:
            self._send_last(data)
        else:
            self._send_data(data)
        self._sent_before = self.connection.content_sent
        if not pending:
            self.connection.wait_no_more(self)
        self._set_deadline(exchange)
        if len(pending) <= _LOW_WATERMARK_BYTES:
            exchange.client.valve.open(Reason.PEER_IS_SLOW)
        return True

    # How long the backend may take.

    def _set_deadline(self, exchange: Exchange) -> None:
        """Give the backend its time if it has the next word, and none if the client has it."""
        if exchange.reply is not None:
            if self._is_paused or self._is_deciding:
                self.deadline = NEVER
            else:
                self._expect(self._patience_s)
        elif self._request_sent or self._pending or self._awaits_continue:
            self._expect(self._timeouts.first_byte_s)
        else:
            self.deadline = NEVER

    def _expect(self, patience_s: float) -> None:
        self.deadline = self.connection.clock() + patience_s
        self.connection.watch(self.deadline)

    def _reads_on(self) -> bool:
        """Return whether the backend, which has not taken all of the request from us yet, has taken some of it.

        Content that waits only because others' has its turn gets on with theirs: with what the connection sends in all.
        """
        connection, before, sent_before = self.connection, self._unread_before, self._sent_before
        if not self._pending and not connection.is_full:
            return False
        if before < 0:
            before = connection.unread_when_full
        self._unread_before, self._sent_before = now, sent = connection.unread(), connection.content_sent
        takes_turns = self._pending and self._engine.has_window(self.id)
        return bool(now < before or takes_turns and sent != sent_before)

    # What the half that listens does.

    def _fail(self, error: ProxyError) -> None:
        raise NotImplementedError
