"""Scenarios of clients that speak HTTP/2 over TLS, driven by h2load."""

from __future__ import annotations

from typing import ClassVar

from bench import h2load
from bench.bodies import BodyScenario
from bench.proxies import WITHOUT_TLS, RunningProxy
from bench.requests import WARM_UP_S
from bench.scenario import Bench, Column, Sample, Scenario

CONNECTIONS = 16
STREAMS = 8
BODY_BYTES = 1024
# For each connection. h2load reads all of them before it begins, and then goes round: 65,536 other heads come before
# one comes back, which is more than a proxy remembers.
TARGETS = 4096

# What a browser sends beside Cookie and Referer: with these two, the cookie in its two crumbs, fifteen fields.
BROWSER = (
    "user-agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "accept: text/html,application/xhtml+xml,*/*;q=0.8",
    "accept-language: en-GB,en;q=0.7,de;q=0.3",
    "accept-encoding: gzip, deflate, br",
    "cache-control: max-age=0",
    "dnt: 1",
    "priority: u=0, i",
    "sec-fetch-dest: document",
    "sec-fetch-mode: navigate",
    "sec-fetch-site: same-origin",
    "upgrade-insecure-requests: 1",
    "te: trailers",
)


class Http2Scenario(Scenario):
    """Small requests as fast as they are answered, several at once on each connection."""

    main = "cpu_us"
    needs = "h2load"
    tls = True
    http2 = True
    skips = WITHOUT_TLS
    columns = (
        Column("cpu_us", "CPU µs/req"),
        Column("rate", "req/s", 0),
        Column("mean_us", "mean µs", 0),
        Column("max_us", "max µs", 0),
        Column("proxy_busy", "proxy core %", 0),
        Column("load_busy", "load cores %", 0),
    )

    def commands(self, bench: Bench, port: int, seed: int) -> list[list[str]]:
        """Return the options and URIs of the h2loads that are to run beside each other.

        :param seed: differs for every run.
        """
        del bench, seed
        return [[f"-c{CONNECTIONS}", f"-m{STREAMS}", h2load.url(port)]]

    def measure(self, bench: Bench, proxy: RunningProxy, seed: int) -> Sample:
        """Warm up, then count."""
        if bench.is_cold(proxy):
            h2load.run(bench.fleet, self.commands(bench, proxy.port, 2 * seed), WARM_UP_S)
        commands = self.commands(bench, proxy.port, 2 * seed + 1)
        with bench.window(proxy) as used:
            result = h2load.run(bench.fleet, commands, bench.settings.seconds)
        sample = Sample(errors=list(result.errors))
        if result.requests:
            sample.values = {
                "cpu_us": used.proxy_s * 1e6 / result.requests,
                "rate": result.rate,
                "mean_us": result.mean_us,
                "max_us": result.max_us,
                "proxy_busy": 100 * used.proxy_s / used.wall_s,
                "load_busy": 100 * (result.cpu_s + used.backend_s) / used.wall_s / len(bench.machine.load_cores),
                "requests": float(result.requests),
            }
            sample.warnings = bench.remarks(used, result.cpu_s)
        if result.data < BODY_BYTES * result.requests:
            sample.errors.append(f"{result.data} bytes of {result.requests} bodies arrived")
        return sample


class Http2(Http2Scenario):
    """Every head the same."""

    name = "h2"
    summary = f"1 KiB replies on {CONNECTIONS} connections of {STREAMS} streams, every request head the same"


class Unlike(Http2Scenario):
    """Heads that differ.

    All connections of one h2load ask for the same targets in the same order, so each connection has one of its own.

    :cvar target: with the places ``{number}`` and ``{seed}``, of the request and of the run.
    :cvar headers: fields of every request, with the places ``{seed}`` and ``{connection}``.
    """

    target: ClassVar[str]
    headers: ClassVar[tuple[str, ...]]

    def commands(self, bench: Bench, port: int, seed: int) -> list[list[str]]:
        """Write the targets of each connection to a file."""
        result = []
        for connection in range(CONNECTIONS):
            numbers = range(connection, CONNECTIONS * TARGETS, CONNECTIONS)
            targets = (self.target.format(number=number, seed=seed) for number in numbers)
            file = h2load.write_targets(bench.fleet.directory / f"targets.{connection}", port, targets)
            fields = [header.format(seed=f"{seed:08x}", connection=f"{connection:04x}") for header in self.headers]
            result.append(["-c1", f"-m{STREAMS}", *(f"-H{each}" for each in fields), f"-i{file}"])
        return result


class Http2Differing(Unlike):
    """No two heads the same."""

    name = "h2differing"
    summary = "as h2 with request and reply heads that all differ; a cookie of its own for each connection"
    target = "/goods/{number}/details?run={seed}&page={number}"
    headers = ("cookie: session={seed}-{connection}-5be1d0a7c3",)


class Http2Browser(Unlike):
    """Heads of real size."""

    name = "h2browser"
    summary = "as h2 with 15 fields in each request beside path and authority, as a browser sends them"
    target = "/shop/items/{number}?run={seed}"
    headers = (
        *BROWSER,
        "referer: https://shop.example/list/{connection}",
        "cookie: session={seed}-{connection}-5be1d0a7c3",
        "cookie: theme=dark",
    )


class Http2Download(BodyScenario):
    """From the backend to a client that speaks HTTP/2."""

    name = "h2download"
    summary = "as tlsdownload on one stream of a connection that speaks HTTP/2, the client's windows wide open"
    needs = "h2load"
    tls = True
    http2 = True
    skips = WITHOUT_TLS

    def transfer(self, bench: Bench, port: int, count: int) -> int:
        """Fetch *count* bytes; return how many came."""
        return h2load.download(bench.fleet, port, count)


class Http2Upload(BodyScenario):
    """From a client that speaks HTTP/2 to the backend."""

    name = "h2upload"
    summary = "as tlsupload on one stream of a connection that speaks HTTP/2; the backend checks the count"
    needs = "h2load"
    tls = True
    http2 = True
    skips = WITHOUT_TLS

    def transfer(self, bench: Bench, port: int, count: int) -> int:
        """Send *count* bytes; return how many the backend counted."""
        return h2load.upload(bench.fleet, port, count)
