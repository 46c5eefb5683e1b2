"""A client connection before its TLS handshake is complete: counted, limited in time, handed over, or counted as failed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from twisted.internet.error import ConnectionDone

from txproxy.downstream.secure_site import SecureSite
from txproxy.errors import ShuttingDown
from txproxy.net.tls_failure import TlsFailure, TlsFault
from txproxy.policy.facts import TlsFacts
from txproxy.test.talk import GET, OK, TalkCase, request
from txproxy.test.upstream.observing import logged
from txproxy.testing import Peer
from txproxy.tls.identity import NotAccepted
from txproxy.tls.server import ServerSettings


class FakeTls:
    """Stands for the certificates of a listener: those of a.example and the default have one, b.example another."""

    def __init__(self) -> None:
        self.settings = ServerSettings("main")
        self.error: Exception | None = None
        self.has_expired = False
        self.facts = TlsFacts("TLSv1.3", "TLS_AES_128_GCM_SHA256", "a.example", "http/1.1")

    def facts_of(self, connection: object) -> TlsFacts:
        """Return what the handshake has agreed on."""
        if self.error is not None:
            raise self.error
        return self.facts

    def guard_for(self, connection: object) -> Any:
        """Return who tells whether a host has the same certificate."""
        return lambda host: host != b"b.example"


class HandshakeCase(TalkCase):
    """Has one https listener beside the plain one of a dialogue."""

    def setUp(self) -> None:
        """Make the proxy."""
        self.dialogue = self.proxy()
        plain = self.dialogue.assembled.sites["web"]
        self.tls = FakeTls()
        settings = replace(plain.settings, name="secure", scheme=b"https")
        self.site = SecureSite(settings, plain.router, plain.tools, self.tls)  # type: ignore[arg-type]
        self.dialogue.assembled.sites["secure"] = self.site
        self.counts = self.site.tools.counters.tls
        self.gate = self.dialogue.assembled.gate

    def connects(self, says: bool = True) -> Peer:
        """Return a client that has begun its handshake.

        :param says: it has sent something.
        """
        client = self.dialogue.client(listener="secure")
        transport: Any = client.transport
        transport.bytes_seen, transport.ssl = says, object()
        return client

    def completes(self, client: Peer) -> None:
        """Complete the handshake."""
        client.transport.protocol.handshakeCompleted()
        self.dialogue.settle()

    def loses(self, client: Peer, error: Exception) -> list[str]:
        """End the connection; return what is logged."""
        with logged() as lines:
            client.transport.lose(error)
            self.dialogue.settle()
        return lines


class CompletedTests(HandshakeCase):
    """The handshake succeeds."""

    def test_served(self) -> None:
        """The connection is counted once, and serves requests by https."""
        client = self.connects()
        self.assertEqual((self.gate.connections, len(self.site.connections)), (1, 1))
        self.completes(client)
        self.assertEqual((self.gate.connections, len(self.site.connections)), (1, 1))
        client.says(GET)
        backend = self.dialogue.backend()
        self.assertEqual(backend.gets_head().get(b"X-Forwarded-Proto"), b"https")
        backend.says(OK)
        self.assertStatus(client, 200)
        client.finishes()
        self.assertEqual((self.gate.connections, len(self.site.connections)), (0, 0))
        self.assertEqual((self.counts.handshakes, self.counts.resumed, self.counts.failures.total()), (1, 0, 0))
        self.assertEqual(self.assertEnd(self.dialogue, "ok", 200)["tls"], "TLSv1.3")

    def test_resumed(self) -> None:
        """Sessions that go on are counted apart."""
        self.tls.facts = self.tls.facts._replace(resumed=True)
        self.completes(self.connects())
        self.assertEqual((self.counts.handshakes, self.counts.resumed), (1, 1))

    def test_patience(self) -> None:
        """The time for the handshake says nothing about the time after it."""
        client = self.connects()
        self.dialogue.advance(9)
        self.completes(client)
        self.dialogue.advance(30)
        self.assertFalse(client.transport.disconnected)

    def test_misdirected(self) -> None:
        """A host with another certificate gets 421, and the connection goes on."""
        client = self.connects()
        self.completes(client)
        client.says(request(host=b"b.example"))
        self.assertStatus(client, 421)
        self.assertEnd(self.dialogue, "misdirected", 421)
        client.says(request(host=b"c.example"))
        self.dialogue.backend().says(OK)
        self.assertStatus(client, 200)

    def test_oneCertificate(self) -> None:
        """Where there is only one certificate no host is misdirected."""
        self.tls.settings = self.tls.settings._replace(has_choice=False)
        client = self.connects()
        self.completes(client)
        client.says(request(host=b"b.example"))
        self.dialogue.backend().says(OK)
        self.assertStatus(client, 200)


class FailedTests(HandshakeCase):
    """The handshake comes to nothing: one counter, one line, nothing left."""

    def assertFailed(self, cause: str) -> None:
        """Check that one handshake was counted, for that cause."""
        self.assertEqual(dict(self.counts.failures), {cause: 1})
        self.assertEqual((self.counts.handshakes, self.gate.connections, len(self.site.connections)), (0, 0, 0))

    def test_causes(self) -> None:
        """Each failure is counted by whose fault it was."""
        for fault in TlsFault:
            self.counts.failures.clear()
            lines = self.loses(self.connects(), TlsFailure(fault, "no shared cipher"))
            self.assertFailed(fault.value)
            self.assertEqual(
                lines,
                [f"listener secure: the TLS handshake with 192.0.2.1 failed by {fault.value}: no shared cipher"],
            )

    def test_expired(self) -> None:
        """A client that cannot be shown any certificate is not at fault."""
        self.tls.has_expired = True
        lines = self.loses(self.connects(), TlsFailure(TlsFault.PEER, "it asked for a name that is not served here"))
        self.assertFailed("ours")
        self.assertIn("failed by ours: no certificate is left that holds", lines[0])

    def test_otherEnd(self) -> None:
        """An end that says nothing of TLS is the network's."""
        self.loses(self.connects(), ConnectionDone())
        self.assertFailed("network")

    def test_timeout(self) -> None:
        """A client that stalls is cut off at the end of tls_handshake_timeout_s."""
        client = self.connects()
        self.dialogue.advance(9.5)
        self.assertFalse(client.transport.was_aborted)
        with logged() as lines:
            self.dialogue.advance(1)
        self.assertTrue(client.transport.was_aborted)
        self.assertFailed("timeout")
        self.assertIn("was not complete in time", lines[0])

    def test_notAccepted(self) -> None:
        """A client that will not do after all is refused before it can ask for anything."""
        self.tls.error = NotAccepted("the certificate has expired")
        client = self.connects()
        with logged() as lines:
            self.completes(client)
        self.assertTrue(client.transport.was_aborted)
        self.assertFailed("peer")
        self.assertIn("failed by peer: the certificate has expired", lines[0])

    def test_bug(self) -> None:
        """Whatever else is wrong with a handshake is ours, and ends one connection."""
        self.tls.error = KeyError("cipher")
        client = self.connects()
        self.completes(client)
        self.assertTrue(client.transport.was_aborted)
        self.assertFailed("ours")
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    def test_perAddress(self) -> None:
        """Handshakes count for max_connections_per_ip."""
        self.site.settings = replace(self.site.settings, max_connections_per_ip=1)
        client = self.connects()
        self.assertIsNone(self.site.buildProtocol(client.transport.getPeer()))
        self.loses(client, ConnectionDone())
        other = self.connects()
        self.completes(other)
        self.assertIsNone(self.site.buildProtocol(client.transport.getPeer()))


