"""TLS towards clients, without sockets: which sessions go on, and who the client is."""

from __future__ import annotations

import gc

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID
from OpenSSL import SSL

from txproxy.test.authority import Authority, Identity
from txproxy.test.tls.memory import Pipe
from txproxy.test.tls.server_case import DAY_S, ServerCase, client
from txproxy.tls.identity import NotAccepted
from txproxy.tls.openssl import set_groups
from txproxy.tls.profile import Profile
from txproxy.tls.server import ServerTls


class SessionTests(ServerCase):
    """T3: sessions go on by ticket."""

    def resumed(self, server: ServerTls, session: SSL.Session | None, context: SSL.Context) -> bool:
        """Return whether a session goes on; the handshake succeeds either way."""
        pipe = self.shake(server, "a.test", context=context, session=session)
        self.assertTrue(pipe.is_complete, pipe.client_error)
        return server.facts_of(pipe.server).resumed

    def test_resumed(self) -> None:
        """After a reload of certificates too; not after the keys were replaced, and that is no error."""
        for context in (client(highest=SSL.TLS1_2_VERSION), client(SSL.TLS1_3_VERSION)):
            server = self.server(profile=Profile(ticket_lifetime_s=100))
            session = self.shake(server, "a.test", context=context).client.get_session()
            self.assertTrue(self.resumed(server, session, context))
            server.certificates_changed((self.pair("a.test"),))
            self.assertTrue(self.resumed(server, session, context))
            self.ticks += 100
            self.assertFalse(self.resumed(server, session, context))

    def test_helloTwice(self) -> None:
        """A client that has to say hello again may do so although the ticket keys were replaced in between."""
        server = self.server(profile=Profile(ticket_lifetime_s=100))
        context = client()
        set_groups(context, "secp521r1", "X25519")
        pipe = Pipe(server.getContext(), context, b"a.test")
        pipe.step()
        self.assertFalse(pipe.is_complete)
        self.ticks += 100
        server.getContext()
        gc.collect()
        self.assertTrue(pipe.shake_hands().is_complete)

    def test_off(self) -> None:
        """``tickets = false``: never."""
        for context in (client(highest=SSL.TLS1_2_VERSION), client(SSL.TLS1_3_VERSION)):
            server = self.server(profile=Profile(tickets=False))
            session = self.shake(server, "a.test", context=context).client.get_session()
            self.assertFalse(self.resumed(server, session, context))

    def test_otherSection(self) -> None:
        """A session of one section says nothing to another, which may ask more of its clients."""
        for context in (client(highest=SSL.TLS1_2_VERSION), client(SSL.TLS1_3_VERSION)):
            pair = self.pair("a.test")
            first, second = self.server(pair, name="first"), self.server(pair, name="second")
            session = self.shake(first, "a.test", context=context).client.get_session()
            self.assertFalse(self.resumed(second, session, context))


