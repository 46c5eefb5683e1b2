"""A command on a terminal of its own: what stands on it, and keys."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import signal
import struct
import termios
import threading
from collections.abc import Sequence
from typing import Any

import pyte

from .client import DEADLINE_S, wait_for


class Terminal:
    """A terminal with a command on it; a context manager.

    :param arguments: the command.
    :param environment: of the command.
    :param name: kind of terminal, as TERM has it; what draws on the screen here knows all that "linux" knows.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        environment: dict[str, str],
        size: tuple[int, int] = (80, 24),
        name: str = "linux",
    ) -> None:
        self._screen = pyte.Screen(*size)
        self._stream = pyte.ByteStream(self._screen)
        self._lock = threading.Lock()
        self.status: int | None = None
        """Of the command, once it has ended."""
        self._pid, self._descriptor = pty.fork()
        if not self._pid:
            try:
                # Not before the terminal has its size.
                os.read(0, 1)
                os.execve(arguments[0], list(arguments), {**environment, "TERM": name, "LC_ALL": "C.UTF-8"})
            finally:
                os._exit(127)
        self._set_size(*size)
        os.write(self._descriptor, b"\n")
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        if self.status is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
            self._wait()
        self._thread.join(DEADLINE_S)
        os.close(self._descriptor)

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._descriptor, 65536)
            except OSError:  # The command has ended.
                return
            with self._lock:
                self._stream.feed(data)

    def _set_size(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self._descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def _wait(self) -> None:
        self.status = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])

    @property
    def lines(self) -> list[str]:
        """What stands on it."""
        with self._lock:
            return [line.rstrip() for line in self._screen.display]

    @property
    def text(self) -> str:
        """The same as one text."""
        return "\n".join(self.lines)

    def resize(self, columns: int, lines: int) -> None:
        """Become larger or smaller."""
        with self._lock:
            self._screen.resize(lines, columns)
        self._set_size(columns, lines)

    def press(self, keys: str | bytes) -> None:
        """Press keys."""
        os.write(self._descriptor, keys.encode() if isinstance(keys, str) else keys)

    def shows(self, *words: str) -> None:
        """Wait until all these words stand on it."""
        try:
            wait_for(lambda: all(word in self.text for word in words), repr(words))
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.text}") from None

    def ends(self) -> Any:
        """Wait for the end of the command; return its status."""
        waiting = threading.Thread(target=self._wait, daemon=True)
        waiting.start()
        waiting.join(DEADLINE_S)
        assert self.status is not None, f"it has not ended:\n{self.text}"
        return self.status
