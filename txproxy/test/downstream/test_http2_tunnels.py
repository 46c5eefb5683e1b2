"""WebSocket by HTTP/2 (RFC 8441), and CONNECT: a stream that becomes a tunnel."""

from __future__ import annotations

from h2.errors import ErrorCodes
from h2.settings import SettingCodes

from txproxy.errors import ShuttingDown
from txproxy.test.http2_talk import Http2Case
from txproxy.test.talk import OK, head, reply, request
from txproxy.test.upstream.http2_backend import Http2Backend
from txproxy.testing import Dialogue, Peer
from txproxy.testing.http2 import ClientStream, Http2Client
from txproxy.wire.fields import Field
from txproxy.wire.upgrade import accept_for

_GOODBYE = b"\x88\x82mask\x6e\x89"
_FIELDS = ((b"sec-websocket-version", b"13"), (b"sec-websocket-protocol", b"chat"))


def _extended(protocol: bytes = b"websocket", *more: Field) -> list[Field]:
    return [
        (b":method", b"CONNECT"), (b":protocol", protocol), (b":scheme", b"http"), (b":path", b"/chat"),
        (b":authority", b"a.example"), *_FIELDS, *more,
    ]  # fmt: skip


class TunnelCase(Http2Case):
    """A test case with streams that ask for tunnels."""

    def asks(self, dialogue: Dialogue, client: Http2Client | None = None) -> tuple[ClientStream, Peer]:
        stream = (client or self.h2(dialogue)).sends_head(_extended(), ended=False)
        return stream, dialogue.backend()

    def switch(self, backend: Peer, accept: bytes = b"") -> bytes:
        """Check what a backend is asked; return the 101 that fits."""
        asked = backend.gets_head()
        self.assertEqual(asked.line, b"GET /chat HTTP/1.1")
        self.assertEqual((asked.get(b"Upgrade"), asked.get(b"Connection")), (b"websocket", b"Upgrade"))
        self.assertEqual((asked.get(b"Sec-WebSocket-Version"), asked.get(b"Transfer-Encoding")), (b"13", None))
        self.assertEqual(asked.get(b"Via"), b"2.0 txproxy")
        return head(
            b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Protocol: chat",
            b"Sec-WebSocket-Accept: " + (accept or accept_for(asked.get(b"Sec-WebSocket-Key") or b"")),
            status=b"HTTP/1.1 101 Switching Protocols",
        )  # fmt: skip

    def tunnel(self, dialogue: Dialogue, client: Http2Client | None = None) -> tuple[ClientStream, Peer]:
        stream, backend = self.asks(dialogue, client)
        backend.says(self.switch(backend))
        stream.gets_head()
        return stream, backend


