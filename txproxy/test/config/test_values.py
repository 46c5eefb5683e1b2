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
