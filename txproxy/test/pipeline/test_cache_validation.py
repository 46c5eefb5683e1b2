"""What is stale: asked for again, validated, or sent in spite of it (K5, K7)."""

from __future__ import annotations

from txproxy.test.pipeline.cache_case import ETAG, FRESH, NOT_MODIFIED, STORABLE, CacheCase, chunks, get
from txproxy.test.talk import head, reply, request
from txproxy.testing import Dialogue, Peer

SWR = b"Cache-Control: max-age=1, stale-while-revalidate=30"
SIE = b"Cache-Control: max-age=1, stale-if-error=30"
BUSY = reply(b"busy", status=b"503 Service Unavailable")
MODIFIED = b"Last-Modified: Mon, 13 Nov 2023 00:00:00 GMT"


class StaleCase(CacheCase):
    """A test case with something that is stale."""

    def stale(self, *fields: bytes, after_s: float = 61, **parts: str) -> Dialogue:
        dialogue = self.cached(**parts)
        self.store(dialogue, says=reply(b"stored", *fields))
        dialogue.advance(after_s)
        return dialogue


class ValidationTests(StaleCase):
    """The backend is asked with conditions."""

    def test_notModified(self) -> None:
        """Its 304 updates the stored fields, and the stored body is served (K7)."""
        dialogue = self.stale(FRESH, ETAG, MODIFIED, b"X-A: old", b"X-B: b")
        client = self.asks(dialogue)
        backend = self.asked(dialogue, b"If-None-Match", b"If-Modified-Since")
        self.assertEqual(self.request.get(b"If-None-Match"), b'"1"')
        backend.says(NOT_MODIFIED[:-2] + b"X-A: new\r\nContent-Length: 99\r\n\r\n")
        got = self.assertGets(client, b"REVALIDATED", b"stored")
        self.assertEqual(got.get(b"Cache-Status"), b"txproxy; fwd=stale; fwd-status=304; ttl=60; stored")
        self.assertEqual((got.get(b"X-A"), got.get(b"X-B"), got.get(b"Age")), (b"new", b"b", b"0"))
        dialogue.advance(59)
        hit = self.assertStill(dialogue, b"HIT", b"stored")
        self.assertEqual((hit.get(b"X-A"), hit.get(b"Age"), hit.get(b"Content-Length")), (b"new", b"59", b"6"))
        self.assertNotAsked(dialogue)
        self.assertEqual([line["cache"] for line in dialogue.lines], ["MISS", "REVALIDATED", "HIT"])
        self.assertEqual([line["tries"] for line in dialogue.lines], [1, 1, 0])
        self.assertCounted(dialogue, misses=1, revalidated=1, hits=1)

    def test_modified(self) -> None:
        """Another reply takes its place."""
        dialogue = self.stale(FRESH, ETAG)
        client = self.asks(dialogue)
        self.asked(dialogue, b"If-None-Match").says(reply(b"newer", FRESH, b'ETag: "2"'))
        got = self.assertGets(client, b"EXPIRED", b"newer")
        self.assertEqual(got.get(b"Cache-Status"), b"txproxy; fwd=stale; stored")
        self.assertStill(dialogue, b"HIT", b"newer")
        self.assertCounted(dialogue, misses=1, expired=1, hits=1)

    def test_noValidator(self) -> None:
        """It is asked for again, whole."""
        dialogue = self.stale(FRESH)
        client = self.asks(dialogue)
        self.asked(dialogue).says(STORABLE)
        self.assertGets(client, b"EXPIRED", b"stored")

    def test_rangeWithoutValidator(self) -> None:
        """A range of what is stale and of no more use goes to the backend as it is, and nothing is taken out."""
        dialogue = self.stale(FRESH)
        client = self.asks(dialogue, b"/", b"Range: bytes=0-0")
        self.asked(dialogue, b"Range").says(reply(b"s", b"Content-Range: bytes 0-0/6", status=b"206 Partial Content"))
        self.assertGets(client, b"EXPIRED", b"s", 206)
        self.assertEqual(self.cache_of(dialogue).statistics().store.objects, 1)

    def test_followers(self) -> None:
        """All who wait share one validation; each gets what it has asked for."""
        dialogue = self.stale(FRESH, ETAG)
        fields = [[], [b"Range: bytes=0-1"], [b'If-None-Match: "1"'], []]
        clients = [self.asks(dialogue, b"/", *each) for each in fields]
        clients[3].finishes()
        backend = self.asked(dialogue, b"If-None-Match")
        self.assertNotAsked(dialogue)
        backend.says(NOT_MODIFIED)
        self.assertGets(clients[0], b"REVALIDATED", b"stored")
        followed = self.assertGets(clients[1], b"REVALIDATED", b"st", 206)
        self.assertIn(b"collapsed", followed.get(b"Cache-Status") or b"")
        self.assertGets(clients[2], b"REVALIDATED", b"", 304)
        # Who has left counts too, as what it was up to then.
        self.assertCounted(dialogue, misses=1, revalidated=3, expired=1, collapsed=2)

    def test_clientsOwnConditions(self) -> None:
        """The backend gets ours, not the client's; a range goes neither."""
        dialogue = self.stale(FRESH, ETAG)
        client = self.asks(dialogue, b"/", b'If-None-Match: "0"', b"Range: bytes=0-0", b'If-Range: "0"')
        backend = self.asked(dialogue, b"If-None-Match")
        self.assertEqual(self.request.get(b"If-None-Match"), b'"1"')
        backend.says(NOT_MODIFIED)
        self.assertGets(client, b"REVALIDATED", b"stored")

    def test_aStrongTagForAWeakOne(self) -> None:
        """As of nginx with gzip: it still holds, asked for by a client or behind its back, and stays weak."""
        says = head(SWR, b'ETag: "1"', MODIFIED, status=b"HTTP/1.1 304 Not Modified")
        for after_s, word in ((3, b"STALE"), (61, b"REVALIDATED")):
            dialogue = self.stale(SWR, b'ETag: W/"1"', MODIFIED, after_s=after_s)
            client = self.asks(dialogue)
            backend = self.asked(dialogue, b"If-None-Match", b"If-Modified-Since")
            self.assertEqual(self.request.get(b"If-None-Match"), b'W/"1"')
            backend.says(says)
            self.assertGets(client, word, b"stored")
            hit = self.assertStill(dialogue, b"HIT", b"stored")
            self.assertEqual(hit.get(b"ETag"), b'W/"1"')
            self.assertNotAsked(dialogue)

    def test_fieldsThatAreNotStored(self) -> None:
        """What a 304 brings for one client alone is not stored either."""
        dialogue = self.stale(FRESH, ETAG)
        client = self.asks(dialogue)
        says = head(b'Cache-Control: max-age=60, private="X-P"', b"X-P: 1", ETAG, status=b"HTTP/1.1 304 Not Modified")
        self.asked(dialogue, b"If-None-Match").says(says)
        self.assertGets(client, b"REVALIDATED", b"stored")
        self.assertEqual(self.assertStill(dialogue, b"HIT", b"stored").all(b"X-P"), [])

    def test_notAskedFor(self) -> None:
        """A 304 to a request without conditions validates nothing."""
        dialogue = self.stale(SIE, after_s=2)
        client = self.asks(dialogue)
        self.asked(dialogue).says(head(FRESH, status=b"HTTP/1.1 304 Not Modified"))
        self.assertGets(client, b"EXPIRED", b"", 304)
        client = self.asks(dialogue)
        self.asked(dialogue).says(STORABLE)
        self.assertEqual(client.gets()[-6:], b"stored")

    def test_mayNotBeStoredAnyMore(self) -> None:
        """A 304 that forbids it: the stored reply is sent with the new fields, and goes."""
        for field in (b"Cache-Control: no-store", b"Cache-Control: private", b"Set-Cookie: a=b", b"Vary: *"):
            dialogue = self.stale(FRESH, ETAG)
            client = self.asks(dialogue)
            says = head(ETAG, field, status=b"HTTP/1.1 304 Not Modified")
            self.asked(dialogue, b"If-None-Match").says(says)
            got = self.assertGets(client, b"REVALIDATED", b"stored")
            self.assertNotIn(b"; stored", got.get(b"Cache-Status") or b"")
            self.assertIn(field, [b": ".join(each) for each in got.fields])
            self.assertEqual(self.cache_of(dialogue).statistics().store.objects, 0)
            self.backends.clear()

    def test_notForFollowers(self) -> None:
        """A 304 that forbids it is for the first alone, fields and all; the others ask in parallel, without conditions."""
        for field in (b"Set-Cookie: user=1", b"Cache-Control: private", b"Cache-Control: no-store"):
            for is_left in (False, True):
                dialogue = self.stale(FRESH, ETAG)
                clients = [self.asks(dialogue) for _ in range(3)]
                backend = self.asked(dialogue, b"If-None-Match")
                if is_left:
                    clients[0].finishes()
                backend.says(head(ETAG, field, b"X-User: 1", status=b"HTTP/1.1 304 Not Modified"))
                if not is_left:
                    self.assertEqual(self.assertGets(clients[0], b"REVALIDATED", b"stored").get(b"X-User"), b"1")
                others = [self.asked(dialogue) for _ in clients[1:]]
                self.assertNotAsked(dialogue)
                for client, other in zip(clients[1:], others, strict=True):
                    other.says(reply(b"newer", FRESH))
                    got = self.assertGets(client, b"EXPIRED", b"newer")
                    self.assertEqual(got.all(b"X-User") + got.all(b"Set-Cookie"), [])
                self.backends.clear()

    def test_noDate(self) -> None:
        """A 304 without Date was made when it came, not when what is stored was (RFC 9110 section 6.6.1)."""
        dialogue = self.stale(FRESH, ETAG, b"Date: Tue, 14 Nov 2023 22:13:20 GMT", after_s=100)
        client = self.asks(dialogue)
        self.asked(dialogue, b"If-None-Match").says(head(ETAG, status=b"HTTP/1.1 304 Not Modified"))
        self.assertEqual(self.assertGets(client, b"REVALIDATED", b"stored").get(b"Age"), b"0")
        dialogue.advance(30)
        hit = self.assertStill(dialogue, b"HIT", b"stored")
        self.assertEqual((hit.get(b"Age"), hit.get(b"Date")), (b"30", b"Tue, 14 Nov 2023 22:15:00 GMT"))

    def test_errorsOfOneRequest(self) -> None:
        """What one odd request provokes takes nothing out for others."""
        for status in (400, 401, 403, 503):
            dialogue = self.stale(FRESH, ETAG, after_s=10)
            client = self.asks(dialogue, b"/", b"Cache-Control: no-cache", b"X-Odd: 1")
            says = reply(b"odd", b"Cache-Control: no-store", status=b"%d No" % status)
            self.asked(dialogue, b"If-None-Match").says(says)
            self.assertGets(client, b"MISS", b"odd", status)
            self.assertStill(dialogue, b"HIT", b"stored")
            self.backends.clear()

    def test_headWithCredentials(self) -> None:
        """What somebody with credentials is told by HEAD takes nothing out for others."""
        for fields, count in (([b"Authorization: Basic eA=="], 1), ([], 0)):
            dialogue = self.stale(FRESH, ETAG)
            client = dialogue.client()
            client.says(request(b"HEAD / HTTP/1.1", *fields))
            self.asked(dialogue, line=b"HEAD").says(head(b'ETag: "2"', b"Content-Length: 7"))
            self.assertGets(client, b"EXPIRED", b"")
            self.assertEqual(self.cache_of(dialogue).statistics().store.objects, count)
            self.backends.clear()

    def test_counts(self) -> None:
        """Who wants only what is stored, and who leaves before anything comes, counts too, once."""
        dialogue = self.stale(FRESH, ETAG)
        self.assertStatus(self.asks(dialogue, b"/", b"Cache-Control: only-if-cached"), 504)
        self.assertStatus(self.asks(dialogue, b"/2", b"Cache-Control: only-if-cached"), 504)
        client = self.asks(dialogue, b"/3")
        self.asked(dialogue)
        client.finishes()
        self.assertEqual([line["cache"] for line in dialogue.lines], ["MISS"] * 4)
        self.assertCounted(dialogue, misses=4)

    def test_withCredentials(self) -> None:
        """A request with credentials may validate what is stored, and takes nothing out for others."""
        dialogue = self.stale(FRESH, ETAG)
        client = self.asks(dialogue, b"/", b"Authorization: Basic eA==")
        self.asked(dialogue, b"If-None-Match").says(NOT_MODIFIED)
        self.assertGets(client, b"REVALIDATED", b"stored")
        client = self.asks(dialogue, b"/", b"Authorization: Basic eA==")
        self.asked(dialogue, b"If-None-Match").says(reply(b"of x", FRESH))
        self.assertGets(client, b"EXPIRED", b"of x")
        clients = [self.asks(dialogue) for _ in range(2)]
        self.asked(dialogue, b"If-None-Match").says(NOT_MODIFIED)
        for client in clients:
            self.assertGets(client, b"REVALIDATED", b"stored")

    def test_noStoreOfTheRequest(self) -> None:
        """Whoever wants nothing stored takes nothing out, and stores nothing."""
        dialogue = self.stale(FRESH, ETAG)
        client = self.asks(dialogue, b"/", b"Cache-Control: no-store")
        self.asked(dialogue).says(reply(b"newer", FRESH))
        self.assertGets(client, b"EXPIRED", b"newer")
        client = self.asks(dialogue)
        self.asked(dialogue, b"If-None-Match").says(NOT_MODIFIED)
        self.assertGets(client, b"REVALIDATED", b"stored")

    def test_requestsThatWantIt(self) -> None:
        """no-cache on something fresh: it is validated, and counts for others from then on."""
        dialogue = self.stale(FRESH, ETAG, after_s=10)
        client = self.asks(dialogue, b"/", b"Cache-Control: no-cache")
        self.asked(dialogue, b"If-None-Match").says(NOT_MODIFIED)
        got = self.assertGets(client, b"REVALIDATED", b"stored")
        self.assertEqual(got.get(b"Cache-Status"), b"txproxy; fwd=request; fwd-status=304; ttl=60; stored")
        self.assertEqual(self.assertStill(dialogue, b"HIT", b"stored").get(b"Age"), b"0")

    def test_goneAtTheOrigin(self) -> None:
        """A 404 that may not be stored takes the stored reply out; a 503 does not."""
        dialogue = self.stale(FRESH, ETAG)
        client = self.asks(dialogue)
        self.asked(dialogue, b"If-None-Match").says(BUSY)
        self.assertGets(client, b"EXPIRED", b"busy", 503)
        client = self.asks(dialogue)
        self.asked(dialogue, b"If-None-Match").says(reply(b"gone", status=b"404 Not Found"))
        self.assertGets(client, b"EXPIRED", b"gone", 404)
        self.assertEqual(self.cache_of(dialogue).statistics().store.objects, 0)


