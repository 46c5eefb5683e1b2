"""One request on a connection to a backend that speaks HTTP/2: for its exchange, and for the pool, a connection.

It tells the exchange's forwarding stage what happens (``interim_received``, ``reply_received``, ``upstream_failed``)
and gives content straight to the exchange's client, as ``http1`` does. Content is passed on as it comes; while the
client is slow the stream's window is not given back, so that no more comes than that.
"""

from __future__ import annotations

from typing import Any

from h2.errors import ErrorCodes

from txproxy.errors import BadReply, NoReply, ProxyError, ReplyCut, ReplyTimeout, TlsFailed, Unprocessed
from txproxy.exchange import Exchange
from txproxy.policy.deadlines import NEVER
from txproxy.upstream.http2_sending import NO_TRAILERS, SendingStream
from txproxy.upstream.tools import MOST_INTERIM_REPLIES
from txproxy.wire.fields import Field
from txproxy.wire.http2.replies import parse_reply, parse_reply_trailers
from txproxy.wire.messages import ReplyHead

_ENDLESS = (b"text/event-stream", b"application/grpc")
"""Beginnings of media types whose replies may say nothing for long, and be well."""


class Http2Stream(SendingStream):
    """A place on a connection, for one exchange.

    :param connection: where it belongs.
    """

    is_tunnel = False

    __slots__ = (
        "_arrived",
        "_begun",
        "_credit",
        "_has_all",
        "_heard_before",
        "_interim_replies",
        "_length_left",
        "_reused",
        "_trailers",
    )

    def __init__(self, connection: Any) -> None:
        super().__init__(connection)
        self._reused = connection.has_idled
        """The backend may have closed the connection meanwhile, and the news may be on its way."""
        self._heard_before = connection.reads
        self._interim_replies = 0
        self._begun = False
        """A part of a reply has come, be it an interim one."""
        self._arrived: list[bytes] = []
        """Content of the reply that was not passed on yet."""
        self._length_left: int | None = None
        """Of the reply's content; None if that was not said."""
        self._has_all = False
        """All of the reply has come; if it is held, it stays good whatever becomes of the stream."""
        self._trailers = NO_TRAILERS
        self._credit = 0
        """Bytes of the window that have not been given back."""

    def cancel(self) -> None:
        """Give up the exchange: the client left, or its body is broken. The backend is told at once."""
        self._exchange = None
        self._leave()

    def hand_back(self) -> None:
        """Give a place back that nothing was sent on."""
        self._leave()

    def discard(self) -> None:
        """Close the connection: it has turned out to be dead before anything was sent on it."""
        self.connection.drop()

    def is_stale(self) -> bool:
        """Ask the kernel whether the backend has spoken on an idle connection, or closed it, just now."""
        return bool(self.connection.is_stale())

    # The way of a reply.

    @property
    def is_unsent(self) -> bool:
        """Whether what the backend says now was said before the request could leave us."""
        return self._heard_before == self.connection.reads

    def head_received(self, fields: list[Field], ended: bool) -> None:
        """Take the head of a reply, be it an interim one.

        :param ended: it is all of the reply.
        """
        exchange = self._exchange
        if exchange is None:
            return
        self._begun = True
        try:
            reply = parse_reply(fields, ended, exchange.request.method)  # type: ignore[union-attr]
            if reply.status < 200:
                self._read_interim(exchange, reply)
                return
        except ProxyError as error:
            self._break(error)
            return
        exchange.reply = reply
        exchange.replied_at = self.connection.now
        self._length_left = reply.content_length
        self._has_all = ended
        if reply.known.get(b"content-type", b"").lower().startswith(_ENDLESS):
            self._patience_s = self._timeouts.stream_s
        if exchange.forward.reply_received(exchange, reply):
            if ended:
                self._complete(exchange)
            else:
                self.connection.pass_on_soon(self)
        elif self._exchange is exchange:
            self._is_deciding = True
            self.deadline = NEVER

    def _read_interim(self, exchange: Exchange, reply: ReplyHead) -> None:
        self._interim_replies += 1
        if self._interim_replies > MOST_INTERIM_REPLIES:
            raise BadReply("interim replies without end")
        if reply.status == 100:
            self._awaits_continue = False  # The client was told to go on: it has the next word.
        self._set_deadline(exchange)
        exchange.forward.interim_received(exchange, reply)

    def data_received(self, data: bytes, credit: int, ended: bool) -> None:
        """Take content of the reply; it is passed on with whatever else has come together with it.

        :param credit: what it has taken of the stream's window, in bytes.
        :param ended: it is the last.
        """
        left = self._length_left
        self._credit += credit
        if data:
            if left is not None:
                self._length_left = left = left - len(data)
                if left < 0:
                    self._break(BadReply("more content than Content-Length says"))
                    return
            self._arrived.append(data)
        if ended:
            self._end(NO_TRAILERS)
        else:
            self.connection.pass_on_soon(self)

    def trailers_received(self, fields: list[Field]) -> None:
        """Take the trailer section of the reply, and with it the end."""
        try:
            trailers = parse_reply_trailers(fields)
        except ProxyError as error:
            self._break(error)
            return
        self._end(trailers)

    def _end(self, trailers: list[Field]) -> None:
        exchange = self._exchange
        if exchange is None:
            return
        if self._length_left:
            self._break(BadReply("less content than Content-Length says"))
            return
        self._has_all, self._trailers = True, trailers
        if not self._is_deciding:
            self._complete(exchange)

    def go_on(self) -> None:
        """Pass on the reply that was held back while a stage was deciding."""
        exchange = self._exchange
        if exchange is None:
            return
        self._is_deciding = False
        if self._has_all:
            self.connection.read_clock()
            self._complete(exchange)
        else:
            self.pass_on()
            self.connection.flush()

    def pass_on(self) -> None:
        """Give the client what has come."""
        exchange = self._exchange
        if exchange is None or self._is_deciding:
            return
        arrived = self._arrived
        if arrived:
            data = arrived[0] if len(arrived) == 1 else b"".join(arrived)
            arrived.clear()
            exchange.client.write_reply(data)
        else:
            exchange.client.flush_reply()
        # While it was written to, the client may have turned out to be gone or slow.
        if self._exchange is exchange:
            if not self._is_paused:
                self._give_credit()
            self._set_deadline(exchange)

    def _give_credit(self) -> None:
        credit, self._credit = self._credit, 0
        if credit:
            self._engine.consumed(self.id, credit)

    def _complete(self, exchange: Exchange) -> None:
        """End the exchange here first, so that the client's next request finds this place free again."""
        client, now = exchange.client, self.connection.now
        self._exchange = exchange.server = None
        if exchange.body is not None:
            exchange.body.detach()
        self._leave()
        if self._backend.is_watched:
            exchange.cluster.completed(exchange, now)
        client.end_reply(b"".join(self._arrived), self._trailers, now)

    # The client's pace, and the backend's.

    def pause_reply(self) -> None:
        """The client reads too slowly: the backend has to wait, and is not blamed for it."""
        self._is_paused = True
        self._wait_for_client()

    def resume_reply(self) -> None:
        """The client has caught up."""
        self._is_paused = False
        if self._exchange is not None and not self._is_deciding:
            self._give_credit()
            self.connection.flush()
        self._wait_for_client()

    def _wait_for_client(self) -> None:
        exchange = self._exchange
        # What a client does before its reply has begun gives the backend no more time for that.
        if exchange is not None and exchange.reply is not None:
            self._set_deadline(exchange)

    def deadline_passed(self) -> None:
        """The backend has kept us waiting."""
        exchange = self._exchange
        if exchange is None:
            return
        if exchange.reply is None and self._reads_on():
            self._set_deadline(exchange)
        elif exchange.head_sent or exchange.reply is not None:
            self._fail(ReplyCut(f"{self._backend.name}: nothing for {self._patience_s} s"))
        else:
            if self.connection.reads == self._heard_before:
                self.connection.let_go()  # It may be as dead as it looks: no more requests for it.
            self._fail(ReplyTimeout(f"{self._backend.name}: no reply"))

    # Failures.

    def was_reset(self, code: int, by_peer: bool) -> None:
        """The stream has ended early.

        :param by_peer: else it was us, for the backend has broken a rule.
        """
        exchange = self._exchange
        if exchange is None or self._has_all:
            return
        name = self._backend.name
        words = (
            f"{name} reset the stream ({code_name(code)})" if by_peer else f"{name} broke a rule ({code_name(code)})"
        )
        if exchange.reply is not None:
            self._fail(ReplyCut(words))
        elif by_peer and code == ErrorCodes.REFUSED_STREAM and not self._begun:
            self._fail(Unprocessed(words))
        elif by_peer and code != ErrorCodes.HTTP_1_1_REQUIRED:
            self._fail(NoReply(words))
        else:
            self._fail(BadReply(words))

    def was_left_out(self) -> None:
        """The backend goes away, and says that it has not come to this request."""
        exchange, words = self._exchange, f"{self._backend.name} goes away"
        if exchange is None or self._has_all:
            return
        if exchange.reply is not None:
            self._fail(ReplyCut(words))
        elif self._begun:
            self._fail(NoReply(words))  # An interim reply says otherwise.
        else:
            self._fail(Unprocessed(words))

    def connection_failed(self, words: str, refused: bool) -> None:
        """The connection has gone; the pool knows.

        :param refused: the backend never came to the end of its handshake: it has not read what was sent.
        """
        exchange = self._exchange
        if exchange is None or self._has_all:
            return
        if exchange.reply is not None:
            self._fail(ReplyCut(words))
        elif refused:
            self._fail(TlsFailed(words))
        else:
            self._fail(NoReply(words))

    def _break(self, error: ProxyError) -> None:
        """The backend's reply is malformed: this stream cannot go on, the others can."""
        if self._exchange is not None and self._exchange.reply is not None:
            error = ReplyCut(error.detail)
        self._fail(error, ErrorCodes.PROTOCOL_ERROR)

    def fail(self, error: ProxyError) -> None:
        """Give up the exchange, for a reason that it is told."""
        if self._exchange is not None:
            self._fail(error)

    def _fail(self, error: ProxyError, code: ErrorCodes = ErrorCodes.CANCEL) -> None:
        exchange, self._exchange = self._exchange, None
        assert exchange is not None
        exchange.server = None
        if exchange.body is not None:
            exchange.body.detach()
        reused = self._reused and self.connection.reads == self._heard_before and not isinstance(error, ReplyTimeout)
        self._leave(code)
        if reused and isinstance(error, NoReply) and not isinstance(error, Unprocessed):
            self._backend.close_idle()  # They may all be as dead.
        exchange.forward.upstream_failed(exchange, error, reused, self._begun)

    def _leave(self, code: ErrorCodes = ErrorCodes.CANCEL) -> None:
        """Give the place back; what is still open of the stream is reset."""
        self._pending.clear()
        self.deadline = NEVER
        self.connection.leave(self, code)

    def __repr__(self) -> str:
        return f"<Http2Stream {self.id} {'busy' if self._exchange is not None else 'free'}>"


def code_name(code: int) -> str:
    """Return what the RFC calls an error code (RFC 9113 section 7), or its number."""
    return ErrorCodes(code).name if code in ErrorCodes.__members__.values() else str(code)
