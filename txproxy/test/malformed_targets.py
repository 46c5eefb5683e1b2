"""Malformed and borderline request lines, hosts and connections: cases 47 to 61 of the table."""

from __future__ import annotations

from .malformed_case import HOST, RequestCase, accepted, get, post, refused

_CHUNKS = b"5\r\nhello\r\n0\r\n\r\n"
_CL = b"Content-Length: 5\r\n"
_TE = b"Transfer-Encoding: chunked\r\n"
_SMUGGLED = b"GET /smuggled HTTP/1.1\r\n" + HOST + b"\r\n"


def _line(line: bytes, *fields: bytes) -> bytes:
    return line + b"\r\n" + HOST + b"".join(fields) + b"\r\n"


def _host(value: bytes, version: bytes = b"1.1") -> bytes:
    return b"GET /case HTTP/" + version + b"\r\nHost: " + value + b"\r\n\r\n"


_REQUEST_LINE: tuple[RequestCase, ...] = (
    *(
        refused(f"47-{name}", _line(method + b" /case HTTP/1.1"), "RFC 9110 9.1", "a method is a token")
        for name, method in (
            ("bracket", b"GE(T"), ("colon", b"GET:"), ("at", b"G@T"), ("quote", b'G"T'), ("slash", b"GET/"),
            ("nul", b"GET\x00"), ("c1", b"GE\x80T"), ("latin", b"GET\xdf"), ("comma", b"GET,POST"), ("empty", b""),
        )
    ),
    *(
        accepted(
            f"48-{name}", _line(method + b" /case HTTP/1.1"), "RFC 9110 9.1", "any token is a method, in its own case",
            forwarded=(method + b" /case HTTP/1.1\r\n",),
        )
        for name, method in (
            ("brew", b"BREW"), ("hyphen", b"-BLARGH"), ("lower", b"get"), ("search", b"M-SEARCH"),
            ("webdav", b"PROPFIND"),
            ("prefix", b"GETX"), ("all", b"!#$%&'*+-.^_`|~09AZaz"),
        )
    ),
    refused("49", b"GET /case\r\n\r\n", "RFC 9112 3", "HTTP/0.9 has no version"),
    refused("49-fields", b"GET /case\r\n" + HOST + b"\r\n", "RFC 9112 3", "no version, but fields"),
    refused("49-space", b"GET /case \r\n" + HOST + b"\r\n", "RFC 9112 3", "an empty version"),
    refused("49-one-word", b"GET\r\n\r\n", "RFC 9112 3", "a method and nothing more"),
    refused("49-no-target", _line(b"GET HTTP/1.1"), "RFC 9112 3", "a version in the target's place"),
    refused("49-lf", b"GET\n/case\nHTTP/1.1\r\n" + HOST + b"\r\n", "RFC 9112 3", "LF between the words"),
    *(
        refused(f"49-{name}", _line(line), "RFC 9112 3", "one SP between the words, none around them")
        for name, line in (
            ("two-spaces", b"GET  /case HTTP/1.1"), ("two-spaces-2", b"GET /case  HTTP/1.1"),
            ("leading-space", b" GET /case HTTP/1.1"), ("trailing-space", b"GET /case HTTP/1.1 "),
            ("tabs", b"GET\t/case\tHTTP/1.1"), ("vertical-tab", b"GET\x0b/case\x0bHTTP/1.1"),
            ("four-words", b"GET /case HTTP/1.1 x"),
        )
    ),
    *(
        refused(f"50-{name}", _line(b"GET /case " + version), "RFC 9112 2.3", "not a version of HTTP")
        for name, version in (
            ("1.32", b"HTTP/1.32"), ("111", b"HTTP/111"), ("lower", b"http/1.1"), ("1-dot", b"HTTP/1."),
            ("1", b"HTTP/1"),
            ("2", b"HTTP/2"), ("11.1", b"HTTP/11.1"), ("01.1", b"HTTP/01.1"), ("comma", b"HTTP/1,1"),
            ("x", b"HTTP/1.x"),
            ("suffix", b"HTTP/1.1x"), ("ftp", b"FTP/1.1"), ("minus", b"HTTP/-1.1"), ("plus", b"HTTP/+1.1"),
            ("rtsp", b"RTSP/1.0"), ("icy", b"ICE/1.0"), ("long", b"HTTP/" + b"1" * 80 + b".1"),
            ("nul", b"HTTP/1.1\x00"),
        )
    ),
    *(
        refused(f"50-{name}", _line(b"GET /case " + version), "RFC 9110 15.6.6", "another major version", status=505)
        for name, version in (("2.0", b"HTTP/2.0"), ("3.0", b"HTTP/3.0"), ("9.9", b"HTTP/9.9"))
    ),
    *(
        accepted(
            f"50-{version}", _line(b"GET /case HTTP/" + version.encode()), "RFC 9110 2.5", "served as 1.1",
            forwarded=(b"GET /case HTTP/1.1\r\n",),
        )
        for version in ("1.2", "1.9")
    ),
    *(
        refused(f"51-{name}", _line(b"GET /ca" + piece + b"se HTTP/1.1"), "RFC 9112 3.2", "no target holds this")
        for name, piece in (
            ("space", b" "), ("tab", b"\t"), ("nul", b"\x00"), ("escape", b"\x1b"), ("vertical-tab", b"\x0b"),
            ("delete", b"\x7f"),
        )
    ),
    *(
        refused(f"51-{name}", _line(b"GET /ca" + piece + b"se HTTP/1.1"), "RFC 9112 3.2", "unless its route allows it",
                parser=None)
        for name, piece in (
            ("fragment", b"#se"), ("bad-escape", b"%zz"), ("half-escape", b"%4"), ("lone-percent", b"%"),
            ("signed-escape", b"%+1"),
        )
    ),
    *(
        refused(f"52-{name}", _line(b"GET " + target + b" HTTP/1.1"), "RFC 9112 3.2", "in none of the four forms")
        for name, target in (
            ("relative", b"foo/bar"), ("bang", b"!"), ("asterisk", b"*"), ("asterisk-path", b"*/x"), ("query", b"?q=1"),
            ("authority", b"a.example:443"), ("host", b"a.example"), ("one-slash", b"http:/x"),
            ("scheme", b"ftp://a/x"),
            ("no-authority", b"http:///x"), ("userinfo", b"http://u:p@a.example/x"), ("bad-port", b"http://a:99999/x"),
            ("port-word", b"http://a:b/x"), ("backslash", b"\\x"),
        )
    ),
    accepted("52-options", _line(b"OPTIONS * HTTP/1.1"), "RFC 9112 3.2.4", "* goes with OPTIONS",
             forwarded=(b"OPTIONS * HTTP/1.1\r\n",)),
    *(
        accepted(
            f"53-{name}", _line(b"GET " + target + b" HTTP/1.1"), "RFC 9112 3.2.2",
            "the target's authority replaces Host; origin-form goes on",
            forwarded=(b"GET " + origin + b" HTTP/1.1\r\n", b"\r\nHost: " + host + b"\r\n"),
            withheld=(b"\r\nHost: a.example\r\n", b"http://", b"HTTP://"),
        )
        for name, target, origin, host in (
            ("other-host", b"http://other.example/abs?q=1", b"/abs?q=1", b"other.example"),
            ("port", b"http://other.example:8080/", b"/", b"other.example:8080"),
            ("no-path", b"http://other.example", b"/", b"other.example"),
            ("no-path-query", b"http://other.example?q=1", b"/?q=1", b"other.example"),
            ("upper-scheme", b"HTTP://other.example/x", b"/x", b"other.example"),
            ("ipv6", b"http://[::1]:8080/x", b"/x", b"[::1]:8080"),
        )
    ),
    accepted("53-same-host", _line(b"GET http://a.example/abs HTTP/1.1"), "RFC 9112 3.2.2", "and the same Host",
             forwarded=(b"GET /abs HTTP/1.1\r\n", b"\r\nHost: a.example\r\n")),
    accepted("53-1.0", b"GET http://other.example/abs HTTP/1.0\r\n\r\n", "RFC 9112 3.2.2", "no Host needed in 1.0",
             closes=True, forwarded=(b"GET /abs HTTP/1.1\r\n", b"\r\nHost: other.example\r\n")),
    accepted("53-options", _line(b"OPTIONS http://other.example HTTP/1.1"), "RFC 9112 3.2.4", "the last proxy sends *",
             forwarded=(b"OPTIONS * HTTP/1.1\r\n", b"\r\nHost: other.example\r\n")),
    refused("53-no-host", b"GET http://a.example/x HTTP/1.1\r\n\r\n", "RFC 9112 3.2", "1.1 needs Host all the same"),
    refused("54-none", b"GET /case HTTP/1.1\r\n\r\n", "RFC 9112 3.2", "no Host"),
    refused("54-none-fields", b"GET /case HTTP/1.1\r\nX: y\r\n\r\n", "RFC 9112 3.2", "no Host, but other fields"),
    refused("54-two", get(b"Host: b.example\r\n"), "RFC 9112 3.2", "two Hosts"),
    refused("54-two-equal", get(HOST), "RFC 9112 3.2", "two Hosts, even if equal"),
    refused("54-two-case", get(b"hOST: b.example\r\n"), "RFC 9112 3.2", "two Hosts"),
    refused("54-two-1.0", b"GET /case HTTP/1.0\r\n" + HOST + HOST + b"\r\n", "RFC 9112 3.2", "two Hosts in 1.0"),
    refused("54-invalid-1.0", _host(b"a/b", b"1.0"), "RFC 9112 3.2", "an invalid Host in 1.0"),
    *(
        refused(f"54-{name}", _host(value), "RFC 9112 3.2", "Host is host[:port] and nothing else")
        for name, value in (
            ("list", b"a.example, b.example"), ("list-tight", b"a.example,b:80"), ("userinfo", b"u@a.example"),
            ("port-word", b"a.example:http"), ("port-range", b"a.example:65536"), ("port-sign", b"a.example:-1"),
            ("port-plus", b"a.example:+80"), ("two-ports", b"a.example:80:80"), ("empty", b""), ("only-port", b":80"),
            ("space", b"a b"), ("slash", b"a.example/x"), ("scheme", b"http://a.example"), ("query", b"a?b"),
            ("fragment", b"a#b"), ("backslash", b"a\\b"), ("open-bracket", b"[::1"), ("close-bracket", b"::1]"),
            ("after-bracket", b"[::1]x"), ("c1", b"a\x85"), ("utf8", "\u00e4.example".encode()),
            ("bad-escape", b"a%zz"),
        )
    ),
    *(
        accepted(f"54-{name}", _host(value), "RFC 3986 3.2", "a valid authority",
                 forwarded=(b"\r\nHost: " + value + b"\r\n",))
        for name, value in (("ipv6", b"[::1]:8080"), ("upper", b"A.EXAMPLE:80"), ("empty-port", b"a.example:"))
    ),
    accepted("54-none-1.0", b"GET /case HTTP/1.0\r\n\r\n", "RFC 9112 3.2", "1.0 needs no Host", closes=True),
    refused("55", _line(b"CONNECT a.example:443 HTTP/1.1") + _SMUGGLED, "RFC 9110 9.3.6", "no tunnel here", status=405,
            parser=None, withheld=(b"smuggled",)),
    refused("55-path", _line(b"CONNECT /x HTTP/1.1"), "RFC 9112 3.2.3", "CONNECT takes an authority"),
    accepted(
        "56-non-ascii", get(target=b"/caf\xc3\xa9?\xe9"), "RFC 3986 2.1", "what is not ASCII goes on in escapes",
        forwarded=(b"GET /caf%C3%A9?%E9 HTTP/1.1\r\n",),
    ),
    accepted("56-kept-escapes", get(target=b"/caf%c3%a9/%7Ea"), "RFC 3986 2.1", "escapes are not touched",
             forwarded=(b"GET /caf%c3%a9/%7Ea HTTP/1.1\r\n",)),
    accepted("56-slashes", get(target=b"//x///y"), "RFC 3986 3.3", "goes on byte for byte",
             forwarded=(b"GET //x///y HTTP/1.1\r\n",)),
    refused("56-nul", get(target=b"/a%00b"), "RFC 3986 7.3", "an escaped NUL ends a string in C", parser=None),
    *(
        refused(f"56-{name}", get(target=target), "RFC 3986 6.2.2.3", "a path that leaves its route", parser=None)
        for name, target in (
            ("dots", b"/a/../b"), ("dot", b"/a/./b"), ("dots-last", b"/a/.."), ("dots-first", b"/../b"),
            ("escaped", b"/a/%2e%2e/b"), ("escaped-upper", b"/a/%2E./b"), ("escaped-slash", b"/a/..%2fb"),
            ("escaped-backslash", b"/a/..%5cb"), ("before-query", b"/a/..?x"), ("backslash", b"/a/..\\b"),
        )
    ),
)  # fmt: skip

