"""The factories of tcp listeners."""

from __future__ import annotations

from typing import Any, NamedTuple

from twisted.internet.interfaces import IAddress

from txproxy.bridge.tunnel import TunnelTools
from txproxy.downstream.secure_site import SecureSite
from txproxy.downstream.site import ListenerSettings, Site, SiteTools
from txproxy.downstream.tcp import TcpConnection
from txproxy.policy.facts import TlsFacts
from txproxy.policy.server_names import HelloTable
from txproxy.tls.server import ServerTls


class TcpRouter(NamedTuple):
    """Where the connections of a tcp listener go."""

    table: HelloTable[Any]
    """Finds their cluster."""
    connect: Any
    """Takes them to a backend of it."""

    def cluster_for(self, exchange: Any) -> Any:
        """Return the cluster for a connection, whose ClientHello was read if it matters; None if there is none."""
        hello = exchange.hello
        return self.table.default if hello is None else self.table.find(hello)


class TcpSite(Site):
    """The factory of one tcp listener whose bytes are passed through as they are.

    :param settings: of the listener.
    :param router: sends its connections on.
    :param tools: shared by all listeners.
    """

    def __init__(self, settings: ListenerSettings, router: TcpRouter, tools: SiteTools) -> None:
        super().__init__(settings, router, tools)
        self.tunnel_tools = TunnelTools(tools.clock, tools.deadlines, tools.pipes)

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """Return the protocol of a new connection, or None to close it: its peer has too many."""
        return None if self.has_too_many(addr) else TcpConnection(self)


class SecureTcpSite(SecureSite):
    """The factory of one tcp listener that ends TLS, and passes on what was in it.

    :param settings: of the listener.
    :param router: sends its connections on.
    :param tools: shared by all listeners.
    :param tls: its contexts and certificates.
    """

    def __init__(self, settings: ListenerSettings, router: TcpRouter, tools: SiteTools, tls: ServerTls) -> None:
        super().__init__(settings, router, tools, tls)
        self.tunnel_tools = TunnelTools(tools.clock, tools.deadlines, tools.pipes)

    def make_connection(self, facts: TlsFacts) -> Any:
        """Return the protocol for a connection whose handshake is complete."""
        return TcpConnection(self)

    def router_for(self, connection: Any) -> Any:
        """Return the router: there are no hosts to be refused."""
        return self.router
