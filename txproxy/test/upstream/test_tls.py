"""Requests to backends that are spoken to over TLS: what handshakes that fail, and ends without an alert, lead to.

The handshakes themselves are those of ``tls.client``; here they succeed or fail as each test says.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from unittest import mock

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectError, TimeoutError

from txproxy.config.problems import ConfigError
from txproxy.net.tls_failure import TlsFailure, TlsFault
from txproxy.test.authority import Authority
from txproxy.test.talk import GET, OK, POST_5, TalkCase, head, post
from txproxy.test.upstream.observing import logged
from txproxy.testing import Dialogue, FakeTransport, Peer
from txproxy.testing.names import FakeResolver
from txproxy.tls.verification import NotVerified, PeerRefused

A, B = "10.0.0.1:443", "10.0.0.2:443"
TLS = "tls = { enabled = true, verify = false }"
EXPIRED = NotVerified("the certificate has expired")
REFUSED = PeerRefused("it asks for a certificate of ours (certificate required)")
CUT = TlsFailure(TlsFault.NETWORK, "closed without a close alert")


class TlsCase(TalkCase):
    """A proxy whose backends speak TLS."""

    def secure(self, *backends: str, cluster: str = "", route: str = "") -> Dialogue:
        return self.proxy(backends=backends or (A,), cluster=f"{TLS}\n{cluster}", route=route)

    def lose(self, dialogue: Dialogue, backend: Peer, error: TlsFailure) -> None:
        backend.transport.lose(error)
        dialogue.settle()


class HandshakeTests(TlsCase):
    """T6: handshakes that fail."""

    def test_notVerified(self) -> None:
        """502 tls-verify; the client learns nothing of the reason, which the log has once, however often it happens."""
        dialogue = self.secure()
        with logged() as lines:
            for _ in range(3):
                client = dialogue.client()
                client.says(GET)
                dialogue.refuse(A, EXPIRED)
                self.assertNotIn(b"expired", self.assertStatus(client, 502))
                self.assertEnd(dialogue, "tls-verify", 502)
        words = "cannot be verified: the certificate has expired"
        self.assertEqual([line for line in lines if "verified" in line], [f"backend {A} {words}"])

    def test_mended(self) -> None:
        """Once it was accepted again, the next time is news."""
        dialogue = self.secure(cluster="pool.max_idle = 0")
        with logged() as lines:
            for error in (EXPIRED, None, EXPIRED, NotVerified("the certificate is not for app.example")):
                client = dialogue.client()
                client.says(GET)
                if error is None:
                    dialogue.backend(A).says(OK)
                else:
                    dialogue.refuse(A, error)
        self.assertEqual(len([line for line in lines if "cannot be verified" in line]), 3)

    def test_noTerms(self) -> None:
        """A backend that speaks no TLS, or does not accept us, is said once a minute, and whenever the reason changes."""
        dialogue = self.secure(cluster="pool.max_idle = 0\npassive.failures = 1000")
        asks = "it asks for a certificate of ours"
        with logged() as lines:
            for words, pause_s in (("it does not speak TLS", 0), (asks, 0), (asks, 0), (asks, 61), ("", 0)):
                dialogue.advance(pause_s)
                client = dialogue.client()
                client.says(GET)
                fault = TlsFault.PEER if words else TlsFault.NETWORK
                dialogue.refuse(A, TlsFailure(fault, words or "closed in the handshake"))
                self.assertStatus(client, 502)
                self.assertEnd(dialogue, "connect-failed", 502)
        start = f"backend {A} and we do not come to terms by TLS: "
        self.assertEqual(
            [line for line in lines if "terms" in line],
            [f"{start}it does not speak TLS", f"{start}{asks}", f"{start}{asks}"],
        )

    def test_elsewhere(self) -> None:
        """It is a failure to connect: any method goes to another backend at once, and the budget is not asked."""
        for says in (GET, POST_5):
            dialogue = self.secure(A, B, cluster="retry = { budget = 0.0, min_per_s = 0 }")
            client = dialogue.client()
            client.says(says)
            dialogue.refuse(A, EXPIRED)
            backend = dialogue.backend(B)
            self.assertIn(says.split(b" ")[0], backend.gets())
            backend.says(OK)
            self.assertStatus(client, 200)
            self.assertEqual(dialogue.lines[-1]["tries"], 2)

    def test_differentReasons(self) -> None:
        """If all backends fail, the last of them says why."""
        for errors, end, status in (
            ((EXPIRED, EXPIRED), "tls-verify", 502),
            ((ConnectError(), EXPIRED), "tls-verify", 502),
            ((EXPIRED, ConnectError()), "connect-failed", 502),
            ((EXPIRED, TimeoutError()), "connect-timeout", 504),
        ):
            dialogue = self.secure(A, B)
            client = dialogue.client()
            client.says(GET)
            for address, error in zip((A, B), errors, strict=True):
                dialogue.refuse(address, error)
            self.assertStatus(client, status)
            self.assertEnd(dialogue, end, status)

    def test_ejected(self) -> None:
        """It counts against the backend as any failure to connect."""
        dialogue = self.secure(A, B, cluster='passive.failures = 2\nbalance = "round_robin"')
        dialogue.script(B, OK)
        for _ in range(4):
            client = dialogue.client()
            client.says(GET)
            if dialogue.attempts:
                dialogue.refuse(A, EXPIRED)
        (state,) = [each for each in dialogue.roster.status() if each.name == A]
        self.assertEqual((state.state, state.last_error), ("ejected", "the certificate has expired"))

    def test_breaker(self) -> None:
        """And it opens a circuit breaker."""
        dialogue = self.secure(cluster="breaker = { error_rate = 0.5 }\nretry.tries = 1")
        for _ in range(10):
            client = dialogue.client()
            client.says(GET)
            dialogue.refuse(A, EXPIRED)
        client = dialogue.client()
        client.says(GET)
        self.assertStatus(client, 503)

    def test_otherFailures(self) -> None:
        """What has nothing to do with the certificate is a failure to connect; too slow a handshake is a timeout."""
        for error, end, status in (
            (TlsFailure(TlsFault.PEER, "it does not speak TLS"), "connect-failed", 502),
            (TlsFailure(TlsFault.NETWORK, "closed during the TLS handshake"), "connect-failed", 502),
            (TimeoutError("no TLS handshake in time"), "connect-timeout", 504),
        ):
            dialogue = self.secure()
            client = dialogue.client()
            client.says(GET)
            dialogue.refuse(A, error)
            self.assertStatus(client, status)
            self.assertEnd(dialogue, end, status)


class RefusedLateTests(TlsCase):
    """A backend that asks for a certificate that we do not have: by TLS 1.3 it says so when a request is on its way."""

    def test_alone(self) -> None:
        """502 connect-failed, whatever the method: no mysterious bad reply."""
        for says in (GET, POST_5):
            dialogue = self.secure()
            client, backend = self.busy(dialogue, says)
            self.lose(dialogue, backend, REFUSED)
            self.assertStatus(client, 502)
            self.assertEnd(dialogue, "connect-failed", 502)
            self.assertEqual(dialogue.roster.status()[0].last_error, REFUSED.words)

    def test_elsewhere(self) -> None:
        """The backend has read nothing of the request, so it goes elsewhere, with any method and its body."""
        dialogue = self.secure(A, B)
        client, backend = self.busy(dialogue, POST_5)
        self.lose(dialogue, backend, REFUSED)
        other = dialogue.backend(B)
        self.assertTrue(other.gets().endswith(b"\r\n\r\nhello"))
        other.says(OK)
        self.assertStatus(client, 200)

    def test_bodyGone(self) -> None:
        """Unless a part of its body is gone."""
        dialogue = self.secure(A, B, cluster="retry.body_bytes = 4")
        client = dialogue.client()
        client.says(post(10) + b"hello")
        backend = dialogue.backend(A)
        self.lose(dialogue, backend, REFUSED)
        self.assertStatus(client, 502)
        self.assertEqual(self.assertEnd(dialogue, "connect-failed", 502)["tries"], 1)

    def test_beforeTheRequest(self) -> None:
        """It may also come before the request is sent."""
        dialogue = self.secure()
        client = dialogue.client()
        client.says(GET)
        # A connection is handed out a turn after it was made.
        attempt = dialogue.attempts.pop(0)
        address = IPv4Address("TCP", "10.0.0.1", 443)
        transport = FakeTransport(address, address)
        transport.connect(attempt.factory.buildProtocol(address))
        transport.lose(REFUSED)
        transport.turn()
        dialogue.settle()
        self.assertStatus(client, 502)
        self.assertEnd(dialogue, "connect-failed", 502)
        self.assertEqual(dialogue.roster.status()[0].last_error, REFUSED.words)

    def test_heardFirst(self) -> None:
        """What the backend has said before the request goes out is heard first: a write that fails would destroy it."""
        dialogue = self.secure()
        client = dialogue.client()
        client.says(GET)
        attempt = dialogue.attempts.pop(0)
        address = IPv4Address("TCP", "10.0.0.1", 443)
        transport = FakeTransport(address, address)
        sent_before: list[int] = []

        def has_unread_or_closed() -> bool:
            sent_before.append(len(transport.sent))
            transport.lose(REFUSED)
            return True

        transport.ssl = object()
        transport.has_unread_or_closed = has_unread_or_closed  # type: ignore[method-assign]
        transport.connect(attempt.factory.buildProtocol(address))
        dialogue.settle()
        self.assertEqual(sent_before, [0])
        transport.turn()
        dialogue.settle()
        self.assertStatus(client, 502)
        self.assertEnd(dialogue, "connect-failed", 502)

    def test_otherEnds(self) -> None:
        """What ends without such an alert may have been read: only what can be sent again is."""
        dialogue = self.secure(A, B)
        client, backend = self.busy(dialogue, POST_5)
        self.lose(dialogue, backend, CUT)
        self.assertStatus(client, 502)
        self.assertEnd(dialogue, "bad-reply", 502)


class TruncationTests(TlsCase):
    """An end that the backend has not announced by an alert cannot be told from an attack (RFC 8446 section 6.1)."""

    def begun(self, *fields: bytes) -> tuple[Dialogue, Peer, Peer]:
        dialogue = self.secure()
        client, backend = self.busy(dialogue)
        backend.says(head(*fields) + b"all is")
        self.assertTrue(client.gets_head())
        return dialogue, client, backend

    def test_untilClose(self) -> None:
        """A body that ends with the connection has not ended then: the client's does not end cleanly either."""
        dialogue, client, backend = self.begun()
        self.lose(dialogue, backend, CUT)
        self.assertNotIn(b"0\r\n\r\n", client.gets())
        self.assertFalse(client.is_open)
        self.assertEnd(dialogue, "reply-cut", 200)

    def test_announced(self) -> None:
        """With the alert it has."""
        dialogue, client, backend = self.begun()
        backend.finishes()
        self.assertTrue(client.gets().endswith(b"0\r\n\r\n"))
        self.assertEnd(dialogue, "ok", 200)

    def test_complete(self) -> None:
        """Where the length is known nothing is missing, so the missing alert does not matter."""
        dialogue, client, backend = self.begun(b"Content-Length: 6")
        self.assertEqual(client.gets(), b"all is")
        self.lose(dialogue, backend, CUT)
        self.assertTrue(client.is_open)
        self.assertEnd(dialogue, "ok", 200)


