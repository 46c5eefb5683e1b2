"""What tests of TLS towards clients share: servers with certificates, and handshakes with them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from cryptography import x509
from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from txproxy.config.model import Certificate
from txproxy.test.authority import Authority, Identity
from txproxy.test.tls.memory import Pipe
from txproxy.tls.certificates import Pair, load_pair
from txproxy.tls.server import ServerSettings, ServerTls

DAY_S = 86400.0


class ServerCase(SynchronousTestCase):
    """Makes servers; ``now`` is the wall clock and ``ticks`` the monotonic one."""

    def setUp(self) -> None:
        """Begin now."""
        import time

        self.now = time.time()
        self.ticks = 0.0
        self.authority = Authority()

    def pair(self, *names: str, identity: Identity | None = None, **more: Any) -> Pair:
        """Return a new certificate for names, as it is read from files."""
        identity = identity or self.authority.identity(*names, **more)
        folder = Path(self.mktemp())
        folder.mkdir()
        chain, key = folder / "chain.pem", folder / "key.pem"
        chain.write_bytes(identity.certificate)
        key.write_bytes(identity.key)
        os.chmod(key, 0o600)
        return load_pair(Certificate(chain=str(chain), key=str(key)), self.now)

    def server(self, *pairs: Pair, client_ca: bytes = b"", **settings: Any) -> ServerTls:
        """Return a server with certificates."""
        settings.setdefault("name", "main")
        made = ServerTls(ServerSettings(**settings), lambda: self.now, lambda: self.ticks)
        made.certificates_changed(pairs or (self.pair("a.test"),), client_ca)
        return made

    def shake(self, server: ServerTls, name: str | None = None, **more: Any) -> Pipe:
        """Return what came of a handshake."""
        return Pipe(server.getContext(), name=None if name is None else name.encode(), **more).shake_hands()

    def shown(self, server: ServerTls, name: str | None, **more: Any) -> list[str]:
        """Return the names of the certificate that a client is shown; none if the handshake failed."""
        pipe = self.shake(server, name, **more)
        if not pipe.is_complete:
            return []
        certificate = pipe.client.get_peer_certificate(as_cryptography=True)
        assert certificate is not None
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return names.get_values_for_type(x509.DNSName)


def client(lowest: int = SSL.TLS1_2_VERSION, highest: int = SSL.TLS1_3_VERSION, ciphers: bytes = b"") -> SSL.Context:
    """Return a client's context that speaks some versions only."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(lowest)
    context.set_max_proto_version(highest)
    if ciphers:
        context.set_cipher_list(ciphers)
    return context
