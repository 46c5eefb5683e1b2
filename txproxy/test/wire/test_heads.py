"""Heads that come in pieces, and the limits that they are held against."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txproxy.errors import BadReply, BadRequest, HeadersTooLarge, ProxyError, UriTooLong
from txproxy.test.wire.making import QUICK, noise, pieces_of
from txproxy.test.wire.reading import cut, read_request, request_of, single_bytes, status_of
from txproxy.wire.heads import HeadGatherer, check_sizes, skip_empty_lines
from txproxy.wire.limits import HeadLimits

_HEAD = b"GET / HTTP/1.1\r\nHost: a\r\nX-Long: value\r\n\r\n"
_SMALL = HeadLimits(line_bytes=40, section_bytes=200, field_bytes=150, fields=4)


def _gathered(pieces: Iterable[bytes], limits: HeadLimits = _SMALL) -> tuple[bytes, bytes] | None | type[ProxyError]:
    """Return what comes out when the pieces are fed until there is something."""
    gatherer = HeadGatherer(limits)
    try:
        for piece in pieces:
            found = gatherer.feed(piece)
            if found is not None:
                return found
    except ProxyError as error:
        return type(error)
    return None


def _at_limits() -> dict[str, bytes]:
    """Return heads that are as large as the small limits allow, each in its own way."""
    line = b"GET /".ljust(_SMALL.line_bytes - 9, b"a") + b" HTTP/1.1"
    host = b"Host: a\r\n"
    field = b"X: ".ljust(_SMALL.field_bytes, b"y") + b"\r\n"
    rest = b"Z: ".ljust(_SMALL.section_bytes - len(host + field) - 2, b"z") + b"\r\n"
    short = b"GET / HTTP/1.1\r\n"
    return {
        "line": line + b"\r\n" + host + b"\r\n",
        "field": short + host + field + b"\r\n",
        "field first": short + field + host + b"\r\n",
        "section": short + host + field + rest + b"\r\n",
        "number": short + host + b"A: b\r\n" * 3 + b"\r\n",
        "line and section": line + b"\r\n" + host + field + rest + b"\r\n",
    }


class HeadGathererTests(SynchronousTestCase):
    """A head is the same however it comes (D4)."""

    def test_aHeadInPiecesIsTheSame(self) -> None:
        """Whole, byte by byte and cut anywhere, with and without bytes after it, one head comes out."""
        self.assertEqual(_gathered(single_bytes(_HEAD)), (_HEAD, b""))
        for more in (b"", b"x", b"\r\n", b"\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"\x00"):
            for at in range(len(_HEAD)):
                self.assertEqual(_gathered([*cut(_HEAD, at), more]), (_HEAD, b""), at)
                self.assertEqual(_gathered(cut(_HEAD + more, at)), (_HEAD, more), at)

    def test_nothingComesOutBeforeTheEnd(self) -> None:
        """Until the empty line is complete there is no head, and what has come is counted."""
        gatherer = HeadGatherer(_SMALL)
        self.assertIsNone(gatherer.feed(_HEAD[:-1]))
        self.assertEqual(len(gatherer), len(_HEAD) - 1)
        self.assertEqual(gatherer.feed(b"\n"), (_HEAD, b""))

    def test_lineEndsThatAreNotCrlfAreRefusedAtOnce(self) -> None:
        """A bare CR or LF is refused as soon as it can be told, not at the deadline (RFC 9112 section 2.2)."""
        for bad in (b"GET / HTTP/1.1\n", b"GET / HTTP/1.1\r\nHost: a\n", b"\n", b"GET /\rx", b"\r\nA: b\rc", b"a\r\r"):
            self.assertEqual(_gathered([bad]), BadRequest, bad)
            self.assertEqual(_gathered(single_bytes(bad)), BadRequest, bad)
            for at in range(1, len(bad)):
                self.assertEqual(_gathered(cut(bad, at)), BadRequest, (bad, at))

    def test_whatEqualsALimitPasses(self) -> None:
        """A head that is exactly as large as allowed passes, wherever it is cut."""
        for name, head in _at_limits().items():
            self.assertEqual(_gathered([head]), (head, b""), name)
            self.assertEqual(_gathered(single_bytes(head)), (head, b""), name)
            for at in range(1, len(head)):
                self.assertEqual(_gathered(cut(head, at)), (head, b""), (name, at))

    def test_oneByteMoreIsRefused(self) -> None:
        """One byte over a limit is refused, wherever it is cut: 414 for the line, 431 for fields (Q4)."""
        for name, mark, error in (
            ("line", b"/aa", UriTooLong),
            ("field", b"yy", HeadersTooLarge),
            ("field first", b"yy", HeadersTooLarge),
            ("section", b"zz", HeadersTooLarge),
        ):
            head = _at_limits()[name].replace(mark, mark + mark[-1:], 1)
            self.assertEqual(_gathered([head]), error, name)
            for at in range(1, len(head)):
                self.assertEqual(_gathered(cut(head, at)), error, (name, at))
            self.assertEqual(_gathered(single_bytes(head)), error, name)

    def test_oneFieldMoreIsRefused(self) -> None:
        """A field more than allowed is refused, wherever it is cut."""
        head = _at_limits()["number"].replace(b"A: b\r\n", b"A: b\r\nC: d\r\n", 1)
        self.assertEqual(_gathered([head]), HeadersTooLarge)
        for at in range(1, len(head)):
            self.assertEqual(_gathered(cut(head, at)), HeadersTooLarge, at)

    def test_aHeadWithoutEndIsRefusedWithinItsBound(self) -> None:
        """Neither an endless line nor endless fields are kept beyond what a head may hold."""
        for start, piece, error in (
            (b"GET /", b"a", UriTooLong),
            (b"GET / HTTP/1.1\r\nX: ", b"y", HeadersTooLarge),
            (b"GET / HTTP/1.1\r\n", b"A: b\r\n", HeadersTooLarge),
        ):
            gatherer = HeadGatherer(_SMALL)
            self.assertIsNone(gatherer.feed(start))
            with self.assertRaises(error):
                for _ in range(_SMALL.head_bytes):
                    gatherer.feed(piece)
            self.assertLessEqual(len(gatherer), _SMALL.head_bytes + len(piece))

    def test_errorsAreTheCallers(self) -> None:
        """A reply's head fails as the backend's fault."""
        for bad in (b"HTTP/1.1 200 OK\nX", b"HTTP/1.1 200 " + b"y" * 50, b"HTTP/1.1 200 OK\r\nX: " + b"y" * 300):
            gatherer = HeadGatherer(_SMALL, BadReply, BadReply, BadReply)
            self.assertRaises(BadReply, gatherer.feed, bad)

    def test_theFirstLineIsToldOnce(self) -> None:
        """The request line can be judged before the fields come; it is given out once."""
        gatherer = HeadGatherer(_SMALL)
        self.assertIsNone(gatherer.first_line())
        gatherer.feed(b"GET / HTTP/1.1\r")
        self.assertIsNone(gatherer.first_line())
        gatherer.feed(b"\nHost")
        self.assertEqual(gatherer.first_line(), b"GET / HTTP/1.1")
        self.assertIsNone(gatherer.first_line())

    @QUICK
    @given(st.data(), noise)
    def test_noiseIsRefusedOrNotAHeadWhateverItsPieces(self, data: st.DataObject, raw: bytes) -> None:
        """Whether a head comes out does not depend on the pieces, and nothing but our own errors is raised."""
        whole = _gathered([raw])
        pieces = data.draw(pieces_of(raw))
        found = _gathered(pieces)
        if isinstance(whole, tuple):
            if found != BadRequest:  # A bad line end within a whole head is the parser's to find.
                assert isinstance(found, tuple)
                self.assertEqual(found[0], whole[0])
        elif whole is None:
            self.assertIsNone(found)


class LimitTests(SynchronousTestCase):
    """Limits hold for a head in one piece as for one in many."""

    def test_limitsBelowTheUsualHoldForWholeHeadsToo(self) -> None:
        """Small limits are kept, also by a head that is short enough for all others (Q4)."""
        short = b"GET / HTTP/1.1\r\nHost: a\r\n"
        for limits, head, status in (
            (HeadLimits(line_bytes=20), b"GET /aaaaaaa HTTP/1.1\r\nHost: a\r\n\r\n", 414),
            (HeadLimits(field_bytes=100), short + b"X: " + b"y" * 98 + b"\r\n\r\n", 431),
            (HeadLimits(section_bytes=100), short + b"X: " + b"y" * 98 + b"\r\n\r\n", 431),
            (HeadLimits(fields=2), short + b"A: b\r\nC: d\r\n\r\n", 431),
        ):
            self.assertEqual(status_of(request_of, head, limits), status, limits)
            for at in range(1, len(head)):
                self.assertEqual(read_request(cut(head, at), limits).head_error, status, (limits, at))

    def test_whatEqualsALimitIsUnderstood(self) -> None:
        """A head at its limits passes the parser as it passes the gatherer."""
        for name, head in _at_limits().items():
            self.assertEqual(status_of(request_of, head, _SMALL), 0, name)

    def test_aHundredFieldsPass(self) -> None:
        """A head of 100 fields passes under the usual limits (D5)."""
        head = b"GET / HTTP/1.1\r\nHost: a\r\n" + b"".join(b"X-%d: %d\r\n" % (n, n) for n in range(99)) + b"\r\n"
        self.assertEqual(len(request_of(head).fields), 100)

    def test_sizesOfAPartialHead(self) -> None:
        """What has come so far is held against the same limits."""
        check_sizes(b"GET / HT", _SMALL, UriTooLong, HeadersTooLarge)
        self.assertRaises(UriTooLong, check_sizes, b"G" * 41, _SMALL, UriTooLong, HeadersTooLarge)
        partial = b"GET / HTTP/1.1\r\nX: " + b"y" * 150
        self.assertRaises(HeadersTooLarge, check_sizes, partial, _SMALL, UriTooLong, HeadersTooLarge)

    def test_theMostThatAHeadCanHold(self) -> None:
        """A head is a line, a section, and the line ends of the line and of the end."""
        head = _at_limits()["line and section"]
        self.assertEqual(len(head), _SMALL.head_bytes)
        self.assertEqual(_SMALL.small_bytes, 40)


class LeadingLinesTests(SynchronousTestCase):
    """Empty lines before a request (RFC 9112 section 2.2)."""

    def test_twoAreSkipped(self) -> None:
        """An empty line or two are no part of the request; a part of one is left for later."""
        for raw, left in (
            (b"", b""),
            (b"\r\n", b""),
            (b"\r\nGET", b"GET"),
            (b"\r\n\r\nGET", b"GET"),
            (b"\r\n\rGET", b"\rGET"),
            (b"\r", b"\r"),
            (b"GET\r\n", b"GET\r\n"),
            (b"\nGET", b"\nGET"),
        ):
            self.assertEqual(skip_empty_lines(raw), left, raw)

    def test_moreAreGarbage(self) -> None:
        """No client sends three."""
        self.assertRaises(BadRequest, skip_empty_lines, b"\r\n\r\n\r\nGET")
