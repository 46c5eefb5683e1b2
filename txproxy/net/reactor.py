"""A reactor's face that makes eager transports, for C{ClientCreator}, endpoints and listeners alike."""

from __future__ import annotations

import socket
from typing import Any, NamedTuple

from twisted.internet.error import UnsupportedAddressFamily
from twisted.internet.interfaces import (
    IConnector,
    IListeningPort,
    IReactorCore,
    IReactorFDSet,
    IReactorPluggableNameResolver,
    IReactorSocket,
    IReactorTCP,
    IReactorThreads,
    IReactorTime,
    IReactorUNIX,
)
from twisted.internet.posixbase import PosixReactorBase
from twisted.python.components import proxyForInterface
from zope.interface import directlyProvides, implementer_only

from txproxy.net import tcp, tls, unix
from txproxy.net.interfaces import IClientTls, IServerTls

_DELEGATED = (IReactorCore, IReactorTime, IReactorFDSet, IReactorThreads, IReactorPluggableNameResolver)


class _Kinds(NamedTuple):
    """The classes of the connectors that a face makes."""

    connector: Any
    unix_connector: Any


_EAGER = _Kinds(tcp.Connector, unix.Connector)
_TLS = _Kinds(tls.Connector, tls.UnixConnector)

_Delegation: Any = type("_Delegation", tuple(proxyForInterface(interface) for interface in _DELEGATED), {})


@implementer_only(IReactorTCP)
class EagerReactor(_Delegation):
    """
    Wraps a reactor: stream ports and clients are those of L{txproxy.net}, all else is the wrapped reactor's.

    The transports themselves know the wrapped reactor only. They stand in for those of C{PosixReactorBase}, the base of
    every reactor of Twisted that watches real file descriptors; with any other (C{MemoryReactorClock} in tests, which
    claims C{IReactorFDSet} but watches nothing) every call is passed on as it is.

    @ivar original: the wrapped reactor.
    """

    original: Any

    _kinds = _EAGER

    def __init__(self, original: Any) -> None:
        """@param original: the reactor to wrap; what it provides of the delegated interfaces, this provides too."""
        super().__init__(original)
        self._eager = isinstance(original, PosixReactorBase)
        directlyProvides(
            self,
            *(each for each in (*_DELEGATED, IReactorUNIX, IReactorSocket) if each.providedBy(original)),
        )

    def listenTCP(
        self, port: int, factory: Any, backlog: int = tcp.DEFAULT_BACKLOG, interface: str = ""
    ) -> IListeningPort:
        """
        See C{IReactorTCP.listenTCP}. C{interface="::"} accepts IPv4 too.

        @param backlog: how many connections may wait to be accepted.
        @raise twisted.internet.error.CannotListenError: if the address cannot be bound.
        """
        if not self._eager:
            return self.original.listenTCP(port, factory, backlog, interface)
        return self._listening(tcp.Port(port, factory, backlog, interface, self.original))

    def connectTCP(
        self, host: str, port: int, factory: Any, timeout: float = 30.0, bindAddress: Any = None
    ) -> IConnector:
        """
        See C{IReactorTCP.connectTCP}.

        @param host: an IPv4 or IPv6 address, or a name that the reactor's resolver knows.
        @param timeout: seconds until the attempt fails with C{TimeoutError}.
        """
        if not self._eager:
            return self.original.connectTCP(host, port, factory, timeout, bindAddress)
        return self._connecting(self._kinds.connector(host, port, factory, timeout, bindAddress, self.original))

    def listenUNIX(
        self,
        address: str | bytes,
        factory: Any,
        backlog: int = tcp.DEFAULT_BACKLOG,
        mode: int = 0o666,
        wantPID: int = 0,
    ) -> IListeningPort:
        """
        See C{IReactorUNIX.listenUNIX}. A socket file that nobody listens on is replaced.

        @raise twisted.internet.error.CannotListenError: if the path is in use or cannot be bound.
        """
        if not self._eager:
            return self.original.listenUNIX(address, factory, backlog, mode, wantPID)
        port: Any = unix.Port
        return self._listening(port(address, factory, backlog, mode, self.original, wantPID))

    def connectUNIX(self, address: str | bytes, factory: Any, timeout: float = 30, checkPID: int = 0) -> IConnector:
        """
        See C{IReactorUNIX.connectUNIX}.

        @param checkPID: of no effect (a peer that is not there refuses the connection), except with a reactor that
            makes its own transports.
        """
        if not self._eager:
            return self.original.connectUNIX(address, factory, timeout, checkPID)
        return self._connecting(self._kinds.unix_connector(address, factory, timeout, self.original))

    def adoptStreamPort(self, fileDescriptor: int, addressFamily: int, factory: Any) -> IListeningPort:
        """
        See C{IReactorSocket.adoptStreamPort}.

        @raise UnsupportedAddressFamily: if the socket is neither IP nor unix.
        """
        if not self._eager:
            return self.original.adoptStreamPort(fileDescriptor, addressFamily, factory)
        listening: Any
        if addressFamily == socket.AF_UNIX:
            listening = unix.Port._fromListeningDescriptor(self.original, fileDescriptor, factory)
        elif addressFamily in (socket.AF_INET, socket.AF_INET6):
            listening = tcp.Port._fromListeningDescriptor(self.original, fileDescriptor, addressFamily, factory)
        else:
            raise UnsupportedAddressFamily(addressFamily)
        return self._listening(listening)

    def adoptStreamConnection(self, fileDescriptor: int, addressFamily: int, factory: Any) -> Any:
        """
        See C{IReactorSocket.adoptStreamConnection}.

        @raise UnsupportedAddressFamily: if the socket is neither IP nor unix.
        """
        if not self._eager:
            return self.original.adoptStreamConnection(fileDescriptor, addressFamily, factory)
        if addressFamily == socket.AF_UNIX:
            return unix.Server._fromConnectedSocket(fileDescriptor, factory, self.original)
        if addressFamily in (socket.AF_INET, socket.AF_INET6):
            return tcp.Server._fromConnectedSocket(fileDescriptor, addressFamily, factory, self.original)
        raise UnsupportedAddressFamily(addressFamily)

    def _listening(self, port: Any) -> Any:
        port.startListening()
        return port

    def _connecting(self, connector: Any) -> Any:
        connector.connect()
        return connector

    def adoptDatagramPort(
        self, fileDescriptor: int, addressFamily: int, protocol: Any, maxPacketSize: int = 8192
    ) -> IListeningPort:
        """See C{IReactorSocket.adoptDatagramPort}; always the wrapped reactor's."""
        return self.original.adoptDatagramPort(fileDescriptor, addressFamily, protocol, maxPacketSize)


