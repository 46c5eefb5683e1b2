"""Heads of requests in HTTP/2: what is understood, and what is refused (RFC 9113 sections 8.2 and 8.3)."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txproxy.errors import BadBody, BadRequest, ExpectationFailed, HeadersTooLarge, ProxyError, UriTooLong
from txproxy.test.wire.http2.heads_case import LIMITS, PSEUDO, fields_with, request_with
from txproxy.test.wire.reading import facts, request_of
from txproxy.wire.fields import Field
from txproxy.wire.http2.requests import parse_request_fields, parse_request_trailers
from txproxy.wire.limits import MAX_TRAILER_BYTES, HeadLimits
from txproxy.wire.messages import RequestHead


class RequestCase(SynchronousTestCase):
    """A test that parses requests."""

    def refused(
        self, *fields: Field, ended: bool = True, error: type[ProxyError] = BadRequest, **pseudo: bytes | None
    ) -> None:
        """Check that a request is refused."""
        try:
            request = request_with(*fields, ended=ended, **pseudo)
        except ProxyError as reason:
            self.assertIs(type(reason), error, (fields, pseudo))
        else:
            self.fail(f"{fields} {pseudo} was accepted as {request}")


class ModelTests(RequestCase):
    """What comes by HTTP/2 looks as if it had come by HTTP/1.1."""

    def test_likeHttp1(self) -> None:
        """All that a model says but for the version, and but for the Transfer-Encoding that announces no length."""
        h1 = request_of(
            b"GET /a/../b%zz?q=1 HTTP/1.1\r\nHost: A.example.:8443\r\naccept: */*\r\nuser-agent: x\r\nx_y: 1\r\n"
            b"via: 1.1 a\r\nvia: 1.1 b\r\nx-forwarded-for: ::1\r\nx.forwarded-for: 2\r\nte: trailers\r\n"
            b"expect: 100-Continue\r\ncontent-length: 005\r\ndate: \r\n\r\n"
        )
        h2 = request_with(
            (b"accept", b"*/*"),
            (b"user-agent", b"x"),
            (b"x_y", b"1"),
            (b"via", b"1.1 a"),
            (b"via", b"1.1 b"),
            (b"x-forwarded-for", b"::1"),
            (b"x.forwarded-for", b"2"),
            (b"te", b"trailers"),
            (b"expect", b"100-Continue"),
            (b"content-length", b"005"),
            (b"date", b""),
            authority=b"A.example.:8443",
            path=b"/a/../b%zz?q=1",
            ended=False,
        )
        expected = facts(h1)
        self.assertEqual((expected.pop("version"), h1.minor), (b"1.1", 1))
        self.assertEqual(facts(h2), {**expected, "version": b"2.0"})
        self.assertEqual(list(facts(h2)["known"]), [*list(h1.known)[1:], b"host"])

    def test_lengths(self) -> None:
        """A declared length holds; without one there is a body of unknown length unless the stream has ended."""
        length = (b"content-length", b"7")
        self.assertEqual(self.framing(request_with(length, ended=False)), (7, False, True))
        self.assertEqual(self.framing(request_with(ended=False)), (None, True, True))
        self.assertEqual(self.framing(request_with()), (None, False, False))
        for ended in (True, False):
            self.assertEqual(self.framing(request_with((b"content-length", b"00"), ended=ended)), (0, False, False))

    def framing(self, request: RequestHead) -> tuple[object, ...]:
        return request.content_length, request.chunked, request.has_body

    def test_expectations(self) -> None:
        """As in HTTP/1.1: they mean nothing without a body, and another one than 100-continue is not met."""
        expect = (b"expect", b"100-continue")
        self.assertTrue(request_with(expect, ended=False).expects_continue)
        self.assertFalse(request_with(expect).expects_continue)
        self.refused((b"expect", b"200-ok"), error=ExpectationFailed)

    def test_targets(self) -> None:
        """Origin-form and the star of OPTIONS; high bytes are escaped, odd things are pointed out."""
        request = request_with(path=b"/caf\xe9?\xff")
        self.assertEqual((request.target, request.path), (b"/caf%E9?%FF", b"/caf%E9"))
        self.assertEqual(request_with(path=b"/a/./b").path, b"/a/b")
        for path in (b"/a/../b", b"/#", b"/%0", b"/%00"):
            self.assertTrue(request_with(path=path).suspicious, path)
        star = request_with(method=b"OPTIONS", path=b"*")
        self.assertEqual((star.target, star.path), (b"*", b"*"))

    def test_connect(self) -> None:
        """It has an authority and nothing else (RFC 9113 section 8.5)."""
        request = request_with(method=b"CONNECT", authority=b"a.example:443", path=None, scheme=None)
        self.assertEqual((request.target, request.path, request.host), (b"a.example:443", b"", b"a.example:443"))
        for path, scheme, authority in (
            (b"/", None, b"a.example:443"),
            (None, b"https", b"a.example:443"),
            (None, None, b"a.example"),
            (None, None, None),
            (None, None, b""),
        ):
            self.refused(method=b"CONNECT", path=path, scheme=scheme, authority=authority)
        self.refused((b"host", b"a.example:443"), method=b"CONNECT", authority=None, path=None, scheme=None)

    def test_crumbs(self) -> None:
        """Cookies are one field again, at the place of the first, in their order (RFC 9113 section 8.2.3)."""
        request = request_with((b"a", b"1"), (b"cookie", b"b=c"), (b"d", b"2"), (b"cookie", b"e=f"), (b"cookie", b""))
        self.assertEqual(
            request.fields, [(b"Host", b"a.example"), (b"a", b"1"), (b"cookie", b"b=c; e=f; "), (b"d", b"2")]
        )
        one = request_with((b"cookie", b"b=c"))
        self.assertEqual(one.fields[1:], [(b"cookie", b"b=c")])

    def test_fieldsAreNotTouched(self) -> None:
        """They are the decoder's, which may give the same list again."""
        fields = fields_with((b"cookie", b"a"), (b"cookie", b"b"), (b"host", b"a.example"))
        before = list(fields)
        parse_request_fields(fields, True, LIMITS)
        self.assertEqual(fields, before)
        trailers = [(b"a", b"b")]
        parse_request_trailers(trailers).append((b"c", b"d"))
        self.assertEqual(trailers, [(b"a", b"b")])


