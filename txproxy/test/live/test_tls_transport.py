"""TLS on the socket, over real sockets: what it has in common with Twisted's own TLS, which stays the reference."""

from __future__ import annotations

import hashlib
import os
import socket
import ssl
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    INegotiated,
    ISSLTransport,
)

from .loops import DEADLINE_S, SlowEcho
from .tls_loops import KINDS, Secured, TlsLoop, echoed
from .tls_peer import Peer, trusting


@pytest.fixture(params=list(KINDS))
def loop(request: Any) -> Iterator[TlsLoop]:
    made = KINDS[request.param]()
    yield made
    made.close()


def test_bytes_both_ways(loop: TlsLoop) -> None:
    """After the handshake, of which the protocol is told once, bytes go both ways."""
    server = Secured()
    peer = loop.dial(loop.serve(lambda: server)).shake_hands()
    peer.send(b"ping")
    assert [server.notes.get(timeout=DEADLINE_S)[0] for _ in range(2)] == ["made", "completed"]
    assert server.wait("data") == b"ping"
    loop.call(server.transport.write, b"pong")  # type: ignore[union-attr]
    assert peer.receive() == b"pong"
    peer.socket.close()
    server.wait("lost")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_long_writes(loop: TlsLoop, version: ssl.TLSVersion) -> None:
    """Many records arrive in order, whatever pieces they were written in."""
    pieces = [b"a" * 100000, b"b", b"", b"c" * 16384, b"d" * 16385, b"e" * 7] * 3
    server = Secured()
    peer = loop.dial(loop.serve(lambda: server), maximum_version=version, minimum_version=version).shake_hands()
    server.wait("completed")
    loop.call(server.transport.writeSequence, pieces)  # type: ignore[union-attr]
    loop.call(server.transport.write, b"f" * 50000)  # type: ignore[union-attr]
    expected = b"".join(pieces) + b"f" * 50000
    assert peer.receive_exactly(len(expected)) == expected


def test_written_before_the_handshake(loop: TlsLoop) -> None:
    """What a protocol writes when it is connected arrives after the handshake, before what is written later."""
    server = Secured(lambda transport: transport.writeSequence([b"early ", b"bird "]))
    peer = loop.dial(loop.serve(lambda: server)).shake_hands()
    server.wait("completed")
    loop.call(server.transport.write, b"late")  # type: ignore[union-attr]
    assert peer.receive_exactly(15) == b"early bird late"


def test_written_and_closed_before_the_handshake(loop: TlsLoop) -> None:
    """A protocol may say its word and close at once: the handshake, the word and the close alert follow."""

    def say(transport: Any) -> None:
        transport.write(b"busy")
        transport.loseConnection()

    server = Secured(say)
    peer = loop.dial(loop.serve(lambda: server)).shake_hands()
    assert peer.receive_until_end() == (b"busy", "closed")
    peer.socket.close()
    server.wait("lost")


def test_closed_before_the_handshake(loop: TlsLoop) -> None:
    """A protocol that closes before the handshake, with nothing to say, aborts."""
    server = Secured(lambda transport: transport.loseConnection())
    with pytest.raises((ssl.SSLError, ConnectionError)):
        loop.dial(loop.serve(lambda: server)).shake_hands()
    # Stock forgets that it was aborted, if the peer is quick.
    assert isinstance(server.wait("lost"), ConnectionAborted if loop.ours else ConnectionLost)


def test_closed_by_the_peer(loop: TlsLoop) -> None:
    """A peer's close alert is a clean end, and is answered by ours."""
    server = Secured()
    peer = loop.dial(loop.serve(lambda: server)).shake_hands()
    peer.socket.sendall(peer.sealed(b"bye") + peer.close_alert())
    assert peer.receive_until_end() == (b"", "closed")
    assert server.wait("data") == b"bye"
    assert isinstance(server.wait("lost"), ConnectionDone)


@pytest.mark.parametrize("how", ["end", "reset"])
def test_cut_by_the_peer(loop: TlsLoop, how: str) -> None:
    """An end without a close alert, or a reset, is no clean end."""
    server = Secured()
    peer = loop.dial(loop.serve(lambda: server)).shake_hands()
    peer.send(b"not")
    assert server.wait("data") == b"not"
    if how == "end":
        peer.socket.shutdown(socket.SHUT_WR)
    else:
        peer.reset()
    assert isinstance(server.wait("lost"), ConnectionLost)


def test_close_flushes(loop: TlsLoop) -> None:
    """What was written before loseConnection arrives whole, and then the close alert."""
    body = os.urandom(1 << 20)
    server = Secured()
    peer = loop.dial(loop.serve(lambda: server)).shake_hands()
    server.wait("completed")

    def give() -> None:
        server.transport.write(body)  # type: ignore[union-attr]
        server.transport.writeSequence([b"a" * 50000, b"b" * 50000])  # type: ignore[union-attr]
        server.transport.loseConnection()  # type: ignore[union-attr]

    loop.call(give)
    assert peer.receive_until_end() == (body + b"a" * 50000 + b"b" * 50000, "closed")
    peer.socket.close()
    server.wait("lost")


