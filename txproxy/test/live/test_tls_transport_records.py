"""TLS on the socket: records as they come, in pieces and in heaps, and a kernel that takes little at a time."""

from __future__ import annotations

import os
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from .loops import DEADLINE_S
from .tls_loops import KINDS, Secured, TlsLoop
from .tls_peer import Peer, trusting
from .tls_records import DATA, HANDSHAKE, ClientRecords13

RECORD = 16384


@pytest.fixture
def loop() -> Iterator[TlsLoop]:
    made = KINDS["direct"]()
    yield made
    made.close()


def secured(loop: TlsLoop, **settings: Any) -> tuple[Secured, Peer]:
    """Return both ends of a connection whose handshake is complete."""
    server = Secured()
    peer = loop.dial(loop.serve(lambda: server), **settings).shake_hands()
    server.wait("completed")
    return server, peer


def received(server: Secured, size: int) -> bytes:
    """Return so many bytes that the server was handed."""
    got = b""
    while len(got) < size:
        got += server.wait("data")
    return got


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_handshake_byte_by_byte(loop: TlsLoop, version: ssl.TLSVersion) -> None:
    """A handshake whose bytes come one by one is complete in the end."""
    server = Secured()
    peer = loop.dial(loop.serve(lambda: server), maximum_version=version)

    def one_by_one(data: bytes) -> None:
        for place in range(len(data)):
            peer.socket.sendall(data[place : place + 1])

    peer.shake_hands(one_by_one)
    peer.send(b"done")
    assert server.wait("data") == b"done"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_record_cut_at_every_place(loop: TlsLoop, version: ssl.TLSVersion) -> None:
    """Nothing of a record is handed over before all of it has come, wherever it is cut."""
    server, peer = secured(loop, maximum_version=version)
    cut, size = 1, 2
    while cut < size:
        content = b"record %d" % cut
        record = peer.sealed(content)
        size = len(record)
        peer.socket.sendall(record[:cut])
        loop.turns()
        assert server.notes.empty()
        peer.socket.sendall(record[cut:])
        assert server.wait("data") == content
        cut += 1
    assert cut > 20


@pytest.mark.parametrize("size", [1, RECORD - 1, RECORD, RECORD + 1, 4 * RECORD, 4 * RECORD + 1, 9 * RECORD])
def test_many_records_at_once(loop: TlsLoop, size: int) -> None:
    """All that has come is handed over without another byte having to come."""
    server, peer = secured(loop)
    content = os.urandom(size)
    peer.socket.sendall(peer.sealed(content) + b"".join(peer.sealed(b"x") for _ in range(50)))
    assert received(server, size + 50) == content + b"x" * 50


def test_full_records_are_joined(loop: TlsLoop) -> None:
    """Full records that have come already are handed over as one piece of at most 64 KiB."""
    server, peer = secured(loop)
    transport: Any = server.transport
    loop.call(transport.pauseProducing)
    peer.socket.sendall(peer.sealed(b"x" * 6 * RECORD))
    loop.turns()
    loop.call(transport.resumeProducing)
    assert len(server.wait("data")) == 4 * RECORD
    assert len(server.wait("data")) == 2 * RECORD


def test_request_with_the_end_of_the_handshake(loop: TlsLoop) -> None:
    """What comes in one segment with the client's last message of the handshake is handed over."""
    server = Secured()
    peer = loop.dial(loop.serve(lambda: server))
    held: list[bytes] = []
    hello = True

    def hold_the_end(data: bytes) -> None:
        nonlocal hello
        if hello:
            peer.socket.sendall(data)
        else:
            held.append(data)
        hello = False

    peer.shake_hands(hold_the_end)
    peer.socket.sendall(b"".join(held) + peer.sealed(b"early"))
    assert [server.notes.get(timeout=DEADLINE_S)[0] for _ in range(3)] == ["made", "completed", "data"]


class Pausing(Secured):
    """Reads no more once it was handed something."""

    def dataReceived(self, data: bytes) -> None:
        self.transport.pauseProducing()  # type: ignore[union-attr]
        super().dataReceived(data)


