"""The program is replaced while it serves: nothing fails, nothing is refused, and what is open may end where it began."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.sync.server import ServerConnection, serve

from .backend import Backend, fixed
from .client import DEADLINE_S, Client, wait_for
from .farm import Farm
from .helpers import TWISTD, Command, get
from .load import Load
from .processes import config_for
from .replies import read_replies
from .succession import Dynasty, is_running

RATE = int(os.environ.get("TXPROXY_UPGRADE_RATE", "400"))
UPGRADES = int(os.environ.get("TXPROXY_UPGRADES", "3"))


class Visitors:
    """Clients that make a connection for each request; a context manager.

    :param port: of the proxy.
    :param count: how many at once.
    """

    def __init__(self, port: int, count: int = 3) -> None:
        self._port = port
        self._is_over = threading.Event()
        self.failures: list[str] = []
        self.served = 0
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(count)]

    def __enter__(self) -> Visitors:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join(2 * DEADLINE_S)

    def _run(self) -> None:
        while not self._is_over.is_set():
            try:
                reply = get(self._port)
                assert (reply.status, reply.body) == (200, b"ok"), reply
                self.served += 1
            except BaseException as error:
                self.failures.append(repr(error))
            time.sleep(0.005)


def test_nothing_fails_under_load() -> None:
    """Kept connections and new ones, all the time, while one process after the other takes the place of the one before."""
    with Farm(2) as farm, Dynasty(farm.config()) as proxy:
        with Load(proxy.port, RATE, seconds=120) as load:
            for _ in range(UPGRADES):
                time.sleep(0.5)
                before = proxy.serving_pid
                proxy.upgrade()
                wait_for(lambda before=before: not is_running(before), f"the end of process {before}", 40)
            time.sleep(0.5)
            outcomes = load.finish()
        failed = [each for each in outcomes if each.status != 200]
        assert not failed, f"{len(failed)} of {len(outcomes)} failed: {failed[:5]}"
        assert len(outcomes) > RATE
        # None was carried out twice either.
        assert set(farm.sightings().values()) == {1}


def test_nobody_is_refused() -> None:
    """Who connects at that moment is served by the one or the other."""
    with Backend(fixed()) as backend, Dynasty(config_for(backend.address)) as proxy:
        with Visitors(proxy.port) as visitors:
            for _ in range(UPGRADES):
                time.sleep(0.3)
                proxy.upgrade()
            time.sleep(0.3)
        assert not visitors.failures, (len(visitors.failures), visitors.served, visitors.failures[:5])
        assert visitors.served > 20


def _echo(connection: ServerConnection) -> None:
    with contextlib.suppress(ConnectionClosed):
        for message in connection:
            connection.send(message)


@contextlib.contextmanager
def _echoing() -> Iterator[str]:
    with serve(_echo, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.socket.getsockname()[1]}"
        server.shutdown()
        thread.join()


def test_a_websocket_lives_on_in_the_old_process() -> None:
    """Until the time of tunnels is over there; new ones are the new process's, and stay."""
    with _echoing() as address:
        config = config_for(address, more="[proxy]\ntunnel_shutdown_timeout_s = 4\nshutdown_timeout_s = 1")
        with Dynasty(config) as proxy, connect(f"ws://127.0.0.1:{proxy.port}/") as old:
            old.send("before")
            assert old.recv(DEADLINE_S) == "before"
            first = proxy.serving_pid
            proxy.upgrade()
            began = time.monotonic()
            with connect(f"ws://127.0.0.1:{proxy.port}/") as new:
                number = 0
                with pytest.raises(ConnectionClosed) as closed:
                    while time.monotonic() < began + DEADLINE_S:
                        old.send(f"m{number}")
                        assert old.recv(DEADLINE_S) == f"m{number}"
                        assert is_running(first)
                        number += 1
                        time.sleep(0.05)
                assert closed.value.rcvd is not None and closed.value.rcvd.code == 1001
                # Begun before the old process knew that it is replaced, the time may seem a little shorter.
                assert time.monotonic() - began > 2
                wait_for(lambda: not is_running(first), "the end of the old process")
                new.send("after")
                assert new.recv(DEADLINE_S) == "after"


def test_a_reply_that_has_begun_ends_where_it_began() -> None:
    """A request under way is finished by the old process."""
    go_on = threading.Event()

    def held(connection, request) -> None:  # type: ignore[no-untyped-def]
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc")
        go_on.wait(DEADLINE_S)
        connection.send(b"def")

    with Backend(held) as backend, Dynasty(config_for(backend.address)) as proxy, Client(proxy.port) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.read_until(lambda: client.received.endswith(b"abc"))
        first = proxy.serving_pid
        proxy.upgrade()
        assert is_running(first)
        go_on.set()
        assert client.reply().body == b"abcdef"


