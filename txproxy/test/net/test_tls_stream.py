"""The transport that speaks TLS, between a fake reactor and a real OpenSSL."""

from __future__ import annotations

from typing import Any

from OpenSSL import SSL
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.interfaces import INegotiated, ISSLTransport
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from txproxy.net.interfaces import IEagerTransport
from txproxy.net.tls_failure import TlsFailure, TlsFault
from txproxy.test.net.fakes import HalfCloseableProtocol, RecordingProducer, RecordingProtocol
from txproxy.test.net.tls_fakes import HandshakeProtocol, Wire

RECORD = 16384


class HandshakeTests(SynchronousTestCase):
    """Before the handshake is complete, nothing goes through, and all that is asked for happens after it."""

    def test_theProtocolIsTold(self) -> None:
        """The protocol hears of the end of the handshake once, and content comes after that."""
        wire = Wire()
        self.assertEqual(wire.protocol.completed, 0)
        wire.shake_hands().say(b"hello")
        self.assertEqual((wire.protocol.completed, wire.protocol.received), (1, b"hello"))

    def test_protocolsNeedNotKnow(self) -> None:
        """A protocol that has no handshakeCompleted is served as well."""
        wire = Wire(RecordingProtocol()).shake_hands()
        wire.say(b"hello")
        self.assertEqual(wire.protocol.received, b"hello")

    def test_writesWait(self) -> None:
        """What is written waits for the handshake without the socket being watched for room, which it has."""
        wire = Wire()
        wire.transport.write(b"one ")
        wire.transport.writeSequence([b"two ", b"three " * 10000])
        self.assertEqual((wire.reactor.writers, wire.transport.queued_bytes), (set(), 60008))
        wire.shake_hands()
        wire.reactor.turns()
        self.assertEqual(wire.heard(), b"one two " + b"three " * 10000)
        self.assertEqual((wire.reactor.writers, wire.transport.queued_bytes), (set(), 0))

    def test_producersArePaused(self) -> None:
        """A producer is paused when much waits for the handshake, and resumed after it."""
        wire = Wire()
        producer = RecordingProducer()
        wire.transport.registerProducer(producer, True)
        wire.transport.write(b"x" * 70000)
        self.assertEqual(producer.asked, ["pause"])
        wire.shake_hands()
        wire.reactor.turns()
        self.assertEqual(producer.asked, ["pause", "resume"])

    def test_unregisteredProducersLeaveTheQueueAlone(self) -> None:
        """A producer that comes and goes before the handshake makes no write go out early."""
        wire = Wire()
        wire.transport.registerProducer(RecordingProducer(), True)
        wire.transport.unregisterProducer()
        with self.assertRaises(SSL.WantReadError):
            wire.client.do_handshake()
        wire.deliver()
        wire.transport.write(b"x")
        with self.assertRaises(SSL.WantReadError):
            wire.ssl.bio_read(1)  # No answer to the client's hello from within write.
        wire.shake_hands()
        wire.reactor.turns()
        self.assertEqual(wire.heard(), b"x")

    def test_pullProducers(self) -> None:
        """A pull producer is asked on after the handshake."""
        wire = Wire()
        producer = RecordingProducer(wire.transport, (b"a", b"b", b"c"))
        wire.transport.registerProducer(producer, False)
        self.assertEqual(producer.asked, ["resume"])
        wire.shake_hands()
        wire.reactor.turns()
        self.assertEqual(wire.heard(), b"abc")

    def test_pausedReading(self) -> None:
        """A protocol that has paused reading does not stop the handshake; content waits until it resumes."""
        wire = Wire()
        wire.transport.pauseProducing()
        wire.shake_hands()
        self.assertEqual(wire.protocol.completed, 1)
        wire.say(b"x")
        self.assertEqual(wire.protocol.received, b"")
        wire.transport.resumeProducing()
        wire.reactor.turn()
        self.assertEqual(wire.protocol.received, b"x")

    def test_halfCloseWaits(self) -> None:
        """loseWriteConnection takes effect after the handshake."""
        wire = Wire(HalfCloseableProtocol())
        wire.transport.write(b"all I say")
        wire.transport.loseWriteConnection()
        wire.reactor.turns()
        self.assertEqual(wire.protocol.halves, [])
        wire.shake_hands()
        wire.reactor.turns()
        self.assertEqual((wire.heard(), wire.is_closed, wire.protocol.halves), (b"all I say", True, ["write"]))
        wire.say(b"still heard")
        self.assertEqual(wire.protocol.received, b"still heard")

    def test_handshakeThatFails(self) -> None:
        """What is no TLS ends the connection with a reason, and with an alert where there is one."""
        wire = Wire()
        wire.transport.write(b"never sent")
        wire.ssl.bio_write(b"\x16\x03\x01\x00\x04\x01\x00\x00\x00")
        wire.reactor.turns()
        (reason,) = wire.protocol.lost
        self.assertEqual((reason.type, reason.value.fault), (TlsFailure, TlsFault.PEER))
        self.assertTrue(wire.socket.closed)
        self.assertEqual(wire.ssl.bio_read(1), b"\x15")
        self.assertEqual(wire.protocol.completed, 0)

    def test_bytesSeen(self) -> None:
        """It is known whether the peer has said anything."""
        wire = Wire()
        wire.reactor.turn()
        self.assertIs(wire.transport.bytes_seen, False)
        wire.socket.arriving = [b"\x16"]
        wire.reactor.turn()
        self.assertIs(wire.transport.bytes_seen, True)

    def test_lossInTheHandshake(self) -> None:
        """A loss that the reactor reports is a failure of the handshake; aborting is not."""
        wire = Wire()
        wire.transport.readConnectionLost(Failure(CONNECTION_DONE))
        self.assertEqual(str(wire.protocol.lost[0].value), "the connection was lost in the handshake")
        aborted = Wire()
        aborted.transport.abortConnection()
        aborted.reactor.turn()
        self.assertEqual([reason.type for reason in aborted.protocol.lost], [ConnectionAborted])

    def test_closedInTheMiddle(self) -> None:
        """A protocol that closes when the handshake is complete gets no content."""

        class Closing(HandshakeProtocol):
            def handshakeCompleted(self) -> None:  # noqa: N802 - Twisted's name
                self.transport.loseConnection()  # type: ignore[union-attr]

        wire = Wire(Closing()).shake_hands()
        wire.client.send(b"x")
        wire.deliver()
        wire.reactor.turns()
        self.assertEqual((wire.protocol.received, len(wire.protocol.lost)), (b"", 1))


