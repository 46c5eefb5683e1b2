"""How replies of backends reach clients."""

from __future__ import annotations

from txproxy.test.talk import GET, OK, TalkCase, chunked, head, post, reply, request


class BodilessReplyTests(TalkCase):
    """Replies that have no content whatever their fields say (RFC 9112 section 6.3)."""

    def test_head(self) -> None:
        """The length in a reply to HEAD is passed on and nothing is waited for (a following GET is not disturbed)."""
        dialogue = self.proxy()
        client, backend = self.busy(dialogue, request(b"HEAD / HTTP/1.1") + GET)
        backend.says(head(b"Content-Length: 1000"))
        got = client.gets_head()
        self.assertEqual(got.get(b"Content-Length"), b"1000")
        self.assertEqual(client.gets(), b"")
        self.assertEqual(backend.gets_head().line, b"GET / HTTP/1.1")
        backend.says(OK)
        self.assertEqual(self.assertStatus(client, 200), b"ok")

    def test_headOfChunked(self) -> None:
        """A chunked reply to HEAD has no chunks."""
        dialogue = self.proxy()
        client, backend = self.busy(dialogue, request(b"HEAD / HTTP/1.1"))
        backend.says(head(b"Transfer-Encoding: chunked"))
        client.gets_head()
        self.assertEqual((client.gets(), client.is_open), (b"", True))
        self.assertIn("1 idle", repr(dialogue.pool))

    def test_noContent(self) -> None:
        """204 and 304 have no content; 304 keeps its length, 204 loses it (RFC 9110 section 8.6)."""
        for status, length in ((b"204 No Content", None), (b"304 Not Modified", b"7")):
            dialogue = self.proxy()
            client, backend = self.busy(dialogue)
            backend.says(head(b"Content-Length: 7", b"ETag: x", status=b"HTTP/1.1 " + status))
            got = client.gets_head()
            self.assertEqual(got.line, b"HTTP/1.1 " + status)
            self.assertEqual((got.get(b"Content-Length"), got.get(b"Transfer-Encoding")), (length, None))
            self.assertEqual((client.gets(), client.is_open), (b"", True))
            self.assertIn("1 idle", repr(dialogue.pool))

    def test_contentAfterNoContent(self) -> None:
        """Bytes after a reply that has no content are no reply to the next request: the connection is given up (D3)."""
        dialogue = self.proxy()
        client, backend = self.busy(dialogue)
        backend.says(head(status=b"HTTP/1.1 204 No Content") + OK)
        self.assertEqual(self.assertStatus(client, 204), b"")
        self.assertFalse(backend.is_open)
        client.says(GET)
        dialogue.backend().says(reply(b"new"))
        self.assertEqual(self.assertStatus(client, 200), b"new")

    def test_ownReplyToHead(self) -> None:
        """An error reply of ours to HEAD has the length and not the content."""
        dialogue = self.proxy(route='hosts = ["b.example"]')
        client = dialogue.client()
        client.says(request(b"HEAD / HTTP/1.1"))
        got = client.gets_head()
        self.assertNotEqual(got.get(b"Content-Length"), b"0")
        self.assertEqual(client.gets(), b"")
        client.finishes()

    def test_emptyBody(self) -> None:
        """A reply whose content is empty goes out at once."""
        dialogue = self.proxy()
        client, backend = self.busy(dialogue)
        backend.says(head(b"Content-Length: 0"))
        self.assertEqual(client.gets_head().get(b"Content-Length"), b"0")
        self.assertEnd(dialogue, "ok")

    def test_resetContent(self) -> None:
        """205 has an empty body of its own framing."""
        dialogue = self.proxy()
        client, backend = self.busy(dialogue)
        backend.says(head(b"Content-Length: 0", status=b"HTTP/1.1 205 Reset Content"))
        self.assertEqual(self.assertStatus(client, 205), b"")


