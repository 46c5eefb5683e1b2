"""Transports over real sockets: Twisted's own and the eager ones, on Twisted's reactor and on the direct one."""

from __future__ import annotations

import hashlib
import os
import queue
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.error import (
    CannotListenError,
    ConnectionAborted,
    ConnectionDone,
    ConnectionRefusedError,
    TimeoutError,
)
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import DefaultOpenSSLContextFactory
from twisted.logger import globalLogPublisher
from zope.interface import implementer

from txproxy.net.epoll import DirectEPollReactor
from txproxy.net.sending import HIGH_WATERMARK_BYTES
from txproxy.net.stream import READ_BYTES

from .loops import DEADLINE_S, Loop, Noting, NotingFactory, SlowEcho, connect, read_all

ROOT = Path(__file__).parents[3]


KINDS = {
    "stock": lambda: Loop(EPollReactor(), eager=False),
    "eager": lambda: Loop(EPollReactor(), eager=True),
    "direct": lambda: Loop(DirectEPollReactor(), eager=True),
}


@pytest.fixture(params=list(KINDS))
def loop(request: Any) -> Iterator[Loop]:
    made = KINDS[request.param]()
    yield made
    made.close()


@pytest.fixture
def direct() -> Iterator[Loop]:
    made = KINDS["direct"]()
    yield made
    made.close()


def test_echo_of_16_mib_to_a_slow_reader(loop: Loop) -> None:
    """A reader that takes small pieces gets every byte, and the queue stays near the high watermark."""
    SlowEcho.deepest = SlowEcho.pauses = 0
    sent = os.urandom(1 << 20) * 16
    with connect(loop.listen(SlowEcho)) as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        sender = threading.Thread(target=peer.sendall, args=(sent,))
        sender.start()
        digest, got = hashlib.sha256(), 0
        while got < len(sent):
            chunk = peer.recv(8192)
            assert chunk
            digest.update(chunk)
            got += len(chunk)
        sender.join(DEADLINE_S)
    assert digest.digest() == hashlib.sha256(sent).digest()
    assert SlowEcho.pauses > 0
    assert SlowEcho.deepest <= HIGH_WATERMARK_BYTES + READ_BYTES


def test_lose_connection_flushes(loop: Loop) -> None:
    """What was written before loseConnection arrives whole, followed by a clean end."""
    body = os.urandom(4 << 20)

    class Giver(Protocol):
        def connectionMade(self) -> None:
            self.transport.write(body)  # type: ignore[union-attr]
            self.transport.writeSequence([b"a" * 50000, b"b" * 50000])  # type: ignore[union-attr]
            self.transport.loseConnection()  # type: ignore[union-attr]

    with connect(loop.listen(Giver)) as peer:
        assert read_all(peer) == body + b"a" * 50000 + b"b" * 50000


@pytest.mark.parametrize("how", ["alone", "late", "large", "pulled"])
def test_lose_connection_from_within_a_call(loop: Loop, how: str) -> None:
    """Whatever is done after loseConnection while data are being dispatched, all of it arrives, then the end.

    The next connections have the same descriptors, and are none the worse for it.
    """

    class Puller:
        left = 3

        def resumeProducing(self) -> None:
            server.transport.write(b"pulled")  # type: ignore[union-attr]
            self.left -= 1
            if not self.left:
                server.transport.unregisterProducer()  # type: ignore[union-attr]

        pauseProducing = stopProducing = lambda self: None

    class Closing(Noting):
        def dataReceived(self, data: bytes) -> None:
            super().dataReceived(data)
            transport: Any = self.transport
            transport.write(b"said")
            transport.loseConnection()
            assert transport.connected, "it is not closed within the call"
            if how == "late":
                transport.write(b"late")
            elif how == "large":
                transport.write(b"l" * (8 << 20))
            elif how == "pulled":
                transport.registerProducer(Puller(), False)

    server = Closing()
    port = loop.listen(lambda: server)
    expected = {"alone": b"", "late": b"late", "large": b"l" * (8 << 20), "pulled": b"pulled" * 3}[how]
    for _ in range(5):
        server = Closing()
        with connect(port) as peer:
            peer.sendall(b"question")
            assert read_all(peer) == b"said" + expected
        assert server.wait("data") == b"question"
        assert isinstance(server.wait("lost"), ConnectionDone)


def test_copies_of_a_descriptor_do_not_matter(loop: Loop) -> None:
    """A connection is closed while somebody, a forked process say, still holds its socket: nobody spins for that."""
    server = Noting()
    with connect(loop.listen(lambda: server)) as peer:
        transport = server.wait("made").transport
        copy = os.dup(transport.fileno())
        try:

            def close() -> None:
                transport.write(b"bye")
                transport.loseConnection()

            server.dataReceived = lambda data: close()  # type: ignore[method-assign]
            peer.sendall(b"leave")
            server.wait("lost")
            peer.sendall(b"what nobody reads")
            polls = 0
            poll = loop.reactor.doPoll

            def counted(timeout: Any) -> None:
                nonlocal polls
                polls += 1
                poll(timeout)

            loop.call(setattr, loop.reactor, "doIteration", counted)
            time.sleep(0.5)
            assert polls < 100
            assert peer.recv(3) == b"bye"
        finally:
            os.close(copy)


