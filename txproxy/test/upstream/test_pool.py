"""The pool's state, without I/O: its repr at each point of a request's life."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from txproxy.upstream.pool import Pool, PoolLimits, Waiter


class Connection:
    """What the pool asks of a connection."""

    def __init__(self, name: str = "", stale_at: float = 1e9) -> None:
        self.name = name
        self.requests = 0
        self.stale_at = stale_at
        self.is_reusable = True
        self.is_retired = False

    def retire(self) -> None:
        self.is_retired = True

    def __repr__(self) -> str:
        return self.name


def waiter(name: str = "") -> Waiter:
    """Return one who waits."""
    return Waiter(name, None, None)


class PoolTests(SynchronousTestCase):
    """Idle, leased, being made, waited for."""

    def pool(self, **limits: Any) -> Pool:
        return Pool(PoolLimits(**limits))

    def assertShows(self, pool: Pool, idle: int, leased: int, connecting: int, waiting: int) -> None:
        self.assertEqual(repr(pool), f"<Pool {idle} idle, {leased} leased, {connecting} connecting, {waiting} waiting>")

    def leased(self, pool: Pool, count: int) -> list[Connection]:
        """Have connections made and leased."""
        connections = []
        for number in range(count):
            pool.enqueue(waiter())
            connections.append(Connection(str(number)))
            pool.connected(connections[-1])
        return connections

    def test_lifeOfARequest(self) -> None:
        """Waiting, connecting, leased, idle, leased again."""
        pool = self.pool()
        self.assertShows(pool, 0, 0, 0, 0)
        self.assertIsNone(pool.take(0))
        first = waiter()
        self.assertEqual(pool.enqueue(first), ([], 1))
        self.assertShows(pool, 0, 0, 1, 1)
        connection = Connection()
        self.assertEqual(pool.connected(connection), ([(first, connection)], 0))
        self.assertShows(pool, 0, 1, 0, 0)
        self.assertEqual(pool.release(connection), ([], 0))
        self.assertShows(pool, 1, 0, 0, 0)
        self.assertIs(pool.take(0), connection)
        self.assertShows(pool, 0, 1, 0, 0)
        self.assertEqual((pool.stats.created, pool.stats.reused), (1, 1))

    def test_lastUsedFirst(self) -> None:
        """The connection that was used last is leased first, so that the others idle until they are closed."""
        pool = self.pool()
        connections = self.leased(pool, 3)
        for connection in connections:
            pool.release(connection)
        self.assertEqual([pool.take(0) for _ in range(3)], connections[::-1])

    def test_firstComeFirstServed(self) -> None:
        """Whichever connection is free first goes to the one who waits longest."""
        pool = self.pool(max_connections=1)
        (connection,) = self.leased(pool, 1)
        waiters = [waiter(str(number)) for number in range(3)]
        for each in waiters:
            self.assertEqual(pool.enqueue(each), ([], 0))
        self.assertShows(pool, 0, 1, 0, 3)
        for each in waiters:
            self.assertEqual(pool.release(connection), ([(each, connection)], 0))

    def test_leaving(self) -> None:
        """One who leaves the queue is passed over."""
        pool = self.pool(max_connections=1)
        (connection,) = self.leased(pool, 1)
        first, second = waiter(), waiter()
        pool.enqueue(first)
        pool.enqueue(second)
        pool.leave(first)
        pool.leave(first)
        self.assertEqual(pool.release(connection), ([(second, connection)], 0))

    def test_limit(self) -> None:
        """No more connections than max_connections are made, those being made included."""
        pool = self.pool(max_connections=2)
        self.assertEqual([pool.enqueue(waiter()).dials for _ in range(4)], [1, 1, 0, 0])
        self.assertTrue(pool.is_full)

    def test_overflow(self) -> None:
        """With overflow each gets one; those above the limit are closed after use."""
        pool = self.pool(max_connections=1, when_full="overflow")
        self.assertEqual([pool.enqueue(waiter()).dials for _ in range(3)], [1, 1, 1])
        connections = [Connection() for _ in range(3)]
        for connection in connections:
            pool.connected(connection)
        for connection in connections:
            pool.release(connection)
        self.assertShows(pool, 1, 0, 0, 0)
        self.assertEqual([each.is_retired for each in connections], [True, True, False])

    def test_roomToWait(self) -> None:
        """Who may wait: while there is room for connections all, then as many as the queue holds, or none."""
        for when_full, queue, expected in (
            ("queue", 2, [True, True, True, False]),
            ("queue", 0, [True, False, False, False]),
            ("refuse", 2, [True, False, False, False]),
            ("overflow", 0, [True, True, True, True]),
        ):
            pool = self.pool(max_connections=1, queue=queue, when_full=when_full)
            seen = []
            for _ in range(4):
                seen.append(pool.has_room_to_wait())
                if seen[-1]:
                    for _ in range(pool.enqueue(waiter()).dials):
                        pool.connected(Connection())
            self.assertEqual(seen, expected, (when_full, queue))

    def test_tooManyRequests(self) -> None:
        """A connection that has carried max_requests is closed, and replaced if somebody waits."""
        pool = self.pool(max_requests=3, max_connections=1)
        (connection,) = self.leased(pool, 1)
        connection.requests = 2
        pool.release(connection)
        self.assertFalse(connection.is_retired)
        pool.take(0)
        connection.requests = 3
        pool.enqueue(waiter())
        self.assertEqual(pool.release(connection), ([], 1))
        self.assertTrue(connection.is_retired)
        self.assertShows(pool, 0, 0, 1, 1)

    def test_tooOld(self) -> None:
        """A connection is not leased once it is too old."""
        pool = self.pool()
        (connection,) = self.leased(pool, 1)
        connection.stale_at = 100
        pool.release(connection)
        self.assertIs(pool.take(99.9), connection)
        pool.release(connection)
        self.assertIsNone(pool.take(100))
        self.assertTrue(connection.is_retired)
        self.assertShows(pool, 0, 0, 0, 0)

    def test_notReusable(self) -> None:
        """One that cannot carry another request is closed on release, and passed over if it became so while idle."""
        pool = self.pool()
        first, second = self.leased(pool, 2)
        first.is_reusable = False
        pool.release(first)
        self.assertTrue(first.is_retired)
        pool.release(second)
        second.is_reusable = False
        self.assertIsNone(pool.take(0))
        self.assertTrue(second.is_retired)
        self.assertShows(pool, 0, 0, 0, 0)

    def test_maxIdle(self) -> None:
        """No more than max_idle stay idle."""
        pool = self.pool(max_idle=1)
        first, second = self.leased(pool, 2)
        pool.release(first)
        pool.release(second)
        self.assertEqual((first.is_retired, second.is_retired), (False, True))
        self.assertShows(pool, 1, 0, 0, 0)

    def test_noneIdle(self) -> None:
        """With max_idle 0 each connection serves one request, unless another waits for it."""
        pool = self.pool(max_idle=0, max_connections=1)
        (connection,) = self.leased(pool, 1)
        other = waiter()
        pool.enqueue(other)
        self.assertEqual(pool.release(connection), ([(other, connection)], 0))
        pool.release(connection)
        self.assertTrue(connection.is_retired)

    def test_lost(self) -> None:
        """A lost connection makes room for one who waits; an idle one is just forgotten."""
        pool = self.pool(max_connections=2)
        first, second = self.leased(pool, 2)
        pool.enqueue(waiter())
        self.assertEqual(pool.lost(first), ([], 1))
        self.assertShows(pool, 0, 1, 1, 1)
        pool.connected(Connection())
        pool.release(second)
        self.assertEqual(pool.lost(second), ([], 0))
        self.assertShows(pool, 0, 1, 0, 0)

    def test_connectFails(self) -> None:
        """A connection that cannot be made is told to the one who waits longest; another is made for the rest."""
        pool = self.pool(max_connections=1)
        first, second = waiter(), waiter()
        pool.enqueue(first)
        pool.enqueue(second)
        self.assertEqual(pool.connect_failed(), [first])
        self.assertEqual(pool.assign(), ([], 1))
        self.assertEqual(pool.connect_failed(), [second])
        self.assertEqual(pool.assign(), ([], 0))
        self.assertShows(pool, 0, 0, 0, 0)
        self.assertEqual(pool.stats.failed, 2)

    def test_madeForOneWhoLeft(self) -> None:
        """A connection whose maker has left serves the next, and no second one is made."""
        pool = self.pool()
        first, second = waiter(), waiter()
        pool.enqueue(first)
        pool.leave(first)
        self.assertEqual(pool.enqueue(second), ([], 0))
        connection = Connection()
        self.assertEqual(pool.connected(connection), ([(second, connection)], 0))
