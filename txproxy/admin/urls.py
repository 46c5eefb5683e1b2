"""URLs as operators write them, in the normal form that the cache has for them."""

from __future__ import annotations

from txproxy.errors import BadRequest
from txproxy.policy.caching.key import url_for, write_origin
from txproxy.wire.grammar import split_authority
from txproxy.wire.target import check_target, escape_high_bytes, normal_path, plain_path, split_absolute


def normal_url(text: str) -> bytes:
    """Return the normal form of a URL; see ``policy.caching.key``.

    :raises ValueError: it is not one of http or https.
    """
    origin, target, is_odd = _split(text)
    path, dotted = plain_path(target), False
    if path is None:
        path, dotted = normal_path(target)
    return url_for(origin, target, path, is_odd or dotted)


def normal_prefix(text: str) -> bytes:
    """Return what the normal forms of URLs begin with; without a path, all that is on a host.

    The path is taken byte for byte: it may end within a segment, or in the query.

    :raises ValueError: it is not the beginning of a URL of http or https, with its whole host.
    """
    origin, target, _ = _split(text)
    return origin + target


def _split(text: str) -> tuple[bytes, bytes, bool]:
    """Return origin, target and whether the target holds what only some routes let pass."""
    target = escape_high_bytes(text.partition("#")[0].encode())
    try:
        is_odd = check_target(target)
        authority, target = split_absolute(target)
    except BadRequest:
        raise ValueError(f"{text[:200]!r} is not a URL (allowed: http://HOST/..., https://HOST/...)") from None
    found = split_authority(authority)
    assert found is not None  # split_absolute has looked.
    host, port = found
    dot = b"." if authority[len(host) : len(host) + 1] == b"." else b""
    scheme = text.partition(":")[0].lower().encode()
    return write_origin(scheme, host + dot, port), target, is_odd
