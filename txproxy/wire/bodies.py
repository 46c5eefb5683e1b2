"""Bodies (RFC 9112 sections 6 and 7): readers that turn bytes into content, and the writer of chunks.

A reader's ``feed`` returns the content of what it was given; once ``done`` is set, ``rest`` holds what follows the
body. ``end`` says whether a body may end when the connection does.
"""

from __future__ import annotations

import re

from txproxy.errors import ProxyError
from txproxy.wire.fields import Field, parse_trailers
from txproxy.wire.heads import BAD_LINE_END
from txproxy.wire.limits import MAX_TRAILER_BYTES

_CHUNK_LINE = re.compile(
    # RFC 9112 section 7.1: 1*HEXDIG, then extensions `BWS ; BWS name [BWS = BWS (token / quoted-string)]`.
    # 16 digits hold what no connection can carry; more would overflow the counters of some server behind us.
    rb"([0-9A-Fa-f]{1,16})"
    rb"(?:[ \t]*;[ \t]*[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
    rb"(?:[ \t]*=[ \t]*(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
    rb"|\"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t \x21-\x7e\x80-\xff])*\"))?)*[ \t]*"
)
_BARE_SIZE = re.compile(rb"[0-9A-Fa-f]{1,16}")

MAX_CHUNK_LINE_BYTES = 4096
"""A size with its extensions; llhttp and Go stop near this too."""
MAX_EXTENSION_BYTES = 16384
"""Extensions of a whole body beyond 16 bytes a chunk: they carry nothing for us and cost the same to read as data."""


class LengthReader:
    """Reads a body whose length is known.

    :param length: in bytes, at least 1.
    """

    __slots__ = ("done", "remaining", "rest", "trailers")
    is_endless = False

    def __init__(self, length: int) -> None:
        self.remaining = length
        self.done = length == 0
        self.rest = b""
        self.trailers: list[Field] = []

    def feed(self, data: bytes) -> bytes:
        """Return the content within ``data``."""
        remaining = self.remaining - len(data)
        if remaining > 0:
            self.remaining = remaining
            return data
        self.done = True
        if remaining < 0:
            self.rest = data[remaining:]
            data = data[:remaining]
        self.remaining = 0
        return data

    def end(self) -> bool:
        """Return whether the body is complete now that the connection has ended."""
        return self.done


class UntilCloseReader:
    """Reads what ends with its connection: a reply's body (RFC 9112 section 6.3, last case), or a tunnel."""

    __slots__ = ("done", "rest", "trailers")
    is_endless = True

    def __init__(self) -> None:
        self.done = False
        self.rest = b""
        self.trailers: list[Field] = []

    def feed(self, data: bytes) -> bytes:
        """Return the content within ``data``: all of it."""
        return data

    def end(self) -> bool:
        """Return True: the end of the connection is the end of the body."""
        self.done = True
        return True


class ChunkedReader:
    """Reads chunks (RFC 9112 section 7.1) and the trailer section after them.

    :param error: raised for any fault in the framing.
    """

    __slots__ = ("_buffer", "_error", "_extensions", "_left", "_state", "done", "rest", "trailers")
    is_endless = False

    _SIZE, _DATA, _DATA_END, _TRAILERS = range(4)

    def __init__(self, error: type[ProxyError]) -> None:
        self._error = error
        self._buffer = b""
        self._state = self._SIZE
        self._left = 0
        self._extensions = 0
        self.done = False
        self.rest = b""
        self.trailers: list[Field] = []

    def feed(self, data: bytes) -> bytes:
        """Return the content within ``data``, however many chunks it spans.

        :raises ProxyError: of the constructor's class, if the framing is broken or its lines are over their limits.
        """
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        pieces: list[bytes] = []
        position, size = 0, len(data)
        while position < size:
            if self._state == self._DATA:
                taken = min(self._left, size - position)
                pieces.append(data[position : position + taken])
                position += taken
                self._left -= taken
                if not self._left:
                    self._state = self._DATA_END
                continue
            after = self._take_line(data, position)
            if after < 0:
                self._buffer = data[position:]
                break
            position = after
            if self.done:
                self.rest = data[position:]
                break
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def end(self) -> bool:
        """Return whether the body is complete now that the connection has ended."""
        return self.done

    def _take_line(self, data: bytes, start: int) -> int:
        if self._state == self._SIZE:
            return self._take_size(data, start)
        if self._state == self._DATA_END:
            if not b"\r\n".startswith(data[start : start + 2]):
                raise self._error("chunk data is not followed by CRLF")
            if len(data) < start + 2:
                return -1
            self._state = self._SIZE
            return start + 2
        return self._take_trailers(data, start)

    def _take_size(self, data: bytes, start: int) -> int:
        end = data.find(b"\n", start, start + MAX_CHUNK_LINE_BYTES)
        if end < 0:
            if len(data) - start >= MAX_CHUNK_LINE_BYTES:
                raise self._error(f"chunk size line of over {MAX_CHUNK_LINE_BYTES} bytes")
            self._check_partial_size(data[start:])
            return -1
        line = data[start : end - 1]
        if data[end - 1 : end] != b"\r" or end == start:
            raise self._error("chunk size line does not end in CRLF")
        if not _BARE_SIZE.fullmatch(line):
            found = _CHUNK_LINE.fullmatch(line)
            if found is None:
                raise self._error(f"chunk size line {line[:30]!r}")
            self._extensions += max(0, len(line) - 16)
            if self._extensions > MAX_EXTENSION_BYTES:
                raise self._error(f"chunk extensions of over {MAX_EXTENSION_BYTES} bytes")
            line = found.group(1)
        self._left = int(line, 16)
        self._state = self._DATA if self._left else self._TRAILERS
        return end + 1

    def _check_partial_size(self, line: bytes) -> None:
        # What can never become valid is refused at once, not at the deadline.
        digits = line.partition(b";")[0].rstrip(b" \t\r")
        if b"\r" in line[:-1] or (digits or b";" in line or line[:1] in b" \t\r") and not _BARE_SIZE.fullmatch(digits):
            raise self._error(f"chunk size line {line[:30]!r}")

    def _take_trailers(self, data: bytes, start: int) -> int:
        if data.startswith(b"\r\n", start):
            self.done = True
            return start + 2
        end = data.find(b"\r\n\r\n", start)
        # While the end has not come, up to three of its bytes may have.
        if (end if end >= 0 else len(data) - 3) - start > MAX_TRAILER_BYTES:
            raise self._error(f"trailer section of over {MAX_TRAILER_BYTES} bytes")
        if end < 0:
            if BAD_LINE_END.search(data, start):
                raise self._error("a trailer line that does not end in CRLF")
            return -1
        self.trailers = parse_trailers(data[start : end + 2], self._error)
        self.done = True
        return end + 4


def write_chunk(data: bytes) -> bytes:
    """Return ``data`` as one chunk; it must not be empty, for that would end the body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


LAST_CHUNK = b"0\r\n\r\n"
"""The end of a chunked body without trailers."""
