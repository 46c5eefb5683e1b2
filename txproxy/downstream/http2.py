"""A connection of a client that speaks HTTP/2 (RFC 9113): feeds its streams, and ends with or without grace.

As a producer it stands for all of its streams: when the client reads too slowly, none of them may send. What a stream
cannot send waits in the stream; whoever waits is served in turn, a frame each.
"""

from __future__ import annotations

from typing import Any

from h2.errors import ErrorCodes
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from txproxy.bridge.body import HIGH_WATERMARK_BYTES
from txproxy.bridge.valve import Reason, Valve
from txproxy.downstream.http2_stream import Http2Stream
from txproxy.downstream.http2_writing import WritingConnection
from txproxy.errors import BadRequest, InternalError, ProxyError, RequestTimeout, WriteTimeout
from txproxy.exchange import Exchange
from txproxy.observe.log import Logger
from txproxy.policy.deadlines import NEVER
from txproxy.policy.facts import TlsFacts
from txproxy.wire.http2 import events
from txproxy.wire.http2.engine import HIGHEST_STREAM_ID

log = Logger()

_ANSWER_S = 1.0
"""How long a client may take to show that it has read the first GOAWAY."""

_MOST_QUEUED_BYTES = 4 * HIGH_WATERMARK_BYTES
"""With more than this to be sent to it, a client is not read from: all that it can ask for is more."""

_STAYS, _ANNOUNCED, _FINAL = range(3)


