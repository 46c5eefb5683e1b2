"""What must be equal for two requests to share stored replies, and what passes the cache by."""

from __future__ import annotations

from itertools import combinations
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from txproxy.policy.caching.key import additions_of, bypass_of, primary_key, url_in, url_of
from txproxy.test.policy.caching.heads import request_of
from txproxy.wire.fields import Field

_URLS: list[tuple[str, dict[str, Any], bytes, bytes]] = [
    ("plain", {}, b"http", b"http://example.com/a"),
    ("the scheme is a part", {}, b"https", b"https://example.com/a"),
    ("a query stays byte for byte", {"target": b"/a?B=%7e&b"}, b"http", b"http://example.com/a?B=%7e&b"),
    ("an empty query is not none", {"target": b"/a?"}, b"http", b"http://example.com/a?"),
    ("a query with a query mark", {"target": b"/a?b?c"}, b"http", b"http://example.com/a?b?c"),
    ("the host in lower case", {"host": b"EXAMPLE.com"}, b"http", b"http://example.com/a"),
    ("a default port", {"host": b"example.com:80"}, b"http", b"http://example.com/a"),
    ("a default port of the other scheme", {"host": b"example.com:80"}, b"https", b"https://example.com:80/a"),
    ("https's default port", {"host": b"example.com:443"}, b"https", b"https://example.com/a"),
    ("another port", {"host": b"example.com:8080"}, b"http", b"http://example.com:8080/a"),
    ("an empty port", {"host": b"example.com:"}, b"http", b"http://example.com/a"),
    ("an IPv6 address", {"host": b"[::1]:81"}, b"http", b"http://[::1]:81/a"),
    ("a name that ends in a dot may be written into links", {"host": b"example.com."}, b"http", b"http://example.com./a"),
    ("such a name with a port", {"host": b"example.com.:8080"}, b"http", b"http://example.com.:8080/a"),
    ("an absolute-form target", {"target": b"http://other/b?c"}, b"http", b"http://other/b?c"),
    ("escapes of what needs none (RFC 3986 6.2.2.2)", {"target": b"/%61"}, b"http", b"http://example.com/a"),
    ("escapes in upper case (RFC 3986 6.2.2.1)", {"target": b"/%c3"}, b"http", b"http://example.com/%C3"),
    # What a backend may read in another way than we do is not brought together.
    ("repeated slashes", {"target": b"//a"}, b"http", b"http://example.com//a"),
    ("repeated slashes in a query", {"target": b"/%61?//"}, b"http", b"http://example.com/a?//"),
    ("dot segments", {"target": b"/b/../a"}, b"http", b"http://example.com/b/../a"),
    ("hidden dot segments", {"target": b"/b/%2e%2e/a"}, b"http", b"http://example.com/b/%2e%2e/a"),
    ("an invalid escape", {"target": b"/%61%zz"}, b"http", b"http://example.com/%61%zz"),
]  # fmt: skip

_DISTINCT: list[tuple[tuple[str, ...], list[tuple[str, list[Field], bytes]]]] = [
    (("client",), [("one client", [], b"192.0.2.1"), ("another", [], b"192.0.2.2")]),
    (
        ("header:X-Tenant",),
        [
            ("a value", [(b"x-tenant", b"1")], b""),
            ("another", [(b"X-Tenant", b"2")], b""),
            ("two", [(b"X-Tenant", b"1"), (b"X-Tenant", b"2")], b""),
            ("empty", [(b"X-Tenant", b"")], b""),
            ("absent", [], b""),
            ("named by Connection", [(b"X-Tenant", b"1"), (b"Connection", b"x-tenant")], b""),
        ],
    ),
    (
        ("cookie:lang",),
        [
            ("a value", [(b"Cookie", b"a=b; lang=en")], b""),
            ("another", [(b"Cookie", b"lang=fr")], b""),
            ("two, of which a server may take either", [(b"Cookie", b"lang=en; lang=fr")], b""),
            ("in another order", [(b"Cookie", b"lang=fr; lang=en")], b""),
            ("empty", [(b"Cookie", b"lang=")], b""),
            ("absent", [(b"Cookie", b"Lang=en")], b""),
            ("named by Connection", [(b"Cookie", b"lang=en"), (b"Connection", b"Cookie")], b""),
        ],
    ),
    (
        ("header:A", "header:B"),
        [
            ("values do not run together", [(b"A", b"1"), (b"B", b"2")], b""),
            ("nor change places", [(b"A", b"2"), (b"B", b"1")], b""),
            ("nor look like each other's marks", [(b"A", b"1,2:1:2")], b""),
        ],
    ),
]

