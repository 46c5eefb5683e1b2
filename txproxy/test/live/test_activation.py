"""What systemd does for the proxy, and what it is told, by systemd's own tools where they are installed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .backend import Backend, fixed, unused_port
from .client import DEADLINE_S, wait_for
from .helpers import ENVIRONMENT, TWISTD, TXPROXY, Command, get, run_command
from .processes import PROJECT, Process, config_for
from .succession import Dynasty, is_running

_ACTIVATE = shutil.which("systemd-socket-activate")
_ANALYZE = shutil.which("systemd-analyze")


_HAND_OVER = """
import os, sys
names, numbers, *command = sys.argv[1:]
numbers = [int(number) for number in numbers.split(",")]
for at, number in enumerate(numbers):
    os.dup2(number, 3 + at)
    os.close(number)
variables = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(numbers)), "LISTEN_FDNAMES": names}
os.execvpe(command[0], command, {**os.environ, **variables})
"""


def _config(address: str, name: str = "web") -> str:
    return config_for(address).replace('"127.0.0.1:0"', f'"systemd:{name}"')


def _handing_over(sockets: list[tuple[str, socket.socket]], *command: str) -> list[str]:
    """Return a command that has the sockets as systemd would hand them over; they have to be inherited by it."""
    names, numbers = zip(*((name, str(each.fileno())) for name, each in sockets), strict=True)
    return [sys.executable, "-c", _HAND_OVER, ":".join(names), ",".join(numbers), *command]


@contextlib.contextmanager
def _listening(count: int) -> Iterator[list[socket.socket]]:
    """Sockets as systemd makes them: blocking ones. Their descriptors are high, so that none is in another's way."""
    with contextlib.ExitStack() as stack:
        made = []
        for _ in range(count):
            with socket.create_server(("127.0.0.1", 0)) as low:
                high = fcntl.fcntl(low.fileno(), fcntl.F_DUPFD, 20)
            made.append(stack.enter_context(socket.socket(fileno=high)))
        yield made


