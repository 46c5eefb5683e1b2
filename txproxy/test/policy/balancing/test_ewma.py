"""To whoever answers soonest."""

from __future__ import annotations

from collections import Counter
from heapq import heappop, heappush

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txproxy.policy.balancing.ewma import PeakEwma, expected_s, observe_latency
from txproxy.policy.candidate import Candidate
from txproxy.test.policy.picking import Asker, Candidates, candidates_of


def _seen(candidate: Candidate, latency_s: float, now: float = 100.0) -> None:
    candidate.latency_s, candidate.latency_at = latency_s, now


class LatencyTests(SynchronousTestCase):
    """What is remembered of replies."""

    def setUp(self) -> None:
        self.candidate = Candidate("a")

    def test_theFirstCounts(self) -> None:
        """It is taken as it is; one that took no time is not taken for none."""
        observe_latency(self.candidate, 0.2, 5.0)
        self.assertEqual((self.candidate.latency_s, self.candidate.latency_at), (0.2, 5.0))
        other = Candidate("b")
        observe_latency(other, 0.0, 5.0)
        self.assertGreater(other.latency_s, 0)

    def test_aPeakCountsAtOnce(self) -> None:
        """A slower reply is not averaged away."""
        observe_latency(self.candidate, 0.01, 1.0)
        observe_latency(self.candidate, 2.0, 1.1)
        self.assertEqual(self.candidate.latency_s, 2.0)

    def test_quickOnesPullItDown(self) -> None:
        """Little by little: after 10 s of quick replies a third of the peak is left, however many there were."""
        for replies in (1, 10, 1000):
            _seen(self.candidate, 1.0, 0.0)
            for number in range(1, replies + 1):
                observe_latency(self.candidate, 0.0, 10.0 * number / replies)
            self.assertApproximates(self.candidate.latency_s, 0.368, 0.001)

    def test_theClockMayStandStill(self) -> None:
        """Replies of the same moment, or of an earlier one, keep the larger latency."""
        _seen(self.candidate, 1.0, 10.0)
        observe_latency(self.candidate, 0.5, 10.0)
        observe_latency(self.candidate, 0.5, 9.0)
        self.assertEqual(self.candidate.latency_s, 1.0)

    @settings(max_examples=100, deadline=None)
    @given(st.lists(st.tuples(st.floats(0, 60), st.floats(0, 100)), min_size=1, max_size=30))
    def test_itStaysWithinWhatWasSeen(self, replies: list[tuple[float, float]]) -> None:
        """Never below the least nor above the most."""
        candidate, now = Candidate("a"), 0.0
        for seconds, pause in replies:
            now += pause
            observe_latency(candidate, seconds, now)
        self.assertLessEqual(candidate.latency_s, max(1e-6, *(seconds for seconds, _ in replies)) * 1.000001)
        self.assertGreaterEqual(candidate.latency_s, min(seconds for seconds, _ in replies))


class ExpectationTests(SynchronousTestCase):
    """What a further request is expected to cost."""

    def setUp(self) -> None:
        self.candidate = Candidate("a", 2)

    def test_latencyTimesWhatIsUnderWay(self) -> None:
        """By the weight."""
        _seen(self.candidate, 0.5, 10.0)
        self.assertEqual(expected_s(self.candidate, 10.0), 0.25)
        self.candidate.active = 3
        self.assertEqual(expected_s(self.candidate, 10.0), 1.0)

    def test_itFadesWhileIdle(self) -> None:
        """One that was slow long ago is worth another try."""
        _seen(self.candidate, 0.5, 10.0)
        self.assertApproximates(expected_s(self.candidate, 20.0), 0.25 * 0.368, 0.001)
        self.assertLess(expected_s(self.candidate, 100.0), 0.0001)

    def test_oneTryOnly(self) -> None:
        """While that try is under way, what is remembered counts in full."""
        _seen(self.candidate, 0.5, 10.0)
        self.candidate.active = 1
        self.assertEqual(expected_s(self.candidate, 100.0), 0.5)

    def test_noReplyYet(self) -> None:
        """Idle: the best; with a request under way: worse than any that has replied."""
        self.assertEqual(expected_s(self.candidate, 10.0), 0.0)
        self.candidate.active = 1
        slow = Candidate("b")
        _seen(slow, 3600.0, 10.0)
        self.assertGreater(expected_s(self.candidate, 10.0), expected_s(slow, 10.0))


