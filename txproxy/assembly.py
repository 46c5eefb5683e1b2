"""The one place where objects are joined: a configuration in, listeners' factories, clusters and logs out."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from txproxy.cache.engine import CacheEngine
from txproxy.cache_assembly import CacheKeeper, change_cache, keeps_cache, make_cache
from txproxy.cluster_assembly import ClusterMaker, MadeCluster
from txproxy.config.effective import effective, raw_clusters
from txproxy.config.model import Config, Listener
from txproxy.config.route_model import HeaderRules
from txproxy.config.route_model import Route as RouteSettings
from txproxy.downstream.moments import HttpDate, request_ids
from txproxy.downstream.proxied import ProxiedFactory
from txproxy.downstream.secure_site import SecureSite
from txproxy.downstream.site import Gate, ListenerSettings, Site, SiteTools
from txproxy.downstream.tcp_site import SecureTcpSite, TcpRouter, TcpSite
from txproxy.downstream.together import Together
from txproxy.net.pipes import PipePool
from txproxy.observe.access_log import AccessLog, CombinedFormatter, Formatter, JsonFormatter, PassageFormatter
from txproxy.observe.counters import Counters
from txproxy.observe.ending import Ending
from txproxy.observe.exchange_debug import log_exchange
from txproxy.observe.log_files import opener
from txproxy.observe.spans import Spans
from txproxy.pipeline.catalogue import make_chain
from txproxy.pipeline.connect import Connect
from txproxy.pipeline.forward import ForwardTools
from txproxy.pipeline.https_redirect import HttpsRedirect
from txproxy.pipeline.route import Route, Router, RouteRules
from txproxy.policy.addresses import TrustedPeers
from txproxy.policy.deadlines import Deadlines
from txproxy.policy.routing import Match, RouteTable
from txproxy.policy.server_names import HelloTable
from txproxy.tls_assembly import TlsSection, make_sections
from txproxy.tracing_assembly import LAST_SPANS_S, make_tracing
from txproxy.upstream.cluster import Cluster
from txproxy.upstream.roster import Roster
from txproxy.upstream.tools import UpstreamTools
from txproxy.wire.fields import FieldTokenizer
from txproxy.wire.forwarding import NO_REPLY_RULES, PLAIN_RULES, ReplyRules, RequestRules
from txproxy.wire.http2.engine import EngineSettings
from txproxy.wire.limits import HeadLimits
from txproxy.wire.parsers import ReplyParser


@dataclass(slots=True)
class Assembled:
    """All that a configuration has become."""

    config: Config
    sites: dict[str, Site]
    """By the listener's name."""
    factories: dict[str, Any]
    """What each port is given, by the listener's name: its site, or what stands in front of it."""
    clusters: dict[str, Cluster]
    rosters: dict[str, Roster]
    """Who belongs to each cluster, and the calls that change it."""
    routes: list[Route]
    tls: dict[str, TlsSection]
    """TLS towards clients, by the section's name."""
    deadlines: Deadlines
    counters: Counters
    gate: Gate
    access_log: AccessLog | None
    ending: Ending
    cache: CacheEngine | None
    """What is stored, and the calls that purge it; None if no route has a cache."""
    cache_keeper: CacheKeeper | None
    pipes: PipePool
    """By which the kernel moves long bodies, and what tcp listeners pass through."""
    maker: ClusterMaker
    made: dict[str, MadeCluster]
    """What each cluster was made of."""
    tools: SiteTools
    """What all sites share."""
    spans: Spans | None
    """Records traces, if that is wanted."""
    changes: list[Callable[[], None]]
    """What is left to be done to objects that were used already: nothing has changed before that."""

    def start(self) -> None:
        """Begin to check backends, to resolve their names and to watch certificates."""
        for roster in self.rosters.values():
            roster.start()
        for section in self.tls.values():
            section.start()
        if self.cache_keeper is not None:
            self.cache_keeper.start()

    def reload_certificates(self) -> None:
        """Read all certificates anew; the result is in the log."""
        for section in self.tls.values():
            section.keeper.reload()

    def wind_down(self) -> None:
        """Make no connections in advance any more: what is under way is completed, and nothing new comes."""
        for roster in self.rosters.values():
            roster.wind_down()

    def stop(self) -> None:
        """Check, resolve and watch nothing more, and keep no connection to a backend."""
        for roster in self.rosters.values():
            roster.stop()
        for section in self.tls.values():
            section.stop()
        if self.cache_keeper is not None:
            self.cache_keeper.stop()
        self.pipes.close()
        if self.spans is not None:
            self.spans.stop(LAST_SPANS_S)


@dataclass(slots=True)
class Clocks:
    """Where time and chance come from; tests give their own."""

    monotonic: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    random: Callable[[], float] = random.random


