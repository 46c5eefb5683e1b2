"""Which route serves a request, what it changes on the way, and what it does not let pass."""

from __future__ import annotations

from typing import Any

from twisted.logger import formatEvent, globalLogPublisher

from txproxy.policy.facts import RequestFacts
from txproxy.test.talk import GET, OK, POST_5, TalkCase, request
from txproxy.testing import Dialogue, site

TWO_CLUSTERS = """
[[listener]]
name = "web"
address = "127.0.0.1:8080"
[[route]]
name = "chosen"
choose = "json:loads"
[cluster.one]
backends = [{ address = "10.0.0.1:80" }]
[cluster.two]
backends = [{ address = "10.0.0.2:80" }]
"""


class ChooseTests(TalkCase):
    """A user's function that chooses the cluster (D15)."""

    def choosing(self, function: Any) -> Dialogue:
        return Dialogue.of(self, TWO_CLUSTERS, {"json:loads": function})

    def test_facts(self) -> None:
        """It is told all that a choice may depend on."""
        seen: list[RequestFacts] = []

        def choose(facts: RequestFacts) -> str:
            seen.append(facts)
            return "two" if facts.headers.get("x-canary") == "1" else "one"

        dialogue = self.choosing(choose)
        client = dialogue.client()
        client.says(request(b"GET /a%20b?c HTTP/1.1", b"X-CANARY: 1", host=b"A.Example:81"))
        dialogue.backend("10.0.0.2:80").says(OK)
        (facts,) = seen
        self.assertEqual(
            (facts.method, facts.target, facts.host, facts.client, facts.scheme, facts.listener),
            ("GET", "/a%20b?c", "a.example", "192.0.2.1", "http", "web"),
        )
        self.assertEqual(dialogue.lines[0]["cluster"], "two")

    def test_raises(self) -> None:
        """An exception is a 500 for that request, with one line in the log; the next request is served."""

        def choose(facts: RequestFacts) -> str:
            return {"/good": "one"}[facts.path]

        events: list[dict[str, Any]] = []
        observe: Any = events.append
        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        dialogue = self.choosing(choose)
        client = dialogue.client()
        client.says(GET)
        self.assertNotIn(b"KeyError", self.assertStatus(client, 500))
        self.assertEqual(len([event for event in events if "KeyError" in str(formatEvent(event))]), 1)
        self.assertEnd(dialogue, "internal", 500)
        client.says(request(b"GET /good HTTP/1.1"))
        dialogue.backend("10.0.0.1:80").says(OK)
        self.assertStatus(client, 200)

    def test_noSuchCluster(self) -> None:
        """A name that is no cluster's, or no name, is a 500."""
        for bad in ("three", None, 3, b"one", ["one"]):
            dialogue = self.choosing(lambda facts, bad=bad: bad)
            client = dialogue.client()
            client.says(GET)
            self.assertStatus(client, 500)
            self.assertEnd(dialogue, "internal", 500)
            client.finishes()


