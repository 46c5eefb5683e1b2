"""The chart of a run: an SVG with a panel for each scenario and a bar for each proxy. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

COLUMNS = 3
WIDTH = 336
GAP = 24
MARGIN = 20
HEAD = 64
PANEL_HEAD = 22
BAR = 12
STEP = 16
NAME_WIDTH = 128
VALUE_WIDTH = 62
# Times the figure of the one that is compared: longer bars are cut, or one slow proxy would make all others look alike.
LONGEST = 4.0
# What XML 1.0 cannot hold, not even escaped.
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

STYLE = """
  .ground { fill: #ffffff; } .text { fill: #1f2328; } .faint { fill: #59636e; }
  .value { paint-order: stroke; stroke-width: 4px; stroke: #ffffff; }
  .bar { fill: #9fb4cc; } .own { fill: #0b6bcb; } .line { stroke: #59636e; stroke-dasharray: 2 2; }
  text { font: 12px system-ui, sans-serif; } .title { font-size: 16px; font-weight: 600; } .name { font-weight: 600; }
  @media (prefers-color-scheme: dark) {
    .ground { fill: #0d1117; } .text { fill: #e6edf3; } .faint { fill: #9198a1; }
    .value { stroke: #0d1117; }
    .bar { fill: #4a5a6e; } .own { fill: #4da3ff; } .line { stroke: #9198a1; }
  }
"""


@dataclass(frozen=True, slots=True)
class Panel:
    """One scenario.

    :ivar title: its name.
    :ivar figure: what its bars show.
    :ivar bars: per proxy the figure, in the order in which they are shown.
    :ivar digits: decimals of the figures.
    """

    title: str
    figure: str
    bars: dict[str, float]
    digits: int = 1

    @property
    def height(self) -> int:
        """How high it is."""
        return PANEL_HEAD + STEP * len(self.bars)


def text(value: str) -> str:
    """Return *value* as it may stand in an element or between double quotes."""
    return escape(_NOT_XML.sub("\ufffd", value), {'"': "&quot;"})


def draw(title: str, description: str, panels: Sequence[Panel], own: str) -> str:
    """Return the chart.

    :param title: what it is, for all readers.
    :param description: the same in a sentence, for those who cannot see it.
    :param own: the proxy that others are compared with; its bars have a colour of their own.
    """
    parts: list[str] = []
    top = HEAD
    for first in range(0, len(panels), COLUMNS):
        row = panels[first : first + COLUMNS]
        for index, panel in enumerate(row):
            parts += _panel(panel, MARGIN + index * (WIDTH + GAP), top, own)
        top += max(panel.height for panel in row) + GAP
    width, height = 2 * MARGIN + COLUMNS * WIDTH + (COLUMNS - 1) * GAP, top
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
        ' role="img" aria-labelledby="title description">',
        f'<title id="title">{text(title)}</title>',
        f'<desc id="description">{text(description)}</desc>',
        f"<style>{STYLE}</style>",
        f'<rect class="ground" width="{width}" height="{height}"/>',
        f'<text class="text title" x="{MARGIN}" y="28">{text(title)}</text>',
        f'<text class="faint" x="{MARGIN}" y="48">Shorter is better. The dotted line is {text(own)};'
        f" a bar with » goes on past {LONGEST:g} times that.</text>",
        *parts,
        "</svg>",
        "",
    ])  # fmt: skip


def _panel(panel: Panel, left: int, top: int, own: str) -> list[str]:
    parts = [
        f'<text class="text" x="{left}" y="{top + 12}"><tspan class="name">{text(panel.title)}</tspan>'
        f'<tspan class="faint" dx="8">{text(panel.figure)}</tspan></text>'
    ]
    bars = {name: value for name, value in panel.bars.items() if math.isfinite(value)}
    end = max(bars.values(), default=0.0)
    own_value = bars.get(own, 0.0)
    if own_value > 0:
        end = min(end, LONGEST * own_value)
    start, room = left + NAME_WIDTH, WIDTH - NAME_WIDTH - VALUE_WIDTH
    y = top + PANEL_HEAD
    if own_value > 0:
        x, bottom = start + room * own_value / end, top + panel.height
        parts.append(f'<line class="line" x1="{x:.1f}" y1="{y - 2}" x2="{x:.1f}" y2="{bottom - 2}"/>')
    for name, value in bars.items():
        length = room * min(1.0, max(0.0, value / end)) if end > 0 else 0.0
        kind = "own" if name == own else "bar"
        shown = f"{value:,.{panel.digits}f}" + (" »" if value > end > 0 else "")
        parts += [
            f'<text class="text" x="{start - 6}" y="{y + 10}" text-anchor="end">{text(name)}</text>',
            f'<rect class="{kind}" x="{start}" y="{y}" width="{length:.1f}" height="{BAR}" rx="2"/>',
            f'<text class="faint value" x="{start + length + 5:.1f}" y="{y + 10}">{text(shown)}</text>',
        ]
        y += STEP
    return parts
