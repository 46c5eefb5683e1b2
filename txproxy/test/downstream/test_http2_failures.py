"""Failures with clients of HTTP/2: of backends, of single streams, and of the connection as a whole."""

from __future__ import annotations

from typing import Any

from h2.errors import ErrorCodes

from txproxy.downstream.http2 import Http2Connection
from txproxy.errors import ReplyTimeout
from txproxy.test.http2_talk import HIGHEST_ID, Http2Case, frame, length
from txproxy.test.talk import OK, head
from txproxy.testing import CLOSE

MISTAKES = (
    (frame(0, 0, 0, b"x"), ErrorCodes.PROTOCOL_ERROR),
    (frame(0, 8, 1, b"\x05x"), ErrorCodes.PROTOCOL_ERROR),
    (frame(1, 5, 0, b"\x82"), ErrorCodes.PROTOCOL_ERROR),
    (frame(1, 5, 2, b"\x82"), ErrorCodes.PROTOCOL_ERROR),
    (frame(1, 5, 3, b"\xff\xff\xff\xff\xff\xff"), ErrorCodes.COMPRESSION_ERROR),
    (frame(0, 0, 5, b"x"), ErrorCodes.PROTOCOL_ERROR),
    (frame(2, 0, 1, b"x"), ErrorCodes.FRAME_SIZE_ERROR),
    (frame(4, 0, 0, b"x"), ErrorCodes.FRAME_SIZE_ERROR),
    (frame(4, 0, 1), ErrorCodes.PROTOCOL_ERROR),
    (frame(4, 0, 0, b"\0\2\0\0\0\2"), ErrorCodes.PROTOCOL_ERROR),
    (frame(4, 0, 0, b"\0\4\x80\0\0\0"), ErrorCodes.FLOW_CONTROL_ERROR),
    (frame(5, 4, 1, b"\0\0\0\2"), ErrorCodes.PROTOCOL_ERROR),
    (frame(6, 0, 0, b"short"), ErrorCodes.FRAME_SIZE_ERROR),
    (frame(6, 0, 1, bytes(8)), ErrorCodes.PROTOCOL_ERROR),
    (frame(7, 0, 1, bytes(8)), ErrorCodes.PROTOCOL_ERROR),
    (frame(7, 0, 0, bytes(7)), ErrorCodes.FRAME_SIZE_ERROR),
    (frame(8, 0, 0, bytes(4)), ErrorCodes.PROTOCOL_ERROR),
    (frame(8, 0, 0, b"\x7f\xff\xff\xff"), ErrorCodes.FLOW_CONTROL_ERROR),
    (frame(9, 4, 1, b"\x82"), ErrorCodes.PROTOCOL_ERROR),
    (frame(1, 1, 3, b"\x82") + frame(6, 0, 0, bytes(8)), ErrorCodes.PROTOCOL_ERROR),
    (frame(0, 0, 1, bytes(16_385)), ErrorCodes.FRAME_SIZE_ERROR),
    (frame(6, 0, 0, bytes(8)) * 1100, ErrorCodes.ENHANCE_YOUR_CALM),
)


