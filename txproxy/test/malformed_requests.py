"""Malformed and borderline request heads: cases 1 to 19 and 36 to 46 of the table."""

from __future__ import annotations

from .malformed_case import HOST, RequestCase, accepted, get, post, refused

_CHUNKS = b"5\r\nhello\r\n0\r\n\r\n"
_CL = b"Content-Length: 5\r\n"
_TE = b"Transfer-Encoding: chunked\r\n"
_SMUGGLED = b"GET /smuggled HTTP/1.1\r\n" + HOST + b"\r\n"


def _te(value: bytes) -> bytes:
    return post(b"Transfer-Encoding: " + value + b"\r\n", body=_CHUNKS)


def _cl(value: bytes) -> bytes:
    return post(b"Content-Length: " + value + b"\r\n", body=b"hello")


def _value(value: bytes) -> bytes:
    return get(b"X-Value: " + value + b"\r\n")


_LENGTH: tuple[RequestCase, ...] = (
    refused("01", post(_CL, _TE, body=_CHUNKS), "RFC 9112 6.3", "two lengths: whichever is chosen, another may not"),
    refused("01-equal", post(b"Content-Length: 15\r\n", _TE, body=_CHUNKS), "RFC 9112 6.3", "even if both agree"),
    refused("01-zero", post(b"Content-Length: 0\r\n", _TE, body=_CHUNKS), "RFC 9112 6.3", "a length of 0 counts too"),
    refused(
        "02",
        post(_TE, b"Content-Length: 100\r\n", body=b"0\r\n\r\n" + _SMUGGLED),
        "RFC 9112 11.2",
        "a second request hides in what one of the two lengths calls the body",
    ),
    *(
        refused(f"03-{value.decode()}", _te(value), "RFC 9112 6.3", "the last coding is not chunked: no length")
        for value in (b"identity", b"gzip", b"pigeons")
    ),
    refused("03-empty", _te(b""), "RFC 9112 6.1", "no coding at all"),
    refused("03-with-length", post(b"Transfer-Encoding: identity\r\n", _CL, body=b"hello"), "RFC 9112 6.3", "both"),
    refused("04", _te(b"chunked, gzip"), "RFC 9112 6.3", "chunked is not last"),
    refused("04-lines", post(_TE, b"Transfer-Encoding: gzip\r\n", body=_CHUNKS), "RFC 9112 6.3",
            "the same in two lines"),
    refused("04-identity", _te(b"chunked, identity"), "RFC 9112 6.3", "chunked is not last"),
    refused("05", _te(b"chunked, chunked"), "RFC 9112 7.1", "chunked twice"),
    refused("05-lines", post(_TE, _TE, body=_CHUNKS), "RFC 9112 7.1", "chunked twice, in two lines"),
    refused("05-between", _te(b"chunked, gzip, chunked"), "RFC 9112 7.1", "chunked twice, not side by side"),
    refused("06", _te(b"gzip, chunked"), "RFC 9112 6.1", "a valid list that is not decoded here", status=501),
    refused(
        "06-lines",
        post(b"Transfer-Encoding: gzip\r\n", _TE, body=_CHUNKS),
        "RFC 9112 6.1",
        "the same in two lines",
        status=501,
    ),
    refused("06-identity", _te(b"identity, chunked"), "RFC 9112 6.1", "identity is a coding as any other", status=501),
    *(
        refused(f"07-{name}", _te(value), "RFC 9112 6.1", "nearly chunked: some parser takes it for the real thing")
        for name, value in (
            ("empty-member", b", chunked"),
            ("trailing-comma", b"chunked,"),
            ("quoted", b'"chunked"'),
            ("single-quoted", b"'chunked'"),
            ("prefix", b"xchunked"),
            ("short", b"chunk"),
            ("suffix", b"chunkedx"),
            ("parameter", b"chunked;q=1"),
            ("space-inside", b"chun ked"),
            ("two-words", b"x chunked"),
        )
    ),
    *(
        refused(f"08-{byte:02x}-{name}", _te(value), "RFC 9110 5.6.3", "only SP and HTAB are optional whitespace")
        for byte in (0x00, 0x0B, 0x0C, 0x85, 0xA0, 0xFF)
        for name, value in (("before", bytes((byte,)) + b"chunked"), ("after", b"chunked" + bytes((byte,))))
    ),
    *(
        accepted(
            f"09-{name}",
            _te(value),
            "RFC 9110 5.6.3",
            "codings are case-insensitive and SP and HTAB around them are nothing; our own framing goes on",
            delivered=b"hello",
            withheld=(b"CHUNKED", b"ChUnKeD", b"\t"),
        )
        for name, value in (("upper", b"CHUNKED"), ("tab", b"chunked\t"), ("mixed", b"\t ChUnKeD \t"))
    ),
    refused(
        "10",
        b"POST /case HTTP/1.0\r\n" + HOST + _TE + b"\r\n" + _CHUNKS,
        "RFC 9112 6.1",
        "an HTTP/1.0 hop may have passed it on without decoding it",
    ),
    refused("11-length", post(b"X: y\r\n Content-Length: 5\r\n", body=b"hello"), "RFC 9112 5.2", "folded framing"),
    refused("11-coding", post(b"X: y\r\n\tTransfer-Encoding: chunked\r\n", body=_CHUNKS), "RFC 9112 5.2", "folded"),
    refused("11-value", post(b"Content-Length:\r\n 5\r\n", body=b"hello"), "RFC 9112 5.2", "a folded length"),
    refused("11-coding-value", post(b"Transfer-Encoding:\r\n chunked\r\n", body=_CHUNKS), "RFC 9112 5.2", "folded"),
    refused("12", post(_CL, b"Content-Length: 6\r\n", body=b"hello!"), "RFC 9112 6.3", "two lengths"),
    refused("12-list", _cl(b"5, 6"), "RFC 9112 6.3", "two lengths in a list"),
    refused("13", _cl(b"5, 5"), "RFC 9112 6.3", "a list, even of equal lengths"),
    refused("13-lines", post(_CL, _CL, body=b"hello"), "RFC 9112 6.3", "two lines, even if equal"),
    refused("13-case", post(_CL, b"content-length: 5\r\n", body=b"hello"), "RFC 9110 5.1", "names have no case"),
    *(
        refused(f"14-{name}", _cl(value), "RFC 9110 8.6", "Content-Length is digits and nothing else")
        for name, value in (
            ("plus", b"+5"),
            ("minus", b"-5"),
            ("minus-zero", b"-0"),
            ("hex", b"0x5"),
            ("underscore", b"0_5"),
            ("inner-space", b"0 5"),
            ("decimals", b"5.0"),
            ("exponent", b"5e0"),
            ("empty", b""),
            ("blank", b" \t"),
            ("quoted", b'"5"'),
            ("parameter", b"5;x"),
            ("comma", b"5,"),
            ("word", b"five"),
            ("arabic-digit", "\u0665".encode()),
            ("fullwidth-digit", "\uff15".encode()),
            ("superscript", b"\xb5"),
            ("vertical-tab", b"\x0b5"),
            ("no-break-space", b"5\xa0"),
        )
    ),
    *(
        refused(f"15-{name}", _cl(value), "RFC 9110 8.6", "more than a counter holds; told at once, not after the body")
        for name, value in (
            ("2-to-63", b"9223372036854775808"),
            ("2-to-64-and-5", b"18446744073709551621"),
            ("20-digits", b"9" * 20),
            ("200-digits", b"1" + b"0" * 199),
        )
    ),
    accepted(
        "16", _cl(b"0005"), "RFC 9110 8.6", "1*DIGIT; goes on as one plain number",
        delivered=b"hello", forwarded=(b"Content-Length: 5\r\n",), withheld=(b"0005",),
    ),
    *(
        accepted(
            f"17-{method}-{name}",
            method.encode() + b" /case HTTP/1.1\r\n" + HOST + framing,
            "RFC 9110 9.3.1",
            "a body has no meaning there, but it has a length",
            delivered=b"hello",
        )
        for method in ("GET", "HEAD", "DELETE", "OPTIONS")
        for name, framing in (("length", _CL + b"\r\nhello"), ("chunked", _TE + b"\r\n" + _CHUNKS))
    ),
    refused("18", post(b"Content-Length : 3\r\n", body=b"abc"), "RFC 9112 5.1", "space before the colon"),
    refused("18-tab", post(b"Content-Length\t: 3\r\n", body=b"abc"), "RFC 9112 5.1", "tab before the colon"),
    refused("18-coding", post(b"Transfer-Encoding : chunked\r\n", body=_CHUNKS), "RFC 9112 5.1", "space before it"),
    refused("18-host", b"GET /case HTTP/1.1\r\nHost : a.example\r\n\r\n", "RFC 9112 5.1", "space before the colon"),
    refused("18-plain", get(b"X-Any : y\r\n"), "RFC 9112 5.1", "whatever the field is"),
    accepted(
        "19-length", get(b"Content_Length: 5\r\n"), "RFC 9110 5.1", "not the field that it looks like to a CGI program",
        delivered=b"", withheld=(b"Content_Length",),
    ),
    accepted(
        "19-coding",
        post(b"Transfer_Encoding: chunked\r\n", _CL, body=b"hello"),
        "RFC 9110 5.1",
        "the same",
        delivered=b"hello",
        withheld=(b"Transfer_Encoding", b"chunked"),
    ),
)  # fmt: skip

