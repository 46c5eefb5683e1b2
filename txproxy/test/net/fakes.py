"""A socket and a reactor of file descriptors without an operating system, to drive stock and eager transports alike."""

from __future__ import annotations

import errno
import socket
from typing import Any

from twisted.internet.interfaces import IHalfCloseableProtocol, IReactorFDSet
from twisted.internet.posixbase import _DisconnectSelectableMixin
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer


class FakeSocket:
    """
    A connected stream socket.

    @ivar sent: all bytes that were taken.
    @ivar room: how many more bytes are taken before C{send} would block; C{None}: no limit.
    @ivar send_error: raised by each send, if set.
    @ivar arriving: what C{recv} returns or raises, in order; would block when there is nothing left.
    @ivar calls: the names of the calls that tell something, in order.
    """

    def __init__(self) -> None:
        self.sent = b""
        self.room: int | None = None
        self.send_error: OSError | None = None
        self.arriving: list[bytes | OSError] = []
        self.calls: list[str] = []
        self.options: dict[tuple[int, int], Any] = {}
        self.local: tuple[Any, ...] = ("10.0.0.1", 80)
        self.closed = False

    def fileno(self) -> int:
        return -1 if self.closed else 7

    def setblocking(self, flag: bool) -> None:
        pass

    def setsockopt(self, level: int, option: int, value: Any) -> None:
        self.options[level, option] = value

    def getsockname(self) -> tuple[Any, ...]:
        return self.local

    def send(self, data: bytes | memoryview) -> int:
        self.calls.append("send")
        return self._take(bytes(data))

    def sendmsg(self, buffers: list[bytes | memoryview]) -> int:
        self.calls.append("sendmsg")
        return self._take(b"".join(buffers))

    def _take(self, data: bytes) -> int:
        if self.send_error is not None:
            raise self.send_error
        if self.room is not None:
            if not self.room and data:
                raise BlockingIOError(errno.EAGAIN, "would block")
            data = data[: self.room]
            self.room -= len(data)
        self.sent += data
        return len(data)

    def recv(self, size: int, flags: int = 0) -> bytes:
        if not self.arriving:
            raise BlockingIOError(errno.EAGAIN, "would block")
        first = self.arriving[0]
        if not flags & socket.MSG_PEEK:
            del self.arriving[0]
        if isinstance(first, OSError):
            raise first
        return first[:size]

    def shutdown(self, how: int) -> None:
        self.calls.append(f"shutdown {how}")

    def close(self) -> None:
        self.closed = True


class FakeListeningSocket(FakeSocket):
    """
    A listening socket.

    @ivar waiting: what C{accept} returns or raises, in order; would block when there is nothing left.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[tuple[FakeSocket, tuple[Any, ...]] | OSError] = []

    def accept(self) -> tuple[FakeSocket, tuple[Any, ...]]:
        if not self.waiting:
            raise BlockingIOError(errno.EAGAIN, "would block")
        first = self.waiting.pop(0)
        if isinstance(first, OSError):
            raise first
        return first


@implementer(IReactorFDSet)
class WatchingReactor(_DisconnectSelectableMixin, Clock):
    """Knows what it is to watch. Its turns are taken by hand, and are the business of its subclasses."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: set[Any] = set()
        self.writers: set[Any] = set()

    def addReader(self, reader: Any) -> None:
        self.readers.add(reader)

    def addWriter(self, writer: Any) -> None:
        self.writers.add(writer)

    def removeReader(self, reader: Any) -> None:
        self.readers.discard(reader)

    def removeWriter(self, writer: Any) -> None:
        self.writers.discard(writer)

    def removeAll(self) -> list[Any]:
        return []

    def getReaders(self) -> list[Any]:
        return list(self.readers)

    def getWriters(self) -> list[Any]:
        return list(self.writers)


class FakeReactor(WatchingReactor):
    """All watched writers are writable and all watched readers readable."""

    def turn(self) -> None:
        """One turn: due calls, then reads, then writes, as a poll loop does it."""
        self.advance(0)
        for selectable in self.readers | self.writers:
            why = None
            in_read = False
            if selectable in self.readers:
                in_read = True
                why = selectable.doRead()
            if not why and selectable in self.writers:
                in_read = False
                why = selectable.doWrite()
            if why:
                self._disconnectSelectable(selectable, why, in_read)

    def turns(self, number: int = 10) -> None:
        """Several turns, enough for anything that does not wait for the peer."""
        for _ in range(number):
            self.turn()


class RecordingProtocol(Protocol):
    """Records what it is told."""

    def __init__(self) -> None:
        self.received = b""
        self.lost: list[Failure] = []

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Failure = Failure(Exception())) -> None:  # noqa: B008
        self.lost.append(reason)


@implementer(IHalfCloseableProtocol)
class HalfCloseableProtocol(RecordingProtocol):
    """Knows the end of the reading half, keeps the other open, and records the ends of both."""

    def __init__(self) -> None:
        super().__init__()
        self.halves: list[str] = []

    def readConnectionLost(self) -> None:
        self.halves.append("read")

    def writeConnectionLost(self) -> None:
        self.halves.append("write")


class RecordingProducer:
    """Records what it is asked; optionally writes a list of chunks, one each time it is resumed."""

    def __init__(self, consumer: Any = None, chunks: tuple[bytes, ...] = ()) -> None:
        self.asked: list[str] = []
        self._consumer = consumer
        self._chunks = list(chunks)

    def pauseProducing(self) -> None:
        self.asked.append("pause")

    def resumeProducing(self) -> None:
        self.asked.append("resume")
        if self._chunks:
            self._consumer.write(self._chunks.pop(0))
        elif self._consumer is not None:
            self._consumer.unregisterProducer()

    def stopProducing(self) -> None:
        self.asked.append("stop")