class StreamedReplyTests(TalkCase):
    """Bodies of replies, as they come."""

    def test_asItComes(self) -> None:
        """Head and each part of the content are passed on when they come, not when all is there (HF2)."""
        dialogue = self.proxy()
        client, backend = self.busy(dialogue)
        backend.says(head(b"Content-Length: 6"))
        self.assertEqual(client.gets_head().get(b"Content-Length"), b"6")
        for part in (b"ab", b"cd", b"ef"):
            backend.says(part)
            self.assertEqual(client.gets(), part)
        self.assertEqual(self.assertEnd(dialogue, "ok")["bytes_out"], 6)

    def test_headComesInPieces(self) -> None:
        """A reply split at any place arrives as one (D4)."""
        whole = head(b"Transfer-Encoding: chunked", b"X: y") + b"5;e=1\r\nhello\r\n0\r\nT: u\r\n\r\n"
        dialogue = self.proxy()
        client = dialogue.client()
        backend = None
        for cut in range(1, len(whole)):
            client.says(GET)
            backend = backend or dialogue.backend()
            backend.gets()
            backend.says(whole[:cut])
            backend.says(whole[cut:])
            self.assertEqual(client.gets_head().get(b"X"), b"y")
            content = client.gets()
            self.assertTrue(content.endswith(b"\r\n0\r\nT: u\r\n\r\n"), (cut, content))
        self.assertEqual({line["bytes_out"] for line in dialogue.lines}, {5})

    def test_chunksAreMadeAnew(self) -> None:
        """Chunks may be joined, extensions are dropped, content is the same; empty extension and hex case are fine."""
        dialogue = self.proxy()
        client, backend = self.busy(dialogue)
        backend.says(head(b"Transfer-Encoding: chunked") + b'00A ; x="y"\r\n0123456789\r\nb\r\nabcdefghijk\r\n')
        self.assertEqual(client.gets_head().all(b"Transfer-Encoding"), [b"chunked"])
        self.assertEqual(client.gets(), b"15\r\n0123456789abcdefghijk\r\n")
        backend.says(b"0\r\n\r\n")
        self.assertEqual(client.gets(), b"0\r\n\r\n")

    def test_trailers(self) -> None:
        """Trailer fields are forwarded, but for those that may not stand there (RFC 9110 section 6.5.1)."""
        dialogue = self.proxy()
        client, backend = self.busy(dialogue)
        backend.says(head(b"Transfer-Encoding: chunked", b"Trailer: Sum") + b"1\r\nx\r\n0\r\n")
        self.assertEqual(client.gets_head().get(b"Trailer"), b"Sum")
        client.gets()
        backend.says(b"Sum: 1\r\nContent-Length: 9\r\nHost: b\r\nConnection: close\r\nSet-Cookie: a\r\n\r\n")
        self.assertEqual(client.gets(), b"0\r\nSum: 1\r\n\r\n")

    def test_untilClose(self) -> None:
        """A reply that ends with its connection gets chunks, so that the client's connection can stay."""
        dialogue = self.proxy()
        client, backend = self.busy(dialogue)
        backend.says(head() + b"abc")
        self.assertEqual(client.gets_head().get(b"Transfer-Encoding"), b"chunked")
        self.assertEqual(client.gets(), b"3\r\nabc\r\n")
        backend.finishes()
        self.assertEqual(client.gets(), b"0\r\n\r\n")
        self.assertTrue(client.is_open)
        self.assertEqual(repr(dialogue.pool), "<Pool 0 idle, 0 leased, 0 connecting, 0 waiting>")

    def test_untilReset(self) -> None:
        """A reset is no clean end of such a reply: the chunks are left without an end."""
        dialogue = self.proxy()
        client, backend = self.busy(dialogue)
        backend.says(head() + b"abc")
        backend.resets()
        client.gets_head()
        self.assertEqual(client.gets(), b"3\r\nabc\r\n")
        self.assertFalse(client.is_open)
        self.assertEnd(dialogue, "reply-cut", 200)

    def test_cutLength(self) -> None:
        """A backend that stops in mid-body ends the client's connection; nothing is made up for it."""
        for end in ("finishes", "resets"):
            dialogue = self.proxy()
            client, backend = self.busy(dialogue)
            backend.says(head(b"Content-Length: 10") + b"abc")
            getattr(backend, end)()
            self.assertEqual(self.assertStatus(client, 200), b"abc")
            self.assertFalse(client.is_open)
            self.assertEqual(self.assertEnd(dialogue, "reply-cut", 200)["bytes_out"], 3)

    def test_cutBeforeContent(self) -> None:
        """A reply that is cut right after its head has begun: the head was given, and then the end."""
        dialogue = self.proxy()
        client, backend = self.busy(dialogue)
        backend.says(head(b"Content-Length: 10"))
        backend.finishes()
        self.assertEqual(self.assertStatus(client, 200), b"")
        self.assertFalse(client.is_open)
        self.assertEnd(dialogue, "reply-cut", 200)

    def test_brokenChunks(self) -> None:
        """Broken chunks in a reply end both connections, with no clean end for the client."""
        dialogue = self.proxy()
        client, backend = self.busy(dialogue)
        backend.says(head(b"Transfer-Encoding: chunked") + b"3\r\nabc\r\n")
        backend.says(b"0x3\r\nabc\r\n0\r\n\r\n")
        client.gets_head()
        self.assertEqual(client.gets(), b"3\r\nabc\r\n")
        self.assertFalse(client.is_open)
        self.assertTrue(backend.sees_reset)
        self.assertEqual(self.assertEnd(dialogue, "bad-reply")["status"], 200)

    def test_brokenChunksAtOnce(self) -> None:
        """If nothing of the reply has gone out yet, broken chunks become a 502."""
        dialogue = self.proxy()
        client, backend = self.busy(dialogue)
        backend.says(head(b"Transfer-Encoding: chunked") + b"zz\r\n")
        self.assertStatus(client, 502)
        self.assertEnd(dialogue, "bad-reply", 502)
        self.assertTrue(client.is_open)

    def test_moreThanItsLength(self) -> None:
        """Bytes beyond the declared length reach nobody, and the connection is not used again (D3)."""
        dialogue = self.proxy()
        client, backend = self.busy(dialogue)
        backend.says(OK + OK)
        self.assertEqual(self.assertStatus(client, 200), b"ok")
        self.assertFalse(backend.is_open)


