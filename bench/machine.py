"""What the measurements run on: cores, limits, versions."""

from __future__ import annotations

import importlib.metadata
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
        "cores": f"proxy {machine.proxy_core}, load {','.join(map(str, machine.load_cores))}",
        "kernel": platform.release(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "open files": str(machine.descriptors),
    }
    for package in ("twisted", "txproxy"):
        try:
            facts[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            facts[package] = "not installed as a package"
    for tool in ("nginx", "haproxy", "wrk"):
        facts[tool] = _tool_version(tool)
    facts["varnish"] = _tool_version("varnishd", "-V")
    facts["h2load"] = _tool_version("h2load", "--version")
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


def _tool_version(tool: str, option: str = "-v") -> str:
    path = shutil.which(tool)
    if path is None:
        return "not installed"
    # wrk ends with 1 after it and nginx writes to standard error.
    shown = subprocess.run([path, option], capture_output=True, text=True, timeout=10, check=False)
    text = (shown.stdout or shown.stderr).strip()
    return text.splitlines()[0].partition(" Copyright")[0] if text else "unknown"
