"""Things that are asked for with each reply and change once a second, or once a request."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from email.utils import formatdate
from itertools import count


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


_ENDINGS = tuple(b"%02x" % number for number in range(256))


def request_ids(start: bytes) -> Callable[[], bytes]:
    """Return what makes ids that are unique among all processes: a random start, then a number.

    :param start: at least 8 random bytes.
    :return: returns the next id each time that it is called.
    """
    # A generator is resumed in a third of the time that a call and a format take.
    return _numbered(start.hex().encode()).__next__


def _numbered(start: bytes) -> Iterator[bytes]:
    for high in count():
        begin = b"%b%06x" % (start, high)
        for ending in _ENDINGS:
            yield begin + ending
