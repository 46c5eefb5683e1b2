"""Where a client's connection comes from and what it was made to, for those who tell a backend."""

from __future__ import annotations

from typing import Any

from txproxy.wire.proxy_protocol import Place


def places_of(transport: Any) -> tuple[Place | None, Place | None]:
    """Return the source and the destination of a connection: what a proxy in front says, else what the socket says.

    :return: None for an end that is no IP address, and for both once the connection is lost.
    """
    proxied = getattr(transport, "proxied", None)
    if proxied is not None and proxied.source is not None:
        return proxied.source, proxied.destination
    try:
        return _place(transport.getPeer()), _place(transport.getHost())
    except (AttributeError, OSError):
        return None, None


def _place(address: Any) -> Place | None:
    return (address.host, address.port) if hasattr(address, "port") else None