def test_a_failed_upgrade_changes_nothing() -> None:
    """A file with errors, or a log that cannot be opened: the old process serves on and says so; then it succeeds."""
    with Backend(fixed()) as backend, Dynasty(config_for(backend.address)) as proxy:
        good, pid = proxy.config_path.read_text(), proxy.serving_pid
        with Visitors(proxy.port, 1) as visitors:
            bad_ones = (good + "\n[nonsense]\n", good.replace("access = ", 'path = "/no/such/folder/log"\naccess = '))
            for count, bad in enumerate(bad_ones, 1):
                proxy.config_path.write_text(bad)
                os.kill(pid, signal.SIGUSR2)
                wait_for(
                    lambda count=count: proxy.error_text.count("the upgrade in place has failed") == count,
                    "word of the failure",
                )
                assert (proxy.serving_pid, proxy.process.poll()) == (pid, None)
            assert "nonsense" in proxy.error_text and "/no/such/folder/log" in proxy.error_text
            proxy.config_path.write_text(good)
            proxy.upgrade()
        assert not visitors.failures, visitors.failures[:5]
        assert get(proxy.port).status == 200


def test_one_at_a_time() -> None:
    """A second signal is refused while the first is on its way."""
    with Backend(fixed()) as backend, Dynasty(config_for(backend.address)) as proxy:
        os.kill(proxy.pid, signal.SIGUSR2)
        wait_for(lambda: "upgrading in place" in proxy.error_text, "the beginning")
        os.kill(proxy.pid, signal.SIGUSR2)
        wait_for(lambda: "on its way already" in proxy.error_text, "the refusal")
        wait_for(lambda: proxy.serving_pid != proxy.pid, "the new process")


def test_a_stop_means_both() -> None:
    """SIGTERM while the new process is on its way: it does not serve afterwards, however far it has come."""
    with Backend(fixed()) as backend:
        for delay_s in (0, 0.02, 0.1, 0.3):
            proxy = Dynasty(config_for(backend.address))
            os.kill(proxy.pid, signal.SIGUSR2)
            wait_for(lambda proxy=proxy: "upgrading in place" in proxy.error_text, "the beginning")
            time.sleep(delay_s)
            # Should it be there already, it is what is stopped.
            proxy.stop()
            with pytest.raises(OSError, match="refused"):
                socket.create_connection(("127.0.0.1", proxy.port), 1)


def test_unix_sockets(tmp_path: Path) -> None:
    """The file survives the old process, and not the last one."""
    path = tmp_path / "web.sock"
    with Backend(fixed()) as backend:
        config = config_for(backend.address).replace('"127.0.0.1:0"', f'"unix:{path}"')
        with Dynasty(config) as proxy:
            for _ in range(2):
                inode, before = path.stat().st_ino, proxy.serving_pid
                proxy.upgrade()
                wait_for(lambda before=before: not is_running(before), "the end of the old process")
                assert path.stat().st_ino == inode
                with socket.socket(socket.AF_UNIX) as client:
                    client.settimeout(DEADLINE_S)
                    client.connect(str(path))
                    client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                    received = b"".join(iter(lambda: client.recv(65536), b""))
                assert read_replies(received, True)[0].status == 200
        assert not path.exists()


def test_other_addresses() -> None:
    """The file may name others by then: those are bound anew, those that are gone are refused."""
    with Backend(fixed()) as backend:
        more = '[[listener]]\nname = "other"\naddress = "127.0.0.1:0"\n'
        with Dynasty(config_for(backend.address, more=more)) as proxy:
            kept, gone = proxy.ports["web"], proxy.ports["other"]
            text = proxy.config_path.read_text().replace(more, more.replace("127.0.0.1:0", "127.0.0.2:0"))
            proxy.config_path.write_text(text)
            first = proxy.serving_pid
            proxy.upgrade()
            wait_for(lambda: not is_running(first), "the end of the old process")
            assert get(kept).status == 200
            with pytest.raises(OSError, match="refused"):
                socket.create_connection(("127.0.0.1", gone), 1)
            assert "nothing listens at 127.0.0.1:0 any more" in proxy.error_text
            assert "listening on http://127.0.0.2:" in proxy.error_text


def test_twistd_cannot() -> None:
    """It says so, and serves on."""
    with Backend(fixed()) as backend:
        config = {"proxy.toml": config_for(backend.address)}
        with Command([*TWISTD, "-n", "txproxy", "-c", "proxy.toml"], config) as proxy:
            assert get(proxy.port).status == 200
            proxy.signal(signal.SIGUSR2)
            wait_for(lambda: "only `txproxy run` can do it" in proxy.text, "the refusal")
            assert get(proxy.port).status == 200
