"""The program is replaced while it serves, or everything stays as it was."""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from txproxy import upgrade
from txproxy.config.address import parse_address
from txproxy.notify import Notifier
from txproxy.test.upstream.observing import logged
from txproxy.upgrade import Predecessor, Startup, Upgrade

STARTUP = Startup(("/opt/txproxy", "run", "-c", "a b.toml"), {"HOME": "/", "NOTIFY_SOCKET": "/n"})
PID = 4_194_400
"""Above any process id that there is."""


class Reactor(MemoryReactorClock):
    """Notes which programs are started."""

    def __init__(self) -> None:
        super().__init__()
        self.started: list[tuple[Any, list[str], dict[str, str], dict[int, Any]]] = []
        self.error: OSError | None = None

    def spawnProcess(
        self,
        protocol: Any,
        executable: str,
        args: Any,
        env: Any,
        childFDs: Any,
    ) -> None:
        """See IReactorProcess."""
        assert executable == args[0] == sys.executable
        if self.error is not None:
            raise self.error
        self.started.append((protocol, args, env, childFDs))

    def shut_down(self) -> list[Any]:
        """Call what is to be called before a shutdown; return what has to happen before it goes on."""
        results = [call(*arguments, **keywords) for call, arguments, keywords in self.triggers["before"]["shutdown"]]
        return [result for result in results if result is not None and not result.called]


