"""Requests that come by HTTP/2 and go on by HTTP/1.1: no smuggling through what one version allows and the other not."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txproxy.errors import ProxyError
from txproxy.test.wire.forwarding_case import NO_SHORT_CUT
from txproxy.test.wire.http2.heads_case import HOP, LIMITS, TRUSTED_HOP, fields_with, request_with
from txproxy.test.wire.judging import judge_request
from txproxy.test.wire.making import QUICK, hosts, noise, plain_names, targets, tokens, values
from txproxy.test.wire.reading import facts, forwarded, lines_of, request_of
from txproxy.wire.fields import Field, is_disguised
from txproxy.wire.forwarding import PLAIN_RULES, Hop, RequestRules
from txproxy.wire.http2.requests import parse_request_fields
from txproxy.wire.messages import RequestHead

_ACTIVE = [
    (b"content-length", b"05"), (b"te", b"trailers"), (b"expect", b"100-continue"), (b"cookie", b"a=b"),
    (b"cookie", b"c=d"), (b"x-forwarded-for", b"::1"), (b"x_forwarded_for", b"::1"), (b"x-request-id", b"x"),
    (b"via", b"1.1 a"), (b"content_length", b"5"), (b"max-forwards", b"3"), (b"proxy-authorization", b"x"),
    (b"x-client-cert-verify", b"SUCCESS"), (b"trailer", b"x"), (b"http2-settings", b"x"), (b"forwarded", b"for=a"),
]  # fmt: skip
"""What the proxy acts on, and lets pass if it stands there once."""
_REFUSED = [
    (b"host", b"a.example"), (b"host", b"b.example"), (b"content-length", b"0"), (b"content-length", b"5, 5"),
    (b"transfer-encoding", b"chunked"), (b"connection", b"close"), (b"te", b"gzip"), (b"upgrade", b"h2c"),
    (b":path", b"/y"),
]  # fmt: skip
"""What is refused, or is in some company."""
_PSEUDO = [":method", ":scheme", ":authority", ":path"]

_names = plain_names.map(bytes.lower)
_plain = st.tuples(_names, values)
_noisy = st.tuples(st.one_of(_names, noise, st.binary(max_size=4)), st.one_of(values, noise))
_fields = st.lists(st.one_of(_plain, st.sampled_from(_ACTIVE)), max_size=6)
_noisy_fields = st.lists(st.one_of(_plain, _noisy, st.sampled_from(_ACTIVE + _REFUSED)), max_size=5)
_OURS = frozenset(
    b"host via x-forwarded-for x-forwarded-host x-forwarded-port x-forwarded-proto x-request-id te connection "
    b"transfer-encoding forwarded content-length max-forwards".split()
)
_STAYS_BEHIND = frozenset(b"proxy-authorization x-client-cert-verify".split())


class LinesTests(SynchronousTestCase):
    """The lines that a backend of HTTP/1.1 gets."""

    def sent(self, request: RequestHead, rules: RequestRules | None = None) -> list[bytes]:
        """Return the lines, after checking that both ways of writing them give the same."""
        head = forwarded(request, HOP, None, rules or PLAIN_RULES)
        if rules is None:
            self.assertEqual(forwarded(request, HOP, None, NO_SHORT_CUT), head)
        judge_request(head)
        return lines_of(head)

    def ours(self, version: bytes = b"2.0") -> list[bytes]:
        return [
            b"X-Forwarded-Host: a.example",
            b"X-Forwarded-For: 192.0.2.1",
            b"X-Forwarded-Proto: https",
            b"X-Forwarded-Port: 443",
            b"Via: %b txproxy" % version,
            b"X-Request-Id: id-1",
        ]

    def test_plain(self) -> None:
        """Host first, and the version that was received in Via."""
        request = request_with((b"accept", b"*/*"), (b"cookie", b"a"), (b"b", b"c"), (b"cookie", b"d"))
        lines = [b"Host: a.example", b"accept: */*", b"cookie: a; d", b"b: c", *self.ours()]
        self.assertEqual(self.sent(request), lines)
        self.assertEqual(self.sent(request), lines)

    def test_bodies(self) -> None:
        """One of unknown length goes on in chunks although nobody has said Transfer-Encoding; a length is canonical."""
        for request in (request_with(ended=False), request_with((b"te", b"trailers"), ended=False)):
            self.assertIn(b"Transfer-Encoding: chunked", self.sent(request))
        request = request_with((b"content-length", b"007"), ended=False)
        self.assertEqual(self.sent(request), [b"Host: a.example", b"content-length: 7", *self.ours()])
        self.assertEqual(self.sent(request_with()), [b"Host: a.example", *self.ours()])

    def test_trailersMayBeAskedFor(self) -> None:
        """With the Connection field that TE needs in HTTP/1.1."""
        lines = self.sent(request_with((b"te", b"trailers")))
        self.assertEqual(lines, [b"Host: a.example", *self.ours(), b"TE: trailers", b"Connection: TE"])

    def test_claims(self) -> None:
        """Of an untrusted client none passes, in no disguise."""
        request = request_with((b"x-forwarded-for", b"::1"), (b"x_request.id", b"1"), (b"x-client-cert-verify", b"y"))
        self.assertEqual(self.sent(request), [b"Host: a.example", *self.ours()])


class DowngradeTests(SynchronousTestCase):
    """Whatever is accepted means the same once it is text, and HTTP/1.1 would have accepted it too."""

    @QUICK
    @given(tokens.filter(lambda method: method != b"CONNECT"), targets, hosts, _fields, st.booleans())
    def test_validRequests(self, method: bytes, path: bytes, host: bytes, fields: list[Field], ended: bool) -> None:
        """Requests that are made of valid parts, some of which may not stand together."""
        self.check(fields_with(*fields, method=method, path=path, authority=host), ended)

    @QUICK
    @given(st.sampled_from(_PSEUDO), st.one_of(noise, st.binary(max_size=8)), _noisy_fields, st.booleans())
    def test_noise(self, name: str, value: bytes, fields: list[Field], ended: bool) -> None:
        """Requests that come close to being valid, with a part that need not be."""
        self.check(fields_with(*fields, **{name[1:]: value}), ended)

    @QUICK
    @given(st.sampled_from(range(256)), st.sampled_from(range(4)), st.sampled_from(["name", *_PSEUDO, "value"]))
    def test_eachByte(self, code: int, place: int, where: str) -> None:
        """Any byte at any place of any part."""
        byte = bytes((code,))
        usual = {"name": b"aa", "value": b"bb", ":method": b"GET", ":scheme": b"https", ":authority": b"a.b"}
        text = usual.get(where, b"/xy")
        text = text[:place] + byte + text[place:]
        if where in usual and where[0] != ":":
            field = (text, b"bb") if where == "name" else (b"aa", text)
            self.check(fields_with(field), True)
        else:
            self.check(fields_with(**{where[1:]: text}), True)

    def check(self, fields: list[Field], ended: bool) -> None:
        """Check one request, sent on in every way."""
        try:
            request = parse_request_fields(fields, ended, LIMITS)
        except ProxyError:
            return
        before = facts(request)
        self.as_text(request, fields)
        if request.method == b"CONNECT":
            return
        for hop in (HOP, TRUSTED_HOP):
            for host in (None, b"other.example"):
                for rules in (PLAIN_RULES, NO_SHORT_CUT, RequestRules(forwarded=True, allow_underscores=True)):
                    self.sent_on(request, hop, host, rules)
        self.assertEqual(facts(request), before)

    def as_text(self, request: RequestHead, fields: list[Field]) -> None:
        """Check that the same request, simply written down as HTTP/1.1, is not refused, and is understood so."""
        pseudo = {name: value for name, value in fields if name.startswith(b":")}
        target = pseudo.get(b":path", pseudo.get(b":authority", b""))
        lines = [b"%b %b HTTP/1.1" % (pseudo[b":method"], target), b"Host: " + request.host]
        lines += [b"%b: %b" % field for field in fields if field[0] != b"host" and not field[0].startswith(b":")]
        if request.chunked:
            lines.append(b"Transfer-Encoding: chunked")
        again = request_of(b"\r\n".join((*lines, b"", b"")))
        for name in ("method", "target", "path", "host", "hostname", "port", "suspicious", "content_length", "chunked"):
            self.assertEqual(getattr(again, name), getattr(request, name), name)
        known = {name: value for name, value in again.known.items() if name != b"transfer-encoding"}
        self.assertEqual(known, request.known)

    def sent_on(self, request: RequestHead, hop: Hop, host: bytes | None, rules: RequestRules) -> None:
        head = forwarded(request, hop, host, rules)
        judge_request(head)
        again = request_of(head)
        self.assertEqual((again.method, again.target, again.path), (request.method, request.target, request.path))
        self.assertEqual(again.host, request.host if host is None else host)
        self.assertEqual((again.content_length, again.chunked), (request.content_length, request.chunked))
        self.assertTrue(again.keep_alive)
        left = [field for field in again.fields if field[0].lower() not in _OURS]
        underscores = rules.allow_underscores
        expected = [
            field
            for field in request.fields
            if field[0].lower() not in _OURS | _STAYS_BEHIND
            and (underscores or b"_" not in field[0])
            and not is_disguised(field[0])
        ]
        if hop is TRUSTED_HOP:
            left = [field for field in left if field[0] != b"x-client-cert-verify"]
        self.assertEqual(left, expected)
