"""Upgrade: a request that becomes a tunnel if a backend says so, and not otherwise (RFC 9110 section 7.8)."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from txproxy.errors import ShuttingDown
from txproxy.exchange import Exchange
from txproxy.pipeline import catalogue
from txproxy.test.talk import GET, OK, TalkCase, head, reply, request
from txproxy.testing import Dialogue, Peer

ASK = (b"Connection: Upgrade", b"Upgrade: websocket")
KEY = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
SWITCH = head(
    b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
    b"Sec-WebSocket-Extensions: permessage-deflate; x=1", status=b"HTTP/1.1 101 Switching Protocols",
)  # fmt: skip


class UpgradeCase(TalkCase):
    """A test case with requests that ask for another protocol."""

    def asks(self, dialogue: Dialogue, *fields: bytes, method: bytes = b"GET", body: bytes = b"") -> tuple[Peer, Peer]:
        client = dialogue.client()
        client.says(request(method + b" /chat HTTP/1.1", *(fields or (*ASK, KEY)), body=body))
        return client, dialogue.backend()

    def tunnel(self, dialogue: Dialogue) -> tuple[Peer, Peer]:
        """Return both ends of a tunnel."""
        client, backend = self.asks(dialogue)
        backend.gets()
        backend.says(SWITCH)
        client.gets()
        return client, backend


class AskingTests(UpgradeCase):
    """What a backend is asked."""

    def test_fields(self) -> None:
        """The protocol and its fields, anew for this hop; the rest as for any request."""
        client, backend = self.asks(self.proxy(), *ASK, KEY, b"Sec-WebSocket-Extensions: permessage-deflate; x=1")
        got = backend.gets_head()
        self.assertEqual(got.get(b"Upgrade"), b"websocket")
        self.assertEqual(got.get(b"Connection"), b"Upgrade")
        self.assertEqual(got.get(b"Sec-WebSocket-Key"), b"dGhlIHNhbXBsZSBub25jZQ==")
        self.assertEqual(got.get(b"Sec-WebSocket-Extensions"), b"permessage-deflate; x=1")
        self.assertEqual(got.get(b"Via"), b"1.1 txproxy")
        backend.says(OK)
        self.assertIn(b"200 OK", client.gets())

    def test_whatIsNotAsked(self) -> None:
        """Other protocols, unless the route lists them; h2c never; nothing with a body, without the option, or by 1.0."""
        for route, fields, method, body, expected in (
            ("", (b"Connection: Upgrade", b"Upgrade: foo"), b"GET", b"", None),
            ("", (b"Connection: Upgrade", b"Upgrade: h2c, WebSocket, foo/2"), b"GET", b"", b"WebSocket"),
            ('upgrades = ["foo", "h2c"]', (b"Connection: upgrade", b"Upgrade: h2c, foo/2"), b"GET", b"", b"foo/2"),
            ("upgrades = []", ASK, b"GET", b"", None),
            ("", ASK, b"POST", b"x", None),
            ("", (b"Upgrade: websocket",), b"GET", b"", None),
            ("", (b"Connection: keep-alive", b"Upgrade: websocket"), b"GET", b"", None),
        ):
            dialogue = self.proxy(route=route)
            _, backend = self.asks(dialogue, *fields, KEY, method=method, body=body)
            got = backend.gets_head()
            self.assertEqual((got.get(b"Upgrade"), got.get(b"Connection")), (expected, expected and b"Upgrade"), fields)
            backend.says(OK)

    def test_withoutAKey(self) -> None:
        """WebSocket needs one (RFC 6455 section 4.2.1): without it the request is an ordinary one."""
        _, backend = self.asks(self.proxy(), *ASK)
        self.assertIsNone(backend.gets_head().get(b"Upgrade"))
        backend.says(OK)

    def test_whatNobodyAskedFor(self) -> None:
        """A 101 to an ordinary request, to another protocol, or without one: 502."""
        for fields, says in (
            ((b"X: 1",), SWITCH),
            (ASK, head(b"Connection: Upgrade", b"Upgrade: h2c", status=b"HTTP/1.1 101 Switching Protocols")),
            (ASK, head(b"Upgrade: websocket", status=b"HTTP/1.1 101 Switching Protocols")),
            (ASK, head(b"Connection: Upgrade", status=b"HTTP/1.1 101 Switching Protocols")),
        ):
            dialogue = self.proxy()
            client, backend = self.asks(dialogue, *fields, KEY)
            backend.says(says)
            self.assertIn(b"502", client.gets_head().line)
            self.assertEnd(dialogue, "bad-reply", 502)


class TunnelTests(UpgradeCase):
    """Bytes both ways."""

    def test_switch(self) -> None:
        """The 101 has the backend's fields; then all bytes pass as they are (W1)."""
        dialogue = self.proxy()
        client, backend = self.asks(dialogue)
        backend.gets()
        backend.says(SWITCH + b"\x81\x02hi")
        got = client.gets_head()
        self.assertEqual(got.line, b"HTTP/1.1 101 Switching Protocols")
        for name, value in (
            (b"Upgrade", b"websocket"), (b"Connection", b"Upgrade"), (b"Via", b"1.1 txproxy"),
            (b"Sec-WebSocket-Accept", b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
            (b"Sec-WebSocket-Extensions", b"permessage-deflate; x=1"), (b"Content-Length", None),
            (b"Transfer-Encoding", None),
        ):  # fmt: skip
            self.assertEqual(got.get(name), value, name)
        self.assertEqual(client.gets(), b"\x81\x02hi")
        client.says(b"\x81\x82maskHT")
        self.assertEqual(backend.gets(), b"\x81\x82maskHT")
        backend.says(GET)
        self.assertEqual(client.gets(), GET)
        self.assertEqual(dialogue.lines, [])
        backend.finishes()
        self.assertTrue(client.sees_end)
        line = self.assertEnd(dialogue, "ok", 101)
        self.assertEqual((line["bytes_in"], line["bytes_out"]), (8, 4 + len(GET)))

    def test_earlyBytes(self) -> None:
        """What the client sends before the 101 goes into the tunnel after it."""
        dialogue = self.proxy()
        client, backend = self.asks(dialogue)
        client.says(b"early")
        self.assertNotIn(b"early", backend.gets())
        backend.says(SWITCH)
        self.assertEqual(backend.gets(), b"early")
        client.says(b"later")
        self.assertEqual(backend.gets(), b"later")
        client.finishes()

    def test_earlyBytesWithoutASwitch(self) -> None:
        """They are the next request if the answer is no 101; never do they cross as a tunnel (W2)."""
        dialogue = self.proxy()
        client, backend = self.asks(dialogue)
        client.says(GET)
        backend.gets()
        backend.says(reply(b"no"))
        self.assertIn(b"200 OK", client.gets())
        self.assertTrue(backend.gets().startswith(b"GET / HTTP/1.1\r\n"))
        backend.says(OK)
        self.assertIn(b"200 OK", client.gets())

    def test_clientCloses(self) -> None:
        """What it has sent still goes to the backend, which is then closed too (RFC 9110 section 9.3.6)."""
        for ends in (Peer.finishes, Peer.resets):
            dialogue = self.proxy()
            client, backend = self.tunnel(dialogue)
            client.says(b"last words")
            ends(client)
            self.assertEqual(backend.gets(), b"last words")
            self.assertTrue(backend.sees_end)
            self.assertEnd(dialogue, "ok", 101)

    def test_lastBytesForASlowBackend(self) -> None:
        """They have some time, and then the connection is cut."""
        dialogue = self.proxy()
        client, backend = self.tunnel(dialogue)
        backend.stops_reading(0)
        client.says(b"last words")
        client.finishes()
        self.assertEnd(dialogue, "ok", 101)
        self.assertTrue(backend.is_open)
        dialogue.advance(12)
        self.assertFalse(backend.is_open)

    def test_backendCloses(self) -> None:
        """What it has sent still goes to the client; a reset is one for the client too."""
        dialogue = self.proxy()
        client, backend = self.tunnel(dialogue)
        backend.says(b"last words")
        backend.finishes()
        self.assertEqual(client.gets(), b"last words")
        self.assertTrue(client.sees_end)
        client.finishes()
        dialogue = self.proxy()
        client, backend = self.tunnel(dialogue)
        backend.resets()
        self.assertFalse(client.is_open)
        self.assertEnd(dialogue, "reply-cut", 101)

    def test_resetAfterGoodbye(self) -> None:
        """After the backend's close frame nothing is missing: TLS that is not ended properly is not the client's affair."""
        for goodbye, end in ((b"\x88\x02\x03\xe8", "ok"), (b"\x81\x01a\x88\x00", "ok"), (b"\x88\x02\x03", "reply-cut")):
            dialogue = self.proxy()
            client, backend = self.tunnel(dialogue)
            client.says(b"\x88\x82mask\x6e\x89")
            backend.says(goodbye)
            backend.resets()
            self.assertEqual((client.gets(), client.sees_reset), (goodbye, end != "ok"))
            self.assertEnd(dialogue, end, 101)
            client.finishes()

    def test_slowSides(self) -> None:
        """Who reads slowly holds up the other side, and nobody else; nothing is lost."""
        dialogue = self.proxy()
        client, backend = self.tunnel(dialogue)
        for slow, quick in ((client, backend), (backend, client)):
            slow.stops_reading(0)
            sent = b""
            while quick.transport.is_reading and len(sent) < 10_000_000:
                piece = b"%d," % len(sent) * 1000
                quick.says(piece)
                sent += piece
            self.assertLess(len(sent), 1_000_000)
            slow.reads()
            self.assertTrue(quick.transport.is_reading)
            self.assertEqual(slow.gets(), sent)
        client.finishes()

    def test_idle(self) -> None:
        """Nothing either way for tunnel_idle_s ends it; bytes of either side keep it."""
        dialogue = self.proxy(cluster="timeouts.tunnel_idle_s = 100")
        client, backend = self.tunnel(dialogue)
        for side, other in ((client, backend), (backend, client)) * 2:
            dialogue.advance(90)
            side.says(b"x")
            self.assertEqual(other.gets(), b"x")
        dialogue.advance(102)
        self.assertFalse(client.is_open and backend.is_open)
        self.assertEnd(dialogue, "idle-timeout", 101)

    def test_slowBackendIsNotIdle(self) -> None:
        """Nothing else can go its way as long as it reads what waits for it."""
        dialogue = self.proxy(cluster="timeouts.tunnel_idle_s = 10")
        client, backend = self.tunnel(dialogue)
        backend.stops_reading(0)
        client.says(bytes(200_000))
        for _ in range(4):
            dialogue.advance(9)
            backend.reads(1000)
        self.assertTrue(client.is_open and backend.is_open)
        dialogue.advance(25)
        self.assertFalse(client.is_open and backend.is_open)
        self.assertEqual(dialogue.lines[-1]["end"], "idle-timeout")

    def test_age(self) -> None:
        """It ends after tunnel_max_s, however busy it is; and no call is left where it ended before."""
        dialogue = self.proxy(cluster="timeouts.tunnel_max_s = 10")
        client, backend = self.tunnel(dialogue)
        for _ in range(11):
            dialogue.advance(1)
            if client.is_open:
                client.says(b"x")
        self.assertFalse(client.is_open or backend.is_open)
        self.assertEnd(dialogue, "max-age", 101)
        for side in (0, 1):
            ends = self.tunnel(dialogue)
            ends[side].finishes()
            self.assertEnd(dialogue, "ok", 101)
            ends[0].finishes()
            dialogue.advance(0.1)
            self.assertEqual(dialogue.reactor.getDelayedCalls(), [])

    def test_noLimitOfBodies(self) -> None:
        """What goes through a tunnel is no body."""
        dialogue = self.proxy(route="max_body_bytes = 10")
        client, backend = self.tunnel(dialogue)
        client.says(bytes(1000))
        self.assertEqual(backend.gets(), bytes(1000))
        client.finishes()

    def test_connectionsAreNotKept(self) -> None:
        """Neither side's is used for another request afterwards."""
        dialogue = self.proxy()
        client, backend = self.tunnel(dialogue)
        client.says(GET)
        self.assertEqual(backend.gets(), GET)
        backend.says(OK)
        self.assertEqual(client.gets(), OK)
        client.finishes()
        other = dialogue.client()
        other.says(GET)
        again = dialogue.backend()
        self.assertIsNot(again, backend)
        again.says(OK)
        self.assertIn(b"200", other.gets())

    def test_cachedRoute(self) -> None:
        """It passes a cache by."""
        dialogue = self.proxy(route="cache = true")
        client, backend = self.tunnel(dialogue)
        client.says(b"x")
        self.assertEqual(backend.gets(), b"x")
        client.finishes()
        self.assertEqual(dialogue.lines[-1]["cache"], "BYPASS")

    def test_cachedRouteWithoutATunnel(self) -> None:
        """Who asks for what is not passed on, as h2c, is answered from a cache as anybody."""
        dialogue = self.proxy(route="cache = true")
        fields = b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk"
        client, backend = self.asks(dialogue, *fields)
        backend.says(reply(b"stored", b"Cache-Control: max-age=60"))
        self.assertEqual(client.gets_head().get(b"X-Cache-Status"), b"MISS")
        client.gets()
        client.says(request(b"GET /chat HTTP/1.1", *fields))
        self.assertEqual(client.gets_head().get(b"X-Cache-Status"), b"HIT")

    def test_stages(self) -> None:
        """They see the 101, and may take their time: what comes meanwhile waits."""
        decisions: list[Deferred[None]] = []
        seen: list[int] = []

        class Waits:
            """Decides later."""

            def on_reply(self, exchange: Exchange) -> Deferred[None]:
                seen.append(exchange.reply.status)  # type: ignore[union-attr]
                decisions.append(Deferred())
                return decisions[-1]

        self.patch(catalogue, "STAGES", (*catalogue.STAGES, lambda settings, config: Waits()))
        dialogue = self.proxy()
        client, backend = self.asks(dialogue)
        backend.says(SWITCH + b"first")
        backend.says(b" second")
        client.says(b"early")
        self.assertEqual(client.gets(), b"")
        decisions[0].callback(None)
        dialogue.settle()
        self.assertIn(b"101", client.gets_head().line)
        self.assertEqual((client.gets(), backend.gets()[-5:], seen), (b"first second", b"early", [101]))
        client.finishes()


class StopTests(UpgradeCase):
    """The end of the time for a graceful stop."""

    def cut(self, dialogue: Dialogue) -> None:
        for site in dialogue.assembled.sites.values():
            site.drain()
            site.cut(ShuttingDown(), False)
            self.assertEqual(dialogue.lines, [])  # Requests are cut before tunnels are.
            site.cut(ShuttingDown(), True)
        dialogue.settle()

    def test_webSocket(self) -> None:
        """Both sides are told that we go away (1001), if they are between two frames; then both are closed."""
        for client_says, backend_says, to_client, to_backend in (
            (b"", b"", True, True),
            (b"\x81\x81mask1", b"\x81\x01a", True, True),
            (b"\x81\x81ma", b"\x81\x01a", True, False),
            (b"", b"\x81", False, True),
            (b"", b"\x88\x02\x03\xe8", False, True),
        ):
            dialogue = self.proxy()
            client, backend = self.tunnel(dialogue)
            client.says(client_says)
            backend.says(backend_says)
            client.gets()
            backend.gets()
            self.cut(dialogue)
            self.assertEqual(client.gets(), b"\x88\x02\x03\xe9" * to_client)
            closing = backend.gets()
            self.assertEqual(closing[:2], b"\x88\x82" * to_backend)
            if to_backend:
                self.assertEqual(bytes(a ^ b for a, b in zip(closing[2:4], closing[6:], strict=True)), b"\x03\xe9")
            self.assertTrue(client.sees_end and backend.sees_end)
            self.assertEnd(dialogue, "shutdown", 101)
            client.finishes()

    def test_others(self) -> None:
        """Other tunnels are closed, with what was sent."""
        dialogue = self.proxy(route='upgrades = ["foo"]')
        client, backend = self.asks(dialogue, b"Connection: upgrade", b"Upgrade: foo")
        backend.gets()
        backend.says(head(b"Connection: Upgrade", b"Upgrade: foo", status=b"HTTP/1.1 101 Switching Protocols") + b"x")
        client.gets_head()
        self.cut(dialogue)
        self.assertEqual((client.gets(), backend.gets()), (b"x", b""))
        self.assertTrue(client.sees_end and backend.sees_end)
        client.finishes()
