"""Clients of HTTP/2 that send a FIN: they can give no window back any more, so that they have left; what they had is theirs."""

from __future__ import annotations

from txproxy.downstream import http2
from txproxy.test.http2_talk import Http2Case, frame, length
from txproxy.test.talk import OK, reply
from txproxy.testing import Dialogue


class HalfClosedTests(Http2Case):
    """A FIN, at each moment."""

    def assertGone(self, dialogue: Dialogue, *ends: tuple[int, str]) -> None:
        """Check the lines, and that nothing waits for any deadline."""
        self.assertEqual(self.ends(dialogue), list(ends))
        self.assertNothingLeft(dialogue)
        self.assertEqual(dialogue.pool.leased, 0)

    def test_withTheRequest(self) -> None:
        """Behind its request, before there is a backend: the request is given up."""
        dialogue = self.proxy()
        client = self.h2(dialogue)
        with client.in_one_packet() as packet:
            client.asks()
            client.asks(b"POST", ended=False).says(b"hello")
            data = bytes(packet)
            packet.clear()
        client.peer.says(data, noticed=False)
        client.peer.finishes()
        self.assertTrue(client.peer.sees_reset)
        self.assertGone(dialogue, (499, "client-left"), (499, "client-left"))

    def test_answeredInTheSameTurn(self) -> None:
        """Behind a request that we answer by ourselves: the answer is still sent."""
        dialogue = self.proxy(route='path = "/a"')
        client = self.h2(dialogue)
        with client.in_one_packet() as packet:
            stream = client.asks()
            data = bytes(packet)
            packet.clear()
        client.peer.says(data, noticed=False)
        client.peer.finishes()
        self.assertReply(stream, 404)
        self.assertFalse(client.peer.sees_reset)
        self.assertGone(dialogue, (404, "no-route"))

    def test_unreadReply(self) -> None:
        """While the last of a reply is on its way: it is delivered, however slowly, then the connection closes."""
        dialogue = self.proxy()
        client, stream, backend = self.asked(dialogue)
        client.peer.stops_reading()
        backend.says(reply(bytes(50_000)))
        self.assertEnd(dialogue, "ok", 200)
        client.peer.finishes()
        for _ in range(3):
            dialogue.advance(50)
            client.peer.reads(1_000)
        self.assertFalse(client.peer.transport.disconnected)
        client.peer.reads()
        self.assertReply(stream, 200, bytes(50_000))
        self.assertFalse(client.peer.sees_reset)
        self.assertGone(dialogue, (200, "ok"))

    def test_unreadForEver(self) -> None:
        """One that never reads it is reset when its time is over."""
        dialogue = self.proxy(listener="write_timeout_s = 20")
        client, _, backend = self.asked(dialogue)
        client.peer.stops_reading()
        backend.says(reply(bytes(50_000)))
        client.peer.finishes()
        dialogue.advance(19.8)
        self.assertFalse(client.peer.sees_reset)
        dialogue.advance(0.4)
        self.assertTrue(client.peer.sees_reset)
        self.assertGone(dialogue, (200, "ok"))

    def test_withoutWindow(self) -> None:
        """While a reply, a backend's or our own, waits for its window: that will never open."""
        for path in (b"/a", b"/b"):
            dialogue = self.proxy(route='path = "/a"')
            client = self.h2(dialogue, window_bytes=1)
            stream = client.asks(b"GET", path)
            if path == b"/a":
                dialogue.backend().says(OK)
            self.assertEqual(len(stream.gets()), 1)
            client.peer.finishes()
            self.assertTrue(client.peer.sees_reset)
            self.assertGone(dialogue, (499, "client-left"))

    def test_inTheMiddleOfAFrame(self) -> None:
        """With a frame, or a header block, of which not all has come: nothing is begun."""
        for size in (1, 9, 12):
            dialogue = self.proxy()
            client = self.h2(dialogue)
            client.says(self.unsaid(client)[1][:size])
            client.peer.finishes()
            self.assertEqual(dialogue.attempts, [])
            self.assertGone(dialogue)

    def test_whileStopping(self) -> None:
        """After the first GOAWAY, with a stream and without; whoever waits for the last connection is told."""
        for busy in (False, True):
            dialogue = self.proxy()
            told: list[int] = []
            dialogue.assembled.sites["web"].when_empty = lambda told=told: told.append(1)
            client = self.h2(dialogue)
            client.answers_pings = False
            if busy:
                client.asks(b"POST", b"/", length(5), ended=False)
                backend = dialogue.backend()
            dialogue.assembled.sites["web"].drain()
            dialogue.settle()
            client.peer.finishes()
            self.assertEqual(told, [1])
            if busy:
                self.assertTrue(backend.sees_reset)
            self.assertGone(dialogue, *([(499, "client-left")] if busy else []))

    def test_afterTheLastGoaway(self) -> None:
        """While we wait for the client to close after a graceful end."""
        dialogue = self.proxy(listener="keepalive_requests = 1")
        client = self.h2(dialogue)
        stream = client.asks()
        dialogue.backend().says(OK)
        self.assertReply(stream, 200)
        self.assertTrue(client.peer.sees_end)
        self.assertFalse(client.peer.transport.disconnected)
        client.peer.finishes()
        self.assertGone(dialogue, (200, "ok"))

    def test_afterTheLastGoawayUnread(self) -> None:
        """The same with the end of the reply on its way: it is not destroyed."""
        dialogue = self.proxy(listener="keepalive_requests = 1")
        client, stream, backend = self.asked(dialogue)
        client.listens()
        client.peer.stops_reading()
        backend.says(reply(bytes(30_000)))
        client.peer.finishes()
        dialogue.advance(3)
        client.peer.reads()
        self.assertReply(stream, 200, bytes(30_000))
        self.assertFalse(client.peer.sees_reset)
        dialogue.advance_past(2)
        self.assertGone(dialogue, (200, "ok"))

    def test_whileItIsNotReadFrom(self) -> None:
        """A FIN behind so much that the client is not read from is noticed when it reads."""
        self.patch(http2, "_MOST_QUEUED_BYTES", 80_000)
        dialogue = self.proxy(route='path = "/a"', listener="h2_max_streams = 10000")
        client, _, backend = self.asked(dialogue, b"GET", b"/a")
        client.peer.stops_reading()
        backend.says(reply(bytes(100_000)))
        client.is_silent = True
        while client.peer.transport.is_reading:
            with client.in_one_packet():
                for _ in range(200):
                    client.asks()
        client.peer.finishes()
        self.assertFalse(client.peer.transport.disconnected)
        client.peer.reads()
        self.assertNothingLeft(dialogue)
        self.assertEqual({line["end"] for line in dialogue.lines}, {"ok", "no-route"})

    def test_goawayBefore(self) -> None:
        """A client that has said GOAWAY, and shuts its side while it is owed a reply."""
        dialogue = self.proxy()
        client, _, backend = self.asked(dialogue)
        client.says(frame(7, 0, 0, bytes(8)))
        client.peer.finishes()
        self.assertTrue(backend.sees_reset)
        self.assertGone(dialogue, (499, "client-left"))