@implementer(IPushProducer, IHalfCloseableProtocol)
class Http2Connection(WritingConnection):
    """One client connection.

    :param site: the listener that it belongs to.
    """

    router: Any
    version = b"2.0"

    def __init__(self, site: Any) -> None:
        super().__init__(site)
        self.streams: dict[int, Http2Stream] = {}
        self.requests = 0
        self._lingering: dict[int, Http2Stream] = {}
        """Streams whose replies are complete before their requests are."""
        self._leaving = _STAYS
        # Each is a moment at which something is overdue; what is not awaited is NEVER.
        self._begin_until = self._answer_until = self._block_until = self._idle_until = NEVER
        self._blocks = 0
        """Header blocks that had come when the deadline was last looked at."""

    @property
    def under_way(self) -> int:
        """Exchanges that have not ended."""
        return len(self.streams)

    def exchanges(self) -> tuple[Exchange, ...]:
        """Return the exchanges that have not ended."""
        return tuple(stream.exchange for stream in self.streams.values())

    # What Twisted and those who hand over call.

    def take_over(self, transport: Any, tls: TlsFacts | None, router: Any, peer: str = "") -> None:
        """Serve a client from here on; the site counts the connection already.

        :param transport: of the connection; from now on this is its protocol.
        :param tls: what its handshake has settled; None if it is not encrypted.
        :param router: sends the exchanges of this connection on.
        :param peer: address of its peer, if that is known already.
        """
        self.tls = tls
        self.router = router
        self.transport = transport
        self.connected = 1
        transport.protocol = self
        self.valve = Valve(transport)
        self.hop = hop = self.site.hop_of(transport, tls, peer, self.version)
        self.peer = hop.peer.decode("latin-1")
        transport.registerProducer(self, True)
        self.engine.start()
        self.flush()
        self._begin_until = self.site.clock() + self.settings.header_timeout_s
        if self.site.draining:
            self.drain()
        self._plan()

    def dataReceived(self, data: bytes) -> None:
        """Read frames."""
        if self._closing:
            self._discard(data)
            return
        self._busy = True
        had_begun = self.engine.has_begun
        try:
            for event in self.engine.receive(data, self.site.clock()):
                _HANDLERS[type(event)](self, event)
        except Exception:
            self.site.log_bug(Failure())
            self._fail(ErrorCodes.INTERNAL_ERROR, InternalError(logged=True))
        self._busy = False
        if self._closing:
            return
        if self._bodies_begun:
            self._await_bodies()
        if self._may_pump:
            self._pump()
        self.flush()
        if not had_begun and self.engine.has_begun:
            self._begin_until = NEVER
            if not self.streams:
                self._idle_until = self.site.clock() + self.settings.keepalive_timeout_s
        if self.is_full and self._queued() > _MOST_QUEUED_BYTES:
            # What it asks for would wait here. Up to that it is listened to, so that it can say that it leaves.
            self.valve.shut(Reason.PEER_IS_SLOW)
        self._plan()

    def _await_bodies(self) -> None:
        begun = self._bodies_begun[:]
        self._bodies_begun.clear()
        for stream in begun:
            stream.awaits_body()

    def readConnectionLost(self) -> None:
        """The client sends no more, so that it can give no window back either: it has left."""
        self._read_closed = True
        if self._closing:
            self.transport.loseConnection()
        else:
            self._shut(abort=bool(self.streams), unread=False, is_short=False)
            self._left()

    def writeConnectionLost(self) -> None:
        """Our side of the connection is shut after the last frame; the client's may be open still."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell whoever works for this client."""
        self._closing = True
        self.site.deadlines.forget(self)
        self._left()
        for stream_id in tuple(self._lingering):
            self.linger_no_more(stream_id)
        self.engine.release()
        self.site.closed(self)

    def pauseProducing(self) -> None:
        """The client reads too slowly: all backends have to wait."""
        self.is_full = True
        for stream in tuple(self.streams.values()):
            stream.pause()
        self._unread_before = self._unread()
        self._expect(self.settings.write_timeout_s)

    def resumeProducing(self) -> None:
        """The client has caught up."""
        self.is_full = False
        self.valve.open(Reason.PEER_IS_SLOW)
        self.deadline = NEVER
        self._pump()
        if not self.is_full:
            for stream in tuple(self.streams.values()):
                stream.resume()
            self._plan()

    def stopProducing(self) -> None:
        """The transport is lost; ``connectionLost`` says the rest."""

    def deadline_passed(self) -> None:
        """The client has kept us waiting."""
        now = self.site.clock()
        if self._closing:
            self._closing_takes_long()
        elif self.is_full:
            if self._reads_on():
                self._expect(self.settings.write_timeout_s)
            else:
                self.cut(WriteTimeout())
        elif self._answer_until <= now:
            self._say_last()
        elif min(self._begin_until, self._block_until) <= now:
            self._fail(ErrorCodes.PROTOCOL_ERROR, RequestTimeout("a head, or the preface, was not complete in time"))
        elif self._idle_until <= now and not self.streams:
            self._say_last()
        else:
            self._plan()

    # What comes.

    def _head_received(self, event: events.HeadReceived) -> None:
        stream = Http2Stream(self, event.stream_id)
        self.requests += 1
        self._idle_until = NEVER
        self.streams[event.stream_id] = stream
        stream.begin(event.fields, event.ended)
        if self.requests >= self.settings.keepalive_requests:
            self.drain()

    def _data_received(self, event: events.DataReceived) -> None:
        stream = self.streams.get(event.stream_id)
        if stream is not None:
            stream.data_received(event.data, event.credit, event.ended)
        elif event.ended:
            self.linger_no_more(event.stream_id)

    def _trailers_received(self, event: events.TrailersReceived) -> None:
        stream = self.streams.get(event.stream_id)
        if stream is not None:
            stream.trailers_received(event.fields)
        else:
            self.linger_no_more(event.stream_id)

    def _stream_reset(self, event: events.StreamReset) -> None:
        stream = self.streams.get(event.stream_id)
        if stream is not None:
            stream.was_reset(event.by_peer)
        else:
            self.linger_no_more(event.stream_id)

    def _window_opened(self, event: events.WindowOpened) -> None:
        if not event.stream_id or event.stream_id in self._waiting:
            self._may_pump = True

    def _settings_changed(self, event: events.SettingsChanged) -> None:
        self._may_pump = True

    def _ping_answered(self, event: events.PingAnswered) -> None:
        if self._leaving == _ANNOUNCED:
            self._say_last()

    def _peer_goes_away(self, event: events.PeerGoesAway) -> None:
        """A client that leaves opens no more streams; those that it has opened are completed."""
        if self._leaving != _FINAL:
            self._say_last()

    def _connection_failed(self, event: events.ConnectionFailed) -> None:
        log.debug(
            "listener {listener}: HTTP/2 with {peer} failed by {code}: {words}",
            listener=self.settings.name,
            peer=self.peer,
            code=event.code.name,
            words=event.words,
        )
        self._end_after_failure(event.code, BadRequest(event.words))

    # The end of streams and of the connection.

    def ended(self, stream: Http2Stream) -> None:
        """Take note of the end of a stream."""
        self.streams.pop(stream.id, None)
        self._waiting.pop(stream.id, None)
        if not self.streams and not self._closing:
            self._idle_until = self.site.clock() + self.settings.keepalive_timeout_s
            if not self._busy:
                self._plan()

    def linger(self, stream: Http2Stream) -> None:
        """Throw away what is still to come on a stream."""
        self._lingering[stream.id] = stream

    def linger_no_more(self, stream_id: int) -> None:
        """Take note that nothing more is to come on a stream."""
        stream = self._lingering.pop(stream_id, None)
        if stream is not None:
            self.site.deadlines.forget(stream)

    def drain(self) -> None:
        """Have the client open no more streams, without losing one that is on its way (RFC 9113 section 6.8).

        It is told that we are going, then, when it has read that, which stream was the last.
        """
        if self._leaving == _STAYS and not self._closing:
            self._leaving = _ANNOUNCED
            self.engine.go_away(HIGHEST_STREAM_ID)
            self.engine.ping()
            self.flush()
            self._answer_until = self.site.clock() + _ANSWER_S
            self._plan()

    def _say_last(self) -> None:
        self._leaving = _FINAL
        self._answer_until = NEVER
        self.engine.go_away(self.engine.last_peer_stream_id)
        self.flush()
        self._plan()

    def _plan(self) -> None:
        """Set the deadline that the present state asks for, or close if nothing is left to be done."""
        if self._closing or self.is_full or self._busy:
            return
        if self._leaving == _FINAL and not self.streams:
            self.flush()
            self._shut(abort=False, unread=True, is_short=False)
            return
        engine = self.engine
        if not engine.is_in_block:
            self._block_until = NEVER
        elif self._block_until == NEVER or self._blocks != engine.blocks:
            self._block_until = self.site.clock() + self.settings.header_timeout_s
        self._blocks = engine.blocks
        self.deadline = min(self._begin_until, self._answer_until, self._block_until, self._idle_until)
        if self.deadline < self.look_at:
            self.site.deadlines.watch(self)

    def _fail(self, code: ErrorCodes, error: ProxyError) -> None:
        self.engine.fail(code, error.detail)
        self._end_after_failure(code, error)

    def _end_after_failure(self, code: ErrorCodes, error: ProxyError) -> None:
        """Close after the GOAWAY that says why; whoever works for this client is told to stop."""
        self.site.tools.counters.http2_failures[code.name.lower()] += 1
        self._busy = False
        self.flush()
        if not self.streams:
            self._log_refusal(error)
        self._shut(abort=False, unread=True, is_short=True)
        self._left(error)

    def _log_refusal(self, error: ProxyError) -> None:
        """What is refused before it is a request makes its line in the log too."""
        site = self.site
        exchange = Exchange(site.next_id(), None, self, site.clock())
        exchange.peer = exchange.client_address = self.peer
        exchange.failed(error)
        exchange.status = error.status
        exchange.end_reason = error.end_reason
        exchange.ended = True
        exchange.ended_at = exchange.started_at
        site.exchange_ended(exchange)

    def _left(self, error: ProxyError | None = None) -> None:
        for stream in tuple(self.streams.values()):
            stream.client_left(error)

    def cut(self, error: ProxyError) -> None:
        """End whatever is under way: the time for a graceful stop is over."""
        self._closing = True
        is_tunnel = self.is_tunnel
        for stream in tuple(self.streams.values()):
            stream.cut(error)
        if is_tunnel:  # What its two sides are told at the end is to get there.
            self.flush()
            self.transport.unregisterProducer()
            self.transport.loseConnection()
        else:
            self.transport.abortConnection()

    @property
    def is_tunnel(self) -> bool:  # type: ignore[override]
        """Whether any of its streams carries a tunnel."""
        return any(stream.exchange.is_tunnel for stream in self.streams.values())

    def __repr__(self) -> str:
        state = "closing" if self._closing else f"{len(self.streams)} streams"
        return f"<Http2Connection {state}, {self.requests} requests>"


_HANDLERS = events.handlers_of(Http2Connection)
