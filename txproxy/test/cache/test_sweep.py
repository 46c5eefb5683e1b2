"""Purges in steps, with turns that the tests give."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from txproxy.cache.sweep import STEPS_AT_ONCE, Sweep


class SweepTests(SynchronousTestCase):
    """A purge ends at once if it is short, and else bit by bit."""

    def setUp(self) -> None:
        self.turns: list[Callable[[], None]] = []
        self.clock = Clock()
        self.sweep = Sweep(self.later)
        self.told: list[int] = []
        self.taken = 0

    def later(self, seconds: float, call: Callable[[], None]) -> object:
        self.assertEqual(seconds, 0)
        self.turns.append(call)
        return self.clock.callLater(seconds, call)

    def steps(self, count: int) -> Iterator[int]:
        for _ in range(count):
            self.taken += 1
            yield 100

    def turn(self) -> None:
        """Let one turn of the reactor pass."""
        call = self.turns.pop(0)
        call()

    def test_short(self) -> None:
        """What is short is done at once, and nothing is left."""
        for count in (0, 1, STEPS_AT_ONCE - 1):
            self.sweep.begin(b"u", self.steps(count), self.told.append)
            self.assertEqual(self.told.pop(), 100 * count)
        self.assertEqual((self.turns, self.sweep.urls), ([], {}))

    def test_long(self) -> None:
        """What is long gives others their turn, and is not served until its end."""
        self.sweep.begin(b"u", self.steps(3 * STEPS_AT_ONCE), self.told.append)
        for turn in range(1, 4):
            self.assertEqual((self.taken, self.told), (turn * STEPS_AT_ONCE, []))
            self.assertIn(b"u", self.sweep.urls)
            self.turn()
        self.assertEqual(self.told, [100 * 3 * STEPS_AT_ONCE])
        self.assertEqual((self.turns, self.sweep.urls), ([], {}))

    def test_several(self) -> None:
        """One after the other; a URL is served again after the last that is about it."""
        for url in (b"a", b"b", b"a"):
            self.sweep.begin(url, self.steps(STEPS_AT_ONCE), self.told.append)
        served = []
        for _ in range(3):
            self.turn()
            served.append(sorted(self.sweep.urls))
        self.assertEqual(served, [[b"a", b"b"], [b"a"], []])
        self.assertEqual((len(self.told), self.turns), (3, []))

    def test_anotherFromTheEndOfOne(self) -> None:
        """Who is told of an end may begin another: there is one turn for both."""
        again = lambda _count: self.sweep.begin(b"b", self.steps(STEPS_AT_ONCE), self.told.append)  # noqa: E731
        self.sweep.begin(b"a", self.steps(STEPS_AT_ONCE), again)
        self.turn()
        self.assertEqual((list(self.sweep.urls), len(self.turns)), ([b"b"], 1))
        self.turn()
        self.assertEqual((self.told, self.turns), ([1000], []))

    def test_finish(self) -> None:
        """At a stop all is done at once, and no call is left."""
        for _ in range(2):
            self.sweep.begin(b"u", self.steps(5 * STEPS_AT_ONCE), self.told.append)
        self.sweep.finish()
        self.assertEqual(self.told, [5000, 5000])
        self.assertEqual((self.clock.getDelayedCalls(), self.sweep.urls), ([], {}))
        self.sweep.finish()
