"""What is asked of the admin interface is carried out by the process itself, and told in its report."""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from txproxy.admin.operator import Conflict, LocalOperator
from txproxy.observe.log import LEVELS, _Threshold
from txproxy.test.running import NO_LOG, Running
from txproxy.test.talk import GET
from txproxy.testing import site

BACKEND = "10.0.0.1:80"


class OperatorCase(SynchronousTestCase):
    """A proxy in memory and who operates it."""

    def setUp(self) -> None:
        self.addCleanup(setattr, _Threshold, "level", _Threshold.level)

    def running(self, **sections: str) -> Running:
        text = site(rest=NO_LOG, **sections)
        running = Running(self, text)
        self.operator = LocalOperator(running.service, running.reactor.callLater)
        return running


class OrderTests(OperatorCase):
    """Orders are those of the rosters."""

    def test_orders(self) -> None:
        """They change the states that the report tells."""
        self.running()
        (name,) = (each["name"] for each in self.operator.report()["clusters"]["app"]["backends"])
        for order, state in (("drain", "draining"), ("maintain", "maintenance"), ("serve", "up")):
            self.operator.order("app", name, order)
            (backend,) = self.operator.report()["clusters"]["app"]["backends"]
            self.assertEqual(backend["state"], state)
        self.operator.set_weight("app", name, 9)
        self.operator.add("app", "10.9.9.9:1", 2, 5, True)
        told = self.operator.report()["clusters"]["app"]["backends"]
        self.assertEqual([(each["weight"], each["backup"]) for each in told], [(9, False), (2, True)])
        self.operator.remove("app", "10.9.9.9:1")
        self.assertEqual(len(self.operator.report()["clusters"]["app"]["backends"]), 1)

    def test_refusals(self) -> None:
        """Each with its kind of error, and one line."""
        self.running()
        (name,) = (each["name"] for each in self.operator.report()["clusters"]["app"]["backends"])
        self.assertRaises(KeyError, self.operator.order, "none", name, "drain")
        self.assertRaises(KeyError, self.operator.order, "app", "none", "drain")
        self.assertRaises(ValueError, self.operator.order, "app", name, "remove")
        self.assertRaises(KeyError, self.operator.remove, "app", "none")
        self.assertRaises(ValueError, self.operator.set_weight, "app", name, 0)
        self.assertRaises(Conflict, self.operator.add, "app", name, 1, None, False)
        error = self.assertRaises(ValueError, self.operator.add, "app", "nix", 0, None, False)
        self.assertIn("address: ", str(error))
        self.assertIn("weight: ", str(error))
        self.assertNotIn("\n", str(error))

    def test_stopping(self) -> None:
        """Nothing is changed any more; the report is told to the end."""
        running = self.running()
        self.assertTrue(self.operator.is_ready)
        client = running.client(GET)
        running.service.stopService()
        self.assertTrue(self.operator.is_stopping)
        self.assertFalse(self.operator.is_ready)
        self.assertRaises(Conflict, self.operator.order, "app", "x", "drain")
        self.assertRaises(Conflict, self.operator.purge, "all", "")
        self.assertRaises(Conflict, self.operator.reload)
        told = self.operator.report()
        self.assertEqual((told["state"], told["clusters"]["app"]["backends"][0]["active"]), ("stopping", 1))
        self.assertEqual([each["name"] for each in told["listeners"]], ["web"])
        client.lose()
        running.settle()


class PurgeTests(OperatorCase):
    """What the cache is asked to forget."""

    def test_withoutACache(self) -> None:
        """It cannot be."""
        self.running()
        self.assertRaises(Conflict, self.operator.purge, "all", "")

    def test_kinds(self) -> None:
        """All four, counted; large ones in steps between which others have their turn."""
        running = self.running(route="cache = {}")
        for number in range(3):
            client = running.client(f"GET /{number} HTTP/1.1\r\nHost: a.example\r\n\r\n".encode())
            backend = running.backend()
            backend.arriving += (
                b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nCache-Control: max-age=9\r\nCache-Tag: t%d\r\nConnection: close\r\n\r\nx"
                % number
            )
            running.settle()
            self.assertIn(b"HTTP/1.1 200 OK", client.sent)
        self.assertEqual(self.operator.report()["cache"]["objects"], 3)
        for kind, value in (
            ("url", "http://A.example:80/0"),
            ("prefix", "http://a.example/1"),
            ("tag", "t2"),
            ("all", ""),
        ):
            done = self.operator.purge(kind, value)
            running.reactor.advance(1)
            self.assertEqual(self.successResultOf(done), 0 if kind == "all" else 1, kind)
        for kind, value in (("url", "x"), ("tag", ""), ("tag", "a,b"), ("tag", "a\n"), ("what", "x")):
            self.assertRaises(ValueError, self.operator.purge, kind, value)


class ReportTests(OperatorCase):
    """What a process tells of itself."""

    def test_itIsJson(self) -> None:
        """All of it, with the parts that are documented."""
        running = self.running(route="cache = {}")
        told = json.loads(json.dumps(self.operator.report()))
        self.assertEqual(
            set(told),
            {
                "version", "started_at", "now", "state", "config", "workers", "listeners", "routes", "clusters", "cache",
                "certificates", "numbers", "errors",
            },
        )  # fmt: skip
        (worker,) = told["workers"]
        self.assertGreater(worker["rss_bytes"], 1 << 20)
        self.assertGreater(worker["descriptors"], 0)
        self.assertEqual(told["cache"]["store"]["is_away"], False)
        self.assertEqual(running.service.path, "")

    def test_theHash(self) -> None:
        """It is the same for what says the same, and has no secret in it."""
        first = self.running(route="strip_prefix = '/a'")
        again = self.operator.report()["config"]["hash"]
        self.running(route="strip_prefix = '/a'")
        self.assertEqual(self.operator.report()["config"]["hash"], again)
        self.running(route="strip_prefix = '/b'")
        self.assertNotEqual(self.operator.report()["config"]["hash"], again)
        first.service.stopService()

    def test_logLevel(self) -> None:
        """It is changed at once; a reload of the same level does not change it back."""
        running = self.running()
        self.operator.set_level("debug")
        self.assertIs(_Threshold.level, LEVELS["debug"])
        running.service.change(running.service.config)
        self.assertIs(_Threshold.level, LEVELS["debug"])
        log = running.service.config.log.model_copy(update={"level": "warn"})
        running.service.change(running.service.config.model_copy(update={"log": log}))
        self.assertIs(_Threshold.level, LEVELS["warn"])
        self.assertRaises(ValueError, self.operator.set_level, "loud")

    def test_reload(self) -> None:
        """Without a file there is only the certificates to be read again."""
        self.running()
        told = self.operator.reload()
        self.assertEqual((told.ok, told.errors), (True, ()))
