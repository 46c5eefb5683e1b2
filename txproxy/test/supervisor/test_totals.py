"""Sums of what workers have counted."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from txproxy.observe.counters import Counters
from txproxy.supervisor.totals import MOST_NAMES, Totals


class TotalsTests(SynchronousTestCase):
    """Numbers of several workers."""

    def test_sum(self) -> None:
        """They are added; what a worker says again replaces what it said, and what it leaves out stays."""
        totals = Totals()
        totals.tell(1, {"a": 3, "b": 1})
        totals.tell(2, {"a": 4})
        totals.tell(1, {"a": 5})
        self.assertEqual(totals.numbers(), {"a": 9, "b": 1})

    def test_theDeadCount(self) -> None:
        """What a worker has counted stays counted when it is gone, and the next one begins at nothing."""
        totals = Totals()
        totals.add({"a": 1})
        totals.tell(1, {"a": 3})
        totals.ended(1)
        totals.ended(1)
        totals.ended(7)
        self.assertEqual(totals.numbers(), {"a": 4})
        totals.tell(1, {"a": 2})
        self.assertEqual(totals.numbers(), {"a": 6})

    def test_nothingFalls(self) -> None:
        """A worker that counts backwards is not believed."""
        totals = Totals()
        totals.tell(1, {"a": 3})
        totals.tell(1, {"a": 2})
        self.assertEqual(totals.numbers(), {"a": 3})

    def test_hostile(self) -> None:
        """What is no number, too large, or too much of it is left out."""
        totals = Totals()
        bad: dict[Any, Any] = {"a": -1, "b": "1", "c": 1.5, "d": True, "e": 1 << 64, 7: 7, "f" * 600: 1, "g": None}
        totals.tell(1, bad)
        self.assertEqual(totals.numbers(), {})
        totals.tell(1, {f"n{number}": 1 for number in range(MOST_NAMES + 10)})
        self.assertEqual(len(totals.numbers()), MOST_NAMES)
        totals.tell(1, {"n0": 5})
        self.assertEqual(totals.numbers()["n0"], 5)

    def test_backendsOfTheDead(self) -> None:
        """Of workers that are gone no more is kept than of one: backends that nobody names any more are forgotten."""
        totals = Totals()
        totals.tell(9, {"pool|created|app|stays:80": 1})
        for worker in range(3):
            names = (f"pool|created|app|{worker}-{number}:80" for number in range(MOST_NAMES - 2))
            totals.tell(worker, {"connections": 1, "pool|created|app|stays:80": 1, **dict.fromkeys(names, 1)})
            totals.ended(worker)
        numbers = totals.numbers()
        self.assertLessEqual(len(numbers), MOST_NAMES)
        self.assertEqual((numbers["connections"], numbers["pool|created|app|stays:80"]), (3, 4))
        self.assertIn("pool|created|app|2-7:80", numbers)
        self.assertNotIn("pool|created|app|0-7:80", numbers)


class CountersTests(SynchronousTestCase):
    """Counters as flat numbers."""

    def test_thereAndBack(self) -> None:
        """What is told and taken elsewhere is the same, and what two have told is the sum."""
        counters = Counters()
        counters.connections = 3
        counters.tls.resumed = 2
        counters.tls.failures["peer"] = 1
        counters.http2_failures["protocol_error"] = 4
        counters.outcomes[200, "ok"] = 5
        counters.outcomes[0, "client-left"] = 1
        numbers = counters.numbers()
        self.assertEqual(numbers["outcomes|200|ok"], 5)
        self.assertEqual(numbers["tls|failures|peer"], 1)
        self.assertNotIn("bytes_in", numbers)
        both = Counters()
        both.take(numbers)
        self.assertEqual(both.numbers(), numbers)
        both.take(numbers)
        self.assertEqual(both.outcomes, {(200, "ok"): 10, (0, "client-left"): 2})
        self.assertEqual(both.tls.resumed, 4)

    def test_unknownNames(self) -> None:
        """Names that mean nothing are left out, whatever they look like."""
        counters = Counters()
        names = ("", "|", "nothing", "tls", "tls|", "tls|nothing", "outcomes", "connections|x", "__class__", "take")
        counters.take(dict.fromkeys(names, 1))
        self.assertEqual(counters.numbers(), {})
        counters.take({"outcomes|x|y": 1})
        self.assertEqual(counters.outcomes, {(0, "y"): 1})