class AddressTests(TlsCase):
    """HF9: what a backend is called."""

    def host_sent(self, dialogue: Dialogue) -> bytes | None:
        dialogue.client().says(GET)
        backend = dialogue.backend()
        host = backend.gets_head().get(b"Host")
        backend.says(OK)
        return host

    def test_host(self) -> None:
        """Host leaves out the port if it is that of https; 80 is no default here."""
        for address, host in ((A, b"10.0.0.1"), ("10.0.0.1:80", b"10.0.0.1:80"), ("[::1]:443", b"[::1]")):
            dialogue = self.secure(address, route='host = "backend"')
            self.assertEqual(self.host_sent(dialogue), host)  # The fakes have no TLS: what is sent can be read.

    def test_plain(self) -> None:
        """Without TLS, 443 is a port like any other."""
        dialogue = self.proxy(backends=(A,), route='host = "backend"')
        self.assertEqual(self.host_sent(dialogue), b"10.0.0.1:443")

    def test_whoIsMeant(self) -> None:
        """The certificate must be for the name that was configured, not for the address that the DNS has for it."""
        resolver = FakeResolver()
        resolver.set("app.example", "10.0.0.7")
        text = f"""
        listener = [{{ name = "web", address = "127.0.0.1:8080" }}]
        route = [{{ name = "all", cluster = "app" }}]
        [cluster.app]
        backends = [{{ address = "app.example:443" }}, {{ address = "{A}" }}, {{ address = "unix:/run/app.sock" }}]
        {TLS}
        """
        with mock.patch("txproxy.tls.client.ClientContext.to", autospec=True) as to:
            dialogue = Dialogue.of(self, text, resolver=resolver)
            dialogue.roster.add("later.example:8443")
            resolver.set("later.example", "10.0.0.8")
            dialogue.roster.add("10.0.0.9:443")
            dialogue.settle()
        self.assertEqual({call.args[1] for call in to.call_args_list} - {"later.example"}, _HOSTS)


