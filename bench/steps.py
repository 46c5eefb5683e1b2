"""Where the time of a request goes, step by step: ``python -m bench.steps``.

txproxy is looked at many times in each second of CPU time while wrk drives it, and each look is put down to the step
that it was seen in. System calls count for the step that makes them.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from bench import machine
from bench.fleet import Fleet, StartError
from bench.proxies import OURS, PROXIES, start_proxy, start_small_backend
from bench.report import table
from bench.requests import Browser, Differing, KeepAlive, NewConnection, RequestScenario, Tls
from bench.scenario import Bench, Settings

SCENARIOS: tuple[RequestScenario, ...] = (KeepAlive(), Differing(), Browser(), NewConnection(), Tls())
OTHER = "all else"

STEPS: Mapping[str, str] = {
    "EagerConnection.doRead": "read (recv)",
    "TlsConnection.doRead": "read (recv)",
    "direct_calls.<locals>.read": "read (recv)",
    "EagerWriter.write": "write (send)",
    "TlsWriter.write": "write (send)",
    "direct_calls.<locals>.write": "write (send)",
    "Http1Connection.dataReceived": "client connection",
    "Http1Connection._read": "client connection",
    "Http1Connection._read_head": "client connection",
    "Http1Connection._start": "client connection",
    "Http1Connection._next": "client connection",
    "Http1Connection._exchange_finished": "client connection",
    "LingeringConnection._await_request": "client connection",
    "RequestParser.parse": "parse the request",
    "Exchange.__init__": "exchange",
    "Router.start": "route and stages",
    "Chain.start": "route and stages",
    "Forward.start": "pick a backend",
    "Forward._begin": "pick a backend",
    "Forward._try": "pick a backend",
    "Choosing.pick": "pick a backend",
    "Pool.take": "pool",
    "Backend.release": "pool",
    "Pool.release": "pool",
    "Forward._send": "write the request's head",
    "write_request_head": "write the request's head",
    "UpstreamConnection.send_request": "backend connection",
    "UpstreamConnection.dataReceived": "backend connection",
    "UpstreamConnection._begin_reply": "backend connection",
    "UpstreamConnection._complete": "backend connection",
    "PatientConnection.expect_idle": "backend connection",
    "UpstreamConnection._read_head": "parse the reply",
    "ReplyParser.parse": "parse the reply",
    "Forward.reply_received": "write the reply's head",
    "Forward._start_reply": "write the reply's head",
    "ReplyingConnection.start_reply": "write the reply's head",
    "write_reply_head": "write the reply's head",
    "ReplyingConnection.end_reply": "end of the exchange",
    "Ending.ended": "end of the exchange",
    "AccessLog.write": "log",
    "Counters.ended": "metrics",
    "AcceptLoop.doRead": "accept and close",
    "DirectEPollReactor._close_all": "accept and close",
    "EagerConnection.loseConnection": "accept and close",
    "LingeringConnection._shut": "accept and close",
    "DirectEPollReactor.doPoll": "event loop (epoll_wait)",
    "ReactorBase.runUntilCurrent": "event loop (epoll_wait)",
    "ReactorBase.timeout": "event loop (epoll_wait)",
    "ReactorBase.mainLoop": "event loop (epoll_wait)",
}
"""Steps by the functions that they begin with: what those call belongs to them, unless it is a step itself."""


def step_of(chain: Iterable[str]) -> str:
    """Return the step that was seen.

    :param chain: names of functions, the innermost first.
    """
    return next((STEPS[name] for name in chain if name in STEPS), OTHER)


def by_step(samples: Iterable[tuple[Sequence[str], int]], cpu_us: float) -> dict[str, float]:
    """Return how long each step takes for one request, in microseconds, the longest first.

    :param samples: chains of functions and how often each was seen; what was seen outside the reactor does not count.
    :param cpu_us: all of a request.
    """
    seen: Counter[str] = Counter()
    for chain, count in samples:
        if "ReactorBase.mainLoop" in chain:
            seen[step_of(chain)] += count
    total = seen.total() or 1
    return {step: cpu_us * count / total for step, count in seen.most_common()}


def measure(scenario: RequestScenario, seconds: float) -> dict[str, float]:
    """Return how long each step takes in *scenario*, in microseconds.

    :raises StartError: something could not be started, or a figure is not valid.
    """
    where = machine.prepare()
    ours = next(proxy for proxy in PROXIES if proxy.name == OURS)
    watched = replace(
        ours, command=(sys.executable, "-m", "bench.sampled_run", "@DIR@/samples.json", "run", "-c", "@CONFIG@")
    )
    with tempfile.TemporaryDirectory(prefix="txproxy-bench-") as name, Fleet(Path(name)) as fleet:
        Path(name).chmod(0o755)
        backend = start_small_backend(fleet, where)
        bench = Bench(fleet, where, Settings(seconds=seconds), backend)
        running = start_proxy(fleet, where, watched, backend.port, tls=scenario.tls)
        sample = scenario.measure(bench, running, 1)
        fleet.stop(running.child)
        if sample.errors:
            raise StartError("; ".join(sample.errors))
        samples = json.loads((Path(name) / "samples.json").read_text())
    return by_step([(chain, count) for chain, count in samples], sample.values["cpu_us"])


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; return the exit status."""
    names = [scenario.name for scenario in SCENARIOS]
    built = argparse.ArgumentParser(
        prog="python -m bench.steps",
        description="Measure where txproxy's time goes: CPU µs per request, step by step.",
    )
    built.add_argument("--scenario", action="append", choices=names, metavar="NAME", help=f"of {', '.join(names)}")
    built.add_argument("--seconds", type=float, default=10.0, metavar="S", help="for each (default: %(default)s)")
    chosen = built.parse_args(arguments)
    wanted = [scenario for scenario in SCENARIOS if scenario.name in (chosen.scenario or names)]
    try:
        found = {scenario.name: measure(scenario, chosen.seconds) for scenario in wanted}
    except StartError as error:
        print(f"python -m bench.steps: {error}", file=sys.stderr)
        return 1
    steps = sorted(
        {step for times in found.values() for step in times},
        key=lambda step: -max(times.get(step, 0.0) for times in found.values()),
    )
    rows = [["CPU µs", *found]]
    rows += [[step, *(f"{times.get(step, 0.0):.1f}" for times in found.values())] for step in steps]
    rows.append(["all", *(f"{sum(times.values()):.1f}" for times in found.values())])
    print(table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
