"""A connection of a client that speaks HTTP/1.1: reads its requests, one after the other, and starts each exchange.

Requests that are pipelined wait, up to a watermark, until the reply before them is out, so that replies leave in order
(RFC 9112 section 9.3.2). As a producer it stands for the backend's transport: when the client reads too slowly, this
connection's transport pauses it, and it has the backend's connection paused.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from txproxy.bridge.body import RequestBody
from txproxy.bridge.valve import Valve
from txproxy.downstream.lingering import ON_ITS_WAY_S
from txproxy.downstream.tunnelling import TunnellingConnection
from txproxy.errors import (
    BadBody,
    BadRequest,
    ClientLeft,
    InternalError,
    ProxyError,
    RequestTimeout,
    UnsupportedVersion,
    WriteTimeout,
)
from txproxy.exchange import Exchange
from txproxy.observe.access_log import escape
from txproxy.observe.log import shows_debug
from txproxy.policy.deadlines import NEVER
from txproxy.policy.facts import TlsFacts
from txproxy.wire.bodies import ChunkedReader, LengthReader
from txproxy.wire.forwarding import request_id_of
from txproxy.wire.h1 import parse_request_line
from txproxy.wire.heads import END_OF_HEAD, HeadGatherer, skip_empty_lines
from txproxy.wire.http2.frames import PREFACE_HEAD, PREFACE_LINE
from txproxy.wire.limits import MAX_LEADING_BYTES
from txproxy.wire.messages import RequestHead

_CR = 0x0D
_MOST_SHOWN_BYTES = 512
"""Of a head that was refused, in the debug log."""


@implementer(IPushProducer, IHalfCloseableProtocol)
class Http1Connection(TunnellingConnection):
    """One client connection.

    :param site: the listener that it belongs to.
    """

    def __init__(self, site: Any) -> None:
        super().__init__(site)
        self._gatherer: HeadGatherer | None = None
        self._head_started_at = 0.0
        self._empty_bytes = 0
        """Of empty lines since the last request."""

    # What Twisted calls.

    def connectionMade(self) -> None:
        """Serve a client whose connection is not encrypted."""
        self._begin_to_serve(self.peer)
        self.site.opened(self)

    def take_over(self, transport: Any, tls: TlsFacts, router: Any, peer: str = "") -> None:
        """Serve a client whose handshake another protocol has seen through; the site counts the connection already.

        :param transport: of the connection; from now on this is its protocol.
        :param router: sends the exchanges of this connection on.
        :param peer: address of its peer, if that is known already.
        """
        self.tls = tls
        self.router = router
        self.transport = transport
        self.connected = 1
        transport.protocol = self
        self._begin_to_serve(peer)

    def _begin_to_serve(self, peer: str = "") -> None:
        """Take part in flow control, and wait for the first request."""
        transport = self.transport
        self.valve = Valve(transport)
        self.hop = hop = self.site.hop_of(transport, self.tls, peer)
        self.peer = peer or hop.peer.decode("latin-1")
        transport.registerProducer(self, True)
        self._await_request()

    def dataReceived(self, data: bytes) -> None:
        """Read a head, a body, or what waits its turn."""
        if self.exchange is not None or self.is_full:
            if self._reader is not None:
                self._read_body(data)
            else:
                self._hold(data)
        elif self._closing:
            self._discard(data)
        elif self._gatherer is None and 0 <= data.find(END_OF_HEAD) == len(data) - 4:
            self._read(data, True)
        else:
            self._read(data)

    def readConnectionLost(self) -> None:
        """The client sends no more. While it is owed a reply that means that it has left, as nginx sees it too."""
        exchange = self.exchange
        self._read_closed = True
        if exchange is not None and self._reader is not None and not exchange.head_sent:
            self.fail(exchange, BadBody("the body was cut"))
        elif exchange is not None and not exchange.is_tunnel:
            self.transport.abortConnection()
            self._left()
        else:
            self._left()
            self._refuse_partial_head()
            self.transport.unregisterProducer()
            self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """Our side of the connection is shut after the last reply; the client's may be open still."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell whoever works for this client."""
        self._closing = True
        self.site.deadlines.forget(self)
        self._left()
        self._refuse_partial_head()
        self.site.closed(self)

    def _refuse_partial_head(self) -> None:
        """A head that was begun and given up is a request too, and makes its line in the log."""
        if self._gatherer is not None:
            self._gatherer = None
            exchange = Exchange(self.site.next_id(), None, self, self._head_started_at)
            exchange.peer = exchange.client_address = self.peer
            exchange.failed(ClientLeft())
            exchange.status = ClientLeft.status
            self._closing = True
            self._finish(exchange, ClientLeft.end_reason)

    def pauseProducing(self) -> None:
        """The client reads too slowly: the backend has to wait."""
        self.is_full = True
        exchange = self.exchange
        if exchange is not None and exchange.server is not None:
            exchange.server.pause_reply()
        self._unread_before = self._unread()
        self._expect(self.settings.write_timeout_s)

    def resumeProducing(self) -> None:
        """The client has caught up: the backend may go on, or the next request may begin."""
        self.is_full = False
        self.deadline = NEVER
        exchange = self.exchange
        if exchange is None:
            if not self._closing:
                self._next()
        elif exchange.server is not None:
            exchange.server.resume_reply()
        self._awaits_body()

    def stopProducing(self) -> None:
        """The transport is lost; ``connectionLost`` says the rest."""

    def deadline_passed(self) -> None:
        """The client has kept us waiting."""
        exchange = self.exchange
        if self._closing:
            self._closing_takes_long()
        elif self.is_full:
            if self._reads_on():
                self._expect(self.settings.write_timeout_s)
            elif exchange is not None:
                self.fail(exchange, WriteTimeout())
            else:
                self._close(abort=True)
        elif exchange is not None:
            if self._backend_is_awaited(exchange):
                return
            if self._reader is not None and not self.valve.reasons:
                self.fail(exchange, RequestTimeout("the body stalled"))
            elif self._reader is not None:
                self._expect(self.settings.body_timeout_s)
        elif self._gatherer is not None:
            self._refuse(RequestTimeout("the head was not complete in time"))
        else:
            self._close(abort=self._queued() > 0)

    # Requests.

    def _read(self, data: bytes, is_one_head: bool = False) -> None:
        """Start the requests in ``data`` one by one, as long as each has ended before the next.

        :param is_one_head: it is known to be one complete head, the usual case.
        """
        self._busy = True
        clock = self.site.clock
        now = clock()
        try:
            if is_one_head and data[0] != _CR:
                data = self._start(data, b"", now)
            while data and not self._closing:
                if self.exchange is not None or self.is_full:
                    self._hold(data)
                    break
                data = self._read_head(data)
        except ProxyError as error:
            if shows_debug():
                refused = data if self._gatherer is None else self._gatherer.seen(_MOST_SHOWN_BYTES)
                error.detail += f"; refused: {escape(refused[:_MOST_SHOWN_BYTES]).decode('ascii')}"
            self._refuse(error)
        except Exception:
            self.site.log_bug(Failure(), self.exchange)
            self._refuse(InternalError(logged=True))
        finally:
            self._busy = False
        if self.exchange is None and self._gatherer is None and not self._closing and not self.is_full:
            if self.valve.reasons:
                self.valve.open_wide()
            self._await_request(now)

    def _read_head(self, data: bytes) -> bytes:
        """Start one request, or gather its head; return what follows it."""
        gatherer = self._gatherer
        if gatherer is None:
            if data[0] == _CR:
                data = self._skip_empty_lines(data)
            end = data.find(END_OF_HEAD) + 4
            if end == 3:
                if data:
                    self._gatherer = HeadGatherer(self.settings.limits)
                    self._head_started_at = self.site.clock()
                    self._expect(self.settings.header_timeout_s)
                    return self._gather(data)
                return b""
            return self._start(data[:end], data[end:], self.site.clock())
        return self._gather(data)

    def _gather(self, data: bytes) -> bytes:
        gatherer = self._gatherer
        assert gatherer is not None
        found = gatherer.feed(data)
        if found is None:
            line = gatherer.first_line()
            if line and not (self._may_switch and line == PREFACE_LINE):
                parse_request_line(line, self.settings.limits)
            return b""
        head, rest = found
        if head[0] == _CR:
            head = self._skip_empty_lines(head)
            if not head:
                self._gatherer = None
                return rest
        started_at, self._head_started_at = self._head_started_at, 0.0
        self._gatherer = None
        return self._start(head, rest, started_at)

    def _skip_empty_lines(self, data: bytes) -> bytes:
        """Skip the empty lines before a request, however many pieces they come in."""
        after = skip_empty_lines(data)
        self._empty_bytes += len(data) - len(after)
        if self._empty_bytes > MAX_LEADING_BYTES:
            raise BadRequest("empty lines before the request line")
        return after

    def _start(self, head: bytes, rest: bytes, started_at: float) -> bytes:
        site = self.site
        try:
            request = site.parser.parse(head)
        except UnsupportedVersion:
            if self._may_switch and head == PREFACE_HEAD:
                return self._switch(head + rest)
            raise
        self.requests += 1
        self._empty_bytes = 0
        if self.hop.trusted:
            exchange = Exchange(request_id_of(request) or site.next_id(), request, self, started_at)
            exchange.client_address = site.client_of(self.peer, request)
        else:
            next_id = site.next_id
            exchange = Exchange(next_id(), request, self, started_at)
            exchange.client_address = self.peer
        exchange.peer = self.peer
        self.exchange = exchange
        self.deadline = NEVER
        if request.content_length is not None or request.chunked:
            return self._start_with_body(exchange, request, rest)
        try:
            self.router.start(exchange)
        except ProxyError as error:
            self.fail(exchange, error)
        return rest

    @property
    def _may_switch(self) -> bool:
        """Whether the client may turn out to speak HTTP/2: over TLS that is settled by ALPN (RFC 9113 section 3.2)."""
        return not self.requests and self.tls is None

    def _switch(self, data: bytes) -> bytes:
        """Let a connection of HTTP/2 take over, the client has known that it can (RFC 9113 section 3.3)."""
        self._closing = True
        self.site.deadlines.forget(self)
        self.transport.unregisterProducer()
        connection = self.site.make_http2()
        self.site.handed_over(self, connection)
        connection.take_over(self.transport, None, self.router, self.peer)
        connection.dataReceived(data)
        return b""

    def _begin(self, exchange: Exchange) -> None:
        try:
            self.router.start(exchange)
        except ProxyError as error:
            self.fail(exchange, error)
        except Exception:
            self.site.log_bug(Failure(), exchange)
            self.fail(exchange, InternalError(logged=True))

    def _start_with_body(self, exchange: Exchange, request: RequestHead, rest: bytes) -> bytes:
        if not request.has_body:
            self._begin(exchange)
            return rest
        length = request.content_length
        self._reader = LengthReader(length) if length else ChunkedReader(BadBody)
        exchange.body = RequestBody(self.valve)
        if rest and length and len(rest) >= length:
            # The whole request has come: its head and body can go upstream in one write.
            self._read_body(rest)
            rest, self._buffer = bytes(self._buffer), b""
            self._begin(exchange)
            return rest
        self._begin(exchange)
        if exchange.ended:
            return b""
        if rest:
            self._read_body(rest)
            rest, self._buffer = bytes(self._buffer), b""
        self._told_to_go_on = False
        self._awaits_body()
        return rest

    def _refuse(self, error: ProxyError) -> None:
        """Answer something that is not a request, and read nothing more."""
        self._gatherer = None
        exchange = self.exchange
        if exchange is None:
            started_at, self._head_started_at = self._head_started_at or self.site.clock(), 0.0
            exchange = self.exchange = Exchange(self.site.next_id(), None, self, started_at)
            exchange.peer = exchange.client_address = self.peer
        self.fail(exchange, error)

    # The end of exchanges and of the connection.

    def _exchange_finished(self, exchange: Exchange, abort: bool) -> None:
        if exchange.attempt is not None:
            self._forget_age(exchange)
        if self._closing:
            return
        if not self._keep_alive or abort:
            # It closes because we want it: the client may have sent more already.
            ours = exchange.request is not None and exchange.request.keep_alive and not self.site.draining
            self._close(abort, exchange.error is not None and exchange.error.closes, ours)
        elif not self._busy and not self.is_full:
            self._next()

    def _next(self) -> None:
        if self.valve.reasons:
            self.valve.open_wide()
        data, self._buffer = bytes(self._buffer), b""
        if data:
            self._read(data)
        else:
            self._await_request()

    def drain(self) -> None:
        """Close if no request is under way, or may be on its way: the proxy is stopping."""
        if self.exchange is not None or self._gatherer is not None or self._closing:
            return
        now = self.site.clock()
        silent_s = now + self.settings.keepalive_timeout_s - self.deadline
        if self.is_full or silent_s >= ON_ITS_WAY_S:
            self._close(abort=False)
        else:
            self._expect(ON_ITS_WAY_S - max(silent_s, 0.0), now)

    def __repr__(self) -> str:
        state = "closing" if self._closing else "busy" if self.exchange is not None else "idle"
        return f"<Http1Connection {state}, {self.requests} requests>"
