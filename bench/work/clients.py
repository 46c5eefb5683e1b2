"""Clients that make one request at a time, each waited for to its end."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from typing import Protocol

import h2.config
import h2.connection
import h2.events
import h2.settings

from bench.client import ReplyError
from bench.tls_client import client_context
from bench.work.proxy import PATIENCE_S, is_whole

_PIECE = 65536
_WINDOW = (1 << 30) - 1
SERVER_NAME = "bench.test"

Fields = list[tuple[str, str]]


class Client(Protocol):
    """One client of the proxy."""

    def send(self, target: str, fields: Fields, body: bytes) -> None:
        """Send a POST, or a GET if the body is empty."""

    def receive(self) -> None:
        """Read the reply to its end.

        :raises ReplyError: it is no whole 200.
        """

    def close(self) -> None:
        """Close the connection."""


def connect(port: int) -> socket.socket:
    """Return a connection to a loopback port."""
    sock = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def connect_tls(port: int, *alpn: str) -> ssl.SSLSocket:
    """Return the same with TLS 1.3."""
    context = client_context()
    context.set_alpn_protocols(alpn)
    return context.wrap_socket(connect(port), server_hostname=SERVER_NAME, suppress_ragged_eofs=False)


class Http1Client:
    """One connection that is kept.

    :param open_connection: makes it.
    """

    def __init__(self, open_connection: Callable[[], socket.socket]) -> None:
        self._socket = open_connection()

    def send(self, target: str, fields: Fields, body: bytes) -> None:
        """Send a request."""
        self._socket.sendall(request_of(target, fields, body))

    def receive(self) -> None:
        """Read the reply."""
        read_reply(self._socket)

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()


class NewConnections:
    """A connection for each request."""

    def __init__(self, open_connection: Callable[[], socket.socket]) -> None:
        self._open = open_connection
        self._socket: socket.socket | None = None

    def send(self, target: str, fields: Fields, body: bytes) -> None:
        """Connect, and send a request."""
        self._socket = self._open()
        self._socket.sendall(request_of(target, [*fields, ("Connection", "close")], body))

    def receive(self) -> None:
        """Read the reply, and the end of the connection."""
        assert self._socket is not None
        read_reply(self._socket)
        if self._socket.recv(1):
            raise ReplyError("bytes behind the reply")
        self.close()

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._socket is not None:
            self._socket.close()


class Http2Client:
    """One connection of HTTP/2 with windows that need no updates.

    :param open_connection: makes it.
    """

    def __init__(self, open_connection: Callable[[], socket.socket]) -> None:
        self._socket = open_connection()
        settings = h2.config.H2Configuration(client_side=True, header_encoding=None)
        self._h2 = h2.connection.H2Connection(settings)
        self._h2.initiate_connection()
        self._h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: _WINDOW})
        self._h2.increment_flow_control_window(_WINDOW - 65535)
        self._stream = 0

    def send(self, target: str, fields: Fields, body: bytes) -> None:
        """Send a request in a stream of its own."""
        self._stream = self._h2.get_next_available_stream_id()
        pseudo = [(":method", _method_of(body)), (":scheme", "https"), (":authority", SERVER_NAME), (":path", target)]
        lines = [(name.lower(), text) for name, text in [*fields, *_length_of(body)]]
        self._h2.send_headers(self._stream, [*pseudo, *lines], end_stream=not body)
        if body:
            self._h2.send_data(self._stream, body, end_stream=True)
        self._socket.sendall(self._h2.data_to_send())

    def receive(self) -> None:
        """Read the reply."""
        status = b""
        while data := self._socket.recv(_PIECE):
            ended = False
            for event in self._h2.receive_data(data):
                if isinstance(event, h2.events.ResponseReceived):
                    status = dict(event.headers or ())[b":status"]
                ended |= isinstance(event, h2.events.StreamEnded)
                if isinstance(event, h2.events.StreamReset | h2.events.ConnectionTerminated):
                    raise ReplyError(f"{event}")
            if answer := self._h2.data_to_send():
                self._socket.sendall(answer)
            if ended:
                if status != b"200":
                    raise ReplyError(f"status {status!r}")
                return
        raise ReplyError("the connection was closed")

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()


def request_of(target: str, fields: Fields, body: bytes) -> bytes:
    """Return a request of HTTP/1.1: a POST, or a GET if the body is empty."""
    lines = "".join(f"{name}: {text}\r\n" for name, text in [*fields, *_length_of(body)])
    return f"{_method_of(body)} {target} HTTP/1.1\r\nHost: {SERVER_NAME}\r\n{lines}\r\n".encode() + body


def _method_of(body: bytes) -> str:
    return "POST" if body else "GET"


def _length_of(body: bytes) -> Fields:
    return [("Content-Length", str(len(body)))] if body else []


def read_reply(sock: socket.socket) -> None:
    """Read a reply with a Content-Length to its end.

    :raises ReplyError: it is no whole 200.
    """
    received = b""
    while not is_whole(received):
        step = sock.recv(_PIECE)
        if not step:
            raise ReplyError(f"a reply was cut: {received[:200]!r}")
        received += step
    if not received.startswith(b"HTTP/1.1 200 "):
        raise ReplyError(f"unexpected reply {received[:200]!r}")
