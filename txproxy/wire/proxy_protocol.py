"""What stands before the first byte of a connection that another proxy has made: the PROXY protocol, versions 1 and 2.

The source is HAProxy's ``proxy-protocol.txt``; sections are those of its edition of 2020/03/05 and later.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import NamedTuple

from txproxy.errors import BadProxyHeader

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
"""The first bytes of version 2."""

MOST_V1_BYTES = 107
"""Of version 1, its CRLF included (section 2.1)."""

FIXED_V2_BYTES = 16
"""Of version 2 before the addresses: signature, version and command, family, length (section 2.2)."""

MOST_V2_BYTES = FIXED_V2_BYTES + 4096
"""Of version 2 here; its length could say 65535. A certificate in a TLV fits."""

UNIX_HOST = "unix"
"""What stands for the address of somebody on a unix socket."""

LOCAL, PROXY = 0x20, 0x21
"""Version 2 and a command."""

INET_BYTES, INET6_BYTES, UNIX_BYTES = 12, 36, 216
"""Of two addresses, with their ports where there are any."""

ALPN, AUTHORITY, CRC32C, NOOP, UNIQUE_ID, SSL, NETNS = 0x01, 0x02, 0x03, 0x04, 0x05, 0x20, 0x30
SSL_VERSION, SSL_COMMON_NAME, SSL_CIPHER = 0x21, 0x22, 0x23
CLIENT_SSL, CLIENT_CERT_CONNECTION, CLIENT_CERT_SESSION = 0x01, 0x02, 0x04
"""What the first byte of an SSL TLV says: the client spoke TLS, and has shown a certificate now or earlier."""

_V1_START = b"PROXY "
_CRLF = b"\r\n"
_V1_FAMILIES: dict[bytes, type[IPv4Address] | type[IPv6Address]] = {b"TCP4": IPv4Address, b"TCP6": IPv6Address}
_PORT = re.compile(rb"0|[1-9][0-9]{0,4}")
_HIGHEST_PORT = 65535
_FAMILIES = {
    0x00: 0,
    0x11: INET_BYTES,
    0x12: INET_BYTES,
    0x21: INET6_BYTES,
    0x22: INET6_BYTES,
    0x31: UNIX_BYTES,
    0x32: UNIX_BYTES,
}
"""How long the addresses are, by family and transport; nothing else is valid. A stream has made it either way."""
_TLV_BYTES = 3
_CRC_BYTES = 4
_MOST_UNIQUE_ID_BYTES = 128
_SSL_BYTES = 5

Place = tuple[str, int]
"""Host, as text in its shortest form, and port."""


class ProxiedTls(NamedTuple):
    """What a proxy in front says of its client's TLS."""

    version: str = ""
    """As ``TLSv1.3``; empty if it does not say."""
    cipher: str = ""
    common_name: str = ""
    """CN in the certificate of the client."""
    has_certificate: bool = False
    """The client has shown one, on this connection or when its session began."""
    is_verified: bool = False
    """The one that it has shown is valid."""


class ProxyHeader(NamedTuple):
    """A header that was read. Text that a peer may choose is UTF-8, with escapes for what is not."""

    source: Place | None = None
    """Who is behind the peer; None if the peer speaks for itself, or does not know."""
    destination: Place | None = None
    """What the source has connected to."""
    alpn: str = ""
    """The protocol that was agreed on with the source."""
    authority: str = ""
    """The name that the source has asked for (SNI)."""
    unique_id: str = ""
    netns: str = ""
    """Network namespace that the source has connected in."""
    tls: ProxiedTls | None = None
    """None if it does not say that the source speaks TLS."""
    tlvs: tuple[tuple[int, bytes], ...] = ()
    """All further facts as they came: type and value."""

    @property
    def says_anything(self) -> bool:
        """Whether it adds anything to what the socket says."""
        return self.source is not None or bool(self.tlvs)


NOTHING_SAID = ProxyHeader()


