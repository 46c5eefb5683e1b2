"""A client connection whose bytes are passed through unread: it gets a backend, and a tunnel to it.

With ``sni_clusters`` or ``alpn_clusters`` the ClientHello says which cluster; it is read, not answered. A connection
that comes to nothing ends in a reset: in a protocol that we do not know there is no other way to say that what has come
is not all.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from txproxy.bridge.tunnel import Side, Tunnel
from txproxy.downstream.places import places_of
from txproxy.downstream.site import peer_address
from txproxy.errors import ClientLeft, InternalError, NoRoute, ProxyError, RequestTimeout
from txproxy.exchange import Exchange, Passage
from txproxy.policy.deadlines import NEVER
from txproxy.policy.facts import TlsFacts
from txproxy.wire.client_hello import ClientHello, ClientHelloReader
from txproxy.wire.proxy_protocol import Place, ProxyHeader


class TcpHop(NamedTuple):
    """What stands for an http connection's hop where facts are gathered."""

    scheme: bytes = b"tcp"
    proxied: ProxyHeader | None = None
    """What a proxy in front has said of the peer."""


@implementer(IHalfCloseableProtocol)
class TcpConnection(Protocol):
    """One client connection, until its tunnel takes the transport; after that, what the site knows of it.

    :param site: the listener that it belongs to.
    """

    transport: Any
    peer: str
    """Address of the peer."""

    hop = TcpHop()
    tls: TlsFacts | None = None
    """What the handshake has settled; None if the connection is not encrypted."""
    is_tunnel = True
    """A graceful stop gives it a tunnel's time."""
    awaits_header = False
    """Who is behind it is known."""

    def __init__(self, site: Any) -> None:
        self.site = site
        self.settings = site.settings
        self.exchange: Passage | None = None
        """Until it has ended."""
        self.deadline = self.look_at = NEVER
        self._reader: ClientHelloReader | None = None
        self._early = b""
        """What has come before there was a backend."""
        self._is_finished = False
        """The client sends no more."""
        self._lease: Any = None
        """The connection to the backend."""
        self._tunnel: Tunnel | None = None

    @property
    def under_way(self) -> int:
        """Exchanges that have not ended."""
        return self.exchange is not None

    def places(self) -> tuple[Place | None, Place | None]:
        """Return where this connection comes from and goes to, as far as that is known."""
        return places_of(self.transport)

    # What Twisted calls.

    def connectionMade(self) -> None:
        """Begin to serve a client whose connection is not encrypted, or not by us."""
        self.peer = peer_address(self.transport.getPeer())
        self.site.opened(self)
        self._begin()

    def take_over(self, transport: Any, tls: TlsFacts, router: Any, peer: str = "") -> None:
        """Serve a client whose handshake another protocol has seen through; the site counts the connection already.

        :param transport: of the connection; from now on this is its protocol.
        :param router: of no meaning here.
        :param peer: address of its peer, if that is known already.
        """
        self.tls = tls
        self.transport = transport
        self.peer = peer or peer_address(transport.getPeer())
        self.connected = 1
        transport.protocol = self
        self._begin()

    def _begin(self) -> None:
        site = self.site
        now = site.clock()
        exchange = self.exchange = Passage(site.next_id(), self, now)
        exchange.peer = exchange.client_address = self.peer
        proxied = getattr(self.transport, "proxied", None)
        if proxied is not None:
            self.hop = TcpHop(proxied=proxied)
        if site.router.table.is_asked:
            self._reader = ClientHelloReader()
            self.deadline = now + self.settings.header_timeout_s
            if self.deadline < self.look_at:
                site.deadlines.watch(self)
        else:
            self._choose(exchange, None)

    def dataReceived(self, data: bytes) -> None:
        """Look for a ClientHello, or keep what has come until there is a backend for it."""
        exchange, reader = self.exchange, self._reader
        if exchange is None:
            return
        if reader is None:
            # One read of it is as much as is kept: the rest waits in the kernel.
            self._early += data
            self.transport.pauseProducing()
            return
        hello = reader.feed(data)
        if hello is not None:
            self._early, self._reader = bytes(reader.received), None
            self.deadline = NEVER
            self.transport.pauseProducing()
            self._choose(exchange, hello)

    def readConnectionLost(self) -> None:
        """The client sends no more; what it has sent still has to come to a backend."""
        self._is_finished = True
        if self._reader is not None and self.exchange is not None:
            self.fail(self.exchange, ClientLeft("before its ClientHello was complete"))

    def writeConnectionLost(self) -> None:
        """Nothing is written before there is a tunnel."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The client has left before there was a tunnel, or was sent away."""
        exchange = self.exchange
        if exchange is not None:
            self._end(exchange, ClientLeft(reason.getErrorMessage()))
        self.site.closed(self)

    def deadline_passed(self) -> None:
        """The client has kept us waiting for its ClientHello."""
        if self._reader is not None and self.exchange is not None:
            self.fail(self.exchange, RequestTimeout("no complete ClientHello"))

    # The way to a backend.

    def _choose(self, exchange: Passage, hello: ClientHello | None) -> None:
        router = self.site.router
        exchange.hello = hello
        try:
            exchange.cluster = router.cluster_for(exchange)
            if exchange.cluster is None:
                raise NoRoute(f"no cluster for {hello}")
            router.connect.start(exchange)
        except ProxyError as error:
            self.fail(exchange, error)
        except Exception:
            self.site.log_bug(Failure(), exchange)
            self.fail(exchange, InternalError(logged=True))

    def backend_connected(self, exchange: Passage, lease: Any) -> None:
        """Open the tunnel.

        :param lease: a connection to a backend, see ``upstream.raw``.
        """
        self._lease = lease
        exchange.replied_at = exchange.leased_at  # There is no head to wait for: the rest of its time is transfer.
        tunnel = self._tunnel = Tunnel(exchange.cluster.settings.tunnel, self.site.tunnel_tools, self._tunnel_ended)
        early, self._early = self._early, b""
        tunnel.open(Side(self.transport, early, self._is_finished), Side(lease.take_transport()))

    def _tunnel_ended(self, error: ProxyError | None) -> None:
        exchange, tunnel, lease = self.exchange, self._tunnel, self._lease
        self._tunnel = self._lease = None
        assert exchange is not None and tunnel is not None
        exchange.bytes_in, exchange.bytes_out = tunnel.near.received, tunnel.far.received
        self._end(exchange, error)
        lease.end()
        self.site.closed(self)

    # The end.

    def fail(self, exchange: Passage, error: ProxyError) -> None:
        """Send the client away."""
        if self._tunnel is not None:
            self._tunnel.cut(error)
        elif not exchange.ended:
            self._end(exchange, error)
            self.transport.abortConnection()

    def _end(self, exchange: Passage, error: ProxyError | None) -> None:
        site = self.site
        self.exchange = self._reader = None
        self._early = b""
        site.deadlines.forget(self)
        exchange.cancel_upstream()
        exchange.forward = exchange.candidates = None
        exchange.ended_at = site.clock()
        exchange.ended = True
        exchange.end_reason = "ok"
        if error is not None:
            exchange.failed(error)
            exchange.end_reason = error.end_reason
            site.log_failure(exchange, error)
        site.exchange_ended(exchange)

    # What the site calls.

    def site_changed(self, hops_change: bool) -> None:
        """Go on by the listener's settings as they are now, as far as they come into it still."""
        self.settings = self.site.settings

    def exchanges(self) -> tuple[Exchange, ...]:
        """Return the exchange, until it has ended."""
        return () if self.exchange is None else (self.exchange,)

    def drain(self) -> None:
        """Go on: a tunnel ends when its two sides want it to, or when its time is over."""

    def cut(self, error: ProxyError) -> None:
        """End it now."""
        if self.exchange is not None:
            self.fail(self.exchange, error)
        else:
            self.transport.abortConnection()

    def __repr__(self) -> str:
        state = "closed" if self.exchange is None else "waiting" if self._tunnel is None else "open"
        return f"<TcpConnection of {getattr(self, 'peer', 'nobody')} {state}>"
