"""Backends that are told who the client is: what each connection begins with, and that nobody else's request is on it."""

from __future__ import annotations

from typing import Any

from txproxy.policy.facts import TlsFacts
from txproxy.test.talk import GET, OK, TalkCase, head, post, reply, request
from txproxy.test.wire.proxy_headers import read_header, tlv, v2
from txproxy.testing import Dialogue, Http2Client, Peer, site
from txproxy.upstream.client_header import common_name
from txproxy.wire.proxy_protocol import ProxiedTls, ProxyHeader
from txproxy.wire.proxy_writing import LOCAL_V2

_LINE = b"PROXY TCP4 192.0.2.1 127.0.0.1 50000 8080\r\n"
_HEADER = ProxyHeader(("192.0.2.1", 50000), ("127.0.0.1", 8080))


def split(data: bytes) -> tuple[ProxyHeader, bytes]:
    """Return the header that stands before something, and the rest."""
    header, taken = read_header([data])
    assert header is not None, data
    return header, data[taken:]


class PrivateCase(TalkCase):
    """Has a cluster that is told who the client is."""

    def telling(self, version: str = "v2", cluster: str = "", **parts: Any) -> Dialogue:
        """Return a proxy.

        :param version: of the headers.
        """
        return self.proxy(cluster=f'send_proxy_protocol = "{version}"\n{cluster}', **parts)

    def served(self, dialogue: Dialogue, client: Peer, says: bytes = GET) -> ProxyHeader:
        """Have a request answered; return the header of its connection, which is closed then."""
        client.says(says)
        backend = dialogue.backend()
        header, rest = split(backend.gets())
        self.assertTrue(rest.startswith(says.split(b" ")[0]), rest)
        backend.says(OK)
        self.assertStatus(client, 200)
        self.assertFalse(backend.is_open)
        return header


