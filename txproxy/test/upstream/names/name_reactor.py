"""A reactor without sockets whose datagrams reach name servers that are zones."""

from __future__ import annotations

from typing import Any

from twisted.internet.error import CannotListenError, ConnectionDone, ConnectionRefusedError
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure

from txproxy.test.name_server import Zone

_STEP_S = 0.05


class DatagramPort:
    """One socket of the resolver."""

    def __init__(self, reactor: NameReactor, protocol: Any, interface: str) -> None:
        self.reactor = reactor
        self.protocol = protocol
        self.interface = interface
        self.server: tuple[str, int] = ("", 0)
        self.sent: list[bytes] = []
        self.is_open = True

    def connect(self, host: str, port: int) -> None:
        self.server = (host, port)
        if host in self.reactor.unreachable:
            raise OSError(101, "Network is unreachable")

    def write(self, data: bytes) -> None:
        self.sent.append(data)
        if self.server[0] in self.reactor.closed:
            self.reactor.callLater(0, self._refused)
        elif self.server in self.reactor.zones:
            reply = self.reactor.zones[self.server].reply(data)
            if reply is not None:
                self.reactor.callLater(0, self.receive, reply)

    def receive(self, data: bytes) -> None:
        """Let a datagram come, unless the socket was closed."""
        if self.is_open:
            self.protocol.datagramReceived(data, self.server)

    def _refused(self) -> None:
        if self.is_open:
            self.protocol.connectionRefused()

    def stopListening(self) -> None:
        self.is_open = False


class Connection:
    """A connection over TCP that is made when a test says so; also its IConnector."""

    def __init__(self, server: tuple[str, int], factory: Any) -> None:
        self.server = server
        self.protocol: Any = None
        self.transport = StringTransport()
        self.is_wanted = True
        """False once it was called off, made or not."""
        self._factory = factory

    def disconnect(self) -> None:
        self.is_wanted = False
        self.transport.loseConnection()

    def connects(self) -> None:
        self.protocol = self._factory.buildProtocol(None)
        self.protocol.makeConnection(self.transport)

    def fails(self) -> None:
        self._factory.clientConnectionFailed(self, Failure(ConnectionRefusedError()))

    def says(self, message: bytes) -> None:
        """Let a message come, byte by byte."""
        for byte in len(message).to_bytes(2, "big") + message:
            self.protocol.dataReceived(bytes([byte]))

    def is_lost(self) -> None:
        self.protocol.connectionLost(Failure(ConnectionDone()))

    @property
    def question(self) -> bytes:
        """The message that was sent."""
        return self.transport.value()[2:]


class NameReactor(MemoryReactorClock):
    """Zones answer on UDP one turn later; on TCP a test speaks for them."""

    def __init__(self) -> None:
        super().__init__()
        self.zones: dict[tuple[str, int], Zone] = {}
        """By the server's address."""
        self.unreachable: set[str] = set()
        """Hosts that no route leads to."""
        self.closed: set[str] = set()
        """Hosts that answer that the port is closed."""
        self.has_ipv6 = True
        self.ports: list[DatagramPort] = []
        """All that were ever opened."""
        self.connections: list[Connection] = []
        """All that were ever begun over TCP."""

    def zone(self, host: str = "127.0.0.1", port: int = 53) -> Zone:
        """Set up a name server and return its zone."""
        self.zones[host, port] = zone = Zone()
        return zone

    def listenUDP(self, port: int, protocol: Any, interface: str = "") -> DatagramPort:
        if interface and not self.has_ipv6:
            raise CannotListenError(interface, port, OSError(97, "Address family not supported"))
        opened = DatagramPort(self, protocol, interface)
        self.ports.append(opened)
        protocol.transport = opened
        return opened

    def connectTCP(
        self, host: str, port: int, factory: Any, timeout: float = 30, bindAddress: Any = None
    ) -> Connection:
        self.connections.append(Connection((host, port), factory))
        return self.connections[-1]

    def turn(self, seconds: float = 0) -> None:
        """Let time pass, in steps, and everything happen that follows."""
        steps = round(seconds / _STEP_S)
        for amount in [*[_STEP_S] * steps, *[0] * 20]:
            self.advance(amount)

    @property
    def open_ports(self) -> list[DatagramPort]:
        """Sockets that were not closed."""
        return [each for each in self.ports if each.is_open]
