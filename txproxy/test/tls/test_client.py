"""TLS to backends: whom we trust, as whom we appear, what is said if it fails, and who goes on with which session."""

from __future__ import annotations

import gc
from unittest import mock

from OpenSSL import SSL

from txproxy.net.tls_failure import TlsFault
from txproxy.test.authority import Authority
from txproxy.test.tls.client_case import AUTHORITY, GOOD, TLS12, TLS13, ClientCase, Handshake, Server
from txproxy.tls.client import ClientTlsError
from txproxy.tls.openssl import was_resumed
from txproxy.tls.verification import NotVerified, PeerName, PeerRefused

VERSIONS = (TLS13, TLS12)
STRANGER = Authority("Stranger")


class VerificationTests(ClientCase):
    """T6: who is accepted as a backend."""

    def assertNotVerified(self, made: Handshake, words: str) -> None:
        self.assertIsInstance(made.failure, NotVerified)
        self.assertEqual(str(made.failure), words)
        self.assertFalse(made.is_made)

    def test_good(self) -> None:
        """A certificate for the backend's name, from an authority that is trusted; SNI says that name."""
        for version in VERSIONS:
            made = Handshake(self.tls(), Server(version=version))
            self.assertMade(made)
            self.assertEqual(made.server.get_servername(), b"app.example")

    def test_addresses(self) -> None:
        """A backend that is known by an address must have that in its certificate; no name is sent (RFC 6066)."""
        for host in ("192.0.2.1", "2001:db8::1", "2001:DB8:0::1"):
            made = Handshake(self.tls(host), Server())
            self.assertMade(made)
            self.assertIsNone(made.server.get_servername())
        self.assertNotVerified(Handshake(self.tls("192.0.2.2"), Server()), "the certificate is not for 192.0.2.2")

    def test_serverName(self) -> None:
        """The name can be another than the backend's, an address too."""
        made = Handshake(self.tls("10.0.0.1", server_name="app.example"), Server())
        self.assertMade(made)
        self.assertEqual(made.server.get_servername(), b"app.example")
        made = Handshake(self.tls("other.example", server_name="192.0.2.1"), Server())
        self.assertMade(made)
        self.assertIsNone(made.server.get_servername())

    def test_spellings(self) -> None:
        """A trailing dot or upper case makes no other name; letters beyond ASCII are encoded."""
        for name in ("APP.example", "app.example."):
            made = Handshake(self.tls(name), Server())
            self.assertMade(made)
            self.assertEqual(made.server.get_servername(), b"app.example")
        made = Handshake(self.tls(server_name="bücher.example"), Server(AUTHORITY.identity("xn--bcher-kva.example")))
        self.assertMade(made)
        self.assertEqual(made.server.get_servername(), b"xn--bcher-kva.example")

    def test_wildcard(self) -> None:
        """One label can be any, and only one (RFC 6125 section 6.4.3)."""
        server = Server(AUTHORITY.identity("*.app.example"))
        self.assertMade(Handshake(self.tls("one.app.example"), server))
        for name in ("app.example", "one.two.app.example"):
            self.assertNotVerified(Handshake(self.tls(name), server), f"the certificate is not for {name}")

    def test_wrongName(self) -> None:
        """A valid certificate of somebody else; also one without any name: its common name does not count."""
        for identity in (AUTHORITY.identity("other.example"), AUTHORITY.identity()):
            for version in VERSIONS:
                made = Handshake(self.tls(), Server(identity, version))
                self.assertNotVerified(made, "the certificate is not for app.example")

    def test_notNow(self) -> None:
        """A certificate holds for a time only."""
        for times, words in (
            ({"ends_in_days": -1}, "the certificate has expired"),
            ({"begins_in_days": 0.2}, "the certificate is not valid yet"),
        ):
            for version in VERSIONS:
                made = Handshake(self.tls(), Server(AUTHORITY.identity("app.example", **times), version))
                self.assertNotVerified(made, words)

    def test_expiredAuthority(self) -> None:
        """The same goes for the authority's."""
        old = Authority("Old", ends_in_days=-1)
        made = Handshake(self.tls(ca=self.file("old.pem", old.certificate)), Server(old.identity("app.example")))
        self.assertNotVerified(made, "the certificate of its authority has expired")

    def test_unknownAuthority(self) -> None:
        """Whoever is signed for by a stranger is not trusted; neither does the system know our authority."""
        for server, ca in ((Server(STRANGER.identity("app.example")), self.ca), (Server(), "")):
            made = Handshake(self.tls(ca=ca), server)
            self.assertNotVerified(made, "the certificate is not signed by a known authority")

    def test_pinned(self) -> None:
        """The file may hold the backend's own certificate instead of its authority's: then that one will do."""
        pinned = self.file("own.pem", GOOD.certificate)
        self.assertMade(Handshake(self.tls(ca=pinned), Server()))
        made = Handshake(self.tls(ca=pinned), Server(AUTHORITY.identity("app.example")))
        self.assertNotVerified(made, "the certificate is not signed by a known authority")

    def test_system(self) -> None:
        """Without a file it is the system's authorities; if there are none, it can be told before anybody is refused."""
        with mock.patch.dict("os.environ", {"SSL_CERT_FILE": self.ca, "SSL_CERT_DIR": str(self.folder / "none")}):
            context = self.context(ca="")
        self.assertFalse(context.trusts_nobody)
        self.assertMade(Handshake(context.to("app.example"), Server()))
        none = str(self.folder / "none")
        with mock.patch.dict("os.environ", {"SSL_CERT_FILE": none, "SSL_CERT_DIR": none}):
            self.assertTrue(self.context(ca="").trusts_nobody)
            self.assertFalse(self.context(verify=False, ca="").trusts_nobody)

    def test_systemFolder(self) -> None:
        """Authorities in a folder, by their hashes, are authorities too."""
        self.file("0a1b2c3d.0", AUTHORITY.certificate)
        with mock.patch.dict("os.environ", {"SSL_CERT_FILE": "/none", "SSL_CERT_DIR": f"/none:{self.folder}"}):
            self.assertFalse(self.context(ca="").trusts_nobody)

    def test_notVerified(self) -> None:
        """With verify = false nothing of the certificate matters, and SNI is sent all the same."""
        server = Server(STRANGER.identity("other.example", ends_in_days=-1))
        made = Handshake(self.tls(verify=False), server)
        self.assertMade(made)
        self.assertEqual(made.server.get_servername(), b"app.example")


