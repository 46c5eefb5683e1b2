"""What a new worker is told."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from txproxy.supervisor.memory import Order, Orders, Verdict, Verdicts, verdict_of


def _calls(*orders: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    """Take orders of one cluster; return those that are repeated."""
    memory = Orders()
    for call, *arguments in orders:
        memory.take(Order("app", call, tuple(arguments)))
    return [(order.call, *order.arguments) for order in memory]


class OrdersTests(SynchronousTestCase):
    """Orders that are repeated."""

    def test_lastWord(self) -> None:
        """Of orders about the same thing the last one counts, and serving is what is done anyway."""
        self.assertEqual(_calls(("drain", "a"), ("maintain", "a"), ("drain", "b")), [("maintain", "a"), ("drain", "b")])
        self.assertEqual(_calls(("drain", "a"), ("set_weight", "a", 3), ("serve", "a")), [("set_weight", "a", 3)])
        self.assertEqual(_calls(("set_weight", "a", 3), ("set_weight", "a", 4)), [("set_weight", "a", 4)])

    def test_membersOfTheConfiguration(self) -> None:
        """A server that is removed has to be removed in each new worker; what was said of it before is void."""
        self.assertEqual(_calls(("drain", "a"), ("remove", "a")), [("remove", "a")])
        self.assertEqual(_calls(("remove", "a"), ("add", "a")), [("remove", "a"), ("add", "a")])
        self.assertEqual(_calls(("remove", "a"), ("add", "a"), ("drain", "a"), ("remove", "a")), [("remove", "a")])

    def test_membersOfTheOperator(self) -> None:
        """One that was added and removed leaves nothing, however often."""
        self.assertEqual(_calls(("add", "a", 2), ("drain", "a")), [("add", "a", 2), ("drain", "a")])
        self.assertEqual(_calls(*[("add", "a"), ("drain", "a"), ("remove", "a")] * 3), [])

    def test_clusters(self) -> None:
        """Names are those of one cluster; clusters that are gone are forgotten."""
        memory = Orders()
        memory.take(Order("one", "drain", ("a",)))
        memory.take(Order("two", "serve", ("a",)))
        self.assertEqual(list(memory), [Order("one", "drain", ("a",))])
        memory.keep_only(["two"])
        self.assertEqual(list(memory), [])


class VerdictsTests(SynchronousTestCase):
    """Verdicts that still hold."""

    def test_theLastOne(self) -> None:
        """One for each backend; an ejection for as long as it lasts."""
        verdicts = Verdicts()
        down, up = Verdict("app", "a", "down", "x"), Verdict("app", "a", "up", "y")
        ejected = Verdict("app", "b", "ejected", "z", 2, 20.0)
        for verdict in (down, up, ejected):
            verdicts.take(verdict, 100.0)
        self.assertEqual(verdicts.standing(119.9), [up, ejected])
        self.assertEqual(verdicts.standing(120.0), [up])
        verdicts.keep_only([])
        self.assertEqual(verdicts.standing(100.0), [])

    def test_bounded(self) -> None:
        """Whoever makes names up does not fill the memory."""
        verdicts = Verdicts()
        for number in range(20_100):
            verdicts.take(Verdict("app", str(number), "up", ""), 0.0)
        self.assertEqual(len(verdicts.standing(0.0)), 20_000)

    def test_hostile(self) -> None:
        """What is no verdict is none, and numbers are kept within reason."""
        good = ["app", "a", "ejected", "why", 2, 10.0]
        self.assertEqual(verdict_of(good), Verdict(*good))  # type: ignore[arg-type]
        bads: tuple[Any, ...] = (
            None, {}, [], good[:-1], [*good, 1], [1, *good[1:]], ["x" * 2000, *good[1:]], [*good[:4], "2", 1.0],
            [*good[:4], True, 1.0], [*good[:4], 2, "1"], [*good[:3], None, 2, 1.0],
        )  # fmt: skip
        for bad in bads:
            self.assertIsNone(verdict_of(bad), bad)
        found = verdict_of([*good[:4], 1 << 80, 1])
        assert found is not None
        self.assertLess(found.ejections, 1 << 30)
