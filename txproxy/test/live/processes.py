"""The proxy under test as a child process; and nginx and HAProxy, where they are installed, as its peers."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from .backend import unused_port
from .client import DEADLINE_S, wait_for

PROJECT = Path(__file__).resolve().parents[3]
_LISTENING = re.compile(r"listening on (\w+)://(\S+) \(([^)]*)\)")
_RELOADED = re.compile(r"reloaded /\S+(?: in \d+ ms)?: .*\n|the configuration before it stays\n")
WORKERS = os.environ.get("TXPROXY_LIVE_WORKERS", "")
"""With so many workers each proxy serves that has no number of its own: to run tests by hand that are not about it."""
_BUGS = ("Traceback", "Unhandled", "DirtyReactor", "was never awaited")


class Process:
    """A child process with its output in files; ended by its own handle only.

    :param arguments: the command line.
    :param ready: says whether it serves.
    """

    def __init__(self, arguments: Sequence[str], directory: Path, environment: dict[str, str] | None = None) -> None:
        self.directory = directory
        self.output_path = directory / "stdout"
        self.error_path = directory / "stderr"
        with self.output_path.open("wb") as output, self.error_path.open("wb") as errors:
            self.process = subprocess.Popen(
                list(arguments), stdin=subprocess.DEVNULL, stdout=output, stderr=errors, cwd=directory, env=environment
            )

    @property
    def pid(self) -> int:
        """Process id."""
        return self.process.pid

    @property
    def error_text(self) -> str:
        """All it wrote to standard error."""
        return self.error_path.read_text(errors="backslashreplace")

    def fd_count(self) -> int:
        """Return how many descriptors it has open."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def rss_bytes(self) -> int:
        """Return its resident memory."""
        found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{self.pid}/status").read_text())
        return int(found[1]) * 1024 if found else 0

    def cpu_seconds(self) -> float:
        """Return the user and system time that it has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def kill(self) -> None:
        """End it at once, if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(DEADLINE_S)


class ProxyProcess(Process):
    """txproxy with a configuration, to be used as a context manager; leaving it stops it and checks how it ended.

    :param config: TOML. Addresses of listeners end in port 0. Without a ``[log]`` section one is added that writes the
        access log as JSON to a file of its own, at level ``level``.
    :param command: words of the txproxy command before ``-c FILE``.
    :param module: what is run in place of the command's own module, such as one that changes what time it is.
    :param files: further files of its directory by name, such as a ``site.py``.
    :param environment: further variables of its environment.
    :raises AssertionError: with its log, if it is not ready in time.
    """

    def __init__(
        self,
        config: str,
        *,
        command: Sequence[str] = ("run",),
        module: str = "txproxy.main",
        files: dict[str, str] | None = None,
        environment: dict[str, str] | None = None,
        level: str = "info",
        timeout_s: float = DEADLINE_S,
    ) -> None:
        directory = Path(tempfile.mkdtemp(prefix="txproxy-live-"))
        self.access_path = directory / "access.log"
        self._log = f'\n[log]\nlevel = "{level}"\naccess = "{self.access_path}"\nformat = "json"\n'
        self.config_path = directory / "proxy.toml"
        self.write_config(config)
        for name, text in (files or {}).items():
            (directory / name).write_text(text)
        arguments = [sys.executable, "-m", module, *command, "-c", str(self.config_path)]
        ours = {"PYTHONPATH": str(PROJECT), "PYTHONUNBUFFERED": "1"}
        super().__init__(arguments, directory, {**os.environ, **ours, **(environment or {})})
        try:
            wait_for(lambda: " ready" in self.error_text or self.process.poll() is not None, "ready", timeout_s)
            assert self.process.poll() is None, f"exit {self.process.returncode}"
        except AssertionError as error:
            self.kill()
            text = self.error_text
            shutil.rmtree(directory, ignore_errors=True)
            raise AssertionError(f"txproxy did not start: {error}\n{text}") from None
        self.ports: dict[str, int] = {}
        """Port of each listener by its name; 0 for unix sockets."""
        for _, place, name in _LISTENING.findall(self.error_text):
            port = place.rpartition(":")[2].rstrip("/")
            self.ports[name] = int(port) if port.isdecimal() else 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.stop()
        else:
            self.kill()
            sys.stderr.write(f"log of txproxy:\n{self.error_text[-8000:]}\n")
            shutil.rmtree(self.directory, ignore_errors=True)

    @property
    def port(self) -> int:
        """Port of the only listener."""
        (port,) = self.ports.values()
        return port

    def assert_no_bugs(self) -> None:
        """Fail if the log shows an error that nobody handled."""
        text = self.error_text
        found = [word for word in _BUGS if word in text]
        assert not found, f"{found} in the log of txproxy:\n{text[-8000:]}"

    def stop(self, timeout_s: float = DEADLINE_S) -> str:
        """End it by SIGTERM as a user would, and check that it ends well.

        :return: all that it logged.
        """
        try:
            assert self.process.poll() is None, f"ended by itself: {self.process.returncode}\n{self.error_text[-8000:]}"
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(timeout_s)
            text = self.error_text
            assert self.process.returncode == 0, f"exit {self.process.returncode}\n{text[-8000:]}"
            self.assert_no_bugs()
            return text
        finally:
            self.kill()
            shutil.rmtree(self.directory, ignore_errors=True)

    def write_config(self, config: str) -> None:
        """Write its file, which nobody reads before a reload."""
        if WORKERS and "workers =" not in config:
            keys = f"[proxy]\nworkers = {WORKERS}\n"
            config = config.replace("[proxy]\n", keys, 1) if "[proxy]\n" in config else f"{config}\n{keys}"
        self.config_path.write_text(config if "[log]" in config else config + self._log)

    def reload(self, config: str) -> str:
        """Have it read another configuration.

        :return: what it has logged of that, to the line that says what became of it.
        """
        self.write_config(config)
        before = len(self.error_text)
        self.process.send_signal(signal.SIGHUP)
        wait_for(lambda: _RELOADED.search(self.error_text[before:]), "the end of a reload")
        text = self.error_text[before:]
        for _, place, name in _LISTENING.findall(text):
            port = place.rpartition(":")[2].rstrip("/")
            self.ports[name] = int(port) if port.isdecimal() else 0
        return text

    def access_lines(self, count: int = 0, timeout_s: float = DEADLINE_S) -> list[dict[str, Any]]:
        """Return the lines of the JSON access log, once there are at least ``count`` of them."""

        def lines() -> list[str]:
            text = self.access_path.read_text() if self.access_path.exists() else ""
            return text[: text.rfind("\n") + 1].splitlines()

        wait_for(lambda: len(lines()) >= count, f"{count} lines of the access log", timeout_s)
        return [json.loads(line) for line in lines()]


