"""What several live tests need beside the peers: other ways to start the proxy, one-shot requests, many clients at once."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from .client import DEADLINE_S, Client, wait_for
from .processes import PROJECT, Process
from .replies import Reply

MIB = 1 << 20
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(PROJECT), "PYTHONUNBUFFERED": "1"}
TXPROXY = (sys.executable, "-m", "txproxy.main")
TWISTD = (sys.executable, str(Path(sys.executable).with_name("twistd")))
_LISTENING = re.compile(r"listening on (\w+)://(\S+) \(([^)]*)\)")


def get(port: int, target: str = "/", **more: Any) -> Reply:
    """Make one request on a connection of its own; ``more`` goes to ``Client.request``."""
    with Client(port) as client:
        return client.request(target, **more)


def at_once(calls: Iterable[Callable[[], Any]]) -> list[Any]:
    """Call functions in a thread each and return what they returned, in order.

    :raises Exception: the first exception that one of them raised.
    """
    results: dict[int, Any] = {}
    failures: list[BaseException] = []

    def run(number: int, call: Callable[[], Any]) -> None:
        try:
            results[number] = call()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=each, daemon=True) for each in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(4 * DEADLINE_S)
    if failures:
        raise failures[0]
    assert len(results) == len(threads), f"{len(threads) - len(results)} of {len(threads)} clients did not end"
    return [results[number] for number in range(len(threads))]


def tcp_buffers_bytes() -> dict[str, int]:
    """Return the most that this kernel lets the buffer of a connection's receiver ("rmem") and sender ("wmem") grow to."""
    return {
        name: int(Path(f"/proc/sys/net/ipv4/tcp_{name}").read_text("ascii").split()[2]) for name in ("rmem", "wmem")
    }


def wait_until_read(client: Client) -> None:
    """Wait until the process at the other end of an IPv4 loopback connection has read all that was sent to it."""
    ours, theirs = client.socket.getsockname()[1], client.socket.getpeername()[1]

    def waiting() -> int:
        queued = 0
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            _, local, remote, _, queues = line.split()[:5]
            ends = int(local.rpartition(":")[2], 16), int(remote.rpartition(":")[2], 16)
            sending, _, receiving = queues.partition(":")
            if ends == (ours, theirs):
                queued += int(sending, 16)
            elif ends == (theirs, ours):
                queued += int(receiving, 16)
        return queued

    wait_for(lambda: not waiting(), "the peer to read what it was sent")


def settled(reading: Callable[[], int], for_s: float = 0.7, timeout_s: float = DEADLINE_S) -> int:
    """Return a number once it has not changed for a while, such as bytes that were taken before flow control."""
    deadline = time.monotonic() + timeout_s
    last, since = reading(), time.monotonic()
    while time.monotonic() - since < for_s:
        assert time.monotonic() < deadline, f"still changing after {timeout_s} s: {last}"
        time.sleep(0.02)
        now = reading()
        if now != last:
            last, since = now, time.monotonic()
    return last


class Command(Process):
    """A proxy that is started by any command line, such as twistd's; a context manager that ends it by its handle.

    Unlike ``ProxyProcess`` it checks nothing at its end: see ``end``.

    :param arguments: the command line.
    :param files: contents of files in its directory, which is its working directory, by name.
    :param ready: what it prints when it serves; None: do not wait.
    """

    def __init__(
        self, arguments: Sequence[str], files: dict[str, str] | None = None, ready: str | None = " ready"
    ) -> None:
        directory = Path(tempfile.mkdtemp(prefix="txproxy-command-"))
        for name, text in (files or {}).items():
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        super().__init__([*arguments], directory, ENVIRONMENT)
        if ready is not None:
            try:
                wait_for(lambda: ready in self.text or self.process.poll() is not None, "ready")
                assert self.process.poll() is None, f"exit {self.process.returncode}"
            except AssertionError as error:
                self.kill()
                raise AssertionError(f"{arguments} did not start: {error}\n{self.text[-8000:]}") from None
        self.ports: dict[str, int] = {}
        for _, place, name in _LISTENING.findall(self.text):
            port = place.rpartition(":")[2].rstrip("/")
            self.ports[name] = int(port) if port.isdecimal() else 0

    def __enter__(self) -> Command:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    @property
    def text(self) -> str:
        """All that it wrote, to standard output and standard error."""
        return self.output_path.read_text(errors="backslashreplace") + self.error_text

    @property
    def port(self) -> int:
        """Port of the only listener."""
        (port,) = self.ports.values()
        return port

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def end(self, number: int | None = None, timeout_s: float = DEADLINE_S) -> int:
        """Send a signal if one is given, wait for its end, and return its exit status."""
        if number is not None:
            self.signal(number)
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still runs after {timeout_s} s:\n{self.text[-8000:]}") from None


def run_command(arguments: Sequence[str], directory: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command to its end and return what it wrote."""
    return subprocess.run(  # the command line is the test's own
        [*arguments],
        cwd=directory,
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=2 * DEADLINE_S,
        check=False,
    )


@contextlib.contextmanager
def clients_of(port: int, count: int) -> Iterator[list[Client]]:
    """Open many connections, and close them at the end whatever happens."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(Client(port)) for _ in range(count)]
