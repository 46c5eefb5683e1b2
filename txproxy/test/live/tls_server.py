"""A backend that speaks TLS, by Python's ssl: it says in each reply how it was connected to."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import tempfile
import threading
from collections.abc import Callable
from typing import Any

from txproxy.test.authority import Identity

from .client import DEADLINE_S

Talk = Callable[["TlsPeer"], None]


class TlsPeer:
    """One connection that was accepted."""

    def __init__(self, connection: ssl.SSLSocket, number: int) -> None:
        self.socket = connection
        self.number = number
        """Counts from 0, in the order of acceptance."""
        self.name: str | None = None
        """What SNI said."""
        self.was_resumed = False
        self.certificate = ""
        """Common name of the client's."""
        self.requests = 0
        self._rest = b""

    def request(self) -> tuple[bytes, bytes] | None:
        """Return head and body of the next request; None if there is no more."""
        data = self._rest
        while b"\r\n\r\n" not in data:
            piece = self.socket.recv(65536)
            if not piece:
                return None
            data += piece
        head, _, body = data.partition(b"\r\n\r\n")
        lengths = [line[15:] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
        length = int(lengths[0]) if lengths else 0
        while len(body) < length:
            piece = self.socket.recv(65536)
            if not piece:
                return None
            body += piece
        self.requests += 1
        body, self._rest = body[:length], body[length:]
        return head, body

    def answer(self, body: bytes, fields: str = "") -> None:
        """Send a reply with its length."""
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n{fields}\r\n"
        self.socket.sendall(head.encode() + body)

    def seen(self) -> dict[str, Any]:
        """Return how this connection came about."""
        return {
            "connection": self.number,
            "requests": self.requests,
            "name": self.name,
            "resumed": self.was_resumed,
            "certificate": self.certificate,
            "version": self.socket.version(),
        }


def tell(peer: TlsPeer) -> None:
    """Answer each request with what was seen of the connection, as JSON; a request with a body with that."""
    while (found := peer.request()) is not None:
        head, body = found
        seen = {**peer.seen(), "head": head.decode("latin-1")}
        peer.answer(body or json.dumps(seen).encode())


class TlsServer:
    """Serves until it is left; a context manager.

    :param identity: its certificate and key.
    :param talk: called with each connection once the handshake is complete; then that is closed without an alert.
    :param asks: PEM of the authority whose certificates clients must have; empty: they need none.
    :param most: the highest version of TLS that it speaks.
    :param path: of a unix socket to listen on.
    """

    def __init__(
        self,
        identity: Identity,
        talk: Talk = tell,
        asks: bytes = b"",
        most: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
        path: str = "",
    ) -> None:
        self._talk = talk
        context = self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        # Early releases of Python 3.11 take an end without a close alert for a clean one.
        context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
        context.maximum_version = most
        context.sni_callback = self._note_name
        if asks:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(cadata=asks.decode())
        with tempfile.NamedTemporaryFile() as file:
            file.write(identity.key + identity.certificate)
            file.flush()
            context.load_cert_chain(file.name)
        self.peers: list[TlsPeer] = []
        """All connections whose handshake was complete, in this order."""
        self.failures: list[str] = []
        """What was wrong with the others."""
        self._names = threading.local()
        self._accepted = 0
        self._socket = socket.socket(socket.AF_UNIX if path else socket.AF_INET)
        self._socket.bind(path or ("127.0.0.1", 0))
        self._socket.listen(64)
        self.port = 0 if path else self._socket.getsockname()[1]
        self.address = f"unix:{path}" if path else f"127.0.0.1:{self.port}"
        """As a configuration names it."""
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> TlsServer:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _note_name(self, connection: object, name: str | None, context: ssl.SSLContext) -> None:
        self._names.last = name

    def _accept(self) -> None:
        while True:
            try:
                accepted, _ = self._socket.accept()
            except OSError:
                return
            number, self._accepted = self._accepted, self._accepted + 1
            threading.Thread(target=self._serve, args=(accepted, number), daemon=True).start()

    def _serve(self, accepted: socket.socket, number: int) -> None:
        accepted.settimeout(DEADLINE_S)
        with accepted, contextlib.suppress(OSError):
            try:
                secured = self.context.wrap_socket(accepted.dup(), server_side=True)
            except OSError as error:
                self.failures.append(str(error))
                # Closing with bytes unread would reset the connection, and the alert might be lost.
                accepted.shutdown(socket.SHUT_WR)
                while accepted.recv(65536):
                    pass
                return
            with secured:
                peer = TlsPeer(secured, number)
                peer.name = getattr(self._names, "last", None)
                peer.was_resumed = bool(secured.session_reused)
                shown: Any = secured.getpeercert() or {}
                peer.certificate = dict(each[0] for each in shown.get("subject", ())).get("commonName", "")
                self.peers.append(peer)
                self._talk(peer)
