"""Floods of HTTP/2: what costs a client little and a careless server much. Each attack is batches of frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from .http2_bytes import (
    END_HEADERS,
    END_STREAM,
    FRAME_LIMIT,
    WINDOW_LIMIT,
    Code,
    Kind,
    Setting,
    block_of,
    continuation,
    data,
    frame,
    headers,
    indexed,
    literal,
    ping,
    priority,
    rst_stream,
    settings,
    table_size,
    window_update,
)
from .http2_frames import request_fields

COUNT = 10_000
"""Of frames, or of rounds of several frames."""
_BATCH = 500
_CALM = (Code.ENHANCE_YOUR_CALM,)

_BLOCK = block_of(request_fields(b"http", path=b"/flood"))
_NEVER = block_of(request_fields(b"http", path=b"/never"))
_POST = block_of(request_fields(b"http", method=b"POST", path=b"/never"))
_BAD = block_of(request_fields(b"http", (b"X-Bad", b"1"), path=b"/flood"))
_LENGTH = block_of(request_fields(b"http", (b"content-length", b"1"), method=b"POST", path=b"/flood"))
_NO_WINDOW = settings((Setting.INITIAL_WINDOW_SIZE, 0))


class Attack(NamedTuple):
    """A flood."""

    id: str
    made: Callable[[], Iterator[bytes]]
    """Makes its batches."""
    codes: tuple[Code, ...] = _CALM
    """The connection ends with GOAWAY and one of these."""
    may_live: bool = False
    """The server may as well take it all."""


def _rounds(one: Callable[[int], bytes], first: bytes = b"") -> Callable[[], Iterator[bytes]]:
    """Return batches of so many rounds.

    :param one: makes a round from the number of a stream that is new in each.
    :param first: comes before all.
    """

    def made() -> Iterator[bytes]:
        yield first
        for start in range(0, COUNT, _BATCH):
            yield b"".join(one(2 * number + 3) for number in range(start, start + _BATCH))

    return made


def _frames(one: bytes, first: bytes = b"") -> Callable[[], Iterator[bytes]]:
    return _rounds(lambda stream: one, first)


def _opened(stream: int, block: bytes, *then: bytes, ended: bool = True) -> bytes:
    return headers(stream, block, ended=ended) + b"".join(then)


def _blocks(*blocks: bytes) -> Callable[[], Iterator[bytes]]:
    """Return requests with these blocks, each in as many frames as it needs."""

    def made() -> Iterator[bytes]:
        for number, block in enumerate(blocks):
            stream = 2 * number + 1
            pieces = [block[at : at + FRAME_LIMIT] for at in range(0, len(block), FRAME_LIMIT)]
            yield headers(stream, pieces[0], complete=len(pieces) == 1)
            for piece in pieces[1:]:
                yield continuation(stream, piece, piece is pieces[-1])

    return made


def _bomb(references: int) -> bytes:
    """Return a block with an entry of 4,000 bytes and so many references to it."""
    return _BLOCK + literal(b"x-bomb", b"b" * 3994, 0x40) + indexed(62) * references


def _windows(stream: int) -> bytes:
    return window_update(stream, WINDOW_LIMIT) * 2


RESETS: list[Attack] = [
    Attack("rapid-reset", _rounds(lambda stream: _opened(stream, _NEVER, rst_stream(stream)))),
    Attack("rapid-reset-of-uploads", _rounds(lambda stream: _opened(stream, _POST, rst_stream(stream), ended=False))),
    Attack("made-by-no-increment", _rounds(lambda stream: _opened(stream, _NEVER, window_update(stream, 0)))),
    Attack("made-by-overflow", _rounds(lambda stream: _opened(stream, _NEVER, _windows(stream)))),
    Attack("made-by-late-data", _rounds(lambda stream: _opened(stream, _NEVER, data(stream, b"x")))),
    Attack("made-by-late-headers", _rounds(lambda stream: _opened(stream, _NEVER, headers(stream, _NEVER)))),
    Attack("made-by-priority-length",
           _rounds(lambda stream: _opened(stream, _NEVER, frame(Kind.PRIORITY, 0, stream, bytes(4)))),
           (*_CALM, Code.FRAME_SIZE)),
    Attack("made-by-own-priority", _rounds(lambda stream: _opened(stream, _NEVER, priority(stream, stream))),
           (*_CALM, Code.PROTOCOL)),
    Attack("made-by-bad-fields", _rounds(lambda stream: _opened(stream, _BAD))),
    Attack("made-by-bad-length",
           _rounds(lambda stream: _opened(stream, _LENGTH, data(stream, b"xy", ended=True), ended=False))),
    Attack("refused-streams", _rounds(lambda stream: _opened(stream, _NEVER))),
    Attack("reset-of-closed", _frames(rst_stream(1), headers(1, _NEVER) + rst_stream(1))),
]  # fmt: skip
"""Streams that end early."""

USELESS: list[Attack] = [
    Attack("ping", _frames(ping())),
    Attack("ping-ack", _frames(ping(ack=True))),
    Attack("settings", _frames(settings())),
    Attack("settings-that-say-something", _frames(settings(*([(Setting.INITIAL_WINDOW_SIZE, 100)] * 6)))),
    Attack("settings-of-windows", _rounds(
        lambda stream: settings((Setting.INITIAL_WINDOW_SIZE, stream)),
        _NO_WINDOW + b"".join(headers(stream, _BLOCK) for stream in range(20_001, 20_200, 2)))),
    Attack("settings-ack", _frames(settings(ack=True))),
    Attack("empty-data", _frames(data(1), headers(1, _POST, ended=False))),
    Attack("padding-only", _frames(data(1, pad=0), headers(1, _POST, ended=False))),
    Attack("priority", _rounds(lambda stream: priority(stream))),
    Attack("priority-update", _frames(frame(0x10, 0, 0, b"\0\0\0\1u=1"))),
    Attack("window-update", _frames(window_update(0, 1))),
    Attack("window-update-of-stream", _frames(window_update(1, 1), headers(1, _NEVER))),
    Attack("unknown", _frames(frame(Kind.UNKNOWN))),
    Attack("unknown-large", _frames(frame(Kind.UNKNOWN, 0, 1, bytes(1000)))),
]  # fmt: skip
"""Frames without use."""

BLOCKS: list[Attack] = [
    Attack("continuation", _frames(continuation(1, literal(b"x", b"1" * 1000), False),
                                   headers(1, _BLOCK, complete=False))),
    Attack("continuation-empty", _frames(frame(Kind.CONTINUATION, 0, 1), headers(1, _BLOCK, complete=False))),
    Attack("continuation-of-bytes", _frames(continuation(1, b"\x20", False), headers(1, _BLOCK, complete=False))),
    Attack("bomb-of-1-mb", _blocks(_bomb(250))),
    Attack("bomb-of-64-mb", _blocks(_bomb(16_000))),
    Attack("bombs-one-after-another", _blocks(*[_bomb(250)] * 100)),
    Attack("bombs-that-may-be-read", _blocks(*[_bomb(20)] * 100), may_live=True),
    Attack("crumbs", _blocks(_BLOCK + indexed(32) * 40_000)),
    Attack("fields", _blocks(_BLOCK + indexed(23) * 40_000)),
    Attack("table-sizes", _blocks(table_size(0) * 16_000 + _BLOCK), may_live=True),
    Attack("table-churn", _rounds(
        lambda stream: headers(stream, _BLOCK + literal(b"x-%d" % stream, b"y" * 3000, 0x40)) + rst_stream(stream))),
    Attack("empty-blocks", _rounds(lambda stream: frame(Kind.HEADERS, END_HEADERS | END_STREAM, stream))),
]  # fmt: skip
"""Header blocks."""
