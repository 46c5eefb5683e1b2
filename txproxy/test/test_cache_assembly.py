"""The cache of a proxy: its store, what keeps it within limits, and stores that fail."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from txproxy.cache.budget import Budget
from txproxy.cache.engine import CacheEngine, EngineTools
from txproxy.cache.guard import SafeStore
from txproxy.cache.memory import MemoryStore
from txproxy.cache.pressure import Pressure
from txproxy.cache_assembly import CacheKeeper, make_cache
from txproxy.config.model import CacheSettings
from txproxy.config.problems import ConfigError
from txproxy.observe.log import Logger
from txproxy.policy.caching.vary import secondary_key
from txproxy.test.cache.entries import entry_of
from txproxy.test.config.helpers import MINIMAL, load
from txproxy.test.pipeline.cache_case import FRESH, STORABLE, CacheCase
from txproxy.test.talk import reply
from txproxy.testing import Dialogue, site


class FailingStore(MemoryStore):
    """Fails when it is told to, and damages what it is told to."""

    is_sealed = True
    fails = False
    damages = False

    def lookup(self, key: bytes, request: Any) -> Any:
        if self.fails:
            raise OSError("away")
        found = super().lookup(key, request)
        if self.damages and found is not None:
            found.body = found.body[:-1] + b"!"
        return found

    def put(self, entry: Any, now: float) -> bool:
        if self.fails:
            raise OSError("away")
        return super().put(entry, now)


class StoreTests(CacheCase):
    """Stores of users."""

    def of_users(self) -> Dialogue:
        self.stores: list[FailingStore] = []

        def make(settings: Any) -> FailingStore:
            self.stores.append(FailingStore(settings.max_bytes, settings.max_object_bytes, secondary_key))
            return self.stores[0]

        text = site(
            route="cache = true",
            cluster="pool.idle_timeout_s = 86400",
            rest='[cache]\nstore = "test:make"\nmax_bytes = 1000000\n',
        )
        self.patch(sys, "modules", {**sys.modules, "test": SimpleNamespace(make=make)})
        return Dialogue.of(self, text)

    def test_used(self) -> None:
        """The function is called once, with the settings; hits come from its store, verified."""
        dialogue = self.of_users()
        self.store(dialogue)
        self.assertStill(dialogue, b"HIT", b"stored")
        self.assertEqual(len(self.stores), 1)
        self.assertEqual(self.stores[0].max_bytes, 1_000_000)
        (found,) = self.stores[0].variants(b"http://a.example/ 3:all")
        self.assertIsNotNone(found.seal)

    def test_fails(self) -> None:
        """No request fails; it is passed by for 5 s, counted, and comes back by itself."""
        dialogue = self.of_users()
        self.store(dialogue)
        (store,) = self.stores
        store.fails = True
        for _ in range(3):
            client = self.asks(dialogue)
            self.asked(dialogue).says(STORABLE)
            self.assertGets(client, b"MISS", b"stored")
        health = self.cache_of(dialogue).statistics().health
        self.assertEqual((health.is_away, health.failures), (True, 1))
        store.fails = False
        dialogue.advance(5)
        self.assertStill(dialogue, b"HIT", b"stored")

    def test_damaged(self) -> None:
        """What is not what was stored is dropped, counted, and fetched anew."""
        dialogue = self.of_users()
        self.store(dialogue)
        self.stores[0].damages = True
        client = self.asks(dialogue)
        self.asked(dialogue).says(STORABLE)
        self.assertGets(client, b"MISS", b"stored")
        self.assertEqual(self.cache_of(dialogue).store.corrupted, 1)


class KeeperTests(SynchronousTestCase):
    """Looks once a second."""

    def keeper(self, limit: int = 0, **numbers: int) -> None:
        self.clock = Clock()
        self.resident: int | None = 0
        self.memory = MemoryStore(10_000_000, 1_000_000, secondary_key)
        tools = EngineTools(self.clock.seconds, self.clock.seconds, self.clock.callLater)
        store = SafeStore(self.memory, Logger(), self.clock.seconds)
        engine = CacheEngine(
            store, b"txproxy", Budget(1_000_000, 1_000_000, self.clock.seconds, self.clock.callLater), tools
        )
        self.keeper_ = CacheKeeper(engine, Pressure(10_000_000, limit, lambda: self.resident), self.clock)
        self.keeper_.start()
        self.addCleanup(self.assertEqual, [], self.clock.getDelayedCalls())
        self.addCleanup(self.keeper_.stop)

    def fill(self, count: int, lifetime_s: float = 10) -> None:
        for number in range(count):
            self.memory.put(
                entry_of(b"http://a/%d" % number, body=b"x" * 1000, lifetime_s=lifetime_s, received_at=0.0), 0.0
            )

    def test_expires(self) -> None:
        """What is of no more use goes soon after that, a little at a time."""
        self.keeper()
        self.fill(1050)
        self.clock.pump([1.0] * 10)
        self.assertEqual(len(self.memory), 1050)
        self.clock.pump([1.0] * 4)
        left = len(self.memory)
        self.assertEqual(left % 100, 50)
        self.clock.pump([0.01] * 20)
        self.assertEqual(len(self.memory), 0)

    def test_pressure(self) -> None:
        """When the process takes too much the cache gives some of it up early, a little at a time."""
        self.keeper(limit=100_000_000)
        self.fill(2000, 1000)
        held = self.memory.held_bytes
        self.resident = 100_500_000
        self.clock.advance(1)
        self.assertGreater(len(self.memory), 1800)
        self.clock.pump([0.01] * 40)
        self.assertLess(self.memory.held_bytes, held - 1_000_000)
        self.assertGreater(self.memory.statistics().evicted, 100)

    def test_stops(self) -> None:
        """It may be stopped at any moment, and started again."""
        self.keeper()
        self.fill(500)
        self.clock.pump([1.0] * 12)
        self.keeper_.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.keeper_.start()
        self.keeper_.start()
        self.clock.pump([1.0] * 9)
        self.assertEqual(len(self.memory), 0)


class UsersStoreTests(SynchronousTestCase):
    """What a user's function returns in the place of a store."""

    def test_noStore(self) -> None:
        """It is named as what it is: a fault of the configuration."""

        def fails(_settings: object) -> object:
            raise OSError("no such server")

        for make, message in (
            (fails, "m:f raised OSError: no such server"),
            (lambda: None, "m:f raised TypeError: "),
            (lambda settings: settings, "m:f returned a CacheSettings without is_sealed, lookup, variants, put"),
        ):
            text = MINIMAL.replace("cluster =", "cache = true\ncluster =")
            config = load(text).config.model_copy(update={"cache": CacheSettings(store="m:f")})
            error = self.assertRaises(ConfigError, make_cache, config, {"m:f": make}, Clock(), None)
            self.assertIn(f"cache.store: {message}", str(error))


