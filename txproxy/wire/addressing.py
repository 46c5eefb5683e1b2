"""Where a request is addressed: its target and its authority, the same for every version of HTTP."""

from __future__ import annotations

from txproxy.errors import BadRequest
from txproxy.wire.grammar import split_authority
from txproxy.wire.messages import RequestHead
from txproxy.wire.target import check_target, escape_high_bytes, normal_path, plain_path, split_absolute

_SLASH = 0x2F


def set_target(request: RequestHead) -> None:
    """Understand a request's target (RFC 9112 section 3.2); origin-form, ``*`` or an authority for CONNECT remains.

    :raises BadRequest: if it is not valid, or not one for the request's method.
    """
    target, method = request.target, request.method
    if target[0] == _SLASH and method != b"CONNECT":
        path = plain_path(target)
        if path is not None:
            request.path = path
            return
    odd = check_target(target)
    target = request.target = escape_high_bytes(target)
    if method == b"CONNECT":
        authority = split_authority(target)
        if authority is None or authority[1] is None:  # RFC 9112 section 3.2.3: the port cannot be left out.
            raise BadRequest("target of CONNECT is not an authority")
        request.path = b""
    elif target[0] == _SLASH:
        request.path, request.suspicious = normal_path(target)
    elif target == b"*":
        if method != b"OPTIONS":
            raise BadRequest("target * is for OPTIONS only")
    else:
        request.host, origin = split_absolute(target)
        # RFC 9112 section 3.2.4: OPTIONS on an authority alone asks about the whole server.
        bare = method == b"OPTIONS" and target.count(b"/") == 2 and b"?" not in target
        request.target = b"*" if bare else origin
        request.path, request.suspicious = (b"*", False) if bare else normal_path(origin)
    request.suspicious = request.suspicious or odd


def set_authority(request: RequestHead) -> None:
    """Understand whom a request is for: the authority of its target, else its Host (RFC 9112 section 3.2).

    :raises BadRequest: if Host is not valid, or is missing in a version that requires it.
    """
    host = request.known.get(b"host")
    if host is None:
        if request.minor >= 1:
            raise BadRequest("no Host")
        host = b""
    parts = split_authority(host)
    if parts is None and (host or request.minor >= 1):
        raise BadRequest("Host is not valid")
    if request.host:
        parts = split_authority(request.host)
    else:
        request.host = host
    if parts is not None:
        request.hostname, request.port = parts
