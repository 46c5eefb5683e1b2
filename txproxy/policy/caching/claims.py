"""What a backend is told of a client beside the client's own fields, where that decides for whom a reply is.

A peer that is not trusted has no word in it: what the backend is told then follows from the URL and the connection.
"""

from __future__ import annotations

import re

from txproxy.wire.fields import IDENTITY_NAMES, Field
from txproxy.wire.forwarding import Hop
from txproxy.wire.grammar import OWS
from txproxy.wire.messages import RequestHead

_IDENTITY_NAMES = tuple(sorted(IDENTITY_NAMES))
_PLAIN_PAIR = re.compile(rb'[a-z]+=(?:[^\s;,"=]+|"[^\s;,"\\]*")', re.IGNORECASE)
_NODES = (b"for=", b"by=")
PLACE_NAMES = frozenset(
    (
        b"front-end-https",
        b"x-forwarded-prefix",
        b"x-forwarded-protocol",
        b"x-forwarded-scheme",
        b"x-forwarded-server",
        b"x-forwarded-ssl",
        b"x-url-scheme",
    )
)
"""Fields by which proxies tell a backend where it stands in their site; txproxy passes them on as they are."""
_NO_ONE = (b"", b"NONE")
"""What a proxy says of a client that has shown no certificate."""


def claims_of(request: RequestHead, hop: Hop) -> bytes:
    """Return what belongs to the key of a trusted peer's request: scheme, host, port and certificate of the client, and
    the place of the backend in the peer's site, as the backend is told of them. A backend makes links of them, or lets
    in whom they name.

    It is not empty, so that what others ask for is never found under such a key, whatever they claim.

    :param hop: that the request came by.
    :return: nothing if its peer is not trusted.
    """
    if not hop.trusted:
        return b""
    known = request.known
    claims = [
        known.get(b"x-forwarded-host", request.host),
        known.get(b"x-forwarded-proto", hop.scheme),
        known.get(b"x-forwarded-port", hop.port),
        _without_nodes(known.get(b"forwarded", b"")),
    ]
    for name, value in _identity(request, hop):
        claims += (name.lower(), value)
    for name, value in _place(request):
        claims += (name.lower(), value)
    return b"".join([b"%d:%b" % (len(claim), claim) for claim in claims])


def _without_nodes(forwarded: bytes) -> bytes:
    """Return Forwarded (RFC 7239) without the addresses in it, which are as many as clients, as X-Forwarded-For.

    What could be read in more than one way stays as it is.
    """
    elements = [[pair.strip(OWS) for pair in element.split(b";")] for element in forwarded.split(b",")]
    if not all(_PLAIN_PAIR.fullmatch(pair) for pairs in elements for pair in pairs):
        return forwarded
    kept = [[pair for pair in pairs if not pair.lower().startswith(_NODES)] for pairs in elements]
    return b",".join([b";".join(pairs) for pairs in kept])


def shows_certificate(request: RequestHead, hop: Hop) -> bool:
    """Return whether a backend is told of a client's certificate: those are credentials, as Authorization is."""
    return any(value not in _NO_ONE for _, value in _identity(request, hop))


def _identity(request: RequestHead, hop: Hop) -> tuple[Field, ...]:
    """Return the fields that tell a backend whose certificate the client has shown."""
    if hop.identity or not hop.trusted:
        return hop.identity
    known = request.known
    return tuple((name, known[name]) for name in _IDENTITY_NAMES if name in known)


def _place(request: RequestHead) -> list[Field]:
    """Return the fields that tell a backend its place, in their order: of several it may take any."""
    options = request.options or ()
    return [
        (name, value)
        for name, value in request.fields
        # A CGI gateway makes one variable of both spellings.
        if name.lower().replace(b"_", b"-") in PLACE_NAMES and name.lower() not in options
    ]
