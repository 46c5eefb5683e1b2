"""How a backend is left out that requests fail at, and how it comes back."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txproxy.policy.deadlines import NEVER
from txproxy.policy.health import Health, HealthSettings, Transition
from txproxy.test.policy.health_events import check, fail

_CHECKED = HealthSettings(checked=True, initial="up")
_PASSIVE = HealthSettings()


def _on_trial(now: float = 0.0) -> Health:
    """Return a backend whose trial is open at a moment, after its first ejection."""
    health = Health(_PASSIVE, now - 10)
    fail(health, now - 10)
    health.tick(now)
    return health


class RequestTests(SynchronousTestCase):
    """Ejection by what requests meet."""

    def test_fiveInARowEject(self) -> None:
        """A success between them starts the count anew (C4)."""
        for outcomes, ejected in (
            ("-", False), ("----", False), ("-----", True), ("----+----", False), ("----+-----", True),
            ("-+" * 50, False), ("+++++-----", True),
        ):  # fmt: skip
            health = Health(_PASSIVE, 0.0)
            for outcome in outcomes:
                if outcome == "+":
                    health.request_succeeded(1.0, 1.0)
                else:
                    fail(health, 1.0, 1)
            self.assertEqual(health.state == "ejected", ejected, outcomes)

    def test_returnsByOneTrial(self) -> None:
        """After the ejection one request is let through; its success brings the backend back (C4)."""
        health = Health(_PASSIVE, 0.0)
        self.assertEqual(
            fail(health, 100.0),
            Transition("up", "ejected", "5 requests failed, the last: connection refused; for 10 s"),
        )
        self.assertEqual((health.next_change_at, health.ejections), (110.0, 1))
        self.assertIsNone(health.tick(109.9))
        self.assertFalse(health.take_trial(109.9, True))
        self.assertEqual(health.tick(110.0), Transition("ejected", "trial", "ejection over"))
        self.assertEqual([health.take_trial(110.0, True) for _ in range(3)], [True, False, False])
        self.assertEqual(
            health.request_succeeded(111.0, 110.0), Transition("trial", "up", "the trial request succeeded")
        )
        self.assertFalse(health.take_trial(111.0, True))
        self.assertEqual((health.failures, health.is_watched), (0, False))

    def test_aFailedTrialEjectsForLonger(self) -> None:
        """Ten seconds more each time, up to the longest."""
        health = Health(_PASSIVE._replace(max_ejection_s=35), 0.0)
        fail(health, 0.0)
        now = 0.0
        for number, seconds in ((2, 20), (3, 30), (4, 35), (5, 35)):
            now = health.next_change_at
            health.tick(now)
            health.take_trial(now, True)
            self.assertEqual(
                health.request_failed(now, "timeout", True, now),
                Transition("trial", "ejected", f"the trial request failed: timeout; for {seconds} s"),
            )
            self.assertEqual((health.ejections, health.next_change_at), (number, now + seconds))

    def test_aTrialThatFailsNeedsNoLeave(self) -> None:
        """The cluster has done without it all the time."""
        health = _on_trial()
        health.take_trial(0.0, True)
        self.assertIsNotNone(health.request_failed(1.0, "timeout", False, 0.0))
        self.assertEqual((health.state, health.ejections), ("ejected", 2))

    def test_theCountIsKeptWhereItMayNotBeEjected(self) -> None:
        """Each further failure asks again."""
        health = Health(_PASSIVE, 0.0)
        self.assertIsNone(fail(health, 1.0, 7, may_eject=False))
        self.assertEqual((health.state, health.failures), ("up", 7))
        transition = fail(health, 2.0, 1)
        self.assertEqual(
            transition, Transition("up", "ejected", "8 requests failed, the last: connection refused; for 10 s")
        )

    def test_longGoodConductForgets(self) -> None:
        """The next ejection is a short one again after as long as the longest: just before, at, after."""
        for back_s, number in ((299.9, 2), (300.0, 1), (7200.0, 1)):
            health = _on_trial()
            health.request_succeeded(1.0, 0.0)
            self.assertEqual((health.state, health.next_change_at), ("up", 301.0))
            fail(health, 1.0 + back_s)
            self.assertEqual(health.ejections, number, back_s)
        health = _on_trial()
        health.request_succeeded(1.0, 0.0)
        self.assertIsNone(health.tick(301.0))
        self.assertEqual((health.ejections, health.next_change_at), (0, NEVER))

    def test_panicThatMeetsALivingBackend(self) -> None:
        """A request that was sent to an ejected one and went well is as good as a trial."""
        health = Health(_PASSIVE, 0.0)
        fail(health, 1.0)
        self.assertTrue(health.is_watched)
        self.assertEqual(health.request_succeeded(3.0, 2.0), Transition("ejected", "up", "a request succeeded"))

    def test_panicThatMeetsADeadOne(self) -> None:
        """It stays out for as long as it was to be, and no longer."""
        health = Health(_PASSIVE, 0.0)
        fail(health, 1.0)
        self.assertIsNone(fail(health, 5.0, 50))
        self.assertEqual((health.ejections, health.next_change_at, health.last_failure_at), (1, 11.0, 5.0))

    def test_checksEndAnEjection(self) -> None:
        """As many as bring it up, counted since the ejection; also while it is on trial."""
        health = Health(_CHECKED, 0.0)
        check(health, "+++", 0.0, 1.0)
        fail(health, 4.0)
        self.assertEqual(check(health, "+-+", 5.0, 1.0), ["ejected"] * 3)
        self.assertTrue(health.is_changing)
        self.assertEqual(health.check_passed(8.0), Transition("ejected", "up", "2 checks passed"))
        self.assertEqual(health.next_change_at, 308.0)
        fail(health, 9.0)
        check(health, "+", 10.0)
        health.tick(29.0)
        self.assertEqual(health.check_passed(30.0), Transition("trial", "up", "2 checks passed"))

    def test_checksTakeAnEjectedOneDown(self) -> None:
        """Those before the ejection count; from then on the checks decide, and no trial is sent."""
        for seconds in (1.0, 11.0):
            health = Health(_CHECKED, 0.0)
            check(health, "--", 0.0)
            fail(health, 6.0)
            health.tick(6.0 + seconds)
            self.assertIsNotNone(health.check_failed(6.0 + seconds, "timeout"))
            self.assertEqual((health.state, health.next_change_at), ("down", 306.0 + seconds))
            health.tick(290.0)
            self.assertFalse(health.take_trial(290.0, True))
            self.assertEqual(check(health, "++", 290.0), ["down", "up"])

    def test_watched(self) -> None:
        """Successes have to be told only where they would change something."""
        health = Health(_PASSIVE, 0.0)
        self.assertFalse(health.is_watched)
        fail(health, 1.0, 1)
        self.assertTrue(health.is_watched)
        health.request_succeeded(2.0)
        self.assertFalse(health.is_watched)
        self.assertTrue(_on_trial().is_watched)


class LateOutcomeTests(SynchronousTestCase):
    """Requests that were under way while the state changed."""

    def test_failuresAfterAnEjection(self) -> None:
        """A hundred that hung together: the first five eject it, the rest say nothing new, however late they come."""
        health = Health(_PASSIVE, 0.0)
        fail(health, 60.0)
        for now in (60.0, 61.0, 69.9):
            self.assertIsNone(health.request_failed(now, "timeout", True, 59.0))
        health.tick(70.0)
        self.assertIsNone(health.request_failed(70.1, "timeout", True, 59.0))
        self.assertTrue(health.take_trial(70.2, True))
        self.assertIsNone(health.request_failed(70.3, "timeout", True, 59.0))
        self.assertEqual((health.state, health.ejections), ("trial", 1))
        health.request_succeeded(70.4, 70.2)
        for _ in range(50):
            self.assertIsNone(health.request_failed(71.0, "timeout", True, 59.0))
        self.assertEqual((health.state, health.failures, health.last_error), ("up", 0, "timeout"))

    def test_aSuccessFromBeforeIsNoTrial(self) -> None:
        """A slow reply to a request that was sent before the ejection brings nothing back."""
        health = Health(_PASSIVE, 0.0)
        fail(health, 60.0)
        self.assertIsNone(health.request_succeeded(61.0, 50.0))
        health.tick(70.0)
        health.take_trial(70.0, True)
        self.assertIsNone(health.request_succeeded(71.0, 69.9))
        self.assertEqual(health.state, "trial")
        self.assertIsNotNone(health.request_succeeded(72.0, 70.0))

    def test_whereNobodyKnowsWhenItWasSent(self) -> None:
        """It is of the present; on trial, it is the trial, if that is out."""
        health = _on_trial()
        self.assertIsNone(health.request_failed(1.0, "timeout", True))
        self.assertIsNone(health.request_succeeded(1.0))
        self.assertEqual(health.state, "trial")
        health.take_trial(2.0, True)
        self.assertIsNotNone(health.request_failed(3.0, "timeout", True))
        self.assertIsNone(health.request_failed(3.0, "timeout", True))
        self.assertEqual(health.ejections, 2)
        health.tick(23.0)
        self.assertIsNone(health.request_failed(24.0, "timeout", True))
        self.assertEqual(health.state, "trial")
        ejected = Health(_PASSIVE, 0.0)
        fail(ejected, 1.0)
        self.assertIsNotNone(ejected.request_succeeded(4.0))

    def test_theVerdictOfATrialThatWasGivenUp(self) -> None:
        """It hung for longer than the next one waited: it was sent on trial all the same."""
        health = _on_trial()
        self.assertTrue(health.take_trial(0.0, True))
        self.assertTrue(health.take_trial(10.0, True))
        self.assertIsNotNone(health.request_failed(12.0, "timeout", True, 0.0))
        self.assertIsNone(health.request_failed(22.0, "timeout", True, 10.0))
        self.assertEqual((health.state, health.ejections), ("ejected", 2))


class TrialTests(SynchronousTestCase):
    """Which request is the trial."""

    def test_aHarmlessOneGoesFirst(self) -> None:
        """What cannot be sent elsewhere if it fails waits a second for another to go first."""
        for now, idempotent, taken in (
            (0.0, True, True), (0.0, False, False), (0.9, False, False), (1.0, False, True), (3600.0, False, True),
        ):  # fmt: skip
            self.assertEqual(_on_trial().take_trial(now, idempotent), taken, (now, idempotent))

    def test_aTrialWithoutAVerdict(self) -> None:
        """Its client left: another one goes after as long as the first ejection, not before."""
        health = _on_trial()
        self.assertTrue(health.take_trial(2.0, True))
        for now, taken in ((2.0, False), (11.9, False), (12.0, True), (12.0, False), (21.9, False), (22.0, True)):
            self.assertEqual(health.take_trial(now, False), taken, now)

    def test_onlyOnTrial(self) -> None:
        """In no other state is there one."""
        healths = [
            Health(_PASSIVE, 0.0),
            Health(HealthSettings(checked=True), 0.0),
            Health(HealthSettings(checked=True, initial="down"), 0.0),
        ]
        ejected = Health(_PASSIVE, 0.0)
        fail(ejected, 0.0)
        drained = _on_trial()
        drained.order("drain", 1.0)
        for health in (*healths, ejected, drained):
            self.assertFalse(health.take_trial(100.0, True), health)
