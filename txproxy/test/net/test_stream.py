"""The semantics of stream transports: one suite for Twisted's and for the eager ones, then what only the latter do."""

from __future__ import annotations

import errno
from typing import Any

from twisted.internet import tcp as stock
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from txproxy.net import tcp as eager
from txproxy.net.interfaces import IEagerTransport
from txproxy.test.net.fakes import FakeReactor, FakeSocket, HalfCloseableProtocol, RecordingProducer, RecordingProtocol

_RESET = ConnectionResetError(errno.ECONNRESET, "reset")


class TransportMixin:
    """Makes a connected transport over a fake socket and a fake reactor."""

    server_class: Any

    def connect(self, protocol: Any = None) -> Any:
        self.socket = FakeSocket()
        self.reactor = FakeReactor()
        self.protocol = RecordingProtocol() if protocol is None else protocol
        transport = self.server_class(self.socket, self.protocol, ("10.9.8.7", 4321), None, 5, self.reactor)
        self.protocol.makeConnection(transport)
        return transport


class SharedTestsMixin(TransportMixin):
    """What every stream transport of Twisted promises."""

    def test_bytesArriveInOrder(self: Any) -> None:
        """All that was written is sent, in order, however little the kernel takes at a time."""
        transport = self.connect()
        self.socket.room = 3
        transport.write(b"hello ")
        transport.writeSequence([b"big ", b"wide "])
        transport.write(b"world")
        for _ in range(20):
            self.reactor.turn()
            self.socket.room = 3
        self.assertEqual(self.socket.sent, b"hello big wide world")
        self.assertEqual(self.reactor.writers, set())

    def test_longSequencesArriveInOrder(self: Any) -> None:
        """Long pieces are sent in order too, whole, in part and not at all at the first try."""
        pieces = [bytes([number]) * 30000 for number in range(10)]
        for room in (None, 0, 1, 30000, 45000):
            transport = self.connect()
            self.socket.room = room
            transport.writeSequence(pieces)
            self.reactor.turn()
            self.socket.room = None
            self.reactor.turns()
            self.assertEqual(self.socket.sent, b"".join(pieces))

    def test_onlyBytesAreAccepted(self: Any) -> None:
        """Text is a mistake of the caller, whatever the state of the queue."""
        transport = self.connect()
        self.assertRaises(TypeError, transport.write, "text")
        self.assertRaises(TypeError, transport.writeSequence, [b"ok", "text"])
        self.assertRaises(TypeError, transport.write, bytearray(b"mutable"))
        self.reactor.turns()
        self.assertEqual(self.socket.sent, b"")

    def test_readsReachTheProtocol(self: Any) -> None:
        """What arrives is handed to the protocol that the transport has at that moment."""
        transport = self.connect()
        self.socket.arriving = [b"one"]
        self.reactor.turns()
        upgraded = transport.protocol = RecordingProtocol()
        self.socket.arriving = [b"two"]
        self.reactor.turns()
        self.assertEqual((self.protocol.received, upgraded.received), (b"one", b"two"))

    def test_endOfInputIsAConnectionDone(self: Any) -> None:
        """A peer that closes cleanly ends the connection with ConnectionDone, once."""
        self.connect()
        self.socket.arriving = [b"bye", b""]
        self.reactor.turns()
        self.assertEqual(self.protocol.received, b"bye")
        self.assertEqual([reason.type for reason in self.protocol.lost], [ConnectionDone])
        self.assertTrue(self.socket.closed)

    def test_errorOfInputIsAConnectionLost(self: Any) -> None:
        """A peer that resets ends the connection with ConnectionLost, once."""
        self.connect()
        self.socket.arriving = [_RESET]
        self.reactor.turns()
        self.assertEqual([reason.type for reason in self.protocol.lost], [ConnectionLost])

    def test_writeErrorIsReportedByTheReactor(self: Any) -> None:
        """A failing send never calls the protocol from within write; the loss is reported on a later turn, once."""
        transport = self.connect()
        self.socket.send_error = _RESET
        transport.write(b"x")
        self.assertEqual(self.protocol.lost, [])
        transport.write(b"more")
        transport.writeSequence([b"y" * 40000])
        self.reactor.turns()
        transport.write(b"too late")
        self.reactor.turns()
        self.assertEqual([reason.type for reason in self.protocol.lost], [ConnectionLost])

    def test_writeErrorWhileFlushing(self: Any) -> None:
        """A send that fails when the queue is flushed ends the connection."""
        transport = self.connect()
        self.socket.room = 0
        transport.write(b"x")
        self.reactor.turn()
        self.socket.send_error = _RESET
        self.reactor.turns()
        self.assertEqual([reason.type for reason in self.protocol.lost], [ConnectionLost])

    def test_loseConnectionFlushesFirst(self: Any) -> None:
        """loseConnection sends what is queued, reads no more, and closes then."""
        transport = self.connect()
        self.socket.room = 2
        transport.write(b"farewell")
        transport.loseConnection()
        self.socket.arriving = [b"ignored"]
        self.reactor.turns()
        self.assertEqual(self.protocol.lost, [])
        self.socket.room = None
        self.reactor.turns()
        self.assertEqual(self.socket.sent, b"farewell")
        self.assertEqual(self.protocol.received, b"")
        self.assertEqual([reason.type for reason in self.protocol.lost], [ConnectionDone])

    def test_loseConnectionIsNotReentrant(self: Any) -> None:
        """loseConnection with nothing queued tells the protocol on a later turn, once."""
        transport = self.connect()
        transport.loseConnection()
        transport.loseConnection()
        self.assertEqual(self.protocol.lost, [])
        self.reactor.turns()
        self.assertEqual(len(self.protocol.lost), 1)

    def test_abortDropsTheQueue(self: Any) -> None:
        """abortConnection drops what is queued and tells the protocol on a later turn, once."""
        transport = self.connect()
        self.socket.room = 0
        transport.write(b"never")
        transport.abortConnection()
        transport.abortConnection()
        transport.write(b"never")
        self.assertEqual(self.protocol.lost, [])
        self.socket.room = None
        self.reactor.turns()
        self.assertEqual(self.socket.sent, b"")
        self.assertEqual([reason.type for reason in self.protocol.lost], [ConnectionAborted])

    def test_streamingProducerIsPausedAndResumed(self: Any) -> None:
        """A streaming producer is paused above 64 KiB and resumed when the bytes are gone."""
        transport = self.connect()
        producer = RecordingProducer()
        transport.registerProducer(producer, True)
        self.socket.room = 0
        transport.write(b"x" * 65536)
        self.assertEqual(producer.asked, [])
        transport.write(b"x")
        self.assertEqual(producer.asked, ["pause"])
        self.reactor.turn()
        self.socket.room = None
        self.reactor.turns()
        self.assertEqual(producer.asked, ["pause", "resume"])

    def test_pullProducerIsAskedUntilItHasNoMore(self: Any) -> None:
        """A pull producer is asked for more each time its last bytes were sent, never from within its own write."""
        transport = self.connect()
        producer = RecordingProducer(transport, (b"a", b"b", b"c"))
        transport.registerProducer(producer, False)
        self.assertEqual(producer.asked, ["resume"])
        self.reactor.turns()
        self.assertEqual(self.socket.sent, b"abc")
        self.assertEqual(producer.asked, ["resume"] * 4)

    def test_secondProducerIsRefused(self: Any) -> None:
        """Only one producer at a time."""
        transport = self.connect()
        transport.registerProducer(RecordingProducer(), True)
        self.assertRaises(RuntimeError, transport.registerProducer, RecordingProducer(), True)
        transport.unregisterProducer()
        transport.registerProducer(RecordingProducer(), True)

    def test_producerOfALostConnectionIsStopped(self: Any) -> None:
        """A producer is stopped when the connection is lost, or at once if it was lost before."""
        transport = self.connect()
        first, second = RecordingProducer(), RecordingProducer()
        transport.registerProducer(first, True)
        self.socket.arriving = [_RESET]
        self.reactor.turns()
        transport.registerProducer(second, True)
        self.assertEqual((first.asked, second.asked), (["stop"], ["stop"]))

    def test_unregisteringLetsAPendingCloseHappen(self: Any) -> None:
        """loseConnection while a paused producer is registered waits for it to finish."""
        transport = self.connect()
        producer = RecordingProducer()
        transport.registerProducer(producer, True)
        self.socket.room = 0
        transport.write(b"x" * 70000)
        transport.loseConnection()
        self.reactor.turn()
        self.socket.room = None
        self.reactor.turn()
        self.assertEqual(producer.asked, ["pause", "resume"])
        self.assertEqual(self.protocol.lost, [])
        transport.write(b"last")
        transport.unregisterProducer()
        self.reactor.turns()
        self.assertTrue(self.socket.sent.endswith(b"last"))
        self.assertEqual([reason.type for reason in self.protocol.lost], [ConnectionDone])

    def test_halfCloseFlushesFirst(self: Any) -> None:
        """loseWriteConnection sends what is queued, ends the sending half and goes on reading."""
        transport = self.connect(HalfCloseableProtocol())
        self.socket.room = 2
        transport.write(b"request")
        transport.loseWriteConnection()
        self.reactor.turns()
        self.assertNotIn("shutdown 1", self.socket.calls)
        self.socket.room = None
        self.reactor.turns()
        self.assertEqual(self.socket.sent, b"request")
        self.assertEqual(self.socket.calls.count("shutdown 1"), 1)
        self.assertEqual(self.protocol.halves, ["write"])
        transport.write(b"dropped")
        self.socket.arriving = [b"reply"]
        self.reactor.turns()
        self.assertEqual((self.socket.sent, self.protocol.received), (b"request", b"reply"))

    def test_peersHalfCloseLeavesTheSendingHalfOpen(self: Any) -> None:
        """A protocol that knows half-close can still answer after the peer's end of input."""
        transport = self.connect(HalfCloseableProtocol())
        self.socket.arriving = [b""]
        self.reactor.turns()
        self.assertEqual((self.protocol.halves, self.protocol.lost), (["read"], []))
        transport.write(b"answer")
        self.reactor.turns()
        self.assertEqual(self.socket.sent, b"answer")
        transport.loseConnection()
        self.reactor.turns()
        self.assertEqual(len(self.protocol.lost), 1)

    def test_pauseProducingStopsReading(self: Any) -> None:
        """A paused transport leaves bytes in the kernel until it is resumed."""
        transport = self.connect()
        transport.pauseProducing()
        transport.pauseProducing()
        self.socket.arriving = [b"x"]
        self.reactor.turns()
        self.assertEqual(self.protocol.received, b"")
        transport.resumeProducing()
        self.reactor.turns()
        self.assertEqual(self.protocol.received, b"x")

    def test_writesAfterTheLossAreDropped(self: Any) -> None:
        """Writing to a lost connection is no error and sends nothing."""
        transport = self.connect()
        self.socket.arriving = [b""]
        self.reactor.turns()
        transport.write(b"x")
        transport.writeSequence([b"x", b"y" * 40000])
        transport.loseConnection()
        transport.abortConnection()
        self.reactor.turns()
        self.assertEqual(self.socket.sent, b"")
        self.assertEqual((self.reactor.readers, self.reactor.writers), (set(), set()))

    def test_addressesAndPrefix(self: Any) -> None:
        """A transport knows both ends, and has a log prefix with protocol, number and peer."""
        transport = self.connect()
        self.assertEqual(transport.getPeer().host, "10.9.8.7")
        self.assertEqual(transport.getHost().port, 80)
        self.assertEqual(transport.logPrefix(), "RecordingProtocol,5,10.9.8.7")


