"""Headers of the PROXY protocol are read: not one byte more, however they come, and nothing that is not valid."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txproxy.errors import BadProxyHeader
from txproxy.test.wire.proxy_headers import MALFORMED, NOTHING, PLAIN, VALID, read_header, summed, tlv, v2
from txproxy.wire.proxy_protocol import MOST_V1_BYTES, MOST_V2_BYTES, SIGNATURE, ProxyHeaderReader, crc32c

_QUICK = settings(max_examples=200, deadline=None)
_REST = b"GET / HTTP/1.1\r\n\r\n" + SIGNATURE


def _single(data: bytes) -> list[bytes]:
    return [data[index : index + 1] for index in range(len(data))]


class ValidTests(SynchronousTestCase):
    """What is valid, and what it says."""

    def test_whole(self) -> None:
        """Each says what it says, and takes no byte of what follows."""
        for data, expected in VALID:
            for rest in (b"", b"\r\n", _REST, b"\0" * 5000):
                self.assertEqual(read_header([data + rest]), (expected, len(data)), data)

    def test_everySplit(self) -> None:
        """It does not matter where a packet ends."""
        for data, expected in VALID:
            for at in range(1, min(len(data), 200)):
                self.assertEqual(read_header([data[:at], data[at:] + _REST]), (expected, len(data)), (data, at))

    def test_oneByteAtATime(self) -> None:
        """Nor how many there are."""
        for data, expected in VALID:
            self.assertEqual(read_header(_single(data + _REST)), (expected, len(data)), data)

    def test_notComplete(self) -> None:
        """As long as it is not complete nothing is known, and each byte belongs to it."""
        for data, _ in VALID:
            for at in range(min(len(data), 200)):
                self.assertEqual(read_header([data[:at]]), (None, at), (data, at))
            self.assertEqual(read_header([data[:-1]]), (None, len(data) - 1), data)

    def test_theLongest(self) -> None:
        """Both versions have a limit, and what is as long is accepted."""
        lengths = {len(data) for data, _ in VALID}
        self.assertTrue({MOST_V1_BYTES, MOST_V2_BYTES} <= lengths)

    def test_saysAnything(self) -> None:
        """A header that says nothing leaves everything as the socket has it."""
        self.assertFalse(NOTHING.says_anything)
        self.assertTrue(PLAIN.says_anything)
        header, _ = read_header([v2(tlv(2, b"a.example"), 0)])
        assert header is not None
        self.assertTrue(header.says_anything)


class ChecksumTests(SynchronousTestCase):
    """CRC32C, if there is one."""

    def test_vectors(self) -> None:
        """Those of RFC 3720 appendix B.4, and the usual one."""
        for data, expected in (
            (bytes(32), 0x8A9136AA),
            (b"\xff" * 32, 0x62A8AB43),
            (bytes(range(32)), 0x46DD794E),
            (bytes(reversed(range(32))), 0x113FDB5C),
            (b"123456789", 0xE3069283),
        ):
            self.assertEqual(crc32c(data), expected)

    def test_anywhere(self) -> None:
        """It covers the whole header, wherever it stands in it."""
        authority, alpn = tlv(2, b"a.example"), tlv(1, b"h2")
        for data in (summed(b""), summed(authority), summed(b"", alpn), summed(authority, alpn)):
            header, taken = read_header([data + _REST])
            assert header is not None
            self.assertEqual((header.source, taken), (PLAIN.source, len(data)))

    def test_eachBitCounts(self) -> None:
        """No bit of the addresses or the facts can change without being noticed."""
        data = summed(tlv(2, b"a.example"))
        for index in range(16, len(data)):
            for bit in range(8):
                changed = bytearray(data)
                changed[index] ^= 1 << bit
                if changed[40] != 3:
                    continue  # It is a checksum no more.
                try:
                    header, _ = read_header([bytes(changed)])
                except BadProxyHeader:
                    continue
                self.assertIsNone(header, (index, bit))


class MalformedTests(SynchronousTestCase):
    """What is not valid."""

    def test_refused(self) -> None:
        """Each is refused, however it comes."""
        for data in MALFORMED:
            self.assertRaises(BadProxyHeader, read_header, [data])
            self.assertRaises(BadProxyHeader, read_header, _single(data))
            for at in range(1, min(len(data), 120)):
                self.assertRaises(BadProxyHeader, read_header, [data[:at], data[at:]])

    def test_atTheFirstWrongByte(self) -> None:
        """Who does not speak the protocol is refused at once, and not waited for."""
        for data in (b"G", b"PO", b"PRI ", b"\x16", b"\r\n\r\nG", b"PROXY\r", SIGNATURE[:-1] + b"\r"):
            self.assertRaises(BadProxyHeader, read_header, [data])
        self.assertRaises(BadProxyHeader, read_header, [v2(length=4097)[:16]])
        self.assertRaises(BadProxyHeader, read_header, [v2(command=0x29)[:16]])

    @given(st.binary(max_size=300), st.sampled_from((b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE, v2()[:14])), st.data())
    @_QUICK
    def test_anything(self, tail: bytes, start: bytes, data: st.DataObject) -> None:
        """Any bytes are a header, part of one, or refused; and it is the same however they come."""
        whole = start + tail
        at = data.draw(st.integers(0, len(whole)))
        results = []
        for pieces in ([whole], [whole[:at], whole[at:]], _single(whole)):
            try:
                results.append(read_header(pieces))
            except BadProxyHeader:
                results.append((None, -1))
        self.assertEqual(results[1:], results[:1] * 2)

    def test_takesNothingOfNothing(self) -> None:
        """No bytes are no bytes."""
        self.assertEqual(ProxyHeaderReader().feed(b""), 0)
