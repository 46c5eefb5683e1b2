"""The scenario of added latency at a moderate rate."""

from __future__ import annotations

import json
import sys

from bench.fleet import StartError
from bench.proxies import RunningProxy
from bench.scenario import Bench, Column, Sample, Scenario

CONNECTIONS = 1000
# The client's own lateness above this would show in the percentiles.
LATE_US = 1000.0


class Latency(Scenario):
    """What the way through a proxy adds to a reply's time."""

    name = "latency"
    summary = f"p50/p95/p99 over {CONNECTIONS:,} keep-alive connections at --rate, direct and through the proxy"
    main = "added_p99"
    quick = False
    columns = (
        Column("direct_p50", "direct p50 µs", 0),
        Column("direct_p95", "p95", 0),
        Column("direct_p99", "p99", 0),
        Column("p50", "proxied p50 µs", 0),
        Column("p95", "p95", 0),
        Column("p99", "p99", 0),
        Column("added_p50", "added p50 µs", 0),
        Column("added_p95", "added p95", 0),
        Column("added_p99", "added p99 µs", 0),
    )

    def measure(self, bench: Bench, proxy: RunningProxy, seed: int) -> Sample:
        """Time both ways one after the other, so that both see the same machine."""
        del seed
        sample = Sample()
        direct = self._ask(bench, bench.backend.port)
        with bench.window(proxy) as used:
            through = self._ask(bench, proxy.port)
        for part, figures in (("direct", direct), ("proxied", through)):
            if figures["errors"]:
                sample.errors.append(f"{figures['errors']:.0f} requests failed ({part})")
            if figures["late_p99_us"] > LATE_US:
                sample.warnings.append(f"the client was {figures['late_p99_us']:.0f} µs late at its p99 ({part})")
        for percentile in ("p50", "p95", "p99"):
            sample.values[f"direct_{percentile}"] = direct[f"{percentile}_us"]
            sample.values[percentile] = through[f"{percentile}_us"]
            sample.values[f"added_{percentile}"] = through[f"{percentile}_us"] - direct[f"{percentile}_us"]
        sample.warnings += bench.remarks(used, 0.0, saturating=False)
        return sample

    def _ask(self, bench: Bench, port: int) -> dict[str, float]:
        seconds = bench.settings.seconds
        words = [sys.executable, "-m", "bench.paced", port, CONNECTIONS, bench.settings.rate, seconds]
        finished = bench.fleet.run("paced", [str(word) for word in words], seconds + 120.0)
        if finished.status != 0:
            raise StartError(f"the paced client ended with status {finished.status}")
        figures: dict[str, float] = json.loads(finished.output)
        return figures
