"""What is seen, as lines of text for a terminal of any size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from txproxy.shown import amount, lasting, printable
from txproxy.top.figures import BackendFigures, Figures

SORTS = ("cluster", "state", "active", "rate")
_KEYS = "q quit  \N{UPWARDS ARROW}\N{DOWNWARDS ARROW} select  d drain  m maintain  s serve  o order"
_BAD_STATES = ("down", "ejected")
_TROUBLED_FIRST = ("down", "ejected", "trial", "checking", "maintenance", "draining", "up")
_MOST_WORKERS = 4
"""Lines that workers have at most."""


class Line(NamedTuple):
    """One line."""

    text: str
    style: str = ""
    """Empty, ``title``, ``good``, ``warn``, ``bad`` or ``chosen``."""


@dataclass
class View:
    """What the keys have chosen."""

    chosen: int = 0
    """Place of the backend that is selected, in the order that is shown."""
    first: int = 0
    """Place of the first one that is seen."""
    sort: str = SORTS[0]
    message: str = ""
    """Stands where the keys are explained; a question, or what became of an order."""
    trouble: str = ""
    """Why there is nothing new to be seen."""


def ordered(figures: Figures, sort: str) -> list[BackendFigures]:
    """Return the backends in an order.

    :param sort: one of ``SORTS``; what is alike stays in the order of the configuration.
    """
    backends = list(figures.backends)
    if sort == "state":
        backends.sort(key=lambda each: _TROUBLED_FIRST.index(each.state) if each.state in _TROUBLED_FIRST else -1)
    elif sort == "active":
        backends.sort(key=lambda each: -each.active - each.queued)
    elif sort == "rate":
        backends.sort(key=lambda each: -each.rate)
    return backends


def frame(figures: Figures | None, view: View, width: int, height: int) -> list[Line]:
    """Return what is seen: at most ``height`` lines, none wider than ``width``.

    :param figures: None if nothing is known yet.
    :param view: is moved so that what is selected is seen.
    """
    if figures is None:
        lines = [Line("txproxy", "title"), Line(view.trouble or "waiting for the first answer", "warn")]
        return [_cut(line, width) for line in lines[:height]]
    top = [*_head(figures, view, width), *_worker_lines(figures)]
    columns = _columns(figures, width)
    top += [Line(""), Line(_row(_TITLES, columns), "title")]
    backends = ordered(figures, view.sort)
    room = max(1, height - len(top) - 1)
    view.chosen = max(0, min(view.chosen, len(backends) - 1))
    view.first = max(0, min(view.first, view.chosen, len(backends) - room))
    view.first = max(view.first, view.chosen - room + 1)
    rows = []
    for place, backend in enumerate(backends[view.first : view.first + room], view.first):
        style = "chosen" if place == view.chosen else _style_of(backend)
        rows.append(Line(_row(_cells(backend), columns).ljust(width), style))
    lines = top + rows
    lines = lines[: height - 1] + [Line("")] * max(0, height - 1 - len(lines))
    return [_cut(line, width) for line in (*lines, _foot(view, len(backends)))][:height]


def text_of(figures: Figures, width: int) -> str:
    """Return all that there is as text, for a terminal that cannot be drawn on."""
    view = View(chosen=-1)
    height = 100 + len(figures.backends)
    lines = [line.text.rstrip() for line in frame(figures, view, width, height)[:-1]]
    while lines and not lines[-1]:
        lines.pop()
    return "\n".join(lines) + "\n"


def _cut(line: Line, width: int) -> Line:
    return Line(printable(line.text)[:width], line.style)


def _head(figures: Figures, view: View, width: int) -> list[Line]:
    title = f"txproxy {figures.version}  {figures.state}  for {lasting(figures.lasts_s)}"
    config = f"configuration {figures.config_hash}"
    lines = [Line(title + config.rjust(width - len(title)) if len(title) + len(config) < width else title, "title")]
    if view.trouble:
        lines.append(Line(f"no answer, trying again: {view.trouble}", "bad"))
    elif figures.is_reload_refused:
        lines.append(Line("the last reload was refused: see `txproxy ctl status`", "warn"))
    mix = "  ".join(f"{kind} {part:.1%}" for kind, part in figures.statuses.items()) or "none"
    is_failing = figures.statuses.get("5xx", 0) >= 0.01
    lines.append(Line(f"requests {figures.rate:8.1f}/s   {mix}", "warn" if is_failing else ""))
    cache = "" if figures.cache_ratio is None else f"   cache {figures.cache_ratio:.0%} hits"
    lines.append(Line(f"latency  p50 {_time(figures.p50_s)}   p99 {_time(figures.p99_s)}{cache}"))
    return lines


def _worker_lines(figures: Figures) -> list[Line]:
    lines = []
    for each in figures.workers[:_MOST_WORKERS]:
        lag = f"  lag {_time(each.loop_lag_s).strip()}" if each.loop_lag_s else ""
        text = f"worker {each.number:<2} pid {each.pid:<8} {each.connections:6} connections  {each.cpu:4.0%} cpu"
        lines.append(Line(f"{text}  {amount(each.rss_bytes):>9}{lag}"))
    more = len(figures.workers) - _MOST_WORKERS
    if more > 0:
        lines.append(Line(f"and {more} more workers"))
    return lines


def _foot(view: View, count: int) -> Line:
    if view.message:
        return Line(view.message, "warn")
    where = f"  {view.chosen + 1}/{count}" if count else ""
    return Line(f"{_KEYS} ({view.sort}){where}", "title")


_TITLES = ("CLUSTER", "BACKEND", "STATE", "SINCE", "ACTIVE", "QUEUED", "RATE/S", "CONNS")


class _Column(NamedTuple):
    width: int
    is_right: bool


def _columns(figures: Figures, width: int) -> list[_Column]:
    """Return the columns: numbers have what they need, and names what is left."""
    fixed = [_Column(11, False), *(_Column(each, True) for each in (7, 6, 6, 8, 5))]
    left = max(16, width - sum(each.width for each in fixed) - len(_TITLES) + 1)
    cluster = max([len("CLUSTER"), *(len(each.cluster) for each in figures.backends)])
    cluster = min(cluster, max(len("CLUSTER"), left // 3))
    return [_Column(cluster, False), _Column(left - cluster, False), *fixed]


def _cells(backend: BackendFigures) -> tuple[str, ...]:
    return (
        backend.cluster,
        backend.name,
        backend.state,
        lasting(backend.lasts_s),
        str(backend.active),
        str(backend.queued),
        f"{backend.rate:.1f}",
        str(backend.connections),
    )


def _row(cells: tuple[str, ...], columns: list[_Column]) -> str:
    shown = []
    for cell, (width, is_right) in zip(cells, columns, strict=True):
        text = printable(cell)
        if len(text) > width:
            text = text[: width - 1] + "\N{HORIZONTAL ELLIPSIS}"
        shown.append(text.rjust(width) if is_right else text.ljust(width))
    return " ".join(shown)


def _style_of(backend: BackendFigures) -> str:
    if backend.state in _BAD_STATES:
        return "bad"
    return "" if backend.state == "up" else "warn"


def _time(seconds: float) -> str:
    if not seconds:
        return "      -"
    return f"{seconds * 1000:4.1f} ms" if seconds < 1 else f"{seconds:5.1f} s"
