"""A name server for live tests, whose zone changes while it serves."""

from __future__ import annotations

import contextlib
import socket
import tempfile
import threading
from pathlib import Path

from txproxy.test.name_server import Zone

from .client import DEADLINE_S


class NameServer:
    """Serves a zone on UDP and TCP of 127.0.0.1, to be used as a context manager.

    :param port: 0 for any; a number to come where nobody listened before.
    :param more: further lines of the resolv.conf that names it, such as a search list.
    """

    def __init__(self, port: int = 0, more: str = "") -> None:
        self.zone = Zone()
        self._datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._bind(port)
        self._listener.listen()
        self.port: int = self._datagrams.getsockname()[1]
        self._directory = tempfile.TemporaryDirectory(prefix="txproxy-names-")
        self.environment = environment_for(self.port, Path(self._directory.name), more)
        """Makes a proxy ask this server."""
        self._stopped = False
        self._threads = [threading.Thread(target=each, daemon=True) for each in (self._serve_udp, self._serve_tcp)]
        for thread in self._threads:
            thread.start()

    def _bind(self, port: int) -> None:
        for _ in range(100):
            self._datagrams.bind(("127.0.0.1", port))
            with contextlib.suppress(OSError):
                self._listener.bind(self._datagrams.getsockname())
                return
            assert not port, f"port {port} is in use"
            # Free for datagrams, taken for connections: another one.
            self._datagrams.close()
            self._datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        raise AssertionError("no port is free for both UDP and TCP")

    def __enter__(self) -> NameServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._directory.cleanup()

    def _serve_udp(self) -> None:
        while not self._stopped:
            try:
                data, address = self._datagrams.recvfrom(4096)
            except OSError:
                return
            reply = None if self._stopped else self.zone.reply(data)
            if reply is not None:
                with contextlib.suppress(OSError):
                    self._datagrams.sendto(reply, address)

    def _serve_tcp(self) -> None:
        while not self._stopped:
            try:
                accepted, _ = self._listener.accept()
            except OSError:
                return
            with accepted, contextlib.suppress(OSError):
                accepted.settimeout(DEADLINE_S)
                stream = accepted.makefile("rb")
                data = stream.read(int.from_bytes(stream.read(2), "big"))
                reply = self.zone.reply(data, over_tcp=True) if data else None
                if reply is not None:
                    accepted.sendall(len(reply).to_bytes(2, "big") + reply)
                    stream.read(1)

    def stop(self) -> None:
        """Close its ports; whoever asks then is refused."""
        if self._stopped:
            return
        self._stopped = True
        # A datagram and a shutdown wake up the threads, which would wait on closed sockets for ever.
        with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as waker:
            waker.sendto(b"", ("127.0.0.1", self.port))
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(DEADLINE_S)
        self._datagrams.close()
        self._listener.close()

    def questions_for(self, name: str) -> int:
        """Return how many questions for IPv4 addresses of a name came so far."""
        return sum(each.name == name and each.kind == "A" and not each.over_tcp for each in list(self.zone.asked))


def environment_for(port: int, directory: Path, more: str = "") -> dict[str, str]:
    """Return variables that make a proxy ask the name server on a port of 127.0.0.1.

    :param directory: where its resolv.conf is written.
    :param more: further lines of that.
    """
    path = directory / "resolv.conf"
    path.write_text(f"nameserver [127.0.0.1]:{port}\n{more}\n")
    return {"TXPROXY_RESOLV_CONF": str(path)}


def unused_udp_port() -> int:
    """Return a port of 127.0.0.1 that nobody has, neither for datagrams nor for connections."""
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, socket.socket() as listener:
            probe.bind(("127.0.0.1", 0))
            with contextlib.suppress(OSError):
                listener.bind(probe.getsockname())
                return int(probe.getsockname()[1])
