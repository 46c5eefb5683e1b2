"""When entries are of no more use."""

from __future__ import annotations

from random import Random
from sys import getsizeof

from twisted.trial.unittest import SynchronousTestCase

from txproxy.cache.entry import Entry
from txproxy.cache.expiry import Expiry
from txproxy.test.cache.entries import ETAG, NOW, CountedSet, entry_of, stale_for

_URL = b"http://a/"


def _taken(expiry: Expiry, now: float, most: int = 10**6) -> list[Entry]:
    """Return all that is due."""
    taken: list[Entry] = []
    while entries := expiry.take_due(now, most):
        taken += entries
    return taken


class ExpiryTests(SynchronousTestCase):
    """Never early, and not much too late."""

    def test_neverEarlyAndNotLate(self) -> None:
        """By an eighth of the lifetime and a second at most, from less than a second to years."""
        for lifetime_s in (-100, 0, 0.4, 1, 2, 7, 8, 9, 60, 3600, 86400, 31536000, 2**31):
            for start in (NOW, NOW + 0.9, 0.0):
                entry = entry_of(_URL, lifetime_s=lifetime_s, received_at=start)
                expiry = Expiry()
                expiry.plan(entry, start)
                until = max(start, start + lifetime_s)
                self.assertEqual(expiry.take_due(until - 0.001, 9), [], lifetime_s)
                latest = until + max(lifetime_s, 0) / 8 + 1
                self.assertEqual(expiry.take_due(latest, 9), [entry], lifetime_s)

    def test_whatCanBeValidatedNeverExpires(self) -> None:
        """It is of use until there is no room for it."""
        expiry = Expiry()
        entry = entry_of(_URL, ETAG)
        expiry.plan(entry, NOW)
        self.assertIsNone(entry.bucket)
        expiry.forget(entry)
        self.assertEqual(_taken(expiry, NOW * 9), [])

    def test_staleUseCounts(self) -> None:
        """RFC 5861: as long as it may be sent stale it is of use."""
        expiry = Expiry()
        entry = entry_of(_URL, lifetime_s=10, said=stale_for(1000))
        expiry.plan(entry, NOW)
        self.assertEqual(expiry.take_due(NOW + 1009, 9), [])
        self.assertEqual(expiry.take_due(NOW + 1200, 9), [entry])

    def test_inSteps(self) -> None:
        """No more than asked for at a time, over buckets, and nothing twice or never."""
        expiry = Expiry()
        entries = [entry_of(_URL, lifetime_s=number % 50) for number in range(500)]
        for entry in entries:
            expiry.plan(entry, NOW)
        seen: list[Entry] = []
        while found := expiry.take_due(NOW + 100, 30):
            self.assertEqual(len(found), min(30, 500 - len(seen)))
            seen += found
        self.assertEqual((len(seen), set(seen)), (500, set(entries)))
        self.assertEqual(expiry.footprint_bytes, getsizeof(expiry._buckets) + getsizeof(expiry._ends))

    def test_manyOfOneMomentCostNoMoreEach(self) -> None:
        """A step looks at no place that former steps have emptied, though all expire at once."""
        expiry = Expiry()
        entries = [entry_of(_URL) for _ in range(3000)]
        for entry in entries:
            expiry.plan(entry, NOW)
        ((end, bucket),) = expiry._buckets.items()
        counted = expiry._buckets[end] = CountedSet(bucket)
        for entry in entries:
            entry.bucket = counted
        self.assertEqual(set(_taken(expiry, NOW + 100, 100)), set(entries))
        self.assertLess(counted.steps, 2 * len(entries))

    def test_whatIsTakenIsForgotten(self) -> None:
        """It can be forgotten once more, and planned anew."""
        expiry = Expiry()
        empty_bytes = expiry.footprint_bytes
        entry = entry_of(_URL, lifetime_s=1)
        for _ in range(2):
            expiry.plan(entry, NOW)
            self.assertEqual(expiry.take_due(NOW + 9, 9), [entry])
            self.assertIsNone(entry.bucket)
            expiry.forget(entry)
            self.assertEqual(expiry.take_due(NOW + 9, 9), [])
            self.assertLess(expiry.footprint_bytes, empty_bytes + 300)

    def test_noneIsAskedFor(self) -> None:
        """Nothing is returned, and nothing lost."""
        expiry = Expiry()
        entry = entry_of(_URL, lifetime_s=1)
        expiry.plan(entry, NOW)
        self.assertEqual(expiry.take_due(NOW + 9, 0), [])
        self.assertEqual(expiry.take_due(NOW + 9, 1), [entry])

    def test_whatIsForgottenIsNotDue(self) -> None:
        """And leaves nothing behind, however many have come and gone."""
        expiry = Expiry()
        chance = Random(3)
        kept = [entry_of(_URL, lifetime_s=100 + number) for number in range(10)]
        for entry in kept:
            expiry.plan(entry, NOW)
        before = expiry.footprint_bytes
        passing = [entry_of(_URL, lifetime_s=chance.choice((5000, 70000, 900000))) for _ in range(1000)]
        for entry in passing:
            expiry.plan(entry, NOW)
        self.assertGreater(expiry.footprint_bytes, before + 8 * len(passing))
        for entry in passing:
            expiry.forget(entry)
            expiry.forget(entry)
        self.assertLess(expiry.footprint_bytes, before + 3 * 300)
        self.assertEqual(set(_taken(expiry, NOW * 9)), set(kept))

    def test_fewBuckets(self) -> None:
        """Whatever lifetimes a backend invents."""
        expiry = Expiry()
        chance = Random(5)
        for _ in range(20000):
            entry = entry_of(_URL, lifetime_s=chance.random() * 10 ** chance.randint(0, 9))
            expiry.plan(entry, NOW)
        self.assertLess(len(expiry._ends), 600)
        self.assertEqual(len(expiry._ends), len(expiry._buckets))

    def test_theFootprintIsThatOfItsSets(self) -> None:
        """Kept as a sum, never counted anew."""
        expiry = Expiry()
        entries = [entry_of(_URL, lifetime_s=number) for number in range(1000)]
        for entry in entries:
            expiry.plan(entry, NOW)
        for entry in entries[::3]:
            expiry.forget(entry)
        _taken(expiry, NOW + 300)
        before = expiry.footprint_bytes
        for entry in entries[310:-5]:
            expiry.forget(entry)
        self.assertLessEqual(expiry.footprint_bytes, before)
        expiry.compact()
        held = sum(map(getsizeof, expiry._buckets.values()))
        self.assertEqual(expiry.footprint_bytes, held + getsizeof(expiry._buckets) + getsizeof(expiry._ends))
