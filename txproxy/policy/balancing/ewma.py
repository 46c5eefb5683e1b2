"""Peak EWMA: to whoever answers soonest."""

from __future__ import annotations

from math import exp

from txproxy.policy.balancing.lottery import Drawing, Lottery
from txproxy.policy.balancing.policy import Random
from txproxy.policy.candidate import Candidate

_DECAY_S = 10.0
"""Seconds in which what is remembered of a latency falls to 1/e, as in Finagle and Linkerd."""
_LEAST_S = 1e-6
"""Latency of a reply that took no time by the clock: 0 stands for no reply yet."""
_UNKNOWN_S = 1e6
"""Latency of one that is being tried and has not replied: more than that of any other."""


class PeakEwma(Drawing):
    """Draws two by weight and takes the one of which the quicker reply is expected: latency, times what is under way.

    Two and not all of them, as in Finagle: the cost does not grow, and not every request runs to the one that is
    quickest just now and makes it slow. The slower of two is never taken, so the slowest of all gets nothing until it
    recovers or the others are busy.

    A candidate that has not replied yet comes first while nothing is under way there, and last while something is: it
    is tried at once, but with one request. In the same way what is remembered of a latency fades only while a candidate
    is idle: one that was slow is tried again with one request, and not with all that come before its first reply.
    """

    def choose(self, lottery: Lottery, now: float, random: Random) -> Candidate:
        """Return the one of two of which the quicker reply is expected."""
        one, other = lottery.draw_two(random)
        return other if expected_s(other, now) < expected_s(one, now) else one

    @staticmethod
    def observe_latency(candidate: Candidate, seconds: float, now: float) -> None:
        """Take note of how long a reply took; see ``observe_latency``."""
        observe_latency(candidate, seconds, now)


def observe_latency(candidate: Candidate, seconds: float, now: float) -> None:
    """Update a candidate's latency: a slower reply counts in full at once, quicker ones pull it down little by little.

    :param seconds: from the request to the head of its reply.
    :param now: the moment, in seconds.
    """
    seconds = max(seconds, _LEAST_S)
    before = candidate.latency_s
    if seconds < before:
        kept = exp(-max(now - candidate.latency_at, 0.0) / _DECAY_S)
        seconds += (before - seconds) * kept
    candidate.latency_s = seconds
    candidate.latency_at = now


def expected_s(candidate: Candidate, now: float) -> float:
    """Return what a further request costs at a candidate: seconds until its reply, by the weight.

    :param now: the moment, in seconds.
    """
    latency, active = candidate.latency_s, candidate.active
    if active:
        return (latency or _UNKNOWN_S) * (active + 1) / candidate.weight
    if not latency:
        return 0.0
    return latency * exp(-max(now - candidate.latency_at, 0.0) / _DECAY_S) / candidate.weight
