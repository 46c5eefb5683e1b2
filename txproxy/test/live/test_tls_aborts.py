"""Handshakes that are never completed: those who stall and those who leave, one or a thousand of them."""

from __future__ import annotations

import contextlib
import random
import re
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .client import wait_for
from .helpers import MIB, at_once
from .peers import Backend, ProxyProcess
from .tls_client import HandshakeFailed, TlsClient, https_get, trusting
from .tls_front import front, listener, one_front, section
from .tls_identities import Issuer
from .tls_records import HANDSHAKE, client_hello, name_extension, records

TLS12, TLS13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
IMPATIENT_S = 1.5


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProxyProcess]:
    """A usual listener, and one that does not wait long for handshakes."""
    leaf = Issuer().leaf("a.example").save(tmp_path_factory.mktemp("aborts"), "a")
    with Backend() as backend:
        config = front(
            backend.address,
            listener("https", 'tls = "main"'),
            listener("impatient", f'tls = "main"\ntls_handshake_timeout_s = {IMPATIENT_S}'),
            section("main", [leaf]),
        )
        with ProxyProcess(config) as process:
            yield process


def test_a_client_that_stalls_is_let_go(proxy: ProxyProcess) -> None:
    """Q1: whoever stalls at any point of the handshake, or sends a byte now and then, is closed at the deadline."""

    def seconds(act: str) -> float:
        with TlsClient(proxy.ports["impatient"], context=trusting(version=TLS12), handshake=False) as client:
            began = time.monotonic()
            hello, _ = client.step()
            if act == "half a hello":
                client.send_raw(hello[:100])
            elif act == "hello":
                client.send_raw(hello)
            elif act == "all but one byte":
                client.send_raw(hello)
                while not (flight := client.step()[0]):
                    client.take_handshake()
                client.send_raw(flight[:-1])
            client.socket.settimeout(0.1)
            for byte in hello if act == "a byte now and then" else b"":
                with contextlib.suppress(OSError):
                    client.socket.sendall(bytes([byte]))
                if _has_ended(client.socket):
                    break
            client.socket.settimeout(30)
            with contextlib.suppress(ConnectionError):
                while client.socket.recv(4096):
                    pass
            return time.monotonic() - began

    acts = ["nothing", "half a hello", "hello", "all but one byte", "a byte now and then"]
    spans = at_once([lambda act=act: seconds(act) for act in acts])
    # The deadline is looked at now and then, so it may come a little early or late.
    assert all(IMPATIENT_S * 0.8 < span < 20 for span in spans), dict(zip(acts, spans, strict=True))


def _has_ended(peer: socket.socket) -> bool:
    try:
        return not peer.recv(4096)
    except TimeoutError:
        return False
    except OSError:
        return True


def test_many_that_stall_hold_up_nobody(proxy: ProxyProcess) -> None:
    """Q1: with five hundred clients in the middle of their handshake others are served."""
    hello = records(HANDSHAKE, client_hello(name_extension(b"a.example")))
    descriptors = proxy.fd_count()
    with contextlib.ExitStack() as stack:
        for number in range(500):
            stalled = stack.enter_context(socket.create_connection(("127.0.0.1", proxy.ports["https"])))
            stalled.sendall(hello[: number % 3 * 60] if number % 2 else hello)
        assert https_get(proxy.ports["https"]).status == 200
        assert proxy.fd_count() >= descriptors + 400
    wait_for(lambda: proxy.fd_count() <= descriptors + 2, "descriptors to be closed")


def _abort(port: int, dice: random.Random, contexts: list[ssl.SSLContext]) -> None:
    """Begin a handshake and leave it at a random point in a random way."""
    kind = dice.choice(["nothing", "hello", "hello", "all of hello", "flight", "flight", "broken"])
    client = TlsClient(port, context=dice.choice(contexts), handshake=False)
    with contextlib.suppress(OSError, HandshakeFailed):
        hello, _ = client.step()
        if kind == "hello":
            client.socket.sendall(hello[: dice.randrange(1, len(hello))])
        elif kind == "broken":
            position = dice.randrange(len(hello))
            client.socket.sendall(hello[:position] + bytes([dice.randrange(256)]) + hello[position + 1 :])
        elif kind != "nothing":
            client.socket.sendall(hello)
        if kind == "flight":
            while not (flight := client.step()[0]):
                client.take_handshake()
            client.socket.sendall(flight[: dice.randrange(len(flight))])
    if dice.random() < 0.5:
        client.reset()
    else:
        client.cut()


def test_a_thousand_aborted_handshakes(tmp_path: Path) -> None:
    """Handshakes that are left at random points leave nothing behind, and each is counted exactly once."""
    dice = random.Random(1967)
    contexts = [trusting(version=version) for version in (TLS12, TLS13)]
    leaf = Issuer().leaf("a.example").save(tmp_path, "a")
    with Backend() as backend, contextlib.ExitStack() as stack:
        proxy = ProxyProcess(one_front(backend.address, leaf))
        stack.callback(proxy.kill)
        port = proxy.port
        for context in contexts:
            assert https_get(port, context=context).status == 200
        descriptors = proxy.fd_count()
        for _ in range(200):
            _abort(port, dice, contexts)
        size = proxy.rss_bytes()
        for _ in range(800):
            _abort(port, dice, contexts)
        wait_for(lambda: proxy.fd_count() <= descriptors, "descriptors to be closed")
        assert proxy.rss_bytes() < size + 4 * MIB
        assert https_get(port, context=contexts[0]).status == 200
        assert len(backend.requests) == 3
        text = proxy.stop()
    connections = re.search(r"stopped: (\d+) connections", text)
    found = re.search(r"(\d+) TLS handshakes, (\d+) of them resumed; failed: (.*)", text)
    assert connections and found, text[-2000:]
    failed = {cause: int(count) for cause, count in re.findall(r"(\w+) (\d+)", found[3])}
    assert int(connections[1]) == 1003
    assert (int(found[1]) + sum(failed.values()), found[2]) == (1003, "0"), found[0]
    assert int(found[1]) < 20 and failed["network"] > 400 and "ours" not in failed, found[0]