_FIELDS: tuple[RequestCase, ...] = (
    *(
        refused(f"36-{name}", _value(value), "RFC 9110 5.5", "NUL ends a string in C")
        for name, value in (("middle", b"a\x00b"), ("first", b"\x00a"), ("last", b"a\x00"))
    ),
    refused("36-name", get(b"X-N\x00me: y\r\n"), "RFC 9110 5.1", "NUL in a name"),
    refused("37", _value(b"a\rb"), "RFC 9112 2.2", "a bare CR is a line end to some"),
    refused("37-before-crlf", _value(b"a\r"), "RFC 9112 2.2", "CR CR LF"),
    refused("37-line-end", get(b"A: b\rX-Smuggled: c\r\n"), "RFC 9112 2.2", "CR as a line end"),
    refused("37-request-line", b"GET /case HTTP/1.1\r" + HOST + b"\r\n", "RFC 9112 2.2", "CR as a line end"),
    refused("37-target", get(target=b"/a\rb"), "RFC 9112 2.2", "a bare CR in the target"),
    refused("37-all", b"GET /case HTTP/1.1\rHost: a.example\r\r", "RFC 9112 2.2", "CR as every line end"),
    refused("38-request-line", b"GET /case HTTP/1.1\n" + HOST + b"\r\n", "RFC 9112 2.2", "bare LF"),
    refused("38-field", get(b"A: b\n", b"C: d\r\n"), "RFC 9112 2.2", "bare LF after a field"),
    refused("38-last-field", b"GET /case HTTP/1.1\r\nHost: a.example\n\r\n", "RFC 9112 2.2", "bare LF, then CRLF"),
    refused("38-empty-line", b"GET /case HTTP/1.1\r\nHost: a.example\r\n\n", "RFC 9112 2.2", "bare LF as the end"),
    refused("38-all", b"GET /case HTTP/1.1\nHost: a.example\n\n", "RFC 9112 2.2", "bare LF everywhere"),
    refused("38-value", _value(b"a\nContent-Length: 5"), "RFC 9112 2.2", "a field behind a bare LF"),
    refused("39", get(b"Long: one\r\n two\r\n"), "RFC 9112 5.2", "obsolete folding"),
    refused("39-tab", get(b"Long: one\r\n\ttwo\r\n"), "RFC 9112 5.2", "obsolete folding with a tab"),
    refused("39-empty", get(b"Long: one\r\n \r\n"), "RFC 9112 5.2", "a folded line of nothing but a space"),
    refused(
        "39-first", b"POST /case HTTP/1.1\r\n Content-Length: 5\r\n" + HOST + b"\r\nhello", "RFC 9112 2.2",
        "on the first line, hiding a length",
    ),
    refused(
        "39-first-coding", b"POST /case HTTP/1.1\r\n\tTransfer-Encoding: chunked\r\n" + HOST + b"\r\n" + _CHUNKS,
        "RFC 9112 2.2", "on the first line, hiding a coding",
    ),
    refused("40", b"GET /case HTTP/1.1\r\n " + HOST + b"\r\n", "RFC 9112 2.2", "whitespace before the first field"),
    refused("40-tab", b"GET /case HTTP/1.1\r\n\t" + HOST + b"\r\n", "RFC 9112 2.2", "a tab before it"),
    refused("40-line", b"GET /case HTTP/1.1\r\n \r\n" + HOST + b"\r\n", "RFC 9112 2.2",
            "a blank line that is not empty"),
    refused("41", get(b"no colon here\r\n"), "RFC 9112 5", "a line without a colon"),
    refused("41-last", get(b"nocolon\r\n"), "RFC 9112 5", "a line without a colon"),
    refused("41-empty-name", get(b": x\r\n"), "RFC 9112 5", "a field without a name"),
    refused("41-only-colon", get(b":\r\n"), "RFC 9112 5", "a field without a name and a value"),
    *(
        refused(f"42-{byte:02x}", get(b"X" + bytes((byte,)) + b"Name: y\r\n"), "RFC 9110 5.1", "a name is a token")
        for byte in (*b' @("/[{,;<=>?\\', 0x01, 0x09, 0x0B, 0x1F, 0x7F, 0x80, 0xA0, 0xDF, 0xFF)
    ),
    *(
        refused(f"43-{byte:02x}", _value(b"a" + bytes((byte,)) + b"b"), "RFC 9110 5.5", "a control in a value")
        for byte in (0x01, 0x07, 0x08, 0x0B, 0x0C, 0x1B, 0x1F, 0x7F)
    ),
    refused("43-edge", _value(b"\x0cb\x0b"), "RFC 9110 5.5", "controls that strip() would take away"),
    accepted(
        "44", _value(b"\x85caf\xe9\xa0"), "RFC 9110 5.5", "obs-text is opaque; 0x85 and 0xA0 are no whitespace",
        forwarded=(b"X-Value: \x85caf\xe9\xa0\r\n",),
    ),
    accepted(
        "44-all", _value(bytes(range(0x80, 0x100))), "RFC 9110 5.5", "every byte of obs-text",
        forwarded=(b"X-Value: " + bytes(range(0x80, 0x100)) + b"\r\n",),
    ),
    accepted(
        "44-tab", _value(b" \t a\tb \t "), "RFC 9110 5.5", "whitespace around a value is none of it, within it is",
        forwarded=(b"X-Value: a\tb\r\n",),
    ),
    refused("45", get()[:-2] + b"\rX", "RFC 9112 2.2", "a CR that is not followed by LF where the head would end"),
    refused("45-long", get()[:-2] + b"\rX-Smuggled: y\r\n\r\n", "RFC 9112 2.2", "the same with a field behind it"),
    accepted("46-100-fields", get(*(b"X-%d: y\r\n" % n for n in range(99))), "RFC 9110 5.4", "a hundred fields pass"),
    accepted("46-128-fields", get(*(b"X-%d: y\r\n" % n for n in range(127))), "RFC 9110 5.4", "what equals the limit"),
    refused(
        "46-129-fields", get(*(b"X-%d: y\r\n" % n for n in range(128))), "RFC 6585 5", "one field too many", status=431
    ),
    refused("46-field", _value(b"y" * 17_000), "RFC 6585 5", "one field over 16 KiB", status=431),
    refused("46-64k-field", _value(b"y" * 65_536), "RFC 6585 5", "one field of 64 KiB", status=431),
    refused("46-33k", get(*(b"X-%d: " % n + b"y" * 330 + b"\r\n" for n in range(100))), "RFC 6585 5",
            "33 KiB of fields",
            status=431),
    refused("46-1m", get(*(b"X-%d: " % n + b"y" * 1000 + b"\r\n" for n in range(1040))), "RFC 6585 5",
            "a head of 1 MiB",
            status=431),
    refused("46-1m-unended", get(b"X: " + b"y" * (1 << 20))[:-4], "RFC 6585 5", "a field that never ends", status=431),
    refused("46-9k-line", get(target=b"/" + b"a" * 9216), "RFC 9110 15.5.15", "a request line over 8 KiB", status=414),
    refused("46-64k-line", get(target=b"/" + b"a" * 65_536), "RFC 9110 15.5.15", "one of 64 KiB", status=414),
    refused("46-unended-line", b"GET /" + b"a" * 65_536, "RFC 9110 15.5.15", "a line that never ends", status=414),
    refused("46-method", b"A" * 9216, "RFC 9112 3", "a method that never ends", status=414),
)  # fmt: skip

REQUEST_HEADS: tuple[RequestCase, ...] = _LENGTH + _FIELDS
