"""The application log: twisted.logger with one threshold, checked before an event is built."""

from __future__ import annotations

from typing import Any

from twisted.logger import Logger as TwistedLogger
from twisted.logger import LogLevel

LEVELS = {"debug": LogLevel.debug, "info": LogLevel.info, "warn": LogLevel.warn, "error": LogLevel.error}


class _Threshold:
    # One for the process, as the publisher of twisted.logger is.
    level = LogLevel.info


def set_level(name: str) -> None:
    """Show events of this level and above.

    :param name: ``debug``, ``info``, ``warn`` or ``error``.
    """
    _Threshold.level = LEVELS[name]


def shows_debug() -> bool:
    """Return whether debug events are shown, for callers that would have to gather what they say."""
    return _Threshold.level is LogLevel.debug


class Logger(TwistedLogger):
    """A logger whose events below the threshold cost one comparison."""

    def emit(self, level: Any, format: str | None = None, **kwargs: object) -> None:
        """See twisted.logger.Logger.emit."""
        if level >= _Threshold.level:
            super().emit(level, format, **kwargs)
