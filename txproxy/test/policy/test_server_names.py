"""Tests for :mod:`txproxy.policy.server_names`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txproxy.policy.server_names import HelloTable
from txproxy.wire.client_hello import ClientHello

NAMES = {"a.example": "exact", "*.example": "wide", "*.b.example": "narrow", "192.0.2.1": "address"}


class HelloTableTests(SynchronousTestCase):
    """Who gets what."""

    def test_names(self) -> None:
        """An exact name, then the longest wildcard, which stands for one label at least, then the default."""
        table = HelloTable(NAMES, {}, "default")
        for name, expected in (
            ("a.example", "exact"),
            ("c.example", "wide"),
            ("x.a.example", "wide"),
            ("b.example", "wide"),
            ("x.b.example", "narrow"),
            ("x.y.b.example", "narrow"),
            (".example", "default"),
            ("example", "default"),
            ("192.0.2.1", "address"),
            ("", "default"),
        ):
            self.assertEqual(table.find(ClientHello(name)), expected, name)
        self.assertIsNone(HelloTable(NAMES, {}).find(ClientHello("x.test")))

    def test_protocols(self) -> None:
        """A protocol comes before the name; of several the one that the client prefers; others do not matter."""
        table = HelloTable(NAMES, {"h2": "two", "acme-tls/1": "acme"}, "default")
        for protocols, expected in (
            (("acme-tls/1",), "acme"),
            (("h2", "acme-tls/1"), "two"),
            (("x", "acme-tls/1", "h2"), "acme"),
            (("http/1.1",), "exact"),
            ((), "exact"),
        ):
            self.assertEqual(table.find(ClientHello("a.example", protocols)), expected, protocols)

    def test_whatCannotBeReadGetsTheDefault(self) -> None:
        """It asks for nothing."""
        self.assertEqual(HelloTable(NAMES, {"h2": "two"}, "default").find(ClientHello(problem="not TLS")), "default")

    def test_isAsked(self) -> None:
        """Without names and protocols nobody has to look."""
        self.assertFalse(HelloTable({}, {}, "default").is_asked)
        self.assertTrue(HelloTable({"a": "b"}, {}).is_asked)
        self.assertTrue(HelloTable({}, {"a": "b"}).is_asked)
