"""Tests for :mod:`txproxy.config.values`: texts that a key may have, and why others may not."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txproxy.config.values import check_hsts, check_server_name
from txproxy.test.config.helpers import MINIMAL, errors_of, load


class HstsTests(SynchronousTestCase):
    """Strict-Transport-Security (RFC 6797 section 6.1)."""

    def test_good(self) -> None:
        """Directives in any order and case of letters, empty ones too; a number may be quoted."""
        for text in (
            "max-age=0",
            "max-age=31536000; includeSubDomains",
            "max-age=31536000;includeSubDomains;preload",
            "INCLUDESUBDOMAINS; Max-Age=1",
            'max-age="31536000"',
            " max-age = 1 ;; preload ; ",
        ):
            self.assertEqual(check_hsts(text), text)
        self.assertEqual(errors_of(MINIMAL.replace("cluster =", 'hsts = "max-age=1"\ncluster =')), [])

    def test_bad(self) -> None:
        """What browsers would ignore is an error; a misspelt directive above all."""
        example = '(allowed: as "max-age=31536000; includeSubDomains")'
        words = "(allowed: max-age=SECONDS, includeSubDomains, preload"
        for text, expected in (
            ("includeSubDomains", f'"includeSubDomains" names no max-age {example}'),
            (";", f'";" names no max-age {example}'),
            ("max-age", f'"max-age" has no number of seconds {example}'),
            ("max-age=", f'"max-age=" has no number of seconds {example}'),
            ("max-age=1y", f'"max-age=1y" has no number of seconds {example}'),
            ("max-age=-1", f'"max-age=-1" has no number of seconds {example}'),
            ('max-age="1', f'"max-age=\\"1" has no number of seconds {example}'),
            ("max-age=\u0661", f'"max-age=\u0661" has no number of seconds {example}'),
            ("max-age=1; MAX-AGE=2", "MAX-AGE stands there twice"),
            ("max-age=1; preload=1", f'"preload=1" must not have a value {example}'),
            (
                "max-age=1; includeSubdomain",
                f"\"includeSubdomain\" is no directive {words}; did you mean 'includeSubDomains'?)",
            ),
            ("max-age=1 includeSubDomains", f'"max-age=1 includeSubDomains" has no number of seconds {example}'),
            ("31536000", f'"31536000" is no directive {words})'),
            ("max-age=1\r\nX: y", "a field value must not hold CR, LF, NUL or other control characters"),
        ):
            error = self.assertRaises(ValueError, check_hsts, text)
            self.assertEqual(str(error), expected)


class ServerNameTests(SynchronousTestCase):
    """The name in SNI and in a backend's certificate."""

    def test_good(self) -> None:
        """A host name or an address, in the form in which certificates have it."""
        for text, expected in (
            ("a.test", "a.test"),
            ("A.Test", "a.test"),
            ("a.test.", "a.test"),
            ("localhost", "localhost"),
            ("10.0.0.1", "10.0.0.1"),
            ("::1", "::1"),
            ("[2001:DB8::1]", "2001:db8::1"),
        ):
            self.assertEqual(check_server_name(text), expected)
        text = MINIMAL + 'tls = { enabled = true, server_name = "App.Example" }\n'
        self.assertEqual(load(text).config.clusters["api"].tls.server_name, "app.example")

    def test_bad(self) -> None:
        """Everything else, with the reason."""
        for text, expected in (
            ("a.test:443", '"a.test:443" must be a host without a port'),
            ("https://a.test", '"https://a.test" must be a host without a port'),
            ("b\xfccher.test", '"b\xfccher.test" is not ASCII (write the name in its xn-- form)'),
            ("*.a.test", '"*.a.test" is not a host name or IP address'),
            ("a test", '"a test" is not a host name or IP address'),
            ("[::x]", '"::x" is not an IPv6 address'),
        ):
            self.assertEqual(str(self.assertRaises(ValueError, check_server_name, text)), expected)


class CacheTests(SynchronousTestCase):
    """What routes say of their cache."""

    def of_route(self, keys: str) -> list[str]:
        return errors_of(MINIMAL.replace("cluster =", f"cache = {{ {keys} }}\ncluster ="))

    def test_good(self) -> None:
        """Each key of a route's cache."""
        keys = (
            'key = ["client", "header:X-Tenant", "cookie:lang"], bypass = ["header:X-Preview", "cookie:session"], '
            'exclude = [\'^/account/\', \'[.]cgi$\'], statuses = ["200", "200-399"], purge_from = ["10.0.0.0/8", "::1"], '
            "ttl_s = 0.5, default_ttl_s = 1, negative_ttl_s = 2"
        )
        self.assertEqual(self.of_route(keys), [])

    def test_bad(self) -> None:
        """What means nothing, or would mean less than it seems, is an error."""
        for keys, expected in (
            ('key = ["uri"]', '"uri" is not something for a cache key (allowed: client, header:NAME, cookie:NAME)'),
            ('key = ["header:a b"]', "is not something for a cache key"),
            ('key = ["header:X-Forwarded-For"]', "is a field that the proxy sets itself"),
            ('bypass = ["session"]', '"session" is no name (allowed: header:NAME, cookie:NAME)'),
            ('bypass = ["cookie:"]', "is no name"),
            ('exclude = ["("]', "is no regular expression: missing )"),
            ('purge_from = ["nobody"]', "nobody"),
            ('exclude = ["^/ä/"]', "never matches: a path has other characters as escapes, ä as %C3%A4"),
            ('statuses = ["200", "206"]', '"206" is never stored'),
            ('statuses = ["304"]', '"304" is never stored'),
            ("ttl_s = -1", "ttl_s"),
            ("ttl_s = 1e18", "ttl_s"),
            ("default_ttl_s = 1e300", "default_ttl_s"),
            ("negative_ttl_s = 2147483649", "negative_ttl_s"),
        ):
            (error,) = self.of_route(keys)
            self.assertIn(expected, error)
            self.assertTrue(error.startswith("f:"), error)

    def test_theSharedSection(self) -> None:
        """A store is a function; a part is at most the whole."""
        for keys, expected in (
            ("store = 'redis'", "cache.store"),
            ("heuristic_fraction = 1.5", "cache.heuristic_fraction"),
            ("max_rss_bytes = -1", "cache.max_rss_bytes"),
        ):
            (error,) = errors_of(f"{MINIMAL}[cache]\n{keys}\n")
            self.assertIn(expected, error)
