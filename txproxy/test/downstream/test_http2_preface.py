"""How a connection comes to speak HTTP/2, and how the bytes of it may be split (RFC 9113 section 3)."""

from __future__ import annotations

from dataclasses import replace

from h2.errors import ErrorCodes
from h2.settings import SettingCodes

from txproxy.downstream.http1 import Http1Connection
from txproxy.downstream.http2 import Http2Connection
from txproxy.downstream.secure_site import SecureSite
from txproxy.policy.facts import TlsFacts
from txproxy.test.downstream.test_handshake import HandshakeCase
from txproxy.test.http2_talk import EMPTY_SETTINGS, PREFACE, TLS, Http2Case, frame, length
from txproxy.test.talk import GET, OK, POST_5, request
from txproxy.testing import Dialogue, Http2Client


class PriorKnowledgeTests(Http2Case):
    """Clients without TLS that know that HTTP/2 is spoken here (RFC 9113 section 3.3)."""

    def test_settings(self) -> None:
        """What the proxy says first: its limits, its windows, and that it has read the client's settings."""
        dialogue = self.proxy(
            listener="h2_max_streams = 7\nh2_stream_window_bytes = 70000\nh2_connection_window_bytes = 200000"
        )
        client = self.h2(dialogue)
        self.assertEqual(self.kinds(client.frames), ["Settings", "WindowUpdate", "Settings"])
        settings = client.server_settings
        self.assertEqual(settings.max_concurrent_streams, 7)
        self.assertEqual(settings.initial_window_size, 70_000)
        self.assertEqual(settings[SettingCodes.MAX_HEADER_LIST_SIZE], 32_768)
        self.assertEqual(client.room, 200_000)

    def test_replacesTheConnection(self) -> None:
        """It is one connection in what is counted, before and after, and nothing of it is left."""
        dialogue = self.proxy(listener="max_connections_per_ip = 1", rest="[proxy]\nmax_connections = 1")
        site, gate = dialogue.assembled.sites["web"], dialogue.assembled.gate
        for _ in range(3):
            client = self.h2(dialogue, begins=False)
            self.assertEqual([type(each) for each in site.connections], [Http1Connection])
            client.says(client.preface)
            self.assertEqual([type(each) for each in site.connections], [Http2Connection])
            self.assertEqual((gate.connections, dialogue.port.is_accepting), (1, False))
            self.assertRaises(AssertionError, dialogue.client)
            client.peer.resets()
            self.assertNothingLeft(dialogue)
            self.assertTrue(dialogue.port.is_accepting)
        self.assertEqual(dialogue.assembled.counters.connections, 3)
        self.assertEqual(dialogue.lines, [])

    def test_deadlinesOfBefore(self) -> None:
        """The limit of time for the first half of the preface says nothing about what follows."""
        dialogue = self.proxy()
        dialogue.script("10.0.0.1:80", OK)
        client = self.h2(dialogue, begins=False)
        client.says(client.preface[:5])
        dialogue.advance(9)
        client.says(client.preface[5:])
        client.is_silent = False
        dialogue.advance(30)
        self.assertReply(client.asks(), 200)

    def test_flowControlIsTakenOver(self) -> None:
        """The transport pauses the new connection, and no longer the old one."""
        dialogue = self.proxy()
        client = self.h2(dialogue)
        self.assertIsInstance(client.peer.transport.producer, Http2Connection)
        client.peer.finishes()
        self.assertIsNone(client.peer.transport.producer)

    def test_afterARequest(self) -> None:
        """On a connection that has served a request it is a request of an unknown version."""
        for says in (PREFACE, PREFACE[:18]):
            dialogue = self.proxy()
            dialogue.script("10.0.0.1:80", OK)
            client = dialogue.client()
            client.says(GET)
            self.assertStatus(client, 200)
            client.says(says)
            self.assertStatus(client, 505)
            self.assertEnd(dialogue, "bad-version", 505)
            dialogue.advance_past(2)
            self.assertNothingLeft(dialogue)

    def test_pipelinedBehindARequest(self) -> None:
        """The same in one packet with the request."""
        dialogue = self.proxy()
        dialogue.script("10.0.0.1:80", OK)
        client = dialogue.client()
        client.says(GET + PREFACE + EMPTY_SETTINGS)
        said = client.gets()
        self.assertTrue(said.startswith(b"HTTP/1.1 200 "))
        self.assertIn(b"HTTP/1.1 505 ", said)
        self.assertEqual(self.ends(dialogue), [(200, "ok"), (505, "bad-version")])
        dialogue.advance_past(2)

    def test_notQuite(self) -> None:
        """What only looks like it is a request that cannot be served."""
        for says, status in (
            (request(b"PRI * HTTP/2.0"), 505),
            (b"PRI / HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
            (b"pri * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
            (b"GET * HTTP/2.0\r\n\r\n", 505),
            (b"PRI * HTTP/2.1\r\n\r\nSM\r\n\r\n", 505),
            (b"PRI * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ):
            dialogue = self.proxy()
            client = dialogue.client()
            client.says(says)
            self.assertStatus(client, status)
            self.assertEqual([line["status"] for line in dialogue.lines], [status])
            self.assertEqual(dialogue.attempts, [])
            dialogue.advance_past(2)
            self.assertNothingLeft(dialogue)

    def test_secondHalf(self) -> None:
        """A second half that is not the preface's ends the connection as HTTP/2 does."""
        dialogue = self.proxy()
        client = self.h2(dialogue, begins=False)
        client.says(PREFACE[:18] + b"GET / HTTP/1.1\r\n\r\n")
        self.assertFailed(client, ErrorCodes.PROTOCOL_ERROR, 0)
        self.assertEqual(self.ends(dialogue), [(400, "bad-request")])
        dialogue.advance_past(2)
        self.assertNothingLeft(dialogue)

    def test_http1OnTheSameListener(self) -> None:
        """Clients of HTTP/1.1 are served as before, beside those of HTTP/2 and after them."""
        dialogue = self.proxy()
        dialogue.script("10.0.0.1:80", OK)
        old, new = dialogue.client(), self.h2(dialogue)
        for says in (GET, POST_5, GET + GET):
            old.says(says)
            self.assertStatus(old, 200)
            self.assertReply(new.asks(), 200)
        self.assertEqual([line["version"] for line in dialogue.lines].count("2.0"), 3)
        old.says(b"PRX * HTTP/1.1\r\nHost: a.example\r\n\r\n")
        self.assertEqual(old.gets_head().line[9:12], b"400")
        dialogue.advance_past(2)


class SplitTests(Http2Case):
    """Bytes that arrive in pieces."""

    def said(self, dialogue: Dialogue, **how: bool) -> tuple[Http2Client, bytes]:
        """Return a client, and all that it says for two requests: with a body in frames, and with trailers."""
        client = self.h2(dialogue, begins=False)
        with client.in_one_packet() as packet:
            client.says(client.preface)
            first = client.asks(b"POST", b"/first", (b"x-a", b"b" * 20), length(10), ended=False)
            second = client.asks(b"PUT", b"/second", ended=False)
            first.says(b"01234")
            second.says(b"abc")
            client.says(frame(0xBE, 0xFF, 7, b"unknown"))
            second.finishes((b"x-sum", b"1"))
            first.says(b"56789", ended=True)
            client.says(frame(6, 0, 0, b"pingpong"))
            data = bytes(packet)
            packet.clear()
        return client, data

    def check(self, dialogue: Dialogue, client: Http2Client) -> None:
        """Check that both were served, and no more."""
        for stream in client.streams.values():
            self.assertReply(stream, 200, b"ok")
        self.assertEqual(client.goaways, [])
        client.peer.finishes()
        self.assertNothingLeft(dialogue)

    def test_everyPosition(self) -> None:
        """In two packets, split at every place, from the first byte of the preface on."""
        dialogue = self.proxy()
        backend = dialogue.script("10.0.0.1:80", OK)
        size = cut = 1
        while cut <= size:
            client, data = self.said(dialogue)
            client.says(data[:cut])
            client.says(data[cut:])
            self.check(dialogue, client)
            size, cut = len(data), cut + 1
        requests = {(each.head.line, each.content) for each in backend.requests}
        self.assertEqual(requests, {(b"POST /first HTTP/1.1", b"0123456789"), (b"PUT /second HTTP/1.1", b"abc")})
        self.assertEqual((len(backend.requests), size > 200), (2 * size, True))
        lines = {(line["target"], line["bytes_in"], line["status"], line["end"]) for line in dialogue.lines}
        self.assertEqual(lines, {("/first", 10, 200, "ok"), ("/second", 3, 200, "ok")})
        self.assertEqual(len(dialogue.lines), 2 * size)

    def test_bytewise(self) -> None:
        """One byte at a time."""
        dialogue = self.proxy()
        dialogue.script("10.0.0.1:80", OK)
        client, data = self.said(dialogue)
        client.peer.says_bytewise(data)
        self.check(dialogue, client)

    def test_continuation(self) -> None:
        """A header block in several frames, split at every place too; nothing is begun before it is complete."""
        dialogue = self.proxy()
        dialogue.script("10.0.0.1:80", OK)
        client = self.h2(dialogue)
        for size in range(1, 16):
            stream, said = self.unsaid(client, b"GET", b"/" + b"x" * size)
            parts = self.fragments(said, *[size] * 3)
            for part in parts[:-1]:
                client.says(part)
            self.assertEqual(len(dialogue.lines), size - 1)
            client.says(parts[-1][:4])
            client.says(parts[-1][4:])
            self.assertReply(stream, 200, b"ok")


class AgreedTests(HandshakeCase, Http2Case):
    """Clients that have agreed on HTTP/2 in their handshake (RFC 9113 section 3.2)."""

    def agrees(self, alpn: str = "h2") -> Http2Client:
        """Return a client whose handshake is complete."""
        self.tls.facts = TLS._replace(alpn=alpn)
        client = self.connects()
        self.completes(client)
        return Http2Client(client, scheme=b"https")

    def test_served(self) -> None:
        """The connection is counted once from its handshake on, and serves streams by https."""
        self.assertIsInstance(self.site, SecureSite)
        client = self.agrees()
        self.assertEqual(self.kinds(client.frames)[:2], ["Settings", "WindowUpdate"])
        self.assertEqual([type(each) for each in self.site.connections], [Http2Connection])
        self.assertEqual((self.gate.connections, self.counts.handshakes), (1, 1))
        stream = client.asks()
        backend = self.dialogue.backend()
        self.assertEqual(backend.gets_head().get(b"X-Forwarded-Proto"), b"https")
        backend.says(OK)
        self.assertReply(stream, 200)
        self.assertEqual(self.assertEnd(self.dialogue, "ok", 200)["tls"], "TLSv1.3")
        client.peer.finishes()
        self.assertNothingLeft(self.dialogue)

    def test_misdirected(self) -> None:
        """A host with another certificate is 421; the connection goes on."""
        client = self.agrees()
        self.assertReply(client.asks(authority=b"b.example"), 421)
        self.assertEnd(self.dialogue, "misdirected", 421)
        stream = client.asks(authority=b"c.example")
        self.dialogue.backend().says(OK)
        self.assertReply(stream, 200)

    def test_perAddress(self) -> None:
        """It counts for max_connections_per_ip until it ends."""
        self.site.settings = replace(self.site.settings, max_connections_per_ip=1)
        client = self.agrees()
        address = client.peer.transport.getPeer()
        self.assertIsNone(self.site.buildProtocol(address))
        client.peer.resets()
        self.assertNothingLeft(self.dialogue)
        self.assertIsNotNone(self.site.buildProtocol(address))

    def test_stopping(self) -> None:
        """One that idles is told to go when the proxy stops."""
        client = self.agrees()
        self.site.drain()
        self.dialogue.settle()
        self.assertEqual([each.error_code for each in client.goaways], [0, 0])
        self.dialogue.advance_past(2)
        self.assertNothingLeft(self.dialogue)

    def test_http1(self) -> None:
        """One that has agreed on HTTP/1.1, or on nothing, is served by it."""
        self.dialogue.script("10.0.0.1:80", OK)
        for alpn in ("http/1.1", ""):
            self.tls.facts = TlsFacts("TLSv1.3", "TLS_AES_128_GCM_SHA256", "a.example", alpn)
            client = self.connects()
            self.completes(client)
            self.assertEqual([type(each) for each in self.site.connections], [Http1Connection])
            client.says(GET)
            self.assertStatus(client, 200)
            client.resets()
            self.assertNothingLeft(self.dialogue)
