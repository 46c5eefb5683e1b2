"""What the application log hears of the certificates of a section."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from twisted.logger import LogLevel

from txproxy.observe.log import Logger

log = Logger()

_Text = str | Callable[[], str]
"""A line, or what makes it if it is written."""


class SectionLog:
    """Writes lines that begin with the name of a section.

    :param section: the name.
    """

    def __init__(self, section: str) -> None:
        self._section = section
        self._left: int | None = None
        """How many lines may still be written; None: any number."""
        self._withheld = 0

    def info(self, text: _Text) -> None:
        """Write a line that asks for nothing."""
        self._write(LogLevel.info, text)

    def warn(self, text: _Text) -> None:
        """Write a line about something that needs care."""
        self._write(LogLevel.warn, text)

    def error(self, text: _Text) -> None:
        """Write a line about something that is not served."""
        self._write(LogLevel.error, text)

    @contextmanager
    def at_most(self, lines: int) -> Iterator[None]:
        """Write no more lines than so many meanwhile, and then how many were withheld.

        Thousands of files may change at once, and each line takes time that requests wait for.
        """
        self._left, self._withheld = lines, 0
        try:
            yield
        finally:
            self._left = None
            if self._withheld:
                self.warn(f"{self._withheld} more lines like these are withheld (txproxy check shows what is wrong)")

    def _write(self, level: object, text: _Text) -> None:
        if self._left is not None:
            if not self._left:
                self._withheld += 1
                return
            self._left -= 1
        log.emit(level, "tls.{section}: {text}", section=self._section, text=text if isinstance(text, str) else text())
