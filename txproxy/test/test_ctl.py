"""Where ``txproxy ctl`` finds the admin interface; what it does there is shown by the live tests."""

from __future__ import annotations

import argparse

from twisted.trial.unittest import SynchronousTestCase

from txproxy.admin.client import AdminClient
from txproxy.ctl import UsageError, add_connection_flags, connect
from txproxy.testing import site


class ConnectTests(SynchronousTestCase):
    """Flags, a file, the environment, and what is said nowhere."""

    def connected(self, *words: str, **environ: str) -> AdminClient:
        parser = argparse.ArgumentParser()
        add_connection_flags(parser)
        return connect(parser.parse_args(words), environ)

    def file(self, text: str) -> str:
        path = self.mktemp() + ".toml"
        with open(path, "w") as file:
            file.write(text)
        return path

    def test_addresses(self) -> None:
        """In the order in which they count."""
        path = self.file(site(rest='[admin]\nlisten = "127.0.0.1:1"\n'))
        for words, environ, expected in (
            ((), {}, "127.0.0.1:9901"),
            ((), {"TXPROXY_ADMIN": "unix:/a"}, "unix:/a"),
            (("-c", path), {"TXPROXY_ADMIN": "unix:/a"}, "127.0.0.1:1"),
            (("-c", path, "--admin", "https://h"), {}, "https://h"),
        ):
            self.assertEqual(self.connected(*words, **environ).address, expected)

    def test_tokens(self) -> None:
        """Those too; one that cannot be a token is refused here."""
        path = self.file(site(rest='[admin]\ntoken = "of-file"\n'))
        token = self.mktemp()
        with open(token, "w") as file:
            file.write("of-token-file\n")
        for words, environ, expected in (
            ((), {}, ""),
            ((), {"TXPROXY_ADMIN_TOKEN": "of-environ"}, "of-environ"),
            (("-c", path), {"TXPROXY_ADMIN_TOKEN": "of-environ"}, "of-file"),
            (("-c", path, "--token", "of-flag"), {}, "of-flag"),
            (("-c", path, "--token", "of-flag", "--token-file", token), {}, "of-token-file"),
        ):
            self.assertEqual(self.connected(*words, **environ).token, expected)
        for bad in ("\u00e9", "a\nb"):
            self.assertRaises(UsageError, self.connected, "--token", bad)

    def test_whatCannotBe(self) -> None:
        """No section, no file, no address."""
        path = self.file(site())
        for words in (
            ("-c", path),
            ("--token-file", "/nonexistent"),
            ("--admin", "nowhere"),
            ("--admin", "ftp://x"),
            ("--admin", "http://h/path"),
        ):
            self.assertRaises(UsageError, self.connected, *words)
