"""Who the client is and which host it asked for, as a backend is told."""

from __future__ import annotations

from txproxy.test.wire.forwarding_case import HOST, NO_SHORT_CUT, OURS, ForwardingCase
from txproxy.test.wire.judging import judge_request
from txproxy.test.wire.reading import HOP, TRUSTED_HOP, forwarded, lines_of, request_of, request_with
from txproxy.wire.forwarding import LAST_VIA_ENTRIES, Hop, RequestRules, make_hop, request_id_of, via_count


class ClaimTests(ForwardingCase):
    """What a client says of itself, and whether it is believed (HF4, HF5)."""

    _CLAIMS = (
        b"X-Forwarded-For: 1.1.1.1",
        b"x-forwarded-proto: https",
        b"X-Forwarded-Host: evil",
        b"X-Forwarded-Port: 1",
        b"Forwarded: for=1.1.1.1",
        b"X-Request-Id: mine",
    )

    def test_anUntrustedPeerIsNotBelieved(self) -> None:
        """The backend sees the peer's address and the true scheme, host and port only."""
        self.assertEqual(self.sent(*self._CLAIMS), [HOST, *OURS])
        for line in self._CLAIMS:
            self.assertEqual(self.sent(line, line.lower()), [HOST, *OURS], line)

    def test_aTrustedPeerIsBelieved(self) -> None:
        """Its chain is continued, the rest of what it says is kept."""
        lines = self.sent(*self._CLAIMS, b"X-Forwarded-For: 2.2.2.2", hop=TRUSTED_HOP)
        self.assertEqual(
            lines,
            [
                HOST,
                b"Forwarded: for=1.1.1.1",
                b"X-Forwarded-Host: evil",
                b"X-Forwarded-For: 1.1.1.1, 2.2.2.2, 10.0.0.1",
                b"X-Forwarded-Proto: https",
                b"X-Forwarded-Port: 1",
                b"Via: 1.1 txproxy",
                b"X-Request-Id: id-1",
            ],
        )

    def test_aTrustedPeerMaySayNothing(self) -> None:
        """What it does not say is what we see."""
        ours = [b"X-Forwarded-For: 10.0.0.1" if line.startswith(b"X-Forwarded-For") else line for line in OURS]
        self.assertEqual(self.sent(hop=TRUSTED_HOP), [HOST, *ours])
        self.assertEqual(self.sent(b"X-Forwarded-For:", hop=TRUSTED_HOP), [HOST, *ours])

    def test_viaNamesTheVersionThatWasReceived(self) -> None:
        """Via grows by our entry; the version is the client's (RFC 9110 section 7.6.3)."""
        for version, expected in ((b"1.0", b"Via: 1.0 txproxy"), (b"1.1", b"Via: 1.1 txproxy")):
            for lines in ((), (b"Connection: keep-alive",), (b"Connection: close",)):
                self.assertIn(expected, self.sent(*lines, line=b"GET / HTTP/" + version))
        self.assertEqual(self.sent(b"Via: 1.1 other"), [HOST, b"Via: 1.1 other", *OURS])

    def test_forwardedIsAddedIfAsked(self) -> None:
        """One element of RFC 7239 for our hop, behind what a trusted peer says."""
        rules = RequestRules(forwarded=True)
        for peer, element in (
            (b"192.0.2.1", b"for=192.0.2.1"),
            (b"2001:db8::1", b'for="[2001:db8::1]"'),
            (b"unix", b"for=_unix"),
        ):
            hop = make_hop(peer, False, b"https", b"443", b"p")
            lines = self.sent(b"Forwarded: for=evil", hop=hop, rules=rules)
            self.assertEqual(
                [line for line in lines if line.startswith(b"Forwarded")],
                [b"Forwarded: " + element + b';host="a.example";proto=https'],
            )
        lines = self.sent(b"Forwarded: for=first", hop=TRUSTED_HOP, rules=rules)
        self.assertEqual(
            [line for line in lines if line.startswith(b"Forwarded")],
            [b"Forwarded: for=first", b'Forwarded: for=10.0.0.1;host="a.example";proto=http'],
        )
        nameless = request_with(line=b"GET / HTTP/1.0", host=b"")
        self.assertIn(b"Forwarded: for=192.0.2.1;proto=http", lines_of(forwarded(nameless, rules=rules)))

    def test_aRequestIdIsTakenOverIfItIsPlain(self) -> None:
        """Ids that would need escaping, or are too long, are not passed on."""
        for value, taken in (
            (b"abc-123", True),
            (b"a" * 128, True),
            (b"Root=1-67891233-abcdef012345678912345678", True),
            (b"a:b/c+d==", True),
            (b"", False),
            (b"a" * 129, False),
            (b"a b", False),
            (b"a, b", False),
            (b"a\tb", False),
            (b'a"b', False),
            (b"caf\xe9", False),
        ):
            request = request_with(b"X-Request-Id: " + value)
            self.assertEqual(request_id_of(request), value if taken else None, value)
        self.assertIsNone(request_id_of(request_with()))
        self.assertIsNone(request_id_of(request_with(b"X-Request-Id: a", b"X-Request-Id: b")))

    def test_ourNameInViaIsCounted(self) -> None:
        """However it is spelled, and nobody else's; the tenth time is one too many."""
        for lines, count in (
            ((), 0),
            ((b"Via: 1.1 other",), 0),
            ((b"Via: 1.1 txproxy",), 1),
            ((b"Via: 1.0 TxProxy, 1.1 other, HTTP/1.1 txproxy (a comment)",), 2),
            ((b"Via: 1.1 txproxy", b"via: 1.1 txproxy:80, 1.1 xtxproxy, 1.1 txproxy2"), 1),
            ((b"Via: txproxy", b"Via: 1.1"), 0),
            ((b"Via: 1.1 txproxy",) * 9, LAST_VIA_ENTRIES),
        ):
            self.assertEqual(via_count(request_with(*lines), b"txproxy"), count, lines)


