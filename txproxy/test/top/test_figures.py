"""What happened between two reports."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txproxy.test.top.reports import report
from txproxy.top.figures import compare

CACHE = {"hits": 0, "misses": 0, "expired": 0, "revalidated": 0, "stale": 0, "bypassed": 0}


class FigureTests(SynchronousTestCase):
    """Rates are of the time between two reports, not of the whole run."""

    def test_rates(self) -> None:
        """Requests, their statuses, and those of each backend."""
        before = report(100, {"outcomes|200|ok": 1000, "pool|reused|api|a:1": 500})
        numbers = {
            "outcomes|200|ok": 1060,
            "outcomes|502|connect-failed": 20,
            "pool|reused|api|a:1": 530,
            "pool|created|api|a:1": 10,
        }
        found = compare(before, report(102, numbers))
        self.assertEqual((found.rate, dict(found.statuses)), (40, {"2xx": 0.75, "5xx": 0.25}))
        self.assertEqual([each.rate for each in found.backends], [20, 0, 0])
        self.assertAlmostEqual(found.workers[0].cpu, 0.1)

    def test_percentiles(self) -> None:
        """From what the buckets of all routes have gained."""
        before = report(100, {"route|seconds|x|9": 1000})
        found = compare(
            before,
            report(
                101,
                {"route|seconds|x|9": 1000, "route|seconds|x|1": 98, "route|seconds|y|7": 2, "route|seconds|x|x": 9},
            ),
        )
        self.assertTrue(0.0005 < found.p50_s <= 0.001, found.p50_s)
        self.assertTrue(0.05 < found.p99_s <= 0.1, found.p99_s)

    def test_theCache(self) -> None:
        """The part that it has answered; nothing if nobody asked, or if there is none."""
        before = report(100, cache=CACHE)
        found = compare(before, report(101, cache={**CACHE, "hits": 6, "stale": 1, "misses": 2, "bypassed": 1}))
        self.assertEqual(found.cache_ratio, 0.7)
        self.assertIsNone(compare(before, report(101, cache=CACHE)).cache_ratio)
        self.assertIsNone(compare(before, report(101)).cache_ratio)

    def test_theFirstReport(self) -> None:
        """Nothing has happened: what was before is not known. So it is after another start, and if time stood still."""
        for before in (None, report(99, started_at=1.0), report(100), report(101)):
            found = compare(before, report(100, {"outcomes|200|ok": 1000}))
            self.assertEqual((found.rate, found.p99_s), (0, 0), before)
            self.assertEqual(len(found.backends), 3)

    def test_aRefusedReload(self) -> None:
        """It is told, and forgotten after a good one."""
        for ok in (True, False):
            config = {
                "path": "",
                "hash": "abc",
                "loaded_at": 0.0,
                "last_reload": {"at": 1, "ok": ok, "errors": [], "summary": ""},
            }
            self.assertEqual(compare(None, report(100, config=config)).is_reload_refused, not ok)
