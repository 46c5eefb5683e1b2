"""What a choice of a backend costs: balancing policies by themselves, without a proxy."""

from __future__ import annotations

import time
from collections.abc import Sequence
from random import Random

from bench.proxies import OURS, PROXIES, RunningProxy
from bench.scenario import Bench, Column, Sample, Scenario
from txproxy.policy.balancing.catalogue import POLICIES, make_policy
from txproxy.policy.balancing.policy import Policy
from txproxy.policy.candidate import Candidate
from txproxy.policy.facts import RequestFacts
from txproxy.wire.messages import RequestHead

SIZES = (10, 100, 1000)
LIMIT_US = 2.0
"""What a choice among the fewest may cost."""
PICKS = 4000
REPEATS = 5
NOW = 1000.0

_SAME_AS = {"weighted_round_robin": "round_robin"}
_CASES = tuple((name, "client") for name in POLICIES if name not in _SAME_AS) + tuple(
    ("ring_hash", key) for key in ("uri", "header:X-User", "cookie:user")
)


def candidates_of(count: int, weights: Sequence[float], random: Random) -> tuple[Candidate, ...]:
    """Return busy candidates, each with something under way, so that no policy can take the first that is idle."""
    candidates = tuple(
        Candidate(f"10.0.{number // 256}.{number % 256}:8080", weights[number % len(weights)])
        for number in range(count)
    )
    for candidate in candidates:
        candidate.active = random.randint(1, 8)
        candidate.latency_s = random.uniform(0.001, 0.1)
        candidate.latency_at = NOW - random.uniform(0, 5)
    return candidates


def requests_of(count: int) -> list[RequestFacts]:
    """Return requests of as many clients, with a few fields each."""
    fields = [(b"Host", b"a.example"), (b"User-Agent", b"bench/1.0"), (b"Accept", b"*/*")]

    def head(number: int) -> RequestHead:
        own = [(b"Cookie", b"theme=dark; user=%d" % number), (b"X-User", b"%d" % number)]
        return RequestHead(b"GET", b"/%d" % number, 1, fields + own, {})

    return [
        RequestFacts(head(number), f"10.9.{number // 256}.{number % 256}", "http", "web") for number in range(count)
    ]


def pick_us(
    policy: Policy, candidates: tuple[Candidate, ...], requests: Sequence[RequestFacts], random: Random
) -> float:
    """Return the CPU microseconds until a policy has named its first candidate: the best of several runs."""
    chance = random.random
    for _ in policy(candidates, requests[0], NOW, chance):  # It works out what it keeps for a set of candidates.
        break
    best = float("inf")
    for _ in range(REPEATS):
        began = time.process_time_ns()
        for request in requests:
            for _ in policy(candidates, request, NOW, chance):
                break
        best = min(best, time.process_time_ns() - began)
    return best / len(requests) / 1e3


class Picks(Scenario):
    """The time until each policy has named its first candidate."""

    name = "picks"
    summary = "CPU of choosing among 10, 100 and 1,000 busy backends, by policy and without a proxy"
    main = "worst_10"
    max_rounds = 1
    skips = {proxy.name: "it is txproxy's own policies that are measured" for proxy in PROXIES if proxy.name != OURS}
    columns = tuple(Column(f"worst_{count}", f"slowest of {count:,} µs", 2) for count in SIZES)

    def measure(self, bench: Bench, proxy: RunningProxy, seed: int) -> Sample:
        """Ask each policy, with equal weights and with five different ones."""
        del bench, proxy
        random, requests, sample = Random(seed), requests_of(PICKS), Sample()
        sample.values = {f"worst_{count}": 0.0 for count in SIZES}
        sample.notes.append(f"{'µs per pick of':<38}" + "".join(f"{count:>9,}" for count in SIZES) + "   growth")
        for weights, shown in (((1,), "equal weights"), ((1, 2, 3, 5, 8), "five weights")):
            for policy, key in _CASES:
                name = policy if key == "client" else f"{policy} {key}"
                found = []
                for count in SIZES:
                    candidates = candidates_of(count, weights, random)
                    found.append(pick_us(make_policy(policy, key), candidates, requests, random))
                    sample.values[f"worst_{count}"] = max(sample.values[f"worst_{count}"], found[-1])
                cells = "".join(f"{each:>9.2f}" for each in found)
                sample.notes.append(f"{name:<24}{shown:<14}{cells}   x{found[-1] / found[0]:.1f}")
                if found[0] > LIMIT_US:
                    sample.warnings.append(f"{name}, {shown}: {found[0]:.2f} µs, more than {LIMIT_US:g}")
        return sample
