"""Connections of HTTP/2 that are to end: in two steps, so that no request is lost (RFC 9113 section 6.8)."""

from __future__ import annotations

from h2.errors import ErrorCodes

from txproxy.errors import ShuttingDown
from txproxy.test.http2_talk import HIGHEST_ID, PREFACE, Http2Case, frame, length
from txproxy.test.talk import OK, head, reply
from txproxy.testing import Dialogue, Http2Client
from txproxy.wire.http2.speaker import PING_WORDS


class DrainCase(Http2Case):
    """A proxy that stops."""

    def drains(self, dialogue: Dialogue, *silent: Http2Client) -> None:
        """Begin to stop.

        :param silent: clients that will not answer PING.
        """
        for client in silent:
            client.answers_pings = False
        dialogue.assembled.sites["web"].drain()
        dialogue.settle()

    def said(self, client: Http2Client) -> list[tuple[int, int]]:
        """Return the last stream and the code of each GOAWAY."""
        return [(each.last_stream_id, each.error_code) for each in client.goaways]


class StepsTests(DrainCase):
    """GOAWAY without a last stream, PING, GOAWAY with it."""

    def test_twoSteps(self) -> None:
        """A client learns that we go, and, when it has read that, which stream was the last."""
        dialogue = self.proxy()
        client, first, backend = self.asked(dialogue)
        self.drains(dialogue, client)
        self.assertEqual(self.kinds(client.frames[-2:]), ["GoAway", "Ping"])
        self.assertEqual(self.said(client), [(HIGHEST_ID, 0)])
        late = client.asks(b"GET", b"/late")
        other = dialogue.backend()
        client.says(frame(6, 1, 0, client.frames[-1].opaque_data))  # type: ignore[attr-defined]
        self.assertEqual(self.said(client)[1:], [(late.id, 0)])
        self.assertTrue(client.peer.is_open)
        backend.says(OK)
        self.assertReply(first, 200, b"ok")
        self.assertTrue(client.peer.is_open)
        other.says(reply(b"late"))
        self.assertReply(late, 200, b"late")
        self.assertTrue(client.peer.sees_end)
        dialogue.advance_past(2)
        self.assertNothingLeft(dialogue)
        self.assertEqual(self.ends(dialogue), [(200, "ok")] * 2)

    def test_idle(self) -> None:
        """Without a stream it takes one round trip."""
        dialogue = self.proxy()
        client = self.h2(dialogue)
        self.drains(dialogue)
        self.assertEqual(self.said(client), [(HIGHEST_ID, 0), (0, 0)])
        self.assertTrue(client.peer.sees_end)
        dialogue.advance_past(2)
        self.assertNothingLeft(dialogue)
        self.assertEqual(dialogue.lines, [])

    def test_noAnswer(self) -> None:
        """A client that does not answer has a second."""
        dialogue = self.proxy()
        client, stream, backend = self.asked(dialogue)
        self.drains(dialogue, client)
        dialogue.advance(0.8)
        self.assertEqual(len(client.goaways), 1)
        dialogue.advance_past(0.2)
        self.assertEqual(self.said(client), [(HIGHEST_ID, 0), (1, 0)])
        dialogue.advance(10)
        self.assertEqual(len(client.goaways), 2)
        backend.says(OK)
        self.assertReply(stream, 200)
        self.assertTrue(client.peer.sees_end)
        dialogue.advance_past(2)

    def test_otherFramesAreNoAnswer(self) -> None:
        """Another PING, or its answer to something else, is not what we wait for, nor does it put anything off."""
        dialogue = self.proxy()
        client = self.h2(dialogue)
        self.drains(dialogue, client)
        for said in (frame(6, 0, 0, b"txproxy!"), frame(6, 1, 0, b"whatever"), frame(4, 0, 0)):
            dialogue.advance(0.25)
            client.says(said)
            self.assertEqual(len(client.goaways), 1)
        dialogue.advance_past(0.25)
        self.assertEqual(len(client.goaways), 2)
        dialogue.advance_past(2)

    def test_answerWithoutAQuestion(self) -> None:
        """The answer to a PING that was not sent is passed over."""
        dialogue = self.proxy()
        client = self.h2(dialogue)
        client.says(frame(6, 1, 0, PING_WORDS))
        self.assertEqual((client.goaways, client.peer.is_open), ([], True))
        client.asks()
        dialogue.backend().says(OK)

    def test_lateStreamsAreRefused(self) -> None:
        """A stream above the last is refused, which tells the client that nothing was done about it."""
        dialogue = self.proxy()
        client, first, backend = self.asked(dialogue)
        self.drains(dialogue)
        self.assertEqual(self.said(client)[-1], (1, 0))
        for body in (False, True):
            late = client.asks(b"POST" if body else b"GET", ended=not body)
            self.assertReset(late, ErrorCodes.REFUSED_STREAM)
        self.assertEqual(dialogue.attempts, [])
        self.assertEqual(dialogue.lines, [])
        backend.says(OK)
        self.assertReply(first, 200)
        dialogue.advance_past(2)

    def test_streamsGoOn(self) -> None:
        """Streams that are open are completed both ways, whatever time they take."""
        dialogue = self.proxy(cluster="timeouts.between_bytes_s = 1000")
        client, stream, backend = self.asked(dialogue, b"POST", b"/", length(10), ended=False, window_bytes=10)
        backend.says(head(b"Content-Length: 100000") + bytes(30_000))
        self.drains(dialogue)
        stream.says(b"hello")
        dialogue.advance(50)
        stream.says(b"world", ended=True)
        self.assertEqual(backend.gets(), b"helloworld")
        backend.says(bytes(70_000))
        stream.opens(50_000)
        dialogue.advance(50)
        stream.opens(50_000)
        self.assertReply(stream, 200, bytes(100_000))
        dialogue.advance_past(2)
        self.assertNothingLeft(dialogue)

    def test_trailersOfOpenStreams(self) -> None:
        """The end of a request may be a header block; that begins no stream."""
        dialogue = self.proxy()
        _, stream, backend = self.asked(dialogue, b"POST", ended=False)
        self.drains(dialogue)
        stream.finishes((b"x-sum", b"1"))
        self.assertEqual(backend.gets(), b"0\r\nx-sum: 1\r\n\r\n")
        backend.says(OK)
        self.assertReply(stream, 200)
        dialogue.advance_past(2)

    def test_twice(self) -> None:
        """It is begun once, however often it is asked for."""
        dialogue = self.proxy()
        client, stream, backend = self.asked(dialogue)
        self.drains(dialogue)
        self.drains(dialogue)
        self.assertEqual(len(client.goaways), 2)
        backend.says(OK)
        self.assertReply(stream, 200)
        self.drains(dialogue)
        self.assertEqual(len(client.goaways), 2)
        dialogue.advance_past(2)

    def test_lastReplyIsSlowlyRead(self) -> None:
        """The last of a reply has the time that any reply has, although nothing else keeps the connection."""
        dialogue = self.proxy()
        client, stream, backend = self.asked(dialogue)
        client.peer.stops_reading()
        backend.says(reply(bytes(50_000)))
        self.drains(dialogue)
        dialogue.advance(30)
        client.peer.reads(10_000)
        dialogue.advance(50)
        self.assertFalse(client.peer.sees_reset)
        client.peer.reads()
        self.assertReply(stream, 200, bytes(50_000))
        self.assertTrue(client.peer.sees_end)
        dialogue.advance_past(60)
        dialogue.advance_past(2)
        self.assertNothingLeft(dialogue)

    def test_whileNothingIsRead(self) -> None:
        """A client that reads nothing when it is told to go is told when it reads, and is not kept for ever."""
        dialogue = self.proxy()
        client, stream, backend = self.asked(dialogue)
        client.answers_pings = False
        client.peer.stops_reading()
        backend.says(head(b"Content-Length: 200000") + bytes(200_000))
        self.drains(dialogue)
        dialogue.advance(10)
        client.peer.reads()
        self.assertReply(stream, 200, bytes(200_000))
        dialogue.advance_past(1)
        self.assertEqual(self.said(client), [(HIGHEST_ID, 0), (1, 0)])
        dialogue.advance_past(2)
        self.assertNothingLeft(dialogue)

    def test_fullAfterTheFirstStep(self) -> None:
        """The same if the transport fills between the two steps."""
        dialogue = self.proxy()
        client, stream, backend = self.asked(dialogue)
        self.drains(dialogue, client)
        client.peer.stops_reading()
        backend.says(head(b"Content-Length: 200000") + bytes(200_000))
        client.peer.reads()
        self.assertReply(stream, 200, bytes(200_000))
        dialogue.advance_past(1)
        self.assertEqual(self.said(client), [(HIGHEST_ID, 0), (1, 0)])
        dialogue.advance_past(2)
        self.assertNothingLeft(dialogue)

    def test_fullWithAnotherStream(self) -> None:
        """The same if another stream keeps the connection busy, without anything being said on it."""
        dialogue = self.proxy(cluster="timeouts.first_byte_s = 600")
        client = self.h2(dialogue)
        large, waits = client.asks(b"GET", b"/large"), client.asks(b"GET", b"/waits")
        backends = [dialogue.backend(), dialogue.backend()]
        self.drains(dialogue, client)
        client.peer.stops_reading()
        backends[0].says(head(b"Content-Length: 200000") + bytes(200_000))
        client.peer.reads()
        self.assertReply(large, 200, bytes(200_000))
        dialogue.advance_past(1)
        self.assertEqual(self.said(client), [(HIGHEST_ID, 0), (waits.id, 0)])
        backends[1].says(OK)
        self.assertReply(waits, 200, b"ok")
        dialogue.advance_past(2)

    def test_beforeThePreface(self) -> None:
        """A connection that has said nothing yet is told, closed after a second, and is no failure of its client."""
        dialogue = self.proxy()
        client = self.secure(dialogue, begins=False)
        self.drains(dialogue)
        self.assertEqual(self.said(client)[0], (HIGHEST_ID, 0))
        dialogue.advance_past(1)
        self.assertEqual({code for _, code in self.said(client)}, {0})
        self.assertEqual(dialogue.lines, [])
        dialogue.advance_past(2)
        self.assertNothingLeft(dialogue)

    def test_prefaceThatComesLate(self) -> None:
        """A client that turns out to speak HTTP/2 while the proxy stops is told to go at once."""
        dialogue = self.proxy()
        client = self.h2(dialogue, begins=False)
        client.says(PREFACE[:10])
        self.drains(dialogue)
        client.says(client.preface[10:])
        client.is_silent = False
        self.assertEqual(self.said(client)[:1], [(HIGHEST_ID, 0)])
        dialogue.advance_past(1)
        dialogue.advance_past(2)
        self.assertNothingLeft(dialogue)


