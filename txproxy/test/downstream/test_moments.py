"""Dates and request ids."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txproxy.downstream.moments import HttpDate, request_ids


class HttpDateTests(SynchronousTestCase):
    """The value of Date."""

    def test_form(self) -> None:
        """It has the form of RFC 9110 section 5.6.7 and changes with the second."""
        now = [784111777.0]
        date = HttpDate(lambda: now[0])
        self.assertEqual(date(), b"Sun, 06 Nov 1994 08:49:37 GMT")
        now[0] += 0.9
        self.assertEqual(date(), b"Sun, 06 Nov 1994 08:49:37 GMT")
        now[0] += 0.2
        self.assertEqual(date(), b"Sun, 06 Nov 1994 08:49:38 GMT")

    def test_clockThatIsSetBack(self) -> None:
        """A wall clock may be set back."""
        now = [784111777.0]
        date = HttpDate(lambda: now[0])
        date()
        now[0] -= 1
        self.assertEqual(date(), b"Sun, 06 Nov 1994 08:49:36 GMT")


class RequestIdsTests(SynchronousTestCase):
    """Ids of requests."""

    def test_unique(self) -> None:
        """No id comes twice, within a process or in another one."""
        one, other = request_ids(b"\x01" * 8), request_ids(b"\x02" * 8)
        ids = [make() for _ in range(1000) for make in (one, other)]
        self.assertEqual(len(set(ids)), 2000)
        self.assertTrue(all(each.isalnum() for each in ids))
        self.assertEqual({len(each) for each in ids}, {24})
        self.assertEqual(ids[-2:], [b"01" * 8 + b"000003e7", b"02" * 8 + b"000003e7"])
