"""Heads of requests that go to backends by HTTP/2: they say what would be said by HTTP/1.1."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txproxy.test.wire import reading
from txproxy.test.wire.http2.heads_case import HOP, LIMITS, TRUSTED_HOP, decoded, request_with
from txproxy.test.wire.making import QUICK, fields, requests
from txproxy.wire.fields import Field
from txproxy.wire.forwarding import PLAIN_RULES, Hop, RequestRules, make_hop
from txproxy.wire.http2.requests import parse_request_fields, write_request
from txproxy.wire.messages import RequestHead

_NO_SHORT_CUT = RequestRules(remove=frozenset((b"x-not-there",)))
_LEFT_OUT = frozenset((b"host", b"connection", b"transfer-encoding"))


def sent(
    request: RequestHead,
    hop: Hop = HOP,
    host: bytes | None = None,
    rules: RequestRules = PLAIN_RULES,
    target: bytes = b"",
    scheme: bytes = b"http",
) -> list[Field]:
    """Return the fields that a backend gets."""
    return decoded(write_request(request, target or request.target, host, hop, b"id-1", rules, scheme))


class WriteRequestTests(SynchronousTestCase):
    """A request on its way to a backend that speaks HTTP/2."""

    def test_complete(self) -> None:
        """Pseudo-fields first, then the client's own fields, then ours, all in lower case."""
        request = request_with((b"accept", b"*/*"), (b"content-length", b"007"), (b"te", b"trailers"), ended=False)
        expected = [
            (b":method", b"GET"),
            (b":scheme", b"https"),
            (b":path", b"/y"),
            (b":authority", b"a.example"),
            (b"accept", b"*/*"),
            (b"content-length", b"7"),
            (b"x-forwarded-host", b"a.example"),
            (b"te", b"trailers"),
            (b"x-forwarded-for", b"192.0.2.1"),
            (b"x-forwarded-proto", b"https"),
            (b"x-forwarded-port", b"443"),
            (b"via", b"2.0 txproxy"),
            (b"x-request-id", b"id-1"),
        ]
        for _ in range(3):
            self.assertEqual(sent(request, target=b"/y", scheme=b"https"), expected)
        self.assertEqual(sorted(sent(request, target=b"/y", scheme=b"https", rules=_NO_SHORT_CUT)), sorted(expected))

    def test_ofHttp1(self) -> None:
        """Whatever belongs to the client's connection stays behind, in any spelling, as if it went on by HTTP/1.1."""
        request = reading.request_with(
            b"CONNECTION: close, X-Foo", b"X-Foo: 1", b"Keep-Alive: 5", b"Proxy-Connection: x", b"Upgrade: h2c",
            b"HTTP2-Settings: x", b"Transfer-Encoding: chunked", b"TE: gzip, trailers", b"X-Bar: 1", b"X_Y: 1",
            b"X-Forwarded-For: 1.1.1.1",
            line=b"POST / HTTP/1.1",
        )  # fmt: skip
        hop = make_hop(b"192.0.2.1", False, b"http", b"80", b"p", ((b"X-Client-Cert-Verify", b"NONE"),))
        for rules in (PLAIN_RULES, _NO_SHORT_CUT):
            fields = sent(request, hop, rules=rules)
            self.assertEqual(fields[4:6], [(b"http2-settings", b"x"), (b"x-bar", b"1")])
            names = [name for name, _ in fields[6:]]
            self.assertEqual(
                sorted(names),
                [
                    b"te", b"via", b"x-client-cert-verify", b"x-forwarded-for", b"x-forwarded-host",
                    b"x-forwarded-port", b"x-forwarded-proto", b"x-request-id",
                ],
            )  # fmt: skip
            self.assertEqual(dict(fields)[b"te"], b"trailers")
            self.assertEqual(dict(fields)[b"via"], b"1.1 p")
            self.assertEqual(dict(fields)[b"x-forwarded-for"], b"192.0.2.1")

    def test_hops(self) -> None:
        """A model serves the requests of many clients: each gets its own."""
        request = request_with()
        for number in range(3):
            hop = make_hop(b"192.0.2.%d" % number, False, b"https", b"443", b"p", version=b"2.0")
            self.assertEqual(dict(sent(request, hop))[b"x-forwarded-for"], b"192.0.2.%d" % number)
        request = request_with((b"x-forwarded-for", b"::1"), (b"x-forwarded-host", b"b"), (b"x-request-id", b"theirs"))
        theirs = dict(sent(request, TRUSTED_HOP))
        self.assertEqual(theirs[b"x-forwarded-for"], b"::1, 10.0.0.1")
        self.assertEqual(theirs[b"x-forwarded-host"], b"b")
        self.assertEqual(theirs[b"x-request-id"], b"id-1")
        self.assertEqual(dict(sent(request))[b"x-forwarded-for"], b"192.0.2.1")

    def test_authority(self) -> None:
        """The client's, or another; a rule that sets Host sets it; it is left out rather than empty."""
        request = request_with()
        self.assertEqual(sent(request)[3], (b":authority", b"a.example"))
        self.assertEqual(sent(request, host=b"b.example:1")[3], (b":authority", b"b.example:1"))
        for host in (None, b"b.example"):
            fields = sent(request, host=host, rules=RequestRules(set=((b"hOsT", b"c.example"),)))
            self.assertEqual(fields[3], (b":authority", b"c.example"))
        for fields in (sent(request, host=b"b.example"), sent(request, rules=RequestRules(add=((b"A", b"b"),)))):
            self.assertNotIn(b"host", dict(fields))
        old = reading.request_with(line=b"GET / HTTP/1.0", host=b"")
        for rules in (PLAIN_RULES, _NO_SHORT_CUT):
            fields = sent(old, reading.HOP, rules=rules)
            self.assertNotIn(b":authority", dict(fields))
            self.assertEqual(dict(fields)[b"via"], b"1.0 txproxy")

    def test_rules(self) -> None:
        """Removed, set and added as in HTTP/1.1; nothing that has no place in HTTP/2 comes in by them."""
        rules = RequestRules(
            forwarded=True,
            remove=frozenset((b"x-gone", b"via")),
            set=((b"X-Set", b" new\t"), (b"Connection", b"close"), (b"TE", b"gzip")),
            add=((b"Upgrade", b"h2c"), (b"Keep-Alive", b"x"), (b"Transfer-Encoding", b"chunked"), (b"X-Add", b"")),
        )
        request = request_with((b"x-gone", b"1"), (b"x-set", b"old"), (b"te", b"trailers"), ended=False)
        fields = dict(sent(request, rules=rules))
        self.assertEqual((fields[b"x-set"], fields[b"x-add"]), (b"new", b""))
        self.assertIn(b"forwarded", fields)
        for name in (b"x-gone", b"via", b"connection", b"te", b"upgrade", b"keep-alive", b"transfer-encoding"):
            self.assertNotIn(name, fields)
        kept = sent(request_with((b"a_b", b"1")), rules=RequestRules(allow_underscores=True))
        self.assertIn((b"a_b", b"1"), kept)

    @QUICK
    @given(
        requests, fields, st.sampled_from([reading.HOP, reading.TRUSTED_HOP]), st.sampled_from([None, b"other.example"])
    )
    def test_likeHttp1(self, meant: object, more: list[Field], hop: Hop, host: bytes | None) -> None:
        """Whatever is forwarded by HTTP/1.1 is forwarded by HTTP/2, and is valid there."""
        head = meant.written([])  # type: ignore[attr-defined]
        request = reading.request_of(head[:-2] + b"".join([b"%b: %b\r\n" % field for field in more]) + b"\r\n")
        before = reading.facts(request)
        text = reading.request_of(reading.forwarded(request, hop, host))
        for rules in (PLAIN_RULES, _NO_SHORT_CUT):
            found = sent(request, hop, host, rules)
            again = parse_request_fields(found, ended=False, limits=LIMITS)
            self.assertEqual((again.method, again.target, again.host), (text.method, text.target, text.host))
            self.assertEqual(again.content_length, text.content_length)
            expected = [(name.lower(), value) for name, value in text.fields if name.lower() not in _LEFT_OUT]
            cookies = [value for name, value in expected if name == b"cookie"]
            others = [field for field in again.fields[1:] if field[0] != b"cookie"]
            self.assertEqual(sorted(others), sorted(field for field in expected if field[0] != b"cookie"))
            if cookies:
                self.assertIn((b"cookie", b"; ".join(cookies)), again.fields)
        self.assertEqual(reading.facts(request), before)
