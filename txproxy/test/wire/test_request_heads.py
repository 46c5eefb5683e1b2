"""Heads of requests: what is understood, and in which words."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txproxy.errors import BadRequest, ProxyError
from txproxy.test.wire.making import QUICK, Facts, noise, padding, pieces_of, requests
from txproxy.test.wire.reading import (
    LIMITS,
    cut,
    facts,
    read_request,
    request_of,
    request_with,
    single_bytes,
    status_of,
)
from txproxy.wire.h1 import parse_request_line

_LINES = (
    (b"GET / HTTP/1.1", (b"GET", b"/", 1)),
    (b"GET / HTTP/1.0", (b"GET", b"/", 0)),
    (b"GET / HTTP/1.2", (b"GET", b"/", 1)),
    (b"GET / HTTP/1.9", (b"GET", b"/", 1)),
    (b"get /x?y HTTP/1.1", (b"get", b"/x?y", 1)),
    (b"M-SEARCH * HTTP/1.1", (b"M-SEARCH", b"*", 1)),
    (b"!#$%&'*+-.^_`|~ / HTTP/1.1", (b"!#$%&'*+-.^_`|~", b"/", 1)),
    (b"", 400),
    (b"GET", 400),
    (b"GET /", 400),
    (b"GET /  HTTP/1.1", 400),
    (b"GET  / HTTP/1.1", 400),
    (b" GET / HTTP/1.1", 400),
    (b"GET / HTTP/1.1 ", 400),
    (b"GET\t/\tHTTP/1.1", 400),
    (b"GET  HTTP/1.1", 400),
    (b"G{T / HTTP/1.1", 400),
    (b"G\x80T / HTTP/1.1", 400),
    (b"GET / http/1.1", 400),
    (b"GET / HTTP/1.10", 400),
    (b"GET / HTTP/1", 400),
    (b"GET / HTTP/1.\xb2", 400),
    (b"GET / HTTP/2.0", 505),
    (b"GET / HTTP/0.9", 505),
    (b"GET /" + b"a" * 8178 + b" HTTP/1.1", (b"GET", b"/" + b"a" * 8178, 1)),
    (b"GET /" + b"a" * 8179 + b" HTTP/1.1", 414),
)

_HOSTS = (
    (b"a.example", b"a.example", None),
    (b"A.Example.:8080", b"a.example", 8080),
    (b"[::1]:1", b"[::1]", 1),
    (b"a:", b"a", None),
)

_FORMS = (
    # Method, target, Host; then target upstream, host, path.
    (b"GET", b"/x?y", b"a", b"/x?y", b"a", b"/x"),
    (b"GET", b"//x%2f/%7e?y", b"a", b"//x%2f/%7e?y", b"a", b"/x%2F/~"),
    (b"GET", b"http://B:1/x?y", b"a", b"/x?y", b"B:1", b"/x"),
    (b"GET", b"HTTP://b", b"a", b"/", b"b", b"/"),
    (b"GET", b"https://b?y", b"a", b"/?y", b"b", b"/"),
    (b"OPTIONS", b"*", b"a", b"*", b"a", b"*"),
    (b"OPTIONS", b"http://b", b"a", b"*", b"b", b"*"),
    (b"OPTIONS", b"http://b/", b"a", b"/", b"b", b"/"),
    (b"OPTIONS", b"http://b?y", b"a", b"/?y", b"b", b"/"),
    (b"OPTIONS", b"/x", b"a", b"/x", b"a", b"/x"),
    (b"CONNECT", b"b:443", b"a", b"b:443", b"a", b""),
    (b"GET", b"/caf\xc3\xa9", b"a", b"/caf%C3%A9", b"a", b"/caf%C3%A9"),
    (b"GET", b"http://b/\xff", b"a", b"/%FF", b"b", b"/%FF"),
)

# Field lines after Host; then content_length, chunked, keep_alive, expects_continue.
_FRAMINGS = (
    ((), (None, False, True, False)),
    ((b"Content-Length: 0",), (0, False, True, False)),
    ((b"Content-Length: 5",), (5, False, True, False)),
    ((b"Content-Length: 000000000000000000000005",), (5, False, True, False)),
    ((b"Content-Length: 999999999999999999",), (10**18 - 1, False, True, False)),
    ((b"Transfer-Encoding: chunked",), (None, True, True, False)),
    ((b"transfer-encoding:\tCHUNKED ",), (None, True, True, False)),
    ((b"Connection: close",), (None, False, False, False)),
    ((b"Connection: Keep-Alive",), (None, False, True, False)),
    ((b"Connection: keep-alive, CLOSE",), (None, False, False, False)),
    ((b"Connection: x", b"connection: close"), (None, False, False, False)),
    ((b"Connection:",), (None, False, True, False)),
    ((b"Connection: closed",), (None, False, True, False)),
    ((b"Expect: 100-continue",), (None, False, True, False)),
    ((b"Expect: 100-Continue", b"Content-Length: 5"), (5, False, True, True)),
    ((b"Expect: 100-continue", b"Content-Length: 0"), (0, False, True, False)),
    ((b"Expect: 100-continue", b"Transfer-Encoding: chunked"), (None, True, True, True)),
)

_REFUSED_FIELDS = (
    (400, b"Content-Length: 5", b"Transfer-Encoding: chunked"),
    (400, b"Transfer-Encoding: chunked", b"Content-Length: 5"),
    (400, b"Content-Length: 5", b"content-length: 5"),
    (400, b"Content-Length: 5, 5"),
    (400, b"Content-Length: +5"),
    (400, b"Content-Length: -0"),
    (400, b"Content-Length: 1_0"),
    (400, b"Content-Length:"),
    (400, b"Content-Length: \xb2"),
    (400, b"Content-Length: 1000000000000000000"),
    (400, b"Transfer-Encoding:"),
    (400, b"Transfer-Encoding: chunked,"),
    (400, b"Transfer-Encoding: gzip"),
    (400, b"Transfer-Encoding: identity"),
    (400, b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
    (400, b"Transfer-Encoding: chunked, gzip"),
    (400, b"Transfer-Encoding: chunked;a=b"),
    (400, b"Transfer-Encoding: pigeons, chunked"),
    (400, b"Transfer-Encoding: \x0bchunked"),
    (400, b"Transfer-Encoding: chunked\xa0"),
    (501, b"Transfer-Encoding: gzip, chunked"),
    (501, b"Transfer-Encoding: gzip", b"Transfer-Encoding: chunked"),
    (501, b"Transfer-Encoding: GZIP;q=1 , Chunked"),
    (501, b"Transfer-Encoding: deflate, br, zstd, chunked"),
    (417, b"Expect: 200-ok", b"Content-Length: 5"),
    (417, b"Expect: 100-continue, x", b"Content-Length: 5"),
    (417, b"Expect: 100", b"Content-Length: 5"),
    (400, b"Host: a.example"),
    (400, b"hOST: b.example"),
)


class RequestLineTests(SynchronousTestCase):
    """Three words with one space between (RFC 9112 section 3)."""

    def test_wordsAreSplitAndChecked(self) -> None:
        """Any token is a method; any minor version of HTTP/1 is served; all else is refused with its own status."""
        for line, expected in _LINES:
            if isinstance(expected, int):
                self.assertEqual(status_of(parse_request_line, line, LIMITS), expected, line)
            else:
                self.assertEqual(parse_request_line(line, LIMITS), expected, line)


class RequestHeadTests(SynchronousTestCase):
    """A head is understood in one way, or refused."""

    def test_hostIsUnderstood(self) -> None:
        """Host is kept as it was sent, and told in the form that routes compare."""
        for value, hostname, port in _HOSTS:
            request = request_with(host=b"Host: " + value)
            self.assertEqual((request.host, request.hostname, request.port), (value, hostname, port))

    def test_hostIsRequiredAndOne(self) -> None:
        """HTTP/1.1 needs exactly one valid Host; HTTP/1.0 may have none, but not a wrong one (RFC 9112 section 3.2)."""
        for version, host, status in (
            (b"1.1", b"", 400),
            (b"1.1", b"Host:", 400),
            (b"1.1", b"Host: a b", 400),
            (b"1.9", b"", 400),
            (b"1.0", b"", 0),
            (b"1.0", b"Host:", 0),
            (b"1.0", b"Host: a b", 400),
            (b"1.0", b"Host: a\r\nHost: a", 400),
        ):
            line = b"GET / HTTP/" + version
            self.assertEqual(status_of(request_with, line=line, host=host), status, host)
        request = request_with(line=b"GET / HTTP/1.0", host=b"")
        self.assertEqual((request.host, request.hostname, request.port), (b"", b"", None))

    def test_targetFormsAreUnderstood(self) -> None:
        """The four forms of a target, what of them goes upstream, and whose authority counts (RFC 9112 section 3.2)."""
        for method, target, host, upstream, authority, path in _FORMS:
            request = request_with(line=b"%b %b HTTP/1.1" % (method, target), host=b"Host: " + host)
            self.assertEqual((request.method, request.target), (method, upstream), target)
            self.assertEqual((request.host, request.path), (authority, path), target)
            self.assertFalse(request.suspicious, target)

    def test_otherTargetsAreRefused(self) -> None:
        """A target in none of the forms, or in a form that its method does not go with, is refused."""
        for line in (
            b"GET * HTTP/1.1", b"GET a HTTP/1.1", b"GET a:80 HTTP/1.1", b"CONNECT / HTTP/1.1",
            b"CONNECT http://a/ HTTP/1.1", b"OPTIONS ** HTTP/1.1", b"OPTIONS *x HTTP/1.1", b"GET ?x HTTP/1.1",
            b"GET http:///x HTTP/1.1", b"GET http://u@a/ HTTP/1.1", b"GET /\x7f HTTP/1.1", b"GET ftp://a/ HTTP/1.1",
        ):  # fmt: skip
            self.assertRaises(BadRequest, request_with, line=line)

    def test_oddTargetsAreMarked(self) -> None:
        """What only some routes let pass is marked, in every form."""
        for target in (
            b"/a/../b",
            b"/%2e",
            b"/a#b",
            b"/%zz",
            b"/%00",
            b"http://a/x/..",
            b"http://a/#",
            b"/?%00",
            b"/?#",
        ):
            self.assertTrue(request_with(line=b"GET " + target + b" HTTP/1.1").suspicious, target)

    def test_framingAndPersistence(self) -> None:
        """How long the body is and whether the connection persists (RFC 9112 sections 6.3 and 9.3)."""
        for lines, expected in _FRAMINGS:
            request = request_with(*lines)
            found = (request.content_length, request.chunked, request.keep_alive, request.expects_continue)
            self.assertEqual(found, expected, lines)
            self.assertEqual(request.has_body, bool(expected[0]) or expected[1], lines)

    def test_persistenceOfHttp10(self) -> None:
        """HTTP/1.0 persists only where it asks to; its expectations are ignored (RFC 9110 section 10.1.1)."""
        line = b"GET / HTTP/1.0"
        self.assertFalse(request_with(line=line).keep_alive)
        self.assertFalse(request_with(line=line, host=b"").keep_alive)
        self.assertTrue(request_with(b"Connection: Keep-Alive", line=line).keep_alive)
        self.assertFalse(request_with(b"Connection: keep-alive, close", line=line).keep_alive)
        self.assertFalse(request_with(b"Connection: x", line=line).keep_alive)
        request = request_with(b"Expect: 100-continue", b"Content-Length: 5", line=line)
        self.assertEqual((request.expects_continue, request.content_length), (False, 5))
        self.assertFalse(request_with(b"Expect: anything", line=line).expects_continue)
        self.assertEqual(status_of(request_with, b"Transfer-Encoding: chunked", line=line), 400)

    def test_ambiguousFieldsAreRefused(self) -> None:
        """Whatever two readers could take for two lengths is refused, with the status of the contract (HF8)."""
        for status, *lines in _REFUSED_FIELDS:
            self.assertEqual(status_of(request_with, *lines), status, lines)

    def test_piecesMakeNoDifference(self) -> None:
        """A request is the same in one piece, byte by byte, cut anywhere, and with another behind it (D4)."""
        chunks = b"5;x=y\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n"
        for lines, body in (
            (b"", b""),
            (b"Content-Length: 5\r\n", b"hello"),
            (b"Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\n", chunks),
        ):
            raw = b"POST /x?y HTTP/1.1\r\nHost: a\r\nA: b \r\n" + lines + b"\r\n" + body
            whole = read_request([raw])
            self.assertTrue(whole.complete)
            self.assertEqual(read_request(single_bytes(raw)), whole)
            for at in range(1, len(raw)):
                self.assertEqual(read_request(cut(raw, at)), whole, at)
                self.assertEqual(read_request([*cut(raw, at), raw]), whole._replace(rest=raw), at)
                self.assertEqual(read_request([b"\r\n", *cut(raw, at)]), whole, at)

    def test_representationsTellWhatMatters(self) -> None:
        """A model in a debugger's words."""
        request = request_with(line=b"GET /x HTTP/1.1")
        self.assertEqual(repr(request), "<RequestHead b'GET' b'/x' host=b'a.example'>")

    @QUICK
    @given(requests, st.lists(padding, max_size=5))
    def test_whatIsWrittenIsReadBack(self, meant: Facts, pads: list[bytes]) -> None:
        """Any valid message is understood as it was meant, whatever whitespace is around its values."""
        request = request_of(meant.written(pads))
        framing = dict((name.lower(), value) for name, value in meant.framing)
        self.assertEqual((request.method, request.minor, request.host), (meant.method, 1, meant.host))
        self.assertEqual(request.target, meant.target)
        self.assertEqual(request.fields, [(b"Host", meant.host), *meant.fields, *meant.framing])
        length = framing.get(b"content-length")
        self.assertEqual(request.content_length, None if length is None else int(length))
        self.assertEqual(request.chunked, b"transfer-encoding" in framing)
        again = Facts(request.method, request.target, request.minor, request.host, request.fields[1:], ())
        self.assertEqual(facts(request_of(again.written([]))), facts(request))

    @QUICK
    @given(noise, st.data())
    def test_noiseIsUnderstoodOrRefused(self, raw: bytes, data: st.DataObject) -> None:
        """Nothing but our own errors is raised, and pieces do not change what becomes of a head."""
        raw = b"GET / HTTP/1.1\r\nHost: a\r\n" + raw if data.draw(st.booleans()) else raw
        whole = read_request([raw])
        pieces = read_request(data.draw(pieces_of(raw)))
        if whole.head is not None and not whole.body_error:
            self.assertEqual(pieces, whole)
        self.assertEqual(bool(pieces.head), bool(whole.head))
        head = raw.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
        try:
            request = request_of(head)
        except ProxyError as error:
            self.assertIn(error.status, (400, 417, 501, 505))
        else:
            self.assertFalse(request.chunked and request.content_length is not None)
            self.assertTrue(request.host or not request.minor)
