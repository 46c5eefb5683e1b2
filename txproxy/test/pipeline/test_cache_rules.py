"""What a route says of its cache, and what requests say."""

from __future__ import annotations

from txproxy.policy.facts import TlsFacts
from txproxy.test.pipeline.cache_case import ETAG, FRESH, PRIVATE, STORABLE, CacheCase
from txproxy.test.talk import head, reply, request
from txproxy.testing import Dialogue, Peer

PLAIN = reply(b"plain")


class RuleCase(CacheCase):
    """A test case for rules."""

    def fetch(
        self, dialogue: Dialogue, says: bytes = STORABLE, path: bytes = b"/", *fields: bytes, address: str = "192.0.2.1"
    ) -> bytes:
        """Have a backend answer a request; return what the cache did."""
        client = self.asks(dialogue, path, *fields, address=address)
        self.asked(dialogue).says(says)
        return self.word(client)

    def word(self, client: Peer) -> bytes:
        head = client.gets_head()
        client.finishes()
        word, status = head.get(b"X-Cache-Status") or b"-", head.get(b"Cache-Status") or b""
        return b"%b %b" % (word, status.partition(b"; ")[2])

    def is_stored(self, dialogue: Dialogue, path: bytes = b"/", *fields: bytes, address: str = "192.0.2.1") -> bool:
        client = self.asks(dialogue, path, *fields, address=address)
        data = client.gets()
        client.resets()
        return b"X-Cache-Status: HIT" in data