_UPGRADE = b"Connection: Upgrade\r\n"

_CONNECTION: tuple[RequestCase, ...] = (
    accepted(
        "57-forwarded-for", get(b"Connection: X-Forwarded-For\r\n"), "RFC 9110 7.6.1",
        "nobody names away what the proxy sets", forwarded=(b"\r\nX-Forwarded-For: 127.0.0.1\r\n",),
    ),
    accepted("57-host", get(b"Connection: Host\r\n"), "RFC 9110 7.6.1", "nor Host", forwarded=(b"\r\n" + HOST,)),
    accepted("57-length", post(b"Connection: cOnTeNt-LeNgTh\r\n", _CL, body=b"hello"), "RFC 9110 7.6.1", "nor framing",
             delivered=b"hello"),
    accepted("57-coding", post(b"Connection: Transfer-Encoding\r\n", _TE, body=_CHUNKS), "RFC 9110 7.6.1",
             "nor framing",
             delivered=b"hello"),
    accepted("57-via", get(b"Connection: Via, X-Request-Id\r\n"), "RFC 9110 7.6.1", "nor these",
             forwarded=(b"\r\nVia: ", b"\r\nX-Request-Id: ")),
    accepted(
        "57-named", get(b"Connection: X-Foo, keep-alive\r\n", b"X-Foo: 1\r\n", b"Keep-Alive: 5\r\n", b"X-Bar: 2\r\n"),
        "RFC 9110 7.6.1", "what it names goes, the rest stays",
        forwarded=(b"\r\nX-Bar: 2\r\n",), withheld=(b"X-Foo", b"x-foo", b"Keep-Alive", b"keep-alive"),
    ),
    accepted("57-close", get(b"Connection: CLOSE, X-Foo\r\n", b"X-Foo: 1\r\n"), "RFC 9112 9.6", "options have no case",
             closes=True, withheld=(b"X-Foo", b"CLOSE")),
    accepted("57-close-list", get(b"Connection: x\r\n", b"Connection: y ,\tClose\r\n"), "RFC 9112 9.6",
             "in a second line",
             closes=True),
    *(
        RequestCase(
            f"58-{name}", get() + garbage, "RFC 9112 9.3", "the first is answered, the rest is refused",
            frozenset((400,)),
            "one clean request", replies=2, withheld=(b"smuggled",),
        )
        for name, garbage in (
            ("words", b"garbage here\r\n\r\n"), ("tls", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"),
            ("framing", post(_CL, _TE, body=_SMUGGLED)), ("lf", b"GET /smuggled HTTP/1.1\nHost: a\n\n"),
        )
    ),
    accepted("59", get(b"Connection: close\r\n") + _SMUGGLED, "RFC 9112 9.6", "what follows close is not read",
             closes=True, withheld=(b"smuggled",)),
    accepted("59-1.0", b"GET /case HTTP/1.0\r\n" + HOST + b"\r\n" + _SMUGGLED, "RFC 9112 9.3", "1.0 closes by itself",
             closes=True, withheld=(b"smuggled",)),
    accepted("59-body", post(_CL, b"Connection: close\r\n", body=b"hello" + _SMUGGLED), "RFC 9112 9.6", "after a body",
             closes=True, delivered=b"hello", withheld=(b"smuggled",)),
    accepted("60", post(b"Expect: 100-continue\r\n", _CL, body=b"hello"), "RFC 9110 10.1.1", "the backend answers it",
             delivered=b"hello"),
    refused("60-framing", post(b"Expect: 100-continue\r\n", _CL, _TE, body=_CHUNKS), "RFC 9112 6.3", "as without it"),
    refused("60-unknown", post(b"Expect: 200-ok\r\n", _CL, body=b"hello"), "RFC 9110 10.1.1", "unknown", status=417),
    refused("60-two", post(b"Expect: 100-continue, x\r\n", _CL, body=b"hello"), "RFC 9110 10.1.1", "unknown",
            status=417),
    accepted("60-late", post(b"Expect: 100-continue\r\n", b"Content-Length: %d\r\n" % len(_SMUGGLED), body=_SMUGGLED),
             "RFC 9110 10.1.1", "a body is a body, whatever it looks like", delivered=_SMUGGLED),
    accepted(
        "61-h2c",
        get(b"Connection: Upgrade, HTTP2-Settings\r\n", b"Upgrade: h2c\r\n", b"HTTP2-Settings: AAMAAABkAAQAAP__\r\n"),
        "RFC 9110 7.8", "never passed on", withheld=(b"h2c", b"HTTP2-Settings", b"\r\nUpgrade"),
    ),
    accepted("61-unknown", get(_UPGRADE, b"Upgrade: foo/2\r\n"), "RFC 9110 7.8", "never passed on",
             withheld=(b"\r\nUpgrade", b"foo/2")),
    accepted("61-no-key", get(_UPGRADE, b"Upgrade: websocket\r\n", b"Sec-WebSocket-Version: 13\r\n"), "RFC 6455 4.2.1",
             "not a handshake, so an ordinary request", withheld=(b"\r\nUpgrade",)),
    accepted("61-body", post(_UPGRADE, b"Upgrade: websocket\r\n", _CL, body=b"hello"), "RFC 9110 7.8",
             "with a body it is an ordinary request", delivered=b"hello", withheld=(b"\r\nUpgrade",)),
    accepted("61-no-connection", get(b"Upgrade: websocket\r\n"), "RFC 9110 7.8", "Connection does not name it",
             withheld=(b"\r\nUpgrade",)),
)  # fmt: skip

REQUEST_LINES: tuple[RequestCase, ...] = _REQUEST_LINE + _CONNECTION
