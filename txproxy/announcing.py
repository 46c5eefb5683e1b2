"""What a start says: where the proxy listens, what it serves, and what the system does not allow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from txproxy.config.model import Config, Listener
from txproxy.net.limits import raise_descriptor_limit
from txproxy.net.pipes import MOST_PIPES
from txproxy.observe.log import Logger
from txproxy.ports import shown_address
from txproxy.tls_assembly import TlsSection, expiry_lines

log = Logger()

_SPARE_DESCRIPTORS = 512
"""Beside two for each client connection: listeners, logs, the reactor's own, idle connections to backends."""


def allow_descriptors(config: Config) -> None:
    """Have the system allow as many open descriptors as a configuration needs, or say that it does not."""
    wanted = 2 * config.proxy.max_connections + _SPARE_DESCRIPTORS + 2 * MOST_PIPES
    limit = raise_descriptor_limit(wanted)
    if limit < wanted:
        log.warn(
            "only {limit} descriptors may be open, {wanted} are needed for max_connections = {most}",
            limit=limit,
            wanted=wanted,
            most=config.proxy.max_connections,
        )


READY = "txproxy is ready"


def announce(config: Config, addresses: Mapping[str, str], sections: Mapping[str, TlsSection]) -> None:
    """Say what is served from now on.

    :param addresses: see ``announce_listeners``.
    :param sections: of TLS.
    """
    announce_listeners(config.listeners, addresses)
    for settings in config.routes:
        log.info(
            "route {name}: {hosts}{path} to {target}",
            name=settings.name,
            hosts=",".join(settings.hosts),
            path=settings.path,
            target=settings.cluster or settings.choose,
        )
    for name, cluster in config.clusters.items():
        log.info("cluster {name}: {count} backends", name=name, count=len(cluster.backends))
    for line in expiry_lines(sections):
        log.info("{line}", line=line)


def announce_listeners(listeners: Iterable[Listener], addresses: Mapping[str, str]) -> None:
    """Say where some of them listen.

    :param addresses: where, by the listener's name.
    """
    for listener in listeners:
        log.info(
            "listening on {scheme}://{address} ({name})",
            scheme=listener.scheme,
            address=addresses[listener.name],
            name=listener.name,
        )


def url_of_first(config: Config, ports: Mapping[str, Any]) -> str:
    """Return where a client on this machine reaches the first listener."""
    first = config.listeners[0]
    return f"{'https' if first.tls else 'http'}://{_reachable(ports[first.name])}"


def addresses_of(ports: Mapping[str, Any]) -> dict[str, str]:
    """Return where ports listen, by the listener's name."""
    return {name: shown_address(port) for name, port in ports.items()}


def _reachable(port: Any) -> str:
    shown = shown_address(port)
    return shown.replace("0.0.0.0", "127.0.0.1").replace("[::]", "[::1]")
