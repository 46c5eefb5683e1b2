"""The only place where connections to backends are made."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from twisted.internet import error
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.protocol import ClientCreator, Protocol
from twisted.python.failure import Failure

from txproxy.errors import ConnectFailed, ConnectTimeout, InternalError, NoHttp2, ProxyError, TlsFailed, TlsVerify
from txproxy.net.reactor import SecureReactor
from txproxy.net.tls_failure import TlsFailure, TlsFault
from txproxy.tls.client import NO_HTTP2
from txproxy.tls.verification import NotVerified
from txproxy.upstream.race import Race

_ERRNO = re.compile(r"\b\d+: ([^:]+?)\.?\Z")
"""How Twisted's connection errors end: ``Connection was refused by other side: 111: Connection refused.``"""


class Endpoint(NamedTuple):
    """Where a backend listens."""

    hosts: tuple[str, ...]
    """Addresses of one server, the preferred one first; or one name. Of no meaning for a unix socket."""
    port: int
    path: str = ""
    """Of a unix socket."""


class Connector:
    """Connects to one backend.

    If it has several addresses, they are raced (RFC 8305), and the one that won is the first to be tried from then on.

    :param reactor: provides IReactorTCP, IReactorUNIX and IReactorTime; with ``net.reactor.SecureReactor`` a
        connection is made when its TLS handshake is complete and the backend is the one that was meant.
    :param endpoint: where the backend listens.
    :param timeout_s: how long a connection may take to be made, its handshake included, over all addresses.
    :param make_protocol: returns the protocol of a new connection; called for each address that is tried.
    """

    def __init__(
        self, reactor: Any, endpoint: Endpoint, timeout_s: float, make_protocol: Callable[[], Protocol]
    ) -> None:
        self._reactor = reactor
        self._make_protocol = make_protocol
        self._creator = ClientCreator(reactor, make_protocol)
        self._endpoint = endpoint
        self._timeout_s = timeout_s

    def connect(self, preface: bytes = b"") -> Deferred[Any]:
        """Make a connection.

        :param preface: sent before anything else, a TLS handshake included; some hundred bytes at most.
        :return: fires with its protocol, or fails with ConnectFailed (TlsFailed, NoHttp2), ConnectTimeout, TlsVerify or
            InternalError.
            Cancelling it ends all attempts, and it fails with ConnectFailed.
        """
        endpoint, creator = self._endpoint, self._creator
        is_secure = isinstance(self._reactor, SecureReactor)
        if preface and is_secure:
            creator = ClientCreator(self._reactor.preceded_by(preface), self._make_protocol)
        made: Deferred[Any]
        if endpoint.path:
            made = creator.connectUNIX(endpoint.path, timeout=self._timeout_s)
        elif len(endpoint.hosts) == 1:
            made = creator.connectTCP(endpoint.hosts[0], endpoint.port, timeout=self._timeout_s)
        else:
            made = Race(self._reactor, endpoint.hosts, self._timeout_s, partial(self._attempt, creator)).start()
            made.addCallback(self._won)
        made.addErrback(_sorted_failure)
        if preface and not is_secure:
            made.addCallback(_say, preface)
        return made

    def readdress(self, hosts: tuple[str, ...]) -> None:
        """Connect to other addresses from here on; what is under way is not touched."""
        self._endpoint = self._endpoint._replace(hosts=hosts)

    def _attempt(self, creator: ClientCreator, host: str, timeout_s: float) -> Deferred[Any]:
        made = maybeDeferred(creator.connectTCP, host, self._endpoint.port, timeout=timeout_s)
        return made.addErrback(_sorted_failure)

    def _won(self, result: tuple[str, Any]) -> Any:
        host, protocol = result
        hosts = self._endpoint.hosts
        if host in hosts[1:]:
            # A family that leads nowhere would cost every connection the head start of the race.
            self._endpoint = self._endpoint._replace(hosts=(host, *(each for each in hosts if each != host)))
        return protocol


class GreetedConnector:
    """Connects to a backend that has to say the first word: until then nobody knows that it speaks our protocol.

    :param connector: makes the connections. Their protocols have ``greeted(deadline)``, which returns a Deferred that
        fires with the protocol once the word has come.
    :param timeout_s: for both together.
    :param clock: the monotonic clock, in seconds.
    """

    def __init__(self, connector: Connector, timeout_s: float, clock: Callable[[], float]) -> None:
        self._connector = connector
        self._timeout_s = timeout_s
        self._clock = clock
        self.readdress = connector.readdress

    def connect(self) -> Deferred[Any]:
        """Make a connection; see ``Connector.connect``."""
        deadline = self._clock() + self._timeout_s
        return self._connector.connect().addCallback(lambda protocol: protocol.greeted(deadline))


def _say(protocol: Any, preface: bytes) -> Any:
    protocol.transport.write(preface)
    return protocol


def _sorted_failure(failure: Failure) -> Failure:
    reason = failure.value
    sorted_error: ProxyError
    if isinstance(reason, ProxyError):
        return failure
    if isinstance(reason, (error.TimeoutError, error.TCPTimedOutError)):
        sorted_error = ConnectTimeout(_words(reason))
    elif isinstance(reason, NotVerified):
        sorted_error = TlsVerify(reason.words)
    elif isinstance(reason, TlsFailure) and reason.words == NO_HTTP2:
        sorted_error = NoHttp2(reason.words)
    elif isinstance(reason, TlsFailure):
        cut = reason.fault is TlsFault.NETWORK
        sorted_error = (ConnectFailed if cut else TlsFailed)(reason.words)
    elif isinstance(reason, (error.ConnectError, error.DNSLookupError, CancelledError, OSError)):
        sorted_error = ConnectFailed(_words(reason))
    else:
        sorted_error = InternalError(f"connecting: {reason!r}")
    return Failure(sorted_error)


def _words(reason: BaseException) -> str:
    """Return what Twisted says of a failure, in short; sometimes it is wrapped in another, whose text is its repr."""
    inner = getattr(reason, "osError", None)
    if isinstance(inner, str):
        return inner  # The words of our own transports, where others give a number.
    text = inner.getErrorMessage() if isinstance(inner, Failure) else str(reason)
    found = _ERRNO.search(text)
    return found.group(1).lower() if found is not None else text.rstrip(".")