class InterimReplyTests(TalkCase):
    """Replies before the final one (RFC 9110 section 15.2)."""

    def test_earlyHints(self) -> None:
        """A 103 is passed on at once, the final reply follows."""
        dialogue = self.proxy()
        client, backend = self.busy(dialogue)
        backend.says(head(b"Link: </a.css>", b"Connection: x", status=b"HTTP/1.1 103 Early Hints"))
        got = client.gets_head()
        self.assertEqual((got.line, got.fields), (b"HTTP/1.1 103 Early Hints", [(b"Link", b"</a.css>")]))
        backend.says(OK)
        self.assertEqual(self.assertStatus(client, 200), b"ok")
        self.assertEnd(dialogue, "ok", 200)

    def test_withFinalInOnePacket(self) -> None:
        """Interim and final replies in one packet are told apart, at any split."""
        whole = head(status=b"HTTP/1.1 102 Processing") + head(b"A: b", status=b"HTTP/1.1 103 Early Hints") + OK
        for cut in range(1, len(whole)):
            dialogue = self.proxy()
            client, backend = self.busy(dialogue)
            backend.says(whole[:cut])
            backend.says(whole[cut:])
            lines = [client.gets_head().line for _ in range(3)]
            self.assertEqual([line[9:12] for line in lines], [b"102", b"103", b"200"])
            self.assertEqual(client.gets(), b"ok")

    def test_switchingUnasked(self) -> None:
        """A 101 that nobody asked for is a 502."""
        dialogue = self.proxy()
        client, backend = self.busy(dialogue)
        backend.says(head(b"Upgrade: x", b"Connection: upgrade", status=b"HTTP/1.1 101 Switching Protocols"))
        self.assertStatus(client, 502)
        self.assertEnd(dialogue, "bad-reply", 502)
        self.assertTrue(backend.sees_reset)

    def test_endless(self) -> None:
        """A backend that sends interim replies for ever is given up."""
        dialogue = self.proxy()
        client, backend = self.busy(dialogue)
        backend.says(head(status=b"HTTP/1.1 102 Processing") * 1000)
        self.assertFalse(backend.is_open)
        self.assertIn(b"HTTP/1.1 502 ", client.gets())
        self.assertEnd(dialogue, "bad-reply", 502)

    def test_closesAfterInterim(self) -> None:
        """A backend that closes after an interim reply gave no reply, and is not asked again."""
        dialogue = self.proxy()
        dialogue.script("10.0.0.1:80", OK, head(status=b"HTTP/1.1 103 Early Hints"))
        client = dialogue.client()
        client.says(GET)
        client.gets()
        client.says(GET)
        self.assertStatus(client, 103)
        client.finishes()


