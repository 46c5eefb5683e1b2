"""Joins what belongs to a cluster: its policy, its backends, and who finds and checks them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import cache, partial
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from txproxy.bridge.tunnel import TunnelLimits
from txproxy.config import cluster_model as model
from txproxy.config.address import bracketed, parse_address
from txproxy.config.problems import ConfigError, Problem
from txproxy.net.reactor import EagerReactor, SecureReactor
from txproxy.observe.log import Logger
from txproxy.policy.balancing.catalogue import make_policy
from txproxy.policy.balancing.policy import Policy
from txproxy.policy.breaker import Breaker, BreakerSettings
from txproxy.policy.health import Health, HealthSettings
from txproxy.policy.probing import MonitorSettings
from txproxy.policy.retries import RetrySettings
from txproxy.policy.sticky import StickyPolicy
from txproxy.tls.client import ClientContext, ClientSettings, ClientTlsError
from txproxy.upstream.backend import Backend, BackendIdentity
from txproxy.upstream.checks.monitor import Monitor
from txproxy.upstream.checks.probe import Probe
from txproxy.upstream.checks.probes import ProbeSettings, make_probe
from txproxy.upstream.choosing import ClusterSettings, ClusterTools
from txproxy.upstream.client_header import OWN_HEADERS, client_header
from txproxy.upstream.cluster import Cluster
from txproxy.upstream.connector import Connector, Endpoint, GreetedConnector
from txproxy.upstream.http1 import UpstreamConnection
from txproxy.upstream.http2 import Http2Connection
from txproxy.upstream.names.discovery import Discovery, TtlBounds
from txproxy.upstream.names.resolver import Resolver, resolv_conf_path
from txproxy.upstream.pool import PoolLimits
from txproxy.upstream.private_backend import PrivateBackend
from txproxy.upstream.raw import RawConnection
from txproxy.upstream.roster import Roster, RosterTools
from txproxy.upstream.tools import UpstreamTimeouts, UpstreamTools

log = Logger()

_STICKY_KEY = "TXPROXY_STICKY_KEY"


@cache
def sticky_key() -> bytes:
    """Return the key that signs sticky cookies: the environment's, or one for as long as this process lives."""
    return os.environ.get(_STICKY_KEY, "").encode() or os.urandom(32)


class MadeCluster(NamedTuple):
    """A cluster, and what it was made of."""

    roster: Roster
    settings: model.Cluster
    is_raw: bool
    """Its connections carry the bytes of tcp listeners."""
    files: bytes
    """A digest of the files that it was made of."""
    tls: ClientContext | None
    functions: tuple[Callable[..., Any] | None, ...]
    """Users' functions that choose its backends, and that check them."""


