"""The store in memory: what it finds, what it forgets, what it takes."""

from __future__ import annotations

from sys import getsizeof

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txproxy.cache.entry import MOST_HITS, Entry, Variant
from txproxy.cache.footprint import allocated_bytes
from txproxy.cache.memory import MemoryStore
from txproxy.cache.store import Store
from txproxy.cache.variants import MOST_VARIANTS
from txproxy.test.cache.entries import ETAG, NOW, entry_of, key_of, language_of, request_of

_ANY = request_of()
_LANGUAGE = (b"accept-language",)
_MIB = 1024 * 1024


def _store(max_bytes: int = 64 * _MIB, max_object_bytes: int = _MIB) -> MemoryStore:
    return MemoryStore(max_bytes, max_object_bytes, language_of)


def _url(number: int) -> bytes:
    return b"http://a.example/%d" % number


def _filled(store: MemoryStore, count: int, *lines: bytes, body: bytes = b"content") -> list[Entry]:
    entries = [entry_of(_url(number), *lines, body=body) for number in range(count)]
    for entry in entries:
        assert store.put(entry, NOW)
    return entries


def _is_found(store: MemoryStore, entry: Entry) -> bool:
    """Return whether an entry is stored, without using it."""
    return entry in store.variants(entry.key)


class LookupTests(SynchronousTestCase):
    """What was put is found."""

    def setUp(self) -> None:
        self.store = _store()

    def test_itIsAStore(self) -> None:
        """mypy says so, too."""
        store: Store = self.store
        self.assertFalse(store.is_sealed)

    def test_byItsKey(self) -> None:
        """And by no other."""
        entry = entry_of(b"http://a/")
        self.assertTrue(self.store.put(entry, NOW))
        self.assertIs(self.store.lookup(key_of(b"http://a/"), _ANY), entry)
        self.assertIs(self.store.lookup(key_of(b"http://a/"), request_of(accept_language=b"en")), entry)
        for key in (b"http://a/", key_of(b"http://a/b"), key_of(b"http://a/", b"x"), b""):
            self.assertIsNone(self.store.lookup(key, _ANY), key)
            self.assertEqual(self.store.variants(key), ())
        self.assertEqual(len(self.store), 1)

    def test_theSecondReplacesTheFirst(self) -> None:
        """It is counted, and takes the place of the first only."""
        first, second, other = entry_of(b"http://a/"), entry_of(b"http://a/"), entry_of(b"http://b/")
        for entry in (first, other, second):
            self.store.put(entry, NOW)
        self.assertIs(self.store.lookup(first.key, _ANY), second)
        self.assertEqual(self.store.variants(first.key), (second,))
        numbers = self.store.statistics()
        self.assertEqual((numbers.objects, numbers.stored, numbers.replaced, numbers.evicted), (2, 3, 1, 0))

    def test_theSameEntryAgain(self) -> None:
        """It is stored once."""
        entry = entry_of(b"http://a/")
        for _ in range(3):
            self.assertTrue(self.store.put(entry, NOW))
        self.assertEqual(len(self.store), 1)
        self.assertTrue(self.store.remove(entry))
        self.assertEqual(len(self.store), 0)

    def test_variants(self) -> None:
        """RFC 9111 section 4.1: each request gets its own, or none; the newest comes first among all."""
        entries = {}
        for language in (b"en", b"fr", b"de"):
            entries[language] = entry_of(b"http://a/", variant=Variant(_LANGUAGE, language))
            self.store.put(entries[language], NOW)
        key = key_of(b"http://a/")
        for language, entry in entries.items():
            self.assertIs(self.store.lookup(key, request_of(accept_language=language)), entry)
        self.assertIsNone(self.store.lookup(key, request_of(accept_language=b"it")))
        self.assertEqual(self.store.variants(key), (entries[b"de"], entries[b"fr"], entries[b"en"]))
        self.assertEqual(len({id(entry.key) for entry in entries.values()}), 1, "they share their key")
        plain = entry_of(b"http://a/")
        self.store.put(plain, NOW)
        self.assertEqual(self.store.variants(key), (plain,))
        self.assertEqual(self.store.statistics().replaced, 3)

    def test_variantsAreBounded(self) -> None:
        """A client that invents languages pushes out its own, not those that others ask for."""
        wanted = entry_of(b"http://a/", variant=Variant(_LANGUAGE, b"en"))
        self.store.put(wanted, NOW)
        self.store.lookup(wanted.key, request_of(accept_language=b"en"))
        for number in range(3 * MOST_VARIANTS):
            self.store.put(entry_of(b"http://a/", variant=Variant(_LANGUAGE, b"x%d" % number)), NOW)
        self.assertEqual(len(self.store.variants(wanted.key)), MOST_VARIANTS)
        self.assertIs(self.store.lookup(wanted.key, request_of(accept_language=b"en")), wanted)
        numbers = self.store.statistics()
        self.assertEqual((numbers.objects, numbers.evicted), (MOST_VARIANTS, 2 * MOST_VARIANTS + 1))

    def test_keysOfOneUrlDiffer(self) -> None:
        """By what a route adds to them."""
        first, second = entry_of(b"http://a/", added=b"1"), entry_of(b"http://a/", added=b"2")
        for entry in (first, second):
            self.store.put(entry, NOW)
        self.assertIs(self.store.lookup(first.key, _ANY), first)
        self.assertIs(self.store.lookup(second.key, _ANY), second)

    def test_hitsAreCounted(self) -> None:
        """Up to where a number would take memory of its own."""
        entry = entry_of(b"http://a/")
        self.store.put(entry, NOW)
        for _ in range(3):
            self.store.lookup(entry.key, _ANY)
        self.assertEqual(entry.hits, 3)
        for _ in range(300):
            self.store.lookup(entry.key, _ANY)
        self.assertEqual(entry.hits, MOST_HITS)

    def test_whatIsRemovedIsGone(self) -> None:
        """Once; and an entry that was replaced cannot take its successor along."""
        first, second = entry_of(b"http://a/"), entry_of(b"http://a/")
        self.store.put(first, NOW)
        self.store.put(second, NOW)
        for entry, expected in ((first, False), (second, True), (second, False), (entry_of(b"http://b/"), False)):
            self.assertEqual(self.store.remove(entry), expected)
        self.assertIsNone(self.store.lookup(first.key, _ANY))
        self.assertEqual(self.store.statistics().purged, 1)


