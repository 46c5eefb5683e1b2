"""What functions and policies are told about a request."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txproxy.policy.facts import RequestFacts
from txproxy.test.wire.reading import request_with


class RequestFactsTests(SynchronousTestCase):
    """A request in text."""

    def setUp(self) -> None:
        head = request_with(
            b"X-Name: caf\xe9",
            b"Accept: a",
            b"accept: b",
            line=b"GET /a/%7Eb//c?d=%20 HTTP/1.1",
            host=b"Host: A.Example:81",
        )
        self.facts = RequestFacts(head, "192.0.2.1", "https", "web")

    def test_facts(self) -> None:
        """Method, target as it came, normal path, host without a port, and where it came from."""
        facts = self.facts
        self.assertEqual(
            (facts.method, facts.target, facts.path, facts.host, facts.client, facts.scheme, facts.listener),
            ("GET", "/a/%7Eb//c?d=%20", "/a/~b/c", "a.example", "192.0.2.1", "https", "web"),
        )

    def test_headers(self) -> None:
        """Names in any case; repeated ones joined; no byte is lost; the same mapping each time."""
        headers = self.facts.headers
        self.assertEqual((headers["x-NAME"], headers["Accept"]), ("caf\xe9", "a, b"))
        self.assertNotIn("Cookie", headers)
        self.assertIs(self.facts.headers, headers)

    def test_shown(self) -> None:
        """A log line that shows them says which request it was."""
        self.assertIn("GET '/a/%7Eb//c?d=%20' host='a.example' of 192.0.2.1", repr(self.facts))

    def test_nothingCanBeAdded(self) -> None:
        """A misspelled name is an error, not a silent new attribute."""
        with self.assertRaises(AttributeError):
            self.facts.clinet = "x"  # type: ignore[attr-defined]