class ExpectTests(TalkCase):
    """Expect: 100-continue, end to end (RFC 9110 section 10.1.1)."""

    EXPECTING = post(5, b"Expect: 100-continue")

    def test_goesUpstream(self) -> None:
        """The backend is asked, its 100 goes to the client, then the body is sent."""
        dialogue = self.proxy()
        client = dialogue.client()
        client.says(self.EXPECTING)
        backend = dialogue.backend()
        self.assertEqual(backend.gets_head().get(b"Expect"), b"100-continue")
        self.assertEqual(client.gets(), b"")
        backend.says(head(status=b"HTTP/1.1 100 Continue"))
        self.assertEqual(client.gets(), b"HTTP/1.1 100 Continue\r\n\r\n")
        client.says(b"hello")
        self.assertEqual(backend.gets(), b"hello")
        backend.says(OK)
        self.assertEqual(self.assertStatus(client, 200), b"ok")
        self.assertTrue(client.is_open)

    def test_refusedByBackend(self) -> None:
        """A final reply instead is passed on; whether the body still comes cannot be known, so both sides close."""
        dialogue = self.proxy()
        client, backend = self.busy(dialogue, self.EXPECTING)
        backend.says(reply(b"no", status=b"417 Expectation Failed"))
        got = client.gets_head()
        self.assertEqual((got.line[9:12], got.get(b"Connection")), (b"417", b"close"))
        self.assertFalse(backend.is_open)
        dialogue.advance_past(2)
        self.assertFalse(client.is_open)

    def test_silentBackend(self) -> None:
        """A backend that says nothing to it is waited for as for a reply's first byte: then 504."""
        dialogue = self.proxy()
        client, _ = self.busy(dialogue, self.EXPECTING)
        dialogue.advance(59.5)
        self.assertEqual(client.gets(), b"")
        dialogue.advance(1)
        self.assertStatus(client, 504)
        dialogue.advance_past(2)

    def test_clientDoesNotWait(self) -> None:
        """A client may send its body without waiting."""
        dialogue = self.proxy()
        client, backend = self.busy(dialogue, self.EXPECTING)
        client.says(b"hello")
        self.assertEqual(backend.gets(), b"hello")
        backend.says(head(status=b"HTTP/1.1 100 Continue") + OK)
        self.assertEqual(client.gets().count(b"HTTP/1.1"), 2)

    def test_otherExpectation(self) -> None:
        """Any other expectation is 417."""
        dialogue = self.proxy()
        client = dialogue.client()
        client.says(post(5, b"Expect: tea"))
        self.assertStatus(client, 417)
        self.assertEnd(dialogue, "bad-expectation", 417)
        dialogue.advance_past(2)

    def test_clientGetsContinueThenStalls(self) -> None:
        """A client that was told to go on and does not is timed out like any stalled body."""
        dialogue = self.proxy()
        client, backend = self.busy(dialogue, self.EXPECTING)
        dialogue.advance(50)
        backend.says(head(status=b"HTTP/1.1 100 Continue"))
        client.gets()
        dialogue.advance(59.5)
        self.assertEqual(client.gets(), b"")
        dialogue.advance(1)
        self.assertStatus(client, 408)
        self.assertTrue(backend.sees_reset)
        dialogue.advance_past(2)


