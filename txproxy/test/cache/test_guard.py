"""A store that fails never fails a request."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from txproxy.cache.entry import Entry, Seal, Variant
from txproxy.cache.guard import MOST_OWED, Health, SafeStore
from txproxy.cache.memory import MemoryStore
from txproxy.cache.store import EVERYTHING, Purge, Statistics, Store
from txproxy.test.cache.entries import NOW, entry_of, key_of, language_of, request_of

_ANY = request_of()
_URL = b"http://a/"
_KEY = key_of(_URL)


class _Failing(MemoryStore):
    """A store in memory that can be made to fail, at once or at the so many-th call."""

    def __init__(self, is_sealed: bool = False) -> None:
        super().__init__(2**26, 2**20, language_of)
        self.is_sealed = is_sealed
        self.fails = False
        self.fails_within_purge = False
        self.calls: list[str] = []
        self.purges: list[Purge] = []

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if self.fails:
            raise OSError(name)

    def lookup(self, key: bytes, request: Any) -> Entry | None:
        self._call("lookup")
        return super().lookup(key, request)

    def variants(self, key: bytes) -> tuple[Entry, ...]:
        self._call("variants")
        return super().variants(key)

    def put(self, entry: Entry, now: float) -> bool:
        self._call("put")
        return super().put(entry, now)

    def remove(self, entry: Entry) -> bool:
        self._call("remove")
        return super().remove(entry)

    def purging(self, what: Purge) -> Iterator[int]:
        self._call("purging")
        self.purges.append(what)
        for count in super().purging(what):
            yield count
            if self.fails_within_purge:
                raise OSError("purging")

    def expire(self, now: float, most: int = 100) -> int:
        self._call("expire")
        return super().expire(now, most)

    def limit(self, to_bytes: int, most: int = 100) -> int:
        self._call("limit")
        return super().limit(to_bytes, most)

    def statistics(self) -> Statistics:
        self._call("statistics")
        return super().statistics()


class _Log:
    """Keeps lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def warn(self, format: str, **values: Any) -> None:
        self.lines.append("warn " + format.format(**values))

    def info(self, format: str, **values: Any) -> None:
        self.lines.append("info " + format.format(**values))


class GuardCase(SynchronousTestCase):
    """A guarded store with one entry."""

    is_sealed = False

    def setUp(self) -> None:
        self.clock = Clock()
        self.log = _Log()
        self.inner = _Failing(self.is_sealed)
        self.store = SafeStore(self.inner, self.log, self.clock.seconds)
        self.entry = entry_of(_URL, tags=(b"t",), lifetime_s=10)
        self.assertTrue(self.store.put(self.entry, NOW))
        self.inner.calls.clear()

    def numbers(self) -> tuple[int, int, int]:
        return self.store.failures, self.store.bypassed, self.store.corrupted

    def break_down(self) -> None:
        """Have the store fail once and be away."""
        self.inner.fails = True
        self.assertIsNone(self.store.lookup(_KEY, _ANY))
        self.inner.fails = False
        self.inner.calls.clear()


class HealthyTests(GuardCase):
    """Nothing is lost on the way."""

    def test_itsHealthCanBeRead(self) -> None:
        """By whoever shows numbers; also while the store is away."""
        self.assertEqual(self.store.health(), Health(is_away=False, failures=0, bypassed=0, corrupted=0))
        self.break_down()
        self.store.lookup(_KEY, _ANY)
        self.store.lookup(_KEY, _ANY)
        self.store.corrupted = 7
        self.assertEqual(self.store.health(), Health(is_away=True, failures=1, bypassed=2, corrupted=7))
        self.assertEqual(self.inner.calls, [])

    def test_everyCallGoesThrough(self) -> None:
        """With its result."""
        store: Store = self.store
        self.assertIs(store.lookup(_KEY, _ANY), self.entry)
        self.assertIsNone(store.lookup(b"other", _ANY))
        self.assertEqual(store.variants(_KEY), (self.entry,))
        self.assertEqual(store.statistics(), self.inner.statistics())
        for purge in (
            lambda: store.purge_url(_URL),
            lambda: store.purge_prefix(b"http"),
            lambda: store.purge_tag(b"t"),
            store.clear,
            lambda: sum(store.purging(Purge("tag", b"t"))),
            lambda: store.expire(NOW + 100, 5),
            lambda: store.limit(0, 5),
            lambda: int(store.remove(self.entry)),
        ):
            store.limit(2**26)
            self.assertTrue(store.put(self.entry, NOW))
            self.assertEqual((purge(), purge()), (1, 0))
        self.assertEqual(self.numbers(), (0, 0, 0))
        self.assertIsNone(self.entry.seal)
        self.assertEqual(self.log.lines, [])


