"""Request targets (RFC 9112 section 3.2, RFC 3986): which form, and one normal form to route and to cache by.

The target itself goes upstream byte for byte; the normal form is only ever compared.
"""

from __future__ import annotations

import re

from txproxy.errors import BadRequest
from txproxy.wire.grammar import split_authority

# Bytes that mean nothing but themselves: a target of these alone is its own normal form.
_PLAIN = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789/-_~?=&+,;:@!$'()*"
_FORBIDDEN = re.compile(rb"[\x00-\x20\x7f]")
_ODD = re.compile(rb"#|%(?![0-9A-Fa-f]{2})|%00")
_HIGH = re.compile(rb"[\x80-\xff]")
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")
_SLASHES = re.compile(rb"//+")
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_ABSOLUTE = re.compile(rb"(https?)://([^/?]*)(.*)", re.IGNORECASE | re.DOTALL)


def check_target(target: bytes) -> bool:
    """Refuse what no target may hold: controls and spaces.

    :return: whether it holds what only some routes let pass: a fragment, a broken escape, or an encoded NUL.
    :raises BadRequest: with what was found (RFC 9112 section 3.2, RFC 3986 section 2.1).
    """
    found = _FORBIDDEN.search(target)
    if found is not None:
        raise BadRequest(f"target holds {found.group()!r} at {found.start()}")
    return _ODD.search(target) is not None


def escape_high_bytes(target: bytes) -> bytes:
    """Return a target with bytes above 0x7F as escapes: no grammar lets them stand as they are (RFC 3986 section 2)."""
    return target if target.isascii() else _HIGH.sub(lambda found: b"%%%02X" % found.group()[0], target)


def plain_path(target: bytes) -> bytes | None:
    """Return the path of an origin-form target that is its own normal form, or None if it needs a closer look."""
    rest = target.translate(None, _PLAIN)
    if rest and (target.find(b"/.") >= 0 or rest.strip(b".")):
        return None
    # Asked so since ``in``, with bytes on both sides, makes an exception and drops it before it looks for anything.
    return target.partition(b"?")[0] if target.replace(b"//", b"/") == target else None


def normal_path(target: bytes) -> tuple[bytes, bool]:
    """Return the normal form of an origin-form target's path, and whether it held dot segments.

    Escapes of unreserved bytes are decoded, other escapes in upper case, repeated slashes merged, dot segments
    removed (RFC 3986 section 6.2.2). For the last, ``%2e``, ``%2f``, ``%5c`` and ``\\`` count as what some server
    takes them for.

    :param target: origin-form, already checked.
    """
    path = _ESCAPE.sub(_decode_unreserved, target.partition(b"?")[0])
    lenient = path.replace(b"%2F", b"/").replace(b"%5C", b"/").replace(b"\\", b"/")
    dotted = any(segment in (b".", b"..") for segment in lenient.split(b"/"))
    if dotted:
        path = _remove_dot_segments(lenient)
    return _SLASHES.sub(b"/", path), dotted


def _decode_unreserved(escape: re.Match[bytes]) -> bytes:
    code = int(escape.group(1), 16)
    return bytes((code,)) if code in _UNRESERVED else escape.group().upper()


def _remove_dot_segments(path: bytes) -> bytes:
    kept: list[bytes] = []
    segments = path.split(b"/")
    for segment in segments[1:]:
        if segment == b"..":
            if kept:
                kept.pop()
        elif segment != b".":
            kept.append(segment)
    if segments[-1] in (b".", b".."):
        kept.append(b"")
    return b"/" + b"/".join(kept)


def split_absolute(target: bytes) -> tuple[bytes, bytes]:
    """Split an absolute-form target (RFC 9112 section 3.2.2).

    :return: its authority, and the origin-form that goes upstream.
    :raises BadRequest: for other schemes, an empty or invalid authority, or userinfo (RFC 9110 section 4.2.4).
    """
    found = _ABSOLUTE.fullmatch(target)
    if found is None:
        raise BadRequest("target is neither origin-form nor an http URI")
    authority, path = found.group(2), found.group(3)
    if split_authority(authority) is None:
        raise BadRequest("target has no valid authority")
    return authority, path if path.startswith(b"/") else b"/" + path
