"""A running proxy takes another configuration over: nothing fails, and what is unchanged goes on."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.sync.server import ServerConnection, serve

from .client import Client, wait_for
from .farm import Farm
from .helpers import get
from .load import Load
from .peers import Backend, ProxyProcess, config_for, delayed, fixed
from .tls_client import TlsClient, is_resumed, session_of, trusting
from .tls_front import front, listener, section
from .tls_identities import Issuer

RATE = float(os.environ.get("TXPROXY_RELOAD_RATE", "500"))
"""Requests per second during the reloads; more by hand: 2000."""
RELOADS = 50


def several(farm: Farm, number: int) -> str:
    """Return one of several configurations: everything but the listener ``web`` differs from the one before."""
    a, b, c = farm.addresses
    odd = number % 2
    backends = f'{{ address = "{a}", weight = {1 + odd} }}, {{ address = "{c if odd else b}" }}'
    parts = [
        '[[listener]]\nname = "web"\naddress = "127.0.0.1:0"\nkeepalive_requests = 1000000',
        f"max_header_bytes = {32768 + number}",
        '[[route]]\nname = "all"\ncluster = "origin"',
        f'reply_headers.set = {{ "X-Number" = "{number}" }}',
        f"[cluster.origin]\nbackends = [{backends}]",
        f"retry.tries = {2 + odd}",
        # Every fourth time the cluster is another one, with checks or without.
        f"timeouts.first_byte_s = {60 + number // 4}",
        "[cluster.origin.health]\ninterval_s = 1" if number % 8 > 3 else "",
    ]
    if odd:
        parts += ['[[listener]]\nname = "odd"\naddress = "127.0.0.1:0"']
        parts += [
            '[[route]]\nname = "more"\npath = "/more/"\ncluster = "more"',
            f'[cluster.more]\nbackends = [{{ address = "{a}" }}]',
        ]
    return "\n".join(parts) + "\n"


class Newcomers:
    """Clients that each connect, ask once and leave; a context manager."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._goes_on = True
        self.count = 0
        self.failures: list[str] = []
        self._threads = [threading.Thread(target=self._run) for _ in range(2)]

    def __enter__(self) -> Newcomers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._goes_on = False
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while self._goes_on:
            try:
                with socket.create_connection(("127.0.0.1", self._port), 30) as client:
                    client.sendall(b"GET /new HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                    reply = b""
                    while piece := client.recv(65536):
                        reply += piece
                if not reply.startswith(b"HTTP/1.1 200 "):
                    self.failures.append(repr(reply[:100]))
            except OSError as error:
                self.failures.append(repr(error))
            self.count += 1
            time.sleep(0.002)


def test_no_request_fails() -> None:
    """G3: under load, with 50 reloads of other routes, backends, clusters and listeners: nothing fails or is refused."""
    with Farm(3) as farm, ProxyProcess(several(farm, 0)) as proxy:
        with Newcomers(proxy.ports["web"]) as newcomers, Load(proxy.ports["web"], RATE, 600) as load:
            for number in range(1, RELOADS + 1):
                said = proxy.reload(several(farm, number))
                assert "reloaded" in said, said
                time.sleep(0.1)
            assert get(proxy.ports["web"]).value("X-Number") == str(RELOADS)
            outcomes = load.finish()
        failed = [each for each in outcomes if each.status != 200]
        assert not failed, (len(failed), failed[:5])
        assert not newcomers.failures, newcomers.failures[:5]
        print(
            f"{len(outcomes)} requests, {newcomers.count} newcomers, slowest {max(e.latency_s for e in outcomes):.3f} s"
        )
        assert len(outcomes) > RATE and newcomers.count > RELOADS
        # Those of the load stayed open all the time.
        assert proxy.fd_count() < 200


def test_a_broken_file_changes_nothing() -> None:
    """G3: every error is in the log with its line, and the configuration that was there is served on."""
    with Backend() as backend, ProxyProcess(config_for(backend.address)) as proxy, Client(proxy.port) as client:
        assert client.request().status == 200
        said = proxy.reload(config_for(backend.address, route="methodz = []", cluster="panik = 1"))
        assert f"{proxy.config_path}:8: route[0].methodz: " in said, said
        assert f"{proxy.config_path}:11: cluster.origin.panik: " in said, said
        assert "the configuration before it stays" in said
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            more = f'[[listener]]\nname = "taken"\naddress = "{address}"'
            said = proxy.reload(config_for(backend.address, more=more))
            assert address in said and "the configuration before it stays" in said
        said = proxy.reload(config_for(backend.address, more='[log]\naccess = "/no/such/directory/x"'))
        assert "/no/such/directory" in said and "the configuration before it stays" in said
        said = proxy.reload("not even TOML")
        assert "the configuration before it stays" in said
        proxy.config_path.unlink()
        before = proxy.error_text
        proxy.process.send_signal(1)
        wait_for(lambda: "stays" in proxy.error_text[len(before) :], "the next refusal")
        assert client.request().status == 200
        assert len(backend.connections) == 1, "the pool was not kept"
        said = proxy.reload(config_for(backend.address))
        assert "nothing has changed" in said
        assert client.request().status == 200


def test_a_listener_that_goes_is_drained() -> None:
    """What is under way there is completed, what is idle is closed, and nobody is accepted."""
    more = '[[listener]]\nname = "other"\naddress = "127.0.0.1:0"'
    slow = delayed(fixed(body=b"late"), 1)
    with Backend(slow) as backend, ProxyProcess(config_for(backend.address, more=more)) as proxy:
        port = proxy.ports["other"]
        with Client(port) as busy, Client(port) as idle, Client(proxy.ports["web"]) as other:
            busy.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            backend.wait_for_requests(1)
            proxy.reload(config_for(backend.address))
            assert idle.read_until_closed(5)
            with pytest.raises(OSError):
                socket.create_connection(("127.0.0.1", port), 1)
            reply = busy.reply()
            assert (reply.body, reply.value("Connection")) == (b"late", "close")
            assert busy.read_until_closed(5)
            assert other.request().status == 200


def test_a_backend_that_goes_is_drained() -> None:
    """What it has is completed; it gets nothing new; its idle connections are closed."""
    with Farm(2, delay_s=0) as farm:
        both, one = farm.config(), farm.config().replace(f', {{ address = "{farm.addresses[1]}" }}', "")
        assert both != one
        a, b = farm.members
        with ProxyProcess(both) as proxy:
            for _ in range(4):
                assert get(proxy.port).status == 200
            b.behave(delay_s=2)
            with Client(proxy.port) as first, Client(proxy.port) as second:
                for client in (first, second):
                    client.send(b"GET /slow HTTP/1.1\r\nHost: a\r\nX-Id: slow\r\n\r\n")
                wait_for(lambda: b.requests(0)[-1:] and b.requests(0)[-1].id == "slow", "the slow request")
                said = proxy.reload(one)
                assert f"backends removed: origin {b.address}" in said
                assert first.reply().status == second.reply().status == 200
            wait_for(lambda: not b.counts()["open"], "its connections to be closed")
            before = len(b.requests())
            for _ in range(6):
                assert get(proxy.port).body == b"a"
            assert len(b.requests()) == before


def test_what_is_known_of_backends_stays() -> None:
    """Health, ejections and pools outlive reloads that change other things; one that was down is not asked again."""
    with Farm(2) as farm:
        health = "passive.failures = 2\npassive.ejection_s = 300"
        with ProxyProcess(farm.config(health)) as proxy:
            farm.members[1].kill()
            wait_for(lambda: get(proxy.port).status == 200 and "ejected" in proxy.error_text, "the ejection")
            accepted = farm.members[0].counts()["accepted"]
            proxy.reload(farm.config(health + "\nretry.tries = 2", more='[proxy]\nvia_name = "another"'))
            for _ in range(10):
                reply = get(proxy.port)
                assert (reply.status, reply.value("Via")) == (200, "1.1 another")
            assert farm.members[0].counts()["accepted"] == accepted, "the pool was not kept"
            assert all(line["tries"] == 1 for line in proxy.access_lines(10)[-10:])


# Tunnels.


def _answer(connection: ServerConnection) -> None:
    with contextlib.suppress(ConnectionClosed):
        for message in connection:
            connection.send(message)


@contextlib.contextmanager
def _websocket_server() -> Iterator[str]:
    with serve(_answer, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.socket.getsockname()[1]}"
        server.shutdown()
        thread.join()


def _tunnel_config(address: str, other: str, *, with_route: bool = True) -> str:
    chat = '[[route]]\nname = "chat"\npath = "/chat"\ncluster = "chat"\n' if with_route else ""
    chat += f'[cluster.chat]\nbackends = [{{ address = "{address}" }}]\n'
    return config_for(
        address,
        route=f'reply_headers.set = {{ "X-A" = "{other}" }}',
        more=f"{chat}[proxy]\ntunnel_shutdown_timeout_s = 1.5\n",
    )


def test_tunnels_live_on() -> None:
    """W4: an open WebSocket survives two reloads without a lost message; without its route it is closed by 1001."""
    with _websocket_server() as address, ProxyProcess(_tunnel_config(address, "0")) as proxy:
        with connect(f"ws://127.0.0.1:{proxy.port}/chat") as client:
            sent = 0
            stop = threading.Event()

            def talk() -> None:
                nonlocal sent
                while not stop.is_set():
                    client.send(str(sent))
                    assert client.recv(timeout=30) == str(sent)
                    sent += 1

            thread = threading.Thread(target=talk)
            thread.start()
            for other in ("1", "2"):
                proxy.reload(_tunnel_config(address, other))
                time.sleep(2)
                assert get(proxy.port, "/").value("X-A") in (other, None)
            stop.set()
            thread.join()
            assert sent > 100
            removed_at = time.monotonic()
            proxy.reload(_tunnel_config(address, "3", with_route=False))
            client.send("still")
            assert client.recv(timeout=30) == "still"
            with pytest.raises(ConnectionClosed):
                client.recv(timeout=30)
            assert time.monotonic() - removed_at > 1.4
            assert client.close_code == 1001
        wait_for(lambda: any(line["status"] == 101 for line in proxy.access_lines()), "its line")
        (line,) = [line for line in proxy.access_lines() if line["status"] == 101]
        assert line["end"] == "shutdown"


def test_a_route_that_comes_back_saves_its_tunnels() -> None:
    """Whoever takes the change back in time loses nothing."""
    with contextlib.ExitStack() as stack:
        address = stack.enter_context(_websocket_server())
        proxy = stack.enter_context(ProxyProcess(_tunnel_config(address, "0")))
        client = stack.enter_context(connect(f"ws://127.0.0.1:{proxy.port}/chat"))
        proxy.reload(_tunnel_config(address, "0", with_route=False))
        proxy.reload(_tunnel_config(address, "1"))
        time.sleep(2.5)
        client.send("there")
        assert client.recv(timeout=30) == "there"


def _tcp_config(first: str, second: str, more: str = "") -> str:
    return (
        '[[listener]]\nname = "raw"\naddress = "127.0.0.1:0"\nprotocol = "tcp"\ncluster = "db"\n'
        f'[cluster.db]\nbackends = [{{ address = "{first}" }}, {{ address = "{second}" }}]\n'
        f"[proxy]\ntunnel_shutdown_timeout_s = 1.5\n{more}\n"
    )


def test_passages_live_on() -> None:
    """W4: so do connections of tcp listeners, unless their listener leads elsewhere."""
    with contextlib.ExitStack() as stack:
        one, two = (stack.enter_context(Backend()) for _ in range(2))
        proxy = stack.enter_context(ProxyProcess(_tcp_config(one.address, two.address)))
        client, other = (stack.enter_context(Client(proxy.port)) for _ in range(2))
        assert client.request().status == other.request().status == 200
        # Even without its backend, which is drained; and with other limits.
        elsewhere = two.address.replace("127.0.0.1", "127.0.0.2")
        proxy.reload(_tcp_config(two.address, elsewhere, "max_connections = 77"))
        time.sleep(2)
        assert client.request().status == other.request().status == 200
        proxy.reload(_tcp_config(one.address, two.address).replace('"db"', '"new"').replace(".db]", ".new]"))
        assert client.request().status == 200
        assert client.read_until_closed(10) and other.read_until_closed(10)
        with Client(proxy.port) as newcomer:
            assert newcomer.request().status == 200


# TLS.


def test_sessions_are_resumed(tmp_path: Path) -> None:
    """T3: a section that is unchanged keeps its tickets, and reads its files; connections stay."""
    issuer = Issuer()
    stem = issuer.leaf("a.example").save(tmp_path, "a.example")
    context = trusting(issuer.pem)

    def config(number: int) -> str:
        more = f'[[route]]\nname = "r{number}"\npath = "/r{number}"\ncluster = "origin"\n' if number else ""
        return more + front(backend.address, listener("https", 'tls = "main"'), section("main", [stem]))

    with Backend() as backend, ProxyProcess(config(0)) as proxy:
        port = proxy.ports["https"]
        session = session_of(port, context)
        with TlsClient(port, context=context) as client:
            assert client.request().status == 200
            for number in (1, 2):
                proxy.reload(config(number))
                assert is_resumed(port, context, session)
                assert client.request().status == 200


def test_tls_comes_and_goes(tmp_path: Path) -> None:
    """Another section, or none, on the same port: nobody is refused, and whoever connects gets what is configured."""
    issuer = Issuer()
    stems = [issuer.leaf("a.example").save(tmp_path, f"a{number}") for number in range(2)]
    context = trusting(issuer.pem)
    failures: list[str] = []
    count = 0
    goes_on = True

    def config(kind: int) -> str:
        if kind == 2:
            return front(backend.address, listener("web"))
        return front(backend.address, listener("web", f'tls = "main{kind}"'), section(f"main{kind}", [stems[kind]]))

    def connects() -> None:
        nonlocal count
        while goes_on:
            try:
                socket.create_connection(("127.0.0.1", port), 5).close()
                count += 1
            except OSError as error:
                failures.append(repr(error))

    with Backend() as backend, ProxyProcess(config(0)) as proxy:
        port = proxy.ports["web"]
        with TlsClient(port, context=context) as old:
            assert old.request().status == 200
            proxy.reload(config(1))
            assert old.request().status == 200, "a connection was lost although its clients had to prove the same"
        thread = threading.Thread(target=connects)
        thread.start()
        for kind in (2, 0, 1, 2, 1, 2, 0):
            proxy.reload(config(kind))
            if kind == 2:
                assert get(port).status == 200
            else:
                with TlsClient(port, context=context) as client:
                    assert client.request().status == 200
        goes_on = False
        thread.join()
    assert not failures and count > 20


# Other things that may change.


def test_unix_sockets(tmp_path: Path) -> None:
    """A unix socket that stays is the same file; one that goes is removed."""

    def config(*names: str) -> str:
        sockets = [f'[[listener]]\nname = "{name}"\naddress = "unix:{tmp_path}/{name}"\n' for name in names]
        return "".join(sockets) + config_for(backend.address)

    def status(name: str) -> bytes:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(20)
            client.connect(f"{tmp_path}/{name}")
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return client.recv(1000)[9:12]

    with Backend() as backend, ProxyProcess(config("a", "b")) as proxy:
        file = (tmp_path / "a").stat().st_ino
        assert status("a") == status("b") == b"200"
        proxy.reload(config("a", "c"))
        assert (tmp_path / "a").stat().st_ino == file
        assert status("a") == status("c") == b"200"
        wait_for(lambda: not (tmp_path / "b").exists(), "the file to be removed")


def test_logs_move(tmp_path: Path) -> None:
    """Another access log, another form, another level: each line is in one of the files."""

    def config(level: str, access: str, form: str, path: str = "-") -> str:
        log = f'[log]\nlevel = "{level}"\naccess = "{tmp_path}/{access}"\nformat = "{form}"\npath = "{path}"\n'
        return config_for(backend.address, more=log)

    with Backend() as backend, ProxyProcess(config("info", "one", "json")) as proxy:
        assert get(proxy.port).status == 200
        proxy.reload(config("debug", "two", "combined"))
        assert get(proxy.port).status == 200
        wait_for(lambda: (tmp_path / "two").read_text().count("\n") == 1, "the line of the second")
        assert (tmp_path / "one").read_text().startswith("{") and (tmp_path / "one").read_text().count("\n") == 1
        assert (tmp_path / "two").read_text().startswith("127.0.0.1 - - [")
        assert "#debug" in proxy.error_text
        moved = tmp_path / "application.log"
        proxy.write_config(config("info", "two", "combined", str(moved)))
        proxy.process.send_signal(1)
        wait_for(lambda: moved.exists() and "reloaded" in moved.read_text(), "the log to move")


def test_without_a_file() -> None:
    """A service that was started by flags says that there is nothing to be read, and serves on."""
    with Backend() as backend:
        from .helpers import TXPROXY, Command

        command = [*TXPROXY, "run", "-l", "127.0.0.1", "-p", "0", "-b", backend.address]
        with Command(command) as proxy:
            assert get(proxy.port).status == 200
            proxy.signal(1)
            wait_for(lambda: "there is no file" in proxy.text, "its word on that")
            assert get(proxy.port).status == 200


def test_nothing_is_left_behind() -> None:
    """After many reloads there are as many descriptors as before, and memory stands still."""
    with Farm(3) as farm, ProxyProcess(several(farm, 0)) as proxy:

        def go(numbers: range) -> None:
            for number in numbers:
                proxy.reload(several(farm, number))
                assert get(proxy.ports["web"]).status == 200

        go(range(1, 41))
        descriptors, memory = proxy.fd_count(), proxy.rss_bytes()
        go(range(41, 121))
        assert proxy.fd_count() <= descriptors + 3
        assert proxy.rss_bytes() < memory + (12 << 20)
