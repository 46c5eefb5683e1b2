"""The backends of a cluster as its entries name them: servers by address or by name, changed while the proxy runs.

What the operator does, what the DNS says and what checks find comes together here; the cluster is told of each.
Nothing here drops a request: those under way at a backend that leaves are completed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from txproxy.config.cluster_model import Backend as BackendSettings
from txproxy.policy.health import Order
from txproxy.upstream.backend import Backend
from txproxy.upstream.checks.probes import ProbeTarget
from txproxy.upstream.cluster import Cluster
from txproxy.upstream.entry import Entry
from txproxy.upstream.pool import PoolLimits
from txproxy.upstream.status import BackendStatus, LastCheck


class AlreadyThere(ValueError):
    """A server is to be added that belongs to the cluster already."""


class RosterTools(NamedTuple):
    """What a roster makes its backends with."""

    make_backend: Callable[[BackendSettings, str, tuple[str, ...], bool], Backend]
    """Given an entry, a name, addresses and whether it joins late, returns a backend."""
    make_discovery: Callable[[str, Callable[..., None], Callable[..., None]], Any]
    """Given a host name, who is told of its addresses and who of failure, returns a discovery."""
    clock: Callable[[], float]
    """The monotonic clock, in seconds."""
    wall_clock: Callable[[], float]
    """Seconds since 1970."""
    limits_of: Callable[[BackendSettings], PoolLimits]
    """Given an entry, returns the limits of the connections to each of its servers."""


class Roster:
    """Who belongs to a cluster.

    :param cluster: whose backends they are.
    :param entries: of the configuration.
    :param monitor: checks the backends, or None.
    :param tools: see there.
    """

    def __init__(self, cluster: Cluster, entries: Iterable[BackendSettings], monitor: Any, tools: RosterTools) -> None:
        self.cluster = cluster
        self._monitor = monitor
        self._tools = tools
        self._entries: dict[str, Entry] = {}
        self._comparables: set[str] = set()
        """Addresses of all entries in one form."""
        self._checks: dict[str, LastCheck] = {}
        self._started = False
        self._checks_backends = True
        static = []
        for settings in entries:
            entry = self._enter(settings)
            if entry.discovery is None:
                static += self._servers(entry, [_hosts_of(entry)], False)
        cluster.add(*static)

    def start(self) -> None:
        """Begin to check backends and to resolve names."""
        self._started = True
        if self._monitor is not None and self._checks_backends:
            self._monitor.start()
        for entry in self._entries.values():
            if entry.discovery is not None:
                entry.discovery.start()
        self.cluster.make_idle()

    def set_checking(self, checks_backends: bool) -> None:
        """Check backends here, or leave that to another process, which tells what it finds out; see ``told``."""
        self._checks_backends = self.cluster.speaks = checks_backends
        if self._monitor is None or not self._started:
            return
        if checks_backends:
            self._monitor.start()
        else:
            self._monitor.stop()

    def told(self, name: str, state: str, reason: str, ejections: int) -> None:
        """Take over what another process has found out of a backend; one that is not known here is ignored.

        :param name: of the backend.
        :param state: see ``Health.told``, likewise the others.
        """
        for entry in self._entries.values():
            for backend in entry.all_servers():
                if backend.name == name:
                    self.cluster.told(backend, state, reason, ejections)
                    self._let_leave(entry)
                    return

    def wind_down(self) -> None:
        """Make no connections in advance any more: the proxy is stopping."""
        self.cluster.makes_idle = False

    def pause(self) -> None:
        """Check and resolve nothing until ``start`` is called again."""
        self._started = False
        if self._monitor is not None:
            self._monitor.stop()
        for entry in self._entries.values():
            if entry.discovery is not None:
                entry.discovery.stop()

    def stop(self) -> None:
        """Check and resolve nothing more, and keep no connection."""
        self.pause()
        for backend in self.cluster.backends:
            backend.close()

    # The configuration changes.

    def change(self, before: Iterable[BackendSettings], after: Iterable[BackendSettings], tools: RosterTools) -> None:
        """Go on with other entries: those that are in both keep their connections and all that is known of them.

        What the operator has added stays, and so do orders and weights, unless the entry has changed.

        :param before: the entries of the configuration so far.
        :param after: those from here on.
        :param tools: makes their backends from here on.
        """
        self._tools = tools
        old, new = ({each.address: each for each in entries} for entries in (before, after))
        for address, settings in new.items():
            if address not in self._entries:
                self._make_place(settings)
                self._take_in(settings)
            elif settings != old.get(address):
                self._alter(self._entries[address], settings)
            entry = self._entries[address]
            for backend in entry.all_servers():
                backend.limit(tools.limits_of(entry.settings))
        for address in old:
            if address not in new and address in self._entries:
                self.remove(address)

    def _make_place(self, settings: BackendSettings) -> None:
        """Let an entry go that is the same server, written in another way."""
        comparable = Entry(settings).comparable
        if comparable in self._comparables:
            self.remove(next(name for name, each in self._entries.items() if each.comparable == comparable))

    def _alter(self, entry: Entry, settings: BackendSettings) -> None:
        entry.settings = settings
        self.set_weight(settings.address, settings.weight)
        for backend in entry.all_servers():
            backend.be_backup(settings.backup)
        self.cluster.look_anew()

    def change_probe(self, probe: Any) -> None:
        """Check in another way from here on; see ``Monitor``."""
        self._monitor.change_probe(probe)

    def follow(self, before: Roster) -> None:
        """Begin with what is known of the same servers, and with what the operator has ordered.

        :param before: who belonged to the cluster under other settings.
        """
        for name, entry in self._entries.items():
            if name in before._entries:
                entry.order = before._entries[name].order
        self.cluster.follow(before.cluster)

    # What the operator does.

    def drain(self, name: str) -> None:
        """Send no new requests to a backend; those under way are completed, and it is checked on.

        :param name: of a backend, or of an entry of the configuration: then all its servers.
        :raises KeyError: there is none of that name.
        """
        self._order(name, "drain")

    def maintain(self, name: str) -> None:
        """Send no new requests to a backend, and do not check it either; see ``drain``."""
        self._order(name, "maintain")

    def serve(self, name: str) -> None:
        """Send requests to a backend again, as far as it is up; see ``drain``."""
        self._order(name, "serve")

    def set_weight(self, name: str, weight: int) -> None:
        """Change a backend's share of the requests.

        :param name: see ``drain``.
        :param weight: 1 to 65535.
        :raises KeyError: there is none of that name.
        :raises ValueError: the weight is not valid.
        """
        if type(weight) is not int or not 1 <= weight <= 65535:
            raise ValueError(f"{weight!r} is not a weight (allowed: 1 to 65535)")
        if name in self._entries:
            self._entries[name].weight = weight
        for backend in self._named(name):
            self.cluster.reweigh(backend, weight)

    def add(self, address: str, weight: int = 1, max_connections: int | None = None, backup: bool = False) -> None:
        """Take a server in; with checks it gets requests once it has passed one.

        :param address: as in the configuration.
        :param weight: its share of the requests.
        :param max_connections: to it; the pool's if omitted.
        :param backup: it serves only while no other can.
        :raises ValueError: it is not valid, or there already.
        """
        self._take_in(BackendSettings(address=address, weight=weight, max_connections=max_connections, backup=backup))

    def _take_in(self, settings: BackendSettings) -> None:
        entry = self._enter(settings)
        if entry.discovery is None:
            self.cluster.add(*self._servers(entry, [_hosts_of(entry)], True))
        elif self._started:
            entry.discovery.start()

    def remove(self, name: str) -> None:
        """Let an entry go for good: no new requests, and those under way are completed.

        :param name: its address as it was given.
        :raises KeyError: there is none of that name.
        """
        entry = self._entries.pop(name, None)
        if entry is None:
            raise KeyError(f"cluster {self.cluster.name} has no backend {name}")
        self._comparables.discard(entry.comparable)
        if entry.discovery is not None:
            entry.discovery.stop()
            self._becomes_known(entry)
        for backend in entry.all_servers():
            self._leave(backend)

    def status(self) -> list[BackendStatus]:
        """Return every backend as it is now."""
        return [self._status(entry, backend) for entry in self._entries.values() for backend in entry.all_servers()]

    # How it comes about.

    def _enter(self, settings: BackendSettings) -> Entry:
        entry = Entry(settings)
        if entry.comparable in self._comparables:
            raise AlreadyThere(f"{settings.address} is a backend of {self.cluster.name} already")
        self._comparables.add(entry.comparable)
        self._entries[settings.address] = entry
        address = entry.address
        if address.kind == "tcp" and not address.is_ip:
            self.cluster.names_are_unknown()
            entry.discovery = self._tools.make_discovery(
                address.host,
                lambda members: self._resolved(entry, members),
                lambda _reason: self._becomes_known(entry),
            )
        return entry

    def _servers(self, entry: Entry, hosts: Iterable[tuple[str, ...]], late: bool) -> list[Backend]:
        backends = []
        for each in hosts:
            backend = self._tools.make_backend(entry.settings, entry.name_of(each), each, late)
            backend.weight = entry.weight
            entry.servers[each] = backend
            backends.append(backend)
            if entry.order != "serve":
                backend.health.order(entry.order, self._tools.clock())
            self._watch(entry, backend)
        return backends

    def _watch(self, entry: Entry, backend: Backend) -> None:
        if self._monitor is not None:
            identity = backend.identity
            target = ProbeTarget(
                identity.name,
                identity.hosts,
                identity.port,
                identity.path,
                identity.host_field,
                identity.server_name,
            )
            self._monitor.watch(target, backend.health, self._noting(entry, backend))

    def _noting(self, entry: Entry, backend: Backend) -> Callable[[bool, str, float], None]:
        def note(passed: bool, reason: str, took_s: float) -> None:
            self._checks[backend.name] = LastCheck(self._tools.wall_clock(), passed, reason, took_s)
            self.cluster.checked(backend, passed, reason)
            self._let_leave(entry)

        return note

    def _resolved(self, entry: Entry, members: tuple[tuple[str, ...], ...]) -> None:
        """Take the addresses of an entry's servers."""
        late = entry.is_known
        by_name = {entry.name_of(hosts): hosts for hosts in members}
        known, entry.servers, entry.leaving = entry.all_servers(), {}, []
        for backend in known:
            hosts = by_name.pop(backend.name, None)
            if hosts is None:
                entry.leaving.append(backend)
                continue
            entry.servers[hosts] = backend
            if hosts != backend.identity.hosts:
                # Of a server with two addresses only the second has changed.
                backend.readdress(hosts)
                self._watch(entry, backend)
        self.cluster.add(*self._servers(entry, by_name.values(), late))
        self._let_leave(entry)
        self._becomes_known(entry)

    def _let_leave(self, entry: Entry) -> None:
        """Let those go that the DNS names no more, once the others are known: nobody is to be left without a server."""
        while entry.leaving and entry.may_let_leave():
            self._leave(entry.leaving.pop())

    def _becomes_known(self, entry: Entry) -> None:
        if not entry.is_known:
            entry.is_known = True
            self.cluster.names_are_known()

    def _leave(self, backend: Backend) -> None:
        if self._monitor is not None:
            self._monitor.unwatch(backend.name)
        self._checks.pop(backend.name, None)
        self.cluster.remove(backend)

    def _order(self, name: str, order: Order) -> None:
        backends = self._named(name)
        if name in self._entries:
            self._entries[name].order = order  # For servers of a name that the DNS has still to find.
        for backend in backends:
            if order == "maintain" and self._monitor is not None:
                self._monitor.give_up(backend.name)
            self.cluster.order(backend, order)

    def _named(self, name: str) -> list[Backend]:
        if name in self._entries:
            return self._entries[name].all_servers()
        found = [backend for backend in self.cluster.backends if backend.name == name]
        if not found:
            raise KeyError(f"cluster {self.cluster.name} has no backend {name}")
        return found

    def _status(self, entry: Entry, backend: Backend) -> BackendStatus:
        health, pool = backend.health, backend.pool
        now = self._tools.clock()
        return BackendStatus(
            name=backend.name,
            entry=entry.settings.address,
            state=health.state,
            since_s=self._tools.wall_clock() - now + health.since,
            weight=backend.weight,
            share=health.share(now),
            backup=backend.identity.is_backup,
            active=backend.candidate.active,
            queued=len(pool.waiting),
            connections=pool.total,
            idle=len(pool.idle),
            failures=health.failures,
            ejections=health.ejections,
            last_error=health.last_error,
            last_check=self._checks.get(backend.name),
        )

    def __repr__(self) -> str:
        return f"<Roster of {self.cluster.name}: {', '.join(self._entries)}>"


def _hosts_of(entry: Entry) -> tuple[str, ...]:
    return (entry.address.host,) if entry.address.kind == "tcp" else ()
