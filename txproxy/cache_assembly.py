"""Joins what belongs to the cache: its store, and what all routes that use it share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.task import LoopingCall

from txproxy.cache.budget import Budget
from txproxy.cache.engine import CacheEngine, EngineTools
from txproxy.cache.guard import SafeStore
from txproxy.cache.memory import MemoryStore
from txproxy.cache.pressure import Pressure
from txproxy.cache.store import Store
from txproxy.config.model import CacheSettings, Config
from txproxy.config.problems import ConfigError, Problem
from txproxy.observe.log import Logger
from txproxy.policy.caching.vary import secondary_key

log = Logger()

_LOOK_S = 1.0
"""Between two looks at what is of no more use, and at the memory of the process."""
_STEP = 100
"""Entries that are removed at a time: about a quarter of a millisecond."""
_PAUSE_S = 0.01
"""Between two steps, in which requests are served."""
_METHODS = ("is_sealed", *(name for name, value in vars(Store).items() if callable(value) and name[0] != "_"))
"""What a store must have."""
_ON_ITS_WAY = 4
"""The part of the cache's size that content may take which is on its way into it, or one object if that is more."""


class CacheKeeper:
    """Removes what is of no more use, and keeps the cache within its limits, a little at a time.

    :param engine: the cache.
    :param pressure: says how large it may be.
    :param reactor: provides IReactorTime.
    """

    def __init__(self, engine: CacheEngine, pressure: Pressure, reactor: Any) -> None:
        self._engine = engine
        self._pressure = pressure
        self._reactor = reactor
        self._allowed_bytes = pressure.allowed_bytes
        self._loop = LoopingCall(self._look)
        self._loop.clock = reactor
        self._next_step: Any = None

    def start(self) -> None:
        """Begin."""
        if not self._loop.running:
            self._loop.start(_LOOK_S, now=False)

    def change(self, pressure: Pressure) -> None:
        """Keep it within other limits from the next look on.

        :param pressure: says how large it may be.
        """
        self._pressure = pressure
        self._allowed_bytes = pressure.allowed_bytes

    def stop(self) -> None:
        """End, and give up fetches that nobody waits for."""
        if self._loop.running:
            self._loop.stop()
        if self._next_step is not None:
            self._next_step.cancel()
            self._next_step = None
        self._engine.stop()

    def _look(self) -> None:
        self._allowed_bytes = self._pressure.look(self._engine.store.statistics().held_bytes)
        if self._next_step is None:
            self._step()

    def _step(self) -> None:
        """Remove a little; if there is more, go on soon."""
        self._next_step = None
        engine = self._engine
        removed = max(engine.store.expire(engine.wall_clock(), _STEP), engine.store.limit(self._allowed_bytes, _STEP))
        if removed >= _STEP:
            self._next_step = self._reactor.callLater(_PAUSE_S, self._step)


def make_cache(
    config: Config, functions: Mapping[str, Callable[..., Any]], reactor: Any, clocks: Any
) -> tuple[CacheEngine, CacheKeeper] | None:
    """Return the cache of this worker, and what keeps it; None if no route uses one.

    :param functions: users' functions by the reference that the configuration has for them.
    :raises ConfigError: if the user's function makes no store.
    """
    if not uses_cache(config):
        return None
    settings = config.cache or CacheSettings()
    store: Any = MemoryStore(settings.max_bytes, settings.max_object_bytes, secondary_key)
    if settings.store:
        store = _users_store(functions[settings.store], settings)
    tools = EngineTools(clocks.wall, clocks.monotonic, reactor.callLater)
    name = config.proxy.via_name.encode()
    budget = Budget(_on_its_way(settings), settings.max_bytes, clocks.monotonic, reactor.callLater)
    if hasattr(store, "on_removed"):
        store.on_removed = budget.removed
    engine = CacheEngine(SafeStore(store, log, clocks.monotonic), name, budget, tools)
    return engine, CacheKeeper(engine, Pressure(settings.max_bytes, settings.max_rss_bytes), reactor)


def uses_cache(config: Config) -> bool:
    """Return whether any route has a cache."""
    return any(route.cache for route in config.routes)


def keeps_cache(before: Config, after: Config) -> bool:
    """Return whether the cache of one configuration is that of another too, with all that is stored."""
    stores = [(config.cache or CacheSettings()).store for config in (before, after)]
    return uses_cache(before) and uses_cache(after) and stores[0] == stores[1]


def change_cache(engine: CacheEngine, keeper: CacheKeeper, before: Config, after: Config) -> None:
    """Have a cache go on as another configuration says.

    A store of a user's own keeps its size, unless it has ``resize`` as ours has.
    """
    old, new = (config.cache or CacheSettings() for config in (before, after))
    engine.name = after.proxy.via_name.encode()
    if (old.max_bytes, old.max_object_bytes, old.max_rss_bytes) == (
        new.max_bytes,
        new.max_object_bytes,
        new.max_rss_bytes,
    ):
        return
    engine.budget.grow(_on_its_way(new) - _on_its_way(old), new.max_bytes - old.max_bytes)
    engine.store.resize(new.max_bytes, new.max_object_bytes)
    keeper.change(Pressure(new.max_bytes, new.max_rss_bytes))


def _on_its_way(settings: CacheSettings) -> int:
    return max(settings.max_bytes // _ON_ITS_WAY, settings.max_object_bytes)


def _users_store(make: Callable[..., Any], settings: CacheSettings) -> Any:
    try:
        store = make(settings)
        missing = [name for name in _METHODS if not hasattr(store, name)]
    except Exception as error:  # The function is the user's: whatever it raises is a fault of the configuration.
        raise _config_error(f"{settings.store} raised {type(error).__name__}: {error}") from None
    if missing:
        raise _config_error(f"{settings.store} returned a {type(store).__name__} without {', '.join(missing)}")
    return store


def _config_error(message: str) -> ConfigError:
    return ConfigError((Problem("configuration", 0, "cache.store", message),))
