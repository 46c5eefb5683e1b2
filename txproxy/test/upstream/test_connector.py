"""Connections to one server: by one address as ever, by several in a race, by a unix socket."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError, ConnectionDone, ConnectionRefusedError, NoRouteError, TimeoutError
from twisted.internet.protocol import Protocol
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from txproxy.errors import ConnectFailed, ConnectTimeout, InternalError, TlsVerify
from txproxy.net.tls_failure import TlsFailure, TlsFault
from txproxy.tls.verification import NotVerified
from txproxy.upstream.connector import Connector, Endpoint

V6, V4 = "2001:db8::1", "192.0.2.1"
BOTH = (V6, V4)


class _Attempt:
    """A connection that is being made, and its IConnector."""

    def __init__(self, reactor: _Reactor, place: tuple[Any, ...], factory: Any, timeout: float) -> None:
        self.place = place
        self.factory = factory
        self.timeout_s = timeout
        self.started_at = reactor.seconds()
        self.state = "connecting"
        self.protocol: Any = None
        self.transport: Any = None
        self._reactor = reactor
        self._timer = reactor.callLater(timeout, self.fails, TimeoutError())

    def connects(self) -> None:
        self._timer.cancel()
        self.state = "connected"
        self.protocol = self.factory.buildProtocol(None)
        self.transport = StringTransport()
        self.protocol.makeConnection(self.transport)

    def fails(self, error: Exception | None = None) -> None:
        if self._timer.active():
            self._timer.cancel()
        self.state = "disconnected"
        self.factory.clientConnectionFailed(self, Failure(error or ConnectionRefusedError()))

    def disconnect(self) -> None:
        if self.state == "connected":
            self.transport.loseConnection()
        elif self.state == "connecting":
            self.fails(ConnectionDone())

    @property
    def was_given_up(self) -> bool:
        """No connection is left of it."""
        return self.state == "disconnected" or (self.state == "connected" and self.transport.disconnecting)


class _Reactor(MemoryReactorClock):
    def __init__(self) -> None:
        super().__init__()
        self.attempts: list[_Attempt] = []
        self.raises: Exception | None = None
        """What connectTCP raises."""

    def connectTCP(self, host: str, port: int, factory: Any, timeout: float = 30, bindAddress: Any = None) -> _Attempt:
        if self.raises is not None:
            raise self.raises
        return self._begin((host, port), factory, timeout)

    def connectUNIX(self, address: str, factory: Any, timeout: float = 30, checkPID: bool = False) -> _Attempt:
        return self._begin((address,), factory, timeout)

    def _begin(self, place: tuple[Any, ...], factory: Any, timeout: float) -> _Attempt:
        attempt = _Attempt(self, place, factory, timeout)
        self.attempts.append(attempt)
        return attempt


class ConnectorCase(SynchronousTestCase):
    """A connector of a server, and what it asks of its reactor."""

    def setUp(self) -> None:
        self.reactor = _Reactor()

    def tearDown(self) -> None:
        self.assertEqual(self.reactor.getDelayedCalls(), [], "something was left in the reactor")

    def connector(self, *hosts: str, path: str = "", timeout_s: float = 5) -> Connector:
        return Connector(self.reactor, Endpoint(hosts, 80, path), timeout_s, Protocol)

    def connect(self, *hosts: str, timeout_s: float = 5) -> Deferred[Any]:
        return self.connector(*hosts, timeout_s=timeout_s).connect()

    def tried(self) -> list[tuple[str, float]]:
        """Return the hosts that were tried, and when."""
        return [(attempt.place[0], attempt.started_at) for attempt in self.reactor.attempts]


class OneAddressTests(ConnectorCase):
    """The usual case, which nothing is added to."""

    def test_connects(self) -> None:
        """The protocol comes a turn after the connection."""
        made = self.connect(V4)
        (attempt,) = self.reactor.attempts
        self.assertEqual((attempt.place, attempt.timeout_s), ((V4, 80), 5))
        attempt.connects()
        self.assertNoResult(made)
        self.reactor.advance(0)
        self.assertIs(self.successResultOf(made), attempt.protocol)

    def test_errors(self) -> None:
        """What Twisted says becomes what a client is told."""
        for error, expected in (
            (ConnectionRefusedError(), ConnectFailed),
            (NoRouteError(), ConnectFailed),
            (OSError(99, "Cannot assign requested address"), ConnectFailed),
            (TimeoutError(), ConnectTimeout),
            (NotVerified("the certificate has expired"), TlsVerify),
            (TlsFailure(TlsFault.PEER, "it does not speak TLS"), ConnectFailed),
            (TlsFailure(TlsFault.NETWORK, "closed during the TLS handshake"), ConnectFailed),
            (ValueError("?"), InternalError),
        ):
            made = self.connect(V4)
            self.reactor.attempts[-1].fails(error)
            self.reactor.advance(0)
            self.failureResultOf(made, expected)

    def test_cancelled(self) -> None:
        """Nothing is left of it."""
        made = self.connect(V4)
        made.cancel()
        self.failureResultOf(made, ConnectFailed)
        self.assertTrue(self.reactor.attempts[0].was_given_up)

    def test_unixSocket(self) -> None:
        """A path is all that is needed; hosts beside it mean nothing."""
        for hosts in ((), ("",), BOTH):
            made = self.connector(*hosts, path="/run/app.sock").connect()
            attempt = self.reactor.attempts[-1]
            self.assertEqual(attempt.place, ("/run/app.sock",))
            attempt.connects()
            self.reactor.advance(0)
            self.assertIs(self.successResultOf(made), attempt.protocol)


class WordsTests(SynchronousTestCase):
    """What the log says of a connection that could not be made."""

    def test_short(self) -> None:
        """A few words, without a number, and never the repr of a failure."""
        for error, words in (
            (ConnectionRefusedError(osError=111, string="Connection refused"), "connection refused"),
            (ConnectError(Failure(ConnectionDone())), "Connection was closed cleanly"),
            (NoRouteError(osError=113, string="No route to host"), "no route to host"),
            (TimeoutError(), "User timeout caused connection failure"),
            (TimeoutError("no TLS handshake in time"), "no TLS handshake in time"),
            (TlsFailure(TlsFault.PEER, "it does not speak TLS"), "it does not speak TLS"),
        ):
            reactor = _Reactor()
            failed = Connector(reactor, Endpoint((V4,), 80), 5, Protocol).connect()
            reactor.attempts[0].fails(error)
            reactor.advance(0)
            self.assertEqual(str(self.failureResultOf(failed, ConnectFailed, ConnectTimeout).value), words)


class RaceTests(ConnectorCase):
    """A server with an address of each family, as RFC 8305 says."""

    def test_firstWins(self) -> None:
        """When the preferred address answers within its head start, the other is not tried."""
        made = self.connect(*BOTH)
        self.reactor.advance(0.2)
        self.reactor.attempts[0].connects()
        self.reactor.advance(0)
        self.assertIs(self.successResultOf(made), self.reactor.attempts[0].protocol)
        self.reactor.advance(10)
        self.assertEqual(self.tried(), [(V6, 0)])

    def test_secondAfterTheHeadStart(self) -> None:
        """An address that says nothing has 250 ms for itself; then both are tried, and the first to answer is taken."""
        made = self.connect(*BOTH)
        self.reactor.advance(0.24)
        self.assertEqual(len(self.reactor.attempts), 1)
        self.reactor.advance(0.01)
        first, second = self.reactor.attempts
        self.assertEqual((second.place[0], second.timeout_s), (V4, 4.75))
        second.connects()
        self.reactor.advance(0)
        self.assertIs(self.successResultOf(made), second.protocol)
        self.assertTrue(first.was_given_up)
        self.assertFalse(second.was_given_up)

    def test_firstWinsLate(self) -> None:
        """The first may still win when the second was started."""
        made = self.connect(*BOTH)
        self.reactor.advance(0.25)
        first, second = self.reactor.attempts
        first.connects()
        self.reactor.advance(0)
        self.assertIs(self.successResultOf(made), first.protocol)
        self.assertTrue(second.was_given_up)

    def test_refusedAtOnce(self) -> None:
        """A refusal starts the next one without waiting."""
        made = self.connect(*BOTH)
        self.reactor.attempts[0].fails()
        self.reactor.advance(0)
        self.assertEqual(self.tried(), [(V6, 0), (V4, 0)])
        self.reactor.attempts[1].connects()
        self.reactor.advance(0)
        self.assertIs(self.successResultOf(made), self.reactor.attempts[1].protocol)

    def test_bothAtOnce(self) -> None:
        """Two that succeed in the same moment: one is taken, the other is closed."""
        for order in ((0, 1), (1, 0)):
            made = self.connect(*BOTH)
            self.reactor.advance(0.25)
            attempts = self.reactor.attempts[-2:]
            for index in order:
                attempts[index].connects()
            self.reactor.advance(0)
            winner, loser = attempts[order[0]], attempts[order[1]]
            self.assertIs(self.successResultOf(made), winner.protocol)
            self.assertEqual((winner.transport.disconnecting, loser.transport.disconnecting), (False, True))

    def test_allRefuse(self) -> None:
        """It fails with what each of them said."""
        made = self.connect(*BOTH)
        for index in (0, 1):
            self.reactor.attempts[index].fails()
            self.reactor.advance(0)
        detail = self.failureResultOf(made, ConnectFailed).value.detail
        self.assertTrue(detail.startswith(f"{V6}: Connection was refused"), detail)
        self.assertIn(f"; {V4}: Connection was refused", detail)

    def test_allSilent(self) -> None:
        """The timeout bounds the whole race."""
        made = self.connect(*BOTH)
        self.reactor.pump([0.25, 4.74])
        self.assertNoResult(made)
        self.reactor.pump([0.01, 0])
        self.failureResultOf(made, ConnectTimeout)

    def test_oneRefusesOneIsSilent(self) -> None:
        """A timeout tells more than a refusal, whichever came first."""
        for refuses in (0, 1):
            made = self.connect(*BOTH)
            self.reactor.advance(0.25)
            self.reactor.attempts[-2 + refuses].fails()
            self.reactor.pump([0.1, 4.65, 0])
            self.failureResultOf(made, ConnectTimeout)

    def test_notVerified(self) -> None:
        """A certificate that will not do starts the next address at once, and tells more than a refusal."""
        for other, expected in ((ConnectionRefusedError(), TlsVerify), (TimeoutError(), ConnectTimeout)):
            for errors in (
                (NotVerified("the certificate has expired"), other),
                (other, NotVerified("the certificate")),
            ):
                made = self.connect(*BOTH)
                for error in errors:
                    self.reactor.attempts[-1].fails(error)
                    self.reactor.advance(0)
                detail = self.failureResultOf(made, expected).value.detail
                self.assertIn(f"{V6}: ", detail)
                self.assertIn(f"{V4}: ", detail)

    def test_failsBeforeTheHeadStartIsOver(self) -> None:
        """A timeout shorter than the head start leaves no time for a second one."""
        made = self.connect(*BOTH, timeout_s=0.1)
        self.reactor.pump([0.1, 0])
        self.failureResultOf(made, ConnectTimeout)
        self.assertEqual(self.tried(), [(V6, 0)])

    def test_threeAddresses(self) -> None:
        """Each has its head start; a refusal in between starts the next at once, and delays no other."""
        made = self.connect("10.0.0.1", "10.0.0.2", "10.0.0.3")
        self.reactor.pump([0.25, 0.1])
        self.reactor.attempts[0].fails()
        self.reactor.advance(0)
        self.assertEqual([host for host, _ in self.tried()], ["10.0.0.1", "10.0.0.2", "10.0.0.3"])
        self.reactor.attempts[2].connects()
        self.reactor.advance(0)
        self.assertIs(self.successResultOf(made), self.reactor.attempts[2].protocol)
        self.assertTrue(self.reactor.attempts[1].was_given_up)

    def test_cancelled(self) -> None:
        """At any point of the race nothing is left of it, neither connections nor timers."""

        def connected() -> None:
            self.reactor.attempts[-1].connects()

        for steps in (
            [],
            [lambda: self.reactor.advance(0.1)],
            [lambda: self.reactor.advance(0.25)],
            [lambda: self.reactor.advance(0.25), connected],
            [lambda: self.reactor.attempts[-1].fails()],
            [lambda: self.reactor.attempts[-1].fails(), lambda: self.reactor.advance(0)],
            [connected],
        ):
            before = len(self.reactor.attempts)
            made = self.connect(*BOTH)
            for step in steps:
                step()
            made.cancel()
            self.failureResultOf(made, ConnectFailed)
            for attempt in self.reactor.attempts[before:]:
                self.assertTrue(attempt.was_given_up)
            self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_theWinnerIsFirstTheNextTime(self) -> None:
        """A family that leads nowhere costs the first connection its head start, not each one."""
        connector = self.connector(*BOTH)
        made = connector.connect()
        self.reactor.advance(0.25)
        self.reactor.attempts[1].connects()
        self.reactor.advance(0)
        self.successResultOf(made)
        made = connector.connect()
        self.assertEqual(self.tried()[2:], [(V4, 0.25)])
        self.reactor.attempts[2].fails()
        self.reactor.advance(0)
        self.assertEqual(self.tried()[3:], [(V6, 0.25)])
        self.reactor.attempts[3].connects()
        self.reactor.advance(0)
        self.successResultOf(made)

    def test_aBugIsAnError(self) -> None:
        """What a reactor raises becomes a failure, also for the address that is tried later."""
        made = self.connect(*BOTH)
        self.reactor.raises = ValueError("?")
        self.reactor.attempts[0].fails()
        self.reactor.advance(0)
        self.failureResultOf(made, InternalError)
