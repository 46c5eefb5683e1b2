"""A connection to a backend that speaks HTTP/2 (RFC 9113): carries many requests at once, each on a stream of its own.

It is of use once the backend's SETTINGS have come: only then it is known that the backend speaks HTTP/2, and how many
requests it takes.
"""

from __future__ import annotations

from typing import Any

from h2.errors import ErrorCodes
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from txproxy.errors import ConnectFailed, ConnectTimeout, NoHttp2, ProxyError, TlsFailed
from txproxy.policy.deadlines import NEVER
from txproxy.tls.verification import PeerRefused
from txproxy.upstream.http2_carrying import CarryingConnection
from txproxy.upstream.http2_stream import Http2Stream
from txproxy.upstream.shared_pool import MOST_STREAMS, SharedConnection
from txproxy.upstream.tools import UpstreamTimeouts, UpstreamTools
from txproxy.wire.http2 import events

_MOST_QUEUED_BYTES = 1 << 22
"""For a backend that reads nothing: answers to its questions (PING, SETTINGS), requests and the news that they are
cancelled. Content does not count, it waits elsewhere."""


class Http2Connection(CarryingConnection, SharedConnection):
    """One connection to a backend.

    :param backend: see ``CarryingConnection``; likewise the others.
    """

    refusal = ""
    has_spoken = False
    """For the pool: whatever is said before ``greeted`` is reported by that."""

    def __init__(self, backend: Any, timeouts: UpstreamTimeouts, tools: UpstreamTools, scheme: bytes = b"http") -> None:
        super().__init__(backend, timeouts, tools, scheme)
        SharedConnection.__init__(self)
        self._greeting: Deferred[Any] | None = None
        self._failure: ProxyError | None = None
        """Why the connection ended, before somebody waited for its greeting."""

    # What Twisted calls.

    def connectionMade(self) -> None:
        """Say the first word."""
        self._is_open = True
        self.transport.registerProducer(self, True)
        if getattr(self.transport, "ssl", None) is not None:
            self.transport.has_unread_or_closed()  # What it has against us: a write that fails would destroy that.
        self.engine.start()
        self.flush()

    def dataReceived(self, data: bytes) -> None:
        """Read frames."""
        if not self._is_open:
            return
        self.read_clock()
        self.reads += 1
        self._busy = True
        for event in self.engine.receive(data, self.now):
            _HANDLERS[type(event)](self, event)
            if not self._is_open:
                return
        fresh, self._fresh = self._fresh, {}
        for stream in fresh:
            self._guarded(stream, stream.pass_on)
        self._busy = False
        self._pump()
        self.flush()
        if self._is_open and self.is_full and self._queued() > _MOST_QUEUED_BYTES:
            self._fail("it reads nothing", NoHttp2)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell whoever depended on this connection."""
        if not self._is_open:
            self.engine.release()
            return
        self._is_open = False
        name, refused = self.backend.name, isinstance(reason.value, PeerRefused)
        error: ProxyError = ConnectFailed(f"{name} closed before its SETTINGS")
        words = f"{name} closed before its reply was complete"
        if refused:
            words = reason.value.words  # type: ignore[union-attr]
            error = TlsFailed(words)
            self.backend.complain(error)
        self._end(words, error, refused)

    def deadline_passed(self) -> None:
        """The backend has kept somebody waiting, or the connection idles for too long, or is too old."""
        self.read_clock()
        for stream in tuple(self._carried.values()):
            if stream.deadline <= self.now:
                stream.deadline = NEVER
                self._guarded(stream, stream.deadline_passed)
        if not self._is_open:
            return
        if not self.engine.has_begun:
            if self._idle_until <= self.now:
                self._fail("no SETTINGS in time", ConnectTimeout)
        elif not self.streams and self._idle_until <= self.now:
            self._leave_pool()
        elif self.stale_at <= self.now:
            self.let_go()
        self._plan()

    # What the pool and the backend ask.

    def greeted(self, deadline: float) -> Deferred[Any]:
        """Wait for the backend's SETTINGS.

        :param deadline: until when, in seconds of the monotonic clock.
        :return: fires with this connection, or fails with ConnectFailed, ConnectTimeout, TlsFailed or NoHttp2.
            Cancelling it closes the connection.
        """
        if self._failure is not None:
            return fail(self._failure)
        if self.engine.has_begun:
            return succeed(self)
        self._idle_until = deadline
        self._plan()
        self._greeting = Deferred(lambda _: self.drop())
        return self._greeting

    def hear_first(self) -> None:
        """Do nothing: what the backend has against us has come before its SETTINGS, or will come by itself."""

    def lease(self) -> Http2Stream:
        """Return a place for one request."""
        self._idle_until = NEVER
        if self.stale_at < self.deadline:
            self.watch(self.stale_at)
        return Http2Stream(self)

    def expect_idle(self, now: float) -> None:
        """Close after a while unless there is another exchange."""
        self.has_idled = True
        if self._is_open:
            self._idle_until = now + self.timeouts.idle_s
            self.watch(min(self._idle_until, self.stale_at))

    def retire(self) -> None:
        """Close, with no request under way; the pool has let go of it already."""
        self.in_pool = self.is_reusable = False
        if self._is_open:
            self.engine.go_away(0)
            self._close()

    def is_stale(self) -> bool:
        """Ask the kernel whether the backend has spoken just now, or closed, while it had nothing to say here."""
        ask = getattr(self.transport, "has_unread_or_closed", None)
        return self.streams == 1 and ask is not None and ask()

    # What streams ask.

    def leave(self, stream: Http2Stream, code: ErrorCodes) -> None:
        """Forget a stream, and give its place back.

        :param code: why it ends, if it has not ended by itself.
        """
        self._carried.pop(stream.id, None)
        self._waiting.pop(stream, None)
        self._fresh.pop(stream, None)
        if self._is_open:
            self.engine.reset(stream.id, code)
        if self.in_pool:
            if self.is_full and self._queued() > _MOST_QUEUED_BYTES:
                self.is_reusable = False  # Else one request after the other could be added, and be cancelled.
            if self.streams == 1:
                self.expect_idle(self.clock())
            self.backend.release(stream)
        self.flush()

    def let_go(self) -> None:
        """Take no more requests; those under way are completed."""
        if self.is_reusable:
            self.is_reusable = False
            if self.in_pool:
                self.backend.changed(self)

    # What comes.

    def _head_received(self, event: events.HeadReceived) -> None:
        stream = self._carried.get(event.stream_id)
        if stream is None:
            return
        if stream.is_unsent:
            words = "a reply to a request that had not been sent"
            self.engine.fail(ErrorCodes.PROTOCOL_ERROR, words)
            self._fail(words, NoHttp2)
            return
        self._guarded(stream, stream.head_received, event.fields, event.ended)

    def _data_received(self, event: events.DataReceived) -> None:
        stream = self._carried.get(event.stream_id)
        if stream is not None:
            self._guarded(stream, stream.data_received, event.data, event.credit, event.ended)

    def _trailers_received(self, event: events.TrailersReceived) -> None:
        stream = self._carried.get(event.stream_id)
        if stream is not None:
            self._guarded(stream, stream.trailers_received, event.fields)

    def _stream_reset(self, event: events.StreamReset) -> None:
        stream = self._carried.get(event.stream_id)
        if stream is not None:
            self._guarded(stream, stream.was_reset, event.code, event.by_peer)

    def _window_opened(self, event: events.WindowOpened) -> None:
        """All who wait are looked at when everything that has come together is read."""

    def _settings_changed(self, event: events.SettingsChanged) -> None:
        before, self.most_streams = self.most_streams, min(MOST_STREAMS, self.engine.peer_max_streams)
        if before < 0:
            self.is_reusable = True
            self._idle_until = NEVER
            greeting, self._greeting = self._greeting, None
            if greeting is not None:
                greeting.callback(self)
        elif self.in_pool and self.most_streams != before:
            self.backend.changed(self)

    def _ping_answered(self, event: events.PingAnswered) -> None:
        """Nobody asks."""

    def _peer_goes_away(self, event: events.PeerGoesAway) -> None:
        """Complete what the backend has begun with; it says itself that it will not begin with the rest."""
        self.was_ended, self.is_reusable = True, False
        if self.in_pool:
            self.backend.changed(self)
        for id, stream in tuple(self._carried.items()):
            if id > event.last_id:
                self._guarded(stream, stream.was_left_out)

    def _connection_failed(self, event: events.ConnectionFailed) -> None:
        words = event.words if self.engine.has_begun else "what it says first is no SETTINGS frame"
        self._fail(f"{words} ({event.code.name})", NoHttp2)

    # The end.

    def _fail(self, words: str, kind: type[ProxyError]) -> None:
        """Close: the backend breaks the rules, or says nothing."""
        words = f"{self.backend.name}: {words}"
        self._close()
        self._end(words, kind(words), False)

    def _end(self, words: str, error: ProxyError, refused: bool) -> None:
        """Tell everybody that the connection has gone.

        :param words: why, for streams.
        :param error: why, for who waits for the greeting.
        """
        self.is_reusable = self._is_open = False
        self._failure = error
        self._deadlines.forget(self)
        carried = tuple(self._carried.values())
        for streams in (self._carried, self._waiting, self._fresh):
            streams.clear()
        greeting, self._greeting = self._greeting, None
        if self.in_pool:
            self.in_pool = False
            self.backend.lost(self)
        elif greeting is not None:
            greeting.errback(Failure(error))
        for stream in carried:
            self._guarded(stream, stream.connection_failed, words, refused)
        self.engine.release()

    def drop(self) -> None:
        """Close at once: it has turned out to be dead, or nobody wants it any more."""
        if self._is_open:
            self._is_open = False
            self.transport.unregisterProducer()
            self.transport.abortConnection()
            self._end("dropped", ConnectFailed("dropped"), False)

    def _leave_pool(self) -> None:
        if self.in_pool:
            self.retire()
            self.backend.lost(self)

    def _close(self) -> None:
        """Say what is left to be said, and close."""
        is_stuck = self._queued() > 0
        self._busy = False
        self.flush()
        self._deadlines.forget(self)
        self._is_open = False
        self.transport.unregisterProducer()
        if is_stuck:
            self.transport.abortConnection()  # The backend reads no more: nobody would see it close.
        else:
            self.transport.loseConnection()

    def __repr__(self) -> str:
        state = "closed" if not self._is_open else "open" if self.is_reusable else "leaving"
        return f"<Http2Connection {state}, {len(self._carried)} streams, {self.requests} requests>"


_HANDLERS = events.handlers_of(Http2Connection)
