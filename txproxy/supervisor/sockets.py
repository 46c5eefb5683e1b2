"""The listening sockets of all workers.

Each worker has a socket of its own for each TCP address (SO_REUSEPORT), so that the kernel gives each connection to one
worker and wakes no other. They are the supervisor's: one whose worker is dead goes on to take connections, and the next
worker accepts them. Sockets that cannot be made anew (unix sockets, those of systemd) are shared by all workers.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from twisted.internet.error import CannotListenError

from txproxy.config.address import Address, bracketed, parse_address
from txproxy.config.model import Config
from txproxy.net.addresses import plain_sockaddr
from txproxy.net.unix import remove_stale_socket

Given = Callable[[Address], socket.socket | None]
"""Says which listening socket there is already for an address; asked again, it may have another one."""

_ANYBODY = 0o666
"""Who may connect to a unix socket; as with one process."""


class Listening:
    """One address, and the sockets of the workers for it.

    :param name: of the listener.
    :param address: as the configuration has it.
    :param backlog: connections that may wait to be accepted, of each socket.
    :param given: has sockets that need not be bound.
    :raises twisted.internet.error.CannotListenError: if the address cannot be bound.
    """

    def __init__(self, name: str, address: Address, backlog: int, given: Given) -> None:
        self.name = name
        self.address = address
        self._backlog = backlog
        self._given = given
        self._file: tuple[int, int] | None = None
        found = given(address)
        self._was_given = found is not None
        # What we are given stays the giver's.
        first = self._bind_first() if found is None else found.dup()
        _listen(first, backlog)
        self.sockets = [first]
        self._is_shared = not _can_be_bound_again(first)

    @property
    def key(self) -> str:
        """What makes two of them the same; see ``txproxy.ports.Wanted``."""
        is_any = self.address.kind == "tcp" and not self.address.port
        return f"{self.address.comparable} {self.name}" if is_any else self.address.comparable

    def of(self, number: int) -> socket.socket:
        """Return the socket of a worker, which takes connections from here on.

        :param number: of the worker, from 0.
        :raises twisted.internet.error.CannotListenError: if it cannot be bound.
        """
        self.reserve(number + 1)
        found = self.sockets[0 if self._is_shared else number]
        _listen(found, self._backlog)
        return found

    def reserve(self, count: int) -> None:
        """Bind the sockets of so many workers; those that are new take no connection before somebody is to accept it.

        :raises twisted.internet.error.CannotListenError: if one cannot be bound.
        """
        while len(self.sockets) < count and not self._is_shared:
            try:
                found = self._given(self.address)
                self.sockets.append(self._bind_another() if found is None else found.dup())
            except CannotListenError:
                if not self._was_given:
                    raise
                # Whoever gave it to us may bind what we may not.
                self._is_shared = True

    def keep(self, count: int) -> None:
        """Close the sockets of all workers but the first so many."""
        count = max(1, count)
        for each in self.sockets[count:]:
            each.close()
        del self.sockets[count:]

    def close(self, is_removed: bool = True) -> None:
        """Close all of them.

        :param is_removed: whether the file of a unix socket is removed; not if another process serves it.
        """
        if is_removed and self._file is not None and self._file == _identity(self.address.path):
            os.unlink(self.address.path)
        for each in self.sockets:
            each.close()

    def own_file(self) -> None:
        """Remove the file of a unix socket at the end, also if another process has bound it."""
        if self.address.kind == "unix":
            self._file = _identity(self.address.path)

    def shown(self) -> str:
        """Return where it listens, with the number that the system chose."""
        first = self.sockets[0]
        name = first.getsockname()
        if first.family == socket.AF_UNIX:
            return f"unix:{name.decode() if isinstance(name, bytes) else name}"
        host, port = plain_sockaddr(name)[:2]
        return f"{bracketed(host)}:{port}"

    def _bind_first(self) -> socket.socket:
        address = self.address
        if address.kind == "systemd":
            missing = OSError(errno.ENOENT, f"systemd has handed over no socket named {address.path!r}")
            raise CannotListenError("systemd", address.path, missing)
        if address.kind == "unix":
            return self._bind_unix(address.path)
        if address.port:
            # With SO_REUSEPORT alone nobody would find out that another proxy of ours has this address.
            self._bind_tcp(address.port, may_share=False).close()
        return self._bind_tcp(address.port)

    def _bind_unix(self, path: str) -> socket.socket:
        remove_stale_socket(path.encode())
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            made.bind(path)
            os.chmod(path, _ANYBODY)
        except OSError as error:
            made.close()
            raise CannotListenError(None, path, error) from None
        self._file = _identity(path)
        return made

    def _bind_another(self) -> socket.socket:
        first = self.sockets[0]
        place = first.getsockname()
        is_both = first.family == socket.AF_INET6 and not first.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
        return _bound(place, first.family, is_both=is_both)

    def _bind_tcp(self, port: int, may_share: bool = True) -> socket.socket:
        host = self.address.host
        if not self.address.is_ipv6:
            return _bound((host, port), socket.AF_INET, may_share)
        place = socket.getaddrinfo(host, port, socket.AF_INET6, socket.SOCK_STREAM)[0][4]
        return _bound(place, socket.AF_INET6, may_share, host == "::")


class Sockets:
    """The sockets of all listeners.

    :param given: has sockets that need not be bound: systemd's, or a predecessor's.
    """

    def __init__(self, given: Given | None = None) -> None:
        self._given: Given = given or (lambda _address: None)
        self._listening: dict[str, Listening] = {}

    def open(self, config: Config, workers: int) -> list[Listening]:
        """Bind what a configuration asks for and what is not open yet.

        :param workers: how many there are.
        :return: what is new; to be closed by ``drop`` if nothing comes of it. What is bound for further workers is
            closed by ``keep`` then.
        :raises twisted.internet.error.CannotListenError: if an address cannot be bound; then nothing is new.
        """
        new: list[Listening] = []
        try:
            for listener in config.listeners:
                address = parse_address(listener.address)
                wanted = self._listening.get(_key(listener.name, address))
                if wanted is None:
                    wanted = Listening(listener.name, address, config.proxy.backlog, self._given)
                    new.append(wanted)
                wanted.reserve(workers)
        except BaseException:
            for each in new:
                each.close()
            raise
        self._listening |= {each.key: each for each in new}
        return new

    def forget(self, config: Config) -> None:
        """Close what a configuration does not ask for."""
        wanted = {_key(each.name, parse_address(each.address)) for each in config.listeners}
        for key in [key for key in self._listening if key not in wanted]:
            self._listening.pop(key).close()

    def of(self, number: int) -> list[tuple[Address, socket.socket]]:
        """Return the sockets of a worker, in the order of the listeners.

        :param number: of the worker, from 0.
        """
        return [(each.address, each.of(number)) for each in self._listening.values()]

    def all(self) -> list[tuple[Address, socket.socket]]:
        """Return all sockets; they stay ours."""
        return [(each.address, skt) for each in self._listening.values() for skt in each.sockets]

    def addresses(self, config: Config) -> dict[str, str]:
        """Return where each listener of a configuration listens, by its name."""
        return {
            each.name: self._listening[_key(each.name, parse_address(each.address))].shown()
            for each in config.listeners
        }

    def drop(self, listening: Iterable[Listening]) -> None:
        """Close what was opened, for nothing came of it."""
        for each in listening:
            self._listening.pop(each.key).close()

    def own_files(self) -> None:
        """Remove the files of unix sockets at the end, also of those that another process has bound."""
        for each in self._listening.values():
            each.own_file()

    def keep(self, workers: int) -> None:
        """Close the sockets of workers that there are no more."""
        for each in self._listening.values():
            each.keep(workers)

    def close(self, are_removed: bool = True) -> None:
        """Close all of them; see ``Listening.close``."""
        for each in self._listening.values():
            each.close(are_removed)
        self._listening.clear()

    def close_others(self, mine: Iterable[socket.socket]) -> None:
        """Close those that are not a worker's own, in its process."""
        kept = {id(each) for each in mine}
        for _, skt in self.all():
            if id(skt) not in kept:
                skt.close()


