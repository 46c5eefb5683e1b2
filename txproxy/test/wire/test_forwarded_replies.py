"""What becomes of a reply's head, and of trailers, on their way to the other side."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txproxy.test.wire.judging import judge_reply
from txproxy.test.wire.making import QUICK, fields
from txproxy.test.wire.reading import facts, lines_of, reply_of, reply_with
from txproxy.wire.fields import Field
from txproxy.wire.forwarding import (
    NO_REPLY_RULES,
    ReplyRules,
    apply_rules,
    forwarded_trailers,
    without,
    write_last_chunk,
    write_reply_head,
)

_ADDED = b"\r\nVia: 1.1 txproxy\r\nX-Request-Id: id-1\r\n\r\n"
_OURS = [b"Via: 1.1 txproxy", b"X-Request-Id: id-1"]
_NO_SHORT_CUT = ReplyRules(remove=frozenset((b"x-not-there",)))


class ReplyTests(SynchronousTestCase):
    """A reply's head, as a client gets it."""

    def sent(
        self,
        *lines: bytes,
        line: bytes = b"HTTP/1.1 200 OK",
        method: bytes = b"GET",
        rules: ReplyRules = NO_REPLY_RULES,
    ) -> list[bytes]:
        """Return the lines that go downstream, status line included."""
        reply = reply_with(*lines, line=line, method=method)
        head = write_reply_head(reply, _ADDED, rules)
        judge_reply(head)
        if rules is NO_REPLY_RULES:
            self.assertEqual(write_reply_head(reply, _ADDED, _NO_SHORT_CUT), head)
            self.assertEqual(write_reply_head(reply, _ADDED), head)
        return [head.partition(b"\r\n")[0], *lines_of(head)]

    def test_endToEndFieldsAreKept(self) -> None:
        """Order, repetition, case and bytes are kept; Set-Cookie is never joined (HF12)."""
        lines = [
            b"Content-Length: 5", b"set-cookie: a", b"Server: x_y", b"Set-Cookie: b", b"X_Under: 1", b"X: caf\xe9",
            b"E: ",
            b"Date: today", b"Via: 1.1 b", b"Trailer: X-Sum", b"WWW-Authenticate: Basic",
        ]  # fmt: skip
        self.assertEqual(self.sent(*lines), [b"HTTP/1.1 200 OK", *lines, *_OURS])

    def test_theStatusLineIsOurs(self) -> None:
        """Status and reason are kept; the version is ours (RFC 9110 section 6.2)."""
        for line, expected in (
            (b"HTTP/1.0 404 Not here", b"HTTP/1.1 404 Not here"),
            (b"HTTP/1.1 299 caf\xe9", b"HTTP/1.1 299 caf\xe9"),
            (b"HTTP/1.9 200", b"HTTP/1.1 200 "),
        ):
            self.assertEqual(self.sent(line=line), [expected, *_OURS])

    def test_hopByHopFieldsAreDropped(self) -> None:
        """Also those that the backend's Connection names (HF3)."""
        dropped = (
            b"Connection: close, X-Foo, date", b"X-Foo: 1", b"Keep-Alive: timeout=5", b"Proxy-Connection: close",
            b"Proxy-Authenticate: Basic", b"Proxy-Authentication-Info: x", b"Proxy-Authorization: x", b"TE: x",
            b"Upgrade: h2c",
            b"Transfer-Encoding: chunked", b"X-Request-Id: theirs",
        )  # fmt: skip
        self.assertEqual(self.sent(*dropped, b"Date: d", b"A: b"), [b"HTTP/1.1 200 OK", b"Date: d", b"A: b", *_OURS])
        for line in dropped[2:]:
            self.assertEqual(self.sent(line), [b"HTTP/1.1 200 OK", *_OURS], line)

    def test_theLengthCannotBeNamedAway(self) -> None:
        """Whoever frames by it must see it."""
        lines = self.sent(b"Connection: Content-Length", b"Content-Length: 5")
        self.assertEqual(lines, [b"HTTP/1.1 200 OK", b"Content-Length: 5", *_OURS])

    def test_lengthsAreCanonicalAndWhereTheyMayBe(self) -> None:
        """Zeros in front are dropped; 1xx and 204 have no length, HEAD and 304 may have one (RFC 9110 section 8.6)."""
        self.assertEqual(self.sent(b"content-length: 0005")[1], b"content-length: 5")
        self.assertEqual(self.sent(b"content-length: 00")[1], b"content-length: 0")
        for line in (b"HTTP/1.1 204 No Content", b"HTTP/1.1 103 Early Hints"):
            self.assertEqual(self.sent(b"Content-Length: 5", line=line), [line, *_OURS])
        self.assertIn(b"Content-Length: 5", self.sent(b"Content-Length: 5", method=b"HEAD"))
        self.assertIn(b"Content-Length: 5", self.sent(b"Content-Length: 5", line=b"HTTP/1.1 304 Not Modified"))

    def test_rulesAreAppliedInOrderAfterOurs(self) -> None:
        """Removed first, then set, then added; our own fields are seen too, so that none is doubled."""
        rules = ReplyRules(
            remove=frozenset((b"server", b"x-request-id")),
            set=((b"X-Set", b"new"), (b"via", b"hidden")),
            add=((b"X-Add", b"more"), (b"Server", b"ours")),
        )
        lines = self.sent(b"Server: x", b"x-SET: old", b"X-Add: first", rules=rules)
        self.assertEqual(
            lines,
            [
                b"HTTP/1.1 200 OK", b"X-Add: first", b"X-Set: new", b"via: hidden", b"X-Add: more", b"Server: ours",
            ],
        )  # fmt: skip
        everything = ReplyRules(remove=frozenset((b"via", b"x-request-id")))
        self.assertEqual(write_reply_head(reply_with(), _ADDED, everything), b"HTTP/1.1 200 OK\r\n\r\n")

    def test_without(self) -> None:
        """All fields of a name are left out, in any case, of a copy."""
        reply = reply_with(b"Strict-Transport-Security: a", b"B: c", b"STRICT-transport-security: d", b"Date: e")
        other = without(reply, b"strict-transport-security")
        self.assertEqual((other.fields, other.known), ([(b"B", b"c"), (b"Date", b"e")], {b"date": b"e"}))
        self.assertEqual(len(reply.fields), 4)
        self.assertIn(b"strict-transport-security", reply.known)

    def test_theModelIsNotChanged(self) -> None:
        """Others may hold it too."""
        reply = reply_with(b"Connection: close, a", b"A: 1", b"Content-Length: 05")
        before = {name: repr(value) for name, value in facts(reply).items()}
        for rules in (NO_REPLY_RULES, ReplyRules(remove=frozenset((b"a",)), add=((b"B", b"c"),))):
            write_reply_head(reply, _ADDED, rules)
        self.assertEqual({name: repr(value) for name, value in facts(reply).items()}, before)

    def test_interimRepliesNeedNothingOfOurs(self) -> None:
        """With nothing to add a head still ends."""
        reply = reply_with(b"Link: </a>", line=b"HTTP/1.1 103 Early Hints")
        self.assertEqual(write_reply_head(reply, b"\r\n\r\n"), b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
        reply = reply_with(line=b"HTTP/1.1 100 Continue")
        for rules in (NO_REPLY_RULES, _NO_SHORT_CUT):
            self.assertEqual(write_reply_head(reply, b"\r\n\r\n", rules), b"HTTP/1.1 100 Continue\r\n\r\n")

    @QUICK
    @given(
        st.integers(200, 999), fields, st.sampled_from([(), (b"Content-Length: 7",), (b"Transfer-Encoding: chunked",)])
    )
    def test_itsMeaningArrives(self, status: int, others: list[Field], framing: tuple[bytes, ...]) -> None:
        """What we write is understood as it was received."""
        reply = reply_with(*[name + b": " + value for name, value in others], *framing, line=b"HTTP/1.1 %d X" % status)
        added = b"\r\nTransfer-Encoding: chunked" + _ADDED if reply.chunked else _ADDED
        head = write_reply_head(reply, added)
        judge_reply(head)
        again = reply_of(head)
        self.assertEqual((again.status, again.reason, again.fields[: len(others)]), (status, b"X", others))
        self.assertEqual((again.content_length, again.chunked), (reply.content_length, reply.chunked))


class TrailerTests(SynchronousTestCase):
    """Trailer fields that may go on, and those that may not (RFC 9110 section 6.5.1)."""

    def test_fieldsThatFrameRouteOrAuthenticateAreDropped(self) -> None:
        """In any case; none of them is merged into a head by whoever comes next."""
        for name in (
            b"Content-Length", b"Transfer-Encoding", b"Host", b"Connection", b"TE", b"Trailer", b"Authorization",
            b"Cookie",
            b"Set-Cookie", b"Content-Type", b"Content-Encoding", b"Content-Range", b"Range", b"Expect", b"Max-Forwards",
            b"Cache-Control", b"Vary", b"Via", b"X-Forwarded-For", b"X-Request-Id", b"Upgrade", b"Keep-Alive",
            b"Forwarded",
            b"X-Client-Cert-Verify", b"X-Client-Cert-Subject", b"X_Client_Cert_Verify", b"X.Client.Cert.Verify",
            b"Proxy-Authorization", b"WWW-Authenticate", b"Content_Length", b"X_Forwarded_For", b"Date", b"Expires",
        ):  # fmt: skip
            for spelled in (name, name.upper(), name.lower()):
                self.assertEqual(forwarded_trailers([(spelled, b"x"), (b"X-Sum", b"1")]), [(b"X-Sum", b"1")], spelled)

    def test_otherFieldsGoOnInOrder(self) -> None:
        """As they came, repeated or not."""
        trailers = [
            (b"grpc-status", b"0"),
            (b"X-Sum", b"1"),
            (b"x-sum", b"2"),
            (b"Server-Timing", b"x"),
            (b"ETag", b'"x"'),
        ]
        self.assertEqual(forwarded_trailers(trailers), trailers)
        self.assertEqual(write_last_chunk([(b"A", b"b"), (b"Host", b"x"), (b"C", b"d")]), b"0\r\nA: b\r\nC: d\r\n\r\n")

    def test_withoutAnyTheBodyJustEnds(self) -> None:
        """None, or none that may go on, is the plain last chunk."""
        self.assertEqual(write_last_chunk([]), b"0\r\n\r\n")
        self.assertEqual(write_last_chunk([(b"Host", b"x")]), b"0\r\n\r\n")


class ApplyRulesTests(SynchronousTestCase):
    """Remove, set, add."""

    def test_setReplacesAllOfAName(self) -> None:
        """A field that is set is there once; one that is added stands beside others."""
        before = [(b"A", b"1"), (b"B", b"2"), (b"a", b"3"), (b"C", b"4")]
        self.assertEqual(apply_rules(before, (), (), ()), before)
        self.assertEqual(apply_rules(before, {b"b"}, ((b"a", b"5"),), ((b"C", b"6"),)), [
            (b"C", b"4"), (b"a", b"5"), (b"C", b"6"),
        ])  # fmt: skip
        self.assertEqual(before, [(b"A", b"1"), (b"B", b"2"), (b"a", b"3"), (b"C", b"4")])
