"""Draws frames by curses and takes the keys."""

from __future__ import annotations

import curses
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from txproxy.admin.client import AdminClient, AdminError, backend_path
from txproxy.top.figures import BackendFigures, Figures, compare
from txproxy.top.frame import SORTS, Line, View, frame, ordered

_KEY_WAIT_MS = 100
_ORDERS = {ord("d"): "drain", ord("m"): "maintain", ord("s"): "serve"}
_ESCAPE = 27
_ARROWS = {(ord(lead), ord(key)): code for lead in "[O" for key, code in (("A", curses.KEY_UP), ("B", curses.KEY_DOWN))}
_COLOURS = {"good": curses.COLOR_GREEN, "warn": curses.COLOR_YELLOW, "bad": curses.COLOR_RED}


class Watcher:
    """Asks for reports in a thread of its own, so that a proxy that does not answer holds up no key.

    :param make_client: returns a client.
    :param interval_s: between two questions.
    """

    def __init__(self, make_client: Callable[[], AdminClient], interval_s: float) -> None:
        self._make_client = make_client
        self._interval_s = interval_s
        self._lock = threading.Lock()
        self._figures: Figures | None = None
        self._trouble = ""
        self._goes_on = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Ask no more."""
        self._goes_on.set()

    def latest(self) -> tuple[Figures | None, str]:
        """Return what is known, and why that is not new, if it is not."""
        with self._lock:
            return self._figures, self._trouble

    def _watch(self) -> None:
        before: Any = None
        client = self._make_client()
        while not self._goes_on.is_set():
            began = time.monotonic()
            try:
                report = client.get("/status")
                figures, trouble = compare(before, report), ""
                before = report
            except AdminError as error:
                figures, trouble = None, str(error)
            except (LookupError, TypeError, ValueError):
                figures, trouble = None, "what answers there is no admin interface of txproxy"
            with self._lock:
                self._figures = figures or self._figures
                self._trouble = trouble
            self._goes_on.wait(max(0.05, self._interval_s - (time.monotonic() - began)))
        client.close()


class Screen:
    """A terminal, for as long as the command runs.

    :param window: of curses: all of the terminal.
    :param watcher: knows what there is to be seen.
    :param make_client: returns a client, for orders.
    """

    def __init__(self, window: Any, watcher: Watcher, make_client: Callable[[], AdminClient]) -> None:
        self._window = window
        self._watcher = watcher
        self._make_client = make_client
        self._view = View()
        self._question: tuple[str, BackendFigures] | None = None
        self._styles = _styles()
        window.keypad(True)
        window.timeout(_KEY_WAIT_MS)
        with suppress(curses.error):  # It may have no way to hide its cursor.
            curses.curs_set(0)

    def run(self) -> None:
        """Draw and take keys until it is to end."""
        drawn: object = None
        while True:
            figures, self._view.trouble = self._watcher.latest()
            height, width = self._window.getmaxyx()
            lines = frame(figures, self._view, width, height)
            if lines != drawn:
                self._draw(lines, width)
                drawn = lines
            key = self._key()
            if key == curses.KEY_RESIZE:
                curses.update_lines_cols()
                self._window.clear()
                drawn = None
            elif key != -1 and not self._take(key, figures):
                return

    def _key(self) -> int:
        """Return the next key; -1 if there is none yet."""
        key: int = self._window.getch()
        if key != _ESCAPE:
            return key
        # A terminal that was not told, or did not heed, how arrows are to be sent.
        self._window.timeout(0)
        rest = self._window.getch(), self._window.getch()
        self._window.timeout(_KEY_WAIT_MS)
        return _ARROWS.get(rest, -1)

    def _draw(self, lines: list[Line], width: int) -> None:
        self._window.erase()
        for row, line in enumerate(lines):
            # Of the last cell of the last line: it is drawn, and the cursor has no place behind it.
            with suppress(curses.error):
                self._window.addnstr(row, 0, line.text, width, self._styles.get(line.style, 0))
        self._window.refresh()

    def _take(self, key: int, figures: Figures | None) -> bool:
        """Do what a key says; return whether to go on."""
        question, self._question, self._view.message = self._question, None, ""
        if question is not None:
            if key in (ord("y"), ord("Y")):
                self._order(*question)
            return True
        if key in (ord("q"), ord("Q")):
            return False
        view = self._view
        page = max(1, self._window.getmaxyx()[0] - 8)
        steps = {curses.KEY_UP: -1, ord("k"): -1, curses.KEY_DOWN: 1, ord("j"): 1}
        steps |= {curses.KEY_PPAGE: -page, curses.KEY_NPAGE: page, curses.KEY_HOME: -(1 << 30), curses.KEY_END: 1 << 30}
        if key in steps:
            view.chosen = max(0, view.chosen + steps[key])
        elif key == ord("o"):
            view.sort = SORTS[(SORTS.index(view.sort) + 1) % len(SORTS)]
        elif key in _ORDERS and figures is not None and figures.backends:
            backend = ordered(figures, view.sort)[min(view.chosen, len(figures.backends) - 1)]
            self._question = _ORDERS[key], backend
            view.message = f"{_ORDERS[key]} {backend.cluster}/{backend.name}? (y/n)"
        return True

    def _order(self, order: str, backend: BackendFigures) -> None:
        client = self._make_client()
        try:
            client.change(backend_path(backend.cluster, backend.name, order))
            self._view.message = f"{order} {backend.cluster}/{backend.name}: done"
        except AdminError as error:
            self._view.message = str(error)
        finally:
            client.close()


def _styles() -> dict[str, int]:
    styles = {"title": curses.A_BOLD, "warn": curses.A_BOLD, "bad": curses.A_BOLD, "chosen": curses.A_REVERSE}
    if curses.has_colors():
        curses.use_default_colors()
        for number, (style, colour) in enumerate(_COLOURS.items(), 1):
            curses.init_pair(number, colour, -1)
            styles[style] = styles.get(style, 0) | curses.color_pair(number)
    return styles
