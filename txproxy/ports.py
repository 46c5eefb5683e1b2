"""The listening ports of the proxy, which outlive what is served behind them."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.error import CannotListenError

from txproxy.config.address import Address, bracketed
from txproxy.net.interfaces import IServerTls
from txproxy.net.reactor import EagerReactor, SecureReactor
from txproxy.net.tls import secure

Given = Callable[[Address], socket.socket | None]
"""Says which listening socket there is already for an address: a supervisor's, systemd's, a predecessor's. It stays the
giver's, who may close it: the port has a duplicate."""


class Wanted(NamedTuple):
    """What is to be served at an address."""

    name: str
    """Of the listener."""
    address: Address
    factory: Any
    """Makes the protocols of its connections."""
    tls: IServerTls | None
    """Makes them speak TLS."""
    backlog: int
    """How many connections may wait to be accepted."""
    mode: int = 0o666
    """Of the file of a unix socket."""

    @property
    def key(self) -> str:
        """What makes two of them the same port: the address; with the name, where the system chooses the number."""
        is_any = self.address.kind == "tcp" and not self.address.port
        return f"{self.address.comparable} {self.name}" if is_any else self.address.comparable


class _Open(NamedTuple):
    wanted: Wanted
    port: Any


class Change:
    """Other ports than before, all of them bound; ``commit`` or ``abandon`` has to follow in the same turn.

    :param before: what is open, by its key.
    :param after: what will be.
    """

    def __init__(self, before: Mapping[str, _Open], after: Mapping[str, _Open], ports: Ports) -> None:
        self._before = before
        self._after = after
        self._ports = ports

    @property
    def opened(self) -> list[Any]:
        """The ports that are new."""
        return [each.port for key, each in self._after.items() if key not in self._before]

    @property
    def removed(self) -> list[Any]:
        """The ports that are wanted no more."""
        return [each.port for key, each in self._before.items() if key not in self._after]

    def commit(self) -> Deferred[Any]:
        """Have what was wanted served from here on, and close the ports that nobody wants.

        :return: fires when they are closed.
        """
        for key, (wanted, port) in self._after.items():
            old = self._before.get(key)
            if old is not None:
                _serve(port, old.wanted, wanted)
        self._ports.replace(self._after)
        return _closed(self.removed)

    def abandon(self) -> Deferred[Any]:
        """Leave everything as it was, and close what was opened.

        :return: fires when that is closed.
        """
        return _closed(self.opened)


class Ports(Mapping[str, Any]):
    """The listening ports by their listener's name.

    A port belongs to its address: it stays open, with all connections that wait to be accepted, for as long as any
    configuration wants that address, whatever is served there.

    :param reactor: the one to listen with.
    :param given: has the sockets that need not be bound; None if there are none.
    """

    def __init__(self, reactor: Any, given: Given | None = None) -> None:
        self._reactor = reactor
        self._given = given or (lambda _address: None)
        self._open: dict[str, _Open] = {}

    def __getitem__(self, name: str) -> Any:
        for wanted, port in self._open.values():
            if wanted.name == name:
                return port
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return (each.wanted.name for each in self._open.values())

    def __len__(self) -> int:
        return len(self._open)

    def prepare(self, wanted: Iterable[Wanted]) -> Change:
        """Bind the addresses that are new; what is open goes on as it is.

        :raises twisted.internet.error.CannotListenError: if one of them cannot be bound; no other stays bound.
        :raises OSError: the same, if the address is of a kind that the system has not.
        """
        after: dict[str, _Open] = {}
        try:
            for each in wanted:
                open_already = self._open.get(each.key)
                port = self._bind(each) if open_already is None else open_already.port
                after[each.key] = _Open(each, port)
        except BaseException:
            Change(self._open, after, self).abandon()
            raise
        return Change(dict(self._open), after, self)

    def replace(self, opened: Mapping[str, _Open]) -> None:
        """Take over what a change has made; for ``Change`` alone."""
        self._open = dict(opened)

    def stop(self) -> Deferred[Any]:
        """Close all of them.

        :return: fires when they are closed.
        """
        ports = list(self.values())
        self._open = {}
        return _closed(ports)

    def share(self) -> None:
        """Let the sockets outlive the ports: another process serves them too.

        Closing a port then neither ends the socket for everybody else nor removes the file of a unix socket.
        """
        for port in self.values():
            port.share()

    def own_files(self) -> None:
        """Remove the files of the unix sockets in the configuration at the end, whoever has bound them."""
        for wanted, port in self._open.values():
            if wanted.address.kind == "unix":
                port.own_file()

    def sockets(self) -> list[tuple[Address, socket.socket]]:
        """Return what listens: the address as the configuration has it, and the socket, which stays the port's."""
        return [(wanted.address, port.socket) for wanted, port in self._open.values()]

    def _bind(self, wanted: Wanted) -> Any:
        reactor = EagerReactor(self._reactor)
        if wanted.tls is not None:
            reactor = SecureReactor(self._reactor, wanted.tls)
        address, factory, backlog = wanted.address, wanted.factory, wanted.backlog
        given = self._given(address)
        if given is not None:
            given.setblocking(False)
            port: Any = reactor.adoptStreamPort(given.fileno(), given.family, factory)
            _set_backlog(port, backlog)
            return port
        if address.kind == "systemd":
            missing = OSError(errno.ENOENT, f"systemd has handed over no socket named {address.path!r}")
            raise CannotListenError("systemd", address.path, missing)  # type: ignore[no-untyped-call]
        if address.kind == "unix":
            return reactor.listenUNIX(address.path, factory, backlog=backlog, mode=wanted.mode)
        return reactor.listenTCP(address.port, factory, backlog=backlog, interface=address.host)


def shown_address(port: Any) -> str:
    """Return the address that a port listens on, with the number that the system chose."""
    address = port.getHost()
    name = getattr(address, "name", None)
    if name is not None:
        return f"unix:{name.decode() if isinstance(name, bytes) else name}"
    return f"{bracketed(address.host)}:{address.port}"


def _serve(port: Any, before: Wanted, after: Wanted) -> None:
    """Have connections that are accepted from here on served anew; those that wait in the kernel are among them."""
    if after.factory is not before.factory:
        after.factory.doStart()
        before.factory.doStop()
        port.factory = after.factory
    if after.tls is not before.tls:
        secure(port, after.tls)
    if after.backlog != before.backlog:
        _set_backlog(port, after.backlog)


def _set_backlog(port: Any, backlog: int) -> None:
    listening = getattr(port, "socket", None)  # A port of a reactor in memory has none.
    if listening is not None:
        listening.listen(backlog)


def _closed(ports: Iterable[Any]) -> Deferred[Any]:
    return DeferredList([maybeDeferred(port.stopListening) for port in ports])
