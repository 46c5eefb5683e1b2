"""Reports as text."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txproxy.shown import amount, backend_lines, lasting, printable, status_lines, table
from txproxy.test.top.reports import backend, report


class ShownTests(SynchronousTestCase):
    """What ``ctl`` prints."""

    def test_units(self) -> None:
        """Times and sizes with few digits."""
        self.assertEqual(
            [lasting(each) for each in (-1, 0, 119, 120, 7199, 7200, 172800)],
            ["0 s", "0 s", "119 s", "2 min", "119 min", "2 h", "2 d"],
        )
        self.assertEqual(
            [amount(each) for each in (0, 999, 1024, 1 << 20, 300 << 20, 5 << 40)],
            ["0 B", "999 B", "1.0 KiB", "1.0 MiB", "300 MiB", "5120 GiB"],
        )

    def test_tables(self) -> None:
        """Columns are as wide as what is in them; numbers stand on the right."""
        self.assertEqual(list(table([("A", "NUMBER"), ("xyz", 5)], right=(1,))), ["A    NUMBER", "xyz       5"])

    def test_status(self) -> None:
        """Everything that there is, and why the last reload was refused."""
        text = "\n".join(status_lines(report(100)))
        for words in ("txproxy 1.2: ready for 100 s", "abc of /p.toml", "web", "a:1", "refused", "50.0 MiB"):
            self.assertIn(words, text)
        self.assertNotIn("cache", text)
        last = {"at": 90, "ok": False, "errors": ["f:1: x"], "summary": ""}
        full = report(
            100,
            config={"path": "", "hash": "abc", "loaded_at": 0.0, "last_reload": last},
            cache={"objects": 1, "held_bytes": 2048, "hits": 3, "misses": 4, "stale": 5},
            certificates=[{"section": "s", "names": ["a.example"], "file": "/c.pem", "expires_at": 1, "days_left": 12}],
        )
        text = "\n".join(status_lines(full))
        for words in (
            "refused 10 s ago",
            "  f:1: x",
            "the command line",
            "1 replies, 2.0 KiB; 3 hits",
            "/c.pem",
        ):
            self.assertIn(words, text)

    def test_oneCluster(self) -> None:
        """The others are left out."""
        clusters = {name: {"balance": "", "backends": [backend(f"{name}:1")]} for name in ("x", "y")}
        self.assertEqual(len(list(backend_lines(report(100, clusters=clusters)))), 3)
        self.assertEqual(len(list(backend_lines(report(100, clusters=clusters), "y"))), 2)

    def test_printable(self) -> None:
        """No controls; anything else as it is."""
        self.assertEqual(printable("a\x1b[31m\n\u00fc"), "a\ufffd[31m\ufffd\u00fc")