class StockTransportTests(SharedTestsMixin, SynchronousTestCase):
    """The suite holds for Twisted's transports, so it describes their semantics."""

    server_class = stock.Server


class EagerTransportTests(SharedTestsMixin, SynchronousTestCase):
    """The suite holds for the eager transports as well."""

    server_class = eager.Server


class EagernessTests(TransportMixin, SynchronousTestCase):
    """What eager transports do beyond stock."""

    server_class = eager.Server

    def test_interface(self) -> None:
        """The transport provides what it claims."""
        verifyObject(IEagerTransport, self.connect())

    def test_writeSendsAtOnce(self) -> None:
        """With nothing queued, bytes reach the kernel within write, and the reactor is not asked for anything."""
        transport = self.connect()
        transport.write(b"at once")
        transport.writeSequence([b", ", b"all"])
        transport.writeSequence([b"x" * 20000, b"y" * 20000])
        self.assertEqual(self.socket.sent, b"at once, all" + b"x" * 20000 + b"y" * 20000)
        self.assertEqual(self.socket.calls, ["send", "send", "sendmsg"])
        self.assertEqual((self.reactor.writers, transport.queued_bytes), (set(), 0))

    def test_pieceOfUsualSizeComesWithItsHead(self) -> None:
        """What a backend writes as a head and 64 KiB is one piece of the stream, not one and a rest."""
        transport = self.connect()
        self.socket.arriving = [b"h" * 2048 + b"b" * 65536]
        transport.doRead()
        self.assertEqual(len(self.protocol.received), 2048 + 65536)

    def test_onlyTheRestIsQueued(self) -> None:
        """What the kernel does not take is counted, and sent before anything that is written later."""
        transport = self.connect()
        self.socket.room = 4
        transport.write(b"abcdef")
        self.socket.room = None
        transport.write(b"gh")
        self.assertEqual((self.socket.sent, transport.queued_bytes), (b"abcd", 4))
        self.reactor.turn()
        self.assertEqual((self.socket.sent, transport.queued_bytes), (b"abcdefgh", 0))
        transport.write(b"i")
        self.assertEqual(self.socket.sent, b"abcdefghi")

    def test_resumedAtTheLowWatermark(self) -> None:
        """A producer is paused once, and resumed once, when 32 KiB or less wait."""
        transport = self.connect()
        producer = RecordingProducer()
        transport.registerProducer(producer, True)
        self.socket.room = 0
        for _ in range(3):
            transport.write(b"x" * 65536)
        self.assertEqual(producer.asked, ["pause"])
        self.socket.room = 3 * 65536 - 32769
        self.reactor.turns()
        self.assertEqual((producer.asked, transport.queued_bytes), (["pause"], 32769))
        self.socket.room = 1
        self.reactor.turns()
        self.assertEqual((producer.asked, transport.queued_bytes), (["pause", "resume"], 32768))
        transport.write(b"x" * 32769)
        self.assertEqual(producer.asked, ["pause", "resume", "pause"])

    def test_sendsAreBounded(self) -> None:
        """One turn of one connection sends at most SEND_LIMIT bytes of its queue, so that others have theirs."""
        transport = self.connect()
        self.socket.room = 0
        transport.write(b"x" * 1000000)
        transport.write(b"y" * 10)
        self.socket.room = None
        self.reactor.turn()
        self.assertEqual(len(self.socket.sent), transport.SEND_LIMIT)

    def test_quietOpenConnection(self) -> None:
        """An idle connection with nothing to read is fit for reuse; bytes, an end, an error or the loss forbid it."""
        transport = self.connect()
        self.assertFalse(transport.has_unread_or_closed())
        for state in (b"unsolicited", b"", _RESET):
            self.socket.arriving = [state]
            self.assertTrue(transport.has_unread_or_closed())
        self.socket.arriving = [b"kept"]
        transport.has_unread_or_closed()
        self.reactor.turn()
        self.assertEqual(self.protocol.received, b"kept")
        self.socket.arriving = [b""]
        self.reactor.turn()
        self.assertTrue(transport.has_unread_or_closed())

    def test_bytesThatCameBeforeAFailedWriteAreRead(self) -> None:
        """A peer that answers early and resets is heard before the loss, and the loss is no clean end."""
        transport = self.connect()
        self.socket.send_error = BrokenPipeError(errno.EPIPE, "gone")
        self.socket.arriving = [b"413"]
        transport.write(b"body")
        self.reactor.turns()
        self.assertEqual(self.protocol.received, b"413")
        self.assertEqual([reason.type for reason in self.protocol.lost], [ConnectionLost])

    def test_mappedPeerIsIPv4(self) -> None:
        """The ends of a connection between IPv4-mapped addresses are presented as IPv4 (RFC 4291 section 2.5.5.2)."""
        skt: Any = FakeSocket()
        skt.local = ("::ffff:10.0.0.1", 80, 0, 0)
        transport = eager.Server(
            skt,
            RecordingProtocol(),
            ("::ffff:1.2.3.4", 5, 0, 0),
            None,
            1,
            FakeReactor(),
        )
        self.assertEqual((transport.getPeer().type, transport.getPeer().host), ("TCP", "1.2.3.4"))
        self.assertEqual(transport.getHost().host, "10.0.0.1")
