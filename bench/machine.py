"""What the measurements run on: cores, limits, versions."""

from __future__ import annotations

import os
import platform
import re
import resource
import shutil
import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

from OpenSSL import SSL

from bench import installed

WANTED_DESCRIPTORS = 65_536
# Twice what is held; more would only enlarge the tables that some proxies reserve at their start.
MAX_CLIENTS = 20_000
# Backend connections, listeners, logs.
OTHER_DESCRIPTORS = 1_000


@dataclass(frozen=True, slots=True)
class Machine:
    """The cores and limits that one run uses.

    :ivar proxy_core: the core that every measured proxy is pinned to.
    :ivar load_cores: the cores of the load generator and the backend.
    :ivar descriptors: the limit of open files that every child inherits.
    """

    proxy_core: int
    load_cores: tuple[int, ...]
    descriptors: int

    @property
    def shares_core(self) -> bool:
        """Whether load and proxy have to share one core, so that rates mean little."""
        return self.proxy_core in self.load_cores

    @property
    def max_clients(self) -> int:
        """The client connections that a proxy is told to accept."""
        return min(MAX_CLIENTS, self.descriptors - OTHER_DESCRIPTORS)


def prepare() -> Machine:
    """Choose the cores, move this process to the load's cores and raise the limit of open files.

    Children inherit both, so the load side needs no further care.
    """
    cores = sorted(os.sched_getaffinity(0))
    load = tuple(cores[1:]) or (cores[0],)
    os.sched_setaffinity(0, load)
    return Machine(cores[0], load, _raise_descriptors())


def _raise_descriptors() -> int:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted in (max(WANTED_DESCRIPTORS, hard), hard):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, WANTED_DESCRIPTORS), wanted))
        except (ValueError, OSError):
            continue
        return min(wanted, WANTED_DESCRIPTORS)
    return soft


def describe(machine: Machine) -> dict[str, str]:
    """Name the hardware, the system and the software that a result belongs to."""
    facts = {
        "cpu": _cpu_model(),
        "cores": f"{os.cpu_count()}; proxy {machine.proxy_core}, load {','.join(map(str, machine.load_cores))}",
        "memory": f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / (1 << 30):.1f} GiB",
        "kernel": platform.release(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "open files": str(machine.descriptors),
    }
    # twisted.web.proxy is a part of Twisted.
    for package in ("txproxy", "twisted", "proxy.py"):
        facts[package] = installed.version_with(package)
    for name in installed.VERSIONS:
        facts[name] = installed.version_of(name)
    facts["openssl"] = ", ".join(f"{name} {version}" for name, version in _openssl_versions().items())
    return facts


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"


def _openssl_versions() -> dict[str, str]:
    found = {"txproxy": SSL.OpenSSL_version(SSL.OPENSSL_VERSION).decode()}
    for tool, option in (("nginx", "-V"), ("haproxy", "-vv")):
        path = shutil.which(tool)
        if path is not None:
            shown = subprocess.run([path, option], capture_output=True, text=True, timeout=10, check=False)
            # Both name the one they were built with first, and then, if it is another, the one they run with.
            found[tool] = (re.findall(r"OpenSSL \d[\w.]*", shown.stdout + shown.stderr) or ["unknown"])[-1]
    found["load"] = ssl.OPENSSL_VERSION
    return {name: version.removeprefix("OpenSSL ").split()[0] for name, version in found.items()}
