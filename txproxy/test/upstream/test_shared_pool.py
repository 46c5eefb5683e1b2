"""The shared pool's state, without I/O: its repr at each point of a request's life."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from txproxy.policy.candidate import Candidate
from txproxy.policy.deadlines import NEVER
from txproxy.upstream.pool import PoolLimits, Todo, Waiter
from txproxy.upstream.shared_pool import MOST_REQUESTS, MOST_STREAMS, SharedPool


class Place:
    """A place on a connection."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def __repr__(self) -> str:
        return f"a place on {self.connection!r}"


class Connection:
    """What the pool asks of a connection."""

    def __init__(self, most_streams: int = MOST_STREAMS, name: str = "") -> None:
        self.name = name
        self.requests = self.streams = self.number = 0
        self.was_ended = False
        self.most_streams = most_streams
        self.is_reusable = True
        self.home: dict[Any, None] | None = None
        self.is_retired = False

    def lease(self) -> Place:
        return Place(self)

    def retire(self) -> None:
        assert not self.is_retired and not self.streams
        self.is_retired = True

    def __repr__(self) -> str:
        return f"connection {self.name}"


def waiter(fresh: bool = False) -> Waiter:
    """Return one who waits."""
    return Waiter("", None, None, fresh)


class PoolCase(SynchronousTestCase):
    """Pools, checked for what must always hold."""

    def pool(self, **limits: Any) -> SharedPool:
        pool = SharedPool(PoolLimits(**limits), Candidate("x"))
        self.addCleanup(self.check, pool)
        return pool

    def check(self, pool: SharedPool) -> None:
        """Numbers agree with each other."""
        homes = (pool.idle, pool.sharing, pool.full, pool.leaving)
        everywhere = [connection for home in homes for connection in home]
        self.assertEqual(len(everywhere), len(set(everywhere)))
        self.assertEqual(sum(connection.streams for connection in everywhere), pool.leased)
        self.assertEqual(pool.candidate.active, pool.leased + len(pool.waiting))
        self.assertEqual(pool.total, len(everywhere) + pool.connecting)
        self.assertTrue(all(connection.home is home for home in homes for connection in home))
        self.assertTrue(all(not connection.streams for connection in pool.idle))
        self.assertTrue(all(connection.streams for home in homes[1:] for connection in home))
        self.assertTrue(all(not connection.is_retired for connection in everywhere))

    def assertShows(self, pool: SharedPool, idle: int, busy: int, carried: int, making: int = 0, wait: int = 0) -> None:
        self.check(pool)
        expected = f"<SharedPool {idle} idle, {busy} carrying {carried}, {making} connecting, {wait} waiting>"
        self.assertEqual(repr(pool), expected)

    def enqueue(self, pool: SharedPool, count: int) -> list[Waiter]:
        waiters = [waiter() for _ in range(count)]
        for each in waiters:
            pool.enqueue(each)
        return waiters

    def carrying(self, pool: SharedPool, *counts: int, most: int = MOST_STREAMS) -> list[Connection]:
        """Have connections made, each carrying so many requests."""
        connections = []
        for number, count in enumerate(counts):
            connections.append(Connection(most, str(number)))
            pool.connecting += 1
            pool.connected(connections[-1])
            for _ in range(count):
                place = pool.take(0)
                assert place is not None and place.connection is connections[-1], place
        return connections

    def release(self, pool: SharedPool, connection: Connection) -> Todo:
        return pool.release(Place(connection))

    def take(self, pool: SharedPool) -> Connection | None:
        place = pool.take(0)
        return None if place is None else place.connection


