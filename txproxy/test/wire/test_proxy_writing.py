"""What is written is what a reader of the PROXY protocol understands."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txproxy.test.wire.proxy_headers import read_header
from txproxy.wire.proxy_protocol import ALPN, AUTHORITY, MOST_V1_BYTES, SIGNATURE, SSL, Place, ProxiedTls, ProxyHeader
from txproxy.wire.proxy_writing import LOCAL_V2, UNKNOWN_V1, write_tls, write_tlv, write_v1, write_v2

_QUICK = settings(max_examples=100, deadline=None)
_V4, _V6 = ("203.0.113.7", 56789), ("2001:db8::7", 443)
_PLACES = st.tuples(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).map(str), st.integers(0, 65535))


def _plain(place: Place) -> Place:
    header, _ = read_header([write_v1(place, place)])
    assert header is not None and header.source is not None
    return header.source


class VersionOneTests(SynchronousTestCase):
    """The line of text."""

    def test_lines(self) -> None:
        """Both families; one of each becomes two of IPv6."""
        for source, destination, expected in (
            (_V4, ("10.0.0.1", 80), b"PROXY TCP4 203.0.113.7 10.0.0.1 56789 80\r\n"),
            (_V6, ("::1", 80), b"PROXY TCP6 2001:db8::7 ::1 443 80\r\n"),
            (_V4, _V6, b"PROXY TCP6 ::ffff:203.0.113.7 2001:db8::7 56789 443\r\n"),
            (_V6, _V4, b"PROXY TCP6 2001:db8::7 ::ffff:203.0.113.7 443 56789\r\n"),
            (("fe80::1%eth0", 1), _V6, b"PROXY TCP6 fe80::1 2001:db8::7 1 443\r\n"),
        ):
            self.assertEqual(write_v1(source, destination), expected)

    def test_unknown(self) -> None:
        """What cannot be said is unknown."""
        for source, destination in ((None, _V4), (_V4, None), (("unix", 0), _V4), (_V4, ("unix", 0)), (None, None)):
            self.assertEqual(write_v1(source, destination), b"PROXY UNKNOWN\r\n")
        self.assertEqual(read_header([UNKNOWN_V1]), (ProxyHeader(), len(UNKNOWN_V1)))

    @given(_PLACES, _PLACES)
    @_QUICK
    def test_read(self, source: Place, destination: Place) -> None:
        """Any two places arrive, in a line that is short enough."""
        line = write_v1(source, destination)
        self.assertTrue(len(line) <= MOST_V1_BYTES)
        self.assertEqual(read_header([line]), (ProxyHeader(_plain(source), _plain(destination)), len(line)))


class VersionTwoTests(SynchronousTestCase):
    """The binary form."""

    def test_golden(self) -> None:
        """The bytes are those of the specification."""
        expected = SIGNATURE + bytes.fromhex("2111000ccb0071070a000001ddd50050")
        self.assertEqual(write_v2(_V4, ("10.0.0.1", 80)), expected)
        self.assertEqual(LOCAL_V2, SIGNATURE + b"\x20\x00\x00\x00")

    def test_unspecified(self) -> None:
        """What cannot be said is unspecified; the other facts are there all the same."""
        for source, destination in ((None, _V4), (_V4, None), (("unix", 0), _V4)):
            data = write_v2(source, destination, write_tlv(AUTHORITY, b"a"))
            header, taken = read_header([data])
            self.assertEqual((header, taken), (ProxyHeader(authority="a", tlvs=((2, b"a"),)), len(data)))
        self.assertEqual(read_header([LOCAL_V2]), (ProxyHeader(), len(LOCAL_V2)))

    def test_facts(self) -> None:
        """Name, protocol and TLS of the client arrive."""
        for tls in (
            ProxiedTls("TLSv1.3", "TLS_AES_128_GCM_SHA256", "joe", True, True),
            ProxiedTls("TLSv1.2", "ECDHE"),
            ProxiedTls("TLSv1.2", "ECDHE", "joe", True, False),
            ProxiedTls(),
        ):
            tlvs = write_tlv(ALPN, b"h2") + write_tlv(AUTHORITY, b"a.example") + write_tlv(SSL, write_tls(tls))
            header, _ = read_header([write_v2(_V4, _V4, tlvs)])
            assert header is not None
            self.assertEqual((header.alpn, header.authority, header.tls), ("h2", "a.example", tls))

    def test_leftOut(self) -> None:
        """What is empty, or too long to be true, is not said."""
        self.assertEqual(write_tlv(AUTHORITY, b""), b"")
        self.assertEqual(write_tlv(AUTHORITY, b"x" * 1025), b"")

    @given(_PLACES, _PLACES)
    @_QUICK
    def test_read(self, source: Place, destination: Place) -> None:
        """Any two places arrive."""
        data = write_v2(source, destination)
        self.assertEqual(read_header([data]), (ProxyHeader(_plain(source), _plain(destination)), len(data)))