@implementer(IHalfCloseableProtocol)
class HalfClosing(Noting):
    """Answers when the peer has ended its half, then ends its own."""

    def readConnectionLost(self) -> None:
        self.transport.write(b"answer" * 100000)  # type: ignore[union-attr]
        self.transport.loseWriteConnection()  # type: ignore[union-attr]
        self.notes.put(("read ended", None))

    def writeConnectionLost(self) -> None:
        self.notes.put(("write ended", None))
        self.transport.loseConnection()  # type: ignore[union-attr]


def test_half_close_by_the_peer(loop: Loop) -> None:
    """After the peer's end of input the answer still goes out whole, then the connection ends."""
    server = HalfClosing()
    with connect(loop.listen(lambda: server)) as peer:
        peer.sendall(b"question")
        peer.shutdown(socket.SHUT_WR)
        assert read_all(peer) == b"answer" * 100000
    server.wait("read ended")
    server.wait("write ended")
    server.wait("lost")


def test_half_close_by_us(loop: Loop) -> None:
    """loseWriteConnection flushes, ends our half, and bytes from the peer still arrive."""
    server = Noting()
    with connect(loop.listen(lambda: server)) as peer:
        transport = server.wait("made").transport
        loop.call(transport.write, b"x" * 1000000)
        loop.call(transport.loseWriteConnection)
        assert len(read_all(peer)) == 1000000
        peer.sendall(b"still here")
        assert server.wait("data") == b"still here"
    server.wait("lost")


def test_abort_resets(loop: Loop) -> None:
    """abortConnection reaches the peer as a reset and the protocol as ConnectionAborted."""
    server = Noting()
    with connect(loop.listen(lambda: server)) as peer:
        transport = server.wait("made").transport
        loop.call(transport.abortConnection)
        with pytest.raises(ConnectionResetError):
            peer.recv(1)
    assert isinstance(server.wait("lost"), ConnectionAborted)


def test_writes_after_a_reset_do_not_raise(loop: Loop) -> None:
    """Writing to a peer that has reset the connection is harmless, even while reading is paused; one loss is told."""
    server = Noting()
    peer = connect(loop.listen(lambda: server))
    transport = server.wait("made").transport
    loop.call(transport.pauseProducing)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()
    for _ in range(10):
        loop.call(transport.write, b"x" * 100000)
    server.wait("lost")
    loop.call(transport.write, b"x")
    assert server.notes.empty()


