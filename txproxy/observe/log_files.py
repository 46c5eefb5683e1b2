"""Where log lines go: regular files at once, everything that can block through a thread of its own."""

from __future__ import annotations

import os
import select
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from queue import SimpleQueue
from typing import Any

_MOST_WAITING = 4096
"""Batches that wait for a reader of a pipe who has stopped reading; further ones are refused, and counted as lost."""


class ThreadedWriter:
    """Writes to a pipe, a terminal or a socket, whose readers may stall, without holding up its caller.

    :param stream: a text stream.
    :param ours: close it at the end.
    """

    def __init__(self, stream: Any, ours: bool = False) -> None:
        self._stream = stream
        self._ours = ours
        self._queue: SimpleQueue[str | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="txproxy log", daemon=True)
        self._thread.start()

    def write(self, text: str) -> None:
        """Take text to be written soon.

        :raises OSError: if too much waits already.
        """
        if self._queue.qsize() >= _MOST_WAITING:
            raise OSError("its reader does not keep up")
        self._queue.put(text)

    def flush(self) -> None:
        """Do nothing: the thread flushes after each batch."""

    def forked(self) -> ThreadedWriter:
        """Return what writes to the same place in a process that was just forked, which has no threads."""
        return ThreadedWriter(self._stream, self._ours)

    def let_go(self) -> None:
        """Write what waits, and close by itself: nobody waits for that."""
        self._queue.put(None)

    def close(self) -> None:
        """Write what waits, as long as its reader takes it within two seconds."""
        self.let_go()
        self._thread.join(2)

    def _run(self) -> None:
        while (text := self._queue.get()) is not None:
            try:
                self._write(text)
            except (OSError, ValueError):
                # The reader is gone: the rest is taken and thrown away, for nobody can see it.
                continue
        if self._ours:
            with suppress(OSError, ValueError):
                self._stream.close()

    def _write(self, text: str) -> None:
        descriptor = _descriptor_of(self._stream)
        if descriptor is None:
            self._stream.write(text)
            self._stream.flush()
            return
        # Not by the stream: should the process be forked while a reader holds this up, its lock would stay locked in
        # the new one for ever. And not much at once: up to PIPE_BUF bytes are written in one piece, lines of several
        # processes do not get into each other then.
        for piece in _pieces(text.encode("utf-8", "backslashreplace")):
            view = memoryview(piece)
            while view:
                view = view[os.write(descriptor, view) :]


def _descriptor_of(stream: Any) -> int | None:
    try:
        descriptor: int = stream.fileno()
    except (OSError, ValueError, AttributeError):
        return None
    return descriptor


def _pieces(data: bytes) -> Iterator[bytes]:
    """Cut text at ends of lines, into pieces that the system writes at once where lines are not too long for that."""
    begin = 0
    while len(data) - begin > select.PIPE_BUF:
        end = data.rfind(b"\n", begin, begin + select.PIPE_BUF) + 1
        end = end or data.find(b"\n", begin) + 1 or len(data)
        yield data[begin:end]
        begin = end
    if begin < len(data):
        yield data[begin:]


def open_for_appending(path: str) -> Any:
    """Return a text stream that appends to a file.

    :raises OSError: if it cannot be opened; a named pipe that nobody reads is not waited for.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC, 0o644)
    os.set_blocking(descriptor, True)
    return open(descriptor, "a", encoding="utf-8", errors="backslashreplace")


def opener(path: str) -> Callable[[], Any]:
    """Return a function that opens a log for appending.

    :param path: of a file, or ``-`` for standard output.
    """

    def open_log() -> Any:
        if path == "-":
            # twistd puts a log of its own in the place of sys.stdout, which would add to each line.
            stream = sys.__stdout__
            if stream is None:
                return open_for_appending(os.devnull)  # It was closed before we were started.
            return blocking_apart(stream, ours=False)
        return blocking_apart(open_for_appending(path), ours=True)

    return open_log


class KeptOpen:
    """A stream that is written to but not ours to close: standard output."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.write = stream.write
        self.flush = stream.flush

    def close(self) -> None:
        """Leave it open."""
        self.flush()


def blocking_apart(stream: Any, ours: bool) -> Any:
    """Return what writes to a stream: itself if it is a regular file, else a thread that may be held up in our place.

    :param ours: close it at the end.
    """
    if not _is_regular(stream):
        return ThreadedWriter(stream, ours)
    return stream if ours else KeptOpen(stream)


def let_go(stream: Any) -> None:
    """Close a stream that another one has taken the place of, without waiting for a reader that stalls.

    :raises OSError: if what its buffer still held cannot be written.
    """
    getattr(stream, "let_go", stream.close)()


def _is_regular(stream: Any) -> bool:
    try:
        return stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
    except (OSError, ValueError, AttributeError):
        return False
