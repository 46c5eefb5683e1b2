"""The half of a client connection that writes replies: those of backends, and our own.

A head is held back until the first of its content, or its end, can go out in the same write. An exchange ends here,
whatever became of it, in ``_finish``.
"""

from __future__ import annotations

from typing import Any

from txproxy.downstream.lingering import LingeringConnection
from txproxy.downstream.own_replies import HSTS, NO_CONTENT, error_reply
from txproxy.downstream.places import places_of
from txproxy.errors import ProxyError
from txproxy.exchange import Exchange, Reply
from txproxy.net.pipes import PipePool
from txproxy.policy.deadlines import NEVER
from txproxy.policy.facts import TlsFacts
from txproxy.wire.bodies import write_chunk
from txproxy.wire.fields import Field
from txproxy.wire.forwarding import NO_REPLY_RULES, without, write_last_chunk, write_reply_head
from txproxy.wire.messages import ReplyHead
from txproxy.wire.proxy_protocol import Place
from txproxy.wire.reasons import reason_phrase

_JOIN_BYTES = 16384
"""Up to this size a head and its body are copied into one piece."""


class ReplyingConnection(LingeringConnection):
    """Writes replies.

    :param site: the listener that it belongs to.
    """

    tls: TlsFacts | None = None
    """What the handshake has settled; None if the connection is not encrypted."""

    def __init__(self, site: Any) -> None:
        super().__init__(site)
        self.router = site.router
        """Sends its exchanges on."""
        self.exchange: Exchange | None = None
        self.requests = 0
        self._keep_alive = True
        self._head = b""
        """A head that waits for the first of its content."""
        self._chunked = False
        self._until_close = False
        self._busy = False
        """Requests are being read: who does that goes on by itself when an exchange has ended."""
        self._told_to_go_on = False
        """The client was sent an interim reply, so that its body may be waited for."""

    def places(self) -> tuple[Place | None, Place | None]:
        """Return where this connection comes from and goes to, as far as that is known."""
        return places_of(self.transport)

    # Replies of backends.

    def send_interim(self, exchange: Exchange, reply: ReplyHead) -> None:
        """Send an interim reply at once (RFC 9110 section 15.2); HTTP/1.0 clients know none."""
        if exchange.request.minor and not exchange.ended:  # type: ignore[union-attr]
            self.transport.write(write_reply_head(reply, b"\r\n\r\n"))
            exchange.interim_sent = True
            self._told_to_go_on = self._told_to_go_on or reply.status == 100
            self._awaits_body()

    def start_reply(self, exchange: Exchange, reply: ReplyHead) -> None:
        """Take the head of a final reply; the connection's own fields are added here."""
        request, site = exchange.request, self.site
        assert request is not None
        exchange.status = reply.status
        keep_alive = (
            request.keep_alive
            and self._request_is_complete()
            and self.requests < self.settings.keepalive_requests
            and not site.draining
        )
        extra = b"" if b"date" in reply.known else b"\r\nDate: " + site.http_date()
        self._chunked = self._until_close = False
        if reply.content_length is None:
            if request.minor:
                self._chunked = True
                extra += b"\r\nTransfer-Encoding: chunked"
            else:
                self._until_close = True
                keep_alive = False
        if not keep_alive:
            extra += b"\r\nConnection: close"
        elif not request.minor:
            extra += b"\r\nConnection: keep-alive"
        self._keep_alive = keep_alive
        for field in exchange.added:
            extra += b"\r\n%b: %b" % field
        tail = site.reply_tails[reply.version]
        route = exchange.route
        if route is None:
            rules = NO_REPLY_RULES
        else:
            rules = route.reply_rules
            if route.hsts_line and self.hop.scheme == b"https":
                extra += route.hsts_line
                # Of several the client would take the first (RFC 6797 section 8.1). What stages have added is not
                # among what is known.
                if HSTS in reply.known or route.chain.on_reply:
                    reply = without(reply, HSTS)
        self._head = write_reply_head(reply, tail + exchange.id + extra + b"\r\n\r\n", rules)

    def send_stored(self, exchange: Exchange, reply: ReplyHead, lines: bytes, body: bytes, now: float) -> bool:
        """Send a whole reply that is stored, if nothing has to be changed in its head and the connection stays open.

        It is what ``start_reply`` and ``end_reply`` do together.

        :param reply: with ready-made lines, and Date among them.
        :param lines: ready-made lines of fields that are added, from CRLF to the empty line.
        :param body: all of it.
        :param now: the moment, in seconds.
        :return: whether it was sent; nothing was done if not.
        """
        request, site, route = exchange.request, self.site, exchange.route
        assert request is not None
        if (
            not (request.keep_alive and request.minor)
            or site.draining
            or self.requests >= self.settings.keepalive_requests
            or route.reply_rules is not NO_REPLY_RULES
            or route.hsts_line
            or b"date" not in reply.known
            or exchange.body is not None
        ):
            return False
        exchange.status = reply.status
        exchange.bytes_out = length = len(body)
        exchange.head_sent = exchange.ended = self._keep_alive = True
        exchange.end_reason = "ok"
        exchange.ended_at = now
        if length > _JOIN_BYTES:
            head = b"".join((reply.lines, site.reply_tails[reply.version], exchange.id, lines))  # type: ignore[arg-type]
            self.transport.writeSequence((head, body))
        else:
            self.transport.write(
                b"".join((reply.lines, site.reply_tails[reply.version], exchange.id, lines, body))  # type: ignore[arg-type]
            )
        self.exchange = None
        exchange_ended = site.exchange_ended
        exchange_ended(exchange)
        if not self._busy:
            self._exchange_finished(exchange, False)
        return True

    def write_reply(self, data: bytes) -> None:
        """Send content of the reply; it is not empty."""
        exchange = self.exchange
        if exchange is None:
            return
        exchange.bytes_out += len(data)
        if self._chunked:
            data = write_chunk(data)
        if self._head:
            head, self._head = self._head, b""
            exchange.head_sent = True
            if len(data) > _JOIN_BYTES:
                self.transport.writeSequence((head, data))
                return
            data = head + data
        self.transport.write(data)

    @property
    def pipes(self) -> PipePool | None:
        """Lends pipes, if content may go to the transport without being read; else None."""
        return None if self._chunked or self._head or self.exchange is None else self.site.tools.pipes

    def reply_moved(self, is_full: bool) -> None:
        """Learn that content has gone to the transport unread.

        :param is_full: the client has to read before more can.
        """
        if is_full:
            self.is_full = True
            self._unread_before = self._unread()
            self._expect(self.settings.write_timeout_s)
        elif self.is_full:
            self.is_full = False
            self.deadline = NEVER
            self._awaits_body()

    def flush_reply(self) -> None:
        """Send the head if it still waits: its content is slower than it."""
        if self._head and self.exchange is not None:
            self.exchange.head_sent = True
            head, self._head = self._head, b""
            self.transport.write(head)

    def end_reply(self, data: bytes, trailers: list[Field], now: float) -> None:
        """Send the last of the content, which may be empty, and the end of the reply.

        :param trailers: fields of the trailer section; lost if the client speaks HTTP/1.0.
        :param now: the moment, in seconds.
        """
        exchange = self.exchange
        if exchange is None:
            return
        exchange.bytes_out += len(data)
        if self._chunked:
            data = (write_chunk(data) if data else b"") + write_last_chunk(trailers)
        head, self._head = self._head, b""
        exchange.head_sent = True
        if head and len(data) > _JOIN_BYTES:
            self.transport.writeSequence((head, data))
        elif head or data:
            self.transport.write(head + data)
        exchange.ended = True
        exchange.end_reason = "ok"
        exchange.ended_at = now
        self.exchange = None
        self.site.exchange_ended(exchange)
        self._exchange_finished(exchange, False)

    # Replies of our own.

    def respond(self, exchange: Exchange, reply: Reply) -> None:
        """Send a reply that was made here; a backend that was at work is told to stop."""
        if exchange.ended:
            return
        exchange.cancel_upstream()
        request = exchange.request
        keep_alive = (
            request is not None
            and request.keep_alive
            and self._request_is_complete()
            and self.requests < self.settings.keepalive_requests
            and not self.site.draining
            and (exchange.error is None or not exchange.error.closes)
        )
        exchange.status = reply.status
        self._keep_alive = keep_alive
        self._head = b""
        body = reply.body
        has_content = reply.status not in NO_CONTENT
        fields = reply.fields
        lines = []
        route = exchange.route
        if route is not None and route.hsts_line and self.hop.scheme == b"https":
            fields = tuple(field for field in fields if field[0].lower() != HSTS)
            lines.append(route.hsts_line[2:] + b"\r\n")
        lines += [b"%b: %b\r\n" % field for field in fields]
        lines.append(b"Server: txproxy\r\nDate: %b\r\nX-Request-Id: %b\r\n" % (self.site.http_date(), exchange.id))
        if has_content:
            lines.append(b"Content-Length: %d\r\n" % len(body))
        if not keep_alive:
            lines.append(b"Connection: close\r\n")
        elif request is not None and not request.minor:
            lines.append(b"Connection: keep-alive\r\n")
        if not has_content or request is not None and request.method == b"HEAD":
            body = b""
        exchange.bytes_out = len(body)
        exchange.head_sent = True
        head = b"HTTP/1.1 %d %b\r\n%b\r\n" % (reply.status, reason_phrase(reply.status), b"".join(lines))
        self.transport.write(head + body)
        self._finish(exchange, reply.reason)

    def fail(self, exchange: Exchange, error: ProxyError) -> None:
        """End an exchange with an error: a reply that says so, or the end of the connection if one has begun."""
        if exchange.ended:
            return
        exchange.failed(error)
        self.site.log_failure(exchange, error)
        if exchange.head_sent or not error.status:
            exchange.cancel_upstream()
            self._cut(exchange, error)
            return
        self.respond(exchange, error_reply(exchange, error))

    def _cut(self, exchange: Exchange, error: ProxyError) -> None:
        """Close so that the client cannot take what it has for a complete reply."""
        self._head = b""
        self._keep_alive = False
        # A length or chunks show what is missing; without them only a reset does.
        abort = self._until_close or not error.status
        self._finish(exchange, error.end_reason, abort)

    def _finish(self, exchange: Exchange, end_reason: str, abort: bool = False) -> None:
        exchange.ended = True
        exchange.end_reason = end_reason
        exchange.ended_at = self.site.clock()
        self.exchange = None
        self.site.exchange_ended(exchange)
        self._exchange_finished(exchange, abort)

    # What the reading half does.

    def _awaits_body(self) -> None:
        raise NotImplementedError

    def _request_is_complete(self) -> bool:
        raise NotImplementedError

    def _exchange_finished(self, exchange: Exchange, abort: bool) -> None:
        raise NotImplementedError
