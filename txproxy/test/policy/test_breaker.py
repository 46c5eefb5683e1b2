"""The circuit breaker of a cluster."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txproxy.policy.breaker import Breaker, BreakerSettings
from txproxy.policy.deadlines import NEVER
from txproxy.policy.health import Transition

_HALF = BreakerSettings(error_rate=0.5)


def _count(breaker: Breaker, outcomes: str, now: float) -> Transition | None:
    """Have requests end, ``+`` well and ``-`` badly; return the last transition."""
    transition = None
    for outcome in outcomes:
        told = breaker.answered(now, now) if outcome == "+" else breaker.failed(now, now)
        if outcome == "+":
            told = told or breaker.succeeded(now, now)
        transition = told or transition
    return transition


def _open(now: float = 0.0, how: BreakerSettings = _HALF) -> Breaker:
    breaker = Breaker(how, now)
    _count(breaker, "-" * 10, now)
    return breaker


def _half_open(now: float = 0.0) -> Breaker:
    breaker = _open(now - 10.0)
    breaker.tick(now)
    return breaker


class BrokenReplyTests(SynchronousTestCase):
    """Requests that are answered well and fail after all: each is one outcome, the final one."""

    def test_countedOnce(self) -> None:
        """Ten such requests are ten failures of ten requests."""
        breaker = Breaker(BreakerSettings(error_rate=1.0), 0.0)
        for _ in range(9):
            breaker.answered(1.0, 1.0)
            self.assertIsNone(breaker.failed(1.0, 1.0, was_answered=True))
        breaker.answered(1.0, 1.0)
        transition = breaker.failed(1.0, 1.0, was_answered=True)
        assert transition is not None
        self.assertEqual(transition.reason, "10 of 10 requests failed")

    def test_trial(self) -> None:
        """An answer is no verdict on a trial; its failure is."""
        breaker = _half_open()
        breaker.admit(0.0, 0)
        self.assertIsNone(breaker.answered(0.5, 0.0))
        self.assertEqual(breaker.state, "half-open")
        breaker.failed(1.0, 0.0, was_answered=True)
        self.assertEqual(breaker.state, "open")

    def test_endlessTrial(self) -> None:
        """A reply that goes on well for open_s is a success: a stream of events may never end."""
        breaker = _half_open()
        breaker.admit(0.0, 0)
        breaker.answered(0.5, 0.0)
        self.assertIsNone(breaker.tick(10.4))
        self.assertIsNotNone(breaker.tick(10.5))
        self.assertEqual(breaker.state, "closed")


class OpeningTests(SynchronousTestCase):
    """When it opens."""

    def test_rates(self) -> None:
        """At the rate or above, with at least ten outcomes."""
        for rate, outcomes, opens in (
            (0.5, "-" * 9, False),
            (0.5, "-" * 10, True),
            (0.5, "-" * 9 + "+", True),
            (0.5, "+" * 5 + "-" * 4, False),
            (0.5, "+" * 5 + "-" * 5, True),
            (0.5, "+" * 6 + "-" * 5, False),
            (0.5, "+" * 100 + "-" * 99, False),
            (0.5, "+" * 100 + "-" * 100, True),
            (0.1, "+" * 27 + "-" * 2, False),
            (0.1, "+" * 27 + "-" * 3, True),
            (1.0, "+" + "-" * 500, False),
            (1.0, "-" * 10, True),
            (0.01, "+" * 99 + "-", True),
            (0.01, "+" * 1000, False),
            (0.0, "-" * 1000, False),
        ):
            breaker = Breaker(BreakerSettings(error_rate=rate), 0.0)
            _count(breaker, outcomes, 1.0)
            self.assertEqual(breaker.state == "open", opens, (rate, outcomes))

    def test_whatTheLogIsTold(self) -> None:
        """How many of how many."""
        breaker = Breaker(_HALF, 0.0)
        told = _count(breaker, "++++++------", 5.0)
        self.assertEqual(told, Transition("closed", "open", "6 of 12 requests failed"))
        self.assertEqual((breaker.since, breaker.next_change_at), (5.0, 15.0))

    def test_oldOutcomesAreForgotten(self) -> None:
        """What is ten seconds old counts no more; what is nine does."""
        for now, opens in ((9.9, True), (10.0, False), (15.0, False), (3600.0, False)):
            breaker = Breaker(_HALF, 0.0)
            _count(breaker, "-" * 9, 0.5)
            _count(breaker, "-", now)
            self.assertEqual(breaker.state == "open", opens, now)

    def test_oldFailuresDoNotSpoilTheRate(self) -> None:
        """What has left the window has left both sides of the quotient."""
        breaker = Breaker(_HALF, 0.0)
        _count(breaker, "-" * 9, 0.5)
        _count(breaker, "+" * 9 + "-", 12.0)
        self.assertEqual(breaker.state, "closed")
        _count(breaker, "-" * 8, 13.0)
        self.assertEqual(breaker.state, "open")

    def test_oldSuccessesAreForgottenToo(self) -> None:
        """A good hour is no reason to stay closed."""
        breaker = Breaker(_HALF, 0.0)
        for now in range(3600):
            _count(breaker, "+" * 10, float(now))
        _count(breaker, "-" * 10, 3609.5)
        self.assertEqual(breaker.state, "open")

    def test_switchedOff(self) -> None:
        """Without a rate nothing has to be told, and nothing happens."""
        breaker = Breaker(BreakerSettings(), 0.0)
        self.assertFalse(breaker.is_counting)
        self.assertIsNone(_count(breaker, "-" * 100, 1.0))
        self.assertEqual((breaker.admit(1.0, 10**9), breaker.next_change_at), ("", NEVER))
        self.assertTrue(Breaker(_HALF, 0.0).is_counting)


class AdmittingTests(SynchronousTestCase):
    """Which requests may go on."""

    def test_open(self) -> None:
        """None for as long as it is open; then one, and no other while that one is out."""
        breaker = _open(100.0)
        self.assertEqual([breaker.admit(now, 0) for now in (100.0, 105.0, 109.9)], ["open"] * 3)
        self.assertEqual([breaker.admit(110.0, 0) for _ in range(3)], ["", "half-open", "half-open"])
        self.assertEqual(breaker.state, "half-open")

    def test_theTransitionIsSeenByWhoTicks(self) -> None:
        """Once, and not before its time."""
        breaker = _open(100.0)
        self.assertIsNone(breaker.tick(109.9))
        self.assertEqual(breaker.tick(110.0), Transition("open", "half-open", "open for 10 s"))
        self.assertIsNone(breaker.tick(110.0))
        self.assertEqual(breaker.next_change_at, NEVER)

    def test_aTrialThatSucceeds(self) -> None:
        """It closes, and what was counted before is forgotten."""
        breaker = _half_open()
        breaker.admit(0.0, 0)
        self.assertEqual(breaker.succeeded(1.0, 0.0), Transition("half-open", "closed", "the trial request succeeded"))
        _count(breaker, "-" * 9, 1.0)
        self.assertEqual((breaker.state, breaker.admit(1.0, 0)), ("closed", ""))

    def test_closedIsANewStart(self) -> None:
        """Failures from before do not open it again, be they ever so recent."""
        breaker = _open(0.0, _HALF._replace(open_s=1))
        self.assertEqual(breaker.admit(1.0, 0), "")
        breaker.succeeded(1.5, 1.0)
        _count(breaker, "-" * 9, 2.0)
        self.assertEqual(breaker.state, "closed")
        _count(breaker, "-", 2.0)
        self.assertEqual(breaker.state, "open")

    def test_aTrialThatFails(self) -> None:
        """It opens for another time."""
        breaker = _half_open()
        breaker.admit(3.0, 0)
        self.assertEqual(breaker.failed(4.0, 3.0), Transition("half-open", "open", "the trial request failed"))
        self.assertEqual([breaker.admit(now, 0) for now in (4.0, 13.9, 14.0)], ["open", "open", ""])

    def test_aTrialWithoutAVerdict(self) -> None:
        """Its client left: another one goes after as long as it was open, not before."""
        breaker = _half_open()
        answers = [breaker.admit(now, 0) for now in (2.0, 11.9, 12.0, 12.0, 22.0)]
        self.assertEqual(answers, ["", "half-open", "", "half-open", ""])

    def test_pending(self) -> None:
        """So many may wait at once, whatever the rate; the trial is not given to one that may not."""
        for how in (BreakerSettings(max_pending=3), _HALF._replace(max_pending=3)):
            breaker = Breaker(how, 0.0)
            self.assertEqual([breaker.admit(0.0, pending) for pending in (0, 2, 3, 4)], ["", "", "pending", "pending"])
        breaker = Breaker(BreakerSettings(max_pending=1), 0.0)
        self.assertEqual([breaker.admit(0.0, pending) for pending in (0, 1)], ["", "pending"])
        breaker = _open(0.0, _HALF._replace(max_pending=3))
        self.assertEqual([breaker.admit(10.0, pending) for pending in (3, 0, 0)], ["pending", "", "half-open"])

    def test_retryAfter(self) -> None:
        """Whole seconds until it is half-open, at least one."""
        breaker = _open(100.0)
        for now, seconds in ((100.0, 10), (100.1, 10), (101.0, 9), (108.9, 2), (109.5, 1), (110.0, 1), (500.0, 1)):
            self.assertEqual(breaker.retry_after_s(now), seconds, now)
        self.assertEqual([_half_open().retry_after_s(3.0), Breaker(_HALF, 0.0).retry_after_s(3.0)], [1, 1])


class LateOutcomeTests(SynchronousTestCase):
    """Requests that were under way while the state changed."""

    def test_failures(self) -> None:
        """They neither end a trial nor open it again."""
        breaker = _open(60.0)
        self.assertIsNone(breaker.failed(65.0, 59.0))
        breaker.tick(70.0)
        breaker.admit(70.0, 0)
        self.assertIsNone(breaker.failed(71.0, 59.0))
        self.assertEqual((breaker.state, breaker.since), ("half-open", 70.0))
        breaker.succeeded(72.0, 70.0)
        for _ in range(100):
            self.assertIsNone(breaker.failed(73.0, 59.0))
        self.assertEqual(breaker.state, "closed")

    def test_aSuccessFromBefore(self) -> None:
        """It closes nothing."""
        breaker = _half_open(70.0)
        breaker.admit(70.0, 0)
        self.assertIsNone(breaker.succeeded(71.0, 50.0))
        self.assertIsNotNone(breaker.succeeded(71.0, 70.0))

    def test_whereNobodyKnowsWhenItWasSent(self) -> None:
        """It is of the present; while half-open it is the trial, if that is out."""
        breaker = _half_open(70.0)
        self.assertIsNone(breaker.succeeded(71.0))
        self.assertIsNone(breaker.failed(71.0))
        breaker.admit(72.0, 0)
        self.assertIsNotNone(breaker.failed(73.0))
        self.assertIsNone(breaker.failed(73.0))
        breaker.tick(83.0)
        self.assertIsNone(breaker.succeeded(84.0))
        self.assertEqual(breaker.state, "half-open")


_events = st.lists(
    st.tuples(
        st.sampled_from(["admit", "+", "-", "-", "tick"]),
        st.one_of(st.just(0.0), st.floats(0.0, 1.0), st.floats(1.0, 30.0)),
        st.one_of(st.none(), st.floats(0.0, 20.0)),
    ),
    max_size=120,
)


class LawTests(SynchronousTestCase):
    """Whatever happens in whatever order."""

    @settings(max_examples=150, deadline=None)
    @given(_events, st.sampled_from([0.1, 0.5, 1.0]), st.sampled_from([0.5, 10.0]))
    def test_itAlwaysMakesSense(
        self, events: list[tuple[str, float, float | None]], rate: float, open_s: float
    ) -> None:
        """Open for no longer than it should be, one trial at a time, and no opening without enough failures."""
        breaker = Breaker(BreakerSettings(rate, open_s=open_s), 0.0)
        now, trial_at, trial_since = 0.0, 0.0, -1.0
        counted: list[tuple[float, bool]] = []
        for event, pause_s, age_s in events:
            now += pause_s
            before, since = breaker.state, breaker.since
            sent_at = None if age_s is None else now - age_s
            told: Transition | None = None
            if event == "admit":
                answer = breaker.admit(now, 0)
                self.assertEqual(answer == "open", breaker.state == "open")
                self.assertFalse(answer == "open" and now >= breaker.since + open_s)
                if breaker.state == "half-open" and not answer:
                    self.assertFalse(trial_since == breaker.since and now < trial_at + open_s, "two trials at once")
                    trial_at, trial_since = now, breaker.since
            elif event == "tick":
                told = breaker.tick(now)
            else:
                told = breaker.succeeded(now, sent_at) if event == "+" else breaker.failed(now, sent_at)
                if before == "closed" and (sent_at is None or sent_at >= since):
                    counted.append((now, event == "-"))
            if told is not None:
                self.assertEqual((told.before, told.after, breaker.since), (before, breaker.state, now))
                if told.after == "open" and before == "closed":
                    # The window moves on in tenths.
                    seen = [failed for at, failed in counted if now - at <= 10.0]
                    self.assertGreaterEqual(len(seen), 10)
                    self.assertTrue(any(seen))
            if breaker.state != "closed":
                counted.clear()
            self.assertIn(breaker.state, ("closed", "open", "half-open"))
            self.assertGreaterEqual(breaker.retry_after_s(now), 1)

    @settings(max_examples=200, deadline=None)
    @given(st.lists(st.tuples(st.floats(0.0, 2.0), st.booleans()), max_size=80), st.sampled_from([0.2, 0.5, 0.9]))
    def test_theRateIsThatOfTheWindow(self, outcomes: list[tuple[float, bool]], rate: float) -> None:
        """It opens at the very outcome that makes the rate of the last ten whole or begun tenths."""
        breaker = Breaker(BreakerSettings(rate, open_s=1e9), 0.0)
        now = 0.0
        seen: list[tuple[int, bool]] = []
        for pause_s, failed in outcomes:
            now += pause_s
            seen.append((int(now), failed))
            window = [each for second, each in seen if second > int(now) - 10]
            told = breaker.failed(now, now) if failed else breaker.answered(now, now)
            self.assertEqual(told is not None, len(window) >= 10 and sum(window) / len(window) >= rate)
            if told is not None:
                return
