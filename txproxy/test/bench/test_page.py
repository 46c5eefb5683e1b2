"""Tests for :mod:`bench.page`."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from twisted.trial.unittest import SynchronousTestCase

try:
    from bench import page
    from bench.catalogue import STANDARD
    from bench.runner import Outcome
    from txproxy.test.bench.results import outcome, run
except ModuleNotFoundError:
    skip = "bench is no part of an installed package"


def rows(text: str, heading: str) -> dict[str, list[str]]:
    """Return the cells of the lines of the table below *heading*, by the first."""
    lines = text.partition(f"## {heading}\n")[2].partition("\n#")[0].splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    return {each[0]: each[1:] for each in cells}


def made(*outcomes: Outcome, **changes: object) -> str:
    built = run(*outcomes)
    for name, value in changes.items():
        setattr(built, name, value)
    return page.markdown(built, "results.svg", STANDARD)


class MarkdownTests(SynchronousTestCase):
    """The text of the page."""

    def test_tells(self) -> None:
        """Date, machine, versions and settings stand on it, and the chart."""
        text = made(outcome("keepalive", txproxy=[30.0], nginx=[20.0]))
        self.assertIn("Measured 2026-11-22 01:00 UTC; it took 1 min.", text)
        self.assertIn("](results.svg)", text)
        facts = rows(text, "Machine, versions, settings")
        self.assertEqual((facts["cpu"], facts["nginx"], facts["rounds"]), (["one"], ["1.22"], ["3"]))

    def test_figures(self) -> None:
        """Medians with their spread, for all that were measured in any scenario."""
        text = made(
            outcome("keepalive", nginx=[20.0], txproxy=[30.0, 27.0, 33.0]), outcome("tls", haproxy=[1.0], txproxy=[2.0])
        )
        figures = rows(text, "Main figures")
        self.assertEqual(figures["scenario"], ["figure", "txproxy", "nginx", "haproxy"])
        self.assertEqual(figures["keepalive"], ["CPU µs/req", "30.0 (20%)", "20.0", "-"])
        self.assertEqual(rows(text, "Ratios")["keepalive"][2:], ["1.50", "-"])

    def test_missedMark(self) -> None:
        """A missed mark is told with how much, and where the reason stands."""
        text = made(outcome("newconn", txproxy=[33.0], nginx=[20.0]))
        self.assertIn("| newconn ", text)
        self.assertEqual(rows(text, "The marks")["newconn"], ["nginx", "1.50", "1.65", "**missed by 10%**"])
        self.assertIn("(../docs/performance.md)", text)

    def test_metMark(self) -> None:
        """A met one needs no reason."""
        text = made(outcome("newconn", txproxy=[15.0], nginx=[20.0]))
        self.assertEqual(rows(text, "The marks")["newconn"], ["nginx", "1.50", "0.75", "met, 50% under it"])
        self.assertNotIn("performance.md", text)

    def test_invalid(self) -> None:
        """Samples that are not valid are told, with the reason and how often it came."""
        found = outcome("keepalive", txproxy=[30.0, 30.0], nginx=[20.0])
        found.samples["txproxy"][0].errors.append("Non-2xx or 3xx responses: 12")
        found.samples["txproxy"][1].errors.append("Non-2xx or 3xx responses: 13")
        text = made(found)
        self.assertIn("- keepalive, txproxy: Non-2xx or 3xx responses: 12 (2 of 2 rounds)", text)
        self.assertEqual(rows(text, "Main figures")["keepalive"], ["CPU µs/req", "INVALID", "20.0"])

    def test_valid(self) -> None:
        """It is told as well if all are."""
        self.assertIn("All 2 samples are valid.", made(outcome("keepalive", txproxy=[30.0], nginx=[20.0])))

    def test_warnings(self) -> None:
        """Warnings that differ in their figures only are told once."""
        found = outcome("keepalive", txproxy=[30.0, 30.0, 30.0])
        for each, share in zip(found.samples["txproxy"], (70, 71), strict=False):
            each.warnings.append(f"proxy core only {share}% busy")
        found.samples["txproxy"][2].warnings.append("the load side was the limit")
        text = made(found)
        self.assertIn("<summary>2 warnings</summary>", text)
        self.assertIn("- txproxy: proxy core only 70% busy (2 of 3 rounds)", text)
        self.assertIn("- txproxy: the load side was the limit (1 of 3 rounds)", text)

    def test_leftOut(self) -> None:
        """Who was left out stands there with the reason, and what was not run at all."""
        left, broken = outcome("keepalive", txproxy=[30.0]), outcome("h2")
        left.absent["envoy"] = "envoy is not installed"
        broken.broken = "h2load is not installed"
        text = made(left, broken)
        self.assertIn("- envoy: envoy is not installed", text)
        self.assertIn("- h2 was not run: h2load is not installed", text)
        self.assertIn("Not part of it: differing, ", text)

    def test_hostile(self) -> None:
        """What a program printed is text: no markup, and no other cell."""
        found = outcome("keepalive", txproxy=[30.0])
        found.samples["txproxy"][0].warnings.append("a | b\n\n# <img src=x> [c](d) `e`")
        text = made(found, facts={"cpu": "<b>|\n|x|"})
        self.assertIn("a \\| b # &lt;img src=x&gt; \\[c\\](d) \\`e\\`", text)
        self.assertIn("| &lt;b&gt;\\| \\|x\\| |", text)


class WriteTests(SynchronousTestCase):
    """Its two files."""

    def test_both(self) -> None:
        """The chart stands beside the page, by the name that the page has for it."""
        path = Path(self.mktemp()).with_suffix(".md")
        path.parent.mkdir(parents=True, exist_ok=True)
        page.write(path, run(outcome("keepalive", txproxy=[30.0], nginx=[20.0])), STANDARD)
        picture = path.with_suffix(".svg")
        self.assertIn(f"]({picture.name})", path.read_text())
        self.assertIn("30.0", "".join(ElementTree.fromstring(picture.read_text()).itertext()))
