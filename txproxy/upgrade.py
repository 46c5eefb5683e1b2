"""Replacing the running program by what is on disk now, without a moment in which nobody listens.

The old process starts the new one with its own command line and hands its listening sockets down. Both accept for a
moment; when the new one says that it serves, the old one stops as it would for a signal, and what is under way ends
there. A new one that comes to nothing has changed nothing.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from typing import Any, NamedTuple, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import ProcessProtocol

from txproxy.config.address import Address
from txproxy.inherited import SOCKETS, told
from txproxy.notify import Notifier
from txproxy.observe.log import Logger

log = Logger()

_READY_FD = "TXPROXY_READY_FD"
"""The variable that names the descriptor by which the new process says that it serves."""

_PATIENCE_S = 60.0
"""How long the new process may take until it serves."""

_FIRST_FD = 3
"""Behind standard input, output and error, which are handed down as they are."""

_DIGITS = 10
"""Of a descriptor there are fewer."""

_READY = b"ready"

_NOT_ITS_OWN = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_PID", SOCKETS, _READY_FD)
"""Variables that are about one process and not about those that it starts. Without WATCHDOG_PID, WATCHDOG_USEC is about
whoever reads it."""

_APART = """
import os, sys
os.setsid()
if os.fork():
    os._exit(0)
try:
    os.write(int(sys.argv[1]), b"%d\\n" % os.getpid())
    os.execvp(sys.argv[2], sys.argv[2:])
except BrokenPipeError:
    pass  # The old one has ended meanwhile.
except OSError as error:
    sys.exit(f"txproxy: {sys.argv[2]} cannot be started: {error}")
"""
"""Starts a program as nobody's child: no signal of the old one's terminal reaches it, and who looks after orphans, as
systemd does, looks after it from its first moment on."""


class Startup(NamedTuple):
    """How the process was started, and how another one like it is."""

    command: tuple[str, ...]
    environ: Mapping[str, str]

    @classmethod
    def of_this_process(cls, environ: Mapping[str, str]) -> Startup:
        """Return how this process was started.

        :param environ: its variables; they may change afterwards.
        """
        kept = {name: value for name, value in environ.items() if name not in _NOT_ITS_OWN}
        return cls(_command(sys.executable, sys.orig_argv, sys.argv), kept)


def _command(executable: str, whole: list[str], arguments: list[str]) -> tuple[str, ...]:
    # A script names its interpreter in its first line, and another version of it may name another one.
    if whole[1:] == arguments and os.access(arguments[0], os.X_OK):
        return tuple(arguments)
    return (executable, *whole[1:])


class Predecessor:
    """The process that this one replaces, if there is one.

    :param environ: of the process, as it was started; what tells of a predecessor is removed from it.
    :raises ValueError: that is malformed.
    """

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        number = environ.pop(_READY_FD, "")
        if number and not (number.isdecimal() and len(number) < _DIGITS):
            raise ValueError(f"{_READY_FD} is malformed: {number!r} is no descriptor")
        self._descriptor = int(number) if number else None
        if self._descriptor is not None:
            os.set_inheritable(self._descriptor, False)

    def may_go(self) -> None:
        """Say that this process serves."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with suppress(OSError):  # It has gone by itself meanwhile: all the more reason to serve.
                os.write(descriptor, _READY + b"\n")
            os.close(descriptor)


class Replaceable(Protocol):
    """What serves: one process, or the supervisor of several."""

    def sockets(self) -> list[tuple[Address, socket.socket]]:
        """Return what listens: each address as the configuration has it, as often as it has sockets."""

    def own_files(self) -> None:
        """Remove the files of its unix sockets at the end, also of those that another process has bound."""

    def hand_over(self) -> None:
        """Stop gracefully, with sockets and files of sockets left as they are: another process has them too."""


