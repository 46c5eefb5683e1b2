"""The connections of the admin interface have bounds."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from txproxy.admin.server import MOST_BODY_BYTES, MOST_CONNECTIONS
from txproxy.test.admin.asking import AskingCase

GET = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
POST = b"POST /reload HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
DRAIN = b"POST /clusters/a/backends/b/drain HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\r\n"


class ConnectionTests(AskingCase):
    """What a connection may do, and for how long."""

    def test_severalRequests(self) -> None:
        """One after the other on one connection, also in one piece, also byte by byte."""
        transport = self.connected()
        self.sends(transport, GET + GET)
        for byte in GET:
            self.sends(transport, bytes((byte,)))
        self.assertEqual([each.status for each in self.replies(transport)], [200] * 3)

    def test_declaredBodies(self) -> None:
        """A body that is too large is refused by its head; what comes of it is thrown away."""
        transport = self.connected()
        self.sends(transport, POST + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % (MOST_BODY_BYTES + 1))
        (told,) = self.replies(transport)
        self.assertEqual((told.status, told.fields["connection"]), (413, "close"))
        self.assertTrue(transport.is_shut)
        self.sends(transport, b"x" * 100_000 + GET)
        self.assertEqual(len(self.replies(transport)), 1)
        self.reactor.advance(2)
        self.settle(transport)
        self.assertTrue(transport.disconnected)
        self.assertEqual(self.operator.told, [])

    def test_chunkedBodies(self) -> None:
        """The same for one whose length is not said."""
        transport = self.connected()
        self.sends(transport, POST + b"Transfer-Encoding: chunked\r\n\r\n")
        for _ in range(5):
            self.sends(transport, b"4000\r\n" + b"x" * 0x4000 + b"\r\n")
        self.sends(transport, b"0\r\n\r\n")
        self.assertEqual([each.status for each in self.replies(transport)], [413])
        self.assertEqual(self.operator.told, [])

    def test_bodiesThatFit(self) -> None:
        """The largest that is allowed is read."""
        body = b'{"x":"' + b"x" * (MOST_BODY_BYTES - 8) + b'"}'
        self.assertEqual(self.change("/reload", body).status, 400)
        transport = self.connected()
        self.sends(transport, POST + b"Transfer-Encoding: chunked\r\n\r\n4000\r\n" + b"x" * 0x4000 + b"\r\n0\r\n\r\n")
        self.assertEqual([each.status for each in self.replies(transport)], [400])

    def test_heads(self) -> None:
        """Too many fields, too long ones, and what is no HTTP end the connection."""
        for head in (
            b"GET /healthz HTTP/1.1\r\n" + b"a: b\r\n" * 100,
            b"GET / HTTP/1.1\r\na: " + b"x" * 20_000,
            b"\x16\x03\x01\r\n\r\n",
        ):
            transport = self.connected()
            self.sends(transport, head + b"\r\n")
            self.assertTrue(transport.disconnecting or transport.disconnected, head[:40])
            self.assertNotIn(b" 200 ", transport.sent)

    def test_slowRequests(self) -> None:
        """A request has 10 s, however its bytes drip in: head or body."""
        for data in (GET, POST + b"Content-Length: 100\r\n\r\n" + b" " * 100):
            transport = self.connected()
            for byte in data[:-1]:
                if transport.disconnected:
                    break
                self.sends(transport, bytes((byte,)))
                self.reactor.advance(0.5)
                self.settle(transport)
            self.assertTrue(transport.was_aborted)
        self.assertEqual(self.operator.told, [])

    def test_slowPipelinedRequests(self) -> None:
        """The time begins anew with each request, also with one that begins behind another in one piece."""
        transport = self.connected()
        self.sends(transport, GET + GET[:20])
        self.reactor.advance(9)
        self.assertFalse(transport.was_aborted)
        self.reactor.advance(2)
        self.assertTrue(transport.was_aborted)

    def test_idleConnections(self) -> None:
        """They are closed after 30 s, and leave nothing behind."""
        transport = self.connected()
        self.sends(transport, GET)
        self.reactor.advance(29)
        self.settle(transport)
        self.assertFalse(transport.disconnected)
        self.reactor.advance(2)
        self.settle(transport)
        self.assertTrue(transport.disconnected)
        self.reactor.advance(10)
        self.assertEqual((self.reactor.getDelayedCalls(), len(self.site.channels)), ([], 0))

    def test_crowds(self) -> None:
        """There are 64 at most: whoever has been idle longest gives place to who comes."""
        transports = [self.connected() for _ in range(MOST_CONNECTIONS)]
        later = self.connected()
        self.assertEqual([each.was_aborted for each in transports[:2]], [True, False])
        self.sends(later, GET)
        self.assertEqual([each.status for each in self.replies(later)], [200])

    def test_busyCrowds(self) -> None:
        """Who waits for an answer is not sent away."""
        self.operator.result = Deferred()
        transports = [self.connected() for _ in range(MOST_CONNECTIONS)]
        for each in transports:
            self.sends(each, DRAIN)
        self.assertTrue(self.connected().disconnected)
        self.assertFalse(any(each.was_aborted for each in transports))

    def test_theClientLeaves(self) -> None:
        """Before its answer: nothing is said to nobody, and nothing is logged."""
        waiting: Deferred[None] = Deferred()
        self.operator.result = waiting
        transport = self.connected()
        self.sends(transport, DRAIN)
        transport.lose()
        self.settle(transport)
        waiting.callback(None)
        self.assertEqual(self.flushLoggedErrors(), [])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_closing(self) -> None:
        """Idle connections end at once; one that waits for its answer gets it first."""
        waiting: Deferred[None] = Deferred()
        self.operator.result = waiting
        busy, idle = self.connected(), self.connected()
        self.sends(busy, DRAIN)
        closed = self.site.close()
        self.settle(idle)
        self.assertTrue(idle.disconnected)
        self.assertNoResult(closed)
        waiting.callback(None)
        self.settle(busy)
        (told,) = self.replies(busy)
        self.assertEqual((told.status, told.fields["connection"]), (200, "close"))
        self.assertTrue(busy.disconnected)
        self.successResultOf(closed)
