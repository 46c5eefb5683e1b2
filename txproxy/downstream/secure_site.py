"""The factory of a listener that speaks TLS."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IAddress

from txproxy.downstream.handshake import Handshake
from txproxy.downstream.http1 import Http1Connection
from txproxy.downstream.http2 import Http2Connection
from txproxy.downstream.site import ListenerSettings, Site, SiteTools, peer_address
from txproxy.pipeline.host_guard import HostGuard
from txproxy.policy.facts import TlsFacts
from txproxy.tls.server import ServerTls


class SecureSite(Site):
    """The factory of one https listener.

    Connections are counted from the moment that they are accepted; the protocol of HTTP is made when it is known.

    :param settings: of the listener.
    :param router: sends its exchanges on.
    :param tools: shared by all listeners.
    :param tls: its contexts and certificates.
    """

    def __init__(self, settings: ListenerSettings, router: Any, tools: SiteTools, tls: ServerTls) -> None:
        super().__init__(settings, router, tools)
        self.tls = tls

    def change(self, fresh: Any) -> None:
        """Serve as another site would; see ``Site``."""
        self.tls = fresh.tls
        super().change(fresh)

    def router_of(self, connection: Any) -> Any:
        """Return the router of one connection whose handshake is complete."""
        ssl = connection.transport.ssl
        return self.router if ssl is None else self.router_for(ssl)  # Without it, the connection is at its end.

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """Return the protocol of a new connection, or None to close it: its peer has too many."""
        return None if self.has_too_many(addr) else Handshake(self, peer_address(addr))

    def make_connection(self, facts: TlsFacts) -> Http1Connection | Http2Connection:
        """Return the protocol for a connection whose handshake is complete."""
        return self.make_http2() if facts.alpn == "h2" else Http1Connection(self)

    def router_for(self, connection: Any) -> Any:
        """Return the router of one connection: it refuses hosts that have another certificate.

        :param connection: the one of OpenSSL.
        """
        if not self.tls.settings.has_choice:
            return self.router
        return HostGuard(self.router, self.tls.guard_for(connection))
