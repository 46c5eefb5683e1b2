"""Listening ports outlive what is served behind them; nothing changes before everything new is bound."""

from __future__ import annotations

import socket
from typing import Any, cast

from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from txproxy.config.address import parse_address
from txproxy.ports import Ports, Wanted
from txproxy.testing import FakePort


class Listening(FakePort):
    """A port of the fake reactor, with what it was opened with."""

    def __init__(self, place: Any, factory: Any, backlog: int) -> None:
        super().__init__(place, factory)
        self.backlog = backlog
        self.transport: Any = None
        self.socket = self

    def listen(self, backlog: int) -> None:
        """What a socket has."""
        self.backlog = backlog


class Reactor(MemoryReactorClock):
    """A reactor on which some numbers cannot be bound."""

    def __init__(self) -> None:
        super().__init__()
        self.taken: set[int] = set()
        self.opened: list[Listening] = []

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> Any:
        if port in self.taken:
            raise CannotListenError(interface, port, OSError(98, "Address already in use"))
        return self._opened(f"{interface}:{port}", factory, backlog)

    def listenUNIX(self, address: str, factory: Any, backlog: int = 50, mode: int = 0o666, wantPID: int = 0) -> Any:
        return self._opened(address, factory, backlog)

    def adoptStreamPort(self, fileno: int, family: int, factory: Any) -> Any:
        return self._opened((fileno, family), factory, 50)

    def _opened(self, place: Any, factory: Any, backlog: int) -> Listening:
        self.opened.append(Listening(place, factory, backlog))
        return self.opened[-1]


class GivenSocket:
    """A socket of somebody else."""

    family = socket.AF_INET

    def __init__(self) -> None:
        self.is_blocking = True

    def fileno(self) -> int:
        return 33

    def setblocking(self, flag: bool) -> None:
        self.is_blocking = flag


