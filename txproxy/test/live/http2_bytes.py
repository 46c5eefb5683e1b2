"""Frames of HTTP/2 and header blocks as bytes: whatever a test says, legal or not. It shares no code with the proxy."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from enum import IntEnum
from typing import NamedTuple

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEAD_BYTES = 9
"""Of each frame, before its payload."""
FRAME_LIMIT = 1 << 14
"""Of payloads, unless SETTINGS_MAX_FRAME_SIZE says more."""
WINDOW_BYTES = 65_535
"""Of new connections and streams (RFC 9113 section 6.9.2)."""
WINDOW_LIMIT = (1 << 31) - 1


class Kind(IntEnum):
    """Types of frames (RFC 9113 section 6)."""

    DATA = 0
    HEADERS = 1
    PRIORITY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PUSH_PROMISE = 5
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9
    UNKNOWN = 0x16
    """Of nobody."""


class Code(IntEnum):
    """Error codes (RFC 9113 section 7)."""

    NO_ERROR = 0
    PROTOCOL = 1
    INTERNAL = 2
    FLOW_CONTROL = 3
    SETTINGS_TIMEOUT = 4
    STREAM_CLOSED = 5
    FRAME_SIZE = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION = 9
    CONNECT = 10
    ENHANCE_YOUR_CALM = 11
    INADEQUATE_SECURITY = 12
    HTTP_1_1_REQUIRED = 13


class Setting(IntEnum):
    """Parameters of SETTINGS (RFC 9113 section 6.5.2)."""

    HEADER_TABLE_SIZE = 1
    ENABLE_PUSH = 2
    MAX_CONCURRENT_STREAMS = 3
    INITIAL_WINDOW_SIZE = 4
    MAX_FRAME_SIZE = 5
    MAX_HEADER_LIST_SIZE = 6
    UNKNOWN = 0xFF
    """Of nobody."""


ACK = END_STREAM = 0x1
END_HEADERS = 0x4
PADDED = 0x8
PRIORITIZED = 0x20


def _name_of(names: type[IntEnum], value: int) -> str:
    return next((each.name for each in names if each == value), hex(value))


class Frame(NamedTuple):
    """A frame as it came."""

    kind: int
    flags: int
    stream: int
    payload: bytes
    reserved: bool = False

    def has(self, flag: int) -> bool:
        """Whether a flag is set."""
        return bool(self.flags & flag)

    def is_a(self, kind: Kind, stream: int) -> bool:
        """Whether it is of this type, on this stream."""
        return self.kind == kind and self.stream == stream

    @property
    def code(self) -> int:
        """Error code of RST_STREAM and GOAWAY; -1 in others."""
        at = 0 if self.kind == Kind.RST_STREAM else 4 if self.kind == Kind.GOAWAY else -1
        return int.from_bytes(self.payload[at : at + 4], "big") if at >= 0 else -1

    @property
    def last_stream(self) -> int:
        """What a GOAWAY names as the last stream that was or will be processed."""
        return int.from_bytes(self.payload[:4], "big") & WINDOW_LIMIT

    @property
    def content(self) -> bytes:
        """Payload of DATA, HEADERS or CONTINUATION, without padding and priority."""
        payload = self.payload
        if self.kind != Kind.CONTINUATION and self.has(PADDED):
            payload = payload[1 : len(payload) - payload[0]]
        return payload[5:] if self.kind == Kind.HEADERS and self.has(PRIORITIZED) else payload

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Parameters of SETTINGS."""
        whole = len(self.payload) // 6 * 6
        return [struct.unpack_from(">HL", self.payload, at) for at in range(0, whole, 6)]

    def __str__(self) -> str:
        kind = _name_of(Kind, self.kind)
        code = f" {_name_of(Code, self.code)}" if self.code >= 0 else ""
        return f"{kind}(stream={self.stream} flags={self.flags:#x} length={len(self.payload)}{code})"


