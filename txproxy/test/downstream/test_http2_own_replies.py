"""Replies of our own to clients of HTTP/2: the same as by HTTP/1.1, and the connection goes on."""

from __future__ import annotations

from typing import Any

from txproxy.exchange import Exchange, Reply
from txproxy.pipeline import catalogue
from txproxy.test.http2_talk import Field, Http2Case, length
from txproxy.test.talk import OK
from txproxy.testing import SILENT, ClientStream, Dialogue, Http2Client


class OwnReplyTests(Http2Case):
    """Replies of our own: the same as by HTTP/1.1, and the connection goes on."""

    def ask(self, client: Http2Client, method: bytes, *fields: Field, **how: Any) -> ClientStream:
        """Ask in a way that has no body."""
        return client.asks(method, how.pop("path", b"/"), *fields, **how)

    def assertOwn(self, dialogue: Dialogue, stream: ClientStream, status: int, reason: str, is_head: bool) -> None:
        """Check all of a reply of ours, and its line."""
        got = stream.gets_head()
        content = stream.gets()
        line = self.assertEnd(dialogue, reason, status)
        self.assertEqual(got.line, b"HTTP/2 %d" % status)
        self.assertTrue(stream.has_ended)
        self.assertEqual((got.get(b"server"), got.get(b"content-type")), (b"txproxy", b"text/plain; charset=utf-8"))
        self.assertEqual(
            got.get(b"date"), b"Tue, 14 Nov 2023 22:13:20 GMT" if line["total_ms"] == 0 else got.get(b"date")
        )
        self.assertEqual(got.get(b"x-request-id"), line["request_id"].encode())
        self.assertEqual(got.all(b"connection"), [])
        size = int(got.get(b"content-length") or 0)
        self.assertGreater(size, 40)
        self.assertEqual((len(content), line["bytes_out"]), (0, 0) if is_head else (size, size))
        if not is_head:
            self.assertIn(line["request_id"].encode(), content)

    def test_statuses(self) -> None:
        """Each refusal has its status and end reason, reaches no backend, and leaves the connection open."""
        big = tuple((b"x-%d" % number, b"y") for number in range(130))
        cases: tuple[tuple[int, str, str, tuple[Field, ...], dict[str, Any]], ...] = (
            (404, "no-route", 'path = "/a"', (), {}),
            (414, "uri-too-long", "", (), {"path": b"/" + b"x" * 8200}),
            (431, "headers-too-large", "", big, {}),
            (431, "headers-too-large", "", ((b"x", b"y" * 16_400),), {}),
            (417, "bad-expectation", "", ((b"expect", b"tea"),), {}),
            (508, "loop", "", ((b"via", b", ".join([b"1.1 txproxy"] * 9)),), {}),
            (400, "bad-request", "", (), {"path": b"/../x"}),
        )
        for status, reason, route, fields, how in cases:
            for method in (b"GET", b"HEAD"):
                dialogue = self.proxy(route=route)
                client = self.h2(dialogue)
                stream = self.ask(client, method, *fields, **how)
                self.assertOwn(dialogue, stream, status, reason, method == b"HEAD")
                self.assertEqual(dialogue.attempts, [])
                self.assertTrue(client.peer.is_open)
                self.assertEqual(len(dialogue.lines), 1)

    def test_methodRefused(self) -> None:
        """CONNECT: 405, which names the methods that are allowed."""
        dialogue = self.proxy()
        stream = self.h2(dialogue).sends_head([(b":method", b"CONNECT"), (b":authority", b"a.example:443")])
        self.assertIn(b"GET", stream.heads[0].get(b"allow") or b"")
        self.assertOwn(dialogue, stream, 405, "method-refused", False)

    def test_bodyTooLarge(self) -> None:
        """A body over the limit: declared, no backend is asked; counted, its backend is reset (Q5)."""
        dialogue = self.proxy(route="max_body_bytes = 5")
        client = self.h2(dialogue)
        stream = client.asks(b"POST", b"/", length(6), ended=False)
        self.assertOwn(dialogue, stream, 413, "body-too-large", False)
        self.assertEqual(dialogue.attempts, [])
        stream = client.asks(b"POST", ended=False)
        backend = dialogue.backend()
        stream.says(b"hello")
        self.assertEqual(stream.heads, [])
        stream.says(b"!")
        self.assertOwn(dialogue, stream, 413, "body-too-large", False)
        self.assertTrue(backend.sees_reset)
        dialogue.advance_past(1)

    def test_backendFails(self) -> None:
        """A backend that cannot be reached, or answers badly, or not at all."""
        for method in (b"GET", b"HEAD"):
            dialogue = self.proxy()
            client = self.h2(dialogue)
            stream = client.asks(method)
            dialogue.refuse()
            self.assertOwn(dialogue, stream, 502, "connect-failed", method == b"HEAD")
            stream = client.asks(method)
            dialogue.backend().says(b"HTP/1.1 200 OK\r\n\r\n")
            self.assertOwn(dialogue, stream, 502, "bad-reply", method == b"HEAD")
            stream = client.asks(method)
            dialogue.script("10.0.0.1:80", SILENT)
            dialogue.advance_past(60)
            self.assertOwn(dialogue, stream, 504, "reply-timeout", method == b"HEAD")

    def test_retryAfter(self) -> None:
        """503 says when to come back."""
        dialogue = self.proxy(cluster="pool.max_connections = 1\npool.queue = 0")
        client = self.h2(dialogue)
        first, second = client.asks(), client.asks(b"HEAD")
        self.assertEqual(second.heads[0].get(b"retry-after"), b"1")
        self.assertOwn(dialogue, second, 503, "queue-full", True)
        dialogue.backend().says(OK)
        self.assertReply(first, 200, b"ok")

    def test_waitsForItsWindow(self) -> None:
        """A reply of ours that the client's window does not let pass keeps its end reason."""
        dialogue = self.proxy(route='hosts = ["b.example"]')
        client = self.h2(dialogue, window_bytes=0)
        stream = client.asks()
        self.assertEqual((stream.gets(), dialogue.lines), (b"", []))
        self.assertEqual(self.kinds(stream.frames), ["Headers"])
        stream.opens(10)
        self.assertEqual(len(stream.gets()), 10)
        dialogue.advance(2)
        stream.opens(1000)
        self.assertTrue(stream.has_ended)
        line = self.assertEnd(dialogue, "no-route", 404)
        self.assertEqual(line["total_ms"], 2000)

    def test_withoutContent(self) -> None:
        """A Reply of 204 or 304 has neither content nor length."""
        for status in (204, 304):
            made = Reply(status, b"ignored")
            self.patch(catalogue, "STAGES", (lambda settings, config, made=made: Answering(made),))
            dialogue = self.proxy()
            stream = self.h2(dialogue).asks()
            self.assertEqual(stream.gets_head().get(b"content-length"), None)
            self.assertEqual(self.kinds(stream.frames), ["Headers"])
            self.assertEnd(dialogue, "ok", status)

    def test_waitsWhileTheBodyComes(self) -> None:
        """A reply of ours that waits for its window is not given up because more of the body comes meanwhile."""
        dialogue = self.proxy(route="max_body_bytes = 5")
        client = self.h2(dialogue, window_bytes=0)
        stream = client.asks(b"POST", ended=False)
        backend = dialogue.backend()
        stream.says(b"hello, ")
        self.assertEqual(stream.gets_head().line, b"HTTP/2 413")
        self.assertTrue(backend.sees_reset)
        stream.says(b"world")
        stream.opens(1000)
        self.assertTrue(stream.has_ended, stream)
        self.assertEnd(dialogue, "body-too-large", 413)
        stream.finishes()


class Answering:
    """A stage that answers everything."""

    def __init__(self, reply: Reply) -> None:
        self.reply = reply

    def on_request(self, exchange: Exchange) -> Reply:
        """Answer."""
        return self.reply
