"""The same client, target, field or cookie goes to the same backend."""

from __future__ import annotations

from collections import Counter

from twisted.trial.unittest import SynchronousTestCase

from txproxy.policy.balancing.ring import RingHash, key_function
from txproxy.policy.facts import RequestFacts
from txproxy.test.policy.picking import Asker, candidates_of, facts_of, many


class KeyTests(SynchronousTestCase):
    """What is hashed."""

    def key(self, hash_key: str, facts: RequestFacts) -> bytes:
        return key_function(hash_key)(facts)

    def test_keys(self) -> None:
        """The client's address, the target as it came, a field's value, or a cookie's."""
        facts = facts_of("::1", b"/a%20b?c=d", [(b"X-User", b"u1"), (b"Cookie", b"a=b; sid=s1"), (b"x-user", b"u2")])
        for hash_key, expected in (
            ("client", b"::1"),
            ("uri", b"/a%20b?c=d"),
            ("header:X-USER", b"u1"),
            ("cookie:sid", b"s1"),
        ):
            self.assertEqual(self.key(hash_key, facts), expected)

    def test_withoutIt(self) -> None:
        """A request without the field or cookie, or with an empty one, goes by its client: not all to one backend."""
        for fields in ([], [(b"X-User", b""), (b"Cookie", b"sid=; a=b")]):
            for hash_key in ("header:X-User", "cookie:sid"):
                self.assertEqual(self.key(hash_key, facts_of("192.0.2.7", fields=fields)), b"192.0.2.7")

    def test_nothingToHash(self) -> None:
        """What the configuration refuses is refused here, too."""
        for text in ("", "path", "header:", "cookie", "client:x"):
            self.assertRaises(ValueError, key_function, text)


class RingHashTests(SynchronousTestCase):
    """The policies ``ring_hash`` and ``ip_hash``."""

    def setUp(self) -> None:
        self.asker = Asker(RingHash())

    def test_oneClientOneBackend(self) -> None:
        """Again and again, from whatever it asks for (D7); different clients are spread."""
        candidates = many(3)
        found = set()
        for number in range(50):
            client = f"192.0.2.{number}"
            names = {self.asker.first(candidates, facts_of(client, b"/%d" % each)).name for each in range(5)}
            self.assertEqual(len(names), 1)
            found |= names
        self.assertEqual(len(found), 3)

    def test_removal(self) -> None:
        """1,000 keys on 5 backends, one goes: under 25 % of the keys move, and only its own (B4)."""
        candidates = many(5)
        keys = [facts_of(f"10.1.{number // 256}.{number % 256}") for number in range(1000)]
        before = [self.asker.first(candidates, key) for key in keys]
        for gone in candidates:
            left = tuple(each for each in candidates if each is not gone)
            after = [self.asker.first(left, key) for key in keys]
            moved = [old for old, new in zip(before, after, strict=True) if old is not new]
            self.assertEqual(set(moved), {gone})
            self.assertLess(len(moved), 250)
        self.assertEqual([self.asker.first(candidates, key) for key in keys], before)

    def test_aDeadOnesKeysAreSpread(self) -> None:
        """The second choice of its keys is not always the same backend."""
        candidates = many(5)
        seconds = Counter(
            order[1].name
            for number in range(1000)
            if (order := self.asker.order(candidates, facts_of(f"10.2.3.{number}")))[0] is candidates[0]
        )
        self.assertEqual(set(seconds), {each.name for each in candidates[1:]})

    def test_theSecondChoiceIsWhoServesIfTheFirstGoes(self) -> None:
        """So a retry meets the backend that the client is led to from then on."""
        candidates = many(5)
        for number in range(100):
            facts = facts_of(f"10.2.3.{number}")
            first, second, *_ = self.asker.order(candidates, facts)
            self.assertIs(self.asker.first(tuple(each for each in candidates if each is not first), facts), second)

    def test_weights(self) -> None:
        """Three times the weight, about three times the keys."""
        candidates = candidates_of(3, 1)
        found = Counter(self.asker.first(candidates, facts_of(str(number))).name for number in range(4000))
        self.assertApproximates(found["a"], 3000, 250)