class RouteTests(RuleCase):
    """Settings of routes."""

    def test_off(self) -> None:
        """A route without a cache has none, also when another has one."""
        rest = '[[route]]\nname = "b"\npath = "/b"\ncluster = "app"\ncache = true\n'
        dialogue = self.proxy(rest=rest)
        client = self.asks(dialogue, b"/a")
        self.asked(dialogue).says(STORABLE)
        self.assertEqual(client.gets_head().all(b"Cache-Status"), [])
        self.assertFalse(self.is_stored(dialogue, b"/a"))
        self.assertIsNone(self.proxy().assembled.cache)

    def test_routesShareNothing(self) -> None:
        """What one route has stored is not served by another, which may lead elsewhere."""
        routes = '[[route]]\nname = "b"\nheaders = { "X-B" = "1" }\ncluster = "app"\ncache = true\n'
        dialogue = self.cached(rest=routes)
        self.fetch(dialogue)
        self.assertTrue(self.is_stored(dialogue))
        self.assertFalse(self.is_stored(dialogue, b"/", b"X-B: 1"))

    def test_listenersAndSchemes(self) -> None:
        """The same head by another listener may mean another route, and by https another URL."""
        more = '[[listener]]\nname = "other"\naddress = "127.0.0.1:8081"\n'
        more += '[[route]]\nname = "b"\nlisteners = ["other"]\ncluster = "app"\ncache = true\n'
        dialogue = self.cached(route='listeners = ["web"]', rest=more)
        self.fetch(dialogue)
        for _ in range(3):
            self.assertTrue(self.is_stored(dialogue))
        for ways in ({"listener": "other"}, {"tls": TlsFacts("TLSv1.3", "x")}):
            client = dialogue.client(**ways)
            client.says(request())
            self.assertEqual(client.gets(), b"")
            client.resets()

    def test_fieldsOfOthersOnTheWayPast(self) -> None:
        """What another cache says in our own field is not passed on, whatever way a reply goes."""
        dialogue = self.cached('{ bypass = ["header:X-Preview"] }')
        client = self.asks(dialogue, b"/", b"X-Preview: 1")
        self.asked(dialogue).says(reply(b"ok", b"X-Cache-Status: HIT"))
        self.assertGets(client, b"BYPASS", b"ok")
        client.says(request(b"DELETE / HTTP/1.1"))
        self.asked(dialogue).says(reply(b"ok", b"X-Cache-Status: HIT"))
        self.assertGets(client, b"BYPASS", b"ok")

    def test_bypass(self) -> None:
        """A field or a cookie whose presence passes the cache by, both ways."""
        dialogue = self.cached('{ bypass = ["header:X-Preview", "cookie:session"] }')
        self.assertEqual(self.fetch(dialogue), b"MISS fwd=uri-miss; stored")
        for field in (b"x-preview: ", b"Cookie: a=b; session=1"):
            self.assertEqual(
                self.fetch(dialogue, reply(b"preview", FRESH), b"/", field), b"BYPASS fwd=bypass; detail=bypass"
            )
        self.assertTrue(self.is_stored(dialogue, b"/", b"Cookie: a=session"))
        self.assertStill(dialogue, b"HIT", b"stored")
        self.assertEqual(dialogue.lines[1]["cache"], "BYPASS")
        self.assertCounted(dialogue, misses=1, bypassed=2, hits=2)

    def test_exclude(self) -> None:
        """Regular expressions on the path; its query does not count."""
        dialogue = self.cached("{ exclude = ['^/account/', '[.]cgi$'] }")
        for path in (b"/account/", b"/x.cgi?a", b"/%61ccount/x"):
            self.assertEqual(self.fetch(dialogue, STORABLE, path), b"BYPASS fwd=bypass; detail=excluded")
            self.assertFalse(self.is_stored(dialogue, path))
        for path in (b"/x/account/", b"/a?x.cgi", b"/Account/"):
            self.assertEqual(self.fetch(dialogue, STORABLE, path), b"MISS fwd=uri-miss; stored")

    def test_keys(self) -> None:
        """The client's address, a field, a cookie: what differs in them is stored apart."""
        dialogue = self.cached('{ key = ["client", "header:X-Tenant", "cookie:lang"] }')
        fields = (b"X-Tenant: a", b"Cookie: lang=en; x=1")
        self.fetch(dialogue, STORABLE, b"/", *fields)
        self.assertTrue(self.is_stored(dialogue, b"/", b"x-tenant:  a", b"Cookie: y=2; lang=en"))
        for _ in range(3):  # The parser of heads knows those that come again.
            self.assertTrue(self.is_stored(dialogue, b"/", *fields))
        self.assertFalse(self.is_stored(dialogue, b"/", *fields, address="192.0.2.2"))
        self.assertFalse(self.is_stored(dialogue, b"/", b"X-Tenant: b", fields[1]))
        self.assertFalse(self.is_stored(dialogue, b"/", fields[0], b"Cookie: lang=fr"))

    def test_statuses(self) -> None:
        """Only those that are listed, with what lifetime they may have."""
        dialogue = self.cached('{ statuses = ["200", "500-503"] }')
        self.assertEqual(
            self.fetch(dialogue, reply(b"no", FRESH, status=b"404 No"), b"/1"), b"MISS fwd=uri-miss; detail=status"
        )
        self.assertEqual(
            self.fetch(dialogue, reply(b"no", FRESH, status=b"502 No"), b"/2"), b"MISS fwd=uri-miss; stored"
        )
        self.assertTrue(self.is_stored(dialogue, b"/2"))

    def test_lifetimes(self) -> None:
        """ttl_s outweighs what a reply says, default_ttl_s stands in for it, negative_ttl_s for errors."""
        not_found = reply(b"no", status=b"404 Not Found")
        for cache, says, alive_s, dead_s in (
            ("{ ttl_s = 10 }", STORABLE, 9, 10),
            ("{ ttl_s = 10 }", PLAIN, 9, 10),
            ("{ default_ttl_s = 10 }", PLAIN, 9, 10),
            ("{ default_ttl_s = 10 }", STORABLE, 59, 60),
            ("{ negative_ttl_s = 5 }", not_found, 4, 5),
            ("{ negative_ttl_s = 5, default_ttl_s = 20 }", not_found, 4, 5),
        ):
            dialogue = self.cached(cache)
            self.assertEqual(self.fetch(dialogue, says), b"MISS fwd=uri-miss; stored")
            dialogue.advance(alive_s)
            self.assertTrue(self.is_stored(dialogue), cache)
            dialogue.advance(dead_s - alive_s)
            self.assertFalse(self.is_stored(dialogue), cache)
            self.backends.clear()
        for cache, says in (
            ("{ negative_ttl_s = 5 }", PLAIN),
            ("{ ttl_s = 10 }", PRIVATE),
            ("{ default_ttl_s = 10 }", not_found),
        ):
            dialogue = self.cached(cache)
            self.fetch(dialogue, says)
            self.assertFalse(self.is_stored(dialogue), cache)
            self.backends.clear()

    def test_shared(self) -> None:
        """What all routes have: a default lifetime, heuristics, and cookies, which are stored only if it says so."""
        modified = b"Last-Modified: Tue, 14 Nov 2023 22:11:40 GMT"
        for shared, says, is_stored in (
            ("default_ttl_s = 10", PLAIN, True),
            ("heuristic_fraction = 0.1", reply(b"old", modified), True),
            ("max_bytes = 1000000", reply(b"old", modified), False),
            ("max_bytes = 1000000", reply(b"cookie", FRESH, b"Set-Cookie: a=b"), False),
            ("store_set_cookie = true", reply(b"cookie", FRESH, b"Set-Cookie: a=b"), True),
        ):
            dialogue = self.cached(shared=shared)
            self.fetch(dialogue, says)
            dialogue.advance(9)
            self.assertEqual(self.is_stored(dialogue), is_stored, shared)
            dialogue.advance(2)
            self.assertEqual(self.is_stored(dialogue), shared.startswith("store"), shared)
            self.backends.clear()

    def test_rulesForReplies(self) -> None:
        """Fields that a route sets or removes are not stored, but made for each delivery; so is the path upstream."""
        dialogue = self.cached(
            route='strip_prefix = "/api"\nreply_headers = { set = { "X-A" = "ours" }, remove = ["X-B"] }'
        )
        client = self.asks(dialogue, b"/api/x")
        self.asked(dialogue, line=b"GET /x ").says(reply(b"stored", FRESH, b"X-A: theirs", b"X-B: b"))
        for word in (b"MISS", b"HIT"):
            got = self.assertGets(client, word, b"stored")
            self.assertEqual((got.all(b"X-A"), got.all(b"X-B")), ([b"ours"], []))
            client = self.asks(dialogue, b"/api/x")

    def test_replacingOurFields(self) -> None:
        """A route may take our own words away too."""
        dialogue = self.cached(route='reply_headers = { remove = ["X-Cache-Status", "Cache-Status"] }')
        client = self.asks(dialogue)
        self.asked(dialogue).says(STORABLE)
        got = client.gets_head()
        self.assertEqual((got.all(b"X-Cache-Status"), got.all(b"Cache-Status")), ([], []))


