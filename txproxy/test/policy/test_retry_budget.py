"""How many retries a cluster may add to its load."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txproxy.policy.retry_budget import WINDOW_S, RetryBudget


def _allowed(budget: RetryBudget, now: float, requests_total: int, asked: int = 1000) -> int:
    """Return how many retries are allowed at one moment."""
    return sum(budget.allow(now, requests_total) for _ in range(asked))


class RetryBudgetTests(SynchronousTestCase):
    """The part of the requests, and the least."""

    def test_partOfTheRequests(self) -> None:
        """A fifth of those of the last seconds."""
        budget = RetryBudget(0.2, 3)
        budget.look(0.0, 0)
        self.assertEqual(_allowed(budget, 5.0, 1000), 200)
        self.assertEqual(_allowed(budget, 5.5, 1000), 0)
        self.assertEqual(_allowed(budget, 6.0, 1100), 20)

    def test_theLeast(self) -> None:
        """Three per second over the window, be the requests ever so few."""
        for requests, allowed in ((0, 30), (1, 30), (150, 30), (155, 31), (160, 32)):
            budget = RetryBudget(0.2, 3)
            budget.look(0.0, 0)
            self.assertEqual(_allowed(budget, 1.0, requests), allowed, requests)

    def test_none(self) -> None:
        """Both settings at zero allow nothing; each of them alone counts."""
        for part, least, allowed in ((0.0, 0, 0), (0.0, 1, 10), (0.5, 0, 50), (1.0, 0, 100)):
            budget = RetryBudget(part, least)
            budget.look(0.0, 0)
            self.assertEqual(_allowed(budget, 1.0, 100), allowed, (part, least))

    def test_whatWasSpentComesBack(self) -> None:
        """When the second it was spent in has left the window."""
        budget = RetryBudget(0.0, 1)
        for now in range(3):
            self.assertEqual(_allowed(budget, float(now), 0, asked=4), (4, 4, 2)[now])
        for now in range(3, 11):
            self.assertEqual(_allowed(budget, float(now), 0), 0, now)
        self.assertEqual([_allowed(budget, float(now), 0) for now in (11, 12, 13, 14)], [4, 4, 2, 0])

    def test_anHourWithoutFailuresSavesNothing(self) -> None:
        """Only the requests of the last seconds count, however many there were."""
        budget = RetryBudget(0.2, 3)
        for now in range(3600):
            budget.look(float(now), 100 * now)
        # The last ten whole seconds and the one that is going on: 1,050 requests.
        self.assertEqual(_allowed(budget, 3599.5, 100 * 3599 + 50), 210)

    def test_aPauseWithoutLooks(self) -> None:
        """What is not known does not count: the least, until more has been seen."""
        budget = RetryBudget(0.2, 3)
        budget.look(0.0, 0)
        self.assertEqual(_allowed(budget, 3600.0, 1_000_000), 30)
        self.assertEqual(_allowed(budget, 3601.0, 1_000_500), 70)

    def test_aTotalThatStepsBack(self) -> None:
        """A request that is counted anew later does no harm."""
        budget = RetryBudget(0.2, 3)
        budget.look(0.0, 5)
        self.assertEqual(_allowed(budget, 0.5, 4), 30)

    @settings(max_examples=200, deadline=None)
    @given(
        st.lists(st.tuples(st.floats(0.0, 3.0), st.integers(0, 80), st.integers(0, 30)), max_size=60),
        st.sampled_from([0.0, 0.1, 0.2, 1.0]),
        st.integers(0, 3),
    )
    def test_noStretchOfTheWindowHoldsMore(self, steps: list[tuple[float, int, int]], part: float, least: int) -> None:
        """Over any ten seconds retries stay below the least, or below their part of the requests around them."""
        budget = RetryBudget(part, least)
        now, total = 0.0, 0
        requests: list[tuple[float, int]] = []
        retries: list[float] = []
        for pause_s, new, asked in steps:
            now += pause_s
            budget.look(now, total)
            total += new
            requests.append((now, new))
            retries += [now] * _allowed(budget, now, total, asked)
        for end in retries:
            spent = sum(end - WINDOW_S < each <= end for each in retries)
            seen = sum(new for each, new in requests if end - WINDOW_S - 1 <= each <= end)
            self.assertLessEqual(spent, max(least * WINDOW_S, part * seen))
