"""
Zero copy: one direction between two plain sockets, moved by the kernel through a pipe.

    pool = PipePool(reactor.seconds)
    if can_splice(source, target):
        splice = Splice(source, target, owner, pool, count=content_length)
        splice.start()

C{source} and C{target} are transports of L{txproxy.net.tcp} or L{txproxy.net.unix} without TLS. A tunnel has two
splices, one each way. While one runs:

 - It reads C{source}: the protocol there gets no C{dataReceived}. C{pauseProducing} and C{resumeProducing} of the
   transport, by a valve or as a producer of somebody else, do as always; what is in the pipe is sent all the same.
 - What is written to C{target} is sent in order: what was queued before first, anything else between two pieces, as if
   the pieces were written by somebody who copies. C{loseConnection}, C{loseWriteConnection} and C{abortConnection} of
   either side do as always too; the first two have C{target} send what is in the pipe before.
 - The end of a connection, or of its reading half, reaches its protocol as always (C{connectionLost},
   C{readConnectionLost}), after L{SpliceOwner.splice_ended}.

Whoever begins sees to it that what was read before is written before, and that nobody has paused C{source} for longer
than C{target} has a queue (L{Splice.pause}, if so). With C{count}, what comes behind it goes to the protocol again.

A pipe is lent while bytes are moved, and kept only while they wait for C{target}: idle tunnels cost none. EAGAIN does
not say which side would block; here it does, since a pipe is filled only when empty, and emptied only when not. Where
no pipe can be had, the bytes are copied, so that a splice can always be used.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Any, Protocol

from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
from twisted.logger import Logger

from txproxy.net.pipes import CAN_SPLICE, REFUSALS, Pipe, PipePool
from txproxy.net.sending import EagerWriter
from txproxy.net.stream import READ_BYTES, EagerConnection

_log = Logger()

EVENT_BYTES = 1048576
"""After so much in one event other sockets have their turn."""


class SpliceEnd(Enum):
    """Why a splice is over."""

    ALL_MOVED = auto()
    """C{count} bytes are sent, or in the queue of the target; both sides are as they were."""
    SOURCE_ENDED = auto()
    """The source's input ended, before C{count} bytes if there was a count; everything is sent, or in the queue."""
    SOURCE_LOST = auto()
    """The source failed or was closed; what had come is sent, or in the queue."""
    TARGET_GONE = auto()
    """The target failed, was closed or is being closed."""


class SpliceOwner(Protocol):
    """Is told what happens; may stop, pause or begin another splice, and close either side, from within."""

    def splice_moved(self, byte_count: int) -> None:
        """Count bytes that the target has taken since the last call; called at most once per event."""

    def splice_ended(self, end: SpliceEnd) -> None:
        """Learn that it is over, once; not called after L{Splice.stop}."""


class _Step(Enum):
    """What moving bytes came to."""

    SOURCE_WAITS = auto()
    TARGET_WAITS = auto()
    ENOUGH = auto()
    COMPLETE = auto()
    SOURCE_OVER = auto()
    TARGET_OVER = auto()


def can_splice(source: object, target: object) -> bool:
    """@return: whether bytes can go from one transport to the other by way of the kernel, as they are now."""
    return (
        CAN_SPLICE
        and isinstance(source, EagerConnection)
        and isinstance(target, EagerConnection)
        and _is_plain(source)
        and _is_plain(target)
        and source.splice_out is None
        and target.splice_in is None
        and not (source.disconnecting or target.takes_no_more)
        and (target.producer is None or target.streamingProducer)
    )


def _is_plain(transport: EagerConnection) -> bool:
    kind: Any = type(transport)
    unchanged = kind.doRead is EagerConnection.doRead and kind.doWrite is EagerWriter.doWrite
    return bool(unchanged and transport.connected and not transport.TLS)


