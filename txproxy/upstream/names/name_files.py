"""Files that say how names are resolved; they may change at any time, and may be missing."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Generic, TypeVar

Meaning = TypeVar("Meaning")


class NameFile(Generic[Meaning]):
    """A file that is read again when it has changed. A look at it costs one system call.

    :param path: its path. A file that cannot be read counts as empty.
    :param parse: returns what its text means.
    """

    def __init__(self, path: str, parse: Callable[[str], Meaning]) -> None:
        self.path = path
        self._parse = parse
        self._version: tuple[int, ...] | None = None
        self._meaning = parse("")

    def read(self) -> Meaning:
        """Return what the file means now."""
        version = self._version_now()
        if version != self._version:
            self._version = version
            self._meaning = self._parse(self._text())
        return self._meaning

    def _version_now(self) -> tuple[int, ...] | None:
        try:
            found = os.stat(self.path)
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino, found.st_dev

    def _text(self) -> str:
        try:
            with open(self.path, encoding="utf-8", errors="replace") as file:
                return file.read()
        except OSError:
            return ""
