"""Two connections over real socket pairs, and a reactor that is turned by hand and counts what it is woken for."""

from __future__ import annotations

import select
import socket
from typing import Any

from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST

from txproxy.net import unix
from txproxy.net.pipes import PipePool
from txproxy.net.splice import Splice, SpliceEnd
from txproxy.test.net.fakes import HalfCloseableProtocol, RecordingProtocol, WatchingReactor

_GONE = select.POLLHUP | select.POLLERR | select.POLLNVAL
BUFFER_BYTES = 65536


class PolledReactor(WatchingReactor):
    """Asks the kernel who is ready, once a turn, and decides as a poll loop of Twisted does.

    @ivar wake_ups: how many events there were.
    """

    def __init__(self) -> None:
        super().__init__()
        self.wake_ups = 0

    def turn(self) -> int:
        """Take one turn; return how many events there were."""
        self.advance(0)
        poll = select.poll()
        watched = {}
        for each in self.readers | self.writers:
            watched[each.fileno()] = each
            poll.register(each, (each in self.readers) * select.POLLIN | (each in self.writers) * select.POLLOUT)
        events = poll.poll(0)
        for descriptor, event in events:
            selectable = watched[descriptor]
            if selectable in self.readers or selectable in self.writers:
                self.wake_ups += 1
                self._dispatch(selectable, event)
        return len(events)

    def _dispatch(self, selectable: Any, event: int) -> None:
        why: Any = None
        in_read = False
        if event & _GONE and not event & select.POLLIN:
            in_read = selectable in self.readers
            why = CONNECTION_DONE if in_read else CONNECTION_LOST
        else:
            if event & select.POLLIN:
                in_read = True
                why = selectable.doRead()
            if not why and event & select.POLLOUT:
                in_read = False
                why = selectable.doWrite()
        if why:
            self._disconnectSelectable(selectable, why, in_read)

    def settle(self, most_turns: int = 200) -> None:
        """Take turns until nothing happens; that must come to pass."""
        for _ in range(most_turns):
            if not self.turn() and not self.getDelayedCalls():
                return
        raise AssertionError(f"still busy after {most_turns} turns")


class RecordingOwner:
    """Records what a splice tells."""

    def __init__(self) -> None:
        self.moved: list[int] = []
        self.ends: list[SpliceEnd] = []

    def splice_moved(self, byte_count: int) -> None:
        self.moved.append(byte_count)

    def splice_ended(self, end: SpliceEnd) -> None:
        self.ends.append(end)


class Rig:
    """A source and a target, each with its peer.

    @ivar sender: the source's peer: a socket that does not block.
    @ivar reader: the target's peer.
    """

    def __init__(self, pool: PipePool | None = None, half_closeable: bool = False) -> None:
        self.reactor = PolledReactor()
        self.pool = PipePool(self.reactor.seconds) if pool is None else pool
        self.owner = RecordingOwner()
        make = HalfCloseableProtocol if half_closeable else RecordingProtocol
        self.source_protocol, self.target_protocol = make(), make()
        self.source, self.sender = self._connect(self.source_protocol)
        self.target, self.reader = self._connect(self.target_protocol)
        self.got = b""

    def _connect(self, protocol: RecordingProtocol) -> tuple[Any, socket.socket]:
        ours, theirs = socket.socketpair()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
        theirs.setblocking(False)
        transport = unix.Server(ours, protocol, (), None, 1, self.reactor)
        protocol.makeConnection(transport)
        return transport, theirs

    def begin(self, count: int | None = None) -> Splice:
        """Begin a splice from the source to the target."""
        splice = Splice(self.source, self.target, self.owner, self.pool, count)
        splice.start()
        return splice

    def send(self, data: bytes) -> bytes:
        """Have the sender send as much as goes, with turns in between; return what did not go."""
        while data:
            try:
                data = data[self.sender.send(data) :]
            except BlockingIOError:
                before = self.reactor.wake_ups
                self.reactor.settle()
                if self.reactor.wake_ups == before:
                    break
        self.reactor.settle()
        return data

    def stall(self) -> bytes:
        """Send until the target takes no more, and something waits in the pipe; return what was sent."""
        data = bytes(range(256)) * 4096
        return data[: len(data) - len(self.send(data))]

    def read(self, turns: bool = True) -> bytes:
        """Have the reader read all there is, with turns in between; return all that it has read so far."""
        while self.reader.fileno() >= 0:
            try:
                data = self.reader.recv(65536)
            except BlockingIOError:
                before = self.reactor.wake_ups
                if turns:
                    self.reactor.settle()
                if self.reactor.wake_ups == before:
                    return self.got
                continue
            except ConnectionResetError:
                return self.got
            if not data:
                return self.got
            self.got += data
        return self.got

    def close(self) -> None:
        """Close everything."""
        self.sender.close()
        self.reader.close()
        for transport in (self.source, self.target):
            if transport.connected:
                transport.abortConnection()
        self.reactor.settle()
