"""How long a client's connection lasts, and what order replies have."""

from __future__ import annotations

from txproxy.test.talk import GET, OK, POST_5, TalkCase, head, post, reply, request


class KeepAliveTests(TalkCase):
    """Connections that carry several requests (RFC 9112 section 9.3)."""

    def test_manyRequests(self) -> None:
        """Requests one after the other share one connection on each side (P1)."""
        dialogue = self.proxy()
        client, backend = self.busy(dialogue)
        for _ in range(3):
            backend.says(OK)
            self.assertStatus(client, 200)
            client.says(GET)
            self.assertEqual(backend.gets_head().line, b"GET / HTTP/1.1")
        backend.says(OK)
        self.assertTrue(client.is_open)
        self.assertEqual(dialogue.pool.stats.created, 1)
        self.assertEqual(dialogue.pool.stats.reused, 3)

    def test_clientAsksForClose(self) -> None:
        """A client that says Connection: close gets its reply, the same word, and the end."""
        dialogue = self.proxy()
        client, backend = self.busy(dialogue, request(b"GET / HTTP/1.1", b"Connection: close"))
        backend.says(OK)
        got = client.gets_head()
        self.assertEqual(got.get(b"Connection"), b"close")
        self.assertTrue(client.sees_end)
        self.assertIn("1 idle", repr(dialogue.pool))

    def test_backendAsksForClose(self) -> None:
        """A backend that closes does not end the client's connection."""
        dialogue = self.proxy()
        client, backend = self.busy(dialogue)
        backend.says(reply(b"ok", b"Connection: close"))
        self.assertEqual(client.gets_head().get(b"Connection"), None)
        self.assertTrue(client.is_open)
        self.assertFalse(backend.is_open)
        self.assertIn("0 idle", repr(dialogue.pool))

    def test_tooManyRequests(self) -> None:
        """The last of keepalive_requests is answered with Connection: close (Q7)."""
        dialogue = self.proxy(listener="keepalive_requests = 3")
        dialogue.script("10.0.0.1:80", OK)
        client = dialogue.client()
        for expected in (None, None, b"close"):
            client.says(GET)
            self.assertEqual(client.gets_head().get(b"Connection"), expected)
            client.gets()
        self.assertTrue(client.sees_end)

    def test_requestsAfterTheLastAreDropped(self) -> None:
        """What was pipelined behind the last request is not served."""
        dialogue = self.proxy(listener="keepalive_requests = 1")
        backend = dialogue.script("10.0.0.1:80", OK)
        client = dialogue.client()
        client.says(GET + GET)
        self.assertStatus(client, 200)
        self.assertEqual(len(backend.requests), 1)
        dialogue.advance_past(2)
        self.assertFalse(client.is_open)

    def test_unanswerableStaysOpen(self) -> None:
        """A 404 of ours does not end the connection."""
        dialogue = self.proxy(route='hosts = ["b.example"]')
        client = dialogue.client()
        client.says(GET)
        self.assertStatus(client, 404)
        self.assertTrue(client.is_open)
        self.assertEqual(self.assertEnd(dialogue, "no-route", 404)["backend"], None)
        client.finishes()

    def test_unreadBodyIsNotARequest(self) -> None:
        """After a reply of ours to a request whose body is still to come, the body is never taken for a request."""
        dialogue = self.proxy(route='hosts = ["b.example"]')
        client = dialogue.client()
        client.says(post(len(GET)))
        self.assertEqual(client.gets_head().get(b"Connection"), b"close")
        client.gets()
        client.says(GET)
        self.assertEqual(client.gets(), b"")
        self.assertEqual(len(dialogue.lines), 1)
        dialogue.advance_past(2)

    def test_bodyOfARefusedRequestInTheSamePacket(self) -> None:
        """The same if head and body came in one packet: the body is skipped or the connection ends."""
        for says in (
            post(len(GET)) + GET,
            request(b"POST / HTTP/1.1", b"Transfer-Encoding: chunked") + b"%x\r\n%b\r\n0\r\n\r\n" % (len(GET), GET),
        ):
            dialogue = self.proxy(route='hosts = ["b.example"]')
            client = dialogue.client()
            client.says(says)
            self.assertStatus(client, 404)
            self.assertEqual(len(dialogue.lines), 1)
            client.finishes()

    def test_clientClosesIdle(self) -> None:
        """A client that closes between requests leaves no line in the log."""
        dialogue = self.proxy()
        dialogue.script("10.0.0.1:80", OK)
        client = dialogue.client()
        client.says(GET)
        client.finishes()
        self.assertFalse(client.is_open)
        self.assertEqual(len(dialogue.lines), 1)

    def test_leadingEmptyLines(self) -> None:
        """Empty lines before a request are skipped (RFC 9112 section 2.2)."""
        dialogue = self.proxy()
        dialogue.script("10.0.0.1:80", OK)
        client = dialogue.client()
        client.says(b"\r\n" + GET)
        self.assertStatus(client, 200)
        client.says(b"\r\n")
        client.says(b"\r" + b"\n" + GET)
        self.assertStatus(client, 200)


