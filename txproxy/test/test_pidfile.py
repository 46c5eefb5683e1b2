"""The file with the process id names the process that serves."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from txproxy.pidfile import PidFile


class PidFileTests(SynchronousTestCase):
    """While it serves, and no longer."""

    def setUp(self) -> None:
        folder = Path(os.path.abspath(self.mktemp()))
        folder.mkdir()
        self.path = folder / "pid"

    def test_written(self) -> None:
        """It has the id and a line end; an older one is replaced, and nothing else is left in the folder."""
        self.path.write_text("1\n")
        file = PidFile(str(self.path))
        file.write()
        self.assertEqual(self.path.read_text(), f"{os.getpid()}\n")
        self.assertEqual(os.listdir(self.path.parent), ["pid"])
        file.remove()
        self.assertFalse(self.path.exists())

    def test_anothers(self) -> None:
        """That of a process that serves in place of this one stays, and whatever else stands there."""
        file = PidFile(str(self.path))
        for text in ("1\n", "", "x"):
            file.write()
            self.path.write_text(text)
            file.remove()
            self.assertEqual(self.path.read_text(), text)

    def test_gone(self) -> None:
        """That somebody has removed it is no error."""
        file = PidFile(str(self.path))
        file.write()
        self.path.unlink()
        file.remove()

    def test_notWanted(self) -> None:
        """Without a path there is none."""
        PidFile().write()
        PidFile().remove()

    def test_cannotBeWritten(self) -> None:
        """A folder that is not there, or not to be written to, is an error before anything has begun."""
        error = self.assertRaises(FileNotFoundError, PidFile, str(self.path / "x" / "pid"))
        self.assertEqual(error.filename, str(self.path / "x" / "pid"))
        self.patch(os, "access", lambda *_: False)
        self.assertRaises(PermissionError, PidFile, str(self.path))
