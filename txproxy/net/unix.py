"""
Eager transports over unix stream sockets, the counterparts of C{twisted.internet.unix}; descriptors are not passed.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from typing import Any

from twisted.internet import tcp, unix
from twisted.internet.address import UNIXAddress
from twisted.internet.base import BaseConnector
from twisted.internet.error import CannotListenError, ConnectBindError
from twisted.python.failure import Failure
from zope.interface import implementer

from txproxy.net.accepting import AcceptLoop
from txproxy.net.interfaces import IPausablePort, ISharedPort
from txproxy.net.stream import EagerConnection
from txproxy.net.tcp import Connecting
from txproxy.net.tcp import Server as TCPServer


class _NoTcpOptions:
    """Code that was written for TCP may set these; on a unix socket there is nothing to set (as in stock)."""

    def getTcpNoDelay(self) -> bool:
        return False

    def setTcpNoDelay(self, enabled: bool) -> None:
        return None


class Server(_NoTcpOptions, TCPServer):  # type: ignore[misc]
    """A connection that was accepted on a unix socket."""

    def _tune(self) -> None:
        """There is no delay to switch off."""

    @property
    def hostname(self) -> Any:  # type: ignore[override]
        """The path that the peer is bound to; empty as a rule."""
        return self.client

    def getHost(self) -> UNIXAddress:  # type: ignore[override]
        """@return: the path of the listening socket."""
        return UNIXAddress(self.socket.getsockname())

    def getPeer(self) -> UNIXAddress:  # type: ignore[override]
        """@return: the path that the client is bound to; C{UNIXAddress(None)} as a rule."""
        return UNIXAddress(self.hostname or None)

    @classmethod
    def _fromConnectedSocket(cls, fileDescriptor: int, factory: Any, reactor: Any) -> Server | None:  # type: ignore[override]
        skt = socket.fromfd(fileDescriptor, socket.AF_UNIX, socket.SOCK_STREAM)
        protocol = factory.buildProtocol(UNIXAddress(skt.getsockname()))
        if protocol is None:
            skt.close()
            return None
        self = cls(skt, protocol, skt.getpeername(), None, 0, reactor)
        protocol.makeConnection(self)
        return self


class Client(_NoTcpOptions, Connecting, tcp.BaseClient, EagerConnection):  # type: ignore[misc,override]
    """A connection to a unix socket that is or was being made."""

    addressFamily = socket.AF_UNIX
    socketType = socket.SOCK_STREAM

    def __init__(self, path: str | bytes, connector: Connector, reactor: Any) -> None:
        """
        @param path: where the peer listens.
        @param connector: is told of success and failure.
        @param reactor: an C{IReactorFDSet} and C{IReactorTime}.
        """
        self.connector = connector
        self.realAddress: Any = UNIXAddress(path).name
        self.addr: Any = self.realAddress
        try:
            skt = self.createInternetSocket()
        except OSError as error:
            self._finishInit(None, None, ConnectBindError(error.errno, error.strerror), reactor)
        else:
            self._finishInit(self.doConnect, skt, None, reactor)

    def getHost(self) -> UNIXAddress:
        """@return: the address of a socket that is not bound to a path."""
        return UNIXAddress(None)

    def getPeer(self) -> UNIXAddress:
        """@return: the path that was connected to."""
        return UNIXAddress(self.addr)


class Connector(BaseConnector):
    """Makes L{Client}s."""

    def __init__(self, path: str | bytes, factory: Any, timeout: float, reactor: Any) -> None:
        """
        @param path: where the peer listens.
        @param factory: a C{ClientFactory}.
        @param timeout: seconds until the attempt fails.
        @param reactor: an C{IReactorFDSet} and C{IReactorTime}.
        """
        BaseConnector.__init__(self, factory, timeout, reactor)
        self.address = path

    def _makeTransport(self) -> Client:  # type: ignore[override]
        return Client(self.address, self, self.reactor)

    def getDestination(self) -> UNIXAddress:
        """@return: the path to connect to."""
        return UNIXAddress(self.address)


@implementer(IPausablePort, ISharedPort)
class Port(AcceptLoop, unix.Port):
    """
    A listening unix socket.

    A socket file that nobody listens on (its owner crashed) is removed first; one that somebody listens on is an error.
    The file is removed at the end, unless another process has put its own there meanwhile or the socket was adopted.
    """

    transport = Server  # type: ignore[assignment]

    _bound_file: tuple[int, int] | None = None
    _made: socket.socket | None = None

    def createInternetSocket(self) -> socket.socket:
        """@return: a socket not bound yet; kept in view, because stock leaves it open when it cannot be bound."""
        self._made = unix.Port.createInternetSocket(self)
        return self._made

    def startListening(self) -> None:
        """
        Bind, listen and accept.

        @raise CannotListenError: if the path is in use, not a socket, or cannot be bound.
        """
        if self._preexistingSocket is not None:
            self._start_adopted(self._preexistingSocket)
            return
        remove_stale_socket(self._bindPath)
        try:
            unix.Port.startListening(self)
        except CannotListenError:
            if self._made is not None:
                self._made.close()
            self.factory.doStop()
            raise
        finally:
            self._made = None
        self.own_file()

    def _start_adopted(self, skt: socket.socket) -> None:
        # Its owner goes on using it: it is not shut down at the end. Unlike stock, who may connect is not set anew
        # either, which only the owner of the file is allowed to do.
        self._shouldShutdown = False
        self._preexistingSocket = None
        self.factory.doStart()
        skt.listen(self.backlog)
        self.connected = True
        self.socket = skt
        self.fileno = skt.fileno  # type: ignore[method-assign]
        self.numberAccepts = 100
        self.startReading()

    def share(self) -> None:
        """See L{ISharedPort.share}."""
        self._shouldShutdown = False
        self._bound_file = None

    def own_file(self) -> None:
        """See L{ISharedPort.own_file}."""
        if not self._is_abstract():
            self._bound_file = _identity(self._bindPath)

    def _is_abstract(self) -> bool:
        return self._bindPath[:1] == b"\0"

    def connectionLost(self, reason: Failure) -> None:
        """Close the listening socket and remove its file."""
        self._end_rest()
        if self._bound_file is not None and self._bound_file == _identity(self._bindPath):
            os.unlink(self._bindPath)
        self._bound_file = None
        if self.lockFile is not None:
            self.lockFile.unlock()
        tcp.Port.connectionLost(self, reason)


def _identity(path: bytes) -> tuple[int, int] | None:
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def remove_stale_socket(path: bytes) -> None:
    """
    Remove the socket file at C{path} if nobody listens on it; leave anything else for C{bind} to complain about.

    @raise CannotListenError: if somebody listens there.
    """
    if path[:1] == b"\0":
        return
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            return
    except OSError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        result = probe.connect_ex(path)
    if result == errno.ECONNREFUSED:
        os.unlink(path)
    elif result != errno.ENOENT:
        # Connected, or EAGAIN: a listener whose backlog is full is alive as well.
        raise CannotListenError(None, path, OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE)))
