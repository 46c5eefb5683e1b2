"""Clients of a plain listener are sent to https (T9)."""

from __future__ import annotations

import re
from types import SimpleNamespace
from urllib.parse import urlsplit

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txproxy.errors import BadRequest, ProxyError
from txproxy.exchange import Exchange, Reply
from txproxy.pipeline.https_redirect import HttpsRedirect
from txproxy.test.talk import GET, OK, TalkCase, post, request
from txproxy.test.wire.judging import judge_reply
from txproxy.test.wire.making import QUICK
from txproxy.test.wire.reading import request_with
from txproxy.testing import Dialogue

_ROUTED = "routed"
_hostile = st.lists(
    st.sampled_from(
        b"a B . .. %2e - 80 : // @ \\ # ? [ ] [::1] ; , % %0d %0A %00 < > ^ ` { } | ~ ' * = & $ + \x7f \xff \x80 \xc3\xa9 _".split()
        + [b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b'"', b"/", b"/", b".example"]
    ),
    max_size=5,
).map(b"".join)
"""Pieces of addresses, and of attempts to break out of one."""


class Redirecting(SynchronousTestCase):
    """A case with a redirect, the router behind it, and a client."""

    def setUp(self) -> None:
        self.replies: list[Reply] = []
        self.started: list[Exchange] = []
        self.trusted = False

    def start(self, exchange: Exchange) -> None:
        """Take what is not redirected."""
        self.started.append(exchange)

    def respond(self, exchange: Exchange, reply: Reply) -> None:
        """Take a reply for the client."""
        self.replies.append(reply)

    def place(self, line: bytes, *fields: bytes, host: bytes = b"a.example", port: int = 443) -> str:
        """Return where a request is sent, or that it is routed."""
        head = request_with(*fields, line=line, host=b"Host: " + host if host else b"")
        client = SimpleNamespace(hop=SimpleNamespace(trusted=self.trusted), respond=self.respond)
        self.replies.clear()
        self.started.clear()
        exchange = Exchange(b"id-1", head, client, 0.0)
        HttpsRedirect(self, port).start(exchange)
        if self.started:
            self.assertEqual((self.started, self.replies), ([exchange], []))
            return _ROUTED
        (reply,) = self.replies
        self.assertEqual((reply.status, reply.reason), (308, "redirected"))
        return dict(reply.fields)[b"Location"].decode("ascii")


