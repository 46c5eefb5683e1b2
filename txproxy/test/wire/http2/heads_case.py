"""What tests of heads in HTTP/2 have in common: fields as a client or a backend sends them, and a foreign decoder."""

from __future__ import annotations

import hpack

from txproxy.wire.fields import Field
from txproxy.wire.forwarding import make_hop
from txproxy.wire.http2.requests import parse_request_fields
from txproxy.wire.limits import HeadLimits
from txproxy.wire.messages import RequestHead

LIMITS = HeadLimits()
HOP = make_hop(b"192.0.2.1", False, b"https", b"443", b"txproxy", version=b"2.0")
TRUSTED_HOP = make_hop(b"10.0.0.1", True, b"https", b"443", b"txproxy", version=b"2.0")

PSEUDO: dict[bytes, bytes] = {
    b":method": b"GET",
    b":scheme": b"https",
    b":authority": b"a.example",
    b":path": b"/x",
}


def fields_with(*fields: Field, **pseudo: bytes | None) -> list[Field]:
    """Return the fields of a request.

    :param pseudo: values of pseudo-fields by name without the colon; None leaves one out.
    """
    own = {b":" + name.encode(): value for name, value in pseudo.items()}
    assert own.keys() <= PSEUDO.keys(), own
    return [(name, value) for name, value in {**PSEUDO, **own}.items() if value is not None] + list(fields)


def request_with(*fields: Field, ended: bool = True, **pseudo: bytes | None) -> RequestHead:
    """Return the model of a request with these fields."""
    return parse_request_fields(fields_with(*fields, **pseudo), ended, LIMITS)


def decoded(block: bytes) -> list[Field]:
    """Return what a header block says, read by hpack, in plain tuples."""
    return [(bytes(name), bytes(value)) for name, value in hpack.Decoder().decode(block, raw=True)]
