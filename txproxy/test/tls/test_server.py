"""TLS towards clients, without sockets: who gets which certificate, what is agreed on."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace
from pathlib import Path

from OpenSSL import SSL

from txproxy.test.authority import Authority
from txproxy.test.tls.memory import Pipe
from txproxy.test.tls.server_case import DAY_S, ServerCase, client
from txproxy.tls.openssl import set_groups
from txproxy.tls.profile import Profile
from txproxy.tls.server import ServerTls


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
        self.assertFalse(server.has_expired)
        self.now += 20 * DAY_S
        self.assertTrue(server.has_expired)
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
        pairs = self.pair("a.test", "aa.test"), self.pair("b.test")
        server = self.server(*pairs)

        def passed(name: str | None) -> list[bytes]:
            guard = server.guard_for(self.shake(server, name).server)
            server.certificates_changed((replace(pairs[0]), replace(pairs[1])))
            return [host for host in (b"a.test", b"aa.test", b"b.test", b"unknown.test") if guard(host)]

        self.assertEqual(passed("a.test"), [b"a.test", b"aa.test", b"unknown.test"])
        self.assertEqual(passed(None), [b"a.test", b"aa.test", b"unknown.test"])
        self.assertEqual(passed("b.test"), [b"b.test"])

    def test_guardWhenStrict(self) -> None:
        """A host that has no certificate at all has no other one either."""
        server = self.server(self.pair("a.test"), self.pair("b.test"), strict_sni=True)
        guard = server.guard_for(self.shake(server, "a.test").server)
        self.assertTrue(guard(b"unknown.test"))
        self.assertFalse(guard(b"b.test"))

    def test_address(self) -> None:
        """Who connects to an address, which is not sent as a name, gets the certificate for that address."""
        server = self.server(self.pair("a.test"), self.pair("10.0.0.1", "x.test"))
        pipe = Pipe(server.getContext())
        pipe.server.getsockname = lambda: ("10.0.0.1", 443)  # type: ignore[attr-defined]
        certificate = pipe.shake_hands().client.get_peer_certificate(as_cryptography=True)
        assert certificate is not None
        self.assertIn("x.test", str(certificate.extensions))
        self.assertTrue(server.guard_for(pipe.server)(b"10.0.0.1"))

    def test_refusalsLeaveNothing(self) -> None:
        """A refused connection is gone without the garbage collector."""
        server = self.server(strict_sni=True, alpn=(b"http/1.1",))
        for name, alpn in ((b"b.test", ()), (b"a.test", [b"imap"])):
            pipe = Pipe(server.getContext(), name=name, alpn=alpn).shake_hands()
            self.assertFalse(pipe.is_complete)
            gone = weakref.ref(pipe.server)
            gc.collect()
            gc.disable()
            try:
                del pipe
                self.assertIsNone(gone())
            finally:
                gc.enable()


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
