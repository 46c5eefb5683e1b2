"""The client's side of TLS: the standard library's OpenSSL between a plain socket and a test, so that a test sees both."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Self

from .client import DEADLINE_S, Client
from .replies import Reply


class HandshakeFailed(AssertionError):
    """The handshake came to nothing.

    :param reason: as OpenSSL names it, such as ``TLSV1_UNRECOGNIZED_NAME``; or ``closed`` or ``reset``.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def trusting(
    *authorities: bytes,
    version: ssl.TLSVersion | None = None,
    identity: tuple[Path, Path] | None = None,
    alpn: tuple[str, ...] = (),
    ciphers: str = "",
) -> ssl.SSLContext:
    """Return settings of a client.

    :param authorities: roots that it trusts, as PEM; without any it looks at no certificate at all.
    :param version: the only version that it speaks; None: 1.2 and 1.3.
    :param identity: files with its own certificate and key.
    :param ciphers: of TLS 1.2.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Early releases of Python 3.11 take an end without a close alert for a clean one.
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
    if authorities:
        context.load_verify_locations(cadata=b"".join(authorities).decode())
    else:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if version is not None:
        context.minimum_version = context.maximum_version = version
    if identity is not None:
        context.load_cert_chain(*identity)
    if alpn:
        context.set_alpn_protocols([*alpn])
    if ciphers:
        context.set_ciphers(ciphers)
    return context


class TlsClient(Client):
    """A client that speaks TLS; ``received`` holds what came through it.

    The handshake is made at once, and an exception says if it fails; with TLS 1.3 a server may still object to a
    client's certificate afterwards: ``alert`` says so once the client has read.

    :param name: for SNI and for checking the certificate; None: no SNI.
    :param context: see ``trusting``; by default no certificate is looked at.
    :param session: of an earlier client with the same context, to resume.
    :param handshake: make it now; else ``handshake``, or each ``step`` of it, is the caller's affair.
    :raises HandshakeFailed: if it does.
    """

    def __init__(
        self,
        port: int,
        name: str | None = "a.example",
        *,
        context: ssl.SSLContext | None = None,
        session: ssl.SSLSession | None = None,
        handshake: bool = True,
        address: str = "127.0.0.1",
        receive_buffer: int = 0,
    ) -> None:
        super().__init__(port, address, receive_buffer)
        self.was_clean = False
        """The peer ended the connection by a close alert."""
        self.alert = ""
        """What ended the connection instead, as OpenSSL names it."""
        self.handshake_received = b""
        """The peer's part of the handshake, as it came."""
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = (context or trusting()).wrap_bio(
            self._incoming, self._outgoing, server_hostname=name, session=session
        )
        if handshake:
            try:
                self.handshake()
            except BaseException:
                self.socket.close()
                raise

    def handshake(self, pace: Callable[[bytes], Iterable[bytes]] = lambda data: [data]) -> None:
        """Shake hands.

        :param pace: cuts what is to be sent into pieces.
        """
        self.socket.settimeout(DEADLINE_S)
        while True:
            to_send, is_done = self.step()
            try:
                for piece in pace(to_send):
                    self.socket.sendall(piece)
            except OSError:
                pass  # The peer has left; it may have said why before.
            if is_done:
                return
            self.take_handshake()

    def step(self) -> tuple[bytes, bool]:
        """Go on with the handshake as far as what came allows; return what is to be sent, and whether it is complete."""
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            return self._outgoing.read(), False
        except ssl.SSLError as error:
            with contextlib.suppress(OSError):
                self.socket.sendall(self._outgoing.read())
            raise HandshakeFailed(reason_of(error)) from None
        return self._outgoing.read(), True

    def take_handshake(self) -> None:
        """Wait for more from the peer, for the next ``step``."""
        try:
            data = self.socket.recv(1 << 16)
        except TimeoutError:
            raise
        except OSError:
            raise HandshakeFailed("reset") from None
        if not data:
            raise HandshakeFailed("closed")
        self.handshake_received += data
        self._incoming.write(data)

    def __enter__(self) -> Self:
        return self

    @property
    def certificate(self) -> bytes:
        """What the peer showed, as DER."""
        shown = self.tls.getpeercert(True)
        assert shown is not None
        return shown

    @property
    def was_resumed(self) -> bool:
        """Whether an earlier session went on."""
        return bool(self.tls.session_reused)

    @property
    def session(self) -> ssl.SSLSession:
        """For another client to resume; with TLS 1.3 there is one only after the first reply."""
        session = self.tls.session
        assert session is not None
        return session

    def encrypted(self, data: bytes) -> bytes:
        """Return records that hold these bytes, to be sent with ``send_raw``."""
        written = 0
        while written < len(data):
            written += self.tls.write(data[written:])
        return self._outgoing.read()

    def send_raw(self, data: bytes, timeout_s: float = DEADLINE_S) -> bool:
        """Send bytes as they are, without TLS."""
        return super().send(data, timeout_s)

    def send(self, data: bytes, timeout_s: float = DEADLINE_S) -> bool:
        """Send through TLS; see ``Client.send``."""
        try:
            records = self.encrypted(data)
        except ssl.SSLError:
            return False
        return super().send(records, timeout_s)

    def half_close(self) -> None:
        """Send a close alert and shut down the sending side; what comes can still be read."""
        self.send_close_alert()
        super().half_close()

    def send_close_alert(self) -> None:
        """Send a close alert only."""
        with contextlib.suppress(ssl.SSLError):
            self.tls.unwrap()
        with contextlib.suppress(OSError):
            self.socket.sendall(self._outgoing.read())

    def close(self) -> None:
        """Send a close alert, if that is still possible, and close."""
        with contextlib.suppress(Exception):
            self.socket.settimeout(1)
            self.send_close_alert()
        super().close()

    def cut(self) -> None:
        """Close without a close alert."""
        super().close()

    def _take(self, at_most: int = 1 << 16) -> bytes:
        before = len(self.received)
        try:
            data = self.socket.recv(at_most)
        except BlockingIOError:
            return b""
        except TimeoutError:
            raise
        except OSError:
            self.was_reset = True
            data = b""
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()
        self._decrypt()
        if not data:
            self.closed = True
        return bytes(self.received[before:])

    def _decrypt(self) -> None:
        try:
            while found := self.tls.read(1 << 16):
                self.received += found
            self.closed = self.was_clean = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.closed = self.was_clean = True
        except ssl.SSLError as error:
            self.closed = True
            if not isinstance(error, ssl.SSLEOFError):
                self.alert = reason_of(error)
        reply = self._outgoing.read()
        if reply:
            with contextlib.suppress(OSError):
                self.socket.send(reply)


