"""The accept loop: bounds, shortages, pauses and errors of factories."""

from __future__ import annotations

import errno
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from txproxy.net.interfaces import IPausablePort
from txproxy.net.tcp import Port
from txproxy.test.net.fakes import FakeListeningSocket, FakeReactor, FakeSocket


class RecordingFactory(Factory):
    """Counts its protocols; C{outcome} replaces what it builds, or is raised."""

    noisy = False

    def __init__(self) -> None:
        self.addresses: list[Any] = []
        self.outcomes: list[Any] = []

    def buildProtocol(self, addr: Any) -> Any:
        self.addresses.append(addr)
        outcome = self.outcomes.pop(0) if self.outcomes else Protocol()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


class FakePort(Port):
    """A port whose socket comes from the test."""

    listening: FakeListeningSocket

    def createInternetSocket(self) -> Any:
        self.listening = FakeListeningSocket()
        self.listening.bind = lambda address: None  # type: ignore[attr-defined]
        self.listening.listen = lambda backlog: None  # type: ignore[attr-defined]
        return self.listening


class AcceptLoopTests(SynchronousTestCase):
    """A listening port serves many clients and survives shortages."""

    def setUp(self) -> None:
        self.reactor = FakeReactor()
        self.factory = RecordingFactory()
        self.port = FakePort(80, self.factory, 50, "", self.reactor)
        self.port.startListening()
        self.socket = self.port.listening
        self.events: list[Any] = []
        observer: Any = self.events.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def client(self, host: str = "1.1.1.1", *rest: int) -> FakeSocket:
        skt = FakeSocket()
        self.socket.waiting.append((skt, (host, 1, *rest)))
        return skt

    def test_interface(self) -> None:
        """The port provides what it claims."""
        verifyObject(IPausablePort, self.port)

    def test_aBoundedNumberATurn(self) -> None:
        """A flood of connections does not keep other sockets from their turn."""
        for _ in range(100):
            self.client()
        self.port.doRead()
        self.assertEqual(len(self.factory.addresses), self.port.accepts_per_turn)
        self.port.doRead()
        self.assertEqual(len(self.factory.addresses), 100)

    def test_addressesOfPeers(self) -> None:
        """Factories see IPv4 for IPv4 and for mapped addresses, IPv6 else."""
        self.client()
        self.client("::ffff:2.2.2.2", 0, 0)
        self.client("2001:db8::1", 0, 0)
        self.port.doRead()
        self.assertEqual(
            self.factory.addresses,
            [IPv4Address("TCP", "1.1.1.1", 1), IPv4Address("TCP", "2.2.2.2", 1), IPv6Address("TCP", "2001:db8::1", 1)],
        )

    def test_refusedByTheFactory(self) -> None:
        """A factory that returns no protocol closes the connection; the next one is accepted."""
        self.factory.outcomes = [None]
        refused, accepted = self.client(), self.client()
        self.port.doRead()
        self.assertEqual((refused.closed, accepted.closed), (True, False))

    def test_errorInTheFactory(self) -> None:
        """A factory that raises costs that one connection and a line in the log."""
        self.factory.outcomes = [ZeroDivisionError("bug")]
        broken, accepted = self.client(), self.client()
        self.port.doRead()
        self.assertEqual((broken.closed, accepted.closed), (True, False))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_errorInConnectionMade(self) -> None:
        """A protocol that raises when it is connected loses its connection, and the port goes on."""

        class Broken(Protocol):
            def connectionMade(self) -> None:
                raise ZeroDivisionError("bug")

        self.factory.outcomes = [Broken()]
        broken, accepted = self.client(), self.client()
        self.port.doRead()
        self.reactor.turn()
        self.assertEqual((broken.closed, accepted.closed), (True, False))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_clientThatLeftTheBacklog(self) -> None:
        """A connection that was aborted before it was accepted is passed over."""
        self.socket.waiting.append(ConnectionAbortedError(errno.ECONNABORTED, "gone"))
        self.client()
        self.port.doRead()
        self.assertEqual(len(self.factory.addresses), 1)

    def test_shortageOfDescriptors(self) -> None:
        """With no descriptor left the port rests, 0.1 s and then longer, up to 1 s, and logs one line."""
        self.socket.waiting = [OSError(errno.EMFILE, "too many open files")] * 6
        self.port.doRead()
        rests = []
        while self.reactor.getDelayedCalls():
            self.assertNotIn(self.port, self.reactor.readers)
            rest = self.reactor.getDelayedCalls()[0].getTime() - self.reactor.seconds()
            rests.append(round(rest, 3))
            self.reactor.advance(rest)
            self.assertIn(self.port, self.reactor.readers)
            self.port.doRead()
        self.assertEqual(rests, [0.1, 0.2, 0.4, 0.8, 1.0, 1.0])
        lines = [event for event in self.events if "cannot accept" in (event.get("log_format") or "")]
        self.assertEqual(len(lines), 1)
        self.client()
        self.port.doRead()
        self.assertEqual(len(self.factory.addresses), 1)

    def test_pauseAndResume(self) -> None:
        """A paused port leaves clients in the backlog; both calls may be repeated."""
        self.port.pause_accepting()
        self.port.pause_accepting()
        self.client()
        self.assertNotIn(self.port, self.reactor.readers)
        self.port.doRead()
        self.assertEqual(self.factory.addresses, [])
        self.port.resume_accepting()
        self.port.resume_accepting()
        self.assertIn(self.port, self.reactor.readers)
        self.port.doRead()
        self.assertEqual(len(self.factory.addresses), 1)

    def test_pausedByANewConnection(self) -> None:
        """A protocol may pause the port when it is connected; the very next client waits."""
        port = self.port

        class Pausing(Protocol):
            def connectionMade(self) -> None:
                port.pause_accepting()

        self.factory.outcomes = [Pausing()]
        self.client()
        self.client()
        self.port.doRead()
        self.assertEqual(len(self.socket.waiting), 1)

    def test_pausedDuringAShortage(self) -> None:
        """A pause outlasts the rest, and the rest outlasts a resumption."""
        self.socket.waiting = [OSError(errno.ENFILE, "too many open files")]
        self.port.doRead()
        self.port.pause_accepting()
        self.port.resume_accepting()
        self.assertNotIn(self.port, self.reactor.readers)
        self.port.pause_accepting()
        self.reactor.advance(1)
        self.assertNotIn(self.port, self.reactor.readers)
        self.port.resume_accepting()
        self.assertIn(self.port, self.reactor.readers)

    def test_closedWhileItRests(self) -> None:
        """A port that is closed leaves no timer behind, and closing it while paused works."""
        self.socket.waiting = [OSError(errno.EMFILE, "too many open files")]
        self.port.doRead()
        self.port.pause_accepting()
        done = self.port.stopListening()
        self.reactor.advance(0)
        self.successResultOf(done)
        self.port.resume_accepting()
        self.assertEqual((self.reactor.getDelayedCalls(), self.reactor.readers), ([], set()))
        self.assertTrue(self.socket.closed)
