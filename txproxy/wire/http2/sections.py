"""Field sections of HTTP/2 (RFC 9113 section 8.2): what may stand in one, in either direction.

What HTTP/1 would refuse is refused here too, so that no field means more once it stands in a line of text.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, repeat

from txproxy.errors import ProxyError
from txproxy.wire.fields import Field, join_repeated, kind_of
from txproxy.wire.grammar import FIELD_VALUE_BYTES, OWS, TOKEN_BYTES
from txproxy.wire.http2.compression import encode_field, encode_unique
from txproxy.wire.limits import MAX_TRAILER_BYTES, HeadLimits
from txproxy.wire.memory import Memory

CONNECTION_NAMES = frozenset((b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"))
"""Fields of one HTTP/1 connection: they have no place in HTTP/2 (RFC 9113 section 8.2.2)."""

REQUEST_ID = b"x-request-id"

_NAME_BYTES = bytes(code for code in TOKEN_BYTES if not 0x41 <= code <= 0x5A)
_MOST_NAMES = 4096
_MOST_NAME_BYTES = 64
_kinds: Memory[bytes, bytes] = Memory(_MOST_NAMES)
_recall = _kinds.recall


def read_section(fields: Sequence[Field], error: type[ProxyError]) -> dict[bytes, bytes]:
    """Check fields without pseudo-fields.

    :return: the values of those that the proxy acts on, by name, as ``FieldTokenizer.tokenize`` returns them.
    :raises error: if a name or a value is malformed, a field belongs to an HTTP/1 connection, or Host or
        Content-Length is repeated.
    """
    if not fields:
        return {}
    names, values = zip(*fields, strict=True)
    kinds = list(map(_recall, names))
    if None in kinds:
        kinds = [_kind_of_valid(name, error) for name in names]
    text = b"\n".join((b"", *values, b""))
    # All values are looked at together; the line ends between them are ours.
    if text.translate(None, FIELD_VALUE_BYTES) != b"\n" * (len(values) + 1):
        raise error("a field value holds a control")
    if tuple(map(bytes.strip, values, repeat(OWS))) != values:
        raise error("a field value begins or ends with whitespace")
    special = [(kind, value) for kind, value in zip(kinds, values, strict=True) if kind]
    known: dict[bytes, bytes] = dict(special)
    if len(known) != len(special):
        known = join_repeated(special, error)
    if not CONNECTION_NAMES.isdisjoint(known):
        raise error(f"fields of an HTTP/1 connection: {sorted(CONNECTION_NAMES.intersection(known))}")
    if known.get(b"te", b"trailers").lower() != b"trailers":
        raise error(f"TE {known[b'te'][:30]!r}")
    return known


def _kind_of_valid(name: bytes, error: type[ProxyError]) -> bytes:
    """Return a field's kind; see ``fields.kind_of``.

    :raises error: if the name is not a token in lower case; pseudo-fields in the wrong place are none either.
    """
    kind = _recall(name)
    if kind is None:
        if not name or name.translate(None, _NAME_BYTES):
            raise error(f"field name {name[:30]!r}")
        kind = kind_of(name)
        if len(name) <= _MOST_NAME_BYTES:
            _kinds.learn(name, kind)
    return kind


def read_trailers(fields: list[Field], error: type[ProxyError]) -> list[Field]:
    """Return a trailer section that is valid (RFC 9113 section 8.1): it has no pseudo-fields.

    :raises error: if it is malformed, or too large.
    """
    if size_of(fields) > MAX_TRAILER_BYTES:
        raise error(f"trailer section of over {MAX_TRAILER_BYTES} bytes")
    read_section(fields, error)
    return fields[:]


def check_size(fields: list[Field], limits: HeadLimits, error: type[ProxyError]) -> None:
    """Hold fields against the limits of a head, as if they were lines of HTTP/1; see ``heads.check_sizes``.

    :raises error: if they are too many, or one of them or all together too large.
    """
    if len(fields) > limits.fields:
        raise error(f"more than {limits.fields} fields")
    size = size_of(fields)
    if size > limits.section_bytes:
        raise error(f"field section of over {limits.section_bytes} bytes")
    if size > limits.field_bytes and max(len(name) + len(value) for name, value in fields) + 2 > limits.field_bytes:
        raise error(f"a field of over {limits.field_bytes} bytes")


def size_of(fields: list[Field]) -> int:
    """Return the bytes that fields would take as lines of HTTP/1."""
    return sum(map(len, chain.from_iterable(fields))) + 4 * len(fields)


def write_section(fields: list[Field]) -> bytes:
    """Return fields encoded, without what cannot stand in HTTP/2, whoever has set it: a rule, or a peer of HTTP/1."""
    pieces = []
    for name, value in fields:
        lower = name.lower()
        if lower not in CONNECTION_NAMES and (lower != b"te" or value.lower() == b"trailers"):
            # What is the only one of its kind is not worth remembering.
            pieces.append((encode_unique if lower == REQUEST_ID else encode_field)(name, value.strip(OWS)))
    return b"".join(pieces)
