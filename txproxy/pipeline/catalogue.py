"""Which stages there are, in the order in which a request passes them. This is the file to edit for a new stage.

A maker is called once per route, with the route's settings and the whole configuration, and returns its stage, or None
where the route has no need of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from txproxy.config.model import CacheSettings, Config
from txproxy.config.route_model import Route as RouteSettings
from txproxy.config.route_model import RouteCache
from txproxy.pipeline.asked import CachedRoute
from txproxy.pipeline.cache_forwards import InvalidatingForward
from txproxy.pipeline.chain import Chain
from txproxy.pipeline.forward import Forward, ForwardTools
from txproxy.pipeline.screen import Screen
from txproxy.pipeline.serve_cached import CachedForward
from txproxy.pipeline.sticky import Sticky
from txproxy.policy.addresses import TrustedPeers
from txproxy.policy.caching.freshness import CacheRules
from txproxy.policy.caching.key import additions_of, bypass_of


def _screen(settings: RouteSettings, config: Config) -> Screen:
    name = config.proxy.via_name.encode()
    return Screen(name, settings.allow_dot_segments, settings.max_body_bytes, settings.connect)


def _sticky(settings: RouteSettings, config: Config) -> Sticky | None:
    # A function may choose any cluster.
    clusters = config.clusters.values() if settings.choose else (config.clusters[settings.cluster],)
    return Sticky() if any(cluster.sticky for cluster in clusters) else None


def _statuses_in(text: str) -> range:
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)


def cached_route(settings: RouteSettings, config: Config) -> CachedRoute:
    """Return how a route uses the cache."""
    shared = config.cache or CacheSettings()
    own = settings.cache if isinstance(settings.cache, RouteCache) else RouteCache()
    statuses = frozenset(status for text in own.statuses for status in _statuses_in(text))
    rules = CacheRules(
        own.default_ttl_s or shared.default_ttl_s,
        own.negative_ttl_s,
        statuses or None,
        shared.store_set_cookie,
        shared.heuristic_fraction,
        own.ttl_s,
    )
    return CachedRoute(
        settings.name.encode(),
        rules,
        shared.max_object_bytes,
        shared.lock_timeout_s,
        additions_of(own.key),
        bypass_of(own.bypass),
        tuple(re.compile(pattern.encode()) for pattern in own.exclude),
        TrustedPeers(own.purge_from) if own.purge_from else None,
        bool(settings.choose),
        settings.allow_underscores,
        frozenset(name.lower().encode() for name in settings.upgrades),
    )


STAGES: tuple[Callable[[RouteSettings, Config], Any], ...] = (_screen, _sticky)


def make_last(route: Any, settings: RouteSettings, config: Config, tools: ForwardTools) -> Any:
    """Return what answers the requests of one route in the end."""
    if tools.cache is None:
        return Forward(route, tools)
    if settings.cache is False:
        return InvalidatingForward(route, tools, tools.cache)
    return CachedForward(route, tools, cached_route(settings, config), tools.cache)


def make_chain(route: Any, settings: RouteSettings, config: Config, tools: ForwardTools) -> Chain:
    """Return the chain of one route."""
    stages = [stage for make in STAGES if (stage := make(settings, config)) is not None]
    if tools.tracing is not None:
        stages.insert(0, tools.tracing)  # What the others refuse belongs to a trace too.
    return Chain(stages, make_last(route, settings, config, tools))