class EnoughRequestsTests(DrainCase):
    """keepalive_requests: a connection is replaced after so many (Q7)."""

    def test_twoSteps(self) -> None:
        """After so many requests the client is sent away in the same two steps; none is lost."""
        dialogue = self.proxy(listener="keepalive_requests = 3")
        dialogue.script("10.0.0.1:80", OK)
        client = self.h2(dialogue)
        for _ in range(2):
            self.assertReply(client.asks(), 200)
        self.assertEqual(client.goaways, [])
        self.assertReply(client.asks(), 200)
        self.assertEqual(self.said(client), [(HIGHEST_ID, 0), (5, 0)])
        self.assertTrue(client.peer.sees_end)
        dialogue.advance_past(2)
        self.assertNothingLeft(dialogue)

    def test_manyAtOnce(self) -> None:
        """Requests that were sent before the client could know are served too."""
        dialogue = self.proxy(listener="keepalive_requests = 3")
        dialogue.script("10.0.0.1:80", OK)
        client = self.h2(dialogue)
        with client.in_one_packet():
            streams = [client.asks() for _ in range(10)]
        for stream in streams:
            self.assertReply(stream, 200)
        self.assertEqual(self.said(client), [(HIGHEST_ID, 0), (19, 0)])
        dialogue.advance_past(2)

    def test_malformedOnesCount(self) -> None:
        """What is no request is one of them."""
        dialogue = self.proxy(listener="keepalive_requests = 2")
        client = self.h2(dialogue)
        for _ in range(2):
            client.sends_head([(b"x", b"y")])
        self.assertEqual(self.said(client), [(HIGHEST_ID, 0), (3, 0)])
        dialogue.advance_past(2)


