"""What a scenario is, and what it has at hand."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from bench.fleet import Fleet
from bench.machine import Machine
from bench.procs import CoreTimes, cpu_ns
from bench.proxies import RunningProxy

# Below this share the core had time to spare, so the rate is not the proxy's limit.
BUSY_SHARE = 0.9
# With both sides below this share, something else must have been the limit.
DISTURBED_SHARE = 0.75
# Others' work on the proxy's core above this share disturbs caches and rates.
NOISE_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Settings:
    """The numbers of a run, as the command line gives them.

    :ivar rounds: how often each proxy is measured, in turn with the others.
    :ivar seconds: the length of one measured window.
    :ivar connections: keep-alive clients of the load generator.
    :ivar size_mib: the size of a large body in MiB.
    :ivar idle: held connections of ``idle``.
    :ivar rate: requests per second of ``latency``.
    :ivar bare_peers: whether peers add no forwarding fields to requests.
    """

    rounds: int = 3
    seconds: float = 3.0
    connections: int = 64
    size_mib: int = 1024
    idle: int = 10_000
    rate: float = 100.0
    bare_peers: bool = False


@dataclass(frozen=True, slots=True)
class Column:
    """One figure of a table: its key in a sample, its heading and its decimals."""

    key: str
    title: str
    digits: int = 1


@dataclass(slots=True)
class Sample:
    """One measurement of one proxy.

    :ivar errors: why the figures are not valid; empty if they are.
    :ivar warnings: what limits their meaning.
    :ivar notes: further lines for the reader.
    """

    values: dict[str, float] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Window:
    """What was used between the two ends of a measured window."""

    wall_s: float = 0.0
    proxy_s: float = 0.0
    backend_s: float = 0.0
    others_s: float = 0.0
    stolen_s: float = 0.0


@dataclass(slots=True)
class Bench:
    """The surroundings of a measurement."""

    fleet: Fleet
    machine: Machine
    settings: Settings
    backend: RunningProxy
    _warm: set[int] = field(default_factory=set)

    def is_cold(self, proxy: RunningProxy) -> bool:
        """Whether *proxy* has yet to be warmed up: true the first time that this is asked of its process."""
        cold = proxy.pid not in self._warm
        self._warm.add(proxy.pid)
        return cold

    @contextmanager
    def window(self, proxy: RunningProxy) -> Iterator[Window]:
        """Count the CPU time of *proxy* and the backend while the block runs."""
        result = Window()
        core = CoreTimes.read(self.machine.proxy_core)
        backend, own = cpu_ns(self.backend.pid), cpu_ns(proxy.pid)
        began = time.monotonic()
        yield result
        result.wall_s = time.monotonic() - began
        result.proxy_s = (cpu_ns(proxy.pid) - own) / 1e9
        result.backend_s = (cpu_ns(self.backend.pid) - backend) / 1e9
        end = CoreTimes.read(self.machine.proxy_core)
        result.others_s = max(0.0, end.busy_s - core.busy_s - result.proxy_s)
        result.stolen_s = end.stolen_s - core.stolen_s

    def remarks(self, used: Window, load_s: float, *, saturating: bool = True) -> list[str]:
        """Return what the reader of a window's figures has to know.

        :param load_s: CPU seconds of the load generator.
        :param saturating: whether the load was meant to fill the proxy's core.
        """
        remarks = []
        proxy_share = used.proxy_s / used.wall_s
        load_share = (load_s + used.backend_s) / used.wall_s / len(self.machine.load_cores)
        if saturating and proxy_share < BUSY_SHARE:
            remarks.append(f"proxy core only {proxy_share:.0%} busy with it: its rate is not its limit")
        if proxy_share < BUSY_SHARE:
            # The load generator has one thread: it can be full while its cores are not.
            if max(load_share, load_s / used.wall_s) > BUSY_SHARE:
                remarks.append(f"the load side was the limit (its cores {load_share:.0%} busy)")
            elif saturating and load_share < DISTURBED_SHARE and proxy_share < DISTURBED_SHARE:
                remarks.append("neither side was busy: other work held the machine, take percentiles with care")
        if not self.machine.shares_core and used.others_s / used.wall_s > NOISE_SHARE:
            remarks.append(f"other work took {used.others_s / used.wall_s:.0%} of the proxy core")
        if used.stolen_s / used.wall_s > NOISE_SHARE:
            remarks.append(f"the host withheld {used.stolen_s / used.wall_s:.0%} of the proxy core")
        return remarks


class Scenario(ABC):
    """One question that is asked of every proxy.

    :cvar main: the key of the column that ratios are made of; less is better.
    :cvar fresh: whether every sample needs a proxy that was just started.
    :cvar max_rounds: never measured more often than this; 0 for as often as asked.
    :cvar needs: the load generator that must be installed; empty if the bench brings its own.
    :cvar tls: whether the proxies speak TLS with the clients.
    :cvar http2: whether they also offer HTTP/2 by ALPN.
    :cvar parts: optional sections of the configurations that it needs; see ``proxies.start_proxy``.
    :cvar backend: which one stands behind the proxies; see ``proxies``.
    :cvar skips: proxies that are left out, with the reason.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    main: ClassVar[str]
    columns: ClassVar[tuple[Column, ...]]
    fresh: ClassVar[bool] = False
    max_rounds: ClassVar[int] = 0
    needs: ClassVar[str] = ""
    tls: ClassVar[bool] = False
    http2: ClassVar[bool] = False
    parts: ClassVar[tuple[str, ...]] = ()
    backend: ClassVar[Literal["small", "bulk", "sink"]] = "small"
    skips: ClassVar[Mapping[str, str]] = {}

    @abstractmethod
    def measure(self, bench: Bench, proxy: RunningProxy, seed: int) -> Sample:
        """Measure *proxy* once.

        :param seed: differs for every measurement of a run.
        :raises StartError: a helper program failed.
        :raises OSError: the proxy broke a connection.
        """
