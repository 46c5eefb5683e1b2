"""The command line: ``python -m bench.work``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.bulk import BulkError
from bench.client import ReplyError
from bench.fleet import StartError
from bench.work import budget, tables
from bench.work.measuring import Work, measure
from bench.work.scenarios import SCENARIOS


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    built = argparse.ArgumentParser(
        prog="python -m bench.work",
        description="Count what one request costs the proxy: Python calls, calls of C functions, bytecodes, system "
        "calls. The counts are exact, and the same on a busy machine.",
        epilog="scenarios: " + "; ".join(f"{each.name}: {each.summary}" for each in SCENARIOS) + ". "
        "Status: 0, 1 if --check finds more than the budget or something could not be counted, 2 for misuse.",
    )
    built.add_argument(
        "--scenario",
        action="append",
        choices=[each.name for each in SCENARIOS],
        metavar="NAME",
        help="repeatable; default: all",
    )
    built.add_argument("--functions", type=int, default=0, metavar="N", help="show the N functions with most bytecodes")
    built.add_argument("--c-functions", type=int, default=0, metavar="N", help="and the N C functions with most calls")
    built.add_argument("--lines", type=int, default=0, metavar="N", help="and the N lines with most bytecodes")
    built.add_argument("--json", action="store_true", help="print all figures as JSON instead")
    built.add_argument("--compare", type=Path, metavar="FILE", help="say what has changed since FILE, made by --json")
    built.add_argument("--check", action="store_true", help="compare with bench/budget.toml")
    built.add_argument("--write-budget", action="store_true", help="write the figures into bench/budget.toml")
    return built


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    options = parser().parse_args(arguments)
    chosen = [each for each in SCENARIOS if not options.scenario or each.name in options.scenario]
    works: dict[str, Work] = {}
    for scenario in chosen:
        try:
            works[scenario.name] = measure(scenario, by_line=bool(options.lines))
        except (StartError, ReplyError, BulkError, OSError) as error:
            print(f"{scenario.name}: {error}", file=sys.stderr)
            return 1
    if options.json:
        print(json.dumps(tables.as_json(works), indent=1, sort_keys=True))
        return 0
    print(*tables.summary(works), sep="\n")
    for name, work in works.items():
        for most, made in (
            (options.functions, tables.functions),
            (options.c_functions, tables.c_functions),
            (options.lines, tables.lines),
        ):
            if most:
                print("", f"{name}, for each request", *made(work, most), sep="\n")
    if options.compare:
        before = json.loads(options.compare.read_text())
        for name, work in works.items():
            if name in before:
                print("", f"{name}, compared with {options.compare}", *tables.compared(work, before[name]), sep="\n")
    if options.write_budget:
        budget.write(works)
        print("", f"written: {budget.PATH}", sep="\n")
    if options.check:
        verdicts = [budget.judge(name, work) for name, work in works.items()]
        print("", *(line for verdict in verdicts for line in verdict.lines), sep="\n")
        return int(any(verdict.exceeded for verdict in verdicts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
