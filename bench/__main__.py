"""The command line of the bench."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from types import FrameType

from bench import machine, report
from bench.proxies import OURS, PROXIES
from bench.runner import SCENARIOS, Outcome, Runner
from bench.scenario import Settings


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    names = [scenario.name for scenario in SCENARIOS]
    peers = [proxy.name for proxy in PROXIES if proxy.name != OURS]
    built = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measure txproxy and other reverse proxies side by side, each on one core of its own.",
        epilog="Status: 0 if every figure is valid, 1 if one is not or txproxy could not be measured, 2 for misuse.",
    )
    default = Settings()
    built.add_argument(
        "--scenario",
        action="append",
        choices=[*names, "all"],
        metavar="NAME",
        help="repeatable; 'all' for all; default: the quick ones of --list",
    )
    built.add_argument(
        "--peers",
        metavar="NAME,...",
        default=",".join(peers),
        help="which to compare with (default: %(default)s); 'none' for txproxy alone",
    )
    built.add_argument("--without-txproxy", action="store_true", help="measure the peers alone")
    built.add_argument("--rounds", type=positive_int, default=default.rounds, metavar="N", help="default: %(default)s")
    built.add_argument(
        "--seconds", type=positive, default=default.seconds, metavar="S", help="of one window (default: %(default)s)"
    )
    built.add_argument(
        "--connections", type=positive_int, default=default.connections, metavar="N", help="default: %(default)s"
    )
    built.add_argument(
        "--size-mib", type=positive_int, default=default.size_mib, metavar="N", help="of a body (default: %(default)s)"
    )
    built.add_argument("--idle", type=positive_int, default=default.idle, metavar="N", help="default: %(default)s")
    built.add_argument(
        "--rate", type=positive, default=default.rate, metavar="R", help="per second (default: %(default)s)"
    )
    built.add_argument(
        "--bare-peers", action="store_true", help="nginx and HAProxy add no X-Forwarded-* and X-Request-Id fields"
    )
    built.add_argument("--json", type=Path, metavar="FILE", help="write every sample to FILE")
    built.add_argument("--list", action="store_true", help="list the scenarios and peers, then leave")
    return built


def positive(text: str) -> float:
    """Read a number above zero."""
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError("must be above 0")
    return value


def positive_int(text: str) -> int:
    """Read a whole number above zero."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return value


def listing() -> str:
    """Return the scenarios and peers, one a line."""
    lines = ["scenarios (* in a run without --scenario):"]
    lines += [f"  {'*' if each.quick else ' '} {each.name:<14} {each.summary}" for each in SCENARIOS]
    lines.append("proxies:")
    lines += [f"    {proxy.name:<18} {proxy.missing() or 'installed'}" for proxy in PROXIES]
    return "\n".join(lines)


def say(line: str) -> None:
    """Print a line at once, also into a pipe."""
    print(line, flush=True)


def leave(number: int, frame: FrameType | None) -> None:
    """Unwind as on Ctrl-C, so that every child is ended."""
    del frame
    raise SystemExit(128 + number)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the bench; return the exit status."""
    built = parser()
    chosen = built.parse_args(arguments)
    if chosen.list:
        say(listing())
        return 0
    wanted = {name for name in chosen.peers.split(",") if name and name != "none"}
    unknown = wanted - {proxy.name for proxy in PROXIES}
    if unknown:
        built.error(f"unknown peer: {', '.join(sorted(unknown))}")
    if not chosen.without_txproxy:
        wanted.add(OURS)
    proxies = [proxy for proxy in PROXIES if proxy.name in wanted]
    names = chosen.scenario or [each.name for each in SCENARIOS if each.quick]
    scenarios = [each for each in SCENARIOS if each.name in names or "all" in names]
    settings = Settings(**{each.name: getattr(chosen, each.name) for each in fields(Settings)})

    signal.signal(signal.SIGTERM, leave)
    where = machine.prepare()
    facts = machine.describe(where)
    for name, fact in facts.items():
        say(f"{name}: {fact}")
    if where.shares_core:
        say("warning: only one core: load and proxy share it, rates and percentiles mean little")
    runner = Runner(where, settings, proxies, say)
    outcomes: list[Outcome] = []
    stopped = False
    try:
        for scenario in scenarios:
            outcomes.append(runner.run(scenario))
    except KeyboardInterrupt:
        say("\nstopped; what was finished:")
        stopped = True
    show(outcomes)
    if chosen.json:
        report.write_json(chosen.json, facts, settings, outcomes)
    measured = chosen.without_txproxy or all(OURS in report.medians(outcome) for outcome in outcomes)
    return 130 if stopped else int(not measured or not all(outcome.valid for outcome in outcomes))


def show(outcomes: Sequence[Outcome]) -> None:
    """Print the tables of all outcomes."""
    for outcome in outcomes:
        say(f"\n{outcome.scenario.name} (medians; spread of the main figure)")
        say(report.scenario_table(outcome))
        for name, reason in outcome.absent.items():
            say(f"{name}: {reason}")
    if outcomes:
        say(f"\nRatios of the main figure, {OURS} / peer: below 1.00 {OURS} needs less")
        say(report.ratio_table(outcomes))
    invalid = [outcome.scenario.name for outcome in outcomes if not outcome.valid]
    if invalid:
        say(f"\n!! INVALID figures or failed runs in: {', '.join(invalid)}; see above")


if __name__ == "__main__":
    sys.exit(main())
