"""Laws of a backend's health, whatever happens in whatever order."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txproxy.policy.health import STATES, Health, HealthSettings, Transition


class _Event(NamedTuple):
    name: str
    pause_s: float
    """Since the event before."""
    age_s: float | None = None
    """How long before its outcome a request was sent; None: nobody knows."""
    flag: bool = True


_pauses = st.one_of(st.just(0.0), st.floats(0.0, 3.0), st.floats(3.0, 40.0), st.floats(40.0, 4000.0))
_ages = st.one_of(st.none(), st.just(0.0), st.floats(0.0, 60.0))
_names = st.sampled_from(
    ["check passed", "check failed", "succeeded", "failed", "failed", "failed", "tick", "trial"]
    + ["check passed", "check failed", "succeeded", "failed", "failed", "failed", "tick", "trial"]
    + ["serve", "drain", "maintain"]
)
_events = st.lists(st.builds(_Event, _names, _pauses, _ages, st.booleans()), max_size=80)
_settings = st.builds(
    HealthSettings,
    checked=st.booleans(),
    initial=st.sampled_from(["checking", "up", "down"]),
    fall=st.integers(1, 3),
    rise=st.integers(1, 3),
    failures=st.integers(1, 3),
    ejection_s=st.sampled_from([0.5, 10.0]),
    max_ejection_s=st.sampled_from([5.0, 35.0]),
    slow_start_s=st.sampled_from([0.0, 1.0, 30.0]),
)


def _apply(health: Health, event: _Event, now: float) -> Transition | None:
    """Have an event happen, unless it is a trial."""
    sent_at = None if event.age_s is None else now - event.age_s
    if event.name == "check passed":
        return health.check_passed(now)
    if event.name == "check failed":
        return health.check_failed(now, "timeout")
    if event.name == "succeeded":
        return health.request_succeeded(now, sent_at)
    if event.name == "failed":
        return health.request_failed(now, "timeout", event.flag, sent_at)
    if event.name == "tick":
        return health.tick(now)
    return health.order(event.name, now)  # type: ignore[arg-type]


def _facts(health: Health) -> tuple[object, ...]:
    return (
        health.state, health.since, health.failures, health.is_watched, health.next_change_at, health.ejections,
        health.is_changing, health.down_since, health.last_error, health.last_failure_at,
    )  # fmt: skip


def _without_checks(events: list[_Event]) -> list[_Event]:
    return [event for event in events if not event.name.startswith("check")]


class LawTests(SynchronousTestCase):
    """Of events at random."""

    @settings(max_examples=200, deadline=None)
    @given(_settings, _events, st.booleans())
    def test_itAlwaysMakesSense(self, how: HealthSettings, events: list[_Event], late: bool) -> None:
        """States, transitions, trials and all that others read agree with each other after every event."""
        health = Health(how, 1000.0, late)
        if not how.checked:
            events = _without_checks(events)
        now, trial_at, trial_since = 1000.0, 0.0, -1.0
        for event in events:
            now += event.pause_s
            before, since = health.state, health.since
            told: Transition | None = None
            if event.name == "trial":
                if health.take_trial(now, event.flag):
                    self.assertEqual(health.state, "trial")
                    if trial_since == health.since:
                        self.assertGreaterEqual(now, trial_at + how.ejection_s, "two trials at once")
                    if not event.flag:
                        self.assertGreaterEqual(now, health.since + 1.0)
                    trial_at, trial_since = now, health.since
                    self.assertFalse(health.take_trial(now, True))
            else:
                told = _apply(health, event, now)
            self.check(health, how, now)
            if told is None:
                self.assertEqual((health.state, health.since), (before, since))
            else:
                self.assertEqual((told.before, told.after, health.since), (before, health.state, now))
                self.assertNotEqual(told.before, told.after)
                self.assertTrue(told.reason and told.reason.isprintable(), told)

    def check(self, health: Health, how: HealthSettings, now: float) -> None:
        state = health.state
        self.assertIn(state, STATES)
        self.assertLessEqual(health.since, now)
        self.assertTrue(0.1 <= health.share(now) <= 1.0)
        if health.failures or state in ("ejected", "trial"):
            self.assertTrue(health.is_watched)
        if state in ("up", "checking", "down", "maintenance") and not health.failures:
            self.assertFalse(health.is_watched)
        if state == "ejected":
            self.assertGreaterEqual(health.ejections, 1)
            self.assertLessEqual(health.next_change_at, max(now, health.since) + how.max_ejection_s)
        if state == "down":
            self.assertIsNotNone(health.down_since)
        if state != "down" and state != "draining":
            self.assertIsNone(health.down_since)
        if state == "checking":
            self.assertTrue(health.is_changing)
        if not how.checked:
            self.assertNotIn(state, ("checking", "down"))
            self.assertFalse(health.is_changing)
        if state == "maintenance":
            self.assertFalse(health.is_changing)
        if state != "up" and state != "draining":
            self.assertEqual(health.share(now), 1.0)

    @settings(max_examples=200, deadline=None)
    @given(_settings, _events)
    def test_ticksComeWhenTheyAreDue(self, how: HealthSettings, events: list[_Event]) -> None:
        """An earlier one changes nothing, and after one there is nothing left to be done at that moment."""
        health = Health(how, 1000.0)
        now = 1000.0
        for event in events:
            now += event.pause_s
            if event.name != "trial":
                _apply(health, event, now)
            facts = _facts(health)
            if now < health.next_change_at:
                self.assertIsNone(health.tick(now))
                self.assertEqual(_facts(health), facts)
            health.tick(now)
            self.assertGreater(health.next_change_at, now)

    @settings(max_examples=200, deadline=None)
    @given(_settings, _events, st.integers(1, 20), st.booleans())
    def test_thePastSaysNothing(self, how: HealthSettings, events: list[_Event], times: int, good: bool) -> None:
        """Requests from before the present state change neither it nor any count, however many of them end."""
        health = Health(how, 1000.0)
        now = 1000.0
        for event in events:
            now += event.pause_s
            if event.name != "trial":
                _apply(health, event, now)
        facts = _facts(health)[:8]
        for _ in range(times):
            if good:
                self.assertIsNone(health.request_succeeded(now, health.since - 0.001))
            else:
                self.assertIsNone(health.request_failed(now, "timeout", True, health.since - 0.001))
        self.assertEqual(_facts(health)[:8], facts)

    @settings(max_examples=200, deadline=None)
    @given(_settings, _events)
    def test_itCanAlwaysComeBack(self, how: HealthSettings, events: list[_Event]) -> None:
        """No history keeps a backend out that is well: by checks, or without them by time and one trial."""
        health = Health(how, 1000.0)
        if not how.checked:
            events = _without_checks(events)
        now = 1000.0
        for event in events:
            now += event.pause_s
            if event.name != "trial":
                _apply(health, event, now)
            else:
                health.take_trial(now, event.flag)
        health.order("serve", now)
        if how.checked:
            for _ in range(how.rise):
                health.check_passed(now)
        elif health.state != "up":
            now += how.max_ejection_s
            health.tick(now)
            self.assertEqual(health.state, "trial")
            now += how.ejection_s
            self.assertTrue(health.take_trial(now, True))
            health.request_succeeded(now, now)
        self.assertEqual(health.state, "up")

    @settings(max_examples=100, deadline=None)
    @given(st.integers(2, 4), st.lists(st.booleans(), max_size=200))
    def test_flapping(self, fall: int, results: list[bool]) -> None:
        """Without so many failures in a row it never goes down (C3)."""
        health = Health(HealthSettings(checked=True, fall=fall), 0.0)
        health.check_passed(0.0)
        row = 0
        for now, passed in enumerate(results):
            row = 0 if passed or row + 1 == fall else row + 1
            if row == 0:
                health.check_passed(float(now))
            else:
                health.check_failed(float(now), "timeout")
            self.assertEqual(health.state, "up")
