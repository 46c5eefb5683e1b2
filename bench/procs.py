"""Readings of a process and its children from ``/proc``: CPU time, memory, descriptors."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def tree(pid: int) -> list[int]:
    """Return *pid* and every living descendant of it."""
    parents: dict[int, list[int]] = {}
    for entry in _PROC.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            stat = (entry / "stat").read_text()
        except OSError:
            continue
        # The name in parentheses may hold spaces and parentheses, so count from its end.
        parent = int(stat.rpartition(")")[2].split()[1])
        parents.setdefault(parent, []).append(int(entry.name))
    found = [pid]
    for member in found:
        found.extend(parents.get(member, ()))
    return found


def cpu_ns(pid: int) -> int:
    """Return the nanoseconds that *pid* and its children have been on a core, user and system together."""
    return sum(cpu_by_program(pid).values())


def cpu_by_program(pid: int) -> dict[str, int]:
    """Return the same by the names of the programs.

    The scheduler's own count is used, because the clock ticks of ``/proc/PID/stat`` are 10 ms coarse.
    """
    found: dict[str, int] = {}
    for member in tree(pid):
        total = 0
        for task in _entries(_PROC / str(member) / "task"):
            try:
                total += int((task / "schedstat").read_text().split()[0])
            except (OSError, IndexError):
                continue
        try:
            name = (_PROC / str(member) / "comm").read_text().strip()
        except OSError:
            continue
        found[name] = found.get(name, 0) + total
    return found


def rss_bytes(pid: int) -> int:
    """Return the resident memory of *pid* and its children in bytes."""
    total = 0
    for member in tree(pid):
        try:
            status = (_PROC / str(member) / "status").read_text()
        except OSError:
            continue
        for line in status.splitlines():
            if line.startswith("VmRSS:"):
                total += int(line.split()[1]) * 1024
    return total


def descriptors(pid: int) -> int:
    """Return how many descriptors *pid* and its children have open."""
    return sum(1 for member in tree(pid) for _ in _entries(_PROC / str(member) / "fd"))


def connections_to(port: int) -> int:
    """Return how many open IPv4 connections on this machine lead to *port*, half-closed ones included."""
    # Established and close-wait: the states in which this end still has a descriptor for it.
    open_states = {"01", "08"}
    count = 0
    for line in (_PROC / "net" / "tcp").read_text().splitlines()[1:]:
        _slot, _local, remote, state = line.split()[:4]
        count += state in open_states and int(remote.rpartition(":")[2], 16) == port
    return count


def _entries(directory: Path) -> Iterator[Path]:
    try:
        yield from directory.iterdir()
    except OSError:
        return


@dataclass(frozen=True, slots=True)
class CoreTimes:
    """Seconds since boot that one core was busy, and that the host gave to somebody else."""

    busy_s: float
    stolen_s: float

    @classmethod
    def read(cls, core: int) -> CoreTimes:
        """Read the line of *core* in ``/proc/stat``."""
        for line in (_PROC / "stat").read_text().splitlines():
            if line.startswith(f"cpu{core} "):
                user, nice, system, _idle, _wait, irq, softirq, steal = (int(part) for part in line.split()[1:9])
                return cls((user + nice + system + irq + softirq) / _TICKS_PER_S, steal / _TICKS_PER_S)
        return cls(0.0, 0.0)
