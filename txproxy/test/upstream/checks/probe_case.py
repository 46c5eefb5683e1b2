"""What tests of health checks share: backends without sockets that are checked once."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from txproxy.testing import FakeTransport, Peer
from txproxy.upstream.checks.probes import ProbeFailed, ProbeSettings, ProbeTarget, make_probe

TARGET = ProbeTarget("app.example:8080", ("192.0.2.1",), 8080, host_field=b"app.example:8080")
PASSED = ""


class ProbeCase(SynchronousTestCase):
    """Runs checks; afterwards no connection and no delayed call may be left."""

    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.transports: list[FakeTransport] = []
        self.verdicts: list[str] = []
        self.trace: list[str] = []
        self.addCleanup(self.assert_clean)

    def begin(self, target: ProbeTarget = TARGET, **settings: Any) -> Deferred[None]:
        """Begin a check; its verdict is added to ``verdicts``: nothing if it passed, else the reason."""
        probe = make_probe(ProbeSettings(**settings), self.reactor)
        check = probe.run(target)
        check.addCallbacks(lambda _: self.verdicts.append(PASSED), self.failed)
        self.settle()
        return check

    def failed(self, failure: Failure) -> None:
        """Note the verdict of a check that has not passed."""
        error = failure.value
        self.verdicts.append(error.reason if isinstance(error, ProbeFailed) else type(error).__name__)

    def accept(self, says: bytes = b"") -> Peer:
        """Accept the connection that the check is making, and speak for the backend from then on.

        :param says: sent at once, so that it comes before the check can have asked anything.
        """
        transport = self.connect(self.take_attempt(), says)
        if says:
            transport.turn()  # A connection is handed out one turn later: bytes can come before that.
        self.settle()
        return Peer("backend", transport, self.settle, self.trace)

    def refuse(self, error: Exception) -> None:
        """Let the connection that the check is making fail."""
        self.take_attempt().clientConnectionFailed(None, Failure(error))
        self.settle()

    def take_attempt(self) -> Any:
        """Return the factory of the connection that a check has been making for the longest time."""
        reactor = self.reactor
        reactor.connectors.pop(0)
        return reactor.tcpClients.pop(0)[2] if reactor.tcpClients else reactor.unixClients.pop(0)[1]

    def connect(self, factory: Any, says: bytes = b"") -> FakeTransport:
        """Make a connection of which the check has not heard yet.

        :param says: what the backend has sent already.
        """
        address = IPv4Address("TCP", "192.0.2.1", 8080)
        transport = FakeTransport(address, IPv4Address("TCP", "10.0.0.1", 40000))
        transport.arriving += says
        self.transports.append(transport)
        transport.connect(factory.buildProtocol(address))
        return transport

    def settle(self) -> None:
        """Let everything happen that needs no more time."""
        for _ in range(1000):
            self.reactor.advance(0)
            if not any([transport.turn() for transport in self.transports]):
                break
        self.reactor.advance(0)

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.reactor.advance(seconds)
        self.settle()

    def assert_verdict(self, *verdicts: str) -> None:
        """Check what the checks have found so far."""
        self.assertEqual(self.verdicts, list(verdicts))

    def assert_clean(self) -> None:
        """Check that nothing is left of any check."""
        self.settle()
        self.assertEqual([each for each in self.transports if not each.disconnected], [])
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        # A connection that was still being made was given up.
        self.assertEqual([each for each in self.reactor.connectors if not each._disconnected], [])
