"""What a proxy changes in the fields of a message (RFC 9110 section 7.6): hop-by-hop ones out, our own in.

The functions here return complete heads, ready to be sent. They write from the model only: no byte of a peer's head
is passed on that was not a name, a value, a method or a target in it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple

from txproxy.wire.fields import CLAIM_NAMES, IDENTITY_NAMES, UNDERSCORE, Field, is_disguised, write_fields
from txproxy.wire.framing import KEEP_ALIVE
from txproxy.wire.grammar import is_token, split_list
from txproxy.wire.messages import ReplyHead, RequestHead
from txproxy.wire.proxy_protocol import ProxyHeader

_HOP_BY_HOP = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authentication-info",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"transfer-encoding",
        b"upgrade",
    )
)
_FORWARDED_FOR = b"x-forwarded-for"
_NEVER_NOMINATED = frozenset((b"content-length", b"host", b"via", b"date", *CLAIM_NAMES))
"""Fields that Connection cannot name away: those that frame or address a message, and those that we set."""
# A field that is named as an option of Connection goes no further: of these, Keep-Alive is among the first ones.
_REQUEST_ACTS = _HOP_BY_HOP | CLAIM_NAMES | {UNDERSCORE, b"max-forwards", b"expect", b"close"}
_USUAL_CONNECTION = b"Connection: keep-alive"
_USUAL_OPTIONS = (KEEP_ALIVE, [b"close"])
_CONNECTION_BYTES = len(b"connection:")
_HARMLESS_ACTS = frozenset((b"connection",))
_REPLY_ACTS = _HOP_BY_HOP | {b"x-request-id"}
_FORBIDDEN_TRAILERS = (
    _HOP_BY_HOP
    | _NEVER_NOMINATED
    | frozenset(
        # RFC 9110 section 6.5.1: framing, routing, request modifiers, authentication, and what says how to read a body.
        b"authorization cache-control content-encoding content-range content-type cookie expect expires max-forwards "
        b"pragma range set-cookie trailer vary www-authenticate".split()
    )
)
_MAX_REQUEST_ID_BYTES = 128
_MORE_IN_REQUEST_IDS = b":/=@+()[]{}"
"""What ids of other makers hold beside tokens; nothing that would have to be escaped in a log."""

LAST_VIA_ENTRIES = 9
"""A request that carries our name so often has gone in a circle: adding the tenth is refused."""


@dataclass(frozen=True, slots=True)
class Hop:
    """What one client connection adds to each of its requests; made once per connection.

    All values are as they are written on the wire.
    """

    peer: bytes
    """Address of the peer, an IPv6 one without brackets; ``unix`` for a unix socket."""
    trusted: bool
    """The peer is one of our own proxies: what it says of its client is believed."""
    scheme: bytes
    port: bytes
    """Of the listener."""
    via_name: bytes
    tail: bytes
    """The added fields that are the same for each request of an untrusted peer, ready to be sent; those of HTTP/1.0
    are not among them."""
    identity: tuple[Field, ...] = ()
    """Who the peer has proved to be; nothing if it is not asked."""
    told: tuple[object, ...] = ()
    """All of it that is told to backends but for who the peer is: where it is equal, equal requests say the same."""
    proxied: ProxyHeader | None = None
    """What a proxy in front has said of the peer, by the PROXY protocol; None if it has said nothing."""


def make_hop(
    peer: bytes,
    trusted: bool,
    scheme: bytes,
    port: bytes,
    via_name: bytes,
    identity: tuple[Field, ...] = (),
    version: bytes = b"1.1",
) -> Hop:
    """Return a Hop with its ready-made field lines.

    :param identity: fields that say whose certificate the peer has shown, or that it has shown none; no fields if it
        is not asked for one.
    :param version: of HTTP that the connection speaks; HTTP/1.0 is told by each request.
    """
    tail = b"\r\nX-Forwarded-For: %b\r\nX-Forwarded-Proto: %b\r\nX-Forwarded-Port: %b%b\r\nVia: %b %b\r\nX-Request-Id: "
    proved = b"".join([b"\r\n%b: %b" % field for field in identity])
    tail %= (peer, scheme, port, proved, version, via_name)
    return Hop(peer, trusted, scheme, port, via_name, tail, identity, (scheme, trusted, port, identity))


class RequestRules(NamedTuple):
    """What a route changes in the head of a request."""

    forwarded: bool = False
    """Add Forwarded (RFC 7239) too."""
    allow_underscores: bool = False
    """Keep fields with underscores in their names, but for those that a CGI gateway takes for ours."""
    remove: frozenset[bytes] = frozenset()
    """Names in lower case."""
    set: tuple[Field, ...] = ()
    add: tuple[Field, ...] = ()

    @property
    def changes_fields(self) -> bool:
        """Whether any field is set, added or removed."""
        return bool(self.remove or self.set or self.add)


PLAIN_RULES = RequestRules()


def write_request_head(
    request: RequestHead,
    target: bytes,
    host: bytes | None,
    hop: Hop,
    request_id: bytes,
    rules: RequestRules = PLAIN_RULES,
) -> bytes:
    """Return the head that goes to a backend.

    :param target: what to ask for, in origin-form, ``*``, or the authority of CONNECT.
    :param host: value of Host, or None to keep the client's field where it stands.
    :param rules: the route's own changes, applied after all of ours.
    """
    if rules is PLAIN_RULES and host is None and not hop.trusted:
        lines = request.lines
        if lines is None:
            lines = request.lines = _plain_lines(request)
        if lines:
            return b"".join((request.method, b" ", target, b" HTTP/1.1\r\n", lines, hop.tail, request_id, b"\r\n\r\n"))
    fields = request_fields(request, host, hop, request_id, rules)
    return b"%b %b HTTP/1.1\r\n%b\r\n\r\n" % (request.method, target, write_fields(fields))


def request_fields(
    request: RequestHead, host: bytes | None, hop: Hop, request_id: bytes, rules: RequestRules
) -> list[Field]:
    """Return the fields that go to a backend by HTTP/1.1; see ``write_request_head`` for the parameters."""
    fields = kept_request_fields(request, host, hop, rules.allow_underscores)
    fields += _added_request_fields(request, hop, request_id, rules.forwarded)
    return apply_rules(fields, rules.remove, rules.set, rules.add) if rules.changes_fields else fields


def _plain_lines(request: RequestHead) -> bytes:
    """Return the field lines that need nothing but the end of a hop after them, or nothing if there is more to do."""
    known, lines = request.known, request.field_lines
    if not request.minor or request.chunked or request.host != known.get(b"host"):
        return b""
    if lines is None:
        lines = [b": ".join(field) for field in request.fields]
    acts = _REQUEST_ACTS.intersection(known)
    if acts:
        # Connection: keep-alive alone, as browsers send it, or close.
        if acts != _HARMLESS_ACTS or request.options not in _USUAL_OPTIONS or b"," in known[b"connection"]:
            return b""
        lines = _without_connection(lines)
    length = known.get(b"content-length", b"")
    if length[:1] == b"0" and length != b"0":
        return b""
    return b"\r\n".join(lines) + b"\r\nX-Forwarded-Host: " + request.host


def _without_connection(lines: list[bytes]) -> list[bytes]:
    """Return field lines without Connection, of which there is one."""
    kept = lines.copy()
    try:
        kept.remove(_USUAL_CONNECTION)  # As browsers have it.
    except ValueError:
        return [line for line in lines if line[:_CONNECTION_BYTES].lower() != b"connection:"]
    return kept


def kept_request_fields(request: RequestHead, host: bytes | None, hop: Hop, underscores: bool) -> list[Field]:
    """Return what goes on of a client's own fields, Host among them.

    :param host: value of Host, or None to keep the client's.
    :param hop: only what it says of the client's trust matters: all untrusted ones give the same.
    :param underscores: keep names with underscores.
    """
    known = request.known
    dropped: set[bytes] = set(_HOP_BY_HOP.intersection(known))
    dropped.update(CLAIM_NAMES)
    if hop.trusted:
        dropped.discard(b"forwarded")
        if not hop.identity:
            dropped -= IDENTITY_NAMES  # A proxy of ours in front has asked its client.
    if request.minor == 0:
        dropped.add(b"expect")
    if request.options:
        dropped.update(option for option in request.options if option not in _NEVER_NOMINATED)
    kept = [field for field in request.fields if field[0].lower() not in dropped]
    if UNDERSCORE in known:
        # No route lets a claim of the client pass in disguise: behind a gateway it would be one of ours.
        kept = [field for field in kept if (underscores or UNDERSCORE not in field[0]) and not is_disguised(field[0])]
    if request.content_length is not None:
        kept = _replaced(kept, b"content-length", b"%d" % request.content_length)
    if host is None and request.host != known.get(b"host", b""):
        host = request.host  # RFC 9112 section 3.2.2: the authority of an absolute-form target replaces Host.
    if b"host" not in known:
        kept.insert(0, (b"Host", host or b""))  # HTTP/1.0 needs none, but HTTP/1.1 upstream does.
    elif host is not None:
        kept = _replaced(kept, b"host", host)
    if b"max-forwards" in known and request.method in (b"TRACE", b"OPTIONS") and known[b"max-forwards"].isdigit():
        kept = _replaced(kept, b"max-forwards", b"%d" % max(0, int(known[b"max-forwards"][:9]) - 1))
    return kept


def _replaced(fields: list[Field], lower: bytes, value: bytes) -> list[Field]:
    return [(name, value) if name.lower() == lower else (name, old) for name, old in fields]


def _added_request_fields(request: RequestHead, hop: Hop, request_id: bytes, forwarded: bool) -> list[Field]:
    known = request.known if hop.trusted else {}
    chain = known.get(_FORWARDED_FOR)
    host = known.get(b"x-forwarded-host", request.host)
    added = [
        (b"X-Forwarded-For", chain + b", " + hop.peer if chain else hop.peer),
        (b"X-Forwarded-Proto", known.get(b"x-forwarded-proto", hop.scheme)),
        (b"X-Forwarded-Port", known.get(b"x-forwarded-port", hop.port)),
        *hop.identity,
        (b"Via", b"%b %b" % (request.version, hop.via_name)),
        (b"X-Request-Id", request_id),
    ]
    if host:
        added.insert(0, (b"X-Forwarded-Host", host))
    if forwarded:
        added.append((b"Forwarded", _forwarded_element(request.host, hop)))
    if request.chunked:
        added.append((b"Transfer-Encoding", b"chunked"))
    options = []
    if takes_trailers(request):
        added.append((b"TE", b"trailers"))
        options.append(b"TE")
    if request.upgrade:
        added.append((b"Upgrade", request.upgrade))
        options.append(b"Upgrade")
    if options:
        added.append((b"Connection", b", ".join(options)))
    return added


def takes_trailers(request: RequestHead) -> bool:
    """Return whether a client says that it keeps the trailers of replies (RFC 9110 section 10.1.4)."""
    return b"te" in request.known and b"trailers" in split_list(request.known[b"te"])


def _forwarded_element(host: bytes, hop: Hop) -> bytes:
    # RFC 7239 sections 4 and 6: an IPv6 address stands in brackets and quotes, what is not an address is obfuscated.
    peer = b'"[%b]"' % hop.peer if b":" in hop.peer else b"_unix" if hop.peer == b"unix" else hop.peer
    element = b"for=" + peer
    if host:
        element += b';host="%b"' % host
    return element + b";proto=" + hop.scheme


def apply_rules(
    fields: list[Field], remove: Collection[bytes], set_fields: tuple[Field, ...], add: tuple[Field, ...]
) -> list[Field]:
    """Return fields after a route's own changes: removed first, then set, then added.

    :param set_fields: each replaces all fields of its name.
    """
    gone = {name.lower() for name, _ in set_fields} | set(remove)
    return [field for field in fields if field[0].lower() not in gone] + list(set_fields) + list(add)


def request_id_of(request: RequestHead) -> bytes | None:
    """Return the request id that a trusted peer sent, or None if it sent none that can be passed on."""
    value = request.known.get(b"x-request-id")
    if not value or len(value) > _MAX_REQUEST_ID_BYTES or not is_token(value.translate(None, _MORE_IN_REQUEST_IDS)):
        return None
    return value


def via_count(request: RequestHead, via_name: bytes) -> int:
    """Return how often a request has passed a proxy of our name (RFC 9110 section 7.6.3)."""
    via = request.known.get(b"via")
    if via is None or via_name.lower() not in via.lower():
        return 0
    return sum(entry.split()[1:2] == [via_name.lower()] for entry in split_list(via))


class ReplyRules(NamedTuple):
    """What a route changes in the head of a reply."""

    remove: frozenset[bytes] = frozenset()
    set: tuple[Field, ...] = ()
    add: tuple[Field, ...] = ()


NO_REPLY_RULES = ReplyRules()


def write_reply_head(
    reply: ReplyHead,
    added: bytes,
    rules: ReplyRules = NO_REPLY_RULES,
) -> bytes:
    """Return the head that goes to a client.

    :param added: ready-made lines of the fields that we set, from CRLF to the empty line.
    :param rules: the route's own changes, applied after ours.
    """
    if rules is not NO_REPLY_RULES:
        ours = [tuple(line.split(b": ", 1)) for line in added.split(b"\r\n") if line]
        fields = apply_rules(_http1_reply_fields(reply) + ours, rules.remove, rules.set, rules.add)  # type: ignore[operator]
        return b"%b%b\r\n" % (_status_line(reply), write_fields(fields) + b"\r\n" if fields else b"")
    lines = reply.lines
    if lines is None:
        fields = _http1_reply_fields(reply)
        # `added` begins with the CRLF that ends a field line.
        lines = reply.lines = _status_line(reply) + write_fields(fields) if fields else _status_line(reply)[:-2]
    return lines + added


def without(reply: ReplyHead, name: bytes) -> ReplyHead:
    """Return a reply without the fields of a name.

    :param name: in lower case.
    """
    other = reply.copy()
    other.fields = [field for field in other.fields if field[0].lower() != name]
    other.known.pop(name, None)
    return other


def _status_line(reply: ReplyHead) -> bytes:
    return b"HTTP/1.1 %d %b\r\n" % (reply.status, reply.reason)


def _http1_reply_fields(reply: ReplyHead) -> list[Field]:
    fields = kept_reply_fields(reply)
    return [*fields, (b"Content-Length", b"0")] if reply.lacks_length else fields


def kept_reply_fields(reply: ReplyHead) -> list[Field]:
    """Return what goes on of a backend's own fields."""
    known, fields = reply.known, reply.fields
    dropped: set[bytes] = set(_REPLY_ACTS.intersection(known))
    if reply.options:
        dropped.update(option for option in reply.options if option not in _NEVER_NOMINATED)
    if reply.status < 200 or reply.status == 204:
        dropped.add(b"content-length")  # RFC 9110 section 8.6
    if dropped:
        fields = [field for field in fields if field[0].lower() not in dropped]
    length = known.get(b"content-length", b"")
    if length[:1] == b"0" and length != b"0":
        fields = _replaced(fields, b"content-length", b"%d" % int(length))
    return fields


def forwarded_trailers(trailers: list[Field]) -> list[Field]:
    """Return the trailer fields that may go on (RFC 9110 section 6.5.1)."""
    return [
        field
        for field in trailers
        if UNDERSCORE not in field[0] and field[0].lower() not in _FORBIDDEN_TRAILERS and not is_disguised(field[0])
    ]


def write_last_chunk(trailers: list[Field]) -> bytes:
    """Return the last chunk with a trailer section, the fields that may not stand there left out."""
    kept = forwarded_trailers(trailers)
    return b"0\r\n%b\r\n\r\n" % write_fields(kept) if kept else b"0\r\n\r\n"