class StrangeTests(StaleCase):
    """A 304 that is about another representation than the one that is stored."""

    STRANGE = NOT_MODIFIED.replace(b'"1"', b'"2"')
    NEWER = reply(b"newer", FRESH, b'ETag: "2"')

    def strange(self, *fields: bytes, count: int = 1) -> tuple[Dialogue, list[Peer], Peer]:
        """Return a dialogue, so many clients that wait, and a backend that is asked without conditions."""
        dialogue = self.stale(*fields, ETAG, after_s=2)
        clients = [self.asks(dialogue) for _ in range(count)]
        self.asked(dialogue, b"If-None-Match").says(self.STRANGE)
        backend = self.asked(dialogue)
        self.assertNotAsked(dialogue)
        self.assertEqual(self.cache_of(dialogue).statistics().store.objects, 1)
        return dialogue, clients, backend

    def test_replaced(self) -> None:
        """It is asked for without conditions, once for all who wait and who come then, and takes the old one's place."""
        dialogue, clients, backend = self.strange(b"Cache-Control: max-age=1", count=2)
        clients.append(self.asks(dialogue, b"/", b'If-None-Match: "0"'))
        self.assertNotAsked(dialogue)
        backend.says(self.NEWER)
        heads = [self.assertGets(client, b"MISS", b"newer") for client in clients]
        self.assertEqual(heads[0].get(b"Cache-Status"), b"txproxy; fwd=miss; stored")
        self.assertEqual({each.get(b"Cache-Status") for each in heads[1:]}, {b"txproxy; fwd=miss; stored; collapsed"})
        self.assertStill(dialogue, b"HIT", b"newer")
        self.assertEqual(self.cache_of(dialogue).statistics().store.objects, 1)

    def test_variants(self) -> None:
        """Those of the same variant wait; others do not."""
        dialogue = self.cached()
        says = (b"Cache-Control: max-age=1", b"Vary: Accept-Language")
        for language in (b"en", b"de"):
            self.store(dialogue, b"/", reply(language, *says, ETAG), b"Accept-Language: " + language)
        dialogue.advance(2)
        clients = [self.asks(dialogue, b"/", b"Accept-Language: en")]
        self.asked(dialogue, b"If-None-Match").says(self.STRANGE)
        backend = self.asked(dialogue)
        clients.append(self.asks(dialogue, b"/", b"Accept-Language: en"))
        self.assertNotAsked(dialogue)
        other = self.asks(dialogue, b"/", b"Accept-Language: de")
        self.asked(dialogue, b"If-None-Match").says(NOT_MODIFIED)
        self.assertGets(other, b"REVALIDATED", b"de")
        backend.says(reply(b"hello", *says))
        for client in clients:
            self.assertGets(client, b"MISS", b"hello")
        self.assertEqual(self.cache_of(dialogue).statistics().store.objects, 2)

    def test_alwaysStrange(self) -> None:
        """A backend that says 304 to a request without conditions: that is passed on, and nobody asks again."""
        dialogue, clients, backend = self.strange(b"Cache-Control: max-age=1", count=2)
        backend.says(self.STRANGE)
        self.assertGets(clients[0], b"MISS", b"", 304)
        self.asked(dialogue).says(self.STRANGE)
        self.assertGets(clients[1], b"MISS", b"", 304)
        self.assertNotAsked(dialogue)

    def test_notStored(self) -> None:
        """What may not be stored takes the old one out; an error does not, and is covered by it if that is allowed."""
        for fields, says, word, body, status, count in (
            ([SIE], reply(b"mine", b"Cache-Control: private"), b"MISS", b"mine", 200, 0),
            ([SIE], reply(b"gone", status=b"404 Not Found"), b"MISS", b"gone", 404, 0),
            ([FRESH.replace(b"60", b"1")], BUSY, b"MISS", b"busy", 503, 1),
            ([SIE], BUSY, b"STALE", b"stored", 200, 1),
        ):
            dialogue, clients, backend = self.strange(*fields)
            backend.says(says)
            self.assertGets(clients[0], word, body, status)
            self.assertEqual(self.cache_of(dialogue).statistics().store.objects, count)
            self.backends.clear()

    def test_withCredentials(self) -> None:
        """Nobody waits for what somebody with credentials asks again."""
        dialogue = self.stale(FRESH, ETAG)
        alone = self.asks(dialogue, b"/", b"Authorization: Basic eA==")
        self.asked(dialogue, b"If-None-Match").says(self.STRANGE)
        backend = self.asked(dialogue)
        self.assertEqual(self.request.all(b"Authorization"), [b"Basic eA=="])
        other = self.asks(dialogue)
        self.asked(dialogue, b"If-None-Match").says(NOT_MODIFIED)
        self.assertGets(other, b"REVALIDATED", b"stored")
        backend.says(self.NEWER)
        self.assertGets(alone, b"MISS", b"newer")
        self.assertStill(dialogue, b"HIT", b"stored")

    def test_behind(self) -> None:
        """Behind a client's back too: what is stored stays, and is sent, until the other is here."""
        dialogue = self.stale(SWR, ETAG, after_s=2)
        self.assertStill(dialogue, b"STALE", b"stored")
        self.asked(dialogue, b"If-None-Match").says(self.STRANGE)
        backend = self.asked(dialogue)
        self.assertStill(dialogue, b"STALE", b"stored")
        self.assertNotAsked(dialogue)
        backend.says(self.NEWER)
        self.assertStill(dialogue, b"HIT", b"newer")
        self.assertEqual([line["tries"] for line in dialogue.lines], [1, 0, 0, 0])

    def test_behindWithReaders(self) -> None:
        """Who has joined the one in the background joins the one that follows, which goes on if they leave."""
        dialogue = self.stale(SWR, ETAG, after_s=30)
        self.assertStill(dialogue, b"STALE", b"stored")
        backend = self.asked(dialogue, b"If-None-Match")
        dialogue.advance(2)
        clients = [self.asks(dialogue) for _ in range(2)]
        backend.says(self.STRANGE)
        backend = self.asked(dialogue)
        self.assertNotAsked(dialogue)
        for client in clients:
            client.finishes()
        self.assertTrue(backend.is_open)
        client = self.asks(dialogue)
        backend.says(self.NEWER)
        self.assertGets(client, b"MISS", b"newer")
        self.assertStill(dialogue, b"HIT", b"newer")

    def test_behindAndAlwaysStrange(self) -> None:
        """It is given up; the next request begins again."""
        dialogue = self.stale(SWR, ETAG, after_s=2)
        for _ in range(2):
            self.assertStill(dialogue, b"STALE", b"stored")
            for names in ([b"If-None-Match"], []):
                self.asked(dialogue, *names).says(self.STRANGE)
            self.assertNotAsked(dialogue)
            self.assertEqual(self.cache_of(dialogue).fetches, [])

    def test_purgedBehind(self) -> None:
        """What was purged meanwhile is not asked for again: nobody waits for it."""
        dialogue = self.stale(SWR, ETAG, after_s=2)
        self.assertStill(dialogue, b"STALE", b"stored")
        backend = self.asked(dialogue, b"If-None-Match")
        self.cache_of(dialogue).clear()
        backend.says(self.STRANGE)
        self.assertNotAsked(dialogue)