def config_for(*backends: str, listener: str = "", route: str = "", cluster: str = "", more: str = "") -> str:
    """Return the smallest configuration: one listener ``web``, one route, one cluster ``origin`` of these backends.

    :param backends: addresses as ``host:port``.
    :param listener: further keys of the listener, one a line; likewise ``route`` and ``cluster``.
    :param more: further sections.
    """
    members = ", ".join(f'{{ address = "{address}" }}' for address in backends)
    return (
        f'[[listener]]\nname = "web"\naddress = "127.0.0.1:0"\n{listener}\n'
        f'[[route]]\nname = "all"\ncluster = "origin"\n{route}\n'
        f"[cluster.origin]\nbackends = [{members}]\n{cluster}\n{more}\n"
    )


def _can_connect(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


class PeerProxy(Process):
    """A proxy of others in front of the same backend, as a reference; a context manager.

    :param configuration: its whole configuration text, with ``PORT`` for its port.
    """

    def __init__(self, arguments: Sequence[str], configuration: str) -> None:
        directory = Path(tempfile.mkdtemp(prefix="txproxy-peer-"))
        directory.chmod(0o755)
        self.port = unused_port()
        path = directory / "peer.conf"
        path.write_text(configuration.replace("PORT", str(self.port)).replace("DIRECTORY", str(directory)))
        super().__init__([*arguments, str(path)], directory)
        deadline = time.monotonic() + DEADLINE_S
        while not _can_connect(self.port):
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise AssertionError(f"{arguments[0]} did not start:\n{self.error_text}")
            time.sleep(0.02)

    def __enter__(self) -> PeerProxy:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(5)
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)


def nginx(backend_address: str) -> PeerProxy | None:
    """Start nginx in front of a backend; None if it is not installed."""
    program = shutil.which("nginx")
    if program is None:
        return None
    configuration = f"""
        daemon off; master_process off; pid DIRECTORY/pid; error_log DIRECTORY/errors;
        events {{ worker_connections 256; }}
        http {{
            access_log off; large_client_header_buffers 8 16k; client_header_timeout 3; client_body_timeout 3;
            client_body_temp_path DIRECTORY/body; proxy_temp_path DIRECTORY/proxy; fastcgi_temp_path DIRECTORY/fastcgi;
            uwsgi_temp_path DIRECTORY/uwsgi; scgi_temp_path DIRECTORY/scgi;
            server {{
                listen 127.0.0.1:PORT;
                location / {{
                    proxy_pass http://{backend_address}; proxy_http_version 1.1; proxy_request_buffering off;
                    proxy_set_header Host $host; proxy_set_header Connection "";
                }}
            }}
        }}
    """
    return PeerProxy([program, "-c"], configuration)


def haproxy(backend_address: str) -> PeerProxy | None:
    """Start HAProxy in front of a backend; None if it is not installed."""
    program = shutil.which("haproxy")
    if program is None:
        return None
    configuration = f"""
defaults
    mode http
    timeout connect 5s
    timeout client 3s
    timeout server 10s
    timeout http-request 3s
frontend web
    bind 127.0.0.1:PORT
    default_backend origin
backend origin
    server origin {backend_address}
"""
    return PeerProxy([program, "-db", "-f"], configuration)
