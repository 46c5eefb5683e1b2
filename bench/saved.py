"""Runs as they are kept in files: every sample, and what it belongs to."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.report import medians, ratios
from bench.runner import Outcome
from bench.scenario import Sample, Scenario


class SavedError(Exception):
    """A file is not a saved run."""


@dataclass(slots=True)
class Run:
    """One run, or what is there of it.

    :ivar begun: the date and time in UTC, as it is shown.
    :ivar facts: the machine and the versions, by name.
    :ivar settings: the numbers of the command line, by name.
    """

    begun: str
    facts: Mapping[str, str]
    settings: Mapping[str, Any]
    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def took_s(self) -> float:
        """The seconds that its scenarios took together."""
        return sum(outcome.took_s for outcome in self.outcomes)


def write(path: Path, run: Run) -> None:
    """Write *run* to *path*, in whose place the earlier file stands until all is written."""
    document = {
        "begun": run.begun,
        "machine": dict(run.facts),
        "settings": dict(run.settings),
        "scenarios": {
            outcome.scenario.name: {
                "main": outcome.scenario.main,
                "valid": outcome.valid,
                "broken": outcome.broken,
                "took_s": outcome.took_s,
                "absent": outcome.absent,
                "medians": medians(outcome),
                "ratios": ratios(outcome),
                "samples": {name: [asdict(each) for each in taken] for name, taken in outcome.samples.items()},
            }
            for outcome in run.outcomes
        },
    }
    draft = path.with_name(f"{path.name}.new")
    draft.write_text(json.dumps(document, indent=2) + "\n")
    os.replace(draft, path)


def read(path: Path, scenarios: Sequence[Scenario]) -> Run:
    """Read what :func:`write` wrote.

    :param scenarios: all that there are; others in the file are an error.
    :raises SavedError: the file cannot be read, or is something else.
    """
    known = {scenario.name: scenario for scenario in scenarios}
    try:
        document = json.loads(path.read_text())
        run = Run(document["begun"], document["machine"], document["settings"])
        for name, found in document["scenarios"].items():
            samples = {proxy: [Sample(**each) for each in taken] for proxy, taken in found["samples"].items()}
            run.outcomes.append(Outcome(known[name], samples, found["absent"], found["broken"], found["took_s"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SavedError(f"{path}: {type(error).__name__}: {error}") from error
    return run


def joined(runs: Sequence[Run]) -> Run:
    """Return *runs* as one: of a scenario that several have, the last one's; where facts differ, all of them.

    :param runs: at least one.
    """
    outcomes = {outcome.scenario.name: outcome for run in runs for outcome in run.outcomes}
    return Run(
        ", ".join(dict.fromkeys(run.begun for run in runs)),
        _together([run.facts for run in runs]),
        _together([run.settings for run in runs]),
        list(outcomes.values()),
    )


def _together(tables: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    names = dict.fromkeys(name for table in tables for name in table)
    found = {name: list(dict.fromkeys(table[name] for table in tables if name in table)) for name in names}
    return {name: values[0] if len(values) == 1 else " or ".join(map(str, values)) for name, values in found.items()}
