"""A pool whose connections are each made for one request, without I/O."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from txproxy.test.upstream.test_pool import Connection, waiter
from txproxy.upstream.pool import PoolLimits, Waiter
from txproxy.upstream.private_pool import PrivatePool


class PrivatePoolTests(SynchronousTestCase):
    """Who gets which connection, and how many there are."""

    def pool(self, **limits: Any) -> PrivatePool:
        return PrivatePool(PoolLimits(**limits))

    def assertShows(self, pool: PrivatePool, leased: int, connecting: int, waiting: int) -> None:
        expected = f"<Pool 0 idle, {leased} leased, {connecting} connecting, {waiting} waiting>"
        self.assertEqual(repr(pool), expected)
        self.assertEqual(pool.candidate.active, leased + waiting)

    def served(self, pool: PrivatePool) -> list[Waiter]:
        """Return those whose connections are to be made now."""
        served = []
        while (one := pool.next_to_serve()) is not None:
            served.append(one)
        return served

    def test_lifeOfARequest(self) -> None:
        """Waiting, connecting, leased, closed; the next has a connection made anew."""
        pool = self.pool()
        for _ in range(2):
            self.assertIsNone(pool.take(0))
            first, connection = waiter(), Connection()
            self.assertEqual(pool.enqueue(first), ([], 0))
            self.assertTrue(pool.dials_suffice)
            self.assertEqual(self.served(pool), [first])
            self.assertShows(pool, 0, 1, 1)
            self.assertEqual(pool.connected_for(first, connection), ([(first, connection)], 0))
            self.assertShows(pool, 1, 0, 0)
            self.assertEqual(pool.release(connection), ([], 0))
            self.assertTrue(connection.is_retired)
            self.assertShows(pool, 0, 0, 0)

    def test_eachItsOwn(self) -> None:
        """Whichever is ready first, each goes to the one that it was made for."""
        pool = self.pool()
        first, second = waiter(), waiter()
        pool.enqueue(first)
        pool.enqueue(second)
        self.assertEqual(self.served(pool), [first, second])
        other = Connection()
        self.assertEqual(pool.connected_for(second, other).leases, [(second, other)])
        self.assertShows(pool, 1, 1, 1)

    def test_leftBehind(self) -> None:
        """If who it was made for has left, nobody gets it."""
        pool = self.pool(max_connections=1)
        first, second, connection = waiter(), waiter(), Connection()
        pool.enqueue(first)
        self.assertEqual(self.served(pool), [first])
        pool.enqueue(second)
        self.assertFalse(pool.dials_suffice)
        self.assertEqual(self.served(pool), [])
        pool.leave(first)
        self.assertEqual(pool.connected_for(first, connection).leases, [])
        self.assertTrue(connection.is_retired)
        self.assertEqual(self.served(pool), [second])
        self.assertShows(pool, 0, 1, 1)

    def test_limit(self) -> None:
        """No more connections than allowed; the next is made when one has ended, or was lost, or cannot be made."""
        pool = self.pool(max_connections=2, queue=2)
        waiters = [waiter() for _ in range(5)]
        for each in waiters[:4]:
            self.assertTrue(pool.has_room_to_wait())
            pool.enqueue(each)
        self.assertFalse(pool.has_room_to_wait())
        self.assertTrue(pool.is_full)
        self.assertEqual(self.served(pool), waiters[:2])
        first, second = Connection(), Connection()
        pool.connected_for(waiters[0], first)
        pool.connected_for(waiters[1], second)
        self.assertEqual(self.served(pool), [])
        pool.release(first)
        self.assertEqual(self.served(pool), [waiters[2]])
        pool.lost(second)
        self.assertEqual(self.served(pool), [waiters[3]])
        pool.enqueue(waiters[4])
        self.assertTrue(pool.connect_failed_for(waiters[2]))
        pool.assign()
        self.assertEqual(self.served(pool), [waiters[4]])
        self.assertShows(pool, 0, 2, 2)

    def test_overflow(self) -> None:
        """Or as many as are asked for."""
        pool = self.pool(max_connections=1, when_full="overflow")
        waiters = [waiter() for _ in range(3)]
        for each in waiters:
            pool.enqueue(each)
        self.assertEqual(self.served(pool), waiters)

    def test_failedForNobody(self) -> None:
        """Who has left is not told that the connection could not be made."""
        pool = self.pool()
        first = waiter()
        pool.enqueue(first)
        self.served(pool)
        pool.leave(first)
        self.assertFalse(pool.connect_failed_for(first))
        self.assertShows(pool, 0, 0, 0)

    def test_turnedAway(self) -> None:
        """All who wait can be sent elsewhere, those without a connection too."""
        pool = self.pool(max_connections=1)
        waiters = [waiter(), waiter()]
        for each in waiters:
            pool.enqueue(each)
        self.assertEqual(self.served(pool), waiters[:1])
        self.assertEqual(pool.leave_all(), waiters)
        self.assertEqual(pool.connected_for(waiters[0], Connection()).leases, [])
        self.assertEqual(self.served(pool), [])
        self.assertShows(pool, 0, 0, 0)

    def test_nothingInAdvance(self) -> None:
        """No connection can be made before it is known for whom."""
        self.assertEqual(self.pool(min_idle=3).missing_idle(), 0)
