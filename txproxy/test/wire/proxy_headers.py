"""Headers of the PROXY protocol: valid ones, with what they say, and those that are refused."""

from __future__ import annotations

from txproxy.wire.proxy_protocol import SIGNATURE, ProxiedTls, ProxyHeader, ProxyHeaderReader, crc32c

_V4 = bytes((203, 0, 113, 7, 10, 0, 0, 1, 0xDD, 0xD5, 0x01, 0xBB))
_V6 = bytes.fromhex("20010db8000000000000000000000007") + bytes(15) + b"\x01" + b"\xdd\xd5\x01\xbb"
_MAPPED = (bytes(10) + b"\xff\xff" + _V4[:4]) + (bytes(10) + b"\xff\xff" + _V4[4:8]) + _V4[8:]
_SOURCE, _DESTINATION = ("203.0.113.7", 56789), ("10.0.0.1", 443)
_SOURCE6, _DESTINATION6 = ("2001:db8::7", 56789), ("::1", 443)

PLAIN = ProxyHeader(_SOURCE, _DESTINATION)
PLAIN6 = ProxyHeader(_SOURCE6, _DESTINATION6)
NOTHING = ProxyHeader()


def v2(block: bytes = b"", family: int = 0x11, command: int = 0x21, length: int | None = None) -> bytes:
    """Return a header of version 2.

    :param length: what it says of itself, if that is not true.
    """
    size = len(block) if length is None else length
    return SIGNATURE + bytes((command, family)) + size.to_bytes(2, "big") + block


def tlv(kind: int, value: bytes) -> bytes:
    """Return a fact of version 2."""
    return bytes((kind,)) + len(value).to_bytes(2, "big") + value


def summed(*tlvs: bytes) -> bytes:
    """Return a header with these facts and its checksum between them."""
    first, *rest = tlvs
    block = _V4 + first + tlv(3, bytes(4)) + b"".join(rest)
    at = len(SIGNATURE) + 4 + len(_V4) + len(first) + 3
    head = v2(block)
    return head[:at] + crc32c(head).to_bytes(4, "big") + head[at + 4 :]


def tls(client: int, verify: int, *facts: bytes) -> bytes:
    """Return what a header says of TLS."""
    return tlv(0x20, bytes((client,)) + verify.to_bytes(4, "big") + b"".join(facts))


_FACTS = (tlv(0x21, b"TLSv1.3"), tlv(0x22, b"joe"), tlv(0x23, b"TLS_AES_128_GCM_SHA256"), tlv(0x24, b"SHA256"))
_TLS = ProxiedTls("TLSv1.3", "TLS_AES_128_GCM_SHA256", "joe", True, True)

