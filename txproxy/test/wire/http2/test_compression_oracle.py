"""Whatever octets come, our decoder and that of hpack make the same of them."""

from __future__ import annotations

import hpack
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txproxy.test.wire.making import QUICK
from txproxy.wire.fields import Field
from txproxy.wire.http2.compression import HeadDecoder

_PLENTY = 65536

_names = st.sampled_from(
    [b":method", b":path", b":status", b"cookie", b"accept", b"x-a", b"x-b", b"a" * 40, b"", b"A", b"\xff\x00"]
) | st.binary(max_size=12)
_values = st.sampled_from([b"", b"GET", b"/", b"200", b"404", b"gzip, deflate", b"v" * 130, b"w" * 5000]) | st.binary(
    max_size=40
)
_heads = st.lists(st.tuples(_names, _values, st.booleans()), max_size=8)
_table_sizes = st.lists(st.sampled_from([0, 1, 31, 32, 40, 100, 500, 4095, 4096]), max_size=3)

_pieces = st.sampled_from(
    [
        b"\x82", b"\x80", b"\xbd", b"\xbe", b"\xbf", b"\xc3", b"\xff\x00", b"\xff\xff", b"\xff\x80\x80\x80\x80\x00",
        b"\xff\x80\x80\x80\x80\x80", b"\xff\x80\x80\x80\x80\x80\x00", b"\x20", b"\x21", b"\x3f\x00", b"\x3f\xe1\x1f",
        b"\x3f\xe2\x1f", b"\x3f\xff\xff\xff\xff\x0f", b"\x40\x00\x00", b"\x40\x01a\x01b", b"\x40\x81\x1f\x81\x07",
        b"\x41\x00", b"\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff", b"\x7e\x01x", b"\x7f\x00\x01y",
        b"\x7f\x40\x01z", b"\x00\x01a\x01b", b"\x00\x00\x00", b"\x0f\x00\x01q", b"\x0f\x2f\x00", b"\x0f\x30\x01r",
        b"\x04\x01/", b"\x04\x82", b"\x04\x81\x1e", b"\x04\x84\xff\xff\xff\xff", b"\x04\x7f\x00" + b"p" * 127,
        b"\x04\x7f\x01" + b"p" * 127, b"\x10\x01s\x01t", b"\x14\x02/n", b"\x1f\x11\x01u", b"\x5f\x00" + b"l" * 60,
        b"\x40\x01k\x7f\xc9\x01" + b"m" * 328,
    ]
)  # fmt: skip
_noise = st.lists(_pieces | st.binary(max_size=4), max_size=10).map(b"".join)


def read(decoder: hpack.Decoder, block: bytes) -> tuple[list[Field] | None, type[Exception] | None, str]:
    """Return what comes of a block, and what the decoder's table is then."""
    fields: list[Field] | None = None
    error: type[Exception] | None = None
    try:
        fields = [(name, value) for name, value in decoder.decode(block, raw=True)]
    except hpack.InvalidTableIndexError:  # What hpack raises is a kind of it with an older name.
        error = hpack.InvalidTableIndexError
    except hpack.HPACKError as reason:
        error = type(reason)
    return fields, error, repr((decoder.header_table_size, decoder.header_table.dynamic_entries))


class OracleTests(SynchronousTestCase):
    """Whatever comes, hpack's own decoder and ours agree on it."""

    @given(st.lists(st.tuples(_table_sizes, _heads, st.booleans(), st.integers(1, 4)), max_size=8))
    @QUICK
    def test_connectionsAreReadAlike(
        self, blocks: list[tuple[list[int], list[tuple[bytes, bytes, bool]], bool, int]]
    ) -> None:
        """Heads that hpack writes on one connection, table sizes changing, come out as they went in."""
        encoder, judge, decoder = hpack.Encoder(), hpack.Decoder(_PLENTY), HeadDecoder(_PLENTY)
        for sizes, head, huffman, times in blocks:
            for size in sizes:
                if size != encoder.header_table_size:  # Set twice, hpack's encoder keeps it to itself.
                    encoder.header_table_size = size
            for _ in range(times):
                block = encoder.encode(head, huffman)
                result = read(decoder, block)
                self.assertEqual(result, read(judge, block))
                self.assertEqual(result[0], [(name, value) for name, value, _ in head])

    @given(
        st.lists(st.tuples(_noise, st.integers(1, 3)), max_size=6),
        st.sampled_from([0, 32, 33, 100, 400, _PLENTY]),
        st.sampled_from([0, 64, 4096, 5000]),
    )
    @QUICK
    def test_noiseIsReadAlike(self, blocks: list[tuple[bytes, int]], most: int, most_table: int) -> None:
        """Any octets give the same fields, or the same error, and leave the same table."""
        judge, decoder = hpack.Decoder(most), HeadDecoder(most)
        for block, times in blocks:
            for _ in range(times):
                result = read(decoder, block)
                self.assertEqual(result, read(judge, block))
                if result[1] is not None:
                    return
            judge.max_allowed_table_size = decoder.max_allowed_table_size = most_table

    @given(_heads, st.data())
    @QUICK
    def test_damageIsReadAlike(self, head: list[tuple[bytes, bytes, bool]], data: st.DataObject) -> None:
        """A block with a wrong octet, and one that is cut short anywhere, is what hpack says it is."""
        block = bytearray(hpack.Encoder().encode(head))
        if block:
            block[data.draw(st.integers(0, len(block) - 1))] = data.draw(st.integers(0, 255))
        broken = bytes(block)[: data.draw(st.integers(0, len(block)))]
        self.assertEqual(read(HeadDecoder(_PLENTY), broken), read(hpack.Decoder(_PLENTY), broken))

    def test_allCutsAreReadAlike(self) -> None:
        """A block with every kind of field is cut at each place: only where a field ends is it whole."""
        long = (b"x-a", b"v" * 200, False)
        head = [(b":method", b"GET", False), (b":path", b"/a", True), long, long, (b"x", b"", True)]
        for huffman in (False, True):
            block = hpack.Encoder().encode(head, huffman)
            whole = 0
            for cut in range(len(block)):
                result = read(HeadDecoder(_PLENTY), block[:cut])
                self.assertEqual(result, read(hpack.Decoder(_PLENTY), block[:cut]), cut)
                whole += result[1] is None
            self.assertEqual(whole, len(head))
