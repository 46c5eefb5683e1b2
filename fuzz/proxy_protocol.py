"""What must hold for any bytes at the beginning of a connection that a proxy in front has made."""

from __future__ import annotations

from ipaddress import ip_address

from fuzz.checks import pieces_of, require
from txproxy.errors import BadProxyHeader
from txproxy.test.wire.proxy_headers import MALFORMED, VALID, read_header
from txproxy.wire.proxy_protocol import MOST_V2_BYTES, UNIX_HOST, Place, ProxyHeader
from txproxy.wire.proxy_writing import write_v1, write_v2

_MOST_SINGLE_BYTES = 1024


def proxy_headers(data: bytes) -> None:
    """A header is understood in one way however it comes, takes no byte too many, and can be said again."""
    whole = _read([data])
    require(_read(pieces_of(data)) == whole, "the same header in pieces")
    if len(data) <= _MOST_SINGLE_BYTES:
        require(_read([data[index : index + 1] for index in range(len(data))]) == whole, "the same header bytewise")
    if whole is None:
        return
    header, taken = whole
    require(taken <= min(len(data), MOST_V2_BYTES), "no more than there is, and than there may be")
    if header is None:
        require(taken == len(data), "all of it belongs to a header that is not complete")
        return
    require(_read([data[:taken]]) == whole, "what follows does not matter")
    require((header.source is None) == (header.destination is None), "two places or none")
    if header.source is not None and header.destination is not None and header.source[0] != UNIX_HOST:
        _says_the_same(header.source, header.destination)


def _says_the_same(source: Place, destination: Place) -> None:
    for place in (source, destination):
        require(str(ip_address(place[0])) == place[0], "an address in its one form")
    for again in (write_v1(source, destination), write_v2(source, destination)):
        require(_read([again]) == (ProxyHeader(source, destination), len(again)), "the same when it is said again")


def _read(pieces: list[bytes]) -> tuple[ProxyHeader | None, int] | None:
    """Return a header and its length, or None if it is refused."""
    try:
        return read_header(pieces)
    except BadProxyHeader:
        return None


def seeds() -> dict[str, list[bytes]]:
    """Return inputs to begin with, by the name of their check."""
    return {"proxy_headers": [*(data + b"GET / HTTP/1.1\r\n\r\n" for data, _ in VALID), *MALFORMED]}
