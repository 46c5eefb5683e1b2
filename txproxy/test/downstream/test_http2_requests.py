"""Requests of clients that speak HTTP/2: each stream is an exchange, with its own way and its own line in the log."""

from __future__ import annotations

from typing import Any

from h2.errors import ErrorCodes

from txproxy.test.http2_talk import Http2Case, frame, head_of, length
from txproxy.test.talk import OK, head, reply
from txproxy.testing import Dialogue

TRUSTED = '[proxy]\ntrusted_proxies = ["10.0.0.0/8"]'


class ExchangeTests(Http2Case):
    """One stream, one exchange, one line."""

    def test_eachStreamHasItsLine(self) -> None:
        """Streams end in their own order; each line has the timings of its own exchange, and they add up (O1)."""
        dialogue = self.proxy(backends=("10.0.0.1:80",), cluster="pool.max_connections = 2")
        client = self.h2(dialogue)
        first, second, third = (client.asks(b"GET", path) for path in (b"/1", b"/2", b"/3"))
        dialogue.advance(1)
        backends = [dialogue.backend(), dialogue.backend()]
        dialogue.advance(1)
        backends[1].says(head(b"Content-Length: 4") + b"ab")
        dialogue.advance(2)
        backends[1].says(b"cd")
        self.assertReply(second, 200, b"abcd")
        dialogue.advance(1)
        backends[1].says(reply(b"third"))
        self.assertReply(third, 200, b"third")
        backends[0].says(reply(b"missing", status=b"404 Not Found"))
        self.assertReply(first, 404, b"missing")
        lines = dialogue.lines
        seen = [(line["target"], line["version"], line["status"], line["bytes_out"], line["end"]) for line in lines]
        self.assertEqual(seen, [("/2", "2.0", 200, 4, "ok"), ("/3", "2.0", 200, 5, "ok"), ("/1", "2.0", 404, 7, "ok")])
        phases = [[line[name] for name in ("queue_ms", "connect_ms", "first_byte_ms", "transfer_ms")] for line in lines]
        self.assertEqual(phases, [[0, 1000, 1000, 2000], [4000, 0, 1000, 0], [0, 1000, 4000, 0]])
        self.assertEqual([line["total_ms"] for line in lines], [4000, 5000, 5000])
        self.assertEqual(len({line["request_id"] for line in lines}), 3)
        self.assertEqual({line["tries"] for line in lines}, {1})

    def test_combinedFormat(self) -> None:
        """The version stands in the line of the combined format too."""
        dialogue = self.proxy(rest='[log]\nformat = "combined"')
        dialogue.script("10.0.0.1:80", OK)
        self.assertReply(self.h2(dialogue).asks(b"GET", b"/x", (b"user-agent", b"curl")), 200)
        self.assertIn('"GET /x HTTP/2.0" 200 2 "-" "curl"', dialogue.lines[0])

    def test_methods(self) -> None:
        """Any method goes upstream as it is; a body only where there is one."""
        dialogue = self.proxy()
        backend = dialogue.script("10.0.0.1:80", OK)
        client = self.h2(dialogue)
        for method in (b"GET", b"HEAD", b"DELETE", b"PURGE", b"get"):
            client.asks(method, b"/a?b=%20c")
            got = backend.requests[-1].head
            self.assertEqual(got.line, method + b" /a?b=%20c HTTP/1.1")
            self.assertEqual((got.all(b"Content-Length"), got.all(b"Transfer-Encoding")), ([], []))
        self.assertEqual(len(dialogue.lines), 5)

    def test_fields(self) -> None:
        """Host is what :authority says; fields keep their order; cookies are one field again."""
        dialogue = self.proxy()
        backend = dialogue.script("10.0.0.1:80", OK)
        fields = ((b"x-b", b"1"), (b"cookie", b"a=1"), (b"x-a", b"2"), (b"cookie", b"b=2"), (b"x-b", b"\xc3\xa9"))
        self.assertReply(self.h2(dialogue).asks(b"GET", b"/", *fields), 200)
        got = backend.requests[0].head.fields
        self.assertEqual(
            got[:5],
            [(b"Host", b"a.example"), (b"x-b", b"1"), (b"cookie", b"a=1; b=2"), (b"x-a", b"2"), (b"x-b", b"\xc3\xa9")],
        )

    def test_ofAPeerThatIsNotTrusted(self) -> None:
        """What it says of a client, and its id of the request, are replaced."""
        dialogue = self.proxy()
        backend = dialogue.script("10.0.0.1:80", OK)
        stream = self.h2(dialogue).asks(b"GET", b"/", (b"x-request-id", b"mine"), (b"x-forwarded-for", b"203.0.113.9"))
        got = backend.requests[0].head
        self.assertEqual(got.get(b"X-Forwarded-For"), b"192.0.2.1")
        self.assertEqual(got.get(b"Via"), b"2.0 txproxy")
        self.assertEqual((got.get(b"X-Forwarded-Proto"), got.get(b"X-Forwarded-Port")), (b"http", b"8080"))
        line = dialogue.lines[0]
        self.assertEqual(got.get(b"X-Request-Id"), line["request_id"].encode())
        self.assertEqual(stream.gets_head().get(b"x-request-id"), line["request_id"].encode())
        self.assertNotEqual(line["request_id"], "mine")
        self.assertEqual(line["client"], "192.0.2.1")

    def test_ofATrustedPeer(self) -> None:
        """Its id of the request is kept, and its client's address is the one that counts."""
        dialogue = self.proxy(rest=TRUSTED)
        backend = dialogue.script("10.0.0.1:80", OK)
        client = self.h2(dialogue, dialogue.client("10.1.1.1"))
        stream = client.asks(b"GET", b"/", (b"x-request-id", b"mine"), (b"x-forwarded-for", b"203.0.113.9"))
        got = backend.requests[0].head
        self.assertEqual(got.get(b"X-Forwarded-For"), b"203.0.113.9, 10.1.1.1")
        self.assertEqual(got.get(b"X-Request-Id"), b"mine")
        self.assertEqual(stream.gets_head().get(b"x-request-id"), b"mine")
        self.assertEqual((dialogue.lines[0]["request_id"], dialogue.lines[0]["client"]), ("mine", "203.0.113.9"))
        self.assertReply(client.asks(b"GET", b"/", (b"x-request-id", b"bad id")), 200)
        self.assertNotEqual(dialogue.lines[1]["request_id"], "bad id")

    def test_onAUnixSocket(self) -> None:
        """A client without an address is served too."""
        dialogue = self.proxy()
        dialogue.script("10.0.0.1:80", OK)
        self.assertReply(self.h2(dialogue, dialogue.client("unix")).asks(), 200)
        self.assertEqual(dialogue.lines[0]["client"], "unix")


