"""The servers behind a name are kept up to date (SD1)."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from txproxy.policy.dns_members import Member
from txproxy.testing.names import FakeResolver
from txproxy.upstream.names.discovery import Discovery, TtlBounds
from txproxy.upstream.names.resolver import Answer, ResolveFailed

NAME = "app.test"


class DiscoveryTests(SynchronousTestCase):
    """One name, from its first answer to its end."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.resolver = FakeResolver()
        self.members: list[tuple[Member, ...]] = []
        self.failures: list[str] = []

    def discovery(self, resolver: Any = None, bounds: TtlBounds | None = None) -> Discovery:
        made = Discovery(
            NAME,
            resolver or self.resolver,
            self.clock.callLater,
            bounds or TtlBounds(),
            self.members.append,
            self.failures.append,
        )
        self.addCleanup(self.assertEqual, self.clock.getDelayedCalls(), [])
        self.addCleanup(made.stop)
        return made

    def pass_time(self, seconds: int) -> None:
        self.clock.pump([1] * seconds)

    def test_firstAnswer(self) -> None:
        """What needs no name server is known as soon as the proxy has started."""
        self.resolver.set(NAME, "10.0.0.2", "10.0.0.1", "fd00::1")
        discovery = self.discovery()
        discovery.start()
        self.assertEqual(self.members, [(("fd00::1", "10.0.0.1"), ("10.0.0.2",))])
        self.assertEqual(repr(discovery), "<Discovery app.test 2 servers, 0 failures>")

    def test_aChangeIsSeen(self) -> None:
        """SD1: a new set is used when the old answer's time is over; the same set again is no news."""
        self.resolver.set(NAME, "10.0.0.1", "10.0.0.2", ttl_s=5)
        self.discovery().start()
        self.pass_time(4)
        self.assertEqual(len(self.resolver.asked), 1)
        self.resolver.set(NAME, "10.0.0.2", "10.0.0.1", ttl_s=5)
        self.pass_time(1)
        self.assertEqual((len(self.resolver.asked), len(self.members)), (2, 1))
        self.resolver.set(NAME, "10.0.0.3", "10.0.0.2", ttl_s=5)
        self.pass_time(5)
        self.assertEqual(self.members[1:], [(("10.0.0.2",), ("10.0.0.3",))])
        self.assertEqual(self.failures, [])

    def test_bounds(self) -> None:
        """A time to live of 0 does not make a storm of questions; a very long one, or none, is looked after."""
        for ttl_s, expected in ((0, 2), (3600, 30), (float("inf"), 30)):
            self.resolver.set(NAME, "10.0.0.1", ttl_s=ttl_s)
            self.resolver.asked.clear()
            discovery = self.discovery(bounds=TtlBounds(2, 30))
            discovery.start()
            self.pass_time(expected - 1)
            self.assertEqual(len(self.resolver.asked), 1)
            self.pass_time(1)
            self.assertEqual(len(self.resolver.asked), 2)
            discovery.stop()

    def test_failureKeepsWhatWasKnown(self) -> None:
        """SD1: the last set is kept; one warning when it begins, one line when it is over."""
        self.resolver.set(NAME, "10.0.0.1", ttl_s=1)
        discovery = self.discovery()
        discovery.start()
        self.resolver.fail(NAME, "there is no such name")
        with capturedLogs() as logged:
            self.pass_time(60)
            self.assertEqual(discovery.last_error, "there is no such name")
            self.resolver.set(NAME, "10.0.0.1", ttl_s=1)
            self.pass_time(60)
        self.assertEqual(discovery.last_error, "")
        self.assertEqual(self.members, [(("10.0.0.1",),)])
        warning, recovery = logged
        self.assertEqual((warning["log_level"], recovery["log_level"]), (LogLevel.warn, LogLevel.info))
        self.assertEqual(
            warning["log_format"].format_map(warning),
            "app.test cannot be resolved: there is no such name; its 1 servers so far are kept",
        )
        self.assertEqual(recovery["log_format"].format_map(recovery), "app.test is resolved again, after 6 failures")

    def test_failureAtTheStart(self) -> None:
        """SD1: without any answer the proxy goes on asking, less and less often, and each failure is told."""
        with capturedLogs() as logged:
            discovery = self.discovery()
            discovery.start()
            self.assertEqual(self.failures, ["there is no such name"])
            moments = [0]
            for moment in range(1, 130):
                self.pass_time(1)
                if len(self.resolver.asked) > len(moments):
                    moments.append(moment)
        self.assertEqual(moments, [0, 1, 3, 7, 15, 31, 61, 91, 121])
        self.assertEqual((len(self.failures), len(logged)), (9, 1))
        self.assertIn("no server of it is known", logged[0]["log_format"].format_map(logged[0]))
        self.resolver.set(NAME, "10.0.0.1")
        self.pass_time(30)
        self.assertEqual(self.members, [(("10.0.0.1",),)])

    def test_backOffBeginsAnew(self) -> None:
        """After a success the next failure is asked about in a second again."""
        self.discovery().start()
        self.pass_time(10)
        self.resolver.set(NAME, "10.0.0.1", ttl_s=1)
        self.pass_time(10)
        self.resolver.fail(NAME)
        before = len(self.resolver.asked)
        self.pass_time(4)
        self.assertEqual(len(self.resolver.asked) - before, 3)

    def test_oneFamilyUnknown(self) -> None:
        """A family about which no server has an answer is as it was; one that is gone is gone."""
        self.resolver.set(NAME, "10.0.0.1", "fd00::1", ttl_s=1)
        self.discovery().start()
        self.resolver.set(NAME, "10.0.0.2", ttl_s=1, missing="v6")
        self.pass_time(1)
        self.resolver.set(NAME, "fd00::2", ttl_s=1, missing="v4")
        self.pass_time(1)
        self.resolver.set(NAME, "10.0.0.2", ttl_s=1)
        self.pass_time(1)
        self.assertEqual(
            self.members,
            [(("fd00::1", "10.0.0.1"),), (("fd00::1", "10.0.0.2"),), (("fd00::2", "10.0.0.2"),), (("10.0.0.2",),)],
        )

    def test_stopped(self) -> None:
        """Whether it waits for an answer or for the next question: nothing is left, and nothing is told."""
        self.resolver.set(NAME, "10.0.0.1")
        for hold in (False, True):
            if hold:
                self.resolver.hold(NAME)
            discovery = self.discovery()
            discovery.start()
            told = len(self.members)
            discovery.stop()
            discovery.stop()
            self.assertEqual((self.clock.getDelayedCalls(), self.resolver.waiting), ([], {}))
            self.pass_time(600)
            self.assertEqual(len(self.members), told)

    def test_answerAfterTheStop(self) -> None:
        """A resolver that answers where it was called off changes nothing; an error of its own is logged."""

        class Stubborn:
            def __init__(self, result: Any) -> None:
                self.result = result

            def resolve(self, name: str) -> Deferred[Any]:
                question: Deferred[Any] = Deferred()
                return question.addErrback(lambda _: self.result)

        for result in (Answer(("10.0.0.1",), (), 1), Failure(ResolveFailed("?")), Failure(ValueError("?"))):
            discovery = self.discovery(Stubborn(result))
            discovery.start()
            discovery.stop()
        self.assertEqual((self.members, self.failures, self.clock.getDelayedCalls()), ([], [], []))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_startedAgain(self) -> None:
        """A stopped one can be started again; one that runs is not started twice."""
        self.resolver.set(NAME, "10.0.0.1")
        discovery = self.discovery()
        for _ in range(2):
            discovery.start()
            discovery.start()
            self.assertEqual(len(self.clock.getDelayedCalls()), 1)
            discovery.stop()
        self.assertEqual(len(self.resolver.asked), 2)

    def test_bugs(self) -> None:
        """What nobody foresaw is logged, and the next question is asked all the same."""

        class Broken:
            asked = 0

            def resolve(self, name: str) -> Deferred[Any]:
                self.asked += 1
                return fail(ValueError("?"))

        broken = Broken()
        self.discovery(broken).start()
        self.pass_time(1)
        self.assertEqual((broken.asked, self.failures), (2, ["ValueError('?')"] * 2))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 2)

        def refuse(members: tuple[Member, ...]) -> None:
            raise KeyError(members)

        self.resolver.set(NAME, "10.0.0.1", ttl_s=1)
        discovery = Discovery(NAME, self.resolver, self.clock.callLater, TtlBounds(), refuse, self.failures.append)
        self.addCleanup(discovery.stop)
        discovery.start()
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)
        self.pass_time(1)
        self.assertEqual(len(self.resolver.asked), 2)
