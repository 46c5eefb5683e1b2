"""The scenario of many clients that read slowly."""

from __future__ import annotations

import json

from bench.bulk import CHUNK
from bench.client import fetch
from bench.fleet import told
from bench.procs import cpu_ns, rss_bytes
from bench.proxies import WITHOUT_FLOW_CONTROL, RunningProxy
from bench.scenario import Bench, Column, Sample, Scenario

CLIENTS = 1000
RATE = 256 * 1024
TIMEOUT_S = 60.0
# Below this share of what the clients would read, something else than they was slow.
LEAST_SHARE = 0.8
KIB = 1024


class Slow(Scenario):
    """Replies that wait for their readers."""

    name = "slow"
    summary = f"{CLIENTS:,} kept connections that read 1 MiB at {RATE // KIB} KiB/s each, again and again"
    main = "cpu_us"
    fresh = True
    columns = (
        Column("cpu_us", "CPU µs/req", 0),
        Column("kib_each", "KiB/client"),
        Column("rss_held", "RSS held MiB"),
        Column("rate", "req/s", 0),
        Column("p50_ms", "p50 ms", 0),
        Column("proxy_busy", "proxy core %", 0),
        Column("load_busy", "load cores %", 0),
    )
    skips = WITHOUT_FLOW_CONTROL

    def measure(self, bench: Bench, proxy: RunningProxy, seed: int) -> Sample:
        """Let all begin, then count."""
        del seed
        fetch(proxy.port, "/mebibyte")
        rss = rss_bytes(proxy.pid)
        words = [proxy.port, CLIENTS, RATE, bench.settings.seconds]
        child = bench.fleet.module("sippers", "bench.sippers", *words, piped=True)
        try:
            told(child, "ready", TIMEOUT_S)
            before = cpu_ns(child.pid)
            assert child.process.stdin is not None
            with bench.window(proxy) as used:
                child.process.stdin.write("\n")
                child.process.stdin.flush()
                report = json.loads(told(child, "done", TIMEOUT_S + bench.settings.seconds))
                load_s = (cpu_ns(child.pid) - before) / 1e9
            held = rss_bytes(proxy.pid)
        finally:
            bench.fleet.stop(child)
        sample = Sample()
        if report["errors"]:
            sample.errors.append(f"{report['errors']} clients failed, the first by {report['first_error']}")
        if not report["done"]:
            sample.errors.append("no reply was complete")
            return sample
        sample.values = {
            "cpu_us": used.proxy_s * 1e6 / report["done"],
            "kib_each": (held - rss) / KIB / CLIENTS,
            "rss_held": held / (1 << 20),
            "rate": report["done"] / report["seconds"],
            "p50_ms": report["p50_ms"],
            "proxy_busy": 100 * used.proxy_s / used.wall_s,
            "load_busy": 100 * (load_s + used.backend_s) / used.wall_s / len(bench.machine.load_cores),
        }
        share = sample.values["rate"] * CHUNK / RATE / CLIENTS
        if share < LEAST_SHARE:
            sample.warnings.append(f"the clients got only {share:.0%} of what they would have read")
        sample.warnings += bench.remarks(used, load_s, saturating=False)
        return sample
