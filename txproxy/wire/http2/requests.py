"""Heads of requests in HTTP/2 (RFC 9113 section 8.3.1): fields to a model, and a model to a header block.

A model that is made here looks as if it had come by HTTP/1.1. So all that follows, up to a backend that speaks
HTTP/1.1, knows one kind of request only; and what HTTP/1 would refuse is refused here.
"""

from __future__ import annotations

from functools import lru_cache

from txproxy.errors import BadBody, BadRequest, HeadersTooLarge, MethodRefused, UriTooLong
from txproxy.wire import framing
from txproxy.wire.addressing import set_authority, set_target
from txproxy.wire.fields import Field, value_of
from txproxy.wire.forwarding import (
    PLAIN_RULES,
    Hop,
    RequestRules,
    kept_request_fields,
    request_fields,
    takes_trailers,
)
from txproxy.wire.grammar import is_token, split_authority
from txproxy.wire.http2.compression import encode_field, encode_fields, encode_unique
from txproxy.wire.http2.sections import REQUEST_ID, check_size, read_section, read_trailers, size_of, write_section
from txproxy.wire.limits import HeadLimits
from txproxy.wire.memory import Memory
from txproxy.wire.messages import RequestHead
from txproxy.wire.parsers import MOST_HEAD_BYTES, MOST_HEADS

_PSEUDO_NAMES = frozenset((b":authority", b":method", b":path", b":protocol", b":scheme"))
_PORTS = {b"http": 80, b"https": 443}
_LINE_OVERHEAD = len("  HTTP/2.0")
_SLASH = 0x2F

_Key = tuple[tuple[Field, ...], bool]


class Http2RequestParser:
    """Understands the request heads of one listener, and remembers them as ``parsers.RequestParser`` does.

    :param limits: what a head may hold, counted as if it had come by HTTP/1.1.
    """

    def __init__(self, limits: HeadLimits) -> None:
        self.limits = limits
        self._memory: Memory[_Key, RequestHead] = Memory(MOST_HEADS)
        self._recall = self._memory.recall

    def parse(self, fields: list[Field], ended: bool) -> RequestHead:
        """Understand one request head; see ``parse_request_fields`` for what is raised.

        :return: a model that others may hold too: it must not be changed.
        """
        key = (tuple(fields), ended)
        request = self._recall(key)
        if request is None:
            request = parse_request_fields(fields, ended, self.limits)
            if size_of(fields) <= MOST_HEAD_BYTES:
                self._memory.learn(key, request)
        return request


def parse_request_fields(fields: list[Field], ended: bool, limits: HeadLimits) -> RequestHead:
    """Understand one request head.

    :param ended: neither content nor trailers follow it.
    :raises BadRequest: for anything that is malformed (RFC 9113 sections 8.2 and 8.3) or that HTTP/1 would refuse.
    :raises UriTooLong: for a target over its limit.
    :raises HeadersTooLarge: for fields over their limits.
    :raises ExpectationFailed: for an expectation besides 100-continue.
    """
    pseudo = _leading_pseudo_fields(fields)
    method, target = _method_and_target(pseudo)
    if len(method) + len(target) + _LINE_OVERHEAD > limits.line_bytes:
        raise UriTooLong(f"request line of over {limits.line_bytes} bytes")
    regular = fields[len(pseudo) :]
    known = read_section(regular, BadRequest)
    authority = _authority(pseudo, known.get(b"host"))
    regular = _as_in_http1(regular, authority, b"host" in known)
    check_size(regular, limits, HeadersTooLarge)
    known[b"host"] = authority
    request = RequestHead(method, target, 1, regular, known)
    request.version = b"2.0"
    set_target(request)
    set_authority(request)
    protocol = pseudo.get(b":protocol", b"")
    if protocol:
        request.protocol = known[b"upgrade"] = protocol
        request.options = [b"upgrade"]
    if request.is_for_tunnel:
        if b"content-length" in known:
            raise BadRequest("CONNECT has no content")
    else:
        _set_framing(request, ended)
    if b"expect" in known:
        framing.set_expectation(request)
    return request


def _leading_pseudo_fields(fields: list[Field]) -> dict[bytes, bytes]:
    """Return the pseudo-fields before all others; late and unknown ones are left to be refused as what they are not."""
    pseudo: dict[bytes, bytes] = {}
    for name, value in fields:
        if name not in _PSEUDO_NAMES:
            break
        if name in pseudo:
            raise BadRequest(f"{name.decode()} is repeated")
        pseudo[name] = value
    return pseudo


