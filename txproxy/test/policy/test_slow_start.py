"""A backend that has come back gets its share little by little."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txproxy.policy.deadlines import NEVER
from txproxy.policy.slow_start import LEAST_SHARE, SlowStart


class SlowStartTests(SynchronousTestCase):
    """The share over time."""

    def test_growsEvenly(self) -> None:
        """From a tenth, never less, to the whole at the end and ever after."""
        start = SlowStart(10)
        start.begin(100.0)
        for now, share in (
            (100.0, 0.1), (100.5, 0.1), (101.0, 0.1), (102.0, 0.2), (105.0, 0.5), (109.0, 0.9), (110.0, 1.0), (9e9, 1.0),
        ):  # fmt: skip
            self.assertAlmostEqual(start.share(now), share, msg=str(now))

    def test_withoutSlowStart(self) -> None:
        """All of it at once, and nothing to look at."""
        start = SlowStart(0)
        start.begin(5.0)
        self.assertEqual((start.share(5.0), start.next_look_at), (1.0, NEVER))

    def test_beforeItBegins(self) -> None:
        """A backend that never was away has its whole share."""
        start = SlowStart(10)
        start.look(7.0)
        self.assertEqual((start.share(7.0), start.next_look_at), (1.0, NEVER))

    def test_looks(self) -> None:
        """Twenty of them, the last at the very end; none is closer than a tenth of a second."""
        for slow_start_s, step_s in ((10.0, 0.5), (60.0, 3.0), (1.0, 0.1), (0.25, 0.1), (0.05, 0.05)):
            start = SlowStart(slow_start_s)
            start.begin(0.0)
            looks = []
            while start.next_look_at < NEVER:
                looks.append(start.next_look_at)
                start.look(start.next_look_at)
            self.assertAlmostEqual(looks[0], step_s)
            self.assertEqual(looks[-1], slow_start_s)
            # Twenty steps may not sum up to the end exactly: then there is one more, by as little.
            self.assertLessEqual(len(looks), 21)

    def test_startsAnew(self) -> None:
        """Each return is one of its own, and a stop ends it."""
        start = SlowStart(10)
        start.begin(0.0)
        start.begin(8.0)
        self.assertAlmostEqual(start.share(10.0), 0.2)
        start.stop()
        self.assertEqual((start.share(10.0), start.next_look_at), (1.0, NEVER))

    @given(st.floats(0.001, 1e5), st.lists(st.floats(0.0, 1e5), min_size=2))
    def test_neverShrinks(self, slow_start_s: float, moments: list[float]) -> None:
        """Between its bounds, and never less than it was."""
        start = SlowStart(slow_start_s)
        start.begin(0.0)
        shares = [start.share(now) for now in sorted(moments)]
        self.assertEqual(shares, sorted(shares))
        self.assertTrue(all(LEAST_SHARE <= share <= 1 for share in shares), shares)
