"""C2: checks over TLS."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from OpenSSL import SSL, crypto

from txproxy.test.authority import Authority, Identity
from txproxy.test.upstream.checks.probe_case import PASSED, TARGET, ProbeCase
from txproxy.testing import Peer
from txproxy.upstream.checks.probes import ProbeTls

AUTHORITY = Authority()
GOOD = AUTHORITY.identity("app.example", "192.0.2.1", "2001:db8::1")
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
HELLO = b"\x16\x03"


class TlsServer:
    """The backend's end of TLS, on a peer of a test.

    :param peer: accepted already.
    :param identity: the certificate that it shows.
    :param verify: ask for a certificate of the client.
    """

    def __init__(self, peer: Peer, identity: Identity = GOOD, verify: bool = False) -> None:
        self.peer = peer
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.use_certificate(crypto.load_certificate(crypto.FILETYPE_PEM, identity.certificate))
        context.use_privatekey(crypto.load_privatekey(crypto.FILETYPE_PEM, identity.key))
        if verify:
            context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT)
            context.get_cert_store().add_cert(crypto.load_certificate(crypto.FILETYPE_PEM, AUTHORITY.certificate))  # type: ignore[union-attr]
        context.set_tlsext_servername_callback(lambda connection: self.names.append(connection.get_servername()))
        self.names: list[bytes | None] = []
        """What SNI said."""
        self.heard = b""
        self.sees_close_alert = False
        self.connection = SSL.Connection(context, None)
        self.connection.set_accept_state()

    def turns(self, count: int = 4) -> None:
        """Exchange what there is to exchange."""
        for _ in range(count):
            data = self.peer.gets()
            if data:
                self.connection.bio_write(data)
            try:
                self.connection.do_handshake()
                self.heard += self.connection.recv(65536)
            except SSL.WantReadError:
                pass
            except SSL.ZeroReturnError:
                self.sees_close_alert = True
            except SSL.Error:
                pass
            self.flush()

    def says(self, data: bytes) -> None:
        self.connection.send(data)
        self.flush()

    def flush(self) -> None:
        try:
            data = self.connection.bio_read(65536)
        except SSL.WantReadError:
            return
        if not self.peer.transport.disconnected:
            self.peer.says(data)


class TlsCase(ProbeCase):
    """Checks over TLS that trust one authority."""

    def setUp(self) -> None:
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.ca = self.file("ca.pem", AUTHORITY.certificate)

    def file(self, name: str, content: bytes) -> str:
        path = self.folder / name
        path.write_bytes(content)
        return str(path)

    def check(self, identity: Identity = GOOD, tls: ProbeTls | None = None, **settings: Any) -> TlsServer:
        """Make a check up to the end of its handshake."""
        self.verdicts.clear()
        settings.setdefault("type", "tls")
        self.begin(tls=tls or ProbeTls(ca=self.ca), **settings)
        server = TlsServer(self.accept(), identity)
        server.turns()
        return server


class HandshakeTests(TlsCase):
    """Whom a check accepts."""

    def test_good(self) -> None:
        """A certificate for the backend's name, from an authority that is trusted: the end is orderly."""
        server = self.check()
        self.assert_verdict(PASSED)
        self.assertEqual(server.names, [b"app.example"])
        self.assertTrue(server.sees_close_alert)
        self.assertTrue(server.peer.sees_end)

    def test_addresses(self) -> None:
        """A backend that is known by an address must have that in its certificate; no name is sent."""
        for host_field, verdict in (
            (b"192.0.2.1:443", PASSED),
            (b"[2001:db8::1]:443", PASSED),
            (b"192.0.2.2", "the certificate is not for 192.0.2.2"),
        ):
            server = self.check(target=TARGET._replace(host_field=host_field))
            self.assert_verdict(verdict)
            self.assertEqual(server.names, [None])

    def test_serverName(self) -> None:
        """The name can be another than the backend's; a trailing dot or upper case makes no other."""
        server = self.check(
            tls=ProbeTls(ca=self.ca, server_name="app.example"), target=TARGET._replace(host_field=b"x")
        )
        self.assert_verdict(PASSED)
        self.assertEqual(server.names, [b"app.example"])
        self.check(target=TARGET._replace(host_field=b"APP.example.:8443"))
        self.assert_verdict(PASSED)

    def test_wrongName(self) -> None:
        """A valid certificate of somebody else; also one without any name."""
        for identity in (AUTHORITY.identity("other.example"), AUTHORITY.identity()):
            self.check(identity)
            self.assert_verdict("the certificate is not for app.example")

    def test_notNow(self) -> None:
        """A certificate holds for a time only."""
        self.check(AUTHORITY.identity("app.example", ends_in_days=-1))
        self.assert_verdict("the certificate has expired")
        self.check(AUTHORITY.identity("app.example", begins_in_days=0.2))
        self.assert_verdict("the certificate is not valid yet")

    def test_expiredAuthority(self) -> None:
        """The same goes for the authority's."""
        old = Authority("Old", ends_in_days=-1)
        self.check(old.identity("app.example"), ProbeTls(ca=self.file("old.pem", old.certificate)))
        self.assert_verdict("the certificate of its authority has expired")

    def test_unknownAuthority(self) -> None:
        """Whoever signs for himself, or is signed for by a stranger, is not trusted; neither does the system know ours."""
        stranger = Authority("Stranger").identity("app.example")
        for identity, tls in ((stranger, None), (GOOD, ProbeTls())):
            self.check(identity, tls)
            self.assert_verdict("the certificate is not signed by a known authority")

    def test_notVerified(self) -> None:
        """With verify = false nothing of the certificate matters."""
        identity = Authority("Stranger").identity("other.example", ends_in_days=-1)
        server = self.check(identity, ProbeTls(verify=False))
        self.assert_verdict(PASSED)
        self.assertEqual(server.names, [b"app.example"])

    def test_defaults(self) -> None:
        """A tls check without settings verifies."""
        self.begin(type="tls")
        server = TlsServer(self.accept())
        server.turns()
        self.assert_verdict("the certificate is not signed by a known authority")

    def test_clientCertificate(self) -> None:
        """A backend that asks who we are is told."""
        own = AUTHORITY.identity("proxy.example")
        tls = ProbeTls(True, "", self.ca, self.file("chain.pem", own.certificate), self.file("key.pem", own.key))
        self.begin(type="tls", tls=tls)
        server = TlsServer(self.accept(), verify=True)
        server.turns()
        self.assert_verdict(PASSED)
        self.assertIsNotNone(server.connection.get_peer_certificate())


