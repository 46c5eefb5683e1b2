"""Where frames begin and end, however they are cut; and what is in them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from h2.errors import ErrorCodes
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txproxy.test.wire.http2.engine_case import (
    ACK,
    REQUEST,
    TRAILERS,
    continuation,
    data,
    goaway,
    headers,
    ping,
    prioritised,
    priority,
    push,
    raw,
    reset,
    settings,
    window,
)
from txproxy.test.wire.making import QUICK, pieces_of
from txproxy.wire.http2 import frames
from txproxy.wire.http2.frames import PREFACE, ConnectionFault, Frame, FrameReader, header
from txproxy.wire.http2.parsing import OneFrame, content_of, header_block_of, understand

_HELLO = PREFACE + settings({4: 100000})
_PIECES = [
    headers(1, REQUEST[:3], whole=False),
    continuation(1, REQUEST[3:5], last=False) + continuation(1, b"", last=False) + continuation(1, REQUEST[5:]),
    data(1, b"x" * 40) + data(1, b"", pad=3),
    prioritised(3, 1) + window(0, 7) + ping() + ACK,
    raw(77, 0xFF, 9, b"unknown") + priority(5, 3) + reset(3) + data(1, b"y", ended=True) + goaway(0, words=b"bye"),
]
_ALL = _HELLO + b"".join(_PIECES)


def read(parts: Iterable[bytes], reader: FrameReader | None = None) -> tuple[list[Frame], ErrorCodes | None]:
    """Return the frames that come out of these bytes, and what was wrong with what followed."""
    reader = reader or FrameReader(True)
    found: list[Frame] = []
    try:
        for part in parts:
            found.extend(reader.feed(part))
    except ConnectionFault as fault:
        return found, fault.code
    return found, None


def begun() -> FrameReader:
    """Return a reader whose peer has said what comes first."""
    reader = FrameReader(True)
    list(reader.feed(_HELLO))
    return reader


class CuttingTests(SynchronousTestCase):
    """It does not matter how what is sent is cut on its way."""

    def setUp(self) -> None:
        """Read everything in one piece."""
        self.whole, error = read([_ALL])
        self.assertIsNone(error)

    def test_everythingComesOut(self) -> None:
        """Each frame has its type, flags, stream and body; a header block comes as one."""
        kinds = [(frame.kind, frame.stream_id) for frame in self.whole]
        self.assertEqual(
            kinds,
            [(4, 0), (1, 1), (0, 1), (0, 1), (1, 3), (8, 0), (6, 0), (4, 0), (77, 9), (2, 5), (3, 3), (0, 1), (7, 0)],
        )
        block = self.whole[1]
        self.assertEqual((block.body, block.more), (REQUEST[:3], REQUEST[3:]))
        self.assertEqual(self.whole[8], Frame(77, 0xFF, 9, b"unknown"))
        self.assertEqual(self.whole[-2], Frame(0, frames.END_STREAM, 1, b"y"))

    def test_cutAnywhere(self) -> None:
        """Two pieces, whatever the place."""
        for place in range(len(_ALL) + 1):
            self.assertEqual(read([_ALL[:place], _ALL[place:]]), (self.whole, None), place)

    def test_byteByByte(self) -> None:
        """One octet at a time; nothing comes before it is complete, and nothing later."""
        reader, came = FrameReader(True), []
        for octet in _ALL:
            came.append(list(reader.feed(bytes((octet,)))))
        self.assertEqual([frame for some in came for frame in some], self.whole)
        self.assertLessEqual({len(some) for some in came}, {0, 1})
        self.assertEqual(len(came[-1]), 1)

    def test_whatHasBegunWaits(self) -> None:
        """The beginning of a frame after others keeps none of them back."""
        for end in range(1, len(ping())):
            self.assertEqual(read([_ALL + ping()[:end]]), (self.whole, None), end)
            self.assertEqual(len(read([_ALL + ping()[:end], ping()[end:]])[0]), len(self.whole) + 1, end)

    @given(st.data(), st.lists(st.sampled_from([*_PIECES[2:], raw(9 << 3, 0, 1, b"z" * 300)]), max_size=6))
    @QUICK
    def test_anyFramesCutAnyhow(self, draw: st.DataObject, pieces: list[bytes]) -> None:
        """Any frames, any cuts."""
        sent = _HELLO + b"".join(pieces)
        self.assertEqual(read(draw.draw(pieces_of(sent))), read([sent]))


class BeginningTests(SynchronousTestCase):
    """What a peer has to say first (RFC 9113 section 3.4)."""

    def test_aWrongPrefaceIsSeenAtOnce(self) -> None:
        """At its first wrong octet, and not before."""
        for place in range(len(PREFACE)):
            self.assertEqual(read([PREFACE[:place]]), ([], None))
            self.assertEqual(read([PREFACE[:place], b"\x00"]), ([], ErrorCodes.PROTOCOL_ERROR), place)
            self.assertEqual(read([PREFACE[:place] + b"\x00"]), ([], ErrorCodes.PROTOCOL_ERROR), place)
        self.assertEqual(read([b"GET / HTTP/1.1\r\n\r\n"]), ([], ErrorCodes.PROTOCOL_ERROR))

    def test_aServerSendsNoPreface(self) -> None:
        """What a server sends begins with its settings."""
        self.assertEqual(read([settings()], FrameReader(False)), ([Frame(4, 0, 0, b"")], None))
        self.assertIsNotNone(read([PREFACE], FrameReader(False))[1])

    def test_settingsComeFirst(self) -> None:
        """Any other frame is refused at its header, before its body has come."""
        for first in (
            data(1),
            headers(1),
            priority(1),
            reset(1),
            push(1),
            ping(),
            goaway(0),
            window(0, 1),
            continuation(1),
            ACK,
            raw(50),
        ):
            for is_client in (True, False):
                sent = (PREFACE if is_client else b"") + first[:9]
                self.assertEqual(read([sent], FrameReader(is_client)), ([], ErrorCodes.PROTOCOL_ERROR), first)

    def test_itHasBegunWithTheSettings(self) -> None:
        """Not with the preface."""
        reader = FrameReader(True)
        list(reader.feed(PREFACE))
        self.assertFalse(reader.has_begun)
        list(reader.feed(settings()))
        self.assertTrue(reader.has_begun)

    def test_itHasNotBegunBeforeTheSettingsAreComplete(self) -> None:
        """Who stops after the header of the settings has not begun."""
        reader = FrameReader(True)
        list(reader.feed(_HELLO[:-1]))
        self.assertFalse(reader.has_begun)


class SizeTests(SynchronousTestCase):
    """No frame is larger than we let it be (RFC 9113 section 4.2)."""

    def test_theLargest(self) -> None:
        """A frame of 16,384 bytes passes, whatever its type."""
        for kind in (frames.DATA, frames.HEADERS, 99):
            body = bytes(16384)
            self.assertEqual(read([raw(kind, 4, 1, body)], begun()), ([Frame(kind, 4, 1, body)], None))

    def test_oneByteMore(self) -> None:
        """It is refused at its header."""
        for kind in range(12):
            for length in (16385, 2**24 - 1):
                self.assertEqual(read([header(length, kind, 4, 1)], begun()), ([], ErrorCodes.FRAME_SIZE_ERROR), kind)

    def test_theReservedBitMeansNothing(self) -> None:
        """The first bit of a stream's number is ignored (RFC 9113 section 4.1)."""
        self.assertEqual(read([raw(0, 0, 0x80000005, b"x")], begun()), ([Frame(0, 0, 5, b"x")], None))


