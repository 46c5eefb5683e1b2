"""Where log lines go."""

from __future__ import annotations

import io
import os
import select
import sys
import threading
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from txproxy.observe.log_files import ThreadedWriter, opener


class Stalled(io.StringIO):
    """A pipe whose reader has stopped, until it is told to go on."""

    def __init__(self) -> None:
        super().__init__()
        self.goes_on = threading.Event()

    def write(self, text: str) -> int:
        self.goes_on.wait(30)
        return super().write(text)


class Broken(io.StringIO):
    """A pipe whose reader is gone."""

    def write(self, text: str) -> int:
        raise BrokenPipeError(32, "Broken pipe")


class ThreadedWriterTests(SynchronousTestCase):
    """Writes that may block are made in a thread."""

    def test_writes(self) -> None:
        """All that was written is there after close, in order; the stream stays open."""
        stream = io.StringIO()
        writer = ThreadedWriter(stream)
        for number in range(100):
            writer.write(f"{number}\n")
            writer.flush()
        writer.close()
        self.assertEqual(stream.getvalue(), "".join(f"{number}\n" for number in range(100)))
        self.assertFalse(stream.closed)

    def test_stalledReader(self) -> None:
        """A reader who has stopped holds nobody up; what is too much is refused."""
        stream = Stalled()
        writer = ThreadedWriter(stream)
        written = 0
        with self.assertRaises(OSError):
            for _ in range(100_000):
                writer.write("x")
                written += 1
        self.assertGreater(written, 1000)
        stream.goes_on.set()
        writer.close()
        self.assertEqual(len(stream.getvalue()), written)

    def test_readerIsGone(self) -> None:
        """A reader who is gone harms nobody."""
        writer = ThreadedWriter(Broken())
        writer.write("x")
        writer.write("y")
        writer.close()

    def test_severalProcesses(self) -> None:
        """Lines that several processes write to one pipe do not get into each other: they are written in pieces of
        whole lines that the system keeps together; a line that is longer than that stays as it is."""
        reading, writing = os.pipe()
        lines = [f"{number} {'x' * (number % 700)}\n" for number in range(40)] + ["y" * 10_000 + "\n", "end\n"]
        with open(writing, "w", encoding="utf-8") as stream, open(reading, "rb", buffering=0) as pipe:
            writer = ThreadedWriter(stream)
            written: list[bytes] = []

            def write(descriptor: int, data: Any) -> int:
                written.append(bytes(data))
                return original(descriptor, data)

            original = os.write
            self.patch(os, "write", write)
            writer.write("".join(lines))
            writer.close()
            self.assertEqual(pipe.read(65536).decode(), "".join(lines))
        self.assertTrue(all(piece.endswith(b"\n") for piece in written))
        self.assertEqual([len(piece) for piece in written if len(piece) > select.PIPE_BUF], [10_001])

    def test_forked(self) -> None:
        """In a process that was forked, in which no thread runs, another writer goes on with the same stream."""
        stream = io.StringIO()
        before = ThreadedWriter(stream)
        before.close()
        after = before.forked()
        after.write("x")
        after.close()
        self.assertEqual(stream.getvalue(), "x")


class OpenerTests(SynchronousTestCase):
    """What a path in the configuration becomes."""

    def test_file(self) -> None:
        """A file is appended to, at once."""
        path = self.mktemp()
        for text in ("a\n", "b\n"):
            file = opener(path)()
            file.write(text)
            file.flush()
            file.close()
        with open(path) as written:
            self.assertEqual(written.read(), "a\nb\n")

    def test_standardOutput(self) -> None:
        """A hyphen is standard output, which is never closed."""
        with open(self.mktemp(), "w+") as output:
            self.patch(sys, "__stdout__", output)
            file = opener("-")()
            file.write("a\n")
            file.close()
            self.assertFalse(output.closed)
            output.seek(0)
            self.assertEqual(output.read(), "a\n")

    def test_standardOutputThatMayBlock(self) -> None:
        """The same if it is a pipe or a terminal."""
        output = io.StringIO()
        self.patch(sys, "__stdout__", output)
        file = opener("-")()
        file.write("a\n")
        file.close()
        self.assertEqual(output.getvalue(), "a\n")

    def test_cannotBeOpened(self) -> None:
        """A path that cannot be opened is an error at once."""
        self.assertRaises(OSError, opener("/no/such/directory/file"))
