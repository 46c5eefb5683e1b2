"""The stage that carries traces on, or begins them, and has spans recorded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from txproxy.exchange import Exchange
from txproxy.wire.trace_context import TraceParent, take_traceparent


class Span(NamedTuple):
    """The part of a trace that one exchange is."""

    own: TraceParent
    parent: TraceParent | None
    """Who has asked; None if the trace begins here."""


class Tracing:
    """Gives every request a ``traceparent``.

    A client's trace is gone on with, and recorded if the client says so; if spans are recorded, the backend is told of
    ours, else of the client's. Where there is none, or none that is valid, one begins.

    :param sample_ratio: part of the traces begun here that are recorded, 0 to 1.
    :param random: numbers from 0 to 1.
    :param random_bytes: given how many, returns them.
    :param record: takes exchanges that have ended and are to be recorded, each with its span; None: there are no spans.
    """

    def __init__(
        self,
        sample_ratio: float,
        random: Callable[[], float],
        random_bytes: Callable[[int], bytes],
        record: Callable[[Exchange, Span], None] | None,
    ) -> None:
        self._sample_ratio = sample_ratio
        self._random = random
        self._random_bytes = random_bytes
        self._record = record

    def on_request(self, exchange: Exchange) -> None:
        """Find out, or decide, which trace it belongs to."""
        request = exchange.request
        assert request is not None
        parent, fields = take_traceparent(request.fields)
        if parent is None:
            is_sampled = self._random() < self._sample_ratio
            own = TraceParent(self._id(16), self._id(8), is_sampled)
        elif self._record is None:
            own = parent
        else:
            own = TraceParent(parent.trace_id, self._id(8), parent.is_sampled)
        fields.append((b"Traceparent", own.write()))
        exchange.request = request.with_fields(fields)
        exchange.span = Span(own, parent)

    def _id(self, length: int) -> bytes:
        while not any(chosen := self._random_bytes(length)):
            pass  # One of zeros alone means none.
        return chosen.hex().encode()

    def on_end(self, exchange: Exchange) -> None:
        """Have a span recorded."""
        span: Any = getattr(exchange, "span", None)
        if self._record is not None and span is not None and span.own.is_sampled:
            self._record(exchange, span)
