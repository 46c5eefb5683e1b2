"""The sending half of a TLS connection: records go straight to the kernel, only what it does not take waits."""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Iterable
from typing import Any

from OpenSSL import SSL

from txproxy.net.sending import EagerWriter
from txproxy.net.tls_calls import RECORD_BYTES, clear_errors, write
from txproxy.net.tls_failure import failure_of


class TlsWriter(EagerWriter):
    """
    The sending half of a TLS connection.

    Each call of C{SSL_write} makes a record, which costs some 25 bytes on the wire and a system call. So pieces are
    joined to whole records, and what is longer than a record is encrypted from where it is.

    Once C{SSL_write} could not send all of a record, the rest of that waits within OpenSSL, and the next call must
    begin with the same bytes and be as long at least: so what stands at the head of the queue stays there until it is
    taken.

    @ivar ssl: C{None} before TLS begins and after the connection has ended.
    @ivar _write_wants_read: C{SSL_write} waits for bytes of the peer (a renegotiation, up to TLS 1.2).
    @ivar _ending: the close alert is being sent: nothing can be sent after it.
    @ivar _close_sent: the close alert has been sent.
    @cvar _hears_out: look for what the peer has said before speaking on. After a write that failed OpenSSL reads
        nothing more, so that an early reply (C{413}, then a reset, in the middle of a long request) would be lost.
    @ivar _spoke: something was sent since content was read last.
    """

    ssl: SSL.Connection | None = None

    _ready = False
    _send_errors = SSL.Error
    _write_wants_read = False
    _ending = False
    _close_sent = False
    _hears_out = False
    _spoke = False

    def write(self, data: bytes) -> None:
        """
        Send C{data}, at once as far as the kernel takes it; before the handshake is complete it waits for that.

        The protocol is never called from here, except that a registered streaming producer may be paused.

        @raise TypeError: if C{data} is not C{bytes}.
        """
        if self._direct and type(data) is bytes and 0 < len(data) <= RECORD_BYTES:
            if self._hears_out and self._must_hear():
                self._enqueue(data, len(data))
                return
            try:
                sent = write(self.ssl, data)
            except SSL.WantWriteError:
                sent = 0
            except SSL.WantReadError:
                sent = 0
                self._write_wants_read = True
            except SSL.Error as error:
                self._fail_later(self._reason_of(error))
                return
            if sent == len(data):
                return
            self._enqueue(memoryview(data)[sent:] if sent else data, len(data) - sent)
            return
        if not isinstance(data, bytes):
            raise TypeError("Data must be bytes")
        if data and self._accepts_data():
            self._append(data, len(data))
            self._send_or_wait()

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        """
        Send several pieces as if they were one.

        @raise TypeError: if a piece is not C{bytes}; nothing was sent then.
        """
        pieces = list(iovec)
        total = 0
        for piece in pieces:
            if not isinstance(piece, bytes):
                raise TypeError("Data must be bytes")
            total += len(piece)
        if total <= RECORD_BYTES:
            self.write(b"".join(pieces))
        elif self._accepts_data():
            for piece in pieces:
                if piece:
                    self._append(piece, len(piece))
            self._send_or_wait()

    def _accepts_data(self) -> bool:
        return not self._ending and super()._accepts_data()

    def _must_hear(self) -> bool:
        if self._spoke:
            try:
                # Nothing is read here: the reactor's next turn reads first and writes then.
                self.socket.recv(1, socket.MSG_PEEK)
            except BlockingIOError:
                return False
            except OSError:
                pass
            return True
        self._spoke = True
        return False

    def _send_or_wait(self) -> None:
        if self._direct and self._queue is not None and not (self._hears_out and self._must_hear()):
            try:
                self._send_queued(self._queue)
            except BlockingIOError:
                pass
            except SSL.Error as error:
                self._fail_later(self._reason_of(error))
                return
            if not self._queued:
                self._queue = None
                return
        self._wait_for_writable()

    def _send_queued(self, queue: deque[bytes | memoryview]) -> None:
        # No more than SEND_LIMIT in one turn: encrypting it takes long enough for others to have theirs.
        room = self.SEND_LIMIT
        while queue and room > 0:
            record = self._head_record(queue)
            try:
                sent = write(self.ssl, record)
            except SSL.WantWriteError:
                if room == self.SEND_LIMIT:
                    raise BlockingIOError from None
                return
            except SSL.WantReadError:
                self._write_wants_read = True
                if room == self.SEND_LIMIT:
                    raise BlockingIOError from None
                return
            room -= sent
            self._queued -= sent
            if sent < len(record):
                queue[0] = memoryview(record)[sent:]
            else:
                queue.popleft()

    def _head_record(self, queue: deque[bytes | memoryview]) -> bytes | memoryview:
        """Return what stands at the head of the queue: a record's worth, if there is as much."""
        first = queue[0]
        if len(first) >= RECORD_BYTES or len(queue) == 1:
            return first
        pieces: list[bytes | memoryview] = []
        room = RECORD_BYTES
        for chunk in queue:
            if len(chunk) > room:
                break
            pieces.append(chunk)
            room -= len(chunk)
        for _ in pieces:
            queue.popleft()
        if room and queue:
            pieces.append(memoryview(queue[0])[:room])
            queue[0] = memoryview(queue[0])[room:]
        joined = b"".join(pieces)
        queue.appendleft(joined)
        return joined

    def _reason_of(self, error: Exception) -> BaseException:
        return failure_of(error, False)

    def startWriting(self) -> None:
        """Watch for the socket to be writable, unless what is written waits for something else."""
        if not self.connected or (self._ready and not self._write_wants_read):
            super().startWriting()

    def doWrite(self) -> BaseException | None:
        """
        Send what is queued; called by the reactor when the socket is writable.

        @return: C{None}, or the reason why the connection is over.
        """
        reason = super().doWrite()
        if self._write_wants_read:
            self.stopWriting()
        return reason

    def _queue_emptied(self) -> Any:
        ending = self.disconnecting or (self._writeDisconnecting and not self._writeDisconnected)
        awaits_more = self.producer is not None and (self.producerPaused or not self.streamingProducer)
        if ending and not awaits_more and not self._send_close():
            return None  # The kernel took no more; doWrite comes here again.
        return super()._queue_emptied()

    def _send_close(self) -> bool:
        """
        Send the close alert (RFC 8446 section 6.1).

        @return: False if the kernel does not take it now.
        """
        if not self._close_sent and self.ssl is not None:
            self._ending = True
            self._direct = False
            try:
                self.ssl.shutdown()
            except SSL.WantWriteError:
                return False
            except SSL.Error:
                clear_errors()  # A peer that cannot be told has ended the connection itself.
            self._close_sent = True
        return True
