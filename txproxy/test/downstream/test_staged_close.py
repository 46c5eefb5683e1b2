"""How a connection ends after a reply that the client may not be waiting for (RFC 9112 section 9.6)."""

from __future__ import annotations

from txproxy.test.talk import GET, TalkCase, chunked, post, request

MISTAKES = (
    (b"BAD\r\n\r\n", 400, "bad-request"),
    (b"GET /\r\n\r\n", 400, "bad-request"),
    (request(b"GET / HTTP/1.1", host=b""), 400, "bad-request"),
    (request(b"GET / HTTP/1.1", b"Host: b.example"), 400, "bad-request"),
    (request(b"GET /../etc HTTP/1.1"), 400, "bad-request"),
    (post(5, b"Transfer-Encoding: chunked"), 400, "bad-request"),
    (request(b"POST / HTTP/1.1", b"Transfer-Encoding: gzip, chunked"), 501, "bad-coding"),
    (request(b"GET / HTTP/2.0"), 505, "bad-version"),
    (request(b"GET /%b HTTP/1.1" % (b"x" * 8200)), 414, "uri-too-long"),
    (request(b"GET / HTTP/1.1", *(b"X%d: y" % number for number in range(130))), 431, "headers-too-large"),
    (request(b"GET / HTTP/1.1", b"X: " + b"y" * 16400), 431, "headers-too-large"),
    (request(b"GET / HTTP/1.1", *(b"X: " + b"y" * 9000 for _ in range(4))), 431, "headers-too-large"),
    (post(5, b"Expect: x"), 417, "bad-expectation"),
    (chunked() + b"zz\r\n", 400, "bad-body"),
)


class StagedCloseTests(TalkCase):
    """Write, shut down sending, discard what comes for a while, close."""

    def test_mistakes(self) -> None:
        """Each mistake has its status and end reason; the reply can be read, then the connection ends (Q4)."""
        for says, status, reason in MISTAKES:
            dialogue = self.proxy()
            client = dialogue.client()
            client.says(says)
            got = client.gets_head()
            self.assertEqual(got.line[9:12], b"%d" % status, says[:60])
            self.assertEqual((got.get(b"Connection"), got.get(b"Server")), (b"close", b"txproxy"))
            self.assertEqual(got.get(b"Content-Type"), b"text/plain; charset=utf-8")
            content = client.gets()
            self.assertEqual(int(got.get(b"Content-Length") or 0), len(content))
            line = self.assertEnd(dialogue, reason, status)
            self.assertIn(line["request_id"].encode(), content)
            self.assertEqual(got.get(b"X-Request-Id"), line["request_id"].encode())
            self.assertEqual((client.sees_end, client.transport.disconnected), (True, False))
            dialogue.advance(1.9)
            self.assertFalse(client.transport.disconnected)
            dialogue.advance(0.3)
            self.assertTrue(client.transport.disconnected)

    def test_noUpstreamContact(self) -> None:
        """None of them reaches a backend (HF8); each makes one line (O1)."""
        for says, _, reason in MISTAKES[:-1]:
            dialogue = self.proxy()
            client = dialogue.client()
            client.says(says + GET)
            self.assertEqual(dialogue.attempts, [], says[:60])
            self.assertEqual([line["end"] for line in dialogue.lines], [reason])
            dialogue.advance_past(2)

    def test_inPieces(self) -> None:
        """Mistakes are found byte by byte as well, and no later than at the end of the head."""
        for says, status, _ in MISTAKES:
            if len(says) < 2000:
                dialogue = self.proxy()
                client = dialogue.client()
                client.says_bytewise(says)
                self.assertStatus(client, status)
                dialogue.advance_past(2)

    def test_clientClosesToo(self) -> None:
        """A client that closes after it has read the reply ends it at once."""
        dialogue = self.proxy()
        client = dialogue.client()
        client.says(b"BAD\r\n\r\n")
        client.finishes()
        self.assertTrue(client.transport.disconnected)
        self.assertFalse(client.sees_reset)

    def test_discards(self) -> None:
        """Up to 64 KiB of what still comes is thrown away; more is not read, and after 2 s the connection is closed."""
        dialogue = self.proxy()
        client = dialogue.client()
        client.says(post(5, b"Transfer-Encoding: chunked"))
        client.says(bytes(65536))
        self.assertFalse(client.transport.disconnected)
        self.assertTrue(client.transport.is_reading)
        client.says(b"x")
        self.assertFalse(client.transport.is_reading)
        self.assertFalse(client.transport.disconnected)
        dialogue.advance_past(2)
        self.assertTrue(client.transport.disconnected)
        self.assertFalse(client.sees_reset)
        self.assertStatus(client, 400)

    def test_slowReaderOfTheReply(self) -> None:
        """A client that does not read is not waited for longer than that."""
        dialogue = self.proxy()
        client = dialogue.client()
        client.stops_reading()
        client.says(b"BAD\r\n\r\n")
        dialogue.advance_past(2)
        self.assertTrue(client.transport.disconnected)

    def test_whatComesIsNotServed(self) -> None:
        """Good requests behind a bad one are not served."""
        dialogue = self.proxy()
        client = dialogue.client()
        client.says(b"BAD\r\n\r\n")
        self.assertStatus(client, 400)
        client.says(GET)
        self.assertEqual((client.gets(), len(dialogue.lines), dialogue.attempts), (b"", 1, []))
        dialogue.advance_past(2)

    def test_wordsOfTheReply(self) -> None:
        """A reply of ours names no address, path, version or reason beyond one sentence."""
        dialogue = self.proxy()
        client = dialogue.client()
        client.says(GET)
        dialogue.refuse()
        content = self.assertStatus(client, 502)
        for secret in (b"10.0.0.1", b"refused", b"Traceback", b"/", b"errno"):
            self.assertNotIn(secret, content.lower())
