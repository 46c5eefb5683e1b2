"""Tests for :mod:`txproxy.config.address`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txproxy.config import address
from txproxy.config.address import Address, parse_address


class ParseAddressTests(SynchronousTestCase):
    """What an address means, and which texts are none."""

    def test_everyFormHasItsMeaning(self) -> None:
        """Each form of an address is taken apart, and its text can be made again."""
        for text, expected in (
            ("127.0.0.1:80", Address("tcp", "127.0.0.1", 80)),
            ("[::]:0", Address("tcp", "::", 0)),
            ("[fe80::1%eth0]:1", Address("tcp", "fe80::1%eth0", 1)),
            ("api.example.com:8080", Address("tcp", "api.example.com", 8080)),
            ("my_app:65535", Address("tcp", "my_app", 65535)),
            ("unix:/run/a.sock", Address("unix", path="/run/a.sock")),
            ("systemd:web", Address("systemd", path="web")),
        ):
            self.assertEqual(parse_address(text), expected)
            self.assertEqual(str(parse_address(text)), text)

    def test_whatIsNoAddressIsRefused(self) -> None:
        """A text that is no address is refused with a message that says why."""
        for text, part in (
            ("", "has no port"),
            ("localhost", "has no port"),
            ("[::1]", "has no port"),
            ("::1:80", "did you mean '[::1]:80'"),
            (":80", "did you mean '0.0.0.0:80'"),
            ("*:80", "has no host"),
            ("a:65536", "is not a port"),
            ("a:http", "is not a port"),
            ("a:-1", "is not a port"),
            ("a:\u0661", "is not a port"),
            ("[1.2.3.4]:80", "is not an IPv6 address"),
            ("256.1.1.1:80", "is not an IPv4 address"),
            ("a b:80", "is not a host name"),
            ("-a:80", "is not a host name"),
            ("b\u00fccher.de:80", "xn--"),
            (f"{'a' * 64}:80", "is not a host name"),
            ("http://a:80", "is not an address"),
            ("unix:run/a", "absolute path"),
            ("unix:/run/", "absolute path"),
            (f"unix:/{'a' * 107}", "at most 107 bytes"),
            ("systemd:", "does not name a socket"),
        ):
            self.assertIn(part, str(self.assertRaises(ValueError, parse_address, text)), text)

    def test_addressesAreComparedInOneForm(self) -> None:
        """Two ways to write one address are equal where duplicates are looked for."""
        self.assertEqual(parse_address("[0::0]:80").comparable, parse_address("[::]:80").comparable)
        self.assertEqual(parse_address("A.example:80").comparable, parse_address("a.EXAMPLE:80").comparable)
        self.assertEqual(parse_address("unix:/a").comparable, "unix:/a")

    def test_loopbackIsKnown(self) -> None:
        """Loopback addresses and localhost are what only this machine reaches."""
        for text, expected in (("127.9.9.9:1", True), ("[::1]:1", True), ("LocalHost:1", True), ("0.0.0.0:1", False)):
            self.assertEqual(parse_address(text).is_loopback, expected, text)
        self.assertTrue(parse_address("[::1]:1").is_ipv6)
        self.assertFalse(parse_address("127.0.0.1:1").is_ipv6)


class CheckTests(SynchronousTestCase):
    """Single settings that hold addresses or hosts."""

    def check(self, function: object, good: tuple[tuple[str, str], ...], bad: tuple[tuple[str, str], ...]) -> None:
        """Assert what a function returns for good texts, and a part of its message for bad ones."""
        assert callable(function)
        for text, expected in good:
            self.assertEqual(function(text), expected)
        for text, part in bad:
            self.assertIn(part, str(self.assertRaises(ValueError, function, text)), text)

    def test_backendsCanBeConnectedTo(self) -> None:
        """A backend has a port above 0 and is no socket of systemd."""
        self.check(
            address.check_backend_address,
            (("a:1", "a:1"), ("unix:/a", "unix:/a")),
            (("a:0", "1 to 65535"), ("systemd:a", "for listeners only")),
        )

    def test_hostsOfRoutesAreExactOrWildcards(self) -> None:
        """A route's host is a name or ``*.`` wildcard without port, in lower case."""
        self.check(
            address.check_host_pattern,
            (("A.example", "a.example"), ("*.B.example", "*.b.example"), ("[::1]", "[::1]"), ("10.0.0.1", "10.0.0.1")),
            (
                ("*", "leave the key out"),
                ("*a.example", "is not a wildcard"),
                ("a.*.example", "is not a host name"),
                ("*.*.a", "is not a wildcard"),
                ("*.1.2.3.4", "is not a wildcard"),
                ("a:80", "without a port"),
                ("::1", "did you mean '[::1]'"),
                ("", "is not a host name"),
            ),
        )

    def test_literalHostsMayHavePorts(self) -> None:
        """A Host that is sent may hold a port."""
        self.check(
            address.check_host_with_port,
            (("a", "a"), ("a:80", "a:80"), ("[::1]", "[::1]"), ("[::1]:80", "[::1]:80")),
            (("a:0", "1 to 65535"), ("a:b", "is not a port"), ("a b:1", "is not a host name")),
        )

    def test_networksHaveNoBitsBeyondTheirPrefix(self) -> None:
        """A network is an address or CIDR; one with further bits is probably a mistake."""
        self.check(
            address.check_network,
            (("10.0.0.0/8", "10.0.0.0/8"), ("::1", "::1"), ("fd00::/8", "fd00::/8")),
            (("10.0.0.1/8", "did you mean '10.0.0.0/8'"), ("10.0.0.0/33", "is not a network"), ("a", "not a network")),
        )

    def test_peersOnUnixSocketsHaveAWord(self) -> None:
        """A peer is an address, a network, or anybody on a unix socket."""
        self.check(
            address.check_peer,
            (("unix", "unix"), ("10.0.0.0/8", "10.0.0.0/8")),
            (
                ("unix:", "(allowed: ADDRESS or ADDRESS/BITS, unix)"),
                ("10.0.0.1/8", "did you mean '10.0.0.0/8'"),
                ("UNIX", "is not a network"),
            ),
        )
