"""Pipes, through which the kernel moves bytes between sockets: a bounded number, and some kept for the next."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable

CAN_SPLICE = hasattr(os, "splice") and hasattr(fcntl, "F_SETPIPE_SZ")
"""Whether the platform has splice(2): Linux."""

LARGE_BYTES = 1048576
"""
Room of the first pipes. A pipe takes as many pieces as it has pages, whole pages or parts of them.

Processor time to pass on 1 GiB over HTTP on loopback, in ms, medians: through pipes of 256 KiB 281, of 512 KiB 262, of
1 MiB 232; copying 649.
"""

SMALL_BYTES = 262144
"""Room of the others: a user may have 16,384 pages in pipes (pipe(7)), which 64 large ones use up."""

MOST_LARGE = 32
"""At most so many are large: with the small ones beside them nine tenths of the pages that a user may have."""

MOST_PIPES = 128
"""At most so many are in use at once. Only a transfer that waits for a slow reader keeps one."""

KEPT_PIPES = 32
"""At most so many empty ones are kept open."""

_REST_S = 1.0
"""After a refusal of the system no pipe is made for so long."""

# What SPLICE_F_MOVE asks for the kernel has not done since 2.6.21; SPLICE_F_MORE would hold back the end of a piece for
# 200 ms where the source pauses. Older kernels look at this flag, not at that of the pipe.
_FLAGS = getattr(os, "SPLICE_F_NONBLOCK", 0)

REFUSALS = frozenset({errno.EINVAL, errno.ENOSYS, errno.EPERM, errno.EACCES, errno.EOPNOTSUPP})
"""splice(2): these two descriptors cannot be spliced, or a sandbox forbids it; copying may do."""


class Pipe:
    """
    A pipe, both of its ends in this process and neither of them blocking.

    @ivar held: how many bytes are in it.
    @ivar room: how many bytes it is made for.
    """

    __slots__ = ("_read_end", "_write_end", "held", "room")

    def __init__(self, is_large: bool = False) -> None:
        """
        @param is_large: with room for L{LARGE_BYTES}, if the user may have that; else, or without, for L{SMALL_BYTES}.
        @raise OSError: if no pipe can be had, or only one with less room than copying would use.
        """
        self._read_end, self._write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.held = 0
        try:
            self.room = self._make_room(LARGE_BYTES if is_large else SMALL_BYTES)
        except OSError:
            self.close()
            raise

    def _make_room(self, room: int) -> int:
        try:
            fcntl.fcntl(self._write_end, fcntl.F_SETPIPE_SZ, room)
        except PermissionError:
            if room == SMALL_BYTES:
                raise
            return self._make_room(SMALL_BYTES)
        return room

    def fill(self, descriptor: int, most_bytes: int) -> int:
        """
        Move bytes from a socket into this pipe.

        @return: how many; 0 at the end of the input.
        @raise BlockingIOError: if there are none, or there is no room: so ask while C{held} is 0.
        @raise OSError: if the socket fails, or for one of L{REFUSALS}.
        """
        moved = os.splice(descriptor, self._write_end, most_bytes, flags=_FLAGS)
        self.held += moved
        return moved

    def drain(self, descriptor: int) -> int:
        """
        Move bytes from this pipe, which holds some, to a socket.

        @return: how many.
        @raise BlockingIOError: if the socket takes none now.
        @raise OSError: if the socket fails, or for one of L{REFUSALS}.
        """
        moved = os.splice(self._read_end, descriptor, self.held, flags=_FLAGS)
        if not moved:
            raise OSError(errno.EIO, "the pipe holds less than was put into it")
        self.held -= moved
        return moved

    def read_all(self) -> bytes:
        """@return: what is in the pipe, which is empty then."""
        pieces = []
        while self.held:
            pieces.append(os.read(self._read_end, self.held))
            self.held -= len(pieces[-1])
        return b"".join(pieces)

    def close(self) -> None:
        """Close both ends."""
        os.close(self._read_end)
        os.close(self._write_end)


class PipePool:
    """
    Lends pipes, all of them empty.

    @ivar in_use: how many are lent.
    """

    def __init__(self, seconds: Callable[[], float], most: int = MOST_PIPES, kept: int = KEPT_PIPES) -> None:
        """
        @param seconds: the moment, in seconds: C{IReactorTime.seconds}.
        @param most: how many may be lent at once; 0: none at all, everything is copied.
        @param kept: how many empty ones are kept open.
        """
        self._seconds = seconds
        self._most = most if CAN_SPLICE else 0
        self._kept = kept
        self._idle: list[Pipe] = []
        self._resting_until: float | None = None
        self._large = 0
        """Those that are open."""
        self.in_use = 0

    @property
    def idle(self) -> int:
        """How many empty pipes are kept open."""
        return len(self._idle)

    def lend(self) -> Pipe | None:
        """@return: an empty pipe, to be given back; C{None} if none can be had now, and bytes are to be copied."""
        if self.in_use >= self._most:
            return None
        # The last one in comes out first: its memory is in the processor's cache still.
        pipe = self._idle.pop() if self._idle else self._make()
        if pipe is not None:
            self.in_use += 1
        return pipe

    def _make(self) -> Pipe | None:
        if self._resting_until is not None:
            if self._seconds() < self._resting_until:
                return None
            self._resting_until = None
        try:
            pipe = Pipe(self._large < MOST_LARGE)
        except OSError:
            self.rest()
            return None
        self._large += pipe.room == LARGE_BYTES
        return pipe

    def rest(self) -> None:
        """Make no pipe for a second: the system refused one, or its use."""
        self._resting_until = self._seconds() + _REST_S

    def give_back(self, pipe: Pipe) -> None:
        """Take back a pipe; one that holds bytes still is closed, so that nobody else gets them."""
        self.in_use -= 1
        if pipe.held or len(self._idle) >= self._kept:
            self._large -= pipe.room == LARGE_BYTES
            pipe.close()
        else:
            self._idle.append(pipe)

    def close(self) -> None:
        """Close the pipes that are kept, and lend none any more; those that are lent are closed as they return."""
        self._most = self._kept = 0
        while self._idle:
            self._idle.pop().close()
