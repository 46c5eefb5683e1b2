"""A UDP port that keeps quiet, for protocols that open one for each question."""

from __future__ import annotations

from typing import Any

from twisted.internet import base, udp
from twisted.internet.error import CannotListenError
from twisted.internet.posixbase import PosixReactorBase


class Port(udp.Port):
    """A port that is not worth two lines of the log, which Twisted's own writes of each, whatever it is for."""

    def startListening(self) -> None:
        """
        Bind, and read from then on.

        @raise CannotListenError: if the socket cannot be made or bound.
        """
        skt = None
        try:
            skt = self.createInternetSocket()
            skt.bind((self.interface, self.port))
        except OSError as error:
            if skt is not None:
                skt.close()
            raise CannotListenError(self.interface, self.port, error) from None
        self._realPortNumber = skt.getsockname()[1]
        self.connected = 1
        self.socket = skt
        self.fileno = skt.fileno  # type: ignore[method-assign]
        self._connectToProtocol()

    def doRead(self) -> None:
        """Read what has come; an error that a router sent is told as a refusal, not only that of a closed port."""
        try:
            udp.Port.doRead(self)
        except OSError:
            self.protocol.connectionRefused()

    def connectionLost(self, reason: Any = None) -> None:
        """
        Close the socket, and tell whoever waits for that.

        @param reason: given by a reactor that has seen an error of the socket before it was read, which is how most
            learn of a refusal; C{None}: it was we who wanted it closed.
        """
        self._realPortNumber = None
        self.maxThroughput = -1
        base.BasePort.connectionLost(self, reason)
        if reason is not None:
            self.protocol.connectionRefused()
        self.protocol.doStop()
        self.socket.close()
        del self.socket
        del self.fileno
        closed = self.__dict__.pop("d", None)
        if closed is not None:
            closed.callback(None)


def listen_udp(reactor: Any, protocol: Any, interface: str = "") -> Any:
    """
    Open a port for a protocol, with a number that the system chooses.

    @param reactor: with one that watches no real descriptors, such as a test's, it is the reactor's own C{listenUDP}.
    @param interface: an address of the family that is spoken; empty: IPv4, on all interfaces.
    @return: an C{IUDPTransport} and C{IListeningPort}.
    @raise CannotListenError: if it cannot be opened.
    """
    if not isinstance(reactor, PosixReactorBase):
        return reactor.listenUDP(0, protocol, interface)
    port = Port(0, protocol, interface, reactor=reactor)
    port.startListening()
    return port
