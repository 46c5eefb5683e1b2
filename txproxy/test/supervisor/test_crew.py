"""Workers that come, go and tell what they find out."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from txproxy.supervisor.crew import Crew, CrewTools
from txproxy.supervisor.memory import Order, Verdict
from txproxy.supervisor.messages import Refused
from txproxy.supervisor.rolling import Rolling
from txproxy.test.upstream.observing import logged
from txproxy.testing.crew import FakeLauncher, FakeWorker

DOWN = Verdict("app", "a:1", "down", "refused")


class CrewCase(SynchronousTestCase):
    """A crew of workers that are not there, of two unless a test says otherwise."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.launcher = FakeLauncher()
        self.said: list[str] = []
        tools = CrewTools(
            self.clock,
            self.launcher,
            lambda number, is_checking: (number, is_checking),  # type: ignore[arg-type,return-value]
            lambda: self.said.append("all serve"),
            lambda: self.said.append("none can begin"),
            lambda: self.said.append("all have ended"),
        )
        self.crew = Crew(tools)
        self.crew.clusters = {"app": None}

    @property
    def workers(self) -> list[FakeWorker]:
        """All that were ever started."""
        return self.launcher.workers

    def begun(self, count: int = 2) -> list[FakeWorker]:
        """Start workers and let them serve."""
        self.crew.resize(count)
        for worker in self.workers:
            worker.begins()
        return list(self.workers)

    def told(self, worker: FakeWorker, name: str) -> list[dict[str, Any]]:
        """Return the arguments of what a worker was told by one command."""
        return [arguments for command, arguments in worker.channel.told if command == name]