class CutTests(DrainCase):
    """The time for a graceful stop is over, or there was a second signal."""

    def test_counts(self) -> None:
        """Streams that are cut are counted, logged, and reset; idle connections count for nothing."""
        dialogue = self.proxy()
        client = self.h2(dialogue)
        idle = self.h2(dialogue)
        waits, begun = client.asks(), client.asks()
        backends = [dialogue.backend(), dialogue.backend()]
        backends[1].says(head(b"Content-Length: 10") + b"abc")
        self.drains(dialogue)
        self.assertEqual(dialogue.assembled.sites["web"].cut(ShuttingDown()), 2)
        dialogue.settle()
        self.assertEqual([backend.sees_reset for backend in backends], [True, True])
        self.assertTrue(client.peer.sees_reset and not idle.peer.is_open)
        self.assertEqual(self.ends(dialogue), [(503, "shutdown"), (200, "shutdown")])
        self.assertEqual([waits.reset_code, begun.reset_code], [ErrorCodes.CANCEL] * 2)
        self.assertNothingLeft(dialogue)

    def test_atOnce(self) -> None:
        """Without a graceful stop before it."""
        dialogue = self.proxy()
        client, stream, backend = self.asked(dialogue, b"POST", ended=False)
        stream.says(b"hello")
        self.assertEqual(dialogue.assembled.sites["web"].cut(ShuttingDown()), 1)
        dialogue.settle()
        self.assertTrue(backend.sees_reset)
        self.assertEqual(self.ends(dialogue), [(503, "shutdown")])
        self.assertNothingLeft(dialogue)

    def test_whileClosing(self) -> None:
        """A connection that is being closed is cut too."""
        dialogue = self.proxy()
        client = self.h2(dialogue)
        client.says(frame(6, 0, 0, b"short"))
        self.assertEqual(dialogue.assembled.sites["web"].cut(ShuttingDown()), 0)
        dialogue.settle()
        self.assertTrue(client.peer.transport.disconnected)
        self.assertNothingLeft(dialogue)

    def test_whenEmpty(self) -> None:
        """Whoever waits for the last connection to end is told once it has."""
        dialogue = self.proxy()
        told: list[int] = []
        dialogue.assembled.sites["web"].when_empty = lambda: told.append(1)
        client, stream, backend = self.asked(dialogue)
        self.drains(dialogue)
        backend.says(OK)
        self.assertReply(stream, 200)
        client.peer.finishes()
        dialogue.advance_past(2)
        self.assertEqual(told, [1])