class BlockTests(SynchronousTestCase):
    """Header blocks: one piece in the end, and nothing else within them (RFC 9113 sections 4.3 and 6.10)."""

    def test_onlyWhatHasBegunIsWaitedFor(self) -> None:
        """Whether a block has begun is known."""
        reader = begun()
        for part, is_in_block in (
            (headers(1), False),
            (headers(3, whole=False), True),
            (continuation(3, last=False), True),
            (continuation(3), False),
        ):
            list(reader.feed(part))
            self.assertIs(reader.is_in_block, is_in_block)

    def test_whatMayBecomeABlock(self) -> None:
        """A frame that has begun counts as one as long as it may be HEADERS, and until it is complete."""
        for frame in (headers(1), data(1, b"abcd"), ping(), raw(99, 0, 1, b"abcd")):
            for place in range(1, len(frame)):
                reader = begun()
                list(reader.feed(ping() + frame[:place]))
                is_block = frame[3] == frames.HEADERS
                self.assertIs(reader.is_in_block, is_block or place <= 3, (frame, place))
                list(reader.feed(frame[place:]))
                self.assertFalse(reader.is_in_block)

    def test_blocksAreCounted(self) -> None:
        """When they have ended; a block of several frames is one."""
        reader, counts = begun(), []
        for part in (
            headers(1),
            data(1),
            headers(3, whole=False),
            continuation(3, last=False),
            continuation(3),
            ping(),
        ):
            list(reader.feed(part))
            counts.append(reader.blocks)
        self.assertEqual(counts, [1, 1, 1, 1, 2, 2])

    def test_nothingComesBetween(self) -> None:
        """Whatever else comes before a block has ended, on its stream or another, ends the connection."""
        others = [
            data(1), data(3), headers(1), headers(3), priority(1), reset(1), settings(), ACK, push(1), ping(), goaway(0),
            window(1, 1), window(0, 1), continuation(3), continuation(3, last=False), raw(10, 0, 1), raw(99),
        ]  # fmt: skip
        for other in others:
            self.assertEqual(read([headers(1, whole=False), other], begun()), ([], ErrorCodes.PROTOCOL_ERROR), other)
            late = [headers(1, whole=False), continuation(1, b"x", last=False), other]
            self.assertEqual(read(late, begun()), ([], ErrorCodes.PROTOCOL_ERROR), other)

    def test_noContinuationOfNothing(self) -> None:
        """Without a block, or after its end, there is nothing to go on with."""
        for before in (b"", headers(1), headers(1, whole=False) + continuation(1), data(1)):
            self.assertEqual(read([before + continuation(1)], begun())[1], ErrorCodes.PROTOCOL_ERROR, before)

    def test_theFlagsAreThoseOfTheFirstFrame(self) -> None:
        """END_STREAM and priority belong to HEADERS; of CONTINUATION only END_HEADERS means something."""
        (block,), error = read([headers(1, b"a", ended=True, whole=False), raw(9, 0xFF, 1, b"b")], begun())
        self.assertEqual((block.flags & ~frames.END_HEADERS, block.body, block.more, error), (1, b"a", b"b", None))

    def test_aBlockHasAnEnd(self) -> None:
        """After 32 frames, or 64 KiB, more of it is refused; the next block starts afresh."""
        reader = begun()
        for _ in range(3):
            many = headers(1, whole=False) + continuation(1, b"", last=False) * 30
            self.assertEqual(read([many + continuation(1)], reader)[1], None)
            full = headers(3, bytes(16384), whole=False) + continuation(3, bytes(16384), last=False) * 2
            (block,), error = read([full, continuation(3, bytes(16384))], reader)
            self.assertEqual((len(block.body) + len(block.more), error), (65536, None))
        self.assertEqual(
            read([many, continuation(1, last=False), continuation(1)], begun()), ([], ErrorCodes.ENHANCE_YOUR_CALM)
        )
        self.assertEqual(
            read([full, continuation(3, bytes(16384), last=False), continuation(3, b"x")], begun()),
            ([], ErrorCodes.ENHANCE_YOUR_CALM),
        )


