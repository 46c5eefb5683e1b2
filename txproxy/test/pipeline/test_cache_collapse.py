"""Many who want the same: one fetch, and who is served by it (K3)."""

from __future__ import annotations

from txproxy.cache import contest, engine
from txproxy.errors import ConnectFailed
from txproxy.test.pipeline.cache_case import ETAG, FRESH, NOT_MODIFIED, PRIVATE, STORABLE, CacheCase, chunks, get, whole
from txproxy.test.talk import NO_ROOM, head, reply, request
from txproxy.testing import Dialogue, Peer

WAITS_S = 5.0


class CollapseCase(CacheCase):
    """A test case with many clients."""

    def many(self, dialogue: Dialogue, count: int, path: bytes = b"/", *fields: bytes) -> list[Peer]:
        return [self.asks(dialogue, path, *fields) for _ in range(count)]

    def only(self, dialogue: Dialogue, count: int = 1) -> list[Peer]:
        """Return so many backends that are asked now, and no more."""
        backends = [self.asked(dialogue) for _ in range(count)]
        self.assertNotAsked(dialogue)
        return backends


class StorableTests(CollapseCase):
    """Replies that can be stored."""

    def test_oneFetch(self) -> None:
        """100 misses at once: one fetch, 100 identical bodies; the log has one try in all."""
        dialogue = self.cached()
        clients = self.many(dialogue, 100)
        (backend,) = self.only(dialogue)
        backend.says(STORABLE)
        details = [self.assertGets(client, b"MISS", b"stored").get(b"Cache-Status") for client in clients]
        self.assertEqual(details[0], b"txproxy; fwd=uri-miss; stored")
        self.assertEqual(set(details[1:]), {b"txproxy; fwd=uri-miss; stored; collapsed"})
        self.assertNotAsked(dialogue, backend)
        self.assertEqual(sum(line["tries"] for line in dialogue.lines), 1)
        self.assertCounted(dialogue, misses=100, collapsed=99)
        self.assertStill(dialogue, b"HIT", b"stored")

    def test_followersReadAsItComes(self) -> None:
        """Who joins before the head, after it, or in the midst of content gets the same, and each piece as it comes."""
        dialogue = self.cached()
        clients = self.many(dialogue, 2)
        (backend,) = self.only(dialogue)
        backend.says(head(FRESH, b"Transfer-Encoding: chunked"))
        for client in clients:
            client.gets_head()
        clients += self.many(dialogue, 1)
        clients[2].gets_head()
        backend.says(chunks(b"abc"))
        self.assertEqual([client.gets() for client in clients], [chunks(b"abc")] * 3)
        clients += self.many(dialogue, 1)
        clients[3].gets_head()
        self.assertEqual(clients[3].gets(), chunks(b"abc"))
        backend.says(chunks(b"de", last=True))
        self.assertEqual([whole(client.gets()) for client in clients], [b"de"] * 4)
        self.assertStill(dialogue, b"HIT", b"abcde")

    def test_whoComesAfterTheHead(self) -> None:
        """What has come is to them as old as if it were stored, and not of today; those who waited get it as it came."""
        came, made = b"Tue, 14 Nov 2023 22:13:20 GMT", b"Tue, 14 Nov 2023 22:13:15 GMT"
        for fields, given, late in (
            ((), ([], [came]), (b"10", came)),
            ((b"Date: " + came,), ([], [came]), (b"10", came)),
            ((b"Date: " + made,), ([], [made]), (b"15", made)),
            ((b"Age: 7", b"Date: " + came), ([b"7"], [came]), (b"17", came)),
            ((b"Age: 7",), ([b"7"], [came]), (b"17", came)),
            ((b"Age: 7", b'Cache-Control: private="Date, Age"', b"Date: " + made), None, (b"17", came)),
        ):
            dialogue = self.cached()
            clients = self.many(dialogue, 2)
            (backend,) = self.only(dialogue)
            backend.says(head(FRESH, ETAG, *fields, b"Content-Length: 6") + b"sto")
            dialogue.advance(10)
            clients += self.many(dialogue, 1) + self.many(dialogue, 1, b"/", b'If-None-Match: "1"')
            unchanged = self.assertGets(clients.pop(), b"MISS", b"", 304)
            self.assertEqual((unchanged.all(b"Age"), unchanged.all(b"Date")), ([late[0]], [late[1]]))
            backend.says(b"red")
            heads = [self.assertGets(client, b"MISS", b"stored") for client in clients]
            if given is not None:  # What is for the first alone is tested below.
                self.assertEqual([(each.all(b"Age"), each.all(b"Date")) for each in heads[:2]], [given] * 2)
            self.assertEqual((heads[2].all(b"Age"), heads[2].all(b"Date")), ([late[0]], [late[1]]))
            self.assertEqual(heads[2].get(b"Cache-Status"), b"txproxy; fwd=uri-miss; stored; collapsed")
            self.assertEqual(self.assertStill(dialogue, b"HIT", b"stored").get(b"Age"), late[0])
            self.backends.clear()

    def test_fieldsForTheFirstAlone(self) -> None:
        """What private or no-cache names goes to who has caused the fetch, and to nobody else."""
        dialogue = self.cached()
        clients = self.many(dialogue, 2)
        (backend,) = self.only(dialogue)
        control = b'Cache-Control: max-age=60, private="Set-Cookie", no-cache="X-A"'
        backend.says(head(control, b"Set-Cookie: a=b", b"X-A: b", b"Content-Length: 6") + b"sto")
        clients += self.many(dialogue, 1)
        backend.says(b"red")
        for client, values in zip(clients, ([b"a=b", b"b"], [], []), strict=True):
            got = self.assertGets(client, b"MISS", b"stored")
            self.assertEqual(got.all(b"Set-Cookie") + got.all(b"X-A"), values)
        self.assertEqual(self.assertStill(dialogue, b"HIT", b"stored").all(b"Set-Cookie"), [])

    def test_interimReplies(self) -> None:
        """An interim reply goes to who has caused the fetch."""
        dialogue = self.cached()
        clients = self.many(dialogue, 2)
        (backend,) = self.only(dialogue)
        backend.says(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
        self.assertEqual(clients[0].gets_head().line, b"HTTP/1.1 103 Early Hints")
        self.assertEqual(clients[1].gets(), b"")
        clients[0].finishes()
        backend.says(b"HTTP/1.1 103 Early Hints\r\nLink: </y>\r\n\r\n" + STORABLE)
        self.assertGets(clients[1], b"MISS", b"stored")

    def test_firstLeavesBeforeTheHead(self) -> None:
        """The others are served by the same fetch."""
        dialogue = self.cached()
        clients = self.many(dialogue, 3)
        (backend,) = self.only(dialogue)
        clients[0].finishes()
        self.assertEnd(dialogue, "client-left", 499)
        backend.says(STORABLE)
        for client in clients[1:]:
            self.assertGets(client, b"MISS", b"stored")
        self.assertEqual([line["tries"] for line in dialogue.lines], [0, 0, 0])

    def test_firstLeavesInTheBody(self) -> None:
        """The others are served to the end."""
        dialogue = self.cached()
        clients = self.many(dialogue, 3)
        (backend,) = self.only(dialogue)
        backend.says(head(FRESH, b"Content-Length: 6") + b"sto")
        clients[0].resets()
        backend.says(b"red")
        for client in clients[1:]:
            self.assertGets(client, b"MISS", b"stored")
        self.assertStill(dialogue, b"HIT", b"stored")

    def test_allLeave(self) -> None:
        """Before the head the backend is told to stop; after it what is to be stored is fetched to its end."""
        dialogue = self.cached()
        clients = self.many(dialogue, 2)
        (backend,) = self.only(dialogue)
        for client in clients:
            client.finishes()
        self.assertTrue(backend.sees_reset)
        clients = self.many(dialogue, 2)
        (backend,) = self.only(dialogue)
        backend.says(head(FRESH, b"Content-Length: 6") + b"sto")
        for client in clients:
            client.finishes()
        late = self.asks(dialogue)
        backend.says(b"red")
        self.assertGets(late, b"MISS", b"stored")
        self.assertStill(dialogue, b"HIT", b"stored")

    def test_allLeaveASlowBackend(self) -> None:
        """It is not kept busy for nobody: a fetch that brings little ends, one that brings much goes on."""
        for fields, step, goes_on in ((b"max-age=60", 1000, False), (b"max-age=60", 70_000, True)):
            dialogue = self.cached()
            client = self.asks(dialogue)
            backend = self.asked(dialogue)
            backend.says(head(b"Cache-Control: " + fields, b"Content-Length: 1400000"))
            client.resets()
            for _ in range(20):
                if backend.is_open:
                    backend.says(bytes(step))
                    dialogue.advance(1)
            self.assertIs(backend.is_open, goes_on)
            self.assertEqual(self.cache_of(dialogue).statistics().store.objects, goes_on)
            self.assertEqual(self.cache_of(dialogue).fetches, [])
            self.backends.clear()

    def test_nobodyHasWaited(self) -> None:
        """A fetch behind a client's back, or for the head alone, has all its time: nobody has left it."""
        for method, word in ((b"GET", b"STALE"), (b"HEAD", b"EXPIRED")):
            says = b"Cache-Control: max-age=1, stale-while-revalidate=90, stale-if-error=90"
            dialogue = self.cached()
            self.store(dialogue, b"/", reply(b"old", says))
            dialogue.advance(3 if method == b"GET" else 93)
            if method == b"HEAD":
                says = says.replace(b"stale-if-error=90", b"stale-if-error=900")
                self.cache_of(dialogue).clear()
                self.store(dialogue, b"/", reply(b"old", says))
                dialogue.advance(95)
            client = dialogue.client()
            client.says(request(method + b" / HTTP/1.1"))
            backend = self.asked(dialogue)
            backend.says(head(FRESH, b"Content-Length: 9"))
            self.assertEqual(client.gets_head().get(b"X-Cache-Status"), word)
            for _ in range(9):
                dialogue.advance(4)
                backend.says(b"n")
            self.assertStill(dialogue, b"HIT", b"n" * 9)
            self.backends.clear()

    def test_allLeaveAndOthersCome(self) -> None:
        """Who joins meanwhile is not cut, however slow the backend is."""
        dialogue = self.cached()
        client = self.asks(dialogue)
        backend = self.asked(dialogue)
        backend.says(head(FRESH, b"Content-Length: 20") + b"a")
        client.resets()
        dialogue.advance(4)
        other = self.asks(dialogue)
        for _ in range(19):
            dialogue.advance(4)
            backend.says(b"b")
        self.assertGets(other, b"MISS", b"a" + b"b" * 19)

    def test_allLeaveWhatIsNotStored(self) -> None:
        """The backend is told to stop."""
        dialogue = self.cached()
        (client,) = self.many(dialogue, 1)
        (backend,) = self.only(dialogue)
        backend.says(head(b"Content-Length: 6") + b"sto")
        client.finishes()
        self.assertTrue(backend.sees_reset)

    def test_lockTimeout(self) -> None:
        """Who has waited long enough goes to a backend alone; the first waits on, and is stored."""
        dialogue = self.cached()
        clients = self.many(dialogue, 2)
        (backend,) = self.only(dialogue)
        dialogue.advance(WAITS_S - 1)
        clients += self.many(dialogue, 1)
        dialogue.advance(1)
        other = self.asked(dialogue)
        other.says(reply(b"alone", FRESH))
        alone = self.assertGets(clients[1], b"MISS", b"alone")
        self.assertEqual(alone.get(b"Cache-Status"), b"txproxy; fwd=uri-miss; detail=lock-timeout")
        self.assertEqual((clients[0].gets(), clients[2].gets()), (b"", b""))
        backend.says(STORABLE)
        self.assertGets(clients[0], b"MISS", b"stored")
        self.assertGets(clients[2], b"MISS", b"stored")
        dialogue.advance(WAITS_S)
        self.assertStill(dialogue, b"HIT", b"stored")

    def test_lockTimeoutOfTheLast(self) -> None:
        """When only one is left who waits, and waits too long, the first fetch is given up."""
        dialogue = self.cached()
        clients = self.many(dialogue, 2)
        (backend,) = self.only(dialogue)
        clients[0].finishes()
        dialogue.advance(WAITS_S)
        self.assertTrue(backend.sees_reset)
        self.asked(dialogue).says(STORABLE)
        self.assertGets(clients[1], b"MISS", b"stored")

    def test_followersWithConditions(self) -> None:
        """Each is answered by its own conditions; ranges, HEAD and what wants no store go their own way."""
        dialogue = self.cached()
        clients = self.many(dialogue, 1) + self.many(dialogue, 1, b"/", b'If-None-Match: "1"')
        (backend,) = self.only(dialogue)
        ranged = self.asks(dialogue, b"/", b"Range: bytes=0-0")
        unstored = self.asks(dialogue, b"/", b"Cache-Control: no-store")
        headed = dialogue.client()
        headed.says(request(b"HEAD / HTTP/1.1"))
        self.asked(dialogue, b"Range")
        self.asked(dialogue)
        self.assertIn(b"no-store", self.request.all(b"Cache-Control"))
        self.asked(dialogue, line=b"HEAD")
        backend.says(reply(b"stored", FRESH, ETAG))
        self.assertGets(clients[0], b"MISS", b"stored")
        self.assertGets(clients[1], b"MISS", b"", 304)
        for client in (ranged, unstored, headed):
            client.finishes()

    def test_noCacheJoinsNothingThatHadCome(self) -> None:
        """Once the head is here, who wants the backend's word asks anew; before that all may share it."""
        dialogue = self.cached()
        for field in (b"Cache-Control: no-cache", b"Cache-Control: max-age=0", b"Pragma: no-cache"):
            self.cache_of(dialogue).clear()
            first, joined = self.asks(dialogue), self.asks(dialogue, b"/", field)
            backend = self.asked(dialogue)
            backend.says(head(FRESH, b"Content-Length: 6") + b"sto")
            late = self.asks(dialogue, b"/", field)
            other = self.asked(dialogue)
            other.says(reply(b"newer!", FRESH))
            self.assertGets(late, b"MISS", b"newer!")
            backend.says(b"red")
            self.assertGets(first, b"MISS", b"stored")
            self.assertGets(joined, b"MISS", b"stored")
            # What was asked for first does not take the place of what was asked for later.
            self.assertStill(dialogue, b"HIT", b"newer!")
            for peer in (backend, other):
                peer.finishes()

    def test_authorizationIsAlone(self) -> None:
        """A request with credentials waits for nobody, and nobody for it (K4)."""
        dialogue = self.cached()
        alone = self.asks(dialogue, b"/", b"Authorization: Basic eA==")
        first = self.asks(dialogue)
        other = self.asks(dialogue, b"/", b"Authorization: Basic eQ==")
        backends = self.only(dialogue, 3)
        backends[0].says(reply(b"of x", FRESH))
        got = self.assertGets(alone, b"MISS", b"of x")
        self.assertEqual(got.get(b"Cache-Status"), b"txproxy; fwd=uri-miss; detail=authorization")
        backends[2].says(reply(b"of y", b"Cache-Control: public, max-age=60"))
        self.assertGets(other, b"MISS", b"of y")
        backends[1].says(STORABLE)
        self.assertGets(first, b"MISS", b"stored")
        # Credentials have not made others wait for nobody.
        clients = self.many(dialogue, 2, b"/new")
        (backend,) = self.only(dialogue)
        backend.says(STORABLE)
        for client in clients:
            self.assertGets(client, b"MISS", b"stored")


class NotStorableTests(CollapseCase):
    """Replies that are for one client alone."""

    def test_goOnInParallel(self) -> None:
        """The first gets it; the 99 others go on at once, not one after another; so do those that come later."""
        dialogue = self.cached()
        clients = self.many(dialogue, 100)
        (backend,) = self.only(dialogue)
        backend.says(PRIVATE)
        first = self.assertGets(clients[0], b"MISS", b"private")
        self.assertEqual(first.get(b"Cache-Status"), b"txproxy; fwd=uri-miss; detail=private")
        backends = self.only(dialogue, 99)
        for number, each in enumerate(backends):
            each.says(reply(b"%d" % number, b"Cache-Control: private"))
        bodies = set()
        for client in clients[1:]:
            client.gets_head()
            bodies.add(client.gets())
        self.assertEqual(bodies, {b"%d" % number for number in range(99)})
        self.assertCounted(dialogue, misses=100)

    def test_theFirstHasLeft(self) -> None:
        """What comes for a client that has left is given to nobody: it may be for that client's eyes only."""
        dialogue = self.cached()
        first = self.asks(dialogue, b"/", b"Cookie: user=1")
        others = self.many(dialogue, 2)
        (backend,) = self.only(dialogue)
        first.finishes()
        backend.says(reply(b"for 1", b"Cache-Control: private"))
        self.assertTrue(backend.is_open)
        for client, each in zip(others, self.only(dialogue, 2), strict=True):
            self.assertIsNone(self.request.get(b"Cookie"))
            each.says(PRIVATE)
            self.assertGets(client, b"MISS", b"private")

    def test_hitForMiss(self) -> None:
        """For 30 s nobody waits; conditions go to the backend; then all share one fetch again."""
        dialogue = self.cached()
        backend = self.store(dialogue, says=PRIVATE)
        dialogue.advance(29)
        clients = self.many(dialogue, 1) + self.many(dialogue, 1, b"/", b'If-None-Match: "1"')
        backend = self.asked(dialogue)
        self.asked(dialogue, b"If-None-Match").says(
            head(b"Cache-Control: private", status=b"HTTP/1.1 304 Not Modified")
        )
        self.assertGets(clients[1], b"MISS", b"", 304)
        backend.says(PRIVATE)
        self.assertGets(clients[0], b"MISS", b"private")
        dialogue.advance(29)
        clients = self.many(dialogue, 2)
        for backend in self.only(dialogue, 2):
            backend.says(PRIVATE)
        for client in clients:
            self.assertGets(client, b"MISS", b"private")
        dialogue.advance(31)
        clients = self.many(dialogue, 2)
        (backend,) = self.only(dialogue)
        backend.says(STORABLE)
        for client in clients:
            self.assertGets(client, b"MISS", b"stored")

    def test_hitForMissWithConditions(self) -> None:
        """A 304 says nothing of what could be stored: it makes the time no longer."""
        dialogue = self.cached()
        self.store(dialogue, says=PRIVATE)
        dialogue.advance(20)
        client = self.asks(dialogue, b"/", b'If-None-Match: "1"')
        self.asked(dialogue, b"If-None-Match").says(head(status=b"HTTP/1.1 304 Not Modified"))
        self.assertGets(client, b"MISS", b"", 304)
        dialogue.advance(11)
        clients = [self.asks(dialogue, b"/", b'If-None-Match: "1"') for _ in range(2)]
        (backend,) = self.only(dialogue)
        backend.says(STORABLE)
        for client in clients:
            self.assertGets(client, b"MISS", b"stored")

    def test_conditionsOfWhatIsNotStored(self) -> None:
        """A client that has the same is given it again: its condition did not reach the backend."""
        dialogue = self.cached()
        client = self.asks(dialogue, b"/", b'If-None-Match: "1"')
        self.asked(dialogue).says(reply(b"private", b"Cache-Control: private", ETAG))
        self.assertGets(client, b"MISS", b"private")

    def test_followersMayBeStored(self) -> None:
        """What those get who go on in parallel is stored if it can be."""
        dialogue = self.cached()
        clients = self.many(dialogue, 2)
        self.asked(dialogue).says(reply(b"busy", status=b"503 Service Unavailable"))
        self.assertGets(clients[0], b"MISS", b"busy", 503)
        self.asked(dialogue).says(STORABLE)
        self.assertGets(clients[1], b"MISS", b"stored")
        self.assertStill(dialogue, b"HIT", b"stored")

    def test_endOfHitForMissWithoutLength(self) -> None:
        """Whether a reply without a length can be stored is known at its end; then the next share a fetch again."""
        dialogue = self.cached()
        self.store(dialogue, says=PRIVATE)
        other = self.asks(dialogue)
        earlier = self.asked(dialogue)
        client = self.asks(dialogue)
        backend = self.asked(dialogue)
        backend.says(head(FRESH, b"Transfer-Encoding: chunked"))
        earlier.says(PRIVATE)
        self.assertGets(other, b"MISS", b"private")
        backend.says(chunks(b"stored", last=True))
        self.assertGets(client, b"MISS", b"stored")
        self.cache_of(dialogue).clear()
        clients = self.many(dialogue, 2)
        (backend,) = self.only(dialogue)
        backend.says(STORABLE)
        for client in clients:
            self.assertGets(client, b"MISS", b"stored")

    def test_endOfHitForMiss(self) -> None:
        """A reply that can be stored is stored at once, and those that come next share a fetch again."""
        dialogue = self.cached()
        backend = self.store(dialogue, says=PRIVATE)
        client = self.asks(dialogue)
        backend = self.asked(dialogue)
        backend.says(head(FRESH, b"Content-Length: 6") + b"sto")
        others = self.many(dialogue, 2)
        (other,) = self.only(dialogue)
        for each in (other, backend):
            each.says(STORABLE if each is other else b"red")
        for each in (client, *others):
            self.assertGets(each, b"MISS", b"stored")
        self.assertStill(dialogue, b"HIT", b"stored")

    def test_errors(self) -> None:
        """An error to one request says nothing of others: those that come next share a fetch; 404 and 410 do."""
        for status, count in ((400, 1), (403, 1), (503, 1), (404, 2), (410, 2)):
            dialogue = self.cached()
            self.store(dialogue, says=reply(b"no", b"Cache-Control: no-store", status=b"%d No" % status))
            clients = self.many(dialogue, 2)
            for backend in self.only(dialogue, count):
                backend.says(STORABLE)
            for client in clients:
                self.assertGets(client, b"MISS", b"stored")
            self.backends.clear()

    def test_lengthsAndKinds(self) -> None:
        """What is too long, or may never end, is for one client alone; each with its reason."""
        dialogue = self.cached(shared="max_object_bytes = 100")
        cases = (
            ([FRESH, b"Content-Length: 101"], b"too-large"),
            ([FRESH, b"Content-Type: text/event-stream", b"Transfer-Encoding: chunked"], b"endless"),
            ([FRESH, b"Vary: *", b"Content-Length: 101"], b"vary-any"),
            ([FRESH, b"Vary: Via", b"Content-Length: 101"], b"vary-any"),
            ([FRESH, b"Set-Cookie: a=b", b"Content-Length: 101"], b"set-cookie"),
            ([b"Cache-Control: no-store", b"Content-Length: 101"], b"no-store"),
            ([b"Content-Length: 101"], b"no-freshness"),
            ([FRESH, b"Cache-Tag: " + b"x" * 1025, b"Content-Length: 1"], b"tags"),
        )
        for number, (fields, reason) in enumerate(cases):
            client = self.asks(dialogue, b"/%d" % number)
            backend = self.asked(dialogue)
            backend.says(head(*fields))
            got = client.gets_head()
            self.assertEqual(got.get(b"Cache-Status"), b"txproxy; fwd=uri-miss; detail=" + reason)
            client.resets()
        self.assertEqual(self.cache_of(dialogue).statistics().store.objects, 0)

    def test_bound(self) -> None:
        """Only so many are known not to be storable; the oldest are forgotten."""
        self.patch(engine, "_MOST_PASSED", 2)
        dialogue = self.cached()
        for path in (b"/1", b"/2", b"/1", b"/3"):
            self.store(dialogue, path, PRIVATE)
        for path, count in ((b"/2", 1), (b"/1", 2), (b"/3", 2)):
            clients = self.many(dialogue, 2, path)
            for backend in self.only(dialogue, count):
                backend.says(STORABLE)
            for client in clients:
                self.assertGets(client, b"MISS", b"stored")


class ForEachTests(CollapseCase):
    """Replies that may be stored, and that no other request may be answered with unless the backend says so."""

    NAMES = (b"no-cache", b"max-age=0, must-revalidate", b"max-age=0")

    def test_misses(self) -> None:
        """Who waits is not given them: all but the first ask in parallel."""
        for control in self.NAMES:
            dialogue = self.cached()
            clients = self.many(dialogue, 3)
            (backend,) = self.only(dialogue)
            says = reply(b"for 1", b"Cache-Control: " + control, ETAG)
            backend.says(says[:-2])
            late = self.asks(dialogue)
            others = self.only(dialogue, 3)
            for number, other in enumerate(others, 2):
                other.says(says.replace(b"for 1", b"for %d" % number))
            backend.says(says[-2:])
            bodies = []
            for client in (*clients, late):
                client.gets_head()
                bodies.append(client.gets())
            self.assertEqual(sorted(bodies), [b"for 1", b"for 2", b"for 3", b"for 4"])
            self.assertEqual(bodies[0], b"for 1")
            self.backends.clear()

    def test_validations(self) -> None:
        """Each is validated for itself; where that is not known before, all but the first ask again."""
        for control in self.NAMES:
            dialogue = self.cached()
            self.store(dialogue, says=reply(b"stored", FRESH, ETAG))
            dialogue.advance(61)
            says = head(b"Cache-Control: " + control, ETAG, status=b"HTTP/1.1 304 Not Modified")
            for is_known in (False, control == b"no-cache"):
                clients = self.many(dialogue, 2)
                backend = self.asked(dialogue, b"If-None-Match")
                if not is_known:
                    self.assertNotAsked(dialogue)
                    backend.says(says)
                    self.assertEqual(clients[1].gets(), b"")
                other = self.asked(dialogue, b"If-None-Match")
                self.assertNotAsked(dialogue)
                if is_known:
                    backend.says(says)
                self.assertGets(clients[0], b"REVALIDATED", b"stored")
                other.says(reply(b"no", status=b"403 Forbidden"))
                client = self.assertGets(clients[1], b"EXPIRED", b"no", 403)
                self.assertNotIn(b"collapsed", client.get(b"Cache-Status") or b"")
            self.backends.clear()

    def test_lateOnes(self) -> None:
        """What is on its way is joined only as long as it is fresh, as the request wants it."""
        dialogue = self.cached()
        first = self.asks(dialogue)
        backend = self.asked(dialogue)
        backend.says(head(b"Cache-Control: max-age=10", b"Content-Length: 6") + b"sto")
        dialogue.advance(9)
        wants_more = self.asks(dialogue, b"/", b"Cache-Control: min-fresh=5")
        other = self.asked(dialogue)
        other.says(reply(b"newer!", FRESH))
        self.assertGets(wants_more, b"MISS", b"newer!")
        self.cache_of(dialogue).clear()
        backend.says(b"red")
        self.assertGets(first, b"MISS", b"stored")
        first = self.asks(dialogue)
        backend = self.asked(dialogue)
        backend.says(head(b"Cache-Control: max-age=10", b"Content-Length: 6") + b"sto")
        dialogue.advance(9)
        joined = self.asks(dialogue)
        self.assertNotAsked(dialogue)
        dialogue.advance(2)
        late = self.asks(dialogue)
        self.asked(dialogue).says(reply(b"newer!", FRESH))
        self.assertGets(late, b"MISS", b"newer!")
        backend.says(b"red")
        for client in (first, joined):
            self.assertGets(client, b"MISS", b"stored")


class FailureTests(CollapseCase):
    """Fetches that fail before a reply has begun."""

    def test_noBackend(self) -> None:
        """All who wait are told, each once."""
        dialogue = self.cached()
        clients = self.many(dialogue, 3)
        dialogue.refuse()
        for client in clients:
            self.assertStatus(client, 502)
        self.assertEqual(
            [(line["end"], line["cache"]) for line in dialogue.lines], [(ConnectFailed.end_reason, "MISS")] * 3
        )
        self.assertEqual([line["tries"] for line in dialogue.lines], [1, 0, 0])
        self.assertCounted(dialogue, misses=3)

    def test_whatOneRequestProvokes(self) -> None:
        """A backend that breaks off: perhaps by the first request's own fault, so that the others ask for themselves."""
        dialogue = self.cached()
        clients = self.many(dialogue, 3)
        (backend,) = self.only(dialogue)
        backend.says(b"HTTP/1.1 2000 What\r\n\r\n")
        self.assertStatus(clients[0], 502)
        for client, each in zip(clients[1:], self.only(dialogue, 2), strict=True):
            each.says(STORABLE)
            self.assertGets(client, b"MISS", b"stored")

    def test_timers(self) -> None:
        """Who was told of a failure does not go to a backend later."""
        dialogue = self.cached()
        clients = self.many(dialogue, 2)
        dialogue.refuse()
        dialogue.advance(2 * WAITS_S)
        self.assertEqual(dialogue.attempts, [])
        for client in clients:
            self.assertStatus(client, 502)


class VaryTests(CollapseCase):
    """Several variants (K2)."""

    def in_language(self, dialogue: Dialogue, language: bytes) -> Peer:
        return self.asks(dialogue, b"/", b"Accept-Language: " + language)

    def says(self, backend: Peer, body: bytes) -> None:
        backend.says(reply(body, FRESH, b"Vary: Accept-Language"))

    def test_variants(self) -> None:
        """en and fr: two entries; the reason of the second miss is the variant."""
        dialogue = self.cached()
        client = self.in_language(dialogue, b"en")
        self.says(self.asked(dialogue), b"yes")
        self.assertGets(client, b"MISS", b"yes")
        client = self.in_language(dialogue, b"fr")
        self.says(self.asked(dialogue), b"oui")
        missed = self.assertGets(client, b"MISS", b"oui")
        self.assertEqual(missed.get(b"Cache-Status"), b"txproxy; fwd=vary-miss; stored")
        for language, body in ((b"en", b"yes"), (b"fr", b"oui")):
            self.assertStill(dialogue, b"HIT", body, b"/", b"Accept-Language: " + language)

    def test_followersOfOtherVariants(self) -> None:
        """Who waited for another variant shares a fetch with those who want the same: all variants in parallel."""
        dialogue = self.cached()
        languages = [b"en", b"fr", b"de", b"fr", b"en", b"de", b"it"]
        clients = [self.in_language(dialogue, language) for language in languages]
        (backend,) = self.only(dialogue)
        backend.says(head(FRESH, b"Vary: Accept-Language", b"Content-Length: 2") + b"e")
        late = self.in_language(dialogue, b"fr")
        others = {}
        for _ in range(3):
            other = self.asked(dialogue)
            others[self.request.get(b"Accept-Language") or b""] = other
        self.assertEqual(sorted(others), [b"de", b"fr", b"it"])
        self.assertNotAsked(dialogue)
        backend.says(b"n")
        for language, each in others.items():
            self.says(each, language)
        for client, language in zip([*clients, late], [*languages, b"fr"], strict=True):
            self.assertGets(client, b"MISS", language)
        for language in set(languages):
            self.assertStill(dialogue, b"HIT", language, b"/", b"Accept-Language: " + language)
        self.assertCounted(dialogue, misses=8, collapsed=4, hits=4)

    def test_followersOfOneVariant(self) -> None:
        """Once it is known by what it varies, those of one variant share a fetch and wait for no other."""
        dialogue = self.cached()
        client = self.in_language(dialogue, b"en")
        self.says(self.asked(dialogue), b"yes")
        self.assertGets(client, b"MISS", b"yes")
        clients = [self.in_language(dialogue, language) for language in (b"fr", b"fr", b"de")]
        backend = self.asked(dialogue)
        self.assertEqual(self.request.get(b"Accept-Language"), b"fr")
        (other,) = self.only(dialogue)
        self.says(other, b"ja")
        self.assertGets(clients[2], b"MISS", b"ja")
        self.says(backend, b"oui")
        for each in clients[:2]:
            self.assertGets(each, b"MISS", b"oui")

    def test_validatedWithAnotherVary(self) -> None:
        """A 304 that brings another Vary answers only those whom the stored reply still answers."""
        dialogue = self.cached()
        client = self.in_language(dialogue, b"en")
        self.asked(dialogue).says(reply(b"yes", FRESH, ETAG))
        self.assertGets(client, b"MISS", b"yes")
        dialogue.advance(61)
        clients = [self.in_language(dialogue, language) for language in (b"en", b"fr")]
        self.asked(dialogue, b"If-None-Match").says(NOT_MODIFIED[:-2] + b"Vary: Accept-Language\r\n\r\n")
        self.assertGets(clients[0], b"REVALIDATED", b"yes")
        (backend,) = self.only(dialogue)
        self.assertEqual(self.request.get(b"Accept-Language"), b"fr")
        self.says(backend, b"oui")
        self.assertGets(clients[1], b"MISS", b"oui")


class ContestTests(CollapseCase):
    """Which of several replies is the newer one."""

    ANEW = b"Cache-Control: no-cache"

    def test_anotherVary(self) -> None:
        """What was asked for first takes the place of nothing newer, by whatever that varies."""
        varied = (FRESH, b"Vary: Accept-Language")
        for of_older, of_newer in (((FRESH,), varied), (varied, (FRESH,)), ((FRESH, b"Vary: X-A"), varied)):
            dialogue = self.cached()
            first = self.asks(dialogue, b"/", b"Accept-Language: en")
            older = self.asked(dialogue)
            older.says(head(*of_older, b"Content-Length: 5") + b"ol")
            client = self.asks(dialogue, b"/", b"Accept-Language: de", self.ANEW)
            self.asked(dialogue).says(reply(b"newer", *of_newer))
            self.assertGets(client, b"MISS", b"newer")
            older.says(b"der")
            self.assertGets(first, b"MISS", b"older")
            self.assertStill(dialogue, b"HIT", b"newer", b"/", b"Accept-Language: de")
            self.backends.clear()

    def test_otherVariants(self) -> None:
        """Variants by the same fields are stored in whatever order they come."""
        dialogue = self.cached()
        says, languages = (FRESH, b"Vary: Accept-Language"), (b"en", b"de", b"it")
        clients = [self.asks(dialogue, b"/", b"Accept-Language: " + each, self.ANEW) for each in languages[:1]]
        backends = [self.asked(dialogue)]
        backends[0].says(head(*says, b"Content-Length: 2"))
        for each in languages[1:]:
            clients.append(self.asks(dialogue, b"/", b"Accept-Language: " + each, self.ANEW))
            backends.append(self.asked(dialogue))
        for backend, language in zip(backends[1:], languages[1:], strict=True):
            backend.says(reply(language, *says))
        backends[0].says(b"en")
        for client, language in zip(clients, languages, strict=True):
            self.assertGets(client, b"MISS", language)
            self.assertStill(dialogue, b"HIT", language, b"/", b"Accept-Language: " + language)

    def test_newerThatIsNotStored(self) -> None:
        """What was asked for before something that may not be stored does not hold any more; an error says nothing."""
        shared = "max_object_bytes = 100"
        for *says, status, is_stored in (
            (reply(b"gone", b"Cache-Control: no-store", status=b"410 Gone"), 410, False),
            (reply(b"gone", status=b"404 Not Found"), 404, False),
            (PRIVATE, 200, False),
            (reply(bytes(101), FRESH), 200, False),
            (head(FRESH, b"Transfer-Encoding: chunked"), chunks(bytes(101), last=True), 200, False),
            (head(FRESH, b"Transfer-Encoding: chunked"), b"1\r\nx\r\n0\r\nX-A: b\r\n\r\n", 200, False),
            (reply(b"busy", status=b"503 Busy"), 503, True),
            (reply(b"no", b"Cache-Control: no-store", status=b"403 No"), 403, True),
        ):
            dialogue = self.cached(shared=shared)
            first = self.asks(dialogue)
            older = self.asked(dialogue)
            older.says(head(FRESH, b"Content-Length: 5") + b"ol")
            client = self.asks(dialogue, b"/", self.ANEW)
            backend = self.asked(dialogue)
            for each in says:
                backend.says(each)
            self.assertStatus(client, status)
            older.says(b"der")
            self.assertGets(first, b"MISS", b"older")
            self.assertEqual(self.cache_of(dialogue).statistics().store.objects, int(is_stored), says)
            self.backends.clear()

    def test_newerValidationThatIsNotStored(self) -> None:
        """A 304 that forbids to store anything means what was asked for before it too."""
        dialogue = self.cached()
        self.store(dialogue, says=reply(b"stored", b"Cache-Control: max-age=1", ETAG))
        dialogue.advance(2)
        first = self.asks(dialogue)
        older = self.asked(dialogue, b"If-None-Match")
        older.says(head(FRESH, b"Content-Length: 5") + b"ol")
        client = self.asks(dialogue, b"/", self.ANEW)
        self.asked(dialogue, b"If-None-Match").says(
            head(b"Cache-Control: no-store", status=b"HTTP/1.1 304 Not Modified")
        )
        self.assertGets(client, b"REVALIDATED", b"stored")
        older.says(b"der")
        self.assertGets(first, b"EXPIRED", b"older")
        self.assertEqual(self.cache_of(dialogue).statistics().store.objects, 0)

    def test_newerWithCredentials(self) -> None:
        """What somebody with credentials is told says nothing of what others are."""
        dialogue = self.cached()
        first = self.asks(dialogue)
        older = self.asked(dialogue)
        older.says(head(FRESH, b"Content-Length: 5") + b"ol")
        client = self.asks(dialogue, b"/", b"Authorization: Basic eA==")
        self.asked(dialogue).says(PRIVATE)
        self.assertGets(client, b"MISS", b"private")
        older.says(b"der")
        self.assertGets(first, b"MISS", b"older")
        self.assertStill(dialogue, b"HIT", b"older")

    def test_bound(self) -> None:
        """What an older fetch could contest is known of only so many; of all others nothing older is stored."""
        self.patch(contest, "_MOST_CONTESTED", 3)
        dialogue = self.cached()
        says = (FRESH, b"Vary: X-A")
        slow = [self.asks(dialogue, b"/", b"X-A: 0")]
        oldest = self.asked(dialogue)
        oldest.says(head(*says, b"Content-Length: 3") + b"o")
        (group,) = self.cache_of(dialogue)._under_way.values()  # noqa: SLF001 - what is bounded shows nowhere else
        for number in (0, 1, 2, 3, 4):
            client = self.asks(dialogue, b"/", b"X-A: %d" % number, b"Cache-Control: no-cache")
            self.asked(dialogue).says(reply(b"new", *says))
            self.assertGets(client, b"MISS", b"new")
        self.assertEqual(len(group.contest), 1 + 3)
        oldest.says(b"ld")
        self.assertGets(slow[0], b"MISS", b"old")
        self.assertStill(dialogue, b"HIT", b"new", b"/", b"X-A: 0")

    def test_nothingOlder(self) -> None:
        """What no older fetch can contest is not remembered."""
        dialogue = self.cached()
        client = self.asks(dialogue)
        backend = self.asked(dialogue)
        backend.says(head(FRESH, b"Content-Length: 3") + b"o")
        (group,) = self.cache_of(dialogue)._under_way.values()  # noqa: SLF001
        later = self.asks(dialogue, b"/", b"Cache-Control: no-cache")
        other = self.asked(dialogue)
        backend.says(b"ld")
        self.assertGets(client, b"MISS", b"old")
        self.assertEqual(len(group.contest), 0)
        other.says(reply(b"new", FRESH))
        self.assertGets(later, b"MISS", b"new")
        self.assertStill(dialogue, b"HIT", b"new")


class SlowFollowerTests(CollapseCase):
    """What one follower does is no matter to others."""

    def test_pipelinedFollowers(self) -> None:
        """Followers whose next request is for the same: served in order, each by what is known then."""
        dialogue = self.cached()
        client = dialogue.client()
        client.says(get() * 3)
        other = self.asks(dialogue)
        (backend,) = self.only(dialogue)
        backend.says(STORABLE)
        self.assertEqual(client.gets().count(b"stored\r\n") + 1, 2)
        self.assertGets(other, b"MISS", b"stored")
        self.assertCounted(dialogue, misses=2, collapsed=1, hits=2)

    def test_slow(self) -> None:
        """A client that reads nothing, with a body that is kept: the others and the backend are not held back."""
        dialogue = self.cached()
        slow, fast = self.many(dialogue, 2)
        slow.stops_reading(0)
        (backend,) = self.only(dialogue)
        body = bytes(NO_ROOM)
        backend.says(head(FRESH, b"Content-Length: %d" % len(body)))
        for start in range(0, len(body), 65536):
            backend.says(body[start : start + 65536])
            self.assertTrue(backend.transport.is_reading)
        self.assertGets(fast, b"MISS", body)
        self.assertStill(dialogue, b"HIT", body)
        self.assertLess(slow.transport.queued_bytes, 200_000)
        slow.reads()
        self.assertGets(slow, b"MISS", body)