class BoundTests(SynchronousTestCase):
    """What it takes, and who goes when that is too much."""

    def test_theLeastRecentlyUsedGoes(self) -> None:
        """Whatever was put last or found last stays; a look at variants is no use."""
        store = _store()
        entries = _filled(store, 6, body=bytes(100_000))
        for number in (1, 3, 0, 5):
            store.lookup(entries[number].key, _ANY)
        store.variants(entries[2].key)
        for expected in ([2], [2, 4], [1, 2, 4], [1, 2, 3, 4]):
            self.assertEqual(store.limit(store.held_bytes - 1), 1)
            self.assertEqual([at for at, entry in enumerate(entries) if not _is_found(store, entry)], expected)
        self.assertEqual(store.statistics().evicted, 4)

    def test_neverMoreThanAllowed(self) -> None:
        """However many are put."""
        for max_bytes in (20_000, 300_000, 2_000_000):
            store = _store(max_bytes)
            for number in range(3000):
                self.assertTrue(store.put(entry_of(_url(number), body=bytes(number % 700)), NOW))
                self.assertLessEqual(store.held_bytes, max_bytes)
            self.assertGreater(store.held_bytes, 0.9 * max_bytes - 2000)
            numbers = store.statistics()
            self.assertEqual(numbers.objects + numbers.evicted, 3000)
            self.assertEqual((numbers.objects, numbers.held_bytes), (len(store), store.held_bytes))

    def test_resized(self) -> None:
        """A smaller store shrinks by and by, never in one go, and does not grow meanwhile; a larger one has room."""
        store = _store(2_000_000)
        _filled(store, 600, body=bytes(1000))
        before = store.held_bytes
        store.resize(100_000, 500)
        self.assertEqual((store.held_bytes, store.max_bytes), (before, 100_000))
        self.assertTrue(store.put(entry_of(b"http://a/", body=bytes(400)), NOW))
        self.assertLessEqual(store.statistics().evicted, 101)
        self.assertLessEqual(store.held_bytes, before)
        self.assertFalse(store.put(entry_of(b"http://b/", body=bytes(501)), NOW))
        steps = 0
        while store.limit(2_000_000):
            steps += 1
        self.assertGreater(steps, 3)
        self.assertLessEqual(store.held_bytes, 100_000)
        store.resize(2_000_000, 5000)
        _filled(store, 600, body=bytes(1000))
        self.assertGreater(store.held_bytes, 600_000)

    def test_whatIsTooLarge(self) -> None:
        """A body above the limit, or an entry that all of the store has no room for: the older one goes too."""
        for store, largest in ((_store(max_object_bytes=500), 500), (_store(max_bytes=30_000), 20_000)):
            older, other = entry_of(b"http://a/"), entry_of(b"http://b/")
            for entry in (older, other):
                store.put(entry, NOW)
            self.assertTrue(store.put(entry_of(b"http://c/", body=bytes(largest)), NOW))
            self.assertFalse(store.put(entry_of(b"http://a/", body=bytes(largest * 2)), NOW))
            self.assertIsNone(store.lookup(older.key, _ANY))
            self.assertEqual(store.statistics().refused, 1)
            self.assertTrue(_is_found(store, other))
        # The entry alone has room, but not with the tables that it stands in.
        entry = entry_of(b"http://c/", body=bytes(9000))
        store = _store(max_bytes=10_000)
        self.assertFalse(store.put(entry, NOW))
        self.assertLess(entry.footprint_bytes, 10_000)
        self.assertEqual(store.statistics().objects, 0)
        store = _store(max_object_bytes=500)
        self.assertFalse(store.put(entry_of(b"http://c/", body=bytes(501)), NOW))

    def test_whatIsHeldIsTheSumOfAll(self) -> None:
        """Entries, and each of the five tables."""
        store = _store()
        for number in range(700):
            tags = (b"all", b"%d" % number)
            store.put(entry_of(_url(number), body=bytes(number), tags=tags, lifetime_s=number), NOW)
        for number in range(0, 700, 3):
            store.purge_url(_url(number))
        entries = sum(entry.footprint_bytes for entry in store._used)
        dicts = getsizeof(store._index) + getsizeof(store._used)
        others = [store._keys.footprint_bytes, store._tags.footprint_bytes, store._expiry.footprint_bytes]
        self.assertGreater(min(others), 5000)
        self.assertEqual(store.held_bytes, entries + dicts + sum(others))

    def test_tablesShrinkAfterAll(self) -> None:
        """By whatever way nearly all has gone."""
        empty = _store()
        empty.put(entry_of(b"http://b/", ETAG, body=bytes(5000)), NOW)
        for way in ("expire", "limit"):
            store = _store()
            for number in range(4000):
                store.put(entry_of(_url(number)), NOW)
            kept = entry_of(b"http://b/", ETAG, body=bytes(5000))
            store.put(kept, NOW)
            if way == "expire":
                while store.expire(NOW + 1000):
                    pass
            else:
                # Less than the tables of so many take: they are made anew in time for much to be left.
                self.assertGreater(getsizeof(store._used), 300_000)
                while store.limit(200_000):
                    pass
                self.assertGreater(store.held_bytes, 190_000)
                self.assertGreater(len(store), 140)
                while store.limit(empty.held_bytes + 25_000):
                    pass
            self.assertIs(store.lookup(kept.key, _ANY), kept)
            self.assertLess(store.held_bytes, empty.held_bytes + 30_000, way)

    def test_allIsGivenBack(self) -> None:
        """When the last entry is gone, hardly anything is held."""
        store = _store()
        empty_bytes = store.held_bytes
        entries = _filled(store, 3000)
        entries += [entry_of(b"http://t/%d" % number, tags=(b"t", b"%d" % number)) for number in range(100)]
        for entry in entries[3000:]:
            store.put(entry, NOW)
        for entry in entries:
            store.remove(entry)
        store.expire(NOW)
        self.assertEqual(len(store), 0)
        # The tables of tags and moments are small.
        self.assertLess(store.held_bytes, empty_bytes + 20_000)

    def test_aLimitIsApproachedInSteps(self) -> None:
        """Nothing holds the reactor; afterwards it holds for what is put, until it is lifted."""
        store = _store()
        _filled(store, 1000)
        half = store.held_bytes // 2
        self.assertEqual(store.limit(half, 30), 30)
        self.assertEqual(len(store), 970)
        while store.limit(half, 30):
            pass
        self.assertLessEqual(store.held_bytes, half)
        left = len(store)
        self.assertGreater(left, 300)
        store.put(entry_of(b"http://b/"), NOW)
        self.assertLessEqual(store.held_bytes, half)
        self.assertEqual(store.limit(10**12), 0)
        _filled(store, 1000)
        self.assertEqual(len(store), 1001)

    def test_aLimitOfNothing(self) -> None:
        """All goes, and nothing more is stored."""
        store = _store()
        _filled(store, 50)
        self.assertEqual(store.limit(-1), 50)
        self.assertFalse(store.put(entry_of(b"http://b/"), NOW))

    def test_theHeadForHttp2IsCounted(self) -> None:
        """From when the next entry is found: it is made by the first delivery. It is given back with the entry."""
        store = _store()
        first, second = _filled(store, 2)
        before = store.held_bytes
        store.lookup(first.key, _ANY)
        first.head.block = bytes(200)
        self.assertEqual(store.held_bytes, before)
        for _ in range(3):
            store.lookup(second.key, _ANY)
            self.assertEqual(store.held_bytes, before + allocated_bytes(bytes(200)))
            store.lookup(first.key, _ANY)
        store.remove(first)
        first.head.block = second.head.block = bytes(100)
        before = store.held_bytes
        store.lookup(second.key, _ANY)
        self.assertEqual(store.held_bytes, before, "what is gone counts no more")
        store.remove(second)
        self.assertEqual(store.statistics().objects, 0)
        empty = _store()
        empty.put(entry_of(b"http://a/"), NOW)
        empty.clear()
        self.assertEqual(store.held_bytes - empty.held_bytes, 0)


