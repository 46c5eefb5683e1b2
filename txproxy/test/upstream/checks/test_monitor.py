"""Who is checked when, and who is told."""

from __future__ import annotations

from random import Random
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from txproxy.policy.health import Health, HealthSettings
from txproxy.upstream.checks.monitor import Monitor, MonitorSettings
from txproxy.upstream.checks.probe import ProbeFailed, ProbeTarget


class ScriptedProbe:
    """Answers by target's name.

    :param answers: for a name, what the check finds: "" if it passes, a reason, or None: it never ends. A list is used
        up, its last one again and again.
    :param clock: by which checks are noted down.
    """

    def __init__(self, clock: Clock, answers: dict[str, list[str | None]] | None = None) -> None:
        self.clock = clock
        self.answers = answers or {}
        self.starts: list[tuple[str, float]] = []
        self.open: list[tuple[str, Deferred[None]]] = []
        self.cancelled: list[str] = []

    def run(self, target: ProbeTarget) -> Deferred[None]:
        self.starts.append((target.name, self.clock.seconds()))
        answers = self.answers.get(target.name, [""])
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if answer is not None:
            return fail(ProbeFailed(answer)) if answer else succeed(None)
        check: Deferred[None] = Deferred(lambda _: self.cancelled.append(target.name))
        self.open.append((target.name, check))
        return check

    def starts_of(self, name: str) -> list[float]:
        return [at for each, at in self.starts if each == name]