class ProxyHeaderReader:
    """Reads one header, in however many pieces it comes, and not one byte more."""

    __slots__ = ("_seen", "header")

    def __init__(self) -> None:
        self._seen = bytearray()
        self.header: ProxyHeader | None = None
        """None until it is complete."""

    def feed(self, data: bytes) -> int:
        """Take what belongs to the header.

        :param data: what has arrived behind the bytes that were taken before.
        :return: how many of these bytes belong to the header: all as long as it is not complete.
        :raises BadProxyHeader: if it is no header, or not a valid one.
        """
        before = len(self._seen)
        self._seen += data
        end = _end_of(self._seen)
        if not end or len(self._seen) < end:
            return len(data)
        head = bytes(self._seen[:end])
        self._seen.clear()
        self.header = _parse_v2(head) if head[:1] == SIGNATURE[:1] else _parse_v1(head)
        return end - before


def _end_of(seen: bytearray) -> int:
    """Return how long a header is, or 0 if that cannot be known yet."""
    if not seen:
        return 0
    if seen[0] == _V1_START[0]:
        return _end_of_v1(seen)
    if seen[:12] != SIGNATURE[: len(seen)]:
        raise BadProxyHeader("it begins with no PROXY header")
    if len(seen) < FIXED_V2_BYTES:
        return 0
    if seen[12] not in (LOCAL, PROXY):
        raise BadProxyHeader(f"version and command 0x{seen[12]:02x}")
    length = FIXED_V2_BYTES + (seen[14] << 8 | seen[15])
    if length > MOST_V2_BYTES:
        raise BadProxyHeader(f"{length} bytes")
    return length


def _end_of_v1(seen: bytearray) -> int:
    if seen[: len(_V1_START)] != _V1_START[: len(seen)]:
        raise BadProxyHeader("it begins with no PROXY header")
    end = seen.find(_CRLF, 0, MOST_V1_BYTES)
    if end < 0 and len(seen) >= MOST_V1_BYTES:
        raise BadProxyHeader("a line without an end")
    return end + len(_CRLF) if end >= 0 else 0


def _parse_v1(head: bytes) -> ProxyHeader:
    _, family, *words = head.removesuffix(_CRLF).split(b" ")
    if family == b"UNKNOWN":
        return NOTHING_SAID  # Whatever stands behind it is to be ignored.
    kind = _V1_FAMILIES.get(family)
    if kind is None or len(words) != 4:
        raise BadProxyHeader("a line of no known form")
    source, destination = (_plain(_read_address(kind, word)) for word in words[:2])
    source_port, destination_port = map(_read_port, words[2:])
    return ProxyHeader((source, source_port), (destination, destination_port))


def _read_address(kind: type[IPv4Address] | type[IPv6Address], word: bytes) -> IPv4Address | IPv6Address:
    try:
        # A zone means something on one machine only.
        return kind(word.decode("ascii").replace("%", "?"))
    except (UnicodeDecodeError, AddressValueError):
        raise BadProxyHeader("an address that is none") from None


def _read_port(word: bytes) -> int:
    if _PORT.fullmatch(word) is None or int(word) > _HIGHEST_PORT:
        raise BadProxyHeader("a port that is none")
    return int(word)


