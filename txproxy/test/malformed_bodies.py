"""Malformed and borderline request bodies: cases 20 to 35 of the table."""

from __future__ import annotations

from .malformed_case import HOST, RequestCase, accepted, broken_body, chunked, post

_END = b"0\r\n\r\n"
_HELLO = b"5\r\nhello\r\n"
_SMUGGLED = b"GET /smuggled HTTP/1.1\r\n" + HOST + b"\r\n"


def _size(size: bytes) -> bytes:
    return chunked(size + b"\r\nhello\r\n" + _END)


def _trailers(*lines: bytes) -> bytes:
    return chunked(_HELLO + b"0\r\n" + b"".join(lines) + b"\r\n", b"Trailer: X-Sum\r\n")


def _after(good: bytes, bad: bytes) -> tuple[bytes, int]:
    start = chunked(good)
    return start + bad, len(start)


def _streaming(name: str, bad: bytes, reason: str, **more: bool) -> RequestCase:
    raw, pause_at = _after(_HELLO, bad)
    return broken_body(name, raw, "RFC 9112 8", reason, pause_at=pause_at, withheld=(b"\n0\r\n\r\n",), **more)


REQUEST_BODIES: tuple[RequestCase, ...] = (
    broken_body("20", post(b"Content-Length: 10\r\n", body=b"hello"), "RFC 9112 8", "shorter than its length",
                half_close=True),
    broken_body("20-none", post(b"Content-Length: 10\r\n"), "RFC 9112 8", "none of it came", half_close=True),
    broken_body("20-in-data", chunked(b"5\r\nhel"), "RFC 9112 8", "cut within a chunk", half_close=True),
    broken_body("20-between", chunked(_HELLO), "RFC 9112 8", "cut between chunks", half_close=True),
    broken_body("20-in-trailers", chunked(_HELLO + b"0\r\nX-Sum: 1\r\n"), "RFC 9112 8", "cut within the trailers",
                half_close=True),
    *(
        broken_body(f"21-{name}", _size(size), "RFC 9112 7.1", "a size is hexadecimal digits and nothing else")
        for name, size in (
            ("0x", b"0x5"), ("upper-0x", b"0X5"), ("plus", b"+5"), ("minus", b"-5"), ("minus-zero", b"-0"),
            ("underscore", b"0_5"), ("leading-space", b" 5"), ("leading-tab", b"\t5"), ("quoted", b'"5"'),
            ("dollar", b"$5"), ("hash", b"#5"), ("nul", b"5\x00"), ("no-break-space", b"5\xa0"),
        )
    ),
    broken_body("22", _size(b""), "RFC 9112 7.1", "a line without a size"),
    broken_body("22-only-extension", _size(b";ext"), "RFC 9112 7.1", "an extension without a size"),
    broken_body("22-space-extension", _size(b" ;ext=1"), "RFC 9112 7.1", "the same after a space"),
    *(
        broken_body(f"23-{name}", _size(size), "RFC 9112 7.1", "must not wrap around in anyone's counter")
        for name, size in (
            ("17-digits", b"10000000000000005"), ("33-digits", b"1" + b"0" * 31 + b"5"), ("f", b"F" * 17),
            ("zeros", b"0" * 1000 + b"5"), ("5000-digits", b"0" * 5000 + b"5"),
        )
    ),
    *(
        broken_body(f"24-{name}", _size(size), "RFC 9112 7.1", "no longest prefix of digits is taken")
        for name, size in (
            ("words", b"5 ilovew3"), ("x", b"5x"), ("g", b"5g"), ("h", b"5h"), ("two", b"5 5"), ("decimal", b"5.0"),
            ("comma", b"5,"), ("colon", b"5:a"),
        )
    ),
    broken_body("25-size", chunked(b"5\nhello\r\n" + _END), "RFC 9112 7.1", "bare LF after a size"),
    broken_body("25-data", chunked(b"5\r\nhello\n" + _END), "RFC 9112 7.1", "bare LF after the data"),
    broken_body("25-last", chunked(_HELLO + b"0\n\r\n"), "RFC 9112 7.1", "bare LF after the last size"),
    broken_body("25-end", chunked(_HELLO + b"0\r\n\n"), "RFC 9112 7.1", "bare LF as the end"),
    broken_body("25-trailer", chunked(_HELLO + b"0\r\nX-Sum: 1\n\r\n"), "RFC 9112 7.1", "bare LF after a trailer"),
    broken_body("25-extension", chunked(b"5;a\nhello\r\n" + _END), "RFC 9112 7.1", "bare LF after an extension"),
    broken_body("25-in-extension", chunked(b"5;a\n;b\r\nhello\r\n" + _END), "RFC 9112 7.1", "bare LF in an extension"),
    broken_body("25-cr", chunked(b"5\rhello\r\n" + _END), "RFC 9112 7.1", "bare CR after a size"),
    broken_body("26", chunked(b"5\r\nhelloXX0\r\n\r\n"), "RFC 9112 7.1", "data that is longer than its size"),
    broken_body("26-crcr", chunked(b"5\r\nhello\r\r" + _END), "RFC 9112 7.1", "CR CR after the data"),
    broken_body("26-lfcr", chunked(b"5\r\nhello\n\r" + _END), "RFC 9112 7.1", "LF CR after the data"),
    broken_body("26-crx", chunked(b"5\r\nhello\rX" + _END), "RFC 9112 7.1", "CR X after the data"),
    broken_body("26-none", chunked(b"5\r\nhello" + _END), "RFC 9112 7.1", "nothing between data and the next size"),
    broken_body("27", _size(b"5;a\rb"), "RFC 9112 7.1.1", "a bare CR in an extension"),
    broken_body("27-quoted", _size(b'5;a="b\rc"'), "RFC 9112 7.1.1", "a bare CR in a quoted one"),
    broken_body("27-smuggled", chunked(b"5;\rx\r\nhello\r\n" + _END), "RFC 9112 7.1.1",
                "a bare CR after the semicolon"),
    broken_body("27-nul", _size(b"5;a\x00b"), "RFC 9112 7.1.1", "NUL in an extension"),
    *(
        accepted(f"28-{name}", _size(size), "RFC 9112 7.1.1", "unknown extensions are ignored", delivered=b"hello",
                 withheld=(b";",))
        for name, size in (
            ("name", b"5;a"), ("value", b"5;a=b"), ("quoted", b'5;a="b c"'), ("escaped", b'5;a="b\\"c;d"'),
            ("several", b'5;a=b;c;d="e"'), ("spaces", b"5 ; a = b"), ("obs-text", b'5;a="\xe9"'),
        )
    ),
    accepted("28-last", chunked(_HELLO + b'0;a="b"\r\n\r\n'), "RFC 9112 7.1.1", "on the last chunk too",
             delivered=b"hello", withheld=(b";",)),
    broken_body("29-unended", _size(b'5;a="b'), "RFC 9112 7.1.1", "a quoted string without an end"),
    broken_body("29-line", chunked(b'5;a="b\r\nc"\r\nhello\r\n' + _END), "RFC 9112 7.1.1",
                "a quoted string over two lines"),
    broken_body("29-5k", _size(b"5;a=" + b"b" * 5000), "RFC 9112 7.1.1", "over 4 KiB of extensions"),
    broken_body("29-64k", _size(b'5;a="' + b"b" * 65_536), "RFC 9112 7.1.1", "64 KiB of them"),
    broken_body("30", chunked(_HELLO + b"\r\n" + _END), "RFC 9112 7.1", "an empty line before the last chunk"),
    broken_body("30-first", chunked(b"\r\n" + _HELLO + _END), "RFC 9112 7.1", "an empty line before the first chunk"),
    RequestCase("31", chunked(_HELLO + b"0\r\n"), "RFC 9112 7.1", "the last CRLF never comes: wait, then 408",
                frozenset((408,)), "aborted", hasty=True),
    RequestCase("31-no-last", chunked(_HELLO), "RFC 9112 7.1", "the last chunk never comes", frozenset((408,)),
                "aborted",
                hasty=True),
    RequestCase("31-length", post(b"Content-Length: 10\r\n", body=b"hello"), "RFC 9112 6.3", "the rest never comes",
                frozenset((408,)), "aborted", hasty=True),
    broken_body("31-cut", chunked(_HELLO + b"0\r\n"), "RFC 9112 7.1", "cut before the last CRLF", half_close=True),
    *(
        accepted(
            f"32-{line.partition(b':')[0].decode()}", _trailers(line, b"X-Sum: 1\r\n"), "RFC 9110 6.5.1",
            "a field that frames or routes is not taken from a trailer; others go on",
            delivered=b"hello", forwarded=(b"0\r\nX-Sum: 1\r\n\r\n",), withheld=(b"evil", b"4242"),
        )
        for line in (
            b"Content-Length: 4242\r\n", b"Transfer-Encoding: evil\r\n", b"Host: evil\r\n",
            b"TRANSFER-ENCODING: evil\r\n",
            b"Authorization: evil\r\n", b"Connection: evil\r\n",
        )
    ),
    *(
        broken_body(f"32-{name}", _trailers(line), "RFC 9112 5", "a trailer is a field")
        for name, line in (
            ("no-colon", b"X-Sum\r\n"), ("nul", b"X-Sum: \x00\r\n"), ("fold", b"X-Sum: a\r\n b\r\n"),
            ("cr", b"X-Sum: a\rb\r\n"),
            ("space", b"X-Sum : 1\r\n"), ("name", b"X Sum: 1\r\n"), ("first-fold", b" X-Sum: 1\r\n"),
        )
    ),
    broken_body("32-huge", _trailers(b"X-Sum: " + b"1" * 40_000 + b"\r\n"), "RFC 6585 5", "trailers have a bound"),
    _streaming("33", b"zz\r\nhello\r\n" + _END, "a bad size after a good chunk went on"),
    _streaming("33-data", b"5\r\nhelloXX" + _END, "bad data after a good chunk went on"),
    _streaming("33-cut", b"5\r\nhel", "a cut after a good chunk went on", half_close=True),
    *(
        accepted(f"34-{name}", _size(size), "RFC 9112 7.1", "digits in any case, with any zeros", delivered=b"hello")
        for name, size in (("zero", b"05"), ("zeros", b"0000000000000005"))
    ),
    accepted("34-upper", chunked(b"1A\r\n" + b"x" * 26 + b"\r\n" + _END), "RFC 9112 7.1", "upper case",
             delivered=b"x" * 26),
    accepted("34-lower", chunked(b"1a\r\n" + b"x" * 26 + b"\r\n" + _END), "RFC 9112 7.1", "lower case",
             delivered=b"x" * 26),
    accepted("34-last", chunked(_HELLO + b"00000\r\n\r\n"), "RFC 9112 7.1", "zeros in the last size",
             delivered=b"hello"),
    accepted("34-empty", chunked(_END), "RFC 9112 7.1", "no chunk but the last", delivered=b""),
    accepted("35", chunked(b"1\r\nx\r\n" * 20_000 + _END), "RFC 9112 7.1", "many tiny chunks cost little each",
             delivered=b"x" * 20_000),
)  # fmt: skip