class HeaderTests(PrivateCase):
    """What a backend is told."""

    def test_versions(self) -> None:
        """The client and what it has connected to, before the request."""
        for version in ("v1", "v2"):
            dialogue = self.telling(version)
            self.assertEqual(self.served(dialogue, dialogue.client()), _HEADER)
            header = self.served(dialogue, dialogue.client("2001:db8::7"))
            self.assertEqual(header.source, ("2001:db8::7", 50000))
        dialogue = self.telling("v1")
        dialogue.client().says(GET)
        backend = dialogue.backend()
        self.assertTrue(backend.gets().startswith(_LINE + b"GET / HTTP/1.1\r\n"))
        backend.says(OK)

    def test_tls(self) -> None:
        """Name, protocol and TLS of the client, in version 2."""
        subject = b"CN=joe\\, jr,O=Example"
        facts = TlsFacts("TLSv1.3", "CIPHER", "a.example", "http/1.1", False, subject, b"ab", b"SUCCESS")
        dialogue = self.telling()
        header = self.served(dialogue, dialogue.client(tls=facts))
        self.assertEqual((header.authority, header.alpn), ("a.example", "http/1.1"))
        self.assertEqual(header.tls, ProxiedTls("TLSv1.3", "CIPHER", "joe, jr", True, True))
        header = self.served(dialogue, dialogue.client(tls=TlsFacts("TLSv1.2", "CIPHER")))
        self.assertEqual((header.authority, header.alpn), ("", ""))
        self.assertEqual(header.tls, ProxiedTls("TLSv1.2", "CIPHER"))
        dialogue = self.telling("v1")
        self.assertEqual(self.served(dialogue, dialogue.client(tls=facts)), _HEADER)

    def test_names(self) -> None:
        """CN as RFC 4514 writes it."""
        for subject, expected in (
            ("", ""),
            ("O=Example", ""),
            ("CN=joe", "joe"),
            ("O=Example,CN=joe", "joe"),
            ("O=x\\,CN=evil,CN=joe", "joe"),
            ("O=x+CN=joe,CN=other", "joe"),
            ("CN=j\\C3\\A4ger\\+1", "j\u00e4ger+1"),
            ("XCN=joe", ""),
        ):
            self.assertEqual(common_name(subject), expected, subject)

    def test_theClientOfATrustedPeer(self) -> None:
        """The client is the same as in the log: whom a trusted peer names, whose port nobody knows."""
        dialogue = self.telling(rest='[proxy]\ntrusted_proxies = ["192.0.2.0/24"]')
        header = self.served(dialogue, dialogue.client(), request(b"GET / HTTP/1.1", b"X-Forwarded-For: 203.0.113.7"))
        self.assertEqual((header.source, header.destination), (("203.0.113.7", 0), _HEADER.destination))
        header = self.served(dialogue, dialogue.client(), request(b"GET / HTTP/1.1", b"X-Forwarded-For: 2001:db8::7"))
        self.assertEqual(header.source, ("2001:db8::7", 0))
        self.assertEqual(self.served(dialogue, dialogue.client()).source, _HEADER.source)

    def test_passedOn(self) -> None:
        """What a proxy in front has said is said again: source, destination and facts."""
        dialogue = self.telling(
            listener="proxy_protocol = true", rest='[proxy]\ntrusted_proxies = ["192.0.2.0/24", "unix"]'
        )
        block = bytes((203, 0, 113, 7, 198, 51, 100, 1, 0xDD, 0xD5, 0x01, 0xBB))
        inner = tlv(0x21, b"TLSv1.3")
        client = dialogue.client()
        client.says(v2(block + tlv(2, b"a.example") + tlv(0x20, b"\1\0\0\0\1" + inner)))
        header = self.served(dialogue, client)
        self.assertEqual((header.source, header.destination), (("203.0.113.7", 56789), ("198.51.100.1", 443)))
        self.assertEqual((header.authority, header.tls), ("a.example", ProxiedTls("TLSv1.3")))
        client = dialogue.client("unix")
        client.says(b"PROXY UNKNOWN\r\n")
        self.assertIsNone(self.served(dialogue, client).source)

    def test_unknown(self) -> None:
        """A client on a unix socket has no address to be told."""
        dialogue = self.telling("v1")
        client = dialogue.client("unix")
        client.says(GET)
        backend = dialogue.backend()
        self.assertTrue(backend.gets().startswith(b"PROXY UNKNOWN\r\nGET / "))
        backend.says(OK)
        dialogue = self.telling()
        self.assertEqual(self.served(dialogue, dialogue.client("unix")), ProxyHeader())

    def test_streams(self) -> None:
        """Each stream of HTTP/2 is told by its connection."""
        dialogue = self.telling()
        client = Http2Client(dialogue.client())
        for _ in range(2):
            stream = client.asks()
            backend = dialogue.backend()
            header, _ = split(backend.gets())
            self.assertEqual(header, _HEADER)
            backend.says(OK)
            self.assertEqual(stream.gets_head().line, b"HTTP/2 200")
        client.peer.finishes()