class LockTimeoutTests(StaleCase):
    """Who has waited too long for the validation of another validates alone."""

    LATE = b"txproxy; fwd=stale; "

    def waiting(self, *fields: bytes, **parts: str) -> tuple[Dialogue, Peer, Peer, Peer]:
        """Return a dialogue, who has begun a validation, who has waited for it, and what the latter asks."""
        dialogue = self.stale(*fields, after_s=2, **parts)
        first, follower = self.asks(dialogue), self.asks(dialogue, b"/", b'If-None-Match: "0"')
        self.asked(dialogue, b"If-None-Match")
        self.assertNotAsked(dialogue)
        dialogue.advance(5.1)
        alone = self.asked(dialogue, b"If-None-Match")
        self.assertEqual(self.request.get(b"If-None-Match"), b'"1"')
        return dialogue, first, follower, alone

    def test_whatComes(self) -> None:
        """It counts for all, and says why a backend was asked once more."""
        for says, word, body, detail, then in (
            (
                NOT_MODIFIED,
                b"REVALIDATED",
                b"stored",
                b"fwd-status=304; ttl=60; stored; detail=lock-timeout",
                b"stored",
            ),
            (reply(b"newer", FRESH), b"EXPIRED", b"newer", b"stored; detail=lock-timeout", b"newer"),
            (reply(b"mine", b"Cache-Control: private"), b"EXPIRED", b"mine", b"detail=private", None),
        ):
            dialogue, first, follower, alone = self.waiting(b"Cache-Control: max-age=1", ETAG)
            alone.says(says)
            got = self.assertGets(follower, word, body)
            self.assertEqual(got.get(b"Cache-Status"), self.LATE + detail)
            self.assertEqual(first.gets(), b"")
            first.finishes()
            if then is not None:
                self.assertStill(dialogue, b"HIT", then)
            self.assertEqual(self.cache_of(dialogue).statistics().store.objects, int(then is not None))
            self.backends.clear()

    def test_failures(self) -> None:
        """A backend that hangs, or fails: what is stored is sent to who has waited as to the first."""
        for is_silent in (True, False):
            dialogue, first, follower, alone = self.waiting(SIE, ETAG, cluster="timeouts.first_byte_s = 10")
            if is_silent:
                for _ in range(6):
                    dialogue.advance(1)
                self.assertGets(first, b"STALE", b"stored")
                for _ in range(6):
                    dialogue.advance(1)
            else:
                alone.says(BUSY)
            got = self.assertGets(follower, b"STALE", b"stored")
            self.assertIn(b"detail=stale-if-error", got.get(b"Cache-Status") or b"")
            first.finishes()
            self.backends.clear()

    def test_aboutSomethingElse(self) -> None:
        """A 304 about something else: asked again without conditions, still alone, and still for that reason."""
        dialogue, first, follower, alone = self.waiting(b"Cache-Control: max-age=1", ETAG)
        alone.says(StrangeTests.STRANGE)
        self.asked(dialogue).says(StrangeTests.NEWER)
        got = self.assertGets(follower, b"MISS", b"newer")
        self.assertEqual(got.get(b"Cache-Status"), b"txproxy; fwd=miss; stored; detail=lock-timeout")
        self.assertEqual(first.gets(), b"")
        first.finishes()

    def test_purgedMeanwhile(self) -> None:
        """What is not stored any more cannot be validated: it is asked for past the cache, as without it."""
        dialogue = self.stale(FRESH, ETAG)
        first, follower = self.asks(dialogue), self.asks(dialogue)
        self.asked(dialogue, b"If-None-Match")
        self.cache_of(dialogue).clear()
        dialogue.advance(5.1)
        self.asked(dialogue).says(reply(b"newer", FRESH))
        got = self.assertGets(follower, b"EXPIRED", b"newer")
        self.assertEqual(got.get(b"Cache-Status"), self.LATE + b"detail=lock-timeout")
        self.assertEqual(first.gets(), b"")
        first.finishes()
        self.assertEqual(self.cache_of(dialogue).statistics().store.objects, 0)

    def test_theLastWhoWaits(self) -> None:
        """A validation that nobody waits for any more is given up."""
        dialogue = self.stale(FRESH, ETAG)
        first, follower = self.asks(dialogue), self.asks(dialogue)
        backend = self.asked(dialogue, b"If-None-Match")
        first.finishes()
        dialogue.advance(5.1)
        self.assertTrue(backend.sees_reset)
        self.asked(dialogue, b"If-None-Match").says(NOT_MODIFIED)
        self.assertGets(follower, b"REVALIDATED", b"stored")


