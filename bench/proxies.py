"""The proxies that are compared, and how each is started."""

from __future__ import annotations

import importlib.util
import re
import shutil
import sys
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench import certificate, client, tls_client
from bench.bulk import BulkError
from bench.fleet import Child, Fleet, StartError, free_port, wait_for_port
from bench.machine import OTHER_DESCRIPTORS, Machine

PEERS = Path(__file__).resolve().parent / "peers"
OURS = "txproxy"
# Mozilla's "Server Side TLS" 5.7, intermediate: up to TLS 1.2, and TLS 1.3.
CIPHERS = ":".join((
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305",
    "DHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES256-GCM-SHA384:DHE-RSA-CHACHA20-POLY1305",
))  # fmt: skip
CIPHERSUITES = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
OPTIONAL_PARTS = ("cache", "readcached", "counted")
WITHOUT_TCP = {
    "nginx": "Debian's nginx-light has no streams",
    "twisted.web.proxy": "it speaks nothing but HTTP",
}
WITHOUT_TLS = {"twisted.web.proxy": "it is compared without TLS only"}


def fill(template: str, target: Path, values: Mapping[str, object], without: Iterable[str] = ()) -> Path:
    """Write ``bench/peers/TEMPLATE`` to *target* with each ``@NAME@`` replaced.

    Dollar signs and braces are syntax of their own in nginx and HAProxy files, hence the at signs.

    :param without: words; for each the lines from one that begins with ``# [WORD]`` to ``# [end]`` are left out.
    """
    text = (PEERS / template).read_text()
    for word in without:
        text = re.sub(rf"^ *# \[{word}\].*?# \[end\]\n", "", text, flags=re.MULTILINE | re.DOTALL)
    for name, value in values.items():
        text = text.replace(f"@{name}@", str(value))
    target.write_text(text)
    return target


@dataclass(frozen=True, slots=True)
class Proxy:
    """One kind of proxy.

    :ivar name: what the tables and ``--peers`` call it.
    :ivar template: its configuration in ``bench/peers``, empty for one without.
    :ivar command: the words to start it; ``@CONFIG@``, ``@PORT@``, ``@BACKEND@``, ``@DIR@`` are filled in.
    :ivar program: what must be on the path, empty if nothing.
    :ivar module: what must be importable, empty if nothing.
    :ivar caches_only: it is measured in scenarios of the cache alone.
    """

    name: str
    template: str
    command: tuple[str, ...]
    program: str = ""
    module: str = ""
    caches_only: bool = False

    def missing(self) -> str:
        """Return why it cannot be measured here, or an empty string."""
        if self.program and shutil.which(self.program) is None:
            return f"{self.program} is not installed"
        if self.module and importlib.util.find_spec(self.module.partition(".")[0]) is None:
            return f"{self.module} cannot be imported by {sys.executable}"
        return ""


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


PROXIES: tuple[Proxy, ...] = (
    Proxy(OURS, "txproxy.toml", (sys.executable, "-m", "txproxy.main", "run", "-c", "@CONFIG@")),
    Proxy("nginx", "nginx.conf", ("nginx", "-e", "@DIR@/nginx.error.log", "-p", "@DIR@", "-c", "@CONFIG@"), "nginx"),
    Proxy("haproxy", "haproxy.cfg", ("haproxy", "-db", "-f", "@CONFIG@"), "haproxy"),
    Proxy(
        "twisted.web.proxy",
        "",
        (sys.executable, str(PEERS / "twisted_web_proxy.py"), "@PORT@", "@BACKEND@", "@DIR@/twisted.access.log"),
        module="twisted.web",
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
    :param parts: of ``OPTIONAL_PARTS``, those sections of the configurations that are not left out; ``tcp`` for other
        configurations, by which bytes are passed through unread.
    :raises StartError: with the last lines it logged.
    """
    port = free_port()
    values = {
        "PORT": port,
        "BACKEND": backend,
        "DIR": fleet.directory,
        "CLIENTS": machine.max_clients,
        "CONNECTIONS": machine.max_clients + OTHER_DESCRIPTORS,
        "SCHEME": "https" if tls else "http",
        "CIPHERS": CIPHERS,
        "CIPHERSUITES": CIPHERSUITES,
        "HTTP2": " http2" if http2 else "",
        "ALPN": "h2,http/1.1" if http2 else "http/1.1",
        "ALPN_LIST": '["h2", "http/1.1"]' if http2 else '["http/1.1"]',
    }
    without = ["plain" if tls else "tls", *(part for part in OPTIONAL_PARTS if part not in parts)]
    if bare:
        without += ["fields", "cachefields"]
    elif "cache" not in parts:
        without.append("cachefields")
    if tls:
        certificate.write(fleet.directory)
    if proxy.template:
        template, suffix = proxy.template, Path(proxy.template).suffix
        if "tcp" in parts:
            template = f"{template.removesuffix(suffix)}.tcp{suffix}"
        values["CONFIG"] = fill(template, fleet.directory / f"{proxy.name}{suffix}", values, without)
    command = []
    for word in proxy.command:
        for name, value in values.items():
            word = word.replace(f"@{name}@", str(value))
        command.append(word)
    child = fleet.start(proxy.name, command, machine.proxy_core)
    try:
        wait_for_port(child, port)
        if tls:
            tls_client.see_agreed(port)
            if http2:
                tls_client.see_http2(port)
        else:
            client.fetch(port)
    except (StartError, client.ReplyError, BulkError, OSError) as error:
        fleet.stop(child)
        raise StartError(f"{error}{_log_tail(fleet.directory, proxy.name, child)}") from error
    return RunningProxy(proxy.name, port, child)


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
        log = str(fleet.directory / "backend.error.log")
        child = fleet.start("backend", ["nginx", "-e", log, "-p", str(fleet.directory), "-c", str(config)])
    else:
        child = fleet.module("backend", "bench.fallback", port)
    return _answering(child, port)


def start_bulk_backend(fleet: Fleet) -> RunningProxy:
    """Start the backend of large bodies on the load's cores."""
    port = free_port()
    return _answering(fleet.module("backend", "bench.bulk", port), port)


def _answering(child: Child, port: int) -> RunningProxy:
    try:
        wait_for_port(child, port)
        client.fetch(port)
    except (StartError, client.ReplyError, OSError) as error:
        tail = "".join(f"\n    | {line}" for line in child.last_lines())
        raise StartError(f"the backend does not answer: {error}{tail}") from error
    return RunningProxy("backend", port, child)
