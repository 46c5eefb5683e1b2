"""A worker at its beginning and at its end, without a process of its own."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import succeed
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from txproxy.config.load import load_text
from txproxy.supervisor.worker import Worker
from txproxy.test.upstream.observing import logged
from txproxy.testing import site
from txproxy.testing.crew import FakeChannel


class _Reactor(MemoryReactorClock):
    """Has nothing to connect to."""

    def adoptStreamConnection(self, *_arguments: Any) -> None:
        """See ``IReactorSocket``."""


class WorkerTests(SynchronousTestCase):
    """A worker whose proxy is not there."""

    def setUp(self) -> None:
        self.reactor = _Reactor()
        self.service = SimpleNamespace(startService=lambda: None, stopService=lambda: succeed(None))
        config = load_text(site()).config
        place: Any = SimpleNamespace(
            config=config, functions={}, is_checking=False, load=self.load, log_file=None, sockets=[], tls={}
        )
        connection: Any = SimpleNamespace(setblocking=lambda _: None, fileno=lambda: 0, close=lambda: None)
        self.worker = Worker(place, connection, self.reactor, lambda *_: self.service)
        self.channel = FakeChannel()
        self.worker._channel = self.channel  # type: ignore[assignment]

    def load(self) -> Any:
        """Fail the test: nobody was to read a configuration."""
        raise AssertionError("the configuration was read")

    def test_unforeseenErrorAtTheStart(self) -> None:
        """It ends and says why, whatever it is; it does not stay without ever serving."""

        def start() -> None:
            raise TypeError("a user's function is wrong")

        self.service.startService = start
        with logged():
            self.worker.begin()
        self.flushLoggedErrors(TypeError)
        self.assertEqual(self.channel.told[0], ("Failed", {"reason": "a user's function is wrong"}))
        self.channel.answers()
        self.assertEqual(self.worker._status, 1)
        self.assertFalse(self.reactor.hasStopped)
        self.reactor.advance(0)
        self.assertTrue(self.reactor.hasStopped)

    def test_reloadWhileItStops(self) -> None:
        """It says so; that is no fault of the configuration, and none of the proxy."""
        self.worker.service = self.service
        self.worker.stop()
        with logged() as lines:
            self.assertEqual(self.worker.reload(2), ["it is stopping"])
        self.assertEqual(lines, [])