def _method_and_target(pseudo: dict[bytes, bytes]) -> tuple[bytes, bytes]:
    method, path, scheme = pseudo.get(b":method", b""), pseudo.get(b":path"), pseudo.get(b":scheme")
    if not is_token(method):
        raise BadRequest("method is not a token")
    protocol = pseudo.get(b":protocol")
    if protocol is not None:  # RFC 8441 section 4
        if method != b"CONNECT" or not is_token(protocol) or not pseudo.get(b":authority"):
            raise BadRequest(":protocol is for CONNECT to an authority")
        method = b"GET"
    if method == b"CONNECT":  # RFC 9113 section 8.5
        if path is not None or scheme is not None or not pseudo.get(b":authority"):
            raise BadRequest("CONNECT is for an authority alone")
        return method, pseudo[b":authority"]
    if scheme not in _PORTS:
        raise BadRequest(f"scheme {scheme and scheme[:20]!r}")
    if not path or path[0] != _SLASH and path != b"*":
        raise BadRequest("path is neither origin-form nor *")
    return method, path


def _authority(pseudo: dict[bytes, bytes], host: bytes | None) -> bytes:
    """Return whom a request is for; two words on it must mean the same (RFC 9113 section 8.3.1)."""
    authority = pseudo.get(b":authority")
    if authority is None:
        if host is None:
            raise BadRequest("neither :authority nor Host")
        return host
    if host is not None and host != authority:
        port = _PORTS.get(pseudo.get(b":scheme", b""))
        if _normal(host, port) != _normal(authority, port):
            raise BadRequest("Host is not :authority")
    return authority


def _normal(authority: bytes, usual_port: int | None) -> tuple[bytes, int | None] | None:
    """Return what an authority means (RFC 3986 section 6.2); None for one that is not valid, and will be refused."""
    parts = split_authority(authority)
    return None if parts is None else (parts[0], usual_port if parts[1] is None else parts[1])


def _as_in_http1(fields: list[Field], authority: bytes, has_host: bool) -> list[Field]:
    """Return the fields as HTTP/1.1 would have them: Host, and all cookies in one field (RFC 9113 section 8.2.3)."""
    if has_host:
        fields = [field for field in fields if field[0] != b"host"]
    crumbs = [value for name, value in fields if name == b"cookie"]
    if len(crumbs) > 1:
        position = [name for name, _ in fields].index(b"cookie")
        fields = [field for field in fields if field[0] != b"cookie"]
        fields.insert(position, (b"cookie", b"; ".join(crumbs)))
    return [(b"Host", authority), *fields]


def _set_framing(request: RequestHead, ended: bool) -> None:
    """Decide the length of a request's body (RFC 9113 section 8.1.1)."""
    length = request.known.get(b"content-length")
    if length is None:
        request.chunked = not ended
        return
    request.content_length = framing.parse_content_length(length, BadRequest)
    if ended and request.content_length:
        raise BadRequest("Content-Length without content")


def parse_request_trailers(fields: list[Field]) -> list[Field]:
    """Return the trailers of a request.

    :raises BadBody: if they are malformed, or too large.
    """
    return read_trailers(fields, BadBody)


def write_request(
    request: RequestHead,
    target: bytes,
    host: bytes | None,
    hop: Hop,
    request_id: bytes,
    rules: RequestRules = PLAIN_RULES,
    scheme: bytes = b"http",
) -> bytes:
    """Return the header block that goes to a backend; it says what ``forwarding.write_request_head`` would say.

    :param target: what to ask for, in origin-form or ``*``.
    :param host: value of :authority, or None for the client's.
    :param rules: the route's own changes, applied after all of ours.
    :param scheme: by which the backend is spoken to.
    :raises MethodRefused: for CONNECT, extended or not: tunnels are for backends of HTTP/1.1.
    """
    if request.is_for_tunnel:
        raise MethodRefused("CONNECT to a backend by HTTP/2")
    # Most targets are seen once: they are not worth coding.
    line = encode_field(b":method", request.method) + encode_field(b":scheme", scheme) + encode_unique(b":path", target)
    if rules is PLAIN_RULES and host is None and not hop.trusted and request.minor:
        block = request.block
        if block is None:
            block = request.block = _plain_block(request, hop)
        return b"".join((line, block, _hop_block(hop), encode_unique(REQUEST_ID, request_id)))
    return line + _block(request_fields(request, host, hop, request_id, rules))


def _plain_block(request: RequestHead, hop: Hop) -> bytes:
    """Return all that is the same for every untrusted hop, from :authority on."""
    fields = kept_request_fields(request, None, hop, underscores=False)
    if request.host:
        fields.append((b"X-Forwarded-Host", request.host))
    if takes_trailers(request):
        fields.append((b"TE", b"trailers"))
    return _block(fields)


def _block(fields: list[Field]) -> bytes:
    """Return fields encoded, with Host as the pseudo-field that it is in HTTP/2."""
    host = value_of(fields, b"host")
    others = write_section([field for field in fields if field[0].lower() != b"host"])
    # RFC 9113 section 8.3.1: it may be left out, but not be empty.
    return encode_field(b":authority", host) + others if host else others


@lru_cache(maxsize=1024)
def _hop_block(hop: Hop) -> bytes:
    """Return the encoded form of ``Hop.tail``, up to its request id."""
    lines = hop.tail.split(b"\r\n")[1:-1]
    return encode_fields([(name, value) for name, _, value in [line.partition(b": ") for line in lines]])
