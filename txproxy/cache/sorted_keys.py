"""Keys in order, so that those that begin alike are found without a look at the others."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from sys import getsizeof

_MOST_PER_BLOCK = 512
_FEW_PER_BLOCK = _MOST_PER_BLOCK // 8


class SortedKeys:
    """A sorted list of keys, in blocks: adding and removing cost as much as a block is long, whatever the number.

    It takes some ten bytes for each key, where a tree would take two hundred.
    """

    __slots__ = ("_blocks", "_bounds", "_held_bytes")

    def __init__(self) -> None:
        self._blocks: list[list[bytes]] = [[]]
        self._bounds: list[bytes] = [b""]
        """For each block a lower bound of its keys, above all keys of the block before it."""
        self._held_bytes = getsizeof(self._blocks[0])

    @property
    def footprint_bytes(self) -> int:
        """What it takes of memory, without the keys themselves."""
        return self._held_bytes + getsizeof(self._blocks) + getsizeof(self._bounds)

    def add(self, key: bytes) -> None:
        """Add a key that is not there."""
        place = bisect_right(self._bounds, key) - 1
        block = self._blocks[place]
        before = getsizeof(block)
        insort(block, key)
        self._held_bytes += getsizeof(block) - before
        if len(block) > _MOST_PER_BLOCK:
            half = len(block) // 2
            self._replace(place, place + 1, [block[:half], block[half:]])

    def discard(self, key: bytes) -> None:
        """Remove a key if it is there."""
        place = bisect_right(self._bounds, key) - 1
        block = self._blocks[place]
        at = bisect_left(block, key)
        if at == len(block) or block[at] != key:
            return
        before = getsizeof(block)
        del block[at]
        self._held_bytes += getsizeof(block) - before
        if len(block) < _FEW_PER_BLOCK and len(self._blocks) > 1:
            first = max(0, place - 1)
            pair = self._blocks[first : first + 2]
            if len(pair[0]) + len(pair[1]) < _MOST_PER_BLOCK // 2:
                self._replace(first, first + 2, [pair[0] + pair[1]])

    def beginning(self, prefix: bytes, start: bytes, most: int) -> list[bytes]:
        """Return keys that begin with a prefix, in order.

        :param start: the first that is looked at; ``prefix`` itself for all.
        :param most: how many to return at most.
        """
        found: list[bytes] = []
        place = bisect_right(self._bounds, start) - 1
        at = bisect_left(self._blocks[place], start)
        while place < len(self._blocks) and len(found) < most:
            for key in self._blocks[place][at : at + most - len(found)]:
                if not key.startswith(prefix):
                    return found
                found.append(key)
            place, at = place + 1, 0
        return found

    def _replace(self, first: int, end: int, blocks: list[list[bytes]]) -> None:
        """Put blocks in the place of others that held the same keys."""
        self._held_bytes += sum(map(getsizeof, blocks)) - sum(map(getsizeof, self._blocks[first:end]))
        bounds = [self._bounds[first], *(block[0] for block in blocks[1:])]
        self._blocks[first:end] = blocks
        self._bounds[first:end] = bounds
