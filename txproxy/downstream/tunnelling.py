"""A client's connection of HTTP/1.1 that goes on as a tunnel (RFC 9110 section 7.8).

What the client sends is the content of a body without an end, what comes back that of a reply without one: the exchange
lasts as long as the tunnel, under the same flow control.
"""

from __future__ import annotations

import os

from txproxy.bridge.body import RequestBody
from txproxy.downstream.receiving import ReceivingConnection
from txproxy.errors import IdleTimeout, ProxyError, TooOld
from txproxy.exchange import Exchange
from txproxy.policy.deadlines import NEVER
from txproxy.wire.forwarding import NO_REPLY_RULES, without, write_reply_head
from txproxy.wire.messages import ReplyHead
from txproxy.wire.websocket import FrameReader, going_away, tunnel_reader


class TunnellingConnection(ReceivingConnection):
    """Becomes a tunnel when a backend agrees.

    :param site: the listener that it belongs to.
    """

    def start_tunnel(self, exchange: Exchange, reply: ReplyHead) -> None:
        """Tell the client that the protocol changes, and pass on all that comes from now on.

        :param reply: 101, or 2xx to CONNECT.
        """
        exchange.status = reply.status
        self._keep_alive = self._chunked = False
        self._until_close = True
        extra = b""
        if reply.status == 101:
            extra = b"\r\nUpgrade: %b\r\nConnection: Upgrade" % reply.known.get(b"upgrade", b"")
        route = exchange.route
        rules = NO_REPLY_RULES if route is None else route.reply_rules
        if reply.status != 101:
            reply = without(reply, b"content-length")  # RFC 9110 section 9.3.6: a tunnel has no length.
        tail = self.site.reply_tails[reply.version]
        self.transport.write(write_reply_head(reply, tail + exchange.id + extra + b"\r\n\r\n", rules))
        exchange.head_sent = True
        self._begin_body(exchange)

    def _begin_body(self, exchange: Exchange) -> None:
        body = exchange.body = RequestBody(self.valve)
        body.attach(exchange.server)
        body.let_go()
        self._reader = tunnel_reader(exchange.request.upgrade)  # type: ignore[union-attr]
        self.deadline = NEVER
        early, self._buffer = bytes(self._buffer), b""
        if self.valve.reasons:
            self.valve.open_wide()  # Bytes that came early are waited for no more.
        if early:
            self._read_body(early)

    def fail(self, exchange: Exchange, error: ProxyError) -> None:
        """End an exchange with an error; see ``ReplyingConnection``. A tunnel that is idle or old harms nobody."""
        if exchange.ended or not isinstance(error, IdleTimeout | TooOld):
            super().fail(exchange, error)
            return
        exchange.failed(error)
        self.site.log_failure(exchange, error)
        self._end_tunnel(exchange, error.end_reason)

    @property
    def is_tunnel(self) -> bool:  # type: ignore[override]
        """Whether it carries a tunnel."""
        return self.exchange is not None and self.exchange.is_tunnel

    def cut(self, error: ProxyError) -> None:
        """End what is under way: the time for a graceful stop is over. WebSockets are told (RFC 6455 section 7.4)."""
        exchange = self.exchange
        if exchange is None or not exchange.is_tunnel:
            super().cut(error)
            return
        server, reader = exchange.server, self._reader
        if server is not None and server.may_close:
            self.transport.write(going_away())
        if server is not None and isinstance(reader, FrameReader) and reader.frames.may_close:
            server.send_body(going_away(os.urandom(4)))
        exchange.failed(error)
        self._end_tunnel(exchange, error.end_reason)

    def _left(self) -> None:
        """The client has left: whoever works for it is told; what it has sent through a tunnel still gets there."""
        exchange = self.exchange
        if exchange is None or not exchange.is_tunnel:
            super()._left()
            return
        self._closing = True
        self._end_tunnel(exchange, "ok")

    def _forget_age(self, exchange: Exchange) -> None:
        """Cancel the call that ends a tunnel which is too old."""
        attempt, exchange.attempt = exchange.attempt, None
        attempt.cancel()

    def _end_tunnel(self, exchange: Exchange, end_reason: str) -> None:
        """Have the backend get what the client has sent, and close."""
        self._reader = None
        server, exchange.server = exchange.server, None
        if exchange.body is not None:
            exchange.body.detach()
        if server is not None:
            server.end_tunnel()
        self._finish(exchange, end_reason)
