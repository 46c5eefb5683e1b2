"""Which requests ask for another protocol on their connection, and what a backend may answer (RFC 9110 section 7.8)."""

from __future__ import annotations

from collections.abc import Collection

from txproxy.wire.grammar import OWS
from txproxy.wire.messages import ReplyHead, RequestHead

_OPTION = b"upgrade"
_NEVER = frozenset((b"h2c", b"h2", b"http", b"tls"))
"""Other versions of HTTP, which are spoken hop by hop, and TLS, which would hide the rest from this one."""


def upgrade_of(request: RequestHead, allowed: Collection[bytes]) -> bytes:
    """Return the value of Upgrade for a backend: of the protocols that a request asks for those that are allowed.

    :param allowed: names in lower case, without versions.
    :return: nothing for an ordinary request: one that asks for none of them, has a body, or comes by HTTP/1.0.
    """
    options = request.options
    if options is None or _OPTION not in options or not request.minor or request.has_body:
        return b""
    asked = [member.strip(OWS) for member in request.known.get(_OPTION, b"").split(b",")]
    return b", ".join([each for each in asked if (name := _name_of(each)) in allowed and name not in _NEVER])


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
