"""A connection to a backend that speaks HTTP/1.1: sends one request at a time and reads its reply.

It tells the exchange's forwarding stage what happens (``interim_received``, ``reply_received``, ``upstream_failed``)
and gives content straight to the exchange's client. As a producer it stands for the client's transport: when the
backend reads too slowly, this connection's transport pauses it, and it shuts the valve of the client.
"""

from __future__ import annotations

from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from txproxy.bridge.spliced_reader import is_worth_a_splice
from txproxy.bridge.valve import Reason, Valve
from txproxy.errors import BadReply, NoReply, ProxyError, ReplyCut, ReplyTimeout, TlsFailed
from txproxy.exchange import Exchange
from txproxy.policy.deadlines import NEVER
from txproxy.tls.verification import PeerRefused
from txproxy.upstream.splicing import SplicingConnection
from txproxy.upstream.tools import MOST_INTERIM_REPLIES
from txproxy.wire.bodies import ChunkedReader, LengthReader, UntilCloseReader, write_chunk
from txproxy.wire.fields import Field
from txproxy.wire.forwarding import write_last_chunk, write_request_head
from txproxy.wire.heads import END_OF_HEAD, HeadGatherer
from txproxy.wire.limits import REPLY_LIMITS
from txproxy.wire.messages import ReplyHead
from txproxy.wire.websocket import tunnel_reader

NO_TRAILERS: list[Field] = []


