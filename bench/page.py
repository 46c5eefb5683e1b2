"""The page of results, made from saved runs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench import chart, marks
from bench.proxies import OURS
from bench.report import medians, ratio_table, scenario_table, spread, table
from bench.runner import Outcome
from bench.saved import Run
from bench.scenario import Column, Scenario

_NUMBER = re.compile(r"\d[\d,.]*")
REASONS = "docs/performance.md"

INTRODUCTION = """\
# Results of the bench

Written by `make bench` or out of its samples; not by hand. What is measured, and how, is told in
[README.md](README.md). The main figure is the CPU time that a proxy needs for a request; less is better. Compare
figures of one run only.
"""


def write(path: Path, run: Run, standard: Sequence[Scenario]) -> None:
    """Write the page to *path*, and its chart beside it.

    :param standard: what a complete page has.
    """
    picture = path.with_suffix(".svg")
    picture.write_text(svg(run))
    path.write_text(markdown(run, picture.name, standard))


def plain(value: object) -> str:
    """Return *value* as text of one line that is no markup and ends no cell of a table."""
    text = " ".join(str(value).split())
    return re.sub(r"[&<>|`*\[\]\\]", lambda found: _ESCAPED.get(found[0], f"\\{found[0]}"), text)


_ESCAPED = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def proxies(run: Run) -> list[str]:
    """Return the names of all that was measured, txproxy's first."""
    names = dict.fromkeys(name for outcome in run.outcomes for name in outcome.samples)
    return sorted(names, key=lambda name: name != OURS)


def main_column(scenario: Scenario) -> Column:
    """Return the column of the main figure."""
    return next(column for column in scenario.columns if column.key == scenario.main)


def svg(run: Run) -> str:
    """Return the chart of the main figures."""
    panels = []
    for outcome in run.outcomes:
        column, found = main_column(outcome.scenario), medians(outcome)
        bars = {name: found[name][column.key] for name in proxies(run) if column.key in found.get(name, {})}
        if bars:
            panels.append(chart.Panel(outcome.scenario.name, column.title, bars, column.digits))
    return chart.draw(
        f"What {OURS} and other proxies need, scenario by scenario",
        f"Bars of the main figure of {len(panels)} scenarios, mostly CPU time for a request, for"
        f" {', '.join(proxies(run))}. The table of results.md has the same figures. {run.begun}.",
        panels,
        OURS,
    )


def markdown(run: Run, picture: str, standard: Sequence[Scenario]) -> str:
    """Return the page.

    :param picture: the name of the file of the chart.
    :param standard: what a complete page has.
    """
    missing = [each.name for each in standard if each.name not in {outcome.scenario.name for outcome in run.outcomes}]
    parts = [
        INTRODUCTION,
        f"Measured {plain(run.begun)}; it took {run.took_s / 60:.0f} min."
        + (f" Not part of it: {', '.join(missing)}." if missing else ""),
        f"![Bars of the main figure of each scenario for each proxy]({picture})",
        "## The marks",
        marks_text(marks.judge(run.outcomes)),
        "## Main figures",
        f"Medians over the rounds, and in brackets the distance between the lowest and the highest round as a share of"
        f" it. CPU time, where it is not said otherwise; `-` stands for what was not measured (the reasons are"
        f" [below](#scenario-by-scenario)).\n\n{figures_table(run)}",
        "## Ratios",
        f"The figure of {OURS} divided by the peer's: below 1.00 {OURS} needs less.\n\n{ratio_table(run.outcomes)}",
        "## Machine, versions, settings",
        facts_table(run.facts, run.settings),
        "## What is not valid",
        invalid_text(run.outcomes),
        "## Scenario by scenario",
        *(scenario_text(outcome) for outcome in run.outcomes),
    ]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def marks_text(verdicts: Sequence[marks.Verdict]) -> str:
    """Return the table of the marks, and how many are met."""
    rows = [["scenario", "against", "at most", "reached", "verdict"]]
    for verdict in verdicts:
        mark = verdict.mark
        reached = "-" if verdict.reached is None else f"{verdict.reached:.2f}"
        said = plain(verdict) if verdict.met else f"**{plain(verdict)}**"
        rows.append([mark.scenario, mark.peer, f"{mark.at_most:.2f}", reached, said])
    met = sum(verdict.met for verdict in verdicts)
    text = (
        f"{met} of {len(verdicts)} are met. A mark is the most that {OURS} may take, as a share of what the peer takes."
    )
    if any(verdict.reached is not None and not verdict.met for verdict in verdicts):
        text += f" Where one is missed, [{REASONS}](../{REASONS}) says why."
    return f"{text}\n\n{table(rows)}"


