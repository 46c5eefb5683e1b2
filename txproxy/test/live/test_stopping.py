"""Stopping: nothing that is under way is lost, and the exit status says that all went well."""

from __future__ import annotations

import signal
import socket
import threading
import time
from pathlib import Path

import pytest

from .helpers import TWISTD, TXPROXY, Command, get, wait_until_read
from .judge import JudgedRequest
from .peers import (
    DEADLINE_S,
    Backend,
    BackendConnection,
    Client,
    ProxyProcess,
    config_for,
    http_reply,
    never,
    wait_for,
)
from .replies import NotHttp

COMMANDS = [
    pytest.param([*TXPROXY, "run"], id="txproxy"),
    pytest.param([*TWISTD, "-n", "txproxy"], id="twistd"),
    pytest.param([*TWISTD, "--reactor=txproxy", "-n", "txproxy"], id="twistd-fast"),
]


class Held:
    """A handler that sends half a reply at once and the rest when it is told."""

    def __init__(self) -> None:
        self.go_on = threading.Event()

    def __call__(self, connection: BackendConnection, request: JudgedRequest) -> None:
        if request.target == b"/held":
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc")
            self.go_on.wait(DEADLINE_S)
            connection.send(b"def")
        elif request.target == b"/waiting":
            self.go_on.wait(DEADLINE_S)
            connection.send(http_reply(body=b"late"))
        else:
            connection.send(http_reply())


def running(command: list[str], config: str) -> Command:
    proxy = Command([*command, "-c", "proxy.toml"], {"proxy.toml": config + '\n[log]\naccess = "access.log"\n'})
    # The signals are taken over when the reactor runs, which it does when it answers.
    try:
        with Client(proxy.port) as client:
            client.request("/first")
    except BaseException:
        proxy.kill()
        raise
    return proxy


