"""What a change at the origin throws out (RFC 9111 section 4.4)."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txproxy.policy.caching.invalidation import invalidated
from txproxy.policy.caching.key import url_of
from txproxy.test.policy.caching.heads import reply_of, request_of

_HERE = b"http://example.com/a/b?c"

_METHODS: list[tuple[bytes, int, bool]] = [
    (b"POST", 200, True),
    (b"PUT", 201, True),
    (b"DELETE", 204, True),
    (b"PATCH", 200, True),
    (b"M-SEARCH", 200, True),
    (b"UNHEARD-OF", 200, True),
    (b"post", 200, True),
    (b"get", 200, True),
    (b"POST", 303, True),
    (b"POST", 399, True),
    (b"POST", 400, False),
    (b"POST", 404, False),
    (b"POST", 500, False),
    (b"GET", 200, False),
    (b"HEAD", 200, False),
    (b"OPTIONS", 200, False),
    (b"TRACE", 200, False),
    (b"PRI", 200, False),
    (b"PROPFIND", 207, False),
    (b"QUERY", 200, False),
    (b"REPORT", 200, False),
    (b"SEARCH", 200, False),
]

_LOCATIONS: list[tuple[str, bytes, bytes | None]] = [
    ("absolute", b"http://example.com/x?y", b"http://example.com/x?y"),
    ("absolute, in another case, with the port", b"HTTP://Example.COM:80/x", b"http://example.com/x"),
    ("a fragment is dropped", b"http://example.com/x#y?z", b"http://example.com/x"),
    ("no path", b"http://example.com", b"http://example.com/"),
    ("no path, but a query", b"http://example.com?x", b"http://example.com/?x"),
    ("of the same scheme", b"//example.com/x", b"http://example.com/x"),
    ("an absolute path", b"/x?y", b"http://example.com/x?y"),
    ("a relative path", b"x", b"http://example.com/a/x"),
    ("a relative path with a query", b"x?y?z", b"http://example.com/a/x?y?z"),
    ("only a query", b"?y", b"http://example.com/a/b?y"),
    ("up", b"../x", b"http://example.com/x"),
    ("up and beyond", b"../../../x?y", b"http://example.com/x?y"),
    ("here", b"./", b"http://example.com/a/"),
    ("itself", b"", None),
    ("a fragment of itself", b"#x", None),
    ("escapes in another way", b"/%7Ex", b"http://example.com/~x"),
    ("bytes that a client escapes", b"/\xc3", b"http://example.com/%C3"),
    ("repeated slashes", b"/x//y", b"http://example.com/x//y"),
    ("an invalid escape", b"/x%zz", b"http://example.com/x%zz"),
    # MUST NOT where the origin differs.
    ("another host", b"http://example.org/x", None),
    ("another host of the same scheme", b"//example.org/x", None),
    ("another port", b"http://example.com:81/x", None),
    ("another scheme", b"https://example.com/x", None),
    ("a scheme that is no web", b"ftp://example.com/x", None),
    ("a scheme without a host", b"http:/x", None),
    ("a path that looks like a scheme", b"x:y", None),
    ("a user", b"http://me@example.com/x", None),
    ("no host", b"http:///x", None),
    ("no valid host", b"http://exa mple.com/x", None),
    ("a space", b"/x y", None),
    ("as long as may be", b"/" + b"x" * 8191, b"http://example.com/" + b"x" * 8191),
    ("longer", b"/" + b"x" * 8192, None),
]


_OVERRIDES = [
    ((b"X-HTTP-Method-Override", b"DELETE"), True),
    ((b"x-http-method", b"patch"), True),
    ((b"X-METHOD-OVERRIDE", b"PROPFIND"), True),
    ((b"X-Method-Override", b"GET, DELETE"), True),
    ((b"X-Method-Override", b""), True),
    ((b"X_HTTP_Method-Override", b"DELETE"), True),
    ((b"X-HTTP-Method-Override", b"GET"), False),
    ((b"X-HTTP-Method-Override", b"head"), False),
    ((b"X-HTTP-Method", b"OPTIONS"), False),
    ((b"X-Method-Override", b"Trace"), False),
    ((b"X_Method_Override", b"get"), False),
    ((b"X-Method", b"DELETE"), False),
    ((b"X_Method", b"DELETE"), False),
]


class InvalidatedTests(SynchronousTestCase):
    """After an exchange."""

    def _urls(self, *fields: tuple[bytes, bytes], **how: Any) -> tuple[bytes, ...]:
        request = request_of(method=b"POST", **{"target": b"/a/b?c", **how})
        return invalidated(request, reply_of(*fields), b"http")

    def test_methodsAndStatuses(self) -> None:
        """Unsafe methods, and those of which nobody knows, that have not failed (K11)."""
        for method, status, expected in _METHODS:
            request = request_of(method=method, target=b"/a/b?c")
            fields = [(b"Location", b"/x"), (b"Content-Location", b"/y")]
            urls = invalidated(request, reply_of(*fields, status=status), b"http")
            both = (_HERE, b"http://example.com/x", b"http://example.com/y")
            self.assertEqual(urls, both if expected else (), (method, status))

    def test_overrides(self) -> None:
        """A field may name an unsafe method to backends that know it; they do not ask for the case of letters."""
        for field, expected in _OVERRIDES:
            for method in (b"GET", b"HEAD", b"OPTIONS"):
                request = request_of(field, method=method)
                urls = (b"http://example.com/a",) if expected else ()
                self.assertEqual(invalidated(request, reply_of(), b"http"), urls, (field, method))
                self.assertEqual(invalidated(request, reply_of(status=404), b"http"), (), (field, method))

    def test_locations(self) -> None:
        """Location and Content-Location are followed within the origin."""
        for name in (b"location", b"Content-Location"):
            for says, value, expected in _LOCATIONS:
                self.assertEqual(self._urls((name, value)), (_HERE, expected) if expected else (_HERE,), says)

    def test_repeated(self) -> None:
        """Of two Locations nobody knows which is meant; one URL is named once."""
        self.assertEqual(self._urls((b"Location", b"/x"), (b"Location", b"/y")), (_HERE,))
        self.assertEqual(
            self._urls((b"Location", b"/x"), (b"Content-Location", b"/x")), (_HERE, b"http://example.com/x")
        )

    def test_origins(self) -> None:
        """The request's scheme and port are those that count."""
        request = request_of(method=b"PUT", host=b"Example.com.:8080", target=b"/a")
        reply = reply_of((b"Location", b"https://example.com:8080/x"), (b"Content-Location", b"/y"))
        self.assertEqual(
            invalidated(request, reply, b"https"),
            (
                b"https://example.com.:8080/a",
                b"https://example.com.:8080/x",
                b"https://example.com.:8080/y",
            ),
        )

    def test_asUrls(self) -> None:
        """What is invalidated is what a GET of it is stored under."""
        for target in (b"/a", b"/%41?b", b"//a", b"/a/../b", b"/%zz", b"/a?b#c"):
            request = request_of(target=target)
            self.assertIn(url_of(request, b"http"), self._urls(target=target), target)
        for target in (b"/x", b"/%41?b", b"//a", b"/\xff?\xff", b"/%c3"):
            url = url_of(request_of(target=target), b"http")
            self.assertIn(url, self._urls((b"Location", b"http://example.com" + target)), target)

    def test_withoutAPath(self) -> None:
        """OPTIONS * is safe; CONNECT, of which nothing is stored, has no path."""
        request = request_of(method=b"CONNECT", target=b"example.com:443")
        self.assertEqual(invalidated(request, reply_of(), b"http"), ())

    @given(st.binary(max_size=40))
    def test_anything(self, value: bytes) -> None:
        """Whatever a backend says, nothing of another origin is thrown out."""
        reply = reply_of()
        reply.fields = [(b"Location", value)]
        urls = invalidated(request_of(method=b"POST"), reply, b"http")
        self.assertTrue(all(url.startswith(b"http://example.com/") and b" " not in url for url in urls))
