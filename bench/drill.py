"""The failure drill: backends are killed, frozen and brought back under traffic, each promise held to its mark."""

from __future__ import annotations

import sys

from bench.fleet import free_port, wait_for_port
from bench.proxies import OURS, PROXIES, RunningProxy
from bench.scenario import Bench, Column, Sample, Scenario
from bench.templates import fill
from txproxy.test.live.drill import Drilled, Plan, drill
from txproxy.test.live.farm import Farm

INTERVAL_S = 0.5
TIMEOUT_S = 0.3
FALL = 2
RISE = 2
JITTER = 0.2
"""The default of the configuration."""

P99_MARK_S = 0.05
SLOW_MARK_S = 1.5
RETURN_SLACK_S = 1.0


class Drill(Scenario):
    """What clients notice while backends fail."""

    name = "drill"
    summary = "three backends under 500 requests/s: one killed, one frozen for 5 s, all brought back; GET, then POST"
    main = "p99"
    max_rounds = 1
    skips = {proxy.name: "the drill is a test of txproxy's own promises" for proxy in PROXIES if proxy.name != OURS}
    columns = (
        Column("missed", "marks missed", 0),
        Column("get_errors", "GET errors", 0),
        Column("p50", "GET p50 ms", 2),
        Column("p99", "GET p99 ms", 2),
        Column("slow", "over 1 s in freeze", 0),
        Column("back", "slowest return s", 2),
        Column("post_errors", "POST not 200", 0),
        Column("post_unanswered", "unanswered", 0),
        Column("post_twice", "seen twice", 0),
    )

    def measure(self, bench: Bench, proxy: RunningProxy, seed: int) -> Sample:
        """Run the drill with each method, on a proxy and backends of its own."""
        del proxy, seed
        plan, sample = Plan(), Sample()
        got = self._drill(bench, "GET", plan)
        posted = self._drill(bench, "POST", plan)
        back = max(one.took_s for one in got.returns)
        sample.values |= {
            "get_errors": len(got.failed),
            "p50": got.latency_s(0.5) * 1e3,
            "p99": got.latency_s(0.99) * 1e3,
            "slow": got.slow_in_freeze,
            "back": back,
            "post_errors": len(posted.failed),
            "post_unanswered": len(posted.unanswered),
            "post_twice": len(posted.seen_twice),
        }
        slow_mark = plan.rate / 3 * SLOW_MARK_S
        return_mark = RISE * INTERVAL_S * (1 + JITTER) + RETURN_SLACK_S
        alone_mark = FALL * INTERVAL_S * (1 + JITTER) + TIMEOUT_S
        p99 = got.latency_s(0.99)
        marks = [
            (not got.failed, f"GET: {len(got.failed)} of {len(got.outcomes)} requests without a 200{_first(got)}"),
            (p99 < P99_MARK_S, f"GET: p99 outside the freeze {p99 * 1e3:.2f} ms (mark {P99_MARK_S * 1e3:.0f})"),
            (
                got.slow_in_freeze <= slow_mark,
                f"GET: {got.slow_in_freeze} requests over 1 s during the freeze (mark {slow_mark:.0f})",
            ),
            *(
                (each.left_alone_s <= alone_mark, f"{method}: the frozen backend's last request went out"
                 f" {each.left_alone_s:.2f} s after it froze (mark {alone_mark:.2f})")
                for method, each in (("GET", got), ("POST", posted))
            ),
            *(
                (one.took_s <= return_mark, f"{method}: traffic is back {one.took_s:.2f} s after the {one.what}"
                 f" (mark {return_mark:.2f})")
                for method, drilled in (("GET", got), ("POST", posted))
                for one in drilled.returns
            ),
            (not posted.unanswered, f"POST: {len(posted.unanswered)} of {len(posted.outcomes)} requests unanswered"),
            (not posted.seen_twice, f"POST: {len(posted.seen_twice)} requests reached two backends"),
        ]  # fmt: skip
        sample.values["missed"] = sum(not passed for passed, _ in marks)
        sample.notes = [f"{'PASS' if passed else 'miss'}  {text}" for passed, text in marks]
        sample.notes.append(f"statuses: GET {dict(got.statuses)}, POST {dict(posted.statuses)}")
        return sample

    def _drill(self, bench: Bench, method: str, plan: Plan) -> Drilled:
        fleet, port, name = bench.fleet, free_port(), f"drill-{method}"
        with Farm(3) as farm:
            values = {
                "DIR": fleet.directory,
                "NAME": name,
                "PORT": port,
                "BACKENDS": ", ".join(f'{{ address = "{address}" }}' for address in farm.addresses),
                "INTERVAL": INTERVAL_S,
                "TIMEOUT": TIMEOUT_S,
                "FALL": FALL,
                "RISE": RISE,
            }
            config = fill("drill.toml", fleet.directory / f"{name}.toml", values)
            command = [sys.executable, "-m", "txproxy.main", "run", "-c", str(config)]
            child = fleet.start(name, command, bench.machine.proxy_core)
            try:
                wait_for_port(child, port)
                return drill(farm, port, method, plan)
            finally:
                fleet.stop(child)


def _first(drilled: Drilled) -> str:
    failed = drilled.failed[:1]
    return f" (the first: {failed[0].status or failed[0].error})" if failed else ""
