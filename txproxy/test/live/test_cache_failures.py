"""Backends that die, memory that is full, and stops in the middle: nothing half is stored, and nothing hangs."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from itertools import islice

import pytest

from .cache_front import FRESH, Answer, Held, Origin, begun, cached, ends, takes
from .client import DEADLINE_S
from .helpers import MIB, TXPROXY, clients_of, get, wait_until_read
from .peers import Backend, BackendConnection, Client, ProxyProcess, config_for, http_reply, wait_for
from .test_stopping import refuses, running

_HALF = """
import socket, sys, time
listening = socket.create_server(("127.0.0.1", 0))
print(listening.getsockname()[1], flush=True)
connection, _ = listening.accept()
connection.recv(65536)
connection.sendall(sys.argv[1].encode("latin-1").decode("unicode_escape").encode("latin-1"))
print("sent", flush=True)
time.sleep(3600)
"""


class HalfBackend:
    """A process that sends a part of a reply and then nothing; to be killed. A context manager.

    :param data: what it sends.
    """

    def __init__(self, data: bytes) -> None:
        escaped = data.decode("latin-1").encode("unicode_escape").decode("ascii")
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-c", _HALF, escaped], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
        )
        assert self._process.stdout is not None
        self._output = self._process.stdout
        self.port = int(self._output.readline())

    def __enter__(self) -> HalfBackend:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._output.close()

    def wait_until_sent(self) -> None:
        """Wait until it has sent what it sends."""
        assert self._output.readline() == "sent\n"

    def kill(self) -> None:
        """End it as a crash does."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(DEADLINE_S)


@pytest.mark.parametrize(
    "data",
    [
        f"HTTP/1.1 200 OK\r\n{FRESH}Content-Length: 200\r\n\r\n".encode() + b"a" * 100,
        f"HTTP/1.1 200 OK\r\n{FRESH}Transfer-Encoding: chunked\r\n\r\n64\r\n".encode() + b"a" * 100 + b"\r\n",
        # The whole content, but not its end.
        f"HTTP/1.1 200 OK\r\n{FRESH}Transfer-Encoding: chunked\r\n\r\n64\r\n".encode() + b"a" * 100 + b"\r\n0\r\n",
    ],
    ids=["length", "chunked", "without-its-end"],
)
def test_a_backend_that_is_killed_in_mid_body(data: bytes) -> None:
    """kill -9: all who read it see that it is cut, nothing of it is stored, and the next request is served anew."""
    with HalfBackend(data) as half, ProxyProcess(config_for(f"127.0.0.1:{half.port}", route="cache = true")) as proxy:
        with clients_of(proxy.port, 5) as clients:
            for client in clients:
                begun(client, "/half")
                wait_until_read(client)
            half.wait_until_sent()
            for client in clients:
                assert takes(client, b"a", 100)
            half.kill()
            for client in clients:
                assert client.read_until_closed()
                reply = client.exchanged().reply
                assert reply.status == 200 and not reply.complete
        assert get(proxy.port, "/half", fields="Cache-Control: only-if-cached\r\n").status == 504
        assert get(proxy.port, "/half").status == 502
        # It comes back, with something else.
        with Backend(Answer(b"anew"), port=half.port):
            wait_for(lambda: get(proxy.port, "/half").body == b"anew", "the backend to be back")
            assert get(proxy.port, "/half").value("X-Cache-Status") == "HIT"


def test_a_validation_that_is_cut_keeps_nothing_half() -> None:
    """What is stale is replaced by a whole reply only."""
    with cached() as site:
        fields = "Cache-Control: max-age=1\r\n"

        def cut(connection: BackendConnection, request: object) -> None:
            connection.send(http_reply(body=b"n" * 100, fields=fields)[:-50])
            connection.reset()

        site.origin.says("/", Answer(b"old", fields), cut)
        site.get("/")
        site.clock.advance(2)
        with Client(site.port) as client:
            begun(client, "/")
            assert client.read_until_closed()
            assert b"n" * 100 not in client.received
        reply = site.get("/", "Cache-Control: max-stale, only-if-cached\r\n")
        assert reply.status == 504 or reply.body == b"old"


class Flat:
    """A server that sends the same to every request, as fast as a thread can: what is measured is the proxy."""

    def __init__(self, reply: bytes) -> None:
        self._reply = reply
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self.count = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Flat:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self._serve, args=[self._socket.accept()[0]], daemon=True).start()

    def _serve(self, peer: socket.socket) -> None:
        with contextlib.suppress(OSError), peer:
            while data := peer.recv(65536):
                count = data.count(b"\r\n\r\n")
                self.count += count
                peer.sendall(self._reply * count)


