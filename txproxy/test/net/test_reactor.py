"""The wrapper that hands out eager transports, over a reactor that cannot use them."""

from __future__ import annotations

import socket

from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.internet.interfaces import IReactorFDSet, IReactorTCP, IReactorThreads, IReactorTime, IReactorUNIX
from twisted.internet.protocol import ClientCreator, Factory, Protocol
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from txproxy.net.reactor import EagerReactor
from txproxy.test.net.fakes import FakeReactor


class EagerReactorTests(SynchronousTestCase):
    """A wrapped reactor does for Twisted's own helpers what a plain one does."""

    def setUp(self) -> None:
        self.memory = MemoryReactorClock()
        self.reactor = EagerReactor(self.memory)
        self.factory = Factory.forProtocol(Protocol)

    def test_providesWhatTheWrappedReactorProvides(self) -> None:
        """The wrapper claims TCP, and of the rest what stands behind it."""
        verifyObject(IReactorTCP, self.reactor)
        verifyObject(IReactorTime, self.reactor)
        verifyObject(IReactorUNIX, self.reactor)
        self.assertFalse(IReactorThreads.providedBy(self.reactor))
        self.assertFalse(IReactorUNIX.providedBy(EagerReactor(FakeReactor())))
        self.assertTrue(IReactorFDSet.providedBy(EagerReactor(FakeReactor())))

    def test_passesThroughToAReactorWithoutDescriptors(self) -> None:
        """Endpoints and ClientCreator over a memory reactor end up there, so that code can do without sockets."""
        TCP4ServerEndpoint(self.reactor, 80).listen(self.factory)
        TCP4ClientEndpoint(self.reactor, "10.0.0.1", 81).connect(self.factory)
        HostnameEndpoint(self.reactor, "backend.example", 82).connect(self.factory)
        ClientCreator(self.reactor, Protocol).connectTCP("10.0.0.3", 83)
        ClientCreator(self.reactor, Protocol).connectUNIX("/run/x")
        self.reactor.listenUNIX("/run/y", self.factory)
        self.reactor.adoptStreamPort(3, socket.AF_INET, self.factory)
        self.assertEqual([each[0] for each in self.memory.tcpServers], [80])
        # The memory reactor resolves every name to 127.0.0.1.
        clients = [each[:2] for each in self.memory.tcpClients]
        self.assertEqual(clients, [("10.0.0.1", 81), ("127.0.0.1", 82), ("10.0.0.3", 83)])
        self.assertEqual([each[0] for each in self.memory.unixClients], ["/run/x"])
        self.assertEqual([each[0] for each in self.memory.unixServers], ["/run/y"])
        self.assertEqual(len(self.memory.adoptedPorts), 1)

    def test_timeIsTheWrappedReactors(self) -> None:
        """Timers run on the wrapped reactor's clock."""
        called: list[int] = []
        self.reactor.callLater(2, called.append, 1)
        self.memory.advance(2)
        self.assertEqual((called, self.reactor.seconds()), ([1], 2))
