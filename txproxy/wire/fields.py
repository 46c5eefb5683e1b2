"""Field sections (RFC 9110 section 5, RFC 9112 section 5): split into fields, and each line checked."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import filterfalse

from txproxy.errors import ProxyError
from txproxy.wire.grammar import OWS
from txproxy.wire.memory import Memory

Field = tuple[bytes, bytes]
"""A field's name, as it was spelled, and its value without surrounding whitespace."""

_Line = tuple[bytes | None, Field | None]
"""What a line is: how it goes on, None if as it is; and its kind and value, None for a field that is plain."""

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
        b"close connection content-length content-type date expect host keep-alive max-forwards proxy-authenticate "
        b"proxy-authentication-info proxy-authorization proxy-connection referer strict-transport-security te trailer "
        b"transfer-encoding upgrade user-agent via"
    ).split()
).union(CLAIM_NAMES, METHOD_OVERRIDES)

_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]++):([ \t]*+)([\t\x20-\x7e\x80-\xff]*+)").fullmatch
"""
RFC 9112 section 5: name, whitespace, and the value with the whitespace behind it.

Nothing is tried twice: else a line of thousands of spaces and one bad byte would take seconds.
"""
_NOT_AT_ITS_END = frozenset((b" ", b"\t", b""))
"""What the last byte of a value cannot be that goes on as it is, an empty one being none."""
_MOST_SHOWN_BYTES = 30
_MOST_LINES = 2048
_MOST_LINE_BYTES = 512
"""Longer ones are not remembered."""
_MOST_SPELLINGS = 4096
_MOST_NAME_BYTES = 64
# A client that invents names cannot make this grow without bound, nor push out the usual spellings for long.
_kinds = Memory(
    _MOST_SPELLINGS,
    known={spelling: name for name in _KNOWN_NAMES for spelling in (name, name.title(), name.upper())},
)
_recall_kind = _kinds.recall


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
    """Splits field sections into fields. One serves a whole process.

    Most lines have come before: browsers and programs say the same of themselves with each request, but for a cookie
    and a referrer. A line that comes for the second time is remembered, and is not looked at anew after that. Each line
    means the same whatever stands before it; what several of them mean together is decided here and in ``framing``.
    """

    def __init__(self) -> None:
        self._plain: Memory[bytes, None] = Memory(_MOST_LINES)
        """Lines in the form in which they go on, of fields that the proxy does not act on."""
        self._others: Memory[bytes, _Line] = Memory(_MOST_LINES)
        self._is_plain = self._plain.knows
        self._recall = self._others.recall

    def tokenize(self, section: bytes, error: type[ProxyError]) -> tuple[list[bytes], dict[bytes, bytes]]:
        """Split one field section.

        :param section: all field lines, each with its CRLF, and the empty line's CRLF.
        :param error: what to raise, so that requests, replies and trailers fail each in their own way.
        :return: the field lines in order, in the form ``Name: value`` (see ``fields_of``); and the values of those that
            the proxy acts on, by lower-case name. Values of a repeated field are joined with a comma (RFC 9110 section
            5.2).
        :raises error: if a line is not valid (RFC 9112 section 5), or Host or Content-Length is repeated.
        """
        lines = section.split(b"\r\n")
        if lines.pop() or not lines or lines.pop():
            raise error("field section: no empty line at its end")
        special: list[Field] = []
        respelled: dict[bytes, bytes] | None = None
        recall = self._recall
        for line in filterfalse(self._is_plain, lines):
            text, field = recall(line) or self._understand(line, error)
            if text is not None:
                respelled = respelled or {}
                respelled[line] = text
            if field is not None:
                special.append(field)
        if respelled is not None:
            lines = [respelled.get(line, line) for line in lines]
        known = dict(special)
        if len(known) != len(special):
            known = join_repeated(special, error)
        return lines, known

    def _understand(self, line: bytes, error: type[ProxyError]) -> _Line:
        """Split a line that is not remembered."""
        parts = _LINE(line)
        if parts is None:
            raise error(f"field line {line[:_MOST_SHOWN_BYTES]!r}")
        name, space, value = parts.groups()
        text: bytes | None = None
        if space != b" " or value[-1:] in _NOT_AT_ITS_END:
            value = value.rstrip(OWS)
            text = b"%b: %b" % (name, value)
        kind = _recall_kind(name)
        if kind is None:
            kind = kind_of(name)
        found = text, (kind, value) if kind else None
        if len(line) <= _MOST_LINE_BYTES:
            if text is None and not kind:
                self._plain.learn(line, None)
            else:
                self._others.learn(line, found)
        return found


def fields_of(lines: Iterable[bytes]) -> list[Field]:
    """Return the fields of lines as ``FieldTokenizer`` returns them."""
    return [(name, value) for name, _, value in [line.partition(b": ") for line in lines]]


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

    None of them means anything to the proxy, a Content-Length as little as a name that nobody knows.

    :param section: field lines, each with its CRLF.
    :raises error: if a line is not valid.
    """
    trailers = []
    for line in section.split(b"\r\n")[:-1]:
        parts = _LINE(line)
        if parts is None:
            raise error(f"trailer field {line[:_MOST_SHOWN_BYTES]!r}")
        name, _, value = parts.groups()
        trailers.append((name, value.rstrip(OWS)))
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
