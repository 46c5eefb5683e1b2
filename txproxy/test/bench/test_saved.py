"""Tests for :mod:`bench.saved`."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

try:
    from bench import saved
    from bench.catalogue import SCENARIOS, STANDARD
    from txproxy.test.bench.results import outcome, run
except ModuleNotFoundError:
    skip = "bench is no part of an installed package"


class SavedTests(SynchronousTestCase):
    """Files of runs."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp())

    def test_roundTrip(self) -> None:
        """What was written is read again, to the last sample."""
        found = outcome("keepalive", txproxy=[30.0, 31.0], nginx=[20.0])
        found.absent["envoy"] = "not there"
        found.samples["nginx"][0].errors.append("wrong")
        found.samples["nginx"][0].warnings.append("late")
        found.samples["nginx"][0].notes.append("seen")
        broken = outcome("h2")
        broken.broken = "no h2load"
        written = run(found, broken)
        saved.write(self.path, written)
        self.assertEqual(saved.read(self.path, SCENARIOS), written)

    def test_replaced(self) -> None:
        """A later state takes the place of the earlier, and nothing else is left."""
        saved.write(self.path, run())
        saved.write(self.path, run(outcome("keepalive", txproxy=[1.0])))
        self.assertEqual(len(saved.read(self.path, SCENARIOS).outcomes), 1)
        self.assertEqual([each.name for each in self.path.parent.glob(f"{self.path.name}*")], [self.path.name])

    def test_somethingElse(self) -> None:
        """Files that are something else are refused by name."""
        for text in ("", "[]", "{}", '{"begun": "", "machine": {}, "settings": {}, "scenarios": {"nope": {}}}', "\x00"):
            self.path.write_text(text)
            error = self.assertRaises(saved.SavedError, saved.read, self.path, SCENARIOS)
            self.assertIn(str(self.path), str(error))

    def test_missing(self) -> None:
        """So is one that is not there."""
        self.assertRaises(saved.SavedError, saved.read, self.path, SCENARIOS)


class JoinedTests(SynchronousTestCase):
    """Several runs as one."""

    def test_one(self) -> None:
        """One run is as it was."""
        only = run(outcome("keepalive", txproxy=[1.0]))
        self.assertEqual(saved.joined([only]), only)

    def test_several(self) -> None:
        """The last run's figures count for a scenario that several have; where facts differ, all are told."""
        first = run(outcome("keepalive", txproxy=[1.0]), outcome("tls", txproxy=[2.0]))
        second = run(outcome("keepalive", txproxy=[3.0]))
        second.begun, second.facts = "2026-11-23 01:00 UTC", {"cpu": "one", "nginx": "1.29"}
        both = saved.joined([first, second])
        self.assertEqual(both.begun, "2026-11-22 01:00 UTC, 2026-11-23 01:00 UTC")
        self.assertEqual(both.facts, {"cpu": "one", "nginx": "1.22 or 1.29"})
        figures = {each.scenario.name: each.samples["txproxy"][0].values["cpu_us"] for each in both.outcomes}
        self.assertEqual(figures, {"keepalive": 3.0, "tls": 2.0})


class CatalogueTests(SynchronousTestCase):
    """By which names samples are found again."""

    def test_names(self) -> None:
        """A name is that of one scenario, whose main figure is one of its columns."""
        names = [each.name for each in SCENARIOS]
        self.assertEqual(len(names), len(set(names)))
        for each in SCENARIOS:
            self.assertIn(each.main, [column.key for column in each.columns])
        self.assertLess(set(STANDARD), set(SCENARIOS))