_SPELLINGS: list[list[dict[str, Any]]] = [
    # Of one URL, each its own; the first is the usual one.
    [{"target": b"/a"}, {"target": b"/%61"}, {"target": b"/%61", "host": b"Example.com"}],
    [{"target": b"/%C3"}, {"target": b"/%c3"}],
    [{"target": b"/a?%62"}, {"target": b"/%61?%62"}],
    [{"host": b"example.com"}, *({"host": host} for host in (b"Example.com", b"example.com:", b"example.com:80"))],
    [{"host": b"example.com"}, {"host": b"example.com:080"}, {"target": b"http://example.com:80/a"}],
    [{"host": b"example.com."}, {"host": b"example.COM."}, {"host": b"example.com.:80"}],
    [{"host": b"example.com:81"}, {"host": b"example.com:081"}],
    [{"host": b"[::a]"}, {"host": b"[::A]"}],
]

_SAME: list[list[dict[str, Any]]] = [
    # A backend is asked the same: as it is written in the target, or in Host.
    [{}, {"target": b"http://example.com/a"}, {"target": b"HTTP://example.com/a", "host": b"other"}],
    [{"host": b"Example.com"}, {"target": b"http://Example.com/a"}],
    [{"host": b"example.com:80", "target": b"/%61"}, {"target": b"http://example.com:80/%61"}],
    [{"target": b"/"}, {"target": b"http://example.com"}],
    [{"target": b"/\xc3"}, {"target": b"/%C3"}],
]

_BYPASS: list[tuple[str, tuple[str, ...], list[Field], bool]] = [
    ("a field", ("header:X-No-Cache",), [(b"x-no-cache", b"1")], True),
    ("an empty field is there", ("header:x-no-cache",), [(b"X-No-Cache", b"")], True),
    ("another field", ("header:X-No-Cache",), [(b"X-No-Cached", b"1")], False),
    ("a cookie", ("cookie:session",), [(b"Cookie", b"a=b; session=1")], True),
    ("an empty cookie is there", ("cookie:session",), [(b"Cookie", b"session=")], True),
    ("a cookie's case, which matters to few servers", ("cookie:session",), [(b"Cookie", b"Session=1")], True),
    ("a cookie behind a space", ("cookie:session",), [(b"Cookie", b"a=1 session=2")], True),
    ("a cookie behind a comma", ("cookie:session",), [(b"Cookie", b"a=1,session=2")], True),
    ("a cookie within quotes", ("cookie:session",), [(b"Cookie", b'a="1; session=2"')], True),
    ("a cookie without a value", ("cookie:session",), [(b"Cookie", b"a=1; session")], True),
    ("a cookie in the second field", ("cookie:session",), [(b"Cookie", b"a=1"), (b"cookie", b"session=2")], True),
    ("a cookie that PHP takes for it", ("cookie:logged_in",), [(b"Cookie", b"logged.in=1")], True),
    ("a field with an underscore", ("header:X-Preview",), [(b"X_Preview", b"1")], True),
    ("a part of a name", ("cookie:session",), [(b"Cookie", b"xsession=1; session2=1; my-session=1")], False),
    ("a value", ("cookie:session",), [(b"Cookie", b"a=session; b=session=1")], False),
    ("a cookie is no field", ("header:session",), [(b"Cookie", b"session=1")], False),
    ("a field is no cookie", ("cookie:session",), [(b"session", b"1")], False),
    ("one of several", ("header:A", "cookie:b"), [(b"Cookie", b"b=1")], True),
    ("none of several", ("header:A", "cookie:b", "header:C"), [(b"D", b"1")], False),
]

_WRONG = ("", "clients", "uri", "header", "header:", "cookie:", "cookie:a b", "header:a:b", "query:a", "header:\xe9")


class UrlTests(SynchronousTestCase):
    """The part of a key that is a URL."""

    def test_cases(self) -> None:
        for says, request, scheme, expected in _URLS:
            self.assertEqual(url_of(request_of(**request), scheme), expected, says)

    def test_ofAKey(self) -> None:
        """It is found again in each key, whatever was added."""
        additions = additions_of(["header:A", "cookie:b"])
        for says, request, scheme, expected in _URLS:
            made = request_of((b"A", b" / 1"), **request)
            for key in (primary_key(made, scheme), primary_key(made, scheme, additions, b"::1", b"a route")):
                self.assertEqual(url_in(key), expected, says)