VALID: tuple[tuple[bytes, ProxyHeader], ...] = (
    (b"PROXY TCP4 203.0.113.7 10.0.0.1 56789 443\r\n", PLAIN),
    (b"PROXY TCP4 0.0.0.0 255.255.255.255 0 65535\r\n", ProxyHeader(("0.0.0.0", 0), ("255.255.255.255", 65535))),
    (b"PROXY TCP6 2001:db8::7 ::1 56789 443\r\n", PLAIN6),
    (b"PROXY TCP6 2001:0DB8:0:0:0:0:0:7 0:0:0:0:0:0:0:1 56789 443\r\n", PLAIN6),
    (b"PROXY TCP6 ::ffff:203.0.113.7 ::ffff:10.0.0.1 56789 443\r\n", PLAIN),
    (b"PROXY TCP6 ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n".replace(b"f...f", b":".join([b"ffff"] * 6)),
     ProxyHeader((":".join(["ffff"] * 8), 65535), (":".join(["ffff"] * 8), 65535))),
    (b"PROXY UNKNOWN\r\n", NOTHING),
    (b"PROXY UNKNOWN \r\n", NOTHING),
    (b"PROXY UNKNOWN 203.0.113.7 what ever\0\r\n", NOTHING),
    (b"PROXY UNKNOWN " + b"x" * (107 - 16) + b"\r\n", NOTHING),
    (v2(_V4), PLAIN),
    (v2(_V4, 0x12), PLAIN),
    (v2(_V6, 0x21), PLAIN6),
    (v2(_V6, 0x22), PLAIN6),
    (v2(_MAPPED, 0x21), PLAIN),
    (v2(b"/client".ljust(108, b"\0") + b"/server".ljust(108, b"\0"), 0x31), ProxyHeader(("unix", 0), ("unix", 0))),
    (v2(bytes(216), 0x32), ProxyHeader(("unix", 0), ("unix", 0))),
    (v2(family=0), NOTHING),
    (v2(command=0x20, family=0), NOTHING),
    (v2(_V4, command=0x20), NOTHING),
    (v2(b"\xff" * 50, command=0x20, family=0xFF), NOTHING),
    (v2(_V4 + tlv(2, b"a.example") + tlv(1, b"h2") + tlv(5, b"id-1") + tlv(0x30, b"blue")),
     ProxyHeader(_SOURCE, _DESTINATION, "h2", "a.example", "id-1", "blue", None,
                 ((2, b"a.example"), (1, b"h2"), (5, b"id-1"), (0x30, b"blue")))),
    (v2(tlv(2, b"a.example"), 0), ProxyHeader(authority="a.example", tlvs=((2, b"a.example"),))),
    (v2(_V4 + tlv(2, b"first") + tlv(2, b"second")),
     ProxyHeader(_SOURCE, _DESTINATION, authority="first", tlvs=((2, b"first"), (2, b"second")))),
    (v2(_V4 + tlv(4, b"\0" * 9) + tlv(0xE5, b"") + tlv(0xFF, b"x")),
     ProxyHeader(_SOURCE, _DESTINATION, tlvs=((4, b"\0" * 9), (0xE5, b""), (0xFF, b"x")))),
    (v2(_V4 + tlv(2, b"\xc3\xa4\xff\n")),
     ProxyHeader(_SOURCE, _DESTINATION, authority="\u00e4\\xff\n", tlvs=((2, b"\xc3\xa4\xff\n"),))),
    (v2(_V4 + tlv(5, b"i" * 128)),
     ProxyHeader(_SOURCE, _DESTINATION, unique_id="i" * 128, tlvs=((5, b"i" * 128),))),
    (v2(_V4 + tls(3, 0, *_FACTS)),
     ProxyHeader(_SOURCE, _DESTINATION, tls=_TLS, tlvs=((0x20, b"\3" + bytes(4) + b"".join(_FACTS)),))),
    (v2(_V4 + tls(5, 0)),
     ProxyHeader(_SOURCE, _DESTINATION, tls=ProxiedTls("", "", "", True, True), tlvs=((0x20, b"\5" + bytes(4)),))),
    (v2(_V4 + tls(3, 20)),
     ProxyHeader(_SOURCE, _DESTINATION, tls=ProxiedTls("", "", "", True, False), tlvs=((0x20, b"\3\0\0\0\x14"),))),
    (v2(_V4 + tls(1, 0)),
     ProxyHeader(_SOURCE, _DESTINATION, tls=ProxiedTls(), tlvs=((0x20, b"\1" + bytes(4)),))),
    (v2(_V4 + tls(0, 1)), ProxyHeader(_SOURCE, _DESTINATION, tlvs=((0x20, b"\0\0\0\0\1"),))),
    (v2(_V4 + tlv(0xE0, b"x" * (4096 - 15))), ProxyHeader(_SOURCE, _DESTINATION, tlvs=((0xE0, b"x" * (4096 - 15)),))),
)  # fmt: skip

