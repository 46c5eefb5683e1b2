"""Parts of stored replies (RFC 9110 section 14)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txproxy.policy.caching.ranges import (
    UNSATISFIABLE,
    Part,
    Unsatisfiable,
    part_of,
    partial_head,
    unsatisfiable_fields,
)
from txproxy.test.policy.caching.heads import DATE, EARLIER, LATER, reply_of, request_of, values_in
from txproxy.wire.fields import Field

_RANGES: list[tuple[str, bytes, int, Part | Unsatisfiable | None]] = [
    ("partial-store-complete-reuse-partial", b"bytes=0-1", 11, Part(0, 2, 11)),
    ("absent last position", b"bytes=1-", 11, Part(1, 11, 11)),
    ("suffix", b"bytes=-1", 11, Part(10, 11, 11)),
    ("one byte", b"bytes=4-4", 11, Part(4, 5, 11)),
    ("the last byte", b"bytes=10-10", 11, Part(10, 11, 11)),
    ("beyond the end: to the end (14.1.2)", b"bytes=9-99", 11, Part(9, 11, 11)),
    ("a suffix longer than the whole (14.1.2)", b"bytes=-99", 11, Part(0, 11, 11)),
    ("the whole", b"bytes=0-", 11, Part(0, 11, 11)),
    ("it begins at the end", b"bytes=11-", 11, UNSATISFIABLE),
    ("it begins beyond the end", b"bytes=99-100", 11, UNSATISFIABLE),
    ("a suffix of nothing", b"bytes=-0", 11, UNSATISFIABLE),
    ("a part of nothing", b"bytes=0-", 0, UNSATISFIABLE),
    ("the end of nothing: no Content-Range says it", b"bytes=-5", 0, None),
    ("a suffix of nothing of nothing", b"bytes=-0", 0, UNSATISFIABLE),
    ("leading zeros", b"bytes=0001-" + b"0" * 5000 + b"2", 11, Part(1, 3, 11)),
    ("18 digits", b"bytes=0-" + b"9" * 18, 11, Part(0, 11, 11)),
    ("more digits than Python takes for a number", b"bytes=0-" + b"9" * 5000, 11, Part(0, 11, 11)),
    ("it begins there", b"bytes=" + b"9" * 5000 + b"-", 11, UNSATISFIABLE),
    ("both there, of other lengths", b"bytes=" + b"9" * 4999 + b"-" + b"9" * 5000, 11, UNSATISFIABLE),
    ("a suffix of so many", b"bytes=-" + b"9" * 5000, 11, Part(0, 11, 11)),
    ("whitespace and empty members (5.6.1)", b"Bytes =, 0-1 ,", 11, Part(0, 2, 11)),
    ("the unit in upper case (14.1)", b"BYTES=0-1", 11, Part(0, 2, 11)),
    # What is not understood, or not wanted, is ignored (14.2).
    ("several", b"bytes=0-1,3-4", 11, None),
    ("several that cannot be served", b"bytes=11-,12-", 11, None),
    ("another unit", b"lines=0-1", 11, None),
    ("no unit", b"0-1", 11, None),
    ("no range", b"bytes=", 11, None),
    ("only commas", b"bytes=,,", 11, None),
    ("no position", b"bytes=-", 11, None),
    ("the last before the first", b"bytes=2-1", 11, None),
    ("a sign", b"bytes=+0-1", 11, None),
    ("two hyphens", b"bytes=--1", 11, None),
    ("whitespace within", b"bytes=0 - 1", 11, None),
    ("hexadecimal", b"bytes=0-a", 11, None),
    ("digits that are not ASCII", "bytes=0-\u0663".encode(), 11, None),
    ("a space instead of =", b"bytes 0-1", 11, None),
]

_E, _L, _STRONG = (b"ETag", b'"a"'), (b"Last-Modified", DATE), (b"Date", LATER)
_IF_RANGES: list[tuple[str, bytes, list[Field], bool]] = [
    ("the tag", b'"a"', [_E], True),
    ("another tag", b'"b"', [_E], False),
    ("weak (13.1.5: strong comparison)", b'W/"a"', [(b"ETag", b'W/"a"')], False),
    ("weak in the request", b'W/"a"', [_E], False),
    ("weak in the reply", b'"a"', [(b"ETag", b'W/"a"')], False),
    ("no tag there", b'"a"', [_L, _STRONG], False),
    ("a list is none", b'"a", "b"', [_E], False),
    ("any is none", b"*", [_E], False),
    ("the date", DATE, [_L, _STRONG], True),
    ("the date, and there is a tag too", DATE, [_E, _L, _STRONG], True),
    ("the date, written in another way", b"Tue Nov 15 08:12:31 1994", [_L, _STRONG], True),
    ("the date, which is weak", DATE, [_L, (b"Date", DATE)], False),
    ("the date, which nothing tells to be strong", DATE, [_L], False),
    ("an earlier date", EARLIER, [_L, _STRONG], False),
    ("a later date: it must be equal", LATER, [_L, _STRONG], False),
    ("no date there", DATE, [_E, _STRONG], False),
    ("neither date nor tag", b"x", [_L, _STRONG], False),
    ("both unquoted", b"a", [(b"ETag", b"a")], False),
]


class PartOfTests(SynchronousTestCase):
    """What a request asks for."""

    def test_ranges(self) -> None:
        for says, value, total_bytes, expected in _RANGES:
            self.assertEqual(part_of(request_of((b"range", value)), reply_of(), total_bytes), expected, says)

    def test_noRange(self) -> None:
        """The whole; If-Range alone means nothing (RFC 9110 section 13.1.5)."""
        for fields in ((), ((b"If-Range", b'"a"'),)):
            self.assertIsNone(part_of(request_of(*fields), reply_of(_E), 5))

    def test_twoFields(self) -> None:
        """A repeated Range is not understood."""
        self.assertIsNone(part_of(request_of((b"Range", b"bytes=0-1"), (b"Range", b"bytes=0-1")), reply_of(), 5))

    def test_methodsAndStatuses(self) -> None:
        """Only GET has ranges (section 14.2), and only a 200 has parts."""
        for method, status, expected in (
            (b"GET", 200, Part(0, 1, 5)),
            (b"HEAD", 200, None),
            (b"POST", 200, None),
            (b"GET", 404, None),
            (b"GET", 203, None),
        ):
            request = request_of((b"Range", b"bytes=0-0"), method=method)
            self.assertEqual(part_of(request, reply_of(status=status), 5), expected, (method, status))

    def test_ifRange(self) -> None:
        """The part only of the representation that is named; else the whole."""
        for says, value, stored, expected in _IF_RANGES:
            for text, part in ((b"bytes=0-0", Part(0, 1, 5)), (b"bytes=9-", UNSATISFIABLE)):
                request = request_of((b"Range", text), (b"If-Range", value))
                self.assertEqual(part_of(request, reply_of(*stored), 5), part if expected else None, says)

    @given(st.from_regex(rb"bytes=[0-9]{0,3}-[0-9]{0,3}", fullmatch=True), st.integers(0, 300))
    def test_anything(self, value: bytes, total_bytes: int) -> None:
        """A part lies within the whole and is not empty."""
        part = part_of(request_of((b"Range", value)), reply_of(), total_bytes)
        if isinstance(part, Part):
            self.assertTrue(0 <= part.start < part.end <= part.total == total_bytes)


class HeadTests(SynchronousTestCase):
    """What is said of a part."""

    def test_partialHead(self) -> None:
        """The stored fields, but for what is not true of a part (RFC 9110 section 15.3.7)."""
        stored = reply_of(
            (b"ETag", b'"a"'), (b"content-length", b"11"), (b"Content-Digest", b"x"), (b"Content-MD5", b"x"),
            (b"Repr-Digest", b"y"), (b"A", b"1"), (b"Content-Range", b"junk"),
        )  # fmt: skip
        head = partial_head(stored, Part(9, 11, 11))
        self.assertEqual((head.status, head.reason, head.content_length), (206, b"Partial Content", 2))
        self.assertEqual(
            head.fields,
            [(b"ETag", b'"a"'), (b"Repr-Digest", b"y"), (b"A", b"1"), (b"Content-Range", b"bytes 9-10/11"), (b"Content-Length", b"2")],
        )  # fmt: skip
        self.assertEqual(head.known, {b"content-length": b"2"})
        self.assertEqual((stored.status, values_in(stored.fields, b"Content-Length")), (200, [b"11"]))

    def test_framing(self) -> None:
        """Its length is known, however the whole came."""
        chunked = reply_of((b"Transfer-Encoding", b"chunked"), (b"Trailer", b"x"))
        until_close = reply_of()
        lacking = reply_of()
        lacking.lacks_length = True
        self.assertTrue(chunked.chunked and until_close.until_close)
        for stored in (chunked, until_close, lacking):
            head = partial_head(stored, Part(0, 1, 5))
            self.assertEqual((head.chunked, head.until_close, head.lacks_length), (False, False, False))
            self.assertEqual(head.known, {b"content-length": b"1"})
            self.assertEqual([name for name, _ in head.fields], [b"Content-Range", b"Content-Length"])

    def test_unsatisfiable(self) -> None:
        """The length is told (RFC 9110 section 15.5.17)."""
        self.assertEqual(unsatisfiable_fields(11), [(b"Content-Range", b"bytes */11")])
