"""The whole configuration as frozen sections: every key with its unit, its default and what it works together with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from txproxy.config.cluster_model import (
    Backend,
    BackendTls,
    Breaker,
    Cluster,
    Health,
    Passive,
    Pool,
    Retry,
    Timeouts,
)
from txproxy.config.route_model import HeaderRules, Route, RouteCache
from txproxy.config.stage_model import Stages
from txproxy.config.values import (
    AdminAddress,
    AlpnProtocol,
    Array,
    Count,
    CountOrZero,
    HostPattern,
    Lifetime,
    ListenAddress,
    Name,
    OptionalName,
    OptionalReference,
    PathText,
    Port,
    Ratio,
    Seconds,
    SecondsOrZero,
    Section,
    Size,
    SizeOrZero,
    Token,
    TrustedPeer,
    WindowSize,
)


class ProxySettings(Section):
    """``[proxy]``: the process as a whole."""

    workers: CountOrZero = Field(default=1, description="Processes that share the ports; 0: one per core.")
    max_connections: Count = Field(
        default=10000,
        description="Client connections of all workers together, of which each has its equal share; above that it "
        "pauses accepting until one closes.",
    )
    backlog: Count = Field(default=4096, description="Connections that the kernel queues until they are accepted.")
    trusted_proxies: Array[TrustedPeer] = Field(
        default=(),
        description="Addresses and networks of peers whose X-Forwarded-*, X-Request-Id, X-Client-Cert-* and PROXY "
        'headers are believed; "unix": all peers on unix sockets.',
    )
    via_name: Token = Field(default="txproxy", description="Our name in Via (RFC 9110 section 7.6.3).")
    shutdown_timeout_s: Seconds = Field(
        default=30.0, description="Seconds that exchanges in flight get to finish after SIGTERM; then they are cut."
    )
    tunnel_shutdown_timeout_s: Seconds = Field(
        default=300.0, description="Seconds that tunnels get to end after SIGTERM."
    )
    user: str = Field(default="", description="User to become after the ports are bound; empty: unchanged.")
    group: str = Field(default="", description="Group to become after the ports are bound; empty: unchanged.")


class LogSettings(Section):
    """``[log]``: where the two logs go."""

    level: Literal["debug", "info", "warn", "error"] = Field(
        default="info", description="Lowest level that the application log shows: debug, info, warn or error."
    )
    path: PathText = Field(default="-", description='File of the application log; "-": standard error.')
    access: str = Field(default="-", description='File of the access log; "-": standard output; empty: none.')
    format: Literal["combined", "json"] = Field(
        default="combined", description="Form of the access log: combined or json."
    )


class AdminSettings(Section):
    """``[admin]``: the interface for operators. Without this section there is none."""

    listen: AdminAddress = Field(
        default="127.0.0.1:9901", description="Its address: loopback or unix:/path without a token."
    )
    token: str = Field(
        default="", description='Secret that requests must show, best as "file:PATH"; needed for other than loopback.'
    )
    hosts: Array[HostPattern] = Field(
        default=(), description="Host names that are accepted beside its address and localhost."
    )


class Listener(Section):
    """``[[listener]]``: an address that accepts connections."""

    name: Name = Field(description="Name in logs, metrics and routes; unique.")
    address: ListenAddress = Field(
        description='Where it listens: "0.0.0.0:8080", "[::]:8080" (IPv4 too), "unix:/path", "systemd:NAME"; '
        "port 0: any free one."
    )
    protocol: Literal["http", "tcp"] = Field(
        default="http", description='"http", or "tcp" to pass bytes through unread.'
    )
    tls: OptionalName = Field(
        default="", description="Name of the [tls.NAME] section it serves TLS with; empty: no TLS."
    )
    redirect_https: bool = Field(
        default=False, description="Whether requests are redirected to https (308) at https_port."
    )
    https_port: Port = Field(default=443, description="Port that redirect_https names.")
    proxy_protocol: bool = Field(
        default=False,
        description="Whether every connection begins with a PROXY header (version 1 or 2), from peers in "
        "trusted_proxies only; others are closed. See docs/proxy-protocol.md.",
    )
    header_timeout_s: Seconds = Field(
        default=10.0,
        description="Seconds from the first byte of a request's head to its end, whatever progress; then 408.",
    )
    body_timeout_s: Seconds = Field(default=60.0, description="Seconds without a byte of a request's body; then 408.")
    write_timeout_s: Seconds = Field(
        default=60.0, description="Seconds in which a client takes no byte of a reply; then the connection is closed."
    )
    keepalive_timeout_s: Seconds = Field(
        default=75.0, description="Seconds that a connection waits for its next request."
    )
    keepalive_requests: Count = Field(default=1000, description="Requests on a connection; the last closes it.")
    tls_handshake_timeout_s: Seconds = Field(
        default=10.0, description="Seconds that a TLS handshake may take; then the connection is closed."
    )
    max_request_line_bytes: Size = Field(default=8192, description="Bytes of a request line; above them 414.")
    max_header_bytes: Size = Field(default=32768, description="Bytes of all fields of a head; above them 431.")
    max_field_bytes: Size = Field(default=16384, description="Bytes of one field; above them 431.")
    max_fields: Count = Field(default=128, description="Fields of a head; above them 431.")
    max_connections_per_ip: CountOrZero = Field(
        default=0, description="Connections of one client address; 0: no limit."
    )
    h2_max_streams: Count = Field(default=100, description="HTTP/2 streams that a connection may have open at once.")
    h2_stream_window_bytes: WindowSize = Field(
        default=65536, description="Flow control window of an HTTP/2 stream, in bytes."
    )
    h2_connection_window_bytes: WindowSize = Field(
        default=1048576, description="Flow control window of an HTTP/2 connection, in bytes."
    )
    h2_reset_budget: Count = Field(
        default=100, description="HTTP/2 streams that a client may reset early in 60 s; above them the connection ends."
    )
    cluster: OptionalName = Field(
        default="", description="Cluster that a tcp listener leads to; http listeners have routes."
    )
    sni_clusters: Mapping[HostPattern, Name] = Field(
        default_factory=dict,
        description="Clusters of a tcp listener without tls, by the name in the ClientHello: { HOST = CLUSTER }.",
    )
    alpn_clusters: Mapping[AlpnProtocol, Name] = Field(
        default_factory=dict,
        description="Clusters of a tcp listener without tls, by a protocol that the ClientHello offers; looked at "
        "before sni_clusters: { PROTOCOL = CLUSTER }.",
    )

    @property
    def clusters(self) -> tuple[str, ...]:
        """Names of the clusters that a tcp listener leads to."""
        names = (self.cluster, *self.alpn_clusters.values(), *self.sni_clusters.values())
        return tuple(dict.fromkeys(name for name in names if name))

    @property
    def scheme(self) -> str:
        """How its URL begins."""
        if self.protocol == "tcp":
            return "tls" if self.tls else "tcp"
        return "https" if self.tls else "http"


class Certificate(Section):
    """A certificate with its key."""

    chain: PathText = Field(description="File with the certificate and its chain, in PEM.")
    key: PathText = Field(description="File with its private key, in PEM; only its owner should be able to read it.")
    ocsp: str = Field(default="", description="File with the OCSP reply to staple; empty: none.")


class TlsSettings(Section):
    """``[tls.NAME]``: TLS towards clients."""

    certificates: Array[Certificate] = Field(
        description="Certificates, chosen by the name that the client asks for; the first is the default.", min_length=1
    )
    min_version: Literal["1.2", "1.3"] = Field(default="1.2", description="Lowest version of TLS.")
    max_version: Literal["1.2", "1.3"] = Field(default="1.3", description="Highest version of TLS.")
    preset: Literal["intermediate", "modern"] = Field(
        default="intermediate",
        description="Mozilla's versions and ciphers; modern is TLS 1.3 only, whatever min_version says.",
    )
    ciphers: str = Field(
        default="", description="OpenSSL cipher list for TLS 1.2 that overrides the preset; empty: its own."
    )
    strict_sni: bool = Field(
        default=False,
        description="Whether a handshake fails if there is no certificate for the name that the client sends, or, if "
        "it sends none, for the address that it has connected to.",
    )
    reload_interval_s: SecondsOrZero = Field(
        default=5.0, description="Seconds between two looks at the certificate files; 0: only on SIGHUP."
    )
    client_auth: Literal["none", "optional", "required"] = Field(
        default="none", description="Whether clients show a certificate; needs client_ca unless none."
    )
    client_ca: str = Field(default="", description="File with the authorities of client certificates, in PEM.")
    alpn: Array[Literal["h2", "http/1.1"]] = Field(
        default=("h2", "http/1.1"),
        description="Protocols that are offered by ALPN, the preferred one first. Empty: what clients "
        "offer is not looked at. Not given, and used by tcp listeners alone: empty.",
    )
    tickets: bool = Field(default=True, description="Whether sessions can be resumed by ticket.")
    ticket_lifetime_s: Seconds = Field(default=43200.0, description="Seconds after which the ticket key is replaced.")


class CacheSettings(Section):
    """``[cache]``: the store that all routes with ``cache`` share."""

    max_bytes: Size = Field(default=268435456, description="Bytes of all stored replies of one worker.")
    max_object_bytes: Size = Field(
        default=8388608, description="Bytes of one stored reply; a longer one is not stored."
    )
    default_ttl_s: Lifetime = Field(
        default=0.0, description="Seconds that a reply without explicit freshness is fresh; 0: explicit freshness only."
    )
    heuristic_fraction: Ratio = Field(
        default=0.0,
        description="Part of the time since Last-Modified, 0 to 1, for which a reply without explicit freshness is "
        "fresh, a day at most; 0: none. 0.1 is usual.",
    )
    store_set_cookie: bool = Field(default=False, description="Whether replies with Set-Cookie are stored.")
    max_rss_bytes: SizeOrZero = Field(
        default=0,
        description="Memory of the whole process, in bytes, above which the cache gives some of its own up; 0: no "
        "limit but max_bytes.",
    )
    store: OptionalReference = Field(
        default="",
        description="Function that makes another store than the one in memory: MODULE:FUNCTION; see docs/caching.md.",
    )
    lock_timeout_s: Seconds = Field(
        default=5.0, description="Seconds that followers of a collapsed miss wait for the first."
    )


class Config(Section):
    """The whole configuration. TOML writes ``listener``, ``route`` and ``cluster`` for the three containers."""

    include: Array[str] = Field(
        default=(), description='Further files, as ["conf.d/*.toml"], relative to the file that names them.'
    )
    proxy: ProxySettings = Field(default=ProxySettings(), description="The process as a whole.")
    log: LogSettings = Field(default=LogSettings(), description="Where the two logs go.")
    admin: AdminSettings | None = Field(default=None, description="Interface for operators; none if omitted.")
    listeners: Array[Listener] = Field(default=(), alias="listener", description="Addresses that accept connections.")
    tls: Mapping[Name, TlsSettings] = Field(default_factory=dict, description="TLS towards clients, by name.")
    routes: Array[Route] = Field(default=(), alias="route", description="Rules that choose a cluster.")
    clusters: Mapping[Name, Cluster] = Field(
        default_factory=dict, alias="cluster", description="Sets of backends, by name."
    )
    cache: CacheSettings | None = Field(
        default=None, description="The store of cached replies; its defaults if omitted."
    )
    stage: Stages = Field(default=Stages(), description="Settings of further stages, one table each.")


__all__ = [
    "AdminSettings",
    "Backend",
    "BackendTls",
    "Breaker",
    "CacheSettings",
    "Certificate",
    "Cluster",
    "Config",
    "HeaderRules",
    "Health",
    "Listener",
    "LogSettings",
    "Passive",
    "Pool",
    "ProxySettings",
    "Retry",
    "Route",
    "RouteCache",
    "Timeouts",
    "TlsSettings",
]
