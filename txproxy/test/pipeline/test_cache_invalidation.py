"""What changes at the origin, and what operators say: what is stored goes, and what is on its way is not stored."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from txproxy.cache.store import Purge
from txproxy.cache.sweep import Sweep
from txproxy.test.cache.entries import entry_of
from txproxy.test.pipeline.cache_case import ETAG, FRESH, NOT_MODIFIED, STORABLE, CacheCase, get
from txproxy.test.talk import head, reply, request
from txproxy.testing import Dialogue, Head, Peer

PURGERS = '{ purge_from = ["10.0.0.0/8"] }'
URL = b"http://a.example/"


class ChangeCase(CacheCase):
    """A test case with changes."""

    def changes(self, dialogue: Dialogue, line: bytes, *fields: bytes, status: bytes = b"200 OK") -> Head:
        """Have a client change something; return the reply."""
        client = dialogue.client()
        client.says(request(line + b" HTTP/1.1", body=b"" if line.startswith(b"PURGE") else b"x"))
        self.asked(dialogue, line=line).says(reply(b"done", *fields, status=status))
        return self.assertGets(client, b"BYPASS", b"done", int(status[:3]))

    def assertStored(self, dialogue: Dialogue, *paths: bytes) -> None:
        """Check what is stored, and nothing else of what was asked for."""
        for path in paths:
            self.assertStill(dialogue, b"HIT", b"stored", path)
        self.assertEqual(self.cache_of(dialogue).statistics().store.objects, len(paths))


class UnsafeTests(ChangeCase):
    """Unsafe methods (RFC 9111 section 4.4, K11)."""

    def stored(self, *paths: bytes) -> Dialogue:
        dialogue = self.cached()
        for path in paths:
            self.store(dialogue, path)
        return dialogue

    def test_success(self) -> None:
        """POST /a 200: GET /a misses next; others are not touched."""
        dialogue = self.stored(b"/a", b"/b")
        got = self.changes(dialogue, b"POST /a")
        self.assertEqual(got.get(b"Cache-Status"), b"txproxy; fwd=method")
        self.assertStored(dialogue, b"/b")

    def test_otherMethods(self) -> None:
        """Any method that is not known to be safe; OPTIONS changes nothing."""
        for line, is_gone in ((b"DELETE /a", True), (b"PATCH /a", True), (b"FOO /a", True), (b"OPTIONS /a", False)):
            dialogue = self.stored(b"/a")
            self.changes(dialogue, line, status=b"302 Found")
            self.assertStored(dialogue, *[b"/a"] * (not is_gone))
            self.backends.clear()

    def test_errors(self) -> None:
        """500 and 404 do not invalidate."""
        dialogue = self.stored(b"/a")
        for status in (b"500 No", b"404 No"):
            self.changes(dialogue, b"POST /a", status=status)
        self.assertStored(dialogue, b"/a")

    def test_locations(self) -> None:
        """Location and Content-Location of the same origin go too; those of others are not touched."""
        dialogue = self.stored(b"/a", b"/b", b"/c", b"/d")
        self.changes(dialogue, b"POST /x", b"Location: /b", b"Content-Location: http://a.example/c")
        self.changes(dialogue, b"POST /x", b"Location: http://b.example/a", b"Content-Location: https://a.example/d")
        self.assertStored(dialogue, b"/a", b"/d")

    def test_variantsAndKeys(self) -> None:
        """All that is stored of the URL goes, whatever else is in its key."""
        dialogue = self.cached('{ key = ["header:X-Tenant"] }')
        for language in (b"en", b"fr"):
            fields = [b"Accept-Language: " + language, b"X-Tenant: " + language]
            self.store(dialogue, b"/a", reply(b"stored", FRESH, b"Vary: Accept-Language"), *fields)
        self.changes(dialogue, b"POST /a")
        self.assertStored(dialogue)

    def test_routesWithoutCache(self) -> None:
        """A change by a route that has no cache counts too."""
        routes = '[[route]]\nname = "writes"\nmethods = ["POST"]\ncluster = "app"\n'
        dialogue = self.cached(rest=routes)
        self.store(dialogue, b"/a")
        client = dialogue.client()
        client.says(request(b"POST /a HTTP/1.1", body=b"x"))
        self.asked(dialogue).says(reply(b"done"))
        self.assertIsNone(client.gets_head().get(b"X-Cache-Status"))
        self.assertStored(dialogue)


class OverrideTests(ChangeCase):
    """Fields that name an unsafe method in a GET or HEAD."""

    def asks_for(self, dialogue: Dialogue, method: bytes, *fields: bytes, status: bytes = b"200 OK") -> None:
        """Have a backend answer a request that has an override."""
        client = dialogue.client()
        client.says(request(method + b" /a HTTP/1.1", *fields))
        length = b"Content-Length: 0" if method == b"GET" else b"Content-Length: 99"
        self.asked(dialogue, line=method).says(head(length, status=b"HTTP/1.1 " + status))
        self.assertIn(status, client.gets_head().line)
        client.finishes()

    def test_routesWithCache(self) -> None:
        """What is stored goes where that may have changed it, also where the request passes the cache by anyhow."""
        dialogue = self.cached('{ bypass = ["cookie:session"] }')
        override, session = b"X-HTTP-Method-Override: ", b"Cookie: session=1"
        for method in (b"GET", b"HEAD"):
            for fields, status, is_gone in (
                ([override + b"DELETE"], b"200 OK", True),
                ([override + b"delete"], b"302 Found", True),
                ([override + b"DELETE", session], b"204 Done", True),
                ([override + b"DELETE"], b"404 No", False),
                ([override + b"GET"], b"200 OK", False),
                ([session], b"200 OK", False),
            ):
                self.store(dialogue, b"/a")
                self.asks_for(dialogue, method, *fields, status=status)
                self.assertStored(dialogue, *[b"/a"] * (not is_gone))
                self.cache_of(dialogue).clear()

    def test_routesWithoutCache(self) -> None:
        """The same by a route that has no cache."""
        dialogue = self.cached(rest='[[route]]\nname = "b"\nheaders = { x-b = "1" }\ncluster = "app"\n')
        for method in (b"GET", b"HEAD"):
            for value, is_gone in ((b"PUT", True), (b"HEAD", False)):
                self.store(dialogue, b"/a")
                self.asks_for(dialogue, method, b"X-B: 1", b"X-Method-Override: " + value)
                self.assertStored(dialogue, *[b"/a"] * (not is_gone))
                self.cache_of(dialogue).clear()


class UnderWayTests(ChangeCase):
    """Changes while something is being fetched: what was asked for before is not stored after."""

    def change(self, dialogue: Dialogue) -> None:
        self.changes(dialogue, b"POST /")

    def purge(self, dialogue: Dialogue) -> None:
        self.cache_of(dialogue).purge_url(URL)

    def check(self, dialogue: Dialogue, waiting: list[Peer], backend: Peer, rest: bytes) -> None:
        """Check that those who had asked are served, that nobody else is, and that nothing of it is stored."""
        late = self.asks(dialogue)
        other = self.asked(dialogue)
        backend.says(rest)
        for client in waiting:
            self.assertEqual(client.gets()[-6:], b"before")
        other.says(STORABLE)
        self.assertGets(late, b"MISS", b"stored")
        self.assertStored(dialogue, b"/")
        self.assertEqual(self.cache_of(dialogue).fetches, [])

    def test_beforeTheHead(self) -> None:
        """The head comes after the change."""
        for act in (self.change, self.purge):
            dialogue = self.cached()
            waiting = [self.asks(dialogue) for _ in range(2)]
            backend = self.asked(dialogue)
            act(dialogue)
            self.check(dialogue, waiting, backend, reply(b"before", FRESH))
            self.backends.clear()

    def test_inTheBody(self) -> None:
        """The head came before the change, the body after it."""
        for act in (self.change, self.purge):
            dialogue = self.cached()
            waiting = [self.asks(dialogue) for _ in range(2)]
            backend = self.asked(dialogue)
            backend.says(head(FRESH, b"Content-Length: 6") + b"bef")
            act(dialogue)
            self.check(dialogue, waiting, backend, b"ore")
            self.backends.clear()

    def test_withCredentials(self) -> None:
        """Also what nobody else waits for."""
        dialogue = self.cached()
        waiting = [self.asks(dialogue, b"/", b"Authorization: Basic eA==")]
        backend = self.asked(dialogue)
        self.change(dialogue)
        self.check(dialogue, waiting, backend, reply(b"before", b"Cache-Control: public, max-age=60"))

    def test_whenNobodyWaits(self) -> None:
        """What nobody reads and nobody may store is given up."""
        dialogue = self.cached()
        client = self.asks(dialogue)
        backend = self.asked(dialogue)
        backend.says(head(FRESH, b"Content-Length: 6") + b"bef")
        client.finishes()
        self.assertTrue(backend.is_open)
        self.purge(dialogue)
        dialogue.settle()
        self.assertTrue(backend.sees_reset)
        client = self.asks(dialogue)
        backend = self.asked(dialogue)
        backend.says(head(FRESH, b"Content-Length: 6") + b"bef")
        self.purge(dialogue)
        client.finishes()
        self.assertTrue(backend.sees_reset)

    def test_validation(self) -> None:
        """A 304 for what was purged meanwhile brings it back for nobody: it is asked for anew."""
        for act in (self.change, self.purge):
            dialogue = self.cached()
            self.store(dialogue, says=reply(b"before", FRESH, ETAG))
            dialogue.advance(61)
            waiting = [self.asks(dialogue) for _ in range(2)]
            backend = self.asked(dialogue, b"If-None-Match")
            act(dialogue)
            backend.says(NOT_MODIFIED)
            self.asked(dialogue).says(STORABLE)
            for client in waiting:
                self.assertGets(client, b"MISS", b"stored")
            self.assertStored(dialogue, b"/")
            self.backends.clear()

    def test_background(self) -> None:
        """The same for what is validated behind a client's back."""
        dialogue = self.cached()
        self.store(dialogue, says=reply(b"before", b"Cache-Control: max-age=1, stale-while-revalidate=30", ETAG))
        dialogue.advance(2)
        self.assertStill(dialogue, b"STALE", b"before")
        backend = self.asked(dialogue, b"If-None-Match")
        self.purge(dialogue)
        backend.says(NOT_MODIFIED)
        self.assertNotAsked(dialogue)
        self.assertStored(dialogue)
        self.store(dialogue, says=reply(b"before", b"Cache-Control: max-age=1, stale-while-revalidate=30"))
        dialogue.advance(2)
        self.assertStill(dialogue, b"STALE", b"before")
        backend = self.asked(dialogue)
        self.purge(dialogue)
        backend.says(head(FRESH, b"Content-Length: 6") + b"aft")
        self.assertTrue(backend.sees_reset)

    def test_errors(self) -> None:
        """What was purged is not sent when the backend fails."""
        dialogue = self.cached()
        self.store(dialogue, says=reply(b"before", b"Cache-Control: max-age=1, stale-if-error=30"))
        dialogue.advance(2)
        for says in (reply(b"busy", status=b"503 Busy"), b"What?\r\n\r\n"):
            client = self.asks(dialogue)
            backend = self.asked(dialogue)
            self.purge(dialogue)
            backend.says(says)
            self.assertNotIn(b"before", client.gets())
            self.assertStored(dialogue)
            self.store(dialogue, says=reply(b"before", b"Cache-Control: max-age=1, stale-if-error=30"))
            dialogue.advance(2)

    def test_kinds(self) -> None:
        """By prefix, by tag and all: only what is meant, as far as that is known; a tag is known with the head."""
        tagged = head(FRESH, b"Cache-Tag: red, blue", b"Content-Length: 6")
        for what, has_head, is_stored in (
            (Purge("prefix", URL), True, False),
            (Purge("prefix", URL + b"b"), True, True),
            (Purge("url", URL + b"b"), True, True),
            (Purge("tag", b"red"), True, False),
            (Purge("tag", b"green"), True, True),
            (Purge("tag", b"green"), False, False),
            (Purge("all"), True, False),
        ):
            dialogue = self.cached()
            client = self.asks(dialogue, b"/a")
            backend = self.asked(dialogue)
            if has_head:
                backend.says(tagged)
            self.cache_of(dialogue).purge(what)
            backend.says(b"stored" if has_head else tagged + b"stored")
            self.assertGets(client, b"MISS", b"stored")
            self.assertStored(dialogue, *[b"/a"] * is_stored)
            self.backends.clear()


