"""Where the application log goes. Under twistd, twistd has its own beside it."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import Any

from twisted.logger import globalLogBeginner, globalLogPublisher, textFileLogObserver

from txproxy.observe.log_files import blocking_apart, let_go, open_for_appending


class LogFile:
    """Where lines of the application log go; a reader of a pipe that has stopped reading holds nobody up.

    :param path: of a file that is appended to, or ``-`` for standard error.
    :raises OSError: if it cannot be opened.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._stream: Any = None
        self.lines_lost = 0
        self._open()

    def _open(self) -> None:
        if self._path == "-":
            self._stream = blocking_apart(sys.__stderr__ or open_for_appending(os.devnull), ours=False)
        else:
            self._stream = blocking_apart(open_for_appending(self._path), ours=True)

    def write(self, text: str) -> None:
        """Append text; what cannot be written is counted and lost, for there is no other place to say so."""
        try:
            self._stream.write(text)
        except (OSError, ValueError):
            self.lines_lost += 1

    def flush(self) -> None:
        """Hand what was written to the system."""
        with suppress(OSError, ValueError):
            self._stream.flush()

    def forked(self) -> None:
        """Go on in a process that was just forked: what needs a thread for writing gets one."""
        forked = getattr(self._stream, "forked", None)
        if forked is not None:
            self._stream = forked()

    def reopen(self) -> None:
        """Open the file of this name anew: it was moved away (logrotate). Standard error is left as it is.

        :raises OSError: if it cannot be opened; the old one stays in use.
        """
        if self._path != "-":
            old = self._stream
            self._open()
            with suppress(OSError, ValueError):
                let_go(old)

    def move(self, path: str) -> None:
        """Write to another file from here on.

        :param path: see ``LogFile``.
        :raises OSError: if it cannot be opened; the present one stays in use.
        """
        before, old = self._path, self._stream
        self._path = path
        try:
            self._open()
        except OSError:
            self._path = before
            raise
        with suppress(OSError, ValueError):
            let_go(old)

    def close(self) -> None:
        """Write what waits."""
        with suppress(OSError, ValueError):
            self._stream.close()


def start_logging(path: str, twistd: bool = False) -> LogFile | None:
    """Begin to write the application log.

    :param path: of a file, or ``-``: standard error, or under twistd where twistd logs.
    :param twistd: twistd has begun its own log; the file gets the same lines.
    :return: what is written to; None if that is twistd's affair alone.
    :raises OSError: if the file cannot be opened.
    """
    if twistd and path == "-":
        return None
    file = LogFile(path)
    observer = textFileLogObserver(file)  # type: ignore[arg-type]
    if twistd:
        globalLogPublisher.addObserver(observer)
    else:
        globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False)
    return file
