"""All scenarios, and those of a run that names none."""

from __future__ import annotations

from bench.bodies import Download, TcpDownload, TcpUpload, TlsDownload, TlsUpload, Upload
from bench.cache import CacheDiffering, CacheFill, CacheHit, CacheHit64k
from bench.drill import Drill
from bench.handshake import FullHandshake, ResumedHandshake
from bench.http2 import Http2, Http2Browser, Http2Differing, Http2Download, Http2Upload
from bench.latency import Latency
from bench.parallel import Downloads
from bench.picks import Picks
from bench.requests import (
    Browser,
    Differing,
    KeepAlive,
    NewConnection,
    Pipelined,
    Post1m,
    Post4k,
    Reply64k,
    Tcp,
    TcpNewConnection,
    Tls,
    TlsDiffering,
)
from bench.scenario import Scenario
from bench.slow import Slow
from bench.steady import Idle, IdleCpu, Rss, TlsIdle

STANDARD: tuple[Scenario, ...] = (
    KeepAlive(),
    Differing(),
    Browser(),
    Reply64k(),
    NewConnection(),
    Post4k(),
    Post1m(),
    Pipelined(),
    Tls(),
    FullHandshake(),
    ResumedHandshake(),
    Http2(),
    CacheHit(),
    CacheHit64k(),
    Tcp(),
    Download(),
    Upload(),
    TlsDownload(),
    TlsUpload(),
    Slow(),
    Idle(),
    Latency(),
)
"""What all proxies are compared by: a run without ``--scenario``, and the page of results."""

SCENARIOS: tuple[Scenario, ...] = (
    *STANDARD,
    Downloads(),
    TcpNewConnection(),
    TcpDownload(),
    TcpUpload(),
    TlsDiffering(),
    Http2Differing(),
    Http2Browser(),
    Http2Download(),
    Http2Upload(),
    TlsIdle(),
    CacheDiffering(),
    CacheFill(),
    IdleCpu(),
    Rss(),
    Drill(),
    Picks(),
)
"""All that there is."""