class ClientTests(ServerCase):
    """T4: who the client is."""

    def setUp(self) -> None:
        """Make an authority of clients."""
        super().setUp()
        self.clients = Authority("Clients")

    def showing(self, identity: Identity | None, version: int = SSL.TLS1_3_VERSION) -> SSL.Context:
        """Return the context of a client with a certificate."""
        context = client(version, version)
        if identity is not None:
            context.use_certificate(identity.leaf)
            key = load_pem_private_key(identity.key, None)
            assert isinstance(key, EllipticCurvePrivateKey)
            context.use_privatekey(key)
        return context

    def test_required(self) -> None:
        """No certificate, or one of another authority, or one that has expired, fails the handshake."""
        server = self.server(client_ca=self.clients.certificate, client_auth="required")
        self.assertIsInstance(self.shake(server, context=self.showing(None)).server_error, SSL.Error)
        for wrong in (Authority("Clients").identity("c"), self.clients.identity("c", ends_in_days=-1)):
            self.assertIsInstance(self.shake(server, context=self.showing(wrong)).server_error, SSL.Error)
        pipe = self.shake(server, context=self.showing(self.clients.identity("c")))
        facts = server.facts_of(pipe.server)
        self.assertEqual(facts.client_verify, b"SUCCESS")
        self.assertEqual(facts.client_subject, b"CN=a server")
        self.assertEqual(len(facts.client_fingerprint), 64)

    def test_optional(self) -> None:
        """No certificate passes, unverified; a bad one does not."""
        server = self.server(client_ca=self.clients.certificate, client_auth="optional")
        facts = server.facts_of(self.shake(server, context=self.showing(None)).server)
        self.assertEqual((facts.client_verify, facts.client_subject, facts.client_fingerprint), (b"NONE", b"", b""))
        wrong = self.shake(server, context=self.showing(Authority("Others").identity("c")))
        self.assertIsInstance(wrong.server_error, SSL.Error)

    def test_resumed(self) -> None:
        """A session remembers who the client is, as long as the authorities of clients stay the same."""
        for version in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
            pair = self.pair("a.test")
            server = self.server(pair, client_ca=self.clients.certificate, client_auth="required")
            shown = self.showing(self.clients.identity("c"), version)
            session = self.shake(server, context=shown).client.get_session()
            again = self.shake(server, context=shown, session=session)
            self.assertTrue(again.is_complete)
            self.assertEqual(server.facts_of(again.server).client_subject, b"CN=a server")
            server.certificates_changed((pair,), Authority("Others").certificate)
            refused = self.shake(server, context=shown, session=session)
            self.assertIsInstance(refused.server_error, SSL.Error)

    def test_subject(self) -> None:
        """Whatever stands in a subject, it is one field value of printable ASCII, or none."""
        for attributes, expected in (
            ([(NameOID.COMMON_NAME, "Jürgen\r\nX-Admin: 1, b")], rb"CN=J\C3\BCrgen\0D\0AX-Admin: 1\, b"),
            ([(NameOID.ORGANIZATIONAL_UNIT_NAME, f"{number:060}") for number in range(100)], b""),
        ):
            subject = x509.Name([x509.NameAttribute(*attribute) for attribute in attributes])
            server = self.server(client_ca=self.clients.certificate, client_auth="required")
            identity = self.clients.identity("c", subject=subject)
            facts = server.facts_of(self.shake(server, context=self.showing(identity)).server)
            self.assertEqual((facts.client_subject, facts.client_verify), (expected, b"SUCCESS"))

    def test_unreadable(self) -> None:
        """A subject in an old kind of string is left out; OpenSSL has verified the certificate."""
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "MXller", _ASN1Type.T61String)])
        identity = self.clients.identity("c", subject=subject)
        leaf = self.clients.signed_anew(identity, b"MXller", b"M\xfcller")
        self.assertRaises(ValueError, lambda: leaf.subject)
        server = self.server(client_ca=self.clients.certificate, client_auth="required")
        context = self.showing(identity._replace(certificate=leaf.public_bytes(Encoding.PEM)))
        facts = server.facts_of(self.shake(server, context=context).server)
        self.assertEqual((facts.client_subject, facts.client_verify), (b"", b"SUCCESS"))
        self.assertEqual(len(facts.client_fingerprint), 64)

    def test_expired(self) -> None:
        """A session does not go on when the client's certificate has expired meanwhile."""
        for version in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
            server = self.server(client_ca=self.clients.certificate, client_auth="optional")
            shown = self.showing(self.clients.identity("c", ends_in_days=0.1), version)
            session = self.shake(server, context=shown).client.get_session()
            again = self.shake(server, context=shown, session=session)
            self.assertTrue(server.facts_of(again.server).resumed)
            self.now += DAY_S / 2
            self.assertRaises(NotAccepted, server.facts_of, again.server)
            self.now -= DAY_S / 2
