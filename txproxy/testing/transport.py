"""A stream transport whose socket, and the kernel's buffers behind it, are attributes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from txproxy.net.interfaces import IEagerTransport, IPausablePort, IPeekingTransport
from txproxy.net.peeking import PEEK_BYTES
from txproxy.net.sending import HIGH_WATERMARK_BYTES, LOW_WATERMARK_BYTES
from txproxy.net.stream import READ_BYTES


@implementer(IEagerTransport, IPeekingTransport)
class FakeTransport:
    """A connected transport that behaves as those of ``txproxy.net``, one ``turn`` of a reactor at a time.

    The protocol is never called from within one of its own calls, except that a streaming producer may be paused.

    :param peer: address object of the other side.
    :param host: address object of this side.
    """

    def __init__(self, peer: Any, host: Any) -> None:
        self.protocol: Any = None
        self.sent = bytearray()
        """What the kernel has taken; a test may empty it."""
        self.room: int | None = None
        """How many more bytes the kernel takes, for its peer does not read; None for any number."""
        self.arriving = bytearray()
        """What the peer has sent and the protocol has not been given yet."""
        self.peer_finished = False
        """The peer has said that it sends no more: a FIN, noticed after all that is ``arriving``."""
        self.is_reading = True
        self.producer: Any = None
        self.streaming = False
        self.producer_paused = False
        self.is_shut = False
        """Our sending side is closed: the peer has seen a FIN."""
        self.disconnecting = False
        self.disconnected = False
        self.was_aborted = False
        """The peer has seen a reset."""
        self.in_kernel = 0
        """Bytes that the kernel has taken and the peer has not."""
        self.bytes_seen = False
        """Of TLS transports: the peer has sent something."""
        self.ssl: Any = None
        """Of TLS transports: what OpenSSL knows of the connection."""
        self.proxied: Any = None
        self._is_peeking = False
        self._queue = bytearray()
        self._finish_wanted = False
        self._is_watched = False
        """The reactor was asked to say when it is writable: nothing is closed before it says so."""
        self._end_seen = False
        self._loss: Exception | None = None
        self._peer, self._host = peer, host

    def connect(self, protocol: Any) -> None:
        """Give the transport its protocol, as a reactor does."""
        self.protocol = protocol
        protocol.makeConnection(self)

    # What protocols call.

    def write(self, data: bytes) -> None:
        """Send as much as the kernel takes now; the rest waits. Too much of it pauses a streaming producer."""
        if not isinstance(data, bytes):
            raise TypeError("Data must be bytes")
        if self.disconnected or self.was_aborted or self.is_shut:
            return
        self._queue += data
        self._send()
        self._is_watched = self._is_watched or bool(self._queue)
        if self.queued_bytes > HIGH_WATERMARK_BYTES and self.producer and self.streaming and not self.producer_paused:
            self.producer_paused = True
            self.producer.pauseProducing()

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """Send several pieces as if they were one."""
        self.write(b"".join(data))

    @property
    def queued_bytes(self) -> int:
        """Bytes that were written and that the kernel has not taken."""
        return len(self._queue)

    def unread_bytes(self) -> int:
        """Return how much the peer has not taken: what waits here, and what waits ``in_kernel``."""
        return len(self._queue) + self.in_kernel

    def has_unread_or_closed(self) -> bool:
        """Return whether anything has come, or the connection has ended, since the protocol was told last."""
        return bool(self.arriving or self.peer_finished or self._loss or self.disconnected)

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Take part in flow control.

        :raises RuntimeError: if another producer is registered.
        """
        if self.producer is not None:
            raise RuntimeError(f"{self.producer} was never unregistered")
        if self.disconnected:
            producer.stopProducing()
            return
        self.producer, self.streaming, self.producer_paused = producer, streaming, False
        if not streaming:
            producer.resumeProducing()

    def unregisterProducer(self) -> None:
        """Take no more part in flow control."""
        self.producer, self.producer_paused = None, False
        self._is_watched = self._is_watched or self.disconnecting or self._finish_wanted

    def pauseProducing(self) -> None:
        """Read nothing more."""
        self.is_reading = False

    def resumeProducing(self) -> None:
        """Read on, from the next turn."""
        if not (self.disconnecting or self.disconnected or self.was_aborted):
            self.is_reading = True

    def stopProducing(self) -> None:
        """Close."""
        self.loseConnection()

    def loseConnection(self) -> None:
        """Close once everything is sent and no paused producer has more to say; read nothing more."""
        self.disconnecting = True
        self.is_reading = False
        self._is_watched = True

    def loseWriteConnection(self) -> None:
        """Close our sending side once everything is sent."""
        self._finish_wanted = True
        self._is_watched = True

    def abortConnection(self) -> None:
        """Drop what waits and reset the connection; the protocol is told on the next turn."""
        if not self.disconnected and not self.was_aborted:
            self.was_aborted = True
            self.is_reading = False
            self._queue.clear()

    def begin_peeking(self) -> None:
        """Show the protocol what arrives, and leave what it does not take."""
        self._is_peeking = True

    def end_peeking(self) -> None:
        """Hand on what arrives."""
        self._is_peeking = False

    def present_as(self, peer: Any, proxied: Any) -> None:
        """Have somebody stand for the peer."""
        self._peer, self.proxied = peer, proxied

    def getPeer(self) -> Any:
        """Return the other side's address."""
        return self._peer

    def getHost(self) -> Any:
        """Return this side's address."""
        return self._host

    # What tests and `Peer` call.

    def lose(self, reason: Exception | None = None) -> None:
        """Have the connection fail on the next turn: the peer has reset it, or it timed out.

        :param reason: ``ConnectionLost`` if omitted.
        """
        self._loss = reason or ConnectionLost()

    def turn(self) -> bool:
        """Do what a reactor would do in one turn.

        :return: whether there was anything to do.
        """
        if self.disconnected:
            return False
        if self.was_aborted or self._loss is not None:
            self._end(ConnectionAborted() if self.was_aborted else self._loss)
            return True
        return self._read_some() or self._write_some()

    def _read_some(self) -> bool:
        if not self.is_reading or self._end_seen:
            return False
        if self.arriving and self._is_peeking:
            protocol = self.protocol
            taken = protocol.peeked(bytes(self.arriving[:PEEK_BYTES]))
            del self.arriving[:taken]
            if taken:
                protocol.taken()
            return True
        if self.arriving:
            data = bytes(self.arriving[:READ_BYTES])
            del self.arriving[: len(data)]
            self.protocol.dataReceived(data)
            return True
        if self.peer_finished:
            self._end_seen = True
            half_closeable = IHalfCloseableProtocol(self.protocol, None)
            if half_closeable is None:
                self._end(ConnectionDone())
            else:
                self.is_reading = False
                half_closeable.readConnectionLost()
            return True
        return False

    def _write_some(self) -> bool:
        before = self.queued_bytes
        self._send()
        if self.queued_bytes:
            if self.producer_paused and self.queued_bytes <= LOW_WATERMARK_BYTES and not self.disconnecting:
                self._resume_producer()
                return True
            return self.queued_bytes < before
        if not self._is_watched:
            return before > 0
        self._is_watched = False
        if self.producer_paused:
            self._resume_producer()
        elif self.disconnecting:
            self._end(ConnectionDone())
        elif self._finish_wanted and not self.is_shut:
            self.is_shut = True
            half_closeable = IHalfCloseableProtocol(self.protocol, None)
            if half_closeable is not None:
                half_closeable.writeConnectionLost()
        else:
            return before > 0
        return True

    def _resume_producer(self) -> None:
        self.producer_paused = False
        self.producer.resumeProducing()

    def _send(self) -> None:
        most = len(self._queue) if self.room is None else min(self.room, len(self._queue))
        self.sent += self._queue[:most]
        del self._queue[:most]
        if self.room is not None:
            self.room -= most

    def _end(self, reason: Any) -> None:
        self.disconnected = True
        self.is_reading = False
        self._queue.clear()
        producer, self.producer = self.producer, None
        if producer is not None:
            producer.stopProducing()
        self.protocol.connectionLost(Failure(reason))

    def __repr__(self) -> str:
        state = "closed" if self.disconnected else "closing" if self.disconnecting else "open"
        return f"<FakeTransport {state}, {'reading' if self.is_reading else 'paused'}, {self.queued_bytes} bytes wait>"


@implementer(IPausablePort)
class FakePort:
    """A listening port that only remembers what it was told.

    :param host: address object of where it listens.
    :param factory: of the protocols of its connections.
    """

    def __init__(self, host: Any = None, factory: Any = None) -> None:
        self._host = host
        self.factory = factory
        self.is_accepting = True
        self.is_listening = True
        self.is_shared = False
        self.owns_file = False

    def pause_accepting(self) -> None:
        """See ``IPausablePort``."""
        self.is_accepting = False

    def resume_accepting(self) -> None:
        """See ``IPausablePort``."""
        self.is_accepting = True

    def startListening(self) -> None:
        """Listen."""
        self.is_listening = True

    def stopListening(self) -> None:
        """Listen no more."""
        self.is_listening = False

    def share(self) -> None:
        """See ``ISharedPort``."""
        self.is_shared = True

    def own_file(self) -> None:
        """See ``ISharedPort``."""
        self.owns_file = True

    def getHost(self) -> Any:
        """Return where it listens."""
        return self._host
