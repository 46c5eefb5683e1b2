"""The fakes that are shipped: they behave as the transports and the reactor that they stand for."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from txproxy.net.interfaces import IEagerTransport
from txproxy.net.stream import READ_BYTES
from txproxy.policy.facts import TlsFacts
from txproxy.testing import CLOSE, REFUSE, RESET, SILENT, Dialogue, FakePort, FakeTransport, Head, site

ADDRESS = IPv4Address("TCP", "192.0.2.1", 80)
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Recorder(Protocol):
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def dataReceived(self, data: bytes) -> None:
        self.told.append(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.told.append(reason.type)

    def pauseProducing(self) -> None:
        self.told.append("pause")

    def resumeProducing(self) -> None:
        self.told.append("resume")

    def stopProducing(self) -> None:
        self.told.append("stop")


@implementer(IHalfCloseableProtocol)
class HalfCloseable(Recorder):
    """Is told of half-closes too."""

    def readConnectionLost(self) -> None:
        self.told.append("read lost")

    def writeConnectionLost(self) -> None:
        self.told.append("write lost")


def connected(protocol: Any) -> FakeTransport:
    """Return a transport that is connected to a protocol."""
    transport = FakeTransport(ADDRESS, ADDRESS)
    transport.connect(protocol)
    return transport


class FakeTransportTests(SynchronousTestCase):
    """A transport without a socket."""

    def setUp(self) -> None:
        self.protocol = Recorder()
        self.transport = connected(self.protocol)

    def test_interface(self) -> None:
        """It provides all that the proxy's own transports provide."""
        verifyObject(IEagerTransport, self.transport)

    def test_readsOneBufferPerTurn(self) -> None:
        """Each turn brings what a real transport reads at most."""
        self.transport.arriving += bytes(READ_BYTES + 1)
        self.assertTrue(self.transport.turn())
        self.assertEqual(list(map(len, self.protocol.told)), [READ_BYTES])
        self.assertTrue(self.transport.turn())
        self.assertEqual(list(map(len, self.protocol.told)), [READ_BYTES, 1])
        self.assertFalse(self.transport.turn())

    def test_pausedReadsNothing(self) -> None:
        """Neither bytes nor a FIN are noticed while reading is paused."""
        self.transport.pauseProducing()
        self.transport.arriving += b"x"
        self.transport.peer_finished = True
        self.assertFalse(self.transport.turn())
        self.transport.resumeProducing()
        while self.transport.turn():
            pass
        self.assertEqual(self.protocol.told, [b"x", ConnectionDone])

    def test_writesAtOnce(self) -> None:
        """What the kernel has room for is sent within write."""
        self.transport.write(b"abc")
        self.assertEqual(self.transport.sent, b"abc")
        self.assertEqual(self.transport.queued_bytes, 0)

    def test_bytesOnly(self) -> None:
        """Anything but bytes is refused, as by Twisted's own transports."""
        self.assertRaises(TypeError, self.transport.write, "text")

    def test_pausesAndResumesItsProducer(self) -> None:
        """Above 64 KiB a streaming producer is paused, once; at 32 KiB it is resumed."""
        self.transport.room = 0
        self.transport.registerProducer(self.protocol, True)
        self.transport.write(bytes(65536))
        self.assertEqual(self.protocol.told, [])
        self.transport.write(b"x")
        self.transport.write(b"x")
        self.assertEqual(self.protocol.told, ["pause"])
        self.transport.room = 32768 + 1
        self.assertTrue(self.transport.turn())
        self.assertEqual((self.protocol.told, self.transport.queued_bytes), (["pause"], 32769))
        self.transport.room = 1
        self.transport.turn()
        self.assertEqual(self.protocol.told, ["pause", "resume"])

    def test_oneProducerOnly(self) -> None:
        """A second producer is an error."""
        self.transport.registerProducer(self.protocol, True)
        self.assertRaises(RuntimeError, self.transport.registerProducer, self.protocol, True)

    def test_closesWhenAllIsSent(self) -> None:
        """loseConnection sends what waits and reads nothing more."""
        self.transport.room = 1
        self.transport.write(b"ab")
        self.transport.loseConnection()
        self.transport.arriving += b"late"
        self.transport.turn()
        self.assertEqual(self.protocol.told, [])
        self.transport.room = 1
        self.transport.turn()
        self.assertEqual((self.protocol.told, bytes(self.transport.sent)), ([ConnectionDone], b"ab"))

    def test_abort(self) -> None:
        """abortConnection drops what waits and tells the protocol on the next turn, its producer before."""
        self.transport.registerProducer(self.protocol, True)
        self.transport.room = 0
        self.transport.write(b"ab")
        self.transport.abortConnection()
        self.assertEqual((self.protocol.told, self.transport.queued_bytes), ([], 0))
        self.transport.turn()
        self.assertEqual(self.protocol.told, ["stop", ConnectionAborted])

    def test_peerResets(self) -> None:
        """A reset is noticed even while reading is paused."""
        self.transport.pauseProducing()
        self.transport.lose()
        self.transport.turn()
        self.assertEqual(self.protocol.told, [ConnectionLost])

    def test_stale(self) -> None:
        """It tells whether bytes or an end wait that the protocol has not been told of."""
        self.assertFalse(self.transport.has_unread_or_closed())
        self.transport.peer_finished = True
        self.assertTrue(self.transport.has_unread_or_closed())

    def test_halfClose(self) -> None:
        """A protocol that knows half-closes is told of each side."""
        protocol = HalfCloseable()
        transport = connected(protocol)
        transport.peer_finished = True
        transport.turn()
        transport.loseWriteConnection()
        transport.write(b"x")
        transport.turn()
        self.assertEqual((protocol.told, transport.is_shut), (["read lost", "write lost"], True))
        transport.write(b"y")
        self.assertEqual(bytes(transport.sent), b"x")

    def test_port(self) -> None:
        """A port remembers whether it accepts."""
        port = FakePort()
        port.pause_accepting()
        self.assertFalse(port.is_accepting)
        port.resume_accepting()
        self.assertTrue(port.is_accepting)


