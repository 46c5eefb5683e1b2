"""The one place where objects are joined: a configuration in, listeners' factories, clusters and logs out."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from txproxy.cache.engine import CacheEngine
from txproxy.cache_assembly import CacheKeeper, make_cache
from txproxy.cluster_assembly import ClusterMaker
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
    pipes: PipePool | None
    """By which the kernel moves what tcp listeners pass through; None if there is no such listener."""

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
        if self.pipes is not None:
            self.pipes.close()


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
) -> Assembled:
    """Join everything that a configuration asks for; nothing listens or connects yet.

    :param functions: users' functions by the reference that the configuration has for them.
    :param reactor: provides IReactorTCP, IReactorUNIX, IReactorUDP and IReactorTime.
    :param resolver: resolves the names of backends; one that asks the DNS if omitted.
    :raises OSError: if the access log cannot be opened, or a file of certificates.
    """
    clocks = clocks or Clocks()
    counters = Counters()
    deadlines = Deadlines()
    upstream_tools = UpstreamTools(clocks.monotonic, deadlines, ReplyParser(FieldTokenizer()))
    maker = ClusterMaker(reactor, functions, upstream_tools, clocks, resolver)
    config = effective(config)
    raw = raw_clusters(config)
    rosters = {name: maker.make(name, settings, name in raw) for name, settings in config.clusters.items()}
    clusters = {name: roster.cluster for name, roster in rosters.items()}
    cache, cache_keeper = make_cache(config, functions, reactor, clocks) or (None, None)
    forward_tools = ForwardTools(clocks.monotonic, reactor.callLater, clocks.random, cache)
    of_routes = {name: cluster for name, cluster in clusters.items() if name not in raw}
    routes = [_route(settings, config, of_routes, functions, forward_tools) for settings in config.routes]
    access_log = _access_log(config, clocks, counters)
    ending = Ending(reactor.callLater, counters, None if access_log is None else access_log.write, log_exchange)
    gate = Gate(config.proxy.max_connections, counters, clocks.monotonic)
    pipes = PipePool(reactor.seconds) if any(each.protocol == "tcp" for each in config.listeners) else None
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
    sections = make_sections(config, reactor, clocks, counters.tls)
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
            factories[listener.name] = ProxiedFactory(sites[listener.name], tools.trusted)
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
    )


def _access_log(config: Config, clocks: Clocks, counters: Counters) -> AccessLog | None:
    if not config.log.access:
        return None
    formatter: Formatter = JsonFormatter() if config.log.format == "json" else CombinedFormatter()
    if config.log.format != "json" and any(listener.protocol == "tcp" for listener in config.listeners):
        formatter = PassageFormatter(formatter)
    return AccessLog(clocks.monotonic, clocks.wall, formatter, opener(config.log.access), counters)


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

    return Route(settings.name, rules, clusters, clusters.get(settings.cluster), chain)


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
