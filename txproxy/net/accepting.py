"""The accept loop of a listening socket."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

_log = Logger()

_STARVED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

_FIRST_REST_S = 0.1
_LONGEST_REST_S = 1.0

# accept(2): errors of the connection that was about to be returned, not of the listening socket.
_LOST_IN_BACKLOG = frozenset(
    number
    for number in (
        getattr(errno, name, None)
        for name in (
            "ECONNABORTED",
            "EPERM",
            "EPROTO",
            "ENETDOWN",
            "ENOPROTOOPT",
            "EHOSTDOWN",
            "ENONET",
            "EHOSTUNREACH",
            "EOPNOTSUPP",
            "ENETUNREACH",
        )
    )
    if number is not None
)


class AcceptLoop:
    """
    Mixed into a C{twisted.internet.tcp.Port}: C{doRead} accepts a bounded number of connections and survives a shortage
    of descriptors or memory without spinning.

    When C{accept} reports a shortage the socket would stay readable and the reactor would spin, so the port rests for
    0.1 s, doubling up to 1 s until a connection was accepted; clients wait in the backlog and existing connections go
    on. (Stock Twisted accepts and closes them instead.)

    @cvar accepts_per_turn: at most so many connections are accepted before other sockets have their turn.
    """

    accepts_per_turn = 64

    socket: Any
    addressFamily: Any  # noqa: N815 - Twisted's names
    socketType: Any  # noqa: N815
    reactor: Any
    factory: Any
    transport: Callable[..., Any]
    connected: Any
    disconnecting: Any
    sessionno: int

    _held = False
    _rest: IDelayedCall | None = None
    _rest_s = _FIRST_REST_S
    _starving = False

    def pause_accepting(self) -> None:
        """See L{IPausablePort.pause_accepting}."""
        if not self._held:
            self._held = True
            if self.connected:
                self.stopReading()  # type: ignore[attr-defined]

    def resume_accepting(self) -> None:
        """See L{IPausablePort.resume_accepting}."""
        if self._held:
            self._held = False
            if self.connected and not self.disconnecting:
                self.startReading()

    def startReading(self) -> None:
        """Watch the socket, unless the port is paused or rests."""
        if not self._held and self._rest is None:
            super().startReading()  # type: ignore[misc]

    def doRead(self) -> None:
        """Accept the connections that wait; called by the reactor."""
        for _ in range(self.accepts_per_turn):
            # A protocol that was just made may have paused or closed this port.
            if self._held or self.disconnecting or not self.connected:
                return
            try:
                skt, sockaddr = self._accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _LOST_IN_BACKLOG:
                    continue
                self._rest_from(error)
                return
            self._starving = False
            self._rest_s = _FIRST_REST_S
            self._accepted(skt, sockaddr)

    def _accept(self) -> Any:
        accept = getattr(self.socket, "_accept", None)
        if accept is None:
            return self.socket.accept()
        # What ``socket.accept`` does, but for two look-ups of enums, which take as long as the system call.
        descriptor, sockaddr = accept()
        return socket.socket(self.addressFamily, self.socketType, 0, descriptor), sockaddr

    def _accepted(self, skt: Any, sockaddr: Any) -> None:
        transport = None
        try:
            sockaddr = self._shown_sockaddr(sockaddr)
            protocol = self.factory.buildProtocol(self._buildAddr(sockaddr))  # type: ignore[attr-defined]
            if protocol is None:
                skt.close()
                return
            number = self.sessionno
            self.sessionno = number + 1
            transport = self.transport(skt, protocol, sockaddr, self, number, self.reactor)
            protocol.makeConnection(transport)
        except BaseException:
            # As in stock nothing that application code raises may end the listening port.
            _log.failure("no protocol could be made for a connection that was accepted")
            if transport is None:
                skt.close()
            else:
                transport.abortConnection()

    def _shown_sockaddr(self, sockaddr: Any) -> Any:
        return sockaddr

    def _rest_from(self, error: OSError) -> None:
        if not self._starving:
            self._starving = True
            level = _log.warn if error.errno in _STARVED else _log.error
            level("cannot accept connections: {error}; trying again every {longest} s", error=error, longest=1)
        self.stopReading()  # type: ignore[attr-defined]
        self._rest = self.reactor.callLater(self._rest_s, self._rested)
        self._rest_s = min(self._rest_s * 2, _LONGEST_REST_S)

    def _rested(self) -> None:
        self._rest = None
        if self.connected and not self.disconnecting:
            self.startReading()

    def _end_rest(self) -> None:
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None