class WebSocketTests(TunnelCase):
    """Extended CONNECT to a backend of HTTP/1.1."""

    def test_announced(self) -> None:
        """Clients are told that they may ask (RFC 8441 section 3)."""
        client = self.h2(self.proxy())
        self.assertEqual(client._h2.remote_settings[SettingCodes.ENABLE_CONNECT_PROTOCOL], 1)

    def test_bytes(self) -> None:
        """200 without what is of HTTP/1.1 alone, then bytes both ways."""
        dialogue = self.proxy()
        stream, backend = self.asks(dialogue)
        backend.says(self.switch(backend) + b"\x81\x02hi")
        got = stream.gets_head()
        self.assertEqual(got.line, b"HTTP/2 200")
        for name, value in (
            (b"sec-websocket-protocol", b"chat"), (b"sec-websocket-accept", None), (b"upgrade", None),
            (b"connection", None), (b"content-length", None),
        ):  # fmt: skip
            self.assertEqual(got.get(name), value, name)
        self.assertEqual(stream.gets(), b"\x81\x02hi")
        stream.says(b"one")
        stream.says(b"two")
        self.assertEqual(backend.gets(), b"onetwo")
        backend.says(b"three")
        self.assertEqual(stream.gets(), b"three")
        backend.finishes()
        self.assertTrue(stream.has_ended)
        self.assertEqual(self.ends(dialogue), [(200, "ok")])

    def test_earlyBytes(self) -> None:
        """They wait for the 101; without it nobody gets them."""
        dialogue = self.proxy()
        stream, backend = self.asks(dialogue)
        stream.says(b"early")
        says = self.switch(backend)
        self.assertEqual(backend.gets(), b"")
        backend.says(says)
        self.assertEqual(backend.gets(), b"early")
        stream.says(b"", ended=True)
        self.assertTrue(backend.sees_end)
        dialogue = self.proxy()
        stream, backend = self.asks(dialogue)
        stream.says(b"early")
        self.switch(backend)
        backend.says(reply(b"no", status=b"403 Forbidden"))
        self.assertReply(stream, 403, b"no")
        self.assertEqual(backend.gets(), b"")

    def test_yesWithoutASwitch(self) -> None:
        """A backend that answers 200 to the request has not changed the protocol: the client must not think so."""
        dialogue = self.proxy()
        stream, backend = self.asks(dialogue)
        backend.says(OK)
        self.assertReply(stream, 502)
        self.assertEqual(self.ends(dialogue), [(502, "bad-reply")])

    def test_keyOfTheClient(self) -> None:
        """By HTTP/2 there is none: what a client sends as one is not passed on beside ours."""
        dialogue = self.proxy()
        stream = self.h2(dialogue).sends_head(_extended(b"websocket", (b"sec-websocket-key", b"its own")), ended=False)
        backend = dialogue.backend()
        backend.says(self.switch(backend))
        self.assertEqual(stream.gets_head().line, b"HTTP/2 200")
        stream.resets()

    def test_wrongAccept(self) -> None:
        """The key is ours, so the proxy sees whether the backend has understood."""
        dialogue = self.proxy()
        stream, backend = self.asks(dialogue)
        backend.says(self.switch(backend, accept_for(b"another")))
        self.assertReply(stream, 502)

    def test_otherProtocols(self) -> None:
        """405 for what the route does not allow; a malformed request is a stream error."""
        dialogue = self.proxy()
        client = self.h2(dialogue)
        self.assertReply(client.sends_head(_extended(b"foo"), ended=False), 405)
        for fields in (
            [field for field in _extended() if field[0] != b":path"],
            [(name, b"GET" if name == b":method" else value) for name, value in _extended()],
            _extended(b"no token"),
        ):
            self.assertReset(client.sends_head(fields, ended=False), ErrorCodes.PROTOCOL_ERROR)
        self.assertEqual(dialogue.attempts, [])

    def test_otherProtocolsOfACachedRoute(self) -> None:
        """They are refused, whatever is stored."""
        dialogue = self.proxy(route="cache = true")
        client = self.h2(dialogue)
        stream = client.asks(b"GET", b"/chat")
        dialogue.backend().says(reply(b"stored", b"Cache-Control: max-age=60"))
        self.assertReply(stream, 200, b"stored")
        self.assertReply(client.sends_head(_extended(b"foo"), ended=False), 405)

    def test_ends(self) -> None:
        """The client's end is the backend's, with what was sent before; its reset is a reset."""
        for reset in (False, True):
            dialogue = self.proxy()
            stream, backend = self.tunnel(dialogue)
            stream.says(b"last words", ended=not reset)
            self.assertEqual(backend.gets(), b"last words")
            if reset:
                stream.resets()
                self.assertTrue(backend.sees_reset)
            else:
                self.assertTrue(backend.sees_end)
                self.assertTrue(stream.has_ended)
            self.assertEqual(self.ends(dialogue)[-1], (499, "client-left") if reset else (200, "ok"))

    def test_goodbyeWithTheEnd(self) -> None:
        """Browsers end the stream with their close frame: the backend's still gets there, and no end goes before it."""
        for early in (False, True):
            dialogue = self.proxy()
            stream, backend = self.asks(dialogue)
            switch = self.switch(backend)
            if early:
                stream.says(_GOODBYE, ended=True)
                backend.says(switch)
            else:
                backend.says(switch)
                stream.says(_GOODBYE, ended=True)
            stream.gets_head()
            self.assertEqual((backend.gets(), backend.sees_end, stream.has_ended), (_GOODBYE, False, False))
            backend.says(b"\x81\x02hi")
            backend.says(b"\x88\x02\x03\xe8")
            backend.finishes()
            self.assertEqual((stream.gets(), stream.has_ended), (b"\x81\x02hi\x88\x02\x03\xe8", True))
            self.assertEqual(self.ends(dialogue), [(200, "ok")])

    def test_goodbyeWithoutAnAnswer(self) -> None:
        """A backend has a while for it; one that says no word more does not keep the tunnel."""
        dialogue = self.proxy()
        stream, backend = self.tunnel(dialogue)
        stream.says(_GOODBYE, ended=True)
        dialogue.advance(9)
        self.assertTrue(backend.is_open)
        dialogue.advance(3)
        self.assertFalse(backend.is_open)
        self.assertEqual(self.ends(dialogue), [(200, "idle-timeout")])

    def test_framesThatAreNotFollowed(self) -> None:
        """Where nobody knows whether it was said, the backend sees the end, and may still answer."""
        dialogue = self.proxy()
        stream, backend = self.tunnel(dialogue)
        stream.says(b"\x81\x80mask" * 300)
        stream.says(_GOODBYE, ended=True)
        self.assertTrue(backend.gets().endswith(_GOODBYE))
        self.assertTrue(backend.sees_end)
        backend.says(b"\x88\x00")
        backend.finishes()
        self.assertEqual((stream.gets(), stream.has_ended), (b"\x88\x00", True))

    def test_resetAfterGoodbye(self) -> None:
        """Nothing is missing any more, so the client sees an end."""
        for goodbye, has_ended, end in ((b"\x88\x02\x03\xe8", True, "ok"), (b"\x88\x02\x03", False, "reply-cut")):
            dialogue = self.proxy()
            stream, backend = self.tunnel(dialogue)
            backend.says(goodbye)
            backend.resets()
            self.assertEqual((stream.gets(), stream.has_ended), (goodbye, has_ended))
            self.assertEqual(self.ends(dialogue), [(200, end)])

    def test_flowControl(self) -> None:
        """Who reads slowly has the other side wait; nothing is lost."""
        dialogue = self.proxy()
        stream, backend = self.tunnel(dialogue)
        backend.stops_reading(0)
        sent = b""
        for _ in range(8):
            stream.says(bytes(8192))
            sent += bytes(8192)
        backend.reads()
        self.assertEqual(backend.gets(), sent)
        stream.says(b"", ended=True)
        backend.finishes()

    def test_limits(self) -> None:
        """Neither a limit of bodies nor their pace counts; the idle limit does."""
        dialogue = self.proxy(route="max_body_bytes = 5", cluster="timeouts.tunnel_idle_s = 200")
        stream, backend = self.tunnel(dialogue)
        stream.says(b"longer than five")
        self.assertEqual(backend.gets(), b"longer than five")
        dialogue.advance(150)
        stream.says(b"x")
        self.assertEqual(backend.gets(), b"x")
        dialogue.advance(202)
        self.assertFalse(backend.is_open)
        self.assertEqual(self.ends(dialogue), [(200, "idle-timeout")])

    def test_age(self) -> None:
        """It is limited, and no call is left of a tunnel that has ended before."""
        dialogue = self.proxy(cluster="timeouts.tunnel_max_s = 10")
        stream, backend = self.tunnel(dialogue)
        dialogue.advance(11)
        self.assertFalse(backend.is_open)
        self.assertEqual(self.ends(dialogue), [(200, "max-age")])
        for way in ("end", "reset", "backend"):
            stream, backend = self.tunnel(dialogue)
            before = len(dialogue.reactor.getDelayedCalls())
            if way == "backend":
                backend.finishes()
            elif way == "reset":
                stream.resets()
            else:
                stream.says(b"", ended=True)
            dialogue.advance(0.1)
            self.assertLess(len(dialogue.reactor.getDelayedCalls()), before)


