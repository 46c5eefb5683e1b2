"""The wrapper that hands out transports with TLS."""

from __future__ import annotations

import socket
from typing import Any

from OpenSSL import SSL
from twisted.internet.error import UnsupportedAddressFamily
from twisted.internet.interfaces import IReactorTCP, IReactorUNIX
from twisted.internet.posixbase import PosixReactorBase
from twisted.internet.protocol import ClientFactory, Factory, Protocol
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from txproxy.net.interfaces import IClientTls, IServerTls
from txproxy.net.reactor import SecureReactor
from txproxy.test.net.fakes import FakeReactor


@implementer(IServerTls)
class ServerTls:
    """Stands for the server's side."""

    def getContext(self) -> SSL.Context:
        raise AssertionError("nobody has connected")


@implementer(IClientTls)
class ClientTls:
    """Stands for the client's side; nothing of it is asked here."""


class WatchingReactor(FakeReactor, PosixReactorBase):
    """Passes for a reactor that watches file descriptors."""


class SecureReactorTests(SynchronousTestCase):
    """What cannot speak TLS by itself is left to the wrapped reactor; sides are not mixed up."""

    def test_passesThroughToAReactorWithoutDescriptors(self) -> None:
        """Over a memory reactor calls end up there, plain, so that code can do without sockets."""
        memory = MemoryReactorClock()
        server, client = SecureReactor(memory, ServerTls()), SecureReactor(memory, ClientTls())
        for each in (server, client):
            verifyObject(IReactorTCP, each)
            verifyObject(IReactorUNIX, each)
        factory = Factory.forProtocol(Protocol)
        server.listenTCP(80, factory)
        server.listenUNIX("/run/y", factory)
        server.adoptStreamPort(3, socket.AF_INET, factory)
        client.connectTCP("10.0.0.1", 81, ClientFactory(), 5)
        client.connectUNIX("/run/x", ClientFactory())
        self.assertEqual([each[0] for each in memory.tcpServers], [80])
        self.assertEqual([each[0] for each in memory.unixServers], ["/run/y"])
        self.assertEqual(len(memory.adoptedPorts), 1)
        self.assertEqual([(each[0], each[1], each[3]) for each in memory.tcpClients], [("10.0.0.1", 81, 5)])
        self.assertEqual([each[0] for each in memory.unixClients], ["/run/x"])

    def test_sidesAreNotMixedUp(self) -> None:
        """A server's TLS cannot connect, nor a client's listen."""
        reactor: Any = WatchingReactor()
        server, client = SecureReactor(reactor, ServerTls()), SecureReactor(reactor, ClientTls())
        factory: Any = ClientFactory()
        self.assertRaises(TypeError, client.listenTCP, 0, factory)
        self.assertRaises(TypeError, client.listenUNIX, "/run/x", factory)
        self.assertRaises(TypeError, client.adoptStreamConnection, 3, socket.AF_INET, factory)
        self.assertRaises(TypeError, server.connectTCP, "127.0.0.1", 1, factory)
        self.assertRaises(TypeError, server.connectUNIX, "/run/x", factory)
        self.assertRaises(UnsupportedAddressFamily, server.adoptStreamConnection, 3, -1, factory)
