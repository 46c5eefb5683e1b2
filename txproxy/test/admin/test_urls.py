"""URLs as operators write them."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txproxy.admin.urls import normal_prefix, normal_url


class UrlTests(SynchronousTestCase):
    """The cache knows URLs in one form."""

    def test_normalForms(self) -> None:
        """Scheme and host in lower case, no default port, the normal path; the query as it is."""
        for text, expected in (
            ("http://A.Example:80/x?Y=1", b"http://a.example/x?Y=1"),
            ("https://a.example:443", b"https://a.example/"),
            ("HTTPS://a.example:8443/%7Ea", b"https://a.example:8443/~a"),
            ("http://a.example./x#part", b"http://a.example./x"),
            ("http://a.example/\u00fc", b"http://a.example/%C3%BC"),
            ("http://a.example/a/../b", b"http://a.example/a/../b"),
            ("http://a.example//x", b"http://a.example//x"),
            ("http://[::1]:8080/", b"http://[::1]:8080/"),
            ("http://a.example?x", b"http://a.example/?x"),
        ):
            self.assertEqual(normal_url(text), expected, text)

    def test_prefixes(self) -> None:
        """The path may end anywhere; without one, all that is on a host."""
        for text, expected in (
            ("http://A.Example", b"http://a.example/"),
            ("https://a.example:443/img/x", b"https://a.example/img/x"),
            ("http://a.example/%7E", b"http://a.example/%7E"),
        ):
            self.assertEqual(normal_prefix(text), expected, text)

    def test_others(self) -> None:
        """What is no URL of http or https, with a host, is refused."""
        for text in (
            "",
            "/x",
            "a.example/x",
            "ftp://a/",
            "http://",
            "http:///x",
            "http://u@a/",
            "http://a b/",
            "http://a/\n",
            "http://a:99999/",
        ):
            for normal in (normal_url, normal_prefix):
                self.assertRaises(ValueError, normal, text)
