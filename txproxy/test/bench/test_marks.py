"""Tests for :mod:`bench.marks`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

try:
    from bench.catalogue import STANDARD
    from bench.marks import MARKS, Mark, Verdict, judge
    from bench.proxies import PROXIES
    from bench.runner import Outcome
    from txproxy.test.bench.results import outcome
except ModuleNotFoundError:
    skip = "bench is no part of an installed package"


class MarksTests(SynchronousTestCase):
    """The marks themselves."""

    def test_eachCanBeMeasured(self) -> None:
        """Each mark is about a scenario of every complete run, and a peer that the scenario does not leave out."""
        standard = {each.name: each for each in STANDARD}
        for mark in MARKS:
            self.assertIn(mark.scenario, standard)
            self.assertIn(mark.peer, [proxy.name for proxy in PROXIES])
            self.assertNotIn(mark.peer, standard[mark.scenario].skips)

    def test_oncePerScenarioAndPeer(self) -> None:
        """No mark is there twice."""
        pairs = [(mark.scenario, mark.peer) for mark in MARKS]
        self.assertEqual(len(pairs), len(set(pairs)))


class JudgeTests(SynchronousTestCase):
    """What becomes of one."""

    def judged(self, *outcomes: Outcome, mark: tuple[str, str, float] = ("keepalive", "nginx", 1.25)) -> Verdict:
        return judge(outcomes, [Mark(*mark)])[0]

    def test_met(self) -> None:
        """Medians are compared, and a ratio that equals the mark meets it."""
        verdict = self.judged(outcome("keepalive", txproxy=[25.0, 1.0, 900.0], nginx=[20.0, 900.0, 1.0]))
        self.assertEqual((verdict.reached, verdict.met, str(verdict)), (1.25, True, "met, 0% under it"))

    def test_metByMuch(self) -> None:
        """How far below it is belongs to it."""
        self.assertEqual(str(self.judged(outcome("keepalive", txproxy=[10.0], nginx=[16.0]))), "met, 50% under it")

    def test_missed(self) -> None:
        """How much is too much is told as a share of the mark."""
        verdict = self.judged(outcome("keepalive", txproxy=[30.0], nginx=[20.0]))
        self.assertEqual((verdict.met, str(verdict)), (False, "missed by 20%"))

    def test_missedByLittle(self) -> None:
        """A mark that is just missed is not said to be missed by nothing."""
        verdict = self.judged(outcome("keepalive", txproxy=[25.01], nginx=[20.0]))
        self.assertEqual((verdict.met, str(verdict)), (False, "missed by less than 1%"))

    def test_scenarioNotRun(self) -> None:
        """What was not measured does not meet a mark."""
        verdict = self.judged(outcome("differing", txproxy=[1.0], nginx=[20.0]))
        self.assertEqual(
            (verdict.met, verdict.reached, str(verdict)),
            (False, None, "not measured: the scenario was not part of the run"),
        )

    def test_broken(self) -> None:
        """A scenario that could not be run gives its reason."""
        found = outcome("keepalive")
        found.broken = "wrk is not installed"
        self.assertEqual(str(self.judged(found)), "not measured: wrk is not installed")

    def test_peerAbsent(self) -> None:
        """A peer that was left out gives its reason."""
        found = outcome("keepalive", txproxy=[1.0])
        found.absent["nginx"] = "nginx is not installed"
        self.assertEqual(str(self.judged(found)), "not measured: nginx: nginx is not installed")

    def test_peerNotAsked(self) -> None:
        """A peer may be no part of a run."""
        self.assertEqual(
            str(self.judged(outcome("keepalive", txproxy=[1.0]))), "not measured: nginx was not part of the run"
        )

    def test_invalidRounds(self) -> None:
        """Invalid samples are no figures."""
        found = outcome("keepalive", txproxy=[1.0], nginx=[2.0])
        found.samples["txproxy"][0].errors.append("no reply")
        self.assertEqual(str(self.judged(found)), "not measured: txproxy has no valid round")

    def test_nothingAdded(self) -> None:
        """A figure of nothing or less, which is what noise makes of added latency, has no ratio."""
        found = outcome("latency", txproxy=[5.0], nginx=[-1.0])
        verdict = self.judged(found, mark=("latency", "nginx", 1.3))
        self.assertEqual((verdict.met, str(verdict)), (False, "not measured: the figures have no ratio"))
