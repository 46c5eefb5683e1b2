"""TLS on the socket: how connections end, what is left of them, and what they do to others."""

from __future__ import annotations

import gc
import os
import random
import socket
import ssl
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol
from zope.interface import implementer

from txproxy.net.tls_failure import TlsFailure, TlsFault

from .loops import DEADLINE_S
from .tls_loops import KINDS, Secured, TlsLoop
from .tls_peer import Peer


@pytest.fixture
def loop() -> Iterator[TlsLoop]:
    made = KINDS["direct"]()
    yield made
    made.close()


def secured(loop: TlsLoop, server: Any = None) -> tuple[Any, Peer]:
    """Return both ends of a connection whose handshake is complete."""
    server = Secured() if server is None else server
    peer = loop.dial(loop.serve(lambda: server)).shake_hands()
    server.wait("completed")
    return server, peer


def fate(reason: Any) -> tuple[TlsFault, str]:
    """Return whose fault a loss was, and its words."""
    assert isinstance(reason, TlsFailure)
    return reason.fault, reason.words


@implementer(IHalfCloseableProtocol)
class HalfClosing(Secured):
    """Answers when the peer has ended its half, then ends its own."""

    def readConnectionLost(self) -> None:
        self.notes.put(("read ended", None))
        self.transport.write(b"answer" * 100000)  # type: ignore[union-attr]
        self.transport.loseWriteConnection()  # type: ignore[union-attr]

    def writeConnectionLost(self) -> None:
        self.notes.put(("write ended", None))
        self.transport.loseConnection()  # type: ignore[union-attr]


def test_half_close_by_the_peer(loop: TlsLoop) -> None:
    """After the peer's close alert the answer still goes out whole, then our alert, then the connection ends."""
    server, peer = secured(loop, HalfClosing())
    peer.socket.sendall(peer.sealed(b"question") + peer.close_alert())
    assert peer.receive_until_end() == (b"answer" * 100000, "closed")
    for note in ("data", "read ended", "write ended"):
        server.wait(note)
    assert isinstance(server.wait("lost"), ConnectionDone)


@pytest.mark.parametrize("ending", ["alert", "end", "reset"])
def test_half_close_by_us(loop: TlsLoop, ending: str) -> None:
    """loseWriteConnection flushes and sends our close alert and the end; reading goes on until the peer's end."""
    server, peer = secured(loop)
    loop.call(server.transport.write, b"x" * 1000000)
    loop.call(server.transport.loseWriteConnection)
    assert peer.receive_until_end() == (b"x" * 1000000, "closed")
    assert peer.socket.recv(1) == b""
    loop.call(server.transport.write, b"dropped")
    peer.send(b"still here")
    assert server.wait("data") == b"still here"
    if ending == "alert":
        peer.socket.sendall(peer.close_alert())
        assert isinstance(server.wait("lost"), ConnectionDone)
    else:
        peer.socket.shutdown(socket.SHUT_WR) if ending == "end" else peer.reset()
        assert fate(server.wait("lost"))[0] == TlsFault.NETWORK


def test_end_without_alert_is_no_half_close(loop: TlsLoop) -> None:
    """A bare end is a cut for protocols that know half-close, too."""
    server, peer = secured(loop, HalfClosing())
    peer.send(b"no end")
    peer.socket.shutdown(socket.SHUT_WR)
    assert fate(server.wait("lost")) == (TlsFault.NETWORK, "closed without a close alert")
    with pytest.raises(ssl.SSLError):
        peer.receive()


def test_closing_does_not_wait(loop: TlsLoop) -> None:
    """loseConnection ends the connection although the peer never answers our close alert."""
    server, peer = secured(loop)
    loop.call(server.transport.loseConnection)
    assert isinstance(server.wait("lost"), ConnectionDone)
    assert peer.receive_until_end() == (b"", "closed")


def test_close_alert_that_waits(loop: TlsLoop) -> None:
    """A peer that does not read keeps neither the writes nor the close alert from waiting their turn."""
    server, peer = secured(loop)
    body = os.urandom(8 << 20)
    loop.call(server.transport.write, body)
    loop.call(server.transport.loseConnection)
    loop.call(server.transport.write, b"!")
    loop.turns()
    assert server.notes.empty()
    assert peer.receive_until_end() == (body + b"!", "closed")
    server.wait("lost")


