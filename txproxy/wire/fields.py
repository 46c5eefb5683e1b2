"""Field sections (RFC 9110 section 5, RFC 9112 section 5): tokenised by llhttp, checked by our own rules.

llhttp is fed exactly one field section at a time, behind the status line of a reply that can have no body. So it
checks the syntax of every line, and none of its own opinions on message length, upgrades or keep-alive come into
play: those are decided in ``framing``.
"""

from __future__ import annotations

from collections.abc import Mapping

import httptools

from txproxy.errors import ProxyError
from txproxy.wire.grammar import OWS, is_field_value, is_token
from txproxy.wire.memory import Memory

Field = tuple[bytes, bytes]
"""A field's name, as it was spelled, and its value without surrounding whitespace."""

_STATEFUL = frozenset(
    (b"connection", b"content-length", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade")
)
"""Fields that llhttp itself acts on: what it has made of them must not reach into the next section."""

_NO_BODY_STATUS_LINE = b"HTTP/1.1 204 N\r\n"

UNDERSCORE = b"_"
"""Kind of a field whose name holds an underscore, which a CGI gateway cannot tell from a hyphen, or is disguised."""

IDENTITY_NAMES = frozenset((b"x-client-cert-fingerprint", b"x-client-cert-subject", b"x-client-cert-verify"))
"""Fields that tell a backend whose certificate the client has shown."""
CLAIM_NAMES = IDENTITY_NAMES | frozenset(
    (b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-port", b"x-forwarded-proto", b"x-request-id")
)
"""Fields by which a proxy tells a backend about its client: what the client itself says in them is not believed."""
METHOD_OVERRIDES = frozenset((b"x-http-method", b"x-http-method-override", b"x-method-override"))
"""Fields by which some backends take another method for that of the request."""
# Gateways make variables of names: those of WSGI and nginx turn hyphens into underscores, that of lighttpd whatever is
# not a letter or a digit.
_AS_GATEWAYS = bytes(code if bytes((code,)).isalnum() else 0x2D for code in range(256))

_KNOWN_NAMES = frozenset(
    (
        b"connection content-length content-type date expect host keep-alive max-forwards proxy-authenticate "
        b"proxy-authentication-info proxy-authorization proxy-connection referer strict-transport-security te trailer "
        b"transfer-encoding upgrade user-agent via"
    ).split()
).union(CLAIM_NAMES, METHOD_OVERRIDES)

_MOST_SPELLINGS = 4096
_MOST_NAME_BYTES = 64
# A client that invents names cannot make this grow without bound, nor push out the usual spellings for long.
_kinds = Memory(
    _MOST_SPELLINGS,
    known={spelling: name for name in _KNOWN_NAMES for spelling in (name, name.title(), name.upper())},
)
_recall = _kinds.recall


def kind_of(name: bytes) -> bytes:
    """Return a field's kind.

    :param name: the name as it was spelled; must be a token.
    :return: its lower-case name if the proxy acts on it, ``UNDERSCORE``, or ``b""`` if it is plain.
    """
    lower = name.lower()
    kind = lower if lower in _KNOWN_NAMES else UNDERSCORE if UNDERSCORE in name or is_disguised(name) else b""
    if len(name) <= _MOST_NAME_BYTES:
        _kinds.learn(name, kind)
    return kind


def is_disguised(name: bytes) -> bool:
    """Return whether a CGI gateway may take a name for that of a claim, which it is not."""
    lower = name.lower()
    return lower not in CLAIM_NAMES and lower.translate(_AS_GATEWAYS) in CLAIM_NAMES


class FieldTokenizer:
    """Splits field sections into fields. One serves a whole process, for a section is always given whole."""

    def __init__(self) -> None:
        self._fields: list[Field] = []
        self._special: list[Field] = []
        self._renew()

    def _renew(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._feed = self._parser.feed_data

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a field line from llhttp."""
        self._fields.append((name, value))
        kind = _recall(name)
        if kind is None:
            kind = kind_of(name)
        if kind:
            self._special.append((kind, value))

    def tokenize(self, section: bytes, error: type[ProxyError]) -> tuple[list[Field], dict[bytes, bytes]]:
        """Split one field section.

        :param section: all field lines, each with its CRLF, and the empty line's CRLF.
        :param error: what to raise, so that requests, replies and trailers fail each in their own way.
        :return: the fields in order; and the values of those that the proxy acts on, by lower-case name. Values of
            a repeated field are joined with a comma (RFC 9110 section 5.2).
        :raises error: if a line is not valid (RFC 9112 section 5), or Host or Content-Length is repeated.
        """
        fields: list[Field] = []
        special: list[Field] = []
        self._fields, self._special = fields, special
        try:
            self._feed(_NO_BODY_STATUS_LINE + section)
        except httptools.HttpParserError as reason:
            self._renew()
            raise error(f"field section: {reason}") from None
        if len(fields) != section.count(b"\n") - 1:
            self._renew()
            raise error("field section: an empty line within, or a line that is not a field")
        if b" \r\n" in section or b"\t\r\n" in section:
            fields[:] = [(name, value.rstrip(OWS)) for name, value in fields]
            special[:] = [(kind, value.rstrip(OWS)) for kind, value in special]
        known = dict(special)
        if not _STATEFUL.isdisjoint(known):
            self._renew()
        if len(known) != len(special):
            known = join_repeated(special, error)
        return fields, known


def join_repeated(special: list[Field], error: type[ProxyError]) -> dict[bytes, bytes]:
    """Return values by kind, those of a repeated field joined with a comma (RFC 9110 section 5.2).

    :param special: kinds and values, in order.
    :raises error: if Host or Content-Length is repeated.
    """
    joined: dict[bytes, bytes] = {}
    for kind, value in special:
        if kind not in joined:
            joined[kind] = value
        elif kind in (b"host", b"content-length"):
            raise error(f"{kind.decode()} is repeated")
        else:
            joined[kind] += b", " + value
    return joined


def parse_trailers(section: bytes, error: type[ProxyError]) -> list[Field]:
    """Split a trailer section (RFC 9112 section 7.1.2).

    They are not given to llhttp, which takes a Content-Length for one, also where it can only be left out.

    :param section: field lines, each with its CRLF.
    :raises error: if a line is not valid.
    """
    trailers = []
    for line in section.split(b"\r\n")[:-1]:
        name, colon, value = line.partition(b":")
        if not colon or not is_token(name) or not is_field_value(value):
            raise error(f"trailer field {line[:30]!r}")
        trailers.append((name, value.strip(OWS)))
    return trailers


def write_fields(fields: list[Field]) -> bytes:
    """Return field lines joined by CRLF, without one at the end."""
    return b"\r\n".join(map(b": ".join, fields))


def value_of(fields: list[Field], name: bytes) -> bytes | None:
    """Return the value of a field, repeated ones joined with a comma (RFC 9110 section 5.3), or None.

    :param name: the name in lower case.
    """
    values = [value for spelled, value in fields if spelled.lower() == name]
    return b", ".join(values) if values else None


class FieldView(Mapping[str, str]):
    """Fields as a case-insensitive mapping of text, for users' functions; built only when one is asked for.

    Bytes above 0x7F are shown as Latin-1, which loses nothing.
    """

    def __init__(self, fields: list[Field]) -> None:
        self._values: dict[str, str] = {}
        for name, value in fields:
            key, text = name.decode("latin-1").lower(), value.decode("latin-1")
            self._values[key] = f"{self._values[key]}, {text}" if key in self._values else text

    def __getitem__(self, name: str) -> str:
        return self._values[name.lower()]

    def __iter__(self):  # type: ignore[no-untyped-def]
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)
