"""The application log: twisted.logger with one threshold, checked before an event is built."""

from __future__ import annotations

from typing import Any

from twisted.logger import Logger as TwistedLogger
from twisted.logger import LogLevel

LEVELS = {"debug": LogLevel.debug, "info": LogLevel.info, "warn": LogLevel.warn, "error": LogLevel.error}


class _Threshold:
    # One for the process, as the publisher of twisted.logger is.
    level = LogLevel.info
    prefix = ""


def set_level(name: str) -> None:
    """Show events of this level and above.

    :param name: ``debug``, ``info``, ``warn`` or ``error``.
    """
    _Threshold.level = LEVELS[name]


def set_prefix(prefix: str) -> None:
    """Begin every line with this: one log has the lines of several processes."""
    # Braces would be fields of the format.
    _Threshold.prefix = prefix.replace("{", "{{").replace("}", "}}")


def shows_debug() -> bool:
    """Return whether debug events are shown, for callers that would have to gather what they say."""
    return _Threshold.level is LogLevel.debug


class Logger(TwistedLogger):
    """A logger whose events below the threshold cost one comparison."""

    def emit(self, level: Any, format: str | None = None, **kwargs: object) -> None:
        """See twisted.logger.Logger.emit."""
        if level >= _Threshold.level:
            if _Threshold.prefix and format is not None:
                format = _Threshold.prefix + format
            super().emit(level, format, **kwargs)