class Splice:
    """
    Moves bytes from one connection to another until the end of the input, or a number of them.

    @ivar source: where the bytes come from.
    @ivar target: where they go.
    @ivar count: how many are to be moved; C{None}: until the end of the input.
    @ivar taken: how many have been read from the source.
    @ivar given: how many of them the target has taken, into the kernel or its queue.
    @ivar is_over: whether it has ended or was stopped.
    """

    __slots__ = (
        "_copies", "_owner", "_paused", "_pipe", "_pool", "_reason", "_silent", "_source_fd", "_stalled", "_target_fd",
        "_told", "count", "given", "is_over", "source", "taken", "target",
    )  # fmt: skip

    def __init__(
        self,
        source: EagerConnection,
        target: EagerConnection,
        owner: SpliceOwner,
        pool: PipePool,
        count: int | None = None,
    ) -> None:
        """
        @param source: a connected transport that L{can_splice} agrees to.
        @param target: another, or the same.
        @param owner: is told what happens.
        @param pool: lends the pipes.
        @param count: how many bytes to move, at least 1; C{None}: all until the end of the input.
        @raise ValueError: if C{count} is less than 1.
        """
        if count is not None and count < 1:
            raise ValueError(f"count is {count}")
        self.source, self.target, self.count = source, target, count
        self._owner, self._pool = owner, pool
        self._source_fd, self._target_fd = source.socket.fileno(), target.socket.fileno()
        self.taken = self.given = self._told = 0
        self._pipe: Pipe | None = None
        self._reason: BaseException | None = None
        # Stalled: the target has the next word, the source is not read.
        self._paused = self._stalled = self._copies = self._silent = self.is_over = False

    @property
    def held(self) -> int:
        """How many bytes wait in the pipe."""
        return self.taken - self.given

    def start(self) -> None:
        """Begin; nothing is moved before the reactor's next event."""
        source: Any = self.source
        target: Any = self.target
        source.splice_out = target.splice_in = self
        source.doRead, target.doWrite = self._do_read, self._do_write
        source.pauseProducing, source.resumeProducing = self.pause, self.resume
        if target.has_queue:
            self._wait_for_target()
        else:
            self._read_source()

    def pause(self) -> None:
        """Read nothing until L{resume}; what is in the pipe is sent all the same."""
        if not self._paused and not self.is_over:
            self._paused = True
            self.source.stopReading()

    def resume(self) -> None:
        """Read again."""
        if self._paused and not self.is_over:
            self._paused = False
            if not self._stalled:
                self._read_source()

    def stop(self) -> None:
        """
        End now. What is in the pipe goes to the target's queue; then the source's protocol reads again, unless paused.

        L{SpliceOwner.splice_moved} tells of what is not told yet, L{SpliceOwner.splice_ended} is not called.
        """
        if not self.is_over:
            self._detach()
            self._restore_reading()
            self._tell_moved()
        self._silent = True

    def source_lost(self) -> None:
        """End, because the source's connection is lost; called by it."""
        self._lost(SpliceEnd.SOURCE_LOST)

    def target_lost(self) -> None:
        """End, because the target's connection is lost; called by it."""
        self._lost(SpliceEnd.TARGET_GONE)

    def _lost(self, end: SpliceEnd) -> None:
        self._detach()
        if end is SpliceEnd.TARGET_GONE:
            self._restore_reading()
        try:
            self._tell(end)
        except Exception:
            # The transport has its socket to close still.
            _log.failure("The owner of a splice failed at its end")

    def _do_read(self) -> BaseException | None:
        """Serve the source; called by the reactor in place of its C{doRead}."""
        if self._stalled or self._paused:
            # Somebody had the reactor watch it who did not ask us.
            self.source.stopReading()
            return None
        step = self._move() if self._reason is None else _Step.SOURCE_OVER
        if step is not _Step.SOURCE_OVER:
            self._settle(step)
            return None
        reason = self._reason
        self._detach()
        self._tell(SpliceEnd.SOURCE_ENDED if reason is CONNECTION_DONE else SpliceEnd.SOURCE_LOST)
        return reason if self.source.connected else None

    def _do_write(self) -> BaseException | None:
        """Serve the target; called by the reactor in place of its C{doWrite}."""
        target = self.target
        if target._failure is not None:
            return target._failure
        if not self.held:
            over = EagerWriter.doWrite(target)
            if over is not None or self.is_over or target.has_queue:
                return over
        if self._stalled or target.takes_no_more:
            self._settle(self._move())
        return None

    def _settle(self, step: _Step) -> None:
        """Have the reactor watch who has the next word, and tell the owner."""
        if step is _Step.TARGET_WAITS:
            self._wait_for_target()
        elif step is _Step.COMPLETE or step is _Step.TARGET_OVER:
            self._detach()
            self._restore_reading()
            self._tell(SpliceEnd.ALL_MOVED if step is _Step.COMPLETE else SpliceEnd.TARGET_GONE)
            return
        elif self._stalled:
            # Also when the source is over: it is readable, so that its doRead comes next and can say so.
            self._stalled = False
            self.target.stopWriting()
            self._read_source()
        self._tell_moved()

    def _wait_for_target(self) -> None:
        if self.held:
            self.target.hold_writes()
        if not self._stalled:
            self._stalled = True
            self.source.stopReading()
        self.target.startWriting()

    def _read_source(self) -> None:
        if not self._paused:
            self._restore_reading()

    def _restore_reading(self) -> None:
        source = self.source
        if source.connected and not (self._paused or source.disconnecting or source._aborting):
            source.startReading()

    def _move(self) -> _Step:
        """Move bytes until one side would block, is over, or it is another's turn."""
        most = self.given + EVENT_BYTES
        step: _Step | None = None
        while step is None:
            if self.held:
                step = self._drain()
            elif self.given == self.count:
                step = _Step.COMPLETE
            elif self.target.takes_no_more:
                step = _Step.TARGET_OVER
            elif self.target.has_queue:
                step = _Step.TARGET_WAITS
            elif self._paused or self.source.disconnecting or self.source._aborting:
                step = _Step.SOURCE_WAITS
            elif self.given >= most:
                step = _Step.ENOUGH
            else:
                step = self._fill()
        if not self.held:
            self._return_pipe()
        return step

    def _fill(self) -> _Step | None:
        pipe = self._pipe
        if pipe is None and not self._copies:
            pipe = self._pipe = self._pool.lend()
        data = b""
        try:
            if pipe is not None:
                taken = pipe.fill(self._source_fd, self._most(pipe.room))
            else:
                data = self.source.socket.recv(self._most(READ_BYTES))
                taken = len(data)
        except BlockingIOError:
            return _Step.SOURCE_WAITS
        except OSError as error:
            if pipe is not None and error.errno in REFUSALS:
                self._give_up_pipes()
                return None
            self._reason = CONNECTION_LOST
            return _Step.SOURCE_OVER
        if not taken:
            # A failed send consumes the socket's error, after which reading shows an end as clean as any.
            self._reason = CONNECTION_DONE if self.source._failure is None else CONNECTION_LOST
            return _Step.SOURCE_OVER
        self.taken += taken
        if data:
            self.given += taken
            self.target.write(data)
        return None

    def _most(self, room: int) -> int:
        return room if self.count is None else min(room, self.count - self.taken)

    def _drain(self) -> _Step | None:
        pipe, target = self._pipe, self.target
        assert pipe is not None
        try:
            moved = pipe.drain(self._target_fd)
        except BlockingIOError:
            return _Step.TARGET_WAITS
        except OSError as error:
            if error.errno in REFUSALS:
                self._give_up_pipes()
                return None
            target._fail_later(CONNECTION_LOST)
            return _Step.TARGET_OVER
        self.given += moved
        if not pipe.held and not target._ready:
            target.release_writes()
        return None

    def _give_up_pipes(self) -> None:
        """Copy from here on: the system has refused to splice."""
        self._copies = True
        self._pool.rest()
        self._empty_pipe()

    def _empty_pipe(self) -> None:
        """Put what is in the pipe before all that waits in the target's queue."""
        pipe, target = self._pipe, self.target
        rest = b""
        if pipe is not None and pipe.held and target._accepts_data():
            rest = pipe.read_all()
            self.given += len(rest)
        self._return_pipe()
        if rest or not target._ready:
            target.release_writes(rest)

    def _return_pipe(self) -> None:
        pipe = self._pipe
        if pipe is not None:
            self._pipe = None
            self._pool.give_back(pipe)

    def _detach(self) -> None:
        """Leave both transports as they were."""
        self.is_over = True
        self._stalled = False
        source, target = self.source, self.target
        source.splice_out = target.splice_in = None
        ours = {"doRead": self._do_read, "pauseProducing": self.pause, "resumeProducing": self.resume}
        for name, method in ours.items():
            # An abort has put its own in place.
            if source.__dict__.get(name) == method:
                delattr(source, name)
        if target.__dict__.get("doWrite") == self._do_write:
            del target.doWrite
        self._empty_pipe()
        if target.connected and (target.has_queue or target.disconnecting or target._writeDisconnecting):
            target.startWriting()
        elif target.connected and target._failure is None:
            target.stopWriting()

    def _tell(self, end: SpliceEnd) -> None:
        self._tell_moved()
        if not self._silent:
            self._silent = True
            self._owner.splice_ended(end)

    def _tell_moved(self) -> None:
        moved = self.given - self._told
        if moved:
            self._told = self.given
            self._owner.splice_moved(moved)
