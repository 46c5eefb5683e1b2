"""The command line of the bench."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict, fields
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import FrameType

from bench import machine, marks, page, report, saved
from bench.catalogue import SCENARIOS, STANDARD
from bench.fleet import CLIENT_TLS
from bench.proxies import OURS, PROXIES
from bench.runner import Runner
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
        type=partial(scenario_names, known=[*names, "all"]),
        metavar="NAME,...",
        help="repeatable; 'all' for all; default: those with a star in --list",
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
        "--bare-peers",
        action="store_true",
        help="peers add no X-Forwarded-* and X-Request-Id fields, as far as they can be told",
    )
    built.add_argument("--json", type=Path, metavar="FILE", help="write every sample to FILE, after each scenario")
    built.add_argument("--results", type=Path, metavar="FILE", help="write the page of results to FILE, a .md")
    built.add_argument(
        "--from-json",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="measure nothing; show what earlier runs wrote with --json, of a scenario the last file's figures",
    )
    built.add_argument("--list", action="store_true", help="list the scenarios and peers, then leave")
    return built


def scenario_names(text: str, known: Sequence[str]) -> list[str]:
    """Read names with commas between them."""
    names = [name for name in text.split(",") if name]
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        raise argparse.ArgumentTypeError(f"no such scenario: {', '.join(unknown) or repr(text)}; see --list")
    return names


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
    lines += [f"  {'*' if each in STANDARD else ' '} {each.name:<14} {each.summary}" for each in SCENARIOS]
    lines.append("proxies:")
    for proxy in PROXIES:
        state = proxy.missing() or "installed"
        without_tcp = proxy.missing(["tcp"]) if state == "installed" else ""
        lines.append(f"    {proxy.name:<18} {state}{without_tcp and f', but for tcp: {without_tcp}'}")
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
    if chosen.results and chosen.results.suffix != ".md":
        built.error("--results wants a .md, beside which the .svg stands")
    if chosen.from_json:
        try:
            run = saved.joined([saved.read(path, SCENARIOS) for path in chosen.from_json])
        except saved.SavedError as error:
            built.error(str(error))
        show(run)
        if chosen.results:
            page.write(chosen.results, run, STANDARD)
        return status(run, chosen.without_txproxy)
    wanted = {name for name in chosen.peers.split(",") if name and name != "none"}
    unknown = wanted - {proxy.name for proxy in PROXIES}
    if unknown:
        built.error(f"unknown peer: {', '.join(sorted(unknown))}")
    if not chosen.without_txproxy:
        wanted.add(OURS)
    proxies = [proxy for proxy in PROXIES if proxy.name in wanted]
    names = [name for given in chosen.scenario or () for name in given] or [each.name for each in STANDARD]
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
    run = saved.Run(f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC", facts, asdict(settings))
    stopped = False
    try:
        for scenario in scenarios:
            run.outcomes.append(runner.run(scenario))
            # What takes half an hour may end before its end.
            if chosen.json:
                saved.write(chosen.json, run)
    except KeyboardInterrupt:
        say("\nstopped; what was finished:")
        stopped = True
    show(run)
    if chosen.results and stopped:
        say(f"\n{chosen.results} is as it was; --from-json makes one of what was finished")
    elif chosen.results:
        page.write(chosen.results, run, STANDARD)
    return 130 if stopped else status(run, chosen.without_txproxy)


def status(run: saved.Run, without_txproxy: bool) -> int:
    """Return 0 if every figure of *run* is valid and txproxy was measured, else 1."""
    measured = without_txproxy or all(OURS in report.medians(outcome) for outcome in run.outcomes)
    return int(not measured or not all(outcome.valid for outcome in run.outcomes))


def show(run: saved.Run) -> None:
    """Print the tables of all outcomes, and what became of the marks."""
    outcomes = run.outcomes
    for outcome in outcomes:
        say(f"\n{outcome.scenario.name} (medians; spread of the main figure)")
        say(report.scenario_table(outcome))
        for name, reason in outcome.absent.items():
            say(f"{name}: {reason}")
    if outcomes:
        say(f"\nRatios of the main figure, {OURS} / peer: below 1.00 {OURS} needs less")
        say(report.ratio_table(outcomes))
    verdicts = [each for each in marks.judge(outcomes) if each.reached is not None]
    if verdicts:
        say("\nMarks: the most that these ratios may be")
        for verdict in verdicts:
            mark = verdict.mark
            say(f"  {mark.scenario} / {mark.peer}: {verdict.reached:.2f} of at most {mark.at_most:.2f}: {verdict}")
    invalid = [outcome.scenario.name for outcome in outcomes if not outcome.valid]
    if invalid:
        say(f"\n!! INVALID figures or failed runs in: {', '.join(invalid)}; see above")


def with_client_tls() -> None:
    """Begin anew with OpenSSL's settings of the clients, unless they are there: it reads them when it is loaded."""
    settings = str(Path(__file__).with_name("load.cnf"))
    if os.environ.get(CLIENT_TLS) != settings:
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | {CLIENT_TLS: settings})


if __name__ == "__main__":
    with_client_tls()
    sys.exit(main())
