"""Rounds: every scenario asks every proxy, in turn."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.bulk import BulkError
from bench.client import ReplyError
from bench.fleet import Fleet, StartError
from bench.machine import Machine
from bench.proxies import (
    Proxy,
    RunningProxy,
    start_bulk_backend,
    start_proxy,
    start_sink_backend,
    start_small_backend,
)
from bench.scenario import Bench, Sample, Scenario, Settings

MEMORY = Path("/dev/shm")
"""Where files take no disk: nginx stores replies in files, and Varnish its log."""

Say = Callable[[str], None]


@dataclass(slots=True)
class Outcome:
    """What one scenario found.

    :ivar samples: per proxy, one for each round.
    :ivar absent: per proxy that was not measured, why.
    :ivar broken: why the scenario was not run at all; empty if it was.
    :ivar took_s: how long all of it took.
    """

    scenario: Scenario
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    broken: str = ""
    took_s: float = 0.0

    @property
    def valid(self) -> bool:
        """Whether every sample is without errors."""
        return not self.broken and not any(sample.errors for taken in self.samples.values() for sample in taken)


class Runner:
    """Runs scenarios and keeps what they found.

    :param say: is given each line of progress.
    """

    def __init__(self, machine: Machine, settings: Settings, proxies: Sequence[Proxy], say: Say) -> None:
        self._machine = machine
        self._settings = settings
        self._proxies = proxies
        self._say = say
        self._seed = 0

    def run(self, scenario: Scenario) -> Outcome:
        """Run *scenario* on processes and a directory of its own, both gone afterwards."""
        outcome, began = Outcome(scenario), time.monotonic()
        self._say(f"\n== {scenario.name}: {scenario.summary}")
        if scenario.needs and shutil.which(scenario.needs) is None:
            outcome.broken = f"{scenario.needs} is not installed"
        else:
            place = MEMORY if "cache" in scenario.parts and MEMORY.is_dir() else None
            with tempfile.TemporaryDirectory(prefix="txproxy-bench-", dir=place) as name, Fleet(Path(name)) as fleet:
                # nginx started by root works as another user, who must be able to enter.
                Path(name).chmod(0o755)
                try:
                    self._measure(scenario, fleet, outcome)
                except StartError as error:
                    outcome.broken = str(error)
        if outcome.broken:
            self._say(f"!! {scenario.name} was not run: {outcome.broken}")
        outcome.took_s = time.monotonic() - began
        return outcome

    def _measure(self, scenario: Scenario, fleet: Fleet, outcome: Outcome) -> None:
        backend = self._backend(scenario, fleet)
        bench = Bench(fleet, self._machine, self._settings, backend)
        running: dict[str, RunningProxy] = {}
        present = self._present(scenario, outcome)
        rounds = min(self._settings.rounds, scenario.max_rounds or self._settings.rounds)
        for number in range(rounds):
            # Each round begins with another proxy, so that none always comes after the same one.
            turn = number % max(1, len(present))
            for proxy in present[turn:] + present[:turn]:
                if proxy.name in outcome.absent:
                    continue
                try:
                    if proxy.name not in running:
                        running[proxy.name] = start_proxy(
                            fleet,
                            self._machine,
                            proxy,
                            backend.port,
                            bare=self._settings.bare_peers,
                            tls=scenario.tls,
                            http2=scenario.http2,
                            parts=scenario.parts,
                        )
                except StartError as error:
                    outcome.absent[proxy.name] = f"could not start: {error}"
                    self._say(f"{proxy.name}: could not start: {error}")
                    continue
                self._sample(bench, scenario, running[proxy.name], outcome, number)
                if scenario.fresh:
                    fleet.stop(running.pop(proxy.name).child)

    def _backend(self, scenario: Scenario, fleet: Fleet) -> RunningProxy:
        if scenario.backend == "bulk":
            return start_bulk_backend(fleet)
        if scenario.backend == "sink":
            return start_sink_backend(fleet)
        return start_small_backend(fleet, self._machine)

    def _present(self, scenario: Scenario, outcome: Outcome) -> list[Proxy]:
        present = []
        for proxy in self._proxies:
            reason = proxy.missing(scenario.parts) or scenario.skips.get(proxy.name, "")
            if proxy.caches_only and "cache" not in scenario.parts:
                reason = "it is compared as a cache only"
            if reason:
                outcome.absent[proxy.name] = reason
                self._say(f"{proxy.name}: left out: {reason}")
            else:
                present.append(proxy)
        return present

    def _sample(self, bench: Bench, scenario: Scenario, proxy: RunningProxy, outcome: Outcome, number: int) -> None:
        self._seed += 1
        try:
            sample = scenario.measure(bench, proxy, self._seed)
        except (StartError, BulkError, ReplyError, OSError) as error:
            tail = "".join(f"\n    | {line}" for line in proxy.child.last_lines())
            sample = Sample(errors=[f"{type(error).__name__}: {error}{tail}"])
        if not proxy.child.running:
            sample.errors.append("the proxy ended")
        outcome.samples.setdefault(proxy.name, []).append(sample)
        shown = "  ".join(
            f"{column.title} {sample.values[column.key]:,.{column.digits}f}"
            for column in scenario.columns
            if column.key in sample.values
        )
        self._say(f"round {number + 1}  {proxy.name:<18} {shown}")
        for note in sample.notes:
            self._say(f"   {note}")
        for warning in sample.warnings:
            self._say(f"   warning: {warning}")
        for problem in sample.errors:
            self._say(f"!! INVALID: {proxy.name}: {problem}")
