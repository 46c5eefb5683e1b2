"""Malformed requests of HTTP/2 that must never reach a backend of HTTP/1.1 whole (RFC 9113 sections 8.1.1 to 8.3)."""

from __future__ import annotations

from typing import NamedTuple

from .http2_bytes import block_of, data, headers, literal
from .http2_frames import FrameClient, Part, head, request_fields

STREAM = 1
_ALL = (b":method", b":scheme", b":path", b":authority")
Field = tuple[bytes, bytes]


class Malformed(NamedTuple):
    """One request."""

    id: str
    """What is wrong: number of the case in the project's list of malformed messages, and its variant."""
    sent: tuple[Part, ...]
    begins: bool = False
    """Its head is well-formed, so that the backend may have seen it; but never a complete request."""
    may_be_mended: bool = False
    """It may be served instead, with white space around values removed."""


def _fields(number: int, **variants: Field) -> list[Malformed]:
    """Return a GET with one further field for each variant."""
    return [Malformed(f"{number}-{name.replace('_', '-')}", (head(STREAM, field),)) for name, field in variants.items()]


def _pseudo(number: int, of: bytes, **variants: bytes) -> list[Malformed]:
    """Return a GET with another value of a pseudo-field for each variant."""
    return [
        Malformed(f"{number}-{of[1:].decode()}-{name.replace('_', '-')}", (_made({of: value}),))
        for name, value in variants.items()
    ]


def _made(
    values: dict[bytes, bytes], names: tuple[bytes, ...] = _ALL, *more: Field, before: tuple[Field, ...] = ()
) -> Part:
    """Return a request with these pseudo-fields, in this order, between two rows of other fields."""

    def made(client: FrameClient) -> bytes:
        known = dict(request_fields(client.scheme)) | values
        return headers(STREAM, block_of([*before, *((name, known[name]) for name in names), *more]))

    return made


def _named(variant: str, *names: bytes, more: tuple[Field, ...] = (), before: tuple[Field, ...] = ()) -> Malformed:
    return Malformed(f"71-{variant}", (_made({b":protocol": b"websocket", b":status": b"200", b":test": b"1"},
                                             names, *more, before=before),))  # fmt: skip


def _body(variant: str, length: bytes, *pieces: Part, ended: bool = False) -> Malformed:
    post = head(STREAM, (b"content-length", length), method=b"POST", path=b"/echo", ended=ended)
    return Malformed(f"70-{variant}", (post, *pieces), begins=not ended)


def _trailers(variant: str, *fields: Field) -> Malformed:
    post = head(STREAM, method=b"POST", path=b"/echo", ended=False)
    return Malformed(
        f"trailers-{variant}", (post, data(STREAM, b"hello"), headers(STREAM, block_of(fields))), begins=True
    )


def _lengths(variant: str, *values: bytes) -> Malformed:
    fields = [(b"content-length", value) for value in values]
    post = head(STREAM, *fields, method=b"POST", path=b"/echo", ended=False)
    return Malformed(f"70-{variant}", (post, data(STREAM, b"hello", ended=True)))


def _connect(variant: str, *names: bytes) -> Malformed:
    return Malformed(f"71-connect-{variant}", (
        _made({b":method": b"CONNECT", b":authority": b"a.example:443", b":protocol": b"websocket"}, names),
    ))  # fmt: skip


