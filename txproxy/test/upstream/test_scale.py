"""A cluster of many backends: what grows with their number, and how fast. Calls are counted, not seconds."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from typing import Any

from txproxy.config.load import load_text
from txproxy.test.talk import GET, TalkCase
from txproxy.testing import site


def addresses(count: int) -> tuple[str, ...]:
    """Return as many addresses."""
    return tuple(f"10.0.{number // 250}.{number % 250 + 1}:80" for number in range(count))


def calls_of(act: Callable[[], Any]) -> int:
    """Return how many functions of Python are called by one."""
    count = 0

    def note(frame: Any, event: str, argument: Any) -> None:
        nonlocal count
        count += event == "call"

    before = sys.getprofile()
    # A collection may fall into the act, and those who asked to be told of it (hypothesis does) would be counted.
    gc.collect()
    gc.disable()
    sys.setprofile(note)
    try:
        act()
    finally:
        sys.setprofile(before)
        gc.enable()
    return count


class ScaleTests(TalkCase):
    """Four times the backends: about four times the work, not sixteen times."""

    def assertGrowsInProportion(self, work: Callable[[int], Callable[[], Any]]) -> None:
        few, many = (calls_of(work(count)) for count in (50, 200))
        self.assertLess(many, 5 * few)

    def test_start(self) -> None:
        """The start."""
        self.assertGrowsInProportion(lambda count: lambda: self.proxy(backends=addresses(count)))

    def test_check(self) -> None:
        """The check of a configuration."""
        self.assertGrowsInProportion(lambda count: lambda: load_text(site(backends=addresses(count))))

    def test_slowStart(self) -> None:
        """All backends warm up: one look at all of them."""

        def work(count: int) -> Callable[[], Any]:
            dialogue = self.proxy(backends=addresses(count), cluster="slow_start_s = 10.0")
            for address in addresses(count):
                dialogue.roster.maintain(address)
                dialogue.roster.serve(address)
            dialogue.reactor.advance(1)
            return dialogue.assembled.clusters["app"].deadline_passed

        self.assertGrowsInProportion(work)

    def test_add(self) -> None:
        """One more backend."""

        def work(count: int) -> Callable[[], Any]:
            dialogue = self.proxy(backends=addresses(count))
            return lambda: dialogue.roster.add("10.9.9.9:80")

        self.assertGrowsInProportion(work)

    def test_choice(self) -> None:
        """A choice by turns costs the same among few and many."""

        def work(count: int) -> Callable[[], Any]:
            dialogue = self.proxy(backends=addresses(count))
            client = dialogue.client()
            self.addCleanup(client.resets)
            client.says(GET)
            exchange: Any = next(iter(dialogue.assembled.sites["web"].connections)).exchange
            return lambda: dialogue.assembled.clusters["app"].pick(exchange, dialogue.reactor.seconds())

        few, many = (calls_of(work(count)) for count in (10, 200))
        self.assertEqual(many, few)