class SharingTests(PoolCase):
    """Requests on connections."""

    def test_lifeOfARequest(self) -> None:
        """Waiting, connecting, leased, idle, leased again."""
        pool = self.pool()
        self.assertShows(pool, 0, 0, 0)
        self.assertIsNone(pool.take(0))
        first = waiter()
        self.assertEqual(pool.enqueue(first), ([], 1))
        self.assertShows(pool, 0, 0, 0, 1, 1)
        connection = Connection()
        ((told, place),), dials = pool.connected(connection)
        self.assertEqual((told, place.connection, dials), (first, connection, 0))
        self.assertShows(pool, 0, 1, 1)
        self.assertEqual(pool.release(place), ([], 0))
        self.assertShows(pool, 1, 0, 0)
        self.assertIs(self.take(pool), connection)
        self.assertShows(pool, 0, 1, 1)
        self.assertEqual((pool.stats.created, pool.stats.reused, connection.requests), (1, 1, 2))

    def test_oneDialForMany(self) -> None:
        """A hundred requests need one connection, the next hundred another."""
        pool = self.pool()
        dials = [pool.enqueue(waiter()).dials for _ in range(250)]
        self.assertEqual([number for number, count in enumerate(dials) if count], [0, 100, 200])
        self.assertEqual(sum(dials), 3)
        self.assertEqual(len(pool.connected(Connection()).leases), 100)
        self.assertEqual(len(pool.connected(Connection()).leases), 100)
        self.assertEqual(len(pool.connected(Connection()).leases), 50)
        self.assertShows(pool, 0, 3, 250)

    def test_filledFirst(self) -> None:
        """The connection that is in use gets the next request, so that an idle one is closed some day."""
        pool = self.pool()
        first, second = self.carrying(pool, 1, 0)
        self.assertIs(self.take(pool), first)
        self.assertEqual(list(pool.idle), [second])

    def test_lastUsedFirst(self) -> None:
        """Of those that are idle, the one that was used last."""
        pool = self.pool()
        connections = self.carrying(pool, 100, 100, 100)
        for connection in connections:
            for _ in range(100):
                self.release(pool, connection)
        self.assertShows(pool, 3, 0, 0)
        self.assertIs(self.take(pool), connections[2])

    def test_full(self) -> None:
        """One that carries as much as it may gets no more, until a request on it has ended."""
        pool = self.pool(max_connections=1)
        (connection,) = self.carrying(pool, 2, most=2)
        self.assertTrue(pool.is_full)
        self.assertIsNone(pool.take(0))
        waiters = self.enqueue(pool, 2)
        self.assertShows(pool, 0, 1, 2, 0, 2)
        ((told, place),), dials = self.release(pool, connection)
        self.assertEqual((told, place.connection, dials), (waiters[0], connection, 0))
        self.release(pool, connection)
        self.release(pool, connection)
        self.assertFalse(pool.is_full)
        self.assertShows(pool, 0, 1, 1)

    def test_limit(self) -> None:
        """No more connections than max_connections are made, however many wait."""
        pool = self.pool(max_connections=2)
        self.assertEqual(sum(pool.enqueue(waiter()).dials for _ in range(500)), 2)
        self.assertTrue(pool.is_full)
        self.assertFalse(pool.dials_suffice)

    def test_beingMade(self) -> None:
        """What is being made is no reason to turn anybody away, until it is spoken for."""
        pool = self.pool(max_connections=1, queue=0)
        self.enqueue(pool, 99)
        self.assertTrue(pool.has_room_to_wait() and not pool.is_full and pool.dials_suffice)
        self.enqueue(pool, 1)
        self.assertTrue(pool.dials_suffice)
        self.assertFalse(pool.has_room_to_wait())
        self.assertTrue(pool.is_full)

    def test_queue(self) -> None:
        """Those for whom something is made are not counted against the queue."""
        pool = self.pool(max_connections=1, queue=2)
        self.enqueue(pool, 101)
        self.assertTrue(pool.has_room_to_wait())
        self.enqueue(pool, 1)
        self.assertFalse(pool.has_room_to_wait())

    def test_whenFull(self) -> None:
        """Refuse: nobody waits. Overflow: one more connection is made, and closed after use."""
        for when_full, may in (("refuse", False), ("queue", True), ("overflow", True)):
            pool = self.pool(max_connections=1, when_full=when_full)
            self.carrying(pool, 1, most=1)
            self.assertEqual(pool.has_room_to_wait(), may)
        self.assertEqual(pool.enqueue(waiter()), ([], 1))
        extra = Connection(1)
        pool.connected(extra)
        self.assertShows(pool, 0, 2, 2)
        self.release(pool, extra)
        self.assertTrue(extra.is_retired)
        self.assertShows(pool, 0, 1, 1)

    def test_leaving(self) -> None:
        """One who leaves the queue is passed over."""
        pool = self.pool(max_connections=1)
        (connection,) = self.carrying(pool, 1, most=1)
        first, second = self.enqueue(pool, 2)
        pool.leave(first)
        pool.leave(first)
        self.assertIs(self.release(pool, connection).leases[0][0], second)
        self.enqueue(pool, 3)
        self.assertEqual(len(pool.leave_all()), 3)
        self.assertShows(pool, 0, 1, 1)