class BackendTests(Http2Case):
    """Backends that fail after a reply has begun."""

    def test_cut(self) -> None:
        """A backend that stops in mid-body, by whichever framing, ends the stream without a clean end; no other."""
        for field, content in (
            (b"Content-Length: 10", b"abc"),
            (b"Transfer-Encoding: chunked", b"3\r\nabc\r\n"),
            (b"X: until close", b"abc"),
        ):
            for way in ("finishes", "resets"):
                if way == "finishes" and b"close" in field:
                    continue
                dialogue = self.proxy()
                client = self.h2(dialogue)
                stream, other = client.asks(), client.asks()
                backend, second = dialogue.backend(), dialogue.backend()
                backend.says(head(field) + content)
                getattr(backend, way)()
                self.assertEqual((stream.gets(), stream.has_ended), (b"abc", False))
                self.assertReset(stream, ErrorCodes.INTERNAL_ERROR)
                self.assertEqual(self.assertEnd(dialogue, "reply-cut", 200)["bytes_out"], 3)
                second.says(OK)
                self.assertReply(other, 200, b"ok")

    def test_cutBeforeContent(self) -> None:
        """The head was given, then the end."""
        dialogue = self.proxy()
        _, stream, backend = self.asked(dialogue)
        backend.says(head(b"Content-Length: 10"))
        self.assertEqual(stream.gets_head().line, b"HTTP/2 200")
        backend.finishes()
        self.assertReset(stream, ErrorCodes.INTERNAL_ERROR)
        self.assertEnd(dialogue, "reply-cut", 200)

    def test_cutWhileContentWaits(self) -> None:
        """What waits for its window is dropped with the stream."""
        dialogue = self.proxy()
        client, stream, backend = self.asked(dialogue, window_bytes=10)
        backend.says(head(b"Content-Length: 100") + bytes(50))
        backend.resets()
        self.assertReset(stream, ErrorCodes.INTERNAL_ERROR)
        client.says(frame(8, 0, stream.id, b"\0\0\1\0"))
        self.assertEqual(len(stream.gets()), 10)
        self.assertEnd(dialogue, "reply-cut", 200)

    def test_cutDuringTheUpload(self) -> None:
        """A reset is all that the client is told, once, although its request is not complete."""
        dialogue = self.proxy()
        client, stream, backend = self.asked(dialogue, b"POST", b"/", length(100), ended=False)
        backend.says(head(b"Content-Length: 10") + b"abc")
        backend.resets()
        client.says(frame(0, 0, stream.id, b"more"))
        dialogue.advance(3)
        self.assertReset(stream, ErrorCodes.INTERNAL_ERROR)
        self.assertEqual(self.ends(dialogue), [(200, "reply-cut")])

    def test_brokenChunks(self) -> None:
        """Broken chunks: a 502 if nothing has gone out, else a reset."""
        dialogue = self.proxy()
        client, stream, backend = self.asked(dialogue)
        backend.says(head(b"Transfer-Encoding: chunked") + b"zz\r\n")
        self.assertReply(stream, 502)
        stream = client.asks()
        backend = dialogue.backend()
        backend.says(head(b"Transfer-Encoding: chunked") + b"3\r\nabc\r\n")
        backend.says(b"zz\r\n")
        self.assertReset(stream, ErrorCodes.INTERNAL_ERROR)
        self.assertEqual(self.ends(dialogue), [(502, "bad-reply"), (200, "bad-reply")])

    def test_beforeTheReply(self) -> None:
        """A backend that closes instead of an answer: another is asked if that is safe, else 502."""
        dialogue = self.proxy(backends=("10.0.0.1:80", "10.0.0.2:80"))
        dialogue.script("10.0.0.1:80", CLOSE)
        dialogue.script("10.0.0.2:80", OK)
        client = self.h2(dialogue)
        stream = client.asks()
        dialogue.advance(1)
        self.assertReply(stream, 200, b"ok")
        self.assertEqual(dialogue.lines[0]["tries"], 2)
        other = client.asks(b"POST", ended=False)
        other.says(b"x", ended=True)
        third = client.asks(b"POST", ended=False)
        third.says(b"x", ended=True)
        dialogue.advance(1)
        self.assertEqual({other.gets_head().line, third.gets_head().line}, {b"HTTP/2 200", b"HTTP/2 502"})

    def test_whileItIsWrittenTo(self) -> None:
        """A backend that is found dead by a write: the stream is answered once, whatever the write was."""
        for fields, says, finishes in (
            ((), b"hello", True),
            ((), b"hello", False),
            ((length(5),), b"hello", True),
            ((length(5),), b"he", False),
        ):
            dialogue = self.proxy()
            client, stream, backend = self.asked(dialogue, b"POST", b"/", *fields, ended=False)
            (connection,) = dialogue.assembled.sites["web"].connections
            assert isinstance(connection, Http2Connection)
            exchange = connection.streams[1].exchange
            backend.transport.protocol.send_body = lambda data, exchange=exchange: exchange.client.fail(
                exchange, ReplyTimeout()
            )
            stream.says(says, ended=finishes)
            self.assertReply(stream, 504)
            self.assertEqual((self.ends(dialogue), client.goaways), ([(504, "reply-timeout")], []))
            self.assertTrue(backend.sees_reset)
            self.assertEqual(dialogue.attempts, [])
            dialogue.advance_past(1)
            self.assertEqual(stream.reset_code, None if finishes else ErrorCodes.NO_ERROR)

    def test_silentInMidBody(self) -> None:
        """A backend that falls silent in mid-body."""
        dialogue = self.proxy(cluster="timeouts.between_bytes_s = 5")
        _, stream, backend = self.asked(dialogue)
        backend.says(head(b"Content-Length: 10") + b"abc")
        dialogue.advance_past(5)
        self.assertReset(stream, ErrorCodes.INTERNAL_ERROR)
        self.assertTrue(backend.sees_reset)
        self.assertEnd(dialogue, "reply-cut", 200)