class KeyTests(SynchronousTestCase):
    """What is added to the URL."""

    def test_additions(self) -> None:
        """Each tells requests apart that differ in it."""
        for names, cases in _DISTINCT:
            additions = additions_of(names)
            for one, other in combinations(cases, 2):
                keys = {primary_key(request_of(*each[1]), b"http", additions, each[2]) for each in (one, other)}
                self.assertEqual(len(keys), 2, (names, one, other))

    def test_spellings(self) -> None:
        """What a backend gets in another spelling is stored apart, and found by the same URL."""
        for each in _SPELLINGS:
            requests = [request_of(**request) for request in each]
            self.assertEqual(len({primary_key(request, b"http") for request in requests}), len(each), each)
            self.assertEqual(len({url_of(request, b"http") for request in requests}), 1, each)
        for each in _SAME:
            self.assertEqual(len({primary_key(request_of(**request), b"http") for request in each}), 1, each)

    def test_usualSpelling(self) -> None:
        """It adds nothing to a key, nor does a path that is left as it is."""
        for target in (b"/a", b"/a?%61", b"//%61", b"/%61/../b", b"/%61%zz", b"/a%C3"):
            for host, scheme in ((b"example.com", b"http"), (b"example.com.:80", b"https")):
                request = request_of(target=target, host=host)
                self.assertEqual(primary_key(request, scheme), url_of(request, scheme) + b" 0:", target)

    def test_spellingIsNothingElse(self) -> None:
        """A spelling is never taken for a claim or an addition, whatever these hold."""
        usual, odd = request_of(), request_of(target=b"/%61")
        spelled = primary_key(odd, b"http").removeprefix(primary_key(usual, b"http"))
        self.assertEqual(spelled, b" 15:example.com/%61")
        additions = additions_of(["client"])
        for more in (spelled, spelled[1:], spelled[4:]):
            for claims in (b"", b"%d:%b" % (len(more), more)):
                keys = {
                    primary_key(request, b"http", added, more, space, claims)
                    for request in (usual, odd)
                    for added in ((), additions)
                    for space in (b"", more)
                }
                self.assertEqual(len(keys), 8, (more, claims))

    def test_nothingElse(self) -> None:
        """Fields, cookies and clients that are not added do not matter; nor does what is not known to differ."""
        additions = additions_of(["header:Accept-Encoding", "cookie:a"])
        one = request_of(
            (b"Accept-Encoding", b"gzip, br"), (b"Cookie", b"a=1; b=1"), (b"Connection", b"c"), (b"C", b"1")
        )
        other = request_of((b"accept-encoding", b"br,gzip"), (b"cookie", b"b=2;a=1"))
        self.assertEqual(
            *(primary_key(each, b"http", additions, client) for each, client in ((one, b"1"), (other, b"2")))
        )

    def test_methodDoesNotMatter(self) -> None:
        """HEAD is answered from what GET has stored (RFC 9111 section 4)."""
        self.assertEqual(*(primary_key(request_of(method=method), b"http") for method in (b"GET", b"HEAD")))

    def test_space(self) -> None:
        """Routes that lead to different clusters share nothing."""
        keys = {primary_key(request_of(), b"http", space=space) for space in (b"", b"a", b"b")}
        self.assertEqual(len(keys), 3)
        self.assertEqual(len({url_in(key) for key in keys}), 1)

    def test_wrong(self) -> None:
        """What cannot be added is refused when the route is made; what the proxy sets itself is none of the client's."""
        for name in (*_WRONG, "header:X-Forwarded-For", "header:X-Client-Cert-Subject"):
            self.assertRaises(ValueError, additions_of, ["client", name])


class BypassTests(SynchronousTestCase):
    """What passes the cache by."""

    def test_cases(self) -> None:
        for says, names, fields, expected in _BYPASS:
            passes_by = bypass_of(names)
            assert passes_by is not None
            self.assertIs(passes_by(request_of(*fields)), expected, says)

    def test_nothing(self) -> None:
        """Without names there is nothing to ask."""
        self.assertIsNone(bypass_of([]))

    def test_wrong(self) -> None:
        for name in (*_WRONG, "client"):
            self.assertRaises(ValueError, bypass_of, ["header:a", name])
