"""What becomes of a request's head on its way to a backend."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txproxy.test.wire.forwarding_case import HOST, NO_SHORT_CUT, OURS, ForwardingCase
from txproxy.test.wire.judging import judge_request
from txproxy.test.wire.making import QUICK, Facts, fields, padding, plain_names, requests, values
from txproxy.test.wire.reading import HOP, TRUSTED_HOP, forwarded, request_of, request_with
from txproxy.wire.fields import Field
from txproxy.wire.forwarding import (
    RequestRules,
    write_request_head,
)
from txproxy.wire.messages import RequestHead


class EndToEndTests(ForwardingCase):
    """What is kept."""

    def test_orderRepetitionCaseAndBytesAreKept(self) -> None:
        """Fields go on as they came, and ours follow (HF12)."""
        lines = [b"coOkie: a=b", b"X-A: 1", b"Cookie: c=d", b"x-a: caf\xe9\x85", b"Empty: ", b"Date: x", b"Trailer: T"]
        self.assertEqual(self.sent(*lines), [HOST, *lines, *OURS])

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
        self.assertEqual(lines, [HOST, *OURS, b"Transfer-Encoding: chunked"])

    def test_expectationsGoOnFromHttp11Only(self) -> None:
        """Expect is end to end; of an HTTP/1.0 client it is dropped (RFC 9110 section 10.1.1)."""
        lines = [b"Expect: 100-continue", b"Content-Length: 5"]
        self.assertIn(b"expect", self.names(*lines))
        self.assertNotIn(b"expect", self.names(*lines, line=b"POST / HTTP/1.0"))


class HopByHopTests(ForwardingCase):
    """What ends here (RFC 9110 section 7.6.1, HF3)."""

    def test_hopByHopFieldsAreDropped(self) -> None:
        """None of them reaches a backend, in any case, whether Connection names them or not."""
        dropped = (
            b"Connection: close, X-Foo", b"X-Foo: 1", b"x-FOO: 2", b"Keep-Alive: timeout=5",
            b"Proxy-Connection: keep-alive",
            b"Proxy-Authorization: Basic x", b"Proxy-Authenticate: Basic", b"Proxy-Authentication-Info: x", b"TE: gzip",
            b"Upgrade: h2c",
        )  # fmt: skip
        self.assertEqual(self.sent(*dropped, b"X-Bar: 1"), [HOST, b"X-Bar: 1", *OURS])
        self.assertEqual(self.sent(*[line.upper() for line in dropped], b"X-Bar: 1"), [HOST, b"X-Bar: 1", *OURS])
        for line in dropped[3:]:
            self.assertEqual(self.sent(line), [HOST, *OURS], line)

    def test_keepAliveOfBrowsers(self) -> None:
        """Connection: keep-alive is dropped and nothing else changes."""
        for value in (b"keep-alive", b"Keep-Alive", b"keep-alive, ", b""):
            self.assertEqual(self.sent(b"A: b", b"Connection: " + value, b"C: d"), [HOST, b"A: b", b"C: d", *OURS])
        self.assertEqual(self.sent(b"Connection: keep-alive", b"Connection: keep-alive"), [HOST, *OURS])

    def test_closeIsAnOptionAndMayBeAField(self) -> None:
        """Connection: close is dropped; a field of that name only if Connection names it, as any other."""
        for value in (b"close", b"Close", b"close, "):
            self.assertEqual(self.sent(b"A: b", b"Connection: " + value, b"C: d"), [HOST, b"A: b", b"C: d", *OURS])
            self.assertEqual(self.sent(b"Connection: " + value, b"Close: x", b"A: b"), [HOST, b"A: b", *OURS])
        self.assertEqual(self.sent(b"Connection: keep-alive", b"Keep-Alive: x", b"A: b"), [HOST, b"A: b", *OURS])
        self.assertEqual(self.sent(b"Close: x", b"A: b"), [HOST, b"Close: x", b"A: b", *OURS])

    def test_severalConnectionFieldsAreOneList(self) -> None:
        """Every name in every Connection field counts."""
        lines = [b"Connection: a", b"A: 1", b"B: 2", b"C: 3", b"connection: B ,\t,c"]
        self.assertEqual(self.sent(*lines), [HOST, *OURS])

    def test_someFieldsCannotBeNamedAway(self) -> None:
        """Framing fields, Host and what we set stay, whatever Connection names."""
        for name in (b"Host", b"Via", b"X-Forwarded-For", b"X-Forwarded-Proto", b"X-Forwarded-Host", b"X-Request-Id"):
            self.assertEqual(self.sent(b"Connection: " + name), [HOST, *OURS], name)
        lines = self.sent(b"Connection: content-length", b"Content-Length: 5", line=b"POST / HTTP/1.1")
        self.assertEqual(lines, [HOST, b"Content-Length: 5", *OURS])
        lines = self.sent(b"Connection: transfer-encoding", b"Transfer-Encoding: chunked", line=b"POST / HTTP/1.1")
        self.assertEqual(lines, [HOST, *OURS, b"Transfer-Encoding: chunked"])
        lines = self.sent(b"Connection: via, date", b"Via: 1.1 x", b"Date: y")
        self.assertEqual(lines, [HOST, b"Via: 1.1 x", b"Date: y", *OURS])

    def test_trailersMayBeAskedFor(self) -> None:
        """Of TE only `trailers` goes on, with the Connection field that it needs (RFC 9110 section 10.1.4)."""
        for value in (b"trailers", b"Trailers", b"gzip, trailers", b"trailers, deflate;q=0.5"):
            self.assertEqual(self.sent(b"TE: " + value), [HOST, *OURS, b"TE: trailers", b"Connection: TE"], value)
            self.assertEqual(self.sent(b"TE: " + value, b"Connection: TE")[-2:], [b"TE: trailers", b"Connection: TE"])
        for value in (b"gzip", b"", b"trailer", b"xtrailers", b"chunked"):
            self.assertEqual(self.sent(b"TE: " + value), [HOST, *OURS], value)

    def test_noUpgradeGoesOn(self) -> None:
        """Neither a protocol nor what comes with it (HF: h2c is never passed on)."""
        lines = [b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: x"]
        self.assertEqual(self.sent(*lines), [HOST, *OURS])


class RuleTests(ForwardingCase):
    """What a route changes."""

    def test_underscoresAreDroppedUnlessAllowed(self) -> None:
        """A CGI gateway cannot tell Content_Length from Content-Length."""
        lines = [b"Content_Length: 5", b"X_Forwarded_For: 1.1.1.1", b"_: x", b"X-A: 1"]
        self.assertEqual(self.sent(*lines), [HOST, b"X-A: 1", *OURS])
        for hop in (HOP, TRUSTED_HOP):
            self.assertNotIn(b"content_length", self.names(*lines, hop=hop))
        allowed = self.sent(*lines, rules=RequestRules(allow_underscores=True))
        self.assertEqual(allowed, [HOST, b"Content_Length: 5", b"_: x", b"X-A: 1", *OURS])

    def test_claimsInDisguiseAreAlwaysDropped(self) -> None:
        """A route that allows underscores does not let a client speak for us to what is behind a CGI gateway."""
        lines = [b"X_Client_Cert_Verify: SUCCESS", b"x-forwarded_for: 1.1.1.1", b"X.Request.Id: x", b"X_A: 1"]
        for hop in (HOP, TRUSTED_HOP):
            kept = self.names(*lines, hop=hop, rules=RequestRules(allow_underscores=True))
            self.assertEqual(kept[:2], [b"host", b"x_a"])
            self.assertEqual(kept[2], b"x-forwarded-host")
            self.assertEqual(self.names(*lines, hop=hop)[:2], [b"host", b"x-forwarded-host"])

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
                HOST,
                b"X-Add: first",
                b"X-Kept: 1",
                *OURS,
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
        expected = [line for line in OURS if not line.startswith((b"Via", b"X-Forwarded-For"))]
        self.assertEqual(lines, [HOST, *expected, b"x-forwarded-for: hidden"])

    def test_rulesThatChangeNoFieldAreNone(self) -> None:
        """Only fields that are set, added or removed are changes of fields."""
        self.assertFalse(RequestRules(forwarded=True, allow_underscores=True).changes_fields)
        for rules in (
            RequestRules(remove=frozenset((b"a",))),
            RequestRules(set=((b"a", b"b"),)),
            RequestRules(add=((b"a", b""),)),
        ):
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
        st.sampled_from(
            [(), (b"Connection: keep-alive",), (b"Connection: close, X-Gone", b"X-Gone: 1"), (b"TE: trailers",)]
        ),
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
        gone = {b"close", b"x-gone"} if b"X-Gone: 1" in hop_by_hop else set()
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
        self.assertEqual(forwarded(request), forwarded(request, rules=NO_SHORT_CUT))
