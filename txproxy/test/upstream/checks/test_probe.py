"""Checks on connections of their own, whatever is said there."""

from __future__ import annotations

from twisted.internet.error import (
    ConnectError,
    ConnectionRefusedError,
    DNSLookupError,
    NoRouteError,
    TCPTimedOutError,
    TimeoutError,
)

from txproxy.test.upstream.checks.probe_case import PASSED, TARGET, ProbeCase
from txproxy.testing import FakeTransport
from txproxy.upstream.checks.probe import Check
from txproxy.upstream.checks.probe_socket import Conversation
from txproxy.upstream.checks.probes import ProbeTarget

TWO = TARGET._replace(hosts=("2001:db8::1", "192.0.2.1"))


class ConnectingTests(ProbeCase):
    """C2: a tcp check is a connection."""

    def test_connected(self) -> None:
        """A backend that accepts is well, and sees the connection end at once, in the ordinary way."""
        self.begin(type="tcp")
        host, port, _, timeout_s, _ = self.reactor.tcpClients[0]
        self.assertEqual((host, port, timeout_s), ("192.0.2.1", 8080, 2.0))
        backend = self.accept()
        self.assert_verdict(PASSED)
        self.assertTrue(backend.sees_end)
        self.assertEqual(backend.gets(), b"")

    def test_unixSocket(self) -> None:
        """A backend behind a unix socket is checked there."""
        self.begin(ProbeTarget("unix:/run/app", ("",), 0, "/run/app"), type="tcp")
        self.assertEqual(self.reactor.unixClients[0][0], "/run/app")
        self.accept()
        self.assert_verdict(PASSED)

    def test_refused(self) -> None:
        """The reason is what the operating system says, in a few words."""
        for error, words in (
            (ConnectionRefusedError(111, "Connection refused"), "connection refused"),
            (NoRouteError(113, "No route to host"), "no route to host"),
            (ConnectError(2, "No such file or directory"), "no such file or directory"),
            (
                DNSLookupError("no results for hostname lookup: x"),
                "DNS lookup failed: no results for hostname lookup: x",
            ),
            (TimeoutError(), "no connection in 2 s"),
            (TCPTimedOutError(110, "Operation timed out"), "no connection in 2 s"),
        ):
            with self.subTest(words):
                self.verdicts.clear()
                self.begin(type="tcp")
                self.refuse(error)
                self.assert_verdict(words)

    def test_blackHole(self) -> None:
        """A connection that is not made in time is given up."""
        self.begin(type="tcp", timeout_s=0.5)
        self.advance(0.499)
        self.assert_verdict()
        self.advance(0.001)
        self.assert_verdict("no connection in 0.5 s")

    def test_speaksFirst(self) -> None:
        """Many protocols begin with the server: it is well."""
        self.begin(type="tcp")
        self.accept(says=b"220 mail.example\r\n" * 100)
        self.assert_verdict(PASSED)

    def test_closesAtOnce(self) -> None:
        """A connection that was accepted was accepted, however short it was."""
        self.begin(type="tcp")
        transport = self.connect(self.take_attempt())
        transport.lose()
        transport.turn()
        self.settle()
        self.assert_verdict(PASSED)

    def test_severalAddresses(self) -> None:
        """A backend with two addresses is well if one of them can be reached; the other attempt ends."""
        self.begin(TWO, type="tcp")
        self.advance(0.25)
        self.assertEqual([each[0] for each in self.reactor.tcpClients], ["2001:db8::1", "192.0.2.1"])
        connector = self.reactor.connectors[0]
        self.take_attempt()
        self.accept()
        self.assert_verdict(PASSED)
        self.assertTrue(connector._disconnected)

    def test_severalAddressesRefuse(self) -> None:
        """Each address has its reason."""
        self.begin(TWO, type="tcp")
        self.refuse(NoRouteError(113, "No route to host"))
        self.refuse(ConnectionRefusedError(111, "Connection refused"))
        self.assert_verdict("2001:db8::1: no route to host; 192.0.2.1: connection refused")

    def test_twoConnectionsInOneTurn(self) -> None:
        """Of two addresses that answer at the same time only one connection is used, and both are closed."""
        self.begin(TWO, timeout_s=1.0)
        self.advance(0.25)
        peers = [self.connect(self.take_attempt()) for _ in range(2)]
        self.settle()
        self.assertEqual([bool(peer.sent) for peer in peers].count(True), 1)
        for peer in peers:
            if peer.sent:
                peer.arriving += b"HTTP/1.1 204 No Content\r\n\r\n"
            else:
                peer.loseConnection()  # As the connector of a real reactor does.
        self.settle()
        self.assert_verdict(PASSED)

    def test_faultOfOurs(self) -> None:
        """A fault of ours fails the check and is logged; nothing waits for ever."""
        self.patch(self.reactor, "connectTCP", lambda *arguments, **more: 1 // 0)
        self.begin(type="tcp")
        self.assert_verdict("the check itself failed")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class GivenUpTests(ProbeCase):
    """Checks that nobody waits for any more."""

    def test_whileConnecting(self) -> None:
        """The attempt to connect is given up."""
        check = self.begin()
        check.cancel()
        self.assert_verdict("CancelledError")
        self.advance(10)

    def test_justConnected(self) -> None:
        """Nothing is said on a connection that was made in the very moment."""
        check = self.begin()
        transport = self.connect(self.take_attempt())
        check.cancel()
        transport.loseConnection()  # As the connector of a real reactor does.
        self.settle()
        self.assertEqual(bytes(transport.sent), b"")
        self.assert_verdict("CancelledError")

    def test_inConversation(self) -> None:
        """The connection is closed; what comes then is not looked at."""
        check = self.begin()
        backend = self.accept()
        check.cancel()
        backend.says(b"HTTP/1.1 200 OK\r\n\r\n")
        self.assert_verdict("CancelledError")
        self.assertFalse(backend.is_open)

    def test_endedBeforeItsConnection(self) -> None:
        """A connection for a check that has ended is closed, and nothing is said on it."""
        check = Check(self.reactor, 2.0)
        check.result.addErrback(self.failed)
        conversation = Conversation(check)
        transport = FakeTransport(None, None)
        self.transports.append(transport)
        transport.connect(conversation)
        check.fail("no time left")
        conversation.begin()
        self.settle()
        self.assert_verdict("no time left")
        self.assertTrue(transport.disconnected)

    def test_afterItsEnd(self) -> None:
        """Cancelling what has ended changes nothing."""
        check = self.begin(type="tcp")
        self.accept()
        check.cancel()
        self.assert_verdict(PASSED)

    def test_error(self) -> None:
        """The failure of a check has a reason that is one short, printable line."""
        self.begin(type="x", function=lambda target: "a\x1b[31m\nb" + "c" * 1000)
        (reason,) = self.verdicts
        self.assertTrue(reason.startswith("a [31m b") and reason.isprintable() and len(reason) == 200, reason)