def test_abort_sends_no_alert(loop: TlsLoop) -> None:
    """abortConnection is seen as a cut by the peer."""
    server, peer = secured(loop)
    loop.call(server.transport.abortConnection)
    assert peer.receive_until_end()[1] == "reset"
    assert isinstance(server.wait("lost"), ConnectionAborted)


def test_bug_in_a_protocol(loop: TlsLoop) -> None:
    """A protocol that raises loses its connection, not cleanly; the peer sees a cut."""

    class Fragile(Secured):
        def dataReceived(self, data: bytes) -> None:
            raise ZeroDivisionError("bug")

    server, peer = secured(loop, Fragile())
    peer.send(b"x")
    assert isinstance(server.wait("lost"), ZeroDivisionError)
    assert peer.receive_until_end() == (b"", "cut")


@pytest.mark.parametrize(
    ("sent", "fault", "words"),
    [
        (b"", TlsFault.NETWORK, "closed without a close alert in the handshake"),
        (b"\x16\x03\x01\x02", TlsFault.NETWORK, "closed without a close alert in the handshake"),
        (b"GET / HTTP/1.1\r\n\r\n", TlsFault.PEER, "it spoke plain HTTP"),
        (b"CONNECT x:1 HTTP/1.1\r\n\r\n", TlsFault.PEER, "it spoke plain HTTP"),
        (b"SSH-2.0-x\r\n", TlsFault.PEER, "it spoke no TLS"),
    ],
)
def test_failed_handshakes(loop: TlsLoop, sent: bytes, fault: TlsFault, words: str) -> None:
    """What was wrong with a handshake, and whether the peer said anything, is told."""
    server = Secured()
    peer = loop.connect(loop.serve(lambda: server))
    transport: Any = server.wait("made").transport
    peer.sendall(sent)
    loop.turns()
    if not words.startswith("it"):
        peer.shutdown(socket.SHUT_WR)
    assert fate(server.wait("lost")) == (fault, words)
    assert transport.bytes_seen is bool(sent)
    assert transport.ssl is None


def test_reset_in_the_handshake(loop: TlsLoop) -> None:
    """A reset is the network's fault."""
    server = Secured()
    peer = loop.dial(loop.serve(lambda: server))
    server.wait("made")
    peer.reset()
    assert fate(server.wait("lost"))[0] == TlsFault.NETWORK


def test_versions_in_common(loop: TlsLoop) -> None:
    """The peer hears in an alert why there will be no TLS."""
    loop.server_tls.context.set_min_proto_version(0x0304)
    server = Secured()
    with pytest.raises(ssl.SSLError, match="(?i)protocol.version"):
        loop.dial(loop.serve(lambda: server), maximum_version=ssl.TLSVersion.TLSv1_2).shake_hands()
    assert fate(server.wait("lost")) == (TlsFault.PEER, "no version of TLS in common")


def test_alert_survives_what_was_not_read(loop: TlsLoop) -> None:
    """A peer that was sending on when its handshake was refused still gets the alert, not a reset."""
    loop.server_tls.context.set_min_proto_version(0x0304)
    server = Secured()
    peer = loop.dial(loop.serve(lambda: server), maximum_version=ssl.TLSVersion.TLSv1_2)
    server.wait("made")
    peer.socket.sendall(peer.hello() + b"x" * 10000)
    answer = b""
    while piece := peer.socket.recv(100):
        answer += piece
    assert answer == b"\x15\x03\x03\x00\x02\x02\x46"  # A fatal alert: protocol_version.
    server.wait("lost")


def test_peer_that_does_not_trust_us(loop: TlsLoop) -> None:
    """The alert by which a peer refuses our certificate is the reason that is told."""
    server = Secured()
    with pytest.raises(ssl.SSLCertVerificationError):
        loop.dial(loop.serve(lambda: server), verify_mode=ssl.CERT_REQUIRED).shake_hands()
    assert fate(server.wait("lost")) == (TlsFault.PEER, "it sent the alert: unknown ca")


