"""A ring of hashes, on which each name has its points: consistent hashing."""

from __future__ import annotations

import struct
from bisect import bisect
from collections.abc import Iterator
from hashlib import blake2b
from zlib import crc32

from txproxy.policy.candidate import Candidate

_POINTS = 256.0
"""Points of a candidate of weight 1: its keys are its share to about 6 %."""
_MAX_POINTS = 1 << 16
"""About as many points a ring has at most, whatever the weights: 65535 each would make millions."""
_MOST_STALE = 8
"""A ring is made anew when fewer than one point in so many counts."""
_FURTHER_POINTS = 256
"""How far the ring is searched for a second candidate and those after it."""

# A point is one number, for numbers are what sorts fastest: its place on the ring, whose it is, and which of theirs.
_BITS = 20
_MASK = (1 << _BITS) - 1
_SHIFT = 2 * _BITS

_ALL_BITS = (1 << 64) - 1

_DIGEST_BYTES = 64
_unpack = struct.Struct(">8Q").unpack
_PER_DIGEST = 8


class HashRing:
    """Leads each key to a candidate: the one whose point comes next on the ring.

    The points of a candidate depend on nothing but its name, and their number on nothing but its weight, so that all
    processes agree, and when one goes only its keys move. Points of those who are absent, or weigh less for a while,
    stay on the ring and are passed over: who comes back costs nothing.

    Only where the weights would ask for more than 65536 points in all do the candidates have fewer of them each.
    """

    def __init__(self) -> None:
        self._forget()

    def _forget(self) -> None:
        self._points: list[int] = []
        self._places: dict[str, int] = {}
        self._weights: list[float] = []
        """The largest that each was seen with."""
        self._made: list[int] = []
        """How many points of each are on the ring."""
        self._counting: list[int] = []
        """How many of them count now."""
        self._candidates: tuple[Candidate, ...] = ()
        self._present: list[Candidate | None] = []

    @property
    def size(self) -> int:
        """How many points it has."""
        return len(self._points)

    def place(self, candidates: tuple[Candidate, ...]) -> None:
        """Take note who is present, and how much each weighs."""
        places, weights = self._places, self._weights
        for candidate in candidates:
            place = places.setdefault(candidate.name, len(places))
            if place == len(weights):
                weights.append(candidate.weight)
                self._made.append(0)
            elif weights[place] < candidate.weight:
                weights[place] = candidate.weight
        points_per_weight = _POINTS
        total = sum(weights)
        while total * points_per_weight > _MAX_POINTS:
            # By halves, so that few changes of a large cluster change it.
            points_per_weight /= 2
        # Made anew, not changed: an iterator over the candidates of an earlier request has the old ones.
        counting, new = [0] * len(places), []
        present: list[Candidate | None] = [None] * len(places)
        for candidate in candidates:
            place = places[candidate.name]
            count = counting[place] = max(1, round(candidate.weight * points_per_weight))
            present[place] = candidate
            if count > self._made[place]:
                # A weight that grows does so step by step, and not every step shall make new ones.
                made = 1 << (count - 1).bit_length() if self._made[place] else count
                new += _points(candidate.name, place, self._made[place], made)
                self._made[place] = made
        if new:
            self._points = sorted(self._points + new)
        self._candidates, self._counting, self._present = candidates, counting, present
        if sum(counting) * _MOST_STALE < len(self._points):
            self._forget()
            self.place(candidates)

    def order(self, position: int) -> Iterator[Candidate]:
        """Yield the candidates that were placed, in the order in which a key leads to them.

        :param position: of the key; see ``position_of``.
        """
        points, counting, present, candidates = self._points, self._counting, self._present, self._candidates
        size = len(points)
        at = bisect(points, position << _SHIFT) % size
        while True:
            point = points[at]
            place = point >> _BITS & _MASK
            if point & _MASK < counting[place]:
                break
            at = at + 1 if at + 1 < size else 0
        first = present[place]
        assert first is not None
        yield first
        left = [candidate for candidate in candidates if candidate is not first]
        for step in range(min(_FURTHER_POINTS, size)):
            if not left:
                return
            point = points[(at + step) % size]
            place = point >> _BITS & _MASK
            candidate = present[place]
            if point & _MASK < counting[place] and candidate in left:
                left.remove(candidate)
                yield candidate
        start = position % len(left) if left else 0
        yield from left[start:]
        yield from left[:start]


def position_of(key: bytes) -> int:
    """Return the place of a key on the ring: the same in every process.

    A checksum, whose bits are then mixed (the last steps of SplitMix64): a third of the time of a cryptographic hash.
    Whoever can choose keys can choose their backend anyhow, by trying.
    """
    mixed = crc32(key) * 0x9E3779B97F4A7C15 & _ALL_BITS
    mixed = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9 & _ALL_BITS
    return mixed ^ mixed >> 31


def _points(name: str, place: int, start: int, end: int) -> list[int]:
    """Return the points of a name from one rank up to another."""
    seed = name.encode()
    found: list[int] = []
    first_block = start // _PER_DIGEST
    for block in range(first_block, -(-end // _PER_DIGEST)):
        found += _unpack(blake2b(b"%b\0%d" % (seed, block), digest_size=_DIGEST_BYTES).digest())
    offset = start - first_block * _PER_DIGEST
    mine = found[offset : offset + end - start]
    return [value << _SHIFT | place << _BITS | rank for rank, value in enumerate(mine, start)]
