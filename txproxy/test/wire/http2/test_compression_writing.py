"""Header blocks that we write are read by hpack, leave no trace in its table, and hide what is secret."""

from __future__ import annotations

from collections.abc import Callable

import hpack
from hpack.table import HeaderTable
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txproxy.test.wire.making import QUICK
from txproxy.wire.fields import Field
from txproxy.wire.http2 import huffman
from txproxy.wire.http2.compression import encode_field, encode_fields, encode_status, encode_unique

_STATIC_NAMES = sorted(HeaderTable.STATIC_TABLE_MAPPING)

_names = (
    st.sampled_from(_STATIC_NAMES)
    | st.sampled_from(_STATIC_NAMES).map(bytes.title)
    | st.sampled_from([b"X-A", b"x-a", b"X-a", b"COOKIE", b"Authorization", b""])
    | st.binary(max_size=140)
)
_values = st.sampled_from([b"", b"GET", b"200", b"gzip, deflate", b"/index.html"]) | st.binary(max_size=140)
_any_fields = st.tuples(_names, _values) | st.sampled_from(HeaderTable.STATIC_TABLE)

_WRITERS: tuple[Callable[[bytes, bytes], bytes], ...] = (encode_field, encode_unique)


def read(block: bytes) -> list[hpack.HeaderTuple]:
    """Return what hpack makes of a block, and see to it that its table stays empty."""
    decoder = hpack.Decoder(1 << 24)
    fields = list(decoder.decode(block, raw=True))
    assert not decoder.header_table.dynamic_entries
    return fields


class OracleTests(SynchronousTestCase):
    """hpack reads what is meant."""

    @given(_any_fields)
    @QUICK
    def test_aField(self, field: Field) -> None:
        """Any field survives, its name in lower case, the first time and when it is remembered."""
        name, value = field
        for write in _WRITERS:
            blocks = {write(name, value) for _ in range(4)}
            self.assertEqual(len(blocks), 1)
            self.assertEqual(read(blocks.pop()), [(name.lower(), value)])

    @given(st.lists(_any_fields, max_size=12))
    @QUICK
    def test_fields(self, fields: list[Field]) -> None:
        """They keep their order, and are each what they are alone."""
        block = encode_fields(iter(fields))
        self.assertEqual(read(block), [(name.lower(), value) for name, value in fields])
        self.assertEqual(block, b"".join(encode_field(name, value) for name, value in fields))

    def test_statuses(self) -> None:
        """Every number of three digits."""
        for status in range(100, 1000):
            self.assertEqual(read(encode_status(status)), [(b":status", b"%d" % status)])
        self.assertEqual(encode_status(200), b"\x88")
        self.assertEqual(encode_status(302), bytes.fromhex("08826402"))


