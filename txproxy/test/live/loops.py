"""Reactors in threads of their own, and protocols that note what happens, for tests that are plain blocking peers."""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Callable
from typing import Any

from twisted.internet.protocol import ClientFactory, Factory, Protocol
from twisted.internet.threads import blockingCallFromThread

from txproxy.net.reactor import EagerReactor

DEADLINE_S = 60


class Loop:
    """A reactor of its own in a thread of its own, so that a test can be a plain blocking peer."""

    def __init__(self, reactor: Any, eager: bool) -> None:
        self.reactor = reactor
        self.eager = eager
        self.net = EagerReactor(reactor) if eager else reactor
        self._thread = threading.Thread(target=reactor.run, kwargs={"installSignalHandlers": False})
        started = threading.Event()
        reactor.callWhenRunning(started.set)
        self._thread.start()
        assert started.wait(DEADLINE_S)

    def call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call a function in the reactor's thread and wait for its result."""
        return blockingCallFromThread(self.reactor, function, *args, **kwargs)

    def listen(self, protocol: Callable[[], Any], interface: str = "127.0.0.1") -> int:
        """Serve a protocol on a free port; return the port's number."""
        factory = Factory()
        factory.noisy = False
        factory.buildProtocol = lambda addr: protocol()  # type: ignore[method-assign]
        port = self.call(self.net.listenTCP, 0, factory, interface=interface)
        return int(self.call(port.getHost).port)

    def close(self) -> None:
        """Stop the reactor and wait for its thread."""
        self.reactor.callFromThread(self.reactor.stop)
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive()


class Noting(Protocol):
    """Puts what happens into a queue that the test reads."""

    def __init__(self) -> None:
        self.notes: queue.Queue[tuple[str, Any]] = queue.Queue()

    def connectionMade(self) -> None:
        self.notes.put(("made", self))

    def dataReceived(self, data: bytes) -> None:
        self.notes.put(("data", data))

    def connectionLost(self, reason: Any = None) -> None:
        self.notes.put(("lost", reason.value))

    def wait(self, kind: str) -> Any:
        """Wait for a note of this kind; others are passed over."""
        while True:
            found, value = self.notes.get(timeout=DEADLINE_S)
            if found == kind:
                return value


class SlowEcho(Protocol):
    """An echo under flow control: it reads no more while its own writes wait."""

    deepest = 0
    pauses = 0

    def connectionMade(self) -> None:
        self.transport.registerProducer(self, True)  # type: ignore[union-attr]

    def dataReceived(self, data: bytes) -> None:
        self.transport.write(data)  # type: ignore[union-attr]
        SlowEcho.deepest = max(SlowEcho.deepest, getattr(self.transport, "queued_bytes", 0))

    def pauseProducing(self) -> None:
        SlowEcho.pauses += 1
        self.transport.pauseProducing()  # type: ignore[union-attr]

    def resumeProducing(self) -> None:
        self.transport.resumeProducing()  # type: ignore[union-attr]

    def stopProducing(self) -> None:
        pass


def connect(port: int, host: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection((host, port), timeout=DEADLINE_S)


def read_all(peer: socket.socket, size: int = 65536) -> bytes:
    """Read until the end of the stream."""
    chunks = []
    while chunk := peer.recv(size):
        chunks.append(chunk)
    return b"".join(chunks)


class NotingFactory(ClientFactory):
    """Puts the outcome of one attempt into a queue."""

    noisy = False

    def __init__(self, make: Callable[[], Noting] = Noting) -> None:
        self.outcome: queue.Queue[Any] = queue.Queue()
        self._make = make

    def buildProtocol(self, addr: Any) -> Noting:
        made = self._make()
        self.outcome.put(made)
        return made

    def clientConnectionFailed(self, connector: Any, reason: Any) -> None:
        self.outcome.put(reason.value)
