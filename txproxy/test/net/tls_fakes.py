"""A TLS connection through memory: the transport's OpenSSL is real, only its socket and the reactor are fake."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL

from txproxy.net import tls
from txproxy.test.authority import Authority
from txproxy.test.net.fakes import FakeReactor, FakeSocket, RecordingProtocol

_identity = Authority().identity("localhost")


class HandshakeProtocol(RecordingProtocol):
    """Records the end of the handshake, too."""

    completed = 0

    def handshakeCompleted(self) -> None:  # noqa: N802 - Twisted's name
        self.completed += 1


class Wire:
    """
    A server's transport and a client of OpenSSL.

    @ivar transport: under test.
    @ivar client: the other end.
    @ivar records: what the transport has sent since the handshake, record by record.
    """

    def __init__(self, protocol: Any = None, version: int = SSL.TLS1_3_VERSION) -> None:
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.use_certificate(_identity.leaf)
        context.use_privatekey(load_pem_private_key(_identity.key, None))  # type: ignore[arg-type]
        context.set_max_proto_version(version)
        self.reactor = FakeReactor()
        self.socket: Any = FakeSocket()
        self.protocol: Any = HandshakeProtocol() if protocol is None else protocol
        self.transport: Any = tls.Server(self.socket, self.protocol, ("10.9.8.7", 4321), None, 5, self.reactor)  # type: ignore[arg-type]
        self.ssl = SSL.Connection(context, None)
        self.transport.secure(self.ssl)
        self.client = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None)
        self.client.set_connect_state()
        self.records: list[bytes] = []
        self._rest = b""
        self.protocol.makeConnection(self.transport)

    def shake_hands(self) -> Wire:
        """Complete the handshake."""
        for _ in range(4):
            with suppress(SSL.WantReadError):
                self.client.do_handshake()
            self.deliver()
            self.reactor.turn()
            self.collect()
        self.records.clear()
        return self

    def deliver(self, *limits: int) -> None:
        """Take what the client has sent to the transport; C{limits}: so many bytes of it only."""
        sent = _all_of(self.client)
        if sent:
            self.ssl.bio_write(sent[: limits[0]] if limits else sent)

    def collect(self) -> None:
        """Take what the transport has sent to the client."""
        sent = _all_of(self.ssl)
        if sent:
            self.client.bio_write(sent)
        self._rest += sent
        while len(self._rest) >= 5:
            end = 5 + int.from_bytes(self._rest[3:5], "big")
            if len(self._rest) < end:
                break
            self.records.append(self._rest[:end])
            self._rest = self._rest[end:]

    def say(self, data: bytes) -> None:
        """Have the client send content, and the transport read it."""
        self.client.send(data)
        self.deliver()
        self.reactor.turn()

    def close(self) -> None:
        """Have the client send its close alert, and the transport read it."""
        self.client.shutdown()
        self.deliver()
        self.reactor.turn()

    def heard(self) -> bytes:
        """Return the content that has come to the client."""
        self.collect()
        pieces = []
        try:
            while True:
                pieces.append(self.client.recv(65536))
        except (SSL.WantReadError, SSL.ZeroReturnError):
            return b"".join(pieces)

    @property
    def is_closed(self) -> bool:
        """Whether the transport's close alert has come to the client."""
        self.heard()
        return bool(self.client.get_shutdown() & SSL.RECEIVED_SHUTDOWN)


def _all_of(connection: SSL.Connection) -> bytes:
    pieces = []
    try:
        while True:
            pieces.append(connection.bio_read(65536))
    except SSL.WantReadError:
        return b"".join(pieces)
