"""
Eager TCP transports, the counterparts of C{twisted.internet.tcp}'s C{Server}, C{Client}, C{Connector} and C{Port}.

They are handed out by L{txproxy.net.reactor.EagerReactor}; nothing else needs to know of them.
"""

from __future__ import annotations

import socket
import sys
from contextlib import suppress
from typing import Any

from twisted.internet import tcp
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from txproxy.net.accepting import AcceptLoop
from txproxy.net.addresses import ip_address, plain_sockaddr
from txproxy.net.interfaces import IPausablePort, IPeekingTransport, ISharedPort
from txproxy.net.peeking import Peeking
from txproxy.net.stream import EagerConnection

# Linux copies TCP_NODELAY from the listening socket to those it accepts, which saves a system call for each connection.
_NODELAY_IS_INHERITED = sys.platform == "linux"

DEFAULT_BACKLOG = 1024
"""How many connections may wait to be accepted, where the caller names no number; Twisted's 50 drops a burst."""


def _set_no_delay(skt: socket.socket) -> None:
    # Fails if the peer is gone already; the loss is reported by the first read or write.
    with suppress(OSError):
        skt.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


@implementer(IPeekingTransport)
class Server(Peeking, tcp.Server, EagerConnection):  # type: ignore[misc]
    """A connection that was accepted."""

    _base = EagerConnection  # type: ignore[assignment]

    def __init__(
        self, sock: socket.socket, protocol: Any, client: tuple[Any, ...], server: Any, sessionno: int, reactor: Any
    ) -> None:
        """
        @param sock: the accepted socket.
        @param protocol: the protocol that the factory made for it.
        @param client: the peer's address as L{plain_sockaddr} returns it.
        @param server: the L{Port} that accepted it, or C{None} for an adopted connection.
        @param sessionno: a running number, for log lines.
        @param reactor: an C{IReactorFDSet} and C{IReactorTime}.
        """
        EagerConnection.__init__(self, sock, protocol, reactor)
        self.client = client
        self.server = server
        self.sessionno = sessionno
        if server is None or not _NODELAY_IS_INHERITED:
            self._tune()
        self.connected = 1
        self._direct = self._ready
        self.startReading()

    def _tune(self) -> None:
        _set_no_delay(self.socket)

    @property
    def hostname(self) -> Any:  # type: ignore[override]
        """The peer's host, as text."""
        return self.client[0]

    @property
    def logstr(self) -> str:  # type: ignore[override]
        """The prefix of log lines about this connection."""
        return self.logPrefix()

    def logPrefix(self) -> str:
        """See C{twisted.internet.interfaces.ILoggingContext.logPrefix}."""
        return f"{EagerConnection.logPrefix(self)},{self.sessionno},{self.hostname}"

    def __repr__(self) -> str:
        if self.server is None and self.connected:
            where = self.socket.getsockname()
            port = where[1] if isinstance(where, tuple) else where
        else:
            port = getattr(self.server, "_realPortNumber", None)
        return f"<{type(getattr(self, 'protocol', None)).__name__} #{self.sessionno} on {port}>"

    def getHost(self) -> IPv4Address | IPv6Address:
        """@return: this side's address."""
        return ip_address(plain_sockaddr(self.socket.getsockname()))

    def getPeer(self) -> IPv4Address | IPv6Address:
        """@return: the client's address; an IPv4 client of a dual-stack port has an C{IPv4Address}."""
        return ip_address(plain_sockaddr(self.client))


class Connecting:
    """What TCP and unix clients share: the step from a connected socket to a connected protocol."""

    _base = EagerConnection
    _commonConnection = EagerConnection

    connector: Any
    connected: Any
    protocol: Any

    def _tune(self) -> None:
        """Set the options of the connected socket."""

    def _connectDone(self) -> None:
        self._tune()
        self._begin()

    def _begin(self: Any) -> None:
        """Make the protocol and connect it."""
        protocol = self.connector.buildProtocol(self.getPeer())
        self.connected = 1
        if protocol is None:
            # Something must be there to be told of the loss.
            self.protocol = Protocol()
            self.loseConnection()
            return
        self.protocol = protocol
        self._direct = True
        self.startReading()
        protocol.makeConnection(self)

    def connectionLost(self: Any, reason: Failure) -> None:
        """See C{twisted.internet.interfaces.IReadDescriptor.connectionLost}."""
        connector = getattr(self, "connector", None)
        tcp.BaseClient.connectionLost(self, reason)
        # The connector knows its transport and the transport its connector: nothing but the garbage collector would
        # free the two. A connector that has begun another attempt has another transport.
        if connector is not None and connector.transport is self:
            connector.transport = None

    @property
    def logstr(self) -> str:
        """The prefix of log lines about this connection."""
        return self.logPrefix()

    def logPrefix(self: Any) -> str:
        """See C{twisted.internet.interfaces.ILoggingContext.logPrefix}."""
        return f"{EagerConnection.logPrefix(self)},client"


class Client(Connecting, tcp.Client, EagerConnection):  # type: ignore[misc,override]
    """A connection that is or was being made."""

    def _tune(self) -> None:
        _set_no_delay(self.socket)

    def getHost(self) -> IPv4Address | IPv6Address:
        """@return: the address that the connection was made from."""
        return ip_address(plain_sockaddr(self.socket.getsockname()))


class Connector(tcp.Connector):
    """Makes L{Client}s."""

    def _makeTransport(self) -> Client:
        return Client(self.host, self.port, self.bindAddress, self, self.reactor)


@implementer(IPausablePort, ISharedPort)
class Port(AcceptLoop, tcp.Port):
    """
    A listening TCP port.

    On C{::} it accepts IPv4 as well, whatever the system's default is; such a peer is presented as C{IPv4Address}.
    """

    transport = Server

    def createInternetSocket(self) -> socket.socket:
        """@return: a socket that is not bound yet, with the options that its connections inherit."""
        skt: socket.socket = tcp.Port.createInternetSocket(self)
        if self.addressFamily == socket.AF_INET6 and self.interface == "::":
            skt.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        return skt

    def startListening(self) -> None:
        """
        Bind, listen and accept.

        @raise twisted.internet.error.CannotListenError: if the address cannot be bound.
        """
        tcp.Port.startListening(self)
        _set_no_delay(self.socket)

    def share(self) -> None:
        """See L{ISharedPort.share}."""
        self._shouldShutdown = False  # shutdown(2) would end it for all who have a descriptor of it.

    def own_file(self) -> None:
        """There is none."""

    def _shown_sockaddr(self, sockaddr: tuple[Any, ...]) -> tuple[Any, ...]:
        return plain_sockaddr(sockaddr)

    def _buildAddr(self, address: tuple[Any, ...]) -> IPv4Address | IPv6Address:
        return ip_address(address)

    def getHost(self) -> IPv4Address | IPv6Address:
        """@return: the address that this port listens on, with the number that the system chose if 0 was asked for."""
        return ip_address(plain_sockaddr(self.socket.getsockname()))

    def connectionLost(self, reason: Failure) -> None:
        """Close the listening socket."""
        self._end_rest()
        tcp.Port.connectionLost(self, reason)
