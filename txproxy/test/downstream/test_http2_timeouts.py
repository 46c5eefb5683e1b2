"""Every limit of time towards clients that speak HTTP/2, just before it and at it."""

from __future__ import annotations

from h2.errors import ErrorCodes

from txproxy.test.http2_talk import EMPTY_SETTINGS, PREFACE, Http2Case, frame, length
from txproxy.test.talk import OK, head, reply
from txproxy.testing import Dialogue, Http2Client


class ConnectionTests(Http2Case):
    """Limits of the connection as a whole."""

    def assertEndsAt(self, dialogue: Dialogue, client: Http2Client, limit_s: float) -> None:
        """Let a limit pass: nothing may be said before it, and the connection ends after it."""
        dialogue.advance(limit_s - 0.2)
        self.assertEqual((client.goaways, client.peer.is_open), ([], True))
        dialogue.advance(0.4)
        self.assertEqual(len(client.goaways), 1)
        self.assertTrue(client.peer.sees_end)
        self.assertFalse(client.peer.transport.disconnected)
        dialogue.advance_past(2)
        self.assertTrue(client.peer.transport.disconnected)
        self.assertFalse(client.peer.sees_reset)
        self.assertNothingLeft(dialogue)

    def test_preface(self) -> None:
        """A client of TLS that has agreed on HTTP/2 has 10 s for what comes first, whatever progress it makes (Q1)."""
        for trickles in (False, True):
            dialogue = self.proxy()
            client = self.secure(dialogue, begins=False)
            if trickles:
                for index in range(9):
                    client.says(client.preface[index : index + 1])
                    dialogue.advance(1)
            self.assertEndsAt(dialogue, client, 1 if trickles else 10)
            self.assertEqual(client.goaways[0].error_code, ErrorCodes.PROTOCOL_ERROR)
            self.assertEnd(dialogue, "request-timeout", 408)

    def test_prefaceOfPriorKnowledge(self) -> None:
        """The same without TLS, in the first half of the preface and after it."""
        for said in (b"PRI * HT", PREFACE[:20], PREFACE, PREFACE + EMPTY_SETTINGS[:5]):
            dialogue = self.proxy()
            client = self.h2(dialogue, begins=False)
            client.says(said)
            dialogue.advance(9.8)
            self.assertTrue(client.peer.is_open)
            dialogue.advance(0.4)
            self.assertTrue(client.peer.sees_end)
            self.assertEnd(dialogue, "request-timeout", 408)
            dialogue.advance_past(2)
            self.assertNothingLeft(dialogue)

    def test_idle(self) -> None:
        """75 s without a stream end a connection without an error and without a line; streams start it anew (Q7)."""
        dialogue = self.proxy()
        client = self.h2(dialogue)
        self.assertEndsAt(dialogue, client, 75)
        self.assertEqual((client.goaways[0].error_code, client.goaways[0].last_stream_id), (ErrorCodes.NO_ERROR, 0))
        self.assertEqual(dialogue.lines, [])
        dialogue.script("10.0.0.1:80", OK)
        client = self.h2(dialogue)
        for _ in range(2):
            dialogue.advance(70)
            self.assertReply(client.asks(), 200)
        self.assertEndsAt(dialogue, client, 75)
        self.assertEqual(client.goaways[0].last_stream_id, 3)

    def test_trickledFramesAreNoUse(self) -> None:
        """Frames that are no requests do not put off the end of an idle connection."""
        dialogue = self.proxy()
        client = self.h2(dialogue)
        for _ in range(7):
            dialogue.advance(10)
            client.says(frame(6, 0, 0, bytes(8)))
            client.changes({})
        self.assertEndsAt(dialogue, client, 5)

    def test_notIdle(self) -> None:
        """A stream that is open keeps its connection, however little happens on it."""
        dialogue = self.proxy(cluster="timeouts.first_byte_s = 1000")
        client, stream, backend = self.asked(dialogue)
        dialogue.advance(500)
        self.assertTrue(client.peer.is_open)
        backend.says(OK)
        self.assertReply(stream, 200)
        self.assertEndsAt(dialogue, client, 75)

    def test_headerBlock(self) -> None:
        """A header block must be complete 10 s after it has begun, whatever comes of it meanwhile (Q1)."""
        for trickles in (False, True):
            dialogue = self.proxy()
            dialogue.script("10.0.0.1:80", OK)
            client = self.h2(dialogue)
            self.assertReply(client.asks(), 200)
            parts = self.fragments(self.unsaid(client)[1], *[1] * 10)
            client.says(parts[0])
            if trickles:
                for part in parts[1:10]:
                    dialogue.advance(1)
                    client.says(part)
            self.assertEndsAt(dialogue, client, 1 if trickles else 10)
            self.assertEqual(client.goaways[0].error_code, ErrorCodes.PROTOCOL_ERROR)
            self.assertEqual(self.ends(dialogue), [(200, "ok"), (408, "request-timeout")])

    def test_headerBlockInOneFrame(self) -> None:
        """The same if it is one frame of which not all comes: it has begun with its first byte (Q1)."""
        for trickles in (False, True):
            dialogue = self.proxy()
            client = self.h2(dialogue)
            _, said = self.unsaid(client)
            client.says(said[:2])
            if trickles:
                for index in range(2, 11):
                    dialogue.advance(1)
                    client.says(said[index : index + 1])
            self.assertEndsAt(dialogue, client, 1 if trickles else 10)
            self.assertEnd(dialogue, "request-timeout", 408)

    def test_eachBlockHasItsTime(self) -> None:
        """A block that begins in the packet in which the one before it ends has the whole time."""
        dialogue = self.proxy()
        dialogue.script("10.0.0.1:80", OK)
        client = self.h2(dialogue)
        first, second = [self.fragments(self.unsaid(client)[1], 3) for _ in range(2)]
        client.says(first[0])
        dialogue.advance(6)
        client.says(first[1] + second[0])
        dialogue.advance(6)
        self.assertEqual((client.goaways, client.peer.is_open), ([], True))
        client.says(second[1])
        self.assertEqual(self.ends(dialogue), [(200, "ok")] * 2)

    def test_headerBlockWithStreams(self) -> None:
        """It is the connection that ends: the streams that were open end with it."""
        dialogue = self.proxy()
        client, _, backend = self.asked(dialogue)
        client.says(self.fragments(self.unsaid(client)[1], 3)[0])
        self.assertEndsAt(dialogue, client, 10)
        self.assertTrue(backend.sees_reset)
        self.assertEqual(self.ends(dialogue), [(408, "request-timeout")])

    def test_write(self) -> None:
        """60 s in which a client reads nothing: a reset, and all backends are freed (Q2)."""
        dialogue = self.proxy()
        client = self.h2(dialogue)
        streams = [client.asks(), client.asks()]
        backends = [dialogue.backend(), dialogue.backend()]
        for backend in backends:
            backend.says(head(b"Content-Length: 1000000"))
        self.assertEqual([len(stream.heads) for stream in streams], [1, 1])
        client.peer.stops_reading()
        for backend in backends:
            backend.says(bytes(200_000))
        dialogue.advance(59.8)
        self.assertTrue(client.peer.is_open)
        dialogue.advance(0.4)
        self.assertTrue(client.peer.sees_reset)
        self.assertEqual([backend.sees_reset for backend in backends], [True, True])
        self.assertEqual(self.ends(dialogue), [(200, "write-timeout")] * 2)
        self.assertNothingLeft(dialogue)

    def test_writeWithStreamsThatWait(self) -> None:
        """A stream that had no reply yet when its client was cut off has a status in the log too."""
        dialogue = self.proxy(cluster="timeouts.first_byte_s = 600")
        client = self.h2(dialogue)
        client.asks(b"GET", b"/waits")
        client.asks(b"GET", b"/large")
        dialogue.backend()
        client.peer.stops_reading()
        dialogue.backend().says(head(b"Content-Length: 1000000") + bytes(200_000))
        dialogue.advance_past(60)
        lines = {line["target"]: line for line in dialogue.lines}
        self.assertEqual((lines["/large"]["status"], lines["/large"]["end"]), (200, "write-timeout"))
        self.assertEqual(lines["/waits"]["end"], "write-timeout")
        self.assertIn(lines["/waits"]["status"], range(100, 600))

    def test_backendsAreNotBlamed(self) -> None:
        """A backend whose reply waits because the client reads slowly has answered in time."""
        dialogue = self.proxy(cluster="timeouts.first_byte_s = 20")
        client = self.h2(dialogue)
        large, small = client.asks(b"GET", b"/large"), client.asks(b"GET", b"/small")
        backends = [dialogue.backend(), dialogue.backend()]
        client.peer.stops_reading()
        backends[0].says(head(b"Content-Length: 400000") + bytes(400_000))
        backends[1].says(OK)
        for _ in range(4):
            dialogue.advance(10)
            client.peer.reads(1_000)
        client.peer.reads()
        self.assertReply(large, 200, bytes(400_000))
        self.assertReply(small, 200, b"ok")

    def test_writeWithProgress(self) -> None:
        """A client that reads slowly, but reads, is served; what the kernel holds counts."""
        dialogue = self.proxy()
        client, stream, backend = self.asked(dialogue)
        client.peer.stops_reading()
        client.peer.transport.in_kernel = 3_000_000
        backend.says(head(b"Content-Length: 200000") + bytes(200_000))
        for number in range(10):
            dialogue.advance(50)
            if number % 2:
                client.peer.reads(1000)
            else:
                client.peer.transport.in_kernel -= 100_000
        self.assertTrue(client.peer.is_open)
        client.peer.reads()
        self.assertReply(stream, 200, bytes(200_000))