class NoHandshakeTests(TlsCase):
    """Backends with which there is no handshake."""

    def begin_tls(self) -> Peer:
        self.verdicts.clear()
        self.begin(type="tls", tls=ProbeTls(ca=self.ca))
        backend = self.accept()
        self.assertTrue(backend.gets().startswith(HELLO))
        return backend

    def test_silent(self) -> None:
        """C2: no handshake in 2 s is a failure."""
        backend = self.begin_tls()
        self.advance(1.9)
        self.assert_verdict()
        self.advance(0.1)
        self.assert_verdict("no TLS handshake in 2 s")
        self.assertFalse(backend.is_open)

    def test_plain(self) -> None:
        """A server that speaks no TLS."""
        for greeting in (b"HTTP/1.1 400 Bad Request\r\n\r\n", b"220 mail.example ESMTP\r\n", b"SSH-2.0-OpenSSH\r\n"):
            self.begin_tls().says(greeting)
            self.assert_verdict("it does not speak TLS")

    def test_speaksFirst(self) -> None:
        """Nor does one that speaks before the handshake has begun."""
        self.begin(type="tls", tls=ProbeTls(ca=self.ca))
        self.accept(says=b"220 mail.example ESMTP\r\n")
        self.assert_verdict("it does not speak TLS")

    def test_alert(self) -> None:
        """A backend that refuses says why."""
        self.begin_tls().says(b"\x15\x03\x03\x00\x02\x02\x28")
        (verdict,) = self.verdicts
        self.assertTrue(verdict.startswith("TLS handshake failed: ") and "handshake failure" in verdict, verdict)

    def test_closes(self) -> None:
        """A connection that ends in the handshake, or before it has begun."""
        self.begin_tls().finishes()
        self.assert_verdict("closed during the TLS handshake")
        self.begin_tls().resets()
        self.assert_verdict("closed during the TLS handshake")
        self.verdicts.clear()
        self.begin(type="tls", tls=ProbeTls(ca=self.ca))
        transport = self.connect(self.take_attempt())
        transport.lose()
        transport.turn()
        self.settle()
        self.assert_verdict("closed during the TLS handshake")

    def test_endsBeforeTheCheckKnowsOfIt(self) -> None:
        """A connection is handed out a turn after it was made: what has become of it meanwhile is not forgotten."""
        self.begin(type="tls", tls=ProbeTls(ca=self.ca))
        transport = self.connect(self.take_attempt(), says=b"220 mail.example ESMTP\r\n" * 2)
        transport.turn()
        transport.arriving += b"250 OK\r\n"
        transport.turn()
        transport.lose()
        transport.turn()
        self.settle()
        self.assert_verdict("it does not speak TLS")

    def test_givenUp(self) -> None:
        """A check that nobody waits for any more leaves nothing behind."""
        check = self.begin(type="tls", tls=ProbeTls(ca=self.ca))
        backend = self.accept()
        check.cancel()
        self.assert_verdict("CancelledError")
        self.settle()
        self.assertFalse(backend.is_open)