class AgeTests(PoolCase):
    """Connections that have served enough."""

    def test_maxRequests(self) -> None:
        """After its last request it gets no more, completes what it carries, and is closed."""
        pool = self.pool(max_requests=3)
        (connection,) = self.carrying(pool, 3)
        self.assertEqual(list(pool.leaving), [connection])
        self.assertIsNone(pool.take(0))
        self.release(pool, connection)
        self.release(pool, connection)
        self.assertFalse(connection.is_retired)
        self.release(pool, connection)
        self.assertTrue(connection.is_retired)
        self.assertShows(pool, 0, 0, 0)

    def test_numbers(self) -> None:
        """No connection has numbers for more streams, whatever is configured."""
        pool = self.pool(max_requests=10**12)
        (connection,) = self.carrying(pool, 1)
        connection.requests = MOST_REQUESTS - 1
        self.assertIs(self.take(pool), connection)
        self.assertIsNone(pool.take(0))

    def test_dialsByMaxRequests(self) -> None:
        """A connection is expected to carry no more than it may in all."""
        pool = self.pool(max_requests=2)
        self.enqueue(pool, 4)
        self.assertEqual(pool.connecting, 2)

    def test_goesAway(self) -> None:
        """One that takes no more is closed after its last request; at once if it carries none."""
        pool = self.pool()
        busy, idle = self.carrying(pool, 1, 0)
        for connection in (busy, idle):
            connection.is_reusable = False
            pool.changed(connection)
        self.assertEqual((busy.is_retired, idle.is_retired), (False, True))
        self.assertShows(pool, 0, 1, 1)
        self.assertEqual(pool.stats.discarded, 1)
        self.release(pool, busy)
        self.assertTrue(busy.is_retired)

    def ended(self, pool: SharedPool, connection: Connection) -> Todo:
        """Let the backend say that it takes no more on a connection."""
        connection.was_ended, connection.is_reusable = True, False
        return pool.changed(connection)

    def test_leavingCounts(self) -> None:
        """What has had enough requests, or is too old, counts against the limit for as long as it carries any."""
        pool = self.pool(max_connections=2, max_requests=1, queue=1)
        first, second = self.carrying(pool, 1, 1)
        self.assertTrue(pool.is_full)
        self.assertEqual(pool.enqueue(waiter()), ([], 0))
        self.assertFalse(pool.has_room_to_wait())
        second.is_reusable = False
        self.assertEqual(pool.changed(second), ([], 0))
        self.assertShows(pool, 0, 2, 2, 0, 1)
        self.assertEqual(self.release(pool, first), ([], 1))

    def test_endedIsInNobodysWay(self) -> None:
        """What the backend has ended does not, if there is nothing else; but no more than as many again are made."""
        pool = self.pool(max_connections=2, queue=1)
        for connection in self.carrying(pool, 1, 1, most=1):
            self.ended(pool, connection)
        for total in (3, 4):
            self.assertFalse(pool.is_full)
            self.assertEqual(pool.enqueue(waiter()), ([], 1))
            connection = Connection()
            pool.connected(connection)
            self.assertShows(pool, 0, total, total)
            self.assertEqual(self.ended(pool, connection), ([], 0))
        self.assertTrue(pool.is_full)
        self.assertEqual(pool.enqueue(waiter()), ([], 0))
        self.assertFalse(pool.has_room_to_wait())
        self.assertEqual(self.release(pool, connection), ([], 1))

    def test_endedBesideOthers(self) -> None:
        """One of each kind: what leaves by our own limits counts, what the backend has ended does not."""
        pool = self.pool(max_connections=2, max_requests=2)
        _, ended = self.carrying(pool, 2, 1)
        self.assertEqual(self.ended(pool, ended), ([], 0))
        self.assertEqual(pool.enqueue(waiter()), ([], 1))
        pool.connected(Connection())
        self.assertEqual(len(pool.enqueue(waiter()).leases), 1)
        self.assertEqual(pool.enqueue(waiter()), ([], 0))
        self.assertShows(pool, 0, 3, 5, 0, 1)

    def test_maxIdle(self) -> None:
        """No more than max_idle stay idle."""
        pool = self.pool(max_idle=1)
        first, second = self.carrying(pool, 100, 1)
        for _ in range(100):
            self.release(pool, first)
        self.release(pool, second)
        self.assertEqual((first.is_retired, second.is_retired), (False, True))

    def test_drained(self) -> None:
        """While nothing is to be kept, what carries nothing any more is closed."""
        pool = self.pool()
        (connection,) = self.carrying(pool, 2)
        pool.keeps_idle = False
        self.release(pool, connection)
        self.assertFalse(connection.is_retired)
        self.release(pool, connection)
        self.assertTrue(connection.is_retired)

    def test_minIdle(self) -> None:
        """Connections that are to be there in advance; those that are busy are not."""
        pool = self.pool(min_idle=2, max_connections=3)
        self.carrying(pool, 1, 0)
        self.assertEqual(pool.missing_idle(), 1)
        self.assertEqual(pool.missing_idle(), 0)
        pool.unneeded()
        self.assertShows(pool, 1, 1, 1)


