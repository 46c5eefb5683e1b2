"""The child processes of a run, ended by their ids whatever happens."""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

ROOT = Path(__file__).resolve().parent.parent
STOP_TIMEOUT_S = 5.0
DIRECTORY = "TXPROXY_BENCH_DIRECTORY"
"""Variable of the children's environment that names the directory of the run."""
CLIENT_TLS = "OPENSSL_CONF"
"""Variable by which OpenSSL finds the settings of the clients, ``bench/load.cnf``; the proxies have their own."""


class StartError(Exception):
    """A child ended, or did not answer in time, before it could be measured."""


@dataclass(slots=True)
class Child:
    """One running child process."""

    name: str
    process: subprocess.Popen[str]
    output: Path

    @property
    def pid(self) -> int:
        """The process id."""
        return self.process.pid

    @property
    def running(self) -> bool:
        """Whether the process has not ended yet."""
        return self.process.poll() is None

    def last_lines(self, count: int = 6) -> list[str]:
        """Return the last lines that the child printed."""
        try:
            lines = self.output.read_text(errors="replace").splitlines()
        except OSError:
            return []
        return [line for line in lines if line.strip()][-count:]


@dataclass(frozen=True, slots=True)
class Finished:
    """What a load generator that ran to its end printed and used."""

    output: str
    wall_s: float
    cpu_s: float
    status: int


class Fleet:
    """Starts children and ends all of them when its ``with`` block is left.

    Every child leads a session of its own: a Ctrl-C in the terminal reaches this process only, which then ends
    the children in order, and a child's own workers can be ended with it.

    :param directory: where the output of the children goes.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._children: list[Child] = []

    def __enter__(self) -> Fleet:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for child in reversed(list(self._children)):
            self.stop(child)

    def start(self, name: str, command: Sequence[str], core: int | None = None, *, piped: bool = False) -> Child:
        """Start *command*, on *core* if one is given, else on this process's own cores.

        :param piped: give the child pipes as standard input and output, for a conversation with it.
        """
        output = self.directory / f"{name}.out"
        own = os.sched_getaffinity(0)
        environment = dict(os.environ)
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), environment.get("PYTHONPATH")]))
        environment[DIRECTORY] = str(self.directory)
        if core is not None:
            environment.pop(CLIENT_TLS, None)
        with output.open("a") as sink:
            # The affinity is inherited, so no thread of the child ever runs elsewhere.
            if core is not None:
                os.sched_setaffinity(0, {core})
            try:
                process = subprocess.Popen(
                    list(command),
                    cwd=ROOT,
                    env=environment,
                    text=True,
                    stdin=subprocess.PIPE if piped else subprocess.DEVNULL,
                    stdout=subprocess.PIPE if piped else sink,
                    stderr=sink,
                    start_new_session=True,
                )
            except OSError as error:
                raise StartError(f"{command[0]}: {error}") from error
            finally:
                os.sched_setaffinity(0, own)
        child = Child(name, process, output)
        self._children.append(child)
        return child

    def module(self, name: str, module: str, *arguments: object, piped: bool = False) -> Child:
        """Start a module of this package with the interpreter that runs the bench."""
        return self.start(name, [sys.executable, "-m", module, *map(str, arguments)], piped=piped)

    def run(self, name: str, command: Sequence[str], timeout_s: float) -> Finished:
        """Run a load generator to its end and return its output and the CPU time it used.

        :raises StartError: it did not end within *timeout_s*.
        """
        return self.run_together(name, [command], timeout_s)[0]

    def run_together(self, name: str, commands: Sequence[Sequence[str]], timeout_s: float) -> list[Finished]:
        """Run load generators beside each other, all to their end, and return what each printed and used.

        They may print no more than a pipe holds (64 KiB), as they are read one after the other.

        :raises StartError: one did not end within *timeout_s*.
        """
        began = time.monotonic()
        children: list[Child] = []
        finished = []
        try:
            for command in commands:
                children.append(self.start(name, command, piped=True))
            for child in children:
                # Only what has been waited for counts as used, hence the difference is this child's.
                before = children_cpu_s()
                output, _ = child.process.communicate(timeout=max(0.0, began + timeout_s - time.monotonic()))
                used = children_cpu_s() - before
                finished.append(Finished(output, time.monotonic() - began, used, child.process.returncode))
        except subprocess.TimeoutExpired as error:
            raise StartError(f"{name} did not end within {timeout_s:.0f} s") from error
        finally:
            for child in children:
                self.stop(child)
        return finished

    def stop(self, child: Child) -> None:
        """End *child* and whatever it started; asks first, then kills. Does nothing for a stopped child."""
        if child not in self._children:
            return
        process = child.process
        for number in (signal.SIGTERM, signal.SIGKILL):
            if process.poll() is not None:
                break
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_TIMEOUT_S)
        # The id still names the child's own session, where only what it started can be left.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        self._children.remove(child)


def told(child: Child, word: str, timeout_s: float) -> str:
    """Wait for the next line of a *child* that was started with pipes.

    :param word: what the line must begin with.
    :return: what follows the word.
    :raises StartError: another line came, or none within *timeout_s*.
    """
    assert child.process.stdout is not None
    ready, _, _ = select.select([child.process.stdout], [], [], timeout_s)
    line = child.process.stdout.readline() if ready else ""
    found, _, rest = line.partition(" ")
    if found != word:
        tail = "".join(f"\n    | {text}" for text in child.last_lines())
        raise StartError(f"{child.name} failed: no {word!r} but {line!r}{tail}")
    return rest


def children_cpu_s() -> float:
    """Return the seconds that children of this process used, those that have ended and were waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def free_port() -> int:
    """Return a loopback TCP port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for_port(child: Child, port: int, timeout_s: float = 15.0) -> None:
    """Wait until *child* accepts connections on *port*.

    :raises StartError: it ended or kept silent for *timeout_s*.
    """
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if not child.running:
            raise StartError(f"ended with status {child.process.returncode}")
        try:
            socket.create_connection(("127.0.0.1", port), 1.0).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise StartError(f"accepts no connection on port {port} after {timeout_s:.0f} s")
