"""How a client connection ends: at once, after its last bytes, or in stages.

A client that still sends while we close would be answered with a reset, which can destroy the reply before it is read.
So after a refusal our side is shut first, and what still comes is read and thrown away for a while (RFC 9112 section
9.6).
"""

from __future__ import annotations

from typing import Any

from twisted.internet.protocol import Protocol

from txproxy.bridge.valve import Reason, Valve
from txproxy.policy.deadlines import NEVER
from txproxy.policy.facts import TlsFacts
from txproxy.wire.forwarding import Hop

_LINGER_BYTES = 65536
_LINGER_S = 2.0

ON_ITS_WAY_S = 1.0
"""How long a request may be on its way. While the proxy is stopping, a client is taken to want nothing when nothing was
heard of it for so long; closing before would lose a request, and its client could not know whether it was carried out.
"""


class LingeringConnection(Protocol):
    """Closes, and keeps the deadlines of that.

    :param site: the listener that it belongs to.
    """

    transport: Any
    valve: Valve

    is_tunnel = False
    """It carries no tunnel, whose two sides may take longer to come to an end than a reply does."""
    awaits_header = False
    """Who is behind it is known."""

    peer = ""
    """Address of the peer; empty while it is not known."""
    hop: Hop
    tls: TlsFacts | None
    version = b"1.1"
    """Of HTTP, as Via has it."""

    def __init__(self, site: Any) -> None:
        self.site = site
        self.settings = site.settings
        self.is_full = False
        """The client reads too slowly: its transport has as much as it may hold."""
        self.deadline = NEVER
        self.look_at = NEVER
        self._closing = False
        self._read_closed = False
        """The client has said that it sends no more."""
        self._linger_bytes = 0
        self._unread_before = 0
        """Bytes that the client had not read when that was last looked at."""

    def site_changed(self, hops_change: bool) -> None:
        """Serve the requests from here on as the listener's site now says.

        :param hops_change: what is added to each request is to be found out anew.
        """
        site = self.site
        self.settings = site.settings
        self.router = site.router_of(self)
        if hops_change:
            self.hop = site.hop_of(self.transport, self.tls, self.peer, self.version)

    def _shut(self, abort: bool, unread: bool, is_short: bool) -> None:
        """Close.

        :param abort: with a reset, whatever waits to be sent.
        :param unread: the client may have sent, or may be sending, what is not going to be read.
        :param is_short: what waits to be sent is no more than a refusal.
        """
        transport = self.transport
        self._closing = True
        self.is_full = False
        transport.unregisterProducer()
        if abort:
            transport.abortConnection()
            return
        queued = self._queued()
        is_gone = self.tls is None and getattr(transport, "queued_bytes", None) == 0
        if not is_gone or unread:
            self._unread_before = self._unread()
        if unread and not self._read_closed:
            self._linger_bytes = _LINGER_BYTES
            self.valve.open_wide()
            transport.loseWriteConnection()
            # A long reply that is still on its way has the time that any reply has; a refusal is short.
            self._expect(self.settings.write_timeout_s if queued and not is_short else _LINGER_S)
        else:
            transport.loseConnection()
            if not is_gone:  # Else there is nothing that a client could keep us waiting with.
                self._expect(self.settings.write_timeout_s)

    def _discard(self, data: bytes) -> None:
        self._linger_bytes -= len(data)
        if self._linger_bytes < 0:
            # No more is read. Closing now would answer what has come since with a reset, and destroy what the kernel
            # has not delivered yet; the deadline closes.
            self.valve.shut(Reason.PIPELINED)

    def _closing_takes_long(self) -> None:
        """The last bytes were not read in time, or the client does not close its side."""
        if not self._queued() and not self.transport.disconnecting:
            # Not with a reset, which could still destroy what the client has not read.
            self.transport.loseConnection()
            self._expect(_LINGER_S)
        elif self._reads_on():
            self._expect(self.settings.write_timeout_s)
        else:
            self.transport.abortConnection()

    def _reads_on(self) -> bool:
        """Return whether the client has read anything since this was last asked."""
        before, self._unread_before = self._unread_before, self._unread()
        return self._unread_before < before

    def _queued(self) -> int:
        return getattr(self.transport, "queued_bytes", 0)

    def _unread(self) -> int:
        # What waits here moves only when a third of the kernel's buffer, which may hold megabytes, is free again.
        ask = getattr(self.transport, "unread_bytes", None)
        return self._queued() if ask is None else int(ask())

    def _await_request(self, now: float = 0.0) -> None:
        """Wait for the next request; while the proxy is stopping, no longer than one may be on its way."""
        # What ``_expect`` does, without a call more for each request.
        site, patience_s = self.site, self.settings.keepalive_timeout_s
        if site.draining:
            patience_s = min(patience_s, ON_ITS_WAY_S)
        self.deadline = deadline = (now or site.clock()) + patience_s
        if deadline < self.look_at:
            site.deadlines.watch(self)

    def _expect(self, patience_s: float, now: float = 0.0) -> None:
        self.deadline = (now or self.site.clock()) + patience_s
        if self.deadline < self.look_at:
            self.site.deadlines.watch(self)
