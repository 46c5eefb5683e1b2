"""The connected stream socket, from which the TCP and unix transports are built."""

from __future__ import annotations

import socket
import sys
from fcntl import ioctl
from termios import TIOCOUTQ
from typing import Any

from twisted.internet import tcp
from twisted.internet._newtls import startTLS
from twisted.internet.abstract import FileDescriptor
from twisted.internet.error import ConnectionAborted
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
from twisted.python.failure import Failure
from zope.interface import implementer

from txproxy.net.interfaces import IEagerTransport
from txproxy.net.sending import EagerWriter

READ_BYTES = 81920
"""
At most so many bytes are read at a time: 64 KiB, by which most programs write what is long, come whole with their head.
Where they come in two pieces, what is left of the second costs as much as a short reply. It is a number of whole
records of TLS, and frames of HTTP/2, for what goes on in those. From TLS itself four records are read at a time.

Each read has a buffer of its own. One that all share (C{recv_into}) would have to be copied from, which costs more than
the allocation that it saves: 2.40 against 2.25 microseconds for 100 bytes sent and read, 4.54 against 4.05 for 16 KiB.
"""

_DONE = Failure(CONNECTION_DONE)


def _read_nothing() -> None:
    """Stand in for C{doRead} while a connection waits to be closed: that costs no call of epoll_ctl(2)."""


_TLS_METHODS = ("write", "writeSequence", "registerProducer", "unregisterProducer")


@implementer(IEagerTransport)
class EagerConnection(EagerWriter, tcp.Connection):  # type: ignore[misc]
    """
    A connected stream socket.

    @ivar fileno: the socket's own method while the connection lasts, so that the reactor asks without a detour.
    @ivar splice_out: the L{txproxy.net.splice.Splice} that reads from this connection, if there is one.
    """

    protocol: Any
    server: Any = None
    reactor: Any
    splice_out: Any = None

    # No other process has the descriptor: close(2) alone ends the connection, one system call less.
    _shouldShutdown = False  # noqa: N815 - Twisted's name

    def __init__(self, skt: socket.socket, protocol: Any, reactor: Any) -> None:
        """
        @param skt: a stream socket; it is made non-blocking.
        @param protocol: the protocol that the bytes go to; C{None} until a client is connected.
        @param reactor: an C{IReactorFDSet} and C{IReactorTime}.
        """
        # The constructors above are not called: the buffers that they make are not used here.
        skt.setblocking(False)
        self.reactor = reactor
        self.socket = skt
        self.fileno = skt.fileno
        self.protocol = protocol

    def doRead(self) -> Any:
        """
        Hand what has arrived to the protocol; called by the reactor when the socket is readable.

        @return: C{None}, or the reason why the connection (or its reading half) is over.
        """
        try:
            data = self.socket.recv(READ_BYTES)
        except BlockingIOError:
            return None
        except OSError:
            return CONNECTION_LOST
        if data:
            self.protocol.dataReceived(data)
            return None
        # A failed send consumes the socket's error, after which recv shows an end as clean as any.
        return CONNECTION_DONE if self._failure is None else CONNECTION_LOST

    def unread_bytes(self) -> int:
        """See L{IEagerTransport.unread_bytes}."""
        try:
            in_kernel = ioctl(self.socket, TIOCOUTQ, bytes(4))
        except (OSError, AttributeError):
            return self.queued_bytes
        return self.queued_bytes + int.from_bytes(in_kernel, sys.byteorder)

    def has_unread_or_closed(self) -> bool:
        """See L{IEagerTransport.has_unread_or_closed}."""
        if not self.connected:
            return True
        try:
            self.socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True

    def loseConnection(self) -> None:
        """
        Close once everything is sent.

        If nothing waits to be sent that is at the end of the reactor's turn, without asking whether the socket is
        writable.
        """
        if self.TLS or not self._direct or self.producer is not None or self._writeDisconnecting:
            tcp.Connection.loseConnection(self)
            return
        self._direct = False
        self.disconnecting = True
        close_soon = getattr(self.reactor, "close_soon", None)  # Another reactor than ours has none.
        if close_soon is not None and close_soon(self):
            self.doRead = _read_nothing  # type: ignore[method-assign]
        else:
            self.stopReading()
            self.reactor.callLater(0, self.close_now)

    def close_now(self) -> None:
        """Close, as C{loseConnection} has asked for; called by the reactor."""
        if not self.connected or self._aborting:
            return  # It was lost meanwhile, or will be.
        if self._queue is not None or self.producer is not None or not self._send_close():
            # There is something to be sent after all; doWrite closes.
            self.stopReading()
            self.startWriting()
            return
        self.connectionLost(_DONE)

    def _send_close(self) -> bool:
        """Return whether everything is sent that has to be sent before the socket is closed."""
        return True

    def abortConnection(self) -> None:
        """Drop what is queued, reset the connection; the protocol is told on the reactor's next turn."""
        if not self.disconnected:
            self._discard_queue()
        tcp.Connection.abortConnection(self)

    def startTLS(self, ctx: Any, normal: bool = True) -> None:
        """See C{twisted.internet.interfaces.ITLSTransport.startTLS}."""
        producer, streaming = self.producer, self.streamingProducer
        if producer is not None:
            self.unregisterProducer()
        startTLS(self, ctx, normal, EagerWriter)
        # Shadowed on the instance, so that connections without TLS pay for no test of a flag in each write.
        for name in _TLS_METHODS:
            setattr(self, name, getattr(self.protocol, name))
        if producer is not None:
            self.registerProducer(producer, streaming)

    def connectionLost(self, reason: Failure) -> None:
        """Close the socket and tell the protocol, once, whoever reports the loss."""
        if self.splice_out is not None:
            self.splice_out.source_lost()
        if self.splice_in is not None:
            self.splice_in.target_lost()
        if not hasattr(self, "socket"):
            return
        self._discard_queue()
        if self.TLS:
            for name in _TLS_METHODS:
                self.__dict__.pop(name, None)
        # As stock does, but for the question whether it was aborted, which C{Failure.check} answers slowly.
        FileDescriptor.connectionLost(self, reason)
        self._closeSocket(not isinstance(reason.value, ConnectionAborted))
        protocol = self.protocol
        del self.protocol, self.socket, self.fileno
        protocol.connectionLost(reason)

    def logPrefix(self) -> str:
        """@return: a word for log lines about this connection; made when asked for, because it hardly ever is."""
        return self._getLogPrefix(getattr(self, "protocol", None))
