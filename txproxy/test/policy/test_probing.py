"""When backends are checked."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txproxy.policy.probing import Agenda, MonitorSettings, Timetable

SETTINGS = MonitorSettings(interval_s=5.0, jitter=0.2)


class Facts:
    """What a health would say."""

    def __init__(self, is_changing: bool = False, down_since: float | None = None) -> None:
        self.state = "up" if down_since is None else "down"
        self.is_changing = is_changing
        self.down_since = down_since


UP = Facts()


def one_after(
    table: Timetable, facts: Facts, random: float | Random = 0.0, started_at: float | None = None, took_s: float = 0.0
) -> float:
    """Make one check, when it is due unless another moment is given, and return when the next one is due."""
    start = table.due_at if started_at is None else started_at
    table.started(start)
    table.ended(facts, start + took_s, random.random if isinstance(random, Random) else lambda: random)
    return table.due_at


class TimetableTests(SynchronousTestCase):
    """The checks of one backend."""

    def setUp(self) -> None:
        self.agenda = Agenda(SETTINGS.interval_s)
        self.table = Timetable(SETTINGS, self.agenda, 100.0)

    def test_firstAtOnce(self) -> None:
        """A backend is checked as soon as it is known."""
        self.assertEqual(self.table.due_at, 100.0)

    def test_secondAtAnyMomentOfTheInterval(self) -> None:
        """The second check comes after the start of the first, and within an interval."""
        for random, due_at in ((0.0, 105.0), (0.5, 102.5), (0.75, 101.25)):
            table = Timetable(SETTINGS, Agenda(5.0), 100.0)
            self.assertAlmostEqual(one_after(table, UP, random), due_at)
        self.assertGreater(one_after(Timetable(SETTINGS, Agenda(5.0), 100.0), UP, 1 - 2**-40), 100.0)

    def test_steady(self) -> None:
        """From then on an interval lies between two starts, give or take the jitter."""
        for random, pause_s in ((0.0, 6.0), (0.5, 5.0), (0.999_999, 4.0)):
            table = Timetable(SETTINGS, Agenda(5.0), 100.0)
            one_after(table, UP, 0.0)
            self.assertAlmostEqual(one_after(table, UP, random, 105.0), 105.0 + pause_s, places=4)

    def test_whileSomethingChanges(self) -> None:
        """While checks are about to change the state, the next one comes a second after the last."""
        one_after(self.table, UP)
        self.assertEqual(one_after(self.table, Facts(is_changing=True), started_at=105.0), 106.0)
        self.assertEqual(one_after(self.table, Facts(is_changing=True), started_at=106.0), 107.0)

    def test_shortIntervals(self) -> None:
        """An interval under a second is kept also while something changes."""
        table = Timetable(MonitorSettings(0.4, 0.0), Agenda(0.4), 100.0)
        self.assertAlmostEqual(one_after(table, Facts(is_changing=True)), 100.4)

    def test_neverTwoAtOnce(self) -> None:
        """A check that takes longer than the pause is followed by the next, not overtaken."""
        self.assertEqual(one_after(self.table, Facts(is_changing=True), took_s=1.5), 101.5)
        table = Timetable(SETTINGS, Agenda(5.0), 100.0)
        self.assertEqual(one_after(table, UP, took_s=9.0), 109.0)

    def test_spreadAnewAfterAChange(self) -> None:
        """Backends that failed together are not checked together ever after."""
        one_after(self.table, Facts(is_changing=True))
        self.assertAlmostEqual(one_after(self.table, UP, 0.9, started_at=101.0), 101.5)

    def test_longDown(self) -> None:
        """After five minutes down the interval doubles with each check up to a minute, and not before."""
        table = Timetable(MonitorSettings(5.0, 0.0), Agenda(5.0), 100.0)
        facts = Facts(down_since=100.0)
        one_after(table, facts)
        for start, due_at in ((395.0, 400.0), (400.0, 405.0), (400.1, 410.1), (410.1, 430.1), (430.1, 470.1)):
            self.assertAlmostEqual(one_after(table, facts, started_at=start), due_at)
        for start, due_at in ((470.1, 530.1), (530.1, 590.1)):
            self.assertAlmostEqual(one_after(table, facts, started_at=start), due_at)

    def test_longDownWithALongInterval(self) -> None:
        """An interval of more than a minute is not made shorter."""
        table = Timetable(MonitorSettings(90.0, 0.0), Agenda(90.0), 100.0)
        facts = Facts(down_since=100.0)
        one_after(table, facts)
        for start in (500.0, 590.0, 680.0):
            self.assertEqual(one_after(table, facts, started_at=start), start + 90.0)

    def test_onePassEndsTheBackOff(self) -> None:
        """The first check that passes brings back the usual pace."""
        table = Timetable(MonitorSettings(5.0, 0.0), Agenda(5.0), 100.0)
        down = Facts(down_since=100.0)
        for start in (100.0, 500.0, 510.0, 530.0):
            one_after(table, down, started_at=start)
        self.assertEqual(one_after(table, Facts(is_changing=True, down_since=100.0), started_at=570.0), 571.0)
        one_after(table, Facts(down_since=100.0), started_at=571.0)
        self.assertEqual(one_after(table, Facts(down_since=100.0), started_at=581.0), 601.0)
        self.assertEqual(one_after(table, UP, started_at=601.0), 606.0)

    def test_abandoned(self) -> None:
        """Where checking is taken up again, the first check is due at once."""
        one_after(self.table, UP)
        self.table.abandon(103.0)
        self.assertEqual(self.table.due_at, 103.0)
        self.assertEqual(len(self.agenda), 0)

    @given(
        st.lists(st.tuples(st.floats(0, 30), st.booleans(), st.booleans()), max_size=40),
        st.floats(0.01, 600),
        st.floats(0, 1),
        st.randoms(use_true_random=False),
    )
    def test_laws(
        self, checks: list[tuple[float, bool, bool]], interval_s: float, jitter: float, random: Random
    ) -> None:
        """The next check is never due before the last has ended, nor later than the longest pause; the agenda holds one
        moment per backend at most.
        """
        agenda = Agenda(interval_s)
        table = Timetable(MonitorSettings(interval_s, jitter), agenda, 0.0)
        for took_s, is_changing, is_down in checks:
            start = table.due_at
            facts = Facts(is_changing, 0.0 if is_down else None)
            due_at = one_after(table, facts, random, took_s=took_s)
            self.assertGreaterEqual(due_at, start + took_s)
            longest_s = max(interval_s, 60.0) if is_down else interval_s
            self.assertLessEqual(due_at, max(start + took_s, start + longest_s * (1 + jitter)) + 1e-6)
            self.assertLessEqual(len(agenda), 1)


class TickTests(SynchronousTestCase):
    """How often to look."""

    def test_tick(self) -> None:
        """A tenth of a second; for short intervals a tenth of them, but the processor is not kept busy."""
        for interval_s, tick_s in ((5.0, 0.1), (1.0, 0.1), (0.5, 0.05), (0.001, 0.01)):
            self.assertAlmostEqual(MonitorSettings(interval_s).tick_s, tick_s)


class SpreadTests(SynchronousTestCase):
    """C3: the checks of many backends."""

    def run_checks(self, intervals: int, settings: MonitorSettings = SETTINGS, seed: int = 1) -> list[float]:
        """Check 100 backends that all began at once; return when checks started."""
        agenda, random = Agenda(settings.interval_s), Random(seed)
        tables = [Timetable(settings, agenda, 0.0) for _ in range(100)]
        starts = []
        for tick in range(int(intervals * settings.interval_s / settings.tick_s)):
            now = tick * settings.tick_s
            for table in tables:
                if table.due_at <= now + settings.tick_s:
                    starts.append(now)
                    one_after(table, UP, random, started_at=now)
        self.assertEqual(len(agenda), 100)
        return starts

    def test_noBinAboveATenth(self) -> None:
        """From the second round on no fifth of a second of the interval has more than a tenth of the checks."""
        for seed in range(3):
            starts = self.run_checks(12, seed=seed)
            for round_ in range(1, 12):
                bins = [0] * 25
                for start in starts:
                    place = (start + 1e-9) / SETTINGS.interval_s - round_
                    if 0 <= place < 1:
                        bins[int(place * 25)] += 1
                self.assertLessEqual(max(bins), 0.1 * sum(bins), (seed, round_, bins))
                self.assertGreater(sum(bins), 80)

    def test_noJitter(self) -> None:
        """Without jitter they keep the moments that they were spread over."""
        starts = self.run_checks(5, MonitorSettings(5.0, 0.0))
        last = sorted(start % 5.0 for start in starts if start >= 20.0)
        bins = [sum(first <= start < first + 0.5 for start in last) for first in (0.5 * i - 1e-9 for i in range(10))]
        self.assertLessEqual(max(bins), 15)
        self.assertGreaterEqual(min(bins), 5)

    def test_neverLate(self) -> None:
        """D14: between two starts of one backend lies no more than the interval and its jitter."""
        agenda, random = Agenda(5.0), Random(3)
        tables = [Timetable(SETTINGS, agenda, 0.0) for _ in range(20)]
        last = [0.0] * 20
        for tick in range(1, 2000):
            now = tick * SETTINGS.tick_s
            for index, table in enumerate(tables):
                if table.due_at <= now + SETTINGS.tick_s:
                    self.assertLessEqual(now - last[index], 5.0 * 1.2 + 1e-6)
                    last[index] = now
                    one_after(table, UP, random, started_at=now)