class WritingTests(SynchronousTestCase):
    """Bytes become records, few and long ones."""

    def setUp(self) -> None:
        self.wire = Wire().shake_hands()
        self.transport = self.wire.transport

    def sizes(self) -> list[int]:
        """How much content each record brought; what encryption adds is always the same."""
        self.wire.collect()
        return [len(record) - 5 - 17 for record in self.wire.records]

    def test_interfaces(self) -> None:
        """The transport provides what it claims."""
        for interface in (IEagerTransport, ISSLTransport, INegotiated):
            verifyObject(interface, self.transport)

    def test_atOnce(self) -> None:
        """With nothing queued a write is a record at once, and the reactor is asked for nothing."""
        self.transport.write(b"one")
        self.transport.write(b"")
        self.transport.writeSequence([])
        self.assertEqual((self.wire.heard(), self.sizes(), self.wire.reactor.writers), (b"one", [3], set()))

    def test_shortPiecesAreJoined(self) -> None:
        """Pieces that fit into one record become one."""
        self.transport.writeSequence([b"head", b"", b"x" * 10000, b"tail"])
        self.assertEqual((self.sizes(), self.wire.heard()), ([10008], b"head" + b"x" * 10000 + b"tail"))

    def test_longPiecesFillRecords(self) -> None:
        """Longer ones become as few records as possible, wherever they were cut."""
        pieces = [b"5000\r\n", b"x" * 40000, b"\r\n", b"y" * RECORD, b"", b"z"]
        self.transport.writeSequence(iter(pieces))
        self.assertEqual(self.wire.heard(), b"".join(pieces))
        total = sum(map(len, pieces))
        self.assertEqual(len(self.sizes()), -(-total // RECORD))

    def test_longWrites(self) -> None:
        """One turn sends a bounded number of bytes; the rest follows in order."""
        body = b"abcdefghijklm" * 100000
        self.transport.write(body)
        self.assertEqual(self.transport.queued_bytes, len(body) - self.transport.SEND_LIMIT)
        self.wire.reactor.turns(20)
        self.assertEqual((self.wire.heard(), self.transport.queued_bytes), (body, 0))

    def test_onlyBytesAreAccepted(self) -> None:
        """Text is a mistake of the caller."""
        self.assertRaises(TypeError, self.transport.write, "text")
        self.assertRaises(TypeError, self.transport.writeSequence, [b"ok", "text"])
        self.assertRaises(TypeError, self.transport.write, bytearray(b"mutable"))
        self.assertEqual(self.sizes(), [])

    def test_producers(self) -> None:
        """A producer is paused above 64 KiB and resumed at 32 KiB or less."""
        producer = RecordingProducer()
        self.transport.registerProducer(producer, True)
        self.transport.write(b"x" * (self.transport.SEND_LIMIT + 65537))
        self.assertEqual(producer.asked, ["pause"])
        self.wire.reactor.turn()
        self.assertEqual(producer.asked, ["pause", "resume"])
        self.assertRaises(RuntimeError, self.transport.registerProducer, producer, True)

    def test_tlsWithinTls(self) -> None:
        """There is no startTLS on what is TLS already."""
        self.assertRaises(NotImplementedError, self.transport.startTLS, None)

    def test_writesInARenegotiation(self) -> None:
        """Up to TLS 1.2 a write may have to wait for bytes of the peer; it goes out when they have come."""
        wire = Wire(version=SSL.TLS1_2_VERSION).shake_hands()
        wire.ssl.renegotiate()
        wire.transport.write(b"before ")  # Asks the client to begin, too.
        self.assertEqual(wire.heard(), b"before ")
        wire.deliver()
        wire.reactor.turn()
        wire.transport.write(b"in the middle")
        wire.transport.write(b", and behind")
        self.assertEqual((wire.transport.queued_bytes, wire.reactor.writers), (25, set()))
        self.assertEqual(wire.heard(), b"")
        wire.deliver()
        wire.reactor.turns()
        self.assertEqual((wire.heard(), wire.transport.queued_bytes), (b"in the middle, and behind", 0))
        wire.say(b"fine")
        self.assertEqual(wire.protocol.received, b"fine")

    def test_queuesInARenegotiation(self) -> None:
        """What is queued when a renegotiation begins waits for the peer without the socket being watched for room."""
        wire = Wire(version=SSL.TLS1_2_VERSION).shake_hands()
        wire.ssl.renegotiate()
        wire.transport.write(b"x")
        self.assertEqual(wire.heard(), b"x")
        wire.transport.write(b"y" * 200000)
        heard = wire.heard()
        wire.deliver()
        wire.reactor.turn()
        self.assertEqual((wire.transport.queued_bytes > 0, wire.reactor.writers), (True, set()))
        for _ in range(3):
            heard += wire.heard()
            wire.deliver()
            wire.reactor.turns()
        self.assertEqual(heard + wire.heard(), b"y" * 200000)


class EndingTests(SynchronousTestCase):
    """Only a close alert is a clean end."""

    def setUp(self) -> None:
        self.wire = Wire().shake_hands()
        self.transport, self.protocol = self.wire.transport, self.wire.protocol

    def lost(self) -> list[Any]:
        return [reason.type for reason in self.protocol.lost]

    def test_closeAlertOfThePeer(self) -> None:
        """It is answered by ours, and a clean end."""
        self.wire.client.send(b"bye")
        self.wire.close()
        self.wire.reactor.turns()
        self.assertEqual((self.protocol.received, self.lost()), (b"bye", [ConnectionDone]))
        self.assertTrue(self.wire.is_closed)
        self.assertTrue(self.wire.socket.closed)
        self.assertIs(self.transport.ssl, None)

    def test_endWithoutAlert(self) -> None:
        """It is a cut."""
        self.wire.ssl.bio_shutdown()
        self.wire.reactor.turns()
        (reason,) = self.protocol.lost
        self.assertEqual((reason.value.fault, str(reason.value)), (TlsFault.NETWORK, "closed without a close alert"))

    def test_whatReactorsReport(self) -> None:
        """A reactor knows nothing of alerts: what it takes for a clean end is a cut."""
        for report in (CONNECTION_DONE, CONNECTION_LOST):
            wire = Wire(HalfCloseableProtocol()).shake_hands()
            wire.transport.readConnectionLost(Failure(report))
            wire.transport.connectionLost(Failure(report))
            (reason,) = wire.protocol.lost
            self.assertEqual((reason.value.fault, wire.protocol.halves), (TlsFault.NETWORK, []))

    def test_closing(self) -> None:
        """loseConnection sends what is queued and our alert, and tells the protocol on a later turn, once."""
        self.transport.write(b"x" * 300000)
        self.transport.loseConnection()
        self.transport.loseConnection()
        self.assertEqual(self.lost(), [])
        self.wire.client.send(b"ignored")
        self.wire.deliver()
        self.wire.reactor.turns()
        self.assertEqual((self.wire.heard(), self.wire.is_closed), (b"x" * 300000, True))
        self.assertEqual((self.lost(), self.protocol.received), ([ConnectionDone], b""))

    def test_producersFinishFirst(self) -> None:
        """Our alert comes after what a paused producer has still to write."""
        producer = RecordingProducer()
        self.transport.registerProducer(producer, True)
        self.transport.write(b"x" * 300000)
        self.transport.loseConnection()
        self.wire.reactor.turns()
        self.assertEqual((producer.asked, self.lost()), (["pause", "resume"], []))
        self.transport.write(b"last")
        self.transport.unregisterProducer()
        self.wire.reactor.turns()
        self.assertEqual((self.wire.heard(), self.wire.is_closed), (b"x" * 300000 + b"last", True))
        self.assertEqual(self.lost(), [ConnectionDone])

    def test_closeAlertThatWaits(self) -> None:
        """If the kernel does not take our alert, it is sent later, and nothing is written in between."""
        refused: list[int] = []
        shutdown = self.wire.ssl.shutdown

        def refuse_twice() -> bool:
            if len(refused) < 2:
                refused.append(1)
                raise SSL.WantWriteError
            return shutdown()

        self.wire.ssl.shutdown = refuse_twice  # type: ignore[method-assign]
        self.transport.loseConnection()
        self.wire.reactor.turn()
        self.transport.write(b"too late")
        self.transport.writeSequence([b"too late" * 10000])
        self.assertEqual((self.lost(), self.wire.heard()), ([], b""))
        self.wire.reactor.turns()
        self.assertEqual((self.lost(), self.wire.heard(), self.wire.is_closed), ([ConnectionDone], b"", True))

    def test_aborting(self) -> None:
        """abortConnection drops what is queued and sends no alert."""
        self.transport.write(b"x" * 300000)
        self.transport.abortConnection()
        self.transport.abortConnection()
        self.transport.write(b"never")
        self.assertEqual(self.lost(), [])
        self.wire.reactor.turns()
        self.assertEqual(self.lost(), [ConnectionAborted])
        self.assertFalse(self.wire.is_closed)

    def test_halfCloseOfThePeer(self) -> None:
        """A protocol that knows half-close can still answer, and resuming it reads nothing twice."""
        wire = Wire(HalfCloseableProtocol()).shake_hands()
        wire.close()
        wire.transport.resumeProducing()
        wire.reactor.turns()
        self.assertEqual((wire.protocol.halves, wire.protocol.lost), (["read"], []))
        wire.transport.write(b"answer")
        self.assertEqual((wire.heard(), wire.is_closed), (b"answer", False))
        wire.transport.loseConnection()
        wire.reactor.turns()
        self.assertEqual((wire.is_closed, [reason.type for reason in wire.protocol.lost]), (True, [ConnectionDone]))

    def test_halfCloseByUs(self) -> None:
        """loseWriteConnection sends our alert and goes on reading; the peer's alert is the clean end then."""
        wire = Wire(HalfCloseableProtocol()).shake_hands()
        wire.transport.loseWriteConnection()
        wire.reactor.turns()
        self.assertEqual((wire.is_closed, wire.protocol.halves, wire.socket.calls), (True, ["write"], ["shutdown 1"]))
        wire.transport.write(b"dropped")
        wire.say(b"reply")
        self.assertEqual((wire.protocol.received, wire.heard()), (b"reply", b""))
        wire.close()
        self.assertEqual(wire.protocol.halves, ["write", "read"])

    def test_afterTheLoss(self) -> None:
        """Nothing that is asked of a lost connection is an error, and nothing of it is watched."""
        producer = RecordingProducer()
        self.transport.registerProducer(producer, True)
        self.transport.loseConnection()
        self.transport.unregisterProducer()
        self.wire.close()
        self.wire.reactor.turns()
        self.transport.write(b"x")
        self.transport.writeSequence([b"x", b"y" * 40000])
        self.transport.pauseProducing()
        self.transport.resumeProducing()
        self.transport.loseConnection()
        self.transport.abortConnection()
        self.transport.registerProducer(producer, True)
        self.wire.reactor.turns()
        self.assertEqual((self.wire.reactor.readers, self.wire.reactor.writers), (set(), set()))
        self.assertEqual((self.transport.negotiatedProtocol, self.transport.getPeerCertificate()), (None, None))
        self.assertEqual((len(self.lost()), producer.asked), (1, ["stop"]))
        self.assertTrue(self.transport.has_unread_or_closed())


class QuietTests(SynchronousTestCase):
    """An idle connection can be asked whether it is still quiet and open."""

    def setUp(self) -> None:
        self.wire = Wire().shake_hands()
        self.transport = self.wire.transport

    def test_quiet(self) -> None:
        """Nothing has come; or no whole record yet; or no content."""
        self.assertFalse(self.transport.has_unread_or_closed())
        self.wire.client.send(b"x")
        self.wire.deliver(10)
        self.assertFalse(self.transport.has_unread_or_closed())

    def test_beforeTheHandshake(self) -> None:
        """There is nothing to be reused yet, and asking moves nothing."""
        wire = Wire()
        self.assertTrue(wire.transport.has_unread_or_closed())
        wire.shake_hands().say(b"x")
        self.assertEqual(wire.protocol.received, b"x")

    def test_contentIsNotLost(self) -> None:
        """Content that was seen is handed over although the socket does not tell of it any more."""
        self.wire.client.send(b"seen")
        self.wire.deliver()
        self.assertTrue(self.transport.has_unread_or_closed())
        self.wire.reactor.readers.clear()  # As with a real reactor: there is no event.
        self.wire.reactor.turn()
        self.assertEqual(self.wire.protocol.received, b"seen")

    def test_contentWaitsWhilePaused(self) -> None:
        """It is handed over when the protocol resumes, not from within that call."""
        self.transport.pauseProducing()
        self.wire.client.send(b"seen")
        self.wire.deliver()
        self.assertTrue(self.transport.has_unread_or_closed())
        self.wire.reactor.turns()
        self.assertEqual(self.wire.protocol.received, b"")
        self.transport.resumeProducing()
        self.assertEqual(self.wire.protocol.received, b"")
        self.wire.reactor.turn()
        self.assertEqual(self.wire.protocol.received, b"seen")

    def test_endsAreTold(self) -> None:
        """A close alert that was seen is told to the protocol."""
        self.wire.client.shutdown()
        self.wire.deliver()
        self.assertTrue(self.transport.has_unread_or_closed())
        self.assertTrue(self.transport.has_unread_or_closed())
        self.wire.reactor.readers.clear()
        self.wire.reactor.turn()
        self.assertEqual([reason.type for reason in self.wire.protocol.lost], [ConnectionDone])

    def test_bugInAProtocol(self) -> None:
        """A protocol that raises when it is handed what was seen loses its connection; the bug is logged."""

        class Fragile(HandshakeProtocol):
            def dataReceived(self, data: bytes) -> None:
                raise ZeroDivisionError("bug")

        wire = Wire(Fragile()).shake_hands()
        wire.client.send(b"seen")
        wire.deliver()
        wire.transport.has_unread_or_closed()
        wire.reactor.readers.clear()
        wire.reactor.turn()
        self.assertEqual([reason.type for reason in wire.protocol.lost], [ZeroDivisionError])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual((wire.reactor.readers, wire.reactor.writers), (set(), set()))