def test_stalled_handshake(loop: TlsLoop) -> None:
    """A peer that stalls costs no processor time, is not paused out of its handshake, and can be aborted."""
    stalled = Secured(lambda transport: transport.pauseProducing())
    peer = loop.dial(loop.serve(lambda: stalled))
    stalled.wait("made")
    peer.socket.sendall(peer.hello()[:100])
    loop.turns()
    turns = 0

    def count(timeout: Any) -> None:
        nonlocal turns
        turns += 1
        type(loop.reactor).doPoll(loop.reactor, timeout)

    loop.reactor.doIteration = count
    loop.call(stalled.transport.write, b"waits for the handshake")  # type: ignore[union-attr]
    time.sleep(0.2)
    assert turns < 20
    loop.call(stalled.transport.abortConnection)  # type: ignore[union-attr]
    assert isinstance(stalled.wait("lost"), ConnectionAborted)


def test_paused_before_the_handshake_ends(loop: TlsLoop) -> None:
    """The handshake goes on although the protocol has paused reading; content waits for it."""
    server = Secured(lambda transport: transport.pauseProducing())
    peer = loop.dial(loop.serve(lambda: server)).shake_hands()
    peer.send(b"x")
    server.wait("completed")
    loop.turns()
    assert server.notes.empty()
    loop.call(server.transport.resumeProducing)  # type: ignore[union-attr]
    assert server.wait("data") == b"x"


def test_handshake_that_waits_for_writing(loop: TlsLoop) -> None:
    """A handshake whose flight the kernel does not take goes on when it does, and does not spin meanwhile."""
    taken: list[int] = []

    def fill(transport: Any) -> None:
        # Little more than the flight itself; what is there already makes it wait.
        transport.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        refusals = total = 0
        while refusals < 20:
            try:
                total += transport.socket.send(b"\0" * 65536)
                refusals = 0
            except BlockingIOError:
                refusals += 1
                time.sleep(0.005)
        taken.append(total)

    server = Secured(fill)
    peer = loop.dial(loop.serve(lambda: server))
    server.wait("made")
    hello = peer.hello()
    peer.socket.sendall(hello)
    loop.turns()
    assert not loop.call(lambda: server.transport in loop.reactor.getReaders())
    assert loop.call(lambda: server.transport in loop.reactor.getWriters())
    peer.receive_raw(taken[0])
    peer.shake_hands()
    peer.send(b"x")
    assert server.wait("data") == b"x"


def test_another_protocol_takes_over(loop: TlsLoop) -> None:
    """A protocol may put another in its place when the handshake is complete; that one gets all content."""
    second = Secured()

    class First(Secured):
        def handshakeCompleted(self) -> None:  # noqa: N802 - Twisted's name
            transport: Any = self.transport
            transport.protocol = second
            second.makeConnection(transport)

    peer = loop.dial(loop.serve(First)).shake_hands()
    peer.send(b"x")
    assert second.wait("data") == b"x"
    peer.socket.close()
    second.wait("lost")


def test_errors_stay_with_their_connection(loop: TlsLoop) -> None:
    """What goes wrong on one connection is not taken for an error of the next, be it in the middle of a record."""
    sound, sound_peer = secured(loop)
    loop.call(sound.transport.pauseProducing)
    record = sound_peer.sealed(b"whole")
    sound_peer.socket.sendall(record[:9])

    def forge(peer: Peer) -> None:
        forged = bytearray(peer.sealed(b"forged"))
        forged[-1] ^= 1
        peer.socket.sendall(forged)

    wrongs: list[Callable[[Peer], Any]] = [
        forge,
        Peer.reset,
        lambda peer: peer.socket.shutdown(socket.SHUT_WR),
        lambda peer: peer.socket.sendall(b"GET / HTTP/1.1\r\n\r\n"),
    ]
    for wrong in wrongs:
        other, peer = secured(loop)
        wrong(peer)
        # Both in one turn: the error first, then a read that finds half a record, and a write.
        other.wait("lost")
        loop.call(lambda: sound.transport.resumeProducing())
        loop.turns()
        assert sound.notes.empty()
        loop.call(sound.transport.write, b"fine")
        assert sound_peer.receive() == b"fine"
    sound_peer.socket.sendall(record[9:])
    assert sound.wait("data") == b"whole"