class ExpiryTests(SynchronousTestCase):
    """What is of no more use goes by itself."""

    def test_inStepsAndOnlyWhenOfNoMoreUse(self) -> None:
        """Those with a validator stay."""
        store = _store()
        for number in range(250):
            store.put(entry_of(_url(number), lifetime_s=10), NOW)
        kept = entry_of(b"http://kept/", ETAG, lifetime_s=10)
        later = entry_of(b"http://later/", lifetime_s=1000)
        for entry in (kept, later):
            store.put(entry, NOW)
        self.assertEqual(store.expire(NOW + 9), 0)
        self.assertEqual([store.expire(NOW + 20) for _ in range(4)], [100, 100, 50, 0])
        self.assertEqual(store.expire(NOW + 20, 0), 0)
        self.assertEqual((len(store), store.statistics().expired), (2, 250))
        self.assertEqual(store.expire(NOW + 2000), 1)
        self.assertTrue(_is_found(store, kept))

    def test_whatWasReplacedDoesNotExpire(self) -> None:
        """The younger one stays for its own time."""
        store = _store()
        store.put(entry_of(b"http://a/", lifetime_s=10), NOW)
        store.put(entry_of(b"http://a/", lifetime_s=100), NOW)
        self.assertEqual(store.expire(NOW + 50), 0)
        self.assertEqual(len(store), 1)

    def test_anEntryThatCannotBeStoredHarmsNothing(self) -> None:
        """What raises leaves the store as it was without it."""
        store = _store()
        entry = entry_of(b"http://a/")
        del entry.freshness
        self.assertRaises(AttributeError, store.put, entry, NOW)
        self.assertEqual((len(store), store.variants(entry.key)), (0, ()))
        self.assertTrue(store.put(entry_of(b"http://a/"), NOW))