class Upgrade:
    """Begins to replace the process, one try at a time.

    :param served: what is replaced.
    :param reactor: provides IReactorCore, IReactorProcess and IReactorTime.
    :param startup: how the new process is started.
    :param notifier: tells systemd which process is the service.
    """

    def __init__(self, served: Replaceable, reactor: Any, startup: Startup, notifier: Notifier) -> None:
        self._served = served
        self._reactor = reactor
        self._startup = startup
        self._notifier = notifier
        self._successor: Successor | None = None
        self._is_stopping = False
        reactor.addSystemEventTrigger("before", "shutdown", self._stop)

    def begin(self) -> None:
        """Start the new process; what becomes of it is in the log."""
        if os.getpid() == 1:
            log.error("no upgrade in place: a container ends with its first process (replace the container)")
        elif self._is_stopping:
            log.error("no upgrade in place: the proxy is stopping")
        elif self._successor is not None:
            log.error("an upgrade in place is on its way already")
        else:
            self._start()

    def _start(self) -> None:
        sockets = self._served.sockets()
        numbers = range(_FIRST_FD + 1, _FIRST_FD + 1 + len(sockets))
        descriptors: dict[int, int | str] = {number: number for number in range(_FIRST_FD) if _is_open(number)}
        descriptors[_FIRST_FD] = "r"
        descriptors.update(zip(numbers, (each.fileno() for _, each in sockets), strict=True))
        pairs = [(address, number) for (address, _), number in zip(sockets, numbers, strict=True)]
        environ = {**self._startup.environ, SOCKETS: told(pairs), _READY_FD: str(_FIRST_FD)}
        apart = [sys.executable, "-I", "-S", "-c", _APART, str(_FIRST_FD), *self._startup.command]
        log.info("upgrading in place: starting {command}", command=" ".join(self._startup.command))
        successor = Successor(self)
        try:
            self._reactor.spawnProcess(successor, apart[0], apart, env=environ, childFDs=descriptors)
        except OSError as reason:
            self.failed(str(reason))
            return
        self._successor = successor
        successor.expect(self._reactor.callLater(_PATIENCE_S, successor.took_too_long))

    def failed(self, reason: str) -> None:
        """Go on as before."""
        self._successor = None
        log.error("the upgrade in place has failed, this process goes on: {reason}", reason=reason)

    def succeeded(self, pid: int) -> None:
        """Leave the service to the new process."""
        if self._is_stopping:
            return
        log.info("process {pid} serves in place of this one: what is under way here may finish", pid=pid)
        self._notifier.replaced_by(pid)
        self._is_stopping = True
        self._served.hand_over()

    def _stop(self) -> Deferred[None] | None:
        # Whoever stops the service does not want another process to go on with it.
        was_stopping, self._is_stopping = self._is_stopping, True
        return None if was_stopping or self._successor is None else self._successor.give_up()


class Successor(ProcessProtocol):
    """The new process until it serves.

    :param upgrade: is told what becomes of it.
    """

    def __init__(self, upgrade: Upgrade) -> None:
        self._upgrade = upgrade
        self._said = b""
        self._patience: IDelayedCall | None = None
        self._is_settled = False
        self._given_up: Deferred[None] | None = None

    def expect(self, patience: IDelayedCall) -> None:
        """Take note of the call that ends the waiting."""
        self._patience = patience

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """Read its process id, then whether it serves."""
        self._said += data
        if self._given_up is not None:
            self._end()
        elif self._said.endswith(_READY + b"\n") and not self._is_settled:
            self._settle()
            self._upgrade.succeeded(self._pid)

    def childConnectionLost(self, childFD: int) -> None:
        """It can say nothing any more."""
        if self._given_up is not None:
            self._ended()
        elif not self._is_settled:
            self._settle()
            self._upgrade.failed("the new process has ended before it was ready; it has said why")

    def took_too_long(self) -> None:
        """End it."""
        self.give_up()
        self._upgrade.failed(f"the new process was not ready after {_PATIENCE_S:.0f} s")

    def give_up(self) -> Deferred[None]:
        """End it, now or as soon as its process id is known.

        :return: fires when nothing more is to be done.
        """
        self._settle()
        self._given_up = Deferred()
        self._end()
        return self._given_up

    def _end(self) -> None:
        if self._pid:
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
            self._ended()

    def _ended(self) -> None:
        if self._given_up is not None and not self._given_up.called:
            self._given_up.callback(None)

    @property
    def _pid(self) -> int:
        line, found, _ = self._said.partition(b"\n")
        return int(line) if found and line.isdigit() else 0

    def _settle(self) -> None:
        self._is_settled = True
        if self._patience is not None and self._patience.active():
            self._patience.cancel()


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True
