"""From one configuration to the next while the proxy serves: what is unchanged goes on, and what is gone is drained.

    assemble ── may fail ──> prepare ports ── may fail ──> commit ── cannot fail ──> drain what is of no more use

Nothing that serves is touched before everything new is there: clusters made, certificates loaded, files opened, ports
bound. The change itself is one synchronous call, so that no request sees half of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from txproxy.assembly import Assembled
from txproxy.config.address import parse_address
from txproxy.config.load import Loaded
from txproxy.config.model import Config, Listener
from txproxy.downstream.site import Site
from txproxy.exchange import Exchange
from txproxy.ports import Change, Ports, Wanted
from txproxy.upstream.roster import Roster


class Source(NamedTuple):
    """Where a configuration comes from."""

    path: str
    """Of the file."""
    load: Callable[[], Loaded]
    """Reads it, with all checks that are made at a start."""


class ReloadResult(NamedTuple):
    """What became of an attempt to serve another configuration."""

    at: float
    """When, in seconds since 1970."""
    is_served: bool
    errors: tuple[str, ...]
    """Why it is not; each as ``txproxy check`` says it."""
    summary: str = ""
    """What has changed."""


class Outcome(NamedTuple):
    """What is left to be done once a change is made."""

    drained: list[Site]
    """Sites that no port leads to any more."""
    opened: list[str]
    """Names of listeners that were not there before."""


class _Kind(NamedTuple):
    """What has to be the same for the connections of a listener to stay."""

    key: str
    """Of its port."""
    protocol: str
    is_tls: bool
    proxy_protocol: bool
    client_auth: tuple[str, str]
    """What clients had to prove when they connected."""


class Reload:
    """One change of the configuration.

    :param old: what serves.
    :param new: what is to serve, assembled from it.
    :param ports: see there.
    :raises twisted.internet.error.CannotListenError: if an address cannot be bound; nothing has changed then.
    """

    def __init__(self, old: Assembled, new: Assembled, ports: Ports) -> None:
        self._old = old
        self._new = new
        self._kept = _kept_sites(old.config, new.config)
        for name, before in self._kept.items():
            new.factories[name] = old.factories[before]
        self._ports = ports
        self._change: Change = ports.prepare(wanted(new))

    def commit(self) -> Outcome:
        """Make the change, and leave what is new as ``new``.

        :return: what is left to be done.
        """
        old, new = self._old, self._new
        for change in new.changes:
            change()
        new.changes.clear()
        for name, before in self._kept.items():
            site = old.sites[before]
            site.change(new.sites[name])
            new.sites[name] = site
        self._change_ports()
        self._change_tls()
        self._change_cache()
        for name, roster in new.rosters.items():
            if old.rosters.get(name) is not roster:
                roster.start()
        kept = set(self._kept.values())
        drained = [site for name, site in old.sites.items() if name not in kept]
        opened = [name for name, port in self._ports.items() if port in self._change.opened]
        return Outcome(drained, opened)

    def retired(self) -> list[Roster]:
        """Return the clusters that get no more requests."""
        old, new = self._old, self._new
        return [roster for name, roster in old.rosters.items() if new.rosters.get(name) is not roster]

    def leaving(self) -> list[Exchange]:
        """Return the exchanges on listeners that stay whose way is gone: their route, or listener, leads elsewhere."""
        routes = {settings.name: settings for settings in self._new.config.routes}
        clusters = self._new.clusters
        judged: dict[Any, bool] = {}

        def is_gone(exchange: Exchange, site: Site) -> bool:
            route, cluster = exchange.route, exchange.cluster
            if cluster is None:
                return False  # Nothing was decided yet.
            if route is None:
                return site.router.cluster_for(exchange) is not cluster
            way = (route, cluster)
            if way not in judged:
                stays = clusters.get(cluster.name) is cluster and routes.get(route.name) == route.settings
                judged[way] = not stays
            return judged[way]

        return [
            exchange
            for site in self._new.sites.values()
            for connection in site.connections
            for exchange in connection.exchanges()
            if is_gone(exchange, site)
        ]

    def _change_ports(self) -> None:
        gate = self._new.gate
        for port in self._change.removed:
            gate.remove_port(port)
        for port in self._change.opened:
            gate.add_port(port)
        self._change.commit()

    def _change_tls(self) -> None:
        old, new = self._old.tls, self._new.tls
        for name, section in old.items():
            if new.get(name) is not section:
                section.stop()
        for name, section in new.items():
            if old.get(name) is section:
                section.keeper.reload()
            else:
                section.start()

    def _change_cache(self) -> None:
        old, new = self._old.cache_keeper, self._new.cache_keeper
        if old is not new:
            if old is not None:
                old.stop()
            if new is not None:
                new.start()


def wanted(assembled: Assembled) -> Iterator[Wanted]:
    """Return what is to listen."""
    config = assembled.config
    for listener in config.listeners:
        tls = assembled.tls[listener.tls].tls if listener.tls else None
        factory = assembled.factories[listener.name]
        yield Wanted(listener.name, parse_address(listener.address), factory, tls, config.proxy.backlog)


def _kept_sites(before: Config, after: Config) -> dict[str, str]:
    """Return the listeners whose connections stay, by their names, and what they were called before."""
    known = {_kind_of(listener, before): listener.name for listener in before.listeners}
    kinds = {listener.name: _kind_of(listener, after) for listener in after.listeners}
    return {name: known[kind] for name, kind in kinds.items() if kind in known}


def _kind_of(listener: Listener, config: Config) -> _Kind:
    section = config.tls.get(listener.tls)
    proved = ("", "") if section is None else (section.client_auth, section.client_ca)
    key = Wanted(listener.name, parse_address(listener.address), None, None, 0).key
    return _Kind(key, listener.protocol, bool(listener.tls), listener.proxy_protocol, proved)