def assemble(
    config: Config,
    functions: Mapping[str, Callable[..., Any]],
    reactor: Any,
    clocks: Clocks | None = None,
    resolver: Any = None,
    previous: Any = None,
) -> Assembled:
    """Join everything that a configuration asks for; nothing listens or connects yet.

    :param functions: users' functions by the reference that the configuration has for them.
    :param reactor: provides IReactorTCP, IReactorUNIX, IReactorUDP and IReactorTime.
    :param resolver: resolves the names of backends; one that asks the DNS if omitted.
    :param previous: what is used again as far as its settings are the same: an ``Assembled``, or anything that has some
        of its attributes (``tls``: the sections by name).
    :raises OSError: if the access log cannot be opened, or a file of certificates.
    """
    clocks = clocks or Clocks()
    config = effective(config)
    changes: list[Callable[[], None]] = []
    before = previous if isinstance(previous, Assembled) else None
    counters = Counters() if before is None else before.counters
    deadlines = Deadlines() if before is None else before.deadlines
    if before is None:
        upstream_tools = UpstreamTools(clocks.monotonic, deadlines, ReplyParser(FieldTokenizer()))
    else:
        upstream_tools, resolver = before.maker.tools, resolver or before.maker.resolver
    maker = ClusterMaker(reactor, functions, upstream_tools, clocks, resolver)
    made = _make_clusters(config, maker, {} if before is None else before.made, changes)
    rosters = {name: each.roster for name, each in made.items()}
    raw = raw_clusters(config)
    clusters = {name: roster.cluster for name, roster in rosters.items()}
    cache, cache_keeper = _make_cache(config, functions, reactor, clocks, before, changes)
    spans, tracing = make_tracing(config, clocks, None if before is None else before.spans)
    forward_tools = ForwardTools(clocks.monotonic, reactor.callLater, clocks.random, cache, tracing)
    of_routes = {name: cluster for name, cluster in clusters.items() if name not in raw}
    routes = [_route(settings, config, of_routes, functions, forward_tools) for settings in config.routes]
    pipes = PipePool(reactor.seconds) if before is None else before.pipes
    sections = make_sections(config, reactor, clocks, counters.tls, getattr(previous, "tls", None))
    # The last that can fail: whoever goes on has a file to close.
    access_log = _access_log(config, clocks, counters, before)
    write_lines = None if access_log is None else access_log.write
    if before is None:
        ending = Ending(reactor.callLater, counters, write_lines, log_exchange)
        gate = Gate(config.proxy.max_connections, counters, clocks.monotonic)
        tools = SiteTools(
            clocks.monotonic,
            HttpDate(clocks.wall),
            request_ids(os.urandom(8)),
            deadlines,
            FieldTokenizer(),
            counters,
            gate,
            TrustedPeers(config.proxy.trusted_proxies),
            ending.ended,
            Together(reactor.callLater),
            pipes,
        )
    else:
        ending, gate, tools = before.ending, before.gate, before.tools
        if before.config.proxy.trusted_proxies != config.proxy.trusted_proxies:
            tools = tools._replace(trusted=TrustedPeers(config.proxy.trusted_proxies))
        changes.append(lambda: gate.change(config.proxy.max_connections))
        if before.spans is not None and before.spans is not spans:
            changes.append(before.spans.stop)
        if access_log is not before.access_log:
            changes.append(lambda: ending.change(write_lines))
    sites: dict[str, Site] = {}
    for listener in config.listeners:
        site_settings = _listener_settings(listener, config)
        if listener.protocol == "tcp":
            connect = TcpRouter(_hello_table(listener, clusters), Connect(forward_tools))
            if listener.tls:
                sites[listener.name] = SecureTcpSite(site_settings, connect, tools, sections[listener.tls].tls)
            else:
                sites[listener.name] = TcpSite(site_settings, connect, tools)
            continue
        table = RouteTable(
            (_match(settings), route)
            for settings, route in zip(config.routes, routes, strict=True)
            if not settings.listeners or listener.name in settings.listeners
        )
        router: Any = Router(table)
        if listener.redirect_https:
            router = HttpsRedirect(router, listener.https_port)
        if listener.tls:
            sites[listener.name] = SecureSite(site_settings, router, tools, sections[listener.tls].tls)
        else:
            sites[listener.name] = Site(site_settings, router, tools)
    factories: dict[str, Any] = dict(sites)
    for listener in config.listeners:
        if listener.proxy_protocol:
            factories[listener.name] = ProxiedFactory(sites[listener.name])
    return Assembled(
        config,
        sites,
        factories,
        clusters,
        rosters,
        routes,
        sections,
        deadlines,
        counters,
        gate,
        access_log,
        ending,
        cache,
        cache_keeper,
        pipes,
        maker,
        made,
        tools,
        spans,
        changes,
    )


def _make_clusters(
    config: Config, maker: ClusterMaker, before: Mapping[str, MadeCluster], changes: list[Callable[[], None]]
) -> dict[str, MadeCluster]:
    raw = raw_clusters(config)
    made = {}
    for name, settings in config.clusters.items():
        made[name], change = maker.make(name, settings, name in raw, before.get(name))
        if change is not None:
            changes.append(change)
    return made