CHARACTERS: list[Malformed] = [
    *_fields(
        67,
        value_nul=(b"x-test", b"a\0b"),
        value_cr=(b"x-test", b"a\rb"),
        value_lf=(b"x-test", b"a\nb"),
        value_crlf=(b"x-test", b"a\r\nx-smuggled: 1"),
        value_ends_lf=(b"x-test", b"a\n"),
        value_begins_cr=(b"x-test", b"\ra"),
        value_control=(b"x-test", b"a\x01b"),
        value_delete=(b"x-test", b"a\x7fb"),
        known_value_crlf=(b"user-agent", b"a\r\n\r\nGET /smuggled HTTP/1.1\r\n"),
        cookie_crlf=(b"cookie", b"a=1\r\nx-smuggled: 1"),
        name_colon=(b"x:y", b"1"),
        name_ends_colon=(b"x-test:", b"1"),
        name_space=(b"x y", b"1"),
        name_ends_space=(b"x-test ", b"1"),
        name_crlf=(b"x-test\r\nx-smuggled: 1\r\ny", b"1"),
        name_lf=(b"x-test\ny", b"1"),
        name_nul=(b"x\0y", b"1"),
        name_tab=(b"x\ty", b"1"),
        name_upper=(b"X-Test", b"1"),
        name_upper_last=(b"x-tesT", b"1"),
        name_upper_known=(b"Content-Length", b"0"),
        name_empty=(b"", b"1"),
        name_delete=(b"x\x7fy", b"1"),
        name_high=(b"x\xe9y", b"1"),
        name_parenthesis=(b"x(y)", b"1"),
        name_comma=(b"x,y", b"1"),
        name_slash=(b"x/y", b"1"),
        name_quote=(b'x"y', b"1"),
    ),
    Malformed("67-value-lf-huffman", (head(STREAM, after=b"\x00\x06x-test\x84\xff\xff\xff\xf3"),)),
    Malformed("67-value-crlf-indexed", (head(STREAM, after=literal(b"x-test", b"a\r\nb", 0x40)),)),
]

PSEUDO_VALUES: list[Malformed] = [
    *_pseudo(
        68,
        b":path",
        empty=b"",
        relative=b"a/b",
        query_only=b"?a=1",
        absolute=b"http://a.example/",
        space=b"/a b",
        ends_space=b"/a ",
        crlf=b"/ HTTP/1.1\r\nx-smuggled: 1",
        lf=b"/a\nb",
        nul=b"/a\0b",
        delete=b"/a\x7fb",
        fragment=b"/a#b",
        asterisk=b"*",
        bad_escape=b"/%zz",
        nul_escape=b"/%00",
        dots=b"/a/../b",
        escaped_dots=b"/a/%2e%2E/b",
    ),
    *_pseudo(
        68,
        b":method",
        empty=b"",
        space=b"GET /smuggled HTTP/1.1",
        crlf=b"GET\r\n",
        nul=b"G\0T",
        colon=b"GE:T",
        parenthesis=b"(GET)",
    ),
    *_pseudo(68, b":scheme", empty=b"", space=b"ht tp", crlf=b"http\r\n", digit=b"1http", slash=b"http://a/", unknown=b"ftp"),
    *_pseudo(
        68,
        b":authority",
        empty=b"",
        space=b"a b",
        crlf=b"a.example\r\nx-smuggled: 1",
        userinfo=b"user@a.example",
        port_letters=b"a.example:x",
        port_high=b"a.example:99999",
        bracket=b"[::1",
        slash=b"a.example/b",
        question=b"a.example?b",
        comma=b"a.example,b.example",
        nul=b"a\0b",
    ),
]  # fmt: skip

CONNECTION_FIELDS: list[Malformed] = _fields(
    69,
    connection_close=(b"connection", b"close"),
    connection_names=(b"connection", b"x-test"),
    connection_empty=(b"connection", b""),
    transfer_encoding=(b"transfer-encoding", b"chunked"),
    transfer_encoding_identity=(b"transfer-encoding", b"identity"),
    transfer_encoding_trailers=(b"transfer-encoding", b"trailers"),
    keep_alive=(b"keep-alive", b"timeout=5"),
    proxy_connection=(b"proxy-connection", b"keep-alive"),
    upgrade=(b"upgrade", b"websocket"),
    upgrade_h2c=(b"upgrade", b"h2c"),
    te_gzip=(b"te", b"gzip"),
    te_both=(b"te", b"trailers, gzip"),
    te_quality=(b"te", b"trailers;q=0.5"),
)

