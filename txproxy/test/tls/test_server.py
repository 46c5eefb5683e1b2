"""TLS towards clients, without sockets: who gets which certificate, what is agreed on, which sessions go on."""

from __future__ import annotations

import gc
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import NameOID
from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from txproxy.config.model import Certificate
from txproxy.test.authority import Authority, Identity
from txproxy.test.tls.memory import Pipe
from txproxy.tls.certificates import Pair, load_pair
from txproxy.tls.identity import NotAccepted
from txproxy.tls.openssl import set_groups
from txproxy.tls.profile import Profile
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


class CertificateTests(ServerCase):
    """T1: the client's name decides which certificate it is shown."""

    def test_names(self) -> None:
        """An exact name, a wildcard of one label, and the first of the list for everybody else."""
        server = self.server(self.pair("a.test", "www.a.test"), self.pair("*.w.test"), self.pair("b.w.test"))
        for name, expected in (
            ("a.test", "a.test"),
            ("WWW.A.Test", "a.test"),
            ("x.w.test", "*.w.test"),
            ("b.w.test", "b.w.test"),
            ("x.y.w.test", "a.test"),
            ("w.test", "a.test"),
            ("unknown.test", "a.test"),
            (None, "a.test"),
        ):
            self.assertEqual(self.shown(server, name)[0], expected, name)

    def test_strict(self) -> None:
        """With strict_sni an unknown name, or none, is answered with the alert that says so, and nothing is printed."""
        server = self.server(self.pair("a.test"), strict_sni=True)
        self.assertEqual(self.shown(server, "a.test"), ["a.test"])
        for name in ("b.test", None):
            pipe = self.shake(server, name)
            self.assertEqual(pipe.alert, "tlsv1 unrecognized name", name)
            self.assertIsInstance(pipe.server_error, SSL.Error)
        self.assertEqual(self.shown(server, "a.test"), ["a.test"], "after a refusal")

    def test_expiry(self) -> None:
        """A certificate that expires while it is served is refused from then on; others stand in for it, or none."""
        server = self.server(self.pair("a.test", ends_in_days=0.5), self.pair("b.test", ends_in_days=20))
        self.assertEqual(self.shown(server, "a.test"), ["a.test"])
        self.now += DAY_S
        self.assertEqual(self.shown(server, "a.test"), ["b.test"])
        self.assertEqual(self.shown(server, None), ["b.test"])
        self.now += 20 * DAY_S
        self.assertEqual(self.shown(server, "b.test"), [])

    def test_keyTypes(self) -> None:
        """Of an RSA and an ECDSA certificate for the same names, the client gets the one that it can verify."""
        elliptic = self.pair("a.test", ends_in_days=0.5)
        rsa = self.pair(identity=self.authority.identity("a.test", key="rsa", ends_in_days=20))
        server = self.server(elliptic, rsa)

        def key_type(ciphers: bytes) -> str:
            pipe = self.shake(server, "a.test", context=client(highest=SSL.TLS1_2_VERSION, ciphers=ciphers))
            certificate = pipe.client.get_peer_certificate(as_cryptography=True)
            assert certificate is not None
            return type(certificate.public_key()).__name__

        self.assertIn("RSA", key_type(b"ECDHE-RSA-AES128-GCM-SHA256"))
        self.assertEqual("ECPublicKey", key_type(b"ECDHE-ECDSA-AES128-GCM-SHA256"))
        self.now += DAY_S
        self.assertIn("RSA", key_type(b"ECDHE-RSA-AES128-GCM-SHA256"), "the other one has expired")

    def test_chain(self) -> None:
        """Intermediate certificates are sent along, each with its own certificate."""
        root = Authority("Root")
        for key in ("ec", "rsa"):
            intermediate = root.intermediate(f"Intermediate {key}")
            pair = self.pair(identity=intermediate.identity("a.test", key=key))
            self.assertEqual(len(pair.chain), 2)
            pipe = self.shake(self.server(pair), "a.test")
            chain = pipe.client.get_peer_cert_chain(as_cryptography=True)
            assert chain is not None
            self.assertEqual(len(chain), 2)

    def test_changed(self) -> None:
        """T5: other certificates are served from the next handshake on; what cannot be served changes nothing."""
        server = self.server(self.pair("a.test"))
        front = server.getContext()
        under_way = Pipe(server.getContext(), name=b"a.test")
        server.certificates_changed((self.pair("b.test"),))
        self.assertEqual(self.shown(server, "a.test"), ["b.test"])
        self.assertTrue(under_way.shake_hands().is_complete)
        self.assertIs(server.getContext(), front)
        self.assertRaises(ValueError, server.certificates_changed, (self.pair("c.test"),), b"no PEM")
        self.assertEqual(self.shown(server, "c.test"), ["b.test"])

    def test_keyTypesApart(self) -> None:
        """One of two for the same names is replaced although the other's files are gone: what was checked is served."""
        stays = self.pair(identity=self.authority.identity("a.test", key="rsa"))
        server = self.server(stays, self.pair("a.test"))
        Path(stays.source.chain).unlink()
        server.certificates_changed((stays, self.pair("a.test")))
        self.assertEqual(self.shown(server, "a.test"), ["a.test"])

    def test_kept(self) -> None:
        """A certificate that stays is not loaded again when another one changes."""
        stays = self.pair("a.test")
        server = self.server(stays, self.pair("b.test"))
        before = self.shake(server, "a.test").server.get_context()
        server.certificates_changed((stays, self.pair("c.test")))
        self.assertIs(self.shake(server, "a.test").server.get_context(), before)
        self.assertEqual(self.shown(server, "c.test"), ["c.test"])

    def test_guard(self) -> None:
        """A host is another connection's if it has another certificate, whatever was replaced meanwhile."""
        server = self.server(self.pair("a.test", "aa.test"), self.pair("b.test"))
        self.assertTrue(server.has_choice)
        guard = server.guard_for("a.test")
        self.assertTrue(guard(b"aa.test"))
        self.assertTrue(guard(b"unknown.test"), "it has the default, as a.test")
        self.assertFalse(guard(b"b.test"))
        self.assertFalse(server.guard_for("")(b"b.test"))
        self.assertFalse(server.guard_for("b.test")(b"unknown.test"))
        self.assertFalse(self.server(self.pair("a.test")).has_choice)