class PeersLimitTests(PoolCase):
    """SETTINGS_MAX_CONCURRENT_STREAMS, which may change at any time."""

    def test_less(self) -> None:
        """Fewer than there are: those go on, and there is room again when enough have ended."""
        pool = self.pool(max_connections=1)
        (connection,) = self.carrying(pool, 3)
        connection.most_streams = 2
        self.assertEqual(pool.changed(connection), ([], 0))
        self.assertIsNone(pool.take(0))
        self.enqueue(pool, 1)
        self.assertEqual(self.release(pool, connection).leases, [])
        self.assertEqual(len(self.release(pool, connection).leases), 1)
        self.assertShows(pool, 0, 1, 2)

    def test_more(self) -> None:
        """More: those who wait are served at once."""
        pool = self.pool(max_connections=1)
        (connection,) = self.carrying(pool, 1, most=1)
        self.enqueue(pool, 3)
        connection.most_streams = 3
        self.assertEqual(len(pool.changed(connection).leases), 2)
        self.assertShows(pool, 0, 1, 3, 0, 1)

    def test_none(self) -> None:
        """None at all: one waits for the backend to allow it; more connections would be no better."""
        pool = self.pool()
        self.enqueue(pool, 5)
        connection = Connection(0)
        self.assertEqual(pool.connected(connection), ([], 0))
        self.assertShows(pool, 1, 0, 0, 0, 5)
        self.assertEqual(pool.enqueue(waiter()), ([], 0))
        self.assertIsNone(pool.take(0))
        connection.most_streams = 4
        self.assertEqual(len(pool.changed(connection).leases), 4)

    def test_noneAfterMany(self) -> None:
        """The same of one that carries requests."""
        pool = self.pool()
        (connection,) = self.carrying(pool, 2)
        connection.most_streams = 0
        pool.changed(connection)
        self.assertEqual(pool.enqueue(waiter()), ([], 0))
        self.release(pool, connection)
        self.release(pool, connection)
        self.assertShows(pool, 1, 0, 0, 0, 1)

    def test_noneIsFull(self) -> None:
        """A backend that lets nothing be sent is full, however few its connections are: no more wait than may."""
        for when_full, may in (("queue", (True, False)), ("refuse", (False, False))):
            pool = self.pool(when_full=when_full, queue=1)
            (connection,) = self.carrying(pool, 1)
            connection.most_streams = 0
            pool.changed(connection)
            self.assertTrue(pool.is_full)
            for each in may:
                self.assertEqual(pool.has_room_to_wait(), each)
                self.assertEqual(pool.enqueue(waiter()), ([], 0))
            connection.most_streams = 9
            pool.changed(connection)
            self.assertFalse(pool.is_full)

    def test_learned(self) -> None:
        """What one connection has been allowed is expected of the next."""
        pool = self.pool()
        self.enqueue(pool, 10)
        self.assertEqual(pool.connecting, 1)
        todo = pool.connected(Connection(3))
        self.assertEqual((len(todo.leases), todo.dials), (3, 3))
        self.assertTrue(pool.dials_suffice)

    def test_leftBehind(self) -> None:
        """Those who wait without a limit for a connection that carries less than was expected are named."""
        pool = self.pool(max_connections=1)
        waiters = self.enqueue(pool, 5)
        self.assertEqual(pool.left_behind(), [])
        waiters[4].deadline = 7
        pool.connected(Connection(2))
        self.assertEqual(pool.left_behind(), waiters[2:4])
        self.assertTrue(all(each.deadline == NEVER for each in waiters[2:4]))


