"""Purges that take more than a moment: they go on in steps, and nothing that is to go is served meanwhile."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

STEPS_AT_ONCE = 10
"""Of a purge, before others have their turn: some two milliseconds."""


class _Purge:
    """One purge of one URL.

    :param url: what it is about.
    :param steps: each yields how many replies it has removed.
    :param done: is called with the number of all of them.
    """

    __slots__ = ("_count", "_done", "_steps", "url")

    def __init__(self, url: bytes, steps: Iterator[int], done: Callable[[int], None]) -> None:
        self.url = url
        self._steps = steps
        self._done = done
        self._count = 0

    def goes_on(self) -> bool:
        """Take a few steps; return whether there may be more."""
        for _ in range(STEPS_AT_ONCE):
            removed = next(self._steps, None)
            if removed is None:
                return False
            self._count += removed
        return True

    def end(self) -> None:
        """Tell that nothing is left."""
        self._done(self._count)


class Sweep:
    """All purges of URLs that are under way.

    :param call_later: the reactor's.
    """

    __slots__ = ("_call_later", "_next", "_purges", "urls")

    def __init__(self, call_later: Callable[..., Any]) -> None:
        self._call_later = call_later
        self._purges: deque[_Purge] = deque()
        self._next: Any = None
        self.urls: dict[bytes, int] = {}
        """What may not be served, and how many purges are about it."""

    def begin(self, url: bytes, steps: Iterator[int], done: Callable[[int], None]) -> None:
        """Purge what can be purged at once, and the rest soon.

        :param url: what it is about.
        :param steps: each yields how many replies it has removed.
        :param done: is called with the number of all of them when nothing is left, which may be at once.
        """
        purge = _Purge(url, steps, done)
        if not purge.goes_on():
            purge.end()
            return
        self.urls[url] = self.urls.get(url, 0) + 1
        self._purges.append(purge)
        if self._next is None:
            self._next = self._call_later(0, self._go_on)

    def finish(self) -> None:
        """Do at once what is left."""
        if self._next is not None:
            self._next.cancel()
            self._next = None
        while self._purges:
            self._take_turn()

    def _go_on(self) -> None:
        # Whoever is told of an end may begin another.
        self._take_turn()
        self._next = self._call_later(0, self._go_on) if self._purges else None

    def _take_turn(self) -> None:
        """Go on with the oldest."""
        purge = self._purges[0]
        if purge.goes_on():
            return
        self._purges.popleft()
        left = self.urls.pop(purge.url) - 1
        if left:
            self.urls[purge.url] = left
        purge.end()
