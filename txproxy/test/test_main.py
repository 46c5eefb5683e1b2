"""The console command: exit codes, and what is written where."""

from __future__ import annotations

import io
import json
import sys
import tomllib

from twisted.trial.unittest import SynchronousTestCase

from txproxy import __version__
from txproxy.config.load import load_text
from txproxy.main import main
from txproxy.testing import site


class MainTests(SynchronousTestCase):
    """txproxy check and schema; run is shown by the live tests."""

    def setUp(self) -> None:
        self.output, self.errors = io.StringIO(), io.StringIO()
        self.patch(sys, "stdout", self.output)
        self.patch(sys, "stderr", self.errors)

    def written(self, text: str) -> str:
        path = self.mktemp() + ".toml"
        with open(path, "w") as file:
            file.write(text)
        return path

    def test_checkOfAGoodFile(self) -> None:
        """Exit 0, and a word of it; the file may be named with or without -c."""
        path = self.written(site())
        self.assertEqual((main(["check", path]), main(["check", "-c", path])), (0, 0))
        self.assertEqual(self.output.getvalue().count("no errors"), 2)

    def test_checkOfABadFile(self) -> None:
        """Exit 1 and every error at once, as FILE:LINE: key.path: message (G2)."""
        path = self.written(site(listener="bcklog = 3", cluster="pool.queue = -1"))
        self.assertEqual(main(["check", path]), 1)
        lines = (self.output.getvalue() + self.errors.getvalue()).splitlines()
        self.assertEqual(len(lines), 2)
        self.assertTrue(lines[0].startswith(f"{path}:5: "), lines)
        self.assertIn("bcklog", lines[0])
        self.assertIn("cluster.app.pool.queue: ", lines[1])

    def test_checkOfNothing(self) -> None:
        """No file is a wrong command line: 2. A file that is not there is an error: 1."""
        self.assertEqual(main(["check"]), 2)
        self.assertEqual(main(["check", "/no/such/file.toml"]), 1)

    def test_dump(self) -> None:
        """--dump prints the effective configuration, which is TOML and loads as the same."""
        text = site(listener="header_timeout_s = 3", backends=["10.0.0.1:80", "unix:/x"])
        self.assertEqual(main(["check", self.written(text), "--dump"]), 0)
        dumped = self.output.getvalue()
        self.assertEqual(tomllib.loads(dumped)["listener"][0]["header_timeout_s"], 3)
        self.assertEqual(load_text(dumped).config, load_text(text).config)

    def test_schema(self) -> None:
        """The schema is JSON and names the sections."""
        self.assertEqual(main(["schema"]), 0)
        schema = json.loads(self.output.getvalue())
        self.assertLessEqual({"listener", "route", "cluster", "log"}, set(schema["properties"]))

    def test_wrongCommandLine(self) -> None:
        """Anything else is 2, with a word on standard error."""
        for arguments in ([], ["fly"], ["check", "--no-such-flag"], ["run", "-p", "many"]):
            error = self.assertRaises(SystemExit, main, arguments)
            self.assertEqual(error.code, 2)
        self.assertIn("usage", self.errors.getvalue())

    def test_version(self) -> None:
        """--version says which one it is."""
        error = self.assertRaises(SystemExit, main, ["--version"])
        self.assertEqual((error.code, self.output.getvalue().strip()), (0, f"txproxy {__version__}"))