def test_connect_refused(loop: Loop) -> None:
    """A port where nobody listens refuses."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        factory = NotingFactory()
        loop.call(loop.net.connectTCP, "127.0.0.1", reserved.getsockname()[1], factory)
        assert isinstance(factory.outcome.get(timeout=DEADLINE_S), ConnectionRefusedError)


def test_connect_timeout(loop: Loop) -> None:
    """An attempt that nobody answers fails after its time."""
    with socket.socket() as full, socket.socket() as filler:
        full.bind(("127.0.0.1", 0))
        # A backlog of one connection that is never accepted: the kernel ignores further attempts.
        full.listen(0)
        filler.connect(full.getsockname())
        factory = NotingFactory()
        loop.call(loop.net.connectTCP, "127.0.0.1", full.getsockname()[1], factory, 0.3)
        assert isinstance(factory.outcome.get(timeout=DEADLINE_S), TimeoutError)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_clients(loop: Loop, host: str) -> None:
    """A client reaches a server by address of either family and by name; both ends have TCP_NODELAY if eager."""
    served: queue.Queue[Noting] = queue.Queue()

    def build() -> Noting:
        server = Noting()
        served.put(server)
        return server

    port = loop.listen(build, interface="::" if host == "::1" else "127.0.0.1")
    factory = NotingFactory()
    loop.call(loop.net.connectTCP, host, port, factory)
    client = factory.outcome.get(timeout=DEADLINE_S)
    client.wait("made")
    server: Any = served.get(timeout=DEADLINE_S)
    server.wait("made")
    loop.call(client.transport.write, b"ping")
    assert server.wait("data") == b"ping"
    loop.call(server.transport.write, b"pong")
    assert client.wait("data") == b"pong"
    assert loop.call(client.transport.getPeer).port == port
    if loop.eager:
        assert loop.call(client.transport.getTcpNoDelay)
        assert loop.call(server.transport.getTcpNoDelay)
        assert not loop.call(client.transport.has_unread_or_closed)
    loop.call(client.transport.loseConnection)
    client.wait("lost")
    server.wait("lost")


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_dual_stack(direct: Loop, host: str) -> None:
    """A listener on :: serves both families and presents each peer in its own."""
    server = Noting()
    with connect(direct.listen(lambda: server, interface="::"), host):
        transport = server.wait("made").transport
        assert direct.call(transport.getPeer).host == host
        assert direct.call(transport.getHost).host == host


def test_has_unread_or_closed(direct: Loop) -> None:
    """The kernel is asked, not the reactor: a close is seen while reading is paused."""
    server = Noting()
    with connect(direct.listen(lambda: server)):
        transport = server.wait("made").transport
        direct.call(transport.pauseProducing)
        assert not direct.call(transport.has_unread_or_closed)
    # The end of a loopback connection is delivered within close.
    assert direct.call(transport.has_unread_or_closed)
    direct.call(transport.abortConnection)
    server.wait("lost")


def test_unix_sockets(direct: Loop, tmp_path: Path) -> None:
    """Clients and servers meet at a path; its file is removed at the end."""
    path = str(tmp_path / "s")
    factory = Factory.forProtocol(SlowEcho)
    port = direct.call(direct.net.listenUNIX, path, factory)
    attempt = NotingFactory()
    direct.call(direct.net.connectUNIX, path, attempt)
    client = attempt.outcome.get(timeout=DEADLINE_S)
    client.wait("made")
    direct.call(client.transport.write, b"ping")
    assert client.wait("data") == b"ping"
    with pytest.raises(CannotListenError):
        direct.call(direct.net.listenUNIX, path, factory)
    direct.call(port.stopListening)
    assert not os.path.exists(path)
    attempt = NotingFactory()
    direct.call(direct.net.connectUNIX, path, attempt)
    assert isinstance(attempt.outcome.get(timeout=DEADLINE_S), Exception)


def test_stale_unix_socket(direct: Loop, tmp_path: Path) -> None:
    """The file of a crashed server is replaced; a file that is no socket is left alone."""
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as crashed:
        crashed.bind(str(path))
    port = direct.call(direct.net.listenUNIX, str(path), Factory.forProtocol(SlowEcho))
    path.unlink()
    path.write_text("another's")
    direct.call(port.stopListening)
    assert path.read_text() == "another's"
    with pytest.raises(CannotListenError):
        direct.call(direct.net.listenUNIX, str(path), Factory.forProtocol(SlowEcho))
    assert path.read_text() == "another's"


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_UNIX])
def test_adopted_listening_socket(direct: Loop, tmp_path: Path, family: int) -> None:
    """A socket that another process bound serves here, and is left to its owner when the port closes."""
    path = str(tmp_path / "s")
    with socket.socket(family) as owner, socket.socket(family) as peer:
        owner.bind(path if family == socket.AF_UNIX else ("127.0.0.1", 0))
        owner.listen()
        owner.setblocking(False)
        port = direct.call(direct.net.adoptStreamPort, owner.fileno(), family, Factory.forProtocol(SlowEcho))
        peer.settimeout(DEADLINE_S)
        peer.connect(owner.getsockname())
        peer.sendall(b"ping")
        assert peer.recv(4) == b"ping"
        direct.call(port.stopListening)
        with socket.socket(family) as second:
            second.connect(owner.getsockname())


def test_adopted_unix_socket(direct: Loop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its file may be another user's, whose permissions stay, or be gone; it is removed at the end if that is ours to do."""

    def refuse(*_: object) -> None:
        raise PermissionError("not the owner")

    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as owner:
        owner.bind(str(path))
        path.chmod(0o640)
        owner.listen()
        owner.setblocking(False)
        monkeypatch.setattr(os, "chmod", refuse)
        factory = Factory.forProtocol(SlowEcho)
        direct.call(direct.call(direct.net.adoptStreamPort, owner.fileno(), socket.AF_UNIX, factory).stopListening)
        assert path.stat().st_mode & 0o777 == 0o640
        port = direct.call(direct.net.adoptStreamPort, owner.fileno(), socket.AF_UNIX, factory)
        direct.call(port.own_file)
        direct.call(port.stopListening)
        assert not path.exists()
        port = direct.call(direct.net.adoptStreamPort, owner.fileno(), socket.AF_UNIX, factory)
        direct.call(port.own_file)
        direct.call(port.stopListening)


