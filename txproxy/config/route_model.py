"""Settings of one ``[[route]]``: what it matches, where it leads, what it changes on the way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from pydantic import Field, WrapValidator

from txproxy.config.problems import shown
from txproxy.config.values import (
    Array,
    CacheBypass,
    CacheKeyPart,
    HostPattern,
    Hsts,
    Lifetime,
    MatchFields,
    Name,
    Network,
    OptionalName,
    OptionalPrefix,
    OptionalReference,
    PathPattern,
    Pattern,
    RuleField,
    RuleFields,
    Section,
    SizeOrZero,
    StoredStatuses,
    Token,
    UpstreamHost,
)


class HeaderRules(Section):
    """Changes to the fields of a head, in the order remove, set, add. Framing fields and Host are refused."""

    set: RuleFields = Field(
        default_factory=dict, description="Fields that get this value, whatever was there: { NAME = VALUE }."
    )
    add: RuleFields = Field(
        default_factory=dict, description="Fields that are added to those that are there: { NAME = VALUE }."
    )
    remove: Array[RuleField] = Field(
        default=(), description="Names of fields that are taken away, in any case of letters."
    )


class RouteCache(Section):
    """How replies of one route are cached. Size and place of the cache stand in [cache]."""

    default_ttl_s: Lifetime = Field(
        default=0.0, description="Seconds that a reply without explicit freshness is fresh; 0: it is not stored."
    )
    ttl_s: Lifetime = Field(
        default=0.0,
        description="Seconds that a reply is fresh, whatever it says of that itself; 0: what it says. What may not be "
        "stored is not stored for all that.",
    )
    bypass: Array[CacheBypass] = Field(
        default=(),
        description='Request fields or cookies whose presence passes the cache by: "header:NAME", "cookie:NAME".',
    )
    key: Array[CacheKeyPart] = Field(
        default=(),
        description='Further facts of the request that are part of the cache key: "client", "header:NAME", '
        '"cookie:NAME".',
    )
    statuses: Array[StoredStatuses] = Field(
        default=(),
        description='Statuses that may be stored, as "200" or "200-299"; those of RFC 9110 section 15.1 if omitted.',
    )
    exclude: Array[Pattern] = Field(
        default=(),
        description="Regular expressions; a path in which one is found passes the cache by. They are tried on the path "
        "without its query, unescaped where that changes nothing.",
    )
    negative_ttl_s: Lifetime = Field(
        default=0.0, description="Seconds that errors without explicit freshness are fresh; 0: they are not stored."
    )
    purge_from: Array[Network] = Field(
        default=(),
        description="Addresses of clients whose PURGE removes what is stored of a URL; others get 403. Without any, "
        "PURGE is refused with 405.",
    )


def _switch_or_table(value: object, _inner: Callable[[object], object]) -> bool | RouteCache:
    # A union would report the errors of both its sides; the kind of the value says which side is meant.
    if isinstance(value, bool):
        return value
    if isinstance(value, dict | RouteCache):
        return RouteCache.model_validate(value)
    raise ValueError(f"must be true, false or a table, not {shown(value)}")


class Route(Section):
    """A rule that chooses a cluster.

    Routes are asked by listener, exact host, wildcard host, longest path prefix, then methods and headers, then order.
    """

    name: Name = Field(description="Name in logs and metrics; unique.")
    listeners: Array[Name] = Field(
        default=(), description="Names of the http listeners it serves; all of them if omitted."
    )
    hosts: Array[HostPattern] = Field(
        default=(),
        description='Hosts it serves, as "api.example.com" or "*.example.com", without port; any if omitted.',
    )
    path: PathPattern = Field(
        default="/", description='Path it serves: a prefix as "/v1/", or exactly one with "=/v1/x".'
    )
    methods: Array[Token] = Field(default=(), description="Methods it serves, in their exact case; any if omitted.")
    headers: MatchFields = Field(
        default_factory=dict, description="Request fields that must all have these values: { NAME = VALUE }."
    )
    cluster: OptionalName = Field(
        default="", description="Name of the cluster it leads to; needed unless choose is set."
    )
    choose: OptionalReference = Field(
        default="",
        description="Python function of the request's facts that returns a cluster's name, as MODULE:FUNCTION "
        "or site:FUNCTION; instead of cluster.",
    )
    strip_prefix: OptionalPrefix = Field(
        default="",
        description="Prefix that is taken off the path before the request is forwarded; the rest stays as it came.",
    )
    host: UpstreamHost = Field(
        default="keep",
        description='Host that the backend gets: "keep" the client\'s, "backend" its address, "literal:NAME".',
    )
    forwarded: bool = Field(default=False, description="Whether Forwarded (RFC 7239) is sent beside X-Forwarded-*.")
    hsts: Hsts = Field(default="", description="Value of Strict-Transport-Security on https replies; empty: none.")
    upgrades: Array[Token] = Field(
        default=("websocket",), description="Protocols to which a connection may be upgraded; empty: none."
    )
    connect: bool = Field(default=False, description="Whether CONNECT opens a tunnel; else it is answered with 405.")
    allow_underscores: bool = Field(
        default=False,
        description="Whether request fields with _ in the name are kept; those that a CGI gateway takes for "
        "X-Forwarded-*, X-Client-Cert-* or X-Request-Id never are.",
    )
    allow_dot_segments: bool = Field(
        default=False, description="Whether . and .. segments, # and invalid escapes in the target are let through."
    )
    request_headers: HeaderRules = Field(default=HeaderRules(), description="Changes to the request's fields.")
    reply_headers: HeaderRules = Field(default=HeaderRules(), description="Changes to the reply's fields.")
    max_body_bytes: SizeOrZero = Field(default=0, description="Bytes of a request body, above them 413; 0: no limit.")
    cache: Annotated[bool | RouteCache, WrapValidator(_switch_or_table)] = Field(
        default=False, description="Whether replies are cached: true, false, or a table with how."
    )