class TargetTests(TalkCase):
    """What is asked for upstream (HF9, HF10)."""

    def upstream(self, says: bytes, **parts: Any) -> Any:
        dialogue = self.proxy(**parts)
        client = dialogue.client()
        client.says(says)
        backend = dialogue.backend()
        got = backend.gets_head()
        backend.says(OK)
        self.assertStatus(client, 200)
        return got

    def test_unchanged(self) -> None:
        """A target is passed on byte for byte."""
        for target in (b"/", b"/a%2Fb//c;d?e=%20&f=+#"[:-1], b"/?", b"//x", b"/%7euser", b"/a:b@c!$&'()*+,=~"):
            self.assertEqual(self.upstream(request(b"GET %b HTTP/1.1" % target)).line, b"GET %b HTTP/1.1" % target)

    def test_stripPrefix(self) -> None:
        """A prefix is taken off, the rest is untouched (HF10)."""
        for target, expected in (
            (b"/api/v1/x?q=1", b"/v1/x?q=1"),
            (b"/api", b"/"),
            (b"/api?q", b"/?q"),
            (b"/api/", b"/"),
            (b"/api/a%2fb//c", b"/a%2fb//c"),
            (b"/%61pi/x", b"/x"),
        ):
            route = 'path = "/api"\nstrip_prefix = "/api"'
            got = self.upstream(request(b"GET %b HTTP/1.1" % target), route=route)
            self.assertEqual(got.line, b"GET %b HTTP/1.1" % expected)

    def test_host(self) -> None:
        """Host is the client's, the backend's, or a literal; X-Forwarded-Host holds the original (HF9)."""
        for rule, address, expected in (
            ("keep", "10.0.0.1:80", b"a.example"),
            ("backend", "10.0.0.1:80", b"10.0.0.1"),
            ("backend", "10.0.0.1:81", b"10.0.0.1:81"),
            ("backend", "[::1]:81", b"[::1]:81"),
            ("literal:in.example:8", "10.0.0.1:80", b"in.example:8"),
        ):
            got = self.upstream(GET, route=f'host = "{rule}"', backends=[address])
            self.assertEqual((got.all(b"Host"), got.get(b"X-Forwarded-Host")), ([expected], b"a.example"))

    def test_absoluteForm(self) -> None:
        """The authority of an absolute target replaces Host; origin-form goes upstream (RFC 9112 section 3.2.2)."""
        got = self.upstream(request(b"GET http://b.example:81/x?y HTTP/1.1"))
        self.assertEqual((got.line, got.all(b"Host")), (b"GET /x?y HTTP/1.1", [b"b.example:81"]))

    def test_oldClientWithoutHost(self) -> None:
        """Upstream is always HTTP/1.1 and has exactly one Host (RFC 9112 section 3.2)."""
        got = self.upstream(request(b"GET / HTTP/1.0", host=b""))
        self.assertEqual((got.line, len(got.all(b"Host"))), (b"GET / HTTP/1.1", 1))

    def test_untrusted(self) -> None:
        """What an untrusted client claims of itself is replaced (HF4); hop-by-hop fields stay here (HF3)."""
        claims = (b"X-Forwarded-For: 1.1.1.1", b"X-Forwarded-Proto: https", b"X-Forwarded-Host: evil")
        fields = (*claims, b"Forwarded: for=x")
        hops = (b"Connection: close, X-Foo, Host", b"X-Foo: 1", b"Keep-Alive: x", b"Proxy-Authorization: y", b"TE: x")
        got = self.upstream(request(b"GET / HTTP/1.1", *fields, *hops, b"Cookie: a", b"Cookie: b"))
        self.assertEqual(got.all(b"X-Forwarded-For"), [b"192.0.2.1"])
        self.assertEqual((got.all(b"X-Forwarded-Proto"), got.all(b"X-Forwarded-Host")), ([b"http"], [b"a.example"]))
        self.assertEqual((got.all(b"Forwarded"), got.all(b"Host")), ([], [b"a.example"]))
        self.assertEqual(got.all(b"Cookie"), [b"a", b"b"])
        for name in (b"Connection", b"X-Foo", b"Keep-Alive", b"Proxy-Authorization", b"TE"):
            self.assertEqual(got.all(name), [])

    def test_trailersAreAccepted(self) -> None:
        """TE: trailers goes on, as a field of the connection."""
        got = self.upstream(request(b"GET / HTTP/1.1", b"TE: trailers, gzip"))
        self.assertEqual((got.all(b"TE"), got.all(b"Connection")), ([b"trailers"], [b"TE"]))

    def test_rules(self) -> None:
        """A route's own fields are removed, set and added last."""
        rules = 'request_headers = { remove = ["Cookie"], set = { "X-A" = "1" }, add = { "X-B" = "2" } }'
        got = self.upstream(request(b"GET / HTTP/1.1", b"Cookie: a", b"x-a: 0", b"X-B: 1"), route=rules)
        self.assertEqual((got.all(b"Cookie"), got.all(b"X-A"), got.all(b"X-B")), ([], [b"1"], [b"1", b"2"]))

    def test_repeatedHeads(self) -> None:
        """The same head again and again is forwarded in the same way, from any client."""
        dialogue = self.proxy()
        backend = dialogue.script("10.0.0.1:80", OK)
        for peer in ("192.0.2.1", "192.0.2.2", "192.0.2.1", "192.0.2.3"):
            dialogue.client(peer).says(POST_5)
        seen = [each.head.get(b"X-Forwarded-For") for each in backend.requests]
        self.assertEqual(seen, [b"192.0.2.1", b"192.0.2.2", b"192.0.2.1", b"192.0.2.3"])
        self.assertEqual(len({each.head.get(b"X-Request-Id") for each in backend.requests}), 4)