class Activated(Process):
    """A command that inherits descriptors; a context manager that ends it."""

    def __init__(self, arguments: list[str], directory: Path, sockets: list[socket.socket]) -> None:
        self.directory = directory
        self.output_path, self.error_path = directory / "stdout", directory / "stderr"
        with self.output_path.open("wb") as output, self.error_path.open("wb") as errors:
            self.process = subprocess.Popen(
                arguments, stdin=subprocess.DEVNULL, stdout=output, stderr=errors, cwd=directory, env=ENVIRONMENT,
                pass_fds=[each.fileno() for each in sockets],
            )  # fmt: skip

    def __enter__(self) -> Activated:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def text(self) -> str:
        """All that it wrote."""
        return self.output_path.read_text(errors="backslashreplace") + self.error_text

    def end(self) -> int:
        """Stop it and return its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(DEADLINE_S)


@pytest.mark.skipif(_ACTIVATE is None, reason="systemd-socket-activate is not installed")
def test_socket_activation(tmp_path: Path) -> None:
    """The first connection starts the proxy, which serves it: on TCP and unix sockets, found by their names."""
    path, port = tmp_path / "web.sock", unused_port()
    with Backend(fixed()) as backend:
        config = _config(backend.address) + '[[listener]]\nname = "local"\naddress = "systemd:local"\n'
        (tmp_path / "p.toml").write_text(config)
        settings = [f"-E{name}={ENVIRONMENT[name]}" for name in ("PYTHONPATH", "PYTHONUNBUFFERED")]
        command = [str(_ACTIVATE), *settings, "-l", f"127.0.0.1:{port}", "-l", str(path), "--fdname=web:local"]
        with Activated([*command, *TXPROXY, "run", "-c", "p.toml"], tmp_path, []) as proxy:
            wait_for(lambda: "Listening on" in proxy.text, "systemd-socket-activate to listen")
            assert " ready" not in proxy.text
            assert get(port).status == 200
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(DEADLINE_S)
                client.connect(str(path))
                client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                assert client.recv(15) == b"HTTP/1.1 200 OK"
            assert f"listening on http://127.0.0.1:{port} (web)" in proxy.text
            assert proxy.end() == 0, proxy.text
            assert "Traceback" not in proxy.text
        # The socket is not the proxy's: it stays for the next start.
        assert path.is_socket()


@pytest.mark.parametrize(
    "command",
    [pytest.param([*TXPROXY, "run"], id="txproxy"), pytest.param([*TWISTD, "-n", "txproxy"], id="twistd")],
)
def test_sockets_are_found_by_name(tmp_path: Path, command: list[str]) -> None:
    """Whatever their order; one that no listener names is closed, which the log says; nothing is lost that waited."""
    with Backend(fixed()) as backend, _listening(3) as sockets:
        (tmp_path / "p.toml").write_text(_config(backend.address, "b"))
        ports = [each.getsockname()[1] for each in sockets]
        with socket.create_connection(("127.0.0.1", ports[1]), DEADLINE_S) as early:
            early.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            handed = _handing_over(list(zip("abc", sockets, strict=True)), *command, "-c", "p.toml")
            with Activated(handed, tmp_path, sockets) as proxy:
                assert early.recv(15) == b"HTTP/1.1 200 OK"
                assert get(ports[1]).status == 200
                wait_for(lambda: proxy.text.count("the socket is closed") == 2, "word of the others")
                assert '"systemd:a"' in proxy.text and '"systemd:c"' in proxy.text
                for each in sockets:
                    each.close()  # The last descriptors of the two that the proxy has closed.
                for port in (ports[0], ports[2]):
                    with pytest.raises(OSError, match="refused"):
                        socket.create_connection(("127.0.0.1", port), 1)
                assert get(ports[1]).status == 200
                assert proxy.end() == 0, proxy.text
                assert "Traceback" not in proxy.text


@pytest.mark.parametrize("name", ["other", "web:web"])
def test_a_socket_that_is_not_there(tmp_path: Path, name: str) -> None:
    """No socket of the name, or two: the proxy does not start and says why in a line."""
    (tmp_path / "p.toml").write_text(_config("127.0.0.1:9"))
    names = name.split(":")
    with _listening(len(names)) as sockets:
        handed = _handing_over(list(zip(names, sockets, strict=True)), *TXPROXY, "run", "-c", "p.toml")
        with Activated(handed, tmp_path, sockets) as proxy:
            assert proxy.process.wait(DEADLINE_S) == 1
            expected = "2 sockets have this name" if len(names) == 2 else "no socket named 'web'"
            assert expected in proxy.text and "Traceback" not in proxy.text, proxy.text


def test_an_activated_socket_survives_an_upgrade(tmp_path: Path) -> None:
    """The new process has it from the old one, by the same name."""
    with Backend(fixed()) as backend, _listening(1) as sockets:
        (tmp_path / "p.toml").write_text(_config(backend.address))
        port, pidfile = sockets[0].getsockname()[1], tmp_path / "pid"
        command = [*TXPROXY, "run", "-c", "p.toml", "--pidfile=pid"]
        with Activated(_handing_over([("web", sockets[0])], *command), tmp_path, sockets) as proxy:
            sockets[0].close()
            assert get(port).status == 200
            proxy.process.send_signal(signal.SIGUSR2)
            assert proxy.process.wait(DEADLINE_S) == 0, proxy.text
            pid = int(pidfile.read_text())
            try:
                assert get(port).status == 200
            finally:
                os.kill(pid, signal.SIGTERM)
                wait_for(lambda: not is_running(pid), "the end of the new process")
            assert "Traceback" not in proxy.text and not pidfile.exists()


class Listener:
    """Stands for systemd: reads what it is told; a context manager."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.setblocking(False)
        self.told: list[dict[str, str]] = []

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def read(self) -> list[dict[str, str]]:
        """Return all that was told until now, oldest first."""
        with contextlib.suppress(BlockingIOError):
            while True:
                lines = self._socket.recv(4096).decode().split("\n")
                self.told.append(dict(line.split("=", 1) for line in lines))
        return self.told

    def wait_for(self, name: str, value: str | None = None) -> str:
        """Wait until a variable is told; return its first value."""

        def values() -> list[str]:
            return [each[name] for each in self.read() if name in each and value in (None, each[name])]

        wait_for(values, f"{name}={value or ''}")
        return values()[0]


