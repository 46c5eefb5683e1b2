"""From names to addresses: what needs no name server, what is asked for, and what answers say."""

from __future__ import annotations

import os

from txproxy.test.name_server import NO_SUCH_NAME, SERVER_FAILURE
from txproxy.test.upstream.names.resolver_case import ResolverCase
from txproxy.upstream.names.resolver import Answer, resolv_conf_path

FOREVER = float("inf")


class FilesTests(ResolverCase):
    """What needs no name server."""

    def test_addresses(self) -> None:
        """A name that is an address is its own answer, and cannot change."""
        self.assertEqual(self.resolve("10.0.0.1"), Answer(("10.0.0.1",), (), FOREVER))
        self.assertEqual(self.resolve("fd00::1"), Answer((), ("fd00::1",), FOREVER))
        self.assertEqual(self.resolve("0.0.0.0"), Answer(("0.0.0.0",), (), FOREVER))

    def test_localhost(self) -> None:
        """This machine's own names are loopback, without a question to anybody (RFC 6761 section 6.3)."""
        for name in ("localhost", "LOCALHOST.", "app.localhost"):
            self.assertEqual(self.resolve(name), Answer(("127.0.0.1",), ("::1",), FOREVER))
        self.assertEqual(self.reactor.ports, [])

    def test_hosts(self) -> None:
        """The hosts file comes first, for one family also if it has only that; it is read again when it has changed."""
        zone = self.reactor.zone()
        zone.set("app.test", ["10.9.9.9"])
        self.assertEqual(self.resolve("app.test").v4, ("10.9.9.9",))
        self.write(self.hosts_path, "10.0.0.1 app.test\n127.0.0.1 localhost\n")
        self.assertEqual(self.resolve("App.Test."), Answer(("10.0.0.1",), (), 5))
        self.assertEqual(self.resolve("localhost"), Answer(("127.0.0.1",), (), 5))
        self.write(self.hosts_path, "10.0.0.2 app.test\nfd00::2 app.test\n")
        self.assertEqual(self.resolve("app.test"), Answer(("10.0.0.2",), ("fd00::2",), 5))
        os.remove(self.hosts_path)
        self.assertEqual(self.resolve("app.test").v4, ("10.9.9.9",))

    def test_noConf(self) -> None:
        """Without resolv.conf the name server of this machine is asked; when there is one, it counts at once."""
        self.reactor.zone().set("app.test", ["10.0.0.1"])
        self.reactor.zone("10.9.9.9", 5353).set("app.test", ["10.0.0.2"])
        self.assertEqual(self.resolve("app.test").v4, ("10.0.0.1",))
        self.conf("nameserver [10.9.9.9]:5353")
        self.assertEqual(self.resolve("app.test").v4, ("10.0.0.2",))
        self.conf("")
        self.assertEqual(self.resolve("app.test").v4, ("10.0.0.1",))
        os.remove(self.conf_path)
        os.mkdir(self.conf_path)
        self.assertEqual(self.resolve("app.test").v4, ("10.0.0.1",))

    def test_pathOfTheFile(self) -> None:
        """TXPROXY_RESOLV_CONF names another file."""
        self.patch(os, "environ", {})
        self.assertEqual(resolv_conf_path(), "/etc/resolv.conf")
        os.environ["TXPROXY_RESOLV_CONF"] = "/x"
        self.assertEqual(resolv_conf_path(), "/x")