def test_start_tls(loop: Loop, tmp_path: Path) -> None:
    """A plain connection can be upgraded to TLS on eager transports as on Twisted's."""
    key, certificate = str(tmp_path / "key.pem"), str(tmp_path / "certificate.pem")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=localhost -days 1"
    subprocess.run([*command.split(), "-keyout", key, "-out", certificate], check=True, capture_output=True)
    context = DefaultOpenSSLContextFactory(key, certificate)

    class Upgrading(Protocol):
        def connectionMade(self) -> None:
            self.transport.write(b"go")  # type: ignore[union-attr]
            self.transport.startTLS(context)  # type: ignore[union-attr]

        def dataReceived(self, data: bytes) -> None:
            self.transport.write(data)  # type: ignore[union-attr]
            self.transport.writeSequence([data, data])  # type: ignore[union-attr]

    client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client_context.check_hostname = False
    client_context.verify_mode = ssl.CERT_NONE
    with connect(loop.listen(Upgrading)) as plain:
        assert plain.recv(2) == b"go"
        with client_context.wrap_socket(plain) as peer:
            # Less than the socket's buffers hold: this peer does not read while it sends.
            peer.sendall(b"x" * 30000)
            got = 0
            while got < 90000:
                got += len(peer.recv(65536))


def test_exception_in_data_received(loop: Loop) -> None:
    """A bug in one protocol is logged with its connection's prefix and closes that connection only."""

    class Fragile(SlowEcho):
        def dataReceived(self, data: bytes) -> None:
            if data == b"break":
                raise ZeroDivisionError("bug")
            super().dataReceived(data)

    events: list[Any] = []
    observer: Any = events.append
    globalLogPublisher.addObserver(observer)
    try:
        port = loop.listen(Fragile)
        with connect(port) as sound, connect(port) as broken:
            broken.sendall(b"break")
            assert broken.recv(1) == b""
            sound.sendall(b"fine")
            assert sound.recv(4) == b"fine"
    finally:
        globalLogPublisher.removeObserver(observer)
    failures = [event for event in events if event.get("isError")]
    assert [event["failure"].type for event in failures] == [ZeroDivisionError]
    assert "Fragile" in failures[0]["system"]


def test_removed_earlier_in_the_same_batch(direct: Loop) -> None:
    """Of two readable descriptors, each of which removes the other, one is read only."""
    read: list[int] = []

    class Reader:
        def __init__(self) -> None:
            self.end, self._other_end = os.pipe()
            os.write(self._other_end, b"x")
            self.other: Any = None

        def fileno(self) -> int:
            return self.end

        def doRead(self) -> None:
            read.append(self.end)
            direct.reactor.removeReader(self)
            direct.reactor.removeReader(self.other)
            direct.reactor.callLater(0, done.set)

        def logPrefix(self) -> str:
            return "reader"

        def connectionLost(self, reason: Any) -> None:
            pass

        def close(self) -> None:
            os.close(self.end)
            os.close(self._other_end)

    done = threading.Event()
    one, two = Reader(), Reader()
    one.other, two.other = two, one

    def add() -> None:
        direct.reactor.addReader(one)
        direct.reactor.addReader(two)

    direct.call(add)
    assert done.wait(DEADLINE_S)
    direct.call(lambda: None)
    assert len(read) == 1
    one.close()
    two.close()


_FEW_DESCRIPTORS = """
import resource, sys
from twisted.internet.protocol import Factory, Protocol
from twisted.python import log
from txproxy.net import epoll
from txproxy.net.reactor import EagerReactor
reactor = epoll.install()
log.startLogging(sys.stderr, setStdout=False)
class Echo(Protocol):
    def dataReceived(self, data):
        self.transport.write(data)
port = EagerReactor(reactor).listenTCP(0, Factory.forProtocol(Echo), interface="127.0.0.1")
resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
print(port.getHost().port, flush=True)
reactor.run()
"""


def test_out_of_descriptors() -> None:
    """With no descriptor left, connections go on, later clients wait until there is room, and one line is logged."""
    child = subprocess.Popen(
        [sys.executable, "-c", _FEW_DESCRIPTORS],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    peers: list[socket.socket] = []
    try:
        assert child.stdout is not None
        port = int(child.stdout.readline())
        peers.extend(connect(port) for _ in range(50))
        for _ in range(20):
            peers[0].sendall(b"x")
            assert peers[0].recv(1) == b"x"
        peers[49].sendall(b"y")
        peers[49].settimeout(0.5)
        with pytest.raises(OSError, match="timed out"):
            peers[49].recv(1)
        for peer in peers[1:30]:
            peer.close()
        peers[49].settimeout(DEADLINE_S)
        assert peers[49].recv(1) == b"y"
    finally:
        child.terminate()
        _, log = child.communicate(timeout=DEADLINE_S)
        for peer in peers:
            peer.close()
    assert log.count("cannot accept") == 1


def test_the_plugin_installs_the_reactor() -> None:
    """C{twistd --reactor=txproxy} finds the direct reactor."""
    script = "from twisted.application.reactors import installReactor; print(type(installReactor('txproxy')).__name__)"
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=DEADLINE_S,
        check=True,
    )
    assert done.stdout.strip() == "DirectEPollReactor"