class RequestTests(RuleCase):
    """What requests say."""

    def test_onlyIfCached(self) -> None:
        """What is stored and fresh, or 504 and no backend; the connection goes on."""
        dialogue = self.cached()
        client = self.asks(dialogue, b"/", b"Cache-Control: only-if-cached")
        self.assertStatus(client, 504)
        self.assertEnd(dialogue, "only-if-cached", 504)
        self.assertNotAsked(dialogue)
        self.fetch(dialogue)
        self.assertStill(dialogue, b"HIT", b"stored", b"/", b"Cache-Control: only-if-cached")
        dialogue.advance(60)
        client = self.asks(dialogue, b"/", b"Cache-Control: only-if-cached")
        self.assertStatus(client, 504)
        self.assertTrue(client.is_open)
        self.assertNotAsked(dialogue)

    def test_noStore(self) -> None:
        """Its reply is not stored, and others that come meanwhile do not wait for it."""
        dialogue = self.cached()
        client = self.asks(dialogue, b"/", b"Cache-Control: no-store")
        backend = self.asked(dialogue)
        other = self.asks(dialogue)
        self.asked(dialogue).says(STORABLE)
        self.assertGets(other, b"MISS", b"stored")
        backend.says(reply(b"newer", FRESH))
        self.assertEqual(self.word(client), b"MISS fwd=uri-miss; detail=request-no-store")
        self.assertStill(dialogue, b"HIT", b"stored")
        self.assertStill(dialogue, b"HIT", b"stored", b"/", b"Cache-Control: no-store")

    def test_minFreshAndMaxAge(self) -> None:
        """A client may want it newer than it has to be."""
        dialogue = self.cached()
        self.fetch(dialogue, reply(b"stored", FRESH, ETAG))
        dialogue.advance(30)
        for word, is_hit in (
            (b"max-age=30", True),
            (b"min-fresh=30", True),
            (b"max-age=29", False),
            (b"min-fresh=31", False),
        ):
            field = b"Cache-Control: " + word
            if is_hit:
                self.assertStill(dialogue, b"HIT", b"stored", b"/", field)
                continue
            client = self.asks(dialogue, b"/", field)
            self.asked(dialogue, b"If-None-Match").says(head(FRESH, b"Age: 30", status=b"HTTP/1.1 304 Not Modified"))
            self.assertEqual(self.word(client), b"REVALIDATED fwd=request; fwd-status=304; ttl=30; stored")

    def test_credentials(self) -> None:
        """A reply to Authorization is stored only if it says that it may be (K4); what is stored serves all."""
        field = b"Authorization: Basic eA=="
        for says, is_stored in (
            (FRESH, False),
            (b"Cache-Control: public, max-age=60", True),
            (b"Cache-Control: s-maxage=60", True),
            (b"Cache-Control: max-age=60, must-revalidate", True),
        ):
            dialogue = self.cached()
            self.fetch(dialogue, reply(b"stored", says), b"/", field)
            self.assertEqual(self.is_stored(dialogue), is_stored, says)
            self.backends.clear()
        self.backends.clear()
        dialogue = self.cached()
        self.fetch(dialogue)
        self.assertStill(dialogue, b"HIT", b"stored", b"/", field)

    def test_otherRequests(self) -> None:
        """Other methods, GET with a body, and absolute targets."""
        dialogue = self.cached()
        client = dialogue.client()
        client.says(request(b"GET / HTTP/1.1", body=b"body"))
        self.asked(dialogue).says(STORABLE)
        self.assertEqual(self.word(client), b"BYPASS fwd=method")
        client = dialogue.client()
        client.says(request(b"OPTIONS * HTTP/1.1"))
        self.asked(dialogue).says(reply(b""))
        self.assertEqual(self.word(client), b"BYPASS fwd=method")
        self.assertFalse(self.is_stored(dialogue))
        self.backends.clear()
        dialogue = self.cached()
        client = dialogue.client()
        client.says(request(b"GET http://a.example/x HTTP/1.1", host=b"b.example"))
        self.asked(dialogue).says(STORABLE)
        self.assertEqual(self.word(client), b"MISS fwd=uri-miss; stored")
        self.assertTrue(self.is_stored(dialogue, b"/x"))

    def test_spellings(self) -> None:
        """What a backend says to an odd spelling of path, host or port is not for those who ask in the usual one."""
        for path, host in (
            (b"/%78", b"a.example"),
            (b"/x", b"A.example"),
            (b"/x", b"a.example:"),
            (b"/x", b"a.example:80"),
            (b"/x", b"a.example:080"),
            (b"http://a.example:80/x", b"a.example"),
        ):
            dialogue = self.cached('{ purge_from = ["192.0.2.0/24"] }')
            asks = request(b"GET %b HTTP/1.1" % path, host=host)
            for says, word in ((reply(b"odd", FRESH, b"Location: /x", status=b"301 Moved"), b"MISS"), (b"", b"HIT")):
                client = dialogue.client()
                client.says(asks)
                if says:
                    self.asked(dialogue).says(says)
                self.assertGets(client, word, b"odd", 301)
                client.finishes()
            self.fetch(dialogue, STORABLE, b"/x")
            self.assertStill(dialogue, b"HIT", b"stored", b"/x")
            client = dialogue.client()
            client.says(request(b"PURGE /x HTTP/1.1"))
            client.gets_head()
            self.assertEqual(client.gets(), b"2 purged\n", (path, host))
            self.backends.clear()

    def test_hostsAndQueries(self) -> None:
        """Each host, port, scheme and query has its own."""
        dialogue = self.cached()
        self.fetch(dialogue, STORABLE, b"/?a=1")
        self.assertTrue(self.is_stored(dialogue, b"/?a=1"))
        self.assertFalse(self.is_stored(dialogue, b"/?a=2"))
        for host in (b"b.example", b"a.example:8080"):
            client = dialogue.client()
            client.says(request(b"GET /?a=1 HTTP/1.1", host=host))
            self.assertEqual(client.gets(), b"")
            client.resets()
