"""The access log: one line per exchange, written in batches, never on the way of a request.

Formatting waits until the reactor has nothing nearer to do, and takes a bounded number of lines at a time, so that it
never holds up a reply for long. A file that cannot be written to loses lines, which are counted, and stops nobody.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from time import gmtime, strftime
from typing import Any, Protocol

from ..exchange import Exchange
from .counters import Counters
from .log import Logger

log = Logger()

_LINES_PER_TURN = 50
"""About 0.3 ms of formatting: nothing periodic may hold the reactor for 1 ms."""
_WAIT_S = 0.02
_MOST_LINES = 100_000
"""What is kept while the log cannot keep up; more is lost and counted."""

# What stands for itself in a quoted part of a line: printable ASCII but for the quote and the backslash.
_HARMLESS = bytes(code for code in range(0x20, 0x7F) if code not in b'"\\')


def escape(value: bytes) -> str:
    """Return a value as it may stand between quotes: no client can end a line, or forge a field of it."""
    if not value.translate(None, _HARMLESS):
        return value.decode("ascii")
    return "".join(chr(code) if code in _HARMLESS else f"\\x{code:02X}" for code in value)


class Formatter(Protocol):
    """Makes a line of an exchange."""

    def __call__(self, exchange: Exchange, ended_at_wall_s: float) -> str:
        """Return the line, without its end.

        :param ended_at_wall_s: when the exchange ended, in seconds since 1970.
        """
        ...


class CombinedFormatter:
    """The combined format of Apache and nginx, then request id, route, backend, tries, timings and end reason."""

    def __init__(self) -> None:
        self._second = -1
        self._stamp = ""

    def __call__(self, exchange: Exchange, ended_at_wall_s: float) -> str:
        """Return the line, without its end."""
        second = int(ended_at_wall_s)
        if second != self._second:
            self._second = second
            self._stamp = strftime("%d/%b/%Y:%H:%M:%S +0000", gmtime(second))
        request = exchange.request
        line = agent = referer = "-"
        if request is not None:
            known = request.known
            line = f"{request.method.decode('latin-1')} {escape(request.target)} HTTP/1.{request.minor}"
            if b"referer" in known:
                referer = escape(known[b"referer"])
            if b"user-agent" in known:
                agent = escape(known[b"user-agent"])
        backend = exchange.backend
        queue, connect, first, transfer, total = exchange.timings()
        return (
            f'{exchange.client_address or "-"} - - [{self._stamp}] "{line}" {exchange.status:03d} {exchange.bytes_out} '
            f'"{referer}" "{agent}" {escape(exchange.id)} {"-" if backend is None else backend.name} {exchange.tries} '
            f"{queue * 1e3:.3f} {connect * 1e3:.3f} {first * 1e3:.3f} {transfer * 1e3:.3f} {total * 1e3:.3f} "
            f"{exchange.end_reason}"
        )


class JsonFormatter:
    """One JSON object per line."""

    def __call__(self, exchange: Exchange, ended_at_wall_s: float) -> str:
        """Return the line, without its end. Bytes above 0x7F of what a client sent are shown as Latin-1."""
        request = exchange.request
        known = request.known if request is not None else {}
        queue, connect, first, transfer, total = (round(phase * 1e3, 3) for phase in exchange.timings())
        fields = {
            "ts": round(ended_at_wall_s, 3),
            "client": exchange.client_address,
            "method": _text(request.method) if request is not None else None,
            "host": _text(request.host) if request is not None else None,
            "target": _text(request.target) if request is not None else None,
            "version": f"1.{request.minor}" if request is not None else None,
            "status": exchange.status,
            "bytes_in": exchange.bytes_in,
            "bytes_out": exchange.bytes_out,
            "route": exchange.route.name if exchange.route is not None else None,
            "cluster": exchange.cluster.name if exchange.cluster is not None else None,
            "backend": exchange.backend.name if exchange.backend is not None else None,
            "tries": exchange.tries,
            "retry": exchange.retry_refused or None,
            "cache": None,
            "queue_ms": queue,
            "connect_ms": connect,
            "first_byte_ms": first,
            "transfer_ms": transfer,
            "total_ms": total,
            "end": exchange.end_reason,
            "request_id": _text(exchange.id),
            "tls": None,
            "user_agent": _text(known[b"user-agent"]) if b"user-agent" in known else None,
            "referer": _text(known[b"referer"]) if b"referer" in known else None,
        }
        return json.dumps(fields, separators=(",", ":"))


def _text(value: bytes) -> str:
    return value.decode("latin-1")


class AccessLog:
    """Gathers exchanges that have ended and writes their lines.

    :param call_later: the reactor's.
    :param wall_clock: seconds since 1970.
    :param formatter: makes the lines.
    :param open_file: opens the file anew for appending, in text mode; called again by ``reopen``.
    :param counters: where lost lines are counted.
    """

    def __init__(
        self,
        call_later: Callable[..., Any],
        wall_clock: Callable[[], float],
        formatter: Formatter,
        open_file: Callable[[], Any],
        counters: Counters,
    ) -> None:
        self._call_later = call_later
        self._wall_clock = wall_clock
        self._formatter = formatter
        self._open_file = open_file
        self._file = open_file()
        self._counters = counters
        self._waiting: deque[tuple[Exchange, float]] = deque()
        self._call: Any = None

    def record(self, exchange: Exchange) -> None:
        """Take an exchange that has ended; its line follows soon."""
        if len(self._waiting) >= _MOST_LINES:
            self._counters.log_lines_lost += 1
            return
        self._waiting.append((exchange, self._wall_clock()))
        if self._call is None:
            self._call = self._call_later(_WAIT_S, self._turn)

    def _turn(self) -> None:
        self._call = None
        self._write(_LINES_PER_TURN)
        if self._waiting:
            self._call = self._call_later(0, self._turn)

    def _write(self, most: int) -> None:
        waiting, formatter = self._waiting, self._formatter
        lines = []
        while waiting and len(lines) < most:
            exchange, at = waiting.popleft()
            lines.append(formatter(exchange, at))
        lines.append("")
        try:
            self._file.write("\n".join(lines))
            self._file.flush()
        except (OSError, ValueError) as reason:
            self._counters.log_lines_lost += len(lines) - 1
            log.error("the access log cannot be written: {reason}", reason=reason)

    def flush(self) -> None:
        """Write all that waits."""
        while self._waiting:
            self._write(_LINES_PER_TURN)

    def reopen(self) -> None:
        """Write what waits and open the file anew, for it may have been moved away (logrotate)."""
        self.flush()
        try:
            fresh = self._open_file()
        except OSError as reason:
            log.error("the access log cannot be opened anew: {reason}", reason=reason)
            return
        old, self._file = self._file, fresh
        old.close()

    def close(self) -> None:
        """Write what waits and close the file."""
        if self._call is not None:
            self._call.cancel()
            self._call = None
        self.flush()
        self._file.close()
