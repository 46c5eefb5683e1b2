"""The proxy whose work is counted, as a child process that obeys, and a backend that answers when it is told to."""

from __future__ import annotations

import json
import os
import re
import select
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

from bench.bulk import content_length
from bench.fleet import StartError
from bench.work.counting import ROOT, Counts

PATIENCE_S = 60.0
"""For all that should come at once: a machine may be very busy."""


class CountedProxy:
    """txproxy behind its own command line, in a child process; a context manager that ends it.

    :param directory: for its files.
    :param config: TOML.
    :param by_line: count bytecodes by line too.
    :raises StartError: it did not start.
    """

    def __init__(self, directory: Path, config: str, by_line: bool = False) -> None:
        self._log = directory / "txproxy.log"
        self._output = directory / "output"
        file = directory / "proxy.toml"
        file.write_text(config)
        ours, theirs = socket.socketpair()
        # Without what changes the work of any Python program, such as the order of sets.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        path = filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))
        environment |= {"PYTHONPATH": os.pathsep.join(path), "PYTHONHASHSEED": "0"}
        words = ["-m", "bench.work.counted_run", str(theirs.fileno()), str(int(by_line)), "run", "-c", str(file)]
        with theirs, self._output.open("w") as output:
            self._process = subprocess.Popen(
                [sys.executable, *words],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=[theirs.fileno()],
            )
        ours.settimeout(PATIENCE_S)
        self._commands = ours
        self._answers = ours.makefile("r")
        try:
            self.port = self._wait_for_port()
        except BaseException:
            self.__exit__(None, None, None)
            raise

    def __enter__(self) -> CountedProxy:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Not in order, which may take time, and the clocks of the process stand still.
        self._process.kill()
        self._process.wait()
        self._answers.close()
        self._commands.close()

    def tell(self, command: str) -> str:
        """Give a command (see ``bench.work.counted_run``) and return what it is answered with.

        :raises StartError: the proxy has ended, or does not come to rest.
        """
        try:
            self._commands.sendall(f"{command}\n".encode())
            answer = self._answers.readline()
        except OSError as error:
            raise StartError(f"the proxy does not come to rest after {command!r}: {error}{self._tail()}") from error
        if not answer:
            raise StartError(f"the proxy has ended{self._tail()}")
        return answer.partition(" ")[2]

    def counts(self) -> Counts:
        """Return what was counted so far."""
        counts: Counts = json.loads(self.tell("read"))
        return counts

    def _wait_for_port(self) -> int:
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            text = self._log.read_text() if self._log.exists() else ""
            if " ready" in text and (found := re.search(r"listening on \w+://127\.0\.0\.1:(\d+)", text)):
                return int(found[1])
            if self._process.poll() is not None:
                raise StartError(f"the proxy ended with status {self._process.returncode}{self._tail()}")
            time.sleep(0.02)
        raise StartError(f"the proxy was not ready in {PATIENCE_S:.0f} s{self._tail()}")

    def _tail(self) -> str:
        lines = []
        for file in (self._log, self._output):
            if file.exists():
                lines += file.read_text(errors="replace").splitlines()[-12:]
        return "".join(f"\n    | {line}" for line in lines)


def is_whole(message: bytes) -> bool:
    """Return whether *message* has come to its end, which its Content-Length tells if it has one."""
    head, end, body = message.partition(b"\r\n\r\n")
    return bool(end) and len(body) >= content_length(head)


class Backend:
    """Answers one request whenever it is told to, in the thread of its caller."""

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._connections: list[socket.socket] = []
        self.port: int = self._server.getsockname()[1]

    def __enter__(self) -> Backend:
        return self

    def __exit__(self, *_: object) -> None:
        for each in (self._server, *self._connections):
            each.close()

    def answer(self, reply: bytes) -> None:
        """Wait for a request, on whichever connection, and answer it.

        :raises StartError: none comes.
        """
        received = b""
        while not is_whole(received):
            ready, _, _ = select.select([self._server, *self._connections], [], [], PATIENCE_S)
            if not ready:
                raise StartError("no request reaches the backend")
            connection = ready[0]
            if connection is self._server:
                connection, _ = self._server.accept()
                connection.settimeout(PATIENCE_S)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._connections.append(connection)
            elif data := connection.recv(65536):
                received += data
            else:
                self._connections.remove(connection)
                connection.close()
        connection.sendall(reply)
