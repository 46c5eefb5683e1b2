"""Scenarios of handshakes: new TLS connections with one request each."""

from __future__ import annotations

import json
import sys
from typing import ClassVar

from bench.fleet import StartError
from bench.proxies import WITHOUT_TLS, RunningProxy
from bench.scenario import Bench, Column, Sample, Scenario

# Enough that the proxy always has some at hand, and few enough for one core of the load.
CALLERS = 16
WARM_UP_S = 0.5


class HandshakeScenario(Scenario):
    """A new TLS connection for every request.

    :cvar kind: ``full`` or ``resumed``.
    :cvar lowest: percent of the handshakes that must have been resumed.
    :cvar highest: percent that may have been.
    """

    kind: ClassVar[str]
    lowest: ClassVar[float]
    highest: ClassVar[float]
    main = "cpu_us"
    tls = True
    skips = WITHOUT_TLS
    columns = (
        Column("cpu_us", "CPU µs/handshake", 0),
        Column("rate", "handshakes/s", 0),
        Column("resumed", "% resumed", 2),
        Column("proxy_busy", "proxy core %", 0),
        Column("load_busy", "load cores %", 0),
    )

    def measure(self, bench: Bench, proxy: RunningProxy, seed: int) -> Sample:
        """Warm up, then count."""
        del seed
        if bench.is_cold(proxy):
            self._call(bench, proxy, WARM_UP_S)
        with bench.window(proxy) as used:
            calls, load_s = self._call(bench, proxy, bench.settings.seconds)
        sample = Sample()
        if calls["errors"]:
            sample.errors.append(f"{calls['errors']} connections failed, the first by {calls['first_error']}")
        done = int(calls["done"])
        if not done:
            sample.errors.append("no handshake was completed")
            return sample
        share = 100 * int(calls["resumed"]) / done
        if not self.lowest <= share <= self.highest:
            sample.errors.append(f"{share:.1f} % were resumed, not {self.lowest:g} to {self.highest:g} %")
        sample.values = {
            "cpu_us": used.proxy_s * 1e6 / done,
            "rate": done / float(calls["seconds"]),
            "resumed": share,
            "proxy_busy": 100 * used.proxy_s / used.wall_s,
            "load_busy": 100 * (load_s + used.backend_s) / used.wall_s / len(bench.machine.load_cores),
            "handshakes": float(done),
        }
        # The load's side works harder than the proxy: the rate is its limit, and says nothing of the proxy.
        sample.warnings = bench.remarks(used, load_s, saturating=False)
        return sample

    def _call(self, bench: Bench, proxy: RunningProxy, seconds: float) -> tuple[dict[str, str | float], float]:
        words = [sys.executable, "-m", "bench.callers", proxy.port, seconds, CALLERS, self.kind]
        finished = bench.fleet.run("callers", [str(word) for word in words], seconds + 60.0)
        if finished.status != 0:
            raise StartError(f"the callers ended with status {finished.status}")
        calls: dict[str, str | float] = json.loads(finished.output)
        return calls, finished.cpu_s


class FullHandshake(HandshakeScenario):
    """Nobody comes back."""

    name = "handshake"
    summary = "full TLS 1.3 handshakes (ECDSA P-256, X25519), one request on each connection"
    kind = "full"
    lowest, highest = 0.0, 1.0


class ResumedHandshake(HandshakeScenario):
    """Everybody comes back."""

    name = "resumed"
    summary = "TLS 1.3 handshakes that resume a session by its ticket, one request on each connection"
    kind = "resumed"
    lowest, highest = 95.0, 100.0
