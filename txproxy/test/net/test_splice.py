"""Splices over real socket pairs, event by event."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Any

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from txproxy.net import pipes, splice, tcp
from txproxy.net.pipes import PipePool
from txproxy.net.splice import Splice, SpliceEnd, can_splice
from txproxy.net.stream import READ_BYTES
from txproxy.test.net.fakes import FakeReactor, FakeSocket, RecordingProducer, RecordingProtocol
from txproxy.test.net.splice_fakes import Rig
from txproxy.test.net.tls_fakes import Wire

_ENDS = SpliceEnd


class RigMixin:
    """Makes rigs, and sees that none keeps a pipe or a descriptor."""

    def setUp(self) -> None:
        self.rigs: list[Rig] = []
        self.descriptors = len(os.listdir("/proc/self/fd"))

    def tearDown(self: Any) -> None:
        for rig in self.rigs:
            rig.close()
        for rig in self.rigs:
            self.assertEqual(rig.pool.in_use, 0)
            rig.pool.close()
        self.assertEqual(len(os.listdir("/proc/self/fd")), self.descriptors)

    def make(self, **settings: Any) -> Rig:
        rig = Rig(**settings)
        self.rigs.append(rig)
        return rig

    def copying(self, **settings: Any) -> Rig:
        """Make a rig that has no pipes."""
        return self.make(pool=PipePool(lambda: 0.0, most=0), **settings)

    def both(self) -> list[Rig]:
        return [self.make(), self.copying()]


class MovingTests(RigMixin, SynchronousTestCase):
    """Bytes, in which order, and how often anybody is woken for them."""

    def test_count(self) -> None:
        """The splice takes what it was told to; what comes behind goes to the protocol again, in one segment or not."""
        body = os.urandom(100000)
        for rig in self.both():
            for cut in (1, 99999, 100000, 100005):
                rig.got, rig.owner.ends = b"", []
                rig.source_protocol.received = b""
                rig.begin(100000)
                message = body + b"GET / HTTP/1.1"
                rig.send(message[:cut])
                rig.send(message[cut:])
                self.assertEqual(rig.read(), body)
                self.assertEqual(rig.source_protocol.received, b"GET / HTTP/1.1")
                self.assertEqual(rig.owner.ends, [_ENDS.ALL_MOVED])
                self.assertIn(rig.source, rig.reactor.readers)
                rig.target.write(b"at once")
                self.assertEqual(rig.reader.recv(100), b"at once")
            self.assertEqual(sum(rig.owner.moved), 400000)

    def test_untilTheEnd(self) -> None:
        """Without a count everything is moved; the protocol learns of the end after the owner, and can go on sending."""
        for rig in (self.make(half_closeable=True), self.copying(half_closeable=True)):
            protocol: Any = rig.source_protocol
            rig.begin()
            rig.send(b"all")
            rig.sender.shutdown(1)
            rig.reactor.settle()
            self.assertEqual((rig.read(), rig.owner.ends, protocol.halves), (b"all", [_ENDS.SOURCE_ENDED], ["read"]))
            rig.source.write(b"answer")
            self.assertEqual(rig.sender.recv(100), b"answer")
            rig.target.loseWriteConnection()
            rig.reactor.settle()
            self.assertEqual(rig.reader.recv(100), b"")

    def test_shortBody(self) -> None:
        """A body that ends too early is an end of the source, and of its connection."""
        rig = self.make()
        moving = rig.begin(1000)
        rig.send(b"half")
        rig.sender.close()
        rig.reactor.settle()
        self.assertEqual((rig.owner.ends, moving.taken, moving.given), ([_ENDS.SOURCE_ENDED], 4, 4))
        self.assertEqual([reason.type for reason in rig.source_protocol.lost], [ConnectionDone])

    def test_queueFirst(self) -> None:
        """What was written before goes before, however much it is."""
        for rig in self.both():
            head = os.urandom(300000)
            rig.target.write(head)
            rig.begin(5)
            rig.send(b"after")
            self.assertNotIn(rig.source, rig.reactor.readers)
            self.assertEqual(rig.read(), head + b"after")
            self.assertEqual(rig.owner.ends, [_ENDS.ALL_MOVED])

    def test_slowTarget(self) -> None:
        """While the target is full the source is not read and nobody is woken; nothing is lost when it goes on."""
        for rig in self.both():
            moving = rig.begin()
            sent = rig.stall()
            self.assertEqual(moving.held > 0, rig.pool.in_use == 1)
            self.assertTrue(rig.target.queued_bytes)
            self.assertGreaterEqual(rig.target.unread_bytes(), rig.target.queued_bytes)
            self.assertEqual((rig.reactor.readers, rig.reactor.writers), ({rig.target}, {rig.target}))
            before = rig.reactor.wake_ups
            for _ in range(50):
                rig.reactor.turn()
            self.assertEqual(rig.reactor.wake_ups, before)
            self.assertEqual(rig.read(), sent)
            self.assertEqual((rig.reactor.readers, rig.reactor.writers), ({rig.source, rig.target}, set()))
            self.assertEqual((sum(rig.owner.moved), rig.pool.in_use, rig.target.queued_bytes), (len(sent), 0, 0))

    def test_idle(self) -> None:
        """A splice with nothing to do wakes nobody and has no pipe."""
        rig = self.make()
        rig.begin()
        for data in (b"", b"x", b"y" * 1000):
            rig.send(data)
            before = rig.reactor.wake_ups
            for _ in range(50):
                rig.reactor.turn()
            self.assertEqual((rig.reactor.wake_ups, rig.pool.in_use), (before, 0))
        self.assertEqual(rig.read(), b"x" + b"y" * 1000)

    def test_wakeUps(self) -> None:
        """Few are woken: once for what comes, twice for each time that the target was full."""
        rig = self.make()
        rig.begin()
        for number in range(100):
            rig.send(b"%03d" % number)
        self.assertEqual((rig.reactor.wake_ups, len(rig.owner.moved)), (100, 100))
        for _ in range(3):
            rig.read()
            before = rig.reactor.wake_ups
            # More than the target's buffer holds, and than the pipe takes.
            rig.sender.send(bytes(100000))
            rig.reactor.settle()
            rig.sender.send(bytes(100000))
            rig.reactor.settle()
            self.assertEqual((rig.pool.in_use, rig.source in rig.reactor.readers), (1, False))
            stalled = rig.reactor.wake_ups
            self.assertLessEqual(stalled - before, 2)
            rig.source.pauseProducing()
            rig.source.resumeProducing()
            rig.reactor.settle()
            self.assertEqual(rig.reactor.wake_ups, stalled)
            rig.read(turns=False)
            rig.reactor.settle()
            self.assertEqual(rig.reactor.wake_ups, stalled + 1)
            rig.target.write(b"at once")
            self.assertEqual((rig.target.queued_bytes, rig.reactor.writers), (0, set()))

    def test_fair(self) -> None:
        """An event moves a bounded number of bytes, whatever waits."""
        self.patch(splice, "EVENT_BYTES", READ_BYTES)
        rig = self.copying()
        rig.target.socket.setsockopt(1, 7, 1 << 18)
        rig.begin()
        rig.sender.send(b"x" * 100000)
        rig.reactor.turn()
        self.assertEqual(rig.owner.moved, [READ_BYTES])
        rig.reactor.turn()
        self.assertEqual(rig.owner.moved[1:], [100000 - READ_BYTES])

    def test_bothWays(self) -> None:
        """A tunnel is two splices; each goes its own way, also while the other waits."""
        rig = self.make()
        rig.begin()
        back = Splice(rig.target, rig.source, rig.owner, rig.pool)
        back.start()
        sent = rig.stall()
        rig.reader.send(b"answer")
        rig.reactor.settle()
        self.assertEqual(rig.sender.recv(100), b"answer")
        self.assertEqual(rig.read(), sent)

    def test_writtenMeanwhile(self) -> None:
        """What is written while a splice runs is neither lost nor put into the middle of a piece."""
        rig = self.make()
        moving = rig.begin()
        rig.send(b"one ")
        rig.target.write(b"two ")
        rig.send(b"three ")
        self.assertEqual(rig.read(), b"one two three ")
        rig.got = b""
        sent = rig.stall()
        # Neither of these lets what is written overtake what is in the pipe.
        rig.target.registerProducer(RecordingProducer(), True)
        rig.target.unregisterProducer()
        taken = moving.taken - len(b"one three ")
        rig.target.write(b"NOW")
        self.assertEqual(rig.target.queued_bytes, moving.held + 3)
        self.assertEqual(rig.read(), sent[:taken] + b"NOW" + sent[taken:])

    def test_refused(self) -> None:
        """Where the system refuses to splice, at the first byte or later, the bytes are copied, in order."""
        real = os.splice
        for number in (errno.EINVAL, errno.ENOSYS, errno.EPERM):
            for works in range(4):
                calls: list[Any] = []

                def refuse(
                    *args: Any, works: int = works, number: int = number, calls: Any = calls, **named: Any
                ) -> int:
                    calls.append(args)
                    if len(calls) > works:
                        raise OSError(number, "no")
                    return real(*args, **named)

                rig = self.make()
                rig.begin()
                patch = self.patch(os, "splice", refuse)
                rig.target.write(b"first ")
                rig.send(b"second ")
                sent = rig.stall()
                self.assertEqual(rig.read(), b"first second " + sent)
                patch.restore()
                self.assertEqual(len(calls), works + 1)

    def test_noPipeForNow(self) -> None:
        """Bytes are copied while all pipes are in use, and spliced again afterwards."""
        pool = PipePool(lambda: 0.0, most=1)
        first, second = self.make(pool=pool), self.make(pool=pool)
        first.begin()
        sent = first.stall()
        second.begin()
        more = second.stall()
        self.assertEqual((pool.in_use, second.read()), (1, more))
        self.assertEqual(first.read(), sent)
        second.got = b""
        more = second.stall()
        self.assertEqual((pool.in_use, second.read()), (1, more))


class ControlTests(RigMixin, SynchronousTestCase):
    """Pausing and stopping."""

    def test_paused(self) -> None:
        """Nothing is read while paused, by whichever name; what is in the pipe is sent all the same."""
        for stop, go in (("pause", "resume"), ("pauseProducing", "resumeProducing")):
            rig = self.make()
            moving = rig.begin()
            valve = moving if stop == "pause" else rig.source
            sent = rig.stall()
            taken = moving.taken
            getattr(valve, stop)()
            self.assertEqual(rig.read(), sent[:taken])
            self.assertEqual((moving.held, rig.pool.in_use), (0, 0))
            self.assertNotIn(rig.source, rig.reactor.readers)
            self.assertEqual(rig.reactor.writers, set())
            getattr(valve, go)()
            rig.reactor.settle()
            self.assertEqual(rig.read(), sent)

    def test_resumedWhileStalled(self) -> None:
        """A source that is resumed while the target is full waits for the target."""
        rig = self.make()
        moving = rig.begin()
        sent = rig.stall()
        held, before = moving.held, rig.reactor.wake_ups
        for _ in range(3):
            rig.source.pauseProducing()
            rig.source.resumeProducing()
            rig.reactor.settle()
        self.assertEqual(rig.reactor.wake_ups, before)
        rig.source.startReading()
        rig.reactor.settle()
        self.assertEqual(rig.reactor.wake_ups, before + 1)
        self.assertEqual((moving.held, rig.source in rig.reactor.readers), (held, False))
        self.assertEqual(rig.read(), sent)

    def test_stopped(self) -> None:
        """Whenever a splice is stopped, no byte is lost or doubled, and the protocol has the rest."""
        states: dict[str, Callable[[Rig, Splice], bytes]] = {
            "new": lambda rig, moving: b"",
            "idle": lambda rig, moving: (rig.send(b"some"), b"some")[1],
            "stalled": lambda rig, moving: rig.stall(),
            "paused": _stall_and_pause,
            "stalled and written to": _stall_and_write,
            "written to": lambda rig, moving: (rig.target.write(b"written"), b"written")[1],
        }
        for name, reach in states.items():
            for rig in self.both():
                moving = rig.begin()
                sent = reach(rig, moving)
                moving.stop()
                moving.stop()
                given = moving.given
                self.assertEqual((rig.pool.in_use, moving.taken - given, sum(rig.owner.moved)), (0, 0, given), name)
                self.assertEqual(rig.source in rig.reactor.readers, name != "paused")
                rig.source.resumeProducing()
                rig.reactor.settle()
                rig.target.write(b"END")
                got = rig.read()
                self.assertEqual(got[-3:], b"END")
                self.assertEqual(got[:-3] + rig.source_protocol.received, sent, name)
                rig.send(b"more")
                self.assertEqual(rig.source_protocol.received[-4:], b"more")
                self.assertEqual((rig.owner.ends, rig.source.splice_out, rig.target.splice_in), ([], None, None))

    def test_pauseOutlastsTheSplice(self) -> None:
        """A source that is paused when the body is complete stays so until it is resumed."""
        rig = self.make()
        rig.begin(4)
        rig.owner.splice_moved = lambda byte_count: rig.source.pauseProducing()  # type: ignore[method-assign]
        rig.sender.send(b"bodynext")
        rig.reactor.settle()
        self.assertEqual((rig.source_protocol.received, rig.owner.ends), (b"", [_ENDS.ALL_MOVED]))
        rig.source.resumeProducing()
        rig.reactor.settle()
        self.assertEqual(rig.source_protocol.received, b"next")

    def test_stoppedByTheOwner(self) -> None:
        """An owner that stops a splice from within hears no more of it; one that begins another gets it."""
        rig = self.make()
        moving = rig.begin(4)
        rig.owner.splice_moved = lambda byte_count: moving.stop()  # type: ignore[method-assign]
        rig.send(b"body")
        self.assertEqual((rig.owner.ends, moving.given), ([], 4))
        rig = self.make()
        rig.begin(4)
        rig.owner.splice_ended = lambda end: (rig.owner.ends.append(end), len(rig.owner.ends) < 3 and rig.begin(4))  # type: ignore
        rig.send(b"bodybodybodynext")
        self.assertEqual((len(rig.owner.ends), rig.source_protocol.received), (3, b"next"))

    def test_producersOfTheTarget(self) -> None:
        """A producer of the target is paused by what is copied into its queue, and may pause the source."""
        rig = self.copying()
        rig.target.registerProducer(rig.source, True)
        rig.begin()
        sent = rig.stall()
        self.assertEqual(rig.read(), sent)


class EndTests(RigMixin, SynchronousTestCase):
    """What becomes of a splice when either side ends, in each state."""

    # What is done; which end is told; whether all that was taken reaches the reader.
    _table: tuple[tuple[str, Callable[[Rig], Any], SpliceEnd, bool], ...] = (
        ("source loses", lambda rig: rig.source.loseConnection(), _ENDS.SOURCE_LOST, True),
        ("source aborts", lambda rig: rig.source.abortConnection(), _ENDS.SOURCE_LOST, True),
        ("source's peer closes", lambda rig: rig.sender.close(), _ENDS.SOURCE_ENDED, True),
        ("target loses", lambda rig: rig.target.loseConnection(), _ENDS.TARGET_GONE, True),
        ("target ends its half", lambda rig: rig.target.loseWriteConnection(), _ENDS.TARGET_GONE, True),
        ("target aborts", lambda rig: rig.target.abortConnection(), _ENDS.TARGET_GONE, False),
        ("target's peer closes", lambda rig: rig.reader.close(), _ENDS.TARGET_GONE, False),
        ("source's loop fails", lambda rig: rig.source.connectionLost(_failure()), _ENDS.SOURCE_LOST, True),
        ("target's loop fails", lambda rig: rig.target.connectionLost(_failure()), _ENDS.TARGET_GONE, False),
    )
    _states: dict[str, Callable[[Rig], Any]] = {
        "idle": lambda rig: rig.send(b"some"),
        "stalled": lambda rig: rig.stall(),
        "paused": lambda rig: (rig.stall(), rig.source.pauseProducing()),
        "flushing": lambda rig: rig.target.write(b"x" * 300000),
    }

    def test_ends(self) -> None:
        """Each end is told once, what was taken is delivered where there is anybody, and no pipe is left."""
        for state, reach in self._states.items():
            for name, act, end, delivered in self._table:
                for rig in self.both():
                    if state == "flushing":
                        rig.target.write(b"x" * 300000)
                    moving = rig.begin()
                    reach(rig)
                    act(rig)
                    rig.reactor.settle()
                    rig.read()
                    rig.source.resumeProducing()
                    rig.reactor.settle()
                    rig.read()
                    case = (state, name, rig.pool.idle)
                    self.assertEqual(rig.owner.ends, [end], case)
                    self.assertTrue(moving.is_over, case)
                    self.assertEqual(rig.pool.in_use, 0, case)
                    if delivered:
                        self.assertEqual(len(rig.read()), moving.taken + 600000 * (state == "flushing"), case)
                    lost = rig.source_protocol.lost if name.startswith("source") else rig.target_protocol.lost
                    self.assertEqual(len(lost), name != "target ends its half", case)

    def test_closingAndWaiting(self) -> None:
        """A connection that is to be closed is, once what is in the pipe is gone; the source is read by its protocol."""
        rig = self.make()
        moving = rig.begin()
        rig.stall()
        taken = moving.taken
        rig.target.loseConnection()
        rig.reactor.settle()
        self.assertEqual((rig.owner.ends, rig.target_protocol.lost), ([], []))
        self.assertEqual(len(rig.read()), taken)
        self.assertEqual((rig.owner.ends, len(rig.target_protocol.lost)), ([_ENDS.TARGET_GONE], 1))
        self.assertTrue(rig.source_protocol.received)

    def test_failedWrite(self) -> None:
        """A target that nobody reads is lost when bytes cannot be sent to it."""
        for rig in self.both():
            rig.begin()
            rig.target.pauseProducing()
            rig.reader.close()
            rig.send(b"words")
            self.assertEqual(rig.owner.ends, [_ENDS.TARGET_GONE])
            self.assertEqual([reason.type for reason in rig.target_protocol.lost], [ConnectionLost])
            rig.send(b"more")
            self.assertEqual(rig.source_protocol.received, b"more")

    def test_failingOwner(self) -> None:
        """An owner that fails when a connection is lost keeps no socket open."""
        rig = self.make()
        rig.begin()

        def fail(end: SpliceEnd) -> None:
            raise ZeroDivisionError

        rig.owner.splice_ended = fail  # type: ignore[method-assign]
        rig.source.abortConnection()
        rig.reactor.settle()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(len(rig.source_protocol.lost), 1)
        rig.sender.setblocking(True)
        self.assertEqual(rig.sender.recv(1), b"")

    def test_closedByTheOwner(self) -> None:
        """An owner may close either side from within, at every end, gently or not."""
        for name, act, _, _ in self._table:
            for side in ("source", "target"):
                for how in ("loseConnection", "abortConnection", "loseWriteConnection"):
                    rig = self.make()
                    rig.begin()
                    rig.stall()
                    rig.owner.splice_ended = lambda end, rig=rig, side=side, how=how: getattr(getattr(rig, side), how)()  # type: ignore
                    act(rig)
                    rig.reactor.settle()
                    rig.read()
                    rig.reactor.settle()
                    self.assertEqual(rig.pool.in_use, 0, (name, side, how))


def _failure() -> Failure:
    return Failure(ConnectionDone())


def _stall_and_pause(rig: Rig, moving: Splice) -> bytes:
    sent = rig.stall()
    moving.pause()
    return sent


def _stall_and_write(rig: Rig, moving: Splice) -> bytes:
    sent = rig.stall()
    rig.target.write(b"between")
    return sent[: moving.taken] + b"between" + sent[moving.taken :]


class CanSpliceTests(RigMixin, SynchronousTestCase):
    """Who can."""

    def test_who(self) -> None:
        """Two plain, open connections of ours, neither of them in a splice in that direction."""
        rig = self.make()
        self.assertTrue(can_splice(rig.source, rig.target))
        for other in (Wire().transport, object(), None, RecordingProtocol().transport):
            self.assertFalse(can_splice(rig.source, other))
            self.assertFalse(can_splice(other, rig.target))
        moving = rig.begin()
        self.assertFalse(can_splice(rig.source, rig.target))
        self.assertTrue(can_splice(rig.target, rig.source))
        moving.stop()
        self.assertTrue(can_splice(rig.source, rig.target))
        rig.target.registerProducer(RecordingProducer(), False)
        self.assertFalse(can_splice(rig.source, rig.target))
        rig.target.unregisterProducer()
        rig.target.loseWriteConnection()
        self.assertFalse(can_splice(rig.source, rig.target))
        self.assertTrue(can_splice(rig.target, rig.source))
        rig.source.loseConnection()
        self.assertFalse(can_splice(rig.target, rig.source))

    def test_platform(self) -> None:
        """Nobody can where the system has no splice(2), and a splice copies there."""
        rig = self.make()
        self.patch(splice, "CAN_SPLICE", False)
        self.patch(pipes, "CAN_SPLICE", False)
        self.assertFalse(can_splice(rig.source, rig.target))
        self.assertIsNone(PipePool(lambda: 0.0).lend())

    def test_kinds(self) -> None:
        """TCP connections can as well, those that were accepted."""
        skt: Any = FakeSocket()
        accepted = [tcp.Server(skt, RecordingProtocol(), ("10.9.8.7", 4321), None, 5, FakeReactor()) for _ in range(2)]
        self.assertTrue(can_splice(*accepted))

    def test_count(self) -> None:
        """There is nothing to move where nothing is to be moved."""
        rig = self.make()
        for count in (0, -1):
            self.assertRaises(ValueError, Splice, rig.source, rig.target, rig.owner, rig.pool, count)