LENGTHS: list[Malformed] = [
    _body("more-content", b"4", data(STREAM, b"hello", ended=True)),
    _body("more-content-open", b"4", data(STREAM, b"hello")),
    _body("more-content-in-pieces", b"4", data(STREAM, b"he"), data(STREAM, b"llo", ended=True)),
    _body("more-content-after-all", b"5", data(STREAM, b"hello"), data(STREAM, b"x", ended=True)),
    _body("less-content", b"6", data(STREAM, b"hello", ended=True)),
    _body("less-content-then-empty", b"6", data(STREAM, b"hello"), data(STREAM, ended=True)),
    _body("less-content-then-trailers", b"6", data(STREAM, b"hello"), headers(STREAM, block_of([(b"x-test", b"1")]))),
    _body("no-content", b"5", data(STREAM, ended=True)),
    _body("padding-is-no-content", b"5", data(STREAM, b"h", pad=4, ended=True)),
    _body("content-for-0", b"0", data(STREAM, b"hello", ended=True)),
    _body("ends-with-head", b"5", ended=True),
    _lengths("twice", b"5", b"6"),
    _lengths("twice-equal", b"5", b"5"),
    _lengths("list", b"5, 5"),
    _lengths("plus", b"+5"),
    _lengths("minus", b"-5"),
    _lengths("hexadecimal", b"0x5"),
    _lengths("letters", b"5a"),
    _lengths("empty", b""),
    _lengths("spaces", b"5 5"),
    _lengths("huge", b"9" * 40),
]

NAMES: list[Malformed] = [
    *(_named(f"twice-{name[1:].decode()}", *_ALL, name) for name in _ALL),
    *(_named(f"no-{name[1:].decode()}", *(each for each in _ALL if each != name)) for name in _ALL),
    *(_named(f"late-{name[1:].decode()}", *(each for each in _ALL if each != name), more=((b"x-test", b"1"), (name, value)))
      for name, value in request_fields(b"http")),
    _named("late-all", *_ALL, before=((b"x-test", b"1"),)),
    _named("unknown", *_ALL, b":test"),
    _named("status", *_ALL, b":status"),
    _named("protocol", *_ALL, b":protocol"),
    _named("colon-only", *_ALL, more=((b":", b"1"),)),
    Malformed("71-upper-method", (_made({}, _ALL[1:], before=((b":METHOD", b"GET"),)),)),
    _named("host-differs", *_ALL, more=((b"host", b"b.example"),)),
    _named("host-port-differs", *_ALL, more=((b"host", b"a.example:81"),)),
    _named("host-empty", *_ALL, more=((b"host", b""),)),
    _named("host-twice", *_ALL[:3], more=((b"host", b"a.example"), (b"host", b"a.example"))),
    _named("host-list", *_ALL[:3], more=((b"host", b"a.example, b.example"),)),
    _named("host-userinfo", *_ALL[:3], more=((b"host", b"a@a.example"),)),
    _connect("with-path", *_ALL),
    _connect("with-scheme", b":method", b":scheme", b":authority"),
    _connect("without-authority", b":method"),
    _connect("extended-no-path", b":method", b":scheme", b":authority", b":protocol"),
    _connect("extended-no-scheme", b":method", b":path", b":authority", b":protocol"),
    _connect("extended-no-authority", b":method", b":scheme", b":path", b":protocol"),
]  # fmt: skip

SPACES: list[Malformed] = [
    Malformed(f"72-{name}", (head(STREAM, field, path=b"/echo"),), may_be_mended=True)
    for name, field in {
        "leading-space": (b"x-test", b" a"),
        "trailing-space": (b"x-test", b"a "),
        "leading-tab": (b"x-test", b"\ta"),
        "trailing-tab": (b"x-test", b"a\t"),
        "only-space": (b"x-test", b" "),
    }.items()
]

TRAILERS: list[Malformed] = [
    _trailers("pseudo", (b":path", b"/")),
    _trailers("status", (b":status", b"200")),
    _trailers("upper", (b"X-Test", b"1")),
    _trailers("crlf", (b"x-test", b"a\r\nb")),
    _trailers("name-crlf", (b"x\r\ny", b"1")),
    _trailers("connection", (b"connection", b"close")),
    _trailers("transfer-encoding", (b"transfer-encoding", b"chunked")),
    _trailers("empty-name", (b"", b"1")),
]

MALFORMED: list[Malformed] = [
    *CHARACTERS, *PSEUDO_VALUES, *CONNECTION_FIELDS, *LENGTHS, *NAMES, *SPACES, *TRAILERS,
]  # fmt: skip
"""All of them."""
