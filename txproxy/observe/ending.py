"""What is done with exchanges that have ended: counted and logged, in batches, never on the way of a request.

Each batch is small, so that it never holds up a reply for long.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from txproxy.exchange import Exchange
from txproxy.observe.counters import Counters
from txproxy.observe.log import Logger, shows_debug

log = Logger()

_BATCH = 100
"""About 0.1 ms of work."""
_MOST_IN_A_TURN = 500
"""About 0.5 ms of work: nothing periodic may hold the reactor for 1 ms."""
_WAIT_S = 0.02
_MOST_WAITING = 100_000


class Ending:
    """Gathers exchanges that have ended and hands them on.

    :param call_later: the reactor's.
    :param counters: where they are counted.
    :param write_lines: takes a batch for the access log, or None if there is no such log.
    :param debug: takes each exchange while the debug log is shown.
    """

    def __init__(
        self,
        call_later: Callable[..., Any],
        counters: Counters,
        write_lines: Callable[[Sequence[Exchange]], None] | None,
        debug: Callable[[Exchange], None],
    ) -> None:
        self._call_later = call_later
        self._counters = counters
        self._write_lines = write_lines
        self._debug = debug
        self._waiting: deque[Exchange] = deque()
        self._call: Any = None
        self._soon: Any = None

    def ended(self, exchange: Exchange) -> None:
        """Take an exchange that has ended."""
        route = exchange.route
        if route is not None and route.chain.on_end:
            route.chain.end(exchange)
        waiting = self._waiting
        waiting.append(exchange)
        if self._call is None:
            self._call = self._call_later(_WAIT_S, self._turn)
        elif len(waiting) == _BATCH:
            # Exchanges that are let go soon are found in the processor's caches.
            self._soon = self._call_later(0, self._handle, _BATCH)

    def _turn(self) -> None:
        self._call = None
        # Half of what waits: so that no more waits than twice what ends in a turn of the reactor, however many that is.
        self._handle(max(_BATCH, min(len(self._waiting) // 2, _MOST_IN_A_TURN)))
        if self._waiting:
            self._call = self._call_later(0, self._turn)

    def _handle(self, most: int) -> None:
        waiting = self._waiting
        # A flood of refusals can end faster than it can be written down: then the oldest are only counted.
        if len(waiting) > _MOST_WAITING:
            lost = [waiting.popleft() for _ in range(len(waiting) - _MOST_WAITING)]
            self._counters.ended(lost)
            self._counters.log_lines_lost += len(lost)
        if not waiting:
            return
        batch = [waiting.popleft() for _ in range(min(most, len(waiting)))]
        self._counters.ended(batch)
        if self._write_lines is not None:
            self._write_lines(batch)
        if shows_debug():
            for exchange in batch:
                self._debug(exchange)

    def change(self, write_lines: Callable[[Sequence[Exchange]], None] | None) -> None:
        """Write to another log from here on; what ended before is in the present one.

        :param write_lines: takes a batch, or None if there is no log.
        """
        self.flush()
        self._write_lines = write_lines

    def flush(self) -> None:
        """Handle all that wait; whoever reads the counters calls this first."""
        while self._waiting:
            self._handle(_BATCH)

    def stop(self) -> None:
        """Handle all that wait, and leave no call behind."""
        for call in (self._call, self._soon):
            if call is not None and call.active():
                call.cancel()
        self._call = self._soon = None
        self.flush()
