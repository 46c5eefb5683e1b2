"""A wall clock that a test moves: the proxy as a child process is told the time by it.

Run as a module it is the ``txproxy`` command, at the time that the file says which TXPROXY_TEST_CLOCK names.
"""

from __future__ import annotations

import mmap
import os
import struct
import sys
import tempfile
import time
from pathlib import Path

_SECONDS = struct.Struct("d")
_NAME = "TXPROXY_TEST_CLOCK"


class MovedClock:
    """How far the time is ahead, in a file that test and proxy share; a context manager.

    :param ahead_s: seconds at the start; less than 0: behind.
    """

    module = __name__

    def __init__(self, ahead_s: float = 0) -> None:
        number, path = tempfile.mkstemp(prefix="txproxy-clock-")
        self._path = Path(path)
        os.write(number, _SECONDS.pack(ahead_s))
        self._shared = mmap.mmap(number, _SECONDS.size)
        os.close(number)
        self.environment = {_NAME: path}
        """Of the process."""

    def __enter__(self) -> MovedClock:
        return self

    def __exit__(self, *_: object) -> None:
        self._shared.close()
        self._path.unlink()

    @property
    def ahead_s(self) -> float:
        """Seconds from the real time to this one."""
        found: float = _SECONDS.unpack_from(self._shared)[0]
        return found

    @property
    def now(self) -> float:
        """What time it is for the proxy, in seconds since the epoch."""
        return time.time() + self.ahead_s

    def advance(self, seconds: float) -> None:
        """Move it forward, at once."""
        _SECONDS.pack_into(self._shared, 0, self.ahead_s + seconds)


def main() -> int:
    """Be the command."""
    with open(os.environ[_NAME], "rb") as file:
        shared = mmap.mmap(file.fileno(), _SECONDS.size, access=mmap.ACCESS_READ)
    real = time.time
    # Nothing of txproxy is imported yet: whatever asks for the wall clock finds this one.
    time.time = lambda: real() + _SECONDS.unpack_from(shared)[0]
    from txproxy.main import main as command

    return command()


if __name__ == "__main__":
    sys.exit(main())
