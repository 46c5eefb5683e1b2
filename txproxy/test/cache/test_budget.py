"""Room for content that is in memory besides what is stored."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txproxy.cache.budget import Budget, Loan

_BODY = bytes(60)


class LoanTests(SynchronousTestCase):
    """Whose room the readers of one body take."""

    def test_whoBegins(self) -> None:
        """Once, however many read it; who finds it stored takes it out of the room for what is fetched."""
        for lends, left in (
            ([True], (40, 100)),
            ([True, True], (40, 100)),
            ([False], (100, 40)),
            ([False, False], (100, 40)),
            ([True, False], (100, 40)),
            ([True, False, True], (100, 40)),
            ([False, True], (100, 40)),
        ):
            budget = Budget(100, 100)
            loans: list[Loan] = [budget.lend(_BODY, is_fetched=is_fetched) for is_fetched in lends]
            self.assertEqual((budget.left_bytes, budget.left_read_bytes), left, lends)
            for loan in loans:
                loan.end()
            self.assertEqual((budget.left_bytes, budget.left_read_bytes), (100, 100), lends)

    def test_mayLend(self) -> None:
        """What is lent as stored has its room already; what is lent as fetched needs it when others find it stored."""
        for max_read_bytes, is_fetched, may in ((60, True, True), (59, True, False), (59, False, True)):
            budget = Budget(100, max_read_bytes)
            budget.lend(_BODY, is_fetched=is_fetched)
            self.assertIs(budget.may_lend(_BODY), may)
