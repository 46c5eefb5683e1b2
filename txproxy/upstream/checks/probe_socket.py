"""A check on a connection of its own: connecting, TLS, and what is said then."""

from __future__ import annotations

from collections.abc import Callable
from socket import socket
from typing import Any

from OpenSSL import SSL
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Protocol as Conversing
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from txproxy.errors import ConnectTimeout, UpstreamError
from txproxy.net.interfaces import IClientTls
from txproxy.net.reactor import EagerReactor, SecureReactor
from txproxy.observe.log import Logger
from txproxy.tls.client import ClientContext, ClientTls
from txproxy.tls.verification import PeerRefused
from txproxy.upstream.checks.probe import Check, ProbeTarget
from txproxy.upstream.connector import Connector, Endpoint

log = Logger()


class Conversation(Conversing):
    """What is said on the connection of a check: here nothing, being connected is all that is asked for.

    Nothing happens before ``begin``, for a connection may be made only to be dropped because another was faster.

    :param check: what it is for.
    """

    transport: Any

    def __init__(self, check: Check) -> None:
        self.check = check
        self.ends_cleanly = True
        """The peer has nothing to say any more: it sees an ordinary end, not a reset."""
        self.has_spoken = False
        """Bytes came before anything was asked."""
        self._is_open = False
        self._has_begun = False
        self._was_lost: Failure | None = None
        """Why, before ``begin``."""

    def begin(self) -> None:
        """This is the connection that the check is made on."""
        self._has_begun = True
        self.check.hold(self.close)
        if self.check.has_ended:
            return
        if self._was_lost is None:
            self.opened()
        else:
            self._lost(self._was_lost)

    def close(self) -> None:
        """Close the connection."""
        if not self._is_open:
            return
        self._is_open = False
        if self.ends_cleanly and not getattr(self.transport, "queued_bytes", 0):
            self.transport.loseConnection()
        else:
            self.transport.abortConnection()

    # What the transport calls.

    def connectionMade(self) -> None:
        """There is a connection; it may not be the only one."""
        self._is_open = True

    def dataReceived(self, data: bytes) -> None:
        """Listen, once there is somebody to listen."""
        if not self._has_begun:
            self.has_spoken = True
        elif not self.check.has_ended:
            self.received(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is gone, by the peer's will or by ours."""
        self._is_open = False
        if not self._has_begun:
            self._was_lost = reason
        elif not self.check.has_ended:
            self._lost(reason)

    # What the kinds of checks do.

    def opened(self) -> None:
        """Ask what there is to ask."""
        self.check.succeed()

    def received(self, data: bytes) -> None:
        """Hear an answer."""

    def closed(self, cleanly: bool) -> None:
        """Take note that the peer has ended the connection.

        :param cleanly: as one who has said all.
        """
        self.check.succeed()

    def _lost(self, reason: Failure) -> None:
        if isinstance(reason.value, PeerRefused):
            self.check.fail(reason.value.words)
        else:
            self.closed(bool(reason.check(ConnectionDone)))


@implementer(IClientTls)
class _NotedTls:
    """The TLS of one check, which learns from it how far it has come.

    :param tls: does the work.
    :param check: see there.
    """

    def __init__(self, tls: ClientTls, check: Check) -> None:
        self._check = check
        self.check = tls.check
        self.failure = tls.failure
        self.secured = tls.secured
        self._begin = tls.connection

    def connection(self, skt: socket | None) -> SSL.Connection:
        """See ``IClientTls.connection``: there is a connection, and now the handshake is what is waited for."""
        self._check.waits_for = "TLS handshake"
        return self._begin(skt)


class SocketProbe:
    """Makes a new connection for each check.

    :param reactor: provides IReactorTCP, IReactorUNIX and IReactorTime.
    :param timeout_s: for a whole check.
    :param make_conversation: given a check and its target, returns what is said on its connection.
    :param tls: how the connections are encrypted; None: not at all.
    :param only_http2: those that are encrypted are to speak HTTP/2.
    :param preface: what each connection begins with.
    """

    def __init__(
        self,
        reactor: Any,
        timeout_s: float,
        make_conversation: Callable[[Check, ProbeTarget], Conversation],
        tls: ClientContext | None = None,
        only_http2: bool = False,
        preface: bytes = b"",
    ) -> None:
        self._reactor = reactor
        self._preface = preface
        self._timeout_s = timeout_s
        self._make_conversation = make_conversation
        self._tls = tls
        self._only_http2 = only_http2

    def run(self, target: ProbeTarget) -> Deferred[None]:
        """Check a backend once; see ``Probe.run``."""
        check = Check(self._reactor, self._timeout_s)
        result = check.result
        endpoint = Endpoint(target.hosts, target.port, target.path)
        reactor = self._reactor_for(check, target)
        make_conversation = self._make_conversation
        connector = Connector(reactor, endpoint, self._timeout_s, lambda: make_conversation(check, target))
        connecting = maybeDeferred(connector.connect, self._preface)
        check.hold(connecting.cancel)
        connecting.addCallbacks(Conversation.begin, self._connect_failed, errbackArgs=(check,))
        connecting.addErrback(self._bug, check, target)
        return result

    def _reactor_for(self, check: Check, target: ProbeTarget) -> Any:
        if self._tls is None:
            return EagerReactor(self._reactor)
        # TLS of its own has no session to go on with: a check is to see the certificate that the backend has now.
        return SecureReactor(self._reactor, _NotedTls(self._tls.to(target.server_name, self._only_http2), check))

    def _connect_failed(self, failure: Failure, check: Check) -> None:
        failure.trap(UpstreamError)
        if failure.check(ConnectTimeout):
            check.fail(f"no connection in {self._timeout_s:g} s")
            return
        check.fail(failure.getErrorMessage())

    def _bug(self, failure: Failure, check: Check, target: ProbeTarget) -> None:
        log.failure("the check of {name} failed by a fault of its own", failure=failure, name=target.name)
        check.fail("the check itself failed")
