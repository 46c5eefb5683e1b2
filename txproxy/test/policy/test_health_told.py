"""What another process has found out of a backend."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txproxy.policy.health import Health, HealthSettings, Transition

_CHECKED = HealthSettings(checked=True)


class ToldTests(SynchronousTestCase):
    """Verdicts of others."""

    def test_checks(self) -> None:
        """It is up or down there, so it is here, at once, and a check here goes on from that."""
        health = Health(_CHECKED, 0.0)
        self.assertEqual(health.told("up", "the first check passed", 1.0),
                         Transition("checking", "up", "the first check passed"))  # fmt: skip
        self.assertEqual(health.told("down", "3 checks failed", 2.0), Transition("up", "down", "3 checks failed"))
        self.assertEqual((health.down_since, health.last_failure_at, health.last_error), (2.0, 2.0, "3 checks failed"))
        health.check_passed(3.0)
        self.assertEqual(health.state, "down")
        health.check_passed(4.0)
        self.assertEqual(health.state, "up")

    def test_again(self) -> None:
        """What is known already changes nothing."""
        health = Health(HealthSettings(), 0.0)
        self.assertIsNone(health.told("up", "x", 1.0))
        self.assertEqual((health.since, health.last_error), (0.0, ""))

    def test_ejection(self) -> None:
        """It is out for as long as there, counted in the same series, and on trial afterwards."""
        health = Health(HealthSettings(), 0.0)
        health.told("ejected", "5 requests failed; for 30 s", 1.0, 3)
        self.assertEqual((health.state, health.ejections, health.next_change_at), ("ejected", 3, 31.0))
        self.assertIsNone(health.told("ejected", "5 requests failed", 2.0, 4))
        health.tick(31.0)
        self.assertEqual(health.state, "trial")
        health.told("ejected", "the trial request failed", 32.0, 1)
        self.assertEqual((health.state, health.ejections, health.next_change_at), ("ejected", 4, 72.0))
        health.told("up", "the trial request succeeded", 33.0)
        self.assertEqual((health.state, health.failures), ("up", 0))

    def test_whatDoesNotFit(self) -> None:
        """One that is down is not ejected; one that nobody checks is not down for ever; other words say nothing."""
        health = Health(_CHECKED._replace(initial="down"), 0.0)
        self.assertIsNone(health.told("ejected", "x", 1.0))
        self.assertEqual(health.state, "down")
        unchecked = Health(HealthSettings(), 0.0)
        for word in ("down", "trial", "checking", "draining", "maintenance", "nonsense", ""):
            self.assertIsNone(unchecked.told(word, "x", 1.0))
        self.assertEqual((unchecked.state, unchecked.last_error), ("up", ""))

    def test_orders(self) -> None:
        """The operator's order hides it; maintenance forgets it."""
        health = Health(_CHECKED._replace(initial="up"), 0.0)
        health.order("drain", 1.0)
        self.assertIsNone(health.told("down", "x", 2.0))
        self.assertEqual(health.state, "draining")
        health.order("serve", 3.0)
        self.assertEqual(health.state, "down")
        health.order("maintain", 4.0)
        self.assertIsNone(health.told("up", "x", 5.0))
        health.order("serve", 6.0)
        self.assertEqual(health.state, "checking")

    def test_hostileReason(self) -> None:
        """A reason is one short line, whatever the other process says."""
        health = Health(HealthSettings(), 0.0)
        transition = health.told("ejected", "x\n\x1b[2J" + "y" * 1000, 1.0)
        assert transition is not None
        self.assertTrue(transition.reason.isprintable())
        self.assertLess(len(transition.reason), 300)