class AgreementTests(ClientCase):
    """What is spoken."""

    def test_alpn(self) -> None:
        """HTTP/1.1 is offered, nothing else; a server that does not know ALPN is as good."""
        server = Server(alpn=(b"h2", b"http/1.1"))
        self.assertMade(Handshake(self.tls(), server))
        self.assertEqual(server.offered, [b"http/1.1"])
        self.assertMade(Handshake(self.tls(), Server()))

    def test_onlyHttp2(self) -> None:
        """Where nothing but HTTP/2 is spoken nothing else is offered, and a server must choose it."""
        for version in VERSIONS:
            server = Server(version=version, alpn=(b"http/1.1", b"h2"))
            self.assertMade(Handshake(self.context(http2=True).to("app.example", True), server))
            self.assertEqual(server.offered, [b"h2"])
            for other in (Server(version=version, alpn=(b"http/1.1",)), Server(version=version)):
                made = Handshake(self.context(http2=True).to("app.example", True), other)
                self.assertFalse(made.is_made)
                self.assertEqual(str(made.failure), "it does not agree to h2 by ALPN")
                self.assertEqual(made.failure.fault, TlsFault.PEER)  # type: ignore[union-attr]

    def test_handshakeAlone(self) -> None:
        """Who wants no more than a handshake offers both, and takes any."""
        for alpn in ((b"h2",), (b"http/1.1",), (b"spdy/3",), ()):
            server = Server(alpn=alpn)
            self.assertMade(Handshake(self.context(http2=True).to("app.example"), server))
            self.assertEqual(server.offered, [b"h2", b"http/1.1"] if alpn else [])

    def test_versions(self) -> None:
        """TLS 1.2 at least (RFC 8996)."""
        server = Server(version=TLS12)
        server.context = SSL.Context(SSL.TLS_SERVER_METHOD)
        server.context.set_max_proto_version(SSL.TLS1_1_VERSION)
        server.context.set_cipher_list(b"ALL:@SECLEVEL=0")
        made = Handshake(self.tls(), server)
        self.assertFalse(made.is_made)

    def test_forwardSecrecy(self) -> None:
        """A server that can only exchange keys without forward secrecy is not spoken to."""
        server = Server(version=TLS12)
        server.context.set_cipher_list(b"kRSA+AES")
        made = Handshake(self.tls(), server)
        self.assertEqual(str(made.failure), "TLS handshake failed: it sent the alert: handshake failure")
        self.assertEqual(made.failure.fault, TlsFault.PEER)  # type: ignore[union-attr]


