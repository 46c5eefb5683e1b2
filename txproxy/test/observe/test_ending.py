"""What becomes of exchanges that have ended, and what the logs show."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.logger import LogLevel, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from txproxy.exchange import Exchange
from txproxy.observe.counters import Counters
from txproxy.observe.ending import Ending
from txproxy.observe.log import Logger, set_level, shows_debug
from txproxy.test.observe.test_access_log import exchange, unreadable
from txproxy.test.talk import GET, OK, TalkCase


class EndingTests(SynchronousTestCase):
    """Exchanges are counted and written down off the way of requests."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.counters = Counters()
        self.batches: list[int] = []
        self.ending = Ending(
            self.clock.callLater, self.counters, lambda batch: self.batches.append(len(batch)), lambda each: None
        )

    def ended(self, count: int) -> None:
        for _ in range(count):
            made = exchange()
            made.route = None
            self.ending.ended(made)

    def test_batches(self) -> None:
        """They are handled a little later, in small batches, and no call is left behind."""
        self.ended(240)
        self.assertEqual(self.counters.outcomes.total(), 0)
        self.clock.pump([0.05] * 20)
        self.assertEqual((self.counters.outcomes.total(), sum(self.batches)), (240, 240))
        self.assertLessEqual(max(self.batches), 100)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def busy(self, count: int) -> tuple[int, int]:
        """Have so many end in each turn; return how many have waited at most, and the longest batch."""
        calls: list[tuple[Any, ...]] = []
        waited: list[int] = []
        batches: list[int] = []

        def call_later(_delay: float, *call: Any) -> object:
            calls.append(call)
            return object()

        ending = Ending(call_later, self.counters, lambda batch: batches.append(len(batch)), lambda each: None)
        made = exchange()
        made.route = None
        for _ in range(200):
            due, calls[:] = calls[:], []
            for _ in range(count):
                ending.ended(made)
            for call, *arguments in due:
                call(*arguments)
            waited.append(len(ending._waiting))
        return max(waited), max(batches)

    def test_whereMoreEndThanABatchHolds(self) -> None:
        """In turns that are busy all the time what waits does not grow from turn to turn, and no batch is long."""
        for count in (64, 200, 400):
            waited, batch = self.busy(count)
            self.assertLessEqual(waited, 3 * count)
            self.assertLessEqual(batch, 500)

    def test_flush(self) -> None:
        """Whoever wants to know now can have them handled."""
        self.ended(3)
        self.ending.flush()
        self.assertEqual(self.counters.outcomes.total(), 3)
        self.clock.pump([1, 1])
        self.assertEqual((self.counters.outcomes.total(), self.clock.getDelayedCalls()), (3, []))

    def test_stop(self) -> None:
        """At the end nothing is lost and no call is left."""
        self.ended(70)
        self.ending.stop()
        self.assertEqual((sum(self.batches), self.clock.getDelayedCalls()), (70, []))


class CountersTests(SynchronousTestCase):
    """Plain numbers."""

    def test_counts(self) -> None:
        """By status and end reason; retries are the tries after the first."""
        counters = Counters()
        exchanges = [exchange(), exchange(), unreadable(), exchange()]
        for each in exchanges:
            each.route = None
        counters.ended(exchanges)
        counters.ended([])
        counters.ended(exchanges[:1])
        self.assertEqual((counters.outcomes.total(), counters.retries), (5, 4))
        self.assertEqual(dict(counters.outcomes), {(200, "ok"): 4, (400, "bad-request"): 1})
        self.assertEqual(counters.bytes_out, 4 * exchanges[0].bytes_out + exchanges[2].bytes_out)
        self.assertIn("5 exchanges (ok 4, bad-request 1)", counters.summary())

    def test_nothing(self) -> None:
        """A run without a request has a summary too."""
        self.assertIn("0 exchanges (none)", Counters().summary())


class LogTests(TalkCase):
    """The application log."""

    def setUp(self) -> None:
        self.events: list[dict[str, Any]] = []
        observe: Any = self.events.append
        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        self.addCleanup(set_level, "info")

    def test_threshold(self) -> None:
        """Events below the level are not made at all; DEBUG costs nothing when the level is INFO (D12)."""

        class Costly:
            def __str__(self) -> str:
                raise AssertionError("formatted")

        log = Logger(namespace="txproxy.test")
        for level, shown in (("debug", 4), ("info", 3), ("warn", 2), ("error", 1)):
            set_level(level)
            self.events.clear()
            for name in ("debug", "info", "warn", "error"):
                getattr(log, name)("{x}", x=Costly())
            mine = [event for event in self.events if event["log_namespace"] == "txproxy.test"]
            self.assertEqual(len(mine), shown)
        self.assertFalse(shows_debug())

    def test_exchange(self) -> None:
        """At debug one event shows an exchange's phases, choices and end under its id (D12)."""
        set_level("debug")
        dialogue = self.proxy()
        dialogue.script("10.0.0.1:80", OK)
        dialogue.client().says(GET)
        identity = dialogue.lines[0]["request_id"]
        mine = [event for event in self.events if event.get("id") == identity and "backend" in event]
        self.assertEqual(len(mine), 1)
        self.assertEqual(mine[0]["log_level"], LogLevel.debug)
        self.assertEqual((mine[0]["backend"], mine[0]["status"], mine[0]["end"]), ("10.0.0.1:80", 200, "ok"))

    def test_refusal(self) -> None:
        """A refused request is shown with the reason, its bytes escaped."""
        set_level("debug")
        dialogue = self.proxy()
        client = dialogue.client()
        client.says(b"GET / HTTP/\x1b[31m\r\n\r\n")
        dialogue.advance_past(2)
        details = [event["detail"] for event in self.events if event.get("detail")]
        self.assertTrue(details)
        self.assertTrue(all("\x1b" not in each for each in details))

    def test_silentAtInfo(self) -> None:
        """At info no event is made for an exchange, good or bad."""
        dialogue = self.proxy()
        client = dialogue.client()
        client.says(GET)
        dialogue.refuse()
        client.says(b"BAD\r\n\r\n")
        dialogue.advance_past(2)
        self.assertEqual([event for event in self.events if event["log_namespace"].startswith("txproxy")], [])


class ReprTests(SynchronousTestCase):
    """What a debugger shows."""

    def test_exchange(self) -> None:
        """An exchange shows its id and state."""
        made = Exchange(b"abc", None, None, 0.0)
        self.assertIn("abc", repr(made))
        made.ended, made.end_reason = True, "ok"
        self.assertIn("ended ok", repr(made))
