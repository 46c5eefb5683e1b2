"""Medians, spreads and tables."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from bench.proxies import OURS
from bench.runner import Outcome


def medians(outcome: Outcome) -> dict[str, dict[str, float]]:
    """Return per proxy the median of each figure over its valid rounds; proxies without one are left out."""
    result = {}
    for name, samples in outcome.samples.items():
        valid = [sample.values for sample in samples if not sample.errors]
        if valid:
            result[name] = {key: statistics.median(values[key] for values in valid) for key in valid[0]}
    return result


def spread(outcome: Outcome, name: str) -> float | None:
    """Return the distance of the furthest rounds of the main figure, as a share of the median; None for one round."""
    main = [sample.values[outcome.scenario.main] for sample in outcome.samples[name] if not sample.errors]
    middle = statistics.median(main)
    return (max(main) - min(main)) / abs(middle) if middle and len(main) > 1 else None


def table(rows: Sequence[Sequence[str]]) -> str:
    """Lay out *rows*, the first being the heading, as a Markdown table with aligned columns."""
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    lines = []
    for number, row in enumerate(rows):
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append(f"| {' | '.join(cells)} |")
        if number == 0:
            lines.append("|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def scenario_table(outcome: Outcome) -> str:
    """Return the table of one scenario: medians, the spread of the main figure, and the number of valid rounds."""
    columns = outcome.scenario.columns
    rows = [["", *(column.title for column in columns), "spread", "rounds"]]
    for name, figures in medians(outcome).items():
        taken = outcome.samples[name]
        valid = sum(1 for sample in taken if not sample.errors)
        cells = [f"{figures[column.key]:,.{column.digits}f}" if column.key in figures else "-" for column in columns]
        share = spread(outcome, name)
        rows.append([name, *cells, "-" if share is None else f"{share:.0%}", f"{valid}/{len(taken)}"])
    for name in outcome.samples:
        if name not in medians(outcome):
            rows.append([name, *("INVALID" for _ in columns), "-", f"0/{len(outcome.samples[name])}"])
    for name in outcome.absent:
        rows.append([name, *("-" for _ in columns), "-", "0"])
    return table(rows)


def ratios(outcome: Outcome) -> dict[str, float]:
    """Return txproxy's main figure divided by each peer's; empty without a valid figure of its own."""
    main = outcome.scenario.main
    figures = medians(outcome)
    if OURS not in figures:
        return {}
    return {
        name: figures[OURS][main] / values[main]
        for name, values in figures.items()
        if name != OURS and values[main] > 0 and figures[OURS][main] >= 0
    }


def ratio_table(outcomes: Sequence[Outcome]) -> str:
    """Return the closing table: txproxy over each peer, scenario by scenario."""
    peers = [name for name in dict.fromkeys(n for o in outcomes for n in (*o.samples, *o.absent)) if name != OURS]
    rows = [["scenario", "figure", OURS, *(f"/ {peer}" for peer in peers)]]
    for outcome in outcomes:
        column = next(each for each in outcome.scenario.columns if each.key == outcome.scenario.main)
        own = medians(outcome).get(OURS)
        found = ratios(outcome)
        cells = [f"{found[peer]:.2f}" if peer in found else "-" for peer in peers]
        shown = f"{own[column.key]:,.{column.digits}f}" if own else "-"
        rows.append([outcome.scenario.name, column.title, shown, *cells])
    return table(rows)
