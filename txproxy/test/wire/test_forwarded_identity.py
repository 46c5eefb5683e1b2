"""Whose certificate a client has shown, as a backend is told (T4)."""

from __future__ import annotations

from txproxy.test.wire.forwarding_case import HOST, OURS, ForwardingCase
from txproxy.wire.forwarding import RequestRules, make_hop

_IDENTITY = (
    (b"X-Client-Cert-Subject", b"CN=alice,O=caf\\C3\\A9"),
    (b"X-Client-Cert-Fingerprint", b"ab" * 32),
    (b"X-Client-Cert-Verify", b"SUCCESS"),
)
_NOBODY = ((b"X-Client-Cert-Verify", b"NONE"),)
_FORGED = (
    b"X-Client-Cert-Subject: CN=root",
    b"x-client-cert-fingerprint: 00",
    b"X-CLIENT-CERT-VERIFY: SUCCESS",
)
_ALLOWED = RequestRules(allow_underscores=True)


def _lines(identity: tuple[tuple[bytes, bytes], ...]) -> list[bytes]:
    """Return what a backend gets beside Host: the usual fields, with those of the identity where they belong."""
    proved = [b"%b: %b" % field for field in identity]
    return [*OURS[:4], *proved, *OURS[4:]]


def _hop(identity: tuple[tuple[bytes, bytes], ...] = (), trusted: bool = False):  # type: ignore[no-untyped-def]
    return make_hop(b"192.0.2.1", trusted, b"http", b"8080", b"txproxy", identity)


class IdentityTests(ForwardingCase):
    """What a backend learns of the client, by each way that a head is written."""

    def test_itIsAdded(self) -> None:
        """To the short way of writing a head and to the long one; by rules, with another Host, for a trusted peer."""
        for identity in (_IDENTITY, _NOBODY):
            expected = _lines(identity)
            self.assertEqual(self.sent(b"A: b", hop=_hop(identity)), [HOST, b"A: b", *expected])
            self.assertEqual(self.sent(hop=_hop(identity), host=b"b"), [b"Host: b", *expected])
            self.assertEqual(self.sent(hop=_hop(identity, trusted=True)), [HOST, *expected])
            self.assertEqual(self.sent(hop=_hop(identity), rules=_ALLOWED), [HOST, *expected])

    def test_theClientsOwnIsRemoved(self) -> None:
        """On every connection, with and without certificates: else whoever speaks plain http could be anybody."""
        for identity in ((), _IDENTITY, _NOBODY):
            expected = [HOST, *_lines(identity)]
            self.assertEqual(self.sent(*_FORGED, hop=_hop(identity)), expected)
            self.assertEqual(self.sent(*_FORGED, hop=_hop(identity), rules=_ALLOWED), expected)
            for line in _FORGED:
                self.assertEqual(self.sent(line, line, hop=_hop(identity)), expected, line)

    def test_disguises(self) -> None:
        """Names that a CGI gateway takes for the same are removed too, whatever the route allows."""
        for name in (
            b"X_Client_Cert_Verify",
            b"X-Client_Cert-Verify",
            b"x-client-cert_verify",
            b"X.Client.Cert.Verify",
        ):
            for rules in (None, _ALLOWED):
                for hop in (_hop(), _hop(_NOBODY), _hop(_IDENTITY), _hop((), trusted=True)):
                    expected = [HOST, *_lines(hop.identity)]
                    self.assertEqual(self.sent(name + b": SUCCESS", hop=hop, rules=rules), expected, name)

    def test_itCannotBeNamedAway(self) -> None:
        """Connection may name what it likes."""
        for name in (b"X-Client-Cert-Verify", b"x-client-cert-subject, x-client-cert-fingerprint"):
            self.assertEqual(self.sent(b"Connection: " + name, hop=_hop(_IDENTITY)), [HOST, *_lines(_IDENTITY)])
        kept = self.sent(_FORGED[2], b"Connection: x-client-cert-verify", hop=_hop((), trusted=True))
        self.assertEqual(kept, [HOST, _FORGED[2], *OURS])

    def test_aTrustedPeerMaySendItOn(self) -> None:
        """A proxy of ours in front has asked the client; but where we ask ourselves only our answer counts."""
        self.assertEqual(self.sent(*_FORGED, hop=_hop((), trusted=True)), [HOST, *_FORGED, *OURS])
        for identity in (_IDENTITY, _NOBODY):
            sent = self.sent(*_FORGED, hop=_hop(identity, trusted=True))
            self.assertEqual(sent, [HOST, *_lines(identity)])

    def test_aRouteHasTheLastWord(self) -> None:
        """Its own rules see these fields as they see all others."""
        rules = RequestRules(remove=frozenset((b"x-client-cert-subject",)), set=((b"X-Client-Cert-Verify", b"yes"),))
        sent = self.sent(hop=_hop(_IDENTITY), rules=rules)
        self.assertEqual([line for line in sent if b"Cert" in line], [
            b"X-Client-Cert-Fingerprint: " + b"ab" * 32, b"X-Client-Cert-Verify: yes",
        ])  # fmt: skip
