"""What the supervisor does with a reload: whom it listens to meanwhile, and what a stop in the middle of it means."""

from __future__ import annotations

from typing import Any

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from txproxy.config.load import Loaded, load_text
from txproxy.config.problems import ConfigError
from txproxy.reload import Source
from txproxy.supervisor.memory import Verdict
from txproxy.supervisor.supervisor import Supervisor
from txproxy.supervisor.tools import SupervisorTools
from txproxy.test.upstream.observing import logged
from txproxy.testing import site
from txproxy.testing.crew import FakeLauncher, FakeWorker

ANOTHER = '[cluster.another]\nbackends = [{ address = "10.0.0.9:80" }]\n'


class SupervisorTests(SynchronousTestCase):
    """Two workers that are not there, and no listeners."""

    def setUp(self) -> None:
        self.text = ""
        self.reactor = MemoryReactorClock()
        self.launcher = FakeLauncher()
        source = Source("proxy.toml", self.load)
        tools = SupervisorTools(self.reactor, self.launcher, lambda _config: 2, source)
        self.supervisor = Supervisor(self.load(), tools)
        self.supervisor.startService()
        self.reactor.run()
        for worker in self.workers:
            worker.begins()

    @property
    def workers(self) -> list[FakeWorker]:
        """All that were ever started."""
        return self.launcher.workers

    def load(self) -> Loaded:
        """Return the configuration as it is now."""
        loaded = load_text(site(rest=self.text))
        without = loaded.config.model_copy(update={"listeners": ()})
        return Loaded(without, loaded.functions, loaded.files)

    def told(self, worker: FakeWorker, name: str) -> list[Any]:
        """Return the arguments of what a worker was told by one command."""
        return [arguments for command, arguments in worker.channel.told if command == name]

    def find(self, cluster: str) -> int:
        """Have the first worker find something out; return how often the second one has heard of that cluster."""
        member = self.workers[0].member
        member.crew.found(member, Verdict(cluster, "10.0.0.9:80", "down", "refused"))
        return sum(each["verdict"][0] == cluster for each in self.told(self.workers[1], "Heard"))

    def test_clustersThatAReloadHasBrought(self) -> None:
        """What one worker finds out of them all others are told, from the moment on that it may know them."""
        self.assertEqual(self.find("another"), 0)
        self.text = ANOTHER
        self.supervisor.reload()
        self.assertEqual(self.find("another"), 1)
        for worker in self.workers:
            worker.channel.answers(errors=[])
        self.assertEqual(self.find("another"), 2)
        self.text = ""
        self.supervisor.reload()
        for worker in self.workers:
            worker.channel.answers(errors=[])
        self.assertEqual(self.find("another"), 2)

    def test_clustersOfARefusedReload(self) -> None:
        """Nobody serves them, so that nobody can know anything of them."""
        self.text = ANOTHER
        self.supervisor.reload()
        self.workers[0].channel.answers(errors=["no"])
        self.assertEqual(self.find("another"), 0)

    def test_stopInTheMiddle(self) -> None:
        """No further worker is asked, none is replaced, and nothing is said but that they stop."""
        self.supervisor.reload()
        with logged() as lines:
            stopped = self.supervisor.stopService()
            self.workers[0].channel.answers(errors=["it is stopping"])
            for worker in self.workers:
                worker.ends()
            self.reactor.advance(1)
        self.successResultOf(stopped)
        self.assertEqual([len(self.told(worker, "Reload")) for worker in self.workers], [1, 0])
        self.assertEqual([line for line in lines if "not served" in line or "replaced" in line], [])
        self.assertIsNone(self.supervisor.last_reload)

    def test_anotherOneAfterAFailure(self) -> None:
        """A reload that was asked for meanwhile follows also one that came to nothing."""
        self.supervisor.reload()
        self.supervisor.reload()
        self.workers[0].channel.fails(ConfigError(()))
        self.assertEqual(len(self.told(self.workers[0], "Reload")), 2)

    def test_awaitedReloads(self) -> None:
        """Who asks while one is under way is told of the one that follows; each of what became of it."""
        first, second = self.supervisor.reloaded(), self.supervisor.reloaded()
        for worker in self.workers:
            self.assertNoResult(first)
            worker.channel.answers(errors=[])
        result = self.successResultOf(first)
        assert result is not None
        self.assertEqual((result.is_served, result.summary), (True, "nothing has changed"))
        self.assertNoResult(second)
        self.workers[0].channel.answers(errors=["no"])
        result = self.successResultOf(second)
        assert result is not None
        self.assertEqual((result.is_served, result.errors), (False, ("no",)))

    def test_aFileThatIsNotValid(self) -> None:
        """It is told at once to who waits for it."""
        self.text = "x = 1"
        result = self.successResultOf(self.supervisor.reloaded())
        assert result is not None
        self.assertFalse(result.is_served)
