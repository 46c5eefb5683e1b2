"""txproxy: a reverse proxy and load balancer on Twisted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from txproxy._version import __version__ as _incremental

if TYPE_CHECKING:
    from txproxy.service import ProxyService

__version__: str = _incremental.public()


def build(config: Any, reactor: Any) -> ProxyService:
    """Return the proxy as a service for embedding; see ``txproxy.service.build``."""
    from txproxy.service import build as build_service  # so that importing txproxy imports nothing of it

    return build_service(config, reactor)


__all__ = ["__version__", "build"]
