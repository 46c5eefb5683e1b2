"""The proxies that are compared, and how each is started."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench import certificate, client, installed, tls_client
from bench.bulk import BulkError, content
from bench.fleet import Child, Fleet, StartError, free_port, wait_for_port
from bench.machine import OTHER_DESCRIPTORS, Machine
from bench.templates import PEERS, Kind, fill, filled, for_tcp

OURS = "txproxy"
REPLY_TIMEOUT_S = 5.0
WITHOUT_TCP = {
    "twisted.web.proxy": "it speaks nothing but HTTP",
    "proxy.py": "its reverse proxy speaks nothing but HTTP",
    "caddy": "it passes bytes through with a plugin only, which its wheel does not have",
}
WITHOUT_TLS = {name: "it is compared without TLS only" for name in ("twisted.web.proxy", "proxy.py")}
WITHOUT_FLOW_CONTROL = {
    name: "it has no flow control and collects such bodies in memory" for name in ("twisted.web.proxy", "proxy.py")
}


@dataclass(frozen=True, slots=True)
class Proxy:
    """One kind of proxy.

    :ivar name: what the tables and ``--peers`` call it.
    :ivar template: its configuration in ``bench/peers``, empty for one without.
    :ivar command: the words to start it; ``@CONFIG@``, ``@PORT@``, ``@BACKEND@``, ``@DIR@``, ``@PROGRAM@`` and
        ``@PYTHON@`` are filled in.
    :ivar program: what must be installed, empty if nothing.
    :ivar distribution: what an interpreter must have, which is ``@PYTHON@`` then; empty if nothing.
    :ivar second: a template that the first one's result refers to as ``@SECOND@``, empty for most.
    :ivar caches_only: it is measured in scenarios of the cache alone.
    :ivar without_tcp: says why the one that is installed cannot pass bytes through; an empty string if it can.
    :ivar hint: how to install the program, where that is not obvious.
    """

    name: str
    template: str
    command: tuple[str, ...]
    program: str = ""
    distribution: str = ""
    second: str = ""
    caches_only: bool = False
    without_tcp: Callable[[], str] | None = None
    hint: str = ""

    def missing(self, parts: Collection[str] = ()) -> str:
        """Return why it cannot be measured here, or an empty string.

        :param parts: as for :class:`bench.templates.Kind`.
        """
        if self.program and installed.path_of(self.program) is None:
            return f"{self.program} is not installed{self.hint}"
        if self.distribution and installed.python_with(self.distribution) is None:
            return f"{self.distribution} is not installed{self.hint}"
        return self.without_tcp() if self.without_tcp is not None and "tcp" in parts else ""

    def configure(self, values: Mapping[str, object], kind: Kind) -> list[str]:
        """Write its configuration, if it has one, and return the words to start it.

        :param values: what stands for ``PORT``, ``BACKEND``, ``DIR``, where it writes, ``CLIENTS`` and ``CONNECTIONS``.
        """
        known = {**values, **kind.values()}
        known["PROGRAM"] = installed.path_of(self.program) or self.program
        known["PYTHON"] = self.distribution and installed.python_with(self.distribution)
        if "tcp" in kind.parts and self.name == "nginx":
            known["STREAM_MODULE"] = installed.load_streams()
        for name, template in (("SECOND", self.second), ("CONFIG", self.template)):
            if template:
                source = for_tcp(template) if "tcp" in kind.parts else template
                known[name] = fill(source, Path(str(known["DIR"])) / template, known, kind.without())
        return [filled(word, known) for word in self.command]


@dataclass(slots=True)
class RunningProxy:
    """One proxy that answers on a port."""

    name: str
    port: int
    child: Child

    @property
    def pid(self) -> int:
        """The process whose CPU and memory count, with its children's."""
        return self.child.pid


FROM_WHEELS = " (`make bench-peers` does that)"
PROXIES: tuple[Proxy, ...] = (
    Proxy(OURS, "txproxy.toml", (sys.executable, "-m", "txproxy.main", "run", "-c", "@CONFIG@")),
    Proxy(
        "nginx",
        "nginx.conf",
        ("@PROGRAM@", "-e", "@DIR@/nginx.error.log", "-p", "@DIR@", "-c", "@CONFIG@"),
        "nginx",
        without_tcp=installed.without_streams,
    ),
    Proxy("haproxy", "haproxy.cfg", ("@PROGRAM@", "-db", "-f", "@CONFIG@"), "haproxy"),
    Proxy(
        "envoy",
        "envoy.yaml",
        ("@PROGRAM@", "-c", "@CONFIG@", "--concurrency", "1", "--disable-hot-restart", "-l", "warning"),
        "envoy",
        hint=FROM_WHEELS,
    ),
    # One thread runs Go code at a time; the collector's work is on the same core too, and counts.
    Proxy(
        "traefik",
        "traefik.yaml",
        ("env", "GOMAXPROCS=1", "@PROGRAM@", "--configfile=@CONFIG@"),
        "traefik",
        second="traefik.routes.yaml",
        hint=FROM_WHEELS,
    ),
    Proxy(
        "caddy",
        "caddy.caddyfile",
        ("env", "GOMAXPROCS=1", "@PROGRAM@", "run", "--adapter", "caddyfile", "--config", "@CONFIG@"),
        "caddy",
        hint=FROM_WHEELS,
    ),
    Proxy(
        "proxy.py",
        "",
        ("@PYTHON@", str(PEERS / "proxy_py.py"), "@PORT@", "@BACKEND@", "@DIR@/proxy.py.access.log", "@FIELDS@"),
        distribution="proxy.py",
        hint=FROM_WHEELS,
    ),
    Proxy(
        "twisted.web.proxy",
        "",
        ("@PYTHON@", str(PEERS / "twisted_web_proxy.py"), "@PORT@", "@BACKEND@", "@DIR@/twisted.access.log"),
        distribution="twisted",
    ),
    Proxy(
        "varnish",
        "varnish.vcl",
        (sys.executable, str(PEERS / "varnish.py"), "@PORT@", "@CONFIG@", "@DIR@"),
        "varnishd",
        caches_only=True,
    ),
)


