"""What tests of TLS to backends share: backends in memory, which a ``ClientTls`` shakes hands with."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from OpenSSL import SSL, crypto
from twisted.trial.unittest import SynchronousTestCase

from txproxy.net.tls_failure import TlsFailure
from txproxy.test.authority import Authority, Identity
from txproxy.tls.client import ClientContext, ClientSettings, ClientTls

AUTHORITY = Authority()
GOOD = AUTHORITY.identity("app.example", "192.0.2.1", "2001:db8::1")
TLS13, TLS12 = SSL.TLS1_3_VERSION, SSL.TLS1_2_VERSION


class Server:
    """A backend: one context, any number of connections.

    :param identity: the certificate that it shows.
    :param version: of TLS, the only one that it speaks.
    :param asks: for a certificate of the client, signed by our authority.
    :param alpn: the protocols that it speaks, if it knows ALPN at all.
    """

    def __init__(
        self, identity: Identity = GOOD, version: int = TLS13, asks: bool = False, alpn: tuple[bytes, ...] = ()
    ) -> None:
        context = self.context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.set_min_proto_version(version)
        context.set_max_proto_version(version)
        context.use_certificate(crypto.load_certificate(crypto.FILETYPE_PEM, identity.certificate))
        context.use_privatekey(crypto.load_privatekey(crypto.FILETYPE_PEM, identity.key))
        context.set_session_id(b"backend")
        if asks:
            context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT)
            store = context.get_cert_store()
            assert store is not None
            store.add_cert(crypto.load_certificate(crypto.FILETYPE_PEM, AUTHORITY.certificate))
        if alpn:
            context.set_alpn_select_callback(lambda _, offered: self._choose(offered, alpn))
        self.offered: list[bytes] = []
        """Protocols that the last client offered."""

    def _choose(self, offered: list[bytes], known: tuple[bytes, ...]) -> Any:
        self.offered = offered
        return next((each for each in known if each in offered), SSL.NO_OVERLAPPING_PROTOCOLS)


class Handshake:
    """One connection in memory, up to the end of its handshake.

    :param tls: our side.
    :param server: the other.
    :param greeting: what the server says then, if it comes to that; our side notes it as transports do.
    """

    def __init__(self, tls: ClientTls, server: Server, greeting: bytes = b"welcome") -> None:
        self.tls = tls
        self.client = tls.connection(None)
        self.server = SSL.Connection(server.context, None)
        self.server.set_accept_state()
        self.failure: TlsFailure | None = None
        """Why there is no connection, or why it has ended before the server said anything."""
        self.is_made = False
        """Our side is content."""
        self.heard = b""
        self._server_is_ready = self._server_failed = False
        for _ in range(6):
            self._turn()
        if self._server_is_ready and greeting:
            self.says(greeting)
        elif self.is_made:
            self._read()

    def says(self, data: bytes) -> None:
        """Let the server say something, and our side hear it."""
        self.server.send(data)
        self._move()
        self._read()

    def closes(self) -> None:
        """End it in good order, from our side."""
        self.client.shutdown()

    def _turn(self) -> None:
        if not self.is_made and self.failure is None:
            try:
                self.client.do_handshake()
                self.tls.check(self.client)
                self.is_made = True
            except SSL.WantReadError:
                pass
            except (SSL.Error, TlsFailure) as error:
                self.failure = self.tls.failure(self.client, error)
        if not self._server_is_ready and not self._server_failed:
            try:
                self.server.do_handshake()
                self._server_is_ready = True
            except SSL.WantReadError:
                pass
            except SSL.Error:
                self._server_failed = True
        self._move()

    def _read(self) -> None:
        try:
            data = self.client.recv(65536)
        except SSL.WantReadError:
            return
        except SSL.Error as error:
            self.failure = self.tls.failure(self.client, error)
            return
        if not self.heard:
            self.tls.secured(self.client)
        self.heard += data

    def _move(self) -> None:
        for source, sink in ((self.client, self.server), (self.server, self.client)):
            try:
                sink.bio_write(source.bio_read(1 << 20))
            except SSL.Error:
                continue


class ClientCase(SynchronousTestCase):
    """Tests of our side, with a folder for files."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.ca = self.file("ca.pem", AUTHORITY.certificate)

    def file(self, name: str, content: bytes) -> str:
        """Write a file and return its path."""
        path = self.folder / name
        path.write_bytes(content)
        return str(path)

    def shown(self, identity: Identity) -> dict[str, Any]:
        """Return the settings by which a certificate of ours is shown."""
        number = len(list(self.folder.iterdir()))
        return {
            "client_chain": self.file(f"{number}.chain", identity.certificate),
            "client_key": self.file(f"{number}.key", identity.key),
        }

    def context(self, **settings: Any) -> ClientContext:
        """Return a context; it trusts our authority unless settings say otherwise."""
        return ClientContext(ClientSettings(**{"ca": self.ca, **settings}), time.time())

    def tls(self, host: str = "app.example", **settings: Any) -> ClientTls:
        """Return the TLS to a backend; for settings see ``context``."""
        return self.context(**settings).to(host)

    def assertMade(self, made: Handshake) -> None:
        """Check that a connection can be used."""
        self.assertEqual((made.failure, made.heard), (None, b"welcome"))
