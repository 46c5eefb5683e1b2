"""A service that runs on a reactor in memory: what starting, stopping and reloading are tried with."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import CannotListenError
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from txproxy.assembly import Clocks
from txproxy.config.load import load_text
from txproxy.reload import Source
from txproxy.service import ProxyService
from txproxy.testing import FakePort, FakeTransport, site

NO_LOG = '[log]\naccess = ""\n'
PEER = IPv4Address("TCP", "192.0.2.1", 50000)


class Reactor(MemoryReactorClock):
    """A reactor whose ports remember what they are told; some addresses cannot be bound."""

    def __init__(self, taken: int = 0) -> None:
        super().__init__()
        self.opened: list[FakePort] = []
        self.taken = taken

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> Any:
        if port == self.taken:
            raise CannotListenError(interface, port, OSError(98, "Address already in use"))
        host = super().listenTCP(port, factory, backlog, interface).getHost()
        opened = FakePort(host, factory)
        self.opened.append(opened)
        return opened


class Running:
    """A service that runs, with clients and backends whose transports are turned by hand."""

    def __init__(
        self, case: SynchronousTestCase, text: str = "", source: Source | None = None, reactor: Reactor | None = None
    ) -> None:
        self.reactor = reactor or Reactor()
        loaded = load_text(text or site(rest=NO_LOG))
        clocks = Clocks(self.reactor.seconds, self.reactor.seconds)
        self.service = ProxyService(loaded.config, self.reactor, loaded.functions, clocks, source=source)
        self.events: list[str] = []

        observe: Any = lambda event: self.events.append(str(formatEvent(event)))  # noqa: E731 - for its type
        globalLogPublisher.addObserver(observe)
        case.addCleanup(globalLogPublisher.removeObserver, observe)
        self.transports: list[FakeTransport] = []
        self.service.startService()
        self.stopped: list[Any] = []

    def client(self, says: bytes = b"", listener: int = 0) -> FakeTransport:
        transport = FakeTransport(PEER, PEER)
        transport.arriving += says
        self.transports.append(transport)
        transport.connect([*self.service.ports.values()][listener].factory.buildProtocol(PEER))
        self.settle()
        return transport

    def change(self, text: str) -> list[str]:
        """Serve another configuration; return what is different."""
        loaded = load_text(text)
        said = self.service.change(loaded.config, loaded.functions)
        self.settle()
        return said

    def backend(self) -> FakeTransport:
        factory = self.reactor.tcpClients.pop(0)[2]
        transport = FakeTransport(PEER, PEER)
        self.transports.append(transport)
        transport.connect(factory.buildProtocol(PEER))
        self.settle()
        return transport

    def settle(self) -> None:
        self.reactor.advance(0)
        while any([transport.turn() for transport in self.transports]):
            self.reactor.advance(0)

    def advance(self, seconds: float) -> None:
        for _ in range(round(seconds * 10)):
            self.reactor.advance(0.1)
            self.settle()

    def says(self, transport: FakeTransport, data: bytes) -> None:
        transport.arriving += data
        self.settle()

    def stop(self) -> None:
        self.service.stopService().addCallback(self.stopped.append)
        self.settle()
