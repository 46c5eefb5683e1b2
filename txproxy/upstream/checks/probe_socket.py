"""A check on a connection of its own: connecting, TLS, and what is said then."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Protocol as Conversing
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from txproxy.errors import ConnectTimeout, UpstreamError
from txproxy.observe.log import Logger
from txproxy.upstream.checks.probe import Check, ProbeTarget
from txproxy.upstream.connector import Connector, Endpoint

log = Logger()


class Conversation(Conversing):
    """What is said on the connection of a check: here nothing, being connected is all that is asked for.

    Nothing happens before ``begin``, for a connection may be made only to be dropped because another was faster.

    :param check: what it is for.
    :param secured: TLS stands between this and the transport, and calls ``handshake_ended``.
    """

    transport: Any

    def __init__(self, check: Check, secured: bool = False) -> None:
        self.check = check
        self.ends_cleanly = True
        """The peer has nothing to say any more: it sees an ordinary end, not a reset."""
        self.has_spoken = False
        """Bytes came before anything was asked."""
        self._problem = None if secured else ""
        """Why the connection cannot be used, nothing if it can; None while that is still to be seen."""
        self._is_open = False
        self._has_begun = False
        self._was_lost: bool | None = None
        """Before ``begin``; True if cleanly."""

    def begin(self) -> None:
        """This is the connection that the check is made on."""
        self._has_begun = True
        self.check.hold(self.close)
        if self.check.has_ended:
            return
        if self._problem is not None:
            self._ready(self._problem)
        elif self._was_lost is None:
            self.check.waits_for = "TLS handshake"
        if self._was_lost is not None and not self.check.has_ended:
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

    def handshake_ended(self, problem: str) -> None:
        """TLS can be spoken.

        :param problem: why not, or why not with this peer; else empty.
        """
        self._problem = problem
        if self._has_begun and not self.check.has_ended:
            self._ready(problem)

    def dataReceived(self, data: bytes) -> None:
        """Listen, once there is somebody to listen."""
        if not self._has_begun:
            self.has_spoken = True
        elif not self.check.has_ended:
            self.received(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is gone, by the peer's will or by ours."""
        self._is_open = False
        cleanly = bool(reason.check(ConnectionDone))
        if not self._has_begun:
            self._was_lost = cleanly
        elif not self.check.has_ended:
            self._lost(cleanly)

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

    def _ready(self, problem: str) -> None:
        if problem:
            self.check.fail(problem)
        elif self._was_lost is None:
            self.opened()

    def _lost(self, cleanly: bool) -> None:
        if self._problem is None:
            self.check.fail("closed during the TLS handshake")
        else:
            self.closed(cleanly)


class SocketProbe:
    """Makes a new connection for each check.

    :param reactor: provides IReactorTCP, IReactorUNIX and IReactorTime.
    :param timeout_s: for a whole check.
    :param make_conversation: given a check and its target, returns what is said on its connection.
    :param secure: given a target and a conversation, returns the TLS that stands between it and its transport; None
        if it is not to be spoken.
    """

    def __init__(
        self,
        reactor: Any,
        timeout_s: float,
        make_conversation: Callable[[Check, ProbeTarget], Conversation],
        secure: Callable[[ProbeTarget, Conversation], Conversing] | None = None,
    ) -> None:
        self._reactor = reactor
        self._timeout_s = timeout_s
        self._make_conversation = make_conversation
        self._secure = secure

    def run(self, target: ProbeTarget) -> Deferred[None]:
        """Check a backend once; see ``Probe.run``."""
        check = Check(self._reactor, self._timeout_s)
        result = check.result
        conversations: dict[Conversing, Conversation] = {}

        def make_protocol() -> Conversing:
            conversation = self._make_conversation(check, target)
            protocol = conversation if self._secure is None else self._secure(target, conversation)
            conversations[protocol] = conversation
            return protocol

        def connected(protocol: Conversing) -> None:
            conversations[protocol].begin()

        endpoint = Endpoint(target.hosts, target.port, target.path)
        connecting = maybeDeferred(Connector(self._reactor, endpoint, self._timeout_s, make_protocol).connect)
        check.hold(connecting.cancel)
        connecting.addCallbacks(connected, self._connect_failed, errbackArgs=(check,))
        connecting.addErrback(self._bug, check, target)
        return result

    def _connect_failed(self, failure: Failure, check: Check) -> None:
        failure.trap(UpstreamError)
        if failure.check(ConnectTimeout):
            check.fail(f"no connection in {self._timeout_s:g} s")
            return
        check.fail(failure.getErrorMessage())

    def _bug(self, failure: Failure, check: Check, target: ProbeTarget) -> None:
        log.failure("the check of {name} failed by a fault of its own", failure=failure, name=target.name)
        check.fail("the check itself failed")