def start_proxy(
    fleet: Fleet,
    machine: Machine,
    proxy: Proxy,
    backend: int,
    *,
    bare: bool = False,
    tls: bool = False,
    http2: bool = False,
    parts: Collection[str] = (),
) -> RunningProxy:
    """Start *proxy* on the proxy core in front of the *backend* port and see it answer once.

    :param bare: configure it without the fields that txproxy adds to requests.
    :param tls: it speaks TLS with its clients, and is seen to agree on what the others agree on.
    :param http2: it offers HTTP/2 to clients that speak TLS, and is seen to agree on that.
    :param parts: as for :class:`bench.templates.Kind`.
    :raises StartError: with the last lines it logged.
    """
    port = free_port()
    if tls:
        certificate.write(fleet.directory)
    values = {
        "PORT": port,
        "BACKEND": backend,
        "DIR": fleet.directory,
        "CLIENTS": machine.max_clients,
        "CONNECTIONS": machine.max_clients + OTHER_DESCRIPTORS,
    }
    command = proxy.configure(values, Kind(bare, tls, http2, parts))
    child = fleet.start(proxy.name, command, machine.proxy_core)
    try:
        wait_for_port(child, port)
        _wait_for_reply(port, tls=tls)
        if http2:
            tls_client.see_http2(port)
    except (StartError, client.ReplyError, BulkError, OSError) as error:
        fleet.stop(child)
        raise StartError(f"{error}{_log_tail(fleet.directory, proxy.name, child)}") from error
    return RunningProxy(proxy.name, port, child)


def _wait_for_reply(port: int, *, tls: bool) -> None:
    """Send requests until one is answered as it should be: Traefik listens before it has read its routes."""
    deadline = time.monotonic() + REPLY_TIMEOUT_S
    while True:
        try:
            if tls:
                tls_client.see_agreed(port)
            else:
                client.fetch(port)
        except (client.ReplyError, BulkError, OSError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


def _log_tail(directory: Path, name: str, child: Child) -> str:
    lines = child.last_lines()
    own_log = directory / f"{name}.log"
    if own_log.exists():
        lines += own_log.read_text(errors="replace").splitlines()[-6:]
    return "".join(f"\n    | {line}" for line in lines)


def start_small_backend(fleet: Fleet, machine: Machine) -> RunningProxy:
    """Start a backend of 1 KiB replies on the load's cores: nginx, or a slower one of our own without it."""
    port = free_port()
    if shutil.which("nginx"):
        values = {"DIR": fleet.directory, "PORT": port, "CONNECTIONS": machine.max_clients, "BODY": "x" * 1024}
        config = fill("backend.conf", fleet.directory / "backend.conf", values)
        (fleet.directory / "cached64k").write_bytes(b"x" * 65536)
        (fleet.directory / "mebibyte").write_bytes(content())
        log = str(fleet.directory / "backend.error.log")
        child = fleet.start("backend", ["nginx", "-e", log, "-p", str(fleet.directory), "-c", str(config)])
    else:
        child = fleet.module("backend", "bench.fallback", port)
    return _answering(child, port)


def start_bulk_backend(fleet: Fleet) -> RunningProxy:
    """Start the backend of large bodies on the load's cores."""
    port = free_port()
    return _answering(fleet.module("backend", "bench.bulk", port), port)


def start_sink_backend(fleet: Fleet) -> RunningProxy:
    """Start the backend that counts request bodies on the load's cores."""
    port = free_port()
    return _answering(fleet.module("backend", "bench.sink", port), port)


def _answering(child: Child, port: int) -> RunningProxy:
    try:
        wait_for_port(child, port)
        client.fetch(port)
    except (StartError, client.ReplyError, OSError) as error:
        tail = "".join(f"\n    | {line}" for line in child.last_lines())
        raise StartError(f"the backend does not answer: {error}{tail}") from error
    return RunningProxy("backend", port, child)