class HttpsTests(TlsCase):
    """An http check of a cluster whose backends speak TLS."""

    def test_reply(self) -> None:
        """The request goes out after the handshake, and the reply is read as any."""
        server = self.check(type="http", body="ok")
        self.assertTrue(server.heard.startswith(b"GET /health HTTP/1.1\r\nHost: app.example:8080\r\n"), server.heard)
        self.assert_verdict()
        server.says(OK)
        self.assert_verdict(PASSED)
        self.assertTrue(server.peer.sees_end)

    def test_status(self) -> None:
        """A reply that is refused is not read to its end."""
        server = self.check(type="http")
        server.says(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 1000\r\n\r\n")
        self.assert_verdict("status 503")
        self.assertTrue(server.peer.sees_reset)

    def test_wrongName(self) -> None:
        """Nothing is asked of a stranger."""
        server = self.check(AUTHORITY.identity("other.example"), type="http")
        self.assert_verdict("the certificate is not for app.example")
        self.assertEqual(server.heard, b"")

    def test_ends(self) -> None:
        """A body that ends with the connection needs a close alert, for anybody can send a FIN (RFC 8446 section 6.1)."""
        for alert, verdict in ((True, PASSED), (False, "the reply was cut")):
            server = self.check(type="http")
            server.says(b"HTTP/1.1 200 OK\r\n\r\nall is well")
            if alert:
                server.connection.shutdown()
                server.flush()
            server.peer.finishes()
            self.assert_verdict(verdict)

    def test_garbageAfterTheHandshake(self) -> None:
        """What is no record of TLS ends the connection."""
        server = self.check(type="http")
        server.peer.says(b"garbage" * 10)
        self.assert_verdict("connection lost before its reply")
        self.assertFalse(server.peer.is_open)

    def test_silentAfterTheHandshake(self) -> None:
        """The reason says what was waited for."""
        self.check(type="http")
        self.advance(2)
        self.assert_verdict("no reply in 2 s")


class SettingsTests(TlsCase):
    """Files that cannot be used."""

    def test_files(self) -> None:
        """They are refused when the probe is made, with their names."""
        missing, garbage = str(self.folder / "missing.pem"), self.file("garbage.pem", b"garbage")
        other = AUTHORITY.identity("x")
        chain, key = self.file("chain.pem", GOOD.certificate), self.file("key.pem", other.key)
        for tls in (
            ProbeTls(ca=missing),
            ProbeTls(ca=garbage),
            ProbeTls(client_chain=missing, client_key=missing),
            ProbeTls(client_chain=chain, client_key=garbage),
            ProbeTls(client_chain=chain, client_key=key),
        ):
            error = self.assertRaises(ValueError, self.begin, type="tls", tls=tls)
            self.assertIn(str(self.folder), str(error))

    def test_name(self) -> None:
        """So is a name that is none; one that is not ASCII is encoded."""
        for name in ("ä" * 70, "a\0b"):
            self.assertRaises(ValueError, self.begin, type="tls", tls=ProbeTls(server_name=name))
        server = self.check(
            AUTHORITY.identity("xn--bcher-kva.example"), ProbeTls(ca=self.ca, server_name="bücher.example")
        )
        self.assert_verdict(PASSED)
        self.assertEqual(server.names, [b"xn--bcher-kva.example"])
