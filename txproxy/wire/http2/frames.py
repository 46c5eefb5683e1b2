"""Where frames begin and end (RFC 9113 section 4), and which of them may follow each other.

What would have to be kept before it can be judged is bounded here: a header block that never ends, a frame that is too
large. A header block comes out as one piece, however many CONTINUATION frames it had.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from h2.errors import ErrorCodes

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What a client sends first (RFC 9113 section 3.4)."""
PREFACE_LINE = b"PRI * HTTP/2.0"
PREFACE_HEAD = PREFACE_LINE + b"\r\n\r\n"
"""Its first half, which HTTP/1.1 takes for the head of a request."""

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)

END_STREAM = ACK = 0x01
END_HEADERS = 0x04

HEADER_BYTES = 9
_KIND_AT = 3
MAX_FRAME_BYTES = 16384
"""SETTINGS_MAX_FRAME_SIZE: the initial value, which we never raise."""

_LEAST_BLOCK_BYTES = 65536
_SHORT_FRAME_BYTES = 2048
"""Who sends a large block in shorter pieces than this means no good."""


class ConnectionFault(Exception):
    """A peer has broken a rule in a way that ends its connection (RFC 9113 section 5.4.1).

    :param code: what GOAWAY says.
    :param words: what was wrong.
    """

    def __init__(self, code: ErrorCodes, words: str) -> None:
        super().__init__(words)
        self.code = code
        self.words = words


def header(length: int, kind: int, flags: int, stream_id: int) -> bytes:
    """Return the header of a frame (RFC 9113 section 4.1).

    :param length: of its body, in bytes.
    """
    return (length << 48 | kind << 40 | flags << 32 | stream_id).to_bytes(HEADER_BYTES, "big")


class Frame(NamedTuple):
    """A frame, or all frames of one header block."""

    kind: int
    flags: int
    """Of the first frame, END_HEADERS excepted."""
    stream_id: int
    body: bytes
    """What follows its header."""
    more: bytes = b""
    """Bodies of the CONTINUATION frames that follow it."""


class FrameReader:
    """Splits what comes into frames.

    :param expects_preface: the peer is a client.
    :param max_header_bytes: of a header list that is let pass. A block of twice as much, compressed as it is, could
        only be refused; so could one in a great many pieces.
    """

    __slots__ = (
        "_block",
        "_block_bytes",
        "_buffer",
        "_most_block_bytes",
        "_most_block_frames",
        "_needed",
        "_preface",
        "blocks",
        "has_begun",
    )

    def __init__(self, expects_preface: bool, max_header_bytes: int = 32768) -> None:
        self._preface = PREFACE if expects_preface else b""
        self._most_block_bytes = max(_LEAST_BLOCK_BYTES, 2 * max_header_bytes)
        self._most_block_frames = self._most_block_bytes // _SHORT_FRAME_BYTES
        self.has_begun = False
        """The peer has said what it has to say first."""
        self._buffer = bytearray()
        self._needed = 0
        """With fewer bytes than this there is nothing to do."""
        self._block: list[Frame] = []
        self._block_bytes = 0
        self.blocks = 0
        """Header blocks that have ended."""

    @property
    def is_in_block(self) -> bool:
        """Whether a header block has begun, and not ended; so has a frame that may turn out to be one."""
        buffer = self._buffer
        return bool(self._block or buffer and (len(buffer) < _KIND_AT + 1 or buffer[_KIND_AT] == HEADERS))

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yield the frames that are complete now.

        :raises ConnectionFault: as soon as what follows cannot be right.
        """
        buffer = self._buffer
        if buffer:
            buffer += data
            if len(buffer) < self._needed:
                return
            data = bytes(buffer)
            buffer.clear()
        position, size = 0, len(data)
        if self._preface:
            position = self._read_preface(data)
        while size - position >= HEADER_BYTES:
            head = int.from_bytes(data[position : position + HEADER_BYTES], "big")
            length = head >> 48
            if length > MAX_FRAME_BYTES:
                raise ConnectionFault(ErrorCodes.FRAME_SIZE_ERROR, f"a frame of {length} bytes")
            end = position + HEADER_BYTES + length
            kind = head >> 40 & 0xFF
            if not self.has_begun:
                self._check_first(kind, head >> 32 & ACK)
            if end > size:
                self._needed = end - position
                break
            self.has_begun = True
            frame = Frame(kind, head >> 32 & 0xFF, head & 0x7FFFFFFF, data[position + HEADER_BYTES : end])
            position = end
            if self._block or kind == CONTINUATION or kind == HEADERS and not frame.flags & END_HEADERS:
                whole = self._gather(frame)
                if whole is None:
                    continue
                frame = whole
            if kind in (HEADERS, CONTINUATION):
                self.blocks += 1
            yield frame
        if position < size:
            buffer += data[position:]
            if size - position < HEADER_BYTES:
                self._needed = HEADER_BYTES

    def _read_preface(self, data: bytes) -> int:
        expected = self._preface
        given = data[: len(expected)]
        if not expected.startswith(given):
            raise ConnectionFault(ErrorCodes.PROTOCOL_ERROR, "no preface of HTTP/2")
        self._preface = expected[len(given) :]
        return len(given)

    def _check_first(self, kind: int, ack: int) -> None:
        if kind != SETTINGS or ack:
            raise ConnectionFault(ErrorCodes.PROTOCOL_ERROR, "the first frame is not SETTINGS")

    def _gather(self, frame: Frame) -> Frame | None:
        """Add a frame to a header block; return the block when it has ended."""
        block = self._block
        if frame.kind != CONTINUATION:
            if block:
                raise ConnectionFault(ErrorCodes.PROTOCOL_ERROR, "a frame within a header block")
        elif not block or block[0].stream_id != frame.stream_id:
            raise ConnectionFault(ErrorCodes.PROTOCOL_ERROR, "CONTINUATION without a header block of its stream")
        block.append(frame)
        self._block_bytes += len(frame.body)
        if len(block) > self._most_block_frames or self._block_bytes > self._most_block_bytes:
            raise ConnectionFault(ErrorCodes.ENHANCE_YOUR_CALM, "a header block without end")
        if not frame.flags & END_HEADERS:
            return None
        self._block, self._block_bytes = [], 0
        return block[0]._replace(more=b"".join([part.body for part in block[1:]]))