class WhileRevalidateTests(StaleCase):
    """stale-while-revalidate (RFC 5861 section 3)."""

    def test_oneInTheBackground(self) -> None:
        """Read at 2 s: the stale body at once, and one background fetch however many ask (K5)."""
        dialogue = self.stale(SWR, ETAG, after_s=2)
        for _ in range(3):
            got = self.assertStill(dialogue, b"STALE", b"stored")
            self.assertEqual(got.get(b"Cache-Status"), b"txproxy; hit; ttl=-1; detail=stale-while-revalidate")
        backend = self.asked(dialogue, b"If-None-Match")
        self.assertNotAsked(dialogue)
        backend.says(head(SWR, ETAG, status=b"HTTP/1.1 304 Not Modified"))
        self.assertStill(dialogue, b"HIT", b"stored")
        self.assertEqual([line["tries"] for line in dialogue.lines], [1, 0, 0, 0, 0])
        self.assertCounted(dialogue, misses=1, stale=3, hits=1)

    def test_replaced(self) -> None:
        """Another reply takes its place."""
        dialogue = self.stale(SWR, after_s=2)
        self.assertStill(dialogue, b"STALE", b"stored")
        self.asked(dialogue).says(reply(b"newer", FRESH))
        self.assertStill(dialogue, b"HIT", b"newer")

    def test_notStorable(self) -> None:
        """Another reply that may not be stored takes it out, and its connection is used again."""
        dialogue = self.stale(SWR, after_s=2)
        self.assertStill(dialogue, b"STALE", b"stored")
        backend = self.asked(dialogue)
        backend.says(head(b"Cache-Control: private", b"Content-Length: 5") + b"pri")
        backend.says(b"va")
        self.assertTrue(backend.is_open)
        self.assertEqual(self.cache_of(dialogue).statistics().store.objects, 0)

    def test_longAndNotWanted(self) -> None:
        """A long one is not read to its end."""
        for fields in ([b"Content-Length: 100000"], [b"Transfer-Encoding: chunked"]):
            dialogue = self.stale(SWR, after_s=2)
            self.assertStill(dialogue, b"STALE", b"stored")
            backend = self.asked(dialogue)
            backend.says(head(*fields))
            self.assertTrue(backend.sees_reset)
            self.backends.clear()

    def test_failures(self) -> None:
        """A backend that fails takes nothing out, and nobody is told; the next request tries again."""
        dialogue = self.stale(SWR, after_s=2)
        self.assertStill(dialogue, b"STALE", b"stored")
        backend = self.asked(dialogue)
        backend.says(BUSY)
        self.assertTrue(backend.is_open)
        self.assertStill(dialogue, b"STALE", b"stored")
        self.asked(dialogue).finishes()
        self.asked(dialogue).finishes()
        self.assertEqual(self.cache_of(dialogue).fetches, [])
        self.assertStill(dialogue, b"STALE", b"stored")
        dialogue.refuse()
        self.assertStill(dialogue, b"STALE", b"stored")
        self.asked(dialogue).says(reply(b"newer", FRESH))
        self.assertStill(dialogue, b"HIT", b"newer")

    def test_forbidden(self) -> None:
        """must-revalidate and its kin forbid it (K5), and so does the time."""
        for more, after_s in ((b", must-revalidate", 2), (b", proxy-revalidate", 2), (b", s-maxage=1", 2), (b"", 32)):
            dialogue = self.stale(SWR + more, after_s=after_s)
            client = self.asks(dialogue)
            self.assertEqual(client.gets(), b"")
            self.asked(dialogue).says(STORABLE)
            self.assertGets(client, b"EXPIRED", b"stored")
            self.backends.clear()

    def test_head(self) -> None:
        """Behind a HEAD the backend is asked for the whole, not for a head."""
        dialogue = self.stale(SWR, ETAG, after_s=2)
        client = dialogue.client()
        client.says(request(b"HEAD / HTTP/1.1", b"Range: bytes=0-0"))
        self.assertGets(client, b"STALE", b"")
        self.asked(dialogue, b"If-None-Match", line=b"GET / ").says(reply(b"newer", FRESH))
        self.assertStill(dialogue, b"HIT", b"newer")

    def test_credentials(self) -> None:
        """What comes for credentials could not be stored: nobody asks behind them, unless it is public."""
        fields = b"Authorization: Basic eA=="
        for field in (fields, b"Cache-Control: no-store"):
            dialogue = self.stale(SWR, after_s=2)
            self.assertStill(dialogue, b"STALE", b"stored", b"/", field)
            self.assertNotAsked(dialogue)
        self.backends.clear()
        dialogue = self.stale(SWR + b", public", after_s=2)
        self.assertStill(dialogue, b"STALE", b"stored", b"/", fields)
        self.assertStill(dialogue, b"STALE", b"stored", b"/", fields)
        backend = self.asked(dialogue)
        self.assertNotAsked(dialogue)
        backend.says(reply(b"newer", SWR + b", public"))
        self.assertStill(dialogue, b"HIT", b"newer")

    def test_credentialsAreNotShared(self) -> None:
        """What is asked in the background with one client's credentials is joined by nobody; and it is one alone."""
        dialogue = self.stale(SWR + b", public", ETAG, after_s=2)
        for fields in ([b"Authorization: Basic eA=="], [b"Authorization: Basic eQ=="], []):
            self.assertStill(dialogue, b"STALE", b"stored", b"/", *fields)
        backend = self.asked(dialogue, b"If-None-Match")
        self.assertNotAsked(dialogue)
        client = self.asks(dialogue, b"/", b"Cache-Control: no-cache")
        other = self.asked(dialogue, b"If-None-Match")
        self.assertEqual(self.request.all(b"Authorization"), [])
        backend.says(head(SWR + b", public", ETAG, b"X-User: x", status=b"HTTP/1.1 304 Not Modified"))
        self.assertEqual(client.gets(), b"")
        other.says(NOT_MODIFIED)
        self.assertGets(client, b"REVALIDATED", b"stored")
        dialogue.advance(62)

    def test_joined(self) -> None:
        """Who comes too late for a stale reply waits for the one in the background, which goes on if they leave."""
        dialogue = self.stale(SWR, after_s=30)
        self.assertStill(dialogue, b"STALE", b"stored")
        backend = self.asked(dialogue)
        dialogue.advance(2)
        clients = [self.asks(dialogue) for _ in range(2)]
        self.assertNotAsked(dialogue)
        clients[0].finishes()
        clients[1].finishes()
        self.assertTrue(backend.is_open)
        client = self.asks(dialogue)
        backend.says(reply(b"newer", FRESH))
        self.assertGets(client, b"EXPIRED", b"newer")

    def test_theEnd(self) -> None:
        """When the proxy stops, background fetches stop."""
        dialogue = self.stale(SWR, after_s=2)
        self.assertStill(dialogue, b"STALE", b"stored")
        backend = self.asked(dialogue)
        assert dialogue.assembled.cache_keeper is not None
        dialogue.assembled.cache_keeper.stop()
        dialogue.settle()
        self.assertTrue(backend.sees_reset)


