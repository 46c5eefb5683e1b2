"""What a request means to the cache of its route: worked out once for heads that are alike."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, NamedTuple

from txproxy.exchange import Exchange
from txproxy.policy.caching.claims import claims_of, shows_certificate
from txproxy.policy.caching.directives import NOTHING_ASKED, RequestDirectives, parse_request
from txproxy.policy.caching.fields import joined
from txproxy.policy.caching.freshness import CacheRules
from txproxy.policy.caching.key import Addition, Bypass, primary_key
from txproxy.policy.caching.overrides import OVERRIDES, disguised_overrides, overridden
from txproxy.policy.caching.validation import CONDITIONS, asks_origin, has_conditions
from txproxy.wire.messages import RequestHead
from txproxy.wire.upgrade import upgrade_of

_TOLD = CONDITIONS | OVERRIDES | {b"authorization", b"cache-control", b"pragma"}
"""Fields in which a request may say anything to a cache: most have none of them."""


class CachedRoute(NamedTuple):
    """How one route uses the cache."""

    name: bytes
    """Of the route: what keeps its replies apart from those of other routes."""
    rules: CacheRules
    max_object_bytes: int
    lock_timeout_s: float
    additions: tuple[Addition, ...] = ()
    bypass: Bypass | None = None
    exclude: tuple[re.Pattern[bytes], ...] = ()
    """Of paths that pass the cache by."""
    purgers: Any = None
    """Whose PURGE is obeyed: has ``__contains__`` for addresses; None for nobody's."""
    chooses: bool = False
    """The cluster is chosen for each request."""
    allow_underscores: bool = False
    """Fields with underscores in their names go to backends."""
    upgrades: frozenset[bytes] = frozenset()
    """Protocols in lower case to which a connection may be upgraded."""


@dataclass(slots=True)
class Asked:
    """What a request means to the cache."""

    route: CachedRoute
    told: tuple[object, ...]
    """What the connection told by which the request came when this was worked out; see ``Hop``."""
    cluster: str
    """What was chosen for it; empty where nothing is."""
    key: bytes
    directives: RequestDirectives
    passes: bytes
    """Why it passes the cache by; empty if it does not."""
    has_conditions: bool
    """It has conditions, or asks for a range."""
    is_ranged: bool
    is_alone: bool
    """What comes for it may be for nobody else: it waits for no other request, and none for it."""
    has_cookie: bool
    """What may not be stored that comes for it says nothing of requests without a cookie."""


def asked_of(exchange: Exchange, route: CachedRoute) -> Asked:
    """Return what an exchange's request means; equal heads may stand in one object, and come by other ways."""
    asked: Asked | None = exchange.request.asked  # type: ignore[union-attr]
    if asked is None or asked.route is not route or (route.chooses and asked.cluster != exchange.cluster.name):
        return understand(exchange, route)
    return asked if asked.told == exchange.client.hop.told else understand(exchange, route)


def understand(exchange: Exchange, route: CachedRoute) -> Asked:
    """Return what an exchange's request means."""
    request = exchange.request
    assert request is not None
    hop = exchange.client.hop
    cluster = exchange.cluster.name if route.chooses else ""
    key = primary_key(
        request,
        hop.scheme,
        route.additions,
        exchange.client_address.encode("ascii", "replace"),
        b"%b %b" % (route.name, cluster.encode()) if cluster else route.name,
        claims_of(request, hop),
    )
    fields = request.fields
    names = {name.lower() for name, _ in fields}
    told = _TOLD & names
    if route.allow_underscores:
        told |= disguised_overrides(request)
    asked = Asked(
        route,
        hop.told,
        cluster,
        key,
        parse_request(joined(fields, b"cache-control"), joined(fields, b"pragma")) if told else NOTHING_ASKED,
        _passes(request, route, told, hop.trusted),
        bool(told) and has_conditions(request),
        b"range" in told,
        b"authorization" in told or shows_certificate(request, hop),
        b"cookie" in names,
    )
    if not route.additions:
        request.asked = asked
    return asked


def _passes(request: RequestHead, route: CachedRoute, told: frozenset[bytes], trusted: bool) -> bytes:
    if request.target[:1] != b"/":
        return b"target"
    if request.options is not None and (request.protocol or upgrade_of(request, route.upgrades)):
        return b"upgrade"  # What comes may be no reply but a tunnel.
    if any(pattern.search(request.path) for pattern in route.exclude):
        return b"excluded"
    if route.bypass is not None and route.bypass(request):
        return b"bypass"
    if not told:
        return b""
    return overridden(told, trusted) or (b"conditions" if asks_origin(request) else b"")
