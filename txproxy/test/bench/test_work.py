"""What a request costs is counted as it is, and compared with its budget so that one call more is seen."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from twisted.trial.unittest import SynchronousTestCase

try:
    from bench.work import budget, measuring, scenarios, tables
    from bench.work.counting import CALLS, Counter, Counts, name_of
except ImportError:
    _MISSING = "bench is not part of an installed package"
else:
    _MISSING = ""


def callee(text: str) -> int:
    """Make two C calls."""
    return len(text) + len(text)


def caller() -> int:
    """Make one call."""
    return callee("x")


def stand_in() -> int:
    """Do what a C function would do."""
    return callee("x")


def counted(
    call: Callable[[], object], stand_ins: tuple[Callable[..., object], ...] = (), frame: FrameType | None = None
) -> Counts:
    """Return what a call costs."""
    counter = Counter({each.__code__: "c.function" for each in stand_ins})
    before = sys.gettrace(), sys.getprofile()
    counter.on(frame)
    try:
        call()
    finally:
        sys.setprofile(None)
        sys.settrace(None)
        sys.setprofile(before[1])
        sys.settrace(before[0])
    return counter.counts()


def named(function: Callable[..., object]) -> str:
    """Return a function's name in the counts."""
    return name_of(function.__code__)


class CounterTests(SynchronousTestCase):
    """Each function has what it does itself."""

    if _MISSING:
        skip = _MISSING

    def test_callsAreCountedByFunction(self) -> None:
        """Calls, and C calls by the function that makes them and by name."""
        found = counted(lambda: (caller(), caller()))
        self.assertEqual((found["calls"][named(caller)], found["calls"][named(callee)]), (2, 2))
        self.assertEqual(found["c_calls"][f"{named(callee)}{CALLS}builtins.len"], 4)
        self.assertFalse([name for name in found["c_calls"] if name.startswith(named(caller))])

    def test_bytecodesGrowWithTheCalls(self) -> None:
        """Three calls have three times the bytecodes of one, to the last one."""
        once = counted(caller)["bytecodes"]
        thrice = counted(lambda: (caller(), caller(), caller()))["bytecodes"]
        for function in (caller, callee):
            self.assertGreater(once[named(function)], 3)
            self.assertEqual(thrice[named(function)], 3 * once[named(function)])

    def test_standInCountsAsTheCFunction(self) -> None:
        """It is a C call of its caller, and its own bytecodes do not count."""

        def calling() -> None:
            stand_in()

        found = counted(calling, (stand_in,))
        self.assertEqual(found["c_calls"][f"{named(calling)}{CALLS}c.function"], 1)
        self.assertNotIn(named(stand_in), found["calls"])
        self.assertFalse(found["bytecodes"].get(named(stand_in)))

    def test_functionThatRunsAlreadyCountsFromThereOn(self) -> None:
        """What called us is in the counts, though its call is not."""
        found = counted(caller, frame=sys._getframe())
        own = name_of(sys._getframe().f_code)
        self.assertEqual(found["calls"].get(own), 0)
        self.assertIn(own, found["bytecodes"])


def window(requests: int, now_and_then: int = 0, at_each_tick: int = 7) -> Counts:
    """Return what a window of so many requests would count."""
    return {
        "calls": {"f": 2 * requests, "tick": at_each_tick, "sweep": now_and_then},
        "c_calls": {f"f{CALLS}socket.send": requests, f"f{CALLS}builtins.len": 3 * requests},
        "bytecodes": {"f": 50 * requests, "tick": 10 * at_each_tick, "sweep": 10 * now_and_then},
    }


class WorkTests(SynchronousTestCase):
    """What one request costs is what grows with the requests."""

    if _MISSING:
        skip = _MISSING

    def test_onlyWhatGrowsWithRequestsCounts(self) -> None:
        """What comes with every window is no cost of a request."""
        work = measuring.work_of(window(10), window(30), 20)
        self.assertEqual((work.calls, work.c_calls, work.bytecodes), (2.0, 4.0, 50.0))
        self.assertEqual(work.functions["f"], (2.0, 4.0, 50.0))
        self.assertEqual(work.system_calls, {"send": 1.0})

    def test_whatComesNowAndThenDoesNotCount(self) -> None:
        """It is enough that one window is without it."""
        least = measuring.least([window(30, 5), window(30), window(30, 1)])
        self.assertEqual(measuring.work_of(window(10), least, 20).calls, 2.0)

    def test_systemCallsAreKnownByTheirFunctions(self) -> None:
        """Sockets, files and the reactor's epoll; nothing else."""
        known = {name: measuring.system_call_of(name) for name in ("socket.recv", "posix.splice", "epoll.poll")}
        self.assertEqual(known, {"socket.recv": "recv", "posix.splice": "splice", "epoll.poll": "epoll_wait"})
        for other in ("list.append", "socket.fileno", "builtins.len", "posix.getpid"):
            self.assertEqual(measuring.system_call_of(other), "")


