"""The scenario of added latency at a moderate rate."""

from __future__ import annotations

import json
import sys

from bench.fleet import StartError
from bench.proxies import RunningProxy
from bench.scenario import Bench, Column, Sample, Scenario

CONNECTIONS = 1000
# Fewer say nothing of a p99. A window is as long as they take.
LEAST_REQUESTS = 1000
# The client's own lateness above this would show in the percentiles.
LATE_US = 1000.0


class Latency(Scenario):
    """What the way through a proxy adds to a reply's time."""

    name = "latency"
    summary = f"p50 and p99 at --rate over {CONNECTIONS:,} keep-alive connections, and on as many direct ones meanwhile"
    main = "added_p99"
    columns = (
        Column("direct_p50", "direct p50 µs", 0),
        Column("direct_p99", "p99", 0),
        Column("p50", "proxied p50 µs", 0),
        Column("p99", "p99", 0),
        Column("added_p50", "added p50 µs", 0),
        Column("added_p99", "added p99 µs", 0),
    )

    def measure(self, bench: Bench, proxy: RunningProxy, seed: int) -> Sample:
        """Time both ways in turn, request by request, so that both see the same machine."""
        del seed
        rate = bench.settings.rate
        seconds = max(bench.settings.seconds, LEAST_REQUESTS / rate)
        words = [sys.executable, "-m", "bench.paced", CONNECTIONS, rate, seconds, bench.backend.port, proxy.port]
        with bench.window(proxy) as used:
            finished = bench.fleet.run("paced", [str(word) for word in words], seconds + 120.0)
        if finished.status != 0:
            raise StartError(f"the paced client ended with status {finished.status}")
        direct, through = json.loads(finished.output)
        sample = Sample()
        for part, figures in (("direct", direct), ("proxied", through)):
            if figures["errors"]:
                sample.errors.append(f"{figures['errors']:.0f} requests failed ({part})")
            if figures["late_p99_us"] > LATE_US:
                sample.warnings.append(f"the client was {figures['late_p99_us']:.0f} µs late at its p99 ({part})")
        for percentile in ("p50", "p99"):
            sample.values[f"direct_{percentile}"] = direct[f"{percentile}_us"]
            sample.values[percentile] = through[f"{percentile}_us"]
            sample.values[f"added_{percentile}"] = through[f"{percentile}_us"] - direct[f"{percentile}_us"]
        sample.warnings += bench.remarks(used, finished.cpu_s, saturating=False)
        return sample
