"""Settings of one ``[cluster.NAME]``: its backends and how they are chosen, watched, pooled and retried."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from txproxy.config.values import (
    Array,
    BackendAddress,
    Balancer,
    Count,
    CountOrZero,
    HashKey,
    Milliseconds,
    OptionalHostWithPort,
    OptionalServerName,
    OptionalToken,
    Probe,
    Ratio,
    RuleFields,
    Seconds,
    SecondsOrZero,
    Section,
    SizeOrZero,
    Statuses,
    Target,
    Weight,
)


class Backend(Section):
    """One server of a cluster."""

    address: BackendAddress = Field(
        description='Where it listens: "10.0.0.11:8080", "name:8080", "[::1]:8080" or "unix:/path".'
    )
    weight: Weight = Field(default=1, description="Share of the requests relative to the other backends, 1 to 65535.")
    max_connections: Count | None = Field(
        default=None, description="Connections of one worker to this backend; the pool's max_connections if omitted."
    )
    backup: bool = Field(default=False, description="Whether it serves only while no other backend can.")


class Health(Section):
    """Active health checks. Without this section a cluster has passive checks only."""

    type: Probe = Field(
        default="http",
        description='"http": a GET, in HTTP/2 if the cluster speaks that; "tcp": a connection; "tls": a handshake; or '
        "MODULE:FUNCTION, a Python function of the target (name, hosts, port, path) that returns True if it is "
        "healthy, False or a reason if not, or a Deferred or coroutine of either. Clusters of tcp listeners have "
        '"tcp" unless this is given.',
    )
    path: Target = Field(default="/health", description="Path and query that an http check asks for by GET.")
    host: OptionalHostWithPort = Field(
        default="", description="Host that an http check sends; empty: the backend's address."
    )
    headers: RuleFields = Field(default_factory=dict, description="Further fields that an http check sends.")
    statuses: Array[Statuses] = Field(
        default=("200-399",),
        description='Statuses that count as healthy for an http check, as "200" or "200-399".',
        min_length=1,
    )
    body: str = Field(
        default="",
        description="Text that the first 65536 bytes of the body must contain in an http check; empty: any body.",
    )
    interval_s: Seconds = Field(default=5.0, description="Seconds between two checks of a backend.")
    jitter: Ratio = Field(default=0.2, description="Part of interval_s by which checks are spread at random, 0 to 1.")
    timeout_s: Seconds = Field(
        default=2.0,
        description="Seconds after which a check has failed, connecting included; it may be above interval_s: "
        "a backend has one check at a time.",
    )
    fall: Count = Field(default=3, description="Failures in a row that take a backend down.")
    rise: Count = Field(default=2, description="Successes in a row that bring it up; they end a passive ejection too.")
    max_response_s: SecondsOrZero = Field(
        default=0.0, description="Seconds above which a good reply counts as a failure; 0: no limit but timeout_s."
    )
    initial: Literal["checking", "up", "down"] = Field(
        default="checking", description='State before the first check has ended: "checking", "up" or "down".'
    )


class Passive(Section):
    """Ejection of backends by what real requests meet: failed connections, resets, timeouts and 502 to 504."""

    failures: Count = Field(default=5, description="Failures in a row that eject a backend.")
    ejection_s: Seconds = Field(
        default=10.0, description="Seconds of the first ejection; the n-th one is n times as long."
    )
    max_ejection_s: Seconds = Field(default=300.0, description="Seconds above which an ejection does not grow.")
    max_ejected: Ratio = Field(
        default=0.5, description="Part of the backends, 0 to 1, that may be ejected at once, the last never; 0: none."
    )


class Breaker(Section):
    """Circuit breaker of the whole cluster: while it is open, requests are answered with 503 at once."""

    error_rate: Ratio = Field(
        default=0.0,
        description="Part of failing requests, 0 to 1, at which it opens, once window_s has seen 10; 0: never.",
    )
    window_s: Seconds = Field(default=10.0, description="Seconds over which error_rate is measured.")
    open_s: Seconds = Field(
        default=10.0, description="Seconds that it stays open before it lets a trial request through."
    )
    max_pending: CountOrZero = Field(
        default=0, description="Requests of the cluster that may be under way at once; 0: no limit."
    )


class Pool(Section):
    """Connections to one backend that are kept and shared by requests, per worker. By HTTP/1.1 a connection carries one
    request at a time; by HTTP/2 as many as the backend allows, 100 at most."""

    max_connections: Count = Field(
        default=256,
        description="Connections to one backend and from one worker; in HTTP/2 up to twice as many while those that "
        "the backend has ended complete what they carry. Clusters of tcp listeners have proxy.max_connections unless "
        "this is given.",
    )
    min_idle: CountOrZero = Field(default=0, description="Idle connections that are kept open in advance.")
    max_idle: CountOrZero = Field(default=32, description="Idle connections that are kept; 0: each serves one request.")
    idle_timeout_s: Seconds = Field(
        default=30.0, description="Seconds after which an idle connection is closed; keep it under the backend's own."
    )
    max_requests: Count = Field(
        default=1000, description="Requests after which a connection is not used again; those under way are completed."
    )
    max_age_s: Seconds = Field(default=3600.0, description="Seconds after which a connection is not used again.")
    connect_timeout_s: Seconds = Field(
        default=5.0, description="Seconds that connecting may take, a TLS handshake included."
    )
    queue: CountOrZero = Field(default=1024, description="Requests that may wait for a connection; 0: none waits.")
    queue_timeout_s: Seconds = Field(
        default=5.0, description="Seconds that a request waits for a connection; then 503."
    )
    when_full: Literal["queue", "overflow", "refuse"] = Field(
        default="queue",
        description='When every backend is full: "queue" waits, "overflow" opens one more connection, "refuse" is 503.',
    )


class Retry(Section):
    """Further tries of a request that failed before anything of the reply went to the client."""

    tries: Count = Field(
        default=3, description="Tries in all, on different backends, if connecting fails; 1: no retry."
    )
    idempotent_tries: Count = Field(
        default=2,
        description="Tries in all of an idempotent request after a reset or timeout, counted apart from tries; "
        "1: no retry.",
    )
    budget: Ratio = Field(
        default=0.2,
        description="Part of the requests of 10 s, 0 to 1, that may be retries after a reset or timeout, or after a "
        "second refusal in HTTP/2.",
    )
    min_per_s: CountOrZero = Field(
        default=3, description="Retries per second, over 10 s, that are allowed whatever the budget."
    )
    backoff_min_ms: Milliseconds = Field(default=25.0, description="Milliseconds of the shortest wait before a retry.")
    backoff_max_ms: Milliseconds = Field(default=250.0, description="Milliseconds of the longest wait before a retry.")
    body_bytes: SizeOrZero = Field(
        default=65536,
        description="Bytes of a request body that are kept to be sent again; a request whose longer body has begun "
        "to go out is not retried. 0: nothing is kept.",
    )


class Timeouts(Section):
    """How long a backend may be silent."""

    first_byte_s: Seconds = Field(
        default=60.0, description="Seconds from the end of the request to the reply's first byte."
    )
    between_bytes_s: Seconds = Field(default=60.0, description="Seconds between two reads of a reply's body.")
    stream_s: Seconds = Field(
        default=3600.0,
        description="Seconds between two reads of an event stream (text/event-stream), or of a gRPC reply by HTTP/2.",
    )
    tunnel_idle_s: Seconds = Field(default=3600.0, description="Seconds without a byte either way that end a tunnel.")
    tunnel_max_s: SecondsOrZero = Field(default=0.0, description="Seconds that a tunnel may last at all; 0: no limit.")


class BackendTls(Section):
    """TLS towards the backends."""

    enabled: bool = Field(default=False, description="Whether backends are spoken to over TLS.")
    verify: bool = Field(default=True, description="Whether a backend's certificate must be valid for its name.")
    server_name: OptionalServerName = Field(
        default="", description="Name in SNI and in the certificate; empty: the backend's host."
    )
    ca: str = Field(
        default="", description="File with the certificates of the authorities trusted; empty: the system's."
    )
    client_chain: str = Field(default="", description="File with our certificate and its chain; needs client_key.")
    client_key: str = Field(default="", description="File with the key of our certificate; needs client_chain.")


class Cluster(Section):
    """A named set of backends with one balancer, pool and health policy."""

    balance: Balancer = Field(
        default="round_robin",
        description="round_robin (weighted_round_robin is the same), least_connections, ip_hash, random, p2c, ewma, "
        "ring_hash, or MODULE:FUNCTION, a Python function (candidates, request, now, random) that yields candidates, "
        "best first; a class is called once per cluster to get one.",
    )
    hash_key: HashKey = Field(
        default="client",
        description='What ring_hash hashes: "client" (address), "uri" (target with query), "header:NAME" or '
        '"cookie:NAME"; where that is missing, the client.',
    )
    sticky: OptionalToken = Field(
        default="",
        description="Name of a signed cookie that keeps a client at a backend; empty: none. The environment variable "
        "TXPROXY_STICKY_KEY has the key; without it one is made at each start, and clients may move.",
    )
    protocol: Literal["http1", "h2"] = Field(
        default="http1",
        description='Protocol towards the backends: "http1" (HTTP/1.1) or "h2" (HTTP/2). By TLS nothing but h2 is '
        "offered; without TLS a backend must expect it.",
    )
    panic: bool = Field(
        default=True,
        description="Whether backends are tried although all are down, the one that failed last first; "
        "else 503 is answered at once.",
    )
    backends: Array[Backend] = Field(description="The servers; at least one.", min_length=1)
    dns_min_ttl_s: Seconds = Field(default=1.0, description="Seconds that an answer of the DNS is used at least.")
    dns_max_ttl_s: Seconds = Field(default=300.0, description="Seconds that an answer of the DNS is used at most.")
    slow_start_s: SecondsOrZero = Field(
        default=0.0,
        description="Seconds over which the share of a backend that came up grows to its weight; 0: at once.",
    )
    send_proxy_protocol: Literal["", "v1", "v2"] = Field(
        default="",
        description='Version of the PROXY protocol that each connection to a backend begins with: "v1", "v2"; empty: '
        "none. Such a connection carries one request, by HTTP/1.1.",
    )
    tls: BackendTls = Field(default=BackendTls(), description="TLS towards the backends.")
    health: Health | None = Field(default=None, description="Active health checks; none if omitted.")
    passive: Passive = Field(default=Passive(), description="Ejection by what real requests meet.")
    breaker: Breaker = Field(default=Breaker(), description="Circuit breaker.")
    pool: Pool = Field(default=Pool(), description="Connections to the backends.")
    retry: Retry = Field(default=Retry(), description="Further tries.")
    timeouts: Timeouts = Field(default=Timeouts(), description="How long a backend may be silent.")

    def connection_limit(self, backend: Backend) -> int:
        """Return how many connections one worker may have to a backend: its own limit, else the pool's."""
        return self.pool.max_connections if backend.max_connections is None else backend.max_connections