class IfErrorTests(StaleCase):
    """stale-if-error (RFC 5861 section 4)."""

    def test_failures(self) -> None:
        """A 5xx, a refusal, a break and a timeout: what is stored is sent to all who wait, with the reason."""
        dialogue = self.stale(SIE, after_s=2)
        clients = [self.asks(dialogue) for _ in range(3)]
        backend = self.asked(dialogue)
        backend.says(BUSY)
        got = [self.assertGets(client, b"STALE", b"stored").get(b"Cache-Status") for client in clients]
        self.assertEqual(got[0], b"txproxy; fwd=stale; fwd-status=503; ttl=-1; detail=stale-if-error")
        self.assertEqual(got[1], b"txproxy; fwd=stale; fwd-status=503; ttl=-1; collapsed; detail=stale-if-error")
        client = self.asks(dialogue)
        backend = self.asked(dialogue)
        backend.says(b"What?\r\n\r\n")
        got = [self.assertGets(client, b"STALE", b"stored").get(b"Cache-Status")]
        self.assertEqual(got, [b"txproxy; fwd=stale; ttl=-1; detail=stale-if-error"])
        client = self.asks(dialogue)
        dialogue.refuse()
        self.assertGets(client, b"STALE", b"stored")
        self.assertEqual([line["end"] for line in dialogue.lines], ["ok"] * 6)
        self.assertEqual([line["tries"] for line in dialogue.lines], [1, 1, 0, 0, 1, 1])
        self.assertCounted(dialogue, misses=1, stale=5, collapsed=2)

    def test_pipelined(self) -> None:
        """The next request on the connection asks the backend again."""
        dialogue = self.stale(SIE, after_s=2)
        client = dialogue.client()
        client.says(get() * 2)
        self.asked(dialogue).says(BUSY)
        self.asked(dialogue).says(BUSY)
        self.assertEqual(client.gets().count(b"X-Cache-Status: STALE"), 2)

    def test_longFailures(self) -> None:
        """The body of an error that nobody gets is not read if it is long."""
        dialogue = self.stale(SIE, after_s=2)
        client = self.asks(dialogue)
        backend = self.asked(dialogue)
        backend.says(head(b"Content-Length: 100000", status=b"HTTP/1.1 503 Service Unavailable") + bytes(1000))
        self.assertGets(client, b"STALE", b"stored")
        self.assertTrue(backend.sees_reset)

    def test_theRequestAllowsIt(self) -> None:
        """The request may allow it too; of two who wait for the same, one is served so and one is told."""
        dialogue = self.stale(b"Cache-Control: max-age=1", ETAG, after_s=2)
        clients = [self.asks(dialogue), self.asks(dialogue, b"/", b"Cache-Control: stale-if-error=60")]
        self.asked(dialogue, b"If-None-Match").says(BUSY)
        self.assertGets(clients[0], b"EXPIRED", b"busy", 503)
        self.assertGets(clients[1], b"STALE", b"stored")

    def test_forbidden(self) -> None:
        """Not after its time, not with must-revalidate, and not for other statuses."""
        for more, after_s, status in ((b"", 32, 503), (b", must-revalidate", 2, 503), (b"", 2, 404)):
            dialogue = self.stale(SIE + more, after_s=after_s)
            client = self.asks(dialogue)
            self.asked(dialogue).says(reply(b"no", status=b"%d No" % status))
            self.assertGets(client, b"EXPIRED", b"no", status)
            self.backends.clear()

    def test_headsAndRanges(self) -> None:
        """HEAD, and a range of what has no validator, are answered with what is stored, too."""
        cases: list[tuple[bytes, bytes, bytes, int, bytes]] = [
            # The request, a field of what is stored, and the status and the content that the client gets.
            (b"HEAD / HTTP/1.1", b"X: x", b"X: x", 200, b""),
            (b"HEAD / HTTP/1.1", b"Range: bytes=1-2", ETAG, 200, b""),
            (b"HEAD / HTTP/1.1", b'If-None-Match: "1"', ETAG, 304, b""),
            (b"GET / HTTP/1.1", b"Range: bytes=1-2", b"X: x", 206, b"to"),
            (b"GET / HTTP/1.1", b"Range: bytes=1-2", ETAG, 206, b"to"),
            (b"GET / HTTP/1.1", b"Range: bytes=9-", b"X: x", 416, b""),
        ]
        for line, field, stored, status, content in cases:
            dialogue = self.stale(SIE, stored, after_s=2)
            names = [b"If-None-Match"] * (stored == ETAG)
            for says in (BUSY, b"What?\r\n\r\n"):
                client = dialogue.client()
                client.says(request(line, field))
                self.asked(dialogue, *names, line=b"GET / ").says(says)
                got = self.assertGets(client, b"STALE", content, status)
                self.assertIn(b"fwd=stale", got.get(b"Cache-Status") or b"")
                client.finishes()
            self.backends.clear()

    def test_headOfWhatComes(self) -> None:
        """HEAD gets the head of what comes in its place, however that is framed, and the connection goes on."""
        chunked = head(FRESH, b"Transfer-Encoding: chunked") + chunks(b"newer", last=True)
        for says, status, is_stored in (
            (reply(b"newer", FRESH), 200, True),
            (chunked, 200, True),
            (chunked.replace(b"max-age=60", b"private"), 200, False),
            (reply(b"no", status=b"404 No"), 404, False),
            (NOT_MODIFIED, 200, True),
        ):
            dialogue = self.stale(SIE, ETAG, after_s=2)
            client = dialogue.client()
            client.says(request(b"HEAD / HTTP/1.1"))
            backend = self.asked(dialogue, b"If-None-Match", line=b"GET / ")
            follower = self.asks(dialogue)
            self.assertNotAsked(dialogue)
            backend.says(says)
            self.assertEqual(client.gets_head().line.split(b" ")[1], b"%d" % status, says)
            self.assertEqual(client.gets(), b"", says)
            if not is_stored:
                self.asked(dialogue).says(STORABLE)
            self.assertTrue(follower.gets())
            client.says(get())
            self.assertIn(b"X-Cache-Status: HIT", client.gets())
            self.backends.clear()

    def test_rangeOfWhatComes(self) -> None:
        """A client that wants a range gets the whole of what comes in the place of what has no validator."""
        dialogue = self.stale(SIE, after_s=2)
        client = self.asks(dialogue, b"/", b"Range: bytes=1-2")
        self.asked(dialogue).says(reply(b"newer", FRESH))
        self.assertGets(client, b"EXPIRED", b"newer")

    def test_maxStale(self) -> None:
        """A client that takes what is stale is given it, and nobody is asked."""
        dialogue = self.stale(FRESH)
        got = self.assertStill(dialogue, b"STALE", b"stored", b"/", b"Cache-Control: max-stale=10")
        self.assertEqual(got.get(b"Cache-Status"), b"txproxy; hit; ttl=-1; detail=max-stale")
        self.assertNotAsked(dialogue)