class ShapeTests(SynchronousTestCase):
    """A field is written in the shortest way that needs no table of the connection."""

    def test_wholeFieldsOfTheStaticTable(self) -> None:
        """One octet (RFC 7541 section 6.1), whatever the spelling of the name."""
        for index, (name, value) in enumerate(HeaderTable.STATIC_TABLE, 1):
            for spelling in (name, name.title(), name.upper()):
                self.assertEqual(encode_field(spelling, value), bytes((0x80 | index,)))

    def test_namesOfTheStaticTable(self) -> None:
        """Literal without indexing, the name by its index (section 6.2.2)."""
        self.assertEqual(encode_field(b":path", b"/sample/path"), b"\x04\x89" + huffman.encode(b"/sample/path"))
        self.assertEqual(encode_field(b"Content-Type", b"\x01"), b"\x0f\x10\x01\x01")
        self.assertEqual(encode_unique(b":path", b"/sample/path"), b"\x04\x0c/sample/path")
        self.assertEqual(encode_unique(b"Date", b"x"), b"\x0f\x12\x01x")
        # 15 is the first that does not fit beside the flags.
        self.assertEqual(encode_unique(b":status", b"x"), b"\x08\x01x")
        self.assertEqual(encode_unique(b"accept-charset", b"x"), b"\x0f\x00\x01x")

    def test_otherNames(self) -> None:
        """Literal without indexing, the name as a string in lower case."""
        name = huffman.encode(b"custom-key")
        self.assertEqual(
            encode_field(b"Custom-Key", b"custom-value"), b"\x00\x88" + name + b"\x89" + huffman.encode(b"custom-value")
        )
        self.assertEqual(encode_unique(b"Custom-Key", b"custom-value"), b"\x00\x88" + name + b"\x0ccustom-value")

    def test_huffmanWhereItIsShorter(self) -> None:
        """Strings that would grow, or stay as long, are written as they are."""
        self.assertEqual(encode_field(b":path", b"\x00\x01"), b"\x04\x02\x00\x01")
        self.assertEqual(encode_field(b":path", b"&&&&"), b"\x04\x04&&&&")
        self.assertEqual(encode_field(b"\x00", b"aa"), b"\x00\x01\x00\x02aa")
        self.assertEqual(encode_field(b"\x00", b"aaa"), b"\x00\x01\x00\x82" + huffman.encode(b"aaa"))

    def test_lengths(self) -> None:
        """Those that do not fit into an octet are right too, at each edge (section 5.1)."""
        for length in (
            0,
            1,
            19,
            20,
            125,
            126,
            127,
            128,
            129,
            200,
            201,
            254,
            255,
            256,
            382,
            383,
            1023,
            1024,
            1025,
            16510,
            16511,
            70000,
        ):
            for letter in (b"\x00", b"a"):
                text = letter * length
                for write in _WRITERS:
                    self.assertEqual(read(write(b"x-long", text)), [(b"x-long", text)])
                    self.assertEqual(read(write(text, b"v")), [(text, b"v")])
        self.assertEqual(encode_unique(b":path", b"a" * 127), b"\x04\x7f\x00" + b"a" * 127)
        self.assertEqual(encode_unique(b":path", b"a" * 254), b"\x04\x7f\x7f" + b"a" * 254)
        self.assertEqual(encode_unique(b":path", b"a" * 255), b"\x04\x7f\x80\x01" + b"a" * 255)


class SecretTests(SynchronousTestCase):
    """What gives access is marked, so that nobody on the way puts it into a table (sections 6.2.3 and 7.1.3)."""

    def is_indexable(self, name: bytes, value: bytes) -> bool:
        answers = {read(write(name, value))[0].indexable for write in _WRITERS for _ in range(3)}
        self.assertEqual(len(answers), 1)
        return answers.pop()

    def test_credentials(self) -> None:
        """Always, in any spelling."""
        for name in (b"authorization", b"Proxy-Authorization", b"SET-COOKIE", b"set-Cookie"):
            for value in (b"x", b"x" * 30, b"x" * 200):
                self.assertFalse(self.is_indexable(name, value), name)

    def test_cookies(self) -> None:
        """Short ones, which could be guessed."""
        for name in (b"cookie", b"Cookie", b"COOKIE"):
            for length, indexable in ((1, False), (19, False), (20, True), (300, True)):
                self.assertEqual(self.is_indexable(name, b"x" * length), indexable)

    def test_others(self) -> None:
        """All else may be put into one."""
        for name in (b"content-type", b"X-Cookie", b"www-authenticate", b"x-authorization"):
            self.assertTrue(self.is_indexable(name, b"x" * 10))

    def test_theyAreNotKept(self) -> None:
        """Nothing of them stays behind when the message is gone."""
        for name in (b"authorization", b"proxy-authorization", b"set-cookie", b"cookie"):
            blocks = [encode_field(name, b"secret") for _ in range(4)]
            self.assertIsNot(blocks[2], blocks[3], name)


class RepetitionTests(SynchronousTestCase):
    """What repeats is made once."""

    def test_theSameBlock(self) -> None:
        """From the second time on it is the same object, however many others come once."""
        encode_field(b"X-Repeated", b"value")
        block = encode_field(b"X-Repeated", b"value")
        for number in range(10_000):
            encode_field(b"X-Repeated", b"%d" % number)
        self.assertIs(encode_field(b"X-Repeated", b"value"), block)

    def test_whatIsLongIsNotKept(self) -> None:
        """Neither long values nor long names."""
        for name, value in ((b"x-long", b"v" * 600), (b"n" * 600, b"v")):
            blocks = [encode_field(name, value) for _ in range(4)]
            self.assertIsNot(blocks[2], blocks[3])