MALFORMED: tuple[bytes, ...] = (
    b"GET / HTTP/1.1\r\n\r\n",
    b"POST",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x16\x03\x01\x02\x00",
    b"\r\n\r\nGET",
    b"\0",
    b"proxy TCP4 203.0.113.7 10.0.0.1 56789 443\r\n",
    b" PROXY TCP4 203.0.113.7 10.0.0.1 56789 443\r\n",
    b"PROXY\tTCP4 203.0.113.7 10.0.0.1 56789 443\r\n",
    b"PROXY\r\n",
    b"PROXY \r\n",
    b"PROXY  TCP4 203.0.113.7 10.0.0.1 56789 443\r\n",
    b"PROXY TCP4  203.0.113.7 10.0.0.1 56789 443\r\n",
    b"PROXY TCP4 203.0.113.7 10.0.0.1 56789 443 \r\n",
    b"PROXY TCP4 203.0.113.7 10.0.0.1 56789 443 more\r\n",
    b"PROXY TCP4 203.0.113.7 10.0.0.1 56789\r\n",
    b"PROXY TCP4\r\n",
    b"PROXY tcp4 203.0.113.7 10.0.0.1 56789 443\r\n",
    b"PROXY TCP5 203.0.113.7 10.0.0.1 56789 443\r\n",
    b"PROXY UDP4 203.0.113.7 10.0.0.1 56789 443\r\n",
    b"PROXY UNKNOWNX\r\n",
    b"PROXY unknown\r\n",
    b"PROXY TCP4 2001:db8::7 ::1 56789 443\r\n",
    b"PROXY TCP6 203.0.113.7 10.0.0.1 56789 443\r\n",
    b"PROXY TCP4 203.0.113 10.0.0.1 56789 443\r\n",
    b"PROXY TCP4 203.0.113.256 10.0.0.1 56789 443\r\n",
    b"PROXY TCP4 203.0.113.07 10.0.0.1 56789 443\r\n",
    b"PROXY TCP4 203.0.113.7/8 10.0.0.1 56789 443\r\n",
    b"PROXY TCP4 203.0.113.\xd9\xa7 10.0.0.1 56789 443\r\n",
    b"PROXY TCP4 a.example 10.0.0.1 56789 443\r\n",
    b"PROXY TCP6 fe80::1%eth0 ::1 56789 443\r\n",
    b"PROXY TCP6 [2001:db8::7] ::1 56789 443\r\n",
    b"PROXY TCP4 203.0.113.7 10.0.0.1 65536 443\r\n",
    b"PROXY TCP4 203.0.113.7 10.0.0.1 -1 443\r\n",
    b"PROXY TCP4 203.0.113.7 10.0.0.1 +1 443\r\n",
    b"PROXY TCP4 203.0.113.7 10.0.0.1 0443 443\r\n",
    b"PROXY TCP4 203.0.113.7 10.0.0.1 1e3 443\r\n",
    b"PROXY TCP4 203.0.113.7 10.0.0.1 56789 \xd9\xa4\r\n",
    b"PROXY TCP4 203.0.113.7 10.0.0.1 56789 443\n\r\n",
    b"PROXY TCP4 203.0.113.7 10.0.0.1 56789 443\r\r\n",
    b"PROXY TCP4 203.0.113.7 10.0.0.1 56789 443\n"
    + b"GET / HTTP/1.1\nHost: a.example\nUser-Agent: a very long word " * 2,
    b"PROXY UNKNOWN " + b"x" * (107 - 15) + b"\r\n",
    b"PROXY UNKNOWN " + b"x" * 500,
    v2(_V4, command=0x22),
    v2(_V4, command=0x2F),
    v2(_V4, command=0x11),
    v2(_V4, command=0x31),
    v2(_V4, command=0x01),
    v2(_V4, 0x10),
    v2(_V4, 0x13),
    v2(_V4, 0x01),
    v2(_V6, 0x41),
    v2(_V4[:-1]),
    v2(b""),
    v2(_V6[:-1], 0x21),
    v2(_V4, 0x21),
    v2(bytes(215), 0x31),
    v2(_V4, length=4097),
    v2(_V4, length=65535),
    v2(_V4, command=0x20, length=65535),
    v2(_V4 + b"\x02"),
    v2(_V4 + b"\x02\x00"),
    v2(_V4 + b"\x02\x00\x01"),
    v2(_V4 + tlv(2, b"a") + b"\x02\x00\x09a.exampl"),
    v2(_V4 + b"\x02\xff\xffa"),
    v2(_V4 + tlv(5, b"i" * 129)),
    v2(_V4 + tlv(3, b"")),
    v2(_V4 + tlv(3, bytes(3))),
    v2(_V4 + tlv(3, bytes(5))),
    v2(_V4 + tlv(3, bytes(4))),
    v2(_V4 + tlv(3, bytes(4)) * 2),
    v2(_V4 + tlv(0x20, b"")),
    v2(_V4 + tlv(0x20, b"\1\0\0\0")),
    v2(_V4 + tls(1, 0, b"\x21\x00\x09TLSv1.3")),
    v2(_V4 + tls(1, 0, b"\x21")),
)


def read_header(pieces: list[bytes]) -> tuple[ProxyHeader | None, int]:
    """Read a header that comes in pieces, as a transport does that leaves what is not taken.

    :return: it, None if it is not complete, and how many bytes it took.
    :raises BadProxyHeader: if it is not valid.
    """
    reader = ProxyHeaderReader()
    taken = 0
    for piece in pieces:
        count = reader.feed(piece)
        taken += count
        assert 0 <= count <= len(piece)
        if reader.header is not None:
            break
        assert count == len(piece), "all of it belongs to a header that is not complete"
    return reader.header, taken
