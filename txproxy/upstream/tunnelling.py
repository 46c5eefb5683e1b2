"""A connection to a backend that goes on as a tunnel: bytes both ways, whatever they mean (RFC 9110 section 7.8).

Content of the request and of the reply flow as ever, under the same flow control, but for their ends: there is none
but that of a connection, and when one side closes, what it has sent still goes to the other (section 9.3.6).
"""

from __future__ import annotations

from txproxy.errors import BadReply, IdleTimeout
from txproxy.exchange import Exchange
from txproxy.policy.deadlines import NEVER
from txproxy.upstream.patience import PatientConnection
from txproxy.wire.fields import value_of
from txproxy.wire.messages import ReplyHead
from txproxy.wire.upgrade import ACCEPT, KEY, accept_for, is_switch
from txproxy.wire.websocket import FrameReader

_LAST_BYTES_S = 10.0
"""How long the last bytes of a client may take to be read by the backend."""


class TunnellingConnection(PatientConnection):
    """Becomes a tunnel when the backend says so."""

    # On the class, as most connections are none; see ``PatientConnection``.
    is_tunnel = False
    _is_leaving = False
    """The client has closed; what it has sent is still on its way."""

    def _check_switch(self, exchange: Exchange, reply: ReplyHead) -> None:
        """Let a 101 pass if the client has asked for that.

        :raises BadReply: if it has not, or has not sent all of its request.
        """
        request = exchange.request
        assert request is not None
        if not request.upgrade:
            raise BadReply("101 that nobody asked for")
        if not is_switch(reply, request.upgrade):
            raise BadReply(f"101 for another protocol than {request.upgrade!r}")
        if request.protocol:  # The key is ours: the client cannot see whether the answer fits.
            key, accept = (value_of(fields, name) for fields, name in ((request.fields, KEY), (reply.fields, ACCEPT)))
            if key is not None and accept != accept_for(key):
                raise BadReply("101 with another Sec-WebSocket-Accept than that of the key")

    def _become_tunnel(self) -> None:
        """Have the client wait from now on when the backend reads too slowly; no other exchange comes after this."""
        self.is_tunnel = True
        self.is_reusable = False
        self._request_sent = False

    @property
    def tunnel_max_s(self) -> float:
        """How long a tunnel may last, in seconds; 0 for no limit."""
        return self._timeouts.tunnel_max_s

    @property
    def may_close(self) -> bool:
        """Whether the backend's last frame of WebSocket has ended, so that a close frame may follow it."""
        return isinstance(self._reader, FrameReader) and self._reader.frames.may_close

    @property
    def said_goodbye(self) -> bool:
        """Whether the backend's last frame of WebSocket was a close frame: however it ends now, nothing is missing."""
        return isinstance(self._reader, FrameReader) and self._reader.frames.is_over

    def client_ended(self, is_websocket: bool, said_goodbye: bool) -> None:
        """The client sends no more, and reads on.

        :param is_websocket: the backend has little to say to that, and a while for it.
        :param said_goodbye: by a close frame. A backend answers that and closes by itself; some would lose their answer
            if the end came right behind it.
        """
        exchange = self._exchange
        if exchange is None or not self._is_open:
            return
        if is_websocket:
            self._patience_s = min(self._patience_s, _LAST_BYTES_S)
            self._set_deadline(exchange)
        if not said_goodbye:
            self.transport.unregisterProducer()
            self.transport.loseWriteConnection()

    def end_tunnel(self) -> None:
        """The client has closed: send what it has sent, then close too."""
        self._exchange = self._reader = None
        self._held = b""
        if self._is_open:
            self._is_open = False
            self._is_leaving = True
            self.transport.unregisterProducer()
            self.transport.loseConnection()
            self._expect(_LAST_BYTES_S)
        if self.in_pool:
            self.in_pool = False
            self._backend.lost(self)

    def _tunnel_is_idle(self, exchange: Exchange) -> None:
        exchange.client.fail(exchange, IdleTimeout(f"{self._backend.name}: nothing for {self._patience_s:g} s"))

    def _leave(self) -> None:
        """Close: it has idled for too long, or the backend does not read the last bytes of a tunnel."""
        if self._is_leaving:
            self.deadline = NEVER
            self.transport.abortConnection()
        else:
            self._leave_pool()

    def _leave_pool(self) -> None:
        raise NotImplementedError
