"""Frames of HTTP/2 at random: whatever comes, the proxy answers by the rules, and nothing breaks (H1)."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from .http2_bytes import (
    WINDOW_LIMIT,
    Code,
    Kind,
    block_of,
    continuation,
    data,
    frame,
    goaway,
    headers,
    indexed,
    literal,
    ping,
    priority,
    priority_fields,
    push_promise,
    rst_stream,
    settings,
    table_size,
    window_update,
)
from .http2_frames import FrameClient, request_fields
from .http2_servers import Http2Front, http2_front

CONNECTIONS = 60
FRAMES = 40
_STATUSES = {
    b"/": 200, b"/echo": 200, b"/big": 200, b"/empty": 200, b"/chunked-empty": 200, b"/103": 200, b"/trailers": 200,
    b"/wide": 200, b"/http1": 200, b"/204": 204, b"/304": 304, b"/early-403": 403, b"/never": 0, b"/hole": 0,
}  # fmt: skip
"""What comes of each path; 0: nothing."""


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Http2Front]:
    """One proxy for all; its budgets are wide, so that it reads on."""
    with http2_front(tmp_path_factory.mktemp("random"), "h2_reset_budget = 100000") as one:
        yield one


class Chance:
    """Frames at random; most are legal, so that a connection lives for a while.

    :param seed: makes it the same again.
    """

    def __init__(self, seed: int, oddity: float) -> None:
        self.random = random.Random(seed)
        self._oddity = oddity
        self._next_stream = 1
        self._open: list[int] = []
        self.paths: dict[int, bytes] = {}
        """Of the streams, until we reset them."""

    def _is_odd(self) -> bool:
        return self.random.random() < self._oddity

    def _stream(self) -> int:
        if self._is_odd():
            return self.random.choice((0, 1, 2, 3, self._next_stream, self._next_stream + 2, WINDOW_LIMIT))
        return self.random.choice(self._open)

    def _ending(self, stream: int) -> int:
        """Take note that a stream ends on our side."""
        if stream in self._open and not self._is_odd():
            self._open.remove(stream)
        return stream

    def _block(self, path: bytes) -> bytes:
        choose = self.random
        more = [(b"x-%d" % choose.randrange(9), b"v" * choose.randrange(200)) for _ in range(choose.randrange(4))]
        method = choose.choice((b"GET", b"POST", b"PUT", b"HEAD", b"OPTIONS"))
        fields = request_fields(b"http", *more, method=method, path=path)
        block = block_of(fields) + literal(b"x-entry", b"%d" % choose.randrange(99), 0x40)
        if self._is_odd():
            odd = (indexed(choose.randrange(130)), table_size(choose.randrange(9000)), choose.randbytes(5), b"",
                   literal(b"content-length", b"%d" % choose.randrange(9)))  # fmt: skip
            block += choose.choice(odd)
        return block

    def _request(self) -> bytes:
        stream = self._next_stream
        self._next_stream += 2
        self.paths[stream] = self.random.choice([*_STATUSES])
        block, ended = self._block(self.paths[stream]), self.random.random() < 0.6
        if not ended or self._is_odd():
            self._open.append(stream)
        pad = self.random.randrange(20) if self._is_odd() else None
        fields = priority_fields(0, 3) if self._is_odd() else None
        if self.random.random() < 0.7:
            return headers(stream, block, ended=ended, pad=pad, priority=fields)
        cut = self.random.randrange(len(block))
        first = headers(stream, block[:cut], ended=ended, complete=False, pad=pad, priority=fields)
        return first + continuation(stream if not self._is_odd() else stream + 2, block[cut:], not self._is_odd())

    def one(self) -> bytes:
        """Return one frame, or a request in several."""
        choose = self.random
        kind = choose.choices(
            ("request", "data", "trailers", "reset", "window", "settings", "ping", "priority", "odd"),
            (30, 25, 4, 6, 12, 4, 6, 4, 20 * self._oddity),
        )[0]
        if kind == "request" or not self._open:
            return self._request()
        if kind == "data":
            pad = choose.randrange(9) if self._is_odd() else None
            stream, ended = self._stream(), choose.random() < 0.4
            content = b"d" * choose.choice((0, 1, 5, 500))
            return data(self._ending(stream) if ended else stream, content, ended=ended, pad=pad)
        if kind == "trailers":
            return headers(self._ending(self._stream()), literal(b"x-trailer", b"1"), ended=not self._is_odd())
        if kind == "reset":
            stream = self._ending(self._stream())
            self.paths.pop(stream, None)
            return rst_stream(stream, choose.randrange(16))
        if kind == "window":
            by = choose.choice((0, WINDOW_LIMIT)) if self._is_odd() else choose.randrange(1, 9000)
            return window_update(choose.choice((0, self._stream())), by)
        if kind == "settings":
            value = choose.choice((0, 1, 100, 20_000, 65_535))
            return settings((choose.choice((1, 3, 4, 6, 9)), 1 << 31 if self._is_odd() else value))
        if kind == "ping":
            return ping(choose.randbytes(8))
        if kind == "priority":
            return priority(self._next_stream + 2 * choose.randrange(3), choose.choice((0, self._next_stream + 8)))
        return choose.choice((
            frame(choose.randrange(12), choose.randrange(256), self._stream(), choose.randbytes(choose.randrange(40))),
            push_promise(self._stream(), 2, b""),
            goaway(0, choose.randrange(20)),
            frame(Kind.UNKNOWN, 0xFF, self._stream(), choose.randbytes(9)),
            choose.randbytes(12),
        ))  # fmt: skip

    def rest(self) -> bytes:
        """Return what ends all streams on our side, and opens all windows."""
        ends = [data(stream, ended=True) for stream in self._open]
        resets = [rst_stream(stream) for stream, path in self.paths.items() if not _STATUSES[path]]
        return b"".join((*ends, *resets, settings((4, 1 << 20)), window_update(0, 1 << 30)))

    def cut(self, sent: bytes) -> list[bytes]:
        """Cut bytes into pieces, as a network may."""
        if self.random.random() < 0.6 or len(sent) < 2:
            return [sent]
        places = sorted(self.random.sample(range(1, len(sent)), min(3, len(sent) - 1)))
        return [sent[start:end] for start, end in zip([0, *places], [*places, len(sent)], strict=True)]


def _talk(client: FrameClient, chance: Chance) -> None:
    client.handshake()
    for _ in range(FRAMES):
        for piece in chance.cut(chance.one()):
            if not client.send(piece):
                return


@pytest.mark.parametrize("listener", ["plain", "https"])
def test_randomRequestsAreServed(front: Http2Front, listener: str) -> None:
    """Legal frames in any order and however cut: each stream that we do not reset gets its own reply, whole."""
    for seed in range(CONNECTIONS):
        chance = Chance(seed, 0)
        with front.connect(listener) as client:
            _talk(client, chance)
            client.send(chance.rest())
            for stream, path in chance.paths.items():
                if _STATUSES[path]:
                    client.expect_reply(stream, _STATUSES[path])
            client.expect_ping_ack()
            assert not client.judge.violations, f"seed {seed}: {client.judge.violations}; {client.story()}"
    front.assert_no_bugs()


@pytest.mark.parametrize("oddity", [0.03, 0.3], ids=["odd", "very-odd"])
@pytest.mark.parametrize("listener", ["plain", "https"])
def test_randomFramesBreakNothing(front: Http2Front, listener: str, oddity: float) -> None:
    """Whatever frames come, the proxy sends only what RFC 9113 allows, fails by no bug of its own, and serves others."""
    with front.connect(listener) as other:
        other.handshake()
        for seed in range(CONNECTIONS):
            with front.connect(listener) as client:
                _talk(client, Chance(seed, oddity))
                # The last frame may have been left open; a PING in the middle of it is content.
                client.transport.half_close()
                client.expect_closed()
                assert not client.judge.violations, f"seed {seed}: {client.judge.violations}; {client.story()}"
                codes = [frame.code for frame in client.frames if frame.kind == Kind.GOAWAY]
                assert Code.INTERNAL not in codes, f"seed {seed}: {client.story()}"
            other.expect_served(2 * seed + 1)
    front.assert_no_bugs()