def figures_table(run: Run) -> str:
    """Return the main figure of every proxy in every scenario."""
    names = proxies(run)
    rows = [["scenario", "figure", *names]]
    for outcome in run.outcomes:
        column, found = main_column(outcome.scenario), medians(outcome)
        cells = []
        for name in names:
            if name in found:
                share = spread(outcome, name)
                cells.append(
                    f"{found[name][column.key]:,.{column.digits}f}" + ("" if share is None else f" ({share:.0%})")
                )
            else:
                cells.append("INVALID" if name in outcome.samples else "-")
        rows.append([outcome.scenario.name, column.title, *cells])
    return table(rows)


def facts_table(facts: Mapping[str, str], settings: Mapping[str, Any]) -> str:
    """Return machine, versions and settings."""
    rows = [["what", "value"], *([name, plain(fact)] for name, fact in facts.items())]
    rows += [[name.replace("_", " "), plain(value)] for name, value in settings.items()]
    return table(rows)


def invalid_text(outcomes: Sequence[Outcome]) -> str:
    """Return which samples are invalid and why, or that none is."""
    lines = []
    for outcome in outcomes:
        if outcome.broken:
            lines.append(f"- {outcome.scenario.name} was not run: {plain(outcome.broken)}")
        for name, samples in outcome.samples.items():
            errors = [plain("; ".join(sample.errors)) for sample in samples if sample.errors]
            lines += [f"- {outcome.scenario.name}, {plain(name)}: {said}" for said in collected(errors, len(samples))]
    total = sum(len(samples) for outcome in outcomes for samples in outcome.samples.values())
    if not lines:
        return f"All {total} samples are valid."
    return f"Of {total} samples; these are in no median:\n\n" + "\n".join(lines)


def scenario_text(outcome: Outcome) -> str:
    """Return all figures of one scenario, who was left out, and what limits the figures' meaning."""
    scenario, summary = outcome.scenario, plain(outcome.scenario.summary)
    parts = [f"### {scenario.name}", f"{summary[:1].upper()}{summary[1:]}.", scenario_table(outcome)]
    left_out = [f"- {plain(name)}: {plain(reason)}" for name, reason in outcome.absent.items()]
    if left_out:
        parts.append("Left out:\n\n" + "\n".join(left_out))
    notes: list[str] = []
    warnings: list[str] = []
    for name, samples in outcome.samples.items():
        for lines, found in (
            (notes, [note for sample in samples for note in sample.notes]),
            (warnings, [warning for sample in samples for warning in sample.warnings]),
        ):
            lines += [f"- {plain(name)}: {said}" for said in collected(map(plain, found), len(samples))]
    if notes:
        parts.append("\n".join(notes))
    if warnings:
        parts.append(
            f"<details><summary>{len(warnings)} warnings</summary>\n\n" + "\n".join(warnings) + "\n\n</details>"
        )
    return "\n\n".join(parts)


def collected(texts: Iterable[str], rounds: int) -> list[str]:
    """Return *texts* with those that differ in their numbers only told once, each with how often it came.

    :param rounds: out of how many.
    """
    found: dict[str, list[str]] = {}
    for each in texts:
        found.setdefault(_NUMBER.sub("0", each), []).append(each)
    return [f"{alike[0]} ({len(alike)} of {rounds} rounds)" for alike in found.values()]
