"""The Huffman code of header strings, with hpack as the judge."""

from __future__ import annotations

from hpack import HPACKDecodingError
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hpack.huffman_table import decode_huffman
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txproxy.test.wire.making import QUICK
from txproxy.wire.http2 import huffman

_JUDGE = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH)

# RFC 7541 Appendix C.4 and C.6.
_EXAMPLES = (
    (b"www.example.com", "f1e3c2e5f23a6ba0ab90f4ff"),
    (b"no-cache", "a8eb10649cbf"),
    (b"custom-key", "25a849e95ba97d7f"),
    (b"custom-value", "25a849e95bb8e8b4bf"),
    (b"302", "6402"),
    (b"private", "aec3771a4b"),
    (b"Mon, 21 Oct 2013 20:13:21 GMT", "d07abe941054d444a8200595040b8166e082a62d1bff"),
    (b"https://www.example.com", "9d29ad171863c78f0b97c8e9ae82ae43d3"),
)


def judged(coded: bytes) -> bytes | None:
    try:
        return decode_huffman(coded)
    except HPACKDecodingError:
        return None


def read(coded: bytes) -> bytes | None:
    try:
        return huffman.decode(coded)
    except HPACKDecodingError:
        return None


class HuffmanTests(SynchronousTestCase):
    """Text is coded as RFC 7541 Appendix B has it, and read back; what is wrongly coded is refused."""

    def test_examples(self) -> None:
        """The examples of the RFC hold in both directions, however often they come."""
        for text, coded in _EXAMPLES:
            self.assertEqual(huffman.encode(text).hex(), coded)
            for _ in range(3):
                self.assertEqual(huffman.decode(bytes.fromhex(coded)), text)

    def test_eachOctetBehindEachOther(self) -> None:
        """All pairs of octets: every code, begun at every bit."""
        for octet in range(256):
            for text in (bytes((octet,)), bytes((octet, *range(256))), bytes((octet,)) * 9):
                coded = _JUDGE.encode(text)
                self.assertEqual(huffman.encode(text), coded)
                self.assertEqual(huffman.decode(coded), text)

    def test_nothing(self) -> None:
        """The empty string is coded as itself."""
        self.assertEqual((huffman.encode(b""), huffman.decode(b"")), (b"", b""))

    @given(st.binary(max_size=300))
    @QUICK
    def test_textSurvives(self, text: bytes) -> None:
        """Any octets are coded as hpack codes them, and read back."""
        coded = huffman.encode(text)
        self.assertEqual(coded, _JUDGE.encode(text))
        self.assertEqual(huffman.decode(coded), text)

    @given(st.binary(max_size=40) | st.lists(st.sampled_from(b"\xff\xfe\xf8\x1f\x00a\x7f"), max_size=12).map(bytes))
    @QUICK
    def test_noiseIsReadAsHpackReadsIt(self, coded: bytes) -> None:
        """Whatever octets come, the result is that of hpack, or both refuse."""
        for _ in range(3):
            self.assertEqual(read(coded), judged(coded))

    def test_padding(self) -> None:
        """Padding is at most 7 bits of ones (section 5.2)."""
        # "a" is 00011, "0" is 00000, and "&" is 11111000: three bits, or none, are left to fill.
        for right, text in ((b"\x1f", b"a"), (b"\x07", b"0"), (b"\xf8", b"&")):
            self.assertEqual(huffman.decode(right), text)
        for wrong in (
            b"\x1e",
            b"\x1b",
            b"\x18",
            b"\x1f\xff",
            b"\xf8\xff",
            b"\xf8\xff\xff\xff",
            b"\xff",
            b"\xff\xff",
            b"\xfe",
        ):
            for _ in range(3):
                self.assertRaises(HPACKDecodingError, huffman.decode, wrong)

    def test_theEndOfAString(self) -> None:
        """The code for it may not stand in a string, at whatever bit it begins."""
        for before in ("", "00011", "00000" * 3, "010100"):
            bits = before + "1" * 30 + "00011"
            bits += "1" * (-len(bits) % 8)
            coded = int(bits, 2).to_bytes(len(bits) // 8, "big")
            self.assertIsNone(judged(coded))
            for _ in range(3):
                self.assertRaises(HPACKDecodingError, huffman.decode, coded)
            self.assertRaises(HPACKDecodingError, huffman.decode, coded[:-1])

    def test_longTextIsRead(self) -> None:
        """What is too long to be remembered is read all the same."""
        text = bytes(range(256)) * 40
        coded = huffman.encode(text)
        for _ in range(3):
            self.assertEqual(huffman.decode(coded), text)
        self.assertIsNot(huffman.decode(coded), huffman.decode(coded))

    def test_shortTextIsRemembered(self) -> None:
        """What repeats is the same object from its second time on, while others come once."""
        coded = huffman.encode(b"what comes again")
        huffman.decode(coded)
        text = huffman.decode(coded)
        for number in range(5000):
            huffman.decode(huffman.encode(b"%d" % number))
        self.assertIs(huffman.decode(coded), text)
