"""What is in a frame: bodies freed of padding and priority, and small frames as h2 knows them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from h2.errors import ErrorCodes
from hyperframe.exceptions import HyperframeError, InvalidFrameError
from hyperframe.frame import FRAMES
from hyperframe.frame import Frame as HyperFrame

from txproxy.wire.http2.frames import ConnectionFault, Frame

_PADDED, _PRIORITY = 0x08, 0x20
UNUSUAL = _PADDED | _PRIORITY
"""Flags of HEADERS and DATA that say that their bodies hold more."""


class OneFrame:
    """Stands for the buffer of h2: what it is given is one whole frame, and comes out as it is."""

    max_frame_size = 0
    """Set by h2; sizes are looked at before."""

    def __init__(self) -> None:
        self._frame: HyperFrame | None = None

    def add_data(self, frame: Any) -> None:
        """Take a frame."""
        self._frame = frame

    def __iter__(self) -> Iterator[HyperFrame]:
        """Yield it."""
        frame, self._frame = self._frame, None
        if frame is not None:
            yield frame


def understand(frame: Frame) -> HyperFrame:
    """Return a frame as h2 knows it.

    :param frame: of a type that is known.
    :raises ConnectionFault: if it cannot be what it says it is (RFC 9113 section 6).
    """
    try:
        understood = FRAMES[frame.kind](frame.stream_id)
        understood.parse_flags(frame.flags)
        understood.parse_body(memoryview(frame.body))
    except InvalidFrameError as error:
        raise ConnectionFault(ErrorCodes.FRAME_SIZE_ERROR, str(error)) from None
    except HyperframeError as error:
        raise ConnectionFault(ErrorCodes.PROTOCOL_ERROR, str(error)) from None
    return understood


def header_block_of(frame: Frame) -> bytes:
    """Return the header block of HEADERS, and of the CONTINUATION behind it (RFC 9113 section 6.2).

    :raises ConnectionFault: if the frame is too short, or its stream is to depend on itself.
    """
    body = frame.body
    if frame.flags & UNUSUAL:
        body = _unpadded(frame, 5 if frame.flags & _PRIORITY else 0)
        if frame.flags & _PRIORITY:
            if int.from_bytes(body[:4], "big") & 0x7FFFFFFF == frame.stream_id:
                raise ConnectionFault(ErrorCodes.PROTOCOL_ERROR, "a stream that depends on itself")
            body = body[5:]
    return body + frame.more if frame.more else body


def content_of(frame: Frame) -> bytes:
    """Return the content of DATA (RFC 9113 section 6.1).

    :raises ConnectionFault: if there is more padding than there can be.
    """
    return _unpadded(frame, 0) if frame.flags & _PADDED else frame.body


def _unpadded(frame: Frame, least: int) -> bytes:
    """Return the body of a frame without its padding.

    :param least: bytes that must be there.
    """
    body, padding = frame.body, 0
    if frame.flags & _PADDED:
        padding, body = int.from_bytes(body[:1], "big"), body[1:]
    if len(frame.body) < least + (frame.flags & _PADDED != 0):
        raise ConnectionFault(ErrorCodes.FRAME_SIZE_ERROR, "a frame that is too short for what its flags announce")
    if padding > len(body) - least:
        raise ConnectionFault(ErrorCodes.PROTOCOL_ERROR, "more padding than there is room for")
    return body[: len(body) - padding]
