"""One stream of a client's HTTP/2 connection that goes on as a tunnel: CONNECT, and WebSocket (RFC 8441).

Content that comes before a backend has agreed waits, up to the window; without an agreement nobody gets it.
"""

from __future__ import annotations

import os
from base64 import b64encode

from txproxy.bridge.body import RequestBody
from txproxy.bridge.valve import Valve
from txproxy.downstream.http2_replying import ReplyingStream
from txproxy.errors import BadReply, ProxyError
from txproxy.exchange import Exchange
from txproxy.wire.messages import ReplyHead, RequestHead
from txproxy.wire.upgrade import KEY
from txproxy.wire.websocket import Frames, going_away

_WEBSOCKET = b"websocket"
_KEY_BYTES = 16
_OF_HTTP1 = frozenset((b"content-length", b"sec-websocket-accept"))


class TunnellingStream(ReplyingStream):
    """A stream that may become a tunnel."""

    __slots__ = ("_early", "_frames")

    _early: RequestBody
    _frames: Frames
    """Of what the client sends."""

    def _prepare_tunnel(self, request: RequestHead) -> RequestHead:
        """Hold what comes until a backend has agreed; return the request as a backend may understand it."""
        self.valve = Valve(self)
        self._early = RequestBody(self.valve)
        self._frames = Frames()
        if request.protocol.lower() != _WEBSOCKET:
            return request
        # By HTTP/1.1 a key shows that a server has understood; by HTTP/2 there is none (RFC 8441 section 5).
        key = b64encode(os.urandom(_KEY_BYTES))
        fields = [field for field in request.fields if field[0].lower() != KEY]
        return request.with_fields([*fields, (b"Sec-WebSocket-Key", key)])

    def start_tunnel(self, exchange: Exchange, reply: ReplyHead) -> None:
        """Tell the client that all is well, and pass on what comes from now on."""
        head = reply.copy()
        head.fields = [field for field in head.fields if field[0].lower() not in _OF_HTTP1]
        if head.status == 101:
            head.status, head.reason = 200, b"OK"
        super().start_reply(exchange, head)
        self._send_head()
        self._connection.flush_soon(0)
        body = exchange.body = self._early
        early = b"".join(body.attach(exchange.server))
        body.let_go()
        if early:
            exchange.server.send_body(early)
        if self._is_complete and not exchange.ended:
            self._client_ended()

    def start_reply(self, exchange: Exchange, reply: ReplyHead) -> None:
        """Take the head of a final reply; one that says yes to a tunnel, and is none, is an error."""
        request = exchange.request
        if reply.status < 300 and request is not None and request.is_for_tunnel:
            self.fail(exchange, BadReply(f"status {reply.status} for what should be a tunnel"))
        else:
            super().start_reply(exchange, reply)

    def cut(self, error: ProxyError) -> None:
        """End the exchange: the time for a graceful stop is over. WebSockets are told so (RFC 6455 section 7.4)."""
        exchange = self.exchange
        server = exchange.server
        if exchange.ended or not exchange.is_tunnel or server is None:
            super().cut(error)
            return
        if server.may_close and self._frames.may_close:
            server.send_body(going_away(os.urandom(4)))
        goodbye = going_away() if server.may_close else b""
        exchange.failed(error)
        exchange.end_reason = error.end_reason
        self._leave_tunnel(goodbye)

    def _client_ended(self) -> None:
        """The client sends no more, and reads on: a stream has two ends (RFC 9113 section 8.5, RFC 8441 section 5).

        Browsers end their side with their close frame, and wait for the backend's.
        """
        exchange, frames = self.exchange, self._frames
        is_websocket = exchange.request.protocol.lower() == _WEBSOCKET  # type: ignore[union-attr]
        if is_websocket and not frames.has_closed and not frames.is_lost:
            self._leave_tunnel()  # It has gone without a word: what the backend still says is for nobody.
        elif exchange.server is not None:
            exchange.server.client_ended(is_websocket, is_websocket and frames.has_closed)

    def _leave_tunnel(self, last: bytes = b"") -> None:
        """The client has gone, or we have it so: the backend gets what it has sent, and the stream ends.

        :param last: what is still sent to the client.
        """
        exchange = self.exchange
        server, exchange.server = exchange.server, None
        if exchange.body is not None:
            exchange.body.detach()
        if server is not None:
            server.end_tunnel()
            self.end_reply(last, [], self.site.clock())