@pytest.mark.parametrize("kind", [Secured, Pausing])
def test_content_before_the_end(loop: TlsLoop, kind: type[Secured]) -> None:
    """Full records and a close alert that come at once are taken in this order, the alert not while paused."""
    server: Any = kind()
    peer = loop.dial(loop.serve(lambda: server)).shake_hands()
    server.wait("completed")
    loop.call(server.transport.pauseProducing)
    peer.socket.sendall(peer.sealed(b"x" * 2 * RECORD) + peer.close_alert())
    loop.turns()
    loop.call(server.transport.resumeProducing)
    assert len(server.wait("data")) == 2 * RECORD
    if kind is Pausing:
        loop.turns()
        assert server.notes.empty()
        loop.call(server.transport.resumeProducing)
    assert isinstance(server.wait("lost"), ConnectionDone)


@implementer(IPushProducer)
class Source:
    """Writes pieces of all sizes until it is told to pause; registered when the handshake is complete."""

    def __init__(self, transport: Any, pieces: list[list[bytes]]) -> None:
        self.transport = transport
        self._pieces = pieces
        self._paused = False
        self.deepest = 0
        transport.registerProducer(self, True)

    def resumeProducing(self) -> None:
        self._paused = False
        while not self._paused and self._pieces:
            self.transport.writeSequence(self._pieces.pop())
            self.deepest = max(self.deepest, self.transport.queued_bytes)
        if not self._pieces:
            self.transport.unregisterProducer()
            self.transport.loseConnection()

    def pauseProducing(self) -> None:
        self._paused = True

    def stopProducing(self) -> None:
        self._pieces = []


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_small_buffers(loop: TlsLoop, version: ssl.TLSVersion) -> None:
    """With a kernel that takes less than a record at a time, pieces of all sizes arrive whole, and little waits."""
    server, peer = secured(loop, maximum_version=version)
    transport: Any = server.transport
    loop.call(transport.socket.setsockopt, socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    sizes = [1, 5, 100, 1000, 3000, 8000, RECORD - 1, RECORD, RECORD + 1, 20000, 40000]
    pieces = [
        [os.urandom(sizes[(number + each) % len(sizes)]) for each in range(number % 4 + 1)] for number in range(60)
    ]
    expected = b"".join(b"".join(each) for each in reversed(pieces))
    source = loop.call(Source, transport, list(pieces))
    loop.call(source.resumeProducing)
    assert peer.receive_until_end() == (expected, "closed")
    assert source.deepest <= 65536 + 4 * 40000
    assert isinstance(server.wait("lost"), ConnectionDone)


def test_what_waits_goes_before_what_is_written_later(loop: TlsLoop) -> None:
    """A record that the kernel took in part is gone on with, whatever is written meanwhile and in whatever lengths."""
    server, peer = secured(loop)
    transport: Any = server.transport
    loop.call(transport.socket.setsockopt, socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    expected = b""
    for number in range(400):
        piece = os.urandom(1 + number * 37 % 5000)
        expected += piece
        loop.call(transport.write, piece)
    assert loop.call(lambda: transport.queued_bytes) > 0
    assert peer.receive_exactly(len(expected)) == expected
    loop.turns()
    assert loop.call(lambda: transport.queued_bytes) == 0


@pytest.fixture
def by_hand(loop: TlsLoop, tmp_path: Path) -> tuple[Secured, Peer, ClientRecords13]:
    """Both ends of a connection, and records that the client's library did not make."""
    loop.server_tls.context.set_tls13_ciphersuites(b"TLS_AES_128_GCM_SHA256")
    context = trusting(keylog_filename=str(tmp_path / "keys"))
    server = Secured()
    peer = Peer(loop.connect(loop.serve(lambda: server)), context).shake_hands()
    server.wait("completed")
    return server, peer, ClientRecords13(tmp_path / "keys")


def test_key_updates(loop: TlsLoop, by_hand: tuple[Secured, Peer, ClientRecords13]) -> None:
    """The peer may change its keys at any time and ask for ours to be changed; both directions go on."""
    server, peer, records = by_hand
    transport: Any = server.transport
    for number in range(5):
        peer.socket.sendall(records.key_update(wants_answer=number % 2 == 0) + records.record(DATA, b"a"))
        assert server.wait("data") == b"a"
        loop.call(transport.write, b"b")
        assert peer.receive() == b"b"


def test_key_update_while_writing_waits(loop: TlsLoop, by_hand: tuple[Secured, Peer, ClientRecords13]) -> None:
    """A change of keys that is asked for in the middle of a long write comes after the record that was begun."""
    server, peer, records = by_hand
    transport: Any = server.transport
    body = os.urandom(8 << 20)
    loop.call(transport.write, body)
    assert loop.call(lambda: transport.queued_bytes) > 0
    peer.socket.sendall(records.key_update(wants_answer=True) + records.record(DATA, b"meanwhile"))
    assert server.wait("data") == b"meanwhile"
    assert peer.receive_exactly(len(body)) == body
    loop.call(transport.write, b"after")
    assert peer.receive() == b"after"


def test_reading_that_waits_for_writing(loop: TlsLoop, by_hand: tuple[Secured, Peer, ClientRecords13]) -> None:
    """If the answer to a change of keys finds the socket full, reading stops until it is sent, and goes on then."""
    server, peer, records = by_hand
    transport: Any = server.transport
    loop.call(transport.write, b"tickets first")
    peer.receive_exactly(13)
    full = fill(loop, transport.socket)
    # The first answer waits for a write, the second key update has it sent.
    peer.socket.sendall(records.key_update(True) + records.key_update(True) + records.record(DATA, b"behind"))
    loop.turns()
    assert server.notes.empty()
    assert not loop.call(lambda: transport in loop.reactor.getReaders())
    peer.receive_raw(full)
    assert server.wait("data") == b"behind"
    assert loop.call(lambda: transport in loop.reactor.getReaders())
    peer.socket.sendall(records.record(DATA, b"next"))
    assert server.wait("data") == b"next"
    loop.call(transport.write, b"answer")
    assert peer.receive() == b"answer"


def fill(loop: TlsLoop, skt: socket.socket) -> int:
    """Send until the kernel takes no more, on either side; return how many bytes it took."""
    loop.call(skt.setsockopt, socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    taken = refusals = 0
    while refusals < 20:
        try:
            taken += loop.call(skt.send, b"\0" * 65536)
            refusals = 0
        except BlockingIOError:
            refusals += 1
            time.sleep(0.005)
    return taken


def test_records_without_content(loop: TlsLoop, by_hand: tuple[Secured, Peer, ClientRecords13]) -> None:
    """A record that holds padding only hands over nothing and ends nothing."""
    server, peer, records = by_hand
    peer.socket.sendall(records.record(DATA, b"", padding=100) + records.record(DATA, b"x"))
    assert server.wait("data") == b"x"


def test_unexpected_message(loop: TlsLoop, by_hand: tuple[Secured, Peer, ClientRecords13]) -> None:
    """A message that has no place after the handshake ends the connection, and it alone."""
    server, peer, records = by_hand
    other, other_peer = secured(loop)
    peer.socket.sendall(records.record(HANDSHAKE, b"\x02\0\0\0"))
    reason = server.wait("lost")
    assert (reason.fault.value, reason.words) == ("peer", "unexpected message")
    other_peer.send(b"sound")
    assert other.wait("data") == b"sound"


def test_two_reactors_at_once() -> None:
    """Connections of two reactors in two threads do not mix up what they read."""
    loops = [KINDS["direct"](), KINDS["direct"]()]
    try:
        results: list[bool] = []

        def talk(number: int) -> None:
            server, peer = secured(loops[number])
            piece = bytes([number + 65]) * 40000
            sender = threading.Thread(target=peer.send, args=(piece * 200,))
            sender.start()
            results.append(received(server, 200 * len(piece)) == piece * 200)
            sender.join(DEADLINE_S)

        threads = [threading.Thread(target=talk, args=(number,)) for number in range(2)]
        for each in threads:
            each.start()
        for each in threads:
            each.join(DEADLINE_S)
        assert results == [True, True]
    finally:
        for loop in loops:
            loop.close()
