"""A ring of hashes."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txproxy.policy.candidate import Candidate
from txproxy.policy.hash_ring import HashRing, position_of
from txproxy.test.policy.picking import Candidates, many

_KEYS = [position_of(b"key %d" % number) for number in range(1000)]


def _ring(candidates: Candidates) -> HashRing:
    ring = HashRing()
    ring.place(candidates)
    return ring


def _owners(ring: HashRing) -> list[str]:
    return [next(ring.order(key)).name for key in _KEYS]


class HashRingTests(SynchronousTestCase):
    """Consistent hashing."""

    def test_sharesAreEven(self) -> None:
        """Of ten equal ones none has more than a quarter above or below its tenth of many keys."""
        keys = [position_of(b"%d" % number) for number in range(20000)]
        ring = _ring(many(10))
        found = Counter(next(ring.order(key)).name for key in keys)
        self.assertEqual(len(found), 10)
        for count in found.values():
            self.assertApproximates(count, 2000, 500)

    def test_theSameInEveryProcess(self) -> None:
        """Whatever the seed of the process's own hashes, and in whatever order backends were met."""
        expected = "10.0.0.3:80 10.0.0.1:80 10.0.0.1:80 10.0.0.4:80"
        self.assertEqual(position_of(b"key"), position_of(b"key"))
        candidates = many(5)
        late = _ring(candidates[3:])
        late.place(candidates[::-1])
        self.assertEqual(_owners(late), _owners(_ring(candidates)))
        golden = [next(_ring(candidates).order(position_of(key))).name for key in (b"a", b"b", b"c", b"d")]
        self.assertEqual(" ".join(golden), expected)

    def test_whoGoesAndComesBack(self) -> None:
        """Only its keys move; when it is back, all are where they were."""
        candidates = many(8)
        ring = _ring(candidates)
        before = _owners(ring)
        for gone in candidates:
            ring.place(tuple(each for each in candidates if each is not gone))
            for old, new in zip(before, _owners(ring), strict=True):
                self.assertTrue(old == new or old == gone.name, (old, new))
            ring.place(candidates)
            self.assertEqual(_owners(ring), before)

    def test_theHeaviestGoes(self) -> None:
        """The number of another's points does not depend on it."""
        candidates = (Candidate("big", 30), *many(4))
        before, after = _owners(_ring(candidates)), _owners(_ring(candidates[1:]))
        self.assertEqual({old for old, new in zip(before, after, strict=True) if old != new}, {"big"})

    def test_aNewOne(self) -> None:
        """It takes keys from all others, and none moves between those."""
        candidates = many(6)
        ring = _ring(candidates[:5])
        before = _owners(ring)
        ring.place(candidates)
        moved = [(old, new) for old, new in zip(before, _owners(ring), strict=True) if old != new]
        self.assertEqual({new for _, new in moved}, {candidates[5].name})
        self.assertEqual(len({old for old, _ in moved}), 5)

    def test_slowStart(self) -> None:
        """As its weight grows it takes more and more keys, and gives none back."""
        candidates = many(4)
        candidates[0].weight = 0.1
        ring = _ring(candidates)
        mine: set[int] = set()
        for step in range(1, 11):
            candidates[0].weight = step / 10
            ring.place((*candidates,))
            now_mine = {index for index, owner in enumerate(_owners(ring)) if owner == candidates[0].name}
            self.assertLessEqual(mine, now_mine)
            mine = now_mine
        self.assertEqual(_owners(ring), _owners(_ring(many(4))))

    def test_weights(self) -> None:
        """Shares follow weights; the lightest of very different ones is there, too."""
        ring = _ring((Candidate("a", 8), Candidate("b", 1), Candidate("c", 1)))
        found = Counter(_owners(ring))
        self.assertApproximates(found["a"], 800, 60)
        ring = _ring((Candidate("a", 65535), Candidate("b", 1)))
        self.assertEqual(len(list(ring.order(0))), 2)

    def test_hugeWeightsMakeNoHugeRing(self) -> None:
        """Ten of 65535 each are ten equal ones; a thousand are served, too."""
        for count in (10, 1000):
            candidates = many(count, 65535)
            ring = _ring(candidates)
            self.assertLess(ring.size, 200_000)
            self.assertEqual(set(ring.order(12345)), set(candidates))
        self.assertGreater(len(set(_owners(_ring(many(10, 65535))))), 9)

    def test_whoGoesForGoodIsForgotten(self) -> None:
        """Backends that come and go under ever new names do not make the ring grow without end."""
        ring = HashRing()
        for number in range(200):
            ring.place((Candidate(f"new {number}"), Candidate("stays")))
        self.assertLess(ring.size, 16 * 512)

    def test_fewOfManyAreLeft(self) -> None:
        """Nearly all are down: keys still go to those who are not, each for good."""
        candidates = many(64)
        ring = _ring(candidates)
        ring.place(candidates[:3])
        before = _owners(ring)
        self.assertEqual(set(before), {each.name for each in candidates[:3]})
        self.assertEqual(_owners(_ring(candidates[:3])), before)

    def test_anOldOrderGoesOn(self) -> None:
        """A request that is retried after the ring has changed meets the candidates of its own time."""
        candidates = many(5)
        ring = _ring(candidates)
        order = ring.order(_KEYS[0])
        expected = list(ring.order(_KEYS[0]))
        found = [next(order)]
        ring.place(many(300)[200:])
        self.assertEqual(found + list(order), expected)

    @settings(max_examples=30, deadline=None)
    @given(st.lists(st.floats(0.1, 9), min_size=2, max_size=8), st.data())
    def test_onlyKeysOfTheRemovedMove(self, weights: list[float], data: st.DataObject) -> None:
        """Whatever the weights, and whether the ring saw it go or never knew it."""
        candidates = tuple(Candidate(f"b{number}", weight) for number, weight in enumerate(weights))
        gone = data.draw(st.sampled_from(candidates))
        left = tuple(each for each in candidates if each is not gone)
        ring = _ring(candidates)
        before = _owners(ring)
        ring.place(left)
        after = _owners(ring)
        self.assertEqual({old for old, new in zip(before, after, strict=True) if old != new} - {gone.name}, set())
        self.assertEqual(after, _owners(_ring(left)))
