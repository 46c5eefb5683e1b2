"""A client connection until its TLS handshake is complete; then another protocol takes it over."""

from __future__ import annotations

from typing import Any

from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from txproxy.downstream.lingering import ON_ITS_WAY_S
from txproxy.errors import ProxyError
from txproxy.exchange import Exchange
from txproxy.net.tls_failure import TlsFailure, TlsFault
from txproxy.observe.log import Logger
from txproxy.policy.deadlines import NEVER
from txproxy.tls.identity import NotAccepted

log = Logger()


class Handshake(Protocol):
    """Waits for a client to complete its handshake.

    :param site: the listener that it belongs to.
    :param peer: address of the peer.
    """

    transport: Any

    is_tunnel = False
    awaits_header = False
    under_way = 0
    """There is no exchange before the handshake is complete."""

    def __init__(self, site: Any, peer: str) -> None:
        self.site = site
        self.peer = peer
        self.deadline = NEVER
        self.look_at = NEVER
        self._why = ""
        """Why we ended it, if we did."""
        self._refusal = ""

    # What Twisted calls.

    def connectionMade(self) -> None:
        """Begin to wait."""
        site = self.site
        site.opened(self)
        self.deadline = site.clock() + site.settings.tls_handshake_timeout_s
        site.deadlines.watch(self)

    def handshakeCompleted(self) -> None:  # noqa: N802 - Twisted's name
        """Let the protocol that was agreed on take over."""
        site = self.site
        self.deadline = NEVER
        site.deadlines.forget(self)
        transport = self.transport
        try:
            facts = site.tls.facts_of(transport.ssl)
        except NotAccepted as error:
            self._refusal = str(error)
            self._end(TlsFault.PEER.value)
            return
        except Exception:
            site.log_bug(Failure())
            self._refusal = "what it agreed on cannot be read"
            self._end(TlsFault.OURS.value)
            return
        counts = site.tools.counters.tls
        counts.handshakes += 1
        counts.resumed += facts.resumed
        connection = site.make_connection(facts)
        site.handed_over(self, connection)
        connection.take_over(transport, facts, site.router_for(transport.ssl), self.peer)

    def dataReceived(self, data: bytes) -> None:
        """Nothing is said before the handshake is complete."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Count why it came to nothing."""
        self.site.deadlines.forget(self)
        self.site.closed(self)
        if self._why == "shutdown":
            return
        error = reason.value
        if self._why == "timeout":
            self._failed(self._why, "was not complete in time")
        elif self._why:
            self._failed(self._why, self._refusal)
        elif isinstance(error, TlsFailure) and error.fault is TlsFault.PEER and self.site.tls.has_expired:
            self._failed(TlsFault.OURS.value, "no certificate is left that holds")
        elif isinstance(error, TlsFailure):
            self._failed(error.fault.value, error.words)
        else:
            self._failed(TlsFault.NETWORK.value, "the connection was closed")

    def _failed(self, cause: str, words: str) -> None:
        self.site.tools.counters.tls.failures[cause] += 1
        # Whoever only looks whether the port is open has begun no handshake.
        usual = log.info if self.transport.bytes_seen else log.debug
        level = log.error if cause == TlsFault.OURS.value else usual
        level(
            "listener {listener}: the TLS handshake with {peer} failed by {cause}: {words}",
            listener=self.site.settings.name,
            peer=self.peer,
            cause=cause,
            words=words,
        )

    def deadline_passed(self) -> None:
        """The client has kept us waiting."""
        self._end("shutdown" if self.site.draining else "timeout")

    # What the site calls.

    def site_changed(self, hops_change: bool) -> None:
        """What serves the connection is asked when the handshake is complete."""

    def exchanges(self) -> tuple[Exchange, ...]:
        """Return nothing: there is no exchange yet."""
        return ()

    def drain(self) -> None:
        """Wait no longer than for a request: the proxy is stopping."""
        self.deadline = min(self.deadline, self.site.clock() + ON_ITS_WAY_S)
        self.site.deadlines.watch(self)

    def cut(self, error: ProxyError) -> None:
        """Close at once."""
        self._end("shutdown")

    def _end(self, why: str) -> None:
        self._why = why
        self.transport.abortConnection()

    def __repr__(self) -> str:
        return f"<Handshake with {self.peer}>"
