"""How connections are closed when nothing waits, and what is still told and sent then."""

from __future__ import annotations

from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from txproxy.net import tcp
from txproxy.test.net.fakes import FakeReactor, FakeSocket, RecordingProtocol
from txproxy.test.net.tls_fakes import HandshakeProtocol, Wire


class PlainTests(SynchronousTestCase):
    """A connection without TLS."""

    def setUp(self) -> None:
        self.reactor, self.socket, self.protocol = FakeReactor(), FakeSocket(), RecordingProtocol()
        socket: Any = self.socket
        self.transport = tcp.Server(socket, self.protocol, ("10.9.8.7", 4321), None, 5, self.reactor)
        self.protocol.makeConnection(self.transport)

    def test_atOnce(self) -> None:
        """Nobody asks whether the socket is writable; the protocol is told on the next turn, once."""
        self.transport.loseConnection()
        self.assertEqual((self.reactor.readers, self.reactor.writers, self.protocol.lost), (set(), set(), []))
        self.reactor.turns()
        self.assertEqual([reason.type for reason in self.protocol.lost], [ConnectionDone])
        self.assertTrue(self.socket.closed)
        self.assertEqual(self.socket.calls, [])

    def test_aborted(self) -> None:
        """An abort in between is what counts."""
        self.transport.loseConnection()
        self.transport.abortConnection()
        self.reactor.turns()
        self.assertEqual(len(self.protocol.lost), 1)

    def test_writtenAfterwards(self) -> None:
        """What is written after it is still sent, as by stock transports, however slowly that goes."""
        for room in (None, 0):
            self.setUp()
            self.transport.loseConnection()
            self.socket.room = room
            self.transport.write(b"late")
            self.reactor.turns(3)
            self.socket.room = None
            self.reactor.turns(3)
            self.assertEqual((self.socket.sent, len(self.protocol.lost)), (b"late", 1))

    def test_producer(self) -> None:
        """A producer that is registered after it is waited for."""

        class Producer:
            def resumeProducing(self) -> None:
                pass

            pauseProducing = stopProducing = resumeProducing

        producer: Any = Producer()
        self.transport.loseConnection()
        self.transport.registerProducer(producer, False)
        self.reactor.turns(3)
        self.assertEqual(self.protocol.lost, [])
        self.transport.unregisterProducer()
        self.reactor.turns(3)
        self.assertEqual(len(self.protocol.lost), 1)


class TlsTests(SynchronousTestCase):
    """A connection with TLS."""

    def test_alert(self) -> None:
        """The close alert goes out, then the socket is closed."""
        wire = Wire().shake_hands()
        wire.transport.loseConnection()
        wire.reactor.turns(2)
        self.assertTrue(wire.is_closed)
        self.assertEqual([reason.type for reason in wire.protocol.lost], [ConnectionDone])

    def test_unread(self) -> None:
        """What has come meanwhile is taken from the socket: a reset would destroy what is still on its way."""
        wire = Wire().shake_hands()
        wire.socket.arriving.append(b"the client's close alert")
        wire.transport.loseConnection()
        wire.reactor.turns(2)
        self.assertEqual((wire.socket.arriving, wire.socket.closed), ([], True))

    def test_halfCloseOnce(self) -> None:
        """The peer's close alert is told once, though both the socket and a look into OpenSSL tell of it."""

        @implementer(IHalfCloseableProtocol)
        class HalfCloseable(HandshakeProtocol):
            ends = 0

            def readConnectionLost(self) -> None:
                self.ends += 1

            def writeConnectionLost(self) -> None:
                pass

        protocol = HalfCloseable()
        wire = Wire(protocol).shake_hands()
        wire.client.shutdown()
        wire.deliver()
        self.assertTrue(wire.transport.has_unread_or_closed())
        wire.reactor._disconnectSelectable(wire.transport, wire.transport.doRead(), True)
        wire.reactor.turns()
        self.assertEqual(protocol.ends, 1)
