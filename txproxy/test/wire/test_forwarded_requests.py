"""What becomes of a request's head on its way to a backend."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txproxy.test.wire.judging import judge_request
from txproxy.test.wire.making import QUICK, Facts, fields, padding, plain_names, requests, values
from txproxy.test.wire.reading import HOP, TRUSTED_HOP, forwarded, lines_of, request_of, request_with
from txproxy.wire.fields import Field
from txproxy.wire.forwarding import (
    LAST_VIA_ENTRIES,
    Hop,
    RequestRules,
    make_hop,
    request_id_of,
    via_count,
    write_request_head,
)
from txproxy.wire.messages import RequestHead

_OURS = [
    b"X-Forwarded-Host: a.example",
    b"X-Forwarded-For: 192.0.2.1",
    b"X-Forwarded-Proto: http",
    b"X-Forwarded-Port: 8080",
    b"Via: 1.1 txproxy",
    b"X-Request-Id: id-1",
]
_HOST = b"Host: a.example"

# Whatever is asked of the slow way must hold for the fast one too: rules that change nothing make the difference.
_NO_SHORT_CUT = RequestRules(remove=frozenset((b"x-not-there",)))


class _Tests(SynchronousTestCase):
    def sent(
        self, *lines: bytes, hop: Hop = HOP, host: bytes | None = None, rules: RequestRules | None = None, **how: bytes
    ) -> list[bytes]:
        """Return the field lines that go upstream, after checking that both ways of writing give the same."""
        request = request_with(*lines, **how)
        if rules is not None:
            head = forwarded(request, hop, host, rules)
        else:
            head = forwarded(request, hop, host)
            self.assertEqual(forwarded(request, hop, host, _NO_SHORT_CUT), head)
            # A model may serve many requests: what was written once is written again.
            self.assertEqual(forwarded(request, hop, host), head)
        judge_request(head)
        return lines_of(head)

    def names(self, *lines: bytes, hop: Hop = HOP, rules: RequestRules | None = None, **how: bytes) -> list[bytes]:
        """Return the names that go upstream, in lower case."""
        return [line.partition(b":")[0].lower() for line in self.sent(*lines, hop=hop, rules=rules, **how)]


class EndToEndTests(_Tests):
    """What is kept."""

    def test_orderRepetitionCaseAndBytesAreKept(self) -> None:
        """Fields go on as they came, and ours follow (HF12)."""
        lines = [b"coOkie: a=b", b"X-A: 1", b"Cookie: c=d", b"x-a: caf\xe9\x85", b"Empty: ", b"Date: x", b"Trailer: T"]
        self.assertEqual(self.sent(*lines), [_HOST, *lines, *_OURS])

    def test_theRequestLineIsOurs(self) -> None:
        """Any method and the target as given; always HTTP/1.1 with one space between."""
        for line, expected in (
            (b"GET /x HTTP/1.1", b"GET /x HTTP/1.1"),
            (b"brew //x%2f?y=%zz HTTP/1.9", b"brew //x%2f?y=%zz HTTP/1.1"),
            (b"GET / HTTP/1.0", b"GET / HTTP/1.1"),
            (b"GET http://b/x?y HTTP/1.1", b"GET /x?y HTTP/1.1"),
            (b"OPTIONS * HTTP/1.1", b"OPTIONS * HTTP/1.1"),
        ):
            self.assertEqual(forwarded(request_with(line=line)).partition(b"\r\n")[0], expected)
        request = request_with(line=b"GET /api/x HTTP/1.1")
        head = write_request_head(request, b"/x", None, HOP, b"id")
        self.assertTrue(head.startswith(b"GET /x HTTP/1.1\r\n"))

    def test_lengthsAreCanonical(self) -> None:
        """One plain number goes on, whatever zeros it had."""
        for value, expected in ((b"5", b"5"), (b"0005", b"5"), (b"0", b"0"), (b"000", b"0")):
            lines = self.sent(b"content-LENGTH: " + value, line=b"POST / HTTP/1.1")
            self.assertIn(b"content-LENGTH: " + expected, lines)

    def test_chunksAreAnnouncedByUs(self) -> None:
        """The client's Transfer-Encoding does not pass; ours says the same in one spelling."""
        lines = self.sent(b"tRaNsFeR-eNcOdInG: CHUNKED", line=b"POST / HTTP/1.1")
        self.assertEqual(lines, [_HOST, *_OURS, b"Transfer-Encoding: chunked"])

    def test_expectationsGoOnFromHttp11Only(self) -> None:
        """Expect is end to end; of an HTTP/1.0 client it is dropped (RFC 9110 section 10.1.1)."""
        lines = [b"Expect: 100-continue", b"Content-Length: 5"]
        self.assertIn(b"expect", self.names(*lines))
        self.assertNotIn(b"expect", self.names(*lines, line=b"POST / HTTP/1.0"))


