"""Joins what belongs to a section of TLS towards clients: its contexts, and who keeps its certificates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

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

    settings: TlsSettings
    tls: ServerTls
    keeper: Keeper

    def start(self) -> None:
        """Begin to watch the files."""
        self.keeper.start(self.tls.certificates_changed)

    def stop(self) -> None:
        """Watch no more."""
        self.keeper.stop()


class SharedTls(NamedTuple):
    """The contexts of a section in a process that was forked: the tickets of each process are good in all of them."""

    settings: TlsSettings
    tls: ServerTls
    keeper: Keeper | None = None
    """That has read the certificates before the fork, so that no process has to read them again: they may be bad by
    now, and the user that it has become need not be able to read the keys. None: they are read."""


def make_sections(
    config: Config,
    reactor: Any,
    clocks: Any,
    counters: TlsCounters,
    previous: Mapping[str, TlsSection | SharedTls] | None = None,
) -> dict[str, TlsSection]:
    """Return the sections that listeners use, by name, with their certificates loaded.

    A section whose settings are the same as before is the same object as before, so that its tickets stay good; of a
    ``SharedTls``, which nobody keeps, its contexts are.

    :param reactor: provides IReactorTime and IReactorThreads.
    :param clocks: where the time comes from.
    :param counters: where reloads are counted.
    :param previous: sections that may be used again, by name.
    :raises ConfigError: if a section has no certificate that can be used.
    """
    used = dict.fromkeys(listener.tls for listener in config.listeners if listener.tls)
    if used or _has_client_keys(config):
        keep_out_of_core_dumps()

    def in_thread(function: Any) -> Any:
        return deferToThreadPool(reactor, reactor.getThreadPool(), function)

    tools = KeeperTools(reactor, clocks.wall, in_thread, counters)
    sections = {}
    for name in used:
        settings = config.tls[name]
        old = (previous or {}).get(name)
        if old is not None and old.settings != settings:
            old = None
        if isinstance(old, TlsSection):
            sections[name] = old
        else:
            if old is not None and old.keeper is not None:
                old.keeper.move_to(tools)
                sections[name] = TlsSection(settings, old.tls, old.keeper)
                continue
            sections[name] = _make_section(name, settings, tools, clocks, None if old is None else old.tls)
    return sections


def _has_client_keys(config: Config) -> bool:
    return any(cluster.tls.client_key for cluster in config.clusters.values())


def _make_section(
    name: str, settings: TlsSettings, tools: KeeperTools, clocks: Any, tls: ServerTls | None
) -> TlsSection:
    keeper = Keeper(name, settings, tools)
    pairs = keeper.load()
    try:
        tls = tls or ServerTls(server_settings(name, settings), clocks.wall, clocks.monotonic)
        tls.certificates_changed(pairs, keeper.client_ca)
    except (ValueError, SSL.Error) as error:
        place = Problem("configuration", 0, f"tls.{name}", f"OpenSSL refuses it: {error}")
        raise ConfigError((place,)) from None
    return TlsSection(settings, tls, keeper)


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
