"""How long a backend is left out."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txproxy.policy.deadlines import NEVER
from txproxy.policy.ejections import Ejections


class EjectionsTests(SynchronousTestCase):
    """Lengths, and when a series is over."""

    def setUp(self) -> None:
        self.ejections = Ejections(10, 35)

    def test_eachIsLonger(self) -> None:
        """By one length of the first, up to the longest."""
        now = 0.0
        for number, seconds in ((1, 10), (2, 20), (3, 30), (4, 35), (5, 35), (6, 35)):
            self.assertEqual(self.ejections.begin(now), seconds)
            self.assertEqual((self.ejections.number, self.ejections.ends_at), (number, now + seconds))
            now += seconds
            self.ejections.end()
            self.assertEqual(self.ejections.ends_at, NEVER)

    def test_neverLongerThanTheLongest(self) -> None:
        """Nor is the first, where that is the longer one."""
        self.assertEqual(Ejections(60, 5).begin(0.0), 5)

    def test_aSeriesEndsAfterGoodConduct(self) -> None:
        """As long as the longest ejection, counted from the return: just before, at, and after."""
        for back_s, number in ((0.0, 2), (34.9, 2), (35.0, 1), (1e5, 1)):
            ejections = Ejections(10, 35)
            ejections.begin(0.0)
            ejections.end()
            ejections.came_back(12.0)
            ejections.begin(12.0 + back_s)
            self.assertEqual(ejections.number, number, back_s)

    def test_aSeriesDoesNotEndBeforeTheReturn(self) -> None:
        """A backend that waits an hour for its trial and fails it has not been back."""
        self.ejections.begin(0.0)
        self.ejections.end()
        self.ejections.forget(3600.0)
        self.ejections.begin(3600.0)
        self.assertEqual(self.ejections.number, 2)

    def test_returnsInARowCountFromTheFirst(self) -> None:
        """Checks that take it down and bring it up meanwhile do not make the series longer."""
        self.ejections.begin(0.0)
        self.ejections.came_back(10.0)
        self.ejections.came_back(40.0)
        self.assertEqual(self.ejections.forgotten_at, 45.0)
        self.ejections.forget(44.9)
        self.assertEqual(self.ejections.number, 1)
        self.ejections.forget(45.0)
        self.assertEqual((self.ejections.number, self.ejections.forgotten_at), (0, NEVER))

    def test_aSeriesThatGoesOn(self) -> None:
        """The end that it would have had does not cut the next ejection short."""
        self.ejections.begin(0.0)
        self.ejections.came_back(10.0)
        self.ejections.begin(40.0)
        self.ejections.forget(45.0)
        self.assertEqual((self.ejections.number, self.ejections.ends_at), (2, 60.0))
        self.assertEqual(self.ejections.forgotten_at, NEVER)

    def test_aReturnWithoutAnEjection(self) -> None:
        """There is nothing to forget."""
        self.ejections.came_back(1.0)
        self.assertEqual((self.ejections.number, self.ejections.forgotten_at), (0, NEVER))