class HostTests(ForwardingCase):
    """Which Host goes upstream (HF9, RFC 9112 section 3.2.2)."""

    def hosts(self, *lines: bytes, upstream_host: bytes | None = None, hop: Hop = HOP, **how: bytes) -> list[bytes]:
        request = request_with(*lines, **how)
        head = forwarded(request, hop, upstream_host)
        self.assertEqual(forwarded(request, hop, upstream_host, NO_SHORT_CUT), head)
        judge_request(head)
        return [line for line in lines_of(head) if b"host:" in line.lower()]

    def test_keptWhereItStands(self) -> None:
        """The client's Host, byte for byte and in its place."""
        for value in (b"A.Example:80", b"a.example:", b"[::1]:8080"):
            found = self.hosts(host=b"hOst: " + value)
            self.assertEqual(found, [b"hOst: " + value, b"X-Forwarded-Host: " + value])
        lines = lines_of(forwarded(request_of(b"GET / HTTP/1.1\r\nA: b\r\nHost: h\r\n\r\n")))
        self.assertEqual(lines[:2], [b"A: b", b"Host: h"])

    def test_replacedByTheBackendsOrALiteral(self) -> None:
        """Whatever the route says replaces it; X-Forwarded-Host holds the original."""
        self.assertEqual(
            self.hosts(upstream_host=b"b.example:8080"), [b"Host: b.example:8080", b"X-Forwarded-Host: a.example"]
        )

    def test_theTargetsAuthorityReplacesIt(self) -> None:
        """Absolute-form: its authority is the host, whatever Host and Connection say."""
        for lines in ((), (b"Connection: keep-alive",), (b"Connection: close",), (b"Connection: Host",), (b"A_B: c",)):
            for hop in (HOP, TRUSTED_HOP):
                for version in (b"1.0", b"1.1"):
                    found = self.hosts(*lines, line=b"GET http://b:1/ HTTP/" + version, hop=hop)
                    self.assertEqual(found, [b"Host: b:1", b"X-Forwarded-Host: b:1"], lines)
        found = self.hosts(line=b"GET http://b:1/ HTTP/1.1", upstream_host=b"c")
        self.assertEqual(found, [b"Host: c", b"X-Forwarded-Host: b:1"])
        found = self.hosts(line=b"GET http://b:1/ HTTP/1.0", host=b"")
        self.assertEqual(found, [b"Host: b:1", b"X-Forwarded-Host: b:1"])

    def test_thereIsAlwaysOne(self) -> None:
        """An HTTP/1.0 client needs none, but HTTP/1.1 upstream does (RFC 9112 section 3.2)."""
        for lines in ((), (b"Connection: keep-alive",), (b"Content-Length: 0",)):
            for hop in (HOP, TRUSTED_HOP):
                found = self.hosts(*lines, line=b"GET / HTTP/1.0", host=b"", hop=hop)
                self.assertEqual([line.partition(b":")[0] for line in found], [b"Host"])
                found = self.hosts(*lines, line=b"GET / HTTP/1.0", host=b"", upstream_host=b"b", hop=hop)
                self.assertEqual(found, [b"Host: b"])
