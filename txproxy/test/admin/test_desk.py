"""The admin interface is opened, moved and closed with the configuration."""

from __future__ import annotations

from typing import Any

from twisted.internet.error import CannotListenError
from twisted.trial.unittest import SynchronousTestCase

from txproxy.admin.desk import Desk
from txproxy.config.model import AdminSettings
from txproxy.test.admin.asking import FakeOperator
from txproxy.test.running import NO_LOG, Reactor, Running
from txproxy.test.upstream.observing import logged
from txproxy.testing import site


class DeskTests(SynchronousTestCase):
    """One address, or none."""

    def desk(self, reactor: Any = None) -> tuple[Desk, Any]:
        reactor = reactor or Reactor()
        return Desk(FakeOperator(), reactor), reactor

    def test_opening(self) -> None:
        """It says where it is."""
        desk, reactor = self.desk()
        with logged() as lines:
            desk.open(AdminSettings(listen="127.0.0.1:9901"))
        self.assertEqual(lines, ["admin interface on http://0.0.0.0:9901"])
        self.assertEqual((desk.url, len(reactor.tcpServers)), ("http://0.0.0.0:9901", 1))

    def test_none(self) -> None:
        """Without settings nothing is bound."""
        desk, reactor = self.desk()
        desk.open(None)
        self.assertEqual((desk.url, reactor.tcpServers), ("", []))
        self.successResultOf(desk.stop())

    def test_unchangedAddress(self) -> None:
        """The port stays, and nothing is said."""
        desk, reactor = self.desk()
        desk.open(AdminSettings())
        with logged() as lines:
            desk.commit(desk.prepare(AdminSettings(token="new")))
        self.assertEqual((lines, len(reactor.opened)), ([], 1))

    def test_moving(self) -> None:
        """The new port is open before the old one is closed."""
        desk, reactor = self.desk()
        desk.open(AdminSettings())
        move = desk.prepare(AdminSettings(listen="127.0.0.1:9902"))
        self.assertEqual(desk.url, "http://0.0.0.0:9901")
        desk.commit(move)
        self.assertEqual(desk.url, "http://0.0.0.0:9902")
        self.assertEqual([port.is_listening for port in reactor.opened], [False, True])
        desk.commit(desk.prepare(None))
        self.assertEqual([port.is_listening for port in reactor.opened], [False, False])

    def test_abandoning(self) -> None:
        """Nothing has changed then."""
        desk, reactor = self.desk()
        desk.open(AdminSettings())
        desk.prepare(AdminSettings(listen="127.0.0.1:9902")).change.abandon()
        self.assertEqual([port.is_listening for port in reactor.opened], [True, False])
        self.assertEqual(desk.url, "http://0.0.0.0:9901")

    def test_handingOver(self) -> None:
        """Another process has the port: this one attends to nobody any more."""
        desk, reactor = self.desk()
        desk.open(AdminSettings())
        desk.hand_over()
        self.assertEqual([port.is_listening for port in reactor.opened], [False])


class ServiceTests(SynchronousTestCase):
    """A proxy and its admin interface."""

    def test_anAddressThatIsTaken(self) -> None:
        """The proxy does not begin, and no port stays open."""
        running_on = Reactor(taken=9901)
        with self.assertRaises(CannotListenError):
            Running(self, site(rest=f"{NO_LOG}[admin]\n"), reactor=running_on)
        self.assertEqual([port.is_listening for port in running_on.opened], [False])

    def test_aReloadThatCannotBe(self) -> None:
        """If its new address is taken, nothing has changed."""
        reactor = Reactor(taken=9902)
        running = Running(self, site(rest=f"{NO_LOG}[admin]\n"), reactor=reactor)
        before = running.service.config
        after = before.model_copy(update={"admin": AdminSettings(listen="127.0.0.1:9902")})
        self.assertRaises(CannotListenError, running.service.change, after)
        self.assertIs(running.service.config, before)
        self.assertEqual(running.service.admin.url, "http://0.0.0.0:9901")

    def test_aReloadThatFailsLater(self) -> None:
        """If a listener's new address is taken, the interface stays where it was, and its new port is closed."""
        reactor = Reactor(taken=9902)
        running = Running(self, site(rest=f"{NO_LOG}[admin]\n"), reactor=reactor)
        before = running.service.config
        listener = before.listeners[0].model_copy(update={"address": "127.0.0.1:9902"})
        after = before.model_copy(update={"admin": AdminSettings(listen="127.0.0.1:9903"), "listeners": (listener,)})
        self.assertRaises(CannotListenError, running.service.change, after)
        self.assertEqual([port.getHost().port for port in reactor.opened if port.is_listening][1:], [9901])
        self.assertEqual(running.service.admin.url, "http://0.0.0.0:9901")

    def test_theEnd(self) -> None:
        """It is there until nothing else is left."""
        running = Running(self, site(rest=f"{NO_LOG}[admin]\n"))
        client = running.client(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        stopped = running.service.stopService()
        self.assertEqual(running.service.admin.url, "http://0.0.0.0:9901")
        client.lose()
        running.settle()
        self.successResultOf(stopped)
        self.assertEqual(running.service.admin.url, "")