class CookieTests(StaleCase):
    """What comes for a client with a cookie may be its own: it says nothing of what others are answered."""

    def private(self, dialogue: Dialogue, *fields: bytes, method: bytes = b"GET") -> None:
        """Have a client with a cookie ask for the backend's own word, and get what is its own."""
        client = dialogue.client()
        client.says(request(method + b" / HTTP/1.1", b"Cookie: a=1", b"Cache-Control: no-cache", *fields))
        backend = self.asked(dialogue, *([b"If-None-Match"] if method == b"GET" and fields else []))
        says = reply(b"its own", b"Cache-Control: private", b'ETag: "2"')
        backend.says(says.removesuffix(b"its own") if method == b"HEAD" else says)
        client.gets()
        client.finishes()

    def test_whatIsStoredStays(self) -> None:
        """It is still fresh, and is sent to others."""
        for method in (b"GET", b"HEAD"):
            dialogue = self.cached()
            self.store(dialogue, says=reply(b"stored", FRESH))
            self.private(dialogue, method=method)
            self.assertStill(dialogue, b"HIT", b"stored")
            self.backends.clear()

    def test_othersWaitForEachOther(self) -> None:
        """A hit-for-miss is one for requests with a cookie alone."""
        dialogue = self.cached()
        self.private(dialogue)
        clients = [self.asks(dialogue) for _ in range(3)]
        backend = self.asked(dialogue)
        self.assertNotAsked(dialogue)
        backend.says(STORABLE)
        for client in clients:
            self.assertGets(client, b"MISS", b"stored")

    def test_thoseWithCookiesDoNot(self) -> None:
        """They ask in parallel from then on."""
        dialogue = self.stale(FRESH, ETAG)
        self.private(dialogue, b"X: 1")
        clients = [self.asks(dialogue, b"/", b"Cookie: a=%d" % number) for number in range(2)]
        backends = [self.asked(dialogue) for _ in clients]
        self.assertIsNot(*backends)
        for client, backend in zip(clients, backends, strict=True):
            backend.says(reply(b"its own", b"Cache-Control: private"))
            self.assertGets(client, b"MISS", b"its own")

    def test_whatIsStale(self) -> None:
        """It goes when what a client with a cookie gets may not be stored: else it would be sent stale for long."""
        swr = b"Cache-Control: max-age=1, stale-while-revalidate=86400"
        for says in (reply(b"gone", status=b"410 Gone"), reply(b"its own", b"Cache-Control: private")):
            dialogue = self.cached()
            self.store(dialogue, says=reply(b"stored", swr))
            dialogue.advance(3)
            client = self.asks(dialogue, b"/", b"Cookie: a=1")
            self.assertGets(client, b"STALE", b"stored")
            self.asked(dialogue).says(says)
            client = self.asks(dialogue, b"/", b"Cookie: a=1")
            self.asked(dialogue).says(says)
            self.assertGets(client, b"MISS", status=int(says[9:12]))
            self.backends.clear()
