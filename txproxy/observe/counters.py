"""Counts of what the proxy did: plain numbers, read when somebody asks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from txproxy.exchange import Exchange
from txproxy.wire.fields import UNDERSCORE


class TlsCounters:
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


class Counters:
    """Numbers since the start."""

    __slots__ = (
        "accept_pauses",
        "bytes_in",
        "bytes_out",
        "connections",
        "http2_failures",
        "log_lines_lost",
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
        self.tls = TlsCounters()

    def ended(self, exchanges: Sequence[Exchange]) -> None:
        """Count exchanges that have ended."""
        status, end_reason, count = 0, "", 0
        bytes_in = bytes_out = 0
        for exchange in exchanges:
            # Most have the same outcome as the one before.
            if exchange.status != status or exchange.end_reason != end_reason:
                if count:
                    self.outcomes[status, end_reason] += count
                status, end_reason, count = exchange.status, exchange.end_reason, 0
            count += 1
            bytes_in += exchange.bytes_in
            bytes_out += exchange.bytes_out
            if exchange.tries > 1:
                self.retries += exchange.tries - 1
            request = exchange.request
            if request is not None and UNDERSCORE in request.known and exchange.route is not None:
                self.underscores_dropped += not exchange.route.request_rules.allow_underscores
        if count:
            self.outcomes[status, end_reason] += count
        self.bytes_in += bytes_in
        self.bytes_out += bytes_out

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