class Splitter:
    """Cuts bytes into frames."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """Return the frames that are complete now."""
        self._rest += data
        frames, at = [], 0
        while len(self._rest) - at >= HEAD_BYTES:
            high, low, kind, flags, stream = struct.unpack_from(">BHBBL", self._rest, at)
            end = at + HEAD_BYTES + (high << 16 | low)
            if len(self._rest) < end:
                break
            payload = bytes(self._rest[at + HEAD_BYTES : end])
            frames.append(Frame(kind, flags, stream & WINDOW_LIMIT, payload, bool(stream >> 31)))
            at = end
        del self._rest[:at]
        return frames


# Frames


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    """Return any frame.

    :param stream: with the reserved bit, if it is to be set.
    """
    return struct.pack(">BHBBL", len(payload) >> 16, len(payload) & 0xFFFF, kind, flags, stream) + payload


def _padded(payload: bytes, pad: int | None) -> bytes:
    return payload if pad is None else bytes([pad]) + payload + bytes(pad)


def data(stream: int, content: bytes = b"", *, ended: bool = False, pad: int | None = None) -> bytes:
    """Return DATA.

    :param pad: bytes of padding; None: without the field.
    """
    flags = ended * END_STREAM | (pad is not None) * PADDED
    return frame(Kind.DATA, flags, stream, _padded(content, pad))


def priority_fields(depends_on: int = 0, weight: int = 255, exclusive: bool = False) -> bytes:
    """Return what HEADERS and PRIORITY say of priority; the weight less one, as it is sent."""
    return struct.pack(">LB", depends_on | exclusive << 31, weight)


def headers(
    stream: int,
    block: bytes,
    *,
    ended: bool = True,
    complete: bool = True,
    pad: int | None = None,
    priority: bytes | None = None,
) -> bytes:
    """Return HEADERS.

    :param ended: with END_STREAM; ``complete``: with END_HEADERS.
    :param priority: see ``priority_fields``.
    """
    flags = ended * END_STREAM | complete * END_HEADERS | (pad is not None) * PADDED
    flags |= (priority is not None) * PRIORITIZED
    return frame(Kind.HEADERS, flags, stream, _padded((priority or b"") + block, pad))


def continuation(stream: int, block: bytes, complete: bool = True) -> bytes:
    """Return CONTINUATION; ``complete``: with END_HEADERS."""
    return frame(Kind.CONTINUATION, complete * END_HEADERS, stream, block)


def priority(stream: int, depends_on: int = 0, weight: int = 255, exclusive: bool = False) -> bytes:
    """Return PRIORITY."""
    return frame(Kind.PRIORITY, 0, stream, priority_fields(depends_on, weight, exclusive))


def rst_stream(stream: int, code: int = Code.CANCEL) -> bytes:
    """Return RST_STREAM."""
    return frame(Kind.RST_STREAM, 0, stream, struct.pack(">L", code))


def settings(*pairs: tuple[int, int], ack: bool = False) -> bytes:
    """Return SETTINGS with these parameters in this order."""
    return frame(Kind.SETTINGS, ack * ACK, 0, b"".join(struct.pack(">HL", *pair) for pair in pairs))


def push_promise(stream: int, promised: int, block: bytes) -> bytes:
    """Return PUSH_PROMISE."""
    return frame(Kind.PUSH_PROMISE, END_HEADERS, stream, struct.pack(">L", promised) + block)


def ping(content: bytes = bytes(8), ack: bool = False) -> bytes:
    """Return PING."""
    return frame(Kind.PING, ack * ACK, 0, content)


def goaway(last_stream: int = 0, code: int = Code.NO_ERROR, words: bytes = b"") -> bytes:
    """Return GOAWAY."""
    return frame(Kind.GOAWAY, 0, 0, struct.pack(">LL", last_stream, code) + words)


def window_update(stream: int, increment: int) -> bytes:
    """Return WINDOW_UPDATE."""
    return frame(Kind.WINDOW_UPDATE, 0, stream, struct.pack(">L", increment))


# Header blocks (RFC 7541)


def integer(value: int, bits: int, first: int = 0) -> bytes:
    """Return an integer with a prefix of so many bits (section 5.1).

    :param first: the bits before the prefix.
    """
    most = (1 << bits) - 1
    if value < most:
        return bytes([first | value])
    value -= most
    rest = []
    while value > 0x7F:
        rest.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([first | most, *rest, value])


def string(value: bytes) -> bytes:
    """Return a string without Huffman coding (section 5.2)."""
    return integer(len(value), 7) + value


def literal(name: bytes, value: bytes, first: int = 0x00) -> bytes:
    """Return a literal with a new name (section 6.2).

    :param first: 0x00: without indexing; 0x40: with incremental indexing; 0x10: never indexed.
    """
    return bytes([first]) + string(name) + string(value)


def indexed(index: int) -> bytes:
    """Return an indexed field (section 6.1)."""
    return integer(index, 7, 0x80)


def table_size(size: int) -> bytes:
    """Return a dynamic table size update (section 6.3)."""
    return integer(size, 5, 0x20)


def block_of(fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return a block of literals without indexing, which leaves the tables as they are."""
    return b"".join(literal(name, value) for name, value in fields)
