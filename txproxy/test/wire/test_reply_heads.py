"""Heads of replies: what is understood, and how long the body is that follows."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txproxy.errors import BadReply
from txproxy.test.wire.making import QUICK, fields, noise, pieces_of
from txproxy.test.wire.reading import cut, facts, read_reply, reply_of, reply_with, single_bytes
from txproxy.wire.fields import Field
from txproxy.wire.limits import REPLY_LIMITS

_STATUS_LINES = (
    (b"HTTP/1.1 200 OK", (200, b"OK", 1)),
    (b"HTTP/1.1 200 ", (200, b"", 1)),
    (b"HTTP/1.1 200", (200, b"", 1)),
    (b"HTTP/1.0 404 Not Found", (404, b"Not Found", 0)),
    (b"HTTP/1.9 200 OK", (200, b"OK", 1)),
    (b"HTTP/1.1 599 caf\xe9 \t!", (599, b"caf\xe9 \t!", 1)),
    (b"HTTP/1.1 999 x", (999, b"x", 1)),
    (b"HTTP/1.1 100 Continue", (100, b"Continue", 1)),
)

_BAD_STATUS_LINES = (
    b"", b"200 OK", b"HTTP/1.1", b"HTTP/1.1 ", b"HTTP/1.1 20 OK", b"HTTP/1.1 2000 OK", b"HTTP/1.1 099 OK",
    b"HTTP/1.1 000 ",
    b"HTTP/1.1  200 OK", b"HTTP/1.1\t200 OK", b"HTTP/1.1 200OK", b"HTTP/1.1 200\tOK", b"http/1.1 200 OK",
    b"HTTP/2.0 200 OK",
    b"HTTP/0.9 200 OK", b"HTTP/1.11 200 OK", b"HTTP/1 200 OK", b"HTTPS/1.1 200 OK", b" HTTP/1.1 200 OK", b"ICY 200 OK",
    b"HTTP/1.1 +20 OK", b"HTTP/1.1 2\xb20 OK", b"HTTP/1.1 200 \x00", b"HTTP/1.1 200 a\x7fb", b"HTTP/1.1 200 a\nb",
    b"GET / HTTP/1.1",
)  # fmt: skip

_CL, _TE = b"Content-Length: 5", b"Transfer-Encoding: chunked"

# Method, status line, field lines; then content_length, chunked, until_close, keep_alive.
_FRAMINGS = (
    (b"GET", b"HTTP/1.1 200 OK", (_CL,), (5, False, False, True)),
    (b"GET", b"HTTP/1.1 200 OK", (b"Content-Length: 0",), (0, False, False, True)),
    (b"GET", b"HTTP/1.1 200 OK", (b"Content-Length: 005",), (5, False, False, True)),
    (b"GET", b"HTTP/1.1 200 OK", (_TE,), (None, True, False, True)),
    (b"GET", b"HTTP/1.1 200 OK", (b"transfer-encoding: Chunked\t",), (None, True, False, True)),
    (b"GET", b"HTTP/1.1 200 OK", (), (None, False, True, False)),
    (b"GET", b"HTTP/1.1 200 OK", (b"Connection: keep-alive",), (None, False, True, False)),
    (b"GET", b"HTTP/1.1 200 OK", (_CL, b"Connection: close"), (5, False, False, False)),
    (b"GET", b"HTTP/1.1 200 OK", (_CL, b"Connection: x, CLOSE"), (5, False, False, False)),
    (b"GET", b"HTTP/1.0 200 OK", (_CL,), (5, False, False, False)),
    (b"GET", b"HTTP/1.0 200 OK", (_CL, b"Connection: keep-alive"), (5, False, False, True)),
    (b"GET", b"HTTP/1.0 200 OK", (_CL, b"Connection: x"), (5, False, False, False)),
    (b"GET", b"HTTP/1.0 200 OK", (), (None, False, True, False)),
    (b"HEAD", b"HTTP/1.1 200 OK", (_CL,), (0, False, False, True)),
    (b"HEAD", b"HTTP/1.1 200 OK", (_TE,), (0, False, False, True)),
    (b"HEAD", b"HTTP/1.1 200 OK", (), (0, False, False, True)),
    (b"head", b"HTTP/1.1 200 OK", (_CL,), (5, False, False, True)),
    (b"GET", b"HTTP/1.1 204 No Content", (), (0, False, False, True)),
    (b"GET", b"HTTP/1.1 204 No Content", (_CL,), (0, False, False, True)),
    (b"GET", b"HTTP/1.1 204 No Content", (_TE,), (0, False, False, True)),
    (b"GET", b"HTTP/1.1 304 Not Modified", (_CL,), (0, False, False, True)),
    (b"GET", b"HTTP/1.1 304 Not Modified", (), (0, False, False, True)),
    (b"POST", b"HTTP/1.1 100 Continue", (), (0, False, False, True)),
    (b"GET", b"HTTP/1.1 103 Early Hints", (b"Link: </a>",), (0, False, False, True)),
    (b"GET", b"HTTP/1.1 205 Reset Content", (b"Content-Length: 0",), (0, False, False, True)),
    (b"GET", b"HTTP/1.1 500 Oops", (_CL,), (5, False, False, True)),
)

_BAD_FIELDS = (
    (_CL, _TE), (_TE, _CL), (_CL, _CL), (b"Content-Length: 5, 5",), (b"Content-Length:",), (b"Content-Length: -1",),
    (b"Content-Length: 5 5",), (b"Content-Length: 0x5",), (b"Content-Length: 1" + b"0" * 18,), (_TE, _TE),
    (b"Transfer-Encoding: gzip, chunked",), (b"Transfer-Encoding: gzip",), (b"Transfer-Encoding:",),
    (b"Transfer-Encoding: chunked, identity",), (b"Transfer-Encoding: xchunked",), (b"A : b",), (b"A: b", b" c"),
    (b"A",),
    (b"A: \x00",), (b"Host: a", b"Host: b"),
)  # fmt: skip


class StatusLineTests(SynchronousTestCase):
    """Version, three digits, a reason (RFC 9112 section 4)."""

    def test_statusLinesAreUnderstood(self) -> None:
        """The reason may be missing and is kept byte for byte."""
        for line, expected in _STATUS_LINES:
            reply = reply_with(line=line)
            self.assertEqual((reply.status, reply.reason, reply.minor), expected, line)

    def test_anythingElseIsNoReply(self) -> None:
        """Not nearly HTTP, not HTTP/0.9, not a request (D3)."""
        for line in _BAD_STATUS_LINES:
            self.assertRaises(BadReply, reply_with, line=line)


class ReplyHeadTests(SynchronousTestCase):
    """A head is understood in one way, or refused as the backend's fault."""

    def test_lengthAndPersistence(self) -> None:
        """Length by request method, status and fields, in the order of RFC 9112 section 6.3."""
        for method, line, lines, expected in _FRAMINGS:
            reply = reply_with(*lines, line=line, method=method)
            found = (reply.content_length, reply.chunked, reply.until_close, reply.keep_alive)
            self.assertEqual(found, expected, (method, line, lines))

    def test_ambiguousFieldsAreRefused(self) -> None:
        """Two readings of a length are one too many, also where no body can follow (R13)."""
        for lines in _BAD_FIELDS:
            for method, line in (
                (b"GET", b"HTTP/1.1 200 OK"),
                (b"HEAD", b"HTTP/1.1 200 OK"),
                (b"GET", b"HTTP/1.1 204 X"),
            ):
                with self.assertRaises(BadReply, msg=lines):
                    reply_with(*lines, line=line, method=method)
        self.assertRaises(BadReply, reply_with, _TE, line=b"HTTP/1.0 200 OK")

    def test_limitsAreWiderThanForRequests(self) -> None:
        """Large cookies pass, a head without bounds does not."""
        passes = b"Set-Cookie: ".ljust(REPLY_LIMITS.field_bytes, b"y")
        self.assertEqual(len(reply_with(passes).fields), 1)
        self.assertEqual(len(reply_with(*[b"A: b"] * REPLY_LIMITS.fields).fields), REPLY_LIMITS.fields)
        self.assertRaises(BadReply, reply_with, passes + b"y")
        self.assertRaises(BadReply, reply_with, *[b"A: b"] * (REPLY_LIMITS.fields + 1))
        self.assertRaises(BadReply, reply_with, *[b"A: ".ljust(20_000, b"b")] * 4)
        self.assertRaises(BadReply, reply_with, line=b"HTTP/1.1 200 " + b"y" * 8192)

    def test_setCookiesAreNeverJoined(self) -> None:
        """Each comes as a field of its own, in order (HF12)."""
        reply = reply_with(b"Set-Cookie: a", b"Content-Length: 0", b"Set-Cookie: b")
        self.assertEqual(reply.fields, [(b"Set-Cookie", b"a"), (b"Content-Length", b"0"), (b"Set-Cookie", b"b")])

    def test_aCopyIsOnesOwn(self) -> None:
        """A copy says the same, and what is done to it does not show in the original."""
        reply = reply_with(_CL, b"Connection: close", b"A: b")
        copy = reply.copy()
        self.assertEqual(facts(copy), facts(reply))
        before = facts(reply_with(_CL, b"Connection: close", b"A: b"))
        copy.fields.append((b"X", b"y"))
        copy.known.clear()
        copy.status = 500
        self.assertEqual(facts(reply), before)
        self.assertEqual(repr(reply), "<ReplyHead 200 b'OK'>")

    def test_piecesMakeNoDifference(self) -> None:
        """A reply is the same in one piece, byte by byte, and cut anywhere; interim ones come before it (D4)."""
        hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
        for raw in (
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            hints + b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nA: b\r\n\r\n",
            hints + hints + b"HTTP/1.0 200 OK\r\n\r\nhello",
        ):
            interim, whole = read_reply([raw])
            self.assertTrue(whole.complete)
            self.assertEqual(whole.content, b"hello")
            self.assertEqual(interim, [103] * raw.count(b"103"))
            self.assertEqual(read_reply(single_bytes(raw)), (interim, whole))
            for at in range(1, len(raw)):
                self.assertEqual(read_reply(cut(raw, at)), (interim, whole), at)

    @QUICK
    @given(st.integers(100, 999), fields, st.sampled_from([(), (_CL,), (_TE,)]))
    def test_whatIsWrittenIsReadBack(self, status: int, others: list[Field], framing: tuple[bytes, ...]) -> None:
        """Any valid reply is understood as it was meant."""
        lines = [name + b": " + value for name, value in others]
        reply = reply_with(*lines, *framing, line=b"HTTP/1.1 %d Any reason" % status)
        self.assertEqual((reply.status, reply.reason), (status, b"Any reason"))
        self.assertEqual(reply.fields[: len(others)], others)
        self.assertEqual([reply.content_length is not None, reply.chunked, reply.until_close].count(True), 1)

    @QUICK
    @given(noise, st.sampled_from([b"GET", b"HEAD"]), st.data())
    def test_noiseIsUnderstoodOrRefused(self, raw: bytes, method: bytes, data: st.DataObject) -> None:
        """Nothing but the backend's error is raised, and pieces do not change what becomes of a reply."""
        raw = b"HTTP/1.1 200 OK\r\n" + raw if data.draw(st.booleans()) else raw
        interim, whole = read_reply([raw], method)
        found_interim, found = read_reply(data.draw(pieces_of(raw)), method)
        self.assertEqual(found_interim, interim)
        self.assertEqual((found.head, bool(found.body_error)), (whole.head, bool(whole.body_error)))
        if not whole.body_error and whole.head is not None:
            self.assertEqual(found, whole)
        self.assertIn(whole.head_error, (0, 502))
        try:
            reply = reply_of(raw.partition(b"\r\n\r\n")[0] + b"\r\n\r\n", method)
        except BadReply:
            return
        self.assertEqual([reply.content_length is not None, reply.chunked, reply.until_close].count(True), 1)
