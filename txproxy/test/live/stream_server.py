"""Servers of raw bytes for live tests: threads of the test, or a process that can be killed."""

from __future__ import annotations

import contextlib
import hashlib
import random
import shutil
import socket
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

from .client import wait_for
from .processes import Process

Talk = Callable[[socket.socket], None]
"""Serves one connection, which is closed when it returns."""


def echo(connection: socket.socket) -> None:
    """Send back what comes, then the end."""
    while data := connection.recv(1 << 16):
        connection.sendall(data)


class StreamServer:
    """A server in threads of this process; a context manager.

    :param talk: serves each connection.
    :param host: where it listens: an IPv4 or IPv6 address, or ``unix``.
    """

    def __init__(self, talk: Talk = echo, host: str = "127.0.0.1") -> None:
        self._talk = talk
        self._directory: Path | None = None
        self.errors: list[str] = []
        """What went wrong in a connection, resets excepted."""
        self.connections = 0
        if host == "unix":
            self._directory = Path(tempfile.mkdtemp(prefix="txproxy-stream-"))
            self._socket = socket.socket(socket.AF_UNIX)
            self._socket.bind(str(self._directory / "s"))
            self.address = f"unix:{self._directory / 's'}"
        else:
            self._socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
            self._socket.bind((host, 0))
            self.port = self._socket.getsockname()[1]
            self.address = f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"
        self._socket.listen(1024)
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> StreamServer:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
        assert not self.errors, self.errors

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection:
                self._talk(connection)
        except OSError:
            pass  # The other side has left, which is for it to judge.
        except Exception as error:
            self.errors.append(repr(error))


class EchoProcess(Process):
    """An echo that says its own name first, as a process that can be killed; a context manager.

    :param name: a word.
    """

    def __init__(self, name: str) -> None:
        directory = Path(tempfile.mkdtemp(prefix="txproxy-echo-"))
        super().__init__([sys.executable, "-c", _ECHO, name], directory)
        wait_for(lambda: self.output_path.read_text().endswith("\n"), "an echo")
        self.address = f"127.0.0.1:{self.output_path.read_text().strip()}"

    def __enter__(self) -> EchoProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)


_ECHO = """
import socket, sys, threading

def serve(connection):
    with connection:
        connection.sendall(sys.argv[1].encode() + b"\\n")
        while data := connection.recv(65536):
            connection.sendall(data)

server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
while True:
    threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()
"""


class Stream:
    """Random bytes of a given length, the same for the same seed, sent or received piece by piece.

    :param seed: tells one stream from another.
    :param length: in bytes.
    """

    def __init__(self, seed: int, length: int) -> None:
        self._block = random.Random(seed).randbytes(1 << 20)
        self._length = length

    def send(self, connection: socket.socket) -> None:
        """Send all of it, then the end."""
        left = self._length
        while left:
            piece = self._block[: min(left, len(self._block))]
            connection.sendall(piece)
            left -= len(piece)
        connection.shutdown(socket.SHUT_WR)

    def receive(
        self, connection: socket.socket, piece: int = 1 << 16, pause: Callable[[], object] | None = None
    ) -> bool:
        """Read to the end; return whether it was this, and no byte more or less.

        :param piece: how much is read at a time.
        :param pause: called after each of the first pieces, so that the sender is held up.
        """
        wanted, found, count, pieces = hashlib.sha256(), hashlib.sha256(), 0, 0
        while data := connection.recv(piece):
            found.update(data)
            count += len(data)
            pieces += 1
            if pause is not None and pieces < 100:
                pause()
        left = self._length
        while left:
            block = self._block[: min(left, len(self._block))]
            wanted.update(block)
            left -= len(block)
        return count == self._length and found.digest() == wanted.digest()
