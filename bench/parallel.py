"""The scenario of many bodies at once."""

from __future__ import annotations

import json

from bench.bodies import GIB, MIB
from bench.bulk import CHUNK
from bench.fleet import told
from bench.procs import cpu_ns
from bench.proxies import WITHOUT_FLOW_CONTROL, RunningProxy
from bench.scenario import Bench, Column, Sample, Scenario

CLIENTS = 1000
# Downloads of each client in one sample: some seconds.
EACH = 3
TIMEOUT_S = 120.0


class Downloads(Scenario):
    """Bodies that are neither small nor alone."""

    name = "downloads"
    summary = f"{CLIENTS:,} kept connections that download 1 MiB at once, again and again; a part compared byte by byte"
    main = "cpu_ms"
    columns = (
        Column("cpu_ms", "CPU ms/GiB", 0),
        Column("mib_s", "MiB/s", 0),
        Column("p50_ms", "p50 ms", 0),
        Column("p99_ms", "p99 ms", 0),
        Column("proxy_busy", "proxy core %", 0),
        Column("load_busy", "load cores %", 0),
    )
    skips = WITHOUT_FLOW_CONTROL

    def measure(self, bench: Bench, proxy: RunningProxy, seed: int) -> Sample:
        """Download once on all connections, then count."""
        del seed
        child = bench.fleet.module("downloaders", "bench.downloaders", proxy.port, CLIENTS, EACH, piped=True)
        try:
            ready = int(told(child, "ready", TIMEOUT_S))
            before = cpu_ns(child.pid)
            assert child.process.stdin is not None
            with bench.window(proxy) as used:
                child.process.stdin.write("\n")
                child.process.stdin.flush()
                report = json.loads(told(child, "done", TIMEOUT_S))
                load_s = (cpu_ns(child.pid) - before) / 1e9
        finally:
            bench.fleet.stop(child)
        sample = Sample()
        if report["errors"] or report["done"] != CLIENTS * EACH:
            sample.errors.append(
                f"{report['done']} of {CLIENTS * EACH:,} downloads by {ready} clients are complete;"
                f" {report['errors']} failed, the first by {report['first_error'] or 'nothing'}"
            )
        size = max(1, report["done"]) * CHUNK
        sample.values = {
            "cpu_ms": used.proxy_s * 1e3 * GIB / size,
            "mib_s": size / MIB / used.wall_s,
            "p50_ms": report["p50_ms"],
            "p99_ms": report["p99_ms"],
            "proxy_busy": 100 * used.proxy_s / used.wall_s,
            "load_busy": 100 * (load_s + used.backend_s) / used.wall_s / len(bench.machine.load_cores),
        }
        sample.warnings = bench.remarks(used, load_s)
        return sample
