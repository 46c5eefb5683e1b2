"""The connected stream socket that speaks TLS, from which the TCP and unix transports are built."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from OpenSSL import SSL
from OpenSSL.crypto import X509
from twisted.internet.error import ConnectionDone, ConnectionFdescWentAway, ConnectionLost
from twisted.internet.interfaces import INegotiated, ISSLTransport
from twisted.internet.main import CONNECTION_DONE
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from txproxy.net.interfaces import IEagerTransport
from txproxy.net.stream import EagerConnection
from txproxy.net.tls_calls import clear_errors, read
from txproxy.net.tls_failure import TlsFailure, cut, failure_of
from txproxy.net.tls_sending import TlsWriter

_log = Logger()

_DISCARD_BYTES = 65536
_MOST_RECORDS_WITHOUT_CONTENT = 8
"""Session tickets, of which a server sends two, and the like."""

_SOMEHOW_OVER = (ConnectionDone, ConnectionLost, ConnectionFdescWentAway)
"""What a reactor says of a socket, which knows nothing of close alerts."""


@implementer(IEagerTransport, ISSLTransport, INegotiated)
class TlsConnection(TlsWriter, EagerConnection):
    """
    A connected stream socket that speaks TLS: OpenSSL reads and writes the socket itself.

    Until the handshake is complete, what is written waits and nothing is handed to the protocol; C{pauseProducing}
    takes effect after it. A protocol that has C{handshakeCompleted} (C{IHandshakeListener}) is told then, and may put
    another in its place by setting C{protocol}.

    @ivar bytes_seen: whether the peer has sent anything at all.
    @ivar _handshake_writes: the handshake waits until something can be sent.
    @ivar _paused: reading was paused by the protocol.
    @ivar _read_wants_write: C{SSL_read} waits until something can be sent (its answer to a KeyUpdate).
    @ivar _left_inside: there may be something to be read that no event of the socket tells of.
    @ivar _trouble: what a read met behind the content that it returned.
    @ivar _close_received: the peer's close alert has come.
    @ivar _first_read: called with the SSL connection at the first content.
    """

    bytes_seen = False

    _handshake_writes = False
    _paused = False
    _read_wants_write = False
    _left_inside = False
    _trouble: SSL.Error | None = None
    _close_received = False
    _first_read: Callable[[SSL.Connection], None] | None = None

    # The handshake.

    def _shake_hands(self) -> Any:
        """
        Go on with the handshake.

        @return: C{None}, or the reason why the connection is over.
        """
        connection = self.ssl
        if connection is None:
            return None  # A reactor that found the socket readable and writable calls once more after a failure.
        clear_errors()
        try:
            connection.do_handshake()
        except SSL.WantReadError:
            if self._handshake_writes:
                self._handshake_writes = False
                self.reactor.removeWriter(self)
            self.reactor.addReader(self)
            return None
        except SSL.WantWriteError:
            # What else the peer sends is no reason to wake up before that.
            self._handshake_writes = True
            self.reactor.removeReader(self)
            self.reactor.addWriter(self)
            return None
        except SSL.Error as error:
            clear_errors()
            return self._handshake_failed(connection, error)
        if self._handshake_writes:
            self.reactor.removeWriter(self)
        return self._handshake_succeeded(connection)

    def _peer_spoke(self) -> bool:
        try:
            return bool(self.socket.recv(1, socket.MSG_PEEK))
        except OSError:
            return False

    def _handshake_failed(self, connection: SSL.Connection, error: SSL.Error) -> Any:
        raise NotImplementedError

    def _handshake_succeeded(self, connection: SSL.Connection) -> Any:
        raise NotImplementedError

    def _become_ready(self) -> None:
        """From here on bytes go to and from the protocol."""
        self._ready = True
        pull = self.producer is not None and not self.streamingProducer
        self._direct = self._queue is None and not pull and self._accepts_data()
        if self._reads():
            self.startReading()
        else:
            self.stopReading()
        if self._queue is not None or self.disconnecting or self._writeDisconnecting:
            self.startWriting()
        completed = getattr(self.protocol, "handshakeCompleted", None)
        if completed is not None:
            completed()

    # Reading.

    def doRead(self) -> Any:
        """
        Hand what has arrived to the protocol; called by the reactor when the socket is readable.

        @return: C{None}, or the reason why the connection (or its reading half) is over.
        """
        if not self._ready:
            self.bytes_seen = self.bytes_seen or self._peer_spoke()
            return self._shake_hands()
        if self._trouble is not None:
            return self._stopped_by(self._trouble)
        data, trouble = read(self.ssl)
        if data:
            self._spoke = False
            if self._first_read is not None:
                first_read, self._first_read = self._first_read, None
                first_read(self.ssl)  # type: ignore[arg-type]
            self.protocol.dataReceived(data)
        if trouble is not None:
            self._trouble = trouble
            if self._reads():
                return self._stopped_by(trouble)
            self._left_inside = True
        if self._write_wants_read and self.ssl is not None:
            self._write_wants_read = False
            self.startWriting()
        return None

    def _reads(self) -> bool:
        stopped = self._paused or self.disconnecting or self._aborting or self._close_received
        return bool(self.connected) and not stopped

    def _stopped_by(self, trouble: SSL.Error) -> Any:
        if isinstance(trouble, SSL.WantWriteError):
            self._trouble = None
            self._read_wants_write = True
            self.stopReading()
            self.reactor.addWriter(self)
            return None
        if isinstance(trouble, SSL.ZeroReturnError):
            self._close_received = True
            return CONNECTION_DONE
        # It says more than what a write may have met before.
        return self._failure_of(trouble)

    def _failure_of(self, trouble: SSL.Error) -> TlsFailure:
        return failure_of(trouble, False)

    def doWrite(self) -> BaseException | None:  # type: ignore[override]
        """
        Send what is queued; called by the reactor when the socket is writable.

        @return: C{None}, or the reason why the connection is over.
        """
        if not self._ready:
            return self._shake_hands()
        if self._read_wants_write:
            self._read_wants_write = False
            if self._reads():
                self.startReading()
        return super().doWrite()

    def pauseProducing(self) -> None:
        """See C{twisted.internet.interfaces.IPushProducer.pauseProducing}."""
        self._paused = True
        if self._ready:
            self.stopReading()

    def resumeProducing(self) -> None:
        """See C{twisted.internet.interfaces.IPushProducer.resumeProducing}."""
        self._paused = False
        if self._ready and self.connected and not self.disconnecting and not self._close_received:
            if not self._read_wants_write:
                self.startReading()
            if self._left_inside:
                self._read_soon()

    def _read_soon(self) -> None:
        self._left_inside = True
        self.reactor.callLater(0, self._read_what_is_left)

    def _read_what_is_left(self) -> None:
        """Do what the reactor does for a readable socket; there is no event for what OpenSSL has read already."""
        if not self._left_inside or not self._reads():
            return
        self._left_inside = False
        try:
            why = self.doRead()
        except BaseException as error:
            _log.failure("a protocol raised while it was handed data")
            why = error
        if why is None:
            return
        self.stopReading()
        if why is CONNECTION_DONE:
            self.readConnectionLost(Failure(why))
        else:
            self.stopWriting()
            self.connectionLost(Failure(why))

    def has_unread_or_closed(self) -> bool:
        """
        See L{IEagerTransport.has_unread_or_closed}.

        What is no content (a session ticket, RFC 8446 section 4.6.1) is taken in on the way and does not count.
        """
        if not self.connected or not self._ready or self._trouble is not None:
            return True
        clear_errors()
        try:
            if not self._has_content():
                return False
        except SSL.Error as error:
            clear_errors()
            self._trouble = error.with_traceback(None)
        self._read_soon()
        return True

    def _has_content(self) -> bool:
        for _ in range(_MOST_RECORDS_WITHOUT_CONTENT):
            try:
                self.ssl.recv(1, socket.MSG_PEEK)  # type: ignore[union-attr]
                return True
            except SSL.WantReadError:
                # Each record without content is a turn of its own; is there another one?
                try:
                    self.socket.recv(1, socket.MSG_PEEK)
                except OSError:
                    return False
        return True  # Nobody has so much to say for nothing.

    # The end.

    def loseConnection(self) -> None:
        """
        Send what is queued and the close alert, then close, without waiting for the peer's.

        Before the handshake is complete: abort, unless something waits to be sent after it.
        """
        if self._ready or not self.connected:
            super().loseConnection()
        elif self._queue is None:
            self.abortConnection()
        else:
            self.disconnecting = True

    def readConnectionLost(self, reason: Failure) -> None:
        """The peer sends no more. Without its close alert that is no clean end (RFC 8446 section 6.1)."""
        if self._close_received:
            super().readConnectionLost(reason)
        else:
            self.connectionLost(reason)

    def connectionLost(self, reason: Failure) -> None:
        """Close the socket and tell the protocol, once, whoever reports the loss."""
        if reason.type in _SOMEHOW_OVER and not (
            reason.type is ConnectionDone and (self._close_received or self._close_sent)
        ):
            reason = Failure(cut("the connection was lost", not self._ready))
        if self._close_received and self._queue is None and self._ready and not self._aborting:
            self._send_close()
        if self._close_sent and not self._close_received:
            self._discard_unread()
        self._let_go()
        super().connectionLost(reason)

    def _discard_unread(self) -> None:
        # The peer's close alert, for instance. Closing with bytes unread would reset the connection and destroy what
        # the kernel has not sent yet.
        try:  # noqa: SIM105 - it raises nearly always, and `suppress` would take longer than the call
            self.socket.recv(_DISCARD_BYTES)
        except (OSError, AttributeError):
            pass  # There is nothing, as nearly always; or there was another loss before this one.

    def _let_go(self) -> None:
        connection, self.ssl = self.ssl, None
        if connection is not None and not self._close_sent:
            # Else OpenSSL would forbid to resume its session; TLS has allowed that since 1.1 (RFC 4346 section 7.2.1).
            # After a fatal alert it has done so already.
            connection.set_shutdown(SSL.SENT_SHUTDOWN | SSL.RECEIVED_SHUTDOWN)

    # What is known of the other side.

    @property
    def negotiatedProtocol(self) -> bytes | None:  # noqa: N802 - Twisted's name
        """See C{twisted.internet.interfaces.INegotiated.negotiatedProtocol}."""
        return self.ssl.get_alpn_proto_negotiated() or None if self.ssl is not None else None

    def getPeerCertificate(self) -> X509 | None:
        """@return: the certificate that the peer showed, if it showed one."""
        return self.ssl.get_peer_certificate() if self.ssl is not None else None

    def getHandle(self) -> Any:
        """@return: the C{SSL.Connection}, as stock TLS transports do."""
        return self.ssl

    def startTLS(self, ctx: Any, normal: bool = True) -> None:
        """@raise NotImplementedError: always; this is TLS already."""
        raise NotImplementedError("TLS within TLS")