_urls = st.integers(0, 5)
_values = st.integers(-1, 2)
_moves = st.lists(
    st.one_of(
        st.tuples(st.just("put"), _urls, _values),
        st.tuples(st.just("look"), _urls, _values),
        st.tuples(st.just("remove"), _urls, _values),
        st.tuples(st.just("limit"), st.integers(1, 3), _values),
    ),
    max_size=60,
)


class LawTests(SynchronousTestCase):
    """Against a list of entries in the order of their use."""

    @settings(max_examples=150, deadline=None)
    @given(_moves)
    def test_theSameAsAList(self, moves: list[tuple[str, int, int]]) -> None:
        """What is found, in which order it is evicted, and what it weighs."""
        store = _store()
        used: list[Entry] = []
        for move, number, value in moves:
            variant = Variant(_LANGUAGE, b"%d" % value) if value >= 0 else Variant()
            url = _url(number)
            alike = [entry for entry in used if entry.key == key_of(url)]
            same = [entry for entry in alike if entry.variant == variant]
            if move == "put":
                entry = entry_of(url, variant=variant, body=bytes(number * 100))
                store.put(entry, NOW)
                used = [each for each in used if each not in same]
                used = [each for each in used if each not in alike or each.variant.names == variant.names]
                used.append(entry)
            elif move == "look":
                fits = [each for each in alike if each.variant in (variant, Variant())]
                found = store.lookup(
                    key_of(url), request_of(**{"accept_language": b"%d" % value} if value >= 0 else {})
                )
                self.assertEqual([found] if found else [], fits)
                used = [each for each in used if each is not found] + fits
            elif move == "remove":
                for entry in same:
                    self.assertTrue(store.remove(entry))
                    used.remove(entry)
            else:
                for _ in range(min(number, len(used))):
                    self.assertEqual(store.limit(store.held_bytes - 1, 1), 1)
                    del used[0]
                store.limit(64 * _MIB)
            self.assertEqual(list(store._used), used)
            self.assertEqual(store._held_bytes, sum(entry.footprint_bytes for entry in used))
            for key in {key_of(_url(each)) for each in range(6)}:
                stored = {entry for entry in used if entry.key == key}
                self.assertEqual(set(store.variants(key)), stored)