class ClusterMaker:
    """Makes the clusters of one configuration.

    :param reactor: provides IReactorTCP, IReactorUNIX, IReactorUDP and IReactorTime.
    :param functions: users' functions by the reference that the configuration has for them.
    :param tools: what all connections to backends share.
    :param clocks: where time and chance come from.
    :param resolver: resolves names; one that asks the DNS if None.
    """

    def __init__(
        self,
        reactor: Any,
        functions: Mapping[str, Callable[..., Any]],
        tools: UpstreamTools,
        clocks: Any,
        resolver: Any,
    ) -> None:
        self._reactor = reactor
        self._eager = EagerReactor(reactor)
        self._functions = functions
        self.tools = tools
        self._clocks = clocks
        self.resolver = resolver
        """None as long as nobody needed it."""

    def make(
        self, name: str, settings: model.Cluster, is_raw: bool = False, before: MadeCluster | None = None
    ) -> tuple[MadeCluster, Callable[[], None] | None]:
        """Return a cluster and who belongs to it; nothing is connected yet.

        :param is_raw: its connections carry the bytes of tcp listeners.
        :param before: the cluster of this name so far, which is not changed now. It is used again if all is the same
            but its backends and what else can be changed while it serves.
        :return: the cluster; and if it is the one before, what changes it, for that cannot fail any more.
        :raises ConfigError: if a file of certificates cannot be used, or making the user's policy raised.
        """
        files = _digest(settings.tls)
        functions = tuple(
            self._functions.get(each) for each in (settings.balance, settings.health.type if settings.health else "")
        )
        if before is None or (before.is_raw, before.files) != (is_raw, files) or _differ(before.settings, settings):
            tls = self._tls(name, settings, is_raw)
            roster = self._roster(name, settings, is_raw, tls)
            if before is not None:
                roster.follow(before.roster)
            return MadeCluster(roster, settings, is_raw, files, tls, functions), None
        made = before._replace(settings=settings, functions=functions)
        # A policy is kept with all that it has learned, unless its function is another one now.
        policy = self._policy(name, settings) if functions[0] is not before.functions[0] else None
        probe = self._probe(settings, made.tls) if functions[1] is not before.functions[1] else None

        def change() -> None:
            roster = made.roster
            roster.cluster.change(_cluster_settings(settings), policy)
            if probe is not None:
                roster.change_probe(probe)
            roster.change(before.settings.backends, settings.backends, self._roster_tools(settings, is_raw, made.tls))

        return made, change

    def _roster(self, name: str, settings: model.Cluster, is_raw: bool, tls: ClientContext | None) -> Roster:
        clocks = self._clocks
        cluster = Cluster(
            name,
            _cluster_settings(settings),
            self._policy(name, settings),
            _breaker(settings.breaker, clocks.monotonic()),
            ClusterTools(clocks.monotonic, clocks.random, self.tools.deadlines),
        )
        try:
            monitor = self._monitor(settings, tls)
        except ValueError as error:
            raise _config_error(f"cluster.{name}.health", str(error)) from None
        return Roster(cluster, settings.backends, monitor, self._roster_tools(settings, is_raw, tls))

    def _roster_tools(self, settings: model.Cluster, is_raw: bool, tls: ClientContext | None) -> RosterTools:
        clocks = self._clocks

        def make_backend(entry: model.Backend, name: str, hosts: tuple[str, ...], late: bool) -> Backend:
            return self._backend(settings, entry, BackendIdentity(name, b"", hosts=hosts), late, tls, is_raw)

        def make_discovery(host: str, on_members: Any, on_failure: Any) -> Discovery:
            return self._discovery(host, settings, on_members, on_failure)

        def limits_of(entry: model.Backend) -> PoolLimits:
            return _pool_limits(settings, entry, is_raw)

        return RosterTools(make_backend, make_discovery, clocks.monotonic, clocks.wall, limits_of)

    def _policy(self, name: str, settings: model.Cluster) -> Policy:
        try:
            policy = make_policy(settings.balance, settings.hash_key, self._functions)
        except Exception as error:  # The class is the user's: whatever it raises is a fault of the configuration.
            text = f"{settings.balance} raised {type(error).__name__}: {error}"
            raise _config_error(f"cluster.{name}.balance", text) from None
        if not settings.sticky:
            return policy
        return StickyPolicy(policy, settings.sticky, sticky_key(), name)

    def _tls(self, name: str, settings: model.Cluster, is_raw: bool) -> ClientContext | None:
        """Read what requests or checks need to speak TLS to the backends."""
        tls, health = settings.tls, settings.health
        if not tls.enabled and (health is None or health.type != "tls"):
            return None
        try:
            context = ClientContext(
                ClientSettings(
                    tls.verify,
                    tls.server_name,
                    tls.ca,
                    tls.client_chain,
                    tls.client_key,
                    settings.protocol == "h2",
                    not is_raw,
                ),
                self._clocks.wall(),
            )
        except ClientTlsError as error:
            raise _config_error(f"cluster.{name}.tls.{error.key}", str(error)) from None
        for warning in context.warnings:
            log.warn("cluster {name}: {warning}", name=name, warning=warning)
        if context.trusts_nobody:
            log.warn(
                "cluster {name}: no backend will be accepted: they are to be verified by the system's authorities, and "
                "this system has none (install ca-certificates, or name a file: cluster.{name}.tls.ca)",
                name=name,
            )
        return context

    def _backend(
        self,
        cluster: model.Cluster,
        entry: model.Backend,
        identity: BackendIdentity,
        late: bool,
        tls: ClientContext | None,
        is_raw: bool,
    ) -> Backend:
        pool, tools = cluster.pool, self.tools
        address = parse_address(entry.address)
        host = address.host if address.kind == "tcp" else "localhost"
        default_port = 443 if cluster.tls.enabled else 80
        host_field = bracketed(host) if address.port in (0, default_port) else f"{bracketed(host)}:{address.port}"
        identity = identity._replace(
            host_field=host_field.encode(),
            server_name=host,
            weight=entry.weight,
            is_backup=entry.backup,
            port=address.port,
            path=address.path,
        )
        timeouts = UpstreamTimeouts(
            cluster.timeouts.first_byte_s,
            cluster.timeouts.between_bytes_s,
            cluster.timeouts.stream_s,
            pool.idle_timeout_s,
            cluster.timeouts.tunnel_idle_s,
            cluster.timeouts.tunnel_max_s,
        )

        http2, timeout_s = cluster.protocol == "h2", pool.connect_timeout_s
        scheme = b"https" if cluster.tls.enabled else b"http"

        def make_connector(backend: Backend) -> Connector | GreetedConnector:
            endpoint = Endpoint(identity.hosts, identity.port, identity.path)
            reactor = self._eager
            if tls is not None and cluster.tls.enabled:
                reactor = SecureReactor(self._reactor, tls.to(host, http2))
            if is_raw:
                return Connector(reactor, endpoint, timeout_s, lambda: RawConnection(backend))
            if not http2:
                return Connector(reactor, endpoint, timeout_s, lambda: UpstreamConnection(backend, timeouts, tools))
            connector = Connector(
                reactor, endpoint, timeout_s, lambda: Http2Connection(backend, timeouts, tools, scheme)
            )
            return GreetedConnector(connector, timeout_s, tools.clock)

        limits = _pool_limits(cluster, entry, is_raw)
        health = Health(_health_settings(cluster), tools.clock(), joined_late=late)
        version = cluster.send_proxy_protocol
        if not version:
            return Backend(identity, limits, health, make_connector, tools.clock, tools.deadlines)
        write_header = partial(client_header, version)
        return PrivateBackend(identity, limits, health, make_connector, tools.clock, tools.deadlines, write_header)

    def _monitor(self, settings: model.Cluster, tls: ClientContext | None) -> Monitor | None:
        health = settings.health
        if health is None:
            return None
        return Monitor(
            self._reactor,
            MonitorSettings(health.interval_s, health.jitter, health.max_response_s),
            self._probe(settings, tls),
            self._clocks.monotonic,
            self._clocks.random,
        )

    def _probe(self, settings: model.Cluster, tls: ClientContext | None) -> Probe:
        health = settings.health
        assert health is not None
        probe = ProbeSettings(
            type=health.type,
            path=health.path,
            host=health.host,
            headers=health.headers,
            statuses=health.statuses,
            body=health.body,
            timeout_s=health.timeout_s,
            tls=tls,
            http2=settings.protocol == "h2",
            preface=OWN_HEADERS.get(settings.send_proxy_protocol, b""),
            function=self._functions.get(health.type),
        )
        return make_probe(probe, self._reactor)

    def _discovery(self, host: str, settings: model.Cluster, on_members: Any, on_failure: Any) -> Discovery:
        if self.resolver is None:
            self.resolver = Resolver(self._reactor, resolv_conf_path())
        bounds = TtlBounds(settings.dns_min_ttl_s, settings.dns_max_ttl_s)
        return Discovery(host, self.resolver, self._reactor.callLater, bounds, on_members, on_failure)


