"""Deadlines of many connections on one coarse wheel."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txproxy.policy.deadlines import NEVER, Deadlines

_SLACK_S = 1e-9
"""What floating point may add to a sum of moments."""


@dataclass(eq=False)
class _Item:
    name: str = ""
    deadline: float = NEVER
    look_at: float = NEVER


def _expect(wheel: Deadlines, item: _Item, deadline: float) -> None:
    """Set a deadline as every caller does."""
    item.deadline = deadline
    if deadline < item.look_at:
        wheel.watch(item)


class DeadlinesTests(SynchronousTestCase):
    """A deadline is noticed within a tick after it has passed, and not before."""

    def setUp(self) -> None:
        self.wheel = Deadlines(tick_s=0.5)
        self.item = _Item()

    def test_noticedOnceAfterItHasPassed(self) -> None:
        """Just before, at, and a tick after."""
        _expect(self.wheel, self.item, 10.2)
        for now in (9.0, 10.0, 10.19):
            self.assertEqual(self.wheel.expire(now), [])
        self.assertEqual(self.wheel.expire(10.2 + 0.5), [self.item])
        self.assertEqual((self.item.deadline, self.item.look_at), (NEVER, NEVER))
        for now in (11.0, 20.0, 1000.0):
            self.assertEqual(self.wheel.expire(now), [])
        self.assertEqual(len(self.wheel), 0)

    def test_aLaterDeadlineCostsNoCall(self) -> None:
        """A deadline that moves away is seen when the wheel looks, and kept."""
        _expect(self.wheel, self.item, 10.0)
        for deadline in (11.0, 12.0, 13.0):
            _expect(self.wheel, self.item, deadline)
        self.assertEqual(len(self.wheel), 1)
        self.assertEqual(self.wheel.expire(12.9), [])
        self.assertEqual(self.wheel.expire(13.5), [self.item])

    def test_aNearerDeadlineIsKept(self) -> None:
        """It is noticed in time, and the look that was planned before does no harm."""
        _expect(self.wheel, self.item, 100.0)
        _expect(self.wheel, self.item, 5.0)
        self.assertEqual(self.wheel.expire(5.5), [self.item])
        self.assertEqual(self.wheel.expire(200.0), [])

    def test_aForgottenItemNeverExpires(self) -> None:
        """Neither then nor later; a new deadline after that counts as any other."""
        _expect(self.wheel, self.item, 5.0)
        self.wheel.forget(self.item)
        self.assertEqual(self.wheel.expire(4.0), [])
        _expect(self.wheel, self.item, 5.2)
        self.assertEqual(self.wheel.expire(5.7), [self.item])
        self.assertEqual(self.wheel.expire(50.0), [])

    def test_aDeadlineInThePastIsNoticedAtTheNextTick(self) -> None:
        """Also one that is set after the wheel has passed it."""
        self.wheel.expire(10.0)
        _expect(self.wheel, self.item, 3.0)
        self.assertEqual(self.wheel.expire(10.5), [self.item])

    def test_aNewDeadlineAfterOneThatPassed(self) -> None:
        """The next patience counts from when it is set."""
        _expect(self.wheel, self.item, 1.0)
        self.assertEqual(self.wheel.expire(1.5), [self.item])
        _expect(self.wheel, self.item, 2.0)
        self.assertEqual(self.wheel.expire(1.9), [])
        self.assertEqual(self.wheel.expire(2.5), [self.item])

    def test_aLongPauseLosesNothing(self) -> None:
        """However many ticks went by unseen."""
        items = [_Item(str(number)) for number in range(5)]
        self.wheel.expire(0.0)
        for number, item in enumerate(items):
            _expect(self.wheel, item, 1.0 + number * 1000)
        self.assertEqual(self.wheel.expire(1e6), items)

    def test_eachIsLookedAtWhenItsTurnComes(self) -> None:
        """What is done for one item may forget another, or give it a new deadline, that passed in the same tick."""
        first, forgotten, renewed, last = (_Item(name) for name in ("first", "forgotten", "renewed", "last"))
        for item in (first, forgotten, renewed, last):
            _expect(self.wheel, item, 1.0)
        seen = []
        for expired in self.wheel.due(1.5):
            seen.append(expired)
            if expired is first:
                self.wheel.forget(forgotten)
                self.wheel.forget(renewed)
                _expect(self.wheel, renewed, 9.0)
        self.assertEqual(seen, [first, last])
        self.assertEqual(self.wheel.expire(9.5), [renewed])

    def test_theSameMomentTwiceIsOne(self) -> None:
        """Nothing is noticed twice, and no time that stands still does harm."""
        _expect(self.wheel, self.item, 1.0)
        self.assertEqual(self.wheel.expire(1.5), [self.item])
        self.assertEqual(self.wheel.expire(1.5), [])
        self.assertEqual(self.wheel.expire(1.4), [])
        _expect(self.wheel, self.item, 1.45)
        self.assertEqual(self.wheel.expire(2.0), [self.item])


_moves = st.one_of(
    st.tuples(st.just("expect"), st.integers(0, 3), st.floats(-1.0, 12.0)),
    st.tuples(st.just("forget"), st.integers(0, 3), st.just(0.0)),
    st.tuples(st.just("never"), st.integers(0, 3), st.just(0.0)),
    st.tuples(st.just("pass"), st.just(0), st.floats(0.0, 8.0)),
)


class LawTests(SynchronousTestCase):
    """The wheel against a plain list of deadlines."""

    @settings(max_examples=200, deadline=None)
    @given(
        st.lists(_moves, max_size=40),
        st.sampled_from([0.1, 0.25, 0.3, 1.0]),
        st.sampled_from([0.0, 1234567.8, 1e9]),
        st.booleans(),
    )
    def test_neitherEarlyNorLateNorForgotten(
        self, moves: list[tuple[str, int, float]], tick_s: float, start: float, ticks_often: bool
    ) -> None:
        """Nothing expires before its deadline, nor later than a tick after it when somebody looks; never twice."""
        wheel = Deadlines(tick_s)
        items = [_Item(str(number)) for number in range(4)]
        due: dict[str, tuple[float, float]] = {}  # Deadline, and when it was set.
        now = start
        for move, number, seconds in [*moves, ("pass", 0, 30.0)]:
            item = items[number]
            if move == "expect":
                _expect(wheel, item, now + seconds)
                due[item.name] = (now + seconds, now)
            elif move == "forget":
                wheel.forget(item)
                due.pop(item.name, None)
            elif move == "never":
                item.deadline = NEVER
                due.pop(item.name, None)
            else:
                end = now + seconds
                while now < end:
                    now = min(end, now + tick_s) if ticks_often else end
                    self.look(wheel, due, now)
        self.assertEqual(due, {})
        self.assertEqual(len(wheel), 0)

    def look(self, wheel: Deadlines, due: dict[str, tuple[float, float]], now: float) -> None:
        expired = wheel.expire(now)
        names = [getattr(item, "name", "") for item in expired]
        self.assertEqual(len(names), len(set(names)), "an item expired twice at once")
        for name in names:
            self.assertIn(name, due, "a forgotten item expired")
            deadline, _ = due.pop(name)
            self.assertLessEqual(deadline, now)
        for name, (deadline, set_at) in due.items():
            latest = max(deadline, set_at) + wheel.tick_s
            self.assertGreater(latest + _SLACK_S * max(1.0, now), now, f"{name} should have expired by now")
