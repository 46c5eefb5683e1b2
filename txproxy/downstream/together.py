"""Writes of one turn of the reactor, put together: one write for all that a connection's streams have said in it.

Replies of several backends come in one turn. With TLS a write is a record and a system call, and the client answers
each with a packet of its own: together they cost a fraction.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from txproxy.observe.log import Logger

log = Logger()


class Together:
    """Has connections flush at the end of the turn.

    :param call_later: the reactor's.
    """

    def __init__(self, call_later: Callable[..., Any]) -> None:
        self._call_later = call_later
        self._waiting: dict[Any, None] = {}

    def flush_soon(self, connection: Any) -> None:
        """Have a connection's ``flush`` called when whatever else has come in this turn is done."""
        if not self._waiting:
            self._call_later(0, self._flush)
        self._waiting[connection] = None

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for connection in waiting:
            try:
                connection.flush()
            except Exception:
                # The others have nothing to do with it.
                log.failure("what {connection} had to say was not sent", connection=connection)
