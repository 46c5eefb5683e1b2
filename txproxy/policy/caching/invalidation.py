"""Invalidation: what a change at the origin makes of stored replies (RFC 9111 section 4.4)."""

from __future__ import annotations

import re

from txproxy.errors import BadRequest
from txproxy.policy.caching.fields import values_of
from txproxy.policy.caching.key import origin_of, url_for, url_of, write_origin
from txproxy.policy.caching.overrides import methods_named
from txproxy.wire.grammar import split_authority
from txproxy.wire.messages import ReplyHead, RequestHead
from txproxy.wire.target import check_target, escape_high_bytes, normal_path

_SAFE_METHODS = frozenset((b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PRI", b"PROPFIND", b"QUERY", b"REPORT", b"SEARCH"))
"""Methods that IANA's registry has as safe: any other may have changed something, also one that nobody knows."""

_SAFE_OVERRIDES = frozenset((b"GET", b"HEAD", b"OPTIONS", b"TRACE"))
"""What a field may name in place of a method: a backend that knows such fields may take anything else for a change."""

_REFERENCE = re.compile(rb"(?:([A-Za-z][A-Za-z0-9+.-]*):)?(?://([^/?#]*))?([^?#]*)(\?[^#]*)?(?:#.*)?", re.DOTALL)
"""RFC 3986 appendix B."""
_MOST_VALUE_BYTES = 8192


def invalidated(request: RequestHead, reply: ReplyHead, scheme: bytes) -> tuple[bytes, ...]:
    """Return the URLs of which nothing stored may be used any more after an exchange.

    They are that of the request, and those in Location and Content-Location if they are of the same origin: a reply
    cannot throw out what belongs to another. What is stored under any key with these URLs is meant, whatever its
    variant.

    :param scheme: of the request; see ``url_of``.
    :return: as ``key.url_of`` writes them, each once; none after a safe method or an error.
    """
    if not _may_change(request) or not 200 <= reply.status < 400 or request.target[:1] != b"/":
        return ()
    urls = {url_of(request, scheme): None}
    for name in (b"location", b"content-location"):
        values = values_of(reply.fields, name)
        # Which of several is meant cannot be told.
        url = _resolved(values[0], request, scheme) if len(values) == 1 else None
        if url is not None:
            urls[url] = None
    return tuple(urls)


def _may_change(request: RequestHead) -> bool:
    """Return whether the method is not safe, or a backend may take another for it that is not."""
    if request.method not in _SAFE_METHODS:
        return True
    return any(method.upper() not in _SAFE_OVERRIDES for method in methods_named(request))


def _resolved(value: bytes, request: RequestHead, scheme: bytes) -> bytes | None:
    """Return the URL that a reference leads to (RFC 3986 section 5.2.2); None if not valid or of another origin."""
    found = _REFERENCE.fullmatch(value) if len(value) <= _MOST_VALUE_BYTES else None
    if found is None:
        return None
    other_scheme, authority, path, query = found.groups()
    if other_scheme is not None and (authority is None or other_scheme.lower() != scheme):
        return None
    if authority is None:
        path, query = _merged(path, query, request.target)
    else:
        parts = split_authority(authority)
        if parts is None or write_origin(scheme, *parts) != write_origin(scheme, request.hostname, request.port):
            return None
    return _url(origin_of(request, scheme), (path or b"/") + (query or b""))


def _merged(path: bytes, query: bytes | None, base: bytes) -> tuple[bytes, bytes | None]:
    base_path, mark, base_query = base.partition(b"?")
    if not path:
        return base_path, mark + base_query if query is None else query
    if path.startswith(b"/"):
        return path, query
    return base_path[: base_path.rfind(b"/") + 1] + path, query


def _url(origin: bytes, target: bytes) -> bytes | None:
    try:
        suspicious = check_target(target)
    except BadRequest:
        return None
    target = escape_high_bytes(target)
    path, dotted = normal_path(target)
    if dotted:
        # A client takes them out before it asks.
        _, mark, query = target.partition(b"?")
        target = path + mark + query
    return url_for(origin, target, path, suspicious)
