"""What the operator says of a backend, whatever its health."""

from __future__ import annotations

from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from txproxy.policy.deadlines import NEVER
from txproxy.policy.health import Health, HealthSettings, Order, Transition

_CHECKED = HealthSettings(checked=True, initial="up")
_PASSIVE = HealthSettings()


def _checking() -> Health:
    return Health(HealthSettings(checked=True), 0.0)


def _up() -> Health:
    return Health(_CHECKED, 0.0)


def _down() -> Health:
    return Health(_CHECKED._replace(initial="down"), 0.0)


def _ejected() -> Health:
    health = _up()
    for _ in range(5):
        health.request_failed(0.0, "status 503", True)
    return health


def _trial() -> Health:
    health = _ejected()
    health.tick(10.0)
    return health


_STATES: dict[str, Callable[[], Health]] = {
    "checking": _checking,
    "up": _up,
    "down": _down,
    "ejected": _ejected,
    "trial": _trial,
}


class OrderTests(SynchronousTestCase):
    """Orders in every state."""

    def test_inEveryState(self) -> None:
        """Draining and back leaves the state as it was; maintenance and back has it checked anew."""
        for state, make in _STATES.items():
            health = make()
            self.assertEqual(health.state, state)
            self.assertEqual(health.order("drain", 11.0), Transition(state, "draining", "drained by order"))
            self.assertEqual(health.since, 11.0)
            back = health.order("serve", 12.0)
            assert back is not None
            self.assertEqual((back.before, back.after, health.since), ("draining", state, 12.0))
            self.assertEqual(
                health.order("maintain", 13.0), Transition(state, "maintenance", "in maintenance by order")
            )
            self.assertEqual(
                health.order("serve", 14.0),
                Transition("maintenance", "checking", "in service by order; no check has ended yet"),
            )

    def test_withoutChecks(self) -> None:
        """After maintenance there is nothing to wait for, and no ejection to go on with."""
        health = Health(_PASSIVE, 0.0)
        for _ in range(5):
            health.request_failed(0.0, "status 503", True)
        health.order("maintain", 1.0)
        self.assertEqual((health.next_change_at, health.ejections, health.is_watched), (NEVER, 0, False))
        self.assertEqual(health.order("serve", 2.0), Transition("maintenance", "up", "in service by order"))

    def test_twiceIsOnce(self) -> None:
        """An order that stands already changes nothing."""
        for orders in (("serve",), ("drain", "drain"), ("maintain", "maintain"), ("drain", "serve", "serve")):
            health = _up()
            for order in orders:
                told = health.order(order, 1.0)  # type: ignore[arg-type]
            self.assertIsNone(told, orders)

    def test_fromOneToTheOther(self) -> None:
        """Each replaces the one before."""
        health = _up()
        for order, state in (
            ("drain", "draining"), ("maintain", "maintenance"), ("drain", "draining"), ("serve", "checking"),
        ):  # fmt: skip
            told = health.order(order, 1.0)  # type: ignore[arg-type]
            assert told is not None
            self.assertEqual((told.after, health.state), (state, state))

    def test_unknown(self) -> None:
        """A word that is no order does nothing."""
        health = _up()
        order: Order = "stop"  # type: ignore[assignment]
        self.assertRaises(ValueError, health.order, order, 1.0)
        self.assertEqual(health.state, "up")

    def test_whyItDoesNotServeAtOnce(self) -> None:
        """An order to serve is no order to be well: the log says what is in the way."""
        for make, reason in (
            (_ejected, "in service by order; 5 requests failed, the last: status 503; for 10 s"),
            (_trial, "in service by order; ejection over"),
            (_up, "in service by order"),
        ):
            health = make()
            health.order("drain", 10.0)
            told = health.order("serve", 11.0)
            assert told is not None
            self.assertEqual(told.reason, reason)


