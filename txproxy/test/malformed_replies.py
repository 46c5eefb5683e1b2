"""Malformed and borderline replies of a backend: cases 61 to 66 of the table that are not requests."""

from __future__ import annotations

from .malformed_case import ReplyCase, bad_reply, broken_reply, good_reply

_OK = b"HTTP/1.1 200 OK\r\n"
_CL = b"Content-Length: 5\r\n"
_TE = b"Transfer-Encoding: chunked\r\n"
_CHUNKS = b"5\r\nhello\r\n0\r\n\r\n"
_POISON = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"


def _reply(*lines: bytes, body: bytes = b"hello") -> bytes:
    return _OK + b"".join(lines) + b"\r\n" + body


def _value(value: bytes) -> bytes:
    return _reply(b"X-Value: " + value + b"\r\n", _CL)


def _chunks(body: bytes) -> bytes:
    return _reply(_TE, body=body)


REPLIES: tuple[ReplyCase, ...] = (
    bad_reply("61-101", b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nraw",
              "RFC 9110 15.2.2", "nobody asked to switch", parser=None),
    bad_reply("61-101-plain", b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "RFC 9110 15.2.2", "nobody asked to switch",
              parser=None),
    bad_reply("62", _reply(_CL, _TE, body=_CHUNKS), "RFC 9112 6.3", "two lengths"),
    bad_reply("62-te-first", _reply(_TE, _CL, body=_CHUNKS), "RFC 9112 6.3", "two lengths"),
    bad_reply("62-two", _reply(_CL, b"Content-Length: 6\r\n"), "RFC 9112 6.3", "two lengths"),
    bad_reply("62-two-equal", _reply(_CL, _CL), "RFC 9112 6.3", "two lengths, even if equal"),
    bad_reply("62-list", _reply(b"Content-Length: 5, 5\r\n"), "RFC 9112 6.3", "a list of lengths"),
    *(
        bad_reply(f"62-length-{name}", _reply(b"Content-Length: " + value + b"\r\n"), "RFC 9110 8.6", "digits only")
        for name, value in (
            ("plus", b"+5"), ("minus", b"-1"), ("word", b"abc"), ("empty", b""), ("hex", b"0x5"), ("space", b"0 5"),
            ("huge", b"9" * 25),
        )
    ),
    *(
        bad_reply(f"62-coding-{name}", _reply(b"Transfer-Encoding: " + value + b"\r\n", body=_CHUNKS), "RFC 9112 6.3",
                  "a length that only guessing can tell")
        for name, value in (
            ("not-last", b"chunked, gzip"), ("twice", b"chunked, chunked"), ("identity", b"identity"),
            ("gzip", b"gzip"),
            ("near", b"xchunked"), ("vertical-tab", b"\x0bchunked"),
        )
    ),
    bad_reply("62-coding-1.0", b"HTTP/1.0 200 OK\r\n" + _TE + b"\r\n" + _CHUNKS, "RFC 9112 6.1", "a coding in 1.0"),
    bad_reply("62-space", _reply(b"Content-Length : 5\r\n"), "RFC 9112 5.1", "space before the colon"),
    *(
        broken_reply(f"62-chunk-{name}", _chunks(body), "RFC 9112 7.1", "a bad chunk")
        for name, body in (
            ("0x", b"0x5\r\nhello\r\n0\r\n\r\n"), ("word", b"zz\r\nhello\r\n0\r\n\r\n"),
            ("empty", b"\r\nhello\r\n0\r\n\r\n"),
            ("lf", b"5\nhello\r\n0\r\n\r\n"), ("data", b"5\r\nhelloXX0\r\n\r\n"),
            ("17-digits", b"1" * 17 + b"\r\nhello"),
            ("later", b"5\r\nhello\r\n5g\r\nhello\r\n0\r\n\r\n"), ("trailer", b"5\r\nhello\r\n0\r\nX Y: 1\r\n\r\n"),
            ("trailer-lf", b"5\r\nhello\r\n0\r\nX: 1\n\r\n"),
        )
    ),
    *(
        bad_reply(f"63-{name}", line + b"\r\n" + _CL + b"\r\nhello", "RFC 9112 4", "not a status line of HTTP/1")
        for name, line in (
            ("word", b"garbage"), ("icy", b"ICY 200 OK"), ("one-digit", b"HTTP/1.1 2 OK"),
            ("two-digits", b"HTTP/1.1 20 OK"),
            ("four-digits", b"HTTP/1.1 2000 OK"), ("letters", b"HTTP/1.1 2x0 OK"), ("zero", b"HTTP/1.1 000 OK"),
            ("099", b"HTTP/1.1 099 OK"), ("no-space", b"HTTP/1.1200 OK"), ("two-spaces", b"HTTP/1.1  200 OK"),
            ("lower", b"http/1.1 200 OK"), ("2.0", b"HTTP/2.0 200 OK"), ("1.10", b"HTTP/1.10 200 OK"),
            ("leading-space", b" HTTP/1.1 200 OK"), ("request", b"GET / HTTP/1.1"),
            ("reason-nul", b"HTTP/1.1 200 O\x00K"),
            ("reason-cr", b"HTTP/1.1 200 O\rK"), ("reason-bel", b"HTTP/1.1 200 O\x07K"),
            ("tls", b"\x15\x03\x03\x00\x02\x02F"),
        )
    ),
    bad_reply("63-0.9", b"<html>hello</html>", "RFC 9112 4", "a reply of HTTP/0.9", ends=True, parser=None),
    bad_reply("63-0.9-line", b"<html>hello</html>\r\n\r\n", "RFC 9112 4", "a reply of HTTP/0.9"),
    bad_reply("63-empty-line", b"\r\n" + _reply(_CL), "RFC 9112 4", "an empty line first"),
    bad_reply("63-cr", _value(b"a\rb"), "RFC 9112 2.2", "a bare CR in a value"),
    bad_reply("63-cr-end", _value(b"a\r"), "RFC 9112 2.2", "CR CR LF"),
    bad_reply("63-nul", _value(b"a\x00b"), "RFC 9110 5.5", "NUL in a value"),
    bad_reply("63-lf", b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello", "RFC 9112 2.2", "bare LF everywhere"),
    bad_reply("63-lf-field", _reply(b"X: y\n", _CL), "RFC 9112 2.2", "bare LF after a field"),
    bad_reply("63-lf-status", b"HTTP/1.1 200 OK\n" + _CL + b"\r\nhello", "RFC 9112 2.2", "bare LF after the status"),
    bad_reply("63-fold", _reply(b"X: y\r\n z\r\n", _CL), "RFC 9112 5.2", "obsolete folding"),
    bad_reply("63-fold-first", _OK + b" X: y\r\n" + _CL + b"\r\nhello", "RFC 9112 5.2", "on the first line"),
    bad_reply("63-control", _value(b"a\x07b"), "RFC 9110 5.5", "a control in a value"),
    *(
        bad_reply(f"63-name-{name}", _reply(line, _CL), "RFC 9110 5.1", "a name is a token")
        for name, line in (
            ("space", b"X Y: z\r\n"), ("colon-space", b"X : z\r\n"), ("none", b": z\r\n"), ("no-colon", b"xyz\r\n"),
            ("bracket", b"X(: z\r\n"), ("c1", b"X\x80: z\r\n"), ("nul", b"X\x00: z\r\n"),
        )
    ),
    bad_reply("63-huge", _OK + b"X: " + b"y" * (1 << 20) + b"\r\n\r\n", "RFC 6585 5", "a head of 1 MiB"),
    bad_reply("63-huge-unended", b"HTTP/1.1 200 " + b"y" * (1 << 20), "RFC 6585 5", "a status line that never ends"),
    good_reply("63-no-reason", b"HTTP/1.1 200 \r\n" + _CL + b"\r\nhello", "RFC 9112 4", "the reason may be empty",
               reply_body=b"hello", reusable=True),
    good_reply("63-obs-text", _value(b"\x85caf\xe9\xa0"), "RFC 9110 5.5", "obs-text goes on", reply_body=b"hello",
               reusable=True),
    good_reply("64", _reply(_CL, body=b"hello" + _POISON), "RFC 9112 6.3", "a second reply that nobody asked for",
               reply_body=b"hello", withheld=(b"poison",)),
    good_reply("64-bytes", _reply(_CL, body=b"hellomore"), "RFC 9112 6.3", "more than its length", reply_body=b"hello",
               withheld=(b"more",)),
    good_reply("64-crlf", _reply(_CL, body=b"hello\r\n"), "RFC 9112 6.3", "even only an empty line",
               reply_body=b"hello"),
    good_reply("64-chunked", _chunks(_CHUNKS + _POISON), "RFC 9112 7.1", "after the last chunk", reply_body=b"hello",
               withheld=(b"poison",)),
    good_reply("64-204", b"HTTP/1.1 204 No Content\r\n\r\nhello", "RFC 9110 15.3.5", "204 has no body", status=204,
               reply_body=b"", withheld=(b"hello",)),
    good_reply("64-204-chunked", b"HTTP/1.1 204 No Content\r\n" + _TE + b"\r\n" + _CHUNKS, "RFC 9112 6.1",
               "204 has no body and no coding", status=204, reply_body=b"", withheld=(b"hello", b"chunked")),
    good_reply("64-204-length", b"HTTP/1.1 204 No Content\r\n" + _CL + b"\r\nhello", "RFC 9110 8.6",
               "204 has no body and no length", status=204, reply_body=b"", withheld=(b"hello", b"Content-Length")),
    good_reply("64-304", b"HTTP/1.1 304 Not Modified\r\n" + _CL + b"\r\nhello", "RFC 9110 15.4.5", "304 has no body",
               status=304, reply_body=b"", withheld=(b"hello",)),
    good_reply("64-304-poison", b"HTTP/1.1 304 Not Modified\r\n\r\n" + _POISON, "RFC 9110 15.4.5", "304 has no body",
               status=304, reply_body=b"", withheld=(b"poison",)),
    good_reply("64-head", _reply(_CL), "RFC 9110 9.3.2", "a reply to HEAD has no body", method="HEAD", reply_body=b"",
               withheld=(b"hello",)),
    good_reply("64-head-chunked", _reply(_TE, body=_CHUNKS), "RFC 9110 9.3.2", "nor chunks", method="HEAD",
               reply_body=b"", withheld=(b"hello",)),
    good_reply("64-head-clean", _reply(_CL, body=b""), "RFC 9110 9.3.2", "and without one it is clean", method="HEAD",
               reply_body=b"", reusable=True),
    good_reply("65-103", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + _reply(_CL), "RFC 9110 15.2",
               "1xx goes on",
               interim=(103,), reply_body=b"hello", reusable=True),
    good_reply("65-several",
               b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + _reply(_CL),
               "RFC 9110 15.2", "all of them do, in order", interim=(102, 103), reply_body=b"hello", reusable=True),
    good_reply("65-1.0", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + _reply(_CL), "RFC 9110 15.2",
               "HTTP/1.0 knows no 1xx", minor=0, reply_body=b"hello", reusable=True, withheld=(b"103", b"Link")),
    bad_reply("65-bad", b"HTTP/1.1 103 Early Hints\r\nLi nk: </a>\r\n\r\n" + _reply(_CL), "RFC 9112 5.1", "a bad 1xx"),
    ReplyCase("65-then-bad", b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 2 OK\r\n\r\n", "RFC 9112 4",
              "a good 1xx before a bad reply", frozenset((502,)), interim=(103,)),
    ReplyCase("65-no-final", b"HTTP/1.1 103 Early Hints\r\n\r\n", "RFC 9110 15.2", "a 1xx and no more",
              frozenset((502,)), interim=(103,), ends=True),
    broken_reply("66-length", _reply(b"Content-Length: 10\r\n"), "RFC 9112 8", "shorter than its length", ends=True),
    broken_reply("66-no-body", _reply(b"Content-Length: 10\r\n", body=b""), "RFC 9112 8", "none of it came", ends=True),
    broken_reply("66-in-chunk", _chunks(b"5\r\nhel"), "RFC 9112 8", "cut within a chunk", ends=True),
    broken_reply("66-between", _chunks(b"5\r\nhello\r\n"), "RFC 9112 8", "cut between chunks", ends=True),
    broken_reply("66-last", _chunks(b"5\r\nhello\r\n0\r\n"), "RFC 9112 8", "cut before the last CRLF", ends=True),
    bad_reply("66-head", b"HTTP/1.1 200 OK\r\nContent-Le", "RFC 9112 8", "cut within the head", ends=True, parser=None),
    bad_reply("66-nothing", b"", "RFC 9112 8", "closed without a word", ends=True, parser=None),
    good_reply("66-until-close", _reply(body=b"hello"), "RFC 9112 6.3", "no length: the close is the end", ends=True,
               reply_body=b"hello"),
    good_reply("66-1.0", b"HTTP/1.0 200 OK\r\n\r\nhello", "RFC 9112 6.3", "the same of a 1.0 server", ends=True,
               reply_body=b"hello"),
)  # fmt: skip
