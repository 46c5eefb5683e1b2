"""A cache and clients that speak HTTP/2."""

from __future__ import annotations

from txproxy.test.http2_talk import Http2Case
from txproxy.test.pipeline.cache_case import ETAG, FRESH, LARGE, STORABLE, CacheCase, chunks
from txproxy.test.talk import head, reply


class Http2Tests(CacheCase, Http2Case):
    """Clients that speak HTTP/2."""

    def test_missHitAndPart(self) -> None:
        """The same as by HTTP/1.1; names are in lower case."""
        dialogue = self.cached()
        client = self.h2(dialogue)
        stream = client.asks()
        backend = dialogue.backend()
        backend.says(reply(b"stored", FRESH, ETAG))
        first = stream.gets_head()
        self.assertEqual((stream.gets(), stream.has_ended), (b"stored", True))
        names = [name for name, _ in first.fields]
        self.assertEqual(names, [name.lower() for name in names])
        self.assertEqual(first.get(b"x-cache-status"), b"MISS")
        for fields, status, body in (
            ((), 200, b"stored"),
            (((b"range", b"bytes=1-2"),), 206, b"to"),
            (((b"if-none-match", b'"1"'),), 304, b""),
            (((b"range", b"bytes=9-"),), 416, b""),
        ):
            stream = client.asks(b"GET", b"/", *fields)
            got = stream.gets_head()
            self.assertEqual((got.line, got.get(b"x-cache-status")), (b"HTTP/2 %d" % status, b"HIT"))
            self.assertEqual((stream.gets(), stream.has_ended, got.get(b"age")), (body, True, b"0"))
        stream = client.asks(b"HEAD")
        self.assertReply(stream, 200, b"")

    def test_headOfWhatComes(self) -> None:
        """HEAD for what is stale: the backend is asked for the whole, and the stream ends with its head."""
        dialogue = self.cached()
        self.store(dialogue, says=reply(b"stored", b"Cache-Control: max-age=1, stale-if-error=30"))
        dialogue.advance(2)
        client = self.h2(dialogue)
        for says, status, word in (
            (reply(b"busy", status=b"503 Service Unavailable"), 200, b"STALE"),
            (head(FRESH, b"Transfer-Encoding: chunked") + chunks(b"newer", last=True), 200, b"EXPIRED"),
        ):
            stream = client.asks(b"HEAD")
            self.asked(dialogue, line=b"GET / ").says(says)
            got = stream.gets_head()
            self.assertEqual((got.line, got.get(b"x-cache-status")), (b"HTTP/2 %d" % status, word))
            self.assertEqual((stream.gets(), stream.has_ended), (b"", True))
        self.assertStill(dialogue, b"HIT", b"newer")

    def test_windows(self) -> None:
        """A large hit goes as far as the window does, and on when that is opened; another stream is not held up."""
        dialogue = self.cached()
        self.store(dialogue, says=reply(LARGE, FRESH))
        client = self.h2(dialogue, window_bytes=1000)
        stream = client.asks()
        small = client.asks(b"GET", b"/", (b"range", b"bytes=0-9"))
        self.assertEqual(stream.gets_head().get(b"x-cache-status"), b"HIT")
        self.assertEqual(stream.gets(), LARGE[:1000])
        self.assertReply(small, 206, LARGE[:10])
        stream.opens(len(LARGE))
        self.assertEqual((stream.gets(), stream.has_ended), (LARGE[1000:], True))

    def test_sharedPace(self) -> None:
        """Streams of one connection that read what is not kept: each gets every byte, though one fills it for all."""
        dialogue = self.cached(shared="max_object_bytes = 20000")
        client = self.h2(dialogue)
        streams = [client.asks() for _ in range(3)]
        backend = dialogue.backend()
        backend.says(head(FRESH, b"Transfer-Encoding: chunked"))
        client.peer.stops_reading(1000)
        body = b""
        for number in range(40):
            if backend.transport.is_reading:
                piece = b"%03d" % number * 5000
                body += piece
                backend.says(chunks(piece))
        self.assertLess(len(body), 500_000)
        client.peer.reads()
        backend.says(chunks(b"end", last=True))
        for stream in streams:
            self.assertEqual((stream.gets(), stream.has_ended), (body + b"end", True))

    def test_reset(self) -> None:
        """A stream that is reset in the middle of a hit."""
        dialogue = self.cached()
        self.store(dialogue, says=reply(LARGE, FRESH))
        client = self.h2(dialogue, window_bytes=1000)
        client.asks().resets()
        self.assertEnd(dialogue, "client-left", 499)

    def test_followers(self) -> None:
        """Streams of one connection share a fetch; when the connection is lost in it, nobody is told twice."""
        dialogue = self.cached()
        client = self.h2(dialogue)
        streams = [client.asks() for _ in range(3)]
        backend = dialogue.backend()
        backend.says(STORABLE)
        for stream in streams:
            self.assertReply(stream, 200, b"stored")
        streams = [client.asks(b"GET", b"/other") for _ in range(3)]
        backend.says(head(FRESH, b"Content-Length: 6") + b"sto")
        self.assertEqual([stream.gets() for stream in streams], [b"sto"] * 3)
        client.peer.resets()
        self.assertEqual(self.ends(dialogue)[-3:], [(499, "client-left")] * 3)
        backend.says(b"red")
        self.assertStill(dialogue, b"HIT", b"stored", b"/other")