class DrainingTests(SynchronousTestCase):
    """No new requests, but it is still looked after."""

    def test_checksGoOnBeneath(self) -> None:
        """What they find shows when it serves again."""
        health = _up()
        health.order("drain", 1.0)
        for now in (2.0, 3.0, 4.0):
            self.assertIsNone(health.check_failed(now, "timeout"))
        self.assertEqual((health.state, health.since, health.down_since), ("draining", 1.0, 4.0))
        told = health.order("serve", 5.0)
        self.assertEqual(
            told, Transition("draining", "down", "in service by order; 3 checks failed, the last: timeout")
        )

    def test_impatience(self) -> None:
        """Checks that disagree with what is known are repeated soon, as ever."""
        health = _up()
        health.order("drain", 1.0)
        health.check_failed(2.0, "timeout")
        self.assertTrue(health.is_changing)
        health.order("maintain", 3.0)
        self.assertFalse(health.is_changing)

    def test_timeGoesOnBeneath(self) -> None:
        """An ejection ends while nobody sees it."""
        health = _ejected()
        health.order("drain", 1.0)
        self.assertEqual(health.next_change_at, 10.0)
        self.assertIsNone(health.tick(10.0))
        told = health.order("serve", 20.0)
        assert told is not None
        self.assertEqual(told.after, "trial")
        self.assertTrue(health.take_trial(20.0, True))

    def test_itIsNotEjected(self) -> None:
        """Requests under way may fail: it gets no others, and starts anew when it serves."""
        health = _up()
        health.order("drain", 1.0)
        for _ in range(9):
            self.assertIsNone(health.request_failed(2.0, "timeout", True))
        told = health.order("serve", 3.0)
        assert told is not None
        self.assertEqual((told.after, health.failures), ("up", 0))

    def test_aTrialUnderWay(self) -> None:
        """Its outcome is of no account any more: another trial is made when it serves again."""
        health = _trial()
        self.assertTrue(health.take_trial(10.0, True))
        health.order("drain", 11.0)
        self.assertFalse(health.take_trial(30.0, True))
        self.assertIsNone(health.request_succeeded(31.0, 10.0))
        health.order("serve", 32.0)
        self.assertIsNone(health.request_failed(33.0, "timeout", True, 10.0))
        self.assertEqual(health.state, "trial")
        self.assertTrue(health.take_trial(34.0, True))

    def test_anotherTrialAtOnce(self) -> None:
        """It does not wait for the outcome of the one before the order."""
        health = _trial()
        self.assertTrue(health.take_trial(10.0, True))
        health.order("drain", 11.0)
        health.order("serve", 12.0)
        self.assertTrue(health.take_trial(12.0, True))

    def test_shareOfAWarmOne(self) -> None:
        """It has had traffic until just now: no slow start."""
        for late in (False, True):
            health = Health(_CHECKED._replace(slow_start_s=10), 0.0, late)
            health.order("drain", 31.0)
            health.order("serve", 60.0)
            self.assertEqual(health.share(60.0), 1.0)

    def test_shareOfOneThatRecoveredMeanwhile(self) -> None:
        """It was restarted, and has had no traffic since: the slow start is owed."""
        health = Health(_CHECKED._replace(slow_start_s=10), 0.0)
        health.order("drain", 1.0)
        for now in (2.0, 3.0, 4.0):
            health.check_failed(now, "connection refused")
        health.check_passed(5.0)
        health.check_passed(6.0)
        health.order("serve", 60.0)
        self.assertEqual([health.share(now) for now in (60.0, 65.0, 70.0)], [0.1, 0.5, 1.0])


class MaintenanceTests(SynchronousTestCase):
    """What is being worked on is not looked at."""

    def test_nothingCounts(self) -> None:
        """Neither a check that was under way, nor requests, nor time."""
        health = _up()
        health.order("maintain", 1.0)
        for now in (2.0, 3.0, 4.0, 5.0):
            self.assertIsNone(health.check_failed(now, "connection refused"))
        self.assertIsNone(health.request_failed(6.0, "connection refused", True))
        self.assertIsNone(health.request_succeeded(6.0))
        self.assertIsNone(health.tick(1e6))
        self.assertEqual((health.state, health.failures, health.next_change_at), ("maintenance", 0, NEVER))
        self.assertIsNone(health.down_since)
        health.order("serve", 1e6)
        self.assertEqual(health.check_passed(1e6 + 1), Transition("checking", "up", "the first check passed"))

    def test_slowStart(self) -> None:
        """One that comes back from it is cold, with checks or without."""
        checked = Health(_CHECKED._replace(slow_start_s=10), 0.0)
        passive = Health(_PASSIVE._replace(slow_start_s=10), 0.0)
        for health in (checked, passive):
            health.order("maintain", 1.0)
            self.assertEqual((health.share(1.0), health.next_change_at), (1.0, NEVER))
            health.order("serve", 2.0)
            health.check_passed(2.0)
            self.assertEqual((health.state, health.share(2.0), health.share(7.0)), ("up", 0.1, 0.5))

    def test_slowStartByWayOfDraining(self) -> None:
        """It begins when there are requests again."""
        health = Health(_PASSIVE._replace(slow_start_s=10), 0.0)
        health.order("maintain", 1.0)
        health.order("drain", 2.0)
        health.order("serve", 60.0)
        self.assertEqual((health.state, health.share(60.0)), ("up", 0.1))
