"""Stages in the way of what may become a tunnel: they can refuse it, and cannot make one (RFC 9110 section 9.3.6)."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, succeed

from txproxy.exchange import Exchange, Reply
from txproxy.pipeline import catalogue
from txproxy.test.http2_talk import Http2Case
from txproxy.test.talk import OK, head, request
from txproxy.testing import Dialogue, Peer
from txproxy.testing.http2 import ClientStream
from txproxy.wire.upgrade import accept_for

_OWN_STAGES = catalogue.STAGES
_CONNECT = request(b"CONNECT a.example:443 HTTP/1.1")
_WEBSOCKET = request(
    b"GET /chat HTTP/1.1", b"Connection: Upgrade", b"Upgrade: websocket",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)  # fmt: skip
_SWITCH = head(b"Connection: Upgrade", b"Upgrade: websocket", status=b"HTTP/1.1 101 Switching Protocols")
_NO = head(b"Content-Length: 0", status=b"HTTP/1.1 403 Forbidden")
_STREAM = [(b":method", b"CONNECT"), (b":authority", b"a.example:443")]
_EXTENDED = [*_STREAM, (b":protocol", b"websocket"), (b":scheme", b"http"), (b":path", b"/chat")]


class TunnelStageCase(Http2Case):
    """A proxy that allows CONNECT, with one more stage."""

    def with_hook(self, **hooks: Any) -> Dialogue:
        stage = type("Stage", (), {name: staticmethod(hook) for name, hook in hooks.items()})()
        self.patch(catalogue, "STAGES", (*_OWN_STAGES, lambda settings, config: stage))
        return self.proxy(route="connect = true")

    def setting(self, status: int, later: Deferred[None] | None = None) -> Dialogue:
        """Return a proxy with a stage that sets the status of each reply, at once or later."""

        def set_status(exchange: Exchange) -> Deferred[None] | None:
            assert exchange.reply is not None
            exchange.reply.status = status
            return later

        return self.with_hook(on_reply=set_status)


class OwnReplyTests(TunnelStageCase):
    """A Reply instead of a backend's."""

    def answered(self, dialogue: Dialogue) -> list[tuple[Peer | ClientStream, bytes]]:
        """Return all ways to ask for a tunnel, with what is said to that."""
        client = dialogue.client()
        client.says(_CONNECT)
        h2 = self.h2(dialogue)
        streams = [h2.sends_head(fields, ended=False) for fields in (_STREAM, _EXTENDED)]
        peers: list[Peer | ClientStream] = [client, *streams]
        return [(peer, peer.gets_head().line.split(b" ")[1]) for peer in peers]

    def test_yes(self) -> None:
        """It cannot mean a tunnel: 500, and the log says why."""
        for status in (200, 204, 299):
            made = Reply(status, b"welcome")
            for hook in (lambda exchange, made=made: made, lambda exchange, made=made: succeed(made)):
                dialogue = self.with_hook(on_request=hook)
                for peer, line in self.answered(dialogue):
                    self.assertEqual(line, b"500")
                    self.assertNotIn(b"welcome", peer.gets())
                self.assertEqual([line["end"] for line in dialogue.lines], ["internal"] * 3)
                self.assertEqual(dialogue.attempts, [])

    def test_no(self) -> None:
        """A refusal is sent as it is, and so is a yes to what asks for no tunnel."""
        for peer, line in self.answered(self.with_hook(on_request=lambda exchange: Reply(403, b"never"))):
            self.assertEqual((line, peer.gets()), (b"403", b"never"))
        client = self.with_hook(on_request=lambda exchange: Reply(200, b"page")).client()
        client.says(_WEBSOCKET)
        self.assertEqual((client.gets_head().line, client.gets()), (b"HTTP/1.1 200 OK", b"page"))

    def test_interim(self) -> None:
        """No final reply has such a status: the client would wait for another one."""
        for status in (100, 101):
            client = self.with_hook(on_request=lambda exchange, status=status: Reply(status)).client()
            client.says(_WEBSOCKET)
            self.assertIn(b" 500 ", client.gets_head().line)

    def test_afterTheBackendsYes(self) -> None:
        """A stage may still refuse what a backend has agreed to: that one is let go of."""
        for asked, agreed in ((_CONNECT, OK), (_WEBSOCKET, _SWITCH)):
            dialogue = self.with_hook(on_reply=lambda exchange: Reply(403, b"never"))
            client = dialogue.client()
            client.says(asked)
            backend = dialogue.backend()
            backend.says(agreed)
            self.assertEqual((client.gets_head().line, client.gets()), (b"HTTP/1.1 403 Forbidden", b"never"))
            self.assertFalse(backend.is_open)
            client.finishes()


class ChangedStatusTests(TunnelStageCase):
    """Another status for the backend's reply."""

    def test_cases(self) -> None:
        """Neither yes becomes no nor no yes: the two sides would not mean the same."""
        for asked, said, status, expected in (
            (_CONNECT, _NO, 200, b"500"),
            (_CONNECT, OK, 403, b"500"),
            (_WEBSOCKET, _SWITCH, 200, b"500"),
            (_WEBSOCKET, _NO, 101, b"500"),
            (_WEBSOCKET, _NO, 200, b"200"),
            (_CONNECT, _NO, 407, b"407"),
            (_CONNECT, OK, 204, b"204"),
        ):
            for later in (None, Deferred[None]()):
                dialogue = self.setting(status, later)
                client = dialogue.client()
                client.says(asked)
                backend = dialogue.backend()
                backend.says(said)
                if later is not None:
                    self.assertEqual(client.gets(), b"")
                    later.callback(None)
                    dialogue.settle()
                self.assertEqual(client.gets_head().line.split(b" ")[1], expected, (asked, said, status))
                if expected == b"500":
                    self.assertEnd(dialogue, "internal", 500)
                    self.assertFalse(backend.is_open and said in (OK, _SWITCH))
                client.finishes()

    def test_streams(self) -> None:
        """The same by HTTP/2; a backend's own yes that changes nothing stays its fault."""
        for said, status, expected in ((_SWITCH, 403, b"500"), (_NO, 403, b"403"), (OK, 200, b"502")):
            dialogue = self.setting(status)
            stream = self.h2(dialogue).sends_head([*_EXTENDED, (b"sec-websocket-version", b"13")], ended=False)
            backend = dialogue.backend()
            accept = self.accept(backend)
            backend.says(said.replace(b"\r\n\r\n", b"\r\nSec-WebSocket-Accept: " + accept + b"\r\n\r\n", 1))
            self.assertEqual(stream.gets_head().line, b"HTTP/2 " + expected)

    def accept(self, backend: Peer) -> bytes:
        return accept_for(backend.gets_head().get(b"Sec-WebSocket-Key") or b"")
