"""What operators ask of a supervisor: asked of all workers, and told as of one proxy."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred, succeed

from txproxy.admin.operator import Conflict
from txproxy.config.load import load_text
from txproxy.reload import ReloadResult
from txproxy.supervisor.messages import Refused
from txproxy.supervisor.operator import SupervisorOperator
from txproxy.test.supervisor.test_crew import CrewCase
from txproxy.test.top.reports import report
from txproxy.testing import site
from txproxy.upstream.roster import AlreadyThere


class OperatorCase(CrewCase):
    """Two workers, and a supervisor that is as a test says."""

    def setUp(self) -> None:
        super().setUp()
        self.levels: list[str] = []
        self.supervisor = SimpleNamespace(
            config=load_text(site()).config, path="/p.toml", started_at=1.0, loaded_at=2.0, last_reload=None, running=True,
            is_serving=True, numbers=lambda: {"outcomes|200|ok": 5}, clocks=SimpleNamespace(wall=lambda: 9.0),
            set_level=self.levels.append,
        )  # fmt: skip
        self.operator = SupervisorOperator(self.supervisor, self.crew)


class ReportTests(OperatorCase):
    """One report of all."""

    def told_of(self, number: int) -> dict[str, Any]:
        told = report(100)
        told["workers"][0]["number"] = number
        return told

    def test_merged(self) -> None:
        """Requests are added up; the configuration and the numbers are the supervisor's."""
        workers = self.begun()
        done = self.operator.report()
        for number, worker in enumerate(workers, 1):
            worker.channel.answers(report=self.told_of(number))
        told = self.successResultOf(done)
        self.assertEqual([each["number"] for each in told["workers"]], [1, 2])
        self.assertEqual([each["active"] for each in told["clusters"]["api"]["backends"]], [0, 0, 8])
        self.assertEqual((told["config"]["path"], told["started_at"], told["now"]), ("/p.toml", 1.0, 9.0))
        self.assertEqual((told["numbers"], told["state"]), ({"outcomes|200|ok": 5}, "ready"))
        self.assertEqual(self.clock.getDelayedCalls(), self.crew_calls())

    def crew_calls(self) -> list[Any]:
        """What the crew itself waits for."""
        return [call for call in self.clock.getDelayedCalls() if "_look" in str(call) or "LoopingCall" in str(call)]

    def test_aWorkerThatDoesNotAnswer(self) -> None:
        """The others are told of after a while; so it is with one that fails."""
        workers = self.begun(3)
        done = self.operator.report()
        workers[0].channel.answers(report=self.told_of(1))
        workers[1].channel.fails(Refused("it is gone"))
        self.assertNoResult(done)
        self.clock.advance(3)
        self.assertEqual([each["number"] for each in self.successResultOf(done)["workers"]], [1])

    def test_noWorker(self) -> None:
        """There is a report nevertheless, of all that the supervisor knows itself."""
        told = self.successResultOf(self.operator.report())
        self.assertEqual((told["workers"], told["clusters"], told["cache"]), ([], {}, None))
        self.assertEqual([each["cluster"] for each in told["routes"]], ["app"])
        self.assertLessEqual(set(report(1)), set(told))

    def test_stopping(self) -> None:
        """It is said as soon as it is so."""
        self.assertTrue(self.operator.is_ready)
        self.supervisor.running = self.supervisor.is_serving = False
        self.assertEqual((self.operator.is_ready, self.operator.is_stopping), (False, True))
        self.assertEqual(self.successResultOf(self.operator.report())["state"], "stopping")
        for ask in (
            lambda: self.operator.order("app", "a", "drain"),
            lambda: self.operator.purge("all", ""),
            lambda: self.operator.reload(),
        ):
            self.assertRaises(Conflict, ask)


class OrderTests(OperatorCase):
    """Calls of rosters, made in all workers."""

    def test_calls(self) -> None:
        """All of them, with their arguments; done when all have done it."""
        workers = self.begun()
        for ask, order in (
            (lambda: self.operator.order("app", "a", "drain"), ["app", "drain", ["a"]]),
            (lambda: self.operator.set_weight("app", "a", 3), ["app", "set_weight", ["a", 3]]),
            (lambda: self.operator.add("app", "b", 1, None, True), ["app", "add", ["b", 1, None, True]]),
            (lambda: self.operator.remove("app", "b"), ["app", "remove", ["b"]]),
        ):
            done = ask()
            for worker in workers:
                self.assertEqual(self.told(worker, "Carry")[-1], {"order": order})
                self.assertNoResult(done)
                worker.channel.answers()
            self.successResultOf(done)
        self.assertRaises(ValueError, self.operator.order, "app", "a", "remove")

    def test_refusals(self) -> None:
        """What all workers say is said as one process would say it."""
        workers = self.begun()
        for error, kind, text in (
            (KeyError("'there is none'"), KeyError, "there is none"),
            (ValueError("no weight"), ValueError, "no weight"),
            (AlreadyThere("it is there"), Conflict, "it is there"),
            (Refused("it is gone"), Conflict, "it is gone"),
        ):
            done = self.operator.order("app", "a", "drain")
            for worker in workers:
                worker.channel.fails(error)
            self.assertEqual(self.failureResultOf(done, kind).value.args, (text,))


class OtherTests(OperatorCase):
    """Purges, reloads and the log."""

    def test_purge(self) -> None:
        """The numbers of all are added up; without a cache it cannot be."""
        workers = self.begun()
        self.assertRaises(Conflict, self.operator.purge, "all", "")
        self.supervisor.config = load_text(site(route="cache = {}")).config
        done = self.operator.purge("url", "http://A/")
        for worker in workers:
            self.assertEqual(self.told(worker, "Purge"), [{"kind": "url", "values": ["http://a/"]}])
            worker.channel.answers(count=2)
        self.assertEqual(self.successResultOf(done), 4)
        self.assertRaises(ValueError, self.operator.purge, "url", "x")

    def test_reload(self) -> None:
        """What became of it is told when it is over."""
        waiting: Deferred[ReloadResult | None] = Deferred()
        self.supervisor.reloaded = lambda: waiting
        done = self.operator.reload()
        self.assertNoResult(done)
        waiting.callback(ReloadResult(1.0, False, ("f:1: x",)))
        self.assertEqual(self.successResultOf(done), (False, ("f:1: x",), ""))
        self.supervisor.reloaded = lambda: succeed(None)
        self.assertTrue(self.successResultOf(self.operator.reload()).ok)

    def test_logLevel(self) -> None:
        """A level that there is."""
        self.operator.set_level("debug")
        self.assertRaises(ValueError, self.operator.set_level, "loud")
        self.assertEqual(self.levels, ["debug"])
