"""Whose address is believed."""

from __future__ import annotations

from ipaddress import ip_address

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txproxy.policy.addresses import TrustedPeers, parse_address

_QUICK = settings(max_examples=80, deadline=None)
_OURS = TrustedPeers(["10.0.0.0/8", "2001:db8::/32"])

# Peer, X-Forwarded-For, client.
_CLIENTS = (
    ("192.0.2.1", None, "192.0.2.1"),
    ("192.0.2.1", b"6.6.6.6", "192.0.2.1"),
    ("192.0.2.1", b"10.0.0.1", "192.0.2.1"),
    ("10.0.0.1", None, "10.0.0.1"),
    ("10.0.0.1", b"", "10.0.0.1"),
    ("10.0.0.1", b"203.0.113.9", "203.0.113.9"),
    ("10.0.0.1", b"6.6.6.6, 203.0.113.9, 10.1.1.1", "203.0.113.9"),
    ("10.0.0.1", b"6.6.6.6,203.0.113.9,\t10.1.1.1 ", "203.0.113.9"),
    ("10.0.0.1", b"10.2.2.2, 10.1.1.1", "10.2.2.2"),
    ("10.0.0.1", b"203.0.113.9, unknown, 10.1.1.1", "10.1.1.1"),
    ("10.0.0.1", b"203.0.113.9, _hidden", "10.0.0.1"),
    ("10.0.0.1", b"203.0.113.9, ", "10.0.0.1"),
    ("10.0.0.1", b"203.0.113.9:4711", "203.0.113.9"),
    ("10.0.0.1", b"2001:db9::1", "2001:db9::1"),
    ("10.0.0.1", b"[2001:db9::1]:4711, [2001:db8::7]", "2001:db9::1"),
    ("10.0.0.1", b"::ffff:203.0.113.9, ::ffff:10.1.1.1", "203.0.113.9"),
    ("::ffff:10.0.0.1", b"203.0.113.9", "203.0.113.9"),
    ("2001:db8::1", b"203.0.113.9", "203.0.113.9"),
    ("10.0.0.1", b"fe80::1%evil text", "10.0.0.1"),
    ("10.0.0.1", b"1.2.3.4\xff", "10.0.0.1"),
    ("10.0.0.1", b"01.2.3.4", "10.0.0.1"),
    ("10.0.0.1", b"1.2.3", "10.0.0.1"),
    ("unix", b"203.0.113.9", "unix"),
)


class TrustedPeersTests(SynchronousTestCase):
    """Networks of our own proxies, and what they say of a client."""

    def test_unix(self) -> None:
        """Peers on unix sockets are trusted if that is said, and nobody else is by that."""
        for networks, unix, other in (((), False, False), (("10.0.0.0/8",), False, True), (("unix",), True, False)):
            peers = TrustedPeers(networks)
            self.assertEqual(("unix" in peers, "10.0.0.1" in peers, bool(peers)), (unix, other, unix or other))
        both = TrustedPeers(["unix", "10.0.0.0/8"])
        self.assertEqual(both.client_of("unix", b"203.0.113.9, 10.0.0.1"), "203.0.113.9")
        self.assertEqual(both.client_of("unix", b"203.0.113.9, unix"), "unix")

    def test_theClientIsTheLastThatIsNotOurs(self) -> None:
        """From the right, up to the first address that no proxy of ours has; an untrusted peer is the client (HF5)."""
        for peer, chain, client in _CLIENTS:
            self.assertEqual(_OURS.client_of(peer, chain), client, (peer, chain))

    def test_membership(self) -> None:
        """An address belongs or does not, IPv4-mapped ones as IPv4; what is no address never does."""
        for address in ("10.0.0.0", "10.255.255.255", "::ffff:10.1.2.3", "2001:db8::", "2001:db8:ffff::1"):
            self.assertIn(address, _OURS)
        for address in (
            "9.255.255.255",
            "11.0.0.0",
            "::ffff:11.0.0.0",
            "2001:db9::",
            "::10.0.0.1",
            "unix",
            "",
            "10.0.0",
        ):
            self.assertNotIn(address, _OURS)

    def test_networksInEveryNotation(self) -> None:
        """One address, a network with host bits, and networks of mapped addresses."""
        self.assertIn("192.0.2.7", TrustedPeers(["192.0.2.7"]))
        self.assertNotIn("192.0.2.8", TrustedPeers(["192.0.2.7"]))
        self.assertIn("192.0.2.8", TrustedPeers(["192.0.2.7/24"]))
        self.assertIn("10.1.2.3", TrustedPeers(["::ffff:10.0.0.0/104"]))
        self.assertIn("::1", TrustedPeers(["::1"]))
        self.assertIn("10.1.2.3", TrustedPeers(["0.0.0.0/0"]))
        self.assertNotIn("::1", TrustedPeers(["0.0.0.0/0"]))
        self.assertRaises(ValueError, TrustedPeers, ["nonsense"])

    def test_nobodyIsTrustedByDefault(self) -> None:
        """Without networks nobody's word counts."""
        nobody = TrustedPeers()
        self.assertFalse(nobody)
        self.assertTrue(_OURS)
        self.assertNotIn("127.0.0.1", nobody)
        self.assertEqual(nobody.client_of("127.0.0.1", b"1.1.1.1"), "127.0.0.1")

    def test_addressesAreParsed(self) -> None:
        """Mapped ones as IPv4; None for anything else."""
        self.assertEqual(parse_address("::ffff:1.2.3.4"), ip_address("1.2.3.4"))
        self.assertEqual(parse_address("2001:DB8::1"), ip_address("2001:db8::1"))
        self.assertIsNone(parse_address("a.example"))

    @_QUICK
    @given(st.binary(max_size=60))
    def test_anythingMayStandInTheField(self, chain: bytes) -> None:
        """Whatever a peer writes there, the client is an address."""
        self.assertIsNotNone(parse_address(_OURS.client_of("10.0.0.1", chain)))

    @_QUICK
    @given(st.lists(st.ip_addresses(), max_size=5))
    def test_whatAClientPrependsNeverCounts(self, invented: list[object]) -> None:
        """The address that our outermost proxy saw is the client, whatever stands before it."""
        chain = ", ".join([*map(str, invented), "203.0.113.9", "10.1.1.1"]).encode()
        self.assertEqual(_OURS.client_of("10.0.0.1", chain), "203.0.113.9")
