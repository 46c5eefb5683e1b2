"""Cache keys: what must be equal for two requests to share stored replies (RFC 9111 section 2), and what passes the
cache by.

A key begins with the normal form of the URL, so that all that is stored of a URL can be found by it, whatever else
the key holds: no byte of a URL is a space. A URL that is spelled in another way is in the key as it is spelled, too,
for so the backend gets it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache

from txproxy.policy.caching.vary import secondary_key
from txproxy.wire.cookies import cookies_of, mentions_of
from txproxy.wire.fields import CLAIM_NAMES, UNDERSCORE
from txproxy.wire.grammar import is_token
from txproxy.wire.messages import RequestHead

Addition = Callable[[RequestHead, bytes], bytes]
"""Takes a request and its client's address, and returns what is added to the key."""
Bypass = Callable[[RequestHead], bool]

_DEFAULT_PORTS = {b"http": 80, b"https": 443}
END_OF_URL = b" "
"""Stands in no URL, and in each key after that which it begins with."""


def url_of(request: RequestHead, scheme: bytes) -> bytes:
    """Return the normal form of a request's URL: scheme and host in lower case, no default port, the normal path.

    The query stays byte for byte, and so does a path that a backend may read in another way than we do: with
    repeated slashes, dot segments or broken escapes. What comes back for ``/a//b`` is never served for ``/a/b``.

    :param request: its target in origin-form.
    :param scheme: ``http`` or ``https``, as the backend is told.
    """
    return url_for(origin_of(request, scheme), request.target, request.path, request.suspicious)


def url_for(origin: bytes, target: bytes, normal_path: bytes, suspicious: bool) -> bytes:
    """Return the same from its pieces.

    :param origin: what ``origin_of`` returned.
    :param suspicious: as in a request's head.
    """
    path, mark, query = target.partition(b"?")
    if not suspicious and path.find(b"//") < 0:
        path = normal_path
    return origin + path + mark + query


def origin_of(request: RequestHead, scheme: bytes) -> bytes:
    """Return scheme, host and port of a request's URL (RFC 9110 section 4.3.1); see ``url_of``."""
    return _origin_of(request.host, request.hostname, request.port, scheme)


@lru_cache(maxsize=1024)
def _origin_of(written: bytes, host: bytes, port: int | None, scheme: bytes) -> bytes:
    # A backend that writes Host into its links makes others of a name that ends in a dot.
    dot = b"." if written[len(host) : len(host) + 1] == b"." else b""
    return write_origin(scheme, host + dot, port)


def write_origin(scheme: bytes, host: bytes, port: int | None) -> bytes:
    """Return an origin without a default port.

    :param scheme: in lower case, as is ``host``.
    """
    if port is None or port == _DEFAULT_PORTS.get(scheme):
        return scheme + b"://" + host
    return b"%b://%b:%d" % (scheme, host, port)


def primary_key(
    request: RequestHead,
    scheme: bytes,
    additions: tuple[Addition, ...] = (),
    client: bytes = b"",
    space: bytes = b"",
    claims: bytes = b"",
) -> bytes:
    """Return the key under which replies to GET are stored, variants not yet told apart.

    :param scheme: see ``url_of``.
    :param additions: what ``additions_of`` returned.
    :param client: address of the client.
    :param space: what keeps replies apart that may come from different clusters for one URL: the names of the route
        and of the cluster that it has chosen.
    :param claims: what ``claims.claims_of`` returned.
    """
    url = url_of(request, scheme)
    key = url + _space_of(space) + _spelling_of(request, scheme, url) + claims
    if not additions:
        return key
    values = [addition(request, client) for addition in additions]
    return key + b"".join([b"%d:%b" % (len(value), value) for value in values])


@lru_cache(maxsize=1024)
def _space_of(space: bytes) -> bytes:
    return b" %d:%b" % (len(space), space)


