"""Pipes and their pool."""

from __future__ import annotations

import errno
import fcntl
import os
import socket

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from txproxy.net import pipes
from txproxy.net.pipes import Pipe, PipePool


def _lent(pool: PipePool) -> Pipe:
    pipe = pool.lend()
    assert pipe is not None
    return pipe


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


class PipePoolTests(SynchronousTestCase):
    """What is lent, kept and closed."""

    if not pipes.CAN_SPLICE:
        skip = "the platform has no splice(2)"

    def setUp(self) -> None:
        self.before = _descriptors()
        self.clock = Clock()
        self.pool = PipePool(self.clock.seconds, most=3, kept=2)
        ours, self.peer = socket.socketpair()
        self.descriptor = ours.fileno()
        self.addCleanup(ours.close)
        self.addCleanup(self.peer.close)
        self.opened = _descriptors()

    def test_bounded(self) -> None:
        """No more than allowed are in use, and no more than allowed are kept."""
        lent = [_lent(self.pool) for _ in range(3)]
        self.assertEqual((self.pool.lend(), self.pool.in_use), (None, 3))
        for pipe in lent:
            self.pool.give_back(pipe)
        self.assertEqual((self.pool.in_use, self.pool.idle, _descriptors()), (0, 2, self.opened + 4))
        self.pool.close()
        self.assertEqual((self.pool.idle, _descriptors()), (0, self.opened))

    def test_used_again(self) -> None:
        """An empty pipe is lent again, the last one first."""
        first, second = _lent(self.pool), _lent(self.pool)
        self.pool.give_back(first)
        self.pool.give_back(second)
        self.assertIs(self.pool.lend(), second)
        self.pool.give_back(second)
        self.pool.close()

    def test_neverWithBytes(self) -> None:
        """A pipe that holds bytes is closed: nobody gets what belongs to another."""
        pipe = _lent(self.pool)
        self.peer.send(b"secret")
        self.assertEqual(pipe.fill(self.descriptor, 100), 6)
        self.pool.give_back(pipe)
        self.assertEqual((self.pool.idle, self.pool.in_use, _descriptors()), (0, 0, self.opened))

    def test_emptiedByReading(self) -> None:
        """What is in a pipe can be read; it is as good as new then."""
        pipe = _lent(self.pool)
        self.peer.send(b"words")
        pipe.fill(self.descriptor, 3)
        self.assertEqual((pipe.read_all(), pipe.held, pipe.read_all()), (b"wor", 0, b""))
        self.pool.give_back(pipe)
        self.assertEqual(self.pool.idle, 1)
        self.pool.close()

    def test_refused(self) -> None:
        """After EMFILE, ENFILE or EPERM no pipe is made for a second; those that are kept are lent still."""
        for number in (errno.EMFILE, errno.ENFILE, errno.EPERM):
            calls: list[int] = []

            def refuse(flags: int, number: int = number, calls: list[int] = calls) -> tuple[int, int]:
                calls.append(flags)
                raise OSError(number, "no")

            pool = PipePool(self.clock.seconds)
            kept = _lent(pool)
            pool.give_back(kept)
            patch = self.patch(os, "pipe2", refuse)
            self.assertIs(pool.lend(), kept)
            self.assertEqual([pool.lend(), pool.lend()], [None, None])
            self.clock.advance(0.9)
            self.assertEqual((pool.lend(), len(calls)), (None, 1))
            self.clock.advance(0.2)
            self.assertEqual((pool.lend(), len(calls)), (None, 2))
            patch.restore()
            self.clock.advance(1.1)
            pool.give_back(_lent(pool))
            pool.give_back(kept)
            pool.close()

    def test_tooSmall(self) -> None:
        """A user who has too many pages in pipes gets none that is smaller, and nothing is left open."""

        def refuse(*args: int) -> int:
            raise PermissionError(errno.EPERM, "too many pages")

        self.patch(fcntl, "fcntl", refuse)
        self.assertIsNone(self.pool.lend())
        self.assertEqual((_descriptors(), self.pool.in_use), (self.opened, 0))

    def test_large(self) -> None:
        """The first pipes are large, a bounded number of them, and those that are closed make room for others."""
        self.patch(pipes, "MOST_LARGE", 2)
        lent = [_lent(self.pool) for _ in range(3)]
        self.assertEqual([pipe.room for pipe in lent], [pipes.LARGE_BYTES, pipes.LARGE_BYTES, pipes.SMALL_BYTES])
        self.peer.send(b"rest")
        lent[0].fill(self.descriptor, 4)
        for pipe in lent:
            self.pool.give_back(pipe)
        again = [_lent(self.pool) for _ in range(3)]
        self.assertEqual(sorted(pipe.room for pipe in again), [pipes.SMALL_BYTES, pipes.LARGE_BYTES, pipes.LARGE_BYTES])
        self.pool.close()
        for pipe in again:
            self.pool.give_back(pipe)

    def test_noLargeOnes(self) -> None:
        """A user who may have no large pipe gets a small one."""
        set_room = fcntl.fcntl

        def refuse(descriptor: int, command: int, room: int) -> int:
            if room > pipes.SMALL_BYTES:
                raise PermissionError(errno.EPERM, "too many pages")
            return set_room(descriptor, command, room)

        self.patch(fcntl, "fcntl", refuse)
        pipe = _lent(self.pool)
        self.assertEqual(pipe.room, pipes.SMALL_BYTES)
        self.pool.give_back(pipe)
        self.pool.close()

    def test_closed(self) -> None:
        """A closed pool lends nothing, and closes what comes back."""
        pipe = _lent(self.pool)
        self.pool.close()
        self.assertIsNone(self.pool.lend())
        self.pool.give_back(pipe)
        self.assertEqual(_descriptors(), self.opened)

    def test_closedOnExec(self) -> None:
        """A child process inherits no pipe."""
        flags: list[int] = []
        make = os.pipe2

        def note(given: int) -> tuple[int, int]:
            flags.append(given)
            return make(given)

        self.patch(os, "pipe2", note)
        self.pool.give_back(_lent(self.pool))
        self.assertEqual(flags, [os.O_NONBLOCK | os.O_CLOEXEC])
        self.pool.close()
