"""Connections that begin with a PROXY header: who is behind it is known before anything else is read.

What stands behind the header belongs to the listener's own factory, which serves the source as if it had connected
itself.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from txproxy.downstream.lingering import ON_ITS_WAY_S
from txproxy.downstream.site import peer_address
from txproxy.errors import BadProxyHeader, ProxyError, UntrustedProxy
from txproxy.exchange import Exchange
from txproxy.observe.log import Logger
from txproxy.policy.deadlines import NEVER
from txproxy.wire.proxy_protocol import UNIX_HOST, Place, ProxyHeader, ProxyHeaderReader

log = Logger()


class ProxiedFactory(Factory):
    """Stands in front of a listener's factory.

    :param site: the factory: its ``settings``, ``deadlines``, ``clock``, ``tools``, ``connections`` and ``when_empty``
        are used, and its tools say who may say for whom they speak. It counts a connection from the moment that the
        header is complete; until then it is counted here, and is among its ``connections``, so that it is drained with
        them.
    """

    noisy = False

    def __init__(self, site: Any) -> None:
        self.site = site
        self._gate = site.tools.gate

    def buildProtocol(self, addr: IAddress | None) -> Protocol | None:
        """Return what waits for a header, or None to close the connection: its peer may send none."""
        peer = peer_address(addr)
        if peer not in self.site.tools.trusted:
            self.failed(peer, UntrustedProxy())
            return None
        return AwaitedHeader(self, peer)

    def opened(self, connection: AwaitedHeader) -> None:
        """Take note of a new connection."""
        self.site.connections.add(connection)
        self._gate.opened()

    def passed_on(self, connection: AwaitedHeader) -> None:
        """Take note that a connection is about to be served, and counted, by the listener's factory."""
        self.site.connections.discard(connection)
        self._gate.passed_on()

    def closed(self, connection: AwaitedHeader) -> None:
        """Take note of a connection that has ended before its header was complete."""
        site = self.site
        site.connections.discard(connection)
        self._gate.closed()
        if not site.connections and site.when_empty is not None:
            site.when_empty()

    def failed(self, peer: str, error: ProxyError) -> None:
        """Count and log why a connection came to nothing."""
        self.site.tools.counters.proxy_failures[error.end_reason] += 1
        log.info(
            "listener {listener}: a connection of {peer} was closed by {reason}: {words}",
            listener=self.site.settings.name,
            peer=peer,
            reason=error.end_reason,
            words=error.detail or error.sentence,
        )

    def logPrefix(self) -> str:
        """Return what stands before lines of the log about this listener."""
        return str(self.site.settings.name)


class AwaitedHeader(Protocol):
    """A connection until its header is complete.

    :param factory: the one that it belongs to.
    :param peer: address of the peer.
    """

    transport: Any

    under_way = 0
    """There is no exchange yet."""
    is_tunnel = False
    """Nor is there a tunnel, which would have more time at a stop."""
    awaits_header = True
    """Its peer is a proxy in front, which has many connections."""

    def __init__(self, factory: ProxiedFactory, peer: str) -> None:
        self.peer = peer
        self.deadline = self.look_at = NEVER
        self._factory = factory
        self._site = factory.site
        self._reader = ProxyHeaderReader()
        self._has_begun = False
        self._error: ProxyError | None = None
        """Why it was ended, if that is to be told."""
        self._is_ended = False

    # What the transport calls.

    def connectionMade(self) -> None:
        """Begin to wait."""
        site = self._site
        self._factory.opened(self)
        self.deadline = site.clock() + site.settings.header_timeout_s
        site.deadlines.watch(self)
        self.transport.begin_peeking()

    def peeked(self, data: bytes) -> int:
        """Take what belongs to the header; see ``IPeekingTransport``."""
        self._has_begun = True
        try:
            return self._reader.feed(data)
        except BadProxyHeader as error:
            error.__traceback__ = error.__context__ = None  # The frames that raised it hold this connection.
            self._end(error)
            return 0

    def taken(self) -> None:
        """Let the source be served if the header is complete."""
        header = self._reader.header
        if header is not None:
            self._hand_over(header)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Count why it came to nothing."""
        self.transport.end_peeking()
        self._site.deadlines.forget(self)
        self._factory.closed(self)
        # Whoever only looks whether the port is open, as load balancers do, has begun no header.
        if not self._is_ended and self._has_begun:
            self._error = BadProxyHeader("the connection was closed before it was complete")
        if self._error is not None:
            self._factory.failed(self.peer, self._error)

    def deadline_passed(self) -> None:
        """The peer has kept us waiting."""
        self._end(None if self._site.draining else BadProxyHeader("it was not complete in time"))

    # What the site calls.

    def site_changed(self, hops_change: bool) -> None:
        """What serves the connection is asked when the header is complete."""

    def exchanges(self) -> tuple[Exchange, ...]:
        """Return nothing: there is no exchange yet."""
        return ()

    def drain(self) -> None:
        """Wait no longer than for a request: the proxy is stopping."""
        self.deadline = min(self.deadline, self._site.clock() + ON_ITS_WAY_S)
        self._site.deadlines.watch(self)

    def cut(self, error: ProxyError) -> None:
        """Close at once."""
        self._end(None)

    def _end(self, error: ProxyError | None) -> None:
        if not self._is_ended:
            self._is_ended, self._error = True, error
            self.transport.abortConnection()

    def _hand_over(self, header: ProxyHeader) -> None:
        transport = self.transport
        transport.end_peeking()
        self._site.deadlines.forget(self)
        peer = transport.getPeer() if header.source is None else _address(header.source)
        if header.says_anything:
            transport.present_as(peer, header)
        protocol = self._site.buildProtocol(peer)
        if protocol is None:
            self._end(None)  # Who is behind it has too many, which is counted there.
            return
        transport.protocol = protocol
        self._factory.passed_on(self)
        protocol.makeConnection(transport)

    def __repr__(self) -> str:
        return f"<AwaitedHeader of {self.peer}>"


def _address(place: Place) -> IPv4Address | IPv6Address | UNIXAddress:
    host, port = place
    if host == UNIX_HOST:
        return UNIXAddress(None)
    return IPv6Address("TCP", host, port) if ":" in host else IPv4Address("TCP", host, port)
