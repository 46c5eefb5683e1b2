"""A tunnel: bytes both ways between two transports, as they come.

Each side has an end: the protocol of its transport, and the producer of what goes there. When a side reads too slowly,
its transport pauses its end, and that pauses the reading of the other side; so what waits here is bounded by the
transports' watermarks, and a side that has nothing to say costs nothing. When a side says that it sends no more, the
other is told so once it has everything, and may go on sending (RFC 9293 section 3.6). What is cut before both have said
so ends in a reset of both sides, so that nobody takes what it has for the whole.

A transport here is whatever has ``write``, ``loseWriteConnection``, ``loseConnection``, ``abortConnection``, the calls
of a push producer (``pauseProducing``, ``resumeProducing``) and of a consumer (``registerProducer``,
``unregisterProducer``), and tells ``protocol`` what happens as Twisted's TCP transports do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from txproxy.errors import BackendClosed, ClientLeft, IdleTimeout, ProxyError, TooOld
from txproxy.net.pipes import PipePool
from txproxy.net.splice import Splice, SpliceEnd, can_splice
from txproxy.policy.deadlines import NEVER, Deadlines

_LOOK_S = 60.0
"""How far ahead a tunnel's next look is planned: the wheel remembers a look until its time has come, and tunnels may
come and go by the thousands within the hour that one of them may be idle."""


_LONG_BYTES = 49152
"""A read of so much is a long one. It need not be full: what a unix socket hands over in bulk has many lengths."""
_BULK_READS = 4
"""So many long reads in a row are bulk: the kernel moves what follows past this process's memory."""
_SHORT_BYTES = 16384
_MOST_SHORT = 16
"""So many short moves in a row are a conversation again, which costs less if it is read and written."""


class TunnelLimits(NamedTuple):
    """How long a tunnel may last; see the configuration's ``timeouts`` section."""

    idle_s: float = 3600
    """Without a byte either way."""
    max_s: float = 0
    """At all; 0 for no limit."""


class TunnelTools(NamedTuple):
    """What tunnels share."""

    clock: Callable[[], float]
    """The monotonic clock, in seconds."""
    deadlines: Deadlines
    pipes: PipePool | None = None
    """By which the kernel moves bytes in bulk; None where that is not wanted."""


class Side(NamedTuple):
    """One side of a tunnel that is to be opened."""

    transport: Any
    early: bytes = b""
    """What has come from there already."""
    is_finished: bool = False
    """It has said that it sends no more."""


