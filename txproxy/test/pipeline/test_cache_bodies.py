"""Bodies on their way to clients and into the cache: pace, bounds, and ends."""

from __future__ import annotations

import gc

from txproxy.cache.content import PIECE_BYTES
from txproxy.pipeline import fetching
from txproxy.test.pipeline.cache_case import FRESH, NOT_MODIFIED, STORABLE, CacheCase, chunks, get, whole
from txproxy.test.talk import head, reply
from txproxy.testing import Dialogue, Peer

PIECE = b"x" * 16384
STEP = chunks(PIECE)
MOST = 512 * 1024
"""More than watermarks and one read of a backend let wait."""


class PaceTests(CacheCase):
    """Who waits for whom."""

    def pour(self, backend: Peer, most: int, data: bytes = STEP) -> int:
        """Have a backend send until it has to wait; return how many times it has sent."""
        for count in range(most):
            if not backend.transport.is_reading:
                return count
            backend.says(data)
        return most

    def begun(self, dialogue: Dialogue, count: int, *fields: bytes) -> tuple[list[Peer], Peer]:
        clients = [self.asks(dialogue) for _ in range(count)]
        backend = self.asked(dialogue)
        backend.says(head(*fields, b"Transfer-Encoding: chunked"))
        return clients, backend

    def test_slowClientOfWhatIsNotKept(self) -> None:
        """The backend waits for it, so that memory is bounded; when it reads on, all of it comes."""
        dialogue = self.cached()
        (client,), backend = self.begun(dialogue, 1, b"Cache-Control: no-store")
        client.stops_reading(0)
        sent = self.pour(backend, 1000)
        self.assertLess(sent * len(PIECE), MOST)
        client.reads()
        self.assertTrue(backend.transport.is_reading)
        backend.says(chunks(b"end", last=True))
        client.gets_head()
        self.assertEqual(len(whole(client.gets())), sent * len(PIECE) + 3)

    def test_slowClientOfWhatIsKept(self) -> None:
        """The backend does not wait, nor do others; the client's own transport holds no more than it may."""
        dialogue = self.cached()
        (slow, fast), backend = self.begun(dialogue, 2, FRESH)
        slow.stops_reading(0)
        self.assertEqual(self.pour(backend, 100), 100)
        self.assertLess(slow.transport.queued_bytes, 2 * PIECE_BYTES + 1000)
        fast.gets_head()
        self.assertEqual(fast.gets(), STEP * 100)
        slow.reads(len(STEP) * 50)
        late = self.asks(dialogue)
        backend.says(chunks(b"end", last=True))
        self.assertEqual(whole(fast.gets()), b"end")
        late.gets_head()
        self.assertEqual(len(whole(late.gets())), 100 * len(PIECE) + 3)
        self.assertStill(dialogue, b"HIT", PIECE * 100 + b"end")
        slow.reads()
        slow.gets_head()
        self.assertEqual(whole(slow.gets()), PIECE * 100 + b"end")

    def test_growsTooLongForOne(self) -> None:
        """What grows beyond what may be kept, and is read by one alone, is passed on at that one's pace."""
        dialogue = self.cached(shared=f"max_object_bytes = {len(PIECE) * 10}")
        (client,), backend = self.begun(dialogue, 1, FRESH)
        client.stops_reading(0)
        sent = self.pour(backend, 1000)
        self.assertLess(sent, 20)
        client.reads()
        self.assertEqual(self.pour(backend, 10), 10)
        backend.says(chunks(b"end", last=True))
        client.gets_head()
        self.assertEqual(len(whole(client.gets())), (sent + 10) * len(PIECE) + 3)

    def test_growsTooLongForMany(self) -> None:
        """Who is slow may lag behind the others, who are not held up; memory is given back as it catches up."""
        dialogue = self.cached(shared=f"max_object_bytes = {len(PIECE) * 10}\nmax_bytes = {len(PIECE) * 400}")
        (slow, fast), backend = self.begun(dialogue, 2, FRESH)
        slow.stops_reading(0)
        self.assertEqual(self.pour(backend, 80), 80)
        fast.gets_head()
        self.assertEqual(fast.gets(), STEP * 80)
        (fetch,) = self.cache_of(dialogue).fetches
        self.assertGreater(fetch.reserved_bytes, 70 * len(PIECE))
        slow.reads(len(STEP) * 70)
        self.assertEqual(self.pour(backend, 1), 1)
        self.assertLess(fetch.reserved_bytes, 30 * len(PIECE))
        fast.stops_reading(0)
        slow.stops_reading(0)
        self.assertLess(self.pour(backend, 1000), 40)
        fast.reads()
        slow.reads()
        self.assertEqual(fetch.reserved_bytes, 0)
        backend.says(chunks(b"end", last=True))
        slow.gets_head()
        self.assertEqual(whole(STEP * 80 + fast.gets()), whole(slow.gets()))

    def test_noRoomToLag(self) -> None:
        """When there is no room any more, who lags by more than what may be stored is cut, and the others go on."""
        dialogue = self.cached(shared=f"max_object_bytes = {len(PIECE) * 10}\nmax_bytes = {len(PIECE) * 100}")
        (slow, fast), backend = self.begun(dialogue, 2, FRESH)
        slow.stops_reading(0)
        self.assertEqual(self.pour(backend, 60), 60)
        self.assertEqual([line["end"] for line in dialogue.lines], ["write-timeout"])
        self.assertFalse(slow.is_open)
        backend.says(chunks(b"end", last=True))
        fast.gets_head()
        self.assertEqual(len(whole(fast.gets())), 60 * len(PIECE) + 3)

    def test_noRoomForOthers(self) -> None:
        """Where others have all the room, who lags by more than 256 KiB is cut, and who lags by less holds up nobody."""
        dialogue = self.cached(shared=f"max_object_bytes = {len(PIECE) * 40}\nmax_bytes = {len(PIECE) * 160}")
        holder = self.asks(dialogue, b"/held")
        held = self.asked(dialogue)
        held.says(head(FRESH, b"Transfer-Encoding: chunked") + STEP * 38)
        (slow, late, fast), backend = self.begun(dialogue, 3, FRESH)
        slow.stops_reading(0)
        self.assertEqual(self.pour(backend, 14), 14)
        late.stops_reading(0)
        self.assertTrue(slow.is_open)
        self.assertEqual(self.pour(backend, 14), 14)
        self.assertEqual((slow.is_open, late.is_open), (False, True))
        self.assertEqual([line["end"] for line in dialogue.lines], ["write-timeout"])
        (_, fetch) = self.cache_of(dialogue).fetches
        self.assertLess(len(fetch._held), 20 * len(PIECE))  # noqa: SLF001 - what takes memory shows nowhere else
        late.reads()
        self.assertEqual(self.pour(backend, 10), 10)
        backend.says(chunks(b"end", last=True))
        for client in (late, fast):
            client.gets_head()
            self.assertEqual(len(whole(client.gets())), 38 * len(PIECE) + 3)
        held.says(chunks(last=True))
        self.assertGets(holder, b"MISS", PIECE * 38)

    def test_growsTooLong(self) -> None:
        """What grows beyond what may be kept is not stored, and joined by nobody."""
        dialogue = self.cached(shared=f"max_object_bytes = {len(PIECE) * 10}")
        (slow, fast), backend = self.begun(dialogue, 2, FRESH)
        slow.stops_reading(0)
        self.assertEqual(self.pour(backend, 40), 40)
        fast.gets_head()
        got = fast.gets()
        self.assertEqual(got, STEP * 40)
        other = self.asks(dialogue)
        self.asked(dialogue).says(STORABLE)
        self.assertGets(other, b"MISS", b"stored")
        slow.reads()
        self.assertEqual(self.pour(backend, 10), 10)
        backend.says(chunks(b"end", last=True))
        slow.gets_head()
        self.assertEqual(whole(got + fast.gets()), whole(slow.gets()))
        self.assertStill(dialogue, b"HIT", b"stored")

    def test_growsTooLongAtItsEnd(self) -> None:
        """It is the last piece that is too much: it is sent and not stored, and the next two do not share a fetch."""
        dialogue = self.cached(shared="max_object_bytes = 10")
        (client,), backend = self.begun(dialogue, 1, FRESH)
        backend.says(chunks(b"0123456789"))
        backend.says(chunks(b"a", last=True))
        self.assertGets(client, b"MISS", b"0123456789a")
        clients = [self.asks(dialogue) for _ in range(2)]
        for client in clients:
            self.asked(dialogue).says(STORABLE)
            self.assertGets(client, b"MISS", b"stored")

    def test_growsTooLongForNobody(self) -> None:
        """When all clients have left, what turns out not to be storable is given up."""
        dialogue = self.cached(shared="max_object_bytes = 10")
        (client,), backend = self.begun(dialogue, 1, FRESH)
        client.finishes()
        backend.says(chunks(b"0123456789"))
        self.assertTrue(backend.is_open)
        backend.says(chunks(b"a"))
        self.assertTrue(backend.sees_reset)

    def test_tooMuchInAll(self) -> None:
        """Only so much may be on its way into the store; what is beyond is passed on, and the room is given back."""
        dialogue = self.cached(shared=f"max_bytes = {len(PIECE) * 40}\nmax_object_bytes = {len(PIECE) * 10}")
        first, backend = self.asks(dialogue, b"/1"), self.asked(dialogue)
        backend.says(head(FRESH, b"Transfer-Encoding: chunked") + STEP * 6)
        slow = self.asks(dialogue, b"/2")
        slow.stops_reading(0)
        other = self.asked(dialogue)
        other.says(head(FRESH, b"Transfer-Encoding: chunked"))
        self.assertLess(self.pour(other, 1000), 8)
        backend.says(chunks(b"end", last=True))
        self.assertGets(first, b"MISS", PIECE * 6 + b"end")
        self.assertStill(dialogue, b"HIT", PIECE * 6 + b"end", b"/1")
        slow.resets()
        self.assertEqual(self.cache_of(dialogue).fetches, [])
        third = self.asks(dialogue, b"/3")
        backend = self.asked(dialogue)
        backend.says(head(FRESH, b"Transfer-Encoding: chunked") + STEP * 8)
        backend.says(chunks(b"end", last=True))
        self.assertGets(third, b"MISS", PIECE * 8 + b"end")
        self.assertStill(dialogue, b"HIT", PIECE * 8 + b"end", b"/3")

    def test_manySmallPieces(self) -> None:
        """A body that comes a byte at a time takes no more memory than its bytes."""
        dialogue = self.cached()
        (client,), backend = self.begun(dialogue, 1, FRESH)
        for _ in range(300):
            backend.says(chunks(b"x"))
        (fetch,) = self.cache_of(dialogue).fetches
        self.assertEqual(fetch.reserved_bytes, 300)
        self.assertFalse([each for each in gc.get_referents(fetch) if isinstance(each, list) and len(each) > 100])
        backend.says(chunks(last=True))
        self.assertGets(client, b"MISS", b"x" * 300)

    def test_bugs(self) -> None:
        """If it cannot be stored for a bug of ours, all who read it get it, and the log says so."""

        def raises(*_: object) -> None:
            raise ValueError("a bug")

        self.patch(fetching, "entry_of", raises)
        dialogue = self.cached()
        clients = [self.asks(dialogue) for _ in range(2)]
        self.asked(dialogue).says(STORABLE)
        for client in clients:
            self.assertGets(client, b"MISS", b"stored")
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_untilClose(self) -> None:
        """A body that only the end of the connection ends may be cut, and nothing shows it: it is not stored."""
        dialogue = self.cached()
        client = self.asks(dialogue)
        backend = self.asked(dialogue)
        backend.says(head(FRESH) + b"until")
        backend.finishes()
        got = self.assertGets(client, b"MISS", b"until")
        self.assertEqual(got.get(b"Cache-Status"), b"txproxy; fwd=uri-miss; detail=until-close")
        self.assertEqual(self.cache_of(dialogue).statistics().store.objects, 0)

    def reads_slowly(self, dialogue: Dialogue, path: bytes, *fields: bytes) -> Peer:
        """Return a client that asks for something and takes nothing."""
        client = dialogue.client()
        client.stops_reading(0)
        client.says(get(path, *fields))
        return client

    def fetches_slowly(self, dialogue: Dialogue, path: bytes, length: int = 400_000) -> Peer:
        """The same, with a backend that sends all of it."""
        client = self.reads_slowly(dialogue, path)
        backend = self.asked(dialogue)
        backend.says(head(FRESH, b"Content-Length: %d" % length))
        for _ in range(20):
            backend.says(bytes(length // 20))
        return client

    def test_slowReadersOfWhatIsStored(self) -> None:
        """They take no room, as many as they are, neither of what is on its way nor of others who read."""
        dialogue = self.cached(shared="max_bytes = 4000000\nmax_object_bytes = 900000")
        budget = self.cache_of(dialogue).budget
        clients = [self.fetches_slowly(dialogue, b"/%d" % number) for number in range(6)]
        clients += [self.reads_slowly(dialogue, b"/%d" % (number % 6)) for number in range(20)]
        self.assertEqual((budget.left_bytes, budget.left_read_bytes), (1_000_000, 4_000_000))
        self.assertEqual(self.cache_of(dialogue).statistics().store.objects, 6)
        for client in clients:
            client.resets()
        self.assertEqual((budget.left_bytes, budget.left_read_bytes), (1_000_000, 4_000_000))

    def test_slowReadersOfWhatIsValidated(self) -> None:
        """A 304 has the same body stored anew: who reads it takes no room."""
        dialogue = self.cached(shared="max_bytes = 1000000\nmax_object_bytes = 900000")
        budget = self.cache_of(dialogue).budget
        self.store(dialogue, b"/", reply(bytes(400_000), FRESH, b'ETag: "1"'))
        client = self.reads_slowly(dialogue, b"/")
        dialogue.advance(61)
        other = self.asks(dialogue)
        self.asked(dialogue, b"If-None-Match").says(NOT_MODIFIED)
        self.assertGets(other, b"REVALIDATED", bytes(400_000))
        self.assertEqual(budget.left_read_bytes, 1_000_000)
        client.resets()

    def test_slowReadersOfWhatIsGone(self) -> None:
        """What is evicted or purged takes room as long as somebody reads it; who takes nothing is cut when none is left."""
        dialogue = self.cached(shared="max_bytes = 1000000\nmax_object_bytes = 500000")
        cache = self.cache_of(dialogue)
        clients = []
        for number in range(3):
            clients.append(self.fetches_slowly(dialogue, b"/%d" % number))
            clients.append(self.reads_slowly(dialogue, b"/%d" % number, b"Range: bytes=100-300000"))
            dialogue.advance(1)
        self.assertEqual(cache.budget.left_read_bytes, 600_000)
        for client in clients[:2]:
            client.reads(100_000)
        cache.clear()
        dialogue.settle()
        self.assertEqual([client.is_open for client in clients], [True, True, False, False, True, True])
        self.assertEqual(cache.budget.left_read_bytes, 200_000)
        self.assertEqual([line["end"] for line in dialogue.lines][-2:], ["write-timeout"] * 2)
        clients[1].reads()
        self.assertEqual(clients[1].gets_head().get(b"Content-Range"), b"bytes 100-300000/400000")
        self.assertEqual(clients[1].gets(), bytes(299_901))
        for client in clients:
            client.resets()
        self.assertEqual(cache.budget.left_read_bytes, 1_000_000)

    def test_trailers(self) -> None:
        """A body with trailers is passed on with them, to followers too, and not stored."""
        dialogue = self.cached()
        clients, backend = self.begun(dialogue, 2, FRESH)
        backend.says(b"2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n")
        for client in clients:
            client.gets_head()
            self.assertEqual(client.gets(), b"2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n")
        client = self.asks(dialogue)
        self.asked(dialogue).says(STORABLE)
        self.assertGets(client, b"MISS", b"stored")


class CutTests(CacheCase):
    """Replies that are not complete."""

    def cut(self, *fields: bytes) -> tuple[Dialogue, list[Peer], Peer]:
        dialogue = self.cached()
        clients = [self.asks(dialogue) for _ in range(3)]
        clients[1].stops_reading(0)
        backend = self.asked(dialogue)
        backend.says(head(FRESH, *fields) + b"5\r\nhello\r\n")
        return dialogue, clients, backend

    def assertCut(self, dialogue: Dialogue, clients: list[Peer]) -> None:
        for client in clients:
            client.reads()
            self.assertFalse(client.gets().endswith(b"0\r\n\r\n"))
            self.assertFalse(client.is_open)
        self.assertEqual([line["end"] for line in dialogue.lines], ["reply-cut"] * len(clients))
        self.assertEqual(self.cache_of(dialogue).statistics().store.objects, 0)
        client = self.asks(dialogue)
        self.asked(dialogue).says(STORABLE)
        self.assertGets(client, b"MISS", b"stored")

    def test_cut(self) -> None:
        """Each reader is cut, the slow one too; it is not stored, and the next request is a miss."""
        dialogue, clients, backend = self.cut(b"Transfer-Encoding: chunked")
        backend.finishes()
        self.assertCut(dialogue, clients)

    def test_length(self) -> None:
        """A body shorter than its length."""
        dialogue, clients, backend = self.cut(b"Content-Length: 100")
        backend.resets()
        self.assertCut(dialogue, clients)

    def test_stalls(self) -> None:
        """A backend that falls silent."""
        dialogue, clients, _ = self.cut(b"Transfer-Encoding: chunked")
        clients[1].reads()
        dialogue.advance_past(60)
        self.assertCut(dialogue, clients)

    def test_badChunk(self) -> None:
        """A backend that breaks the framing."""
        dialogue, clients, backend = self.cut(b"Transfer-Encoding: chunked")
        backend.says(b"zz\r\n")
        for client in clients:
            client.reads()
            self.assertFalse(client.is_open)
        self.assertEqual({line["end"] for line in dialogue.lines}, {"bad-reply"})
        self.assertEqual(self.cache_of(dialogue).statistics().store.objects, 0)

    def test_whatWasStoredStays(self) -> None:
        """A cut reply does not take the place of what is stored, which may be sent when the backend fails."""
        dialogue = self.cached()
        stale = b"Cache-Control: max-age=10, stale-if-error=60"
        self.store(dialogue, says=reply(b"stored", stale))
        dialogue.advance(11)
        client = self.asks(dialogue)
        backend = self.asked(dialogue)
        backend.says(head(stale, b"Content-Length: 6") + b"sto")
        backend.finishes()
        self.assertFalse(client.is_open)
        client = self.asks(dialogue)
        self.asked(dialogue).says(reply(b"busy", status=b"503 Service Unavailable"))
        self.assertGets(client, b"STALE", b"stored")

    def test_nobodyReads(self) -> None:
        """A fetch that nobody reads any more, and that is cut: nothing is left."""
        dialogue, clients, backend = self.cut(b"Transfer-Encoding: chunked")
        for client in clients:
            client.resets()
        backend.finishes()
        self.assertEqual(self.cache_of(dialogue).fetches, [])
        self.assertEqual(self.cache_of(dialogue).statistics().store.objects, 0)
