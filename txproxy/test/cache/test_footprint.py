"""True sizes of objects."""

from __future__ import annotations

from sys import getsizeof

from twisted.trial.unittest import SynchronousTestCase

from txproxy.cache.footprint import allocated_bytes, deep_bytes, shrink_set
from txproxy.policy.caching.freshness import Freshness


class _Record:
    __slots__ = ("a", "b")

    a: float


class FootprintTests(SynchronousTestCase):
    """What is counted, and what others have too."""

    def test_anObjectTakesWhatTheAllocatorGives(self) -> None:
        """Steps of 16 bytes; above 512 bytes, 8 more that the C library keeps beside it."""
        for length, expected in ((0, 48), (15, 48), (16, 64), (479, 512), (480, 528), (487, 528), (488, 544)):
            value = bytes(length)
            self.assertEqual(getsizeof(value), 33 + length)
            self.assertEqual(allocated_bytes(value), expected, length)

    def test_sharedObjectsCostNothing(self) -> None:
        """Those that CPython has one of."""
        for value in (None, True, False, 0, 255, 256, -5, (), b""):
            self.assertEqual(deep_bytes(value), 0, value)
        for value in (-6, 257):
            self.assertEqual(deep_bytes(value), allocated_bytes(value))

    def test_valuesAreCountedWithTheirParts(self) -> None:
        """Containers, records, numbers."""
        text, number, moment = b"0123456789", 1000, 0.5
        text_bytes, number_bytes, moment_bytes = map(allocated_bytes, (text, number, moment))
        record = _Record()
        record.a = moment  # And no b.
        for value, parts_bytes in (
            (number, 0),
            (moment, 0),
            (text, 0),
            ("text", 0),
            ([text, number], text_bytes + number_bytes),
            ((text, None), text_bytes),
            ((text, (text,)), 2 * text_bytes + allocated_bytes((text,))),
            ({number: text}, text_bytes + number_bytes),
            (frozenset((number,)), number_bytes),
            (record, moment_bytes),
            (Freshness(1000.5, 0.5, 7), 2 * moment_bytes),
        ):
            self.assertEqual(deep_bytes(value), allocated_bytes(value) + parts_bytes, value)

    def test_aSetThatFits(self) -> None:
        """It holds the same, and takes no more than one that was made for it."""
        members = set(range(1000))
        for number in range(3, 1000):
            members.discard(number)
        before = getsizeof(members)
        same = members
        self.assertEqual(before + shrink_set(members), getsizeof({0, 1, 2}))
        self.assertEqual((members, getsizeof(members)), ({0, 1, 2}, getsizeof({0, 1, 2})))
        self.assertIs(same, members)

    def test_theDepthIsBounded(self) -> None:
        """What is nested without end costs a bounded look."""
        endless: list[object] = []
        endless.append(endless)
        self.assertEqual(deep_bytes(endless), 5 * allocated_bytes(endless))
        self.assertEqual(deep_bytes([[[1000]]], 1), allocated_bytes([[[1000]]]) + allocated_bytes([[1000]]))