class BodyTests(Http2Case):
    """Requests with content."""

    def test_declared(self) -> None:
        """A body with Content-Length goes to the backend with that length."""
        dialogue = self.proxy()
        _, stream, backend = self.asked(dialogue, b"POST", b"/", length(10), ended=False)
        stream.says(b"hello")
        self.assertEqual(backend.gets(), b"hello")
        stream.says(b"world", ended=True)
        self.assertEqual(backend.gets(), b"world")
        backend.says(OK)
        self.assertReply(stream, 200, b"ok")
        self.assertEqual(self.assertEnd(dialogue, "ok", 200)["bytes_in"], 10)
        self.assertIsNone(stream.reset_code)

    def test_undeclared(self) -> None:
        """A body without one goes to the backend in chunks, each as it comes."""
        dialogue = self.proxy()
        client = self.h2(dialogue)
        stream = client.asks(b"POST", ended=False)
        backend = dialogue.backend()
        self.assertEqual(backend.gets_head().get(b"Transfer-Encoding"), b"chunked")
        stream.says(b"hello")
        self.assertEqual(backend.gets(), b"5\r\nhello\r\n")
        stream.finishes()
        self.assertEqual(backend.gets(), b"0\r\n\r\n")
        backend.says(OK)
        self.assertReply(stream, 200, b"ok")
        self.assertEqual(self.assertEnd(dialogue, "ok")["bytes_in"], 5)

    def test_trailers(self) -> None:
        """Trailers of the request go to the backend, but for those that may not stand there (RFC 9110 section 6.5.1)."""
        dialogue = self.proxy()
        _, stream, backend = self.asked(dialogue, b"POST", ended=False)
        stream.says(b"x")
        stream.finishes((b"x-sum", b"1"), (b"cookie", b"a"))
        self.assertEqual(backend.gets(), b"1\r\nx\r\n0\r\nx-sum: 1\r\n\r\n")
        backend.says(OK)
        self.assertReply(stream, 200)

    def test_trailersAfterDeclaredContent(self) -> None:
        """With Content-Length there is no place for trailers towards HTTP/1.1: the request is complete without."""
        dialogue = self.proxy()
        _, stream, backend = self.asked(dialogue, b"POST", b"/", length(1), ended=False)
        stream.says(b"x")
        stream.finishes((b"x-sum", b"1"))
        self.assertEqual(backend.gets(), b"x")
        backend.says(OK)
        self.assertReply(stream, 200)

    def test_malformedTrailers(self) -> None:
        """Malformed trailers are the end of the stream; the backend never sees the end of the body."""
        for trailer in ((b":path", b"/"), (b"X-Sum", b"1"), (b"x-sum", b"a\nb"), (b"connection", b"x")):
            dialogue = self.proxy()
            client, stream, backend = self.asked(dialogue, b"POST", ended=False)
            stream.says(b"x")
            stream.finishes(trailer)
            self.assertReset(stream, ErrorCodes.PROTOCOL_ERROR)
            self.assertEqual((backend.gets(), backend.sees_reset), (b"1\r\nx\r\n", True))
            self.assertEnd(dialogue, "bad-body", 400)
            self.assertTrue(client.peer.is_open)

    def test_tooShort(self) -> None:
        """Less content than was declared: the stream is reset, the backend sees no complete request (RFC 9113 section 8.1.1)."""
        for finishes in ([], [(b"x-sum", b"1")]):
            dialogue = self.proxy()
            client, stream, backend = self.asked(dialogue, b"POST", b"/", length(10), ended=False)
            stream.says(b"hello")
            stream.finishes(*finishes)
            self.assertReset(stream, ErrorCodes.PROTOCOL_ERROR)
            self.assertEqual((backend.gets(), backend.sees_reset), (b"hello", True))
            self.assertEqual(self.assertEnd(dialogue, "bad-body", 400)["bytes_in"], 5)
            self.assertReply(self.served(dialogue, client), 200)

    def test_tooLong(self) -> None:
        """More content than was declared: the stream is reset before the backend has what could be all of it."""
        for parts in ((b"he", b"llo"), (b"he", b"l", b"l", b"o"), (b"he", b"ll", b"", b"o")):
            for ended in (False, True):
                dialogue = self.proxy()
                client, stream, backend = self.asked(dialogue, b"POST", b"/", length(4), ended=False)
                for part in parts[:-1]:
                    stream.says(part)
                stream.says(parts[-1], ended=ended)
                self.assertReset(stream, ErrorCodes.PROTOCOL_ERROR)
                self.assertLess(len(backend.gets()), 4)
                self.assertTrue(backend.sees_reset)
                self.assertEnd(dialogue, "bad-body", 400)
                self.assertReply(self.served(dialogue, client), 200)

    def test_emptyFrames(self) -> None:
        """Frames of content without content are none: no chunk of theirs ends the body."""
        dialogue = self.proxy()
        _, stream, backend = self.asked(dialogue, b"POST", ended=False)
        stream.says(b"")
        stream.says(b"x")
        stream.says(b"")
        self.assertEqual(backend.gets(), b"1\r\nx\r\n")
        stream.finishes()
        self.assertEqual(backend.gets(), b"0\r\n\r\n")
        backend.says(OK)
        self.assertReply(stream, 200)

    def test_declaredButEmpty(self) -> None:
        """Content-Length: 0 and an end that comes later: only then is it known to be a request."""
        for trailers in ((), ((b"x-sum", b"1"),)):
            dialogue = self.proxy()
            stream = self.h2(dialogue).asks(b"POST", b"/", length(0), ended=False)
            self.assertEqual(dialogue.attempts, [])
            stream.finishes(*trailers)
            backend = dialogue.backend()
            self.assertEqual(backend.gets_head().get(b"Content-Length"), b"0")
            backend.says(OK)
            self.assertReply(stream, 200)
            self.assertIsNone(stream.reset_code)

    def test_declaredEmptyButNot(self) -> None:
        """Content after Content-Length: 0 is malformed, and no backend is asked."""
        dialogue = self.proxy()
        stream = self.h2(dialogue).asks(b"POST", b"/", length(0), ended=False)
        stream.says(b"x")
        self.assertReset(stream, ErrorCodes.PROTOCOL_ERROR)
        self.assertEnd(dialogue, "bad-body", 400)
        self.assertEqual(dialogue.attempts, [])

    def test_wholeRequestBeforeThereIsABackend(self) -> None:
        """What has come before the backend was connected goes with the head."""
        dialogue = self.proxy(backends=("10.0.0.1:80", "10.0.0.2:80"))
        stream = self.h2(dialogue).asks(b"PUT", ended=False)
        stream.says(b"hello")
        stream.finishes((b"x-sum", b"1"))
        dialogue.refuse("10.0.0.1:80")
        backend = dialogue.backend("10.0.0.2:80")
        backend.gets_head()
        self.assertEqual(backend.gets(), b"5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n")
        backend.says(OK)
        self.assertReply(stream, 200)
        self.assertEqual(self.assertEnd(dialogue, "ok")["tries"], 2)

    def served(self, dialogue: Dialogue, client: Any) -> Any:
        """Return a further stream of a client that has been served."""
        stream = client.asks()
        dialogue.backend().says(OK)
        return stream


