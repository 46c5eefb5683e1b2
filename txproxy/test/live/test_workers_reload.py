"""Several workers take another configuration over, one after the other, and nothing fails meanwhile."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.sync.server import ServerConnection, serve

from .crew import one_for_each, wait_for_workers, workers_of
from .farm import Farm
from .helpers import get
from .load import Load
from .peers import DEADLINE_S, Backend, ProxyProcess, config_for, wait_for
from .test_reload import RATE, Newcomers, several

RELOADS = 12


def of(workers: int) -> str:
    """Return a section for so many workers."""
    return f"[proxy]\nworkers = {workers}\n"


def test_no_request_fails() -> None:
    """G3: under load, with reloads of routes, backends, clusters and listeners, and a worker that is killed between
    them: nothing else fails or is refused, and all serve the last configuration."""
    with Farm(3) as farm, ProxyProcess(several(farm, 0) + of(2)) as proxy:
        port = proxy.ports["web"]
        with Newcomers(port) as newcomers, Load(port, RATE, 600) as load:
            for number in range(1, RELOADS + 1):
                said = proxy.reload(several(farm, number) + of(2))
                assert "reloaded" in said, said
                time.sleep(0.1)
            outcomes = load.finish()
        failed = [each for each in outcomes if each.status != 200]
        assert not failed, (len(failed), failed[:5])
        assert not newcomers.failures, newcomers.failures[:5]
        workers = wait_for_workers(proxy, 2)
        os.kill(workers[0], signal.SIGKILL)
        workers = wait_for_workers(proxy, 2, without=[workers[0]])
        with one_for_each(port, workers) as clients:
            assert {client.request().value("X-Number") for client in clients.values()} == {str(RELOADS)}


def test_a_broken_file_changes_nothing() -> None:
    """G3: it is refused once, with every error, before any worker has heard of it."""
    with Backend() as backend, ProxyProcess(config_for(backend.address, more=of(2))) as proxy:
        workers = wait_for_workers(proxy, 2)
        said = proxy.reload(config_for(backend.address, cluster="panik = 1", more=of(2)))
        assert said.count("cluster.origin.panik: ") == 1 and "the configuration before it stays" in said, said
        with one_for_each(proxy.port, workers) as clients:
            assert [client.request().status for client in clients.values()] == [200, 200]
        taken = config_for(backend.address, more=f'{of(2)}[[listener]]\nname = "b"\naddress = "127.0.0.1:{proxy.port}"')
        said = proxy.reload(taken.replace("127.0.0.1:0", "127.0.0.1:0", 1))
        assert "Address already in use" in said and "the configuration before it stays" in said, said
        assert workers_of(proxy) == workers


def test_what_only_a_worker_finds_out_is_refused_too() -> None:
    """The first worker decides: what it cannot serve no other one is asked to, and what was opened is closed again."""
    site = "class Picky:\n    def __init__(self):\n        raise RuntimeError('not today')\n"
    with (
        Backend() as backend,
        ProxyProcess(config_for(backend.address, more=of(2)), files={"site.py": site}) as proxy,
    ):
        workers = wait_for_workers(proxy, 2)
        descriptors = proxy.fd_count()
        more = of(2) + '[[listener]]\nname = "two"\naddress = "127.0.0.1:0"\n'
        said = proxy.reload(config_for(backend.address, cluster='balance = "site:Picky"', more=more))
        assert said.count("not today") == 1 and "the configuration before it stays" in said, said
        assert "listening on" not in said
        wait_for(lambda: proxy.fd_count() == descriptors, "new sockets to be closed")
        with one_for_each(proxy.port, workers) as clients:
            assert [client.request().status for client in clients.values()] == [200, 200]


def test_more_workers_that_never_come() -> None:
    """If more workers are refused with the rest of a file, no connection goes to the place of one that never began."""
    site = "class Picky:\n    def __init__(self):\n        raise RuntimeError('not today')\n"
    with (
        Backend() as backend,
        ProxyProcess(config_for(backend.address, more=of(2)), files={"site.py": site}) as proxy,
    ):
        descriptors = proxy.fd_count()
        said = proxy.reload(config_for(backend.address, cluster='balance = "site:Picky"', more=of(16)))
        assert "not today" in said, said
        wait_for(lambda: proxy.fd_count() == descriptors, "sockets of nobody to be closed")
        for _ in range(20):
            assert get(proxy.port).status == 200


def test_listeners_come_and_go(tmp_path: Path) -> None:
    """New ports and unix sockets are bound by the supervisor and served by all; what is gone is closed."""
    path = tmp_path / "web.sock"
    with Backend() as backend, ProxyProcess(config_for(backend.address, more=of(2))) as proxy:
        more = of(2) + '[[listener]]\nname = "two"\naddress = "127.0.0.1:0"\n'
        more += f'[[listener]]\nname = "three"\naddress = "unix:{path}"\n'
        said = proxy.reload(config_for(backend.address, more=more))
        assert said.count("listening on") == 2, said
        workers = wait_for_workers(proxy, 2)
        with one_for_each(proxy.ports["two"], workers) as clients:
            assert [client.request().status for client in clients.values()] == [200, 200]
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(DEADLINE_S)
            client.connect(str(path))
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert client.recv(100).startswith(b"HTTP/1.1 200 ")
        two = proxy.ports["two"]
        proxy.reload(config_for(backend.address, more=of(2)))
        assert not path.exists()
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.1", two), 5)
        assert get(proxy.ports["web"]).status == 200


def test_more_and_fewer_workers() -> None:
    """The number of workers changes with a reload; those that are too many finish what they have."""
    with Backend() as backend, ProxyProcess(config_for(backend.address, more=of(2))) as proxy:
        first = wait_for_workers(proxy, 2)
        proxy.reload(config_for(backend.address, more=of(4)))
        workers = wait_for_workers(proxy, 4)
        assert workers[:2] == first
        with one_for_each(proxy.port, workers) as clients:
            assert [client.request().status for client in clients.values()] == [200] * 4
        proxy.reload(config_for(backend.address, more=of(1)))
        assert wait_for_workers(proxy, 1) == first[:1]
        for _ in range(20):
            assert get(proxy.port).status == 200


def test_tunnels_live_on() -> None:
    """W4: a WebSocket in each worker, while other routes change twice: no message is lost; when its own route goes it is
    closed with 1001."""

    def echo(connection: ServerConnection) -> None:
        for message in connection:
            connection.send(message)

    with serve(echo, "127.0.0.1", 0) as server, Backend() as backend:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"127.0.0.1:{server.socket.getsockname()[1]}"

        def config(number: int, tunnel: bool = True) -> str:
            more = f'{of(2)}tunnel_shutdown_timeout_s = 0.5\n[[route]]\nname = "other{number}"\npath = "/x{number}"\n'
            more += 'cluster = "origin"\n'
            if tunnel:
                more += '[[route]]\nname = "ws"\npath = "/ws"\ncluster = "ws"\n'
                more += f'[cluster.ws]\nbackends = [{{ address = "{address}" }}]\n'
            return config_for(backend.address, more=more)

        with ProxyProcess(config(0)) as proxy:
            wait_for_workers(proxy, 2)
            with contextlib.ExitStack() as stack:
                tunnels = [stack.enter_context(connect(f"ws://127.0.0.1:{proxy.port}/ws")) for _ in range(8)]
                for number in (1, 2):
                    said = proxy.reload(config(number))
                    assert "reloaded" in said, said
                    for tunnel in tunnels:
                        tunnel.send(f"{number}")
                        assert tunnel.recv(DEADLINE_S) == f"{number}"
                proxy.reload(config(3, tunnel=False))
                for tunnel in tunnels:
                    with pytest.raises(ConnectionClosed) as closed:
                        tunnel.recv(DEADLINE_S)
                    assert closed.value.rcvd is not None and closed.value.rcvd.code == 1001