def _make_cache(
    config: Config,
    functions: Mapping[str, Callable[..., Any]],
    reactor: Any,
    clocks: Clocks,
    before: Assembled | None,
    changes: list[Callable[[], None]],
) -> tuple[CacheEngine | None, CacheKeeper | None]:
    if before is None or before.cache is None or not keeps_cache(before.config, config):
        return make_cache(config, functions, reactor, clocks) or (None, None)
    engine, keeper, old = before.cache, before.cache_keeper, before.config
    assert keeper is not None
    changes.append(lambda: change_cache(engine, keeper, old, config))
    return engine, keeper


def _has_tcp(config: Config) -> bool:
    return any(listener.protocol == "tcp" for listener in config.listeners)


def _access_log(config: Config, clocks: Clocks, counters: Counters, before: Assembled | None) -> AccessLog | None:
    if before is not None and _log_key(before.config) == _log_key(config):
        return before.access_log
    if not config.log.access:
        return None
    formatter: Formatter = JsonFormatter() if config.log.format == "json" else CombinedFormatter()
    if config.log.format != "json" and _has_tcp(config):
        formatter = PassageFormatter(formatter)
    return AccessLog(clocks.monotonic, clocks.wall, formatter, opener(config.log.access), counters)


def _log_key(config: Config) -> tuple[str, str, bool]:
    """Return what makes an access log another one."""
    return config.log.access, config.log.format, _has_tcp(config)


def _listener_settings(listener: Listener, config: Config) -> ListenerSettings:
    limits = HeadLimits(
        listener.max_request_line_bytes, listener.max_header_bytes, listener.max_field_bytes, listener.max_fields
    )
    return ListenerSettings(
        name=listener.name,
        limits=limits,
        header_timeout_s=listener.header_timeout_s,
        body_timeout_s=listener.body_timeout_s,
        write_timeout_s=listener.write_timeout_s,
        keepalive_timeout_s=listener.keepalive_timeout_s,
        keepalive_requests=listener.keepalive_requests,
        tls_handshake_timeout_s=listener.tls_handshake_timeout_s,
        max_connections_per_ip=listener.max_connections_per_ip,
        via_name=config.proxy.via_name.encode(),
        scheme=b"https" if listener.tls else b"http",
        http2=EngineSettings(
            listener.h2_max_streams,
            listener.h2_stream_window_bytes,
            listener.h2_connection_window_bytes,
            listener.max_header_bytes,
        ),
        h2_reset_budget=listener.h2_reset_budget,
    )


def _hello_table(listener: Listener, clusters: Mapping[str, Cluster]) -> HelloTable[Cluster]:
    names = {_host(host).decode("ascii"): clusters[name] for host, name in listener.sni_clusters.items()}
    protocols = {protocol: clusters[name] for protocol, name in listener.alpn_clusters.items()}
    return HelloTable(names, protocols, clusters.get(listener.cluster))


def _host(pattern: str) -> bytes:
    return pattern.lower().encode("ascii" if pattern.isascii() else "idna")


def _match(settings: RouteSettings) -> Match:
    exact = settings.path.startswith("=")
    return Match(
        hosts=tuple(_host(host) for host in settings.hosts),
        path=settings.path.removeprefix("=").encode(),
        exact=exact,
        methods=frozenset(method.encode() for method in settings.methods),
        fields=tuple((name.lower().encode(), value.encode()) for name, value in settings.headers.items()),
    )


def _route(
    settings: RouteSettings,
    config: Config,
    clusters: Mapping[str, Cluster],
    functions: Mapping[str, Callable[..., Any]],
    tools: ForwardTools,
) -> Route:
    rules = RouteRules(
        request=_request_rules(settings),
        reply=_reply_rules(settings.reply_headers),
        host=settings.host,
        strip_prefix=settings.strip_prefix.encode(),
        choose=functions[settings.choose] if settings.choose else None,
        max_body_bytes=settings.max_body_bytes,
        hsts=settings.hsts.encode(),
        upgrades=frozenset(name.lower().encode() for name in settings.upgrades),
    )

    def chain(route: Route) -> Any:
        return make_chain(route, settings, config, tools)

    return Route(settings, rules, clusters, clusters.get(settings.cluster), chain)


def _fields(values: Mapping[str, str]) -> tuple[tuple[bytes, bytes], ...]:
    return tuple((name.encode(), value.encode()) for name, value in values.items())


def _request_rules(settings: RouteSettings) -> RequestRules:
    headers = settings.request_headers
    rules = RequestRules(
        settings.forwarded,
        settings.allow_underscores,
        frozenset(name.lower().encode() for name in headers.remove),
        _fields(headers.set),
        _fields(headers.add),
    )
    # The writer of heads knows the plain ones by identity.
    return PLAIN_RULES if rules == PLAIN_RULES else rules


def _reply_rules(headers: HeaderRules) -> ReplyRules:
    rules = ReplyRules(
        frozenset(name.lower().encode() for name in headers.remove), _fields(headers.set), _fields(headers.add)
    )
    return NO_REPLY_RULES if rules == NO_REPLY_RULES else rules
