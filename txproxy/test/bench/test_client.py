"""What the bench's own client reads out of replies."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

try:
    from bench.client import field_in
except ModuleNotFoundError:
    skip = "bench is no part of an installed package"

HEAD = b"HTTP/1.1 200 OK\r\nX-Cache: no\r\nx-cache-status: HIT\r\nAge:3\r\n\r\n"


class FieldTests(SynchronousTestCase):
    """A field is found however it is spelled."""

    def test_any_case(self) -> None:
        self.assertEqual(field_in(HEAD, b"X-Cache-Status"), b"HIT")

    def test_without_a_space(self) -> None:
        self.assertEqual(field_in(HEAD, b"age"), b"3")

    def test_absent(self) -> None:
        self.assertEqual(field_in(HEAD, b"X-Cache-Stat"), b"")
