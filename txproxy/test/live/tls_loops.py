"""Reactors in threads of their own that serve TLS, by Twisted's transports or by ours."""

from __future__ import annotations

import hashlib
import select
import socket
from collections.abc import Callable
from typing import Any

from twisted.internet.epollreactor import EPollReactor
from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import Factory
from twisted.protocols.tls import TLSMemoryBIOFactory
from zope.interface import implementer

from txproxy.net.epoll import DirectEPollReactor
from txproxy.net.reactor import SecureReactor

from .loops import DEADLINE_S, Loop, Noting, connect
from .tls_peer import Peer, ServerTls, identity, trusting


class TlsLoop(Loop):
    """Serves TLS, by Twisted's transports or by ours."""

    def __init__(self, reactor: Any, ours: bool) -> None:
        super().__init__(reactor, ours)
        self.ours = ours
        self.sockets: list[socket.socket] = []
        self.server_tls = ServerTls(identity(), (b"http/1.1",))

    def serve(self, protocol: Callable[[], Any], backlog: int = 50, buffer_bytes: int = 0) -> int:
        """Serve a protocol over TLS on a free port, with so much buffer in the kernel; return the port's number."""
        factory = Factory()
        factory.noisy = False
        factory.buildProtocol = lambda addr: protocol()  # type: ignore[method-assign]
        if self.ours:
            net = SecureReactor(self.reactor, self.server_tls)
            port = self.call(net.listenTCP, 0, factory, backlog, "127.0.0.1")
        else:
            # What listenSSL does, but for the clock, for which that takes the global reactor.
            wrapped = TLSMemoryBIOFactory(self.server_tls, False, factory, self.reactor)
            port = self.call(self.reactor.listenTCP, 0, wrapped, backlog, "127.0.0.1")
        if buffer_bytes:
            # Inherited by the connections that it accepts.
            port.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer_bytes)
        return int(self.call(port.getHost).port)

    def connect(self, port: int) -> socket.socket:
        """Return a connected socket, which is closed with this."""
        self.sockets.append(connect(port))
        return self.sockets[-1]

    def dial(self, port: int, **settings: Any) -> Peer:
        """Return a peer, which is closed with this; no byte of TLS is sent yet."""
        return Peer(self.connect(port), trusting(**settings))

    def close(self) -> None:
        super().close()
        for each in self.sockets:
            each.close()

    def turns(self) -> None:
        """Let it do what has come in so far."""
        for _ in range(3):
            self.call(lambda: None)


KINDS = {
    "stock": lambda: TlsLoop(EPollReactor(), ours=False),
    "ours": lambda: TlsLoop(EPollReactor(), ours=True),
    "direct": lambda: TlsLoop(DirectEPollReactor(), ours=True),
}


@implementer(IHandshakeListener)
class Secured(Noting):
    """Notes the end of its handshake, too, and may act when it is connected."""

    def __init__(self, when_made: Callable[[Any], None] | None = None) -> None:
        super().__init__()
        self._when_made = when_made

    def connectionMade(self) -> None:
        super().connectionMade()
        if self._when_made is not None:
            self._when_made(self.transport)

    def handshakeCompleted(self) -> None:  # noqa: N802 - Twisted's name
        self.notes.put(("completed", None))

    def all_notes(self) -> list[str]:
        """What happened, up to the loss."""
        seen: list[str] = []
        while not seen or seen[-1] != "lost":
            seen.append(self.notes.get(timeout=DEADLINE_S)[0])
        return seen


def echoed(peer: Peer, sent: bytes) -> bytes:
    """Send, and receive only while nothing can be sent; return the digest of as many bytes as were sent."""
    digest, got, offered, waiting = hashlib.sha256(), 0, 0, b""
    peer.socket.setblocking(False)
    while got < len(sent):
        if not waiting and offered < len(sent):
            waiting = peer.sealed(sent[offered : offered + 65536])
            offered += 65536
        try:
            if waiting:
                waiting = waiting[peer.socket.send(waiting) :]
                continue
        except BlockingIOError:
            pass
        try:
            piece = peer.receive(8192)
            digest.update(piece)
            got += len(piece)
        except BlockingIOError:
            ready = select.select([peer.socket], [peer.socket] if waiting else [], [], DEADLINE_S)
            assert any(ready)
    peer.socket.setblocking(True)
    return digest.digest()
