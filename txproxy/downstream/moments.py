"""Things that are asked for with each reply and change once a second, or once a request."""

from __future__ import annotations

from collections.abc import Callable
from email.utils import formatdate


class HttpDate:
    """The value of Date (RFC 9110 section 6.6.1), made anew once a second.

    :param wall_clock: seconds since 1970.
    """

    def __init__(self, wall_clock: Callable[[], float]) -> None:
        self._wall_clock = wall_clock
        self._second = -1
        self._value = b""

    def __call__(self) -> bytes:
        """Return the date of now."""
        second = int(self._wall_clock())
        if second != self._second:
            self._second = second
            self._value = formatdate(second, usegmt=True).encode()
        return self._value


class RequestIds:
    """Ids that are unique among all processes: a random start, then a number.

    :param start: at least 8 random bytes.
    """

    def __init__(self, start: bytes) -> None:
        self._start = start.hex().encode()
        self._number = 0

    def __call__(self) -> bytes:
        """Return the next id."""
        self._number = number = self._number + 1
        return b"%b%08x" % (self._start, number)