class StoppingTests(HandshakeCase):
    """The proxy stops meanwhile."""

    def test_drain(self) -> None:
        """A client whose handshake takes longer than a second is not waited for, and that is no failure."""
        client = self.connects()
        self.site.drain()
        self.dialogue.advance(0.5)
        self.assertFalse(client.transport.was_aborted)
        self.dialogue.advance(0.7)
        self.assertTrue(client.transport.was_aborted)
        self.assertEqual((self.counts.failures.total(), self.gate.connections), (0, 0))

    def test_late(self) -> None:
        """A handshake that is complete when the proxy is stopping leads to one request."""
        client, silent = self.connects(), self.connects()
        self.site.drain()
        self.completes(client)
        self.completes(silent)
        client.says(GET)
        self.dialogue.backend().says(OK)
        self.assertStatus(client, 200)
        self.assertTrue(client.sees_end)
        self.assertFalse(silent.transport.disconnected)
        self.dialogue.advance(1.2)
        self.assertTrue(silent.transport.disconnected)
        self.assertEqual((self.counts.handshakes, self.counts.failures.total()), (2, 0))

    def test_cut(self) -> None:
        """At the end of the time for a graceful stop it is cut; no exchange was under way."""
        client = self.connects()
        self.assertEqual(self.site.cut(ShuttingDown()), 0)
        self.dialogue.settle()
        self.assertTrue(client.transport.disconnected)