class AuthorityTests(RequestCase):
    """Whom a request is for (RFC 9113 section 8.3.1)."""

    def test_hostComesFirst(self) -> None:
        """It is made of :authority, or is the client's own."""
        for request in (
            request_with((b"a", b"b")),
            request_with((b"a", b"b"), (b"host", b"a.example"), authority=None),
            request_with((b"a", b"b"), (b"host", b"a.example")),
        ):
            self.assertEqual(request.fields, [(b"Host", b"a.example"), (b"a", b"b")])
            self.assertEqual((request.host, request.known), (b"a.example", {b"host": b"a.example"}))

    def test_hostThatMeansTheSame(self) -> None:
        """Spelling, a final dot, and the usual port of the scheme make no difference; :authority goes on."""
        for scheme, authority, host in (
            (b"https", b"a.example", b"A.EXAMPLE"),
            (b"https", b"a.example", b"a.example:443"),
            (b"https", b"a.example:443", b"a.example."),
            (b"http", b"a.example:80", b"a.example"),
            (b"http", b"[::A]", b"[::a]:80"),
        ):
            request = request_with((b"host", host), scheme=scheme, authority=authority)
            self.assertEqual(request.fields, [(b"Host", authority)])
            self.assertEqual(request.known, {b"host": authority})

    def test_hostThatMeansAnother(self) -> None:
        """Of two hosts one would be routed by and the other be served by."""
        for host in (b"b.example", b"a.example:80", b"a.example:444", b"", b"a.example,b.example", b"a.example:0"):
            self.refused((b"host", host))
        self.refused((b"host", b"a.example"), authority=b"")
        self.refused((b"host", b"@"), authority=b"b@c")

    def test_hostTwice(self) -> None:
        """Even if both are the same."""
        self.refused((b"host", b"a.example"), (b"host", b"a.example"))
        self.refused((b"host", b"a.example"), (b"host", b"a.example"), authority=None)

    def test_none(self) -> None:
        """There must be one, and it must not be empty."""
        self.refused(authority=None)
        self.refused(authority=b"")
        self.refused((b"host", b""), authority=None)

    def test_invalid(self) -> None:
        """As Host in HTTP/1.1: no userinfo, no list, no bad port, no path, no byte that has no place in it."""
        for authority in (
            b"u@a.example", b"u:p@a.example", b"a, b", b"a:b", b"a:65536", b"a:443:443", b"a/b", b"a b", b" a", b"a ",
            b"a\r\nx: y", b"a\x00", b"a\xe9", b"[::1", b"a?b", b"a#b", b"http://a",
        ):  # fmt: skip
            self.refused(authority=authority)
            self.refused((b"host", authority), authority=None)


