"""The only place where connections to backends are made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from twisted.internet import error
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import ClientCreator, Protocol
from twisted.python.failure import Failure

from txproxy.errors import ConnectFailed, ConnectTimeout, InternalError, ProxyError


class Endpoint(NamedTuple):
    """Where a backend listens."""

    host: str
    """An address or a name; empty for a unix socket."""
    port: int
    path: str = ""
    """Of a unix socket."""


class Connector:
    """Connects to one backend.

    :param reactor: provides IReactorTCP, IReactorUNIX and IReactorTime.
    :param endpoint: where the backend listens.
    :param timeout_s: how long a connection may take to be made.
    :param make_protocol: returns the protocol of a new connection.
    """

    def __init__(
        self, reactor: Any, endpoint: Endpoint, timeout_s: float, make_protocol: Callable[[], Protocol]
    ) -> None:
        self._creator = ClientCreator(reactor, make_protocol)
        self._endpoint = endpoint
        self._timeout_s = timeout_s

    def connect(self) -> Deferred[Any]:
        """Make a connection.

        :return: fires with its protocol, or fails with ConnectFailed, ConnectTimeout or InternalError.
        """
        endpoint = self._endpoint
        if endpoint.path:
            made = self._creator.connectUNIX(endpoint.path, timeout=self._timeout_s)
        else:
            made = self._creator.connectTCP(endpoint.host, endpoint.port, timeout=self._timeout_s)
        made.addErrback(_sorted_failure)
        return made


def _sorted_failure(failure: Failure) -> Failure:
    reason = failure.value
    sorted_error: ProxyError
    if isinstance(reason, (error.TimeoutError, error.TCPTimedOutError)):
        sorted_error = ConnectTimeout(str(reason))
    elif isinstance(reason, (error.ConnectError, error.DNSLookupError, CancelledError, OSError)):
        sorted_error = ConnectFailed(str(reason))
    else:
        sorted_error = InternalError(f"connecting: {reason!r}")
    return Failure(sorted_error)
