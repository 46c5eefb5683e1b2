"""Splices between real connections: byte for byte, under pauses, small buffers and resets, on every reactor."""

from __future__ import annotations

import gc
import hashlib
import os
import queue
import random
import socket
import struct
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.pollreactor import PollReactor
from twisted.internet.protocol import ClientFactory, Protocol
from twisted.internet.selectreactor import SelectReactor
from zope.interface import implementer

from txproxy.net.epoll import DirectEPollReactor
from txproxy.net.pipes import PipePool
from txproxy.net.splice import Splice, SpliceEnd, can_splice

from .loops import DEADLINE_S, Loop, connect, read_all

MIB = 1 << 20
_RESET = struct.pack("ii", 1, 0)
_LENGTH = struct.Struct("!I")


@implementer(IHalfCloseableProtocol)
class Side(Protocol):
    """One side of a tunnel; it hands over nothing but what comes before the splice."""

    def __init__(self, tunnel: Tunnel) -> None:
        self.tunnel = tunnel
        self.other: Side | None = None
        self.splice: Splice | None = None
        self.moved = self.halves = 0

    def connectionMade(self) -> None:
        self.tunnel.made(self)

    def dataReceived(self, data: bytes) -> None:
        assert self.other is not None
        self.moved += len(data)
        self.other.transport.write(data)  # type: ignore[union-attr]

    def begin(self, other: Side) -> None:
        """Pass on what comes to the other side from here on."""
        self.other = other
        self.transport.resumeProducing()  # type: ignore[union-attr]
        assert can_splice(self.transport, other.transport)
        self.splice = Splice(self.transport, other.transport, self, self.tunnel.pool)  # type: ignore[arg-type]
        self.splice.start()

    def splice_moved(self, byte_count: int) -> None:
        self.moved += byte_count

    def splice_ended(self, end: SpliceEnd) -> None:
        self.tunnel.ends.put(end)

    def readConnectionLost(self) -> None:
        if self.other is not None:
            self.other.transport.loseWriteConnection()  # type: ignore[union-attr]
        self._half_closed()

    def writeConnectionLost(self) -> None:
        self._half_closed()

    def _half_closed(self) -> None:
        self.halves += 1
        if self.halves == 2:
            self.transport.loseConnection()  # type: ignore[union-attr]

    def connectionLost(self, reason: Any = None) -> None:
        self.tunnel.lost.put(self)
        if self.other is not None:
            self.other.transport.loseConnection()  # type: ignore[union-attr]


class Tunnel:
    """A client's side and a backend's."""

    def __init__(self, loop: Loop, pool: PipePool, backend: int, buffers: int = 0) -> None:
        self.loop, self.pool, self.backend, self._buffers = loop, pool, backend, buffers
        self.ends: queue.Queue[SpliceEnd] = queue.Queue()
        self.lost: queue.Queue[Side] = queue.Queue()
        self.ready = threading.Event()
        self.client: Side | None = None
        self.server: Side | None = None

    def accept(self) -> Side:
        return Side(self)

    def made(self, side: Side) -> None:
        transport: Any = side.transport
        if self._buffers:
            transport.getHandle().setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self._buffers)
            transport.getHandle().setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._buffers)
        if self.client is None:
            self.client = side
            transport.pauseProducing()
            factory = ClientFactory()
            factory.noisy = False
            factory.buildProtocol = lambda addr: Side(self)  # type: ignore[method-assign]
            self.loop.net.connectTCP("127.0.0.1", self.backend, factory)
            return
        self.server = side
        self.client.begin(side)
        side.begin(self.client)
        self.ready.set()

    def wait_lost(self) -> None:
        for _ in range(2):
            self.lost.get(timeout=DEADLINE_S)


@pytest.fixture(params=[DirectEPollReactor, EPollReactor, PollReactor, SelectReactor])
def loop(request: Any) -> Iterator[Loop]:
    made = Loop(request.param(), eager=True)
    yield made
    made.close()


@pytest.fixture
def direct() -> Iterator[Loop]:
    made = Loop(DirectEPollReactor(), eager=True)
    yield made
    made.close()


@pytest.fixture
def backend() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(DEADLINE_S)
        yield listening


def _port(listening: socket.socket) -> int:
    return int(listening.getsockname()[1])


def _accept(listening: socket.socket) -> socket.socket:
    accepted, _ = listening.accept()
    accepted.settimeout(DEADLINE_S)
    return accepted


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