class MalformedTests(Http2Case):
    """Heads that are no requests (RFC 9113 section 8.1.1)."""

    HEADS = (
        head_of()[1:],
        head_of()[:3],
        [*head_of(), (b":path", b"/")],
        [(b"x", b"y"), *head_of()],
        head_of(b"GET", b"/", (b":status", b"200")),
        head_of(b"GET", b""),
        head_of(b"GET", b"x"),
        head_of(b"GE T"),
        head_of(b"GET", b"/", (b"X-A", b"b")),
        head_of(b"GET", b"/", (b"connection", b"close")),
        head_of(b"GET", b"/", (b"transfer-encoding", b"chunked")),
        head_of(b"GET", b"/", (b"te", b"gzip")),
        head_of(b"GET", b"/", (b"x", b"a\r\nb")),
        head_of(b"GET", b"/", (b"x", b" a")),
        head_of(b"GET", b"/", (b"host", b"b.example")),
        head_of(b"GET", b"/", length(5)),
        head_of(b"GET", b"/", (b"content-length", b"+0")),
    )

    def test_heads(self) -> None:
        """Each ends its stream, makes one line, and reaches nobody; the connection goes on."""
        dialogue = self.proxy()
        client = self.h2(dialogue)
        for fields in self.HEADS:
            stream = client.sends_head(fields)
            self.assertReset(stream, ErrorCodes.PROTOCOL_ERROR)
            self.assertEqual(stream.heads, [])
        self.assertEqual(dialogue.attempts, [])
        self.assertEqual(self.ends(dialogue), [(400, "bad-request")] * len(self.HEADS))
        self.assertEqual({line["method"] for line in dialogue.lines}, {None})
        self.assertEqual((client.goaways, client.peer.is_open), ([], True))

    def test_withABody(self) -> None:
        """The content of what was no request is passed over."""
        dialogue = self.proxy()
        client = self.h2(dialogue)
        with client.in_one_packet() as packet:
            stream = client.sends_head(head_of(b"PO ST"), ended=False)
            stream.says(b"hello", ended=True)
            self.assertGreater(len(packet), 0)
        self.assertEqual(stream.reset_code, ErrorCodes.PROTOCOL_ERROR)
        self.assertEqual(self.ends(dialogue), [(400, "bad-request")])
        self.assertEqual(dialogue.attempts, [])

    def test_suspiciousTargets(self) -> None:
        """A target that is well-formed and not let pass is answered, as by HTTP/1.1."""
        dialogue = self.proxy()
        stream = self.h2(dialogue).asks(b"GET", b"/a/../b")
        self.assertReply(stream, 400)
        self.assertEnd(dialogue, "bad-request", 400)
        self.assertEqual(dialogue.attempts, [])

    def test_streamErrorsOfFrames(self) -> None:
        """A rule that is broken on one stream ends its exchange in the same way (RFC 9113 section 6.9.1)."""
        dialogue = self.proxy()
        client, stream, backend = self.asked(dialogue, b"POST", ended=False)
        client.says(frame(8, 0, stream.id, b"\x7f\xff\xff\xff"))
        self.assertReset(stream, ErrorCodes.FLOW_CONTROL_ERROR)
        self.assertTrue(backend.sees_reset)
        self.assertEnd(dialogue, "bad-body", 400)
        self.assertTrue(client.peer.is_open)