class LocationTests(Redirecting):
    """Where clients are sent."""

    def test_theTargetIsKept(self) -> None:
        """Byte for byte, with any method: nothing is resolved, merged or escaped anew."""
        for target in (
            b"/", b"/p?q", b"/?", b"/a%2Fb//c;d?e=%20&f=+", b"/%7euser", b"/a:b@c!$&'()*+,=~", b"/../x", b"/%2e%2e/y?z=/..",
            b"/a#b", b"/%zz", b"/%00", b"/\\x", b"/" + b"x" * 5000,
        ):  # fmt: skip
            self.assertEqual(self.place(b"GET %b HTTP/1.1" % target), "https://a.example" + target.decode())
        for method in (b"POST", b"HEAD", b"PUT", b"DELETE", b"OPTIONS", b"BREW"):
            self.assertEqual(self.place(method + b" /x HTTP/1.1"), "https://a.example/x")

    def test_host(self) -> None:
        """The host without its port, in lower case; with the port of https unless that is understood."""
        for host, place in (
            (b"a.example", "https://a.example/x"),
            (b"A.Example:8080", "https://a.example/x"),
            (b"a.example:", "https://a.example/x"),
            (b"a.example.", "https://a.example/x"),
            (b"192.0.2.1:80", "https://192.0.2.1/x"),
            (b"[2001:DB8::1]", "https://[2001:db8::1]/x"),
            (b"[2001:db8::1]:80", "https://[2001:db8::1]/x"),
        ):
            self.assertEqual(self.place(b"GET /x HTTP/1.1", host=host), place)
            ported = self.place(b"GET /x HTTP/1.1", host=host, port=8443)
            self.assertEqual(ported, place.removesuffix("/x") + ":8443/x")

    def test_absoluteForm(self) -> None:
        """The authority of the target replaces Host, and the scheme that it claims changes nothing."""
        for target, place in (
            (b"http://b.example:81/x?y", "https://b.example/x?y"),
            (b"HTTP://b.example", "https://b.example/"),
            (b"https://b.example?y", "https://b.example/?y"),
            (b"http://[::1]:81//x", "https://[::1]//x"),
        ):
            self.assertEqual(self.place(b"GET %b HTTP/1.1" % target), place)
            self.assertEqual(self.place(b"GET %b HTTP/1.0" % target, host=b""), place)

    def test_hostsThatAreNotInTheAddress(self) -> None:
        """A target that looks like another place is a path of this one."""
        for target in (
            b"//evil.example", b"//evil.example/..", b"///evil.example", b"/\\evil.example", b"/@evil.example",
            b"/:80@evil.example", b"/.evil.example", b"/%0d%0aLocation:%20https://evil.example", b"/?//evil.example",
        ):  # fmt: skip
            place = self.place(b"GET %b HTTP/1.1" % target)
            self.assertEqual(place, "https://a.example" + target.decode())
            self.assertEqual(urlsplit(place).netloc, "a.example")

    def test_highBytes(self) -> None:
        """Bytes that no address may hold are escaped (RFC 3986 section 2)."""
        self.assertEqual(self.place(b"GET /caf\xc3\xa9?\xff\x80 HTTP/1.1"), "https://a.example/caf%C3%A9?%FF%80")

    def test_noHost(self) -> None:
        """Without a host there is nowhere to send the client."""
        self.assertRaises(BadRequest, self.place, b"GET / HTTP/1.0", host=b"")

    @settings(QUICK, max_examples=500)
    @given(
        _hostile, _hostile, st.sampled_from([b"", b"/", b"/", b"//", b"http://", b"http://a.example/", b"https://u@"])
    )
    def test_nothingIsInjected(self, host: bytes, target: bytes, start: bytes) -> None:
        """Whatever gets through the parser is one field line, and an address of the host that was asked for."""
        line = b"GET %b%b HTTP/1.1" % (start, target)
        try:
            head = request_with(line=line, host=b"Host: a" + host)
        except ProxyError:
            return
        self.assertEqual(head.path[:1], b"/")
        if self.place(line, host=b"a" + host) == _ROUTED:
            return
        location = dict(self.replies[0].fields)[b"Location"]
        judge_reply(b"HTTP/1.1 308 X\r\nLocation: %b\r\n\r\n" % location)
        self.assertEqual(location.translate(None, bytes(range(0x21, 0x7F))), b"")
        self.assertEqual(location, b"https://" + head.hostname + head.target)
        if head.hostname[:1] != b"[":
            self.assertTrue(re.fullmatch(rb"[a-z0-9._~!$&'()*+;=%-]+", head.hostname), head.hostname)
            self.assertEqual(urlsplit(location.decode()).hostname, head.hostname.decode())


class ExceptionTests(Redirecting):
    """What is not redirected."""

    def test_challenges(self) -> None:
        """Authorities ask for their token over http (RFC 8555 section 8.3)."""
        for path in (
            b"/.well-known/acme-challenge/evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr_oA",
            b"/.well-known/acme-challenge/test.txt",
            b"/.well-known/acme-challenge/",
            b"/.well-known/acme-challenge/x?y",
            b"/%2ewell-known/acme-challenge/x",
        ):
            self.assertEqual(self.place(b"GET %b HTTP/1.1" % path), _ROUTED, path)
        self.assertEqual(self.place(b"GET http://a.example/.well-known/acme-challenge/x HTTP/1.1"), _ROUTED)

    def test_whatOnlyLooksLikeAChallenge(self) -> None:
        """Nothing else is served without TLS for the sake of that: no server reads these as another path."""
        for path in (
            b"/.well-known/acme-challenge",
            b"/.well-known/acme-challengex",
            b"/.well-known/acme-challenge/../admin",
            b"/.well-known/acme-challenge/..%2fadmin",
            b"/.well-known/acme-challenge/%2e%2e/admin",
            b"/.well-known/acme-challenge/..%5cadmin",
            b"/.well-known/acme-challenge/..;/admin",
            b"/.well-known/acme-challenge/a/b",
            b"/.well-known/acme-challenge/a%2fb",
            b"/.well-known/acme-challenge/..",
            b"/.well-known/acme-challenge/%252e%252e%252fadmin",
            b"/.well-known/acme-challenge/x%00",
            b"/.well-known/acme-challenge/x#",
            b"/.well-known/acme-challenge/./x",
            b"/admin/../.well-known/acme-challenge/x",
            b"/.WELL-KNOWN/acme-challenge/x",
            b"/x/.well-known/acme-challenge/x",
            b"/?/.well-known/acme-challenge/x",
        ):
            self.assertEqual(self.place(b"GET %b HTTP/1.1" % path), "https://a.example" + path.decode(), path)

    def test_requestsWithoutAPath(self) -> None:
        """OPTIONS * and CONNECT ask for no place."""
        self.assertEqual(self.place(b"OPTIONS * HTTP/1.1"), _ROUTED)
        self.assertEqual(self.place(b"OPTIONS http://a.example HTTP/1.1"), _ROUTED)
        self.assertEqual(self.place(b"CONNECT a.example:443 HTTP/1.1"), _ROUTED)

    def test_behindATerminator(self) -> None:
        """A client that came to a trusted proxy by https is there already; nobody else's word counts."""
        for value, place in (
            (b"https", _ROUTED),
            (b"HTTPS", _ROUTED),
            (b"https, http", _ROUTED),
            (b"http", "https://a.example/x"),
            (b"http, https", "https://a.example/x"),
            (b"", "https://a.example/x"),
            (b"httpsx", "https://a.example/x"),
        ):
            for self.trusted, expected in ((True, place), (False, "https://a.example/x")):
                self.assertEqual(self.place(b"GET /x HTTP/1.1", b"X-Forwarded-Proto: " + value), expected, value)
        for self.trusted in (True, False):
            self.assertEqual(self.place(b"GET /x HTTP/1.1"), "https://a.example/x")
            self.assertEqual(self.place(b"GET /x HTTP/1.1", b"X_Forwarded_Proto: https"), "https://a.example/x")


