"""Requests that wait until it is known whether any backend of their cluster can serve."""

from __future__ import annotations

from typing import Any

from txproxy.errors import QueueFull
from txproxy.policy.deadlines import Deadlines
from txproxy.upstream.pool import Waiter


class Lobby:
    """First come, first served.

    :param deadlines: watches those who wait.
    :param most: how many may wait.
    :param patience_s: for how long.
    """

    def __init__(self, deadlines: Deadlines, most: int, patience_s: float) -> None:
        self._deadlines = deadlines
        self._most = most
        self._patience_s = patience_s
        self._waiting: dict[Waiter, None] = {}

    def change(self, most: int, patience_s: float) -> None:
        """Take other limits; who waits already goes on waiting for as long as it was to."""
        self._most = most
        self._patience_s = patience_s

    def __len__(self) -> int:
        return len(self._waiting)

    def enter(self, exchange: Any, now: float) -> None:
        """Let an exchange wait; its forwarding stage is told ``start_again(exchange)`` when that is over.

        :param now: the moment, in seconds.
        :raises QueueFull: if too many wait.
        """
        if len(self._waiting) >= self._most:
            raise QueueFull("no backend was found to be up yet")
        waiter = Waiter(exchange, exchange.forward, self)
        exchange.attempt = waiter
        waiter.deadline = now + self._patience_s
        self._waiting[waiter] = None
        self._deadlines.watch(waiter)

    def open(self) -> None:
        """Let all go who wait."""
        while self._waiting:
            self.waited_too_long(next(iter(self._waiting)))

    def waited_too_long(self, waiter: Waiter) -> None:
        """Let one go."""
        self.stop_waiting(waiter)
        waiter.exchange.attempt = None
        waiter.on_lease.start_again(waiter.exchange)

    def stop_waiting(self, waiter: Waiter) -> None:
        """Forget one whose client has left."""
        self._deadlines.forget(waiter)
        self._waiting.pop(waiter, None)
