"""One stream of a client's HTTP/2 connection: the client of one exchange. This half reads the request.

What a backend does not take yet waits behind the valve: the stream's window is not given back.
"""

from __future__ import annotations

from h2.errors import ErrorCodes
from twisted.python.failure import Failure

from txproxy.bridge.body import RequestBody
from txproxy.bridge.valve import Valve
from txproxy.downstream.http2_tunnelling import TunnellingStream
from txproxy.downstream.places import places_of
from txproxy.errors import (
    BadBody,
    BadRequest,
    BodyTooLarge,
    InternalError,
    ProxyError,
    RequestTimeout,
    WriteTimeout,
)
from txproxy.exchange import Exchange
from txproxy.policy.deadlines import NEVER
from txproxy.wire.fields import Field
from txproxy.wire.forwarding import request_id_of
from txproxy.wire.http2.requests import parse_request_trailers
from txproxy.wire.proxy_protocol import Place

_HEAD_REQUEST = (b":method", b"HEAD")


class Http2Stream(TunnellingStream):
    """A stream.

    :param connection: the one that it belongs to.
    :param id: its number.
    """

    __slots__ = ()

    def places(self) -> tuple[Place | None, Place | None]:
        """Return where the client's connection comes from and goes to, as far as that is known."""
        return places_of(self._connection.transport)

    def begin(self, fields: list[Field], ended: bool) -> None:
        """Start the exchange of a request.

        :param ended: it has no body.
        """
        site = self.site
        self._is_complete = ended
        self.exchange = exchange = Exchange(site.next_id(), None, self, site.clock())
        exchange.peer = exchange.client_address = self.peer
        try:
            exchange.request = request = site.http2_parser.parse(fields, ended)
        except BadRequest as error:
            self._break(error)
            return
        except ProxyError as error:
            self._is_head = _HEAD_REQUEST in fields
            self.fail(exchange, error)
            return
        self._is_head = request.method == b"HEAD"
        if self.hop.trusted:
            exchange.id = request_id_of(request) or exchange.id
            exchange.client_address = site.client_of(self.peer, request)
        if request.is_for_tunnel:
            exchange.request = self._prepare_tunnel(request)
        elif not ended:
            self.valve = Valve(self)
            if request.content_length == 0:
                # Whether it is as it says shows at its end: until then no backend may see what would look complete.
                self.awaits_body()
                return
            exchange.body = RequestBody(self.valve)
        self._start()

    def _start(self) -> None:
        site, exchange = self.site, self.exchange
        try:
            self._connection.router.start(exchange)
        except ProxyError as error:
            self.fail(exchange, error)
        except Exception:
            site.log_bug(Failure(), exchange)
            self.fail(exchange, InternalError(logged=True))
        if not self._is_complete:
            self.awaits_body()

    def data_received(self, data: bytes, credit: int, ended: bool) -> None:
        """Take content of the request's body.

        :param credit: what it has taken of the stream's window, in bytes.
        :param ended: it was the last.
        """
        if self._has_ended:
            self._passed_over(credit, ended)
            return
        exchange = self.exchange
        exchange.bytes_in += len(data)
        declared = exchange.request.content_length  # type: ignore[union-attr]
        if declared is not None and (exchange.bytes_in > declared or ended and exchange.bytes_in < declared):
            # RFC 9113 section 8.1.1. The backend must not take what it has for a complete request.
            self._break(BadBody("content is not as long as Content-Length says"))
            return
        route = exchange.route
        body = exchange.body
        if exchange.request.is_for_tunnel:  # type: ignore[union-attr]
            body = self._early
            self._frames.feed(data)
        elif route is not None and 0 < route.rules.max_body_bytes < exchange.bytes_in:
            self.fail(exchange, BodyTooLarge(f"{exchange.bytes_in} bytes and more"))
            return
        if exchange.bytes_in == declared and not ended:
            # With these bytes a backend would take the request for complete, which it is not before the stream's end.
            self._last += data
        elif data:
            body.write(data)
        if ended:
            self._request_ended([])
        elif exchange.ended:
            pass  # The backend has failed while it was written to; nobody wants the rest.
        elif self.valve.reasons:
            self._held_credit += credit
        else:
            self._engine.consumed(self.id, credit)
            if data:  # Empty frames would put the deadline off for ever.
                self.awaits_body()

    def _passed_over(self, credit: int, ended: bool) -> None:
        """Take what nobody wants any more: all of the reply is here, and waits to be sent."""
        self._engine.consumed(self.id, credit)
        self._is_complete = ended

    def trailers_received(self, fields: list[Field]) -> None:
        """Take the trailer section of the request."""
        if self._has_ended:
            self._passed_over(0, True)
            return
        exchange = self.exchange
        declared = exchange.request.content_length  # type: ignore[union-attr]
        try:
            trailers = parse_request_trailers(fields)
            if declared is not None and exchange.bytes_in < declared:
                raise BadBody("content is not as long as Content-Length says")
        except ProxyError as error:
            self._break(error)
            return
        self._request_ended(trailers)

    def _request_ended(self, trailers: list[Field]) -> None:
        self._is_complete = True
        exchange = self.exchange
        if exchange.ended:
            self._connection.linger_no_more(self.id)
            return
        if not self._waiting:
            self.deadline = NEVER
        if exchange.request.is_for_tunnel:  # type: ignore[union-attr]
            if exchange.is_tunnel:
                self._client_ended()
            return
        if exchange.body is None:
            self._start()
            return
        if self._last:
            exchange.body.write(self._last)
        if not exchange.ended:
            exchange.body.end(trailers)

    def pauseProducing(self) -> None:
        """The valve is shut: the window that is taken from here on is held back."""

    def resumeProducing(self) -> None:
        """The valve is open: give back what was held."""
        credit, self._held_credit = self._held_credit, 0
        if credit:
            self._engine.consumed(self.id, credit)
            self._connection.flush()
        self.awaits_body()

    def awaits_body(self) -> None:
        """Start the clock for the next part of the body, unless the client waits to be told to send it."""
        exchange = self.exchange
        if self._is_complete or exchange.ended or self._waiting or self.valve.reasons:
            return
        request = exchange.request
        if request is not None and request.is_for_tunnel:
            return
        if request is not None and request.expects_continue and not exchange.bytes_in and not self._told_to_go_on:
            return
        # What needs no deadline in the end is not to leave one in the wheel.
        if self.look_at < NEVER or not self._connection.await_body(self):
            self._expect(self.settings.body_timeout_s)

    def deadline_passed(self) -> None:
        """The client has kept us waiting."""
        exchange = self.exchange
        if exchange.ended:
            self._connection.linger_no_more(self.id)
            self._engine.reset(self.id, ErrorCodes.NO_ERROR)
            self._connection.flush()
            return
        if self._waiting:
            if self._has_sent or self._connection.is_full:
                # Whether a client that reads nothing at all stays is for its connection to decide.
                self._has_sent = False
                self._expect(self.settings.write_timeout_s)
            else:
                self.fail(exchange, WriteTimeout())
        elif not self._is_complete and not self.valve.reasons:
            self.fail(exchange, RequestTimeout("the body stalled"))
        elif not self._is_complete:
            self._expect(self.settings.body_timeout_s)
        self._connection.flush()