class EarlyReplyTests(TalkCase):
    """Backends that answer before they have read the whole body."""

    def test_passedOn(self) -> None:
        """The reply arrives complete with Connection: close, and neither connection carries another request."""
        dialogue = self.proxy()
        client, backend = self.busy(dialogue, post(1000) + b"some")
        backend.says(reply(b"too much", status=b"413 Content Too Large"))
        got = client.gets_head()
        self.assertEqual((got.line[9:12], got.get(b"Connection")), (b"413", b"close"))
        self.assertEqual(client.gets(), b"too much")
        self.assertFalse(backend.is_open)
        client.says(b"more" + GET)
        self.assertEqual(client.gets(), b"")
        dialogue.advance_past(2)
        self.assertFalse(client.is_open)
        self.assertEnd(dialogue, "ok", 413)

    def test_streamed(self) -> None:
        """While a reply streams the body goes on upwards: both ways at once."""
        dialogue = self.proxy()
        client, backend = self.busy(dialogue, post(6) + b"ab")
        backend.says(head(b"Content-Length: 6") + b"AB")
        self.assertEqual(self.assertStatus(client, 200), b"AB")
        client.says(b"cd")
        self.assertEqual(backend.gets(), b"cd")
        backend.says(b"CD")
        self.assertEqual(client.gets(), b"CD")
        client.says(b"ef")
        backend.says(b"EF")
        self.assertEqual((backend.gets(), client.gets()), (b"ef", b"EF"))
        self.assertEnd(dialogue, "ok", 200)
        self.assertIn("1 idle", repr(dialogue.pool))

    def test_chunkedEndsLater(self) -> None:
        """The same with chunks on both sides."""
        dialogue = self.proxy()
        client, backend = self.busy(dialogue, chunked() + b"2\r\nab\r\n")
        backend.says(head(b"Transfer-Encoding: chunked") + b"1\r\nx\r\n")
        client.gets_head()
        client.says(b"0\r\n\r\n")
        self.assertEqual(backend.gets(), b"0\r\n\r\n")
        backend.says(b"0\r\n\r\n")
        self.assertTrue(client.gets().endswith(b"0\r\n\r\n"))

    def test_resetAfterEarlyReply(self) -> None:
        """A backend that answers and resets while the body is going up: its reply still arrives."""
        dialogue = self.proxy()
        client, backend = self.busy(dialogue, post(1000) + b"some")
        backend.says(reply(b"too much", b"Connection: close", status=b"413 Content Too Large"), noticed=False)
        backend.finishes(noticed=False)
        client.says(b"x" * 100)
        self.assertEqual(self.assertStatus(client, 413), b"too much")
        dialogue.advance_past(2)


class ReplyHeadTests(TalkCase):
    """What we change in the head of a reply."""

    def test_hopByHop(self) -> None:
        """Connection and all it names stay here; Set-Cookie fields stay apart and in order (HF3, HF12)."""
        dialogue = self.proxy()
        client, backend = self.busy(dialogue)
        fields = (b"Connection: X-Foo", b"X-Foo: 1", b"Keep-Alive: timeout=5", b"Proxy-Authenticate: Basic", b"TE: x")
        backend.says(reply(b"ok", b"Set-Cookie: a=1", *fields, b"Set-Cookie: b=2", b"Upgrade: h2c"))
        got = client.gets_head()
        names = {name.lower() for name, _ in got.fields}
        self.assertEqual(got.all(b"Set-Cookie"), [b"a=1", b"b=2"])
        for name in (b"connection", b"x-foo", b"keep-alive", b"proxy-authenticate", b"te", b"upgrade"):
            self.assertNotIn(name, names)

    def test_added(self) -> None:
        """Via and X-Request-Id are added, Date if there is none (RFC 9110 section 6.6.1)."""
        dialogue = self.proxy()
        client, backend = self.busy(dialogue)
        backend.says(reply(b"ok", b"Via: 1.1 other", b"Date: Mon, 01 Jan 2024 00:00:00 GMT", b"X-Request-Id: theirs"))
        got = client.gets_head()
        self.assertEqual(got.all(b"Via"), [b"1.1 other", b"1.1 txproxy"])
        self.assertEqual(got.get(b"Date"), b"Mon, 01 Jan 2024 00:00:00 GMT")
        self.assertEqual(got.get(b"X-Request-Id"), self.assertEnd(dialogue, "ok")["request_id"].encode())
        client.gets()
        client.says(GET)
        backend.says(OK)
        self.assertEqual(client.gets_head().get(b"Date"), b"Tue, 14 Nov 2023 22:13:20 GMT")

    def test_rules(self) -> None:
        """A route's rules for replies are applied: removed, set, added."""
        rules = 'reply_headers = { remove = ["Server"], set = { "X-Frame-Options" = "DENY" }, add = { "A" = "2" } }'
        dialogue = self.proxy(route=rules)
        client, backend = self.busy(dialogue)
        backend.says(reply(b"ok", b"Server: x", b"x-frame-options: ALLOW", b"A: 1"))
        got = client.gets_head()
        self.assertEqual((got.get(b"Server"), got.get(b"X-Frame-Options")), (None, b"DENY"))
        self.assertEqual(got.all(b"A"), [b"1", b"2"])

    def test_reasonIsKept(self) -> None:
        """The reason phrase is the backend's, also when it is empty."""
        for line in (b"HTTP/1.1 299 Odd One", b"HTTP/1.1 200 "):
            dialogue = self.proxy()
            client, backend = self.busy(dialogue)
            backend.says(head(b"Content-Length: 0", status=line))
            self.assertEqual(client.gets_head().line, line)
