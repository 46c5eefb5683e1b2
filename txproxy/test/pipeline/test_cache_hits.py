"""What is stored, to clients of all kinds: whole, in part, or the word that it has not changed."""

from __future__ import annotations

import gc
from typing import Any

from txproxy.test.pipeline.cache_case import ETAG, FRESH, LARGE, STORABLE, CacheCase, chunks, get
from txproxy.test.talk import head, reply, request
from txproxy.testing import Dialogue

MODIFIED = b"Last-Modified: Tue, 14 Nov 2023 00:00:00 GMT"


class HitTests(CacheCase):
    """The same request twice (D10)."""

    def test_twice(self) -> None:
        """The second is a hit, with Age, and what the cache did in two fields and in the log; the backend saw one."""
        dialogue = self.cached()
        client = self.asks(dialogue)
        backend = dialogue.backend()
        backend.says(STORABLE)
        first = self.assertGets(client, b"MISS", b"stored")
        self.assertEqual(first.get(b"Cache-Status"), b"txproxy; fwd=uri-miss; stored")
        self.assertIsNone(first.get(b"Age"))
        backend.gets()
        dialogue.advance(7.5)
        client.says(get())
        hit = self.assertGets(client, b"HIT", b"stored")
        self.assertEqual((hit.get(b"Age"), hit.get(b"Cache-Status")), (b"7", b"txproxy; hit; ttl=53"))
        self.assertEqual(hit.get(b"Content-Length"), b"6")
        self.assertEqual(hit.get(b"Date"), b"Tue, 14 Nov 2023 22:13:20 GMT")
        self.assertNotAsked(dialogue, backend)
        miss, again = dialogue.lines
        self.assertEqual((miss["cache"], miss["tries"], miss["backend"]), ("MISS", 1, "10.0.0.1:80"))
        self.assertEqual((again["cache"], again["tries"], again["backend"], again["end"]), ("HIT", 0, None, "ok"))
        self.assertEqual((again["status"], again["bytes_out"]), (200, 6))
        self.assertCounted(dialogue, hits=1, misses=1)

    def test_freshUntilItsTime(self) -> None:
        """At 59 s it is a hit, at 60 s it is none."""
        dialogue = self.cached()
        backend = self.store(dialogue)
        dialogue.advance(59)
        self.assertStill(dialogue, b"HIT", b"stored")
        dialogue.advance(1)
        client = self.asks(dialogue)
        self.assertAsked(backend)
        backend.says(STORABLE)
        self.assertGets(client, b"EXPIRED", b"stored")

    def test_pipelined(self) -> None:
        """Hits leave in order, among them one of another length, and what follows a miss waits for that."""
        dialogue = self.cached()
        backend = self.store(dialogue, b"/a")
        client = self.asks(dialogue, b"/b")
        self.assertAsked(backend)
        client.says(get(b"/a") + get(b"/b") + get(b"/a"))
        self.assertEqual(client.gets(), b"")
        backend.says(reply(b"longer than the other", FRESH))
        text = client.gets()
        self.assertEqual(
            [line[-4:] for line in text.split(b"\r\n") if line.startswith(b"X-Cache")], [b"MISS", *[b" HIT"] * 3]
        )
        self.assertEqual(text.count(b"longer than the other"), 2)
        self.assertTrue(text.endswith(b"\r\n\r\nstored"))

    def test_clientsOfHttp10(self) -> None:
        """A reply in chunks has a length once it is stored; keep-alive is theirs to ask for; no Host is needed."""
        dialogue = self.cached()
        client = dialogue.client()
        client.says(b"GET / HTTP/1.0\r\n\r\n")
        backend = dialogue.backend()
        backend.says(head(FRESH, b"Transfer-Encoding: chunked") + chunks(b"ab", b"c", last=True))
        first = client.gets_head()
        self.assertEqual((first.get(b"Content-Length"), first.get(b"Connection")), (None, b"close"))
        self.assertEqual((client.gets(), client.is_open), (b"abc", False))
        client = dialogue.client()
        client.says(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        hit = self.assertGets(client, b"HIT", b"abc")
        self.assertEqual((hit.get(b"Content-Length"), hit.get(b"Connection")), (b"3", b"keep-alive"))
        self.assertTrue(client.is_open)

    def test_head(self) -> None:
        """HEAD is answered from a stored GET; it stores nothing itself."""
        dialogue = self.cached()
        client = dialogue.client()
        client.says(request(b"HEAD / HTTP/1.1"))
        backend = dialogue.backend()
        backend.gets()
        backend.says(head(FRESH, b"Content-Length: 6"))
        missed = self.assertGets(client, b"MISS", b"")
        self.assertEqual(missed.get(b"Cache-Status"), b"txproxy; fwd=uri-miss; detail=head")
        client.says(get())
        self.assertAsked(backend)
        backend.says(STORABLE)
        self.assertGets(client, b"MISS", b"stored")
        client.says(request(b"HEAD / HTTP/1.1"))
        self.assertEqual(self.assertGets(client, b"HIT", b"").get(b"Content-Length"), b"6")
        self.assertNotAsked(dialogue, backend)

    def test_headThatShowsAnother(self) -> None:
        """A reply to HEAD with another length takes out what is stored (RFC 9111 section 4.3.5)."""
        dialogue = self.cached()
        backend = self.store(dialogue, says=reply(b"stored", b"Cache-Control: max-age=1, max-stale=9", ETAG))
        for length, end in ((6, b"If-None-Match"), (7, b"")):
            dialogue.advance(2)
            client = dialogue.client()
            client.says(request(b"HEAD / HTTP/1.1"))
            self.assertAsked(backend)
            backend.says(head(FRESH, b"Content-Length: %d" % length))
            self.assertGets(client, b"EXPIRED", b"")
            client.says(get())
            self.assertAsked(backend, *[end] * bool(end))
            backend.says(reply(b"stored", b"Cache-Control: max-age=1", ETAG))
            client.finishes()

    def test_statusWithoutContent(self) -> None:
        """A 204 is stored and sent without a length; a 301 and a 404 as they came."""
        dialogue = self.cached()
        for path, status in ((b"/1", b"204 No Content"), (b"/2", b"301 Moved Permanently"), (b"/3", b"404 Not Found")):
            client = self.asks(dialogue, path)
            backend = dialogue.backend()
            body = b"" if status[:3] == b"204" else b"-"
            length = [] if status[:3] == b"204" else [b"Content-Length: 1"]
            backend.says(head(FRESH, b"Location: /x", *length, status=b"HTTP/1.1 " + status) + body)
            code = int(status[:3])
            self.assertGets(client, b"MISS", body, code)
            client.says(get(path))
            hit = self.assertGets(client, b"HIT", body, code)
            self.assertEqual((hit.get(b"Location"), hit.get(b"Content-Length")), (b"/x", b"1" if body else None))
            backend.finishes()

    def test_fieldsOfOthers(self) -> None:
        """Age and X-Cache-Status of a cache behind us do not stand beside ours; its Cache-Status does."""
        dialogue = self.cached()
        client = self.asks(dialogue)
        says = reply(
            b"ok", FRESH, b"Age: 10", b"X-Cache-Status: HIT", b"Cache-Status: inner; hit", b"Connection: X-A", b"X-A: b"
        )
        dialogue.backend().says(says)
        first = self.assertGets(client, b"MISS", b"ok")
        self.assertEqual(first.all(b"Cache-Status"), [b"inner; hit", b"txproxy; fwd=uri-miss; stored"])
        self.assertEqual((first.get(b"Age"), first.get(b"X-A")), (b"10", None))
        dialogue.advance(5)
        client.says(get())
        hit = self.assertGets(client, b"HIT", b"ok")
        self.assertEqual(hit.all(b"Cache-Status"), [b"inner; hit", b"txproxy; hit; ttl=45"])
        self.assertEqual((hit.get(b"Age"), hit.get(b"X-A")), (b"15", None))

    def test_nothingIsLeft(self) -> None:
        """Neither misses, hits, followers nor failures leave anything for the garbage collector (HF: no cycles)."""
        dialogue = self.cached()
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        clients = [self.asks(dialogue) for _ in range(3)]
        backend = dialogue.backend()
        backend.says(head(FRESH, b"Content-Length: 6") + b"sto")
        backend.says(b"red")
        for client in clients:
            client.gets()
            client.says(get())
            self.assertEqual(client.gets()[-6:], b"stored")
        clients[0].says(get(b"/cut"))
        clients[1].says(get(b"/cut"))
        backend.says(head(FRESH, b"Content-Length: 6") + b"sto")
        backend.finishes()
        clients[2].says(get(b"/refused"))
        dialogue.refuse()
        clients[2].gets()
        clients[2].says(get(b"/left"))
        dialogue.backend()
        clients[2].finishes()
        del backend, client, clients
        self.assertEqual(len(dialogue.lines), 10)
        dialogue.trace.clear()
        self.assertNoneLeft()


class PartTests(CacheCase):
    """Conditions and ranges of clients."""

    def setUp(self) -> None:
        super().setUp()
        self.dialogue = self.cached()
        self.backend = self.store(self.dialogue, says=reply(b"0123456789", FRESH, ETAG, MODIFIED, b"X-A: b"))
        self.client = self.dialogue.client()

    def found(self, *fields: bytes, word: bytes = b"HIT", status: int = 200, body: bytes = b"0123456789") -> Any:
        self.client.says(get(b"/", *fields))
        got = self.assertGets(self.client, word, body, status)
        self.assertNotAsked(self.dialogue, self.backend)
        return got

    def test_notModified(self) -> None:
        """If-None-Match and If-Modified-Since on a fresh hit give 304 without a backend (K1)."""
        for field in (
            b'If-None-Match: "0", W/"1"',
            b"If-None-Match: *",
            b"If-Modified-Since: Tue, 14 Nov 2023 00:00:00 GMT",
        ):
            got = self.found(field, status=304, body=b"")
            self.assertEqual((got.get(b"ETag"), got.get(b"X-A"), got.get(b"Age")), (b'"1"', b"b", b"0"))
            self.assertEqual(got.all(b"Content-Length"), [])
        self.assertEqual(self.dialogue.lines[-1]["status"], 304)

    def test_modified(self) -> None:
        """Other tags, and a date before: the whole. A tag that does not match outweighs a date that would."""
        for fields in (
            [b'If-None-Match: "2"'],
            [b"If-Modified-Since: Mon, 13 Nov 2023 00:00:00 GMT"],
            [b'If-None-Match: "2"', b"If-Modified-Since: Tue, 14 Nov 2023 00:00:00 GMT"],
        ):
            self.found(*fields)

    def test_ranges(self) -> None:
        """One range is cut out of the whole; several are answered with it."""
        for value, body, place in (
            (b"bytes=2-4", b"234", b"2-4"),
            (b"bytes=7-", b"789", b"7-9"),
            (b"bytes=-1", b"9", b"9-9"),
            (b"bytes=5-99", b"56789", b"5-9"),
        ):
            got = self.found(b"Range: " + value, status=206, body=body)
            self.assertEqual(got.get(b"Content-Range"), b"bytes %b/10" % place)
            self.assertEqual(got.get(b"Content-Length"), b"%d" % len(body))
        self.found(b"Range: bytes=0-1,3-4")
        self.found(b"Range: lines=0-1")

    def test_unsatisfiable(self) -> None:
        """Beyond the end: 416 with the length."""
        got = self.found(b"Range: bytes=10-", status=416, body=b"")
        self.assertEqual(got.get(b"Content-Range"), b"bytes */10")
        self.assertEqual(self.dialogue.lines[-1]["end"], "unsatisfiable-range")

    def test_ifRange(self) -> None:
        """The part only if it is of the same; what has not changed is 304, whatever the range."""
        self.found(b"Range: bytes=0-0", b'If-Range: "1"', status=206, body=b"0")
        self.found(b"Range: bytes=0-0", b'If-Range: "2"')
        self.found(b"Range: bytes=0-0", b'If-None-Match: "1"', status=304, body=b"")

    def test_headWithRange(self) -> None:
        """A range means nothing to HEAD."""
        self.client.says(request(b"HEAD / HTTP/1.1", b"Range: bytes=0-0"))
        self.assertEqual(self.assertGets(self.client, b"HIT", b"").get(b"Content-Length"), b"10")

    def test_rangeOfWhatIsNotStored(self) -> None:
        """It goes to the backend as it is, and the part is not stored."""
        for path in (b"/other", b"/other"):
            self.client.says(get(path, b"Range: bytes=0-0"))
            self.assertAsked(self.backend, b"Range")
            self.backend.says(reply(b"0", FRESH, b"Content-Range: bytes 0-0/10", status=b"206 Partial Content"))
            got = self.assertGets(self.client, b"MISS", b"0", 206)
            self.assertEqual(got.get(b"Cache-Status"), b"txproxy; fwd=uri-miss; detail=range")

    def test_conditionsOnAMiss(self) -> None:
        """The backend is asked for the whole, which is stored; the client is told that it has not changed."""
        self.client.says(get(b"/other", b'If-None-Match: "1"'))
        self.assertAsked(self.backend)
        self.backend.says(reply(b"whole", FRESH, ETAG, b"Connection: X-Hop", b"X-Hop: 1"))
        got = self.assertGets(self.client, b"MISS", b"", 304)
        self.assertEqual((got.get(b"ETag"), got.all(b"X-Hop"), got.all(b"Content-Length")), (b'"1"', [], []))
        self.assertStill(self.dialogue, b"HIT", b"whole", b"/other")

    def test_conditionsForTheOrigin(self) -> None:
        """If-Match is for the backend alone to judge."""
        self.client.says(get(b"/", b'If-Match: "2"'))
        self.assertAsked(self.backend, b"If-Match")
        self.backend.says(reply(b"", status=b"412 Precondition Failed"))
        self.assertGets(self.client, b"BYPASS", b"", 412)
        self.assertStill(self.dialogue, b"HIT", b"0123456789")


class LargeTests(CacheCase):
    """Bodies that do not fit into what a client takes at once."""

    def large(self) -> Dialogue:
        dialogue = self.cached()
        self.store(dialogue, says=reply(LARGE, FRESH))
        return dialogue

    def test_slowClient(self) -> None:
        """It is given a piece at a time, byte for byte in the end (D1), and the next request waits."""
        dialogue = self.large()
        client = dialogue.client()
        client.stops_reading(1000)
        client.says(get() + get(b"/", b"Range: bytes=0-0"))
        self.assertLessEqual(client.transport.queued_bytes, 2 * 65536 + 1000)
        client.reads(200_000)
        self.assertLessEqual(client.transport.queued_bytes, 2 * 65536 + 1000)
        client.reads()
        first = client.gets_head()
        self.assertEqual(first.get(b"X-Cache-Status"), b"HIT")
        data = client.gets()
        self.assertEqual(data[: len(LARGE)], LARGE)
        self.assertTrue(data[len(LARGE) :].startswith(b"HTTP/1.1 206 "))

    def test_leaves(self) -> None:
        """A client that leaves in the middle: its line says so, and nothing is left."""
        dialogue = self.large()
        client = dialogue.client()
        client.stops_reading(1000)
        client.says(get())
        client.resets()
        self.assertEnd(dialogue, "client-left", 499)
        gc.collect()
        self.assertNoneLeft()

    def test_purgedMeanwhile(self) -> None:
        """What is being sent is sent to its end."""
        dialogue = self.large()
        client = dialogue.client()
        client.stops_reading(1000)
        client.says(get())
        self.assertEqual(self.cache_of(dialogue).clear(), 1)
        client.reads()
        client.gets_head()
        self.assertEqual(client.gets(), LARGE)
