"""Joins what belongs to a section of TLS towards clients: its contexts, and who keeps its certificates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from OpenSSL import SSL
from twisted.internet.threads import deferToThreadPool

from txproxy.config.model import Config, TlsSettings
from txproxy.config.problems import ConfigError, Problem
from txproxy.observe.counters import TlsCounters
from txproxy.tls.keeper import Keeper, KeeperTools
from txproxy.tls.profile import Profile
from txproxy.tls.secrecy import keep_out_of_core_dumps
from txproxy.tls.server import ServerSettings, ServerTls

_SERVED = {"h2": (b"h2",), "http/1.1": (b"http/1.1", b"http/1.0")}
"""What is agreed to for a name of the configuration: a client that offers HTTP/1.0 alone (curl -0) is served too."""


@dataclass(slots=True)
class TlsSection:
    """One ``[tls.NAME]`` section as it is served."""

    tls: ServerTls
    keeper: Keeper

    def start(self) -> None:
        """Begin to watch the files."""
        self.keeper.start(self.tls.certificates_changed)

    def stop(self) -> None:
        """Watch no more."""
        self.keeper.stop()


def make_sections(config: Config, reactor: Any, clocks: Any, counters: TlsCounters) -> dict[str, TlsSection]:
    """Return the sections that listeners use, by name, with their certificates loaded.

    :param reactor: provides IReactorTime and IReactorThreads.
    :param clocks: where the time comes from.
    :param counters: where reloads are counted.
    :raises ConfigError: if a section has no certificate that can be used.
    """
    used = dict.fromkeys(listener.tls for listener in config.listeners if listener.tls)
    if used or _has_client_keys(config):
        keep_out_of_core_dumps()

    def in_thread(function: Any) -> Any:
        return deferToThreadPool(reactor, reactor.getThreadPool(), function)

    tools = KeeperTools(reactor, clocks.wall, in_thread, counters)
    return {name: _make_section(name, config.tls[name], tools, clocks) for name in used}


def _has_client_keys(config: Config) -> bool:
    return any(cluster.tls.client_key for cluster in config.clusters.values())


def _make_section(name: str, settings: TlsSettings, tools: KeeperTools, clocks: Any) -> TlsSection:
    keeper = Keeper(name, settings, tools)
    pairs = keeper.load()
    try:
        tls = ServerTls(server_settings(name, settings), clocks.wall, clocks.monotonic)
        tls.certificates_changed(pairs, keeper.client_ca)
    except (ValueError, SSL.Error) as error:
        place = Problem("configuration", 0, f"tls.{name}", f"OpenSSL refuses it: {error}")
        raise ConfigError((place,)) from None
    return TlsSection(tls, keeper)


def server_settings(name: str, settings: TlsSettings) -> ServerSettings:
    """Return what a section of the configuration says, certificates excepted."""
    profile = Profile(
        settings.min_version,
        settings.max_version,
        settings.preset,
        settings.ciphers,
        settings.tickets,
        settings.ticket_lifetime_s,
    )
    offered = tuple(protocol for name in settings.alpn for protocol in _SERVED.get(name, ()))
    has_choice = len(settings.certificates) > 1
    return ServerSettings(name, profile, settings.strict_sni, settings.client_auth, has_choice, offered)


def expiry_lines(sections: Mapping[str, TlsSection]) -> Iterable[str]:
    """Return a line for each certificate that is served: its file, names and end."""
    for section in sections.values():
        for pair in section.keeper.pairs:
            yield f"certificate of {pair.summary}"