class UpstreamConnection(SplicingConnection):
    """One connection to a backend.

    :param backend: takes it back with ``release`` and ``lost``.
    :param timeouts: of its exchanges.
    :param tools: shared by all.
    """

    # What Twisted calls.

    def connectionMade(self) -> None:
        """Take part in flow control from the first byte on."""
        self._is_open = self.is_reusable = True
        self.valve = Valve(self.transport)
        self.transport.registerProducer(self, True)

    def dataReceived(self, data: bytes) -> None:
        """Read a reply, or refuse what nobody asked for."""
        exchange = self._exchange
        if exchange is None:
            self._refuse_unsolicited()
        elif self._reader is not None:
            self._read_body(exchange, data)
        elif exchange.reply is not None:
            self._held += data  # A stage is still deciding on the reply's head.
        else:
            self._read_head(exchange, data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell whoever depended on this connection."""
        was_open, self._is_open = self._is_open, False
        self.is_reusable = False
        exchange = self._exchange
        if exchange is not None:
            self._cut_in_exchange(exchange, reason)
        elif was_open:
            if isinstance(reason.value, PeerRefused):
                self.refusal = reason.value.words
            if self.in_pool:
                self._leave_pool()

    def deadline_passed(self) -> None:
        """The backend has kept us waiting, or the connection idles for too long."""
        exchange = self._exchange
        if exchange is None:
            self._leave()
        elif self._is_full and (exchange.reply is None or self.is_tunnel) and self._reads_on():
            self._set_deadline(exchange)
        elif self.is_tunnel and exchange.head_sent:
            self._tunnel_is_idle(exchange)
        elif exchange.head_sent or exchange.reply is not None:
            if not self._client_is_awaited(exchange):
                self._fail(exchange, ReplyCut(f"{self._backend.name}: nothing for {self._patience_s} s"))
        else:
            self._fail(exchange, ReplyTimeout(f"{self._backend.name}: no reply"))

    # The way of a request.

    write_head = staticmethod(write_request_head)

    def send_request(self, exchange: Exchange, head: bytes) -> None:
        """Send a request, with as much of its body as there is; the rest follows by ``send_body``.

        :param head: its complete head.
        """
        self._exchange = exchange
        self.requests += 1
        self._interim_replies = 0
        self._reply_begun = False
        body = exchange.body
        if body is None:
            self._request_sent = True
            self.deadline = exchange.leased_at + self._timeouts.first_byte_s
            if self.deadline < self.look_at:
                self._deadlines.watch(self)
            self.transport.write(head)
            return
        self._request_sent = False
        content = b"".join(body.attach(self))
        if content:
            head += write_chunk(content) if exchange.request.chunked else content  # type: ignore[union-attr]
        self.transport.write(head)
        self._awaits_continue = exchange.request.expects_continue and not content  # type: ignore[union-attr]
        if body.complete:
            self.end_body(body.trailers)
        elif self._is_full:
            self.pauseProducing()
        else:
            self._set_deadline(exchange)

    def send_body(self, data: bytes) -> None:
        """Send content of the request's body."""
        exchange = self._exchange
        if exchange is not None:
            self._awaits_continue = False
            self._set_deadline(exchange)
            self.transport.write(write_chunk(data) if exchange.request.chunked else data)  # type: ignore[union-attr]

    def end_body(self, trailers: list[Field]) -> None:
        """Send the end of the request's body."""
        exchange = self._exchange
        if exchange is None:
            return
        if exchange.request.chunked:  # type: ignore[union-attr]
            self.transport.write(write_last_chunk(trailers))
        self._request_sent = True
        self._set_deadline(exchange)

    def cancel(self) -> None:
        """Give up the exchange: the client left, or its body is broken. The backend sees a reset, not an end."""
        self._stop_splice()
        self._exchange = None
        self._drop()

    def retire(self) -> None:
        """Close an idle connection that the pool has let go of already."""
        self._deadlines.forget(self)
        self.in_pool = False
        self.is_reusable = False
        if self._is_open:
            self._is_open = False
            self.transport.unregisterProducer()
            if self._queued():
                self.transport.abortConnection()  # The backend reads no more: nobody would see it close.
            else:
                self.transport.loseConnection()

    def discard(self) -> None:
        """Close a leased connection that has turned out to be dead, before anything was sent on it."""
        self._drop()

    def hand_back(self) -> None:
        """Give a leased connection back that nothing was sent on."""
        self.expect_idle(self._clock())
        self._backend.release(self)

    def hear_first(self) -> None:
        """Take in what the backend has against us, if it has said so already: a write that fails would destroy it."""
        if getattr(self.transport, "ssl", None) is not None:
            self.transport.has_unread_or_closed()

    def is_stale(self) -> bool:
        """Ask the kernel whether the backend has closed this idle connection, or spoken on it, just now."""
        ask = getattr(self.transport, "has_unread_or_closed", None)
        return ask is not None and ask()

    # The way of a reply.

    def _read_head(self, exchange: Exchange, data: bytes) -> None:
        method = exchange.request.method  # type: ignore[union-attr]
        self._reply_begun = True
        try:
            while True:
                end = data.find(END_OF_HEAD) + 4 if self._gatherer is None else 3
                if end == 3:
                    found = self._gather(data)
                    if found is None:
                        return
                    head, data = found
                elif end == len(data):
                    head, data = data, b""
                else:
                    head, data = data[:end], data[end:]
                reply = self._parse(head, method)
                if reply.status >= 200:
                    break
                if reply.status == 101:
                    self._check_switch(exchange, reply)
                    break
                self._read_interim(exchange, reply)
                if self._exchange is not exchange or not data:
                    return
        except ProxyError as error:
            self._fail(exchange, error)
            return
        if reply.status == 101 or method == b"CONNECT" and reply.status < 300:
            self._become_tunnel()
        self._begin_reply(exchange, reply, data)

    def _gather(self, data: bytes) -> tuple[bytes, bytes] | None:
        if self._gatherer is None:
            self._gatherer = HeadGatherer(REPLY_LIMITS, BadReply, BadReply, BadReply)
        found = self._gatherer.feed(data)
        if found is not None:
            self._gatherer = None
        return found

    def _read_interim(self, exchange: Exchange, reply: ReplyHead) -> None:
        self._interim_replies += 1
        if self._interim_replies > MOST_INTERIM_REPLIES:
            raise BadReply("interim replies without end")
        if reply.status == 100:
            self._awaits_continue = False  # The client was told to go on: it has the next word.
        self._set_deadline(exchange)
        exchange.forward.interim_received(exchange, reply)

    def _begin_reply(self, exchange: Exchange, reply: ReplyHead, rest: bytes) -> None:
        exchange.reply = reply
        exchange.replied_at = now = self._clock()
        length = None if self.is_tunnel else reply.content_length
        if length == len(rest):
            # All of it has come already: the usual case for short replies.
            if exchange.forward.reply_received(exchange, reply):
                self._complete(exchange, rest, NO_TRAILERS, b"", now)
            elif self._exchange is exchange:
                self._hold(rest)
            return
        if length is not None:
            self._reader = LengthReader(length)
        elif reply.chunked and not self.is_tunnel:
            self._reader = ChunkedReader(BadReply)
        elif self.is_tunnel:
            self._reader = tunnel_reader(exchange.request.upgrade)  # type: ignore[union-attr]
        else:
            self._reader = UntilCloseReader()
        self._patience_s = self._timeouts.between_bytes_s
        if self.is_tunnel:
            self._patience_s = self._timeouts.tunnel_idle_s
        elif reply.known.get(b"content-type", b"")[:17].lower() == b"text/event-stream":
            self._patience_s = self._timeouts.stream_s
        if exchange.forward.reply_received(exchange, reply):
            self._pass_first(exchange, rest)
        elif self._exchange is exchange:
            self._hold(rest)

    def _hold(self, rest: bytes) -> None:
        self.valve.shut(Reason.DECIDING)
        self.deadline = NEVER
        self._held = rest
        self._held_reader, self._reader = self._reader, None

    def go_on(self) -> None:
        """Pass on the reply that was held back while a stage was deciding."""
        exchange, held = self._exchange, self._held
        if exchange is not None:
            self._reader, self._held = self._held_reader, b""
            if self._reader is None and len(held) != exchange.reply.content_length:  # type: ignore[union-attr]
                self._reader = LengthReader(exchange.reply.content_length or 0)  # type: ignore[union-attr]
            self.valve.open(Reason.DECIDING)
            self._pass_first(exchange, held)

    def _pass_first(self, exchange: Exchange, rest: bytes) -> None:
        if self._reader is None:
            self._complete(exchange, rest, NO_TRAILERS, b"", self._clock())
        elif self._reader.done or rest:
            self._read_body(exchange, rest)
        else:
            exchange.client.flush_reply()
            if self._exchange is exchange and not self.valve.reasons:
                self._expect(self._patience_s)

    def _read_body(self, exchange: Exchange, data: bytes) -> None:
        reader = self._reader
        assert reader is not None
        try:
            content = reader.feed(data)
        except ProxyError as error:
            self._fail(exchange, error)
            return
        if reader.done:
            self._complete(exchange, content, reader.trailers, reader.rest, self._clock())
            return
        if content:
            exchange.client.write_reply(content)
        else:
            exchange.client.flush_reply()
        # While it was written to, the client may have turned out to be gone or slow.
        if self._exchange is exchange and not self.valve.reasons:
            self._expect(self._patience_s)
            if is_worth_a_splice(reader):
                self._splice_reply(exchange, reader)

    def _complete(self, exchange: Exchange, content: bytes, trailers: list[Field], rest: bytes, now: float) -> None:
        """End the exchange here first, so that the client's next request finds this connection idle again."""
        client = exchange.client
        self._exchange = self._reader = exchange.server = None
        if exchange.body is not None:
            exchange.body.detach()
        if not self._request_sent:
            self._drop()
        else:
            if rest or not exchange.reply.keep_alive:  # type: ignore[union-attr]
                self.is_reusable = False
            if self.valve.reasons:
                self.valve.open_wide()
            self.expect_idle(now)
            self._backend.release(self)
        if self._backend.is_watched:
            exchange.cluster.completed(exchange, now)
        client.end_reply(content, trailers, now)

    # Failures.

    def _fail(self, exchange: Exchange, error: ProxyError) -> None:
        reused, begun = self._has_idled, self._reply_begun
        self._stop_splice()
        self._exchange = None
        self._end_exchange(exchange)
        self._drop()
        exchange.forward.upstream_failed(exchange, error, reused and not isinstance(error, ReplyTimeout), begun)

    def _cut_in_exchange(self, exchange: Exchange, reason: Failure) -> None:
        reader = self._reader
        # With TLS, an end that the backend has not announced is none: anybody can send a FIN (RFC 8446 section 6.1).
        if self.said_goodbye or reader is not None and reason.check(ConnectionDone) and reader.end():
            self._complete(exchange, b"", NO_TRAILERS, b"", self._clock())
        elif exchange.reply is not None:
            self._fail(exchange, ReplyCut(f"{self._backend.name} closed in the middle of its reply"))
        elif isinstance(reason.value, PeerRefused):
            # The backend never came to the end of its handshake: it has not read what was sent.
            error = TlsFailed(reason.value.words)
            self._backend.complain(error)
            self._fail(exchange, error)
        else:
            self._fail(exchange, NoReply(f"{self._backend.name} closed before its reply"))

    def _end_exchange(self, exchange: Exchange) -> None:
        exchange.server = None
        if exchange.body is not None:
            exchange.body.detach()

    def _drop(self) -> None:
        """Close at once; the pool has one connection less."""
        self._reader = self._gatherer = None
        self._held = b""
        self._deadlines.forget(self)
        self.is_reusable = False
        if self._is_open:
            self._is_open = False
            self.transport.unregisterProducer()
            self.transport.abortConnection()
        if self.in_pool:
            self.in_pool = False
            self._backend.lost(self)

    def _leave_pool(self) -> None:
        if self.in_pool:
            self.retire()
            self._backend.lost(self)

    def _refuse_unsolicited(self) -> None:
        if self.in_pool:
            self._leave_pool()
        else:
            self.has_spoken = True
            self.is_reusable = False  # Not in the pool yet: it is refused when it gets there.

    def __repr__(self) -> str:
        state = "busy" if self._exchange is not None else "idle" if self.is_reusable else "closed"
        return f"<UpstreamConnection {state}, {self.requests} requests>"
