"""Keys in order."""

from __future__ import annotations

from random import Random
from sys import getsizeof

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txproxy.cache.sorted_keys import SortedKeys


def _held(keys: SortedKeys) -> list[bytes]:
    return keys.beginning(b"", b"", 10**9)


class SortedKeysTests(SynchronousTestCase):
    """The same as a sorted list, whatever its length."""

    def test_manyKeys(self) -> None:
        """Added and removed in any order, over many blocks that are split and joined."""
        chance = Random(7)
        for order in ("up", "down", "mixed"):
            numbers = [b"%06d" % number for number in range(5000)]
            if order == "down":
                numbers.reverse()
            elif order == "mixed":
                chance.shuffle(numbers)
            keys = SortedKeys()
            empty_bytes = keys.footprint_bytes
            for number in numbers:
                keys.add(number)
            self.assertEqual(_held(keys), sorted(numbers))
            self.assertLess(keys.footprint_bytes, 20 * len(numbers))
            self.assertGreater(keys.footprint_bytes, 8 * len(numbers))
            chance.shuffle(numbers)
            for done, number in enumerate(numbers, 1):
                keys.discard(number)
                keys.discard(number)
                if done % 500 == 0:
                    self.assertEqual(_held(keys), sorted(numbers[done:]))
            self.assertLess(keys.footprint_bytes, empty_bytes + 1000)

    def test_theFootprintIsThatOfItsLists(self) -> None:
        """Kept as a sum, never counted anew."""
        keys = SortedKeys()
        for number in range(2000):
            keys.add(b"%d" % (number * 7919 % 2000))
        for number in range(0, 2000, 3):
            keys.discard(b"%d" % number)
        blocks = keys._blocks
        self.assertEqual(
            keys.footprint_bytes, sum(map(getsizeof, blocks)) + getsizeof(blocks) + getsizeof(keys._bounds)
        )

    def test_thoseThatBeginAlike(self) -> None:
        """Each row: prefix, where to start, how many, and what is found."""
        keys = SortedKeys()
        for key in (b"a", b"a ", b"a/b", b"a/b ", b"a/c", b"ab", b"b"):
            keys.add(key)
        for prefix, start, most, expected in (
            (b"", b"", 9, [b"a", b"a ", b"a/b", b"a/b ", b"a/c", b"ab", b"b"]),
            (b"", b"", 2, [b"a", b"a "]),
            (b"", b"", 0, []),
            (b"a/", b"a/", 9, [b"a/b", b"a/b ", b"a/c"]),
            (b"a/", b"a/b\0", 9, [b"a/b ", b"a/c"]),
            (b"a/b", b"a/b", 1, [b"a/b"]),
            (b"a ", b"a ", 9, [b"a "]),
            (b"c", b"c", 9, []),
            (b"A", b"A", 9, []),
        ):
            self.assertEqual(keys.beginning(prefix, start, most), expected, (prefix, start, most))

    def test_aRangeOverManyBlocks(self) -> None:
        """In pieces, each from where the last one ended."""
        keys = SortedKeys()
        wanted = [b"b%05d" % number for number in range(3000)]
        for key in (*wanted, *(b"a%d" % number for number in range(700)), *(b"c%d" % number for number in range(700))):
            keys.add(key)
        found: list[bytes] = []
        start = b"b"
        while piece := keys.beginning(b"b", start, 170):
            self.assertLessEqual(len(piece), 170)
            found += piece
            start = piece[-1] + b"\0"
        self.assertEqual(found, wanted)


_moves = st.lists(st.tuples(st.booleans(), st.binary(max_size=3)), max_size=200)


class LawTests(SynchronousTestCase):
    """Against a set."""

    @settings(max_examples=100, deadline=None)
    @given(_moves, st.binary(max_size=2), st.integers(0, 5))
    def test_theSameAsASet(self, moves: list[tuple[bool, bytes]], prefix: bytes, most: int) -> None:
        """Whatever is added and removed."""
        keys, model = SortedKeys(), set()
        for adds, key in moves:
            if not adds:
                keys.discard(key)
                model.discard(key)
            elif key not in model:
                keys.add(key)
                model.add(key)
        matching = sorted(key for key in model if key.startswith(prefix))
        self.assertEqual(_held(keys), sorted(model))
        self.assertEqual(keys.beginning(prefix, prefix, most), matching[:most])
