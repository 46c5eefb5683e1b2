"""What functions and policies are told about a request."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txproxy.policy.facts import RequestFacts, TlsFacts
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

    def test_tls(self) -> None:
        """What the handshake has settled, or None on a connection without."""
        self.assertIsNone(self.facts.tls)
        tls = TlsFacts("TLSv1.3", "TLS_AES_128_GCM_SHA256", server_name="a.example")
        self.assertIs(RequestFacts(self.facts.head, "192.0.2.1", "https", "web", tls).tls, tls)


class TlsFactsTests(SynchronousTestCase):
    """Who the client has proved to be."""

    def test_identity(self) -> None:
        """Nothing where no certificate is asked for; else what was found, and the rest only with a certificate."""
        verified = (b"X-Client-Cert-Verify", b"SUCCESS")
        for subject, fingerprint, verify, expected in (
            (b"", b"", b"", []),
            (b"CN=a", b"00ff", b"", []),
            (b"", b"", b"NONE", [(b"X-Client-Cert-Verify", b"NONE")]),
            (
                b"CN=a,O=b",
                b"00ff",
                b"SUCCESS",
                [(b"X-Client-Cert-Subject", b"CN=a,O=b"), (b"X-Client-Cert-Fingerprint", b"00ff"), verified],
            ),
            # A certificate may have an empty subject and its names elsewhere.
            (
                b"",
                b"00ff",
                b"SUCCESS",
                [(b"X-Client-Cert-Subject", b""), (b"X-Client-Cert-Fingerprint", b"00ff"), verified],
            ),
        ):
            facts = TlsFacts(
                "TLSv1.3", "x", client_subject=subject, client_fingerprint=fingerprint, client_verify=verify
            )
            self.assertEqual(list(facts.identity), expected)

    def test_aSubjectCannotBreakAHead(self) -> None:
        """What no field value may hold is not passed on, whoever signed it."""
        for bad in (b"CN=a\r\nX-Admin: 1", b"CN=a\n", b"CN=\x00", b"CN=a\x7f", b"\x1b"):
            facts = TlsFacts("TLSv1.3", "x", client_subject=bad, client_fingerprint=b"00", client_verify=b"SUCCESS")
            self.assertEqual(facts.identity[0], (b"X-Client-Cert-Subject", b""))
