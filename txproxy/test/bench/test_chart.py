"""Tests for :mod:`bench.chart`."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree

from twisted.trial.unittest import SynchronousTestCase

try:
    from bench.chart import BAR, Panel, draw
except ModuleNotFoundError:
    skip = "bench is no part of an installed package"

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "<script>alert('x')</script>&amp; \"quoted\" ]]> \x00\x1b\ud800 ü"


def drawn(
    panels: Sequence[Panel], own: str = "ours", title: str = "Title", description: str = "What it shows"
) -> ElementTree.Element:
    return ElementTree.fromstring(draw(title, description, panels, own))


def bars(root: ElementTree.Element, kind: str) -> list[ElementTree.Element]:
    return [each for each in root.iter(f"{SVG}rect") if each.get("class") == kind]


def lengths(root: ElementTree.Element, kind: str = "bar") -> list[float]:
    return [float(each.get("width", "")) for each in bars(root, kind)]


def texts(root: ElementTree.Element) -> list[str]:
    return ["".join(each.itertext()) for each in root.iter(f"{SVG}text")]


class DrawTests(SynchronousTestCase):
    """An image that any reader of SVG reads."""

    def test_accessible(self) -> None:
        """It is an image with a title and a description."""
        root = drawn([])
        self.assertEqual((root.get("role"), root.get("aria-labelledby")), ("img", "title description"))
        found = {each.get("id"): each.text for each in root if each.get("id")}
        self.assertEqual(found, {"title": "Title", "description": "What it shows"})

    def test_bothSchemes(self) -> None:
        """It has colours for light and for dark, and a ground of its own to be read on."""
        root = drawn([])
        style = root.findtext(f"{SVG}style") or ""
        self.assertIn("prefers-color-scheme: dark", style)
        self.assertEqual(style.count(".ground {"), 2)
        self.assertEqual(len(bars(root, "ground")), 1)

    def test_bars(self) -> None:
        """Bars are as long as their figures say, and our own has a colour of its own."""
        root = drawn([Panel("one", "µs", {"ours": 10.0, "other": 20.0, "third": 5.0}, 1)])
        (own,) = lengths(root, "own")
        other, third = lengths(root)
        self.assertAlmostEqual(other, 2 * own, delta=0.2)
        self.assertAlmostEqual(third, own / 2, delta=0.2)
        self.assertTrue({"ours", "other", "20.0", "oneµs"} <= set(texts(root)))

    def test_longBars(self) -> None:
        """A bar is cut where it would make the others look alike, and says so."""
        root = drawn([Panel("one", "µs", {"ours": 10.0, "other": 1000.0, "third": 40.0}, 0)])
        other, third = lengths(root)
        self.assertEqual(other, third)
        self.assertIn("1,000 »", texts(root))
        self.assertIn("40", texts(root))

    def test_withoutOurs(self) -> None:
        """Without our own there is nothing to cut by, and no line to compare with."""
        root = drawn([Panel("one", "µs", {"other": 1000.0, "third": 10.0})])
        self.assertGreater(lengths(root)[0], 50 * lengths(root)[1])
        self.assertEqual(list(root.iter(f"{SVG}line")), [])

    def test_oddFigures(self) -> None:
        """Figures of nothing, less than nothing and no number at all make no bar that cannot be drawn."""
        figures = {"ours": 0.0, "less": -3.0, "none": float("nan"), "endless": float("inf")}
        root = drawn([Panel("one", "µs", figures), Panel("two", "µs", {})])
        self.assertEqual(lengths(root, "own") + lengths(root), [0.0, 0.0])
        self.assertNotIn("nan", draw("t", "d", [Panel("one", "µs", figures)], "ours"))

    def test_hostileNames(self) -> None:
        """Whatever names hold, the file is well-formed and holds nothing but what we draw."""
        root = drawn([Panel(HOSTILE, HOSTILE, {HOSTILE: 1.0, "ours": 2.0})], HOSTILE, HOSTILE, HOSTILE)
        self.assertEqual({each.tag for each in root.iter()} - {SVG + each for each in ALLOWED}, set())
        self.assertTrue(any("<script>alert('x')</script>&amp;" in each for each in texts(root)))

    def test_insideTheImage(self) -> None:
        """Panels beside and below each other have room, whatever the number of their bars."""
        panels = [Panel(str(n), "µs", {f"p{m}": 1.0 for m in range(1 + n * 4 % 9)}) for n in range(22)]
        root = drawn(panels)
        width, height = float(root.get("width", "")), float(root.get("height", ""))
        places = [(float(each.get("x", "")), float(each.get("y", ""))) for each in bars(root, "bar")]
        self.assertEqual(len(places), len(set(places)))
        ends = [sum(len(panel.bars) for panel in panels[: n + 1]) for n in range(len(panels))]
        for last in range(2, len(panels) - 1, 3):
            above = max(y for _, y in places[: ends[last]])
            self.assertLess(above + BAR, min(y for _, y in places[ends[last] :]))
        for each, (x, y) in zip(bars(root, "bar"), places, strict=True):
            self.assertLess(x + float(each.get("width", "")), width)
            self.assertLess(y + BAR, height)


ALLOWED = ("svg", "title", "desc", "style", "rect", "text", "tspan", "line")