class PipeliningTests(TalkCase):
    """Requests that are sent before the reply to the one before."""

    def test_inOrder(self) -> None:
        """Replies leave in the order of the requests, the next request is not sent before the reply to the last."""
        dialogue = self.proxy()
        client, backend = self.busy(dialogue, b"".join(request(b"GET /%d HTTP/1.1" % number) for number in range(4)))
        for number in range(4):
            backend.says(reply(b"%d" % number))
            self.assertEqual(client.gets_head().line, b"HTTP/1.1 200 OK")
            self.assertEqual(client.gets(), b"%d" % number)
            if number < 3:
                self.assertEqual(backend.gets_head().line, b"GET /%d HTTP/1.1" % (number + 1))
                self.assertEqual(backend.gets(), b"")

    def test_bodiesBetween(self) -> None:
        """Bodies of pipelined requests stay with their own."""
        dialogue = self.proxy()
        backend = dialogue.script("10.0.0.1:80", lambda request: reply(request.content))
        client = dialogue.client()
        parts = b"4\r\nwiki\r\n0\r\n\r\n"
        says = POST_5 + GET + request(b"PUT / HTTP/1.1", b"Transfer-Encoding: chunked") + parts + POST_5
        client.says(says)
        self.assertEqual([each.content for each in backend.requests], [b"hello", b"", b"wiki", b"hello"])
        client.finishes()
        dialogue.assert_clean()
        for cut in range(1, len(says)):
            client = dialogue.client()
            client.says(says[:cut])
            client.says(says[cut:])
            del backend.requests[:-4]
            self.assertEqual([each.content for each in backend.requests], [b"hello", b"", b"wiki", b"hello"], cut)
            client.finishes()

    def test_byteByByte(self) -> None:
        """A request one byte at a time is served as in one piece (D4), and so is a reply."""
        dialogue = self.proxy()
        client = dialogue.client()
        client.says_bytewise(POST_5)
        backend = dialogue.backend()
        self.assertEqual(backend.gets_head().line, b"POST / HTTP/1.1")
        self.assertEqual(backend.gets(), b"hello")
        for byte in reply(b"answer"):
            backend.says(bytes((byte,)))
        self.assertEqual(self.assertStatus(client, 200), b"answer")

    def test_shortPackets(self) -> None:
        """Packets of any small size, the first one of a request included, are put together."""
        dialogue = self.proxy()
        backend = dialogue.script("10.0.0.1:80", OK)
        for size in range(1, 9):
            client = dialogue.client()
            for start in range(0, len(GET), size):
                client.says(GET[start : start + size])
            self.assertStatus(client, 200)
        self.assertEqual(len(backend.requests), 8)

    def test_muchWaits(self) -> None:
        """At most some 64 KiB of later requests are read before the reply to the first is out."""
        dialogue = self.proxy(listener="keepalive_requests = 100000", cluster="pool.max_requests = 100000")
        client, backend = self.busy(dialogue)
        client.says(GET * (300_000 // len(GET)))
        self.assertFalse(client.transport.is_reading)
        self.assertGreater(len(client.transport.arriving), 100_000)
        count = 1
        backend.says(OK)
        while backend.gets().startswith(b"GET "):
            count += 1
            backend.says(OK)
        self.assertEqual(count, 1 + 300_000 // len(GET))
        self.assertEqual(client.gets().count(b"200 OK"), count)

    def test_badOneBehindGoodOne(self) -> None:
        """A malformed request behind a good one is refused after the good one's reply."""
        dialogue = self.proxy()
        client, backend = self.busy(dialogue, GET + b"BAD\r\n\r\n")
        self.assertEqual(client.gets(), b"")
        backend.says(OK)
        client.gets_head()
        self.assertTrue(client.gets().startswith(b"okHTTP/1.1 400 "))
        self.assertEqual([line["end"] for line in dialogue.lines], ["ok", "bad-request"])
        dialogue.advance_past(2)
        self.assertFalse(client.is_open)

    def test_manyInOnePacketWithReadyAnswers(self) -> None:
        """A thousand requests in one packet that are all answered at once do not exhaust the stack."""
        dialogue = self.proxy(route='hosts = ["b.example"]', listener="keepalive_requests = 2000")
        client = dialogue.client()
        client.says(GET * 1000)
        self.assertEqual(client.gets().count(b"HTTP/1.1 404"), 1000)
        client.finishes()

    def test_finInSamePacketAsRequest(self) -> None:
        """A client that sends a request and shuts its side down at once is taken to have left: 499, as in nginx."""
        dialogue = self.proxy()
        client = dialogue.client()
        client.says(GET, noticed=False)
        client.finishes()
        self.assertEqual(self.assertEnd(dialogue, "client-left", 499)["tries"], 1)
        dialogue.refuse()
        self.assertFalse(client.is_open)


class OldVersionTests(TalkCase):
    """Clients and backends that speak HTTP/1.0."""

    OLD = request(b"GET / HTTP/1.0", host=b"")

    def test_noHostNeeded(self) -> None:
        """An HTTP/1.0 client needs no Host, gets a reply, and the connection ends."""
        dialogue = self.proxy()
        client = dialogue.client()
        client.says(self.OLD)
        backend = dialogue.backend()
        self.assertEqual(backend.gets_head().line, b"GET / HTTP/1.1")
        backend.says(OK)
        got = client.gets_head()
        self.assertEqual((got.get(b"Connection"), client.gets(), client.sees_end), (b"close", b"ok", True))
        self.assertIn("1 idle", repr(dialogue.pool))

    def test_keepAliveOnRequest(self) -> None:
        """One that asks for keep-alive gets it, and is told so."""
        dialogue = self.proxy()
        client, backend = self.busy(dialogue, request(b"GET / HTTP/1.0", b"Connection: keep-alive", host=b""))
        backend.says(OK)
        self.assertEqual(client.gets_head().get(b"Connection"), b"keep-alive")
        self.assertTrue(client.is_open)

    def test_chunkedReply(self) -> None:
        """A chunked reply becomes one that ends with the connection, keep-alive or not."""
        dialogue = self.proxy()
        client, backend = self.busy(dialogue, request(b"GET / HTTP/1.0", b"Connection: keep-alive", host=b""))
        backend.says(head(b"Transfer-Encoding: chunked") + b"3\r\nabc\r\n")
        got = client.gets_head()
        self.assertEqual((got.get(b"Transfer-Encoding"), got.get(b"Connection")), (None, b"close"))
        self.assertEqual((client.gets(), client.is_open), (b"abc", True))
        backend.says(b"2\r\nde\r\n0\r\nX: y\r\n\r\n")
        self.assertEqual((client.gets(), client.sees_end), (b"de", True))

    def test_cutReplyIsNoCleanEnd(self) -> None:
        """If such a reply is cut, only a reset can tell: the client gets one."""
        dialogue = self.proxy()
        client, backend = self.busy(dialogue, self.OLD)
        backend.says(head(b"Transfer-Encoding: chunked") + b"3\r\nabc\r\n")
        backend.finishes()
        self.assertTrue(client.sees_reset)
        self.assertEnd(dialogue, "reply-cut", 200)

    def test_noInterimReplies(self) -> None:
        """HTTP/1.0 clients get no 1xx (RFC 9110 section 15.2), and their Expect is not passed on."""
        dialogue = self.proxy()
        client = dialogue.client()
        client.says(request(b"POST / HTTP/1.0", b"Expect: 100-continue", b"Content-Length: 2"))
        backend = dialogue.backend()
        self.assertEqual(backend.gets_head().get(b"Expect"), None)
        backend.says(head(status=b"HTTP/1.1 103 Early Hints"))
        self.assertEqual(client.gets(), b"")
        client.says(b"hi")
        backend.says(OK)
        self.assertStatus(client, 200)

    def test_oldBackend(self) -> None:
        """An HTTP/1.0 backend's reply ends with its connection; the client's connection stays, with chunks."""
        dialogue = self.proxy()
        client, backend = self.busy(dialogue)
        backend.says(head(status=b"HTTP/1.0 200 OK") + b"abc")
        got = client.gets_head()
        self.assertEqual(got.line, b"HTTP/1.1 200 OK")
        self.assertEqual((got.get(b"Transfer-Encoding"), got.get(b"Via")), (b"chunked", b"1.0 txproxy"))
        self.assertEqual(client.gets(), b"3\r\nabc\r\n")
        backend.finishes()
        self.assertEqual((client.gets(), client.is_open), (b"0\r\n\r\n", True))
        self.assertEnd(dialogue, "ok", 200)

    def test_oldBackendWithLength(self) -> None:
        """One that gives a length and no keep-alive is not asked a second time."""
        dialogue = self.proxy()
        _, backend = self.busy(dialogue)
        backend.says(OK.replace(b"HTTP/1.1", b"HTTP/1.0"))
        self.assertFalse(backend.is_open)

    def test_higherMinorVersion(self) -> None:
        """HTTP/1.2 to 1.9 are served as 1.1 (RFC 9110 section 2.5)."""
        dialogue = self.proxy()
        client, backend = self.busy(dialogue, request(b"GET / HTTP/1.9"))
        backend.says(OK)
        self.assertEqual(client.gets_head().line, b"HTTP/1.1 200 OK")
        self.assertTrue(client.is_open)
