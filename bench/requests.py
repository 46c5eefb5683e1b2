"""Scenarios of many small requests, driven by wrk."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from bench import wrk
from bench.proxies import WITHOUT_FLOW_CONTROL, WITHOUT_TCP, WITHOUT_TLS, RunningProxy
from bench.scenario import Bench, Column, Sample, Scenario
from bench.wrk import Load

WARM_UP_S = 1.0
PIPELINED = 16
PERCENTILES = ("p50_us", "p99_us", "p999_us")


def traffic(bench: Bench, proxy: RunningProxy, load: Load, seed: int, seconds: float) -> Sample:
    """Send *load* through *proxy* for *seconds* and say what a request cost."""
    with bench.window(proxy) as used:
        result = wrk.run(bench.fleet, proxy.port, load, seconds, seed)
    sample = Sample(errors=list(result.errors))
    if result.requests:
        sample.values = {
            "cpu_us": used.proxy_s * 1e6 / result.requests,
            "rate": result.rate,
            "p50_us": result.p50_us,
            "p99_us": result.p99_us,
            "p999_us": result.p999_us,
            "proxy_busy": 100 * used.proxy_s / used.wall_s,
            "load_busy": 100 * (result.finished.cpu_s + used.backend_s) / used.wall_s / len(bench.machine.load_cores),
            "requests": float(result.requests),
        }
        sample.warnings = bench.remarks(used, result.finished.cpu_s)
    return sample


class RequestScenario(Scenario):
    """Small requests as fast as they are answered."""

    load: ClassVar[Load] = Load()
    main = "cpu_us"
    needs = "wrk"
    columns: ClassVar[tuple[Column, ...]] = (
        Column("cpu_us", "CPU µs/req"),
        Column("rate", "req/s", 0),
        Column("p50_us", "p50 µs", 0),
        Column("p99_us", "p99 µs", 0),
        Column("p999_us", "p99.9 µs", 0),
        Column("proxy_busy", "proxy core %", 0),
        Column("load_busy", "load cores %", 0),
    )

    def measure(self, bench: Bench, proxy: RunningProxy, seed: int) -> Sample:
        """Warm up, then count."""
        load = replace(self.load, connections=bench.settings.connections, tls=self.tls)
        if bench.is_cold(proxy):
            wrk.run(bench.fleet, proxy.port, load, WARM_UP_S, 2 * seed)
        return traffic(bench, proxy, load, 2 * seed + 1, bench.settings.seconds)


class KeepAlive(RequestScenario):
    """Every head the same."""

    name = "keepalive"
    summary = "1 KiB replies on keep-alive connections, every request head the same"


class Differing(RequestScenario):
    """No two heads the same."""

    name = "differing"
    summary = "the same with heads that all differ in path, query and cookie"
    load = Load(script="differing.lua")


class Browser(RequestScenario):
    """Heads of real size."""

    name = "browser"
    summary = "the same with heads of 600 bytes in 15 fields that all differ"
    load = Load(script="browser.lua")


class NewConnection(RequestScenario):
    """No keep-alive between client and proxy."""

    name = "newconn"
    summary = "a new client connection for every request, keep-alive to the backend"
    load = Load(headers=("Connection: close",))


class Reply64k(RequestScenario):
    """Replies that are neither small nor long."""

    name = "reply64k"
    summary = "64 KiB replies on keep-alive connections, every request head the same"
    load = Load(path="/cached64k", body_bytes=65536)


class Post4k(RequestScenario):
    """Requests with a body that comes with the head or soon after it."""

    name = "post4k"
    summary = "POST of 4 KiB on keep-alive connections; the backend counts the bodies"
    backend = "sink"
    load = Load(script="post.lua", arguments=("4096",))


class Post1m(RequestScenario):
    """Requests with a body that is longer than any buffer."""

    name = "post1m"
    summary = "POST of 1 MiB on keep-alive connections; the backend counts the bodies"
    backend = "sink"
    load = Load(script="post.lua", arguments=(str(1 << 20),))
    skips = WITHOUT_FLOW_CONTROL


class Pipelined(RequestScenario):
    """Requests that wait for no reply."""

    name = "pipelined"
    summary = f"{PIPELINED} requests at once on each connection, the next ones when all are answered"
    load = Load(script="pipelined.lua", arguments=(str(PIPELINED),))
    skips = {"proxy.py": "it gives no answer to requests that come together"}
    # No percentiles: wrk times a batch, and corrects the time as if each request of it had been sent alone.
    columns = tuple(column for column in RequestScenario.columns if column.key not in PERCENTILES)


class Tcp(KeepAlive):
    """The same bytes, unread."""

    name = "tcp"
    summary = "as keepalive through listeners that pass bytes through unread"
    parts = ("tcp",)
    skips = WITHOUT_TCP


class TcpNewConnection(NewConnection):
    """Nothing but new connections, on both sides."""

    name = "tcpnewconn"
    summary = "as newconn through such listeners: a new connection to the backend too"
    parts = ("tcp",)
    skips = WITHOUT_TCP


class Tls(KeepAlive):
    """Every head the same, on connections that speak TLS."""

    name = "tls"
    summary = "as keepalive on connections that speak TLS 1.3"
    tls = True
    skips = WITHOUT_TLS


class TlsDiffering(Differing):
    """No two heads the same, on connections that speak TLS."""

    name = "tlsdiffering"
    summary = "as differing on connections that speak TLS 1.3"
    tls = True
    skips = WITHOUT_TLS