class RedirectTests(TalkCase):
    """What clients of such a listener see."""

    def redirecting(self, port: int = 443, **parts: str) -> Dialogue:
        """Return a proxy whose listener redirects."""
        return self.proxy(listener=f"redirect_https = true\nhttps_port = {port}", **parts)

    def test_reply(self) -> None:
        """308 with a sentence and the request's id; no backend is asked, and the connection is kept."""
        dialogue = self.redirecting(8443)
        client = dialogue.client()
        for _ in range(2):
            client.says(request(b"GET /p?q HTTP/1.1", host=b"h:8080"))
            head = client.gets_head()
            self.assertEqual(head.line, b"HTTP/1.1 308 Permanent Redirect")
            self.assertEqual(head.get(b"Location"), b"https://h:8443/p?q")
            self.assertEqual(head.get(b"Content-Type"), b"text/plain; charset=utf-8")
            self.assertIsNone(head.get(b"Connection"))
            self.assertIsNone(head.get(b"Strict-Transport-Security"))
            body = client.gets()
            self.assertEqual(len(body), int(head.get(b"Content-Length") or b""))
            self.assertIn(head.get(b"X-Request-Id") or b"?", body)
        self.assertEqual(dialogue.attempts, [])
        line = self.assertEnd(dialogue, "redirected", 308)
        self.assertEqual((line["route"], line["backend"], line["tls"]), (None, None, None))
        client.says(request(b"HEAD / HTTP/1.1"))
        self.assertEqual(client.gets().partition(b"\r\n\r\n")[2], b"")

    def test_challenge(self) -> None:
        """It is routed as on any other listener."""
        dialogue = self.redirecting()
        client = dialogue.client()
        client.says(request(b"GET /.well-known/acme-challenge/x HTTP/1.1"))
        backend = dialogue.backend()
        self.assertEqual(backend.gets_head().line, b"GET /.well-known/acme-challenge/x HTTP/1.1")
        backend.says(OK)
        self.assertStatus(client, 200)

    def test_body(self) -> None:
        """A body that is still to come is not waited for."""
        dialogue = self.redirecting()
        client = dialogue.client()
        client.says(post(10))
        head = client.gets_head()
        self.assertEqual((head.line[9:12], head.get(b"Connection")), (b"308", b"close"))
        dialogue.advance_past(2)
        client = dialogue.client()
        client.says(request(b"POST / HTTP/1.1", body=b"hello") + GET)
        self.assertEqual([line["status"] for line in dialogue.lines], [308, 308, 308])
        client.gets()

    def test_noHost(self) -> None:
        """An old client that names no host gets 400."""
        dialogue = self.redirecting()
        client = dialogue.client()
        client.says(b"GET / HTTP/1.0\r\n\r\n")
        self.assertStatus(client, 400)
        self.assertEnd(dialogue, "bad-request", 400)
        dialogue.advance_past(2)

    def test_trustedPeer(self) -> None:
        """What came to it by https is served."""
        dialogue = self.redirecting(rest='[proxy]\ntrusted_proxies = ["10.0.0.0/8"]')
        dialogue.script("10.0.0.1:80", OK)
        for peer, status in (("10.1.1.1", 200), ("192.0.2.1", 308)):
            client = dialogue.client(peer)
            client.says(request(b"GET / HTTP/1.1", b"X-Forwarded-Proto: https"))
            self.assertStatus(client, status)
