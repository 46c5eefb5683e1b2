"""Where the application log goes. Under twistd, twistd has its own beside it."""

from __future__ import annotations

import sys
from typing import Any

from twisted.logger import globalLogBeginner, globalLogPublisher, textFileLogObserver


class ReopenableFile:
    """A text file that can be opened anew after it was moved away (logrotate).

    :param path: is appended to.
    :raises OSError: if it cannot be opened.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._file: Any = None
        self.reopen()

    def write(self, text: str) -> None:
        """Append text."""
        self._file.write(text)

    def flush(self) -> None:
        """Hand what was written to the system."""
        self._file.flush()

    def reopen(self) -> None:
        """Open the file of this name anew.

        :raises OSError: if it cannot be opened; the old one stays in use.
        """
        fresh = open(self._path, "a", encoding="utf-8", errors="backslashreplace")  # noqa: SIM115 - stays open
        old, self._file = self._file, fresh
        if old is not None:
            old.close()


def start_logging(path: str, twistd: bool = False) -> ReopenableFile | None:
    """Begin to write the application log.

    :param path: of a file, or ``-``: standard error, or under twistd where twistd logs.
    :param twistd: twistd has begun its own log; the file gets the same lines.
    :return: the file, if it is one.
    :raises OSError: if the file cannot be opened.
    """
    file = None if path == "-" else ReopenableFile(path)
    if twistd:
        if file is not None:
            globalLogPublisher.addObserver(textFileLogObserver(file))  # type: ignore[arg-type]
    else:
        target: Any = file or sys.stderr
        globalLogBeginner.beginLoggingTo([textFileLogObserver(target)], redirectStandardIO=False)
    return file