class QuestionTests(ResolverCase):
    """What is asked for, and in which order."""

    def setUp(self) -> None:
        super().setUp()
        self.zone = self.reactor.zone()

    def names(self) -> list[str]:
        """Return the names that were asked for, without those for IPv6."""
        return [asked.name for asked in self.zone.asked if asked.kind == "A"]

    def test_bothFamilies(self) -> None:
        """They are asked for together, each from a socket and with a number of its own."""
        self.zone.set("app.test", ["10.0.0.2", "10.0.0.1", "fd00::1"], ttl_s=7)
        self.assertEqual(self.resolve("app.test"), Answer(("10.0.0.1", "10.0.0.2"), ("fd00::1",), 7))
        self.assertEqual(sorted(asked.kind for asked in self.zone.asked), ["A", "AAAA"])
        first, second = self.reactor.ports
        self.assertNotEqual(first.sent[0][2:], second.sent[0][2:])
        self.assertEqual((first.server, len(first.sent)), (("127.0.0.1", 53), 1))

    def test_oneFamily(self) -> None:
        """One that has no address is no failure."""
        self.zone.set("four.test", ["10.0.0.1"])
        self.zone.set("six.test", ["fd00::1"])
        self.assertEqual(self.resolve("four.test"), Answer(("10.0.0.1",), (), 1))
        self.assertEqual(self.resolve("six.test"), Answer((), ("fd00::1",), 1))

    def test_shortestTime(self) -> None:
        """The answer is as old as its oldest part may be."""
        self.zone.set("app.test", ["10.0.0.1"], ttl_s=2**31)
        self.assertEqual(self.resolve("app.test").ttl_s, 0)
        self.zone.set("app.test", ["10.0.0.1"], ttl_s=2**31 - 1)
        self.assertEqual(self.resolve("app.test").ttl_s, 2**31 - 1)
        self.zone.alias("www.test", "app.test", ttl_s=9)
        self.assertEqual(self.resolve("www.test").ttl_s, 9)

    def test_searchList(self) -> None:
        """As libc does: a name without a dot in the domains first, one with a dot as it is first."""
        self.conf("search a.test b.test")
        self.zone.set("db.b.test", ["10.0.0.1"])
        self.assertEqual(self.resolve("db").v4, ("10.0.0.1",))
        self.assertEqual(self.names(), ["db.a.test", "db.b.test"])
        self.zone.asked.clear()
        self.zone.set("x.db.a.test", ["10.0.0.2"])
        self.assertEqual(self.resolve("x.db").v4, ("10.0.0.2",))
        self.assertEqual(self.names(), ["x.db", "x.db.a.test"])
        self.zone.asked.clear()
        self.assertEqual(self.reason("db."), "there is no such name")
        self.assertEqual(self.names(), ["db"])

    def test_nameWithoutAddressesInTheSearchList(self) -> None:
        """It does not end the search; a server that fails does, for the next name may be somebody else's."""
        self.conf("search a.test b.test")
        self.zone.set("db.a.test", [])
        self.zone.set("db.b.test", ["10.0.0.1"])
        self.assertEqual(self.resolve("db").v4, ("10.0.0.1",))
        self.zone.fail("db.a.test", SERVER_FAILURE)
        self.assertEqual(self.reason("db"), "[127.0.0.1]:53: server failure")
        # Who says that there is no such name means both families.
        self.zone.fail("db.a.test", NO_SUCH_NAME, "A")
        self.assertEqual(self.resolve("db").v4, ("10.0.0.1",))

    def test_reasons(self) -> None:
        """No such name is told from no address, and from what is no name."""
        self.zone.set("empty.test", [])
        self.zone.set("blocked.test", ["0.0.0.0", "::"])
        self.assertEqual(self.reason("no.test"), "there is no such name")
        self.assertEqual(self.reason("empty.test"), "it has no address")
        self.assertEqual(self.reason("blocked.test"), "it has no address")
        for name in ("", "a..b", "x" * 64, "\udc80.test", "xn--\xe4" * 40):
            self.assertEqual(self.reason(name), "it is not a name that can be asked for", name)

    def test_namesBeyondAscii(self) -> None:
        """They are asked for in the form that stands in DNS."""
        self.zone.set("xn--bcher-kva.test", ["10.0.0.1"])
        for name in ("b\xfccher.test", "xn--bcher-kva.test", "XN--BCHER-KVA.test."):
            self.assertEqual(self.resolve(name).v4, ("10.0.0.1",))

    def test_aliases(self) -> None:
        """They are followed, by the server or by us, and only so far."""
        self.zone.set("app.test", ["10.0.0.1", "fd00::1"])
        for number, target in enumerate(["app.test", "a0.test", "a1.test"]):
            self.zone.alias(f"a{number}.test", target)
        self.assertEqual(self.resolve("a2.test"), Answer(("10.0.0.1",), ("fd00::1",), 1))
        self.assertEqual(self.names(), ["a2.test"])
        self.zone.follows_aliases = False
        self.assertEqual(self.resolve("a2.test"), Answer(("10.0.0.1",), ("fd00::1",), 1))
        self.assertEqual(self.names()[1:], ["a2.test", "a1.test", "a0.test", "app.test"])
        for number in range(3, 20):
            self.zone.alias(f"a{number}.test", f"a{number - 1}.test")
        self.assertIn("too many aliases", self.reason("a19.test"))
        self.zone.alias("lost.test", "no.test")
        self.assertEqual(self.reason("lost.test"), "there is no such name")
        self.zone.alias("bad.test", b"x" * 64)
        self.assertEqual(self.reason("bad.test"), "it has no address")

    def test_aliasLoops(self) -> None:
        """Whether the server follows them or we do, they end."""
        self.zone.alias("a.test", "b.test")
        self.zone.alias("b.test", "a.test")
        self.assertEqual(self.reason("a.test"), "a.test is an alias of itself")
        self.zone.follows_aliases = False
        self.assertIn("too many aliases", self.reason("a.test"))