@implementer(IPushProducer, IHalfCloseableProtocol)
class TunnelEnd:
    """One side of a tunnel.

    Bytes come by ``dataReceived``; in bulk between plain sockets the kernel moves them, by a splice that tells this end
    how many. What becomes of connections is told by the calls below in both cases.

    :param transport: of this side.
    :param tunnel: see there.
    :param loss: what it means if this side is lost before its time.
    """

    __slots__ = (
        "_in_a_row",
        "_loss",
        "_splice",
        "_tunnel",
        "is_finished",
        "is_full",
        "is_lost",
        "other",
        "received",
        "send",
        "transport",
    )

    def __init__(self, transport: Any, tunnel: Tunnel, loss: type[ProxyError]) -> None:
        self.transport = transport
        self.send = transport.write
        self.other: Any = None
        """The other end."""
        self.received = 0
        """Bytes that have come from this side."""
        self.is_finished = False
        """This side has said that it sends no more."""
        self.is_full = False
        """This side reads too slowly: its transport has as much as it may hold."""
        self.is_lost = False
        self._tunnel = tunnel
        self._loss = loss
        self._splice: Splice | None = None
        self._in_a_row = 0
        """Long reads while bytes are copied, short moves while they are spliced."""

    def dataReceived(self, data: bytes) -> None:
        """Pass bytes on."""
        tunnel = self._tunnel
        self.received += len(data)
        tunnel.moved_at = tunnel.clock()
        self.other.send(data)
        if len(data) >= _LONG_BYTES:
            self._read_much()
        else:
            self._in_a_row = 0

    def _read_much(self) -> None:
        self._in_a_row += 1
        pipes, other = self._tunnel.pipes, self.other
        if self._in_a_row < _BULK_READS or pipes is None or other.is_lost or self.is_lost:
            return
        self._in_a_row = 0
        if can_splice(self.transport, other.transport):
            self._splice = Splice(self.transport, other.transport, self, pipes)
            self._splice.start()

    def splice_moved(self, byte_count: int) -> None:
        """Take note of bytes that have come from this side and went to the other past us."""
        tunnel = self._tunnel
        self.received += byte_count
        tunnel.moved_at = tunnel.clock()
        tunnel.unread_before = NEVER
        self._in_a_row = self._in_a_row + 1 if byte_count < _SHORT_BYTES else 0
        if self._in_a_row > _MOST_SHORT and self._splice is not None:
            splice, self._splice, self._in_a_row = self._splice, None, 0
            splice.stop()

    @property
    def has_to_wait(self) -> bool:
        """Whether one of the sides reads too slowly: this one, or the other, for which bytes wait in a pipe."""
        return self.is_full or (self._splice is not None and self._splice.held > 0)

    def splice_ended(self, end: SpliceEnd) -> None:
        """Why it has ended is told by the calls for connections."""
        self._splice = None

    def readConnectionLost(self) -> None:
        """This side sends no more: the other is told."""
        self.is_finished = True
        tunnel, other = self._tunnel, self.other
        tunnel.moved_at = tunnel.clock()
        if not other.is_lost:
            # First, for a producer that is paused, and never has more to say, would hold up the end for ever.
            other.transport.unregisterProducer()
            other.transport.loseWriteConnection()
            if other.is_finished:
                tunnel.complete()

    def writeConnectionLost(self) -> None:
        """This side was told that there is no more for it."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """This side is gone."""
        self.is_lost = True
        is_clean = isinstance(reason.value, ConnectionDone)
        self._tunnel.lost(self, None if is_clean else self._loss(reason.getErrorMessage()))

    def pauseProducing(self) -> None:
        """This side reads too slowly: the other has to wait."""
        self.is_full = True
        self._tunnel.unread_before = NEVER
        self.other.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """This side has caught up: the other may go on."""
        self.is_full = False
        tunnel = self._tunnel
        tunnel.moved_at = tunnel.clock()
        self.other.transport.resumeProducing()

    def stopProducing(self) -> None:
        """The transport is lost; ``connectionLost`` says the rest."""

    def let_go(self) -> None:
        """Know nobody any more: the two ends would keep each other alive."""
        self.other = self._tunnel = self.transport = self.send = self._splice = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        state = "lost" if self.is_lost else "finished" if self.is_finished else "open"
        return f"<TunnelEnd {state}, {self.received} bytes>"


class Tunnel:
    """Passes bytes between the near side, which is the client's, and the far side, until both are gone.

    :param limits: how long it may last.
    :param tools: shared by all tunnels.
    :param on_end: called once, when both transports are lost, with what has cut it, or None if both sides had sent all
        that they had to send and were given it.
    """

    __slots__ = (
        "__weakref__",
        "_deadlines",
        "_limits",
        "_on_end",
        "_opened_at",
        "clock",
        "deadline",
        "error",
        "far",
        "is_settled",
        "look_at",
        "moved_at",
        "near",
        "pipes",
        "unread_before",
    )

    near: TunnelEnd
    far: TunnelEnd

    def __init__(self, limits: TunnelLimits, tools: TunnelTools, on_end: Callable[[ProxyError | None], None]) -> None:
        self.clock = tools.clock
        self.is_settled = False
        """It ends, and it is known why."""
        self.error: ProxyError | None = None
        """What has cut it."""
        self.moved_at = 0.0
        """When a byte has come last, or a side that had too much has caught up; in seconds."""
        self.unread_before: float = NEVER
        """Bytes that waited at the last look since a side had too much; more than any number before the first."""
        self.deadline = self.look_at = NEVER
        self._opened_at = 0.0
        self._deadlines = tools.deadlines
        self.pipes = tools.pipes
        self._limits = limits
        self._on_end = on_end

    def open(self, near: Side, far: Side) -> None:
        """Take both transports over, pass on what has come early, and let them read.

        Neither transport may have a producer.
        """
        self._opened_at = self.moved_at = self.clock()
        self.near = TunnelEnd(near.transport, self, ClientLeft)
        self.far = TunnelEnd(far.transport, self, BackendClosed)
        self.near.other, self.far.other = self.far, self.near
        sides = (self.near, near), (self.far, far)
        for end, side in sides:
            side.transport.protocol = end
            side.transport.registerProducer(end, True)
            if not side.is_finished:
                side.transport.resumeProducing()
        for end, side in sides:
            if side.early:
                end.dataReceived(side.early)
            if side.is_finished:
                end.readConnectionLost()
        self._plan(self.moved_at)

    def complete(self) -> None:
        """Close both sides once they have everything: both have said that they send no more."""
        self.is_settled = True
        for end in (self.near, self.far):
            if not end.is_lost:
                end.transport.loseConnection()

    def cut(self, error: ProxyError) -> None:
        """Reset both sides, whatever waits to be sent.

        :param error: why.
        """
        self.is_settled = True
        if self.error is None:
            self.error = error
        for end in (self.near, self.far):
            if not end.is_lost:
                end.transport.abortConnection()

    def lost(self, end: TunnelEnd, error: ProxyError | None) -> None:
        """Take note that a side is gone.

        :param error: what that means unless there was another reason before; None if it has ended as it should.
        """
        other = end.other
        if error is not None:
            self.cut(error)
        elif not other.is_lost and not self.is_settled:
            # It knows nothing of half-closed connections: it has said all, and wants no more.
            end.is_finished = True
            other.transport.unregisterProducer()
            self.complete()
        if other.is_lost:
            self._finish()

    def _finish(self) -> None:
        self._deadlines.forget(self)
        on_end, self._on_end = self._on_end, None  # type: ignore[assignment]
        if on_end is not None:
            on_end(self.error)
            self.near.let_go()
            self.far.let_go()

    # Time.

    def deadline_passed(self) -> None:
        """Look whether it has lasted too long, or nothing has moved for too long."""
        now, limits = self.clock(), self._limits
        if (self.near.has_to_wait or self.far.has_to_wait) and self._reads_on():
            self.moved_at = now
        if limits.max_s and now >= self._opened_at + limits.max_s:
            self.cut(TooOld(f"open for {limits.max_s} s"))
        elif now >= self.moved_at + limits.idle_s:
            self.cut(IdleTimeout(f"no byte for {limits.idle_s} s"))
        else:
            self._plan(now)

    def _reads_on(self) -> bool:
        """Return whether any of what waits was read since this was last asked.

        The kernel may hold megabytes that a side has not read, and there is no event while it reads slowly.
        """
        before, self.unread_before = self.unread_before, self._unread()
        return self.unread_before < before

    def _unread(self) -> int:
        """Return how many bytes wait for either side to read them."""
        waiting = 0
        for end in (self.near, self.far):
            if not end.is_lost:
                ask = getattr(end.transport, "unread_bytes", None)
                waiting += getattr(end.transport, "queued_bytes", 0) if ask is None else int(ask())
        return waiting

    def _plan(self, now: float) -> None:
        limits = self._limits
        until = min(self.moved_at + limits.idle_s, now + _LOOK_S)
        if limits.max_s:
            until = min(until, self._opened_at + limits.max_s)
        self.deadline = until
        if until < self.look_at:
            self._deadlines.watch(self)

    def __repr__(self) -> str:
        return f"<Tunnel {'ending' if self.is_settled else 'open'}>"