class MonitorCase(SynchronousTestCase):
    """A monitor with a clock of its own."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000.0)
        self.probe = ScriptedProbe(self.clock)
        self.results: list[tuple[str, bool, str, float]] = []
        self.healths: dict[str, Health] = {}
        self.monitor = self.make()
        self.addCleanup(self.assert_clean)

    def make(self, **settings: Any) -> Monitor:
        random = Random(1).random
        monitor = Monitor(self.clock, MonitorSettings(**settings), self.probe, self.clock.seconds, random)
        self.addCleanup(monitor.stop)
        return monitor

    def watch(self, name: str, **settings: Any) -> Health:
        """Watch a backend whose health hears of each result."""
        health = self.healths[name] = Health(HealthSettings(checked=True, **settings), self.clock.seconds())

        def on_result(passed: bool, reason: str, took_s: float) -> None:
            self.results.append((name, passed, reason, round(took_s, 6)))
            now = self.clock.seconds()
            if passed:
                health.check_passed(now)
            else:
                health.check_failed(now, reason)

        self.monitor.watch(ProbeTarget(name, ("192.0.2.1",), 80), health, on_result)
        return health

    def advance(self, seconds: float) -> None:
        """Let time pass, in small steps."""
        for _ in range(round(seconds / 0.05)):
            self.clock.advance(0.05)

    def assert_clean(self) -> None:
        self.monitor.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.monitor.under_way, 0)


class WatchingTests(MonitorCase):
    """Who is checked."""

    def test_atOnce(self) -> None:
        """All that are known at the start are checked at once, and told of."""
        self.probe.answers = {"b": ["status 500"]}
        self.watch("a")
        self.watch("b")
        self.assertEqual(self.probe.starts, [])
        self.monitor.start()
        self.assertEqual(self.results, [("a", True, "", 0.0), ("b", False, "status 500", 0.0)])
        self.assertEqual((self.healths["a"].state, self.healths["b"].state), ("up", "down"))

    def test_joinsLater(self) -> None:
        """One that joins while the monitor runs is checked within a tenth of a second."""
        self.monitor.start()
        self.advance(3)
        self.watch("a")
        self.advance(0.15)
        self.assertEqual(len(self.results), 1)

    def test_steady(self) -> None:
        """From the second check on, an interval lies between two, give or take its jitter (D14: never more)."""
        self.watch("a")
        self.monitor.start()
        self.advance(120)
        starts = self.probe.starts_of("a")
        pauses = [after - before for before, after in zip(starts[1:-1], starts[2:], strict=True)]
        self.assertLessEqual(max(pauses), 6.0 + 1e-6)
        self.assertGreaterEqual(min(pauses), 4.0 - 0.1 - 1e-6)
        self.assertLessEqual(starts[1] - starts[0], 5.0 + 1e-6)

    def test_deathIsSeenInTime(self) -> None:
        """D14: a backend that dies is down within interval x 1.2 x fall, here sooner as the second and third checks follow
        the first failure a second apart.
        """
        health = self.watch("a")
        self.monitor.start()
        self.advance(20)
        self.probe.answers = {"a": ["connection refused"]}
        died = self.clock.seconds()
        while health.state == "up":
            self.clock.advance(0.05)
        self.assertLessEqual(self.clock.seconds() - died, 6.0 + 2.0 + 1e-6)
        self.assertEqual(health.last_error, "connection refused")

    def test_recoveryIsSeenInTime(self) -> None:
        """C1: two good checks bring a backend up, the second a second after the first."""
        self.probe.answers = {"a": ["status 500", "status 500", "status 500", ""]}
        health = self.watch("a", initial="up")
        self.monitor.start()
        self.advance(2.2)
        self.assertEqual(health.state, "down")
        passed = 0.0
        while health.state == "down":
            self.clock.advance(0.05)
            if self.results[-1][1] and not passed:
                passed = self.clock.seconds()
        self.assertAlmostEqual(self.clock.seconds() - passed, 1.0, delta=0.11)

    def test_flapping(self) -> None:
        """C3: one failure in three checks never takes a backend down."""
        self.probe.answers = {"a": ["", "", "status 500"] * 200}
        health = self.watch("a", initial="up")
        self.monitor.start()
        for _ in range(600):
            self.advance(0.5)
            self.assertEqual(health.state, "up")
        self.assertGreater(len(self.results), 60)

    def test_maintenance(self) -> None:
        """Nothing is checked in maintenance; what comes back from it is checked at once."""
        health = self.watch("a")
        self.monitor.start()
        health.order("maintain", self.clock.seconds())
        self.advance(60)
        self.assertEqual(len(self.results), 1)
        health.order("serve", self.clock.seconds())
        self.advance(0.15)
        self.assertEqual(len(self.results), 2)

    def test_longDown(self) -> None:
        """A backend that has been down for long is checked once a minute, and usually again when it is well."""
        self.probe.answers = {"a": ["connection refused"]}
        health = self.watch("a")
        self.monitor.start()
        self.advance(1000)
        starts = self.probe.starts_of("a")
        self.assertGreater(starts[-1] - starts[-2], 40.0)
        self.assertLessEqual(starts[-1] - starts[-2], 72.1)
        self.probe.answers = {}
        self.advance(80)
        self.assertEqual(health.state, "up")

    def test_sameNameAnew(self) -> None:
        """Watching a name again replaces what was watched: the old one is told of nothing more."""
        self.probe.answers = {"a": [None]}
        self.watch("a")
        self.monitor.start()
        self.probe.answers = {}
        self.watch("a")
        self.advance(0.15)
        self.assertEqual(self.probe.cancelled, ["a"])
        self.assertEqual(len(self.results), 1)


class ManyTests(MonitorCase):
    """C3: the checks of a hundred backends."""

    def test_fiftyAtOnce(self) -> None:
        """No more than fifty are started in one tick, those that wait longest first."""
        names = [f"{number}" for number in range(120)]
        self.probe.answers = {name: [None] for name in names}
        for name in names:
            self.watch(name)
        self.monitor.start()
        counts = [len(self.probe.starts)]
        for _ in range(3):
            self.advance(0.15)
            counts.append(len(self.probe.starts))
        self.assertEqual(counts, [50, 100, 120, 120])
        self.assertEqual([name for name, _ in self.probe.starts], names)

    def test_spread(self) -> None:
        """In the long run they are spread over the interval."""
        for number in range(100):
            self.watch(f"{number}")
        self.monitor.start()
        self.advance(60)
        bins = [0] * 25
        for _, at in self.probe.starts:
            place = (at + 1e-6 - 1055.0) / 5.0
            if 0 <= place < 1:
                bins[int(place * 25)] += 1
        self.assertLessEqual(max(bins), 0.1 * sum(bins), bins)
        self.assertGreater(sum(bins), 80)


class ResultTests(MonitorCase):
    """Who is told of what, and when."""

    def test_oneCheckAtATime(self) -> None:
        """A check that lasts is not overtaken by the next."""
        self.probe.answers = {"a": [None]}
        self.watch("a")
        self.monitor.start()
        self.advance(30)
        self.assertEqual(len(self.probe.starts), 1)
        self.assertEqual(self.monitor.under_way, 1)
        self.probe.open[0][1].errback(ProbeFailed("no reply in 2 s"))
        self.assertEqual(self.results, [("a", False, "no reply in 2 s", 30.0)])
        self.advance(6.1)
        self.assertEqual(len(self.probe.starts), 2)

    def test_tooSlow(self) -> None:
        """A good reply that took longer than max_response_s counts as a failure."""
        self.monitor = self.make(max_response_s=0.5)
        self.probe.answers = {"a": [None]}
        self.watch("a")
        self.monitor.start()
        self.advance(0.5)
        self.probe.open.pop()[1].callback(None)
        self.advance(5)
        self.advance(1.2)
        self.probe.open.pop()[1].callback(None)
        self.assertEqual(self.results[0], ("a", True, "", 0.5))
        name, passed, reason, took_s = self.results[1]
        self.assertEqual((passed, reason), (False, f"took {took_s:.2f} s"))

    def test_unwatched(self) -> None:
        """One that is let go is not told of a check under way, which is given up; nor is it checked again."""
        self.probe.answers = {"a": [None]}
        self.watch("a")
        self.monitor.start()
        self.monitor.unwatch("a")
        self.monitor.unwatch("a")
        self.advance(20)
        self.assertEqual((self.probe.cancelled, self.results, len(self.probe.starts)), (["a"], [], 1))

    def test_probeThatCannotBeCancelled(self) -> None:
        """What such a check finds after all is told to nobody."""
        self.probe.answers = {"a": [None]}
        self.watch("a")
        self.monitor.start()
        check = self.probe.open[0][1]
        check.addErrback(lambda _: Deferred())
        self.monitor.unwatch("a")
        self.assertEqual(self.results, [])

    def test_stopped(self) -> None:
        """After a stop nothing is left in the reactor, and nobody is told of anything."""
        self.probe.answers = {"a": [None]}
        self.watch("a")
        self.watch("b")
        self.monitor.start()
        self.monitor.stop()
        self.monitor.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.probe.cancelled, ["a"])
        self.assertEqual([each[0] for each in self.results], ["b"])

    def test_startedAgain(self) -> None:
        """A start after a stop checks all at once."""
        self.watch("a")
        self.monitor.start()
        self.advance(1)
        self.monitor.stop()
        before = len(self.results)
        self.monitor.start()
        self.monitor.start()
        self.assertEqual(len(self.results), before + 1)

    def test_letGoByWhoIsTold(self) -> None:
        """Whoever is told may let backends go, watch others, and stop the monitor."""
        seen: list[str] = []

        def let_go(passed: bool, reason: str, took_s: float) -> None:
            seen.append("a")
            self.monitor.unwatch("a")
            self.monitor.unwatch("b")
            self.watch("c")

        self.monitor.watch(ProbeTarget("a", ("192.0.2.1",), 80), Health(HealthSettings(checked=True), 0.0), let_go)
        self.watch("b")
        self.monitor.start()
        self.advance(0.15)
        self.assertEqual((seen, [each[0] for each in self.results]), (["a"], ["c"]))

        def stop(passed: bool, reason: str, took_s: float) -> None:
            self.monitor.stop()

        self.monitor.watch(ProbeTarget("d", ("192.0.2.1",), 80), Health(HealthSettings(checked=True), 0.0), stop)
        self.watch("e")
        self.advance(0.15)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual([each[0] for each in self.results], ["c"])

    def test_listenerRaises(self) -> None:
        """A fault of who is told is logged; the checks go on."""

        def broken(passed: bool, reason: str, took_s: float) -> None:
            raise ZeroDivisionError

        self.monitor.watch(ProbeTarget("a", ("192.0.2.1",), 80), Health(HealthSettings(), 0.0), broken)
        self.watch("b")
        self.monitor.start()
        self.advance(12)
        self.assertGreaterEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)
        self.assertGreaterEqual(len(self.probe.starts_of("a")), 2)
        self.assertGreaterEqual(len(self.results), 2)

    def test_probeRaises(self) -> None:
        """A fault of a probe is logged and is a failed check, be it raised or in its Deferred."""
        faults: list[Any] = [fail(ZeroDivisionError()), None]

        class Broken:
            def run(self, target: ProbeTarget) -> Deferred[None]:
                return faults.pop(0) or 1 // 0  # type: ignore[return-value]

        self.probe = Broken()  # type: ignore[assignment]
        self.monitor = self.make()
        self.watch("a")
        self.watch("b")
        self.monitor.start()
        self.assertEqual([each[2] for each in self.results], ["the check itself failed"] * 2)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)
