"""The half of a stream that writes replies: those of backends, and our own.

What cannot be sent, for want of window or because the client's transport is full, waits here; the backend is paused
meanwhile. An exchange ends here, whatever became of it, in ``_finish``.
"""

from __future__ import annotations

from typing import Any

from h2.errors import ErrorCodes
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from txproxy.bridge.valve import NO_VALVE
from txproxy.downstream.own_replies import HSTS, NO_CONTENT, error_reply
from txproxy.errors import (
    BadBody,
    ClientLeft,
    DownstreamError,
    ProxyError,
)
from txproxy.exchange import Exchange, Reply
from txproxy.policy.deadlines import NEVER
from txproxy.wire.fields import Field
from txproxy.wire.forwarding import NO_REPLY_RULES, without
from txproxy.wire.http2.compression import encode_status, encode_unique
from txproxy.wire.http2.replies import write_interim, write_reply, write_trailers
from txproxy.wire.http2.sections import write_section
from txproxy.wire.messages import ReplyHead

_LINGER_S = 1.0
"""How long a client may take to stop sending a request whose reply it has."""

_ENDED = Exchange(b"", None, None, 0.0)
_ENDED.ended = True


@implementer(IPushProducer)
class ReplyingStream:
    """A stream.

    :param connection: the one that it belongs to.
    :param id: its number.
    """

    __slots__ = (
        "__weakref__",
        "_connection",
        "_engine",
        "_has_ended",
        "_has_sent",
        "_head",
        "_held_credit",
        "_is_complete",
        "_is_head",
        "_last",
        "_told_to_go_on",
        "_trailers",
        "_waiting",
        "deadline",
        "exchange",
        "hop",
        "id",
        "look_at",
        "peer",
        "settings",
        "site",
        "tls",
        "valve",
    )

    pipes = None
    exchange: Exchange
    """Once it has ended, one that stands for any that has: the two would keep each other alive."""

    def __init__(self, connection: Any, id: int) -> None:
        self.id = id
        self.site = connection.site
        self.settings = connection.settings
        self.hop = connection.hop
        self.peer = connection.peer
        self.tls = connection.tls
        self.valve = NO_VALVE
        self.deadline = self.look_at = NEVER
        self._connection = connection
        self._engine = connection.engine
        self._is_complete = False
        """All of the request has come."""
        self._is_head = False
        self._held_credit = 0
        """Bytes of the window that are given back when the valve opens."""
        self._last = b""
        """Content that completes the request, until the stream's end shows that nothing follows."""
        self._told_to_go_on = False
        """The client was sent an interim reply, so that its body may be waited for."""
        self._head: bytes | None = None
        """A head that waits for the first of its content."""
        self._waiting: bytes | memoryview = b""
        """Content that may not be sent yet."""
        self._trailers = b""
        self._has_ended = False
        """All of the reply is here."""
        self._has_sent = False
        """Something was sent since that was last asked."""

    # Replies of backends.

    def send_interim(self, exchange: Exchange, reply: ReplyHead) -> None:
        """Send an interim reply at once (RFC 9110 section 15.2)."""
        if not exchange.ended:
            self._engine.send_head(self.id, write_interim(reply), interim=True)
            exchange.interim_sent = True
            self._told_to_go_on = self._told_to_go_on or reply.status == 100
            self._connection.flush()
            self.awaits_body()

    def send_stored(self, exchange: Exchange, reply: ReplyHead, lines: bytes, body: bytes, now: float) -> bool:
        """Say that lines of HTTP/1.1 are of no use here; see ``ReplyingConnection``."""
        return False

    def start_reply(self, exchange: Exchange, reply: ReplyHead) -> None:
        """Take the head of a final reply; the connection's own fields are added here."""
        site = self.site
        exchange.status = reply.status
        added: list[Field] = [] if b"date" in reply.known else [(b"date", site.http_date())]
        added.append(site.via_fields[reply.version])
        added += exchange.added
        rules = NO_REPLY_RULES
        route = exchange.route
        if route is not None:
            rules = route.reply_rules
            if route.hsts_line and self.hop.scheme == b"https":
                added.append((HSTS, route.rules.hsts))
                if HSTS in reply.known or route.chain.on_reply:
                    reply = without(reply, HSTS)
        self._head = write_reply(reply, added, exchange.id, rules)

    def write_reply(self, data: bytes) -> None:
        """Send content of the reply; it is not empty."""
        exchange = self.exchange
        if not exchange.ended:
            self._send_head()
            exchange.bytes_out += len(data)
            self._send(data)
            self._connection.flush_soon(len(data))

    def flush_reply(self) -> None:
        """Send the head if it still waits: its content is slower than it."""
        if not self.exchange.ended and self._head is not None:
            self._send_head()
            self._connection.flush_soon(0)

    def end_reply(self, data: bytes, trailers: list[Field], now: float) -> None:
        """Take the last of the content, which may be empty, and the end of the reply.

        :param trailers: fields of the trailer section.
        :param now: the moment, in seconds.
        """
        exchange = self.exchange
        if exchange.ended:
            return
        exchange.bytes_out += len(data)
        self._has_ended = True
        if trailers:
            self._trailers = write_trailers(trailers)
        if data or self._waiting or self._trailers or self._head is None:
            self._send_head()
            self._send(data)
        else:
            head, self._head = self._head, None
            exchange.head_sent = True
            self._engine.send_head(self.id, head, True)
        if not self._waiting:
            self._finish(exchange.end_reason or "ok", now)
        self._connection.flush_soon(len(data))

    def _send_head(self) -> None:
        head, self._head = self._head, None
        if head is not None:
            self.exchange.head_sent = True
            self._engine.send_head(self.id, head)

    def _send(self, data: bytes) -> None:
        """Send content, and the end if it is the last, as far as that is allowed now; the rest waits."""
        if self._waiting:
            self._waiting = bytes(self._waiting) + data
            return
        size, engine = len(data), self._engine
        room = 0 if self._connection.is_full else engine.room(self.id)
        if size > room:
            if room:
                engine.send_data(self.id, data[:room])
            self._waiting = memoryview(data)[room:]
            self._has_sent = False
            self._connection.wait(self)
            self._expect(self.settings.write_timeout_s)
            self.pause()
        elif self._has_ended:
            self._send_last(data)
        elif size:
            engine.send_data(self.id, data)

    def _send_last(self, data: bytes) -> None:
        if not self._trailers:
            self._engine.send_data(self.id, data, True)
            return
        if data:
            self._engine.send_data(self.id, data)
        self._engine.send_trailers(self.id, self._trailers)

    def send_waiting(self, most: int) -> bool:
        """Send of what waits; called when it is this stream's turn.

        :param most: bytes.
        :return: whether anything was sent.
        """
        waiting = self._waiting
        size = min(most, self._engine.room(self.id), len(waiting))
        if size <= 0:
            return False
        data, self._waiting = bytes(waiting[:size]), waiting[size:]
        self._has_sent = True
        if self._waiting:
            self._engine.send_data(self.id, data)
            return True
        self._waiting = b""
        self._connection.wait_no_more(self)
        self.deadline = NEVER
        if self._has_ended:
            self._send_last(data)
            self._finish(self.exchange.end_reason or "ok", self.site.clock())
        else:
            self._engine.send_data(self.id, data)
            self.resume()
            self.awaits_body()
        return True

    def pause(self) -> None:
        """Nothing more can be sent: the backend has to wait."""
        exchange = self.exchange
        # Before its reply has begun, a backend is not paused: its time for that runs.
        if exchange.server is not None and exchange.status:
            exchange.server.pause_reply()

    def resume(self) -> None:
        """More can be sent, unless something waits here still."""
        server = self.exchange.server
        if server is not None and not self._waiting and not self._connection.is_full:
            server.resume_reply()

    # Replies of our own.

    def respond(self, exchange: Exchange, reply: Reply) -> None:
        """Send a reply that was made here; a backend that was at work is told to stop."""
        if exchange.ended:
            return
        exchange.cancel_upstream()
        exchange.status = reply.status
        self._head = None
        fields = [(name.lower(), value) for name, value in reply.fields]
        route = exchange.route
        if route is not None and route.rules.hsts and self.hop.scheme == b"https":
            fields = [field for field in fields if field[0] != HSTS]
            fields.append((HSTS, route.rules.hsts))
        fields += ((b"server", b"txproxy"), (b"date", self.site.http_date()))
        body = reply.body
        if reply.status not in NO_CONTENT:
            fields.append((b"content-length", b"%d" % len(body)))
        else:
            body = b""
        if self._is_head:
            body = b""
        block = encode_status(reply.status) + write_section(fields) + encode_unique(b"x-request-id", exchange.id)
        exchange.bytes_out = len(body)
        exchange.head_sent = True
        exchange.end_reason = reply.reason
        self._has_ended = True
        self._engine.send_head(self.id, block, not body)
        if body:
            self._send(body)
        if not self._waiting:
            self._finish(reply.reason, self.site.clock())
        self._connection.flush_soon(len(body))

    def fail(self, exchange: Exchange, error: ProxyError) -> None:
        """End an exchange with an error: a reply that says so, or a reset if one has begun."""
        if exchange.ended:
            return
        exchange.failed(error)
        self.site.log_failure(exchange, error)
        if exchange.head_sent or not error.status:
            self._reset(error)
        else:
            self.respond(exchange, error_reply(exchange, error))

    def _break(self, error: ProxyError) -> None:
        """End an exchange whose request is malformed (RFC 9113 section 8.1.1)."""
        exchange = self.exchange
        exchange.failed(error)
        self.site.log_failure(exchange, error)
        if not exchange.head_sent:
            exchange.status = error.status
        self._reset(error, ErrorCodes.PROTOCOL_ERROR, True)

    def cut(self, error: ProxyError) -> None:
        """End the exchange: the time for a graceful stop is over, or the client reads nothing."""
        exchange = self.exchange
        if not exchange.ended:
            exchange.failed(error)
            self.site.log_failure(exchange, error)
            if not exchange.head_sent:
                exchange.status = error.status or ClientLeft.status
            self._reset(error, ErrorCodes.CANCEL)

    def _reset(self, error: ProxyError, code: ErrorCodes | None = None, blame: bool = False) -> None:
        if code is None:
            code = ErrorCodes.CANCEL if isinstance(error, DownstreamError) else ErrorCodes.INTERNAL_ERROR
        self.exchange.cancel_upstream()
        self._engine.reset(self.id, code, blame)
        self._finish(error.end_reason, self.site.clock())
        self._connection.flush()

    # The end.

    def was_reset(self, by_peer: bool) -> None:
        """Take note that the stream was ended early."""
        if by_peer:
            self.client_left()
        else:
            self._break(BadBody("the client has broken a rule of HTTP/2 on this stream"))

    def client_left(self, error: ProxyError | None = None) -> None:
        """The client has left: whoever works for it is told to stop.

        :param error: why its connection has ended, if it did not simply leave.
        """
        exchange = self.exchange
        if not exchange.ended:
            exchange.cancel_upstream()
            error = error or ClientLeft()
            exchange.failed(error)
            if error.status == ClientLeft.status or not exchange.head_sent:
                exchange.status = error.status
            self._finish(error.end_reason, self.site.clock())

    def _finish(self, end_reason: str, now: float) -> None:
        exchange = self.exchange
        exchange.ended = True
        exchange.end_reason = end_reason
        exchange.ended_at = now
        attempt, exchange.attempt = exchange.attempt, None
        if attempt is not None:
            attempt.cancel()  # It would end a tunnel that is too old.
        exchange.bytes_out -= len(self._waiting)
        self._waiting = b""
        self._head = None
        self.exchange = _ENDED
        self.valve = NO_VALVE
        self.site.deadlines.forget(self)
        if not self._is_complete and self._engine.is_open(self.id):
            # RFC 9113 section 8.1: what is left of the request is not wanted. Some clients lose a reply that a reset
            # follows at once, so that they are given the time to end the stream themselves.
            self._connection.linger(self)
            self._expect(_LINGER_S)
        self._connection.ended(self)
        self.site.exchange_ended(exchange)

    def _expect(self, patience_s: float) -> None:
        self.deadline = self.site.clock() + patience_s
        if self.deadline < self.look_at:
            self.site.deadlines.watch(self)

    # What the reading half does.

    def pauseProducing(self) -> None:
        """See ``Valve``."""
        raise NotImplementedError

    def resumeProducing(self) -> None:
        """See ``Valve``."""
        raise NotImplementedError

    def stopProducing(self) -> None:
        """Nobody calls it."""

    def awaits_body(self) -> None:
        """Start the clock for the request's body."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"<Http2Stream {self.id} {self.exchange!r}>"