class ReplacingTests(CrewCase):
    """Who ends is replaced."""

    def test_beginning(self) -> None:
        """Each place gets a worker; that all serve is said once, by the last; one of them checks the backends."""
        self.crew.resize(3)
        self.assertEqual([worker.place for worker in self.workers], [(0, True), (1, False), (2, False)])
        for worker in self.workers:
            self.assertEqual(self.said, [])
            worker.begins()
        self.assertEqual(self.said, ["all serve"])

    def test_oneIsKilled(self) -> None:
        """It is replaced at once, in its own place, whoever else is there; the next time later."""
        first, second = self.begun()
        self.clock.advance(100)
        with logged() as lines:
            second.ends("was killed by SIGKILL")
        self.clock.advance(0)
        self.assertIn("worker 2 (process 102) was killed by SIGKILL; it is replaced now", lines)
        self.assertEqual([worker.place for worker in self.workers[2:]], [(1, False)])
        self.workers[2].ends()
        self.clock.advance(0.4)
        self.assertEqual(len(self.workers), 3)
        self.clock.advance(0.1)
        self.assertEqual(len(self.workers), 4)
        self.assertEqual(self.told(first, "Stop"), [])

    def test_endIsFoundLate(self) -> None:
        """A process whose connection is gone first is looked at until it has ended, and killed if it does not."""
        first, _ = self.begun()
        first.member.is_lost()
        self.clock.advance(0)
        self.assertEqual(len(self.workers), 2)
        self.clock.pump([0.01] * 600)
        self.assertEqual(self.launcher.killed, [101])
        self.assertEqual(len(self.workers), 3)

    def test_endWithoutAnEndOfTheConnection(self) -> None:
        """Somebody whom a worker has left behind may hold its connection open: processes are looked at, too."""
        first, _ = self.begun()
        first.ended = "was killed by SIGKILL"
        self.clock.pump([0.5, 0.5, 0])
        self.assertEqual(len(self.workers), 3)
        self.assertEqual(first.channel.looks, 1)

    def test_toldToStop(self) -> None:
        """One that stops of itself is replaced at once, and its end is no death."""
        first, _ = self.begun()
        first.member.leaves()
        self.assertEqual(self.workers[2].place[0], 0)
        with logged() as lines:
            first.ends()
        self.clock.advance(1)
        self.assertEqual((lines, len(self.workers)), ([], 3))

    def test_noneCanBegin(self) -> None:
        """If all end before one has served, that is the end; one that failed alone is tried again later."""
        self.crew.resize(2)
        self.workers[0].member.reason = "the file is gone"
        with logged() as lines:
            self.workers[0].ends("ended with status 1")
        self.assertEqual(self.said, [])
        self.assertTrue(any("ended with status 1: the file is gone; it is replaced in 1 s" in line for line in lines))
        self.workers[1].ends()
        self.assertEqual(self.said, ["none can begin"])

    def test_noRoomForAProcess(self) -> None:
        """If the system refuses a process it is tried again."""
        self.launcher.failure = OSError(11, "Resource temporarily unavailable")
        with logged() as lines:
            self.crew.resize(1)
        self.assertEqual(len(lines), 1)
        self.launcher.failure = None
        self.clock.advance(1)
        self.assertEqual(len(self.workers), 1)

    def test_stop(self) -> None:
        """All are told, nobody is replaced any more, and the last end is the end; nothing is left in the reactor."""
        first, second = self.begun()
        second.ends()
        self.crew.stop()
        self.clock.advance(1)
        self.assertEqual(len(self.workers), 2)
        self.assertEqual(len(self.told(first, "Stop")), 1)
        self.assertEqual(self.said, ["all serve"])
        first.ends()
        self.assertEqual(self.said, ["all serve", "all have ended"])
        self.clock.advance(1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_fewer(self) -> None:
        """Those that are too many finish what they have, and nobody takes their places."""
        workers = self.begun(3)
        self.crew.resize(1)
        self.assertEqual([len(self.told(worker, "Stop")) for worker in workers], [0, 1, 1])
        for worker in workers[1:]:
            worker.ends()
        self.clock.advance(5)
        self.assertEqual(len(self.workers), 3)
        self.crew.resize(2)
        self.assertEqual(self.workers[3].place[0], 1)


class SharingTests(CrewCase):
    """What one knows, all know."""

    def test_verdict(self) -> None:
        """What one has found out is told to all others, not to itself, and to those who come later."""
        workers = self.begun(3)
        self.crew.found(workers[1].member, DOWN)
        heard = [self.told(worker, "Heard") for worker in workers]
        self.assertEqual(heard, [[{"verdict": list(DOWN)}], [], [{"verdict": list(DOWN)}]])
        self.assertEqual(self.crew.verdicts.standing(0.0), [DOWN])
        self.crew.found(workers[0].member, DOWN._replace(cluster="made-up"))
        self.assertEqual(self.crew.verdicts.standing(0.0), [DOWN])

    def test_whoChecks(self) -> None:
        """When the one that checks is gone, or goes, another one does; one that is just beginning does not count."""
        workers = self.begun(3)
        workers[0].member.leaves()
        self.assertEqual(self.told(workers[1], "SetChecking"), [{"on": True}])
        workers[1].ends()
        self.clock.advance(0)
        self.assertEqual(self.told(workers[2], "SetChecking"), [{"on": True}])
        self.assertEqual([worker.place[1] for worker in self.workers[3:]], [False, False])

    def test_nobodyChecks(self) -> None:
        """If there is nobody who could, the next one does from its beginning."""
        (only,) = self.begun(1)
        self.clock.advance(100)
        only.ends()
        self.clock.advance(0)
        self.assertEqual(self.workers[1].place, (0, True))

    def test_sweep(self) -> None:
        """What requests purge at one is purged at the others, and counted together; who is gone counts nothing."""
        workers = self.begun(3)
        counted = self.crew.swept(workers[0].member, ["http://a/"])
        self.assertEqual([self.told(worker, "Purge") for worker in workers][0], [])
        workers[1].channel.answers(count=2)
        self.assertNoResult(counted)
        workers[2].channel.fails(Refused("it is gone"))
        self.assertEqual(self.successResultOf(counted), 2)
        everything = self.crew.purge("tag", b"\xe9")
        for worker in workers:
            self.assertEqual(self.told(worker, "Purge")[-1], {"kind": "tag", "values": ["\xe9"]})
            worker.channel.answers(count=1)
        self.assertEqual(self.successResultOf(everything), 3)

    def order(self, *outcomes: Exception | None) -> Deferred[None]:
        done = self.crew.order(Order("app", "drain", ("a:1",)))
        for worker, outcome in zip(self.workers, outcomes, strict=True):
            if outcome is None:
                worker.channel.answers()
            else:
                worker.channel.fails(outcome)
        return done

    def test_order(self) -> None:
        """An order is for all, and remembered if somebody could carry it out."""
        self.begun(2)
        self.failureResultOf(self.order(KeyError("a:1"), KeyError("a:1")), KeyError)
        self.assertEqual(list(self.crew.orders), [])
        self.successResultOf(self.order(None, KeyError("a:1")))
        self.assertEqual(list(self.crew.orders), [Order("app", "drain", ("a:1",))])

    def test_whoBeginsMeanwhile(self) -> None:
        """A worker that began before an order was carried out everywhere gets it, too."""
        first, second = self.begun()
        done = self.crew.order(Order("app", "drain", ("a:1",)))
        first.channel.answers()
        self.clock.advance(100)
        second.ends()
        self.clock.advance(0)
        third = self.workers[2]
        third.begins()
        second.channel.fails(Refused("it is gone"))
        self.successResultOf(done)
        self.assertEqual(self.told(third, "Carry"), [{"order": ["app", "drain", ["a:1"]]}])
        self.assertEqual(len(self.told(first, "Carry")), 1)
        third.channel.fails(Refused("it is gone"))

    def test_orderToNobody(self) -> None:
        """Without workers nothing is carried out."""
        self.failureResultOf(self.crew.order(Order("app", "drain", ("a:1",))), Refused)

    def test_numbers(self) -> None:
        """Numbers are summed over all that ever were."""
        first, second = self.begun()
        self.crew.counted(first.member, {"connections": 2})
        self.crew.counted(second.member, {"connections": 3})
        first.ends()
        self.assertEqual(self.crew.totals.numbers(), {"connections": 5})


class RollingTests(CrewCase):
    """A reload goes from worker to worker."""

    def roll(self, count: int = 2) -> Deferred[list[str]]:
        self.adopted = 0

        def adopt() -> None:
            self.adopted += 1

        return Rolling(self.crew, [], count, adopt).begin()

    def reloads(self) -> list[int]:
        return [len(self.told(worker, "Reload")) for worker in self.workers]

    def test_oneAfterTheOther(self) -> None:
        """The second one begins when the first one serves it; from then on new ones do."""
        first, second = self.begun()
        done = self.roll()
        self.assertEqual((self.reloads(), self.adopted), ([1, 0], 0))
        first.channel.answers(errors=[])
        self.assertEqual((self.reloads(), self.adopted, self.crew.generation), ([1, 1], 1, 1))
        self.assertNoResult(done)
        second.channel.answers(errors=[])
        self.assertEqual(self.successResultOf(done), [])
        self.assertEqual(self.adopted, 1)

    def test_theFirstOneRefuses(self) -> None:
        """What the first one cannot serve no other one is asked to."""
        first, _ = self.begun()
        done = self.roll()
        first.channel.answers(errors=["no such file"])
        self.assertEqual(self.successResultOf(done), ["no such file"])
        self.assertEqual((self.reloads(), self.adopted, self.crew.generation), ([1, 0], 0, 0))

    def test_theFirstOneDiesOfIt(self) -> None:
        """Nor what it does not survive."""
        first, _ = self.begun()
        done = self.roll()
        first.member.is_out_of_reach = True
        first.channel.fails(Refused("it is gone"))
        self.assertIn("it is gone", self.successResultOf(done)[0])
        self.assertEqual((self.reloads(), self.adopted), ([1, 0], 0))

    def test_anotherOneRefuses(self) -> None:
        """Who cannot follow the first is replaced, and the new one begins with the new configuration."""
        first, second = self.begun()
        done = self.roll()
        first.channel.answers(errors=[])
        with logged():
            second.channel.answers(errors=["too many open files"])
        self.assertEqual(self.successResultOf(done), [])
        self.assertEqual(len(self.told(second, "Stop")), 1)
        self.assertEqual((self.workers[2].place[0], self.workers[2].member.generation), (1, 1))

    def test_anotherOneDies(self) -> None:
        """One that dies meanwhile is replaced by one that has the new configuration, and is not asked."""
        first, second = self.begun()
        self.clock.advance(100)
        done = self.roll()
        first.channel.answers(errors=[])
        with logged():
            second.ends()
            second.channel.fails(Refused("it is gone"))
        self.clock.advance(0)
        self.assertEqual(self.successResultOf(done), [])
        self.assertEqual(self.workers[2].member.generation, 1)
        self.assertEqual(self.reloads(), [1, 1, 0])

    def test_nobodyIsThere(self) -> None:
        """If all are dead the next ones begin with the new configuration: it may be what mends them."""
        (only,) = self.begun(1)
        only.ends()
        self.assertEqual(self.successResultOf(self.roll(1)), [])
        self.assertEqual(self.adopted, 1)
        self.clock.advance(0)
        self.assertEqual(self.workers[1].member.generation, 1)

    def test_noSocket(self) -> None:
        """A socket that cannot be had for a worker ends it, with what is wrong; what comes after it is not held up."""

        class Taken:
            address = "127.0.0.1:80"

            def of(self, number: int) -> Any:
                raise CannotListenError("127.0.0.1", 80, OSError(98, "Address already in use"))

        self.begun()
        done = Rolling(self.crew, [Taken()], 2, lambda: None).begin()  # type: ignore[list-item]
        self.assertIn("Address already in use", self.successResultOf(done)[0])
        self.flushLoggedErrors(CannotListenError)

    def test_otherNumberOfWorkers(self) -> None:
        """More are started, fewer dismissed, when all that stay serve it."""
        first, second = self.begun()
        done = self.roll(3)
        first.channel.answers(errors=[])
        self.assertEqual(len(self.workers), 2)
        second.channel.answers(errors=[])
        self.successResultOf(done)
        self.assertEqual(self.workers[2].place[0], 2)
        done = self.roll(1)
        first.channel.answers(errors=[])
        self.successResultOf(done)
        self.assertEqual(self.reloads(), [2, 1, 0])
        self.assertEqual([len(self.told(worker, "Stop")) for worker in self.workers], [0, 1, 1])