class FakeSocket:
    """Has a descriptor."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def fileno(self) -> int:
        """Return it."""
        return self._descriptor


class Served:
    """What is replaced."""

    def __init__(self) -> None:
        self.is_left = False

    def sockets(self) -> Any:
        """See Replaceable."""
        places = (("127.0.0.1:80", 21), ("unix:/run/x", 22), ("127.0.0.1:80", 23))
        return [(parse_address(place), FakeSocket(number)) for place, number in places]

    def own_files(self) -> None:
        """See Replaceable."""

    def hand_over(self) -> None:
        """See Replaceable."""
        self.is_left = True


class UpgradeTests(SynchronousTestCase):
    """One try after the other."""

    def setUp(self) -> None:
        self.reactor = Reactor()
        self.served: Any = Served()
        self.told: list[str] = []
        notifier = Notifier({"NOTIFY_SOCKET": "/n"}, lambda _address, data: self.told.append(data.decode()))
        self.upgrade = Upgrade(self.served, self.reactor, STARTUP, notifier)
        self.killed: list[tuple[int, int]] = []
        self.patch(os, "kill", lambda pid, number: self.killed.append((pid, number)))

    def begin(self) -> tuple[Any, list[str]]:
        """Begin; return the new process's protocol, if one was started, and what was logged."""
        before = len(self.reactor.started)
        with logged() as lines:
            self.upgrade.begin()
        return (self.reactor.started[-1][0] if len(self.reactor.started) > before else None), lines

    def says(self, successor: Any, *pieces: bytes) -> list[str]:
        """Have the new process say something; return what was logged."""
        with logged() as lines:
            for piece in pieces:
                successor.childDataReceived(3, piece)
        return lines

    def assertGoesOn(self) -> None:
        """Nothing has changed, and nothing is left of the try."""
        self.assertFalse(self.served.is_left)
        self.assertEqual((self.told, self.reactor.getDelayedCalls()), ([], []))

    def test_started(self) -> None:
        """The new process has the same command line, the variables, and the sockets under numbers that it is told."""
        successor, lines = self.begin()
        _, arguments, environ, descriptors = self.reactor.started[0]
        self.assertEqual(tuple(arguments[-len(STARTUP.command) :]), STARTUP.command)
        self.assertEqual(json.loads(environ.pop("TXPROXY_SOCKETS")), [
            ["127.0.0.1:80", 4], ["unix:/run/x", 5], ["127.0.0.1:80", 6],
        ])  # fmt: skip
        self.assertEqual((environ.pop("TXPROXY_READY_FD"), environ), ("3", STARTUP.environ))
        self.assertEqual({number: descriptors[number] for number in (3, 4, 5, 6)}, {3: "r", 4: 21, 5: 22, 6: 23})
        self.assertLessEqual(set(descriptors) - {3, 4, 5, 6}, {0, 1, 2})
        self.assertEqual(lines, ["upgrading in place: starting /opt/txproxy run -c a b.toml"])
        self.assertFalse(self.served.is_left)

    def test_ready(self) -> None:
        """When it says that it serves, in whatever pieces, this one is left; systemd knows the new one."""
        successor, _ = self.begin()
        text = b"%d\nready\n" % PID
        lines = self.says(successor, *(text[at : at + 1] for at in range(len(text))))
        self.assertTrue(self.served.is_left)
        self.assertEqual(lines, [f"process {PID} serves in place of this one: what is under way here may finish"])
        self.assertIn(f"MAINPID={PID}\n", self.told[0])
        successor.childConnectionLost(3)
        self.reactor.shut_down()
        self.reactor.advance(100)
        self.assertEqual((self.killed, self.reactor.getDelayedCalls()), ([], []))

    def test_dies(self) -> None:
        """It ends before: this one goes on, says so, and may try again."""
        for said in (b"", b"12", b"%d\n" % PID, b"%d\nread" % PID):
            successor, _ = self.begin()
            self.says(successor, said)
            with logged() as lines:
                successor.childConnectionLost(3)
            self.assertIn("has ended before it was ready", lines[0])
            self.assertGoesOn()
        self.assertEqual(self.killed, [])

    def test_hangs(self) -> None:
        """After a minute it is ended, and what it says too late changes nothing."""
        successor, _ = self.begin()
        self.says(successor, b"%d\n" % PID)
        self.reactor.advance(59.9)
        self.assertEqual(self.killed, [])
        with logged() as lines:
            self.reactor.advance(0.2)
        self.assertEqual(self.killed, [(PID, signal.SIGKILL)])
        self.assertIn("was not ready after 60 s", lines[0])
        self.says(successor, b"ready\n")
        successor.childConnectionLost(3)
        self.assertGoesOn()
        self.assertIsNotNone(self.begin()[0])

    def test_cannotBeStarted(self) -> None:
        """There is no interpreter any more, or no memory."""
        self.reactor.error = FileNotFoundError(2, "No such file or directory")
        successor, lines = self.begin()
        self.assertIsNone(successor)
        self.assertIn("No such file", lines[-1])
        self.assertGoesOn()
        self.reactor.error = None
        self.assertIsNotNone(self.begin()[0])

    def test_oneAtATime(self) -> None:
        """A second signal while a try is on its way is refused."""
        self.begin()
        self.assertEqual(self.begin(), (None, ["an upgrade in place is on its way already"]))

    def test_stops(self) -> None:
        """Whoever stops the proxy does not want another process to go on: none is begun, one that has begun is ended."""
        successor, _ = self.begin()
        self.says(successor, b"%d\n" % PID)
        self.assertEqual(self.reactor.shut_down(), [])
        self.assertEqual(self.killed, [(PID, signal.SIGKILL)])
        self.says(successor, b"ready\n")
        self.assertGoesOn()
        self.assertEqual(self.begin(), (None, ["no upgrade in place: the proxy is stopping"]))

    def test_stopsBeforeItIsKnown(self) -> None:
        """The stop waits for the process id of the new one, to end it; or for its end."""
        for last in ("id", "end"):
            self.setUp()
            successor, _ = self.begin()
            self.says(successor, b"%d" % PID)
            (waiting,) = self.reactor.shut_down()
            self.assertEqual(self.killed, [])
            if last == "id":
                self.says(successor, b"\nready\n")
                self.assertEqual(self.killed, [(PID, signal.SIGKILL)])
            with logged() as lines:
                successor.childConnectionLost(3)
            self.assertTrue(waiting.called)
            self.assertEqual(lines, [])
            self.assertGoesOn()

    def test_firstProcess(self) -> None:
        """With the first process of a container its last one ends too."""
        self.patch(os, "getpid", lambda: 1)
        successor, lines = self.begin()
        self.assertIsNone(successor)
        self.assertIn("container", lines[0])


