"""The listening sockets that are open before the proxy begins: systemd's, and those of a process that is replaced."""

from __future__ import annotations

import errno
import json
import os
import socket
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, MutableMapping

from twisted.internet.error import CannotListenError
from twisted.python.systemd import ListenFDs

from txproxy.config.address import Address, parse_address
from txproxy.observe.log import Logger

log = Logger()

SOCKETS = "TXPROXY_SOCKETS"
"""The variable in which a process tells its successor of its sockets: JSON, pairs of an address as the configuration
has it and a descriptor."""

_NO_NAME = "unknown"
"""What libsystemd calls a socket whose name is not told (sd_listen_fds_with_names(3))."""

_MOST = 65536
"""Sockets that systemd may hand over."""
_LARGEST = 2**31 - 1
"""A larger descriptor there is not."""

Opener = Callable[[int], socket.socket]


class Inherited:
    """Says which sockets there are already; they stay its own, and whoever listens on one has a duplicate.

    :param activated: sockets of systemd, by name. One that is in use may be asked for again and again, for systemd
        keeps it open as well: a listener may go at a reload and come back at another.
    :param predecessor: sockets of the process that is replaced, by address in comparable form. Each is given once.
    """

    def __init__(
        self,
        activated: Mapping[str, list[socket.socket]] | None = None,
        predecessor: Mapping[str, list[socket.socket]] | None = None,
    ) -> None:
        self._activated = {name: list(sockets) for name, sockets in (activated or {}).items()}
        self._waiting = {address: list(sockets) for address, sockets in (predecessor or {}).items()}
        self._given: list[socket.socket] = []
        self._asked_for: set[str] = set()

    def __call__(self, address: Address) -> socket.socket | None:
        """Return a socket that listens at an address already, or None.

        :raises twisted.internet.error.CannotListenError: it is one of systemd's that cannot be listened on.
        """
        waiting = self._waiting.get(address.comparable)
        if waiting:
            self._given.append(waiting.pop(0))
            return self._given[-1]
        if address.kind != "systemd":
            return None
        sockets = self._activated.get(address.path, [])
        self._asked_for.add(address.path)
        if len(sockets) > 1:
            # Which of them is served would hang on their order in the unit.
            raise _cannot(
                address, f"{len(sockets)} sockets have this name (a listener takes one: write a unit for each)"
            )
        if sockets and not _listens(sockets[0]):
            raise _cannot(address, "it is no listening stream socket (write ListenStream= and Accept=no)")
        return sockets[0] if sockets else None

    def settle(self) -> None:
        """Close what nobody has asked for, and what has been duplicated: all ports are open."""
        for name in sorted(self._activated.keys() - self._asked_for):
            log.warn('no listener has the address "systemd:{name}": the socket is closed', name=name)
            _close(self._activated.pop(name))
        for address, sockets in self._waiting.items():
            if sockets:
                log.info("nothing listens at {address} any more", address=address)
                _close(sockets)
        self._waiting.clear()
        _close(self._given)
        self._given.clear()


def inherited(environ: MutableMapping[str, str], open_socket: Opener | None = None) -> Inherited:
    """Return the sockets that this process was started with, and remove from its environment what tells of them.

    :param environ: of the process, as it was started.
    :param open_socket: makes the socket for a descriptor.
    :raises OSError: a descriptor that is told of is none of a socket.
    :raises ValueError: what should tell of the predecessor's sockets is malformed.
    """
    open_socket = open_socket or _open
    activated: defaultdict[str, list[socket.socket]] = defaultdict(list)
    for name, descriptor in _of_systemd(environ):
        activated[name].append(open_socket(descriptor))
    predecessor: defaultdict[str, list[socket.socket]] = defaultdict(list)
    for address, descriptor in _of_predecessor(environ.pop(SOCKETS, "[]")):
        predecessor[address].append(open_socket(descriptor))
    return Inherited(activated, predecessor)


def told(sockets: Iterable[tuple[Address, int]]) -> str:
    """Return the value of ``TXPROXY_SOCKETS`` for sockets and their descriptors in the new process."""
    return json.dumps([[str(address), descriptor] for address, descriptor in sockets])


def _of_systemd(environ: MutableMapping[str, str]) -> list[tuple[str, int]]:
    names = environ.pop("LISTEN_FDNAMES", "")
    # Twisted takes no sockets without names, which systemd-socket-activate(1) does not set by itself.
    count = environ.get("LISTEN_FDS", "")
    if count.isdecimal() and int(count) > _MOST:
        raise ValueError(f"LISTEN_FDS is malformed: {count} sockets")
    names = names or ":".join([_NO_NAME] * int(count) if count.isdecimal() else [])
    variables = {**environ, "LISTEN_FDNAMES": names}
    found = ListenFDs.fromEnvironment(variables)
    for name in ("LISTEN_PID", "LISTEN_FDS"):
        environ.pop(name, None)  # A process that we start must not take them for its own.
    return list(zip(names.split(":"), found.inheritedDescriptors(), strict=False))


def _of_predecessor(text: str) -> list[tuple[str, int]]:
    try:
        return [(parse_address(address).comparable, int(descriptor)) for address, descriptor in json.loads(text)]
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise ValueError(f"{SOCKETS} is malformed: {error}") from None


def _open(descriptor: int) -> socket.socket:
    if descriptor > _LARGEST:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    os.set_inheritable(descriptor, False)
    opened = socket.socket(fileno=descriptor)
    opened.setblocking(False)
    return opened


def _listens(opened: socket.socket) -> bool:
    if opened.type != socket.SOCK_STREAM:
        return False
    return bool(opened.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))


def _cannot(address: Address, words: str) -> CannotListenError:
    error = OSError(errno.EINVAL, words)
    return CannotListenError("systemd", address.path, error)  # type: ignore[no-untyped-call]


def _close(sockets: Iterable[socket.socket]) -> None:
    for each in sockets:
        each.close()