class SecureReactor(EagerReactor):
    """
    Wraps a reactor as L{EagerReactor} does; its transports speak TLS.

    With a reactor that watches no real file descriptors every call is passed on as it is, without TLS.
    """

    _kinds = _TLS

    def __init__(self, original: Any, security: IServerTls | IClientTls) -> None:
        """
        @param original: the reactor to wrap.
        @param security: an L{IServerTls} to listen and to adopt connections, or an L{IClientTls} to connect; the calls
            of the other side raise C{TypeError}.
        """
        super().__init__(original)
        self._security = security

    def preceded_by(self, preface: bytes) -> SecureReactor:
        """
        @param preface: some hundred bytes at most.
        @return: a face whose connections begin with these bytes, before the handshake.
        """
        return SecureReactor(self.original, tls.PrecededTls(self._require(IClientTls), preface))

    def _listening(self, port: Any) -> Any:
        tls.secure(port, self._require(IServerTls))
        return super()._listening(port)

    def _connecting(self, connector: Any) -> Any:
        connector.tls = self._require(IClientTls)
        return super()._connecting(connector)

    def adoptStreamConnection(self, fileDescriptor: int, addressFamily: int, factory: Any) -> Any:
        """
        See C{IReactorSocket.adoptStreamConnection}; the other side is the client.

        @raise UnsupportedAddressFamily: if the socket is neither IP nor unix.
        """
        if not self._eager:
            return self.original.adoptStreamConnection(fileDescriptor, addressFamily, factory)
        if addressFamily not in (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6):
            raise UnsupportedAddressFamily(addressFamily)
        security = self._require(IServerTls)
        return tls.adopted(security, fileDescriptor, addressFamily, factory, self.original)

    def _require(self, interface: Any) -> Any:
        if not interface.providedBy(self._security):
            raise TypeError(f"{self._security!r} is no {interface.__name__}")
        return self._security