class FailingTests(GuardCase):
    """It is passed by, and comes back by itself."""

    def test_noCallRaises(self) -> None:
        """Each gives what an empty store would; the failure is counted, and what follows is not asked."""
        for call, expected in (
            (lambda store: store.lookup(_KEY, _ANY), None),
            (lambda store: store.variants(_KEY), ()),
            (lambda store: store.put(self.entry, NOW), False),
            (lambda store: store.remove(self.entry), False),
            (lambda store: list(store.purging(EVERYTHING)), []),
            (lambda store: store.purge_url(_URL), 0),
            (lambda store: store.purge_prefix(_URL), 0),
            (lambda store: store.purge_tag(b"t"), 0),
            (lambda store: store.clear(), 0),
            (lambda store: store.expire(NOW), 0),
            (lambda store: store.limit(0), 0),
            (lambda store: store.statistics(), Statistics(0, 0, 0, 0, 0, 0, 0, 0)),
        ):
            self.setUp()
            self.inner.fails = True
            self.assertEqual(call(self.store), expected)
            self.assertEqual(self.store.failures, 1)
            self.assertTrue(self.store.is_away)
            asked = len(self.inner.calls)
            self.assertEqual(call(self.store), expected)
            self.assertEqual(len(self.inner.calls), asked)
            self.assertGreater(self.store.bypassed, 0)
            self.assertEqual(self.store.failures, 1)

    def test_forHowLong(self) -> None:
        """Five seconds, then twice as long each time, up to a minute; from the beginning after a good minute."""
        self.inner.fails = True
        for seconds in (5, 10, 20, 40, 60, 60):
            self.store.lookup(_KEY, _ANY)
            self.clock.advance(seconds - 0.1)
            before = len(self.inner.calls)
            self.store.lookup(_KEY, _ANY)
            self.assertEqual(len(self.inner.calls), before, seconds)
            self.clock.advance(0.1)
        self.assertEqual(self.numbers(), (6, 6, 0))
        self.assertIn(f"warn cache: the store fails and is bypassed for 40 s: {OSError('lookup')!r}", self.log.lines)
        self.inner.fails = False
        self.assertIs(self.store.lookup(_KEY, _ANY), self.entry)
        self.assertEqual(self.log.lines[-1], "info cache: the store is asked again")
        for good_s, bypass_s in ((59, 60), (60, 5), (4, 10)):
            self.clock.advance(good_s)
            self.break_down()
            self.clock.advance(bypass_s - 0.1)
            self.assertIsNone(self.store.lookup(_KEY, _ANY), good_s)
            self.clock.advance(0.1)
            self.assertIs(self.store.lookup(_KEY, _ANY), self.entry)

    def test_aStoreThatFailsAtFirst(self) -> None:
        """It is passed by for the shortest time, however long the process has run."""
        self.clock.advance(1000)
        self.break_down()
        self.clock.advance(5)
        self.assertIs(self.store.lookup(_KEY, _ANY), self.entry)


class OwedTests(GuardCase):
    """What was purged while the store was away is never found again."""

    def test_owedPurges(self) -> None:
        """Each is done before anything is found; what was not purged is still there."""
        for purge, is_gone in (
            (lambda store: store.purge_url(_URL), True),
            (lambda store: store.purge_prefix(b"http://a"), True),
            (lambda store: store.purge_tag(b"t"), True),
            (lambda store: store.clear(), True),
            (lambda store: store.remove(self.entry), True),
            (lambda store: store.purge_url(b"http://b/"), False),
            (lambda store: store.put(entry_of(_URL), NOW), False),
            (lambda store: store.variants(_KEY), False),
        ):
            for fails in (False, True):  # While it is away, or by failing itself.
                self.setUp()
                if not fails:
                    self.break_down()
                self.inner.fails = fails
                purge(self.store)
                self.inner.fails = False
                self.assertEqual(self.inner.variants(_KEY), (self.entry,))
                self.clock.advance(5)
                self.assertEqual(self.store.lookup(_KEY, _ANY) is None, is_gone)
                self.clock.advance(5)
                before = len(self.inner.purges)
                self.store.lookup(_KEY, _ANY)
                self.assertEqual(len(self.inner.purges), before, "it is done once")

    def test_aPurgeThatFailsHalfway(self) -> None:
        """It is done again, from the start."""
        for number in range(150):
            self.store.put(entry_of(b"http://a/%d" % number), NOW)
        self.inner.fails_within_purge = True
        self.assertEqual(self.store.purge_prefix(b"http://a/"), 100)
        self.assertEqual((self.store.failures, len(self.inner)), (1, 51))
        self.clock.advance(5)
        self.assertIsNone(self.store.lookup(_KEY, _ANY))
        self.assertEqual(self.store.failures, 2, "it fails again, and stays away")
        self.inner.fails_within_purge = False
        self.clock.advance(10)
        self.assertIsNone(self.store.lookup(_KEY, _ANY))
        self.assertEqual((len(self.inner), self.store.is_away), (0, False))

    def test_theyAreBounded(self) -> None:
        """Of more than are kept, or when everything was purged anyway, everything goes."""
        for count, clears, expected in (
            (MOST_OWED, False, MOST_OWED),
            (MOST_OWED + 1, False, 1),
            (3, True, 1),
        ):
            self.setUp()
            self.break_down()
            for number in range(count):
                self.store.purge_url(b"http://b/%d" % number)
            if clears:
                self.store.clear()
                self.store.purge_url(b"http://b/")
            self.clock.advance(5)
            is_kept = expected > 1
            self.assertEqual(self.store.lookup(_KEY, _ANY) is not None, is_kept)
            self.assertEqual(len(self.inner.purges), expected)
            self.assertEqual(EVERYTHING in self.inner.purges, not is_kept)


