"""Room for content that is in memory besides what is stored."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from txproxy.cache.budget import Budget, Loan
from txproxy.errors import WriteTimeout

_BODY = bytes(60)


class _Reader:
    """Reads until it is cut."""

    is_reading = True

    def __init__(self, loan: Loan | None = None) -> None:
        self.loan = loan
        self.exchange = SimpleNamespace(client=self)
        self.errors: list[Any] = []

    def fail(self, _exchange: object, error: Exception) -> None:
        self.errors.append(error)
        self.leave()

    def leave(self) -> None:
        self.is_reading = False
        if self.loan is not None:
            self.loan.end(self)


class BudgetCase(SynchronousTestCase):
    """A test case with a budget."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.budget = self.make()

    def make(self, max_read_bytes: int = 100) -> Budget:
        return Budget(100, max_read_bytes, self.clock.seconds, self.clock.callLater)

    def lend(self, body: bytes, is_stored: bool) -> _Reader:
        reader = _Reader()
        reader.loan = self.budget.lend(body, (reader,), is_stored)
        return reader


class TakingTests(BudgetCase):
    """What is on its way."""

    def test_take(self) -> None:
        """As much as there is, and what is given back."""
        self.assertTrue(self.budget.take(60))
        self.assertFalse(self.budget.take(41))
        self.assertTrue(self.budget.take(40))
        self.budget.give_back(50)
        self.assertEqual((self.budget.left_bytes, self.budget.left_read_bytes), (50, 100))

    def test_grow(self) -> None:
        """There may be more of it later, or less than is taken already."""
        self.budget.take(60)
        self.budget.grow(50, 20)
        self.assertEqual((self.budget.left_bytes, self.budget.left_read_bytes), (90, 120))
        self.budget.grow(-100, -130)
        self.assertFalse(self.budget.take(1))
        self.budget.give_back(60)
        self.assertTrue(self.budget.take(50))


class LoanTests(BudgetCase):
    """What clients read."""

    def test_counts(self) -> None:
        """Only what no store holds takes room, once, however many read it."""
        for lends, left in (
            ([True], 100),
            ([True, True], 100),
            ([False], 40),
            ([False, False], 40),
            ([True, False], 40),
            ([False, True], 100),
        ):
            readers = [self.lend(_BODY, is_stored) for is_stored in lends]
            self.assertEqual((self.budget.left_bytes, self.budget.left_read_bytes), (100, left), lends)
            for reader in readers:
                reader.leave()
                reader.leave()
            self.assertEqual((self.budget.left_bytes, self.budget.left_read_bytes), (100, 100), lends)

    def test_removed(self) -> None:
        """What is stored no more takes room as long as it is read."""
        self.budget.removed(_BODY)
        one, other = self.lend(_BODY, True), self.lend(_BODY, True)
        self.budget.removed(bytes(bytearray(60)))
        self.assertEqual(self.budget.left_read_bytes, 100)
        self.budget.removed(_BODY)
        self.budget.removed(_BODY)
        one.leave()
        self.assertEqual(self.budget.left_read_bytes, 40)
        other.leave()
        self.assertEqual(self.budget.left_read_bytes, 100)
        self.budget.removed(_BODY)
        self.assertEqual(self.budget.left_read_bytes, 100)

    def test_storedAgain(self) -> None:
        """What a 304 has had stored anew takes no room."""
        self.assertFalse(self.budget.lends)
        reader = self.lend(_BODY, True)
        self.budget.removed(_BODY)
        self.budget.stored(_BODY)
        self.budget.stored(bytes(bytearray(60)))
        self.assertEqual((self.budget.left_read_bytes, self.budget.lends), (100, True))
        reader.leave()
        self.assertFalse(self.budget.lends)


class CutTests(BudgetCase):
    """When there is no room."""

    def bodies(self, *sizes: int) -> list[bytes]:
        return [bytes(bytearray(size)) for size in sizes]

    def test_whoTakesNothing(self) -> None:
        """Those are cut who have taken nothing for the longest time, until there is room; stored content is no reason."""
        readers = []
        bodies = self.bodies(40, 40, 40, 90)
        for body in bodies:
            readers.append(self.lend(body, True))
            self.clock.advance(1)
        assert readers[0].loan is not None
        readers[0].loan.moved(readers[0])
        for body in bodies[:3]:
            self.budget.removed(body)
        self.assertEqual([reader.errors for reader in readers], [[], [], [], []])
        self.clock.advance(0)
        self.assertEqual([len(reader.errors) for reader in readers], [0, 1, 0, 0])
        self.assertIsInstance(readers[1].errors[0], WriteTimeout)
        self.assertEqual((self.budget.left_read_bytes, self.clock.getDelayedCalls()), (20, []))

    def test_allOfOne(self) -> None:
        """Room is there only when the last who reads it has been cut."""
        (body,) = self.bodies(150)
        readers = [self.lend(body, False) for _ in range(3)]
        self.clock.advance(0)
        self.assertEqual([len(reader.errors) for reader in readers], [1, 1, 1])
        self.assertEqual(self.budget.left_read_bytes, 100)

    def test_whoHasJustLeft(self) -> None:
        """If there is room again before anybody was cut, nobody is."""
        one, other = (self.lend(body, False) for body in self.bodies(60, 60))
        one.leave()
        self.clock.advance(0)
        self.assertEqual((one.errors, other.errors), ([], []))

    def test_stop(self) -> None:
        """No call is left."""
        self.lend(bytes(200), False)
        self.budget.stop()
        self.budget.stop()
        self.lend(bytes(bytearray(300)), False)
        self.assertEqual(self.clock.getDelayedCalls(), [])