def test_abort(loop: TlsLoop) -> None:
    """abortConnection drops what waits and resets."""
    server = Secured()
    peer = loop.dial(loop.serve(lambda: server)).shake_hands()
    server.wait("completed")

    def give_up() -> None:
        server.transport.write(b"x" * (32 << 20))  # type: ignore[union-attr]
        server.transport.abortConnection()  # type: ignore[union-attr]

    loop.call(give_up)
    received, _ = peer.receive_until_end()
    assert len(received) < 32 << 20
    # Stock forgets that it was aborted, if as much was waiting.
    assert isinstance(server.wait("lost"), ConnectionAborted if loop.ours else ConnectionLost)


@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00\x05hello", b"\0" * 600, b"\xff" * 5])
def test_garbage(loop: TlsLoop, garbage: bytes) -> None:
    """What is no TLS ends the connection; the protocol is told of nothing but the loss, once."""
    server = Secured()
    peer = loop.connect(loop.serve(lambda: server))
    peer.sendall(garbage)
    while peer.recv(65536):
        pass
    assert server.all_notes() == ["made", "lost"]
    loop.turns()
    assert server.notes.empty()


def test_forged_record(loop: TlsLoop) -> None:
    """A record that was tampered with on its way ends the connection, not cleanly; the records before it count."""
    server = Secured()
    peer = loop.dial(loop.serve(lambda: server)).shake_hands()
    record = bytearray(peer.sealed(b"forged"))
    sound = peer.sealed(b"never reached")
    record[-1] ^= 1
    peer.socket.sendall(bytes(record) + sound)
    reason = server.wait("lost")
    assert not isinstance(reason, ConnectionDone)
    with pytest.raises(ssl.SSLError, match="(?i)bad.record.mac"):
        peer.receive()


def test_writes_after_a_reset(loop: TlsLoop) -> None:
    """Writing to a peer that has reset the connection is harmless, even while reading is paused; one loss is told."""
    server = Secured()
    peer = loop.dial(loop.serve(lambda: server)).shake_hands()
    server.wait("completed")
    transport: Any = server.transport
    loop.call(transport.pauseProducing)
    peer.reset()
    for _ in range(10):
        loop.call(transport.write, b"x" * 100000)
    server.wait("lost")
    loop.call(transport.write, b"x")
    loop.turns()
    assert server.notes.empty()


def test_pause(loop: TlsLoop) -> None:
    """A paused transport hands nothing over until it is resumed, also if it is paused before the handshake ends."""
    server = Secured()
    peer = loop.dial(loop.serve(lambda: server)).shake_hands()
    server.wait("completed")
    transport: Any = server.transport
    loop.call(transport.pauseProducing)
    loop.call(transport.pauseProducing)
    peer.send(b"x")
    loop.turns()
    assert server.notes.empty()
    loop.call(transport.resumeProducing)
    assert server.wait("data") == b"x"


def test_what_is_known_of_the_connection(loop: TlsLoop) -> None:
    """The protocol that was agreed on and the peer's certificate are known; and that this is TLS."""
    server = Secured()
    context = trusting()
    context.set_alpn_protocols(["h2", "http/1.1"])
    peer = Peer(loop.connect(loop.serve(lambda: server)), context).shake_hands()
    server.wait("completed")
    transport: Any = server.transport
    assert [ISSLTransport.providedBy(transport), INegotiated.providedBy(transport)] == [True, True]
    assert loop.call(lambda: transport.negotiatedProtocol) == b"http/1.1"
    assert loop.call(transport.getPeerCertificate) is None
    assert loop.call(transport.getPeer).port == peer.socket.getsockname()[1]
    assert loop.call(transport.getHandle).get_cipher_name()
    peer.socket.close()
    server.wait("lost")
    assert transport.negotiatedProtocol is None


def test_echo_of_16_mib_to_a_slow_reader(loop: TlsLoop) -> None:
    """Sixteen megabytes both ways at once, to a peer that reads in small pieces: all arrives, and little waits."""
    SlowEcho.deepest = SlowEcho.pauses = 0
    sent = os.urandom(1 << 20) * 16
    skt = socket.socket()
    loop.sockets.append(skt)
    # Before it connects: else the kernel makes segments of what is too long for the window, and each waits 0.2 s.
    skt.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
    skt.connect(("127.0.0.1", loop.serve(SlowEcho, buffer_bytes=65536)))
    peer = Peer(skt).shake_hands()
    assert echoed(peer, sent) == hashlib.sha256(sent).digest()
    assert SlowEcho.pauses > 0
    if loop.ours:
        assert SlowEcho.deepest <= 2 * 65536
