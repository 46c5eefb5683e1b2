"""
TLS transports, ports and connectors over TCP and unix sockets: those of L{txproxy.net.tcp} and L{txproxy.net.unix} with
OpenSSL on the socket.

They are handed out by L{txproxy.net.reactor.SecureReactor}; nothing else needs to know of them.
"""

from __future__ import annotations

import socket
from functools import partial
from typing import Any

from OpenSSL import SSL
from twisted.internet.address import UNIXAddress
from twisted.internet.error import TimeoutError
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from txproxy.net import tcp, unix
from txproxy.net.addresses import ip_address, plain_sockaddr
from txproxy.net.interfaces import IClientTls, IServerTls
from txproxy.net.tls_calls import take_turns
from txproxy.net.tls_failure import TlsFailure, TlsFault, cut, failure_of
from txproxy.net.tls_stream import TlsConnection

_log = Logger()


class Accepted(TlsConnection):
    """The server's side of a connection; its protocol is connected before the handshake."""

    def secure(self, connection: SSL.Connection) -> None:
        """
        Begin the handshake: wait for the client's first bytes.

        @param connection: on the socket of this transport.
        """
        connection.set_accept_state()
        take_turns(connection)
        self.ssl = connection

    def _handshake_failed(self, connection: SSL.Connection, error: SSL.Error) -> TlsFailure:
        failure = failure_of(error, True)
        self._discard_unread()  # Else the alert that says what was wrong could be destroyed.
        return failure

    def _handshake_succeeded(self, connection: SSL.Connection) -> Any:
        self._become_ready()
        # A client sends its request along with the end of its handshake.
        return self.doRead() if self._reads() else None


class Server(Accepted, tcp.Server):
    """A TCP connection that was accepted."""


class UnixServer(Accepted, unix.Server):
    """A connection that was accepted on a unix socket."""


class Connecting(TlsConnection):
    """The client's side of a connection; the handshake is a part of connecting."""

    connector: Any
    _hears_out = True

    def _connectDone(self: Any) -> None:
        self._tune()
        try:
            self.ssl = self.connector.tls.connection(self.socket)
            take_turns(self.ssl)
        except Exception as error:
            self.failIfNotConnected(_failure_of_ours(error))
            return
        self._shake_hands()

    def _handshake_failed(self: Any, connection: SSL.Connection, error: SSL.Error) -> None:
        self.failIfNotConnected(self.connector.tls.failure(connection, error))

    def _handshake_succeeded(self: Any, connection: SSL.Connection) -> None:
        tls = self.connector.tls
        try:
            tls.check(connection)
        except Exception as error:
            self.failIfNotConnected(_failure_of_ours(error))
            return
        self._first_read = tls.secured
        self._ready = True
        self._begin()
        if self.connected:
            self._become_ready()

    def failIfNotConnected(self: Any, err: Any) -> None:  # noqa: N802 - Twisted's name
        """End the attempt, if it is still under way."""
        if not self.connected:
            if self.ssl is not None and isinstance(err, TimeoutError):
                err = TimeoutError("no TLS handshake in time")
            self._let_go()
        super().failIfNotConnected(err)  # type: ignore[misc]

    def _failure_of(self: Any, trouble: SSL.Error) -> TlsFailure:
        if self._first_read is None:
            return super()._failure_of(trouble)
        # What a server has against our certificate is heard only now (RFC 8446 section 4.4.2.4).
        return self.connector.tls.failure(self.ssl, trouble)

    def connectionLost(self: Any, reason: Failure) -> None:
        """See C{twisted.internet.interfaces.IReadDescriptor.connectionLost}."""
        if not self.connected and self.ssl is not None:
            self.failIfNotConnected(cut("the connection was lost", True))
        else:
            super().connectionLost(reason)


def _failure_of_ours(error: Exception) -> TlsFailure:
    if isinstance(error, TlsFailure):
        return error
    _log.failure("TLS to a server could not begin")
    return TlsFailure(TlsFault.OURS, "TLS could not begin")


class Client(Connecting, tcp.Client):  # type: ignore[override]
    """A TCP connection that is or was being made."""


class UnixClient(Connecting, unix.Client):  # type: ignore[override]
    """A connection to a unix socket that is or was being made."""


class Connector(tcp.Connector):
    """
    Makes L{Client}s.

    @ivar tls: set before it connects.
    """

    tls: IClientTls

    def _makeTransport(self) -> Client:
        return Client(self.host, self.port, self.bindAddress, self, self.reactor)


class UnixConnector(unix.Connector):
    """
    Makes L{UnixClient}s.

    @ivar tls: set before it connects.
    """

    tls: IClientTls

    def _makeTransport(self) -> UnixClient:  # type: ignore[override]
        return UnixClient(self.address, self, self.reactor)


def secure(port: Any, tls: IServerTls | None) -> None:
    """
    Have the connections that a port accepts from here on speak TLS, or speak it no more.

    @param port: a L{tcp.Port} or L{unix.Port}, listening or not.
    @param tls: C{None} for connections without TLS.
    """
    is_unix = isinstance(port, unix.Port)
    if tls is None:
        port.transport = unix.Server if is_unix else tcp.Server
    else:
        port.transport = partial(_secured, UnixServer if is_unix else Server, tls)


@implementer(IClientTls)
class PrecededTls:
    """TLS that begins behind some bytes of ours."""

    def __init__(self, tls: IClientTls, preface: bytes) -> None:
        """
        @param tls: begins then.
        @param preface: no more than a socket takes that was just connected: some hundred bytes.
        """
        self._preface = preface
        self._begin = tls.connection
        self.check = tls.check
        self.failure = tls.failure
        self.secured = tls.secured

    def connection(self, skt: socket.socket) -> SSL.Connection:
        """See L{IClientTls.connection}."""
        try:
            sent = skt.send(self._preface)
        except OSError:
            sent = 0
        if sent < len(self._preface):
            raise cut("the connection was lost", True)
        return self._begin(skt)


def adopted(tls: IServerTls, descriptor: int, family: int, factory: Any, reactor: Any) -> Server | UnixServer | None:
    """
    Serve a connection that somebody else accepted.

    @param descriptor: of its socket, which is duplicated.
    @param family: C{AF_INET}, C{AF_INET6} or C{AF_UNIX}.
    @return: the transport; C{None} if the factory makes no protocol.
    """
    skt = socket.fromfd(descriptor, family, socket.SOCK_STREAM)
    try:
        peer: Any = skt.getpeername()
        if family == socket.AF_UNIX:
            protocol = factory.buildProtocol(UNIXAddress(skt.getsockname()))
        else:
            peer = plain_sockaddr(peer)
            protocol = factory.buildProtocol(ip_address(peer))
        if protocol is None:
            skt.close()
            return None
        kind = UnixServer if family == socket.AF_UNIX else Server
        made: Any = _secured(kind, tls, skt, protocol, peer, None, 0, reactor)
    except BaseException:
        skt.close()
        raise
    protocol.makeConnection(made)
    return made


def _secured(kind: Any, tls: IServerTls, *arguments: Any) -> Any:
    # What can fail comes first: the transport is watched by the reactor from its making on.
    connection = SSL.Connection(tls.getContext(), arguments[0])
    made = kind(*arguments)
    made.secure(connection)
    return made
