"""The file that says which process serves."""

from __future__ import annotations

import errno
import os
from contextlib import suppress


class PidFile:
    """Holds the process id while the process serves.

    :param path: of the file; empty for none.
    :raises OSError: no file can be made there.
    """

    def __init__(self, path: str = "") -> None:
        self._path = os.path.abspath(path) if path else ""
        folder = os.path.dirname(self._path)
        if path and not os.access(folder, os.W_OK | os.X_OK):
            number = errno.EACCES if os.path.isdir(folder) else errno.ENOENT
            raise OSError(number, os.strerror(number), path)

    def write(self) -> None:
        """Name this process, in place of any other; who reads meanwhile finds one or the other.

        :raises OSError: it cannot be written.
        """
        if not self._path:
            return
        beside = f"{self._path}.{os.getpid()}"
        with open(beside, "w", encoding="ascii") as file:
            file.write(f"{os.getpid()}\n")
        os.replace(beside, self._path)

    def remove(self) -> None:
        """Remove it, unless it names another process by now, which serves in place of this one."""
        if not self._path:
            return
        with suppress(OSError, ValueError), open(self._path, encoding="ascii") as file:
            if int(file.read()) == os.getpid():
                os.unlink(self._path)
