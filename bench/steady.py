"""Scenarios about what a proxy costs while little or nothing happens: memory, descriptors, CPU at rest."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import ClassVar

from bench import client, wrk
from bench.fleet import told
from bench.procs import connections_to, cpu_ns, descriptors, rss_bytes
from bench.proxies import WITHOUT_TLS, RunningProxy
from bench.requests import WARM_UP_S, traffic
from bench.scenario import Bench, Column, Sample, Scenario
from bench.wrk import Load

MIB = 1 << 20
RELEASE_TIMEOUT_S = 20.0
HOLDER_TIMEOUT_S = 120.0
REST_S = 2.0


def _own_descriptors(bench: Bench, proxy: RunningProxy) -> int:
    # The pool of backend connections may rightly have grown since the start.
    return descriptors(proxy.pid) - connections_to(bench.backend.port)


class Idle(Scenario):
    """Memory and descriptors of idle keep-alive connections."""

    name = "idle"
    summary = "memory per idle keep-alive connection while traffic flows; descriptors afterwards"
    main = "bytes_each"
    fresh = True
    max_rounds = 1
    needs = "wrk"
    skips: ClassVar[Mapping[str, str]] = {
        "proxy.py": "it holds a connection to the backend for each client too, and looks at all for each event"
    }
    columns = (
        Column("bytes_each", "bytes/idle conn", 0),
        Column("rss_before", "RSS before MiB"),
        Column("rss_held", "RSS held MiB"),
        Column("cpu_us", "CPU µs/req"),
        Column("fds_before", "fds before", 0),
        Column("fds_held", "fds held", 0),
        Column("fds_after", "fds after", 0),
        Column("released_s", "released s"),
    )

    def measure(self, bench: Bench, proxy: RunningProxy, seed: int) -> Sample:
        """Warm up, hold, send traffic, let go."""
        load = Load(connections=bench.settings.connections, tls=self.tls)
        wrk.run(bench.fleet, proxy.port, load, WARM_UP_S, seed)
        time.sleep(REST_S)
        rss, open_before = rss_bytes(proxy.pid), _own_descriptors(bench, proxy)
        wanted = min(bench.settings.idle, bench.machine.max_clients - bench.settings.connections)
        words = [proxy.port, wanted, *(["tls"] if self.tls else [])]
        holder = bench.fleet.module("holder", "bench.holder", *words, piped=True)
        try:
            held = int(told(holder, "held", HOLDER_TIMEOUT_S))
            sample = traffic(bench, proxy, load, seed, bench.settings.seconds)
            rss_held, open_held = rss_bytes(proxy.pid), _own_descriptors(bench, proxy)
            assert holder.process.stdin is not None
            holder.process.stdin.write("\n")
            holder.process.stdin.flush()
            alive = int(told(holder, "alive", HOLDER_TIMEOUT_S))
            holder.process.wait(30.0)
        finally:
            bench.fleet.stop(holder)
        began = time.monotonic()
        deadline = began + RELEASE_TIMEOUT_S
        while (open_after := _own_descriptors(bench, proxy)) > open_before and time.monotonic() < deadline:
            time.sleep(0.1)
        if held < bench.settings.idle:
            sample.warnings.append(f"only {held} connections held: the limit of open files is too low")
        if alive < held:
            sample.errors.append(f"{held - alive} of {held} held connections were closed by the proxy")
        if open_after > open_before:
            sample.errors.append(f"{open_after - open_before} descriptors still open after {RELEASE_TIMEOUT_S:.0f} s")
        sample.values |= {
            "bytes_each": (rss_held - rss) / held,
            "rss_before": rss / MIB,
            "rss_held": rss_held / MIB,
            "fds_before": open_before,
            "fds_held": open_held,
            "fds_after": open_after,
            "released_s": time.monotonic() - began,
        }
        return sample


class TlsIdle(Idle):
    """Memory and descriptors of idle keep-alive connections that speak TLS."""

    name = "tlsidle"
    summary = "as idle with connections that speak TLS 1.3"
    tls = True
    skips = WITHOUT_TLS


class IdleCpu(Scenario):
    """CPU time of a proxy without traffic."""

    name = "idlecpu"
    summary = "CPU share over 10 s with nothing to do"
    main = "share"
    fresh = True
    max_rounds = 1
    columns = (Column("share", "CPU %", 4), Column("rss", "RSS MiB"))
    duration_s = 10.0

    def measure(self, bench: Bench, proxy: RunningProxy, seed: int) -> Sample:
        """Serve a little, rest, watch."""
        del bench, seed
        client.send_requests(proxy.port, 0, 256)
        time.sleep(REST_S)
        began, before = time.monotonic(), cpu_ns(proxy.pid)
        time.sleep(self.duration_s)
        share = (cpu_ns(proxy.pid) - before) / 1e9 / (time.monotonic() - began)
        return Sample({"share": 100 * share, "rss": rss_bytes(proxy.pid) / MIB})


class Rss(Scenario):
    """Growth of memory with the number of requests served."""

    name = "rss"
    summary = "memory after 1,000, 10,000 and 20,000 requests with targets that all differ"
    main = "grown"
    fresh = True
    max_rounds = 1
    columns = (
        Column("rss_1000", "RSS at 1,000 MiB", 2),
        Column("rss_10000", "at 10,000", 2),
        Column("rss_20000", "at 20,000", 2),
        Column("grown", "20,000 / 1,000", 3),
    )

    def measure(self, bench: Bench, proxy: RunningProxy, seed: int) -> Sample:
        """Count requests exactly and read the memory at each mark."""
        del bench, seed
        sample, sent = Sample(), 0
        for mark in (1_000, 10_000, 20_000):
            client.send_requests(proxy.port, sent, mark - sent)
            sent = mark
            sample.values[f"rss_{mark}"] = rss_bytes(proxy.pid) / MIB
        sample.values["grown"] = sample.values["rss_20000"] / sample.values["rss_1000"]
        return sample