class UnderstandingTests(SynchronousTestCase):
    """What is in a frame (RFC 9113 section 6)."""

    def frame(self, *parts: bytes) -> Frame:
        """Return a frame, or a header block."""
        (frame,), error = read(parts, begun())
        self.assertIsNone(error)
        return frame

    def understood(self, *parts: bytes) -> Any:
        """Return what a frame is good for."""
        frame = self.frame(*parts)
        if frame.kind == frames.DATA:
            return content_of(frame)
        return header_block_of(frame) if frame.kind == frames.HEADERS else understand(frame)

    def test_paddingIsTakenOff(self) -> None:
        """It is no content."""
        for pad in (None, 0, 1, 200):
            for content in (b"abc", b""):
                self.assertEqual(self.understood(data(1, content, pad=pad)), content)
        self.assertEqual(self.understood(raw(0, 0x08, 1, b"\x03abc")), b"")

    def test_blocksInAnyShape(self) -> None:
        """Padded or with a priority, in one frame or several, the block is the same."""
        cut = 4
        for pad in (None, 0, 9):
            for first in (
                headers(1, REQUEST[:cut], True, False, pad),
                _without_end(prioritised(1, 3, REQUEST[:cut], pad)),
            ):
                block = self.understood(first, continuation(1, REQUEST[cut:6], False), continuation(1, REQUEST[6:]))
                self.assertEqual(block, REQUEST)
            self.assertEqual(self.understood(prioritised(1, 3, REQUEST, pad)), REQUEST)

    def test_theFirstFragmentMayBeEmpty(self) -> None:
        """Only padding that exceeds what is left is wrong (RFC 9113 section 6.2)."""
        for first in (headers(1, b"", True, False, pad=7), _without_end(prioritised(1, 3, b"", 7))):
            self.assertEqual(self.understood(first, continuation(1, TRAILERS)), TRAILERS)

    def test_whatCannotBe(self) -> None:
        """Bodies that are too long or short, padding that is longer than its frame, streams where there can be none."""
        size, protocol = ErrorCodes.FRAME_SIZE_ERROR, ErrorCodes.PROTOCOL_ERROR
        for sent, code in (
            (raw(0, 8, 1, b""), size),
            (raw(0, 8, 1, b"\x01"), protocol),
            (raw(0, 8, 1, b"\x05abcd"), protocol),
            (raw(1, 0x0C, 1, b""), size),
            (raw(1, 0x0C, 1, b"\x0a" + REQUEST[:5]), protocol),
            (raw(1, 0x24, 1, b"1234"), size),
            (raw(1, 0x2C, 1, b"\x001234"), size),
            (raw(1, 0x2D, 1, b"\x04" + bytes(5) + b"abc"), protocol),
            (prioritised(1, 1), protocol),
            (raw(1, 0x25, 1, b"\x80\x00\x00\x01\x07" + REQUEST), protocol),
            (raw(2, 0, 1, b"1234"), size),
            (raw(2, 0, 1, b"123456"), size),
            (raw(2, 0, 0, b"12345"), protocol),
            (raw(3, 0, 1, b"123"), size),
            (raw(3, 0, 1, b"12345"), size),
            (raw(3, 0, 0, b"1234"), protocol),
            (raw(4, 0, 0, b"1234567"), size),
            (raw(4, 0, 1, b"\x00\x04\x00\x00\x00\x01"), protocol),
            (raw(6, 0, 0, b"1234567"), size),
            (raw(6, 0, 0, b"123456789"), size),
            (raw(6, 0, 1, b"12345678"), protocol),
            (raw(8, 0, 0, b"\x00\x00\x01"), size),
            (raw(8, 0, 0, b"\x00\x00\x00\x00\x01"), size),
            (raw(8, 0, 0, bytes(4)), protocol),
        ):
            caught = self.assertRaises(ConnectionFault, self.understood, sent)
            self.assertEqual(caught.code, code, sent)

    def test_oneFrameComesOutOnce(self) -> None:
        """What stands for the buffer of h2 keeps nothing."""
        buffer = OneFrame()
        frame = understand(self.frame(ping()))
        buffer.add_data(frame)
        self.assertEqual((list(buffer), list(buffer)), ([frame], []))


def _without_end(frame: bytes) -> bytes:
    """Return a frame whose header block goes on."""
    return frame[:4] + bytes((frame[4] & ~frames.END_HEADERS,)) + frame[5:]
