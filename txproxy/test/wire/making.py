"""Strategies that make messages, bodies and noise for property tests."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from txproxy.wire.fields import Field, is_disguised

QUICK = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])

_TCHAR = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_VALUE_BYTES = [9, *range(32, 127), *range(128, 256)]

# Names with a meaning to the parser are made where they are meant.
_ACTED_ON = frozenset(
    b"connection content-length date expect forwarded host keep-alive max-forwards proxy-authenticate "
    b"proxy-authentication-info proxy-authorization proxy-connection te trailer transfer-encoding upgrade via "
    b"x-forwarded-for x-forwarded-host x-forwarded-port x-forwarded-proto x-request-id".split()
)

tokens = st.text(_TCHAR, min_size=1, max_size=12).map(str.encode)
plain_names = tokens.filter(lambda name: name.lower() not in _ACTED_ON and b"_" not in name and not is_disguised(name))
values = st.lists(st.sampled_from(_VALUE_BYTES), max_size=24).map(lambda codes: bytes(codes).strip(b" \t"))
fields = st.lists(st.tuples(plain_names, values), max_size=8)
padding = st.text(" \t", max_size=3).map(str.encode)
hosts = st.sampled_from([b"a.example", b"B.example:8080", b"[::1]", b"[2001:db8::1]:443", b"192.0.2.1", b"x_y.z."])
targets = st.text("abcXYZ019-._~/%?=&;:@!$'()*+,|[]{}", max_size=24).map(lambda text: b"/" + text.encode())

noise = st.lists(
    st.sampled_from(
        [
            b"GET ", b"POST ", b"/", b" HTTP/1.1", b" HTTP/1.0", b"HTTP/1.1 200 OK", b"HTTP/1.1 204", b"\r\n",
            b"\r\n\r\n",
            b"\n", b"\r", b"Host: a", b"Host:", b"Content-Length: 5", b"Content-Length: ",
            b"Transfer-Encoding: chunked",
            b"chunked", b"Connection: close", b"Connection: upgrade", b"Upgrade: x", b": ", b":", b" ", b"\t", b",",
            b"\x00",
            b"\xff", b"5", b"0", b"0\r\n\r\n", b";", b'"', b"=", b"http://", b"*", b"#", b"%", b"%00", b"..",
            b"Expect: ",
            b"100-continue", b"Te: trailers", b"a_b: c", b"X: y", b"f" * 17, b"-", b"+",
        ]
    ) | st.binary(max_size=6),
    max_size=24,
).map(b"".join)  # fmt: skip
"""Bytes that come close to messages without being any, as a rule."""


class Facts(NamedTuple):
    """A message as it is meant, before it is written down."""

    method: bytes
    target: bytes
    minor: int
    host: bytes
    fields: list[Field]
    framing: tuple[Field, ...]

    def written(self, pads: list[bytes]) -> bytes:
        """Return the head, with whitespace around values that means nothing."""
        lines = [b"%b %b HTTP/1.%d" % (self.method, self.target, self.minor)]
        all_fields = [(b"Host", self.host), *self.fields, *self.framing]
        for number, (name, value) in enumerate(all_fields):
            pad = pads[number % len(pads)] if pads else b""
            lines.append(name + b":" + pad + value + pad)
        return b"\r\n".join((*lines, b"", b""))


_FRAMINGS = [(), ((b"Content-Length", b"0"),), ((b"content-length", b"17"),), ((b"Transfer-Encoding", b"chunked"),)]

requests = st.builds(
    Facts,
    method=tokens.filter(lambda method: method != b"CONNECT"),
    target=targets,
    minor=st.just(1),
    host=hosts,
    fields=fields,
    framing=st.sampled_from(_FRAMINGS),
)

chunk_extensions = st.sampled_from([b"", b";a", b";a=b", b' ; a = "b;\\"c"', b";a;b=c", b';q="\xe9"'])


@st.composite
def chunked_bodies(draw: st.DrawFn) -> tuple[bytes, bytes, list[Field]]:
    """Return a chunked body as it stands on the wire, its content, and its trailers."""
    chunks = draw(st.lists(st.binary(min_size=1, max_size=40), max_size=6))
    trailers = draw(st.lists(st.tuples(plain_names, values), max_size=3))
    wire = []
    for chunk in chunks:
        size = (b"%x" if draw(st.booleans()) else b"%X") % len(chunk)
        size = size.rjust(draw(st.integers(0, 16)), b"0")
        wire.append(size + draw(chunk_extensions) + b"\r\n" + chunk + b"\r\n")
    wire.append(b"0" * draw(st.integers(1, 4)) + draw(chunk_extensions) + b"\r\n")
    wire += [name + b": " + value + b"\r\n" for name, value in trailers]
    return b"".join(wire) + b"\r\n", b"".join(chunks), trailers


@st.composite
def pieces_of(draw: st.DrawFn, raw: bytes) -> list[bytes]:
    """Return ``raw`` cut anywhere."""
    cuts = sorted(draw(st.lists(st.integers(0, len(raw)), max_size=6)))
    return [raw[start:end] for start, end in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
