"""Memory pressure."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from txproxy.cache.entry import Entry
from txproxy.cache.memory import MemoryStore
from txproxy.cache.pressure import Pressure, resident_bytes
from txproxy.test.cache.entries import NOW, entry_of, language_of

_MIB = 1024 * 1024


class ResidentTests(SynchronousTestCase):
    """The size of this process."""

    def test_itGrowsByWhatIsTaken(self) -> None:
        """By about that much."""
        if not Path("/proc/self/statm").exists():
            raise SkipTest("this system does not tell")
        before = resident_bytes()
        assert before is not None
        taken = b"x" * (32 * _MIB)
        after = resident_bytes()
        assert after is not None
        self.assertGreater(after - before, len(taken) // 2)
        self.assertGreater(before, _MIB)

    def test_whereItCannotBeRead(self) -> None:
        """No such file, or something else in it."""
        path = self.mktemp()
        for content in (None, b"", b"1", b"1 x"):
            if content is not None:
                with open(path, "wb") as file:
                    file.write(content)
            self.assertIsNone(resident_bytes(path), content)
        with open(path, "wb") as file:
            file.write(b"9 3 1")
        self.assertEqual((resident_bytes(path) or 0) % 3, 0)


class PressureTests(SynchronousTestCase):
    """What the cache may take, look by look."""

    def looks(self, *rows: tuple[int | None, int, int], max_rss: int = 640, held: int = 300) -> None:
        """Look again and again: size of the process, what the cache holds, what it may take then; all in MiB."""
        residents = iter([row[0] for row in rows])

        def resident() -> int | None:
            size = next(residents)
            return None if size is None else size * _MIB

        pressure = Pressure(320 * _MIB, max_rss * _MIB, resident)
        self.assertEqual(pressure.allowed_bytes, 320 * _MIB)
        for number, (_, held_mib, expected) in enumerate(rows):
            self.assertEqual(pressure.look(held_mib * _MIB) / _MIB, expected, number)
            self.assertEqual(pressure.allowed_bytes / _MIB, expected)

    def test_withoutALimit(self) -> None:
        """Nothing is read, and nothing taken away."""
        pressure = Pressure(5, 0, lambda: self.fail("it was read"))
        self.assertEqual(pressure.look(4), 5)

    def test_belowTheLimit(self) -> None:
        """All is allowed."""
        self.looks((0, 10, 320), (500, 300, 320), (640, 300, 320))

    def test_aboveTheLimit(self) -> None:
        """What is too much goes, and a sixty-fourth of the limit more."""
        self.looks((650, 300, 280))
        self.looks((641, 100, 89))
        self.looks((5000, 100, 0))

    def test_whatIsFreedNeedNotShow(self) -> None:
        """It shrinks once for what it was told, and again only for what has grown since."""
        self.looks((650, 300, 280), (650, 280, 280), (650, 280, 280), (653, 280, 267), (652, 267, 267), (653, 267, 256))

    def test_whatTheCacheDoesNotHoldIsNotTakenFromIt(self) -> None:
        """It may never hold more for a look at which it held less."""
        self.looks((650, 300, 280), (660, 100, 80), (670, 300, 60))

    def test_roomIsGivenBack(self) -> None:
        """In steps, once the process is well below its limit; in between nothing changes."""
        self.looks((650, 300, 280), (630, 280, 280), (576, 280, 280), (575, 280, 290), (575, 290, 300), (575, 300, 310),
                   (575, 310, 320), (575, 320, 320), (641, 320, 309))  # fmt: skip

    def test_aSizeThatIsNotKnown(self) -> None:
        """Nothing changes."""
        self.looks((None, 300, 320), (650, 300, 280), (None, 280, 280), (None, 10, 280), (500, 280, 290))

    def test_withAStore(self) -> None:
        """Early eviction: the least recently used go, and what is put stays within what is allowed."""
        store = MemoryStore(4 * _MIB, _MIB, language_of)
        entries: list[Entry] = []
        for number in range(300):
            entries.append(entry_of(b"http://a/%d" % number, body=bytes(10_000)))
            store.put(entries[-1], NOW)
        resident = [80 * _MIB]
        pressure = Pressure(4 * _MIB, 80 * _MIB, lambda: resident[0])
        self.assertEqual(store.limit(pressure.look(store.held_bytes)), 0)
        before = store.held_bytes
        resident[0] += _MIB // 4
        while store.limit(pressure.look(store.held_bytes), 20):
            pass
        freed = before - store.held_bytes
        self.assertGreaterEqual(freed, 1.5 * _MIB)
        self.assertLess(freed, 1.5 * _MIB + 12_000)
        self.assertEqual([store.variants(entry.key) for entry in entries[:100]], [()] * 100)
        store.put(entry_of(b"http://b/", body=bytes(100_000)), NOW)
        self.assertLessEqual(store.held_bytes, pressure.allowed_bytes)