class StopTests(TunnelCase):
    """The end of the time for a graceful stop."""

    def test_webSocket(self) -> None:
        """Both sides are told that we go away (1001)."""
        dialogue = self.proxy()
        stream, backend = self.tunnel(dialogue)
        stream.says(b"\x81\x81mask1")
        backend.gets()
        for site in dialogue.assembled.sites.values():
            site.drain()
            site.cut(ShuttingDown(), False)
            self.assertEqual(dialogue.lines, [])
            site.cut(ShuttingDown(), True)
        dialogue.settle()
        self.assertEqual(stream.gets(), b"\x88\x02\x03\xe9")
        self.assertTrue(stream.has_ended)
        self.assertEqual(backend.gets()[:2], b"\x88\x82")
        self.assertTrue(backend.sees_end)
        self.assertEqual(self.ends(dialogue), [(200, "shutdown")])


class ConnectTests(TunnelCase):
    """CONNECT, on routes that allow it: a backend decides."""

    def test_http1(self) -> None:
        """2xx of the backend is the beginning of a tunnel; anything else is a reply."""
        for status, is_tunnel in ((b"200 Connection established", True), (b"403 No", False)):
            dialogue = self.proxy(route="connect = true")
            client = dialogue.client()
            client.says(request(b"CONNECT a.example:443 HTTP/1.1"))
            backend = dialogue.backend()
            self.assertEqual(backend.gets_head().line, b"CONNECT a.example:443 HTTP/1.1")
            backend.says(head(b"Content-Length: 0", status=b"HTTP/1.1 " + status))
            got = client.gets_head()
            self.assertEqual(got.line, b"HTTP/1.1 " + status)
            self.assertEqual(got.get(b"Content-Length"), None if is_tunnel else b"0")
            # What a client has sent ahead of a refusal is no request.
            self.assertEqual(
                (got.get(b"Connection"), client.sees_end), (None, False) if is_tunnel else (b"close", True)
            )
            if is_tunnel:
                client.says(b"\x16\x03")
                self.assertEqual(backend.gets(), b"\x16\x03")
                backend.says(b"\x15")
                self.assertEqual(client.gets(), b"\x15")
                client.finishes()
                self.assertTrue(backend.sees_end)
                self.assertEnd(dialogue, "ok", 200)

    def test_http2(self) -> None:
        """The same by a stream (RFC 9113 section 8.5)."""
        dialogue = self.proxy(route="connect = true")
        stream = self.h2(dialogue).sends_head(
            [(b":method", b"CONNECT"), (b":authority", b"a.example:443")], ended=False
        )
        backend = dialogue.backend()
        self.assertEqual(backend.gets_head().line, b"CONNECT a.example:443 HTTP/1.1")
        backend.says(head(status=b"HTTP/1.1 200 OK"))
        self.assertEqual(stream.gets_head().line, b"HTTP/2 200")
        stream.says(b"up")
        backend.says(b"down")
        self.assertEqual((backend.gets(), stream.gets()), (b"up", b"down"))
        backend.finishes()
        self.assertTrue(stream.has_ended)

    def test_http2HalfClosed(self) -> None:
        """The client's end is one of its side alone (RFC 9113 section 8.5): what the backend says later gets there."""
        dialogue = self.proxy(route="connect = true")
        stream = self.h2(dialogue).sends_head(
            [(b":method", b"CONNECT"), (b":authority", b"a.example:443")], ended=False
        )
        backend = dialogue.backend()
        backend.gets_head()
        backend.says(head(status=b"HTTP/1.1 200 OK"))
        stream.gets_head()
        backend.stops_reading(0)
        stream.says(b"\x88\x00 " * 5000, ended=True)
        self.assertFalse(backend.sees_end)
        backend.reads()
        self.assertEqual((backend.gets(), backend.sees_end), (b"\x88\x00 " * 5000, True))
        dialogue.advance(60)
        backend.says(b"later")
        self.assertEqual((stream.gets(), stream.has_ended), (b"later", False))
        backend.finishes()
        self.assertTrue(stream.has_ended)
        self.assertEqual(self.ends(dialogue), [(200, "ok")])

    def test_content(self) -> None:
        """It has none: a backend could take that for the beginning of the tunnel."""
        for field, content in (
            (b"Content-Length: 5", b"hello"),
            (b"Transfer-Encoding: chunked", b"5\r\nhello\r\n0\r\n\r\n"),
        ):
            dialogue = self.proxy(route="connect = true")
            client = dialogue.client()
            client.says(request(b"CONNECT a.example:443 HTTP/1.1", field) + content)
            self.assertIn(b"400", client.gets_head().line)
            self.assertEqual(dialogue.attempts, [])

    def test_toHttp2(self) -> None:
        """Backends of HTTP/2 are sent none, be it for a WebSocket; no request goes there in its place."""
        dialogue = self.proxy(route="connect = true", cluster='protocol = "h2"')
        client = dialogue.client()
        client.says(request(b"CONNECT a.example:443 HTTP/1.1"))
        backend = Http2Backend(dialogue.backend())
        self.assertIn(b"405", client.gets_head().line)
        self.assertReply(self.h2(dialogue).sends_head(_extended(), ended=False), 405)
        backend.reads()
        self.assertEqual(backend.streams, {})
        self.assertEqual(self.ends(dialogue), [(405, "method-refused")] * 2)
        backend.peer.finishes()

    def test_upgradeToHttp2(self) -> None:
        """By HTTP/1.1 a server may pass over what is asked for: an ordinary request, without Upgrade."""
        dialogue = self.proxy(cluster='protocol = "h2"')
        client = dialogue.client()
        client.says(
            request(b"GET /chat HTTP/1.1", b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Key: eA==")
        )
        backend = Http2Backend(dialogue.backend())
        stream = backend.stream()
        self.assertEqual(
            (stream.get(b":method"), stream.get(b":protocol"), stream.get(b"upgrade"), stream.has_ended),
            (b"GET", None, None, True),
        )
        backend.reply(1, b"page")
        self.assertIn(b"200", client.gets_head().line)
        backend.peer.finishes()

    def test_refused(self) -> None:
        """405 where the route does not allow it."""
        dialogue = self.proxy()
        client = dialogue.client()
        client.says(request(b"CONNECT a.example:443 HTTP/1.1"))
        self.assertIn(b"405", client.gets_head().line)