ENDINGS: dict[str, Callable[[TlsLoop, Any, Peer], Any]] = {
    "peer's alert": lambda loop, server, peer: peer.socket.sendall(peer.close_alert()),
    "peer's end": lambda loop, server, peer: peer.socket.shutdown(socket.SHUT_WR),
    "peer's reset": lambda loop, server, peer: peer.reset(),
    "close": lambda loop, server, peer: loop.call(server.transport.loseConnection),
    "abort": lambda loop, server, peer: loop.call(server.transport.abortConnection),
    "garbage": lambda loop, server, peer: peer.socket.sendall(b"\0" * 100),
    "content and alert": lambda loop, server, peer: peer.socket.sendall(peer.sealed(b"x" * 16384) + peer.close_alert()),
    "unread": lambda loop, server, peer: _abandon_with_unread(loop, server, peer),
}


def _abandon_with_unread(loop: TlsLoop, server: Any, peer: Peer) -> None:
    loop.call(server.transport.pauseProducing)
    peer.send(b"x")
    loop.call(server.transport.write, b"y" * (8 << 20))
    assert loop.call(server.transport.has_unread_or_closed)
    loop.call(server.transport.abortConnection)


IN_HANDSHAKE = ("peer's end", "peer's reset", "close", "abort", "garbage")


@pytest.mark.parametrize(
    ("ending", "in_handshake"), [*((each, False) for each in ENDINGS), *((each, True) for each in IN_HANDSHAKE)]
)
def test_nothing_is_left(loop: TlsLoop, ending: str, in_handshake: bool) -> None:
    """However a connection ends, it is freed at once, without the garbage collector."""
    server: Any = Secured()
    port = loop.serve(lambda: server)
    peer = loop.dial(port)
    loop.call(gc.disable)
    try:
        server.wait("made")
        if not in_handshake:
            peer.shake_hands()
            server.wait("completed")
        left = [weakref.ref(server.transport), weakref.ref(server.transport.ssl)]
        ENDINGS[ending](loop, server, peer)
        server.wait("lost")
        server = None
        loop.turns()
        assert [each() for each in left] == [None, None]
    finally:
        gc.enable()


def test_a_thousand_aborted_handshakes(loop: TlsLoop) -> None:
    """Clients that leave at any point of the handshake leave nothing behind; each protocol hears of it once."""
    made: list[Secured] = []
    lost: list[int] = []
    seen: weakref.WeakSet[Any] = weakref.WeakSet()

    class Counting(Secured):
        def connectionMade(self) -> None:
            made.append(self)
            transport: Any = self.transport
            seen.add(transport.ssl)

        def connectionLost(self, reason: Any = None) -> None:
            lost.append(id(self))

    port = loop.serve(Counting, 1024)
    dice = random.Random(5)
    whole = len(Peer(loop.connect(port)).hello())
    before = _left(loop)
    for _ in range(1000):
        skt = socket.create_connection(("127.0.0.1", port), DEADLINE_S)
        peer = Peer(skt)
        left = dice.randrange(2 * whole)

        def send_some(data: bytes, peer: Peer = peer) -> None:
            nonlocal left
            peer.socket.sendall(data[:left])
            left -= len(data)
            if left <= 0:
                raise ConnectionError("enough")

        with suppress(ConnectionError):
            peer.shake_hands(send_some)
        peer.reset() if dice.random() < 0.5 else skt.close()
    deadline = time.monotonic() + DEADLINE_S
    while len(lost) < 1000 and time.monotonic() < deadline:
        time.sleep(0.02)
    loop.turns()
    # One more than those of the loop: the connection that was only asked for its hello.
    assert len(made) == 1001
    assert len(lost) == len(set(lost)) == 1000
    made.clear()
    assert _left(loop) == before
    assert len(seen) == 1


def _left(loop: TlsLoop) -> tuple[int, int, int]:
    gc.collect()
    loop.turns()
    descriptors = len(os.listdir("/proc/self/fd"))
    return descriptors, len(loop.call(loop.reactor.getReaders)), len(loop.call(loop.reactor.getWriters))