class PrivacyTests(PrivateCase):
    """A connection carries one request."""

    def test_neverShared(self) -> None:
        """Neither another client nor the same one gets a connection again."""
        dialogue = self.telling()
        first, second = dialogue.client("192.0.2.1"), dialogue.client("192.0.2.2")
        for client, source in ((first, "192.0.2.1"), (second, "192.0.2.2"), (first, "192.0.2.1")):
            header = self.served(dialogue, client)
            self.assertEqual(header.source, (source, 50000))
        self.assertEqual(dialogue.pool.total, 0)

    def test_eachItsOwn(self) -> None:
        """Requests at the same time: each goes out behind its own header, whichever connection is there first."""
        dialogue = self.telling()
        clients = [dialogue.client(f"192.0.2.{number}") for number in (1, 2, 3)]
        for number, client in enumerate(clients, 1):
            client.says(request(b"GET /%d HTTP/1.1" % number))
        self.assertEqual(len(dialogue.attempts), 3)
        dialogue.attempts.reverse()
        for number in (3, 2, 1):
            backend = dialogue.backend()
            header, rest = split(backend.gets())
            self.assertEqual(header.source, (f"192.0.2.{number}", 50000))
            self.assertTrue(rest.startswith(b"GET /%d " % number))
            backend.says(reply(b"%d" % number))
            self.assertTrue(self.assertStatus(clients[number - 1], 200).endswith(b"%d" % number))

    def test_theClientLeaves(self) -> None:
        """A connection whose request has left is made no further, and its place is another's at once."""
        dialogue = self.telling(cluster="pool.max_connections = 1")
        first, second = dialogue.client("192.0.2.1"), dialogue.client("192.0.2.2")
        first.says(GET)
        (attempt,) = dialogue.attempts
        second.says(GET)
        self.assertEqual(len(dialogue.attempts), 1)
        first.resets()
        self.assertTrue(attempt.is_given_up)
        self.assertEqual((dialogue.pool.stats.failed, dialogue.pool.stats.discarded), (0, 1))
        backend = dialogue.backend()
        header, _ = split(backend.gets())
        self.assertEqual(header.source, ("192.0.2.2", 50000))
        backend.says(OK)
        self.assertStatus(second, 200)

    def test_sentElsewhere(self) -> None:
        """What waited for a backend that is drained goes to another; the connection that comes then is closed."""
        dialogue = self.telling(backends=("10.0.0.1:80", "10.0.0.2:80"))
        client = dialogue.client()
        client.says(GET)
        (attempt,) = dialogue.attempts
        dialogue.roster.drain(attempt.address)
        dialogue.settle()
        late, backend = dialogue.backend(attempt.address), dialogue.backend()
        self.assertNotEqual(backend.name, attempt.address)
        header, _ = split(backend.gets())
        self.assertEqual(header, _HEADER)
        self.assertFalse(late.is_open)
        backend.says(OK)
        self.assertStatus(client, 200)

    def test_queue(self) -> None:
        """Requests wait for a place, as long as they may, and no longer once their connection is being made."""
        dialogue = self.telling(
            cluster="pool.max_connections = 1\npool.queue_timeout_s = 3\npool.connect_timeout_s = 9"
        )
        first, second, third = (dialogue.client(f"192.0.2.{number}") for number in (1, 2, 3))
        first.says(GET)
        second.says(GET)
        dialogue.advance(2)
        third.says(GET)
        backend = dialogue.backend()
        backend.says(OK)
        self.assertStatus(first, 200)
        dialogue.advance_past(3)
        self.assertStatus(third, 503)
        self.assertEqual(second.gets(), b"")
        backend = dialogue.backend()
        header, _ = split(backend.gets())
        self.assertEqual(header.source, ("192.0.2.2", 50000))
        backend.says(OK)
        self.assertStatus(second, 200)

    def test_anotherBackend(self) -> None:
        """A try at another backend says the same; so does the second at the same one."""
        dialogue = self.telling(backends=("10.0.0.1:80", "10.0.0.2:80"))
        client = dialogue.client()
        client.says(GET)
        dialogue.refuse("10.0.0.1:80")
        backend = dialogue.backend("10.0.0.2:80")
        header, _ = split(backend.gets())
        self.assertEqual(header, _HEADER)
        backend.resets()
        dialogue.advance(0.3)
        backend = dialogue.backend()
        header, _ = split(backend.gets())
        self.assertEqual(header, _HEADER)
        backend.says(OK)
        self.assertStatus(client, 200)

    def test_failures(self) -> None:
        """Refused, silent, or speaking first: as with any backend."""
        dialogue = self.telling(cluster="retry.tries = 1")
        client = dialogue.client()
        client.says(GET)
        dialogue.refuse()
        self.assertStatus(client, 502)
        self.assertEnd(dialogue, "connect-failed", 502)
        client.says(GET)
        dialogue.advance_past(5)
        self.assertStatus(client, 504)
        self.assertEnd(dialogue, "connect-timeout", 504)
        client.says(GET)
        dialogue.backend(says=b"HTTP/1.1 200 OK\r\n\r\n")
        self.assertStatus(client, 502)
        self.assertEnd(dialogue, "bad-reply", 502)
        self.assertEqual(self.served(dialogue, client), _HEADER)

    def test_body(self) -> None:
        """A body follows as it does anywhere."""
        dialogue = self.telling()
        client = dialogue.client()
        client.says(post(10) + b"hello")
        backend = dialogue.backend()
        header, rest = split(backend.gets())
        self.assertEqual(header, _HEADER)
        self.assertTrue(rest.endswith(b"hello"))
        client.says(b"world")
        self.assertEqual(backend.gets(), b"world")
        backend.says(OK)
        self.assertStatus(client, 200)
        self.assertFalse(backend.is_open)

    def test_upgraded(self) -> None:
        """A tunnel keeps its connection, which is nobody's any more when it has ended."""
        dialogue = self.telling(route='upgrades = ["websocket"]')
        client = dialogue.client()
        key = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
        upgrade = b"Connection: Upgrade", b"Upgrade: websocket"
        client.says(request(b"GET / HTTP/1.1", *upgrade, key, b"Sec-WebSocket-Version: 13"))
        backend = dialogue.backend()
        header, rest = split(backend.gets())
        self.assertEqual(header, _HEADER)
        self.assertIn(b"websocket", rest)
        accept = b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        backend.says(head(*upgrade, accept, status=b"HTTP/1.1 101 Switching Protocols"))
        self.assertStatus(client, 101)
        client.says(b"ping")
        self.assertEqual(backend.gets(), b"ping")
        self.assertEqual(dialogue.pool.leased, 1)
        backend.finishes()
        client.finishes()
        self.assertEqual(dialogue.pool.total, 0)

    def test_drained(self) -> None:
        """A backend that is drained completes what it has, and what waits for it goes elsewhere."""
        dialogue = self.telling(cluster="pool.max_connections = 1", backends=("10.0.0.1:80", "10.0.0.2:80"))
        clients = [dialogue.client(f"192.0.2.{number}") for number in (1, 2, 3)]
        for client in clients:
            client.says(GET)
        first, second = dialogue.backend("10.0.0.1:80"), dialogue.backend("10.0.0.2:80")
        dialogue.roster.drain("10.0.0.1:80")
        second.says(OK)
        third = dialogue.backend("10.0.0.2:80")
        header, _ = split(third.gets())
        self.assertEqual(header.source, ("192.0.2.3", 50000))
        for backend in (first, third):
            backend.says(OK)
        for client in clients:
            self.assertStatus(client, 200)


class CheckTests(PrivateCase):
    """Checks are made for nobody."""

    def test_http(self) -> None:
        """The header says so, in either version."""
        for version, expected in (("v1", b"PROXY UNKNOWN\r\n"), ("v2", LOCAL_V2)):
            dialogue = self.telling(version, cluster="health = { path = '/well' }")
            dialogue.advance(0.3)
            backend = dialogue.backend()
            self.assertTrue(backend.gets().startswith(expected + b"GET /well HTTP/1.1\r\n"))
            backend.says(OK)

    def test_tcp(self) -> None:
        """Also if nothing else is said."""
        dialogue = self.telling(cluster="health = { type = 'tcp' }")
        dialogue.advance(0.3)
        backend = dialogue.backend()
        self.assertEqual(backend.gets(), LOCAL_V2)
        self.assertTrue(backend.sees_end)

    def test_without(self) -> None:
        """A cluster that tells nothing checks as ever."""
        dialogue = Dialogue.of(self, site(cluster="health = { path = '/well' }"))
        dialogue.advance(0.3)
        self.assertTrue(dialogue.backend().gets().startswith(b"GET /well HTTP/1.1\r\n"))