class SealedTests(GuardCase):
    """What comes back from outside the process is verified."""

    is_sealed = True

    def test_whatIsWholeIsFound(self) -> None:
        """With the seal that it was given when it was stored."""
        self.assertEqual(self.entry.seal, Seal.of(self.entry))
        self.assertIs(self.store.lookup(_KEY, _ANY), self.entry)
        self.assertEqual(self.store.variants(_KEY), (self.entry,))
        self.assertEqual(self.numbers(), (0, 0, 0))

    def test_whatIsNotIsDroppedAndCounted(self) -> None:
        """Each row: what is wrong with it; it is never found again, and the store is not away for it."""
        for name, value in (
            ("body", b"conten"),
            ("body", b"contenT"),
            ("seal", None),
            ("seal", Seal(7, 0)),
            ("head", None),
            ("body", None),
        ):
            self.setUp()
            setattr(self.entry, name, value)
            self.assertIsNone(self.store.lookup(_KEY, _ANY), name)
            self.assertEqual(self.numbers(), (0, 0, 1))
            self.assertEqual(len(self.inner), 0)
            self.assertIn("dropped", self.log.lines[-1])

    def test_variantsAreNotReadThrough(self) -> None:
        """A miss asks only by what replies vary: no body is looked at before it is found."""
        self.entry.body = b"contenT"
        self.assertEqual(self.store.variants(_KEY), (self.entry,))
        self.assertEqual(self.numbers(), (0, 0, 0))
        self.assertIsNone(self.store.lookup(_KEY, _ANY))
        self.assertEqual((self.store.variants(_KEY), self.numbers()), ((), (0, 0, 1)))

    def test_variantsThatAreNone(self) -> None:
        """Each row: what the store gives for variants; what is none is dropped, and the others are told."""
        names: Any
        broken = []
        for names in (None, 7, b"accept", (b"accept", None), ("accept",)):
            broken.append(entry_of(_URL, variant=Variant(names)))
        broken.append(entry_of(b"http://b/"))
        broken.append(Entry.__new__(Entry))
        whole = entry_of(_URL, variant=Variant((b"accept",), b"x"))
        given: Any
        for given, corrupted, failures in (
            (None, 0, 1),
            (7, 0, 1),
            ((), 0, 0),
            ((whole,), 0, 0),
            ([whole], 0, 0),
            ((None, whole), 1, 0),
            ((whole, b"accept"), 1, 0),
            *(((whole, each), 1, 0) for each in broken),
        ):
            self.setUp()
            self.inner.variants = lambda key, given=given: given  # type: ignore[method-assign]
            self.inner.remove = lambda entry: True  # type: ignore[method-assign]
            expected = (whole,) if isinstance(given, (tuple, list)) and whole in given else ()
            self.assertEqual(self.store.variants(_KEY), expected, given)
            self.assertEqual((self.store.corrupted, self.store.failures), (corrupted, failures))

    def test_anotherKeysEntryIsNotTaken(self) -> None:
        """A whole entry in the wrong place is wrong, too."""
        other = entry_of(b"http://b/")
        self.store.put(other, NOW)
        self.inner._index[_KEY] = other
        self.assertIsNone(self.store.lookup(_KEY, _ANY))
        self.assertEqual(self.store.corrupted, 1)

    def test_whatIsNoEntryAtAll(self) -> None:
        """It does no harm, even if it cannot be removed."""
        for removal_fails in (False, True):
            self.setUp()
            self.inner.lookup = lambda key, request: object()  # type: ignore[method-assign,assignment,return-value]
            self.inner.fails = removal_fails
            store = SafeStore(self.inner, self.log, self.clock.seconds)
            self.assertIsNone(store.lookup(_KEY, _ANY))
            self.assertEqual((store.corrupted, store.failures), (1, int(removal_fails)))

    def test_inMemoryNothingIsVerified(self) -> None:
        """Nor does it cost anything."""
        store = SafeStore(_Failing(), self.log, self.clock.seconds)
        entry = entry_of(_URL)
        store.put(entry, NOW)
        entry.body = b"changed"
        self.assertIs(store.lookup(_KEY, _ANY), entry)
