"""A listener's factory: makes its connections and holds what they share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from twisted.internet.address import UNIXAddress
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from txproxy.downstream.http1 import Http1Connection
from txproxy.downstream.http2 import Http2Connection
from txproxy.downstream.together import Together
from txproxy.errors import Fault, ProxyError
from txproxy.exchange import Exchange
from txproxy.net.pipes import PipePool
from txproxy.observe.counters import Counters
from txproxy.observe.log import Logger
from txproxy.policy.addresses import UNIX_PEER, TrustedPeers
from txproxy.policy.deadlines import Deadlines
from txproxy.policy.facts import TlsFacts
from txproxy.wire.fields import FieldTokenizer
from txproxy.wire.forwarding import Hop, make_hop
from txproxy.wire.http2.engine import EngineSettings
from txproxy.wire.http2.requests import Http2RequestParser
from txproxy.wire.limits import HeadLimits
from txproxy.wire.messages import RequestHead
from txproxy.wire.parsers import RequestParser

log = Logger()

_QUIET_S = 60.0

VERSIONS = (b"1.0", b"1.1", b"2.0")
"""Of HTTP, as Via has them."""


_MOST_HOPS = 1024
_MAPPED = "::ffff:"
"""What an IPv4 address begins with as one of IPv6 (RFC 4291 section 2.5.5.2)."""


def peer_address(address: Any) -> str:
    """Return an address of Twisted as it is logged and compared."""
    if isinstance(address, UNIXAddress):
        return UNIX_PEER
    # The zone of a link-local address says something about our own interfaces only.
    host = str(address.host).partition("%")[0]
    # Twisted says so of an adopted connection of a dual-stack port, our ports say it without.
    return host.removeprefix(_MAPPED) if "." in host else host


@dataclass(frozen=True, slots=True)
class ListenerSettings:
    """What the configuration says of one listener."""

    name: str
    limits: HeadLimits = HeadLimits()
    header_timeout_s: float = 10
    body_timeout_s: float = 60
    write_timeout_s: float = 60
    keepalive_timeout_s: float = 75
    keepalive_requests: int = 1000
    tls_handshake_timeout_s: float = 10
    max_connections_per_ip: int = 0
    via_name: bytes = b"txproxy"
    scheme: bytes = b"http"
    http2: EngineSettings = EngineSettings()
    h2_reset_budget: int = 100


class Gate:
    """Counts the connections of all listeners, and has them stop accepting while there are too many.

    :param most: connections at once; 0 for no limit.
    :param counters: where a pause is counted.
    :param clock: the monotonic clock, in seconds.
    """

    def __init__(self, most: int, counters: Counters, clock: Callable[[], float]) -> None:
        self._most = most
        self._counters = counters
        self._clock = clock
        self._quiet_until = float("-inf")
        self._ports: list[Any] = []
        self.connections = 0
        self.is_shut = False

    def add_port(self, port: Any) -> None:
        """Let this listening port be paused too, if it can be."""
        if hasattr(port, "pause_accepting"):
            self._ports.append(port)
            if self.is_shut:
                port.pause_accepting()

    def remove_port(self, port: Any) -> None:
        """Forget a listening port that is about to be closed."""
        if port in self._ports:
            self._ports.remove(port)

    def change(self, most: int) -> None:
        """Take another limit: connections beyond it stay, and no more are accepted until enough have closed.

        :param most: connections at once; 0 for no limit.
        """
        self._most = most
        is_full = bool(most) and self.connections >= most
        if is_full != self.is_shut:
            self.is_shut = is_full
            for port in self._ports:
                if is_full:
                    port.pause_accepting()
                else:
                    port.resume_accepting()

    def opened(self) -> None:
        """Count a connection."""
        self.connections += 1
        if self._most and self.connections >= self._most and not self.is_shut:
            self.is_shut = True
            self._counters.accept_pauses += 1
            if self._clock() >= self._quiet_until:
                # At the limit, each connection that comes and goes is a pause: one line says it for a while.
                self._quiet_until = self._clock() + _QUIET_S
                log.warn("{most} connections are open: no more are accepted until some close", most=self._most)
            for port in self._ports:
                port.pause_accepting()

    def passed_on(self) -> None:
        """Count a connection no more that is about to be counted again, by who takes it over."""
        self.connections -= 1

    def closed(self) -> None:
        """Count a connection that has ended."""
        self.connections -= 1
        if self.is_shut and self.connections < self._most:
            self.is_shut = False
            for port in self._ports:
                port.resume_accepting()


class SiteTools(NamedTuple):
    """What all listeners share."""

    clock: Callable[[], float]
    """The monotonic clock, in seconds."""
    http_date: Callable[[], bytes]
    next_id: Callable[[], bytes]
    deadlines: Deadlines
    tokenizer: FieldTokenizer
    counters: Counters
    gate: Gate
    """Counts connections."""
    trusted: TrustedPeers
    """Our own proxies in front."""
    exchange_ended: Callable[[Exchange], None]
    """Called with each exchange when it has ended."""
    together: Together
    """Puts the writes of one turn together."""
    pipes: PipePool | None = None
    """By which the kernel moves long bodies, and what tcp listeners pass through."""


class Site(Factory):
    """The factory of one http listener.

    :param settings: of the listener.
    :param router: sends its exchanges on.
    :param tools: shared by all listeners.
    """

    noisy = False

    def __init__(self, settings: ListenerSettings, router: Any, tools: SiteTools) -> None:
        self._serve(settings, router, tools)
        self.deadlines = tools.deadlines
        self.clock = tools.clock
        self.http_date = tools.http_date
        self.next_id = tools.next_id
        self.exchange_ended = tools.exchange_ended
        self.together = tools.together
        self.draining = False
        self.connections: set[Any] = set()
        self.when_empty: Callable[[], None] | None = None
        self._gate = tools.gate
        self._per_ip: Counter[str] = Counter()

    def _serve(self, settings: ListenerSettings, router: Any, tools: SiteTools) -> None:
        """Take what the configuration says."""
        self.settings = settings
        self.router = router
        self.tools = tools
        self._trusted = tools.trusted
        self._hops: dict[tuple[object, ...], Hop] = {}
        """Those of the latest connections: a client that makes many has the same for each."""
        # What parsers remember leads to the router that was asked before.
        self.parser = RequestParser(tools.tokenizer, settings.limits)
        self.http2_parser = Http2RequestParser(settings.limits)
        vias = {version: version + b" " + settings.via_name for version in VERSIONS}
        self.via_fields = {version: (b"via", via) for version, via in vias.items()}
        self.reply_tails = {version: b"\r\nVia: %b\r\nX-Request-Id: " % via for version, via in vias.items()}

    def change(self, fresh: Any) -> None:
        """Serve all connections, those that are open included, as another site would.

        :param fresh: a site of the same kind for the same listener, without any connection; it is of no more use.
        """
        before, settings = self.settings, fresh.settings
        hops_change = before.via_name != settings.via_name or self._trusted != fresh._trusted
        self._serve(settings, fresh.router, fresh.tools)
        if not settings.max_connections_per_ip:
            self._per_ip.clear()
        elif not before.max_connections_per_ip:
            self._per_ip.update(each.peer for each in self.connections if not each.awaits_header)
        for connection in self.connections:
            connection.site_changed(hops_change)

    def router_of(self, connection: Any) -> Any:
        """Return the router of one connection."""
        return self.router

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """Return the protocol of a new connection, or None to close it: its peer has too many."""
        if self.has_too_many(addr):
            return None
        connection = Http1Connection(self)
        if addr is not None:
            connection.peer = peer_address(addr)
        return connection

    def make_http2(self) -> Http2Connection:
        """Return the protocol for a connection whose client has turned out to speak HTTP/2."""
        return Http2Connection(self)

    def handed_over(self, before: Any, after: Any) -> None:
        """Let a connection stand for another in what is counted."""
        self.connections.discard(before)
        self.connections.add(after)

    def has_too_many(self, addr: IAddress | None) -> bool:
        """Return whether a peer may not have another connection, and count that."""
        most = self.settings.max_connections_per_ip
        if not most or self._per_ip[peer_address(addr)] < most:
            return False
        self.tools.counters.refused_per_ip += 1
        return True

    def hop_of(self, transport: Any, tls: TlsFacts | None = None, peer: str = "", version: bytes = b"1.1") -> Hop:
        """Return what a connection adds to each of its requests.

        :param tls: what its handshake has settled; None if it is not encrypted.
        :param peer: address of its peer, if that is known already.
        :param version: of HTTP, as Via has it.
        """
        peer = peer or peer_address(transport.getPeer())
        proxied = getattr(transport, "proxied", None)
        if proxied is not None and proxied.destination is not None:
            port = proxied.destination[1]
        else:
            port = 0 if peer == UNIX_PEER else self._port_of(transport)
        trusted = peer in self._trusted
        scheme, identity = (self.settings.scheme, ()) if tls is None else (b"https", tls.identity)
        told = peer, trusted, scheme, port, identity, version
        hop = self._hops.get(told)
        if hop is None:
            hop = make_hop(peer.encode(), trusted, scheme, b"%d" % port, self.settings.via_name, identity, version)
            if len(self._hops) >= _MOST_HOPS:
                self._hops.clear()
            self._hops[told] = hop
        return hop if proxied is None else replace(hop, proxied=proxied)

    def _port_of(self, transport: Any) -> int:
        # All connections of a listener came to the same port.
        port: int | None = getattr(self, "_port", None)
        if port is None:
            port = self._port = transport.getHost().port
        return port

    def client_of(self, peer: str, request: RequestHead) -> str:
        """Return the address of the client of a request that a trusted peer sent."""
        return self._trusted.client_of(peer, request.known.get(b"x-forwarded-for"))

    def opened(self, connection: Any) -> None:
        """Take note of a new connection."""
        self.connections.add(connection)
        self.tools.counters.connections += 1
        if self.settings.max_connections_per_ip:
            self._per_ip[connection.peer] += 1
        self._gate.opened()

    def closed(self, connection: Any) -> None:
        """Take note of the end of a connection."""
        self.connections.discard(connection)
        if self.settings.max_connections_per_ip:
            self._per_ip[connection.peer] -= 1
            if not self._per_ip[connection.peer]:
                del self._per_ip[connection.peer]
        self._gate.closed()
        if not self.connections and self.when_empty is not None:
            self.when_empty()

    def drain(self) -> None:
        """Have each connection close after what is under way, if anything is: the proxy is stopping."""
        self.draining = True
        for connection in list(self.connections):
            connection.drain()

    def cut(self, error: ProxyError, tunnels: bool | None = None) -> int:
        """End all connections now.

        :param tunnels: only those that carry a tunnel, or only those that carry none.
        :return: how many exchanges were still under way.
        """
        busy = 0
        for connection in list(self.connections):
            if tunnels is not None and connection.is_tunnel is not tunnels:
                continue
            busy += connection.under_way
            connection.cut(error)
        return busy

    def log_failure(self, exchange: Exchange, error: ProxyError) -> None:
        """Say in the log what a client is not told."""
        if error.logged:
            return
        if error.fault is Fault.US and error.end_reason == "internal":
            log.error(
                "exchange {id}: {reason}: {detail}",
                id=exchange.id.decode("latin-1"),
                reason=error.end_reason,
                detail=error.detail or error.sentence,
            )
        else:
            log.debug(
                "exchange {id}: {reason}: {detail}",
                id=exchange.id.decode("latin-1"),
                reason=error.end_reason,
                detail=error.detail or error.sentence,
            )

    def log_bug(self, failure: Failure, exchange: Exchange | None = None) -> None:
        """Log an exception that nobody expected."""
        log.failure(
            "exchange {id} failed inside the proxy",
            failure=failure,
            id="-" if exchange is None else exchange.id.decode("latin-1"),
        )

    def logPrefix(self) -> str:
        """Return what stands before lines of the log about this listener."""
        return self.settings.name