def _spelling_of(request: RequestHead, scheme: bytes, url: bytes) -> bytes:
    """Return host and path as a backend gets them, or nothing if the URL says the same.

    A backend may redirect an odd spelling to the usual one, or know nothing of it: who asks in the usual way must not
    get that.
    """
    host, target = request.host, request.target
    if url == scheme + b"://" + host + target:
        return b""
    # No host holds a slash, and all that may follow here begins with a digit.
    spelled = host + target.partition(b"?")[0]
    return b" %d:%b" % (len(spelled), spelled)


def url_in(key: bytes) -> bytes:
    """Return the URL of a key that ``primary_key`` made."""
    return key.partition(END_OF_URL)[0]


def additions_of(names: Iterable[str]) -> tuple[Addition, ...]:
    """Return what a route adds to its keys.

    :param names: ``client`` (its address), ``header:NAME`` or ``cookie:NAME``, as ``hash_key`` has them. The URL with
        its whole query, and the method, are in each key anyway.
    :raises ValueError: with the name that is none of these.
    """
    return tuple(map(_addition_of, names))


def _addition_of(text: str) -> Addition:
    if text == "client":
        return _client
    kind, name = _kind_and_name(text)
    if kind == "cookie":
        mentions = mentions_of(name)
        return lambda request, client: _cookie_part(request, name, mentions(request.fields))
    lower = name.lower()
    if lower in CLAIM_NAMES:
        # The backend sees what the proxy says in them, not what a client does.
        raise ValueError(f"{text!r} is a field that the proxy sets itself")
    return lambda request, client: _field_part(request, lower)


def _kind_and_name(text: str) -> tuple[str, bytes]:
    kind, _, rest = text.partition(":")
    name = rest.encode("utf-8")
    if kind not in ("header", "cookie") or not is_token(name):
        raise ValueError(f"{text!r} is neither header:NAME nor cookie:NAME")
    return kind, name


def _client(request: RequestHead, client: bytes) -> bytes:
    return client


def _field_part(request: RequestHead, lower: bytes) -> bytes:
    part = secondary_key((lower,), request)
    if UNDERSCORE not in request.known:
        return part
    # A CGI gateway makes one variable of both spellings.
    dashed = _dashed(lower)
    values = [value for name, value in request.fields if name.lower() != lower and _dashed(name) == dashed]
    return part + b"".join([b"%d:%b" % (len(value), value) for value in values])


def _dashed(name: bytes) -> bytes:
    return name.lower().replace(b"_", b"-")


def _cookie_part(request: RequestHead, name: bytes, mentions: int) -> bytes:
    # All of one name, for servers do not agree which one counts; and Connection may have named all cookies away.
    values = list(cookies_of(request.fields, name))
    if len(values) != mentions:  # Other servers find another one: whatever they make of the field is in the key.
        values = [value for field, value in request.fields if field.lower() == b"cookie"]
        values.append(b"")
    mark = b"!" if request.options and b"cookie" in request.options else b""
    return mark + b"".join([b"%d:%b" % (len(value), value) for value in values])


def bypass_of(names: Iterable[str]) -> Bypass | None:
    """Return what says whether a request passes the cache by: it is neither answered from it nor its reply stored.

    :param names: ``header:NAME`` or ``cookie:NAME``; one that is there, be it empty, is enough. So is a cookie that
        only some servers would find, for what they send is that one's own.
    :return: None without names.
    :raises ValueError: with the name that is none of these.
    """
    pairs = [_kind_and_name(text) for text in names]
    if not pairs:
        return None
    headers = frozenset(_dashed(name) for kind, name in pairs if kind == "header")
    cookies = tuple(mentions_of(name) for kind, name in pairs if kind == "cookie")

    def passes_by(request: RequestHead) -> bool:
        if headers and any(_dashed(name) in headers for name, _ in request.fields):
            return True
        return any(mentions(request.fields) for mentions in cookies)

    return passes_by
