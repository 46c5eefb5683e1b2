"""What is seen on a terminal of some size."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txproxy.test.top.reports import backend, report
from txproxy.top.figures import compare
from txproxy.top.frame import SORTS, View, frame, ordered, text_of

FIGURES = compare(
    report(100), report(101, {"outcomes|200|ok": 10, "outcomes|500|internal": 10, "pool|reused|api|b:1": 5})
)


class FrameTests(SynchronousTestCase):
    """Lines of text."""

    def test_itFits(self) -> None:
        """Every size has as many lines as there is room for, none too wide."""
        for width in (1, 5, 20, 40, 79, 80, 81, 200):
            for height in (1, 2, 3, 8, 24, 60):
                lines = frame(FIGURES, View(), width, height)
                self.assertEqual(len(lines), height)
                self.assertTrue(all(len(line.text) <= width for line in lines), (width, height))

    def test_whatIsThere(self) -> None:
        """At 80x24 all of it."""
        text = "\n".join(line.text for line in frame(FIGURES, View(), 80, 24))
        for words in (
            "txproxy 1.2  ready",
            "configuration abc",
            "20.0/s",
            "2xx 50.0%  5xx 50.0%",
            "worker 1",
            "50.0 MiB",
            "lag 2.0 ms",
            "a:1",
            "down",
            "5.0",
            "q quit",
        ):
            self.assertIn(words, text)

    def test_styles(self) -> None:
        """What is wrong stands out, and so does what is selected."""
        styles = {
            line.text.split()[1]: line.style
            for line in frame(FIGURES, View(chosen=2), 80, 24)
            if line.text.startswith("api")
        }
        self.assertEqual(styles, {"a:1": "", "b:1": "bad", "c:1": "chosen"})

    def test_scrolling(self) -> None:
        """What is selected is seen; selecting beyond the end selects the last."""
        many = [backend(f"x{number}:1") for number in range(50)]
        figures = compare(None, report(100, clusters={"api": {"balance": "p2c", "backends": many}}))
        view = View()
        for chosen, expected in ((0, 0), (49, 49), (30, 30), (999, 49), (3, 3)):
            view.chosen = chosen
            lines = frame(figures, view, 80, 24)
            self.assertEqual([line.text.split()[1] for line in lines if line.style == "chosen"], [f"x{expected}:1"])
            self.assertIn(f"{expected + 1}/50", lines[-1].text)

    def test_order(self) -> None:
        """By cluster as configured, by trouble, by active requests and by rate."""
        names = {sort: [each.name for each in ordered(FIGURES, sort)] for sort in SORTS}
        self.assertEqual(
            names,
            {
                "cluster": ["a:1", "b:1", "c:1"],
                "state": ["b:1", "a:1", "c:1"],
                "active": ["c:1", "a:1", "b:1"],
                "rate": ["b:1", "a:1", "c:1"],
            },
        )

    def test_nothingIsKnown(self) -> None:
        """It says why, if it knows."""
        self.assertIn("waiting", frame(None, View(), 80, 24)[1].text)
        self.assertEqual(frame(None, View(trouble="refused"), 80, 24)[1].text, "refused")

    def test_trouble(self) -> None:
        """What was known last stays beside it; a question stands where the keys are."""
        lines = frame(FIGURES, View(trouble="refused", message="sure?"), 80, 24)
        self.assertEqual((lines[1].text, lines[1].style), ("no answer, trying again: refused", "bad"))
        self.assertEqual(lines[-1].text, "sure?")
        self.assertTrue([line for line in lines if "a:1" in line.text])

    def test_manyWorkers(self) -> None:
        """A few lines tell of them; the backends need the room."""
        workers = [dict(report(1)["workers"][0], number=number) for number in range(1, 65)]
        lines = [line.text for line in frame(compare(None, report(100, workers=workers)), View(), 80, 24)]
        self.assertEqual(len([line for line in lines if line.startswith("worker")]), 4)
        self.assertIn("and 60 more workers", lines)

    def test_noBackends(self) -> None:
        """A proxy without any is shown too."""
        self.assertEqual(len(frame(compare(None, report(100, clusters={})), View(), 80, 24)), 24)

    def test_hostileNames(self) -> None:
        """Nothing of what is told can command the terminal."""
        evil = backend("\x1b[2J\x9b31m\nx", last_error="\x07")
        figures = compare(None, report(100, clusters={"\x1bc": {"balance": "", "backends": [evil]}}))
        for line in frame(figures, View(trouble="\x1b]0;x\x07"), 80, 24):
            self.assertTrue(line.text.isprintable(), line)

    def test_asText(self) -> None:
        """All backends, and nothing about keys."""
        text = text_of(FIGURES, 100)
        self.assertEqual([name in text for name in ("a:1", "b:1", "c:1", "quit")], [True, True, True, False])
