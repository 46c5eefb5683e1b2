"""A farm: backends that are processes of their own, to be killed, frozen, thawed and brought back on the same port."""

from __future__ import annotations

import json
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from .client import DEADLINE_S
from .farm_server import HEALTH_PATH

_SERVER = Path(__file__).with_name("farm_server.py")
_ESTABLISHED = "01"
_LISTENER = '[[listener]]\nname = "web"\naddress = "127.0.0.1:0"\n'


class Seen(NamedTuple):
    """A request that a backend has read, whether or not it answered."""

    at_s: float
    """When its head was complete, by the monotonic clock that all processes share."""
    id: str
    """Its field X-Id."""
    method: str
    target: str
    connection: int
    """Number of the connection in the order of acceptance by that process."""
    fields: dict[str, str]
    """By name in lower case."""


class Member:
    """One backend process. See ``farm_server.DEFAULTS`` for how it can behave.

    :param directory: where its record is.
    """

    def __init__(self, name: str, directory: Path, behaviour: dict[str, Any]) -> None:
        self.name = name
        self.behaviour = behaviour
        self._record = directory / f"{name}.requests"
        # Bound but never listening: refuses connections and keeps the port while the process is dead.
        self._reserved = socket.socket()
        self._reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._reserved.bind(("127.0.0.1", 0))
        self.port: int = self._reserved.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        """As a configuration and the access log name it."""
        self._process: subprocess.Popen[str] | None = None

    @property
    def pid(self) -> int:
        """Process id."""
        assert self._process is not None, f"{self.name} does not run"
        return self._process.pid

    def start(self) -> float:
        """Start the process; return the moment at which it accepted connections."""
        assert self._process is None, f"{self.name} runs already"
        self._process = subprocess.Popen(
            [sys.executable, "-I", str(_SERVER), self.name, str(self.port), str(self._record),
             json.dumps(self.behaviour)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._line() == "ready", f"{self.name} did not start"
        return time.monotonic()

    def kill(self) -> None:
        """End the process at once, as a crash does; it may be frozen or dead."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait(DEADLINE_S)
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            pipe.close()

    def freeze(self) -> None:
        """Stop the process: its kernel still accepts connections and takes requests, but nothing answers."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen process go on; it then reads what came meanwhile."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def behave(self, **changes: Any) -> dict[str, int]:
        """Change the behaviour, also of a process that is started later, and wait until that is so.

        :return: what the process counts, see ``counts``.
        """
        self.behaviour.update(changes)
        if self._process is None:
            return {}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(changes) + "\n")
        self._process.stdin.flush()
        found: dict[str, int] = json.loads(self._line())
        return found

    def counts(self) -> dict[str, int]:
        """Return connections ``accepted``, ``open`` and ``most_open``, and requests ``active`` and ``most_active``."""
        return self.behave()

    def _line(self) -> str:
        assert self._process is not None and self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], DEADLINE_S)
        assert ready, f"{self.name} says nothing"
        return self._process.stdout.readline().strip()

    def everything(self) -> list[Seen]:
        """Return all that it ever read, over its restarts."""
        text = self._record.read_text() if self._record.exists() else ""
        return [Seen(*json.loads(line)) for line in text[: text.rfind("\n") + 1].splitlines()]

    def requests(self, since_s: float = 0) -> list[Seen]:
        """Return the clients' requests since a moment."""
        return [one for one in self.everything() if not _is_check(one) and one.at_s >= since_s]

    def checks(self, since_s: float = 0) -> list[Seen]:
        """Return the health checks since a moment."""
        return [one for one in self.everything() if _is_check(one) and one.at_s >= since_s]

    def connections(self) -> int:
        """Return how many connections others hold open to it, by the system's table; its process may be frozen."""
        count = 0
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            _, _, remote, state = line.split()[:4]
            count += state == _ESTABLISHED and int(remote.rpartition(":")[2], 16) == self.port
        return count

    def close(self) -> None:
        """End the process and give the port back."""
        self.kill()
        self._reserved.close()

    def __repr__(self) -> str:
        return f"<Member {self.name} {self.address}>"


def _is_check(seen: Seen) -> bool:
    return seen.target.partition("?")[0] == HEALTH_PATH


class Farm:
    """Several backends, to be used as a context manager; leaving it ends them all.

    :param count: they are named ``a``, ``b``, ``c`` and so on.
    :param running: start them; else each is dead until ``start``.
    :param behaviour: of all of them, see ``farm_server.DEFAULTS``.
    """

    def __init__(self, count: int = 3, *, running: bool = True, **behaviour: Any) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="txproxy-farm-"))
        self.members = [Member(chr(ord("a") + n), self._directory, dict(behaviour)) for n in range(count)]
        try:
            for member in self.members if running else ():
                member.start()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Farm:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Member]:
        return iter(self.members)

    def close(self) -> None:
        """End all processes and delete what they wrote."""
        for member in self.members:
            member.close()
        shutil.rmtree(self._directory, ignore_errors=True)

    @property
    def addresses(self) -> list[str]:
        """As a configuration names them."""
        return [member.address for member in self.members]

    def named(self, addresses: str | None) -> str:
        """Return the names of the members at these addresses, one letter each, from ``backend`` of the access log."""
        names = {member.address: member.name for member in self.members}
        return "".join(names[address] for address in (addresses or "").split(",") if address)

    def sightings(self) -> Counter[str]:
        """Return how many times each request id was read, over all members."""
        return Counter(seen.id for member in self.members for seen in member.requests() if seen.id)

    def config(self, cluster: str = "", *, backends: tuple[str, ...] = (), more: str = "") -> str:
        """Return a configuration of one listener, one route and one cluster ``origin`` of these backends.

        :param cluster: further keys of the cluster, one a line.
        :param backends: further keys of each backend, such as ``weight = 2``; empty: none.
        :param more: further sections.
        """
        return (
            f'{_LISTENER}[[route]]\nname = "all"\ncluster = "origin"\n'
            f"[cluster.origin]\nbackends = [{self._rows(backends)}]\n{cluster}\n{more}\n"
        )

    def config_of(self, clusters: dict[str, str], *, more: str = "") -> str:
        """Return a configuration of several clusters of the same backends, each with a route of its own.

        :param clusters: further keys of each, one a line, by their names; requests for ``/NAME/`` go there.
        :param more: further sections.
        """
        parts = [
            f'[[route]]\nname = "{name}"\npath = "/{name}/"\ncluster = "{name}"\n'
            f"[cluster.{name}]\nbackends = [{self._rows(())}]\n{keys}\n"
            for name, keys in clusters.items()
        ]
        return f"{_LISTENER}{''.join(parts)}{more}\n"

    def _rows(self, backends: tuple[str, ...]) -> str:
        keys = backends or ("",) * len(self.members)
        return ", ".join(
            f'{{ address = "{member.address}"{", " if each else ""}{each} }}'
            for member, each in zip(self.members, keys, strict=True)
        )