class PurgeTests(ChangeCase):
    """Calls that purge, and PURGE on a data port (K9)."""

    def test_calls(self) -> None:
        """By URL with all variants, by prefix, by tag, and everything; each says how many."""
        dialogue = self.cached()
        cache = self.cache_of(dialogue)
        for language in (b"en", b"fr"):
            says = reply(b"stored", FRESH, b"Vary: Accept-Language", b"Surrogate-Key: x")
            self.store(dialogue, b"/v", says, b"Accept-Language: " + language)
        for path in (b"/b/1", b"/b/2", b"/c"):
            self.store(dialogue, path, reply(b"stored", FRESH, b"Cache-Tag: t" + path))
        self.assertEqual(cache.purge_url(URL + b"v"), 2)
        self.assertEqual(cache.purge_url(URL + b"v"), 0)
        self.assertEqual(cache.purge_tag(b"t/c"), 1)
        self.assertEqual(cache.purge_prefix(URL + b"b/"), 2)
        self.store(dialogue, b"/c")
        self.assertEqual(cache.clear(), 1)
        self.assertStored(dialogue)
        self.assertEqual(cache.statistics().store.purged, 6)

    def test_otherProcesses(self) -> None:
        """What requests purge is purged elsewhere too: PURGE waits for the number, what a change makes invalid does not."""
        dialogue = self.cached(PURGERS)
        cache = self.cache_of(dialogue)
        told: list[tuple[bytes, Any]] = []
        cache.sweep_elsewhere = lambda url, done: told.append((url, done))
        self.store(dialogue, b"/a")
        client = dialogue.client("10.1.2.3")
        client.says(request(b"PURGE /a HTTP/1.1"))
        ((url, done),) = told
        self.assertEqual((url, client.gets()), (URL + b"a", b""))
        self.assertStored(dialogue)
        done(3)
        dialogue.settle()
        self.assertIn(b"4 purged", client.gets())
        told.clear()
        cache.sweep_url(URL + b"a")
        self.assertEqual(told, [(URL + b"a", None)])
        told.clear()
        cache.sweep_here(URL + b"a")
        self.assertEqual(told, [])

    def purges(self, dialogue: Dialogue, address: str, path: bytes = b"/a") -> tuple[bytes, bytes]:
        client = dialogue.client(address)
        client.says(request(b"PURGE %b HTTP/1.1" % path))
        line = client.gets_head().line
        return line.split(b" ")[1], client.gets()

    def test_nobodyMay(self) -> None:
        """Without any address in the configuration: 405, and the backend sees nothing."""
        dialogue = self.cached()
        self.store(dialogue, b"/a")
        self.assertEqual(self.purges(dialogue, "127.0.0.1")[0], b"405")
        self.assertEnd(dialogue, "method-refused", 405)
        self.assertNotAsked(dialogue)
        self.assertStored(dialogue, b"/a")

    def test_otherAddresses(self) -> None:
        """403 for others, also by a unix socket; 200 with the count for those that may."""
        dialogue = self.cached(PURGERS)
        self.store(dialogue, b"/a")
        for address in ("192.0.2.1", "unix"):
            self.assertEqual(self.purges(dialogue, address), (b"403", b"not allowed\n"))
            self.assertEnd(dialogue, "purge-refused", 403)
        self.assertStored(dialogue, b"/a")
        self.assertEqual(self.purges(dialogue, "10.1.2.3"), (b"200", b"1 purged\n"))
        self.assertEnd(dialogue, "purged", 200)
        self.assertEqual(self.purges(dialogue, "10.1.2.3"), (b"200", b"0 purged\n"))
        self.assertNotAsked(dialogue)
        self.assertStored(dialogue)

    def test_clientBehindAProxy(self) -> None:
        """The client's address counts, not that of a trusted proxy, and nobody else's claim."""
        dialogue = self.cached(PURGERS, rest='[proxy]\ntrusted_proxies = ["10.9.0.0/16"]\n')
        self.store(dialogue, b"/a")
        for address, claim, status in (
            ("10.9.0.1", b"192.0.2.1", b"403"),
            ("192.0.2.1", b"10.0.0.1", b"403"),
            ("10.9.0.1", b"10.0.0.1", b"200"),
        ):
            client = dialogue.client(address)
            client.says(request(b"PURGE /a HTTP/1.1", b"X-Forwarded-For: " + claim))
            self.assertEqual(client.gets_head().line.split(b" ")[1], status)
            client.finishes()

    def test_thenTheNextRequest(self) -> None:
        """A connection goes on after PURGE."""
        dialogue = self.cached(PURGERS)
        self.store(dialogue, b"/a")
        client = dialogue.client("10.1.2.3")
        client.says(request(b"PURGE /a HTTP/1.1") + get(b"/a"))
        client.gets_head()
        self.asked(dialogue).says(STORABLE)
        self.assertIn(b"X-Cache-Status: MISS", client.gets())

    def test_manyKeysOfOneUrl(self) -> None:
        """What takes more than a moment goes in steps: none of it is served meanwhile, and all of it is counted."""
        for method in (b"PURGE", b"POST"):
            dialogue = self.cached(PURGERS)
            cache = self.cache_of(dialogue)
            self.store(dialogue, b"/a")
            self.store(dialogue, b"/b")
            for number in range(3000):
                cache.store.put(entry_of(URL + b"a", added=b"~%d" % number), cache.wall_clock())
            turns: list[Callable[[], None]] = []
            cache.sweep = Sweep(lambda _seconds, call, turns=turns: turns.append(call))
            purger = dialogue.client("10.1.2.3")
            purger.says(request(method + b" /a HTTP/1.1"))
            if method == b"POST":
                self.asked(dialogue, line=b"POST").says(reply(b"done"))
                self.assertGets(purger, b"BYPASS", b"done")
            self.assertEqual(cache.statistics().store.objects, 3002 - 1000)
            while turns:
                turns.pop()()
            self.assertStored(dialogue, b"/b")
            if method == b"PURGE":
                self.assertIn(b"3001 purged\n", purger.gets())
            self.backends.clear()

    def test_whatIsBeingPurged(self) -> None:
        """It is not served, though it is still there."""
        dialogue = self.cached(PURGERS)
        self.store(dialogue, b"/a")
        self.store(dialogue, b"/b")
        self.cache_of(dialogue).sweep.urls[URL + b"a"] = 1
        client = self.asks(dialogue, b"/a")
        self.asked(dialogue).says(reply(b"new", FRESH))
        self.assertGets(client, b"MISS", b"new")
        self.assertStill(dialogue, b"HIT", b"stored", b"/b")

    def test_clientLeavesMeanwhile(self) -> None:
        """Whoever purges and leaves is not answered, and the purge goes on."""
        dialogue = self.cached(PURGERS)
        cache = self.cache_of(dialogue)
        for number in range(3000):
            cache.store.put(entry_of(URL + b"a", added=b"~%d" % number), cache.wall_clock())
        turns: list[Callable[[], None]] = []
        cache.sweep = Sweep(lambda _seconds, call: turns.append(call))
        purger = dialogue.client("10.1.2.3")
        purger.says(request(b"PURGE /a HTTP/1.1"))
        purger.resets()
        while turns:
            turns.pop()()
        self.assertStored(dialogue)
