"""Tests for :mod:`txproxy.upstream.raw`; what it does in a pool: ``downstream.test_tcp``."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from txproxy.testing import FakeTransport
from txproxy.upstream.raw import RawConnection


class Backend:
    """Remembers what it has lost."""

    def __init__(self) -> None:
        self.losses: list[Any] = []

    def lost(self, connection: Any) -> None:
        self.losses.append(connection)


class RawConnectionTests(SynchronousTestCase):
    """A connection before and after somebody uses it."""

    def setUp(self) -> None:
        self.backend = Backend()
        self.transport = FakeTransport(None, None)
        self.connection = RawConnection(self.backend)
        self.transport.connect(self.connection)
        self.connection.in_pool = True

    def test_handedBack(self) -> None:
        """Nobody gets what was made for another: it is closed, and its place is free, once."""
        self.connection.hand_back()
        self.assertTrue(self.transport.was_aborted)
        self.transport.turn()
        self.assertEqual(self.backend.losses, [self.connection])

    def test_lostBeforeItWasUsed(self) -> None:
        """Its place is free, and it cannot be used."""
        self.transport.lose()
        self.transport.turn()
        self.assertEqual(self.backend.losses, [self.connection])
        self.assertFalse(self.connection.is_reusable)

    def test_used(self) -> None:
        """It keeps its place until whoever has its transport says that it is over; once."""
        self.assertIs(self.connection.take_transport(), self.transport)
        self.assertIsNone(self.connection.transport)  # A cycle would wait for the garbage collector.
        self.connection.retire()
        self.assertFalse(self.transport.was_aborted)
        self.connection.in_pool = True
        self.connection.end()
        self.connection.end()
        self.assertEqual(self.backend.losses, [self.connection])

    def test_nothingIsRead(self) -> None:
        """What the backend says first is left in the kernel."""
        self.transport.arriving += b"220 hello"
        self.transport.turn()
        self.assertEqual(bytes(self.transport.arriving), b"220 hello")
