"""The hosts file, localhost, and names that are addresses."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txproxy.policy.hosts_file import addresses_in_hosts, is_address, is_localhost

HOSTS = """\
127.0.0.1 localhost
::1\tlocalhost ip6-localhost   # loopback

10.0.0.1 db.test DB  # 10.0.0.9 old.test
  10.0.0.2\tdb.test
fd00::1 db.test
300.0.0.1 bad.test
bad.test
#10.0.0.3 off.test
10.0.0.4 mydb.test dbx
"""


class HostsTests(SynchronousTestCase):
    """Whole words of lines, in any case of letters."""

    def test_lookUp(self) -> None:
        """Of several lines all addresses; comments, aliases and partial words are told apart."""
        for name, expected in (
            ("localhost", ("127.0.0.1", "::1")),
            ("ip6-localhost", ("::1",)),
            ("db.test", ("10.0.0.1", "10.0.0.2", "fd00::1")),
            ("Db", ("10.0.0.1",)),
            ("old.test", ()),
            ("off.test", ()),
            ("bad.test", ()),
            ("test", ()),
            ("10.0.0.1", ()),
            ("mydb.test", ("10.0.0.4",)),
        ):
            self.assertEqual(addresses_in_hosts(HOSTS, name), expected, name)
            self.assertEqual(addresses_in_hosts(HOSTS.upper().replace("\n", "\r\n"), name.upper()), expected, name)
        self.assertEqual(addresses_in_hosts("", "db"), ())

    def test_localhost(self) -> None:
        """Names of this machine are no matter of any server (RFC 6761)."""
        for name in ("localhost", "LocalHost", "app.localhost", "a.b.localhost"):
            self.assertTrue(is_localhost(name), name)
        for name in ("localhost.test", "mylocalhost", "local", ""):
            self.assertFalse(is_localhost(name), name)

    def test_addresses(self) -> None:
        """Of both families, also with a zone."""
        for text in ("10.0.0.1", "::1", "fe80::1%eth0", "::ffff:10.0.0.1"):
            self.assertTrue(is_address(text), text)
        for text in ("10.0.0", "db", "1.2.3.4.", "[::1]", ""):
            self.assertFalse(is_address(text), text)
