"""Who is told what once a proxy serves, in which order, and what is left behind."""

from __future__ import annotations

import json
import os
import signal
from functools import partial
from pathlib import Path
from typing import Any

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from txproxy.signals import Signals
from txproxy.surroundings import Surroundings
from txproxy.test.upstream.observing import logged


class Served:
    """What serves."""

    def __init__(self) -> None:
        self.notifier: Any = None
        self.when_bound: Any = None
        self.when_ready: Any = None
        self.upgrade: Any = None
        self.owns_files = False

    def own_files(self) -> None:
        """See Replaceable."""
        self.owns_files = True

    def sockets(self) -> list[Any]:
        """See Replaceable."""
        return []

    def hand_over(self) -> None:
        """See Replaceable."""

    def reload(self) -> bool:
        """What a signal asks for."""
        return True

    reopen_logs = cut_short = reload


class Reactor(MemoryReactorClock):
    """Runs when it is told."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting: list[partial[Any]] = []

    def callWhenRunning(self, callable: Any, *args: Any, **kw: Any) -> None:
        """See IReactorCore."""
        self._waiting.append(partial(callable, *args, **kw))

    def callFromThread(self, call: Any) -> None:
        """See IReactorFromThreads."""
        call()

    def begin(self) -> None:
        """Run."""
        for call in self._waiting:
            call()

    def shut_down(self) -> None:
        """Call what is to be called before a shutdown."""
        for call, arguments, keywords in self.triggers["before"]["shutdown"]:
            call(*arguments, **keywords)


class SurroundingsTests(SynchronousTestCase):
    """One process from its start to its end."""

    def setUp(self) -> None:
        self.folder = Path(os.path.abspath(self.mktemp()))
        self.folder.mkdir()
        self.pidfile = self.folder / "pid"
        self.reactor = Reactor()
        self.served: Any = Served()

    def surroundings(self, **environ: str) -> Surroundings:
        """Return those of a process with these variables."""
        return Surroundings(environ, str(self.pidfile))

    def test_order(self) -> None:
        """When it serves: the file; when the reactor runs as well: the process before may go, and not earlier."""
        reading, writing = os.pipe()
        self.addCleanup(os.close, reading)
        os.set_blocking(reading, False)
        surroundings = self.surroundings(TXPROXY_READY_FD=str(writing))
        surroundings.look_after(self.served, self.reactor)
        self.assertFalse(self.pidfile.exists())
        self.served.when_ready()
        self.assertEqual(self.pidfile.read_text(), f"{os.getpid()}\n")
        self.assertRaises(BlockingIOError, os.read, reading, 99)
        self.assertFalse(self.served.owns_files)
        self.reactor.begin()
        self.assertEqual(os.read(reading, 99), b"ready\n")
        self.assertTrue(self.served.owns_files)
        surroundings.left()
        self.assertEqual(os.listdir(self.folder), [])

    def test_comesToNothing(self) -> None:
        """A process that never serves touches no file: another one's may be there."""
        self.pidfile.write_text("1\n")
        surroundings = self.surroundings()
        surroundings.look_after(self.served, self.reactor)
        surroundings.left()
        self.assertEqual(self.pidfile.read_text(), "1\n")

    def test_pidfileCannotBeWritten(self) -> None:
        """Where there is no room for it any more, the proxy serves all the same, and says so."""
        surroundings = self.surroundings()
        surroundings.look_after(self.served, self.reactor)
        self.folder.rmdir()
        with logged() as lines:
            self.served.when_ready()
        self.assertIn("process id cannot be written", lines[0])
        self.reactor.begin()
        self.assertTrue(self.served.owns_files)

    def test_theEnvironment(self) -> None:
        """What tells of descriptors is for this process alone, and the next one has none of it."""
        environ = {"HOME": "/", "TXPROXY_SOCKETS": json.dumps([]), "LISTEN_PID": "1", "LISTEN_FDS": "9"}
        surroundings = Surroundings(environ)
        self.assertEqual(environ, {"HOME": "/"})
        self.assertEqual(surroundings.startup.environ, {"HOME": "/"})

    def test_signal(self) -> None:
        """SIGUSR2 begins an upgrade where there can be one; else it is refused."""
        handlers: dict[int, Any] = {}
        self.patch(signal, "signal", handlers.__setitem__)
        Signals(self.served, self.reactor).install()
        with logged() as lines:
            handlers[signal.SIGUSR2](signal.SIGUSR2, None)
        self.assertIn("only `txproxy run` can do it", lines[0])
        begun: list[bool] = []
        self.served.upgrade = lambda: begun.append(True)
        handlers[signal.SIGUSR2](signal.SIGUSR2, None)
        self.assertEqual(begun, [True])

    def test_handedOverAndStopped(self) -> None:
        """A process that stops for another reason takes a signal as the second one: what is under way is cut."""
        handlers: dict[int, Any] = {}
        cut: list[bool] = []
        self.patch(signal, "signal", handlers.__setitem__)
        self.served.cut_short = lambda: cut.append(True)
        Signals(self.served, self.reactor).install()
        self.reactor.shut_down()
        handlers[signal.SIGTERM](signal.SIGTERM, None)
        self.assertEqual(cut, [True])
