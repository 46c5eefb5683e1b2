"""Where frames of WebSocket end."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txproxy.wire.websocket import FrameReader, Frames, going_away, tunnel_reader


def frame(length: int, opcode: int = 2, mask: bool = False) -> bytes:
    """Return a frame with so much content."""
    size = bytes((length,)) if length < 126 else b"\x7f" + length.to_bytes(8, "big")
    if 126 <= length <= 65535:
        size = b"\x7e" + length.to_bytes(2, "big")
    size = bytes((size[0] | 0x80 * mask,)) + size[1:]
    return bytes((0x80 | opcode,)) + size + b"mask" * mask + b"\x88" * length


_LENGTHS = (0, 1, 125, 126, 127, 65535, 65536)


class FramesTests(SynchronousTestCase):
    """Following frames."""

    def test_ends(self) -> None:
        """Between two frames, and nowhere else, whatever their length and mask."""
        for length in _LENGTHS:
            for mask in (False, True):
                frames, data = Frames(), frame(length, mask=mask)
                self.assertTrue(frames.may_close)
                for place in (*range(1, min(20, len(data))), len(data) - 1):
                    frames = Frames()
                    if place < len(data):
                        frames.feed(data[:place])
                        self.assertFalse(frames.may_close, (length, mask, place))
                        frames.feed(data[place:])
                    self.assertTrue(frames.may_close, (length, mask, place))

    @given(st.lists(st.sampled_from(_LENGTHS), max_size=6), st.integers(0, 2**32))
    @settings(max_examples=60, deadline=None)
    def test_pieces(self, lengths: list[int], seed: int) -> None:
        """However the bytes are cut."""
        source, frames = random.Random(seed), Frames()
        data = b"".join(frame(length, mask=source.random() < 0.5) for length in lengths)
        at = 0
        while at < len(data):
            size = source.choice((1, 2, 3, 10, 1000, 70_000))
            frames.feed(data[at : at + size])
            at += size
        self.assertTrue(frames.may_close)

    def test_closed(self) -> None:
        """After a close frame no other may follow."""
        frames = Frames()
        frames.feed(frame(3) + frame(2, opcode=8))
        self.assertFalse(frames.may_close)

    def test_manyInOnePiece(self) -> None:
        """What would cost too much is followed no further."""
        for count, may_close in ((256, True), (257, False), (30_000, False)):
            frames = Frames()
            frames.feed(frame(0) * count)
            self.assertIs(frames.may_close, may_close, count)
            frames.feed(frame(1))
            self.assertIs(frames.may_close, may_close, count)

    @given(st.lists(st.binary(max_size=300), max_size=8))
    @settings(max_examples=200, deadline=None)
    def test_noise(self, pieces: list[bytes]) -> None:
        """Anything may come."""
        frames = Frames()
        for piece in pieces:
            frames.feed(piece)
        self.assertIn(frames.may_close, (True, False))


class GoodbyeTests(SynchronousTestCase):
    """The close frame, and who follows frames at all."""

    def test_frames(self) -> None:
        """1001, masked for a server."""
        self.assertEqual(going_away(), b"\x88\x02\x03\xe9")
        self.assertEqual(going_away(b"\x01\x02\x03\x04"), b"\x88\x82\x01\x02\x03\x04\x02\xeb")

    def test_readers(self) -> None:
        """WebSocket alone."""
        for protocols, follows in ((b"websocket", True), (b"WebSocket", True), (b"foo", False), (b"", False)):
            reader = tunnel_reader(protocols)
            self.assertIs(isinstance(reader, FrameReader), follows)
            self.assertEqual(reader.feed(b"\x81\x05he"), b"\x81\x05he")
