"""Fields by which some backends take something else for what is asked: another method, URL or host."""

from __future__ import annotations

from txproxy.policy.caching.claims import PLACE_NAMES
from txproxy.wire.fields import METHOD_OVERRIDES, UNDERSCORE
from txproxy.wire.messages import RequestHead

_URL_NAMES = PLACE_NAMES | frozenset(
    (
        b"x-forwarded-uri",
        b"x-host",
        b"x-http-host-override",
        b"x-original-host",
        b"x-original-uri",
        b"x-original-url",
        b"x-rewrite-url",
        b"x-script-name",
    )
)
OVERRIDES = METHOD_OVERRIDES | _URL_NAMES
"""Names in lower case."""
_MARKS = METHOD_OVERRIDES | {UNDERSCORE}


def disguised_overrides(request: RequestHead) -> frozenset[bytes]:
    """Return the overrides that a CGI gateway makes of names with underscores."""
    if UNDERSCORE not in request.known:
        return frozenset()
    return OVERRIDES.intersection([name.lower().replace(b"_", b"-") for name, _ in request.fields])


def overridden(told: frozenset[bytes], trusted: bool) -> bytes:
    """Return why a request passes the cache by, in a word: what comes for it may answer something else.

    :param told: names of its fields; only ``OVERRIDES`` count.
    :param trusted: it comes from a trusted peer, some of whose fields are in the key.
    :return: nothing if it does not.
    """
    if not METHOD_OVERRIDES.isdisjoint(told):
        return b"method-override"
    names = _URL_NAMES - PLACE_NAMES if trusted else _URL_NAMES
    return b"" if names.isdisjoint(told) else b"url-override"


def methods_named(request: RequestHead) -> list[bytes]:
    """Return the methods that some backends take for that of a request, as they are written."""
    if _MARKS.isdisjoint(request.known):
        return []
    return [value for name, value in request.fields if name.lower().replace(b"_", b"-") in METHOD_OVERRIDES]
