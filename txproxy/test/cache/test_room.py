"""What goes to make room for what is put."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txproxy.cache.memory import MemoryStore
from txproxy.test.cache.entries import NOW, entry_of, language_of, request_of

_ANY = request_of()
_MIB = 1024 * 1024


def _filled(count: int, max_bytes: int = 64 * _MIB) -> MemoryStore:
    """Return a store with small entries."""
    store = MemoryStore(max_bytes, _MIB, language_of)
    for number in range(count):
        store.put(entry_of(b"http://a.example/%d" % number), NOW)
    return store


class RoomTests(SynchronousTestCase):
    """Much at once where it must be, and not more."""

    def test_whatIsPutTakesOneStepTowardsALimit(self) -> None:
        """So that one request does not pay for all that memory pressure wants; but nothing grows meanwhile."""
        store = _filled(1000)
        held = store.held_bytes
        self.assertEqual(store.limit(held // 4, 0), 0)
        counts = []
        for number in range(12):
            before, evicted = store.held_bytes, store.statistics().evicted
            self.assertTrue(store.put(entry_of(b"http://b/%d" % number), NOW))
            self.assertLessEqual(store.held_bytes, max(before, held // 4))
            counts.append(store.statistics().evicted - evicted)
        self.assertEqual(counts[:7], [100] * 7)
        self.assertLess(counts[-1], 10)
        self.assertLessEqual(store.held_bytes, held // 4)

    def test_whatNeedsMoreThanAStepGetsIt(self) -> None:
        """A large one among small ones, with a limit that was lowered and without, and with what came unasked."""
        for full, to_bytes, unasked in ((True, 3, False), (False, 1, False), (True, 2, False), (True, 2, True)):
            store = _filled(2000, 3 * _MIB)
            while full and store.put(entry_of(b"http://c/%d" % len(store)), NOW) and not store.statistics().evicted:
                pass
            store.limit(to_bytes * _MIB, 0)
            if unasked:  # Heads for HTTP/2, which deliveries make.
                latest = list(store._used)[-200:]
                for entry in (*latest, latest[0]):
                    entry.head.block = bytes(1000)
                    store.lookup(entry.key, _ANY)
                self.assertGreater(store.held_bytes, 3 * _MIB)
            before, evicted = store.held_bytes, store.statistics().evicted
            self.assertTrue(store.put(entry_of(b"http://b/", body=bytes(_MIB // 2)), NOW))
            # A limit that was lowered is come to step by step, so that nothing grows meanwhile.
            self.assertLessEqual(store.held_bytes, 3 * _MIB if to_bytes == 3 else min(before, 3 * _MIB))
            self.assertGreater(store.statistics().evicted, evicted + 500)
            self.assertGreater(store.held_bytes, min(before, 3 * _MIB) - _MIB // 4, "it does no more than it has to")