class PseudoFieldTests(RequestCase):
    """Pseudo-fields: each once, before all others, none but those of a request (RFC 9113 section 8.3)."""

    def test_anyOrder(self) -> None:
        """Among themselves."""
        fields = list(PSEUDO.items())[::-1]
        self.assertEqual(parse_request_fields(fields, True, LIMITS).target, b"/x")

    def test_missing(self) -> None:
        """Method, scheme and path are required."""
        self.refused(method=None)
        self.refused(scheme=None)
        self.refused(path=None)
        self.assertRaises(BadRequest, parse_request_fields, [], True, LIMITS)

    def test_twice(self) -> None:
        """Even if both are the same; wherever they stand."""
        for name, value in PSEUDO.items():
            self.refused((name, value))
            self.refused((b"a", b"b"), (name, value))
            self.assertRaises(BadRequest, parse_request_fields, [(name, value), *fields_with()], True, LIMITS)

    def test_unknown(self) -> None:
        """Those of replies, of extensions that were not agreed on, and made-up ones."""
        for name in (b":status", b":protocol", b":", b":x", b":Path", b"::path", b":host"):
            self.refused((name, b"200"))
            self.assertRaises(BadRequest, parse_request_fields, [(name, b"a"), *fields_with()], True, LIMITS)

    def test_late(self) -> None:
        """Behind another field."""
        for name in PSEUDO:
            fields = [field for field in fields_with((b"a", b"b")) if field[0] != name] + [(name, PSEUDO[name])]
            self.assertRaises(BadRequest, parse_request_fields, fields, True, LIMITS)

    def test_methods(self) -> None:
        """Tokens, whatever they mean."""
        for method in (b"BREW", b"get", b"M-SEARCH", b"!"):
            self.assertEqual(request_with(method=method).method, method)
        for method in (
            b"",
            b"GE T",
            b"GET ",
            b"GET\r\n",
            b"GET /x HTTP/1.1\r\nA:",
            b"G\x00T",
            b"G\xe9T",
            b"GET,",
            b":",
        ):
            self.refused(method=method)

    def test_schemes(self) -> None:
        """The two that a reverse proxy serves."""
        self.assertEqual(request_with(scheme=b"http").host, b"a.example")
        for scheme in (b"", b"ftp", b"HTTPS", b"https ", b"http/1.1\r\n", b"wss", b"https://"):
            self.refused(scheme=scheme)

    def test_paths(self) -> None:
        """Nothing that would be another word of a request line, or another form of a target."""
        for path in (
            b"", b"x", b"*", b"?q", b"http://a.example/", b"//a b", b"/x HTTP/1.1", b"/x\r\nA: b", b"/\n", b"/\x00",
            b"/\t", b" /", b"/ ", b"/\x7f", b"a.example:443", b"../", b"/x\r\n\r\nGET /y HTTP/1.1\r\nHost: b\r\n\r\n",
        ):  # fmt: skip
            self.refused(path=path)
        self.refused(method=b"OPTIONS", path=b"**")
        self.refused(method=b"OPTIONS", path=b"http://a.example")