class Feeder(threading.Thread):
    """Sends numbered blocks, so that none can be lost, doubled or swapped unseen."""

    def __init__(self, peer: socket.socket, mib: int) -> None:
        super().__init__()
        self._peer, self._mib = peer, mib
        self.digest = hashlib.sha256()

    def run(self) -> None:
        block = os.urandom(MIB - 4)
        for number in range(self._mib):
            data = _LENGTH.pack(number) + block
            self.digest.update(data)
            self._peer.sendall(data)
        self._peer.shutdown(socket.SHUT_WR)


def _read_digest(peer: socket.socket, chooser: random.Random, pauses: bool) -> Any:
    digest = hashlib.sha256()
    while data := peer.recv(chooser.choice((1, 1000, 65536, MIB))):
        digest.update(data)
        if pauses and chooser.random() < 0.01:
            time.sleep(0.001)
    return digest


def _disturb(loop: Loop, splice: Splice, chooser: random.Random) -> None:
    """Pause and resume, by either name, until the splice is over."""
    if splice.is_over:
        return
    first, second = (splice.pause, splice.resume), (splice.source.pauseProducing, splice.source.resumeProducing)
    pause, resume = chooser.choice((first, second))
    pause()
    loop.reactor.callLater(chooser.random() * 0.002, resume)
    loop.reactor.callLater(0.003 + chooser.random() * 0.01, _disturb, loop, splice, chooser)


@pytest.mark.parametrize("buffers", [0, 32768])
def test_both_ways_at_once(loop: Loop, backend: socket.socket, buffers: int) -> None:
    """Megabytes go through both ways at once, with pauses, slow readers and small buffers; each end is passed on."""
    chooser = random.Random(buffers)
    pool = PipePool(loop.reactor.seconds)
    tunnel = Tunnel(loop, pool, _port(backend), buffers)
    # The most where it is the usual case, enough elsewhere.
    mib = 256 if isinstance(loop.reactor, DirectEPollReactor) and not buffers else 24
    port = loop.listen(tunnel.accept)
    # What earlier tests left to the garbage collector shall not go meanwhile.
    gc.collect()
    before = _descriptors()
    with connect(port) as client, _accept(backend) as server:
        assert tunnel.ready.wait(DEADLINE_S)
        assert tunnel.client and tunnel.client.splice and tunnel.server and tunnel.server.splice
        for splice in (tunnel.client.splice, tunnel.server.splice):
            loop.call(_disturb, loop, splice, chooser)
        up, down = Feeder(client, mib), Feeder(server, 8)
        up.start()
        down.start()
        back: queue.Queue[bytes] = queue.Queue()
        reading = threading.Thread(
            target=lambda: back.put(_read_digest(client, random.Random(1), pauses=True).digest())
        )
        reading.start()
        assert _read_digest(server, chooser, pauses=bool(buffers)).digest() == up.digest.digest()
        assert back.get(timeout=DEADLINE_S) == down.digest.digest()
        for thread in (up, down, reading):
            thread.join(DEADLINE_S)
    tunnel.wait_lost()
    assert {tunnel.ends.get(timeout=DEADLINE_S) for _ in range(2)} == {SpliceEnd.SOURCE_ENDED}
    assert (tunnel.client.moved, tunnel.server.moved) == (mib * MIB, 8 * MIB)
    assert pool.in_use == 0
    loop.call(pool.close)
    assert _descriptors() == before


def test_resets(direct: Loop, backend: socket.socket) -> None:
    """Whoever resets whenever: what arrives is the beginning of what was sent, everything is closed, no pipe is left."""
    chooser = random.Random(7)
    pool = PipePool(direct.reactor.seconds)
    data = os.urandom(4 * MIB)
    before: int | None = None
    for number in range(60):
        tunnel = Tunnel(direct, pool, _port(backend), chooser.choice((0, 32768)))
        port = direct.listen(tunnel.accept)
        with connect(port) as client, _accept(backend) as server:
            assert tunnel.ready.wait(DEADLINE_S)
            sending = threading.Thread(target=_send_what_goes, args=(client, data))
            sending.start()
            got = bytearray()
            wanted = chooser.randrange(2 * MIB)
            while len(got) < wanted:
                got += server.recv(65536)
            resetting = client if number % 2 else server
            resetting.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            if resetting is client:
                # Closed while a thread sends on it, the reset would wait for that.
                direct.call(tunnel.client.transport.abortConnection)  # type: ignore[union-attr]
                got += _read_what_comes(server)
            else:
                server.close()
            sending.join(DEADLINE_S)
            client.close()
            tunnel.wait_lost()
        assert data.startswith(got)
        assert pool.in_use == 0
        before = _descriptors() - number if before is None else before
        # One listening port more each time; the pool keeps one pipe or none.
        assert _descriptors() - number <= before + 4
    direct.call(pool.close)


