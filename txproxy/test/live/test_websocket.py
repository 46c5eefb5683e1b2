"""WebSocket through the proxy, with a client and a server that are used everywhere, and raw bytes both ways."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from websockets.sync.client import ClientConnection, connect

from .client import Client, wait_for
from .helpers import at_once
from .processes import ProxyProcess, config_for
from .websocket_server import echo_server

FRAMES = int(os.environ.get("TXPROXY_WEBSOCKET_FRAMES", "5000"))
EACH_WAY_MIB = int(os.environ.get("TXPROXY_TUNNEL_MIB", "64"))
"""More by hand: 100000 and 1024."""
_MIB = 1 << 20
_ASK = (
    b"GET /raw HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
_SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


@contextmanager
def _proxied() -> Iterator[ProxyProcess]:
    with echo_server() as port, ProxyProcess(config_for(f"127.0.0.1:{port}")) as proxy:
        yield proxy


def _client(proxy: ProxyProcess) -> ClientConnection:
    return connect(f"ws://127.0.0.1:{proxy.port}/chat", subprotocols=["chat.v1"], max_size=None, open_timeout=60)  # type: ignore[list-item]


def _message(source: random.Random) -> bytes | str:
    length = (
        source.choice((0, 1, 125, 126, 127, 4096, 65535, 65536)) if source.random() < 0.05 else source.randrange(200)
    )
    return source.randbytes(length) if source.random() < 0.5 else "é" * length


def test_random_messages_come_back() -> None:
    """W1: text and binary, of all lengths, in one frame or several; extensions and subprotocols are the server's."""
    with _proxied() as proxy, _client(proxy) as client:
        assert client.subprotocol == "chat.v1"
        assert client.protocol.extensions, "permessage-deflate was not agreed on"
        source = random.Random(7)
        sent: list[bytes | str] = []
        for number in range(FRAMES):
            message = _message(source)
            if number % 100 == 0 and message:
                client.send([message[:1], message[1:]])
            else:
                client.send(message)
            sent.append(message)
            if len(sent) == 50:
                assert [client.recv(timeout=60) for _ in sent] == sent
                sent.clear()
        assert [client.recv(timeout=60) for _ in sent] == sent
        assert client.ping().wait(60)
        client.close(4001, "enough")
        (line,) = proxy.access_lines(1)
    assert (line["status"], line["end"]) == (101, "ok")
    assert line["bytes_in"] > FRAMES * 2 and line["bytes_out"] > FRAMES * 2


_GROUPS = ("1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "10.*")
"""Of the Autobahn suite: framing, pings, reserved bits, opcodes, fragments, UTF-8, closing, autofragments."""


def _judged(port: int, directory: Path) -> dict[str, tuple[str, str]]:
    """Return what the Autobahn cases say of the server at a port."""
    program = Path(sys.executable).with_name("kosoku")
    groups = [word for group in _GROUPS for word in ("-i", group)]
    command = [str(program), "-m", "fuzzingclient", *groups, "-p", "4", "-o", str(directory), f"127.0.0.1:{port}"]
    subprocess.run(command, check=False, timeout=300, capture_output=True)
    (agent,) = json.loads((directory / "index.json").read_text()).values()
    return {case: (verdict["behavior"], verdict["behaviorClose"]) for case, verdict in agent.items()}


@pytest.mark.skipif(not Path(sys.executable).with_name("kosoku").exists(), reason="kosoku is not installed")
def test_autobahn(tmp_path: Path) -> None:
    """All 247 cases have the same result through the proxy as without it, whatever the server makes of them."""
    with echo_server() as port, ProxyProcess(config_for(f"127.0.0.1:{port}")) as proxy:
        direct, proxied = _judged(port, tmp_path / "direct"), _judged(proxy.port, tmp_path / "proxied")
    assert len(direct) == 247
    assert proxied == direct


def test_many_clients_at_once() -> None:
    """Nobody gets a message of another."""

    def talk(number: int) -> None:
        with _client(proxy) as client:
            for turn in range(50):
                client.send(f"{number} {turn}")
                assert client.recv(timeout=60) == f"{number} {turn}"

    with _proxied() as proxy:
        at_once(lambda number=number: talk(number) for number in range(20))
        wait_for(lambda: len(proxy.access_lines()) == 20, "the lines of all")


class _RawServer:
    """Answers one connection with 101, and hands it over; closes it in the end."""

    def __enter__(self) -> _RawServer:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._accepted: list[socket.socket] = []
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        return self

    def __exit__(self, *_: object) -> None:
        for each in (*self._accepted, self._listener):
            each.close()

    def accept(self) -> socket.socket:
        accepted, _ = self._listener.accept()
        self._accepted.append(accepted)
        accepted.settimeout(60)
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += accepted.recv(1)
        accepted.sendall(_SWITCH)
        return accepted


def test_bytes_both_ways_at_once(mib: int = EACH_WAY_MIB) -> None:
    """Each side sends and reads at its own pace; every byte is there, and memory is bounded."""

    def send(end: socket.socket, seed: int) -> None:
        piece = random.Random(seed).randbytes(_MIB)
        for _ in range(mib):
            end.sendall(piece)

    def read(end: socket.socket, seed: int) -> None:
        expected = hashlib.sha256()
        piece = random.Random(seed).randbytes(_MIB)
        for _ in range(mib):
            expected.update(piece)
        found, count = hashlib.sha256(), 0
        while count < mib * _MIB:
            data = end.recv(1 << 18)
            assert data, f"{count} bytes came"
            found.update(data)
            count += len(data)
        assert found.digest() == expected.digest()

    with _RawServer() as server, ProxyProcess(config_for(server.address)) as proxy, Client(proxy.port) as client:
        client.send(_ASK)
        backend = server.accept()
        client.read_until(lambda: client.received.endswith(b"\r\n\r\n"))
        before = proxy.rss_bytes()
        senders = [threading.Thread(target=send, args=(end, seed)) for end, seed in ((client.socket, 1), (backend, 2))]
        for sender in senders:
            sender.daemon = True
        client.socket.settimeout(60)

        def both() -> None:
            for sender in senders:
                sender.start()
            at_once([lambda: read(backend, 1), lambda: read(client.socket, 2)])

        both()
        assert proxy.rss_bytes() - before < 8 * _MIB


def test_slow_reader_holds_up_nobody_else() -> None:
    """One tunnel is full in one direction; another goes on."""
    with echo_server() as port, _RawServer() as server:
        raw = '[[route]]\nname = "raw"\npath = "/raw"\ncluster = "raw"\n'
        raw += f'[cluster.raw]\nbackends = [{{ address = "{server.address}" }}]\n'
        with ProxyProcess(config_for(f"127.0.0.1:{port}", more=raw)) as proxy, Client(proxy.port) as slow:
            slow.send(_ASK)
            backend = server.accept()
            backend.setblocking(False)
            sent = 0
            with contextlib.suppress(BlockingIOError):
                while sent < 64 * _MIB:
                    sent += backend.send(bytes(_MIB))
            assert sent < 64 * _MIB, "nothing held the backend back"
            with _client(proxy) as quick:
                for turn in range(20):
                    quick.send(str(turn))
                    assert quick.recv(timeout=60) == str(turn)