class FieldTests(RequestCase):
    """Fields that would be refused in HTTP/1.1, or mean another there (RFC 9113 section 8.2)."""

    def test_names(self) -> None:
        """Tokens in lower case."""
        self.assertEqual(request_with((b"!#$%&'*+-.^`|~09az", b"1")).fields[1][0], b"!#$%&'*+-.^`|~09az")
        for name in (
            b"", b"A", b"x-Y", b"Content-Length", b"a b", b" a", b"a ", b"a:", b"a:b", b"a\r\nb", b"a\n", b"a\r", b"\x00",
            b"a\x00", b"\x7f", b"caf\xe9", b"(", b"a,", b"a/b", b"[", b"{", b'"', b"a\t", b"=", b";", b"@",
        ):  # fmt: skip
            self.refused((name, b"1"))
            self.refused((b"a", b"b"), (name, b"1"), (b"c", b"d"))

    def test_values(self) -> None:
        """Anything visible, spaces and tabs within, and bytes above 0x7F."""
        for value in (b"", b"a", b"a b\tc", bytes(range(0x21, 0x7F)), bytes(range(0x80, 0x100)), b"a: b"):
            self.assertEqual(request_with((b"a", value), (b"b", value)).fields[1:], [(b"a", value), (b"b", value)])
        for code in (*range(0x20), 0x7F):
            if code != 0x09:
                byte = bytes((code,))
                for value in (byte, b"a" + byte, byte + b"a", b"a" + byte + b"b", b"a\r\nx: y", b"\n\n"):
                    self.refused((b"a", value))
                    self.refused((b"a", value), (b"b", b""))

    def test_whitespaceAroundValues(self) -> None:
        """It would be lost in HTTP/1.1, and nobody may send it (RFC 9113 section 8.2.1)."""
        for value in (b" a", b"a ", b"\ta", b"a\t", b" ", b"\t"):
            for fields in ([(b"a", value)], [(b"a", value), (b"b", b"c")], [(b"b", b"c"), (b"a", value)]):
                self.refused(*fields)

    def test_connectionFields(self) -> None:
        """Those of one HTTP/1 connection (RFC 9113 section 8.2.2)."""
        for name in (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"):
            for value in (b"", b"close", b"chunked", b"x"):
                self.refused((name, value), ended=False)
        for value in (b"", b"gzip", b"trailers, gzip", b"trailers;q=1", b"trailers,", b"chunked"):
            self.refused((b"te", value))
        self.refused((b"te", b"trailers"), (b"te", b"trailers"))
        self.assertEqual(request_with((b"te", b"Trailers")).known[b"te"], b"Trailers")

    def test_lengths(self) -> None:
        """One number of digits; what has ended has no content to come."""
        for value in (b"", b"-1", b"+1", b"1,1", b"1, 1", b"0x1", b"1_0", b"1.0", b"9" * 20, b"\xb2"):
            self.refused((b"content-length", value), ended=False)
        self.refused((b"content-length", b"1"), (b"content-length", b"1"), ended=False)
        self.refused((b"content-length", b"0"), (b"content-length", b"0"))
        self.refused((b"content-length", b"1"), ended=True)


class LimitTests(RequestCase):
    """A head is measured as if it had come by HTTP/1.1."""

    def test_line(self) -> None:
        """The request line that the method and the target would make."""
        longest = LIMITS.line_bytes - len(b"GET  HTTP/1.1")
        self.assertEqual(len(request_with(path=b"/".ljust(longest, b"a")).target), longest)
        self.refused(path=b"/".ljust(longest + 1, b"a"), error=UriTooLong)
        self.refused(method=b"M" * LIMITS.line_bytes, error=UriTooLong)

    def test_count(self) -> None:
        """Host counts, pseudo-fields do not; cookies are counted when they are one again."""
        many = [(b"a%d" % number, b"") for number in range(LIMITS.fields - 2)]
        crumbs = [(b"cookie", b"a=b")] * 200
        self.assertEqual(len(request_with(*many, *crumbs).fields), LIMITS.fields)
        self.refused(*many, *crumbs, (b"b", b""), error=HeadersTooLarge)

    def test_oneField(self) -> None:
        """With its name, a colon and a space."""
        longest = LIMITS.field_bytes - len(b"a: ")
        self.assertEqual(len(request_with((b"a", b"b" * longest)).fields[1][1]), longest)
        self.refused((b"a", b"b" * (longest + 1)), error=HeadersTooLarge)
        half = LIMITS.field_bytes // 2
        self.refused((b"cookie", b"c" * half), (b"cookie", b"c" * half), error=HeadersTooLarge)

    def test_section(self) -> None:
        """All lines with their ends, Host among them."""
        left = LIMITS.section_bytes - len(b"Host: a.example\r\n")
        fields = [(b"a", b"b" * 10_000), (b"b", b"b" * 10_000)]
        left -= 2 * len(b"a: \r\n") + 20_000 + len(b"c: \r\n")
        self.assertEqual(len(request_with(*fields, (b"c", b"d" * left)).fields), 4)
        self.refused(*fields, (b"c", b"d" * (left + 1)), error=HeadersTooLarge)
        self.refused(*fields, (b"c", b"d" * left), authority=b"aa.example", error=HeadersTooLarge)

    def test_likeHttp1(self) -> None:
        """What is just under a limit in one version is so in the other, and what is just over it too."""
        small = HeadLimits(line_bytes=40, section_bytes=70, field_bytes=50, fields=4)
        for path, value, count in ((27, 1, 1), (28, 1, 1), (5, 45, 1), (5, 44, 1), (5, 20, 2), (5, 14, 2), (5, 0, 4)):
            fields = [(b"name", b"v" * value)] * count
            target = b"/".ljust(path, b"p")
            lines = b"".join([b"%b: %b\r\n" % field for field in fields])
            found: list[type[ProxyError] | None] = []
            for parse in (
                lambda t=target, f=fields: parse_request_fields(fields_with(*f, path=t), True, small),
                lambda t=target, x=lines: request_of(b"GET %b HTTP/1.1\r\nHost: a.example\r\n%b\r\n" % (t, x), small),
            ):
                try:
                    parse()
                    found.append(None)
                except ProxyError as error:
                    found.append(type(error))
            self.assertEqual(found[0], found[1], (path, value, count))


class TrailerTests(SynchronousTestCase):
    """Trailers of requests (RFC 9113 section 8.1)."""

    def test_valid(self) -> None:
        """In order, with repetitions."""
        trailers = [(b"x-sum", b"1"), (b"a", b""), (b"x-sum", b"2")]
        self.assertEqual(parse_request_trailers(trailers), trailers)
        self.assertEqual(parse_request_trailers([]), [])

    def test_malformed(self) -> None:
        """No pseudo-fields, and nothing that no head may hold."""
        for field in (
            (b":path", b"/"), (b":status", b"200"), (b"A", b"b"), (b"", b"b"), (b"a", b" b"), (b"a", b"b\r\nc: d"),
            (b"a b", b"c"), (b"connection", b"close"), (b"transfer-encoding", b"chunked"), (b"te", b"gzip"),
        ):  # fmt: skip
            self.assertRaises(BadBody, parse_request_trailers, [(b"x", b"y"), field])

    def test_size(self) -> None:
        """As lines they have the same limit as in HTTP/1.1."""
        longest = MAX_TRAILER_BYTES - len(b"a: \r\n")
        self.assertEqual(len(parse_request_trailers([(b"a", b"b" * longest)])), 1)
        self.assertRaises(BadBody, parse_request_trailers, [(b"a", b"b" * (longest + 1))])