class DialogueTests(CacheCase):
    """The cache in a whole proxy."""

    def test_leastRecentlyUsed(self) -> None:
        """A full cache evicts what was used the longest ago (D10)."""
        dialogue = self.cached(shared="max_bytes = 100000\nmax_object_bytes = 40000")
        body = bytes(30_000)
        for path in (b"/1", b"/2", b"/3"):
            self.store(dialogue, path, reply(body, FRESH))
            dialogue.advance(0.1)
            self.assertStill(dialogue, b"HIT", body, b"/1")
        self.store(dialogue, b"/4", reply(body, FRESH))
        for path in (b"/1", b"/3", b"/4"):
            self.assertStill(dialogue, b"HIT", body, path)
        client = self.asks(dialogue, b"/2")
        self.asked(dialogue).says(STORABLE)
        self.assertGets(client, b"MISS", b"stored")

    def test_statistics(self) -> None:
        """One record has all numbers."""
        dialogue = self.cached()
        self.store(dialogue)
        self.assertStill(dialogue, b"HIT", b"stored")
        numbers = self.cache_of(dialogue).statistics()
        self.assertEqual((numbers.hits, numbers.misses, numbers.store.stored, numbers.store.objects), (1, 1, 1, 1))
        self.assertGreater(numbers.store.held_bytes, 500)

    def test_expiry(self) -> None:
        """What is of no more use leaves memory without being asked for."""
        dialogue = self.cached()
        self.store(dialogue)
        dialogue.advance(90)
        self.assertEqual(self.cache_of(dialogue).statistics().store.objects, 0)