class PortsTests(SynchronousTestCase):
    """The ports of one service over several configurations."""

    def setUp(self) -> None:
        self.reactor = Reactor()
        self.ports = Ports(self.reactor)
        self.first, self.second = Factory(), Factory()

    def wanted(self, name: str, address: str, factory: Any = None, tls: Any = None, backlog: int = 9) -> Wanted:
        return Wanted(name, parse_address(address), factory or self.first, tls, backlog)

    def serve(self, *wanted: Wanted) -> None:
        self.ports.prepare(wanted).commit()

    def test_opens(self) -> None:
        """TCP and unix sockets with their backlog, to be found by the listener's name."""
        self.serve(self.wanted("a", "127.0.0.1:80"), self.wanted("b", "unix:/run/b"))
        self.assertEqual([port.getHost() for port in self.reactor.opened], ["127.0.0.1:80", "/run/b"])
        self.assertEqual([port.backlog for port in self.reactor.opened], [9, 9])
        self.assertEqual(list(self.ports), ["a", "b"])
        self.assertIs(self.ports["b"], self.reactor.opened[1])
        self.assertNotIn("c", self.ports)
        self.assertRaises(KeyError, lambda: self.ports["c"])

    def test_unchangedAddress(self) -> None:
        """A port whose address is still wanted stays open, whoever is served there by which name, and however written."""
        self.serve(self.wanted("a", "[::1]:80"))
        self.serve(self.wanted("z", "[0::1]:80", self.second, backlog=10))
        (port,) = self.reactor.opened
        self.assertTrue(port.is_listening)
        self.assertIs(port.factory, self.second)
        self.assertEqual(port.backlog, 10)
        self.assertEqual(dict(self.ports), {"z": port})

    def test_factories(self) -> None:
        """Each factory is told when its first port begins to use it, and when its last one ends that."""
        self.first.numPorts = 1
        self.serve(self.wanted("a", "127.0.0.1:80"))
        self.serve(self.wanted("a", "127.0.0.1:80", self.second))
        self.assertEqual((self.first.numPorts, self.second.numPorts), (0, 1))

    def test_tlsComesAndGoes(self) -> None:
        """The same port speaks TLS from then on, or speaks it no more."""
        self.serve(self.wanted("a", "127.0.0.1:80"))
        (port,) = self.reactor.opened
        self.serve(self.wanted("a", "127.0.0.1:80", tls="one"))
        self.assertIn("one", port.transport.args)
        self.serve(self.wanted("a", "127.0.0.1:80", tls="other"))
        self.assertIn("other", port.transport.args)
        self.serve(self.wanted("a", "127.0.0.1:80"))
        self.assertFalse(hasattr(port.transport, "args"))
        self.assertEqual((len(self.reactor.opened), port.is_listening), (1, True))

    def test_numbersOfTheSystem(self) -> None:
        """Port 0 is another port for each listener, and stays the same one for the same name."""
        self.serve(self.wanted("a", "127.0.0.1:0"), self.wanted("b", "127.0.0.1:0"))
        before = dict(self.ports)
        self.serve(self.wanted("b", "127.0.0.1:0"))
        self.assertEqual(dict(self.ports), {"b": before["b"]})
        self.assertEqual([port.is_listening for port in self.reactor.opened], [False, True])

    def test_addedAndRemoved(self) -> None:
        """New ones are open before those that nobody wants are closed; a change says which."""
        self.serve(self.wanted("a", "127.0.0.1:80"), self.wanted("b", "127.0.0.1:81"))
        a, b = self.reactor.opened
        change = self.ports.prepare([self.wanted("b", "127.0.0.1:81"), self.wanted("c", "127.0.0.1:82")])
        self.assertEqual([port.is_listening for port in self.reactor.opened], [True, True, True])
        c = self.reactor.opened[2]
        self.assertEqual((change.opened, change.removed), ([c], [a]))
        change.commit()
        self.assertEqual([port.is_listening for port in (a, b, c)], [False, True, True])
        self.assertEqual(dict(self.ports), {"b": b, "c": c})

    def test_oneCannotBeBound(self) -> None:
        """Then everything stays as it was: what was bound before it is closed again."""
        self.serve(self.wanted("a", "127.0.0.1:80"))
        self.reactor.taken.add(82)
        wanted = [self.wanted("x", "127.0.0.1:80", self.second), self.wanted("y", "127.0.0.1:81")]
        self.assertRaises(CannotListenError, self.ports.prepare, [*wanted, self.wanted("z", "127.0.0.1:82")])
        a, y = self.reactor.opened
        self.assertEqual((a.is_listening, y.is_listening), (True, False))
        self.assertIs(a.factory, self.first)
        self.assertEqual(dict(self.ports), {"a": a})

    def test_abandoned(self) -> None:
        """The same if something else goes wrong later."""
        self.serve(self.wanted("a", "127.0.0.1:80"))
        change = self.ports.prepare([self.wanted("a", "127.0.0.1:80", self.second), self.wanted("b", "127.0.0.1:81")])
        change.abandon()
        a, b = self.reactor.opened
        self.assertEqual((a.is_listening, a.factory, b.is_listening), (True, self.first, False))
        self.assertEqual(dict(self.ports), {"a": a})

    def test_givenSockets(self) -> None:
        """A socket that somebody has for an address is adopted, never to block, and stays theirs."""
        given = GivenSocket()
        asked: list[str] = []

        def give(address: Any) -> Any:
            asked.append(str(address))
            return given if address.kind == "systemd" else None

        self.ports = Ports(self.reactor, give)
        self.serve(self.wanted("a", "systemd:web"), self.wanted("b", "127.0.0.1:80"))
        self.assertEqual([port.getHost() for port in self.reactor.opened], [(33, socket.AF_INET), "127.0.0.1:80"])
        self.assertEqual([port.backlog for port in self.reactor.opened], [9, 9])
        self.assertFalse(given.is_blocking)
        self.serve(self.wanted("a", "systemd:web"), self.wanted("b", "127.0.0.1:80"))
        self.assertEqual(asked, ["systemd:web", "127.0.0.1:80"])

    def test_missingSocketOfSystemd(self) -> None:
        """One that nobody has given cannot be bound; the error says its name."""
        error = self.assertRaises(CannotListenError, self.ports.prepare, [self.wanted("a", "systemd:web")])
        self.assertIn("no socket named 'web'", str(error))

    def test_sockets(self) -> None:
        """Who goes on in another process is told what listens; and that closing them here ends nothing there."""
        self.serve(self.wanted("a", "127.0.0.1:80"), self.wanted("b", "unix:/run/b"))
        a, b = self.reactor.opened
        listed = [(str(address), skt) for address, skt in self.ports.sockets()]
        self.assertEqual(listed, [("127.0.0.1:80", a), ("unix:/run/b", b)])
        self.ports.share()
        self.assertTrue(a.is_shared and b.is_shared)

    def test_files(self) -> None:
        """The file of a unix socket that the configuration names can be made ours; one of systemd's stays its own."""
        self.ports = Ports(self.reactor, lambda _: cast(Any, GivenSocket()))
        self.serve(self.wanted("a", "systemd:a"), self.wanted("b", "unix:/run/b"))
        self.ports.own_files()
        self.assertEqual([port.owns_file for port in self.reactor.opened], [False, True])

    def test_stop(self) -> None:
        """All are closed."""
        self.serve(self.wanted("a", "127.0.0.1:80"), self.wanted("b", "unix:/run/b"))
        fired: list[Any] = []
        self.ports.stop().addCallback(fired.append)
        self.assertEqual(([port.is_listening for port in self.reactor.opened], len(self.ports)), ([False, False], 0))
        self.assertEqual(len(fired), 1)
