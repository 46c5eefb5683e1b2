"""Clients of HTTP/2 that read nothing of the connection itself: all of its streams wait, and go on by turns."""

from __future__ import annotations

from txproxy.test.downstream.test_http2_flow_control import HELD_BYTES, MANY, says_what_it_may
from txproxy.test.http2_talk import Http2Case, length
from txproxy.test.talk import OK, chunked, head, post, reply
from txproxy.testing import Peer


class FullTransportTests(Http2Case):
    """Clients that read nothing of the connection itself."""

    def test_allArePaused(self) -> None:
        """All backends wait until the client reads; then all go on, by turns (H5)."""
        dialogue = self.proxy()
        client = self.h2(dialogue)
        streams = [client.asks() for _ in range(4)]
        backends = [dialogue.backend() for _ in streams]
        client.peer.stops_reading()
        for backend in backends:
            backend.says(head(b"Content-Length: 400000") + bytes(400_000))
        self.assertLess(client.peer.transport.queued_bytes, 3 * 65_536)
        for backend in backends:
            self.assertFalse(backend.transport.is_reading)
            self.assertGreater(len(backend.transport.arriving), 400_000 - HELD_BYTES)
        got = [0] * 4
        for _ in range(400):
            client.peer.reads(8_000)
            self.assertLess(client.peer.transport.queued_bytes, 3 * 65_536)
            for index, stream in enumerate(streams):
                got[index] += len(stream.gets())
            if min(got) > 200_000:
                break
        self.assertLess(max(got) - min(got), 2 * HELD_BYTES)
        client.peer.reads()
        for index, stream in enumerate(streams):
            self.assertEqual(got[index] + len(stream.gets()), 400_000)
            self.assertTrue(stream.has_ended)

    def test_newStreams(self) -> None:
        """A stream that begins while the client reads nothing is paused too, and complete in the end."""
        dialogue = self.proxy()
        client = self.h2(dialogue)
        first, second = client.asks(), client.asks()
        backends = [dialogue.backend(), dialogue.backend()]
        client.peer.stops_reading()
        backends[0].says(head(b"Content-Length: 500000") + bytes(500_000))
        self.assertFalse(backends[0].transport.is_reading)
        backends[1].says(head(b"Content-Length: 500000") + bytes(500_000))
        self.assertFalse(backends[1].transport.is_reading)
        client.peer.reads()
        for stream in (first, second):
            self.assertReply(stream, 200, bytes(500_000))

    def test_requestsGoOn(self) -> None:
        """A client that reads nothing may still send: its requests reach their backends."""
        dialogue = self.proxy()
        client = self.h2(dialogue)
        stream = client.asks(b"POST", b"/", length(5), ended=False)
        backends = [dialogue.backend()]
        client.asks()
        backends.append(dialogue.backend())
        backends[0].gets_head()
        client.peer.stops_reading()
        backends[1].says(head(b"Content-Length: 500000") + bytes(500_000))
        for part in (b"h", b"e", b"ll", b"o"):
            stream.says(part, ended=part == b"o")
        self.assertEqual(backends[0].gets(), b"hello")
        backends[0].says(OK)
        client.peer.reads()
        self.assertReply(stream, 200, b"ok")

    def test_lastOfAll(self) -> None:
        """A reply that is complete here, and is all that waits, comes when the client has read the others."""
        dialogue = self.proxy()
        client = self.h2(dialogue)
        streams = [client.asks() for _ in range(3)]
        backends = [dialogue.backend() for _ in streams]
        client.peer.stops_reading()
        for backend, size in zip(backends, (40_000, 40_000, 5), strict=True):
            backend.says(reply(bytes(size)))
        self.assertEqual(self.ends(dialogue), [(200, "ok")] * 2)
        client.peer.reads()
        for stream, size in zip(streams, (40_000, 40_000, 5), strict=True):
            self.assertReply(stream, 200, bytes(size))
        self.assertEqual(self.ends(dialogue), [(200, "ok")] * 3)

    def test_whoWaitsForSomethingElse(self) -> None:
        """When the client reads on, a stream without window still waits; so does one that has no backend yet."""
        dialogue = self.proxy(cluster="pool.max_connections = 2")
        client = self.h2(dialogue, window_bytes=1_000)
        large, small = client.asks(), client.asks()
        backends = [dialogue.backend(), dialogue.backend()]
        queued, refused = client.asks(), client.asks(b"GET", b"/" + b"x" * 9_000)
        large.opens(1_000_000)
        backends[1].says(head(b"Content-Length: 500000") + bytes(200_000))
        self.assertFalse(backends[1].transport.is_reading)
        arriving = len(backends[1].transport.arriving)
        client.peer.stops_reading()
        backends[0].says(head(b"Content-Length: 200000") + bytes(200_000))
        client.peer.reads()
        self.assertReply(large, 200, bytes(200_000))
        self.assertReply(refused, 414)
        self.assertFalse(backends[1].transport.is_reading)
        self.assertEqual((len(small.gets()), len(backends[1].transport.arriving)), (1_000, arriving))
        backends[0].says(OK)
        self.assertReply(queued, 200, b"ok")
        small.resets()

    def test_bothWays(self) -> None:
        """Uploads and downloads at once, all slow: nothing is lost, nothing deadlocks."""
        dialogue = self.proxy()
        client, stream, backend = self.asked(dialogue, b"POST", b"/", length(MANY), ended=False)
        client.peer.stops_reading()
        backend.stops_reading()
        backend.says(head(b"Content-Length: %d" % MANY) + bytes(MANY - 1))
        rest, up, down = bytes(MANY), 0, 0
        for _ in range(400):
            client.peer.reads(5_000)
            backend.reads(5_000)
            rest = says_what_it_may(stream, rest)
            up += len(backend.gets())
            down += len(stream.gets())
        self.assertEqual((up, down), (MANY, MANY - 1))
        backend.says(b"x")
        client.peer.reads()
        self.assertEqual((stream.gets(), stream.has_ended), (b"x", True))
        self.assertEnd(dialogue, "ok")

    def test_asksAndReadsNothing(self) -> None:
        """Answers that nobody reads do not pile up: more is not listened to until the client reads (RFC 9113 section 10.5)."""
        dialogue = self.proxy(route='path = "/a"', listener="h2_max_streams = 10000")
        client, large, backend = self.asked(dialogue, b"GET", b"/a")
        client.peer.stops_reading()
        backend.says(head(b"Content-Length: 100000") + bytes(100_000))
        client.is_silent = True
        rounds = 0
        while rounds < 30:
            with client.in_one_packet():
                for _ in range(50):
                    client.asks(b"HEAD")
            self.assertLess(client.peer.transport.queued_bytes, 6 * 65_536)
            rounds += not client.peer.transport.is_reading
        self.assertGreater(len(client.peer.transport.arriving), 10_000)
        asked = list(client.streams.values())[1:]
        client.is_silent = False
        client.peer.reads()
        self.assertReply(large, 200, bytes(100_000))
        self.assertEqual({stream.gets_head().line for stream in asked}, {b"HTTP/2 404"})
        self.assertEqual(len(dialogue.lines), len(asked) + 1)


class Http1SideTests(Http2Case):
    """Clients of both versions share their backends."""

    def test_slowStreamAndQuickClient(self) -> None:
        """A stream without window leaves a client of HTTP/1.1 alone, and the other way round."""
        dialogue = self.proxy()
        _, stream, backend = self.asked(dialogue, window_bytes=10)
        backend.says(reply(bytes(100_000)))
        client = dialogue.client()
        client.says(post(5) + b"hello")
        other = dialogue.backend()
        self.assertTrue(other.gets().endswith(b"hello"))
        other.says(OK)
        self.assertStatus(client, 200)
        stream.opens(200_000)
        self.assertReply(stream, 200, bytes(100_000))
        client.says(chunked() + b"0\r\n\r\n")
        self.assertServed(client, [backend, other])

    def assertServed(self, client: Peer, backends: list[Peer]) -> None:
        """Check that one of two backends has got a request."""
        asked = [backend for backend in backends if backend.gets()]
        self.assertEqual(len(asked), 1)
        asked[0].says(OK)
        self.assertStatus(client, 200)