_HOSTS = {"app.example", "10.0.0.1", "localhost", "10.0.0.9"}


class SettingsTests(TlsCase):
    """What cannot be used is told when the proxy is assembled, by one line with its key."""

    def test_files(self) -> None:
        """A file that is not what it should be."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        garbage = Path(folder.name) / "garbage.pem"
        garbage.write_bytes(b"garbage")
        pair = Authority().identity("x")
        chain, key = Path(folder.name) / "chain.pem", Path(folder.name) / "key.pem"
        chain.write_bytes(pair.certificate)
        key.write_bytes(Authority().identity("x").key)
        for tls, path in (
            (f'enabled = true, ca = "{garbage}"', "cluster.app.tls.ca"),
            (f'enabled = true, client_chain = "{garbage}", client_key = "{key}"', "cluster.app.tls.client_chain"),
            (f'enabled = true, client_chain = "{chain}", client_key = "{key}"', "cluster.app.tls.client_key"),
        ):
            error = self.assertRaises(ConfigError, self.proxy, cluster=f"tls = {{ {tls} }}")
            (problem,) = error.problems
            self.assertEqual(problem.path, path)
            self.assertNotIn("\n", str(problem))

    def test_nobodyIsTrusted(self) -> None:
        """A system without authorities is told of at the start, not by a thousand requests that fail."""
        environment = {"SSL_CERT_FILE": "/none", "SSL_CERT_DIR": "/none"}
        with mock.patch.dict("os.environ", environment), logged() as lines:
            self.proxy(cluster="tls.enabled = true")
        (line,) = lines
        self.assertTrue(line.startswith("cluster app: no backend will be accepted: "), line)
        self.assertIn("cluster.app.tls.ca", line)