def reason_of(error: ssl.SSLError) -> str:
    """Return OpenSSL's name of what went wrong, such as ``TLSV1_ALERT_UNKNOWN_CA``."""
    # The standard library has short names for some only; the others stand in the message as words.
    return str(error.reason or str(error).partition("] ")[2].rpartition(" (")[0].upper().replace(" ", "_"))


def https_get(
    port: int, target: str = "/", name: str | None = "a.example", *, context: ssl.SSLContext | None = None, **more: Any
) -> Reply:
    """Make one request on a connection of its own, whose Host is the name that is asked for.

    :param more: goes to ``Client.request``.
    """
    with TlsClient(port, name, context=context) as client:
        return client.request(target, host=name or "a.example", **more)


def session_of(port: int, context: ssl.SSLContext, name: str = "a.example") -> ssl.SSLSession:
    """Make a connection and a request, and return what lets it be resumed."""
    with TlsClient(port, name, context=context) as client:
        assert not client.was_resumed
        # Tickets of TLS 1.3 come after the handshake.
        assert client.request(host=name).status == 200
        return client.session


def is_resumed(port: int, context: ssl.SSLContext, session: ssl.SSLSession, name: str = "a.example") -> bool:
    """Connect with a session and make a request, which must succeed; return whether the session went on."""
    with TlsClient(port, name, context=context, session=session) as client:
        assert client.request(host=name).status == 200
        return client.was_resumed


def fails_with(port: int, name: str | None = "a.example", **more: Any) -> str:
    """Try a handshake and a request, and return why they failed; empty if they did not."""
    try:
        with TlsClient(port, name, **more) as client:
            # With TLS 1.3 the server judges the client's certificate when the client is done already.
            client.send(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")
            client.read_until(lambda: b"\r\n\r\n" in client.received)
            if client.received:
                return ""
            return client.alert or ("reset" if client.was_reset else "closed")
    except HandshakeFailed as failure:
        return failure.reason