class AgreementTests(ServerCase):
    """T2: versions, ciphers, groups and protocols."""

    def test_versions(self) -> None:
        """TLS 1.2 and 1.3 by default; 1.3 only with the modern preset; one of them by min_version and max_version."""
        for profile, allowed in (
            (Profile(), {"TLSv1.2", "TLSv1.3"}),
            (Profile(preset="modern"), {"TLSv1.3"}),
            (Profile(min_version="1.3"), {"TLSv1.3"}),
            (Profile(max_version="1.2"), {"TLSv1.2"}),
        ):
            server = self.server(profile=profile)
            spoken = set()
            for version in (SSL.TLS1_1_VERSION, SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
                pipe = self.shake(server, context=client(version, version, b"ALL:@SECLEVEL=0"))
                if pipe.is_complete:
                    spoken.add(pipe.client.get_protocol_version_name())
            self.assertEqual(spoken, allowed)

    def test_order(self) -> None:
        """The cipher that stands first in our list is taken, whatever the client prefers."""
        server = self.server()
        preferring = client(
            highest=SSL.TLS1_2_VERSION, ciphers=b"ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-GCM-SHA256"
        )
        self.assertEqual(
            self.shake(server, context=preferring).client.get_cipher_name(), "ECDHE-ECDSA-AES128-GCM-SHA256"
        )
        self.assertEqual(self.shake(server).client.get_cipher_name(), "TLS_AES_128_GCM_SHA256")

    def test_ciphers(self) -> None:
        """``ciphers`` replaces the list; one that OpenSSL does not know is an error."""
        server = self.server(profile=Profile(ciphers="ECDHE-ECDSA-CHACHA20-POLY1305"))
        pipe = self.shake(server, context=client(highest=SSL.TLS1_2_VERSION))
        self.assertEqual(pipe.client.get_cipher_name(), "ECDHE-ECDSA-CHACHA20-POLY1305")
        self.assertRaises(SSL.Error, self.server, profile=Profile(ciphers="NONSENSE"))
        self.assertTrue(self.shake(server).is_complete, "nothing of the error is left behind")

    def test_hybrid(self) -> None:
        """The hybrid group is taken where the library has it."""
        group = self.shake(self.server()).server.get_group_name()
        assert group is not None
        self.assertEqual(group.lower(), "x25519mlkem768")

    def test_dhe(self) -> None:
        """Mozilla's three ciphers with a finite field are really there, for RSA certificates."""
        rsa = self.pair(identity=self.authority.identity("a.test", key="rsa"))
        context = client(highest=SSL.TLS1_2_VERSION, ciphers=b"DHE-RSA-AES256-GCM-SHA384")
        # Old clients, for whom these are, know nothing of groups for finite fields (RFC 7919).
        set_groups(context, "X25519")
        self.assertTrue(self.shake(self.server(rsa), context=context).is_complete)

    def test_alpn(self) -> None:
        """Our first protocol that the client offers; an alert if there is none; nothing if it offers nothing."""
        server = self.server(alpn=(b"h2", b"http/1.1"))
        for offered, agreed in (([b"http/1.1"], b"http/1.1"), ([b"http/1.1", b"h2"], b"h2"), ([], b"")):
            pipe = self.shake(server, alpn=offered)
            self.assertEqual(pipe.client.get_alpn_proto_negotiated(), agreed)
        pipe = self.shake(server, alpn=[b"imap"])
        self.assertEqual(pipe.alert, "tlsv1 alert no application protocol")
        self.assertIsInstance(pipe.server_error, SSL.Error)
        self.assertTrue(self.shake(self.server(alpn=()), alpn=[b"imap"]).is_complete)

    def test_staple(self) -> None:
        """An OCSP reply goes with the certificate that it is for, until it is too old."""
        pairs, staples = [], {}
        for key in ("ec", "rsa"):
            identity = self.authority.identity("a.test", key=key, ends_in_days=20)
            staples[key] = self.authority.staple(identity)
            pairs.append(replace(self.pair(identity=identity), staple=staples[key], staple_until=self.now + DAY_S))
        for server, keys in ((self.server(*pairs), ("ec", "rsa")), (self.server(pairs[0]), ("ec",))):
            for key in keys:
                self.assertEqual(self.stapled(server, key), staples[key])
        self.now += DAY_S
        self.assertEqual(self.stapled(server, "ec"), b"")

    def stapled(self, server: ServerTls, key: str) -> bytes:
        """Return the OCSP reply that a client is given which verifies keys of one type."""
        got: list[bytes] = []

        def note(_connection: object, reply: bytes, _data: object) -> bool:
            got.append(reply)
            return True

        cipher = b"ECDHE-RSA-AES128-GCM-SHA256" if key == "rsa" else b"ECDHE-ECDSA-AES128-GCM-SHA256"
        context = client(highest=SSL.TLS1_2_VERSION, ciphers=cipher)
        context.set_ocsp_client_callback(note)
        pipe = Pipe(server.getContext(), context)
        pipe.client.request_ocsp()
        self.assertTrue(pipe.shake_hands().is_complete)
        return got[0]

    def test_facts(self) -> None:
        """What was agreed on is known in words."""
        facts = self.server().facts_of(self.shake(self.server(), "a.test", alpn=[b"http/1.1"]).server)
        self.assertEqual(
            (facts.version, facts.cipher, facts.server_name, facts.alpn, facts.resumed, facts.client_verify),
            ("TLSv1.3", "TLS_AES_128_GCM_SHA256", "a.test", "http/1.1", False, b""),
        )
        self.assertEqual(self.server().facts_of(self.shake(self.server()).server).server_name, "")


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
        """A subject that cannot be read is left out; OpenSSL has verified the certificate."""
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a", _ASN1Type.T61String)])
        server = self.server(client_ca=self.clients.certificate, client_auth="required")
        identity = self.clients.identity("c", subject=subject)
        facts = server.facts_of(self.shake(server, context=self.showing(identity)).server)
        self.assertEqual(facts.client_verify, b"SUCCESS")

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
