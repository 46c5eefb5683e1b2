"""The sending half of a stream transport: straight into the kernel, and only what it does not take into a queue."""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

from twisted.internet.abstract import FileDescriptor
from twisted.internet.interfaces import IProducer
from twisted.internet.main import CONNECTION_LOST

HIGH_WATERMARK_BYTES = 65536
"""A streaming producer is paused once more than this waits in the queue."""

LOW_WATERMARK_BYTES = 32768
"""A paused streaming producer is resumed once no more than this waits in the queue."""

_JOIN_BYTES = 16384
"""Up to this size the pieces are copied into one and sent by C{send}; a copy of so little costs less than a vector."""

_VECTOR_CHUNKS = 64
"""At most so many chunks go into one C{sendmsg}; far below IOV_MAX (1024), enough to fill C{SEND_LIMIT} in practice."""


class EagerWriter(FileDescriptor):
    """
    The sending half of a stream transport.

    @ivar _direct: True while C{write} may hand bytes to the kernel itself: connected, nothing queued before them, the
        sending side open and sound, and no pull producer (which is driven from C{doWrite}).
    @ivar _queue: chunks that the kernel did not take yet, oldest first; C{None} when there are none, because an idle
        connection shall not pay for an empty deque.
    @ivar _queued: total length of C{_queue} in bytes.
    @ivar _failure: why the connection is over, once C{write} met an error; the loss is reported from the reactor, never
        from within C{write}.
    @ivar _ready: False while what is written must wait for something else than the socket: a handshake, or bytes in
        the pipe of a splice, which go first.
    @ivar splice_in: the L{txproxy.net.splice.Splice} that sends on this connection, if there is one.
    @cvar _send_errors: what sending raises when the connection is broken.
    """

    socket: socket.socket
    bufferSize = HIGH_WATERMARK_BYTES

    _direct = False
    _queue: deque[bytes | memoryview] | None = None
    _queued = 0
    _failure: BaseException | None = None
    _ready = True
    _send_errors: Any = OSError
    _aborting = False
    splice_in: Any = None

    @property
    def queued_bytes(self) -> int:
        """See L{IEagerTransport.queued_bytes}."""
        return self._queued if self.splice_in is None else self._queued + self.splice_in.held

    def write(self, data: bytes) -> None:
        """
        Send C{data}, at once as far as the kernel takes it.

        The protocol is never called from here, except that a registered streaming producer may be paused.

        @raise TypeError: if C{data} is not C{bytes}.
        """
        if self._direct and type(data) is bytes:
            try:
                sent = self.socket.send(data)
            except BlockingIOError:
                sent = 0
            except OSError:
                self._fail_later(CONNECTION_LOST)
                return
            if sent == len(data):
                return
            # A view of the rest keeps the whole of `data` alive but copies nothing.
            self._enqueue(memoryview(data)[sent:] if sent else data, len(data) - sent)
            return
        if not isinstance(data, bytes):
            raise TypeError("Data must be bytes")
        if data and self._accepts_data():
            self._enqueue(data, len(data))

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        """
        Send several pieces as if they were one: short ones in one C{send}, long ones in one C{sendmsg} without a copy.

        @raise TypeError: if a piece is not C{bytes}; nothing was sent then.
        """
        pieces: Sequence[bytes] = iovec if type(iovec) in (list, tuple) else list(iovec)  # type: ignore[assignment]
        total = 0
        for piece in pieces:
            if not isinstance(piece, bytes):
                raise TypeError("Data must be bytes")
            total += len(piece)
        if total <= _JOIN_BYTES:
            EagerWriter.write(self, b"".join(pieces))
            return
        sent = 0
        if self._direct:
            try:
                sent = self.socket.sendmsg(pieces[:_VECTOR_CHUNKS])
            except BlockingIOError:
                pass
            except OSError:
                self._fail_later(CONNECTION_LOST)
                return
            if sent == total:
                return
        elif not self._accepts_data():
            return
        for piece in pieces:
            if sent >= len(piece):
                sent -= len(piece)
            elif sent:
                self._append(memoryview(piece)[sent:], len(piece) - sent)
                sent = 0
            else:
                self._append(piece, len(piece))
        self._wait_for_writable()

    def _accepts_data(self) -> bool:
        return bool(self.connected) and not (self._writeDisconnected or self._aborting or self._failure is not None)

    def _append(self, chunk: bytes | memoryview, length: int) -> None:
        if self._queue is None:
            self._queue = deque()
        self._queue.append(chunk)
        self._queued += length

    def _enqueue(self, chunk: bytes | memoryview, length: int) -> None:
        self._append(chunk, length)
        self._wait_for_writable()

    def _wait_for_writable(self) -> None:
        self._direct = False
        self._maybePauseProducer()
        self.startWriting()

    def _isSendBufferFull(self) -> bool:
        return self._queued > self.bufferSize

    def _maybePauseProducer(self) -> None:
        # Unlike stock, a producer that is paused already is not paused once more by each further write.
        producer = self.producer
        if producer is not None and self.streamingProducer and not self.producerPaused and self._isSendBufferFull():
            self.producerPaused = True
            producer.pauseProducing()  # type: ignore[attr-defined]

    @property
    def has_queue(self) -> bool:
        """Whether bytes that were written wait for the socket."""
        return self._queue is not None

    @property
    def takes_no_more(self) -> bool:
        """Whether sending is over: the connection is lost, has failed, or its sending side is being closed."""
        return bool(self.disconnecting or self._writeDisconnecting) or not self._accepts_data()

    def hold_writes(self) -> None:
        """Have what is written wait in the queue until L{release_writes}."""
        self._ready = self._direct = False

    def release_writes(self, first: bytes = b"") -> None:
        """
        Send what is written again.

        @param first: bytes that go before everything that waits.
        """
        self._ready = True
        if first and self._accepts_data():
            self._append(first, 0)
            if self._queue is not None:
                self._queue.rotate(1)
            self._queued += len(first)
        if self._queue is not None:
            self._wait_for_writable()
        else:
            self._direct = self._accepts_data() and (self.producer is None or self.streamingProducer)

    def _fail_later(self, reason: BaseException) -> None:
        self._failure = reason
        self._discard_queue()
        # doWrite reports the loss on the reactor's next turn, after doRead had its chance at bytes that came before it.
        self.startWriting()

    def _discard_queue(self) -> None:
        self._direct = False
        self._queue = None
        self._queued = 0

    def doWrite(self) -> BaseException | None:
        """
        Send what is queued; called by the reactor when the socket is writable.

        @return: C{None}, or the reason why the connection is over.
        """
        if self._failure is not None:
            return self._failure
        if self._queue is not None:
            try:
                self._send_queued(self._queue)
            except BlockingIOError:
                return None
            except self._send_errors as error:
                self._discard_queue()
                self._failure = self._reason_of(error)
                return self._failure
            if self._queued:
                # While disconnecting, stock's rule holds (resume at empty): a producer that is not paused does not keep
                # the connection open.
                if self.producerPaused and self._queued <= LOW_WATERMARK_BYTES and not self.disconnecting:
                    self._resume_producer()
                return None
            self._queue = None
        return self._queue_emptied()

    def _reason_of(self, error: Exception) -> BaseException:
        return CONNECTION_LOST

    def _send_queued(self, queue: deque[bytes | memoryview]) -> None:
        first = queue[0]
        if len(queue) == 1 or len(first) >= self.SEND_LIMIT:
            sent = self.socket.send(first if len(first) <= self.SEND_LIMIT else memoryview(first)[: self.SEND_LIMIT])
        else:
            batch: list[bytes | memoryview] = []
            room = self.SEND_LIMIT
            for chunk in islice(queue, _VECTOR_CHUNKS):
                batch.append(chunk if len(chunk) <= room else memoryview(chunk)[:room])
                room -= len(chunk)
                if room <= 0:
                    break
            sent = self.socket.sendmsg(batch)
        self._queued -= sent
        while sent:
            chunk = queue[0]
            if sent < len(chunk):
                queue[0] = memoryview(chunk)[sent:]
                return
            sent -= len(chunk)
            queue.popleft()

    def _queue_emptied(self) -> Any:
        self.stopWriting()
        pull = self.producer is not None and not self.streamingProducer
        self._direct = not pull and self._accepts_data()
        if self.producer is not None and (pull or self.producerPaused):
            self._resume_producer()
        elif self.disconnecting:
            return self._postLoseConnection()
        elif self._writeDisconnecting and not self._writeDisconnected:
            self._direct = False
            self._writeDisconnected = True
            return self._closeWriteConnection()
        return None

    def _resume_producer(self) -> None:
        self.producerPaused = False
        if self.producer is not None:
            self.producer.resumeProducing()  # type: ignore[attr-defined]

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """
        See C{twisted.internet.interfaces.IConsumer.registerProducer}.

        @raise RuntimeError: if another producer is registered.
        """
        if self.producer is not None:
            raise RuntimeError(f"Cannot register producer {producer}, because {self.producer} was never unregistered.")
        if self.disconnected:
            producer.stopProducing()
            return
        self.producer = producer
        self.streamingProducer = streaming
        self.producerPaused = False
        if not streaming:
            self._direct = False
            producer.resumeProducing()  # type: ignore[attr-defined]

    def unregisterProducer(self) -> None:
        """See C{twisted.internet.interfaces.IConsumer.unregisterProducer}."""
        self.producer = None
        self.producerPaused = False
        self._direct = self._ready and self._queue is None and self._accepts_data()
        if self.connected and (self.disconnecting or self._writeDisconnecting):
            self.startWriting()