def _config_error(path: str, message: str) -> ConfigError:
    return ConfigError((Problem("configuration", 0, path, message),))


def _pool_limits(cluster: model.Cluster, entry: model.Backend, is_raw: bool) -> PoolLimits:
    pool = cluster.pool
    return PoolLimits(
        cluster.connection_limit(entry),
        pool.max_idle,
        pool.max_requests,
        pool.max_age_s,
        pool.queue,
        pool.queue_timeout_s,
        pool.when_full,
        0 if is_raw else pool.min_idle,
        cluster.protocol == "h2",
    )


def _differ(one: model.Cluster, other: model.Cluster) -> bool:
    """Return whether two settings differ in what cannot be changed while a cluster serves."""
    return _lasting(one) != _lasting(other)


def _lasting(settings: model.Cluster) -> model.Cluster:
    pool = model.Pool(idle_timeout_s=settings.pool.idle_timeout_s, connect_timeout_s=settings.pool.connect_timeout_s)
    passive = settings.passive.model_copy(update={"max_ejected": 0})
    changed = {"backends": (), "pool": pool, "retry": model.Retry(), "panic": True, "passive": passive}
    return settings.model_copy(update=changed)


def _digest(tls: model.BackendTls) -> bytes:
    """Return a digest of the files that are named; what cannot be read is found out by whoever needs it."""
    digest = sha256()
    for path in (tls.ca, tls.client_chain, tls.client_key):
        try:
            content = Path(path).read_bytes() if path else b""
        except OSError:
            content = b""
        digest.update(b"%d\0" % len(content) + content)
    return digest.digest()


def _cluster_settings(settings: model.Cluster) -> ClusterSettings:
    retry = settings.retry
    return ClusterSettings(
        RetrySettings(
            retry.tries,
            retry.idempotent_tries,
            retry.budget,
            retry.min_per_s,
            retry.backoff_min_ms / 1e3,
            retry.backoff_max_ms / 1e3,
            retry.body_bytes,
        ),
        settings.panic,
        settings.passive.max_ejected,
        settings.pool.queue,
        settings.pool.queue_timeout_s,
        settings.balance,
        TunnelLimits(settings.timeouts.tunnel_idle_s, settings.timeouts.tunnel_max_s),
    )


def _breaker(settings: model.Breaker, now: float) -> Breaker | None:
    if not settings.error_rate and not settings.max_pending:
        return None
    return Breaker(BreakerSettings(settings.error_rate, settings.window_s, settings.open_s, settings.max_pending), now)


def _health_settings(settings: model.Cluster) -> HealthSettings:
    health, passive = settings.health, settings.passive
    checks = model.Health() if health is None else health
    return HealthSettings(
        checked=health is not None,
        initial=checks.initial,
        fall=checks.fall,
        rise=checks.rise,
        failures=passive.failures,
        ejection_s=passive.ejection_s,
        max_ejection_s=passive.max_ejection_s,
        slow_start_s=settings.slow_start_s,
    )
