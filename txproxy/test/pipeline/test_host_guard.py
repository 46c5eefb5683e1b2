"""Which hosts a TLS connection may be used for."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txproxy.errors import Misdirected
from txproxy.exchange import Exchange
from txproxy.pipeline.host_guard import HostGuard
from txproxy.policy.facts import TlsFacts
from txproxy.test.talk import GET, OK, TalkCase, chunked, post, request
from txproxy.test.wire.reading import request_with

TLS = TlsFacts("TLSv1.3", "TLS_AES_256_GCM_SHA384", server_name="a.example")


class HostGuardTests(SynchronousTestCase):
    """What is asked and what is let pass."""

    def setUp(self) -> None:
        self.asked: list[bytes] = []
        self.started: list[Exchange] = []
        self.guard = HostGuard(self, self.is_ours)

    def is_ours(self, host: bytes) -> bool:
        """Note the host that is asked for, and tell whether it has this certificate."""
        self.asked.append(host)
        return host in (b"a.example", b"b.example", b"[2001:db8::1]")

    def start(self, exchange: Exchange) -> None:
        """Take what is let pass."""
        self.started.append(exchange)

    def passes(self, host: bytes, line: bytes = b"GET / HTTP/1.1") -> bool:
        """Return whether a request for a host is let pass."""
        request = request_with(line=line, host=b"Host: " + host if host else b"")
        before = len(self.started)
        try:
            self.guard.start(Exchange(b"id", request, None, 0.0))
        except Misdirected:
            self.assertEqual(len(self.started), before)
            return False
        self.assertEqual(len(self.started), before + 1)
        return True

    def test_hosts(self) -> None:
        """Without case, port or the dot of the root; addresses in brackets."""
        for host, asked, expected in (
            (b"a.example", b"a.example", True),
            (b"A.Example:8443", b"a.example", True),
            (b"b.example.", b"b.example", True),
            (b"[2001:DB8::1]:443", b"[2001:db8::1]", True),
            (b"c.example", b"c.example", False),
            (b"a.example.evil", b"a.example.evil", False),
            (b"192.0.2.1:443", b"192.0.2.1", False),
            (b"%61.example", b"%61.example", False),
        ):
            self.setUp()
            self.assertEqual(self.passes(host), expected, host)
            self.assertEqual(self.asked, [asked])

    def test_theTargetCounts(self) -> None:
        """The authority of an absolute-form target is the host, whatever Host says (RFC 9112 section 3.2.2)."""
        self.assertTrue(self.passes(b"c.example", b"GET https://a.example/ HTTP/1.1"))
        self.assertFalse(self.passes(b"a.example", b"GET http://c.example/ HTTP/1.1"))

    def test_noHost(self) -> None:
        """Who names no host is served what the connection was made for."""
        self.assertTrue(self.passes(b"", b"GET / HTTP/1.0"))
        self.assertEqual(self.asked, [])

    def test_theLastGoodHostIsRemembered(self) -> None:
        """It is asked about once, until there was another; a bad one each time, and it does not take the place."""
        for host in (b"a.example", b"A.EXAMPLE", b"a.example:443"):
            self.assertTrue(self.passes(host))
        self.assertEqual(self.asked, [b"a.example"])
        self.assertFalse(self.passes(b"c.example"))
        self.assertTrue(self.passes(b"a.example"))
        self.assertTrue(self.passes(b"", b"GET / HTTP/1.0"))
        self.assertTrue(self.passes(b"a.example"))
        self.assertFalse(self.passes(b"c.example"))
        self.assertEqual(self.asked, [b"a.example", b"c.example", b"c.example"])
        self.assertTrue(self.passes(b"b.example"))
        self.assertTrue(self.passes(b"a.example"))
        self.assertEqual(self.asked[3:], [b"b.example", b"a.example"])


class MisdirectedTests(TalkCase):
    """What a client sees that asks for another host on a connection."""

    def test_anotherHost(self) -> None:
        """421 from us, no route, no backend; the connection goes on (RFC 9110 section 15.5.20)."""
        dialogue = self.proxy()
        client = dialogue.client(tls=TLS, names=[b"a.example"])
        client.says(request(host=b"b.example"))
        head = client.gets_head()
        self.assertEqual(head.line, b"HTTP/1.1 421 Misdirected Request")
        self.assertIsNone(head.get(b"Connection"))
        self.assertNotIn(b"b.example", client.gets())
        self.assertEqual(dialogue.attempts, [])
        self.assertIsNone(self.assertEnd(dialogue, "misdirected", 421)["route"])
        client.says(GET)
        dialogue.backend().says(OK)
        self.assertStatus(client, 200)

    def test_pipelined(self) -> None:
        """Each request is judged by its own host, and answered in its turn."""
        dialogue = self.proxy()
        dialogue.script("10.0.0.1:80", OK)
        client = dialogue.client(tls=TLS, names=[b"a.example"])
        other = request(host=b"b.example")
        client.says(GET + other + GET + other)
        said = [part[9:12] for part in client.gets().split(b"HTTP/1.1 ")[1:]]
        self.assertEqual(len(said), 4)
        self.assertEqual([line["status"] for line in dialogue.lines], [200, 421, 200, 421])

    def test_body(self) -> None:
        """A body that has come is passed over; one that has not closes the connection, as it may never come."""
        dialogue = self.proxy()
        client = dialogue.client(tls=TLS, names=[b"a.example"])
        client.says(request(b"POST / HTTP/1.1", body=b"hello", host=b"b.example"))
        self.assertStatus(client, 421)
        self.assertTrue(client.is_open)
        client.says(post(5).replace(b"a.example", b"b.example"))
        head = client.gets_head()
        self.assertEqual((head.line[9:12], head.get(b"Connection")), (b"421", b"close"))
        dialogue.advance_past(2)
        client = dialogue.client(tls=TLS, names=[b"a.example"])
        client.says(chunked().replace(b"a.example", b"b.example"))
        self.assertEqual(client.gets_head().line[9:12], b"421")
        self.assertEqual(dialogue.attempts, [])
        dialogue.advance_past(2)

    def test_withoutGuard(self) -> None:
        """A listener with one certificate serves every host on every connection."""
        dialogue = self.proxy()
        dialogue.script("10.0.0.1:80", OK)
        client = dialogue.client(tls=TLS)
        for host in (b"a.example", b"b.example"):
            client.says(request(host=host))
            self.assertStatus(client, 200)
