"""Counts of what the proxy did: plain numbers, read when somebody asks."""

from __future__ import annotations

from collections import Counter

from ..exchange import Exchange


class Counters:
    """Numbers since the start."""

    __slots__ = (
        "accept_pauses",
        "bytes_in",
        "bytes_out",
        "connections",
        "end_reasons",
        "exchanges",
        "log_lines_lost",
        "refused_per_ip",
        "retries",
        "statuses",
        "underscores_dropped",
    )

    def __init__(self) -> None:
        self.connections = 0
        self.exchanges = 0
        self.statuses: Counter[int] = Counter()
        self.end_reasons: Counter[str] = Counter()
        self.bytes_in = 0
        self.bytes_out = 0
        self.retries = 0
        self.accept_pauses = 0
        self.refused_per_ip = 0
        self.underscores_dropped = 0
        self.log_lines_lost = 0

    def ended(self, exchange: Exchange) -> None:
        """Count an exchange that has ended."""
        self.exchanges += 1
        self.statuses[exchange.status] += 1
        self.end_reasons[exchange.end_reason] += 1
        self.bytes_in += exchange.bytes_in
        self.bytes_out += exchange.bytes_out
        if exchange.tries > 1:
            self.retries += exchange.tries - 1

    def summary(self) -> str:
        """Return one line for the end of a run."""
        reasons = ", ".join(f"{reason} {count}" for reason, count in self.end_reasons.most_common())
        return (
            f"{self.connections} connections, {self.exchanges} exchanges ({reasons or 'none'}), "
            f"{self.bytes_in} bytes in, {self.bytes_out} bytes out, {self.retries} retries"
        )
