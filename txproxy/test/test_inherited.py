"""Sockets that were open before the process began: by whose word they are taken, for whom, and what becomes of the rest."""

from __future__ import annotations

import os
import socket
from typing import Any

from twisted.internet.error import CannotListenError
from twisted.trial.unittest import SynchronousTestCase

from txproxy.config.address import Address, parse_address
from txproxy.inherited import Inherited, inherited, told
from txproxy.test.upstream.observing import logged

WEB, API = parse_address("systemd:web"), parse_address("systemd:api")


class FakeSocket:
    """What is asked of a socket here."""

    def __init__(self, descriptor: int, kind: int = socket.SOCK_STREAM, listens: bool = True) -> None:
        self.descriptor = descriptor
        self.type = kind
        self.is_open = True
        self._listens = listens

    def getsockopt(self, level: int, option: int) -> int:
        """Say whether it listens; nothing else may be asked."""
        assert (level, option) == (socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        return int(self._listens)

    def close(self) -> None:
        """Close it, once."""
        assert self.is_open
        self.is_open = False


class InheritedTests(SynchronousTestCase):
    """Each socket is given for the address that it belongs to."""

    def setUp(self) -> None:
        self.opened: dict[int, FakeSocket] = {}

    def open(self, descriptor: int) -> Any:
        """Stand for the making of a socket of a descriptor."""
        self.opened[descriptor] = FakeSocket(descriptor)
        return self.opened[descriptor]

    def given(self, given: Inherited, address: Address) -> int | None:
        """Return the descriptor that is given for an address."""
        found: Any = given(address)
        return None if found is None else found.descriptor

    def open_ones(self) -> list[int]:
        """Return the descriptors that were not closed."""
        return [descriptor for descriptor, each in self.opened.items() if each.is_open]

    def test_none(self) -> None:
        """Usually there are none, and every address has to be bound."""
        given = inherited({"HOME": "/"}, self.open)
        self.assertEqual([given(parse_address("127.0.0.1:80")), given(WEB)], [None, None])
        given.settle()

    def test_activated(self) -> None:
        """Those of systemd are given by name, again and again; nothing that we start takes them for its own."""
        environ = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "2", "LISTEN_FDNAMES": "web:api", "HOME": "/"}
        given = inherited(environ, self.open)
        self.assertEqual(environ, {"HOME": "/"})
        self.assertEqual([self.given(given, each) for each in (API, WEB, WEB)], [4, 3, 3])
        self.assertIsNone(given(parse_address("127.0.0.1:80")))
        given.settle()
        self.assertEqual(self.given(given, API), 4)
        self.assertEqual(self.open_ones(), [3, 4])

    def test_unnamed(self) -> None:
        """Who sets no names means the one of libsystemd."""
        given = inherited({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}, self.open)
        self.assertEqual(self.given(given, parse_address("systemd:unknown")), 3)

    def test_notForUs(self) -> None:
        """Variables that were meant for another process say nothing of our descriptors; damaged ones neither."""
        for wrong in ({"LISTEN_PID": "1"}, {"LISTEN_FDS": "x"}, {"LISTEN_FDS": "-1"}, {"LISTEN_FDS": "2"}):
            environ = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1", "LISTEN_FDNAMES": "web", **wrong}
            self.assertIsNone(inherited(environ, self.open)(WEB))
        self.assertEqual(self.opened, {})

    def test_twoOfAName(self) -> None:
        """Which of two would be served is nobody's guess: an error that says what to do."""
        environ = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "2", "LISTEN_FDNAMES": "web:web"}
        error = self.assertRaises(CannotListenError, inherited(environ, self.open), WEB)
        self.assertIn("2 sockets have this name", str(error))

    def test_noListeningOne(self) -> None:
        """Datagrams, and connections that systemd has accepted itself, cannot be listened on."""
        for wrong in (FakeSocket(3, socket.SOCK_DGRAM), FakeSocket(3, listens=False)):
            sockets: Any = {"web": [wrong]}
            error = self.assertRaises(CannotListenError, Inherited(sockets), WEB)
            self.assertIn("no listening stream socket", str(error))

    def test_unused(self) -> None:
        """What nobody listens on is closed: clients are refused instead of waiting for ever. The log says so."""
        environ = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "2", "LISTEN_FDNAMES": "web:api"}
        given = inherited(environ, self.open)
        given(API)
        with logged() as lines:
            given.settle()
            given.settle()
        self.assertEqual(self.open_ones(), [4])
        self.assertEqual(len(lines), 1)
        self.assertIn('"systemd:web"', lines[0])

    def test_predecessor(self) -> None:
        """Those of the process before are given by address, each once, and closed when the port has its duplicate."""
        places = ["127.0.0.1:80", "[0::1]:80", "unix:/run/a", "systemd:web", "127.0.0.1:80", "127.0.0.1:81"]
        addresses = [parse_address(each) for each in places]
        environ = {"TXPROXY_SOCKETS": told(zip(addresses, range(4, 10), strict=True)), "HOME": "/"}
        given = inherited(environ, self.open)
        self.assertEqual(environ, {"HOME": "/"})
        asked = ["127.0.0.1:80", "[::1]:80", "unix:/run/a", "systemd:web", "127.0.0.1:80", "127.0.0.1:80"]
        self.assertEqual([self.given(given, parse_address(each)) for each in asked], [4, 5, 6, 7, 8, None])
        self.assertEqual(len(self.open_ones()), 6)
        with logged() as lines:
            given.settle()
        self.assertEqual((self.open_ones(), lines), ([], ["nothing listens at 127.0.0.1:81 any more"]))
        self.assertIsNone(given(addresses[0]))

    def test_malformed(self) -> None:
        """Who sets the variable by hand, and wrongly, is told."""
        for text in ("", "x", "1", "[1]", '[["127.0.0.1:80"]]', '[["127.0.0.1", 3]]', '[["127.0.0.1:80", "x"]]', "{}x"):
            error = self.assertRaises(ValueError, inherited, {"TXPROXY_SOCKETS": text}, self.open)
            self.assertIn("TXPROXY_SOCKETS is malformed", str(error))
        for text in ("[" * 100_000, '[["127.0.0.1:80", 1e999]]'):
            self.assertRaises(ValueError, inherited, {"TXPROXY_SOCKETS": text}, self.open)
        self.assertRaises(OSError, inherited, {"TXPROXY_SOCKETS": f'[["127.0.0.1:80", {10**20}]]'})
        variables = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "9" * 12}
        self.assertRaises(ValueError, inherited, variables, self.open)
