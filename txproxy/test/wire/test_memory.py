"""What is remembered, and what is not."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txproxy.wire.memory import Memory


class MemoryTests(SynchronousTestCase):
    """What repeats is remembered; what never repeats costs no memory, and pushes nothing out."""

    def test_theSecondTimeCounts(self) -> None:
        """A result is kept when its key comes again."""
        memory: Memory[bytes, int] = Memory(4)
        memory.learn(b"a", 1)
        self.assertIsNone(memory.recall(b"a"))
        memory.learn(b"a", 1)
        self.assertEqual(memory.recall(b"a"), 1)
        self.assertIsNone(memory.recall(b"b"))

    def test_itIsBounded(self) -> None:
        """There are never more results than allowed, and what comes last is always there."""
        memory: Memory[int, int] = Memory(4)
        for number in range(20):
            memory.learn(number, number)
            memory.learn(number, number)
            self.assertEqual(memory.recall(number), number)
            self.assertLessEqual(len(memory), 4)
        memory.forget()
        self.assertEqual(len(memory), 0)

    def test_whatNeverRepeatsPushesNothingOut(self) -> None:
        """However many keys come once, those that came twice stay."""
        memory: Memory[int, int] = Memory(4)
        memory.learn(-5, 1)
        memory.learn(-5, 1)
        for number in range(10_000):
            memory.learn(number, number)
        self.assertEqual(memory.recall(-5), 1)
        self.assertEqual(len(memory), 1)

    def test_onesAreCountedInABoundedSet(self) -> None:
        """What came once is forgotten too when there is too much of it."""
        seen: set[int] = set()
        memory: Memory[int, int] = Memory(4, seen=seen)
        most = 0
        for number in range(10_000):
            memory.learn(number, number)
            most = max(most, len(seen))
        self.assertEqual(most, 4096)
        memory.learn(0, 0)
        self.assertIsNone(memory.recall(0))

    def test_memoriesMayShareWhatTheyHaveSeen(self) -> None:
        """What came once to one of them is kept by another at once."""
        seen: set[int] = set()
        Memory[bytes, int](4, seen=seen).learn(b"a", 1)
        memory: Memory[bytes, int] = Memory(4, seen=seen)
        memory.learn(b"a", 2)
        self.assertEqual(memory.recall(b"a"), 2)

    def test_whatIsKnownIsNeverForgotten(self) -> None:
        """It is there from the beginning, and after all else was dropped."""
        known = {-1: 1, -2: 2}
        memory: Memory[int, int] = Memory(4, known=known)
        for number in range(20):
            memory.learn(number, number)
            memory.learn(number, number)
            self.assertEqual((memory.recall(-1), memory.recall(-2)), (1, 2))
        self.assertEqual(known, {-1: 1, -2: 2})
