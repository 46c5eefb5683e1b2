"""Tables of work, for people, and the same as JSON, for comparisons."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bench.work.measuring import Work


def shown(number: float) -> str:
    """Return a number without needless decimals."""
    return f"{number:.2f}".rstrip("0").rstrip(".")


def table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table whose columns hold numbers, but for the first and the last."""
    lines = [tuple(heading), *(tuple(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heading))]
    return [
        "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:-1], widths[1:-1]), line[-1]]).rstrip()
        for line in lines
    ]


def system_calls(work: Work) -> str:
    """Return system calls by kind."""
    return ", ".join(f"{shown(count)} {kind}" for kind, count in sorted(work.system_calls.items()))


def totals(work: Work) -> tuple[float, float, float, float]:
    """Return Python calls, calls of C functions, bytecodes and system calls."""
    return work.calls, work.c_calls, work.bytecodes, sum(work.system_calls.values())


def summary(works: Mapping[str, Work]) -> list[str]:
    """Return one line for each scenario: what one request costs."""
    return table(
        ("scenario", "Python calls", "C calls", "bytecodes", "system calls", ""),
        (
            (name, *map(shown, totals(work)), system_calls(work))
            for name, work in works.items()
        ),
    )  # fmt: skip


def functions(work: Work, most: int) -> list[str]:
    """Return the functions that execute the most bytecodes, each with what it does itself."""
    found = sorted(work.functions.items(), key=lambda each: (-each[1][2], -each[1][0], each[0]))
    return table(
        ("share", "bytecodes", "calls", "C calls", "function"),
        (
            (f"{own[2] / work.bytecodes:.1%}", shown(own[2]), shown(own[0]), shown(own[1]), name)
            for name, own in found[:most]
        ),
    )


def c_functions(work: Work, most: int) -> list[str]:
    """Return the C functions that are called most often."""
    found = sorted(work.c_names.items(), key=lambda each: (-each[1], each[0]))
    return table(("", "calls", "C function"), (("", shown(count), name) for name, count in found[:most]))


def lines(work: Work, most: int) -> list[str]:
    """Return the lines that execute the most bytecodes."""
    found = sorted(work.lines.items(), key=lambda each: (-each[1], each[0]))
    return table(("", "bytecodes", "line"), (("", shown(count), name) for name, count in found[:most]))


def as_json(works: Mapping[str, Work]) -> dict[str, Any]:
    """Return all figures of scenarios as JSON has them."""
    return {
        name: {
            "calls": work.calls,
            "c_calls": work.c_calls,
            "bytecodes": work.bytecodes,
            "system_calls": work.system_calls,
            "functions": work.functions,
            "c_functions": work.c_names,
            **({"lines": work.lines} if work.lines else {}),
        }
        for name, work in works.items()
    }


def compared(work: Work, before: Mapping[str, Any]) -> list[str]:
    """Return what has become more or less.

    :param before: of the same scenario, as :func:`as_json` has made it.
    """
    totals = (("Python calls", "calls"), ("C calls", "c_calls"), ("bytecodes", "bytecodes"))
    rows = [(title, *_change(before[key], getattr(work, key)), "") for title, key in totals]
    for kind in sorted({*work.system_calls, *before["system_calls"]}):
        rows.append((kind, *_change(before["system_calls"].get(kind, 0), work.system_calls.get(kind, 0)), ""))
    lines = table(("", "before", "now", "change", ""), (row for row in rows if row[3] or row[0] in dict(totals)))
    old = {name: (own[2], own[0], own[1]) for name, own in before["functions"].items()}
    new = {name: (own[2], own[0], own[1]) for name, own in work.functions.items()}
    none = 0.0, 0.0, 0.0
    changes = {
        name: tuple(b - a for a, b in zip(old.get(name, none), new.get(name, none), strict=True))
        for name in {*old, *new}
        if tuple(old.get(name, none)) != new.get(name, none)
    }
    found = sorted(changes.items(), key=lambda each: (-each[1][0], each[0]))
    if not found:
        return [*lines, "no function has another cost"]
    return [
        *lines,
        *table(
            ("", "bytecodes", "calls", "C calls", "function"),
            (("", *(_signed(each) for each in change), name) for name, change in found),
        ),
    ]


def _change(before: float, now: float) -> tuple[str, str, str]:
    return shown(before), shown(now), _signed(now - before) if now != before else ""


def _signed(number: float) -> str:
    return f"{number:+.2f}".rstrip("0").rstrip(".") if number else "0"