@pytest.mark.parametrize(
    "command",
    [pytest.param([*TXPROXY, "run"], id="txproxy"), pytest.param([*TWISTD, "-n", "txproxy"], id="twistd")],
)
def test_systemd_is_told(tmp_path: Path, command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """READY when it listens, WATCHDOG again and again, RELOADING and what became of it, STOPPING when it stops."""
    with Backend(fixed()) as backend, Listener(tmp_path / "notify") as systemd:
        monkeypatch.setitem(ENVIRONMENT, "NOTIFY_SOCKET", str(systemd.path))
        monkeypatch.setitem(ENVIRONMENT, "WATCHDOG_USEC", "400000")
        files = {"p.toml": config_for(backend.address)}
        with Command([*command, "-c", "p.toml"], files) as proxy:
            systemd.wait_for("READY", "1")
            assert get(proxy.port).status == 200
            wait_for(lambda: sum("WATCHDOG" in each for each in systemd.read()) > 3, "beats")
            for text, status in ((files["p.toml"] + "[nonsense]\n", "nonsense"), (files["p.toml"], "")):
                before = len(systemd.read())
                (proxy.directory / "p.toml").write_text(text)
                proxy.signal(signal.SIGHUP)
                wait_for(lambda before=before: any("READY" in each for each in systemd.read()[before:]), "the reload")
                begun, done = (each for each in systemd.read()[before:] if "WATCHDOG" not in each)
                assert begun["RELOADING"] == done["READY"] == "1" and begun["MONOTONIC_USEC"].isdecimal()
                assert status in done["STATUS"] and bool(status) is bool(done["STATUS"])
            assert not any("STOPPING" in each for each in systemd.read())
            assert proxy.end(signal.SIGTERM) == 0
            systemd.wait_for("STOPPING", "1")
            assert "Traceback" not in proxy.text


def test_systemd_is_told_of_the_new_process(tmp_path: Path) -> None:
    """MAINPID by the old one, which says nothing more; from then on the new one beats and says when it stops."""
    with Backend(fixed()) as backend, Listener(tmp_path / "notify") as systemd:
        variables = {"NOTIFY_SOCKET": str(systemd.path), "WATCHDOG_USEC": "400000"}
        with Dynasty(config_for(backend.address), environment=variables) as proxy:
            systemd.wait_for("READY")
            pid = proxy.upgrade()
            assert systemd.wait_for("MAINPID") == str(pid)
            wait_for(lambda: proxy.process.poll() == 0, "the end of the old process")
            before = len(systemd.read())
            wait_for(lambda: sum("WATCHDOG" in each for each in systemd.read()[before:]) > 1, "beats")
            assert not any("STOPPING" in each for each in systemd.read())
            assert get(proxy.port).status == 200
        systemd.wait_for("STOPPING")


@pytest.mark.skipif(_ANALYZE is None, reason="systemd-analyze is not installed")
def test_the_units_are_right(tmp_path: Path) -> None:
    """systemd has nothing to say of the examples, once the program stands where they say."""
    for name in ("txproxy.service", "txproxy.socket"):
        text = (PROJECT / "examples" / name).read_text()
        (tmp_path / name).write_text(text.replace("/opt/txproxy/bin/txproxy", sys.executable))
    command = [
        str(_ANALYZE),
        "verify",
        "--man=no",
        *(str(tmp_path / f"txproxy.{kind}") for kind in ("service", "socket")),
    ]
    done = run_command(command)
    found = [line for line in (done.stdout + done.stderr).splitlines() if "txproxy" in line]
    assert (done.returncode, found) == (0, []), done.stderr
    assert os.path.exists(PROJECT / "examples" / "txproxy.service")