class ConnectionErrorTests(Http2Case):
    """Mistakes that end the connection (RFC 9113 section 5.4.1)."""

    def test_mistakes(self) -> None:
        """Each is answered by GOAWAY with its code and the last stream; all streams end, each with its line."""
        for said, code in MISTAKES:
            dialogue = self.proxy()
            client = self.h2(dialogue)
            client.asks(b"POST", ended=False)
            backend = dialogue.backend()
            client.says(said)
            self.assertEqual([each.error_code for each in client.goaways], [code], said[:20])
            self.assertIn(client.goaways[0].last_stream_id, (1, 3))
            self.assertEqual(self.ends(dialogue), [(400, "bad-request")])
            self.assertTrue(backend.sees_reset)
            self.assertEqual((client.peer.sees_end, client.peer.transport.disconnected), (True, False))
            self.assertEqual(dialogue.assembled.counters.http2_failures, {code.name.lower(): 1})
            dialogue.advance_past(2)
            self.assertTrue(client.peer.transport.disconnected)
            self.assertFalse(client.peer.sees_reset)
            self.assertNothingLeft(dialogue)

    def test_withoutStreams(self) -> None:
        """Without a stream it makes one line, so that it is seen in the log at all."""
        dialogue = self.proxy()
        client = self.secure(dialogue)
        client.says(frame(6, 0, 0, b"short"))
        self.assertFailed(client, ErrorCodes.FRAME_SIZE_ERROR, 0)
        line = self.assertEnd(dialogue, "bad-request", 400)
        self.assertEqual((line["method"], line["client"], line["tls"]), (None, "192.0.2.1", "TLSv1.3"))
        self.assertEqual((line["total_ms"], line["bytes_out"]), (0, 0))
        self.assertEqual(len(dialogue.lines), 1)

    def test_noPreface(self) -> None:
        """What does not begin as HTTP/2 where that was agreed on."""
        for said in (b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n", b"\x16\x03\x01", b"PRI * HTTP/2.0\r\n\r\nSX"):
            dialogue = self.proxy()
            client = self.secure(dialogue, begins=False)
            client.says(said)
            self.assertFailed(client, ErrorCodes.PROTOCOL_ERROR, 0)
            self.assertEqual(self.ends(dialogue), [(400, "bad-request")])

    def test_firstFrame(self) -> None:
        """The first frame has to be SETTINGS (RFC 9113 section 3.4)."""
        for said in (frame(6, 0, 0, bytes(8)), frame(4, 1, 0)):
            dialogue = self.proxy()
            client = self.h2(dialogue, begins=False)
            client.says(client.preface[:24] + said)
            self.assertFailed(client, ErrorCodes.PROTOCOL_ERROR, 0)

    def test_whatFollowsIsNotServed(self) -> None:
        """Requests behind a mistake are thrown away, with all else that still comes."""
        dialogue = self.proxy()
        client = self.h2(dialogue)
        with client.in_one_packet():
            client.says(frame(6, 0, 0, b"short"))
            client.asks()
        client.says(frame(1, 5, 3, client.encodes([(b":method", b"GET")])))
        self.assertEqual(dialogue.attempts, [])
        self.assertEqual(len(dialogue.lines), 1)
        dialogue.advance_past(2)
        self.assertNothingLeft(dialogue)

    def test_whatCameBeforeIsServed(self) -> None:
        """What was answered before the mistake in the same packet goes out before the GOAWAY."""
        dialogue = self.proxy(route='hosts = ["b.example"]')
        client = self.h2(dialogue)
        with client.in_one_packet():
            stream = client.asks()
            client.says(frame(6, 0, 0, b"short"))
        self.assertReply(stream, 404)
        self.assertFailed(client, ErrorCodes.FRAME_SIZE_ERROR, 1)
        self.assertIn((404, "no-route"), self.ends(dialogue))

    def test_lateBackends(self) -> None:
        """Backends were cancelled; what they say nevertheless goes nowhere."""
        dialogue = self.proxy()
        client, stream, backend = self.asked(dialogue)
        client.says(frame(6, 0, 0, b"short"))
        backend.says(OK)
        self.assertEqual(stream.heads, [])
        self.assertEqual(self.kinds(client.frames)[-1], "GoAway")
        dialogue.advance_past(2)

    def test_clientClosesToo(self) -> None:
        """A client that closes after it has read why ends it at once."""
        dialogue = self.proxy()
        client = self.h2(dialogue)
        client.says(frame(6, 0, 0, b"short"))
        self.assertFailed(client, ErrorCodes.FRAME_SIZE_ERROR)
        client.peer.finishes()
        self.assertTrue(client.peer.transport.disconnected)
        self.assertFalse(client.peer.sees_reset)
        self.assertNothingLeft(dialogue)

    def test_clientHasClosedBefore(self) -> None:
        """A mistake and a FIN at once."""
        dialogue = self.proxy()
        client = self.h2(dialogue)
        client.peer.says(frame(6, 0, 0, b"short"), noticed=False)
        client.peer.finishes()
        dialogue.advance_past(2)
        self.assertEqual(len(client.goaways), 1)
        self.assertNothingLeft(dialogue)
        self.assertEqual(len(dialogue.lines), 1)

    def test_discards(self) -> None:
        """Up to 64 KiB of what still comes is thrown away; more is not read, and after 2 s the connection is closed."""
        dialogue = self.proxy()
        client = self.h2(dialogue)
        client.says(frame(6, 0, 0, b"short"))
        for _ in range(10):
            client.peer.says(bytes(30_000))
        self.assertGreater(len(client.peer.transport.arriving), 100_000)
        dialogue.advance_past(2)
        self.assertTrue(client.peer.transport.disconnected)
        self.assertNothingLeft(dialogue)

    def test_clientThatReadsNothing(self) -> None:
        """A client that was being sent much when it made its mistake, and reads nothing of it, is reset soon."""
        dialogue = self.proxy()
        client, _, backend = self.asked(dialogue)
        client.peer.stops_reading()
        backend.says(head(b"Content-Length: 500000") + bytes(500_000))
        client.peer.says(frame(6, 0, 0, b"short"))
        self.assertTrue(backend.sees_reset)
        self.assertEnd(dialogue, "bad-request", 200)
        dialogue.advance_past(5)
        self.assertTrue(client.peer.sees_reset)
        self.assertNothingLeft(dialogue)

    def test_tooManyStreams(self) -> None:
        """A stream above the limit is refused alone; nothing of it is seen, and the others go on (RFC 9113 section 5.1.2)."""
        dialogue = self.proxy(listener="h2_max_streams = 2")
        client = self.h2(dialogue)
        first, second = client.asks(), client.asks()
        client.says(frame(1, 5, 5, client.encodes([(b":method", b"GET")])))
        self.assertEqual((client.frames[-1].stream_id, self.kinds(client.frames)[-1]), (5, "RstStream"))
        self.assertEqual(client.frames[-1].error_code, ErrorCodes.REFUSED_STREAM)  # type: ignore[attr-defined]
        for backend in [dialogue.backend(), dialogue.backend()]:
            backend.says(OK)
        self.assertReply(first, 200)
        self.assertReply(second, 200)
        self.assertEqual(self.ends(dialogue), [(200, "ok")] * 2)
        self.assertEqual(client.goaways, [])


class Broken:
    """Does nothing that it should."""

    def parse(self, *anything: Any) -> None:
        """Fail."""
        raise ZeroDivisionError

    start = parse


class BugTests(Http2Case):
    """Bugs of ours."""

    def test_inAConnection(self) -> None:
        """An exception that nobody expected ends the connection with INTERNAL_ERROR, and nothing else."""

        dialogue = self.proxy()
        client, _, backend = self.asked(dialogue)
        dialogue.assembled.sites["web"].http2_parser = Broken()  # type: ignore[assignment]
        client.asks()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual([each.error_code for each in client.goaways], [ErrorCodes.INTERNAL_ERROR])
        self.assertTrue(backend.sees_reset)
        self.assertIn((500, "internal"), self.ends(dialogue))
        dialogue.advance_past(2)
        self.assertNothingLeft(dialogue)

    def test_inARouter(self) -> None:
        """One in what a stream is given to is a 500 of that stream."""
        dialogue = self.proxy()
        dialogue.assembled.sites["web"].router = Broken()
        client = self.h2(dialogue)
        for method in (b"GET", b"HEAD"):
            self.assertReply(client.asks(method), 500)
            self.assertEnd(dialogue, "internal", 500)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)
        self.assertTrue(client.peer.is_open)

    def test_words(self) -> None:
        """Connections and streams say what they are, for logs."""
        dialogue = self.proxy()
        client, _, _ = self.asked(dialogue)
        (connection,) = dialogue.assembled.sites["web"].connections
        assert isinstance(connection, Http2Connection)
        self.assertEqual(repr(connection), "<Http2Connection 1 streams, 1 requests>")
        self.assertTrue(repr(connection.streams[1]).startswith("<Http2Stream 1 <Exchange "))
        self.assertEqual(HIGHEST_ID, 2_147_483_647)
        client.peer.resets()
        self.assertEqual(repr(connection), "<Http2Connection closing, 1 requests>")
