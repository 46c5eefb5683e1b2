"""Dates in their three forms (RFC 9110 section 5.6.7)."""

from __future__ import annotations

from datetime import date, timedelta

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txproxy.policy.caching.dates import parse_date, write_date

_2026 = 1767225600.0
_2050 = 2544400878.0
"""18 August 2050, 02:01:18."""
_1994 = 784111777.0
"""The date of RFC 9110 itself: 6 November 1994, 08:49:37."""
_FIRST, _LAST = -62135596800, 253402300799

_VALID = (
    (b"Sun, 06 Nov 1994 08:49:37 GMT", _1994),
    (b"Sunday, 06-Nov-94 08:49:37 GMT", _1994),
    (b"Sun Nov  6 08:49:37 1994", _1994),
    (b"Thu, 18 Aug 2050 02:01:18 GMT", _2050),
    (b"Thursday, 18-Aug-50 02:01:18 GMT", _2050),
    (b"Thu Aug 18 02:01:18 2050", _2050),
    # Any case (RFC 9111 section 4.2)
    (b"THU, 18 aug 2050 02:01:18 gmt", _2050),
    (b"thursday, 18-AUG-50 02:01:18 Gmt", _2050),
    (b"tHU AUG 18 02:01:18 2050", _2050),
    # Whatever day of the week
    (b"Mon, 18 Aug 2050 02:01:18 GMT", _2050),
    (b"Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
    (b"Wed, 31 Dec 1969 23:59:59 GMT", -1.0),
    (b"Mon, 01 Jan 0001 00:00:00 GMT", float(_FIRST)),
    (b"Fri, 31 Dec 9999 23:59:59 GMT", float(_LAST)),
    (b"Tue, 29 Feb 2000 00:00:00 GMT", 951782400.0),
    # A leap second is the next one
    (b"Sat, 31 Dec 2016 23:59:60 GMT", 1483228800.0),
    (b"Fri, 31 Dec 9999 23:59:60 GMT", _LAST + 1.0),
    (b"Wednesday, 01-Jan-20 00:00:00 GMT", 1577836800.0),
)  # fmt: skip

_INVALID = (
    b"", b"0", b"-1", b"now", b"1", b"784111777",
    b"Sun, 06 Nov 1994 08:49:37", b"Sun, 06 Nov 1994 08:49:37 ", b"Sun, 06 Nov 1994 08:49:37 UTC",
    b"Sun, 06 Nov 1994 08:49:37 EST", b"Sun, 06 Nov 1994 08:49:37 +0000", b"Sun, 06 Nov 1994 08:49:37 GMT+1",
    b" Sun, 06 Nov 1994 08:49:37 GMT", b"Sun, 06 Nov 1994 08:49:37 GMT ", b"Sun, 06 Nov 1994 08:49:37 GMT\n",
    b"Sun,06 Nov 1994 08:49:37 GMT", b"Sun 06 Nov 1994 08:49:37 GMT", b"Sun,  6 Nov 1994 08:49:37 GMT",
    b"Sun, 6 Nov 1994 08:49:37 GMT", b"Sun, 06  Nov 1994 08:49:37 GMT", b"Sun, 06-Nov-1994 08:49:37 GMT",
    b"Sun, 06 Nov 94 08:49:37 GMT", b"Sun, 06 Nov 01994 08:49:37 GMT", b"06 Nov 1994 08:49:37 GMT",
    b"Sunday, 06 Nov 1994 08:49:37 GMT", b"Sunday, 06-Nov-1994 08:49:37 GMT", b"Sun, 06-Nov-94 08:49:37 GMT",
    b"Sunday, 6-Nov-94 08:49:37 GMT", b"Sunday, 06-Nov-94 08:49:37 UTC", b"Foo, 06 Nov 1994 08:49:37 GMT",
    b"Sun, 06 Foo 1994 08:49:37 GMT", b"Sun, 06 Nov 1994 8:49:37 GMT", b"Sun, 06 Nov 1994 08.49.37 GMT",
    b"Sun, 06 Nov 1994 08:49 GMT", b"Sun, 06 Nov 1994 24:00:00 GMT", b"Sun, 06 Nov 1994 08:60:37 GMT",
    b"Sun, 06 Nov 1994 08:49:61 GMT", b"Sun, 00 Nov 1994 08:49:37 GMT", b"Sun, 31 Nov 1994 08:49:37 GMT",
    b"Thu, 29 Feb 1900 00:00:00 GMT", b"Sat, 01 Jan 0000 00:00:00 GMT", b"Sun, 06 Nov -994 08:49:37 GMT",
    b"Sun Nov 6 08:49:37 1994", b"Sun Nov  6 08:49:37 94", b"Sun Nov  6 08:49:37 1994 GMT", b"Sun Nov 06 08:49:37",
    b"Sun Nov 31 08:49:37 1994", b"Sun, 06 N\xf6v 1994 08:49:37 GMT", b"Sun, 0\xb2 Nov 1994 08:49:37 GMT",
    b"Sunday, 31-Nov-94 08:49:37 GMT", b"Sunday, 06-Nov-94 08:49:37 GMT, Sunday, 06-Nov-94 08:49:37 GMT",
    b"Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:37 GMT", b"x" * 16384,
)  # fmt: skip

# Two digits of a year, the year that it is, and the year that is meant.
_CENTURIES = (
    (b"76", 2026, 1976), (b"75", 2026, 2075), (b"77", 2026, 1977), (b"99", 2026, 1999), (b"00", 2026, 2000),
    (b"26", 2026, 2026), (b"25", 2026, 2025), (b"27", 2026, 2027),
    (b"05", 2090, 2105), (b"39", 2090, 2139), (b"41", 2090, 2041), (b"90", 2090, 2090),
    (b"48", 1999, 2048), (b"49", 1999, 1949), (b"50", 1998, 1950), (b"60", 2000, 1960), (b"99", 9999, 9999), (b"00", 9999, 9900),
    (b"60", 1, 0),
)  # fmt: skip


def _start_of(year: int) -> float:
    parsed = parse_date(b"Mon, 01 Jan %04d 00:00:00 GMT" % year)
    assert parsed is not None
    return parsed


class ParseDateTests(SynchronousTestCase):
    """``parse_date``"""

    def test_valid(self) -> None:
        for text, moment in _VALID:
            self.assertEqual(parse_date(text, _2026), moment, text)

    def test_invalid(self) -> None:
        for text in _INVALID:
            self.assertIsNone(parse_date(text, _2026), text)

    def test_allDaysAndMonths(self) -> None:
        for number in range(366):
            day = date(2024, 1, 1) + timedelta(days=number)
            moment = _start_of(2024) + 86400.0 * number
            for form in ("%a, %d %b %Y 00:00:00 GMT", "%A, %d-%b-%y 00:00:00 GMT"):
                self.assertEqual(parse_date(day.strftime(form).encode()), moment, day)
            self.assertEqual(parse_date(day.strftime(f"%a %b {day.day:2d} 00:00:00 %Y").encode()), moment, day)
            self.assertEqual(write_date(moment), day.strftime("%a, %d %b %Y 00:00:00 GMT").encode())

    def test_twoDigitsAreAtMostFiftyYearsAhead(self) -> None:
        for digits, year, meant in _CENTURIES:
            text = b"Monday, 02-Jan-%b 00:00:00 GMT" % digits
            expected = _start_of(meant) + 86400 if meant else None
            self.assertEqual(parse_date(text, _start_of(year)), expected, (digits, year))

    def test_twoDigitsOfALeapDay(self) -> None:
        """There is none in 2100, and one in 2000."""
        self.assertEqual(parse_date(b"Tuesday, 29-Feb-00 00:00:00 GMT", _start_of(2090)), 951782400.0)

    def test_nowIsThatOfWritingIfOmitted(self) -> None:
        self.assertEqual(parse_date(b"Monday, 06-Nov-75 08:49:37 GMT"), parse_date(b"Wed Nov  6 08:49:37 2075"))
        self.assertEqual(parse_date(b"Monday, 06-Nov-77 08:49:37 GMT"), parse_date(b"Wed Nov  6 08:49:37 1977"))

    def test_anyNow(self) -> None:
        for now in (-1e300, -1.0, 1e300, float("inf"), float("-inf")):
            parse_date(b"Sunday, 06-Nov-94 08:49:37 GMT", now)

    @given(st.binary(max_size=40))
    def test_anyBytes(self, value: bytes) -> None:
        parse_date(value)


class WriteDateTests(SynchronousTestCase):
    """``write_date``"""

    def test_asInTheStandard(self) -> None:
        self.assertEqual(write_date(_1994), b"Sun, 06 Nov 1994 08:49:37 GMT")

    def test_parsesOfASecondAreItsStart(self) -> None:
        self.assertEqual(write_date(_1994 + 0.999), b"Sun, 06 Nov 1994 08:49:37 GMT")
        self.assertEqual(write_date(-0.5), b"Wed, 31 Dec 1969 23:59:59 GMT")

    def test_beyondTheCalendar(self) -> None:
        self.assertEqual(write_date(1e300), b"Fri, 31 Dec 9999 23:59:59 GMT")
        self.assertEqual(write_date(-1e300), b"Mon, 01 Jan 0001 00:00:00 GMT")

    @given(st.integers(_FIRST, _LAST))
    def test_whatIsWrittenIsRead(self, moment: int) -> None:
        self.assertEqual(parse_date(write_date(moment)), moment)
