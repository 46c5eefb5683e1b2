"""A request whose idle connection had died was sent again on another one that was idle, and as dead."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from txproxy.upstream.pool import Pool, PoolLimits, Waiter


class _Connection:
    is_reusable = True
    stale_at = 1e9
    retired = False

    def __init__(self, requests: int) -> None:
        self.requests = requests

    def retire(self) -> None:
        self.retired = True


class FreshWaiterTests(SynchronousTestCase):
    """A waiter that asked for a new connection."""

    def pool_with(self, limit: int) -> tuple[Pool, _Connection, Waiter]:
        pool = Pool(PoolLimits(max_connections=limit))
        used = _Connection(requests=3)
        pool.leased = 1
        waiter: Any = Waiter(None, None, None, fresh=True)
        return pool, used, waiter

    def test_aUsedOneIsNotTaken(self) -> None:
        """A connection that comes back from another exchange stays idle; the new one goes to the waiter (P2)."""
        pool, used, waiter = self.pool_with(limit=2)
        self.assertEqual(pool.enqueue(waiter).dials, 1)
        self.assertEqual(pool.release(used).leases, [])
        self.assertEqual(pool.idle, [used])
        made = _Connection(requests=0)
        self.assertEqual(pool.connected(made).leases, [(waiter, made)])

    def test_roomIsMade(self) -> None:
        """At the limit the used one gives way to the new one."""
        pool, used, waiter = self.pool_with(limit=1)
        self.assertEqual(pool.enqueue(waiter).dials, 0)
        todo = pool.release(used)
        self.assertEqual((todo.leases, todo.dials, used.retired), ([], 1, True))

    def test_othersTakeTheUsedOne(self) -> None:
        """Whoever waits behind takes what the first does not want."""
        pool, used, waiter = self.pool_with(limit=2)
        pool.enqueue(waiter)
        behind: Any = Waiter(None, None, None)
        pool.enqueue(behind)
        self.assertEqual(pool.release(used).leases, [(behind, used)])
