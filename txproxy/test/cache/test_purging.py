"""Purges by URL, by prefix, by tag, and of everything."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txproxy.cache.entry import Entry, Variant
from txproxy.cache.memory import MemoryStore
from txproxy.cache.store import EVERYTHING, Purge
from txproxy.policy.caching.key import primary_key, url_of
from txproxy.test.cache.entries import NOW, entry_of, key_of, language_of, request_of

_NAMES = (b"accept-language",)
_URLS = (b"http://a/", b"http://a/x", b"http://a/x/1", b"http://a/x?q", b"http://a/xy", b"http://b/x", b"https://a/x")


def _filled() -> tuple[MemoryStore, list[Entry]]:
    """Return a store with two variants of each URL under one key, and one entry under another."""
    store = MemoryStore(2**26, 2**20, language_of)
    entries = []
    for number, url in enumerate(_URLS):
        tags = (b"all", b"odd" if number % 2 else b"even")
        for language in (b"en", b"fr"):
            entries.append(entry_of(url, variant=Variant(_NAMES, language), tags=tags, added=b"1"))
        entries.append(entry_of(url, tags=tags, added=b"2"))
    for entry in entries:
        store.put(entry, NOW)
    return store, entries


class PurgeTests(SynchronousTestCase):
    """What goes, what stays, and how many are told."""

    def test_whatGoes(self) -> None:
        """Each row: what is purged, and the URLs that are gone, with all their variants and keys."""
        for what, gone in (
            (Purge("url", b"http://a/x"), {b"http://a/x"}),
            (Purge("url", b"http://a/"), {b"http://a/"}),
            (Purge("url", b"http://a"), set()),
            (Purge("url", b""), set()),
            (Purge("prefix", b"http://a/x"), {b"http://a/x", b"http://a/x/1", b"http://a/x?q", b"http://a/xy"}),
            (Purge("prefix", b"http://a/x/"), {b"http://a/x/1"}),
            (Purge("prefix", b"http://c/"), set()),
            (Purge("prefix", b"http"), set(_URLS)),
            (Purge("tag", b"odd"), set(_URLS[1::2])),
            (Purge("tag", b"none"), set()),
            (EVERYTHING, set(_URLS)),
        ):
            store, entries = _filled()
            self.assertEqual(sum(store.purging(what)), 3 * len(gone), what)
            left = {entry for entry in entries if entry.url not in gone}
            self.assertEqual({entry for entry in entries if entry in store.variants(entry.key)}, left, what)
            numbers = store.statistics()
            self.assertEqual((numbers.objects, numbers.purged), (len(left), 3 * len(gone)))

    def test_atOnce(self) -> None:
        """The short ways to say it."""
        store, _ = _filled()
        self.assertEqual(store.purge_url(b"http://b/x"), 3)
        self.assertEqual(store.purge_tag(b"even"), 12)
        self.assertEqual(store.purge_prefix(b"http://a/x"), 6)
        self.assertEqual(store.clear(), 0)
        self.assertEqual(len(store), 0)

    def test_theKeysOfThePolicyFit(self) -> None:
        """A URL as it stands in a key that the policy makes purges it, alone or with what a route adds."""
        store = MemoryStore(2**26, 2**20, language_of)
        request = request_of()
        request.host = request.hostname = b"a.example"
        url = url_of(request, b"https")
        for key in (primary_key(request, b"https"), primary_key(request, b"https", (lambda *_: b"more",))):
            entry = entry_of(url)
            entry.key = key
            self.assertEqual(entry.url, url)
            store.put(entry, NOW)
        self.assertEqual(store.purge_url(url), 2)

    def test_aBareUrlIsAKeyToo(self) -> None:
        """If a key holds nothing else."""
        store = MemoryStore(2**26, 2**20, language_of)
        entry = entry_of(b"http://a/")
        entry.key = b"http://a/"
        store.put(entry, NOW)
        self.assertEqual(store.purge_url(b"http://a/"), 1)


class StepTests(SynchronousTestCase):
    """Many go in small steps, while the store is used by others."""

    def filled(self, count: int) -> MemoryStore:
        store = MemoryStore(2**26, 2**20, language_of)
        for number in range(count):
            store.put(entry_of(b"http://a/%d" % number, tags=(b"t",)), NOW)
        return store

    def test_noStepIsLong(self) -> None:
        """A hundred at a time, whatever is asked; between steps everything works."""
        for what in (Purge("prefix", b"http://a/"), Purge("tag", b"t"), EVERYTHING):
            store = self.filled(1050)
            counts = []
            for count in store.purging(what):
                counts.append(count)
                self.assertEqual(len(store), 1050 - sum(counts))
            self.assertEqual(counts, [100] * 10 + [50], what)

    def test_othersGoOnMeanwhile(self) -> None:
        """What is removed meanwhile is not counted, what is stored meanwhile may stay or go: it ends."""
        for what in (Purge("prefix", b"http://a/"), Purge("tag", b"t"), EVERYTHING):
            store = self.filled(500)
            steps = store.purging(what)
            count = next(steps)
            for number in range(0, 500, 2):
                for entry in store.variants(key_of(b"http://a/%d" % number)):
                    self.assertTrue(store.remove(entry))
                    count += 1
            for _ in range(20):
                store.put(entry_of(b"http://a/0", tags=(b"t",)), NOW)
                count += next(steps, 0)
            count += sum(steps)
            self.assertLessEqual(len(store), 1)
            self.assertGreaterEqual(count, 500)
            self.assertLessEqual(count, 520)

    def test_itEndsThoughMoreIsStored(self) -> None:
        """As much as it takes away, before and behind where it is."""
        store = self.filled(300)
        for steps, _ in enumerate(store.purging(EVERYTHING), 1):
            for number in range(100):
                store.put(entry_of(b"http://%d/%d" % (steps, number)), NOW)
            self.assertLess(steps, 20)

    def test_tablesShrinkAfterAll(self) -> None:
        """Those of Python keep their size; they are made anew when hardly anything is left."""
        store = MemoryStore(2**26, 2**20, language_of)
        empty = MemoryStore(2**26, 2**20, language_of)
        for number in range(5000):
            store.put(entry_of(b"http://a/%d" % number, tags=(b"t", b"%d" % number)), NOW)
        kept = entry_of(b"http://b/", tags=(b"t",))
        for each in (store, empty):
            each.put(kept, NOW)
        store.purge_prefix(b"http://a/")
        self.assertIs(store.lookup(kept.key, request_of()), kept)
        self.assertEqual(sum(store.purging(Purge("tag", b"t"))), 1)
        store.put(kept, NOW)
        self.assertLess(store.held_bytes, empty.held_bytes + 2000)
        self.assertEqual(store.expire(NOW + 1000), 1)
