"""Outcomes of a bench that nobody ran."""

from __future__ import annotations

from bench.catalogue import SCENARIOS
from bench.runner import Outcome
from bench.saved import Run
from bench.scenario import Sample, Scenario


def scenario(name: str) -> Scenario:
    return next(each for each in SCENARIOS if each.name == name)


def sample(name: str, figure: float) -> Sample:
    """Return a valid sample with *figure* in all columns of the scenario *name*."""
    return Sample({column.key: figure for column in scenario(name).columns})


def outcome(name: str, **figures: list[float]) -> Outcome:
    """Return an outcome with a sample for each of the main *figures* of a proxy."""
    return Outcome(
        scenario(name), {proxy: [sample(name, each) for each in taken] for proxy, taken in figures.items()}, took_s=60.0
    )


def run(*outcomes: Outcome) -> Run:
    return Run("2026-11-22 01:00 UTC", {"cpu": "one", "nginx": "1.22"}, {"rounds": 3, "seconds": 3.0}, list(outcomes))
