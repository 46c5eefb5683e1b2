"""What resolv.conf says, as libc reads it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txproxy.policy.resolv_conf import NameServer, ResolvConf, can_be_asked, names_to_ask, parse_resolv_conf


class ParseTests(SynchronousTestCase):
    """One line at a time, and what is no line."""

    def test_nothing(self) -> None:
        """A file that is missing, empty or without a server means this machine."""
        for text in ("", "\n\n", "# nameserver 10.0.0.1\n; nameserver 10.0.0.1\n", "nameserver\nnameserver app.test\n"):
            self.assertEqual(parse_resolv_conf(text), ResolvConf((NameServer("127.0.0.1", 53),), (), 1))

    def test_servers(self) -> None:
        """Addresses of both families, and the OpenBSD form with a port; what is no address is passed over."""
        for word, expected in (
            ("10.0.0.1", NameServer("10.0.0.1", 53)),
            ("2001:DB8::1", NameServer("2001:db8::1", 53)),
            ("fe80::1%eth0", NameServer("fe80::1%eth0", 53)),
            ("[10.0.0.1]:5353", NameServer("10.0.0.1", 5353)),
            ("[::1]:5353", NameServer("::1", 5353)),
            ("10.0.0.1 # ours", NameServer("10.0.0.1", 53)),
        ):
            self.assertEqual(parse_resolv_conf(f"nameserver {word}").servers, (expected,), word)
            self.assertEqual(parse_resolv_conf(f"\tnameserver\t{word}\r\n").servers, (expected,), word)
        for word in ("10.0.0", "localhost", "[10.0.0.1]:0", "[10.0.0.1]:65536", "[::1]", "10.0.0.1:53", "[::1]:٣"):
            self.assertEqual(parse_resolv_conf(f"nameserver {word}").servers, (NameServer("127.0.0.1"),), word)

    def test_threeServersAtMost(self) -> None:
        """As many as libc asks, in their order, each once."""
        text = "".join(f"nameserver 10.0.0.{number}\n" for number in (3, 1, 3, 2, 4))
        self.assertEqual(
            [server.host for server in parse_resolv_conf(text).servers], ["10.0.0.3", "10.0.0.1", "10.0.0.2"]
        )

    def test_search(self) -> None:
        """The last of ``search`` and ``domain`` counts; the root adds nothing."""
        for text, expected in (
            ("search a.test b.test", ("a.test", "b.test")),
            ("domain a.test b.test", ("a.test",)),
            ("search a.test\nsearch b.test", ("b.test",)),
            ("domain a.test\nsearch b.test c.test.", ("b.test", "c.test")),
            ("search . a.test", ("a.test",)),
            ("search", ()),
            ("search \xe4.test a.test", ("a.test",)),
        ):
            self.assertEqual(parse_resolv_conf(text).search, expected, text)

    def test_ndots(self) -> None:
        """The last one that is a number; 15 at most."""
        for text, expected in (
            ("options ndots:5", 5),
            ("options timeout:2 ndots:0 rotate", 0),
            ("options ndots:99999999999999", 15),
            ("options ndots:2\noptions ndots:3", 3),
            ("options ndots:-1 ndots: ndots ndots:x", 1),
            ("options", 1),
        ):
            self.assertEqual(parse_resolv_conf(text).ndots, expected, text)

    @given(st.text(max_size=200))
    def test_anyText(self, text: str) -> None:
        """Nothing in a file can stop the proxy."""
        for each in (text, f"nameserver {text}", f"search {text}", f"options ndots:{text}"):
            conf = parse_resolv_conf(each)
            self.assertTrue(1 <= len(conf.servers) <= 3)
            self.assertTrue(0 <= conf.ndots <= 15)


class NamesToAskTests(SynchronousTestCase):
    """The search list."""

    conf = ResolvConf(search=("ns.svc.test", "svc.test"), ndots=2)

    def test_fewDots(self) -> None:
        """A name with fewer dots than ``ndots`` is tried in the domains first, and last as it is."""
        self.assertEqual(names_to_ask("db", self.conf), ("db.ns.svc.test", "db.svc.test", "db"))
        self.assertEqual(names_to_ask("db.x", self.conf), ("db.x.ns.svc.test", "db.x.svc.test", "db.x"))

    def test_manyDots(self) -> None:
        """One with as many or more is tried as it is first."""
        self.assertEqual(names_to_ask("a.b.c", self.conf), ("a.b.c", "a.b.c.ns.svc.test", "a.b.c.svc.test"))

    def test_complete(self) -> None:
        """A dot at the end says that the name is complete."""
        self.assertEqual(names_to_ask("db.", self.conf), ("db",))
        self.assertEqual(names_to_ask("App.Test.", ResolvConf()), ("app.test",))

    def test_whatCannotBeAsked(self) -> None:
        """Names that no question can hold are left out; each is asked for once."""
        self.assertEqual(names_to_ask("", self.conf), ())
        self.assertEqual(names_to_ask(".", self.conf), ())
        self.assertEqual(names_to_ask("a..b", self.conf), ())
        self.assertEqual(names_to_ask("x" * 64, self.conf), ())
        long = ".".join(["x" * 62] * 4)
        self.assertEqual(names_to_ask(long, self.conf), (long,))
        self.assertEqual(names_to_ask("db", ResolvConf(search=("a.test", "A.test"))), ("db.a.test", "db"))

    def test_limitsOfNames(self) -> None:
        """RFC 1035: 63 octets in a label, 253 in a name."""
        self.assertTrue(can_be_asked("x" * 63))
        self.assertFalse(can_be_asked("x" * 64))
        self.assertTrue(can_be_asked(".".join(["x" * 63] * 3 + ["x" * 61])))
        self.assertFalse(can_be_asked(".".join(["x" * 63] * 3 + ["x" * 62])))