class HopByHopTests(_Tests):
    """What ends here (RFC 9110 section 7.6.1, HF3)."""

    def test_hopByHopFieldsAreDropped(self) -> None:
        """None of them reaches a backend, in any case, whether Connection names them or not."""
        dropped = (
            b"Connection: close, X-Foo", b"X-Foo: 1", b"x-FOO: 2", b"Keep-Alive: timeout=5", b"Proxy-Connection: keep-alive",
            b"Proxy-Authorization: Basic x", b"Proxy-Authenticate: Basic", b"Proxy-Authentication-Info: x", b"TE: gzip",
            b"Upgrade: h2c",
        )  # fmt: skip
        self.assertEqual(self.sent(*dropped, b"X-Bar: 1"), [_HOST, b"X-Bar: 1", *_OURS])
        self.assertEqual(self.sent(*[line.upper() for line in dropped], b"X-Bar: 1"), [_HOST, b"X-Bar: 1", *_OURS])
        for line in dropped[3:]:
            self.assertEqual(self.sent(line), [_HOST, *_OURS], line)

    def test_keepAliveOfBrowsers(self) -> None:
        """Connection: keep-alive is dropped and nothing else changes."""
        for value in (b"keep-alive", b"Keep-Alive", b"keep-alive, ", b""):
            self.assertEqual(self.sent(b"A: b", b"Connection: " + value, b"C: d"), [_HOST, b"A: b", b"C: d", *_OURS])
        self.assertEqual(self.sent(b"Connection: keep-alive", b"Connection: keep-alive"), [_HOST, *_OURS])

    def test_severalConnectionFieldsAreOneList(self) -> None:
        """Every name in every Connection field counts."""
        lines = [b"Connection: a", b"A: 1", b"B: 2", b"C: 3", b"connection: B ,\t,c"]
        self.assertEqual(self.sent(*lines), [_HOST, *_OURS])

    def test_someFieldsCannotBeNamedAway(self) -> None:
        """Framing fields, Host and what we set stay, whatever Connection names."""
        for name in (b"Host", b"Via", b"X-Forwarded-For", b"X-Forwarded-Proto", b"X-Forwarded-Host", b"X-Request-Id"):
            self.assertEqual(self.sent(b"Connection: " + name), [_HOST, *_OURS], name)
        lines = self.sent(b"Connection: content-length", b"Content-Length: 5", line=b"POST / HTTP/1.1")
        self.assertEqual(lines, [_HOST, b"Content-Length: 5", *_OURS])
        lines = self.sent(b"Connection: transfer-encoding", b"Transfer-Encoding: chunked", line=b"POST / HTTP/1.1")
        self.assertEqual(lines, [_HOST, *_OURS, b"Transfer-Encoding: chunked"])
        lines = self.sent(b"Connection: via, date", b"Via: 1.1 x", b"Date: y")
        self.assertEqual(lines, [_HOST, b"Via: 1.1 x", b"Date: y", *_OURS])

    def test_trailersMayBeAskedFor(self) -> None:
        """Of TE only `trailers` goes on, with the Connection field that it needs (RFC 9110 section 10.1.4)."""
        for value in (b"trailers", b"Trailers", b"gzip, trailers", b"trailers, deflate;q=0.5"):
            self.assertEqual(self.sent(b"TE: " + value), [_HOST, *_OURS, b"TE: trailers", b"Connection: TE"], value)
            self.assertEqual(self.sent(b"TE: " + value, b"Connection: TE")[-2:], [b"TE: trailers", b"Connection: TE"])
        for value in (b"gzip", b"", b"trailer", b"xtrailers", b"chunked"):
            self.assertEqual(self.sent(b"TE: " + value), [_HOST, *_OURS], value)

    def test_noUpgradeGoesOn(self) -> None:
        """Neither a protocol nor what comes with it (HF: h2c is never passed on)."""
        lines = [b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: x"]
        self.assertEqual(self.sent(*lines), [_HOST, *_OURS])


class ClaimTests(_Tests):
    """What a client says of itself, and whether it is believed (HF4, HF5)."""

    _CLAIMS = (
        b"X-Forwarded-For: 1.1.1.1",
        b"x-forwarded-proto: https",
        b"X-Forwarded-Host: evil",
        b"X-Forwarded-Port: 1",
        b"Forwarded: for=1.1.1.1",
        b"X-Request-Id: mine",
    )

    def test_anUntrustedPeerIsNotBelieved(self) -> None:
        """The backend sees the peer's address and the true scheme, host and port only."""
        self.assertEqual(self.sent(*self._CLAIMS), [_HOST, *_OURS])
        for line in self._CLAIMS:
            self.assertEqual(self.sent(line, line.lower()), [_HOST, *_OURS], line)

    def test_aTrustedPeerIsBelieved(self) -> None:
        """Its chain is continued, the rest of what it says is kept."""
        lines = self.sent(*self._CLAIMS, b"X-Forwarded-For: 2.2.2.2", hop=TRUSTED_HOP)
        self.assertEqual(
            lines,
            [
                _HOST,
                b"Forwarded: for=1.1.1.1",
                b"X-Forwarded-Host: evil",
                b"X-Forwarded-For: 1.1.1.1, 2.2.2.2, 10.0.0.1",
                b"X-Forwarded-Proto: https",
                b"X-Forwarded-Port: 1",
                b"Via: 1.1 txproxy",
                b"X-Request-Id: id-1",
            ],
        )

    def test_aTrustedPeerMaySayNothing(self) -> None:
        """What it does not say is what we see."""
        ours = [b"X-Forwarded-For: 10.0.0.1" if line.startswith(b"X-Forwarded-For") else line for line in _OURS]
        self.assertEqual(self.sent(hop=TRUSTED_HOP), [_HOST, *ours])
        self.assertEqual(self.sent(b"X-Forwarded-For:", hop=TRUSTED_HOP), [_HOST, *ours])

    def test_viaNamesTheVersionThatWasReceived(self) -> None:
        """Via grows by our entry; the version is the client's (RFC 9110 section 7.6.3)."""
        for version, expected in ((b"1.0", b"Via: 1.0 txproxy"), (b"1.1", b"Via: 1.1 txproxy")):
            for lines in ((), (b"Connection: keep-alive",), (b"Connection: close",)):
                self.assertIn(expected, self.sent(*lines, line=b"GET / HTTP/" + version))
        self.assertEqual(self.sent(b"Via: 1.1 other"), [_HOST, b"Via: 1.1 other", *_OURS])

    def test_forwardedIsAddedIfAsked(self) -> None:
        """One element of RFC 7239 for our hop, behind what a trusted peer says."""
        rules = RequestRules(forwarded=True)
        for peer, element in (
            (b"192.0.2.1", b"for=192.0.2.1"),
            (b"2001:db8::1", b'for="[2001:db8::1]"'),
            (b"unix", b"for=_unix"),
        ):
            hop = make_hop(peer, False, b"https", b"443", b"p")
            lines = self.sent(b"Forwarded: for=evil", hop=hop, rules=rules)
            self.assertEqual(
                [line for line in lines if line.startswith(b"Forwarded")],
                [b"Forwarded: " + element + b';host="a.example";proto=https'],
            )
        lines = self.sent(b"Forwarded: for=first", hop=TRUSTED_HOP, rules=rules)
        self.assertEqual(
            [line for line in lines if line.startswith(b"Forwarded")],
            [b"Forwarded: for=first", b'Forwarded: for=10.0.0.1;host="a.example";proto=http'],
        )
        nameless = request_with(line=b"GET / HTTP/1.0", host=b"")
        self.assertIn(b"Forwarded: for=192.0.2.1;proto=http", lines_of(forwarded(nameless, rules=rules)))

    def test_aRequestIdIsTakenOverIfItIsPlain(self) -> None:
        """Ids that would need escaping, or are too long, are not passed on."""
        for value, taken in (
            (b"abc-123", True),
            (b"a" * 128, True),
            (b"Root=1-67891233-abcdef012345678912345678", True),
            (b"a:b/c+d==", True),
            (b"", False),
            (b"a" * 129, False),
            (b"a b", False),
            (b"a, b", False),
            (b"a\tb", False),
            (b'a"b', False),
            (b"caf\xe9", False),
        ):
            request = request_with(b"X-Request-Id: " + value)
            self.assertEqual(request_id_of(request), value if taken else None, value)
        self.assertIsNone(request_id_of(request_with()))
        self.assertIsNone(request_id_of(request_with(b"X-Request-Id: a", b"X-Request-Id: b")))

    def test_ourNameInViaIsCounted(self) -> None:
        """However it is spelled, and nobody else's; the tenth time is one too many."""
        for lines, count in (
            ((), 0),
            ((b"Via: 1.1 other",), 0),
            ((b"Via: 1.1 txproxy",), 1),
            ((b"Via: 1.0 TxProxy, 1.1 other, HTTP/1.1 txproxy (a comment)",), 2),
            ((b"Via: 1.1 txproxy", b"via: 1.1 txproxy:80, 1.1 xtxproxy, 1.1 txproxy2"), 1),
            ((b"Via: txproxy", b"Via: 1.1"), 0),
            ((b"Via: 1.1 txproxy",) * 9, LAST_VIA_ENTRIES),
        ):
            self.assertEqual(via_count(request_with(*lines), b"txproxy"), count, lines)


class HostTests(_Tests):
    """Which Host goes upstream (HF9, RFC 9112 section 3.2.2)."""

    def hosts(self, *lines: bytes, upstream_host: bytes | None = None, hop: Hop = HOP, **how: bytes) -> list[bytes]:
        request = request_with(*lines, **how)
        head = forwarded(request, hop, upstream_host)
        self.assertEqual(forwarded(request, hop, upstream_host, _NO_SHORT_CUT), head)
        judge_request(head)
        return [line for line in lines_of(head) if b"host:" in line.lower()]

    def test_keptWhereItStands(self) -> None:
        """The client's Host, byte for byte and in its place."""
        for value in (b"A.Example:80", b"a.example:", b"[::1]:8080"):
            found = self.hosts(host=b"hOst: " + value)
            self.assertEqual(found, [b"hOst: " + value, b"X-Forwarded-Host: " + value])
        lines = lines_of(forwarded(request_of(b"GET / HTTP/1.1\r\nA: b\r\nHost: h\r\n\r\n")))
        self.assertEqual(lines[:2], [b"A: b", b"Host: h"])

    def test_replacedByTheBackendsOrALiteral(self) -> None:
        """Whatever the route says replaces it; X-Forwarded-Host holds the original."""
        self.assertEqual(
            self.hosts(upstream_host=b"b.example:8080"), [b"Host: b.example:8080", b"X-Forwarded-Host: a.example"]
        )

    def test_theTargetsAuthorityReplacesIt(self) -> None:
        """Absolute-form: its authority is the host, whatever Host and Connection say."""
        for lines in ((), (b"Connection: keep-alive",), (b"Connection: close",), (b"Connection: Host",), (b"A_B: c",)):
            for hop in (HOP, TRUSTED_HOP):
                for version in (b"1.0", b"1.1"):
                    found = self.hosts(*lines, line=b"GET http://b:1/ HTTP/" + version, hop=hop)
                    self.assertEqual(found, [b"Host: b:1", b"X-Forwarded-Host: b:1"], lines)
        found = self.hosts(line=b"GET http://b:1/ HTTP/1.1", upstream_host=b"c")
        self.assertEqual(found, [b"Host: c", b"X-Forwarded-Host: b:1"])
        found = self.hosts(line=b"GET http://b:1/ HTTP/1.0", host=b"")
        self.assertEqual(found, [b"Host: b:1", b"X-Forwarded-Host: b:1"])

    def test_thereIsAlwaysOne(self) -> None:
        """An HTTP/1.0 client needs none, but HTTP/1.1 upstream does (RFC 9112 section 3.2)."""
        for lines in ((), (b"Connection: keep-alive",), (b"Content-Length: 0",)):
            for hop in (HOP, TRUSTED_HOP):
                found = self.hosts(*lines, line=b"GET / HTTP/1.0", host=b"", hop=hop)
                self.assertEqual([line.partition(b":")[0] for line in found], [b"Host"])
                found = self.hosts(*lines, line=b"GET / HTTP/1.0", host=b"", upstream_host=b"b", hop=hop)
                self.assertEqual(found, [b"Host: b"])


class RuleTests(_Tests):
    """What a route changes."""

    def test_underscoresAreDroppedUnlessAllowed(self) -> None:
        """A CGI gateway cannot tell Content_Length from Content-Length."""
        lines = [b"Content_Length: 5", b"X_Forwarded_For: 1.1.1.1", b"_: x", b"X-A: 1"]
        self.assertEqual(self.sent(*lines), [_HOST, b"X-A: 1", *_OURS])
        for hop in (HOP, TRUSTED_HOP):
            self.assertNotIn(b"content_length", self.names(*lines, hop=hop))
        allowed = self.sent(*lines, rules=RequestRules(allow_underscores=True))
        self.assertEqual(allowed, [_HOST, *lines, *_OURS])

    def test_rulesAreAppliedInOrder(self) -> None:
        """Removed first, then set, then added; a field that is set replaces all of its name."""
        rules = RequestRules(
            remove=frozenset((b"x-gone", b"x-both")),
            set=((b"X-Set", b"new"), (b"X-Both", b"set")),
            add=((b"X-Add", b"more"), (b"X-Set", b"added"), (b"X-Gone", b"again")),
        )
        lines = self.sent(
            b"x-GONE: 1", b"X-Set: old", b"x-set: old", b"X-Add: first", b"X-Both: 1", b"X-Kept: 1", rules=rules
        )
        self.assertEqual(
            lines,
            [
                _HOST,
                b"X-Add: first",
                b"X-Kept: 1",
                *_OURS,
                b"X-Set: new",
                b"X-Both: set",
                b"X-Add: more",
                b"X-Set: added",
                b"X-Gone: again",
            ],
        )

    def test_rulesSeeOurFieldsToo(self) -> None:
        """A route may keep our own fields from its backends, or say something else in them."""
        rules = RequestRules(remove=frozenset((b"via",)), set=((b"x-forwarded-for", b"hidden"),))
        lines = self.sent(rules=rules)
        expected = [line for line in _OURS if not line.startswith((b"Via", b"X-Forwarded-For"))]
        self.assertEqual(lines, [_HOST, *expected, b"x-forwarded-for: hidden"])

    def test_rulesThatChangeNoFieldAreNone(self) -> None:
        """Only fields that are set, added or removed are changes of fields."""
        self.assertFalse(RequestRules(forwarded=True, allow_underscores=True).changes_fields)
        for rules in (RequestRules(remove=frozenset((b"a",))), RequestRules(set=((b"a", b"b"),)), RequestRules(add=((b"a", b""),))):
            self.assertTrue(rules.changes_fields)

    def test_maxForwardsIsCountedDown(self) -> None:
        """For TRACE and OPTIONS, if it is a number (RFC 9110 section 7.6.2)."""
        for method, value, expected in (
            (b"TRACE", b"5", b"4"),
            (b"OPTIONS", b"1", b"0"),
            (b"OPTIONS", b"010", b"9"),
            (b"OPTIONS", b"0", b"0"),
            (b"OPTIONS", b"x", b"x"),
            (b"OPTIONS", b"-1", b"-1"),
            (b"GET", b"5", b"5"),
        ):
            lines = self.sent(b"max-FORWARDS: " + value, line=method + b" / HTTP/1.1")
            self.assertIn(b"max-FORWARDS: " + expected, lines, (method, value))


class AnyRequestTests(SynchronousTestCase):
    """What holds for every request."""

    @QUICK
    @given(
        requests,
        st.lists(padding, max_size=3),
        st.sampled_from([None, b"b.example:81"]),
        st.booleans(),
        st.lists(st.tuples(plain_names, values), max_size=2),
        st.sampled_from([(), (b"Connection: keep-alive",), (b"Connection: close, X-Gone", b"X-Gone: 1"), (b"TE: trailers",)]),
    )
    def test_itsMeaningArrives(
        self,
        meant: Facts,
        pads: list[bytes],
        host: bytes | None,
        trusted: bool,
        added: list[Field],
        hop_by_hop: tuple[bytes, ...],
    ) -> None:
        """What we write has no illegal byte, one Host and one length, and means what was received."""
        raw = meant.written(pads).removesuffix(b"\r\n") + b"".join(line + b"\r\n" for line in hop_by_hop) + b"\r\n"
        request = request_of(raw)
        rules = RequestRules(add=tuple(added)) if added else None
        hop = TRUSTED_HOP if trusted else HOP
        head = forwarded(request, hop, host) if rules is None else forwarded(request, hop, host, rules)
        judge_request(head)
        again = request_of(head)
        self.assertEqual(self.meaning(again), self.meaning(request))
        self.assertEqual(again.host, meant.host if host is None else host)
        self.assertTrue(again.keep_alive)
        self.assertNotIn(b"x-gone", [name.lower() for name, _ in again.fields])
        gone = {b"x-gone"} if b"X-Gone: 1" in hop_by_hop else set()
        kept = [field for field in meant.fields if field[0].lower() not in gone]
        position = [name.lower() for name, _ in again.fields].index(b"host") + 1
        self.assertEqual(again.fields[position : position + len(kept)], kept)

    def meaning(self, request: RequestHead) -> tuple[object, ...]:
        return request.method, request.target, request.content_length, request.chunked, request.path, request.suspicious

    @QUICK
    @given(fields, fields)
    def test_bothWaysOfWritingAgree(self, first: list[Field], second: list[Field]) -> None:
        """The short way, for requests that need little, writes what the long one writes."""
        lines = [name + b": " + value for name, value in [*first, (b"Content-Length", b"3"), *second]]
        request = request_with(*lines)
        self.assertEqual(forwarded(request), forwarded(request, rules=_NO_SHORT_CUT))