def asked_for(proxy: ProxyProcess, targets: Iterable[str]) -> int:
    """Ask for many objects, whose bodies end with ``END``, by pipelined requests; return how many replies were hits."""
    hits, left = 0, iter(targets)
    with Client(proxy.port) as client:
        while batch := [*islice(left, 16)]:
            client.received.clear()
            client.send("".join(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n" for target in batch).encode())
            assert takes(client, b"END", len(batch))
            assert client.received.count(b"HTTP/1.1 200 ") == len(batch)
            hits += client.received.count(b"X-Cache-Status: HIT")
    return hits


def test_memory_stays_within_its_limit() -> None:
    """20,000 differing objects of 4 KiB through a cache of 16 MiB: memory stays, and what came last is there."""
    limit, size, objects = 16 * MIB, 4096, 20_000
    with Flat(http_reply(body=b"a" * (size - 3) + b"END", fields=FRESH)) as flat:
        config = config_for(
            flat.address,
            route="cache = true",
            listener="keepalive_requests = 1000000",
            cluster="pool = { max_requests = 1000000 }",
            more=f'[cache]\nmax_bytes = {limit}\n[log]\naccess = ""\n',
        )
        with ProxyProcess(config) as proxy:
            asked_for(proxy, (f"/warm/{number}" for number in range(100)))
            before = proxy.rss_bytes()
            most = 0
            for start in range(0, objects, 2000):
                asked_for(proxy, (f"/{number}" for number in range(start, start + 2000)))
                most = max(most, proxy.rss_bytes() - before)
            assert flat.count == objects + 100
            assert limit // 2 < most < 2 * limit, most
            last = objects - limit // (size + 2048)
            assert asked_for(proxy, (f"/{number}" for number in range(last, objects))) == objects - last
            assert asked_for(proxy, (f"/{number}" for number in range(100))) == 0


def test_a_stop_finishes_what_is_fetched_for_clients() -> None:
    """G5: SIGTERM while crowds wait for one fetch each, one of them in mid-body: all get it whole; exit status 0."""
    body = b"b" * 50_000
    reply = http_reply(body=body, fields=FRESH)
    half, none, origin = Held(reply, 20_000), Held(reply), Origin()
    origin.says("/half", half)
    origin.says("/none", none)
    with (
        Backend(origin) as backend,
        running([*TXPROXY, "run"], config_for(backend.address, route="cache = true")) as proxy,
    ):
        with clients_of(proxy.port, 20) as clients:
            for number, client in enumerate(clients):
                begun(client, ("/half", "/none")[number % 2])
            for client in clients:
                wait_until_read(client)
            origin.wait_for_requests("/none", 1)
            assert ends(clients[0], b"bb")
            proxy.signal(signal.SIGTERM)
            wait_for(lambda: refuses(proxy.port), "the port to be closed")
            half.go_on.set()
            none.go_on.set()
            assert {client.reply().body == body for client in clients} == {True}
            assert all(client.read_until_closed() for client in clients)
        assert proxy.end() == 0
        assert (origin.count("/half"), origin.count("/none")) == (1, 1)
        assert "Traceback" not in proxy.text and "Unhandled" not in proxy.text


def test_a_stop_does_not_wait_for_what_no_client_wants() -> None:
    """G5: a validation behind a stale reply, and a fetch whose client has left, hold up no stop."""
    fields = "Cache-Control: max-age=1, stale-while-revalidate=600\r\n"
    origin = Origin()
    origin.says("/behind", Answer(b"old", fields), lambda connection, request: None)
    origin.says("/left", Held(http_reply(body=b"c" * 1000, fields=FRESH), 900))
    with (
        Backend(origin) as backend,
        running([*TXPROXY, "run"], config_for(backend.address, route="cache = true")) as proxy,
    ):
        with Client(proxy.port) as client:
            wait_for(lambda: client.request("/behind").value("X-Cache-Status") == "STALE", "a stale reply")
            origin.wait_for_requests("/behind", 2)
            begun(client, "/left")
            assert ends(client, b"cc")
        began_s = time.monotonic()
        assert proxy.end(signal.SIGTERM) == 0
        # shutdown_timeout_s is 30.
        assert time.monotonic() - began_s < 15
        assert "Traceback" not in proxy.text and "Unhandled" not in proxy.text