class StreamTests(Http2Case):
    """Limits of one stream; the connection goes on."""

    def test_body(self) -> None:
        """60 s without a byte of a body: 408, the backend is reset (Q2); each byte starts the time anew."""
        for fields in ((), (length(10),)):
            dialogue = self.proxy()
            client, stream, backend = self.asked(dialogue, b"POST", b"/", *fields, ended=False)
            stream.says(b"a")
            dialogue.advance(59)
            stream.says(b"b")
            dialogue.advance(59.8)
            self.assertEqual(stream.heads, [])
            dialogue.advance(0.4)
            self.assertReply(stream, 408)
            self.assertTrue(backend.sees_reset)
            self.assertEnd(dialogue, "request-timeout", 408)
            dialogue.advance_past(1)
            self.assertReset(stream, ErrorCodes.NO_ERROR)
            self.assertTrue(client.peer.is_open)

    def test_emptyFramesAreNoBody(self) -> None:
        """Frames without content, and padding alone, do not prolong the time for the next content."""
        for padded in (False, True):
            dialogue = self.proxy()
            client, stream, _backend = self.asked(dialogue, b"POST", b"/", ended=False)
            stream.says(b"a")
            body = b"\x05" + bytes(5) if padded else b""
            for _ in range(5):
                dialogue.advance(11.9)
                client.says(frame(0, 8 if padded else 0, stream.id, body))
            self.assertEqual(stream.heads, [])
            dialogue.advance(1)
            self.assertReply(stream, 408)

    def test_firstByteOfABody(self) -> None:
        """The time runs from the head on, also for a body that is said to be empty."""
        for fields in ((), (length(0),)):
            dialogue = self.proxy()
            stream = self.h2(dialogue).asks(b"POST", b"/", *fields, ended=False)
            if not fields:
                dialogue.backend()
            dialogue.advance(59.8)
            self.assertEqual(stream.heads, [])
            dialogue.advance(0.4)
            self.assertReply(stream, 408)
            stream.finishes()

    def test_completeBody(self) -> None:
        """Once the body is complete it is the backend's time that runs, whatever goes back and forth meanwhile."""
        for trailers in ((), ((b"x-sum", b"1"),)):
            dialogue = self.proxy(cluster="timeouts.first_byte_s = 600\ntimeouts.between_bytes_s = 600")
            _, stream, backend = self.asked(dialogue, b"POST", ended=False, window_bytes=3)
            stream.says(b"x")
            stream.finishes(*trailers)
            dialogue.advance(70)
            backend.says(head(status=b"HTTP/1.1 100 Continue"))
            dialogue.advance(70)
            backend.says(head(b"Content-Length: 10") + b"hello")
            stream.opens(100)
            backend.says(b"world")
            self.assertEqual([each.line for each in stream.heads], [b"HTTP/2 100", b"HTTP/2 200"])
            self.assertEqual((stream.gets(), stream.has_ended), (b"helloworld", True))

    def test_otherStreamsDoNotHelp(self) -> None:
        """What comes on other streams does not put it off."""
        dialogue = self.proxy()
        dialogue.script("10.0.0.1:80", OK)
        client = self.h2(dialogue)
        stream = client.asks(b"POST", ended=False)
        for _ in range(5):
            dialogue.advance(11)
            self.assertReply(client.asks(), 200)
        dialogue.advance(5.2)
        self.assertReply(stream, 408)
        stream.resets()

    def test_bodyAfterReplyHasBegun(self) -> None:
        """If a reply has begun, the stream is reset instead."""
        dialogue = self.proxy(cluster="timeouts.between_bytes_s = 600")
        client, stream, backend = self.asked(dialogue, b"POST", b"/", length(10), ended=False)
        backend.says(head(b"Content-Length: 10") + b"abc")
        self.assertEqual(stream.gets(), b"abc")
        dialogue.advance_past(60)
        self.assertReset(stream, ErrorCodes.CANCEL)
        self.assertTrue(backend.sees_reset)
        self.assertEnd(dialogue, "request-timeout", 200)
        self.assertTrue(client.peer.is_open)

    def test_bodyOfASlowBackend(self) -> None:
        """A client is not blamed while the backend does not take what it sent: 504 when the backend's time is over."""
        dialogue = self.proxy(listener="body_timeout_s = 10", cluster="timeouts.first_byte_s = 30")
        client, stream, backend = self.asked(dialogue, b"POST", b"/", length(1_000_000), ended=False)
        backend.stops_reading()
        while stream.room:
            stream.says(bytes(stream.room))
        dialogue.advance(29.5)
        self.assertEqual(stream.heads, [])
        dialogue.advance_past(1)
        self.assertReply(stream, 504)
        self.assertEnd(dialogue, "reply-timeout", 504)
        dialogue.advance_past(2)
        self.assertTrue(client.peer.is_open)

    def test_bodyOfABackendThatCatchesUp(self) -> None:
        """When the backend has caught up, it is the client's turn again, with all of its time."""
        dialogue = self.proxy(listener="body_timeout_s = 10", cluster="timeouts.first_byte_s = 600")
        _, stream, backend = self.asked(dialogue, b"POST", b"/", length(1_000_000), ended=False)
        backend.stops_reading()
        while stream.room:
            stream.says(bytes(stream.room))
        dialogue.advance(25)
        backend.reads()
        dialogue.advance(9.8)
        self.assertEqual(stream.heads, [])
        dialogue.advance(0.4)
        self.assertReply(stream, 408)
        dialogue.advance_past(1)

    def test_expectation(self) -> None:
        """A client that waits to be told to go on is not blamed; once it was told, its time runs."""
        dialogue = self.proxy(cluster="timeouts.first_byte_s = 600")
        fields = ((b"expect", b"100-continue"), length(5))
        _, stream, backend = self.asked(dialogue, b"POST", b"/", *fields, ended=False)
        dialogue.advance(100)
        self.assertEqual(stream.heads, [])
        backend.says(head(status=b"HTTP/1.1 100 Continue"))
        self.assertEqual(stream.gets_head().line, b"HTTP/2 100")
        dialogue.advance(59.8)
        self.assertEqual(stream.heads, [])
        dialogue.advance(0.4)
        self.assertReply(stream, 408)
        dialogue.advance_past(1)

    def test_write(self) -> None:
        """60 s in which a client opens no window: its stream is reset, the backend is freed, the connection goes on."""
        dialogue = self.proxy()
        client, stream, backend = self.asked(dialogue, window_bytes=10)
        backend.says(head(b"Content-Length: 1000000") + bytes(200_000))
        self.assertEqual(len(stream.gets()), 10)
        dialogue.advance(30)
        other = client.asks()
        dialogue.backend().says(reply(b"0123456789"))
        self.assertReply(other, 200)
        dialogue.advance(29.8)
        self.assertIsNone(stream.reset_code)
        dialogue.advance(0.4)
        self.assertReset(stream, ErrorCodes.CANCEL)
        self.assertTrue(backend.sees_reset)
        self.assertEnd(dialogue, "write-timeout", 200)
        self.assertTrue(client.peer.is_open)

    def test_writeOfTheConnectionsWindow(self) -> None:
        """The same if it is the window of the connection that is never opened."""
        dialogue = self.proxy()
        client = self.h2(dialogue, connection_window_bytes=65_535)
        streams = [client.asks(), client.asks()]
        for backend in [dialogue.backend(), dialogue.backend()]:
            backend.says(reply(bytes(65_000)))
        dialogue.advance_past(60)
        self.assertTrue(streams[0].has_ended)
        self.assertReset(streams[1], ErrorCodes.CANCEL)
        self.assertEqual(self.ends(dialogue), [(200, "ok"), (200, "write-timeout")])

    def test_writeWithProgress(self) -> None:
        """A client that opens its window a little now and then is served."""
        dialogue = self.proxy()
        _, stream, backend = self.asked(dialogue, window_bytes=10)
        backend.says(reply(bytes(1_000)))
        for _ in range(10):
            dialogue.advance(59)
            stream.opens(90)
        self.assertIsNone(stream.reset_code)
        self.assertEqual(len(stream.gets()), 910)
        stream.opens(90)
        self.assertTrue(stream.has_ended)
        self.assertEqual(self.assertEnd(dialogue, "ok")["total_ms"], 590_000)

    def test_deadlineOfAWriteThatIsOver(self) -> None:
        """Once all has gone out, it is the backend's time that counts."""
        dialogue = self.proxy(cluster="timeouts.between_bytes_s = 600")
        _, stream, backend = self.asked(dialogue, window_bytes=10)
        backend.says(head(b"Content-Length: 30") + bytes(20))
        dialogue.advance(50)
        stream.opens(100)
        dialogue.advance(300)
        backend.says(bytes(10))
        self.assertReply(stream, 200, bytes(30))

    def test_nobodyIsTimedOutWhileAStreamRuns(self) -> None:
        """A reply that lasts longer than every limit of the client's side is not cut."""
        dialogue = self.proxy()
        client, stream, backend = self.asked(dialogue)
        backend.says(head(b"Content-Type: text/event-stream"))
        for _ in range(5):
            dialogue.advance(200)
            backend.says(b"data: x\n\n")
            self.assertEqual(stream.gets(), b"data: x\n\n")
        stream.resets()
        self.assertTrue(client.peer.is_open)