class FailureTests(ClientCase):
    """What is said of a handshake that fails for other reasons."""

    def failure(self, says: bytes, only_http2: bool = False) -> str:
        tls = self.context(http2=only_http2).to("app.example", only_http2)
        connection = tls.connection(None)
        connection.bio_write(says)
        try:
            connection.do_handshake()
        except SSL.Error as error:
            failure = tls.failure(connection, error)
            self.assertNotIsInstance(failure, NotVerified)
            return str(failure)
        raise AssertionError("it has not failed")

    def test_plain(self) -> None:
        """A server that speaks no TLS."""
        for greeting in (b"HTTP/1.1 400 Bad Request\r\n\r\n", b"220 mail.example ESMTP\r\n", b"SSH-2.0-OpenSSH\r\n"):
            self.assertEqual(self.failure(greeting), "it does not speak TLS")

    def test_alert(self) -> None:
        """A server that refuses says why."""
        for alert, words in (
            (b"\x28", "TLS handshake failed: it sent the alert: handshake failure"),
            (b"\x70", "TLS handshake failed: tlsv1 unrecognized name"),
        ):
            self.assertEqual(self.failure(b"\x15\x03\x03\x00\x02\x02" + alert), words)
        none = b"\x15\x03\x03\x00\x02\x02\x78"  # no_application_protocol (RFC 7301 section 3.2)
        self.assertEqual(self.failure(none, True), "it does not agree to h2 by ALPN")
        self.assertIn("no application protocol", self.failure(none))

    def test_closed(self) -> None:
        """A connection that ends in the middle, whoever ended it."""
        tls = self.tls()
        connection = tls.connection(None)
        for error in (
            SSL.SysCallError(-1, "Unexpected EOF"),
            SSL.SysCallError(104, "ECONNRESET"),
            SSL.ZeroReturnError(),
        ):
            failure = tls.failure(connection, error)
            self.assertEqual((str(failure), failure.fault), ("closed during the TLS handshake", TlsFault.NETWORK))


class ClientCertificateTests(ClientCase):
    """A backend that asks who we are."""

    def test_shown(self) -> None:
        """It is told, with the whole chain of the file."""
        shown = self.shown(AUTHORITY.intermediate().identity("proxy.example"))
        for version in VERSIONS:
            made = Handshake(self.tls(**shown), Server(version=version, asks=True))
            self.assertMade(made)
            chain = made.server.get_peer_cert_chain(as_cryptography=True)
            self.assertEqual(len(chain or ()), 1)  # As a server sees it: without the first.

    def test_missing(self) -> None:
        """In TLS 1.3 that is heard after our own side was complete: the backend has refused us, and read nothing."""
        made = Handshake(self.tls(), Server(asks=True))
        self.assertTrue(made.is_made)
        self.assertIsInstance(made.failure, PeerRefused)
        self.assertEqual(str(made.failure), "it asks for a certificate of ours (certificate required)")
        made = Handshake(self.tls(), Server(version=TLS12, asks=True))
        self.assertFalse(made.is_made)
        self.assertEqual(str(made.failure), "TLS handshake failed: it sent the alert: handshake failure")

    def test_notAccepted(self) -> None:
        """One that the backend does not trust."""
        shown = self.shown(STRANGER.identity("proxy.example"))
        for version, kind in ((TLS13, PeerRefused), (TLS12, object)):
            made = Handshake(self.tls(**shown), Server(version=version, asks=True))
            self.assertIsInstance(made.failure, kind)
            self.assertEqual(str(made.failure), "it does not accept our certificate (unknown ca)")

    def test_laterAlerts(self) -> None:
        """What is no refusal of us, or comes by a version that cannot refuse so late, may have been read and acted upon."""
        for version in VERSIONS:
            made = Handshake(self.tls(), Server(version=version), greeting=b"")
            for alert in ("internal error", "certificate required") if version == TLS12 else ("internal error",):
                error = SSL.Error([("SSL routines", "", f"tlsv13 alert {alert}")])
                failure = made.tls.failure(made.client, error)
                self.assertNotIsInstance(failure, PeerRefused)
                self.assertEqual(str(failure), f"it sent the alert: {alert}")


class SessionTests(ClientCase):
    """A later connection goes on with the session of an earlier one, and with nobody else's."""

    def test_resumed(self) -> None:
        """The second handshake is a short one, and so is the third."""
        for version in VERSIONS:
            tls, server = self.tls(), Server(version=version)
            for resumed in (False, True, True):
                made = Handshake(tls, server)
                self.assertMade(made)
                self.assertEqual(was_resumed(made.client), resumed)
                made.closes()

    def test_notShared(self) -> None:
        """Another name, authority, certificate of ours or backend: another session."""
        identity = AUTHORITY.identity("app.example", "b.example")
        for version in VERSIONS:
            server = Server(identity, version)
            context = self.context()
            first = context.to("app.example")
            Handshake(first, server).closes()
            others = {
                "name": context.to("b.example"),
                "backend": context.to("app.example"),
                "cluster": self.tls(),
                "certificate": self.tls(**self.shown(AUTHORITY.identity("proxy.example"))),
            }
            for what, other in others.items():
                self.assertFalse(was_resumed(Handshake(other, server).client), what)
            self.assertTrue(was_resumed(Handshake(first, server).client))

    def test_forgotten(self) -> None:
        """A backend that does not know the session any more is no failure."""
        for version in VERSIONS:
            tls = self.tls()
            Handshake(tls, Server(version=version)).closes()
            made = Handshake(tls, Server(version=version))
            self.assertMade(made)
            self.assertFalse(was_resumed(made.client))

    def test_expiredMeanwhile(self) -> None:
        """The time of the certificate is over: the session is not gone on with, and the new handshake finds that out."""
        for version in VERSIONS:
            tls, server = self.tls(), Server(version=version)
            Handshake(tls, server).closes()
            with mock.patch("txproxy.tls.client.has_expired", return_value=True):
                made = Handshake(tls, server)
            self.assertMade(made)
            self.assertFalse(was_resumed(made.client))

    def test_noSessionAfterFailure(self) -> None:
        """A handshake that has failed is not tried with the same session again: it may have been to blame."""
        tls, server = self.tls(), Server()
        Handshake(tls, server).closes()
        tls.failure(tls.connection(None), SSL.Error([("SSL routines", "", "tlsv1 alert internal error")]))
        self.assertFalse(was_resumed(Handshake(tls, server).client))


