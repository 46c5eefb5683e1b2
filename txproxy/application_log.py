"""Where the application log of the ``txproxy`` command goes; under twistd that is twistd's choice."""

from __future__ import annotations

import sys
from typing import Any

from twisted.logger import globalLogBeginner, textFileLogObserver


def start_logging(path: str) -> None:
    """Write the application log.

    :param path: of a file that is appended to, or ``-`` for standard error.
    :raises OSError: if the file cannot be opened.
    """
    stream: Any = sys.stderr if path == "-" else open(path, "a", encoding="utf-8", buffering=1)  # noqa: SIM115
    globalLogBeginner.beginLoggingTo([textFileLogObserver(stream)], redirectStandardIO=False)
