"""Which requests ask for another protocol on their connection, and what a backend may answer (RFC 9110 section 7.8)."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Collection
from hashlib import sha1

from txproxy.wire.fields import value_of
from txproxy.wire.grammar import OWS
from txproxy.wire.messages import ReplyHead, RequestHead

_OPTION = b"upgrade"
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_WEBSOCKET = b"websocket"
KEY = b"sec-websocket-key"
ACCEPT = b"sec-websocket-accept"
_NEVER = frozenset((b"h2c", b"h2", b"http", b"tls"))
"""Other versions of HTTP, which are spoken hop by hop, and TLS, which would hide the rest from this one."""


def upgrade_of(request: RequestHead, allowed: Collection[bytes]) -> bytes:
    """Return the value of Upgrade for a backend: of the protocols that a request asks for those that are allowed.

    :param allowed: names in lower case, without versions.
    :return: nothing for an ordinary request: one that asks for none of them, has a body, comes by HTTP/1.0, or asks for
        WebSocket without a key (RFC 6455 section 4.2.1).
    """
    options = request.options
    if options is None or _OPTION not in options or not request.minor or request.has_body:
        return b""
    asked = [member.strip(OWS) for member in request.known.get(_OPTION, b"").split(b",")]
    never = _NEVER if value_of(request.fields, KEY) else _NEVER | {_WEBSOCKET}
    return b", ".join([each for each in asked if (name := _name_of(each)) in allowed and name not in never])


def accept_for(key: bytes) -> bytes:
    """Return the Sec-WebSocket-Accept that belongs to a Sec-WebSocket-Key (RFC 6455 section 4.2.2)."""
    return b64encode(sha1(key + _GUID, usedforsecurity=False).digest())


def is_switch(reply: ReplyHead, asked: bytes) -> bool:
    """Return whether a 101 changes to protocols that were asked for.

    :param asked: what ``upgrade_of`` returned.
    """
    if reply.options is None or _OPTION not in reply.options:
        return False
    names = {_name_of(member.strip(OWS)) for member in asked.split(b",")}
    chosen = [member.strip(OWS) for member in reply.known.get(_OPTION, b"").split(b",")]
    return all(_name_of(each) in names for each in chosen)


def _name_of(protocol: bytes) -> bytes:
    return protocol.partition(b"/")[0].lower()
