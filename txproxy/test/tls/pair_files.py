"""Files of certificates and keys in a folder of a test."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from txproxy.config.model import Certificate
from txproxy.test.authority import Identity


class PairFiles:
    """A folder that is gone after the test.

    :param case: the test.
    """

    def __init__(self, case: SynchronousTestCase) -> None:
        folder = tempfile.TemporaryDirectory()
        case.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def write(self, name: str, data: bytes, mode: int = 0o600) -> str:
        """Put a file there in one step, as tools that renew certificates do, and return its path."""
        new = self.folder / f"{name}.new"
        new.write_bytes(data)
        new.chmod(mode)
        os.replace(new, self.folder / name)
        return str(self.folder / name)

    def remove(self, name: str) -> None:
        (self.folder / name).unlink()

    def pair(self, identity: Identity, stem: str = "a", staple: bytes = b"") -> Certificate:
        """Write ``STEM.pem``, ``STEM.key`` and ``STEM.ocsp``, if there is a staple, and return what names them."""
        return Certificate(
            chain=self.write(f"{stem}.pem", identity.certificate, 0o644),
            key=self.write(f"{stem}.key", identity.key),
            ocsp=self.write(f"{stem}.ocsp", staple) if staple else "",
        )

    def without_folder(self, text: str) -> str:
        """Return a message with bare names of files."""
        return text.replace(f"{self.folder}/", "")