class StartupTests(SynchronousTestCase):
    """The command line and the variables of another process like this one."""

    def command(self, *whole: str, arguments: int) -> tuple[str, ...]:
        """Return the command for an interpreter's whole command line, the last of which are the program's own."""
        self.patch(sys, "executable", "/usr/bin/python3")
        self.patch(sys, "orig_argv", list(whole))
        self.patch(sys, "argv", list(whole[-arguments:]))
        return Startup.of_this_process({}).command

    def script(self, mode: int) -> str:
        """Return the path of a script."""
        path = os.path.abspath(self.mktemp())
        with open(path, "w") as file:
            file.write("#!/bin/true\n")
        os.chmod(path, mode)
        return path

    def test_script(self) -> None:
        """A script is started by itself: its new version may name another interpreter."""
        path = self.script(0o755)
        self.assertEqual(self.command("/x/python", path, "run", arguments=2), (path, "run"))

    def test_interpreter(self) -> None:
        """What is no script, or has flags of the interpreter before it, is started by the same interpreter."""
        path = self.script(0o644)
        self.assertEqual(self.command("python", path, "run", arguments=2), ("/usr/bin/python3", path, "run"))
        path = self.script(0o755)
        whole = ("python", "-X", "dev", path, "run")
        self.assertEqual(self.command(*whole, arguments=2), ("/usr/bin/python3", *whole[1:]))
        of_module = ("python", "-m", "txproxy.main", "run")
        self.assertEqual(self.command(*of_module, arguments=1), ("/usr/bin/python3", *of_module[1:]))

    def test_variables(self) -> None:
        """Those that are about one process are left out; who is watched is whoever reads it."""
        kept = {"HOME": "/", "NOTIFY_SOCKET": "/n", "WATCHDOG_USEC": "9"}
        of_one = {"LISTEN_PID": "1", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "a", "WATCHDOG_PID": "1"}
        ours = {"TXPROXY_SOCKETS": "[]", "TXPROXY_READY_FD": "3"}
        self.assertEqual(Startup.of_this_process({**kept, **of_one, **ours}).environ, kept)


class PredecessorTests(SynchronousTestCase):
    """The new process's side."""

    def test_none(self) -> None:
        """Usually there is none."""
        Predecessor({"HOME": "/"}).may_go()

    def test_told(self) -> None:
        """It is told once, by what the old process waits for; nothing that we start can say it too."""
        reading, writing = os.pipe()
        self.addCleanup(os.close, reading)
        os.set_inheritable(writing, True)
        environ = {"TXPROXY_READY_FD": str(writing)}
        predecessor = Predecessor(environ)
        self.assertEqual((environ, os.get_inheritable(writing)), ({}, False))
        predecessor.may_go()
        predecessor.may_go()
        self.assertEqual((os.read(reading, 99), os.read(reading, 99)), (upgrade._READY + b"\n", b""))

    def test_gone(self) -> None:
        """It has ended meanwhile: all the more reason to serve."""
        reading, writing = os.pipe()
        os.close(reading)
        Predecessor({"TXPROXY_READY_FD": str(writing)}).may_go()
        self.assertRaises(OSError, os.fstat, writing)

    def test_malformed(self) -> None:
        """Who sets the variable by hand, and wrongly, is told."""
        for text in ("x", "9" * 40):
            self.assertRaises(ValueError, Predecessor, {"TXPROXY_READY_FD": text})
        self.assertRaises(OSError, Predecessor, {"TXPROXY_READY_FD": "987654"})