class BudgetTests(SynchronousTestCase):
    """A budget holds to the call."""

    if _MISSING:
        skip = _MISSING

    def setUp(self) -> None:
        """Write a budget of what one request costs now."""
        self.work = dataclasses.replace(measuring.work_of(window(10), window(30), 20), bytecodes=1000.0)
        self.path = Path(self.mktemp())
        budget.write({"kept": self.work, "other": self.work}, self.path)

    def judged(self, **changes: object) -> budget.Verdict:
        """Judge a request that costs something else."""
        return budget.judge("kept", dataclasses.replace(self.work, **changes), self.path)  # type: ignore[arg-type]

    def test_sameIsWithin(self) -> None:
        """Exactly as much is not too much."""
        verdict = self.judged()
        self.assertEqual((verdict.exceeded, verdict.judged), (False, True))
        self.assertEqual(verdict.lines, ["kept: within its budget"])

    def test_oneMoreIsTooMuch(self) -> None:
        """It says which number, by how much, what leads, and how to change the budget."""
        for changes, said in (
            ({"calls": 3.0}, "3 Python calls for a request where the budget has 2 (+1, +50.0 %)"),
            ({"c_calls": 5.0}, "5 calls of C functions for a request where the budget has 4 (+1, +25.0 %)"),
            (
                {"system_calls": {"send": 2.0}},
                "2 system calls send for a request where the budget has 1 (+1, +100.0 %)",
            ),
            (
                {"system_calls": {"send": 1.0, "recv": 1.0}},
                "1 system calls recv for a request where the budget has 0 (+1)",
            ),
            ({"bytecodes": 1011.0}, "1011 bytecodes for a request where the budget has 1000 (+11, +1.1 %)"),
        ):
            verdict = self.judged(**changes)
            self.assertTrue(verdict.exceeded, changes)
            text = "\n".join(verdict.lines)
            self.assertIn(f"kept: {said}", text)
            self.assertIn(tables.functions(self.work, 1)[1].partition("%")[2].strip(), text)
            self.assertIn("--write-budget", text)

    def test_aFewBytecodesMoreAreNot(self) -> None:
        """One in a hundred."""
        self.assertFalse(self.judged(bytecodes=1010.0).exceeded)

    def test_muchLessIsAHint(self) -> None:
        """So that what was gained is kept."""
        verdict = self.judged(calls=1.0)
        self.assertFalse(verdict.exceeded)
        self.assertEqual(verdict.lines[0], "kept: only 1 Python calls where the budget has 2")
        self.assertEqual(self.judged(bytecodes=960.0).lines, ["kept: within its budget"])

    def test_otherPythonIsJudgedByItsSystemCalls(self) -> None:
        """For those do not depend on it; the rest does."""
        self.path.write_text(self.path.read_text().replace(f'"{budget.PYTHON}"', '"2.7"'))
        verdict = self.judged(calls=9.0)
        self.assertEqual((verdict.exceeded, verdict.judged), (False, False))
        self.assertIn(budget.PYTHON, verdict.lines[0])
        self.assertTrue(self.judged(system_calls={"send": 2.0}).exceeded)

    def test_otherVersionsAreNamed(self) -> None:
        """A library that does more may be the reason."""
        self.path.write_text(self.path.read_text().replace("Twisted = ", 'Twisted = "1.0" # '))
        self.assertIn("instead of 1.0", "\n".join(self.judged(calls=3.0).lines))

    def test_othersStayWhenOneIsWritten(self) -> None:
        """Other scenarios, and the same with another version of Python."""
        text = self.path.read_text()
        self.path.write_text(f'{text}[kept."2.7"]\ncalls = 9\nc_calls = 9\nbytecodes = 9\n')
        budget.write({"kept": dataclasses.replace(self.work, calls=77.0)}, self.path)
        changed = self.path.read_text()
        self.assertIn('[kept."2.7"]\ncalls = 9\n', changed)
        self.assertIn("calls = 77\n", changed)
        self.assertIn(text[text.index("[other]") :].strip(), changed)

    def test_unknownScenarioIsNotJudged(self) -> None:
        """Nobody can say what it may cost."""
        verdict = budget.judge("new", self.work, self.path)
        self.assertEqual((verdict.exceeded, verdict.judged), (False, False))

    def test_committedBudgetHasAllScenarios(self) -> None:
        """So that none is forgotten."""
        text = budget.PATH.read_text()
        for scenario in scenarios.SCENARIOS:
            self.assertIn(f"[{scenario.name}]\n", text)


class ComparisonTests(SynchronousTestCase):
    """Two states of the code side by side."""

    if _MISSING:
        skip = _MISSING

    def test_functionsThatChangedAreNamed(self) -> None:
        """The one that costs more first; what is the same is left out."""
        before = measuring.work_of(window(10), window(30), 20)
        now = dataclasses.replace(before, functions={**before.functions, "g": (1.0, 0.0, 5.0)}, bytecodes=55.0)
        lines = tables.compared(now, tables.as_json({"x": before})["x"])
        self.assertIn("bytecodes", lines[3])
        self.assertEqual(lines[3].split(), ["bytecodes", "50", "55", "+5"])
        self.assertEqual(lines[-1].split(), ["+5", "+1", "0", "g"])
        self.assertEqual([line for line in lines if line.endswith("  f")], [])

    def test_sameIsSaidToBeTheSame(self) -> None:
        """No list of nothing."""
        work = measuring.work_of(window(10), window(30), 20)
        self.assertEqual(tables.compared(work, tables.as_json({"x": work})["x"])[-1], "no function has another cost")
