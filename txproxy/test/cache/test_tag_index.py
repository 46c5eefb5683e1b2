"""Entries by tag."""

from __future__ import annotations

from sys import getsizeof

from twisted.trial.unittest import SynchronousTestCase

from txproxy.cache.entry import Entry
from txproxy.cache.footprint import allocated_bytes
from txproxy.cache.tag_index import TagIndex
from txproxy.test.cache.entries import CountedSet, entry_of


class TagIndexTests(SynchronousTestCase):
    """What has a tag is found by it, until it goes."""

    def test_entriesByTag(self) -> None:
        """Of one tag, of several, of none."""
        index = TagIndex()
        empty_bytes = index.footprint_bytes
        both = entry_of(b"http://a/1", tags=(b"x", b"y"))
        one = entry_of(b"http://a/2", tags=(b"x",))
        none = entry_of(b"http://a/3")
        for entry in (both, one, none):
            index.add(entry)
        self.assertEqual(index.take_tagged(b"z", 9), [])
        self.assertEqual(index.take_tagged(b"y", 0), [])
        self.assertEqual(index.take_tagged(b"y", 9), [both])
        first = index.take_tagged(b"x", 1)
        self.assertEqual({*first, *index.take_tagged(b"x", 9)}, {both, one})
        self.assertEqual(len(first), 1)
        for entry in (both, one, none):
            index.discard(entry)
            index.add(entry)
        for entry in (both, none):
            index.discard(entry)
        self.assertEqual((index.take_tagged(b"x", 9), index.take_tagged(b"y", 9)), ([one], []))
        index.discard(one)
        self.assertEqual(index.take_tagged(b"x", 9), [])
        self.assertLess(index.footprint_bytes, empty_bytes + 300)

    def test_manyOfOneTagCostNoMoreEach(self) -> None:
        """A step looks at no place that former steps have emptied."""
        index = TagIndex()
        entries = [entry_of(b"http://a/", tags=(b"x", b"y")) for _ in range(3000)]
        for entry in entries:
            index.add(entry)
        counted = index._entries[b"x"] = CountedSet(index._entries[b"x"])
        taken: set[Entry] = set()
        while found := index.take_tagged(b"x", 100):
            taken.update(found)
            for entry in found:
                index.discard(entry)
        self.assertEqual((taken, index.take_tagged(b"y", 9)), (set(entries), []))
        self.assertLess(counted.steps, 2 * len(entries))

    def test_aTagTwice(self) -> None:
        """It counts once."""
        index = TagIndex()
        entry = entry_of(b"http://a/1", tags=(b"x", b"x"))
        for expected in ([entry], []):
            index.add(entry)
            if not expected:
                index.discard(entry)
            self.assertEqual(index.take_tagged(b"x", 9), expected)
            index.discard(entry)
            self.assertEqual(index.take_tagged(b"x", 9), [])

    def test_theFootprintGrowsAndShrinks(self) -> None:
        """With the entries and with the tags, and by nothing for those without."""
        index = TagIndex()
        entries = [entry_of(b"http://a/", tags=(b"all", b"%d" % number)) for number in range(1000)]
        for entry in entries:
            index.add(entry)
        self.assertGreater(index.footprint_bytes, 1000 * (216 + 48 + 16))
        self.assertLess(index.footprint_bytes, 1000 * (216 + 48 + 200))
        full = index.footprint_bytes
        index.add(entry_of(b"http://a/"))
        self.assertEqual(index.footprint_bytes, full)
        for entry in entries:
            index.discard(entry)
        # The table of tags itself grows only; the store makes a new one when it is far too large.
        self.assertLess(index.footprint_bytes, full / 4)

    def test_theFootprintIsThatOfItsSets(self) -> None:
        """Kept as a sum, never counted anew; and tables that are too large are made to fit."""
        index = TagIndex()
        entries = [entry_of(b"http://a/", tags=(b"all", b"%d" % (number % 300))) for number in range(2000)]
        for entry in entries:
            index.add(entry)

        def held() -> int:
            tags = index._entries
            return getsizeof(tags) + sum(map(getsizeof, tags.values())) + sum(map(allocated_bytes, tags))

        self.assertEqual(index.footprint_bytes, held())
        for entry in entries[5:]:
            index.discard(entry)
        self.assertEqual(set(index._entries), {b"all", *(b"%d" % number for number in range(5))})
        before = index.footprint_bytes
        self.assertEqual(before, held())
        index.compact()
        self.assertEqual(index.footprint_bytes, held())
        self.assertLess(index.footprint_bytes, 3000)
        self.assertGreater(before, 50_000)
        self.assertEqual(set(index.take_tagged(b"all", 9)), set(entries[:5]))
