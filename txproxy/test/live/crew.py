"""What tests of several workers need: which processes there are, and which of them has a connection."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from .client import Client, wait_for
from .processes import Process


def workers_of(supervisor: Process) -> list[int]:
    """Return the process ids of the workers, the oldest first."""
    pid = supervisor.pid
    with contextlib.suppress(OSError):
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split() if is_alive(each)]
    return []


def is_alive(pid: int | str) -> bool:
    """Return whether a process runs; one that nobody has asked for its status does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] not in "ZX"
    except OSError:
        return False


def wait_for_workers(supervisor: Process, count: int, without: Iterable[int] = ()) -> list[int]:
    """Wait until there are so many workers; return their process ids.

    :param without: who is not to be among them.
    """
    gone = set(without)

    def complete() -> bool:
        found = workers_of(supervisor)
        return len(found) == count and not gone & set(found)

    wait_for(complete, f"{count} workers")
    return workers_of(supervisor)


def holders(clients: Iterable[Client], workers: Iterable[int]) -> list[int]:
    """Return which worker has each connection; 0 if none has it (yet). IPv4 only."""
    of_inode = {}
    for pid in workers:
        for descriptor in _listed(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                of_inode[os.readlink(f"/proc/{pid}/fd/{descriptor}")] = pid
    of_port = {}
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        ends = [int(each.rpartition(":")[2], 16) for each in fields[1:3]]
        of_port[tuple(ends)] = f"socket:[{fields[9]}]"
    found = []
    for client in clients:
        ours, theirs = client.socket.getsockname()[1], client.socket.getpeername()[1]
        found.append(of_inode.get(of_port.get((theirs, ours), ""), 0))
    return found


def shares(clients: list[Client], workers: list[int]) -> Counter[int]:
    """Return how many connections each worker has, once each has been accepted."""
    wait_for(lambda: 0 not in holders(clients, workers), "all connections to be accepted")
    return Counter(holders(clients, workers))


@contextlib.contextmanager
def one_for_each(port: int, workers: list[int]) -> Iterator[dict[int, Client]]:
    """Open a connection to each worker, by its process id; they are closed at the end."""
    found: dict[int, Client] = {}
    with contextlib.ExitStack() as stack:
        for _ in range(500):
            client = stack.enter_context(Client(port))
            (pid,) = shares([client], workers)
            found.setdefault(pid, client)
            if len(found) == len(workers):
                break
        assert set(found) == set(workers), f"only {len(found)} of {len(workers)} workers accept"
        yield found


def _listed(path: str) -> list[str]:
    with contextlib.suppress(OSError):
        return os.listdir(path)
    return []
