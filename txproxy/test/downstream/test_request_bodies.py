"""Bodies of requests on their way to a backend."""

from __future__ import annotations

from txproxy.test.talk import GET, OK, POST_5, TalkCase, chunked, head, post, reply, request


class RequestBodyTests(TalkCase):
    """Bodies reach the backend as they come (HF1)."""

    def test_length(self) -> None:
        """A body of known length is passed on part by part, with its length."""
        dialogue = self.proxy()
        client = dialogue.client()
        client.says(post(6))
        backend = dialogue.backend()
        self.assertEqual(backend.gets_head().get(b"Content-Length"), b"6")
        for part in (b"ab", b"cd", b"ef"):
            client.says(part)
            self.assertEqual(backend.gets(), part)
        backend.says(OK)
        self.assertStatus(client, 200)
        self.assertEqual(self.assertEnd(dialogue, "ok")["bytes_in"], 6)

    def test_lengthWithLeadingZeros(self) -> None:
        """A length with zeros in front is passed on in its plain form."""
        dialogue = self.proxy()
        client = dialogue.client()
        client.says(request(b"POST / HTTP/1.1", b"Content-Length: 0005") + b"hello")
        backend = dialogue.backend()
        self.assertEqual(backend.gets_head().all(b"Content-Length"), [b"5"])
        backend.says(OK)

    def test_empty(self) -> None:
        """A length of zero is passed on."""
        dialogue = self.proxy()
        client = dialogue.client()
        client.says(post(0))
        backend = dialogue.backend()
        self.assertEqual(backend.gets_head().get(b"Content-Length"), b"0")
        backend.says(OK)
        self.assertStatus(client, 200)
        self.assertTrue(client.is_open)

    def test_chunked(self) -> None:
        """Chunks are made anew, trailers are forwarded but for what may not stand there."""
        dialogue = self.proxy()
        client = dialogue.client()
        client.says(chunked(b"Trailer: Sum"))
        backend = dialogue.backend()
        got = backend.gets_head()
        self.assertEqual((got.all(b"Transfer-Encoding"), got.get(b"Trailer")), ([b"chunked"], b"Sum"))
        client.says(b"002;a=b\r\nab\r\nA\r\n0123456789\r\n")
        self.assertEqual(backend.gets(), b"c\r\nab0123456789\r\n")
        client.says(b"0\r\nSum: 1\r\nHost: evil\r\nAuthorization: x\r\n\r\n")
        self.assertEqual(backend.gets(), b"0\r\nSum: 1\r\n\r\n")
        backend.says(OK)
        self.assertStatus(client, 200)

    def test_emptyChunked(self) -> None:
        """A chunked body without content has its last chunk."""
        dialogue = self.proxy()
        client = dialogue.client()
        client.says(chunked() + b"0\r\n\r\n")
        backend = dialogue.backend()
        backend.gets_head()
        self.assertEqual(backend.gets(), b"0\r\n\r\n")
        backend.says(OK)
        self.assertStatus(client, 200)

    def test_comesWhileConnecting(self) -> None:
        """What comes before there is a connection is sent on it, in order, once."""
        for parts in ((b"ab", b"cd"), (b"abcd",), (b"a", b"b", b"c")):
            dialogue = self.proxy()
            client = dialogue.client()
            client.says(post(4))
            for part in parts:
                client.says(part)
            backend = dialogue.backend()
            backend.gets_head()
            self.assertEqual(backend.gets(), b"".join(parts))
            client.says(b"abcd"[len(b"".join(parts)) :])
            self.assertEqual(backend.gets(), b"abcd"[len(b"".join(parts)) :])
            backend.says(OK)
            self.assertStatus(client, 200)

    def test_chunkedWhileConnecting(self) -> None:
        """The same with chunks and their end."""
        dialogue = self.proxy()
        client = dialogue.client()
        client.says(chunked() + b"2\r\nab\r\n")
        client.says(b"2\r\ncd\r\n0\r\nX: y\r\n\r\n")
        backend = dialogue.backend()
        backend.gets_head()
        self.assertEqual(backend.gets(), b"4\r\nabcd\r\n0\r\nX: y\r\n\r\n")
        backend.says(OK)
        self.assertStatus(client, 200)

    def test_getWithBody(self) -> None:
        """Any method may have a body."""
        dialogue = self.proxy()
        client = dialogue.client()
        client.says(request(b"GET / HTTP/1.1", body=b"abc"))
        backend = dialogue.backend()
        backend.gets_head()
        self.assertEqual(backend.gets(), b"abc")
        backend.says(OK)


