"""How replies reach clients that speak HTTP/2: those of backends, and our own."""

from __future__ import annotations

from typing import Any

from h2.errors import ErrorCodes

from txproxy.test.http2_talk import Http2Case, frame, head_of, length
from txproxy.test.talk import OK, head, reply
from txproxy.testing import Http2Client


class ContentTests(Http2Case):
    """Heads, content and trailers of backends."""

    def test_asItComes(self) -> None:
        """Head and each part of the content are passed on when they come, whatever framing the backend uses (HF2)."""
        for field, said in (
            (b"Content-Length: 6", (b"ab", b"cd", b"ef", b"")),
            (b"Transfer-Encoding: chunked", (b"2\r\nab\r\n", b"2\r\ncd\r\n", b"2\r\nef\r\n", b"0\r\n\r\n")),
            (b"X: until close", (b"ab", b"cd", b"ef", b"")),
        ):
            dialogue = self.proxy()
            _, stream, backend = self.asked(dialogue)
            backend.says(head(field))
            got = stream.gets_head()
            self.assertEqual(got.get(b"content-length"), b"6" if b"Length" in field else None)
            self.assertEqual((got.all(b"transfer-encoding"), got.all(b"connection")), ([], []))
            for part, expected in zip(said, (b"ab", b"cd", b"ef", b""), strict=True):
                backend.says(part)
                self.assertEqual(stream.gets(), expected)
            if b"close" in field:
                self.assertFalse(stream.has_ended)
                backend.finishes()
            self.assertTrue(stream.has_ended)
            self.assertEqual(self.assertEnd(dialogue, "ok", 200)["bytes_out"], 6)

    def test_names(self) -> None:
        """Names are in lower case, values as they are; what belongs to one connection of HTTP/1.1 stays behind."""
        dialogue = self.proxy()
        _, stream, backend = self.asked(dialogue)
        backend.says(
            reply(
                b"ok",
                b"X-Ab: Cd",
                b"Keep-Alive: timeout=5",
                b"Connection: X-Hop",
                b"X-Hop: 1",
                b"Set-Cookie: a",
                b"Set-Cookie: b",
            )
        )
        got = stream.gets_head()
        names = [name for name, _ in got.fields]
        self.assertEqual(names[:4], [b"content-length", b"x-ab", b"set-cookie", b"set-cookie"])
        self.assertEqual(sorted(names[4:]), [b"date", b"via", b"x-request-id"])
        self.assertEqual((got.get(b"x-ab"), got.all(b"set-cookie")), (b"Cd", [b"a", b"b"]))

    def test_ours(self) -> None:
        """Via names the backend's version, Date is added only where it is missing, the id is the log's."""
        for status, date, via in (
            (b"HTTP/1.1 200 OK", (), b"1.1 txproxy"),
            (b"HTTP/1.0 200 OK", (b"Date: then",), b"1.0 txproxy"),
        ):
            dialogue = self.proxy()
            _, stream, backend = self.asked(dialogue)
            backend.says(head(b"Content-Length: 0", *date, status=status))
            got = stream.gets_head()
            self.assertEqual(got.get(b"via"), via)
            self.assertEqual(got.get(b"date"), b"then" if date else b"Tue, 14 Nov 2023 22:13:20 GMT")
            self.assertEqual(got.get(b"x-request-id"), dialogue.lines[0]["request_id"].encode())

    def test_rules(self) -> None:
        """A route's own rules come last."""
        rules = "{ remove = ['X-A', 'Via'], set = { 'X-Request-Id' = 'none' }, add = { 'X-B' = 'c' } }"
        dialogue = self.proxy(route=f"reply_headers = {rules}")
        _, stream, backend = self.asked(dialogue)
        backend.says(reply(b"ok", b"X-A: b", b"X-B: a"))
        got = stream.gets_head()
        self.assertEqual((got.all(b"x-a"), got.all(b"via")), ([], []))
        self.assertEqual((got.all(b"x-b"), got.all(b"x-request-id")), ([b"a", b"c"], [b"none"]))

    def test_withoutContent(self) -> None:
        """HEAD, 204 and 304: the stream ends with the head, which is all that is sent."""
        for method, status, expected in (
            (b"HEAD", b"200 OK", b"7"),
            (b"GET", b"204 No Content", None),
            (b"GET", b"304 Not Modified", b"7"),
            (b"GET", b"200 OK", b"0"),
        ):
            dialogue = self.proxy()
            _, stream, backend = self.asked(dialogue, method)
            size = b"0" if expected == b"0" else b"7"
            backend.says(head(b"Content-Length: " + size, status=b"HTTP/1.1 " + status))
            got = stream.gets_head()
            self.assertEqual((got.line[7:10], got.get(b"content-length")), (status[:3], expected))
            self.assertTrue(stream.has_ended)
            self.assertEqual(self.kinds(stream.frames), ["Headers"])
            self.assertIn("1 idle", repr(dialogue.pool))

    def test_trailers(self) -> None:
        """Trailers end the stream; those that may not stand there are dropped (RFC 9110 section 6.5.1)."""
        for content in (b"", b"1\r\nx\r\n"):
            for fields, expected in (
                (b"X-Sum: 1\r\nContent-Length: 9\r\nSet-Cookie: a\r\n", [(b"x-sum", b"1")]),
                (b"Content-Length: 9\r\n", None),
            ):
                dialogue = self.proxy()
                _, stream, backend = self.asked(dialogue)
                backend.says(head(b"Transfer-Encoding: chunked", b"Trailer: X-Sum") + content + b"0\r\n" + fields)
                self.assertFalse(stream.has_ended)
                backend.says(b"\r\n")
                self.assertEqual(stream.gets_head().get(b"trailer"), b"X-Sum")
                self.assertEqual((stream.gets(), stream.trailers), (b"x" if content else b"", expected))
                self.assertTrue(stream.has_ended)
                if expected:
                    self.assertEqual(self.kinds(stream.frames), ["Headers", *(["Data"] if content else []), "Headers"])

    def test_interim(self) -> None:
        """Interim replies are passed on at once, with the backend's own fields only, then the final one."""
        dialogue = self.proxy()
        _, stream, backend = self.asked(dialogue)
        backend.says(head(b"Link: </a.css>", b"Connection: x", status=b"HTTP/1.1 103 Early Hints"))
        got = stream.gets_head()
        self.assertEqual((got.line, got.fields), (b"HTTP/2 103", [(b"link", b"</a.css>")]))
        backend.says(head(status=b"HTTP/1.1 102 Processing") + OK)
        self.assertEqual(stream.gets_head().line, b"HTTP/2 102")
        self.assertReply(stream, 200, b"ok")
        self.assertEnd(dialogue, "ok", 200)

    def test_statuses(self) -> None:
        """What is no final status, or none at all, is a bad reply; one that nobody knows is passed on."""
        for status, expected in (
            (b"101", 502),
            (b"099", 502),
            (b"1000", 502),
            (b"2 0", 502),
            (b"299", 299),
            (b"599", 599),
        ):
            dialogue = self.proxy()
            _, stream, backend = self.asked(dialogue)
            backend.says(head(b"Content-Length: 0", b"Upgrade: x", b"Connection: x", status=b"HTTP/1.1 %b X" % status))
            self.assertReply(stream, expected)
            self.assertEqual(len(dialogue.lines), 1)

    def test_largeHead(self) -> None:
        """A head of more than one frame goes out before its content (RFC 9113 section 6.10)."""
        for size in (10_000, 16_000, 30_000):
            dialogue = self.proxy()
            client = self.h2(dialogue, settings={6: 100_000})
            stream = client.asks()
            backend = dialogue.backend()
            fields = [b"X-%d: %b" % (number, b"\xe9" * 5000) for number in range(size // 5000)]
            backend.says(head(b"Content-Length: 4", *fields) + b"ab")
            backend.says(b"cd")
            got = stream.gets_head()
            self.assertEqual(len([1 for name, _ in got.fields if name.startswith(b"x-")]), size // 5000 + 1)
            self.assertEqual((stream.gets(), stream.has_ended), (b"abcd", True))

    def test_continue(self) -> None:
        """Expect: 100-continue goes to the backend, its 100 comes back, then the body is sent."""
        dialogue = self.proxy()
        client = self.h2(dialogue)
        stream = client.asks(b"POST", b"/", (b"expect", b"100-continue"), length(5), ended=False)
        backend = dialogue.backend()
        self.assertEqual(backend.gets_head().get(b"Expect"), b"100-continue")
        self.assertEqual(stream.heads, [])
        backend.says(head(status=b"HTTP/1.1 100 Continue"))
        self.assertEqual(stream.gets_head().line, b"HTTP/2 100")
        stream.says(b"hello", ended=True)
        self.assertEqual(backend.gets(), b"hello")
        backend.says(OK)
        self.assertReply(stream, 200, b"ok")


class EarlyReplyTests(Http2Case):
    """Replies to requests of which not all has come (RFC 9113 section 8.1)."""

    def test_clientIsToldToStop(self) -> None:
        """The reply is complete; a client that goes on is told a second later that the rest is not wanted."""
        dialogue = self.proxy()
        client, stream, backend = self.asked(dialogue, b"POST", b"/", length(100_000), ended=False)
        stream.says(b"hello")
        backend.says(reply(b"no", status=b"403 Forbidden"))
        self.assertReply(stream, 403, b"no")
        self.assertFalse(backend.is_open)
        self.assertEqual(self.assertEnd(dialogue, "ok", 403)["bytes_in"], 5)
        stream.says(b"more")
        dialogue.advance(0.8)
        self.assertIsNone(stream.reset_code)
        dialogue.advance_past(0.2)
        self.assertReset(stream, ErrorCodes.NO_ERROR)
        dialogue.advance(5)
        self.assertEqual(self.kinds(stream.frames), ["Headers", "Data", "RstStream"])
        self.assertEqual(len(dialogue.lines), 1)
        self.assertTrue(client.peer.is_open)

    def test_clientStopsByItself(self) -> None:
        """A client that ends its request, or resets it, meanwhile is told nothing more."""
        for way in ("says", "finishes", "trailers", "resets"):
            dialogue = self.proxy()
            client, stream, backend = self.asked(dialogue, b"POST", ended=False)
            backend.says(OK)
            self.assertReply(stream, 200, b"ok")
            if way == "says":
                stream.says(b"rest", ended=True)
            elif way == "trailers":
                stream.finishes((b"x-sum", b"1"))
            else:
                getattr(stream, way)()
            dialogue.advance(3)
            self.assertEqual(self.kinds(stream.frames), ["Headers", "Data"], way)
            self.assertEqual(self.ends(dialogue), [(200, "ok")])
            self.assertTrue(client.peer.is_open)

    def test_windowOfTheConnection(self) -> None:
        """What comes on such a stream is thrown away, and takes nothing from the others."""
        dialogue = self.proxy(listener="h2_connection_window_bytes = 65536")
        client = self.h2(dialogue)
        for _ in range(6):
            stream = client.asks(b"POST", ended=False)
            dialogue.backend().says(OK)
            stream.says(bytes(30_000))
            self.assertReply(stream, 200)
        self.assertGreater(client.room, 30_000)
        self.assertEqual(stream.room, 65_536 - 30_000)
        dialogue.advance_past(1)

    def test_ownReply(self) -> None:
        """The same for a reply of ours."""
        dialogue = self.proxy(route="max_body_bytes = 5")
        client = self.h2(dialogue)
        stream = client.asks(b"POST", b"/", length(6), ended=False)
        self.assertReply(stream, 413)
        self.assertEqual(dialogue.attempts, [])
        dialogue.advance_past(1)
        self.assertReset(stream, ErrorCodes.NO_ERROR)

    def test_attackOnTheLimitOfStreams(self) -> None:
        """Streams that linger count for the limit, so that nobody opens more of them than of others."""
        dialogue = self.proxy(route='hosts = ["b.example"]', listener="h2_max_streams = 2")
        client = self.h2(dialogue)
        for _ in range(3):
            streams = [client.asks(b"POST", ended=False) for _ in range(2)]
            for stream in streams:
                self.assertReply(stream, 404)
            if stream.id < 10:
                dialogue.advance_past(1)
        client.says(frame(1, 5, 13, client.encodes(head_of())))
        self.assertEqual(self.kinds(client.frames)[-1], "RstStream")
        self.assertEqual(client.frames[-1].error_code, ErrorCodes.REFUSED_STREAM)  # type: ignore[attr-defined]
        self.assertEqual(len(dialogue.lines), 6)


class TogetherTests(Http2Case):
    """What goes out in one turn leaves in one write."""

    def writes(self, client: Http2Client) -> list[bytes]:
        """Return a list that each further write is added to."""
        transport: Any = client.peer.transport
        original, seen = transport.write, []

        def write(data: bytes) -> None:
            seen.append(data)
            original(data)

        transport.write = write
        return seen

    def test_repliesOfSeveralStreams(self) -> None:
        """Replies of several backends in one turn are one write."""
        dialogue = self.proxy()
        client = self.h2(dialogue)
        streams = [client.asks() for _ in range(5)]
        backends = [dialogue.backend() for _ in range(5)]
        seen = self.writes(client)
        for backend in backends:
            backend.says(OK, noticed=False)
        dialogue.settle()
        self.assertEqual(len(seen), 1)
        for stream in streams:
            self.assertReply(stream, 200, b"ok")

    def test_muchContentIsNotHeldBack(self) -> None:
        """More than 16 KiB goes out at once, in the order in which it came."""
        dialogue = self.proxy()
        client = self.h2(dialogue)
        streams = [client.asks() for _ in range(3)]
        backends = [dialogue.backend() for _ in range(3)]
        seen = self.writes(client)
        for backend in backends:
            backend.says(reply(bytes(10_000)), noticed=False)
        dialogue.settle()
        self.assertEqual(len(seen), 2)
        for stream in streams:
            self.assertReply(stream, 200, bytes(10_000))

    def test_answersToOnePacket(self) -> None:
        """Replies of our own to requests of one packet are one write, with what the frames themselves ask for."""
        dialogue = self.proxy(route='hosts = ["b.example"]')
        client = self.h2(dialogue)
        seen = self.writes(client)
        with client.in_one_packet():
            streams = [client.asks() for _ in range(10)]
            client.says(b"\0\0\x08\x06\0\0\0\0\0" + b"pingpong")
        self.assertEqual(len(seen), 1)
        for stream in streams:
            self.assertReply(stream, 404)
        self.assertEqual(self.kinds(client.frames)[-1], "Ping")