class DialogueTests(SynchronousTestCase):
    """A proxy and those who talk to it."""

    def test_trace(self) -> None:
        """A request and its reply, said by a client and a backend, and the line in the log."""
        dialogue = Dialogue.of(self, site())
        client = dialogue.client()
        client.says(GET)
        backend = dialogue.backend("10.0.0.1:80")
        head = backend.gets_head()
        self.assertEqual((head.line, head.get(b"host"), head.get(b"none")), (b"GET / HTTP/1.1", b"a", None))
        backend.says(OK)
        self.assertEqual(client.gets_head().line, b"HTTP/1.1 200 OK")
        self.assertEqual(client.gets(), b"ok")
        self.assertEqual(client.gets(), b"")
        self.assertEqual([line["end"] for line in dialogue.lines], ["ok"])

    def test_tls(self) -> None:
        """A client whose handshake is complete, for whatever hosts its connection may be used."""
        dialogue = Dialogue.of(self, site())
        dialogue.script("10.0.0.1:80", OK)
        tls = TlsFacts("TLSv1.3", "TLS_AES_128_GCM_SHA256")
        clients = [dialogue.client(), dialogue.client(tls=tls), dialogue.client(tls=tls, names=[b"b"])]
        for client in clients:
            client.says(GET)
        self.assertEqual([line["tls"] for line in dialogue.lines], [None, "TLSv1.3", "TLSv1.3"])
        self.assertEqual([line["status"] for line in dialogue.lines], [200, 200, 421])

    def test_headThatNeverCame(self) -> None:
        """A test that waits for what does not come fails with the trace."""
        dialogue = Dialogue.of(self, site())
        client = dialogue.client()
        client.says(b"GET")
        error = self.assertRaises(AssertionError, client.gets_head)
        self.assertIn("client says b'GET'", str(error))
        self.assertRaises(AssertionError, dialogue.backend)
        client.finishes()

    def test_repeatedField(self) -> None:
        """A head gives all values of a field, and refuses to choose one of several."""
        head = Head(b"", [(b"A", b"1"), (b"a", b"2")])
        self.assertEqual(head.all(b"A"), [b"1", b"2"])
        self.assertRaises(AssertionError, head.get, b"a")

    def test_notClean(self) -> None:
        """An exchange that is under way is not clean, nor is its lease."""
        dialogue = Dialogue(site())
        client = dialogue.client()
        client.says(GET)
        dialogue.backend()
        error = self.assertRaises(AssertionError, dialogue.assert_clean)
        self.assertIn("1 leased", str(error))
        client.finishes()
        dialogue.assert_clean()
        dialogue.close()

    def test_delayedCallIsNotClean(self) -> None:
        """A call that is left behind is found."""
        dialogue = Dialogue(site())
        call = dialogue.reactor.callLater(100, lambda: None)
        self.assertRaises(AssertionError, dialogue.assert_clean)
        call.cancel()
        dialogue.close()

    def test_script(self) -> None:
        """A scripted backend answers in turn, with bytes or by a function, and repeats its last answer."""
        dialogue = Dialogue.of(self, site())
        backend = dialogue.script("10.0.0.1:80", OK, lambda request: OK.replace(b"ok", request.content))
        client = dialogue.client()
        client.says(GET)
        client.says(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi")
        client.says(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        client.says(b"1\r\nh\r\n1\r\no\r\n0\r\nA: b\r\n\r\n")
        self.assertEqual([request.content for request in backend.requests], [b"", b"hi", b"ho"])
        got = client.gets()
        self.assertEqual((got.count(b"\r\n\r\nok"), got.count(b"\r\n\r\nhi"), got[-2:]), (1, 1, b"ho"))

    def test_scriptOfFailures(self) -> None:
        """It refuses, closes, resets or says nothing as told."""
        dialogue = Dialogue.of(self, site())
        dialogue.script("10.0.0.1:80", REFUSE, CLOSE, RESET, SILENT)
        ends = []
        for _ in range(4):
            client = dialogue.client()
            client.says(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi")
            dialogue.advance_past(60)
            client.finishes()
            ends.append(dialogue.lines[-1]["end"])
        self.assertEqual(ends, ["connect-failed", "bad-reply", "bad-reply", "reply-timeout"])

    def test_connectTimeout(self) -> None:
        """A connection that nobody accepts fails when its time is over."""
        dialogue = Dialogue.of(self, site(cluster="pool.connect_timeout_s = 3"))
        client = dialogue.client()
        client.says(GET)
        dialogue.advance(2.9)
        self.assertEqual(client.gets(), b"")
        dialogue.advance(0.2)
        self.assertIn(b"504", client.gets_head().line)

    def test_unixBackend(self) -> None:
        """Backends on unix sockets are spoken for as well, and clients on them."""
        dialogue = Dialogue.of(self, site(backends=["unix:/run/app.sock"]))
        client = dialogue.client("unix")
        client.says(GET)
        dialogue.backend("unix:/run/app.sock").says(OK)
        self.assertEqual(client.gets()[-2:], b"ok")

    def test_slowReader(self) -> None:
        """A peer gets only as much as it reads."""
        dialogue = Dialogue.of(self, site())
        client = dialogue.client()
        client.stops_reading(4)
        client.says(GET)
        dialogue.backend().says(OK)
        self.assertEqual(client.gets(), b"HTTP")
        client.reads(4)
        self.assertEqual(client.gets(), b"/1.1")
        client.reads()
        self.assertEqual(client.gets()[-2:], b"ok")