class FailureTests(PoolCase):
    """Connections that break, or cannot be made."""

    def test_lost(self) -> None:
        """A connection that is lost takes all its requests with it; another is made for those who wait."""
        pool = self.pool(max_connections=1)
        (connection,) = self.carrying(pool, 100)
        self.enqueue(pool, 2)
        self.assertEqual(pool.lost(connection), ([], 1))
        self.assertShows(pool, 0, 0, 0, 1, 2)
        self.assertEqual(pool.stats.discarded, 0)

    def test_lostIdle(self) -> None:
        """One that carried nothing is forgotten."""
        pool = self.pool()
        (connection,) = self.carrying(pool, 0)
        self.assertEqual(pool.lost(connection), ([], 0))
        self.assertShows(pool, 0, 0, 0)
        self.assertEqual(pool.stats.discarded, 1)

    def test_lostWhileLeaving(self) -> None:
        """One that was completing its requests too."""
        pool = self.pool(max_requests=2)
        (connection,) = self.carrying(pool, 2)
        pool.lost(connection)
        self.assertShows(pool, 0, 0, 0)

    def test_connectFails(self) -> None:
        """All who relied on it are told, the longest waiting first; others who wait are not."""
        pool = self.pool(max_connections=2)
        waiters = self.enqueue(pool, 150)
        self.assertEqual(pool.connecting, 2)
        self.assertEqual(pool.connect_failed(), waiters[:75])
        self.assertEqual(pool.assign(), ([], 0))
        self.assertEqual(pool.connect_failed(), waiters[75:])
        self.assertShows(pool, 0, 0, 0)
        self.assertEqual(pool.stats.failed, 2)

    def test_connectFailsForAQueue(self) -> None:
        """Those whom one connection could not have carried wait for the next."""
        pool = self.pool(max_connections=1)
        waiters = self.enqueue(pool, 150)
        self.assertEqual(pool.connect_failed(), waiters[:100])
        self.assertEqual(pool.assign(), ([], 1))
        self.assertShows(pool, 0, 0, 0, 1, 50)

    def test_connectFailsBesideAnother(self) -> None:
        """Who wanted a new connection takes what there is, if it cannot be made: only without room is that a failure."""
        pool = self.pool(max_connections=2)
        (old,) = self.carrying(pool, 1, most=2)
        fresh = [waiter(fresh=True) for _ in range(2)]
        for each in fresh:
            pool.enqueue(each)
        self.assertEqual(pool.connect_failed(), [])
        leases, dials = pool.assign()
        self.assertEqual(([told for told, _ in leases], leases[0][1].connection, dials), (fresh[:1], old, 1))
        self.assertEqual(pool.connect_failed(), fresh[1:])
        self.assertShows(pool, 0, 1, 2)

    def test_connectFailsInAdvance(self) -> None:
        """Nobody is told if nobody waits."""
        pool = self.pool(min_idle=1)
        pool.missing_idle()
        self.assertEqual(pool.connect_failed(), [])

    def test_fresh(self) -> None:
        """Who has met a dead connection wants one that was made since; others take what there is."""
        pool = self.pool()
        (old,) = self.carrying(pool, 1)
        first, second = waiter(fresh=True), waiter()
        self.assertEqual(pool.enqueue(first), ([], 1))
        self.assertEqual(len(pool.enqueue(second).leases), 1)
        self.assertEqual(old.streams, 2)
        new = Connection()
        ((told, place),), _ = pool.connected(new)
        self.assertEqual((told, place.connection), (first, new))
        later = waiter(fresh=True)
        self.assertEqual(pool.enqueue(later), ([], 1))

    def test_freshShares(self) -> None:
        """Many who have met the same dead connection share one new one."""
        pool = self.pool()
        self.carrying(pool, 1)
        self.assertEqual(sum(pool.enqueue(waiter(fresh=True)).dials for _ in range(50)), 1)
        self.assertEqual(len(pool.connected(Connection()).leases), 50)

    def test_freshFirst(self) -> None:
        """They come before others who wait, and keep their order: what is new may carry but few."""
        pool = self.pool(max_connections=2, max_requests=3)
        (old,) = self.carrying(pool, 2, most=2)
        usual = self.enqueue(pool, 2)
        fresh = [waiter(fresh=True) for _ in range(2)]
        for each in fresh:
            pool.enqueue(each)
        self.assertEqual(list(pool.waiting), [*fresh, *usual])
        leases = pool.connected(Connection(most_streams=3)).leases
        self.assertEqual([told for told, _ in leases], [*fresh, usual[0]])
        self.assertEqual([told for told, _ in self.release(pool, old).leases], [usual[1]])

    def test_freshWithoutRoom(self) -> None:
        """If no more can be made, a connection that others use is better than none."""
        pool = self.pool(max_connections=1)
        (old,) = self.carrying(pool, 1)
        self.assertEqual(len(pool.enqueue(waiter(fresh=True)).leases), 1)
        self.assertEqual(old.streams, 2)

    def test_summary(self) -> None:
        """Its statistics in a few words."""
        pool = self.pool()
        self.carrying(pool, 100, 2, 0)
        self.assertEqual(
            pool.summary(),
            "3 connections made, 100 times reused, 0 failed, 0 closed while idle; 0 requests queued, 0 refused; "
            "now 1 idle, 2 active with 102 requests, 0 waiting",
        )
