"""The state of a backend, from what checks say of it, and its share after a return."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txproxy.policy.deadlines import NEVER
from txproxy.policy.health import Health, HealthSettings, Transition, one_line
from txproxy.test.policy.health_events import check, fail

_CHECKED = HealthSettings(checked=True, initial="up")
_PASSIVE = HealthSettings()


class CheckTests(SynchronousTestCase):
    """Active checks."""

    def test_results(self) -> None:
        """Three failures in a row take it down, two successes bring it up (C1, C3)."""
        for initial, results, states in (
            ("checking", "+", "u"),
            ("checking", "-", "d"),
            ("checking", "+--", "uuu"),
            ("checking", "+---", "uuud"),
            ("checking", "-+", "dd"),
            ("checking", "-++", "ddu"),
            ("up", "--", "uu"),
            ("up", "---", "uud"),
            ("up", "--+--", "uuuuu"),
            ("up", "--+---", "uuuuud"),
            ("up", "---+-++", "uuddddu"),
            ("up", "---++---", "uudduuud"),
            ("down", "+", "d"),
            ("down", "++", "du"),
            ("down", "+-+-+", "ddddd"),
            ("up", "-++" * 50, "u" * 150),
            ("up", "--+" * 50, "u" * 150),
        ):
            health = Health(_CHECKED._replace(initial=initial), 0.0)  # type: ignore[arg-type]
            self.assertEqual(health.state, initial)
            seen = "".join(state[0] for state in check(health, results, 1.0))
            self.assertEqual(seen, states, (initial, results))

    def test_oneIsEnough(self) -> None:
        """Limits of one."""
        health = Health(_CHECKED._replace(fall=1, rise=1), 0.0)
        self.assertEqual(
            health.check_failed(1.0, "timeout"), Transition("up", "down", "1 check failed, the last: timeout")
        )
        self.assertEqual(health.check_passed(2.0), Transition("down", "up", "1 check passed"))

    def test_whatTheLogIsTold(self) -> None:
        """Each change with its reason, and nothing where nothing changes (C7)."""
        health = Health(_CHECKED._replace(initial="checking"), 0.0)
        told = [
            health.check_failed(1.0, "status 500"),
            health.check_passed(2.0),
            health.check_passed(3.0),
            health.check_passed(4.0),
            health.check_failed(5.0, "status 500"),
            health.check_failed(6.0, "status 503"),
            health.check_failed(7.0, "connection refused"),
            health.check_failed(8.0, "connection refused"),
        ]
        self.assertEqual(
            told,
            [
                Transition("checking", "down", "the first check failed: status 500"),
                None,
                Transition("down", "up", "2 checks passed"),
                None,
                None,
                None,
                Transition("up", "down", "3 checks failed, the last: connection refused"),
                None,
            ],
        )
        self.assertEqual((health.since, health.last_error, health.last_failure_at), (7.0, "connection refused", 8.0))
        passed = Health(_CHECKED._replace(initial="checking"), 0.0).check_passed(1.0)
        self.assertEqual(passed, Transition("checking", "up", "the first check passed"))

    def test_recoveryKeepsTheLastError(self) -> None:
        """What was wrong can still be read when it is well again."""
        health = Health(_CHECKED, 0.0)
        check(health, "---++", 1.0)
        self.assertEqual((health.state, health.last_error, health.last_failure_at), ("up", "connection refused", 11.0))

    def test_isChanging(self) -> None:
        """While checks are on the way to another state, the next one is awaited with impatience."""
        health = Health(_CHECKED._replace(initial="checking"), 0.0)
        self.assertTrue(health.is_changing)
        for result, changing in (
            ("+", False), ("-", True), ("-", True), ("+", False), ("-", True), ("-", True), ("-", False), ("-", False),
            ("+", True), ("-", False), ("+", True), ("+", False), ("+", False),
        ):  # fmt: skip
            check(health, result, 1.0)
            self.assertEqual(health.is_changing, changing, (result, health))
        self.assertFalse(Health(_PASSIVE, 0.0).is_changing)

    def test_downSince(self) -> None:
        """Since when checks say so; requests have no part in it."""
        health = Health(_CHECKED, 0.0)
        fail(health, 1.0)
        self.assertIsNone(health.down_since)
        check(health, "-----", 2.0, 1.0)
        self.assertEqual(health.down_since, 4.0)
        check(health, "++", 10.0, 1.0)
        self.assertIsNone(health.down_since)
        self.assertEqual(Health(_CHECKED._replace(initial="down"), 3.0).down_since, 3.0)

    def test_requestsDoNotOverruleChecks(self) -> None:
        """One that is down may be tried when there is no other: neither outcome brings it up or ejects it."""
        for initial in ("checking", "down"):
            health = Health(_CHECKED._replace(initial=initial), 0.0)
            self.assertIsNone(fail(health, 1.0, 50))
            self.assertEqual((health.state, health.is_watched), (initial, True))
            self.assertIsNone(health.request_succeeded(2.0, 2.0))
            self.assertEqual((health.state, health.failures, health.is_watched), (initial, 0, False))

    def test_aRecoveryStartsTheCountAnew(self) -> None:
        """Requests that failed while it was down are of no account when it is up."""
        health = Health(_CHECKED._replace(initial="down"), 0.0)
        fail(health, 1.0, 50)
        check(health, "++", 2.0, 1.0)
        self.assertEqual((health.state, health.failures), ("up", 0))
        self.assertIsNone(fail(health, 4.0, 4))
        self.assertIsNotNone(fail(health, 4.0, 1))


class SlowStartTests(SynchronousTestCase):
    """The share of one that has come back."""

    def setUp(self) -> None:
        self.passive = _PASSIVE._replace(slow_start_s=10)
        self.checked = _CHECKED._replace(slow_start_s=10)

    def test_atTheStart(self) -> None:
        """All of it; one that joined a cluster at work begins small."""
        for settings in (self.passive, self.checked, self.checked._replace(initial="checking")):
            health = Health(settings, 0.0)
            health.check_passed(0.0)
            self.assertEqual((health.state, health.share(0.0), health.next_change_at), ("up", 1.0, NEVER))
            health = Health(settings, 0.0, joined_late=True)
            health.check_passed(0.0)
            self.assertEqual((health.state, health.share(0.0), health.share(5.0)), ("up", 0.1, 0.5))
            self.assertEqual(health.next_change_at, 0.5)

    def test_afterARecovery(self) -> None:
        """From down, from an ejection and from a trial."""
        down = Health(self.checked, 0.0)
        check(down, "---++", 16.0, 1.0)
        ejected = Health(self.checked, 0.0)
        fail(ejected, 16.0)
        check(ejected, "++", 19.0, 1.0)
        panicked = Health(self.passive, 0.0)
        fail(panicked, 16.0)
        panicked.request_succeeded(20.0, 20.0)
        tried = Health(self.passive, 0.0)
        fail(tried, 0.0)
        tried.tick(10.0)
        tried.take_trial(10.0, True)
        self.assertEqual(tried.share(10.0), 1.0)
        tried.request_succeeded(20.0, 20.0)
        for health in (down, ejected, panicked, tried):
            self.assertEqual((health.state, health.since), ("up", 20.0))
            self.assertEqual([health.share(now) for now in (20.0, 24.0, 30.0)], [0.1, 0.4, 1.0])

    def test_ticks(self) -> None:
        """They say nothing to the log, and end when the share is whole."""
        health = Health(self.passive, 0.0, joined_late=True)
        ticks = 0
        while health.next_change_at < NEVER:
            self.assertIsNone(health.tick(health.next_change_at))
            ticks += 1
        self.assertEqual(ticks, 20)

    def test_aFailureEndsIt(self) -> None:
        """The next return starts another one."""
        health = Health(self.passive, 0.0, joined_late=True)
        fail(health, 2.0)
        self.assertEqual((health.share(2.0), health.next_change_at), (1.0, 12.0))


class ReasonTests(SynchronousTestCase):
    """What stands in the log."""

    def test_oneLine(self) -> None:
        """Printable and short, whatever a peer has sent or a user's check has raised."""
        for reason, line in (
            ("", ""),
            ("status 500", "status 500"),
            ("no\nsuch\r\n\tthing", "no such thing"),
            ("\x1b[31mred\x00", "[31mred"),
            ("grün", "grün"),
            ("x" * 200, "x" * 200),
            ("x" * 200 + "\n", "x" * 200),
            ("x" * 201, "x" * 197 + "..."),
            (" \n" * 1000, ""),
        ):
            self.assertEqual(one_line(reason), line, reason)

    def test_everyReasonIs(self) -> None:
        """That of a check and that of a request."""
        health = Health(_CHECKED._replace(fall=1), 0.0)
        health.request_failed(1.0, "a\nb", True)
        self.assertEqual(health.last_error, "a b")
        transition = health.check_failed(1.0, "c\nd")
        assert transition is not None
        self.assertEqual(transition.reason, "1 check failed, the last: c d")
