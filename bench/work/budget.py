"""What a request may cost, as ``bench/budget.toml`` has it."""

from __future__ import annotations

import importlib.metadata
import platform
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.work import tables
from bench.work.measuring import Work

PATH = Path(__file__).resolve().parent.parent / "budget.toml"
PYTHON = ".".join(platform.python_version_tuple()[:2])
if platform.python_implementation() != "CPython":
    PYTHON = f"{platform.python_implementation()} {PYTHON}"

_WRITTEN_WITH = ("Twisted", "h2", "hpack", "pyOpenSSL")
_SPARE = 0.5
"""Of calls: counts are exact, so that one more is too much; less than half of one is what does not come always."""
_SPARE_SHARE = 0.01
"""Of bytecodes."""
_HINT_SHARE = 0.05
"""Of all: by so much less the budget should follow."""
_LEADERS = 12
_HEAD = """\
# What one request may cost, counted by `python -m bench.work`; the figures are exact, and a test compares with them.
# After a change that is worth more, or that needs less: `python -m bench.work --write-budget`, and commit the file.
# Python calls, calls of C functions and bytecodes hold for one version of Python, system calls for all.
"""


@dataclass(slots=True)
class Verdict:
    """What a budget says of a scenario.

    :ivar exceeded: whether something costs more than it may.
    :ivar judged: whether there is a budget for this version of Python.
    :ivar lines: for the reader.
    """

    exceeded: bool = False
    judged: bool = True
    lines: list[str] = field(default_factory=list)


def judge(name: str, work: Work, path: Path = PATH) -> Verdict:
    """Compare what a request of a scenario costs with its budget.

    :raises OSError: there is no such file.
    :raises ValueError: it is no TOML.
    """
    file = tomllib.loads(path.read_text())
    budget = file.get(name)
    if budget is None:
        return Verdict(judged=False, lines=[f"{name}: no budget in {path.name}"])
    verdict = Verdict()
    cheaper = []
    allowed: dict[str, float] = budget["system_calls"]
    rows = [(f"system calls {kind}", allowed.get(kind, 0.0), work.system_calls.get(kind, 0.0), _SPARE) for kind in
            sorted({*allowed, *work.system_calls})]  # fmt: skip
    own = budget.get(PYTHON)
    if own is None:
        verdict.judged = False
        verdict.lines.append(f"{name}: {path.name} has no calls and bytecodes for Python {PYTHON}")
    else:
        rows += [
            ("Python calls", own["calls"], work.calls, _SPARE),
            ("calls of C functions", own["c_calls"], work.c_calls, _SPARE),
            ("bytecodes", own["bytecodes"], work.bytecodes, _SPARE_SHARE * own["bytecodes"]),
        ]
    for title, most, now, spare in rows:
        if now > most + spare:
            verdict.exceeded = True
            percent = f", {100 * (now - most) / most:+.1f} %" if most else ""
            verdict.lines.append(
                f"{name}: {tables.shown(now)} {title} for a request where the budget has {tables.shown(most)} "
                f"(+{tables.shown(now - most)}{percent})"
            )
        elif now < most * (1 - _HINT_SHARE):
            cheaper.append(f"{name}: only {tables.shown(now)} {title} where the budget has {tables.shown(most)}")
    if verdict.exceeded:
        verdict.lines += _advice(name, work, file.get("written_with", {}))
    elif cheaper:
        verdict.lines += [*cheaper, "  to keep that: python -m bench.work --write-budget"]
    elif verdict.judged:
        verdict.lines.append(f"{name}: within its budget")
    return verdict


def _advice(name: str, work: Work, written_with: Mapping[str, str]) -> list[str]:
    installed = versions()
    others = [f"{each} {installed.get(each)} instead of {old}" for each, old in written_with.items() if
              installed.get(each) != old]  # fmt: skip
    return [
        *([f"  the budget was written with other versions: {', '.join(others)}"] if others else []),
        f"  the {_LEADERS} functions with most bytecodes of a request:",
        *(f"    {line}" for line in tables.functions(work, _LEADERS)),
        "  what has changed: on the state before, `python -m bench.work --json > /tmp/before.json`, then here",
        f"  `python -m bench.work --scenario {name} --compare /tmp/before.json`; if it is worth that much:",
        "  `python -m bench.work --write-budget`, and commit bench/budget.toml",
    ]


def versions() -> dict[str, str]:
    """Return the versions on which counts depend."""
    return {"Python": platform.python_version(), **{name: importlib.metadata.version(name) for name in _WRITTEN_WITH}}


def write(works: Mapping[str, Work], path: Path = PATH) -> None:
    """Write what scenarios cost as their budgets; those of others, and of other versions of Python, stay."""
    file: dict[str, Any] = tomllib.loads(path.read_text()) if path.exists() else {}
    file["written_with"] = versions()
    for name, work in works.items():
        scenario = file.setdefault(name, {})
        scenario["system_calls"] = {kind: _number(count) for kind, count in sorted(work.system_calls.items())}
        own = {"calls": work.calls, "c_calls": work.c_calls, "bytecodes": work.bytecodes}
        scenario[PYTHON] = {key: _number(count) for key, count in own.items()}
    text = _HEAD + "\n[written_with]\n" + "".join(f'{key} = "{value}"\n' for key, value in file["written_with"].items())
    for name, scenario in file.items():
        if name == "written_with":
            continue
        counts = ", ".join(f"{kind} = {count}" for kind, count in scenario["system_calls"].items())
        text += f"\n[{name}]\nsystem_calls = {{ {counts} }}\n"
        for version, own in scenario.items():
            if version != "system_calls":
                text += f'[{name}."{version}"]\n' + "".join(f"{key} = {count}\n" for key, count in own.items())
    path.write_text(text)


def _number(count: float) -> float:
    return int(count) if count == int(count) else round(count, 2)
