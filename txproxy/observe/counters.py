"""Counts of what the proxy did: plain numbers, read when somebody asks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from txproxy.exchange import Exchange, Passage
from txproxy.observe.figures import MOST_ERRORS, Figures, is_bad, last_error
from txproxy.observe.loop_lag import LoopLag
from txproxy.wire.fields import UNDERSCORE


class _Numbers:
    """Has its numbers told to another process, by flat names: ``connections``, ``outcomes|200|ok``, ``tls|resumed``."""

    __slots__: tuple[str, ...] = ()

    def numbers(self) -> dict[str, int]:
        """Return all numbers that are not 0, by their names."""
        found: dict[str, int] = {}
        for name in self.__slots__:
            value = getattr(self, name)
            if isinstance(value, Counter):
                for key, count in value.items():
                    parts = key if isinstance(key, tuple) else (key,)
                    found["|".join((name, *map(str, parts)))] = count
            elif isinstance(value, _Numbers):
                found |= {f"{name}|{key}": count for key, count in value.numbers().items()}
            elif isinstance(value, Figures | LoopLag):
                found |= value.numbers()
            elif value:
                found[name] = value
        return found

    def take(self, numbers: Mapping[str, int]) -> None:
        """Add what ``numbers`` has returned elsewhere; names that mean nothing here are left out."""
        for name, count in numbers.items():
            first, _, rest = name.partition("|")
            value = getattr(self, first) if first in self.__slots__ else None
            if isinstance(value, _Numbers):
                value.take({rest: count})
            elif isinstance(value, Counter) and rest:
                value[self._key(first, rest)] += count
            elif isinstance(value, int) and not rest:
                setattr(self, first, value + count)

    def _key(self, _name: str, text: str) -> Any:
        return text


class TlsCounters(_Numbers):
    """Numbers about TLS towards clients since the start."""

    __slots__ = (
        "expiry_warnings",
        "failed_reloads",
        "failures",
        "handshakes",
        "refused_pairs",
        "reloads",
        "resumed",
    )

    def __init__(self) -> None:
        self.handshakes = 0
        """Complete ones."""
        self.resumed = 0
        """Of these, those that went on with an earlier session."""
        self.failures: Counter[str] = Counter()
        """Handshakes that came to nothing, by cause: ``peer``, ``ours``, ``network`` or ``timeout``."""
        self.reloads = 0
        """How often certificates were replaced while serving."""
        self.failed_reloads = 0
        """How often a changed certificate was refused, and the one before it kept."""
        self.refused_pairs = 0
        """Certificates that were refused at the start."""
        self.expiry_warnings = 0
        """How often it was said that a certificate ends soon, or has ended."""

    def summary(self) -> str:
        """Return one line for the end of a run."""
        failed = ", ".join(f"{cause} {count}" for cause, count in self.failures.most_common())
        return (
            f"{self.handshakes} TLS handshakes, {self.resumed} of them resumed; failed: {failed or 'none'}; "
            f"certificates: {self.refused_pairs} refused, {self.reloads} reloads, "
            f"{self.failed_reloads} refused when they changed, {self.expiry_warnings} expiry warnings"
        )


class Counters(_Numbers):
    """Numbers since the start."""

    __slots__ = (
        "accept_pauses",
        "bytes_in",
        "bytes_out",
        "connections",
        "figures",
        "http2_failures",
        "log_lines_lost",
        "loop_lag",
        "outcomes",
        "proxy_failures",
        "refused_per_ip",
        "retries",
        "tls",
        "underscores_dropped",
    )

    def __init__(self) -> None:
        self.connections = 0
        self.http2_failures: Counter[str] = Counter()
        """Connections of HTTP/2 that were ended by a connection error, by its code, as ``protocol_error``."""
        self.proxy_failures: Counter[str] = Counter()
        """Connections that were closed for want of a valid PROXY header, or of a peer who may send one, by the end
        reason: ``bad-proxy-header`` or ``untrusted-proxy``."""
        self.outcomes: Counter[tuple[int, str]] = Counter()
        """Exchanges by status and end reason."""
        self.bytes_in = 0
        self.bytes_out = 0
        self.retries = 0
        self.accept_pauses = 0
        self.refused_per_ip = 0
        self.underscores_dropped = 0
        """Requests with fields that were left out for the underscore in their names."""
        self.log_lines_lost = 0
        self.figures = Figures()
        """Of each route and of each cluster."""
        self.loop_lag = LoopLag()
        self.tls = TlsCounters()

    def _key(self, name: str, text: str) -> Any:
        if name != "outcomes":
            return text
        status, _, reason = text.partition("|")
        return (int(status) if status.isdecimal() else 0, reason)

    def ended(self, exchanges: Sequence[Exchange]) -> None:
        """Count exchanges that have ended."""
        groups: dict[tuple[int, str, Any, Any], list[Exchange]] = {}
        status, end_reason = -1, ""
        route = cluster = None
        group: list[Exchange] = []
        for exchange in exchanges:
            # Most have the same outcome as the one before.
            if (
                exchange.status != status
                or exchange.end_reason != end_reason
                or exchange.route is not route
                or exchange.cluster is not cluster
            ):
                key = status, end_reason, route, cluster = (
                    exchange.status,
                    exchange.end_reason,
                    exchange.route,
                    exchange.cluster,
                )
                group = groups.setdefault(key, [])
            group.append(exchange)
        for (status, end_reason, route, cluster), group in groups.items():
            self.outcomes[status, end_reason] += len(group)
            self._ended(group, status, end_reason, route, cluster)

    def _ended(self, group: list[Exchange], status: int, end_reason: str, route: Any, cluster: Any) -> None:
        """Count exchanges that are alike in all this."""
        figures = self.figures
        bytes_in = sum([exchange.bytes_in for exchange in group])
        bytes_out = sum([exchange.bytes_out for exchange in group])
        self.bytes_in += bytes_in
        self.bytes_out += bytes_out
        is_passage = isinstance(group[0], Passage)
        if not is_passage:
            of_route = figures.of_route(route)
            of_route.bytes_in += bytes_in
            of_route.bytes_out += bytes_out
            of_route.ended(group, status)
        if cluster is not None:
            self.retries += figures.of_cluster(cluster).ended(group, end_reason, is_passage)
        if route is not None and not route.request_rules.allow_underscores:
            self.underscores_dropped += len([1 for exchange in group if UNDERSCORE in exchange.request.known])  # type: ignore[union-attr]
        if end_reason != "ok":
            for exchange in group[-MOST_ERRORS:]:
                if is_bad(exchange):
                    figures.errors.append(last_error(exchange))

    def summary(self) -> str:
        """Return one line for the end of a run."""
        ends: Counter[str] = Counter()
        for (_, reason), count in self.outcomes.items():
            ends[reason] += count
        reasons = ", ".join(f"{reason} {count}" for reason, count in ends.most_common())
        return (
            f"{self.connections} connections, {ends.total()} exchanges ({reasons or 'none'}), "
            f"{self.bytes_in} bytes in, {self.bytes_out} bytes out, {self.retries} retries"
        )