class PeakEwmaTests(SynchronousTestCase):
    """The policy ``ewma``."""

    def setUp(self) -> None:
        self.asker = Asker(PeakEwma())

    def test_theQuickerOfTwo(self) -> None:
        """One that answers in half the time gets requests until it has twice as many under way."""
        candidates = candidates_of(1, 1)
        _seen(candidates[0], 0.02)
        _seen(candidates[1], 0.01)
        for _ in range(30):
            self.asker.first(candidates).active += 1
        self.assertEqual([each.active for each in candidates], [10, 20])

    def test_theSlowestGetsNothing(self) -> None:
        """As long as others can take it."""
        candidates = candidates_of(1, 1, 1)
        for candidate, latency in zip(candidates, (0.01, 0.012, 1.0), strict=True):
            _seen(candidate, latency)
        self.assertEqual(set(self.asker.names(candidates, 200)), {"a", "b"})

    def test_aNewOneIsTriedAtOnceButNotFlooded(self) -> None:
        """Of 100 requests before its first reply it gets one."""
        candidates = candidates_of(1, 1, 1, 1)
        for candidate in candidates[:3]:
            _seen(candidate, 0.05)
        for _ in range(100):
            self.asker.first(candidates).active += 1
        self.assertEqual(candidates[3].active, 1)
        pair = (candidates[0], Candidate("new"))
        self.assertEqual(self.asker.first(pair).name, "new")

    def test_oneThatWasSlowIsNotFlooded(self) -> None:
        """Its latency is forgotten after a while; it then gets one request, and not all until the first reply."""
        candidates = candidates_of(1, 1)
        _seen(candidates[0], 0.01, 1000.0)
        _seen(candidates[1], 2.0, 900.0)
        self.asker.now = 1000.0
        for _ in range(50):
            self.asker.first(candidates).active += 1
        self.assertEqual(candidates[1].active, 1)

    def test_allNew(self) -> None:
        """A cluster that has just started shares out evenly."""
        candidates = candidates_of(1, 1, 1, 1)
        for _ in range(40):
            self.asker.first(candidates).active += 1
        self.assertLessEqual(max(each.active for each in candidates) - min(each.active for each in candidates), 4)

    def served(self, latencies_s: tuple[float, ...], candidates: Candidates, requests: int) -> Counter[str]:
        """Return who serves the requests, one each millisecond, if each takes its time for every reply."""
        served: Counter[str] = Counter()
        under_way: list[tuple[float, int, float]] = []
        for number in range(requests):
            now = self.asker.now = 100.0 + number / 1000
            while under_way and under_way[0][0] <= now:
                _, index, began = heappop(under_way)
                candidates[index].active -= 1
                PeakEwma.observe_latency(candidates[index], now - began, now)
            index = candidates.index(self.asker.first(candidates))
            candidates[index].active += 1
            served[candidates[index].name] += 1
            heappush(under_way, (now + latencies_s[index], index, now))
        return served

    def test_aSlowOneIsAvoided(self) -> None:
        """Of four backends one is ten times as slow: it gets less than a twentieth, the others share the rest."""
        served = self.served((0.01, 0.01, 0.01, 0.1), candidates_of(1, 1, 1, 1), 5000)
        self.assertLess(served["d"], 250)
        for name in "abc":
            self.assertGreater(served[name], 1000)

    def test_nobodyStarves(self) -> None:
        """The slow one is tried now and then, so that its recovery is seen."""
        served = self.served((0.01, 0.01, 0.03), candidates_of(1, 1, 1), 60000)
        self.assertGreater(served["c"], 10)