def refuses(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return True
    return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("command", COMMANDS)
def test_what_is_under_way_is_finished(command: list[str], number: int) -> None:
    """G5: SIGTERM and SIGINT: no new connections, idle ones closed, exchanges finished, statistics, exit status 0."""
    held = Held()
    with Backend(held) as backend, running(command, config_for(backend.address)) as proxy:
        with Client(proxy.port) as busy, Client(proxy.port) as waiting, Client(proxy.port) as idle:
            busy.send(b"GET /held HTTP/1.1\r\nHost: a\r\n\r\n")
            assert busy.read_until(lambda: busy.received.endswith(b"abc"))
            waiting.send(b"GET /waiting HTTP/1.1\r\nHost: a\r\n\r\n")
            wait_for(lambda: any(request.target == b"/waiting" for request in backend.requests), "the request")
            assert idle.request("/idle").status == 200
            proxy.signal(number)
            wait_for(lambda: refuses(proxy.port), "the port to be closed")
            assert idle.read_until_closed()
            assert proxy.process.poll() is None
            held.go_on.set()
            reply = busy.reply()
            assert (reply.status, reply.body) == (200, b"abcdef")
            late = waiting.reply()
            assert (late.status, late.body, late.value("Connection")) == (200, b"late", "close")
            # Not only when shutdown_timeout_s is over.
            assert waiting.read_until_closed(20), "kept open after its last reply"
            assert busy.read_until_closed(5), "kept open after a reply that had begun before the signal"
        assert proxy.end(timeout_s=10) == 0
        assert "stopped: " in proxy.text and "4 exchanges" in proxy.text
        assert "Traceback" not in proxy.text and "Unhandled" not in proxy.text
        lines = (proxy.directory / "access.log").read_text().splitlines()
    assert len(lines) == 4
    assert all(line.endswith(" ok") for line in lines)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_second_signal_cuts(command: list[str]) -> None:
    """G5: a second signal ends what is under way at once; it is logged, and the exit status is still 0."""
    with Backend(never()) as backend:
        config = config_for(backend.address)
        with Command([*command, "-c", "p.toml"], {"p.toml": config + '\n[log]\naccess = "access.log"\n'}) as proxy:
            with Client(proxy.port) as client:
                client.send(b"GET /never HTTP/1.1\r\nHost: a\r\n\r\n")
                backend.wait_for_requests(1)
                proxy.signal(signal.SIGTERM)
                wait_for(lambda: refuses(proxy.port), "the port to be closed")
                time.sleep(0.3)
                assert proxy.process.poll() is None
                proxy.signal(signal.SIGTERM)
                assert client.read_until_closed()
                try:
                    assert client.exchanged().statuses in ([], [503])
                except NotHttp:
                    pytest.fail("a part of a head")
            assert proxy.end() == 0
            assert "Traceback" not in proxy.text
            (line,) = (proxy.directory / "access.log").read_text().splitlines()
    assert line.endswith(" shutdown")


def test_the_time_for_stopping_ends() -> None:
    """G5: at shutdown_timeout_s what is left is cut, counted and logged; exit status 0."""
    with Backend(never()) as backend:
        config = config_for(backend.address, more="[proxy]\nshutdown_timeout_s = 1")
        with Command([*TXPROXY, "run", "-c", "p.toml"], {"p.toml": config}) as proxy:
            with Client(proxy.port) as one, Client(proxy.port) as two:
                for client in (one, two):
                    client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                backend.wait_for_requests(2)
                proxy.signal(signal.SIGTERM)
                assert one.read_until_closed() and two.read_until_closed()
            assert proxy.end() == 0
            assert "2 exchanges were cut" in proxy.text
            assert "shutdown 2" in proxy.text


def test_a_request_on_its_way_is_served() -> None:
    """G5: a head that has begun, and a body that is coming in, are finished and answered."""
    with Backend() as backend, running([*TXPROXY, "run"], config_for(backend.address)) as proxy:
        with Client(proxy.port) as head, Client(proxy.port) as body:
            head.send(b"GET /half HTTP/1.1\r\nHo")
            body.send(b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc")
            wait_until_read(head)
            wait_for(lambda: len(backend.connections) and any(b"abc" in each.received for each in backend.connections),
                     "the first half")  # fmt: skip
            proxy.signal(signal.SIGTERM)
            wait_for(lambda: refuses(proxy.port), "the port to be closed")
            head.send(b"st: a\r\n\r\n")
            body.send(b"def")
            assert body.reply("POST").body == b"abcdef"
            assert head.reply().status == 200
        assert proxy.end() == 0


def test_hangup_does_not_end_the_proxy() -> None:
    """SIGHUP never kills: what it cannot do yet it says."""
    with Backend() as backend, running([*TXPROXY, "run"], config_for(backend.address)) as proxy:
        with Client(proxy.port) as client:
            assert client.request().status == 200
            proxy.signal(signal.SIGHUP)
            assert client.request().status == 200
        assert proxy.end(signal.SIGTERM) == 0


def test_unix_sockets_are_removed(tmp_path: Path) -> None:
    """G5: a listener's socket file is gone after the stop, and a stale one of a killed process does not hinder a start."""
    with Backend() as backend:
        path = tmp_path / "web.sock"
        config = config_for(backend.address).replace('"127.0.0.1:0"', f'"unix:{path}"')
        command = [*TXPROXY, "run", "-c", "p.toml"]
        with Command(command, {"p.toml": config}) as proxy:
            assert path.exists()
            proxy.signal(signal.SIGKILL)
            proxy.end()
            assert path.exists()
        with Command(command, {"p.toml": config}) as proxy:
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(DEADLINE_S)
                client.connect(str(path))
                client.sendall(b"GET / HTTP/1.0\r\n\r\n")
                assert client.recv(100).startswith(b"HTTP/1.1 200 ")
            time.sleep(0.2)
            assert proxy.end(signal.SIGTERM) == 0
            assert not path.exists()


def test_a_check_that_hangs_in_a_thread_holds_up_no_stop() -> None:
    """G5: what a user's check has left in a thread is left behind: exit 0, in time."""
    site = (
        "import time\nfrom twisted.internet.threads import deferToThread\n"
        "def probe(target):\n    return deferToThread(time.sleep, 3600)\n"
    )
    health = 'health = { type = "site:probe", interval_s = 0.1, timeout_s = 0.1 }'
    with (
        Backend() as backend,
        ProxyProcess(config_for(backend.address, cluster=health), files={"site.py": site}) as proxy,
    ):
        assert get(proxy.port).status == 200
        wait_for(lambda: "checking -> down" in proxy.error_text, "the check to fail")
        # Leaving it stops it, and checks that this ends well.