class Handed:
    """Gives a worker's proxy the sockets that it was handed; see ``txproxy.ports.Given``.

    :param sockets: in the order of the listeners: several may have the same address, with any number for a port.
    """

    def __init__(self, sockets: Iterable[tuple[Address, socket.socket]]) -> None:
        self._sockets = [(address.comparable, skt) for address, skt in sockets]
        self._taken: list[socket.socket] = []

    def __call__(self, address: Address) -> socket.socket | None:
        """Return the next socket for an address, or None."""
        for index, (key, skt) in enumerate(self._sockets):
            if key == address.comparable:
                del self._sockets[index]
                self._taken.append(skt)
                return skt
        return None

    def add(self, sockets: Iterable[tuple[Address, socket.socket]]) -> None:
        """Have more of them."""
        self._sockets += [(address.comparable, skt) for address, skt in sockets]

    def close(self) -> None:
        """Close them: whoever has taken one has a duplicate."""
        for skt in [*self._taken, *(skt for _, skt in self._sockets)]:
            skt.close()
        self._taken.clear()
        self._sockets.clear()


def _bound(place: tuple[Any, ...], family: int, may_share: bool = True, is_both: bool = False) -> socket.socket:
    """Return a socket that is bound.

    :param may_share: others may be bound to the same address.
    :param is_both: it takes IPv4 as well.
    :raises twisted.internet.error.CannotListenError: if it cannot be bound.
    """
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if may_share:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if is_both:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        made.bind(place)
    except OSError as error:
        made.close()
        raise CannotListenError(place[0], place[1], error) from None
    return made


def _key(name: str, address: Address) -> str:
    is_any = address.kind == "tcp" and not address.port
    return f"{address.comparable} {name}" if is_any else address.comparable


def _listen(skt: socket.socket, backlog: int) -> None:
    skt.setblocking(False)
    skt.listen(backlog)


def _can_be_bound_again(skt: socket.socket) -> bool:
    if skt.family == socket.AF_UNIX:
        return False
    with suppress(OSError):
        return bool(skt.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT))
    return False


def _identity(path: str) -> tuple[int, int] | None:
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino
