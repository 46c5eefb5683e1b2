"""A scripted HTTP/1.1 server for live tests that records every byte it receives and judges it.

What it answers is a function of a connection and a request; the usual ones stand at the end of this module.
"""

from __future__ import annotations

import contextlib
import json
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable

from .client import DEADLINE_S, wait_for
from .judge import Judge, JudgedRequest

Handler = Callable[["BackendConnection", JudgedRequest], None]
"""Answers a request; called in the connection's own thread once the request is complete, or at its head."""


class BackendConnection:
    """One connection that a backend accepted."""

    def __init__(self, backend: Backend, accepted: socket.socket, number: int) -> None:
        self.backend = backend
        self.socket = accepted
        self.number = number
        """Counts from 0 in the order of acceptance."""
        self.received = bytearray()
        """What came, up to the backend's ``record_limit``; ``received_count`` counts on."""
        self.received_count = 0
        self.judge = Judge(backend.body_limit)
        self.opened_at = time.monotonic()
        self.closed = False
        """The peer ended the connection, or we did."""
        self.peer_closed = False
        self.was_reset = False
        self.gone = threading.Event()
        """Set once no more bytes will come, so that a handler can wait for the peer to leave."""

    @property
    def requests(self) -> list[JudgedRequest]:
        """The complete requests so far."""
        return self.judge.requests

    @property
    def violations(self) -> list[str]:
        """What no strict server would take."""
        return self.judge.violations

    def send(self, data: bytes) -> None:
        """Send all of ``data``; a peer that has left is no error."""
        with contextlib.suppress(OSError):
            self.socket.sendall(data)

    def half_close(self) -> None:
        """Shut down the sending side."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """End the connection; what was not read yet is read and thrown away, so that no reset overtakes the reply."""
        self.closed = True
        self.half_close()

    def reset(self) -> None:
        """End the connection by a reset."""
        self.closed = True
        with contextlib.suppress(OSError):
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.socket.close()

    def serve(self) -> None:
        """Read until the peer ends the connection; runs in a thread of its own."""
        backend, seen, head_of = self.backend, 0, None
        try:
            if backend.on_connect is not None:
                backend.on_connect(self)
            while data := self.socket.recv(backend.read_bytes):
                self.received += data[: max(0, backend.record_limit - self.received_count)]
                self.received_count += len(data)
                self.judge.feed(data)
                if self.closed:
                    continue
                current = self.judge.current
                heads = [*self.requests[seen:], *([current] if current is not None else [])]
                for request in heads:
                    if backend.on_head is not None and request is not head_of:
                        head_of = request
                        backend.on_head(self, request)
                    if request.complete:
                        seen += 1
                        backend.on_request(self, request)
                if backend.read_delay_s:
                    time.sleep(backend.read_delay_s)
            self.peer_closed = True
        except OSError:
            self.peer_closed = self.was_reset = not self.closed
        finally:
            self.closed = True
            self.gone.set()
            with contextlib.suppress(OSError):
                self.socket.close()


class Backend:
    """A server on a port of its own, to be used as a context manager.

    :param on_request: answers each complete request; the default answers with what it received, as JSON.
    :param on_head: called as soon as a head is complete, before its body.
    :param on_connect: called when a connection is accepted.
    :param address: IP address to listen on.
    :param port: 0 for any; a number to come back where a stopped one was.
    :param receive_buffer: size of the receive buffers in bytes; 0: the system's.
    :param read_bytes: how much is read at once.
    :param read_delay_s: pause after each read, for a backend that reads slowly.
    :param record_limit: bytes that are recorded of a connection.
    :param body_limit: bytes that are kept of a body; all are counted and hashed.
    """

    def __init__(
        self,
        on_request: Handler | None = None,
        *,
        on_head: Handler | None = None,
        on_connect: Callable[[BackendConnection], None] | None = None,
        address: str = "127.0.0.1",
        port: int = 0,
        receive_buffer: int = 0,
        read_bytes: int = 1 << 16,
        read_delay_s: float = 0,
        record_limit: int = 1 << 24,
        body_limit: int = 1 << 24,
    ) -> None:
        self.on_request: Handler = on_request or echo()
        self.on_head: Handler | None = on_head
        self.on_connect = on_connect
        self.read_bytes, self.read_delay_s = read_bytes, read_delay_s
        self.record_limit, self.body_limit = record_limit, body_limit
        self.connections: list[BackendConnection] = []
        """All that were ever accepted."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.bind((address, port))
        self.socket.listen(1024)
        self.port: int = self.socket.getsockname()[1]
        self.address = f"[{address}]:{self.port}" if ":" in address else f"{address}:{self.port}"
        """As a configuration names it."""
        self._stopped = False
        self._thread = threading.Thread(target=self._accept, name=f"backend {self.port}", daemon=True)
        self._thread.start()

    def __enter__(self) -> Backend:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _accept(self) -> None:
        while True:
            try:
                accepted, _ = self.socket.accept()
            except OSError:
                return
            if self._stopped:
                accepted.close()
                return
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = BackendConnection(self, accepted, len(self.connections))
            self.connections.append(connection)
            threading.Thread(target=connection.serve, name=f"connection {self.port}", daemon=True).start()

    def stop(self) -> None:
        """Stop listening and end all connections; the port then refuses."""
        self._stopped = True
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        self._thread.join(DEADLINE_S)
        for connection in list(self.connections):
            connection.closed = True
            with contextlib.suppress(OSError):
                connection.socket.shutdown(socket.SHUT_RDWR)

    @property
    def requests(self) -> list[JudgedRequest]:
        """All complete requests, by connection."""
        return [request for connection in list(self.connections) for request in connection.requests]

    @property
    def violations(self) -> list[str]:
        """What no strict server would take, of all connections."""
        return [violation for connection in list(self.connections) for violation in connection.violations]

    @property
    def open_connections(self) -> list[BackendConnection]:
        """Those that nobody has ended."""
        return [connection for connection in list(self.connections) if not connection.gone.is_set()]

    @property
    def has_read_all(self) -> bool:
        """Whether nothing waits to be accepted or read: what comes later was sent later."""
        try:
            waiting, _, _ = select.select([self.socket, *(one.socket for one in self.open_connections)], [], [], 0)
        except (OSError, ValueError):  # One was closed meanwhile.
            return False
        return not waiting

    def mark(self) -> list[int]:
        """Return a mark of all that was received so far, for ``since``."""
        return [len(connection.received) for connection in list(self.connections)]

    def since(self, mark: list[int]) -> list[tuple[BackendConnection, bytes]]:
        """Return the connections that received anything after a mark, and what."""
        starts = [*mark, *([0] * (len(self.connections) - len(mark)))]
        news = zip(list(self.connections), starts, strict=False)
        return [(connection, bytes(connection.received[start:])) for connection, start in news
                if len(connection.received) > start]  # fmt: skip

    def wait_for_requests(self, count: int, timeout_s: float = DEADLINE_S) -> list[JudgedRequest]:
        """Wait until so many requests are complete; return them."""
        wait_for(lambda: len(self.requests) >= count, f"{count} requests at the backend", timeout_s)
        return self.requests


class BlackHole:
    """A port that neither accepts nor refuses connections: its backlog is full. A context manager."""

    def __init__(self) -> None:
        self.socket = socket.socket()
        self.socket.bind(("127.0.0.1", 0))
        self.socket.listen(0)
        self.port: int = self.socket.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        self._fillers: list[socket.socket] = []
        for _ in range(8):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", self.port))
            self._fillers.append(filler)

    def __enter__(self) -> BlackHole:
        return self

    def __exit__(self, *_: object) -> None:
        for filler in self._fillers:
            filler.close()
        self.socket.close()


def unused_port() -> int:
    """Return a port of 127.0.0.1 on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def http_reply(
    status: int = 200, body: bytes = b"", fields: str = "", reason: str = "OK", length: bool = True
) -> bytes:
    """Return a well-formed reply.

    :param fields: further field lines, each with its CRLF.
    :param length: with a Content-Length.
    """
    line = f"Content-Length: {len(body)}\r\n" if length else ""
    return f"HTTP/1.1 {status} {reason}\r\n{line}{fields}\r\n".encode("latin-1") + body


def fixed(status: int = 200, body: bytes = b"ok", fields: str = "") -> Handler:
    """Answer each request with the same reply."""
    reply = http_reply(status, body, fields)
    head = http_reply(status, body, fields)[: len(reply) - len(body)]
    return lambda connection, request: connection.send(head if request.method == b"HEAD" else reply)


def echo(status: int = 200) -> Handler:
    """Answer with the request's own body; the field X-Echo holds method, target, fields, trailers and port as JSON."""

    def answer(connection: BackendConnection, request: JudgedRequest) -> None:
        seen = {
            "method": request.method.decode("latin-1"),
            "target": request.target.decode("latin-1"),
            "fields": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in request.fields],
            "trailers": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in request.trailers],
            "connection": connection.number,
            "port": connection.backend.port,
        }
        reply = http_reply(status, request.body, f"X-Echo: {json.dumps(seen)}\r\n")
        connection.send(reply[: len(reply) - len(request.body)] if request.method == b"HEAD" else reply)

    return answer


def raw(data: bytes, then_close: bool = False) -> Handler:
    """Answer with exactly these bytes."""

    def answer(connection: BackendConnection, request: JudgedRequest) -> None:
        connection.send(data)
        if then_close:
            connection.close()

    return answer


def by_target(handlers: dict[str, Handler], default: Handler | None = None) -> Handler:
    """Choose by the target: the longest key that it starts with."""
    fallback = default or echo()

    def answer(connection: BackendConnection, request: JudgedRequest) -> None:
        target = request.target.decode("latin-1")
        found = max((key for key in handlers if target.startswith(key)), key=len, default=None)
        (fallback if found is None else handlers[found])(connection, request)

    return answer


def delayed(handler: Handler, seconds: float) -> Handler:
    """Answer after a while, unless the peer leaves before."""

    def answer(connection: BackendConnection, request: JudgedRequest) -> None:
        time.sleep(seconds)
        handler(connection, request)

    return answer


def never() -> Handler:
    """Answer nothing and keep the connection."""
    return lambda connection, request: None


def close_without_reply() -> Handler:
    """End the connection instead of an answer."""
    return lambda connection, request: connection.close()


def continuing(connection: BackendConnection, request: JudgedRequest) -> None:
    """As ``on_head``: answer ``Expect: 100-continue`` with a 100."""
    if b"100-continue" in (value.lower() for value in request.values(b"expect")):
        connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")


def streamed(pieces: Iterable[bytes], interval_s: float = 0, fields: str = "") -> Handler:
    """Answer with a chunked body, one chunk a piece, with a pause after each."""

    def answer(connection: BackendConnection, request: JudgedRequest) -> None:
        connection.send(f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n{fields}\r\n".encode())
        for piece in pieces:
            connection.send(b"%x\r\n%b\r\n" % (len(piece), piece))
            if interval_s:
                time.sleep(interval_s)
        connection.send(b"0\r\n\r\n")

    return answer


def events(count: int, interval_s: float) -> Handler:
    """Answer with server-sent events; each one's data is the time.monotonic() at which it was sent."""

    fields = "Content-Type: text/event-stream\r\nCache-Control: no-store\r\n"

    def pieces() -> Iterable[bytes]:
        for _ in range(count):
            yield b"data: %.6f\n\n" % time.monotonic()

    def answer(connection: BackendConnection, request: JudgedRequest) -> None:
        streamed(pieces(), interval_s, fields)(connection, request)

    return answer