class RemainsTests(ClientCase):
    """What is left of a connection."""

    def test_nothing(self) -> None:
        """No connection needs the garbage collector, verified or not; it holds some 70 KiB."""
        good, stranger = Server(), Server(STRANGER.identity("app.example"))
        asking = Server(asks=True)
        tls = self.tls()
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        before = _connections()
        for server in (good, stranger, asking, good):
            made = Handshake(tls, server)
            made.failure = None
            del made
        self.assertEqual(_connections() - before, set())

    def test_queueOfErrors(self) -> None:
        """A failed handshake leaves nothing that would be taken for the next connection's error."""
        tls = self.tls()
        for server in (Server(STRANGER.identity("app.example")), Server(AUTHORITY.identity("other.example"))):
            Handshake(tls, server)
            self.assertMade(Handshake(tls, Server()))


class SettingsTests(ClientCase):
    """Settings that cannot be used are refused when the context is made, each with its key."""

    def test_files(self) -> None:
        """Files that are missing, hold something else, or do not belong together."""
        missing, garbage = str(self.folder / "missing.pem"), self.file("garbage.pem", b"garbage")
        chain, key = self.file("chain.pem", GOOD.certificate), self.file("key.pem", GOOD.key)
        other = self.file("other.pem", STRANGER.identity("x").key)
        locked = self.file("locked.pem", GOOD.encrypted_key())
        old = self.shown(AUTHORITY.identity("x", ends_in_days=-1))
        for settings, name, file in (
            ({"ca": missing}, "ca", missing),
            ({"ca": str(self.folder)}, "ca", str(self.folder)),
            ({"ca": "a\0b"}, "ca", "a\\u0000b"),
            ({"ca": garbage}, "ca", garbage),
            ({"ca": key}, "ca", key),
            ({"client_chain": missing, "client_key": key}, "client_chain", missing),
            ({"client_chain": key, "client_key": key}, "client_chain", key),
            ({"client_chain": chain, "client_key": missing}, "client_key", missing),
            ({"client_chain": chain, "client_key": garbage}, "client_key", garbage),
            ({"client_chain": chain, "client_key": locked}, "client_key", locked),
            ({"client_chain": chain, "client_key": other}, "client_key", other),
            (old, "client_chain", old["client_chain"]),
        ):
            error = self.assertRaises(ClientTlsError, self.context, **settings)
            self.assertEqual(error.key, name)
            self.assertIn(f'"{file}"', str(error))
            self.assertNotIn("\n", str(error))

    def test_doubts(self) -> None:
        """What is doubtful but can be used is told: here an authority whose time is over, beside one that is good."""
        old = Authority("Old", ends_in_days=-1)
        context = self.context(ca=self.file("both.pem", AUTHORITY.certificate + old.certificate))
        (warning,) = context.warnings
        self.assertIn("1 of 2 authorities", warning)
        self.assertMade(Handshake(context.to("app.example"), Server()))

    def test_serverName(self) -> None:
        """A name that is none."""
        for name in ("ä" * 70, "a\0b", "a b", "*.example", "http://a.example", "a.example:443", "."):
            error = self.assertRaises(ClientTlsError, self.context, server_name=name)
            self.assertEqual(error.key, "server_name")

    def test_names(self) -> None:
        """What a host is taken for."""
        for text, name in (
            ("App.Example", PeerName("app.example", False)),
            ("my_backend", PeerName("my_backend", False)),
            ("[::1]", PeerName("::1", True)),
            ("fe80::1%eth0", PeerName("fe80::1", True)),
            ("127.0.0.1", PeerName("127.0.0.1", True)),
        ):
            self.assertEqual(PeerName.of(text), name)


def _connections() -> set[int]:
    return {id(each) for each in gc.get_objects() if isinstance(each, SSL.Connection)}
