"""Dates of HTTP (RFC 9110 section 5.6.7), read in all three forms and written in one."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache

_DAYS = (b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun")
_LONG_DAYS = (b"Monday", b"Tuesday", b"Wednesday", b"Thursday", b"Friday", b"Saturday", b"Sunday")
_MONTHS = (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec")
_NUMBERS = {name.lower(): number for number, name in enumerate(_MONTHS, 1)}

_DAY = b"(?:" + b"|".join(_DAYS) + b")"
_LONG_DAY = b"(?:" + b"|".join(_LONG_DAYS) + b")"
_MONTH = b"(?P<month>" + b"|".join(_MONTHS) + b")"
_TIME = rb"(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})"

# Matched without regard to case (RFC 9111 section 4.2), in all else to the letter: what is nearly a date is none, for a
# sender that has spaces, zones or digits of its own may mean another moment. Zones but GMT are not valid either.
_IMF_FIXDATE = re.compile(rb"%b, (?P<day>[0-9]{2}) %b (?P<year>[0-9]{4}) %b GMT" % (_DAY, _MONTH, _TIME), re.IGNORECASE)
_RFC850_DATE = re.compile(
    rb"%b, (?P<day>[0-9]{2})-%b-(?P<year>[0-9]{2}) %b GMT" % (_LONG_DAY, _MONTH, _TIME), re.IGNORECASE
)
_ASCTIME_DATE = re.compile(
    rb"%b %b (?P<day>[0-9]{2}| [0-9]) %b (?P<year>[0-9]{4})" % (_DAY, _MONTH, _TIME), re.IGNORECASE
)
_IMF_BYTES = 29
_ASCTIME_BYTES = 24
_LONGEST_BYTES = 33
"""Of an rfc850-date on a Wednesday."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_S = (datetime(1, 1, 1, tzinfo=UTC) - _EPOCH) // timedelta(seconds=1)
_LAST_S = (datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC) - _EPOCH) // timedelta(seconds=1)
_LEAP_SECOND = 60
_YEAR_S = 365.2425 * 86400
_MOST_YEARS_AHEAD = 50

_AT_WRITING = 1767225600.0
"""The first moment of 2026."""


def parse_date(value: bytes, now: float = _AT_WRITING) -> float | None:
    """Return the moment that a date names, in seconds since the epoch, or None if it is not valid.

    The day of the week must be one, but need not be that of the date: it adds nothing, and is wrong in what many
    servers send.

    :param value: of Date, Expires, Last-Modified or If-Modified-Since.
    :param now: seconds since the epoch; from it on, a year of two digits is at most 50 years ahead.
    """
    length = len(value)
    if length == _IMF_BYTES:
        return _parse_imf(value)
    if length == _ASCTIME_BYTES:
        found = _ASCTIME_DATE.fullmatch(value)
        return _moment_of(found, int(found["year"])) if found else None
    found = _RFC850_DATE.fullmatch(value) if length <= _LONGEST_BYTES else None
    return _moment_in_century(found, now) if found else None


@lru_cache(maxsize=512)
def _parse_imf(value: bytes) -> float | None:
    # Of one length and few: those of Date are the same for a second, those of Last-Modified for as long as a file is.
    found = _IMF_FIXDATE.fullmatch(value)
    return _moment_of(found, int(found["year"])) if found else None


def _moment_in_century(found: re.Match[bytes], now: float) -> float | None:
    """Return the latest moment that the two digits may mean: at most 50 years ahead."""
    century = datetime_of(now).year // 100 * 100
    limit = now + _MOST_YEARS_AHEAD * _YEAR_S
    for base in (century + 100, century, century - 100):
        moment = _moment_of(found, base + int(found["year"]))
        if moment is not None and moment <= limit:
            return moment
    return None


def _moment_of(found: re.Match[bytes], year: int) -> float | None:
    second = int(found["second"])
    leap = second == _LEAP_SECOND
    try:
        moment = datetime(
            year,
            _NUMBERS[found["month"].lower()],
            int(found["day"]),
            int(found["hour"]),
            int(found["minute"]),
            second - leap,
            tzinfo=UTC,
        )
    except ValueError:
        return None
    return (moment - _EPOCH).total_seconds() + leap


def datetime_of(moment: float) -> datetime:
    """Return a moment as calendar and clock show it, in UTC; what lies beyond the years 1 to 9999 is put to their end.

    :param moment: seconds since the epoch.
    """
    return _EPOCH + timedelta(seconds=min(max(moment, _FIRST_S), _LAST_S))


def write_date(moment: float) -> bytes:
    """Return a moment as IMF-fixdate, in the second that it is in.

    :param moment: seconds since the epoch.
    """
    return _write_second(int(moment // 1))


@lru_cache(maxsize=64)
def _write_second(second: int) -> bytes:
    at = datetime_of(second)
    return b"%b, %02d %b %04d %02d:%02d:%02d GMT" % (
        _DAYS[at.weekday()], at.day, _MONTHS[at.month - 1], at.year, at.hour, at.minute, at.second,
    )  # fmt: skip
