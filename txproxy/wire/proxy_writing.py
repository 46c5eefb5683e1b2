"""The PROXY protocol as it is written: the first bytes on a connection that is made on behalf of a client."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

from txproxy.wire.proxy_protocol import (
    CLIENT_CERT_CONNECTION,
    CLIENT_SSL,
    LOCAL,
    PROXY,
    SIGNATURE,
    SSL_CIPHER,
    SSL_COMMON_NAME,
    SSL_VERSION,
    Place,
    ProxiedTls,
)

UNKNOWN_V1 = b"PROXY UNKNOWN\r\n"
"""Nothing is said of who is behind the connection."""

LOCAL_V2 = SIGNATURE + bytes((LOCAL, 0, 0, 0))
"""Nobody is behind the connection: it is the proxy's own."""

_INET, _INET6, _UNSPECIFIED = 0x11, 0x21, 0x00
_MOST_TLV_BYTES = 1024
_NOT_VERIFIED = 1

Pair = tuple[IPv4Address | IPv6Address, IPv4Address | IPv6Address]


def write_v1(source: Place | None, destination: Place | None) -> bytes:
    """Return a header of version 1.

    :param source: who is behind the connection; None, or somebody on a unix socket, cannot be said.
    :param destination: what that one has connected to.
    """
    pair = _pair(source, destination)
    if pair is None:
        return UNKNOWN_V1
    family = "TCP4" if isinstance(pair[0], IPv4Address) else "TCP6"
    return f"PROXY {family} {_shown(pair[0])} {_shown(pair[1])} {source[1]} {destination[1]}\r\n".encode()  # type: ignore[index]


def write_v2(source: Place | None, destination: Place | None, tlvs: bytes = b"") -> bytes:
    """Return a header of version 2.

    :param source: who is behind the connection; None, or somebody on a unix socket, is said to be unspecified.
    :param destination: what that one has connected to.
    :param tlvs: further facts, as ``write_tlv`` makes them.
    """
    pair = _pair(source, destination)
    if pair is None:
        family, block = _UNSPECIFIED, b""
    else:
        family = _INET if isinstance(pair[0], IPv4Address) else _INET6
        ports = b"".join(place[1].to_bytes(2, "big") for place in (source, destination))  # type: ignore[index]
        block = pair[0].packed + pair[1].packed + ports
    block += tlvs
    return SIGNATURE + bytes((PROXY, family)) + len(block).to_bytes(2, "big") + block


def write_tlv(kind: int, value: bytes) -> bytes:
    """Return one fact: its type, length and value. A value that is empty or very long is left out."""
    if not 0 < len(value) <= _MOST_TLV_BYTES:
        return b""
    return bytes((kind,)) + len(value).to_bytes(2, "big") + value


def write_tls(tls: ProxiedTls) -> bytes:
    """Return the value of a TLV of type SSL: the client speaks TLS."""
    client = CLIENT_SSL | (CLIENT_CERT_CONNECTION if tls.has_certificate else 0)
    verify = 0 if tls.is_verified else _NOT_VERIFIED
    facts = ((SSL_VERSION, tls.version), (SSL_COMMON_NAME, tls.common_name), (SSL_CIPHER, tls.cipher))
    inner = b"".join(write_tlv(kind, text.encode()) for kind, text in facts)
    return bytes((client,)) + verify.to_bytes(4, "big") + inner


def _pair(source: Place | None, destination: Place | None) -> Pair | None:
    """Return two addresses of one family, an IPv4 one mapped if the other is of IPv6; None if they cannot be said."""
    if source is None or destination is None:
        return None
    try:
        pair = ip_address(source[0].partition("%")[0]), ip_address(destination[0].partition("%")[0])
    except ValueError:
        return None
    if pair[0].version == pair[1].version:
        return pair
    return _mapped(pair[0]), _mapped(pair[1])


def _mapped(address: IPv4Address | IPv6Address) -> IPv6Address:
    if isinstance(address, IPv6Address):
        return address
    return IPv6Address(b"\0" * 10 + b"\xff\xff" + address.packed)


def _shown(address: IPv4Address | IPv6Address) -> str:
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(address) if mapped is None else f"::ffff:{mapped}"
