"""What holds for every balancing policy."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txproxy.config.values import BALANCERS
from txproxy.policy.balancing.catalogue import POLICIES, make_policy
from txproxy.policy.balancing.ewma import PeakEwma
from txproxy.policy.balancing.ring import RingHash
from txproxy.policy.balancing.round_robin import RoundRobin
from txproxy.policy.candidate import Candidate
from txproxy.test.policy.picking import Asker, candidates_of, facts_of, many

_names = st.sampled_from(POLICIES)
_weight = st.sampled_from([1, 1, 1, 2, 3, 7, 0.1, 0.55])
_states = st.lists(st.tuples(_weight, st.integers(0, 5), st.sampled_from([0.0, 0.01, 3.0])), min_size=1, max_size=8)


def _candidates(states: list[tuple[float, int, float]]) -> tuple[Candidate, ...]:
    candidates = candidates_of(*(weight for weight, _, _ in states))
    for candidate, (_, active, latency_s) in zip(candidates, states, strict=True):
        candidate.active, candidate.latency_s, candidate.latency_at = active, latency_s, 99.0
    return candidates


class LawTests(SynchronousTestCase):
    """Every policy of ours, whatever the weights and loads."""

    @settings(max_examples=100, deadline=None)
    @given(_names, _states, st.integers(0, 99))
    def test_eachOnce(self, name: str, states: list[tuple[float, int, float]], seed: int) -> None:
        """A request that tries all meets each candidate exactly once."""
        asker, candidates = Asker(make_policy(name), seed), _candidates(states)
        for _ in range(3):
            order = asker.order(candidates)
            self.assertEqual(sorted(each.name for each in order), [each.name for each in candidates])

    @settings(max_examples=60, deadline=None)
    @given(_names, _states, st.integers(0, 99))
    def test_setsThatChange(self, name: str, states: list[tuple[float, int, float]], seed: int) -> None:
        """Backends come, go and change weight between requests: nobody who is absent is named, nobody missing."""
        chance = Random(seed)
        asker, everyone = Asker(make_policy(name), seed), _candidates(states)
        left_behind = []
        for _ in range(20):
            present = tuple(chance.sample(everyone, chance.randint(1, len(everyone))))
            chance.choice(everyone).weight = chance.choice([0.1, 1, 7, 300])
            left_behind.append(iter(asker.policy(present, facts_of(), asker.now, asker.random)))
            next(left_behind[-1])
            self.assertEqual(set(asker.order(present)), set(present))
        # A retry of an old request goes on with the candidates of its time.
        for order in left_behind:
            names = [each.name for each in order]
            self.assertEqual(len(names), len(set(names)))

    def test_hugeWeights(self) -> None:
        """The largest beside the least: both are named, and the heavy one comes first."""
        for name in POLICIES:
            asker, candidates = Asker(make_policy(name)), candidates_of(0.1, 65535)
            order = asker.order(candidates)
            self.assertEqual([each.name for each in order], ["b", "a"], name)

    def test_oneOnly(self) -> None:
        """A single candidate is always the answer."""
        for name in POLICIES:
            self.assertEqual(Asker(make_policy(name)).names(candidates_of(0.1), 5), "aaaaa", name)

    def test_equalsShareEvenly(self) -> None:
        """Idle backends of one weight: nobody is always first, nobody starves."""
        for name in POLICIES:
            asker, candidates = Asker(make_policy(name)), many(4)
            found = Counter(asker.first(candidates, facts_of(f"10.0.0.{number}")).name for number in range(2000))
            for candidate in candidates:
                self.assertApproximates(found[candidate.name], 500, 130, name)

    def test_requestsThatAreNotAsked(self) -> None:
        """An iterator that nobody takes the first candidate from takes nobody's turn."""
        asker, candidates = Asker(make_policy("round_robin")), candidates_of(1, 1, 1)
        for _ in range(4):
            asker.policy(candidates, facts_of(), 0.0, asker.random)
        self.assertEqual(asker.names(candidates, 3), "abc")

    def test_aDeadOnesShareIsSpread(self) -> None:
        """Not all of its requests go to one neighbour."""
        for name in POLICIES:
            asker, candidates = Asker(make_policy(name)), many(5)
            dead = candidates[0].name
            clients = [facts_of(f"10.0.0.{number}") for number in range(2000)]
            found = Counter(asker.server(candidates, dead, client) for client in clients)
            for candidate in candidates[1:]:
                self.assertApproximates(found[candidate.name], 500, 130, name)

    def test_instancesShareNothing(self) -> None:
        """What happens at one cluster does not show at another."""
        candidates = candidates_of(1, 1, 1)
        one, other = Asker(make_policy("round_robin")), Asker(make_policy("round_robin"))
        self.assertEqual(one.names(candidates, 2) + other.names(candidates, 2), "abab")


class MakePolicyTests(SynchronousTestCase):
    """From a configuration's words to a policy."""

    def test_theNamesAreTheConfigurations(self) -> None:
        """Each name that the configuration takes is served, and no other."""
        self.assertEqual(set(POLICIES), set(BALANCERS))

    def test_ours(self) -> None:
        """weighted_round_robin is another name; ip_hash is ring_hash by client, whatever hash_key says."""
        self.assertIsInstance(make_policy("weighted_round_robin"), RoundRobin)
        self.assertIsInstance(make_policy("ring_hash", "cookie:sid"), RingHash)
        asker, candidates = Asker(make_policy("ip_hash", "uri")), many(9)
        self.assertEqual(len({asker.first(candidates, facts_of("a", b"/%d" % n)) for n in range(20)}), 1)

    def test_whoWantsLatencies(self) -> None:
        """Only ewma is told of them."""
        wants = [name for name in POLICIES if getattr(make_policy(name), "observe_latency", None) is not None]
        self.assertEqual(wants, ["ewma"])
        self.assertIsInstance(make_policy("ewma"), PeakEwma)

    def test_users(self) -> None:
        """A function is called as it is; of a class each cluster has an instance of its own."""

        class Alternating:
            def __init__(self) -> None:
                self.count = 0

            def __call__(self, candidates: Any, *_: Any) -> Any:
                self.count += 1
                return candidates[:: -1 if self.count % 2 else 1]

        functions: dict[str, Any] = {
            "site:last": lambda candidates, *_: candidates[::-1],
            "site:Alternating": Alternating,
        }
        candidates = candidates_of(1, 1)
        self.assertEqual(Asker(make_policy("site:last", "client", functions)).names(candidates, 2), "bb")
        one, other = (Asker(make_policy("site:Alternating", functions=functions)) for _ in range(2))
        self.assertEqual(one.names(candidates, 3) + other.names(candidates, 1), "babb")

    def test_unknown(self) -> None:
        """Neither one of ours nor one of the user's."""
        self.assertRaises(KeyError, make_policy, "best")