class BadBodyTests(TalkCase):
    """Bodies whose framing breaks after the head has gone upstream."""

    def test_badChunk(self) -> None:
        """A broken chunk: the backend sees a reset and never an end; the client 400 and a staged close (HF8)."""
        for bad in (b"0x1\r\na\r\n", b"-1\r\n", b"1\r\nab\r\n", b"1\na\r\n", b"\r\n", b"5 5\r\nhello\r\n", b"f" * 17):
            dialogue = self.proxy()
            client, backend = self.busy(dialogue, chunked() + b"1\r\na\r\n")
            client.says(bad)
            self.assertStatus(client, 400)
            self.assertTrue(backend.sees_reset, bad)
            self.assertNotIn(b"0\r\n\r\n", backend.gets())
            self.assertEnd(dialogue, "bad-body", 400)
            dialogue.advance_past(2)
            self.assertFalse(client.is_open)

    def test_badChunkAtOnce(self) -> None:
        """In the same packet as the head, before there is a connection, the backend gets nothing at all."""
        dialogue = self.proxy()
        client = dialogue.client()
        client.says(chunked() + b"0x1\r\na\r\n")
        self.assertStatus(client, 400)
        backend = dialogue.backend()
        self.assertEqual(backend.gets(), b"")
        self.assertEnd(dialogue, "bad-body", 400)
        dialogue.advance_past(2)

    def test_badChunkOnIdleConnection(self) -> None:
        """The same with an idle connection at hand: it is reset, not used again."""
        dialogue = self.proxy()
        client, backend = self.busy(dialogue)
        backend.says(OK)
        client.gets()
        client.says(chunked() + b"zz\r\n")
        self.assertStatus(client, 400)
        self.assertTrue(backend.sees_reset or backend.gets() == b"")
        dialogue.advance_past(2)

    def test_cut(self) -> None:
        """A client that says it sends no more in mid-body: backend reset, 400."""
        dialogue = self.proxy()
        client, backend = self.busy(dialogue, post(10) + b"abc")
        client.finishes()
        self.assertStatus(client, 400)
        self.assertTrue(backend.sees_reset)
        self.assertEnd(dialogue, "bad-body", 400)
        self.assertFalse(client.is_open)

    def test_badAfterReplyHasBegun(self) -> None:
        """If a reply has begun, no 400 can be sent: the client's connection is closed, the backend's reset."""
        dialogue = self.proxy()
        client, backend = self.busy(dialogue, chunked() + b"1\r\na\r\n")
        backend.says(head(b"Content-Length: 10") + b"abc")
        client.says(b"zz\r\n")
        self.assertEqual(self.assertStatus(client, 200), b"abc")
        self.assertTrue(backend.sees_reset)
        self.assertEnd(dialogue, "bad-body", 200)
        dialogue.advance_past(2)
        self.assertFalse(client.is_open)

    def test_counted(self) -> None:
        """Chunks that pass the route's limit: 413, backend reset (Q5)."""
        dialogue = self.proxy(route="max_body_bytes = 10")
        client, backend = self.busy(dialogue, chunked() + b"a\r\n0123456789\r\n")
        self.assertEqual(client.gets(), b"")
        client.says(b"1\r\nx\r\n")
        self.assertStatus(client, 413)
        self.assertTrue(backend.sees_reset)
        self.assertEnd(dialogue, "body-too-large", 413)
        dialogue.advance_past(2)

    def test_declared(self) -> None:
        """A declared length over the limit: 413 and no upstream contact; at the limit it passes (Q5)."""
        dialogue = self.proxy(route="max_body_bytes = 5")
        client = dialogue.client()
        client.says(post(6))
        self.assertStatus(client, 413)
        self.assertEqual(dialogue.attempts, [])
        self.assertEnd(dialogue, "body-too-large", 413)
        dialogue.advance_past(2)
        client, backend = self.busy(dialogue, POST_5)
        backend.says(OK)
        self.assertStatus(client, 200)

    def test_overLimitWithConnectionClose(self) -> None:
        """The limit holds whatever else stands in the head."""
        dialogue = self.proxy(route="max_body_bytes = 5")
        client = dialogue.client()
        client.says(post(6, b"Connection: close", b"Expect: 100-continue"))
        self.assertStatus(client, 413)
        self.assertEqual(dialogue.attempts, [])
        dialogue.advance_past(2)

    def test_nothingIsServedAfterABadBody(self) -> None:
        """What follows a broken body is never taken for a request."""
        dialogue = self.proxy()
        client, _ = self.busy(dialogue, chunked() + b"1\r\na\r\n")
        client.says(b"zz\r\n\r\n" + GET + GET)
        self.assertStatus(client, 400)
        client.says(GET)
        self.assertEqual((client.gets(), len(dialogue.lines)), (b"", 1))
        dialogue.advance_past(2)


