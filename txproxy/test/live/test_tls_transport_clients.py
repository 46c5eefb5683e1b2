"""TLS on the socket, the client's side: the handshake is a part of connecting; and other ways to get a transport."""

from __future__ import annotations

import gc
import os
import select
import socket
import ssl
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.error import ConnectionAborted, ConnectionDone, TimeoutError
from twisted.internet.protocol import ClientCreator

from txproxy.net.reactor import SecureReactor
from txproxy.net.tls_failure import TlsFailure, TlsFault
from txproxy.test.authority import Identity

from .loops import DEADLINE_S, NotingFactory
from .tls_loops import KINDS, Secured, TlsLoop
from .tls_peer import ClientTls, Peer, identity


@pytest.fixture
def loop() -> Iterator[TlsLoop]:
    made = KINDS["direct"]()
    yield made
    made.close()


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    """The context of a server that is not ours."""
    return server_context(identity(), tmp_path_factory.mktemp("pair") / "pair.pem")


def server_context(pair: Identity, path: Path) -> ssl.SSLContext:
    path.write_bytes(pair.certificate + pair.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    # Early releases of Python 3.11 take an end without a close alert for a clean one.
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
    context.load_cert_chain(path)
    return context


class Dialled:
    """One attempt of our client to connect, and the socket of the server that it reached."""

    def __init__(self, loop: TlsLoop, tls: Any = None, timeout_s: float = 30.0) -> None:
        self.tls = ClientTls() if tls is None else tls
        self._factory = NotingFactory(Secured)
        with socket.create_server(("127.0.0.1", 0)) as listening:
            port = listening.getsockname()[1]
            net = SecureReactor(loop.reactor, self.tls)
            loop.call(net.connectTCP, "127.0.0.1", port, self._factory, timeout_s)
            listening.settimeout(DEADLINE_S)
            self.socket = listening.accept()[0]
        loop.sockets.append(self.socket)

    def secured(self, serving: ssl.SSLContext) -> Peer:
        """Complete the handshake; return the server's end."""
        return Peer(self.socket, serving, server_side=True).shake_hands()

    @property
    def outcome(self) -> Any:
        """A protocol, or why there is none."""
        return self._factory.outcome.get(timeout=DEADLINE_S)

    def failure(self) -> tuple[TlsFault, str]:
        """Whose fault it was that there is none, and the words."""
        reason = self.outcome
        assert isinstance(reason, TlsFailure)
        return reason.fault, reason.words


def test_the_handshake_is_a_part_of_connecting(loop: TlsLoop, serving: ssl.SSLContext) -> None:
    """The protocol is made when the handshake is complete and its peer checked; the first content is noted once."""
    dialled = Dialled(loop)
    loop.turns()
    assert dialled.tls.asked == ["connection"]
    peer = dialled.secured(serving)
    client = dialled.outcome
    assert [client.notes.get(timeout=DEADLINE_S)[0] for _ in range(2)] == ["made", "completed"]
    assert dialled.tls.asked == ["connection", "check"]
    loop.call(client.transport.write, b"ping")
    assert peer.receive() == b"ping"
    for word in (b"pong", b"more"):
        peer.send(word)
        assert client.wait("data") == word
    assert dialled.tls.asked == ["connection", "check", "secured"]
    assert loop.call(client.transport.getPeerCertificate) is not None
    loop.call(client.transport.loseConnection)
    assert peer.receive_until_end() == (b"", "closed")
    assert isinstance(client.wait("lost"), ConnectionDone)


def test_peer_that_will_not_do(loop: TlsLoop, serving: ssl.SSLContext) -> None:
    """If the peer is not the one that was meant, the attempt fails and no protocol is made; nothing was said to it."""
    tls = ClientTls()
    tls.refusal = refusal = TlsFailure(TlsFault.PEER, "not this one")
    dialled = Dialled(loop, tls)
    peer = dialled.secured(serving)
    assert dialled.outcome is refusal
    with pytest.raises((ssl.SSLError, ConnectionError)):
        peer.receive()


@pytest.mark.parametrize("when", ["connection", "check"])
def test_bug_in_the_settings(loop: TlsLoop, serving: ssl.SSLContext, when: str) -> None:
    """An exception that nobody foresaw fails the attempt, as ours, and is logged."""
    tls = ClientTls()

    def broken(*_: object) -> Any:
        raise ZeroDivisionError("bug")

    setattr(tls, when, broken)
    dialled = Dialled(loop, tls)
    if when == "check":
        dialled.secured(serving)
    assert dialled.failure() == (TlsFault.OURS, "TLS could not begin")


@pytest.mark.parametrize(
    ("act", "fault", "words"),
    [
        (lambda skt: skt.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n"), TlsFault.PEER, "it spoke no TLS"),
        (lambda skt: skt.shutdown(socket.SHUT_WR), TlsFault.NETWORK, "closed without a close alert in the handshake"),
        (
            lambda skt: skt.sendall(b"\x15\x03\x03\x00\x02\x02\x28"),
            TlsFault.PEER,
            "it sent the alert: handshake failure",
        ),
    ],
)
def test_failed_handshakes(loop: TlsLoop, act: Callable[[socket.socket], object], fault: TlsFault, words: str) -> None:
    """A server that speaks no TLS, leaves or refuses fails the attempt."""
    dialled = Dialled(loop)
    act(dialled.socket)
    assert dialled.failure() == (fault, words)
    assert dialled.tls.asked == ["connection", "failure"]
    loop.turns()
    assert not [each for each in loop.call(loop.reactor.getReaders) if "Client" in type(each).__name__]


def test_reset_in_the_handshake(loop: TlsLoop) -> None:
    """A reset fails the attempt, as the network's fault."""
    dialled = Dialled(loop)
    assert dialled.socket.recv(1) == b"\x16"
    Peer(dialled.socket).reset()
    assert dialled.failure()[0] == TlsFault.NETWORK


def test_handshake_that_is_never_answered(loop: TlsLoop) -> None:
    """The time to connect covers the handshake."""
    reason = Dialled(loop, timeout_s=0.3).outcome
    assert isinstance(reason, TimeoutError)
    assert "no TLS handshake in time" in str(reason)


def test_cancelled_in_the_handshake(loop: TlsLoop) -> None:
    """An attempt can be given up in the middle of the handshake; the server sees the end."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        creator = ClientCreator(SecureReactor(loop.reactor, ClientTls()), Secured)
        attempt = loop.call(lambda: [creator.connectTCP("127.0.0.1", listening.getsockname()[1])])[0]
        skt = listening.accept()[0]
        loop.sockets.append(skt)
        hello = skt.recv(65536)
        outcome: list[Any] = []
        attempt.addErrback(outcome.append)
        loop.call(attempt.cancel)
        assert hello[:1] == b"\x16"
        skt.settimeout(DEADLINE_S)
        assert skt.recv(1) == b""
        assert len(outcome) == 1


def test_server_that_refuses_late(loop: TlsLoop, serving: ssl.SSLContext) -> None:
    """What a server of TLS 1.3 says after our side of the handshake is sorted as a failure of it."""
    dialled = Dialled(loop)
    peer = dialled.secured(serving)
    client = dialled.outcome
    client.wait("completed")
    forged = bytearray(peer.sealed(b"x"))
    forged[-1] ^= 1
    peer.socket.sendall(forged)
    assert client.wait("lost").fault == TlsFault.PEER
    assert dialled.tls.asked == ["connection", "check", "failure"]


def test_early_reply(loop: TlsLoop, serving: ssl.SSLContext) -> None:
    """A server that answers a long request early and is gone is heard before the loss, which is no clean end."""
    dialled = Dialled(loop)
    peer = dialled.secured(serving)
    client = dialled.outcome
    client.wait("completed")
    loop.call(client.transport.write, b"head")
    peer.receive_exactly(4)

    def answered_meanwhile() -> None:
        peer.send(b"413")
        peer.reset_later()
        for _ in range(5):
            client.transport.write(b"x" * 1000)
            client.transport.writeSequence([b"x" * 10000, b"y" * 10000])
            time.sleep(0.01)
        assert client.notes.empty()

    loop.call(answered_meanwhile)
    assert client.wait("data") == b"413"
    assert client.wait("lost").fault == TlsFault.NETWORK


def test_quiet_connections(loop: TlsLoop, serving: ssl.SSLContext) -> None:
    """An idle connection is fit for reuse although session tickets wait to be read; content and ends forbid it."""
    dialled = Dialled(loop)
    peer = dialled.secured(serving)  # It sends two tickets at the end of its handshake.
    client = dialled.outcome
    client.wait("completed")

    def asked_when(act: Callable[[], Any]) -> bool:
        """Ask after something has come, before the reactor has looked at it."""
        act()
        select.select([client.transport.socket], [], [], 0.2)
        return bool(client.transport.has_unread_or_closed())

    ask = client.transport.has_unread_or_closed
    assert not loop.call(asked_when, lambda: None)
    assert not loop.call(ask)
    assert loop.call(asked_when, lambda: peer.send(b"unsolicited"))
    # It is within OpenSSL now, where no event of the socket tells of it.
    assert client.wait("data") == b"unsolicited"
    assert not loop.call(ask)
    loop.call(client.transport.pauseProducing)
    assert loop.call(asked_when, lambda: peer.send(b"later"))
    loop.turns()
    assert client.notes.empty()
    loop.call(client.transport.resumeProducing)
    assert client.wait("data") == b"later"
    assert loop.call(asked_when, lambda: peer.socket.sendall(peer.close_alert()))
    assert isinstance(client.wait("lost"), ConnectionDone)
    assert client.transport.has_unread_or_closed()


@pytest.mark.parametrize("end", ["end", "reset", "forged"])
def test_quiet_connections_that_break(loop: TlsLoop, serving: ssl.SSLContext, end: str) -> None:
    """Whatever breaks an idle connection is seen when it is asked for, and told to its protocol as a cut."""
    dialled = Dialled(loop)
    peer = dialled.secured(serving)
    client = dialled.outcome
    client.wait("completed")
    peer.send(b"x")
    client.wait("data")

    def asked() -> bool:
        if end == "end":
            peer.socket.shutdown(socket.SHUT_WR)
        elif end == "reset":
            peer.reset()
        else:
            forged = bytearray(peer.sealed(b"x"))
            forged[-1] ^= 1
            peer.socket.sendall(forged)
        select.select([client.transport.socket], [], [], DEADLINE_S)
        return bool(client.transport.has_unread_or_closed())

    assert loop.call(asked)
    assert client.wait("lost").fault == (TlsFault.PEER if end == "forged" else TlsFault.NETWORK)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("ending", ["abort", "reset"])
def test_sessions_outlive_their_connection(loop: TlsLoop, tmp_path: Path, version: ssl.TLSVersion, ending: str) -> None:
    """A session can be gone on with although its connection ended without a close alert."""
    serving = server_context(identity(), tmp_path / "pair.pem")
    serving.maximum_version = version
    tls = ClientTls()
    tls.resumes = True
    reused = []
    for _ in range(2):
        dialled = Dialled(loop, tls)
        peer = dialled.secured(serving)
        reused.append(peer.tls.session_reused)
        client = dialled.outcome
        peer.send(b"x")
        client.wait("data")
        if ending == "abort":
            loop.call(client.transport.abortConnection)
            assert isinstance(client.wait("lost"), ConnectionAborted)
        else:
            peer.reset()
            assert client.wait("lost").fault == TlsFault.NETWORK
    assert reused == [False, True]


@pytest.mark.parametrize("ending", ["close", "abort", "cut", "refused", "failed", "timeout"])
def test_nothing_is_left(loop: TlsLoop, serving: ssl.SSLContext, ending: str) -> None:
    """However an attempt or a connection ends, it is freed at once, without the garbage collector."""
    connections: list[Any] = []

    class Watched(ClientTls):
        def connection(self, skt: socket.socket) -> Any:
            made = super().connection(skt)
            connections.append(weakref.ref(made))
            return made

    tls = Watched()
    if ending == "refused":
        tls.refusal = TlsFailure(TlsFault.PEER, "no")
    loop.call(gc.disable)
    try:
        dialled = Dialled(loop, tls, 0.3 if ending == "timeout" else 30)
        if ending == "failed":
            dialled.socket.sendall(b"\0" * 10)
        elif ending != "timeout":
            peer = dialled.secured(serving)
        client = dialled.outcome
        if ending in ("close", "abort", "cut"):
            client.wait("completed")
            connections.append(weakref.ref(client.transport))
            if ending == "cut":
                peer.socket.shutdown(socket.SHUT_WR)
            else:
                loop.call(getattr(client.transport, "loseConnection" if ending == "close" else "abortConnection"))
            client.wait("lost")
        tls.refusal = client = None
        loop.turns()
        assert [each() for each in connections] == [None] * len(connections)
    finally:
        gc.enable()


def test_both_ends_are_ours(loop: TlsLoop) -> None:
    """Megabytes go both ways at once between our client and our server."""
    body = os.urandom(1 << 20) * 4
    server: Any = Secured()
    port = loop.serve(lambda: server)
    factory = NotingFactory(Secured)
    loop.call(SecureReactor(loop.reactor, ClientTls()).connectTCP, "127.0.0.1", port, factory)
    client: Any = factory.outcome.get(timeout=DEADLINE_S)
    server.wait("completed")
    for each in (server, client):
        loop.call(each.transport.write, body)
    for each in (server, client):
        got = b""
        while len(got) < len(body):
            got += each.wait("data")
        assert got == body
    loop.call(client.transport.loseConnection)
    assert isinstance(server.wait("lost"), ConnectionDone)


def test_unix_sockets(loop: TlsLoop, tmp_path: Path) -> None:
    """TLS goes over unix sockets as well."""
    path = str(tmp_path / "s")
    server = Secured()
    factory = NotingFactory(lambda: server)
    port = loop.call(SecureReactor(loop.reactor, loop.server_tls).listenUNIX, path, factory)
    attempt = NotingFactory(Secured)
    loop.call(SecureReactor(loop.reactor, ClientTls()).connectUNIX, path, attempt)
    client: Any = attempt.outcome.get(timeout=DEADLINE_S)
    loop.call(client.transport.write, b"ping")
    assert server.wait("data") == b"ping"
    loop.call(server.transport.loseConnection)  # type: ignore[union-attr]
    assert isinstance(client.wait("lost"), ConnectionDone)
    loop.call(port.stopListening)


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_UNIX])
@pytest.mark.parametrize("what", ["port", "connection"])
def test_adopted_sockets(loop: TlsLoop, tmp_path: Path, family: int, what: str) -> None:
    """Listening sockets and connections that somebody else made speak TLS here."""
    server = Secured()
    factory = NotingFactory(lambda: server)
    net = SecureReactor(loop.reactor, loop.server_tls)
    with socket.socket(family) as owner, socket.socket(family) as skt:
        owner.bind(str(tmp_path / "s") if family == socket.AF_UNIX else ("127.0.0.1", 0))
        owner.listen()
        skt.connect(owner.getsockname())
        if what == "port":
            owner.setblocking(False)
            port = loop.call(net.adoptStreamPort, owner.fileno(), family, factory)
        else:
            accepted = owner.accept()[0]
            transport = loop.call(net.adoptStreamConnection, accepted.fileno(), family, factory)
            assert transport.getPeer() is not None
            accepted.close()
        peer = Peer(skt).shake_hands()
        peer.send(b"x")
        assert server.wait("data") == b"x"
        peer.socket.sendall(peer.close_alert())
        server.wait("lost")
        if what == "port":
            loop.call(port.stopListening)


def test_refused_by_the_factory(loop: TlsLoop) -> None:
    """A factory that makes no protocol closes the connection."""
    port = loop.serve(lambda: None)
    assert loop.connect(port).recv(1) == b""


def test_threads_of_attempts(loop: TlsLoop, serving: ssl.SSLContext) -> None:
    """Attempts that overlap do not mix up."""
    many = [Dialled(loop) for _ in range(20)]
    threads = [threading.Thread(target=each.secured, args=(serving,)) for each in many]
    for each in threads:
        each.start()
    for each in threads:
        each.join(DEADLINE_S)
    assert all(isinstance(each.outcome, Secured) for each in many)