def _send_what_goes(peer: socket.socket, data: bytes) -> None:
    try:
        peer.sendall(data)
    except OSError:
        return


def _send_and_end(peer: socket.socket, data: bytes) -> None:
    peer.sendall(data)
    peer.shutdown(socket.SHUT_WR)


def _read_what_comes(peer: socket.socket) -> bytes:
    got = b""
    try:
        while data := peer.recv(65536):
            got += data
    except ConnectionError:
        pass
    return got


class Bodies(Protocol):
    """Reads lengths itself, and has the bodies behind them spliced to the other connection."""

    def __init__(self, pool: PipePool) -> None:
        self.pool = pool
        self.other: Any = None
        self.left = 0
        self._unread = b""
        self.spliced = 0

    def dataReceived(self, data: bytes) -> None:
        self._unread += data
        self.go_on()

    def go_on(self) -> None:
        while self.other is not None and len(self._unread) >= _LENGTH.size:
            (length,) = _LENGTH.unpack(self._unread[: _LENGTH.size])
            ready = self._unread[: _LENGTH.size + length]
            self._unread = self._unread[len(ready) :]
            self.other.write(ready)
            rest = _LENGTH.size + length - len(ready)
            if rest:
                assert not self._unread
                Splice(self.transport, self.other, self, self.pool, rest).start()  # type: ignore[arg-type]

    def splice_moved(self, byte_count: int) -> None:
        self.spliced += byte_count

    def splice_ended(self, end: SpliceEnd) -> None:
        assert end is SpliceEnd.ALL_MOVED

    def connectionLost(self, reason: Any = None) -> None:
        self.other.loseConnection()


def test_bodies_of_known_length(loop: Loop, backend: socket.socket) -> None:
    """Bodies are spliced, what stands between them is read: none takes a byte of the next."""
    chooser = random.Random(3)
    bodies = [os.urandom(chooser.choice((0, 1, 100, 70000, 500000))) for _ in range(200)]
    message = b"".join(_LENGTH.pack(len(body)) + body for body in bodies)
    pool = PipePool(loop.reactor.seconds)
    made: list[Bodies] = []

    class Target(Protocol):
        def connectionMade(self) -> None:
            made[0].other = self.transport
            made[0].go_on()

    def accept() -> Bodies:
        made.append(Bodies(pool))
        factory = ClientFactory.forProtocol(Target)
        factory.noisy = False
        loop.net.connectTCP("127.0.0.1", _port(backend), factory)
        return made[0]

    port = loop.listen(accept)
    with connect(port) as client, _accept(backend) as server:
        sending = threading.Thread(target=_send_and_end, args=(client, message))
        sending.start()
        assert read_all(server) == message
        sending.join(DEADLINE_S)
    assert made[0].spliced > len(message) // 2
    assert pool.in_use == 0
    loop.call(pool.close)


def test_few_pipes_for_many(direct: Loop, backend: socket.socket) -> None:
    """Many that wait for slow readers share two pipes: the others are copied, and all get all."""
    pool = PipePool(direct.reactor.seconds, most=2)
    tunnels: list[Tunnel] = []

    def accept() -> Side:
        tunnels.append(Tunnel(direct, pool, _port(backend)))
        return tunnels[-1].accept()

    port = direct.listen(accept)
    clients, servers, feeders = [], [], []
    for _ in range(20):
        clients.append(connect(port))
        servers.append(_accept(backend))
        feeders.append(Feeder(clients[-1], 16))
        feeders[-1].start()
    most = 0
    for server, feeder in zip(servers, feeders, strict=True):
        most = max(most, pool.in_use)
        assert _read_digest(server, random.Random(2), pauses=False).digest() == feeder.digest.digest()
        feeder.join(DEADLINE_S)
    assert 0 < most <= 2
    for peer in clients + servers:
        peer.close()
    for tunnel in tunnels:
        tunnel.wait_lost()
    assert pool.in_use == 0
    direct.call(pool.close)