def _plain(address: IPv4Address | IPv6Address) -> str:
    """Return an address as text, an IPv4-mapped one as IPv4, so that each has one form only."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(address if mapped is None else mapped)


def _parse_v2(head: bytes) -> ProxyHeader:
    if head[12] == LOCAL:
        return NOTHING_SAID  # The rest is to be ignored, whatever it says (section 2.2).
    length = _FAMILIES.get(head[13])
    if length is None:
        raise BadProxyHeader(f"family and transport 0x{head[13]:02x}")
    block = head[FIXED_V2_BYTES:]
    if len(block) < length:
        raise BadProxyHeader("it ends within its addresses")
    tlvs = tuple(_read_tlvs(block[length:]))
    _check_sum(head, FIXED_V2_BYTES + length, tlvs)
    source, destination = _read_places(block[:length])
    return _with_facts(ProxyHeader(source, destination, tlvs=tlvs))


def _read_places(block: bytes) -> tuple[Place | None, Place | None]:
    if not block:
        return None, None
    if len(block) == UNIX_BYTES:
        return (UNIX_HOST, 0), (UNIX_HOST, 0)
    kind: type[IPv4Address] | type[IPv6Address] = IPv4Address if len(block) == INET_BYTES else IPv6Address
    size = (len(block) - 4) // 2
    source, destination = _plain(kind(block[:size])), _plain(kind(block[size : 2 * size]))
    ports = block[2 * size :]
    return (source, ports[0] << 8 | ports[1]), (destination, ports[2] << 8 | ports[3])


def _read_tlvs(block: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(block):
        start = at + _TLV_BYTES
        if start > len(block):
            raise BadProxyHeader("it ends within a TLV")
        end = start + (block[at + 1] << 8 | block[at + 2])
        if end > len(block):
            raise BadProxyHeader("a TLV that is longer than the header")
        yield block[at], block[start:end]
        at = end


def _check_sum(head: bytes, start: int, tlvs: tuple[tuple[int, bytes], ...]) -> None:
    """Compare the checksum with the header, if it has one (section 2.2.3)."""
    at = start
    place = 0
    for kind, value in tlvs:
        at += _TLV_BYTES
        if kind == CRC32C:
            if place or len(value) != _CRC_BYTES:
                raise BadProxyHeader("a checksum of no valid form")
            place = at
        at += len(value)
    if place:
        said = int.from_bytes(head[place : place + _CRC_BYTES], "big")
        if crc32c(head[:place] + bytes(_CRC_BYTES) + head[place + _CRC_BYTES :]) != said:
            raise BadProxyHeader("its checksum is another")


def _with_facts(header: ProxyHeader) -> ProxyHeader:
    """Return a header with what its TLVs say; of two of a type the first counts."""
    texts: dict[str, str] = {}
    tls: ProxiedTls | None = None
    for kind, value in header.tlvs:
        if kind == UNIQUE_ID and len(value) > _MOST_UNIQUE_ID_BYTES:
            raise BadProxyHeader(f"a unique id of {len(value)} bytes")
        if kind == SSL:
            found = _read_tls(value)
            tls = found if tls is None else tls
        elif kind in _TEXTS:
            texts.setdefault(_TEXTS[kind], _text(value))
    return header._replace(tls=tls, **texts)  # type: ignore[arg-type]


_TEXTS = {ALPN: "alpn", AUTHORITY: "authority", UNIQUE_ID: "unique_id", NETNS: "netns"}


def _read_tls(value: bytes) -> ProxiedTls | None:
    if len(value) < _SSL_BYTES:
        raise BadProxyHeader("it ends within what it says of TLS")
    facts: dict[int, str] = {}
    for kind, fact in _read_tlvs(value[_SSL_BYTES:]):
        facts.setdefault(kind, _text(fact))
    client = value[0]
    if not client & CLIENT_SSL:
        return None
    has_certificate = bool(client & (CLIENT_CERT_CONNECTION | CLIENT_CERT_SESSION))
    return ProxiedTls(
        facts.get(SSL_VERSION, ""),
        facts.get(SSL_CIPHER, ""),
        facts.get(SSL_COMMON_NAME, ""),
        has_certificate,
        has_certificate and not any(value[1:_SSL_BYTES]),
    )


def _text(value: bytes) -> str:
    return value.decode("utf-8", "backslashreplace")


def _crc_table() -> tuple[int, ...]:
    table = []
    for number in range(256):
        for _ in range(8):
            number = number >> 1 ^ (0x82F63B78 if number & 1 else 0)
        table.append(number)
    return tuple(table)


_CRC_TABLE = _crc_table()


def crc32c(data: bytes) -> int:
    """Return the checksum of RFC 3720 appendix B.4, Castagnoli's polynomial."""
    value = 0xFFFFFFFF
    for byte in data:
        value = value >> 8 ^ _CRC_TABLE[(value ^ byte) & 0xFF]
    return value ^ 0xFFFFFFFF
