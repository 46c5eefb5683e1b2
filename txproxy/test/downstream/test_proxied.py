"""Listeners whose connections begin with a PROXY header: who may send one, and for whom it is served then."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from txproxy.downstream.proxied import ProxiedFactory
from txproxy.downstream.secure_site import SecureSite
from txproxy.errors import ShuttingDown
from txproxy.policy.facts import RequestFacts, TlsFacts
from txproxy.test.downstream.test_handshake import FakeTls
from txproxy.test.talk import GET, OK, TalkCase, request
from txproxy.test.upstream.observing import logged
from txproxy.test.wire.proxy_headers import MALFORMED, VALID, tlv, v2
from txproxy.testing import Dialogue, Peer

LINE = b"PROXY TCP4 203.0.113.7 198.51.100.1 56789 8443\r\n"
_V4 = bytes((203, 0, 113, 7, 198, 51, 100, 1, 0xDD, 0xD5, 0x20, 0xFB))
_PROXY = "10.0.0.9"


class ProxiedCase(TalkCase):
    """Has a listener that is behind the proxies of 10.0.0.0/8."""

    def behind(self, trusted: str = '"10.0.0.0/8"', rest: str = "", **parts: Any) -> Dialogue:
        """Return a proxy whose listener expects headers.

        :param trusted: who may send them.
        """
        listener = "proxy_protocol = true\n" + parts.pop("listener", "")
        return self.proxy(listener=listener, rest=f"[proxy]\ntrusted_proxies = [{trusted}]\n{rest}", **parts)

    def failures(self, dialogue: Dialogue) -> dict[str, int]:
        """Return how many connections came to nothing, by end reason."""
        return dict(dialogue.assembled.counters.proxy_failures)

    def forwarded(self, dialogue: Dialogue, client: Peer, name: bytes) -> bytes | None:
        """Answer a request that has come; return a field of it as the backend got it."""
        backend = dialogue.backend()
        value = backend.gets_head().get(name)
        backend.says(OK)
        self.assertStatus(client, 200)
        backend.finishes()
        return value


class SourceTests(ProxiedCase):
    """The source is the peer, everywhere."""

    def test_servedForTheSource(self) -> None:
        """Both versions: fields, log and the port that the client has connected to."""
        for header in (LINE, v2(_V4)):
            dialogue = self.behind()
            client = dialogue.client(_PROXY)
            client.says(header + GET)
            backend = dialogue.backend()
            head = backend.gets_head()
            self.assertEqual(head.get(b"X-Forwarded-For"), b"203.0.113.7")
            self.assertEqual(head.get(b"X-Forwarded-Port"), b"8443")
            backend.says(OK)
            self.assertStatus(client, 200)
            line = self.assertEnd(dialogue, "ok", 200)
            self.assertEqual(line["client"], "203.0.113.7")
            self.assertEqual(line["proxy"], {"destination": "198.51.100.1:8443"})

    def test_oneByteAtATime(self) -> None:
        """It does not matter how it comes, nor that it takes a while."""
        for header in (LINE, v2(_V4 + tlv(2, b"a.example"))):
            dialogue = self.behind()
            client = dialogue.client(_PROXY)
            client.says_bytewise(header[:20])
            dialogue.advance(5)
            client.says_bytewise(header[20:] + GET)
            self.assertEqual(self.forwarded(dialogue, client, b"X-Forwarded-For"), b"203.0.113.7")
            self.assertEqual(self.failures(dialogue), {})

    def test_theSourceIsNotTrusted(self) -> None:
        """What a client says of others is not believed, though a trusted proxy has passed it on."""
        dialogue = self.behind()
        client = dialogue.client(_PROXY)
        client.says(LINE + request(b"GET / HTTP/1.1", b"X-Forwarded-For: 6.6.6.6", b"X-Request-Id: mine"))
        self.assertEqual(self.forwarded(dialogue, client, b"X-Forwarded-For"), b"203.0.113.7")
        line = dialogue.lines[-1]
        self.assertEqual(line["client"], "203.0.113.7")
        self.assertNotEqual(line["request_id"], "mine")

    def test_theSourceIsTrusted(self) -> None:
        """If the source is one of our proxies too, its fields are believed."""
        dialogue = self.behind()
        client = dialogue.client(_PROXY)
        client.says(LINE.replace(b"203.0.113.7", b"10.9.9.9") + request(b"GET / HTTP/1.1", b"X-Forwarded-For: 6.6.6.6"))
        self.assertEqual(self.forwarded(dialogue, client, b"X-Forwarded-For"), b"6.6.6.6, 10.9.9.9")
        self.assertEqual(dialogue.lines[-1]["client"], "6.6.6.6")

    def test_thePeerSpeaksForItself(self) -> None:
        """LOCAL and UNKNOWN keep the socket's peer, and its port is the listener's."""
        for header in (b"PROXY UNKNOWN\r\n", b"PROXY UNKNOWN 6.6.6.6 7.7.7.7 1 2\r\n", v2(_V4, command=0x20)):
            dialogue = self.behind()
            client = dialogue.client(_PROXY)
            client.says(header + request(b"GET / HTTP/1.1", b"X-Forwarded-For: 192.0.2.77"))
            backend = dialogue.backend()
            head = backend.gets_head()
            self.assertEqual(head.get(b"X-Forwarded-For"), b"192.0.2.77, 10.0.0.9")
            self.assertEqual(head.get(b"X-Forwarded-Port"), b"8080")
            backend.says(OK)
            self.assertStatus(client, 200)
            line = dialogue.lines[-1]
            self.assertEqual(line["client"], "192.0.2.77")
            self.assertNotIn("proxy", line)

    def test_facts(self) -> None:
        """What the proxy says beside it is in the log, and known to functions that choose."""
        seen: list[RequestFacts] = []

        def choose(facts: RequestFacts) -> str:
            seen.append(facts)
            return "app"

        text = (
            '[[listener]]\nname = "web"\naddress = "127.0.0.1:8080"\nproxy_protocol = true\n'
            '[[route]]\nname = "all"\nchoose = "json:loads"\n'
            '[cluster.app]\nbackends = [{ address = "10.0.0.1:80" }]\n[proxy]\ntrusted_proxies = ["10.0.0.0/8"]\n'
        )
        dialogue = Dialogue.of(self, text, {"json:loads": choose})
        client = dialogue.client(_PROXY)
        tls = b"\3" + bytes(4) + tlv(0x21, b"TLSv1.3") + tlv(0x22, b"joe")
        facts = tlv(2, b"a.example") + tlv(1, b"h2") + tlv(5, b"u-1") + tlv(0x20, tls) + tlv(0xEA, b"vpce")
        client.says(v2(_V4 + facts) + GET)
        dialogue.backend().says(OK)
        self.assertStatus(client, 200)
        (one,) = seen
        assert one.proxied is not None and one.proxied.tls is not None
        self.assertEqual(one.client, "203.0.113.7")
        self.assertEqual(one.proxied.source, ("203.0.113.7", 56789))
        self.assertEqual((one.proxied.authority, one.proxied.alpn, one.proxied.unique_id), ("a.example", "h2", "u-1"))
        self.assertEqual((one.proxied.tls.common_name, one.proxied.tls.is_verified), ("joe", True))
        self.assertIn((0xEA, b"vpce"), one.proxied.tlvs)
        self.assertEqual(
            dialogue.lines[-1]["proxy"],
            {
                "destination": "198.51.100.1:8443",
                "authority": "a.example",
                "alpn": "h2",
                "unique_id": "u-1",
                "tls": "TLSv1.3",
                "common_name": "joe",
            },
        )

    def test_everyValidHeader(self) -> None:
        """Each is accepted, and the request behind it served."""
        for header, expected in VALID:
            dialogue = self.behind()
            client = dialogue.client(_PROXY)
            client.says(header + GET)
            dialogue.backend().says(OK)
            self.assertStatus(client, 200)
            source = _PROXY if expected.source is None else expected.source[0]
            self.assertEqual(dialogue.lines[-1]["client"], source, header)

    def test_http2(self) -> None:
        """The beginning of HTTP/2 is not taken for a part of the header; streams know the source too."""
        dialogue = self.behind()
        client = dialogue.client(_PROXY)
        client.says(LINE + b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0)))
        (connection,) = dialogue.assembled.sites["web"].connections
        self.assertEqual((connection.peer, connection.hop.proxied.destination), ("203.0.113.7", ("198.51.100.1", 8443)))
        client.resets()

    def test_perClientLimit(self) -> None:
        """Connections are counted for the source, once: not for the proxy that all come through."""
        dialogue = self.behind(listener="max_connections_per_ip = 1")
        first, second = dialogue.client(_PROXY), dialogue.client(_PROXY)
        first.says(LINE)
        second.says(LINE.replace(b"203.0.113.7", b"203.0.113.8"))
        self.assertTrue(first.is_open and second.is_open)
        third = dialogue.client(_PROXY)
        third.says(LINE + GET)
        self.assertFalse(third.is_open)
        self.assertEqual(dialogue.assembled.counters.refused_per_ip, 1)
        self.assertEqual(self.failures(dialogue), {})
        first.finishes()
        again = dialogue.client(_PROXY)
        again.says(LINE)
        self.assertTrue(again.is_open)


class RefusedTests(ProxiedCase):
    """What is closed: nothing is answered, and nothing reaches a backend."""

    def test_malformed(self) -> None:
        """Each is closed with a line in the log that says why."""
        for header in MALFORMED:
            dialogue = self.behind()
            client = dialogue.client(_PROXY)
            with logged() as lines:
                client.says(header + GET)
            self.assertFalse(client.is_open, header)
            self.assertEqual(client.gets(), b"")
            self.assertEqual(self.failures(dialogue), {"bad-proxy-header": 1})
            self.assertEqual(dialogue.attempts, [])
            (line,) = lines
            self.assertIn("listener web: a connection of 10.0.0.9 was closed by bad-proxy-header: ", line)

    def test_untrusted(self) -> None:
        """Who is not trusted is closed before anything is read."""
        dialogue = self.behind()
        with logged() as lines:
            self.assertRaises(AssertionError, dialogue.client, "192.0.2.1")
        self.assertEqual(self.failures(dialogue), {"untrusted-proxy": 1})
        (line,) = lines
        self.assertIn("listener web: a connection of 192.0.2.1 was closed by untrusted-proxy", line)
        self.assertEqual(dialogue.assembled.gate.connections, 0)

    def test_unix(self) -> None:
        """Peers on unix sockets are trusted if they are named."""
        dialogue = self.behind()
        self.assertRaises(AssertionError, dialogue.client, "unix")
        dialogue = self.behind('"unix"')
        client = dialogue.client("unix")
        client.says(LINE + GET)
        self.assertEqual(self.forwarded(dialogue, client, b"X-Forwarded-For"), b"203.0.113.7")
        local = dialogue.client("unix")
        local.says(v2(command=0x20) + GET)
        self.assertEqual(self.forwarded(dialogue, local, b"X-Forwarded-For"), b"unix")

    def test_tooSlow(self) -> None:
        """A header has the time of a head, whatever progress it makes."""
        dialogue = self.behind(listener="header_timeout_s = 3")
        client = dialogue.client(_PROXY)
        for byte in LINE[:3]:
            client.says(bytes((byte,)))
            dialogue.advance(0.9)
        self.assertTrue(client.is_open)
        with logged() as lines:
            dialogue.advance_past(0.4)
        self.assertFalse(client.is_open)
        self.assertIn("it was not complete in time", lines[0])
        self.assertEqual(self.failures(dialogue), {"bad-proxy-header": 1})

    def test_timeForTheHeadIsApart(self) -> None:
        """Once the header is complete the connection has the time that any connection has."""
        dialogue = self.behind()
        client = dialogue.client(_PROXY)
        client.says(LINE)
        dialogue.advance(30)
        client.says(GET)
        self.assertEqual(self.forwarded(dialogue, client, b"X-Forwarded-For"), b"203.0.113.7")

    def test_cut(self) -> None:
        """One that closes in the middle is counted; one that only looks whether the port is open is not."""
        dialogue = self.behind()
        dialogue.client(_PROXY).finishes()
        self.assertEqual(self.failures(dialogue), {})
        client = dialogue.client(_PROXY)
        client.says(LINE[:9])
        client.finishes()
        self.assertEqual(self.failures(dialogue), {"bad-proxy-header": 1})
        client = dialogue.client(_PROXY)
        client.says(v2(_V4)[:17])
        client.resets()
        self.assertEqual(self.failures(dialogue), {"bad-proxy-header": 2})


class CountedTests(ProxiedCase):
    """Each connection is counted once, from its first moment to its last."""

    def test_once(self) -> None:
        """Before the header, behind it, and after the end."""
        dialogue = self.behind()
        site, gate = dialogue.assembled.sites["web"], dialogue.assembled.gate
        client = dialogue.client(_PROXY)
        self.assertEqual((gate.connections, len(site.connections), dialogue.assembled.counters.connections), (1, 1, 0))
        client.says(LINE)
        self.assertEqual((gate.connections, len(site.connections), dialogue.assembled.counters.connections), (1, 1, 1))
        client.finishes()
        self.assertEqual((gate.connections, len(site.connections)), (0, 0))

    def test_theLimitOfAll(self) -> None:
        """Those that have said nothing yet count too; what becomes of a header opens the gate for nobody."""
        dialogue = self.behind(rest="max_connections = 2")
        first, second = dialogue.client(_PROXY), dialogue.client(_PROXY)
        self.assertFalse(dialogue.port.is_accepting)
        first.says(LINE)
        self.assertFalse(dialogue.port.is_accepting)
        self.assertEqual(dialogue.assembled.counters.accept_pauses, 1)
        second.says(b"GET")
        self.assertTrue(dialogue.port.is_accepting)
        self.assertEqual(dialogue.assembled.gate.connections, 1)

    def test_drained(self) -> None:
        """A proxy that stops waits for no header that is not on its way, and says nothing of it."""
        for end in ("drain", "cut"):
            dialogue = self.behind()
            site = dialogue.assembled.sites["web"]
            waiting, idle = dialogue.client(_PROXY), dialogue.client(_PROXY)
            waiting.says(LINE[:9])
            emptied: list[bool] = []
            site.when_empty = partial(emptied.append, True)
            with logged() as lines:
                if end == "drain":
                    site.drain()
                    dialogue.advance(0.5)
                    self.assertTrue(waiting.is_open and idle.is_open)
                    dialogue.advance(0.7)
                else:
                    self.assertEqual(site.cut(ShuttingDown()), 0)
                dialogue.settle()
            self.assertFalse(waiting.is_open or idle.is_open)
            self.assertEqual((emptied, lines), ([True], []))
            self.assertEqual(self.failures(dialogue), {})

    def test_onItsWay(self) -> None:
        """A header that comes while the proxy is stopping leads to the request behind it."""
        dialogue = self.behind()
        client = dialogue.client(_PROXY)
        client.says(LINE[:9])
        dialogue.assembled.sites["web"].drain()
        client.says(LINE[9:] + GET)
        dialogue.backend().says(OK)
        self.assertStatus(client, 200)
        self.assertFalse(client.is_open)

    def test_without(self) -> None:
        """A listener without the key has nothing before its factory, and a header is no request there."""
        dialogue = self.proxy()
        self.assertIs(dialogue.assembled.factories["web"], dialogue.assembled.sites["web"])
        client = dialogue.client()
        client.says(LINE + GET)
        self.assertStatus(client, 400)


class HttpsTests(ProxiedCase):
    """TLS begins behind the header."""

    def test_handshake(self) -> None:
        """The handshake's own protocol takes over, with the source as its peer and a time of its own."""
        dialogue = self.behind()
        plain = dialogue.assembled.sites["web"]
        tls = FakeTls()
        tls.facts = TlsFacts("TLSv1.3", "x", "a.example", "http/1.1")
        settings = replace(plain.settings, name="secure", scheme=b"https")
        site: Any = SecureSite(settings, plain.router, plain.tools, tls)  # type: ignore[arg-type]
        dialogue.assembled.sites["secure"] = site
        dialogue.assembled.factories["secure"] = ProxiedFactory(site)
        client = dialogue.client(_PROXY, listener="secure")
        dialogue.advance(8)
        client.says(LINE)
        dialogue.advance(8)
        client.transport.ssl = object()
        client.transport.protocol.handshakeCompleted()
        client.says(GET)
        backend = dialogue.backend()
        head = backend.gets_head()
        self.assertEqual(head.get(b"X-Forwarded-For"), b"203.0.113.7")
        self.assertEqual(head.get(b"X-Forwarded-Proto"), b"https")
        self.assertEqual(head.get(b"X-Forwarded-Port"), b"8443")
        backend.says(OK)
        self.assertStatus(client, 200)
        self.assertEqual((dialogue.assembled.gate.connections, len(site.connections)), (1, 1))
