"""Where frames of WebSocket end, and the frame that says goodbye (RFC 6455 sections 5.2 and 7.4.1)."""

from __future__ import annotations

from txproxy.wire.bodies import UntilCloseReader

_MASK_BYTES = 4
_CLOSE = 8
_MOST_FRAMES = 256
"""In one piece; what has more, or is no WebSocket at all, is followed no further: it would cost too much."""
_GOING_AWAY = b"\x03\xe9"


class Frames:
    """Follows the frames of one direction, to know when another may stand between two of them."""

    __slots__ = ("_head", "_left", "has_closed", "is_lost")

    def __init__(self) -> None:
        self._left = 0
        """Bytes until the end of the frame that has begun."""
        self._head = b""
        """The beginning of a frame whose length is not known yet."""
        self.has_closed = False
        """A close frame has come: nothing may follow it."""
        self.is_lost = False

    @property
    def may_close(self) -> bool:
        """Whether a close frame may stand here."""
        return not (self._left or self._head or self.has_closed or self.is_lost)

    @property
    def is_over(self) -> bool:
        """Whether a close frame has come, all of it: an end of the connection is a clean one now."""
        return self.has_closed and not (self._left or self._head)

    def feed(self, data: bytes) -> None:
        """Follow what passes."""
        size = len(data)
        if self._left >= size or self.is_lost:
            self._left = max(0, self._left - size)
            return
        data, at, self._left = self._head + data, self._left, 0
        for _ in range(_MOST_FRAMES):
            end = _end_of(data, at)
            if end < 0:
                self._head = data[at:]
                return
            self.has_closed = self.has_closed or data[at] & 0x0F == _CLOSE
            if end >= len(data):
                self._head, self._left = b"", end - len(data)
                return
            at = end
        self.is_lost = True


def _end_of(data: bytes, at: int) -> int:
    """Return where a frame ends that begins at a place; less than 0 if that is not known yet."""
    if len(data) < at + 2:
        return -1
    second = data[at + 1]
    length, start = second & 0x7F, at + 2
    if length >= 126:
        more = 2 if length == 126 else 8
        if len(data) < start + more:
            return -1
        length, start = int.from_bytes(data[start : start + more], "big"), start + more
    return start + length + (_MASK_BYTES if second & 0x80 else 0)


def going_away(mask: bytes = b"") -> bytes:
    """Return a close frame with the status 1001.

    :param mask: four random bytes, for what goes to a server; none for what goes to a client.
    """
    if not mask:
        return bytes((0x80 | _CLOSE, len(_GOING_AWAY))) + _GOING_AWAY
    masked = bytes(byte ^ mask[place % _MASK_BYTES] for place, byte in enumerate(_GOING_AWAY))
    return bytes((0x80 | _CLOSE, 0x80 | len(_GOING_AWAY))) + mask + masked


class FrameReader(UntilCloseReader):
    """Reads a tunnel of WebSocket: all of it, and follows its frames."""

    __slots__ = ("frames",)

    def __init__(self) -> None:
        super().__init__()
        self.frames = Frames()

    def feed(self, data: bytes) -> bytes:
        """Return the content within ``data``: all of it."""
        self.frames.feed(data)
        return data


def tunnel_reader(protocols: bytes) -> UntilCloseReader:
    """Return what reads a tunnel.

    :param protocols: what was asked for, as in Upgrade; empty for CONNECT.
    """
    return FrameReader() if protocols.lower() == b"websocket" else UntilCloseReader()