class ReplayTests(TalkCase):
    """Bodies that are sent to another backend (R5)."""

    TWO = ("10.0.0.1:80", "10.0.0.2:80")

    def test_identical(self) -> None:
        """The first backend refuses: the second gets the same bytes."""
        dialogue = self.proxy(backends=self.TWO)
        client = dialogue.client()
        body = bytes(range(256)) * 80
        client.says(request(b"PUT / HTTP/1.1", b"Content-Length: %d" % len(body)) + body[:5000])
        dialogue.refuse("10.0.0.1:80")
        client.says(body[5000:])
        backend = dialogue.backend("10.0.0.2:80")
        backend.gets_head()
        self.assertEqual(backend.gets(), body)
        backend.says(OK)
        self.assertStatus(client, 200)
        self.assertEqual(self.assertEnd(dialogue, "ok")["tries"], 2)

    def test_wholeBodyCameBefore(self) -> None:
        """The same if the body was complete before the first backend refused, with and without chunks."""
        for says, expected in (
            (POST_5, b"hello"),
            (chunked() + b"5\r\nhello\r\n0\r\nA: b\r\n\r\n", b"5\r\nhello\r\n0\r\nA: b\r\n\r\n"),
        ):
            dialogue = self.proxy(backends=self.TWO)
            client = dialogue.client()
            client.says(says)
            dialogue.refuse("10.0.0.1:80")
            backend = dialogue.backend("10.0.0.2:80")
            backend.gets_head()
            self.assertEqual(backend.gets(), expected)
            backend.says(OK)
            self.assertStatus(client, 200)

    def test_largeBodyWaits(self) -> None:
        """While no backend is connected the client may send 64 KiB; the rest waits in the network."""
        dialogue = self.proxy(backends=self.TWO)
        client = dialogue.client()
        client.says(post(300_000) + bytes(300_000))
        self.assertFalse(client.transport.is_reading)
        self.assertGreater(len(client.transport.arriving), 150_000)
        dialogue.refuse("10.0.0.1:80")
        backend = dialogue.backend("10.0.0.2:80")
        backend.gets_head()
        self.assertEqual(len(backend.gets()), 300_000)
        backend.says(OK)
        self.assertStatus(client, 200)

    def test_tooLongToBeSentAgain(self) -> None:
        """An idle connection dies under a body of more than 64 KiB: 502, the body cannot be replayed."""
        dialogue = self.proxy(backends=self.TWO[:1])
        client, backend = self.busy(dialogue)
        backend.says(OK)
        client.gets()
        client.says(request(b"PUT / HTTP/1.1", b"Content-Length: 200000") + bytes(100_000))
        backend.resets()
        self.assertStatus(client, 502)
        self.assertEqual(dialogue.attempts, [])
        self.assertEnd(dialogue, "bad-reply", 502)
        dialogue.advance_past(2)

    def test_idleConnectionDies(self) -> None:
        """The same with a short PUT: it is sent again, whole, on a new connection."""
        dialogue = self.proxy(backends=self.TWO[:1])
        client, backend = self.busy(dialogue)
        backend.says(OK)
        client.gets()
        client.says(request(b"PUT / HTTP/1.1", b"Content-Length: 4") + b"ab")
        backend.resets()
        client.says(b"cd")
        backend = dialogue.backend()
        backend.gets_head()
        self.assertEqual(backend.gets(), b"abcd")
        backend.says(reply(b"new"))
        self.assertEqual(self.assertStatus(client, 200), b"new")
