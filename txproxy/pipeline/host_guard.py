"""Serves on a connection only the hosts that share the certificate which the client has seen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from txproxy.errors import Misdirected
from txproxy.exchange import Exchange


class HostGuard:
    """Refuses requests whose host would choose another certificate than this connection's.

    A client may send requests for any host on any connection: a second host behind the same address, with a client
    certificate or a policy of its own, would be reached without that (RFC 9110 section 7.4).

    :param router: takes what is let pass.
    :param is_ours: tells whether a host, in lower case and without a port, belongs to the certificate of this
        connection.
    """

    __slots__ = ("_good", "_is_ours", "_start")

    def __init__(self, router: Any, is_ours: Callable[[bytes], bool]) -> None:
        self._start = router.start
        self._is_ours = is_ours
        self._good = b""
        """The last host that was let pass: clients seldom change it."""

    def start(self, exchange: Exchange) -> None:
        """Send an exchange on.

        :raises Misdirected: if its host has another certificate; a request without a host passes.
        """
        host = exchange.request.hostname  # type: ignore[union-attr]
        if host != self._good and host:
            if not self._is_ours(host):
                raise Misdirected(f"host {host!r} has another certificate")
            self._good = host
        self._start(exchange)
