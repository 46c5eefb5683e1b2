"""The table of cases: request and reply fields and times, and what comes of them."""

from __future__ import annotations

from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from txproxy.policy.caching.fields import FieldTable
from txproxy.policy.caching.freshness import Freshness, freshness_of
from txproxy.policy.caching.storability import judge
from txproxy.test.policy.caching.cases_freshness import FRESHNESS
from txproxy.test.policy.caching.cases_reuse import ON_ERROR, REUSE
from txproxy.test.policy.caching.cases_storing import STORING
from txproxy.test.policy.caching.scenario import (
    NOW,
    Case,
    asked_by,
    end_of,
    freshness_by,
    is_sent_on_error,
    reply_of,
    request_of,
)

_LEAST_CASES = 200


class CaseTests(SynchronousTestCase):
    """Each case ends as it says; all that do not are shown at once."""

    def test_storing(self) -> None:
        self._assert_ends(STORING, end_of)

    def test_freshness(self) -> None:
        self._assert_ends(FRESHNESS, end_of)

    def test_reuse(self) -> None:
        self._assert_ends(REUSE, end_of)

    def test_onError(self) -> None:
        self._assert_ends(ON_ERROR, lambda case: "yes" if is_sent_on_error(case) else "no")

    def test_withATableThatIsThereAlready(self) -> None:
        for case in (*STORING, *FRESHNESS, *REUSE):
            request, reply = request_of(case.first, case.method), reply_of(case.reply, case.status, case.method)
            freshness, said = freshness_by(case)
            table = FieldTable(reply.fields)
            again = freshness_of(reply, said, NOW - case.delay_s, NOW, case.rules, table)
            for name in Freshness.__slots__:
                self.assertEqual(getattr(again, name), getattr(freshness, name), case.shows)
            asked = asked_by(request.fields)
            verdict = judge(request, asked, reply, said, freshness, case.rules)
            self.assertEqual(judge(request, asked, reply, said, freshness, case.rules, table), verdict, case.shows)

    def test_enoughDifferentCases(self) -> None:
        cases = (*STORING, *FRESHNESS, *REUSE, *ON_ERROR)
        scenarios = {(case in ON_ERROR, case._replace(shows="", end="")) for case in cases}
        self.assertEqual(len(scenarios), len(cases))
        self.assertGreaterEqual(len(cases), _LEAST_CASES)

    def _assert_ends(self, cases: tuple[Case, ...], end: Callable[[Case], str]) -> None:
        wrong = [f"{case.shows}: {found} instead of {case.end}" for case in cases if (found := end(case)) != case.end]
        self.assertEqual(wrong, [], "\n".join(wrong))
