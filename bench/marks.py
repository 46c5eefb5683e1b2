"""The marks of this project: what txproxy may take at most, as a share of what a peer takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.proxies import OURS
from bench.report import medians, ratios
from bench.runner import Outcome


@dataclass(frozen=True, slots=True)
class Mark:
    """One mark: *scenario*'s main figure of txproxy, divided by that of *peer*, is *at_most* so much."""

    scenario: str
    peer: str
    at_most: float


MARKS: tuple[Mark, ...] = (
    Mark("keepalive", "nginx", 1.25),
    Mark("differing", "nginx", 1.4),
    Mark("keepalive", "envoy", 0.6),
    Mark("differing", "envoy", 0.7),
    Mark("browser", "nginx", 1.4),
    Mark("newconn", "nginx", 1.5),
    Mark("tls", "nginx", 1.3),
    Mark("h2", "envoy", 1.5),
    Mark("h2", "nginx", 3.0),
    Mark("cachehit", "nginx", 0.9),
    Mark("cachehit", "haproxy", 1.2),
    Mark("download", "haproxy", 0.8),
    Mark("upload", "haproxy", 0.8),
    Mark("tlsdownload", "nginx", 1.0),
    Mark("tlsupload", "nginx", 1.0),
    Mark("tcp", "haproxy", 1.3),
    Mark("idle", "envoy", 0.25),
    Mark("latency", "nginx", 1.3),
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a mark.

    :ivar reached: the ratio, None if it was not measured.
    :ivar reason: why it was not.
    """

    mark: Mark
    reached: float | None
    reason: str = ""

    @property
    def met(self) -> bool:
        """Whether the mark is met; one that was not measured is not."""
        return self.reached is not None and self.reached <= self.mark.at_most

    def __str__(self) -> str:
        """Say it, and by how much."""
        if self.reached is None:
            return f"not measured: {self.reason}"
        # Of the mark, so that 25 % over means that a fifth of the work has to go.
        share = self.reached / self.mark.at_most - 1
        if self.met:
            return f"met, {abs(share):.0%} under it"
        return f"missed by {share:.0%}" if share >= 0.01 else "missed by less than 1%"


def judge(outcomes: Sequence[Outcome], marks: Sequence[Mark] = MARKS) -> list[Verdict]:
    """Return the verdict of each of *marks*, by the medians of *outcomes*."""
    found = {outcome.scenario.name: outcome for outcome in outcomes}
    return [_judge_one(found.get(mark.scenario), mark) for mark in marks]


def _judge_one(outcome: Outcome | None, mark: Mark) -> Verdict:
    if outcome is None:
        return Verdict(mark, None, "the scenario was not part of the run")
    if outcome.broken:
        return Verdict(mark, None, outcome.broken)
    reached = ratios(outcome).get(mark.peer)
    if reached is not None:
        return Verdict(mark, reached)
    for name in (OURS, mark.peer):
        if name in outcome.absent:
            return Verdict(mark, None, f"{name}: {outcome.absent[name]}")
        if name not in medians(outcome):
            why = "has no valid round" if name in outcome.samples else "was not part of the run"
            return Verdict(mark, None, f"{name} {why}")
    return Verdict(mark, None, "the figures have no ratio")
