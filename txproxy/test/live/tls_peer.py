"""A blocking peer that speaks TLS by Python's own C{ssl}, and decides about each byte and each end by itself."""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from zope.interface import implementer

from txproxy.net.interfaces import IClientTls, IServerTls
from txproxy.net.tls_failure import TlsFailure, failure_of
from txproxy.test.authority import Authority, Identity


class Peer:
    """
    One end of a TLS connection.

    @param skt: a connected, blocking socket.
    @param context: decides about versions and the like; one that trusts everybody if omitted.
    @param server_side: which end this is.
    """

    def __init__(self, skt: socket.socket, context: ssl.SSLContext | None = None, server_side: bool = False) -> None:
        self.socket = skt
        with suppress(OSError):  # Of a unix socket.
            skt.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = (context or trusting()).wrap_bio(self._incoming, self._outgoing, server_side)

    def shake_hands(self, send: Callable[[bytes], None] | None = None) -> Peer:
        """Complete the handshake; C{send} takes the bytes to the other side in its own way."""
        self._do(self.tls.do_handshake, send or self.socket.sendall)
        return self

    def hello(self) -> bytes:
        """Return the first flight of a client, not sent yet."""
        with suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()
        return self._outgoing.read()

    def sealed(self, data: bytes) -> bytes:
        """Return records with content, not sent yet."""
        self.tls.write(data)
        return self._outgoing.read()

    def send(self, data: bytes) -> None:
        """Send content."""
        self.socket.sendall(self.sealed(data))

    def close_alert(self) -> bytes:
        """Return the close alert, not sent yet."""
        with suppress(ssl.SSLError):  # It wants the other side's now.
            self.tls.unwrap()
        return self._outgoing.read()

    def receive(self, size: int = 65536) -> bytes:
        """Return content, or nothing at the other side's close alert."""
        try:
            return bytes(self._do(lambda: self.tls.read(size), self.socket.sendall))
        except ssl.SSLZeroReturnError:
            return b""

    def receive_exactly(self, size: int) -> bytes:
        """Return so many bytes of content."""
        got = b""
        while len(got) < size:
            piece = self.receive(size - len(got))
            assert piece, f"the end after {len(got)} bytes"
            got += piece
        return got

    def receive_until_end(self) -> tuple[bytes, str]:
        """Return all content, and how it ended: C{closed} by an alert, C{cut} or C{reset} without."""
        pieces = []
        try:
            while piece := self.receive():
                pieces.append(piece)
        except ssl.SSLError as error:
            # Early releases of Python 3.11 have no class of its own for it.
            if not isinstance(error, ssl.SSLEOFError) and error.reason != "UNEXPECTED_EOF_WHILE_READING":
                raise
            return b"".join(pieces), "cut"
        except ConnectionResetError:
            return b"".join(pieces), "reset"
        return b"".join(pieces), "closed"

    def receive_raw(self, size: int) -> None:
        """Take so many bytes from the socket that are no records."""
        while size:
            taken = len(self.socket.recv(min(size, 65536)))
            assert taken
            size -= taken

    def reset_later(self) -> None:
        """Close so that what was sent arrives, and whatever comes now is answered by a reset."""
        self.socket.close()

    def reset(self) -> None:
        """Close with a reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def _do(self, step: Callable[[], Any], send: Callable[[bytes], None]) -> Any:
        while True:
            try:
                done = step()
            except ssl.SSLWantReadError:
                self._flush(send)
                came = self.socket.recv(65536)
                if came:
                    self._incoming.write(came)
                else:
                    self._incoming.write_eof()
            except ssl.SSLError:
                self._flush(send)
                raise
            else:
                self._flush(send)
                return done

    def _flush(self, send: Callable[[bytes], None]) -> None:
        if self._outgoing.pending:
            send(self._outgoing.read())


def trusting(**settings: Any) -> ssl.SSLContext:
    """Return a client's context that trusts everybody."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Early releases of Python 3.11 take an end without a close alert for a clean one.
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    for name, value in settings.items():
        setattr(context, name, value)
    return context


@implementer(IServerTls, IOpenSSLServerConnectionCreator)
class ServerTls:
    """
    A server's certificate, for ports of stock and of our own alike.

    @ivar context: what connections begin with.
    """

    def __init__(self, identity: Identity, alpn: Iterable[bytes] = ()) -> None:
        served = list(alpn)
        self.context = SSL.Context(SSL.TLS_SERVER_METHOD)
        self.context.use_certificate(identity.leaf)
        self.context.use_privatekey(load_pem_private_key(identity.key, None))  # type: ignore[arg-type]
        if served:
            self.context.set_alpn_select_callback(
                lambda _, offered: next((each for each in served if each in offered), SSL.NO_OVERLAPPING_PROTOCOLS)
            )

    def getContext(self) -> SSL.Context:
        return self.context

    def serverConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:  # noqa: N802, N803 - Twisted's names
        return SSL.Connection(self.context, None)


@implementer(IClientTls)
class ClientTls:
    """
    Trusts everybody, unless C{refusal} is set, and notes what it is asked.

    @ivar asked: the names of the calls, in order.
    @ivar session: to resume, once there is one.
    """

    def __init__(self) -> None:
        self.context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        self.asked: list[str] = []
        self.refusal: Exception | None = None
        self.session: SSL.Session | None = None
        self.resumes = False

    def connection(self, skt: socket.socket) -> SSL.Connection:
        self.asked.append("connection")
        made = SSL.Connection(self.context, skt)
        made.set_connect_state()
        if self.resumes and self.session is not None:
            made.set_session(self.session)
        return made

    def check(self, connection: SSL.Connection) -> None:
        self.asked.append("check")
        if self.refusal is not None:
            raise self.refusal

    def failure(self, connection: SSL.Connection, error: Exception) -> TlsFailure:
        self.asked.append("failure")
        return failure_of(error, "secured" not in self.asked)

    def secured(self, connection: SSL.Connection) -> None:
        self.asked.append("secured")
        self.session = connection.get_session()


def identity() -> Identity:
    """Return a certificate for this machine."""
    return Authority().identity("localhost", "127.0.0.1")
