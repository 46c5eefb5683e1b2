"""What a backend is told of a client by the PROXY protocol, before anything else is said on the connection."""

from __future__ import annotations

import re

from txproxy.exchange import Exchange
from txproxy.policy.facts import TlsFacts
from txproxy.wire.proxy_protocol import ALPN, AUTHORITY, SSL, Place, ProxiedTls, ProxyHeader
from txproxy.wire.proxy_writing import LOCAL_V2, UNKNOWN_V1, write_tls, write_tlv, write_v1, write_v2

OWN_HEADERS = {"v1": UNKNOWN_V1, "v2": LOCAL_V2}
"""By version: for connections that are made for nobody, such as those of health checks."""

_ATTRIBUTE = re.compile(r"([^=,+]*)=((?:[^,+\\]|\\.)*)(?:[,+]|$)")
_ESCAPED = re.compile(rb"\\(?:([0-9A-Fa-f]{2})|(.))", re.DOTALL)


def client_header(version: str, exchange: Exchange) -> bytes:
    """Return the header of a connection that carries one exchange.

    The source is the client as the log has it: if a trusted peer says that it is another than who has connected, that
    one's port is not known and said to be 0.

    :param version: ``v1`` or ``v2``.
    """
    client = exchange.client
    source, destination = client.places()
    address = exchange.client_address
    if source is None or source[0].partition("%")[0] != address:
        source = (address, 0)
    if version == "v1":
        return write_v1(source, destination)
    return write_v2(source, destination, _facts(client.tls, client.hop.proxied, source))


def _facts(tls: TlsFacts | None, proxied: ProxyHeader | None, source: Place) -> bytes:
    """Return the TLVs: what the client's own TLS has settled, here or at a proxy in front."""
    if tls is not None:
        return _tlvs(tls.server_name, tls.alpn, _told(tls))
    if proxied is not None and proxied.source is not None and proxied.source[0] == source[0]:
        return _tlvs(proxied.authority, proxied.alpn, proxied.tls)
    return b""


def _tlvs(authority: str, alpn: str, tls: ProxiedTls | None) -> bytes:
    tlvs = write_tlv(ALPN, alpn.encode()) + write_tlv(AUTHORITY, authority.encode())
    return tlvs if tls is None else tlvs + write_tlv(SSL, write_tls(tls))


def _told(tls: TlsFacts) -> ProxiedTls:
    has_certificate = bool(tls.client_fingerprint)
    name = common_name(tls.client_subject.decode("latin-1"))
    return ProxiedTls(tls.version, tls.cipher, name, has_certificate, has_certificate)


def common_name(subject: str) -> str:
    """Return the most specific CN of a subject as RFC 4514 writes it; empty if there is none."""
    # From the first on, so that nothing within the value of one is taken for another.
    value = next((value for name, value in _ATTRIBUTE.findall(subject) if name == "CN"), "")
    raw = _ESCAPED.sub(lambda each: bytes.fromhex(each[1].decode()) if each[1] else each[2], value.encode())
    return raw.decode("utf-8", "backslashreplace")
