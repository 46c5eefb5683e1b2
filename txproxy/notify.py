"""Tells systemd how the process is: sd_notify(3), a datagram of VARIABLE=value lines.

Own code, for the few packages that do this are not typed, not kept up, or bind libsystemd; the protocol is one
``sendto``.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.task import LoopingCall

from txproxy.observe.log import Logger

log = Logger()

_DIGITS = 18
"""Of microseconds; with more it is no time that ever passes."""

Sender = Callable[[str, bytes], None]


class Notifier:
    """Sends what is worth telling; nothing if nobody asked.

    :param environ: of the process: ``NOTIFY_SOCKET`` says where to, ``WATCHDOG_USEC`` how often at least.
    :param send: sends a datagram to an address.
    """

    def __init__(self, environ: Mapping[str, str], send: Sender | None = None) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        self._send = send or send_datagram
        self._has_failed = False
        self._beat: LoopingCall | None = None
        self.watchdog_s = _watchdog_s(environ)
        """Silence in seconds after which systemd takes the process for hung; 0 for never."""

    def tell(self, **variables: object) -> None:
        """Send variables, by name as sd_notify(3) has them; that it fails is in the log once."""
        if not self._address:
            return
        # A line break would begin another variable.
        lines = (f"{name}={' '.join(str(value).split())}" for name, value in variables.items())
        try:
            self._send(self._address, "\n".join(lines).encode())
        except OSError as reason:
            if not self._has_failed:
                self._has_failed = True
                log.warn("systemd cannot be told how the proxy is: {reason}", reason=reason)

    def ready(self, status: str = "") -> None:
        """It serves, from its start or since a reload.

        :param status: a line for people, such as what it serves or why a reload came to nothing.
        """
        self.tell(READY=1, STATUS=status)

    def reloading(self) -> None:
        """It has begun to reload; ``ready`` has to follow, however that ends."""
        self.tell(RELOADING=1, MONOTONIC_USEC=time.monotonic_ns() // 1000)

    def stopping(self) -> None:
        """It has begun to stop."""
        self.tell(STOPPING=1, STATUS="finishing what is under way")

    def replaced_by(self, pid: int) -> None:
        """Another process is the service from here on, and this one tells nothing any more.

        :param pid: of the other.
        """
        # The other one's silence counts from here, however long ago our last beat is.
        self.tell(MAINPID=pid, READY=1, WATCHDOG=1, STATUS=f"replaced by process {pid}")
        self._address = ""

    def watch(self, reactor: Any) -> None:
        """Tell from here on that the reactor turns, if systemd wants to know.

        :param reactor: provides IReactorTime.
        """
        if self._beat is None and self._address and self.watchdog_s:
            self._beat = LoopingCall(self.tell, WATCHDOG=1)
            self._beat.clock = reactor
            # Half the time is what sd_watchdog_enabled(3) recommends.
            self._beat.start(self.watchdog_s / 2)


def _watchdog_s(environ: Mapping[str, str]) -> float:
    text = environ.get("WATCHDOG_USEC", "")
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()) or not text.isdecimal() or len(text) > _DIGITS:
        return 0
    return int(text) / 1e6


def send_datagram(address: str, data: bytes) -> None:
    """Send a datagram to a unix socket.

    :param address: an absolute path, or ``@`` and a name in the abstract namespace.
    :raises OSError: it cannot be sent now.
    """
    if address[:1] not in "/@":
        raise OSError(f"{address!r} is no unix socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sending:
        sending.sendto(data, "\0" + address[1:] if address[0] == "@" else address)