class ScreenTests(TalkCase):
    """What is refused, or answered here, before a backend is looked for."""

    def refused(self, says: bytes, status: int, **parts: Any) -> Any:
        dialogue = self.proxy(**parts)
        client = dialogue.client()
        client.says(says)
        got = client.gets_head()
        self.assertEqual(got.line[9:12], b"%d" % status, says)
        self.assertEqual(dialogue.attempts, [])
        dialogue.advance_past(2)
        return got

    def test_connect(self) -> None:
        """CONNECT is 405 with the methods that are allowed."""
        self.assertIn(b"GET", self.refused(request(b"CONNECT a.example:443 HTTP/1.1"), 405).get(b"Allow"))

    def test_suspiciousTargets(self) -> None:
        """Dot segments, #, broken escapes and NUL are 400 unless the route allows them; NUL never passes."""
        for target in (b"/../a", b"/a/%2e%2e/b", b"/a/..%2fb", b"/a/..%5cb", b"/a#b", b"/%zz", b"/%00"):
            self.refused(request(b"GET %b HTTP/1.1" % target), 400)

    def test_loop(self) -> None:
        """Our name for the tenth time in Via is 508; nine pass."""
        self.refused(request(b"GET / HTTP/1.1", b"Via: " + b", ".join([b"1.1 txproxy"] * 9)), 508)
        dialogue = self.proxy()
        client = dialogue.client()
        client.says(request(b"GET / HTTP/1.1", b"Via: " + b", ".join([b"1.1 txproxy"] * 8)))
        dialogue.backend().says(OK)
        self.assertStatus(client, 200)

    def test_maxForwards(self) -> None:
        """OPTIONS with Max-Forwards: 0 is answered here; with more it goes on, one less (RFC 9110 section 7.6.2)."""
        self.refused(request(b"OPTIONS / HTTP/1.1", b"Max-Forwards: 0"), 200)
        self.refused(request(b"TRACE / HTTP/1.1", b"Max-Forwards: 0"), 405)
        dialogue = self.proxy()
        client = dialogue.client()
        client.says(request(b"OPTIONS * HTTP/1.1", b"Max-Forwards: 3"))
        backend = dialogue.backend()
        got = backend.gets_head()
        self.assertEqual((got.line, got.get(b"Max-Forwards")), (b"OPTIONS * HTTP/1.1", b"2"))
        backend.says(OK)

    def test_noRoute(self) -> None:
        """No route for a host, a path or a method: 404 and no upstream contact."""
        for route in ('hosts = ["b.example"]', 'path = "/b/"', 'methods = ["POST"]', 'headers = { "X-A" = "1" }'):
            self.refused(GET, 404, route=route)

    def test_suspiciousAndNoRoute(self) -> None:
        """A suspicious target that no route serves is 400, not 404."""
        self.refused(request(b"GET /../a HTTP/1.1"), 400, route='path = "/b/"')


class ConfigTests(TalkCase):
    """The site that tests are made of."""

    def test_site(self) -> None:
        """It is a valid configuration by itself."""
        self.assertIn("[cluster.app]", site())
