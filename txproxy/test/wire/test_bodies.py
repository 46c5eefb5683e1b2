"""Readers of bodies, and the writer of chunks."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txproxy.errors import BadBody, BadReply, ProxyError
from txproxy.test.wire.making import QUICK, chunked_bodies, noise, pieces_of
from txproxy.test.wire.reading import cut, read_body, single_bytes
from txproxy.wire.bodies import (
    LAST_CHUNK,
    MAX_CHUNK_LINE_BYTES,
    MAX_EXTENSION_BYTES,
    ChunkedReader,
    LengthReader,
    UntilCloseReader,
    write_chunk,
)
from txproxy.wire.fields import Field
from txproxy.wire.forwarding import write_last_chunk
from txproxy.wire.limits import MAX_TRAILER_BYTES

# What stands on the wire, the content, and the trailers.
_GOOD: tuple[tuple[bytes, bytes, tuple[Field, ...]], ...] = (
    (b"0\r\n\r\n", b"", ()),
    (b"0000\r\n\r\n", b"", ()),
    (b"5\r\nhello\r\n0\r\n\r\n", b"hello", ()),
    (b"0000000000000005\r\nhello\r\n0\r\n\r\n", b"hello", ()),
    (b"A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n", b"0123456789" * 2, ()),
    (b"2\r\n\r\n\r\n2\r\n0\r\r\n0\r\n\r\n", b"\r\n0\r", ()),
    (b"5;a\r\nhello\r\n0;b\r\n\r\n", b"hello", ()),
    (b"5 ; a = b ;c\r\nhello\r\n0\r\n\r\n", b"hello", ()),
    (b'5;a="b c;\\"\\\\\xe9\t"\r\nhello\r\n0\r\n\r\n', b"hello", ()),
    (b"5\r\nhello\r\n0\r\nA: b\r\nC:\td \r\n\r\n", b"hello", ((b"A", b"b"), (b"C", b"d"))),
    (b"0\r\nContent-Length: x\r\n\r\n", b"", ((b"Content-Length", b"x"),)),
)

_BAD = (
    b"\r\n", b"\n", b"\r", b" 5\r\n", b"\t5\r\n", b"+5\r\n", b"-5\r\n", b"0x5\r\n", b"5_0\r\n", b"g\r\n", b"5g\r\n",
    b"5 5\r\n",
    b";a\r\n", b"; a\r\n", b"5;\r\n", b"5; \r\n", b"5;;a\r\n", b"5;=b\r\n", b"5;a=\r\n", b'5;a="b\r\n',
    b'5;a="b"c\r\n', b"5;a b\r\n",
    b"5;a=b=c\r\n", b"5;a\x00\r\n", b'5;a="\x00"\r\n', b'5;a="\x7f"\r\n', b"5;a\xe9\r\n", b"5\n", b"5\rh", b"5\r\r\n",
    b"5;a\n", b"5;a\rb\r\n",
    b"00000000000000005\r\n", b"FFFFFFFFFFFFFFFFF\r\n", b"5.0\r\n", b"5,\r\n", b'"5"\r\n', b"\xb2\r\n", b"5\x00\r\n",
    b"5\x0b\r\n",
    b"1\r\nab", b"1\r\na\n", b"1\r\na\rb", b"1\r\na0\r\n", b"1\r\na\r\n\r\n", b"1\r\na\r\ng\r\n",
    b"0\r\nA\r\n\r\n", b"0\r\nA : b\r\n\r\n", b"0\r\n A: b\r\n\r\n", b"0\r\nA: b\r\n c\r\n\r\n", b"0\r\n: b\r\n\r\n",
    b"0\r\nA: \x00\r\n\r\n", b"0\r\nA: b\n", b"0\r\n\n", b"0\r\n\rX", b"0\r\nA: b\rc", b"0\r\nA: b\r\r\n",
    b"0\r\nA: b\r\n\rC",
    b"0\r\nA(: b\r\n\r\n",
)  # fmt: skip

_SOON = 64
"""What follows a fault; no fault needs more than its own line to be seen."""


class LengthReaderTests(SynchronousTestCase):
    """A body of known length."""

    def test_exactlyItsLength(self) -> None:
        """Content up to the length, the rest is kept, wherever it is cut."""
        for more in (b"", b"X", b"GET / HTTP/1.1\r\n\r\n"):
            for at in range(6 + len(more)):
                read = read_body(LengthReader(5), cut(b"hello" + more, at))
                self.assertEqual((read.content, read.rest, read.complete), (b"hello", more, True), at)
            self.assertEqual(read_body(LengthReader(5), list(single_bytes(b"hello" + more))).rest, more)

    def test_aCutBodyIsNotComplete(self) -> None:
        """One byte less than announced is not the body (RFC 9112 section 8)."""
        for count in range(5):
            reader = LengthReader(5)
            self.assertEqual(reader.feed(b"hello"[:count]), b"hello"[:count])
            self.assertEqual((reader.done, reader.end(), reader.remaining), (False, False, 5 - count))

    def test_nothingIsCompleteAtOnce(self) -> None:
        """A length of 0 needs no byte."""
        reader = LengthReader(0)
        self.assertEqual((reader.done, reader.end(), reader.rest, reader.trailers), (True, True, b"", []))


class UntilCloseReaderTests(SynchronousTestCase):
    """A body that ends with its connection."""

    def test_everythingIsContentUntilTheEnd(self) -> None:
        """Nothing that comes is anything else; the end completes it."""
        reader = UntilCloseReader()
        for piece in (b"a", b"0\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"):
            self.assertEqual(reader.feed(piece), piece)
            self.assertFalse(reader.done)
        self.assertTrue(reader.end())
        self.assertEqual((reader.done, reader.rest, reader.trailers), (True, b"", []))


class ChunkedReaderTests(SynchronousTestCase):
    """A body in chunks (RFC 9112 section 7.1)."""

    def test_contentAndTrailersHoweverItIsCut(self) -> None:
        """Sizes in any case, zeros, extensions, trailers, and a boundary anywhere (D5)."""
        for raw, content, trailers in _GOOD:
            for more in (b"", b"X", b"\r\n", b"0\r\n\r\n"):
                for at in range(len(raw) + len(more) + 1):
                    read = read_body(ChunkedReader(BadBody), cut(raw + more, at))
                    found = (read.content, read.trailers, read.rest, read.complete)
                    self.assertEqual(found, (content, trailers, more, True), (raw, at))
                read = read_body(ChunkedReader(BadBody), list(single_bytes(raw + more)))
                self.assertEqual((read.content, read.trailers, read.rest), (content, trailers, more), raw)

    def test_aCutBodyIsNotComplete(self) -> None:
        """No part of a body looks like all of it."""
        for raw, content, _ in _GOOD:
            for count in range(len(raw)):
                read = read_body(ChunkedReader(BadBody), [raw[:count]])
                self.assertFalse(read.complete, raw[:count])
                self.assertFalse(read.body_error, raw[:count])
                self.assertTrue(content.startswith(read.content))

    def test_brokenFramingIsRefusedHoweverItIsCut(self) -> None:
        """A fault raises the caller's error, in pieces as in one, and at once: no further byte is needed."""
        for raw in _BAD:
            for error, status in ((BadBody, 400), (BadReply, 502)):
                whole = read_body(ChunkedReader(error), [raw])
                self.assertEqual((whole.body_error, whole.complete), (status, False), raw)
            self.assertEqual(read_body(ChunkedReader(BadBody), list(single_bytes(raw))).body_error, 400, raw)
            for at in range(1, len(raw)):
                self.assertEqual(read_body(ChunkedReader(BadBody), cut(raw, at)).body_error, 400, (raw, at))

    def test_noContentComesFromBehindAFault(self) -> None:
        """What follows a fault is never given out."""
        for raw in _BAD:
            good = b"5\r\nhello\r\n"
            read = read_body(ChunkedReader(BadBody), [good, raw + b"x" * _SOON])
            self.assertEqual((read.content, read.body_error), (b"hello", 400), raw)

    def test_sizeLinesHaveABound(self) -> None:
        """A line that equals the bound passes, one byte more does not, wherever it is cut."""
        line = b"5;" + b"a" * (MAX_CHUNK_LINE_BYTES - 4) + b"\r\n"
        self.assertEqual(len(line), MAX_CHUNK_LINE_BYTES)
        longer = b"5;" + b"a" * (MAX_CHUNK_LINE_BYTES - 3) + b"\r\n"
        ends = b"hello\r\n0\r\n\r\n"
        for at in (1, 2, 100, len(line) - 2, len(line) - 1, len(line), len(line) + 1):
            self.assertTrue(read_body(ChunkedReader(BadBody), cut(line + ends, at)).complete, at)
            self.assertEqual(read_body(ChunkedReader(BadBody), cut(longer + ends, at)).body_error, 400, at)
        endless = ChunkedReader(BadBody)
        with self.assertRaises(BadBody):
            for _ in range(MAX_CHUNK_LINE_BYTES + 1):
                endless.feed(b"5;a" if _ == 0 else b"a")

    def test_extensionsHaveABoundInAll(self) -> None:
        """Extensions that outweigh the content are refused, though each of them is short."""
        chunk = b"1;" + b"a" * 1000 + b"\r\nx\r\n"
        passes = MAX_EXTENSION_BYTES // 1000
        reader = ChunkedReader(BadBody)
        self.assertEqual(len(reader.feed(chunk * passes)), passes)
        self.assertRaises(BadBody, reader.feed, chunk)

    def test_trailersHaveABound(self) -> None:
        """A section that equals the bound passes, one byte more does not, wherever it is cut."""
        at_most = b"0\r\nX: " + b"y" * (MAX_TRAILER_BYTES - 3) + b"\r\n\r\n"
        more = b"0\r\nX: " + b"y" * (MAX_TRAILER_BYTES - 2) + b"\r\n\r\n"
        for at in (1, 3, 100, *range(len(at_most) - 8, len(at_most))):
            self.assertTrue(read_body(ChunkedReader(BadBody), cut(at_most, at)).complete, at)
            self.assertEqual(read_body(ChunkedReader(BadBody), cut(more, at)).body_error, 400, at)
        endless = ChunkedReader(BadBody)
        endless.feed(b"0\r\n")
        with self.assertRaises(BadBody):
            for _ in range(MAX_TRAILER_BYTES):
                endless.feed(b"X: y\r\n")

    def test_manyTinyChunksAreOneContent(self) -> None:
        """Chunks of one byte are cheap, and are all there."""
        read = read_body(ChunkedReader(BadBody), [b"1\r\nx\r\n" * 10_000 + b"0\r\n\r\n"])
        self.assertEqual((len(read.content), read.complete), (10_000, True))

    def test_hugeSizesAreNotOverflown(self) -> None:
        """A size of sixteen digits is a number like any other: its chunk is just never complete."""
        reader = ChunkedReader(BadBody)
        self.assertEqual(reader.feed(b"FFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n"), b"hello\r\n0\r\n\r\n")
        self.assertFalse(reader.end())

    @QUICK
    @given(st.data(), chunked_bodies())
    def test_anySplitGivesTheSameContent(self, data: st.DataObject, body: tuple[bytes, bytes, list[Field]]) -> None:
        """Whatever the sizes, extensions and trailers are, and wherever the body is cut."""
        raw, content, trailers = body
        read = read_body(ChunkedReader(BadBody), data.draw(pieces_of(raw + b"next")))
        self.assertEqual(read.content, content)
        self.assertEqual((read.trailers, read.rest, read.complete), (tuple(trailers), b"next", True))

    @QUICK
    @given(st.lists(st.binary(min_size=1, max_size=50), max_size=8), st.data())
    def test_whatIsWrittenIsReadBack(self, chunks: list[bytes], data: st.DataObject) -> None:
        """Chunks and trailers that we write are the content that we were given."""
        trailers = [(b"X-Sum", b"1"), (b"X-More", b"caf\xe9")]
        for end, expected in ((LAST_CHUNK, ()), (write_last_chunk(trailers), tuple(trailers))):
            raw = b"".join(map(write_chunk, chunks)) + end
            read = read_body(ChunkedReader(BadReply), data.draw(pieces_of(raw)))
            self.assertEqual((read.content, read.trailers, read.complete), (b"".join(chunks), expected, True))

    @QUICK
    @given(noise, st.data())
    def test_noiseIsContentOrRefused(self, raw: bytes, data: st.DataObject) -> None:
        """Nothing but the caller's error is raised, and pieces change neither the verdict nor the content."""
        whole = read_body(ChunkedReader(BadBody), [raw])
        found = read_body(ChunkedReader(BadBody), data.draw(pieces_of(raw)))
        self.assertEqual(found.body_error, whole.body_error)
        if not whole.body_error:
            self.assertEqual(found, whole)
        self.assertLessEqual(len(whole.content), len(raw))
        try:
            ChunkedReader(BadReply).feed(raw)
        except ProxyError as error:
            self.assertIs(type(error), BadReply)
