"""Tests for :mod:`txproxy.bridge.tunnel`: bytes both ways, ends of either way, and of the whole."""

from __future__ import annotations

import gc
import weakref
from types import SimpleNamespace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.error import ConnectionDone
from twisted.trial.unittest import SynchronousTestCase

from txproxy.bridge import tunnel as tunnel_module
from txproxy.bridge.tunnel import Side, Tunnel, TunnelLimits, TunnelTools
from txproxy.errors import BackendClosed, ClientLeft, IdleTimeout, ProxyError, ShuttingDown, TooOld
from txproxy.policy.deadlines import Deadlines
from txproxy.testing import FakeTransport

MUCH = 1 << 17
"""More bytes than a watermark."""


class Tunnelled:
    """A tunnel with a transport at each end and a clock."""

    def __init__(
        self,
        limits: TunnelLimits | None = None,
        near_early: bytes = b"",
        far_early: bytes = b"",
        finished: bool = False,
    ) -> None:
        self.now = 100.0
        self.deadlines = Deadlines()
        self.ends: list[ProxyError | None] = []
        self.near, self.far = FakeTransport(None, None), FakeTransport(None, None)
        for transport in (self.near, self.far):
            transport.pauseProducing()
        tools = TunnelTools(lambda: self.now, self.deadlines)
        self.tunnel = Tunnel(limits or TunnelLimits(), tools, self.ends.append)
        self.tunnel.open(Side(self.near, near_early, finished), Side(self.far, far_early))
        self.settle()

    def settle(self) -> None:
        while any([self.near.turn(), self.far.turn()]):
            pass

    def says(self, transport: FakeTransport, data: bytes) -> None:
        transport.arriving += data
        self.settle()

    def finishes(self, transport: FakeTransport) -> None:
        transport.peer_finished = True
        self.settle()

    def loses(self, transport: FakeTransport, reason: Any = None) -> None:
        transport.lose(reason)
        self.settle()

    def advance(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            self.now = min(end, self.now + 1)
            for item in self.deadlines.due(self.now):
                item.deadline_passed()  # type: ignore[attr-defined]
            self.settle()

    @property
    def both(self) -> tuple[FakeTransport, FakeTransport]:
        return self.near, self.far


class TunnelTests(SynchronousTestCase):
    """What each side gets, and when."""

    def ended(self, tunnelled: Tunnelled, kind: type[ProxyError] | None) -> None:
        """Check that the end was told once, as it should be, and that nobody is left waiting."""
        self.assertEqual([type(each) if each else None for each in tunnelled.ends], [kind])
        self.assertTrue(all(each.disconnected and each.producer is None for each in tunnelled.both))

    def test_bytesGoBothWays(self) -> None:
        """Each side gets what the other says, and both ways are counted."""
        talk = Tunnelled()
        talk.says(talk.near, b"question")
        talk.says(talk.far, b"answer!")
        self.assertEqual((bytes(talk.far.sent), bytes(talk.near.sent)), (b"question", b"answer!"))
        self.assertEqual((talk.tunnel.near.received, talk.tunnel.far.received), (8, 7))

    def test_bulkInPiecesOfManyLengths(self) -> None:
        """What comes in bulk is spliced, though a unix socket hands it over in reads that are long but not full."""
        begun: list[Any] = []
        self.patch(tunnel_module, "can_splice", lambda source, target: True)
        self.patch(tunnel_module, "Splice", lambda *ends: SimpleNamespace(start=lambda: begun.append(ends)))
        for lengths, is_bulk in (((69312, 61760, 81920, 49152), True), ((81920, 81920, 16384, 81920), False)):
            talk = Tunnelled()
            talk.tunnel.pipes = SimpleNamespace()  # type: ignore[assignment]
            for length in lengths:
                talk.says(talk.far, bytes(length))
            self.assertEqual(len(begun), is_bulk)
            begun.clear()

    def test_whatCameEarlyComesFirst(self) -> None:
        """What either side has said before is passed on before all else, and counted."""
        talk = Tunnelled(near_early=b"early ", far_early=b"greeting ")
        talk.says(talk.near, b"late")
        talk.says(talk.far, b"more")
        self.assertEqual((bytes(talk.far.sent), bytes(talk.near.sent)), (b"early late", b"greeting more"))
        self.assertEqual((talk.tunnel.near.received, talk.tunnel.far.received), (10, 13))

    def test_aClientThatHasFinishedBefore(self) -> None:
        """It has said all: the backend is told so behind it, and its answer comes all the same."""
        talk = Tunnelled(near_early=b"question", finished=True)
        self.assertEqual(bytes(talk.far.sent), b"question")
        self.assertTrue(talk.far.is_shut)
        self.assertFalse(talk.near.is_reading)
        talk.says(talk.far, b"answer")
        talk.finishes(talk.far)
        self.assertEqual(bytes(talk.near.sent), b"answer")
        self.ended(talk, None)

    def test_halfCloseIsKept(self) -> None:
        """Whoever sends no more still gets what the other says, whichever side it is."""
        for first, second in ((0, 1), (1, 0)):
            talk = Tunnelled()
            one, other = talk.both[first], talk.both[second]
            talk.says(one, b"last words")
            talk.finishes(one)
            self.assertTrue(other.is_shut)
            self.assertFalse(one.is_shut or one.disconnected or other.disconnected)
            talk.says(other, b"answer")
            talk.advance(1000)
            talk.says(other, b", at length")
            self.assertEqual(bytes(one.sent), b"answer, at length")
            talk.finishes(other)
            self.assertFalse(one.was_aborted or other.was_aborted)
            self.ended(talk, None)

    def test_theEndComesBehindWhatWaits(self) -> None:
        """A side that reads slowly gets all that was sent before the end, and then the end."""
        talk = Tunnelled()
        talk.far.room = 10
        talk.says(talk.near, b"x" * 1000)
        talk.finishes(talk.near)
        self.assertFalse(talk.far.is_shut)
        talk.finishes(talk.far)
        self.assertEqual(talk.ends, [])
        self.assertTrue(talk.near.disconnected)
        talk.far.room = None
        talk.settle()
        self.assertEqual(len(talk.far.sent), 1000)
        self.ended(talk, None)

    def test_aSlowSidePausesTheOther(self) -> None:
        """No more is read than waits within the watermarks; reading goes on when the slow side does."""
        for first, second in ((0, 1), (1, 0)):
            talk = Tunnelled()
            fast, slow = talk.both[first], talk.both[second]
            slow.room = 0
            talk.says(fast, b"x" * (3 * MUCH))
            self.assertFalse(fast.is_reading)
            self.assertLess(slow.queued_bytes, 2 * MUCH)
            talk.says(slow, b"the other way is open")
            self.assertEqual(bytes(fast.sent), b"the other way is open")
            slow.room = None
            talk.settle()
            self.assertEqual(len(slow.sent), 3 * MUCH)
            self.assertTrue(fast.is_reading)
            talk.tunnel.cut(ShuttingDown())
            talk.settle()

    def test_aSideThatHasFinishedIsNotReadOn(self) -> None:
        """A slow side that catches up does not have the other read beyond its end."""
        talk = Tunnelled()
        talk.far.room = 0
        talk.says(talk.near, b"x" * 70000)
        talk.near.is_reading = True  # The end was on its way when reading was paused.
        talk.finishes(talk.near)
        talk.far.room = None
        talk.settle()
        self.assertFalse(talk.near.is_reading)
        self.assertEqual(len(talk.far.sent), 70000)
        self.assertTrue(talk.far.is_shut)
        talk.finishes(talk.far)
        self.ended(talk, None)

    def test_aLostSideResetsTheOther(self) -> None:
        """The other must not take what it has for the whole; the end says who was lost."""
        for index, kind in enumerate((ClientLeft, BackendClosed)):
            for has_finished in (False, True):
                talk = Tunnelled()
                lost, other = talk.both[index], talk.both[1 - index]
                talk.says(other, b"some")
                if has_finished:
                    talk.finishes(lost)
                talk.loses(lost)
                self.assertTrue(other.was_aborted)
                self.ended(talk, kind)

    def test_lostBeforeItHadEverything(self) -> None:
        """Both have said all, but the client has left before it got it: that is no good end."""
        talk = Tunnelled()
        talk.near.room = 0
        talk.says(talk.far, b"answer")
        talk.finishes(talk.far)
        talk.finishes(talk.near)
        talk.loses(talk.near)
        self.ended(talk, ClientLeft)

    def test_aSideThatKnowsNoHalfClose(self) -> None:
        """Whoever is gone in order, without having said that it sends no more, is done: the other gets what waits."""
        talk = Tunnelled()
        talk.far.room = 0
        talk.says(talk.near, b"all of it")
        talk.loses(talk.near, ConnectionDone())
        self.assertEqual(talk.ends, [])
        talk.far.room = None
        talk.settle()
        self.assertEqual(bytes(talk.far.sent), b"all of it")
        self.assertFalse(talk.far.was_aborted)
        self.ended(talk, None)

    def test_cut(self) -> None:
        """Both sides see a reset, whatever waits, and the first reason is the one that counts."""
        talk = Tunnelled()
        talk.far.room = 0
        talk.says(talk.near, b"waits")
        talk.tunnel.cut(ShuttingDown())
        talk.tunnel.cut(TooOld())
        talk.settle()
        self.assertTrue(talk.near.was_aborted and talk.far.was_aborted)
        self.ended(talk, ShuttingDown)

    def test_slowReaderOfASplice(self) -> None:
        """Who reads slowly what waits in a pipe is not idle while any of it is read."""
        talk = Tunnelled(TunnelLimits(idle_s=10))
        talk.tunnel.near._splice = SimpleNamespace(held=5)  # type: ignore[assignment]
        talk.tunnel.near.splice_moved(100_000)
        for waiting in range(9, 4, -1):
            talk.far.unread_bytes = lambda waiting=waiting: waiting  # type: ignore[method-assign]
            talk.advance(11)
            self.assertEqual(talk.ends, [])
        talk.advance(11)
        talk.advance(11)
        self.ended(talk, IdleTimeout)

    def test_movedElsewhere(self) -> None:
        """Bytes that went another way are counted, and are signs of life."""
        talk = Tunnelled(TunnelLimits(idle_s=10))
        for _ in range(5):
            talk.advance(9)
            talk.tunnel.near.splice_moved(1000)
        self.assertEqual(talk.tunnel.near.received, 5000)
        talk.advance(11)
        self.ended(talk, IdleTimeout)

    def test_nothingIsKept(self) -> None:
        """When it has ended nothing refers to it, and no cycle is left for the garbage collector."""
        talk = Tunnelled()
        talk.says(talk.near, b"x")
        found = weakref.ref(talk.tunnel)
        gc.disable()
        self.addCleanup(gc.enable)
        talk.finishes(talk.near)
        talk.finishes(talk.far)
        del talk.tunnel
        talk.near.protocol = talk.far.protocol = None
        self.assertIsNone(found())


class TunnelTimeTests(SynchronousTestCase):
    """How long a tunnel lasts."""

    def test_idle(self) -> None:
        """A tunnel through which nothing goes is cut; a byte either way gives it all of its time again."""
        talk = Tunnelled(TunnelLimits(idle_s=100))
        for transport in (talk.near, talk.far, talk.near):
            talk.advance(99)
            talk.says(transport, b"x")
        talk.advance(99)
        self.assertEqual(talk.ends, [])
        talk.advance(2)
        self.assertEqual([type(each) for each in talk.ends], [IdleTimeout])
        self.assertTrue(talk.near.was_aborted and talk.far.was_aborted)

    def test_oneWhoReadsSlowlyIsNotIdle(self) -> None:
        """While a side that has too much reads on, be it from what the kernel holds, it is not idle; then it is."""
        talk = Tunnelled(TunnelLimits(idle_s=10))
        talk.near.room, talk.near.in_kernel = 0, 4_000_000
        talk.says(talk.far, b"x" * MUCH)
        for _ in range(5):
            talk.advance(9)
            talk.near.in_kernel -= 1000
        self.assertEqual(talk.ends, [])
        talk.advance(21)
        self.assertEqual([type(each) for each in talk.ends], [IdleTimeout])

    def test_oneWhoHasCaughtUpMayBeIdle(self) -> None:
        """That a side once had too much gives it no more time later."""
        talk = Tunnelled(TunnelLimits(idle_s=10))
        talk.near.room = 0
        talk.says(talk.far, b"x" * MUCH)
        talk.near.room = None
        talk.settle()
        talk.advance(11)
        self.assertEqual([type(each) for each in talk.ends], [IdleTimeout])

    def test_anEndIsASignOfLife(self) -> None:
        """The other side has all of its time from then on."""
        talk = Tunnelled(TunnelLimits(idle_s=10))
        talk.advance(9)
        talk.finishes(talk.near)
        talk.advance(9)
        self.assertEqual(talk.ends, [])
        talk.advance(2)
        self.assertEqual([type(each) for each in talk.ends], [IdleTimeout])

    def test_age(self) -> None:
        """However much goes through it, it lasts no longer than it may."""
        talk = Tunnelled(TunnelLimits(idle_s=10, max_s=200))
        for _ in range(40):
            talk.says(talk.near, b"x")
            talk.advance(4.9)
        self.assertEqual(talk.ends, [])
        talk.says(talk.near, b"x")
        talk.advance(5)
        self.assertEqual([type(each) for each in talk.ends], [TooOld])

    def test_manyThatAreShortLeaveNothingBehind(self) -> None:
        """The wheel does not remember each of them for the hour that it might have been idle."""
        deadlines = Deadlines()
        tools = TunnelTools(lambda: 0.0, deadlines)
        for _ in range(10):
            near, far = FakeTransport(None, None), FakeTransport(None, None)
            tunnel = Tunnel(TunnelLimits(), tools, lambda error: None)
            tunnel.open(Side(near), Side(far))
            tunnel.cut(ShuttingDown())
            near.turn()
            far.turn()
        self.assertEqual(list(deadlines.due(61.0)), [])
        self.assertEqual(len(deadlines), 0)


_SIDES = st.integers(0, 1)
_ACTS = st.one_of(
    st.tuples(st.just("says"), _SIDES, st.integers(1, 200_000)),
    st.tuples(st.just("room"), _SIDES, st.sampled_from([0, 10, 70_000, 300_000])),
    st.tuples(st.just("reads on"), _SIDES, st.just(0)),
    st.tuples(st.just("finishes"), _SIDES, st.just(0)),
    st.tuples(st.just("is lost"), _SIDES, st.sampled_from([0, 0, 1])),
    st.tuples(st.just("waits"), _SIDES, st.integers(1, 40)),
)


class TunnelLaws(SynchronousTestCase):
    """What holds whatever the two sides do."""

    @settings(max_examples=200, deadline=None)
    @given(st.lists(_ACTS, max_size=25), st.booleans())
    def test_laws(self, acts: list[tuple[str, int, int]], finished: bool) -> None:
        """Each side gets what the other has said, in order, nothing else, and all of it where the end is a good one.

        No more waits than may, the end is told once, when both sides are gone, and it comes in any case.
        """
        talk = Tunnelled(TunnelLimits(idle_s=30), near_early=b"early", finished=finished)
        said = [bytearray(b"early"), bytearray()]
        # Whoever is gone in order wants no more: what is said to it from then on is lost.
        left = any(act == "is lost" and number for act, _, number in acts)
        for act, index, number in acts:
            side = talk.both[index]
            if act == "says" and not side.peer_finished and not (finished and index == 0):
                data = bytes([number % 251]) * number
                said[index] += data
                talk.says(side, data)
            elif act == "room":
                side.room = number
            elif act == "reads on":
                side.room = None
                talk.settle()
            elif act == "finishes" and not (finished and index == 0):
                talk.finishes(side)
            elif act == "is lost":
                talk.loses(side, ConnectionDone() if number else None)
            elif act == "waits":
                talk.advance(number)
            self._judge(talk, said, left)
        for side in talk.both:
            side.room = None
        talk.settle()
        talk.advance(65)
        self._judge(talk, said, left)
        self.assertEqual(len(talk.ends), 1)
        self.assertTrue(all(side.disconnected and side.producer is None for side in talk.both))

    def _judge(self, talk: Tunnelled, said: list[bytearray], left: bool) -> None:
        for index, side in enumerate(talk.both):
            got, whole = bytes(side.sent), bytes(said[1 - index])
            self.assertTrue(whole.startswith(got))
            self.assertLessEqual(side.queued_bytes, 1 << 17)
            if talk.ends == [None] and not left:
                self.assertEqual(got, whole)
        self.assertLessEqual(len(talk.ends), all(side.disconnected for side in talk.both))
