"""How soon a worker that has died is replaced."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txproxy.supervisor.backoff import LASTING_S, Backoff


class BackoffTests(SynchronousTestCase):
    """Deaths in a row."""

    def test_storm(self) -> None:
        """At once, then 0.5 s and double that with each early death, up to 30 s, however long it goes on."""
        backoff = Backoff()
        delays = [backoff.died(1.0) for _ in range(9)]
        self.assertEqual(delays, [0, 0.5, 1, 2, 4, 8, 16, 30, 30])
        for _ in range(10_000):
            self.assertEqual(backoff.died(0.0), 30)

    def test_whoHasLivedIsReplacedAtOnce(self) -> None:
        """A worker that has served for a while ends the storm."""
        backoff = Backoff()
        for _ in range(5):
            backoff.died(LASTING_S - 0.1)
        self.assertEqual([backoff.died(LASTING_S), backoff.died(0)], [0, 0.5])
