"""Spans for OpenTelemetry: made and sent by threads of its own, so that no request waits for them.

The packages are an extra, so nothing of them is imported before a configuration asks for spans.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from txproxy._version import __version__
from txproxy.exchange import NOT_YET, Exchange
from txproxy.observe.log import Logger

log = Logger()

_MOST_WAITING = 2048
"""Spans; more are lost, and that is all."""
_BATCH = 512
_EVERY_MS = 1000.0
_NS = 1e9
_QUIET_S = 60.0
_METHODS = frozenset((b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"TRACE", b"CONNECT"))


class SpanSettings(NamedTuple):
    """Where spans go; see ``[stage.tracing]``."""

    endpoint: str
    service_name: str
    timeout_s: float


class Complaints(logging.Handler):
    """Takes what OpenTelemetry logs, and says some of it in the log of the proxy: a line in a minute.

    :param clock: the monotonic clock, in seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(logging.WARNING)
        self._clock = clock
        self._quiet_until = float("-inf")

    def emit(self, record: logging.LogRecord) -> None:
        """Say why spans are lost; called from any thread."""
        now = self._clock()
        if now >= self._quiet_until:
            self._quiet_until = now + _QUIET_S
            log.warn("spans: {said}", said=" ".join(record.getMessage().split())[:300])


def hear(clock: Callable[[], float]) -> Complaints:
    """Have what OpenTelemetry logs come to the log of the proxy, instead of standard error."""
    theirs = logging.getLogger("opentelemetry")
    theirs.propagate = False
    for handler in theirs.handlers:
        if isinstance(handler, Complaints):
            return handler
    complaints = Complaints(clock)
    theirs.addHandler(complaints)
    return complaints


class Spans:
    """Records exchanges that have ended.

    :param settings: see there.
    :param wall_clock: seconds since 1970.
    :param clock: the monotonic clock, in seconds.
    :param exporter: sends spans: a ``SpanExporter`` of OpenTelemetry; by OTLP if omitted.
    :raises ImportError: if the packages of ``txproxy[otel]`` are not installed.
    """

    def __init__(
        self,
        settings: SpanSettings,
        wall_clock: Callable[[], float],
        clock: Callable[[], float],
        exporter: Any = None,
    ) -> None:
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk import trace as sdk
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope

        self.settings = settings
        self._wall_clock = wall_clock
        self._clock = clock
        self._api: Any = trace
        self._make: Any = sdk.ReadableSpan
        self._resource = Resource.create(
            {"service.name": settings.service_name, "service.version": __version__.public()}
        )
        self._scope = InstrumentationScope("txproxy", __version__.public())
        # Its retries are a part of the timeout.
        exporter = exporter or OTLPSpanExporter(endpoint=settings.endpoint, timeout=settings.timeout_s)
        self._make_processor = partial(
            BatchSpanProcessor,
            exporter,
            max_queue_size=_MOST_WAITING,
            schedule_delay_millis=_EVERY_MS,
            max_export_batch_size=_BATCH,
            export_timeout_millis=settings.timeout_s * 1000,
        )
        self._is_stopped = False
        self._processor: Any = None
        """Has a thread: there is none before the first span, for a configuration may come to nothing."""

    def record(self, exchange: Exchange, span: Any) -> None:
        """Record an exchange.

        :param span: which part of which trace it is; see ``txproxy.pipeline.tracing``.
        """
        api = self._api
        offset_s = self._wall_clock() - self._clock()
        if self._processor is None:
            if self._is_stopped:
                return  # Of an exchange that has outlived its configuration.
            hear(self._clock)
            self._processor = self._make_processor()
        has_failed = exchange.status >= 500 or (exchange.error is not None and exchange.end_reason != "client-left")
        self._processor.on_end(
            self._make(
                name=_name_of(exchange),
                context=self._context(span.own, False),
                parent=None if span.parent is None else self._context(span.parent, True),
                resource=self._resource,
                attributes=attributes_of(exchange),
                kind=api.SpanKind.SERVER,
                status=api.Status(api.StatusCode.ERROR, exchange.end_reason) if has_failed else api.Status(),
                start_time=int((exchange.started_at + offset_s) * _NS),
                end_time=int((exchange.ended_at + offset_s) * _NS),
                instrumentation_scope=self._scope,
            )
        )

    def _context(self, place: Any, is_remote: bool) -> Any:
        flags = self._api.TraceFlags(1 if place.is_sampled else 0)
        return self._api.SpanContext(int(place.trace_id, 16), int(place.span_id, 16), is_remote, flags)

    def stop(self, patience_s: float = 0.0) -> None:
        """Send what is left, and then no more.

        :param patience_s: how long to wait for that; the rest is done by a thread that the process does not wait for.
        """
        self._is_stopped = True
        if self._processor is None:
            return
        stopping = threading.Thread(target=self._processor.shutdown, name="txproxy-spans", daemon=True)
        stopping.start()
        stopping.join(patience_s)


def _name_of(exchange: Exchange) -> str:
    """Return the name of a span: of few values, as OpenTelemetry wants it."""
    method = b"HTTP" if exchange.request is None else exchange.request.method
    shown = method.decode("latin-1") if method in _METHODS else "HTTP"
    return shown if exchange.route is None else f"{shown} {exchange.route.name}"


def attributes_of(exchange: Exchange) -> dict[str, str | int | float]:
    """Return what a span says of its exchange, by the names of OpenTelemetry's conventions as far as it has any."""
    request = exchange.request
    found: dict[str, str | int | float] = {
        "client.address": exchange.client_address,
        "http.response.status_code": exchange.status,
        "http.request.body.size": exchange.bytes_in,
        "http.response.body.size": exchange.bytes_out,
        "txproxy.end": exchange.end_reason,
        "txproxy.request_id": exchange.id.decode("latin-1"),
        "txproxy.tries": exchange.tries,
    }
    if request is not None:
        path, _, query = request.target.decode("latin-1").partition("?")
        found |= {
            "http.request.method": request.method.decode("latin-1"),
            "network.protocol.version": request.version.decode("latin-1"),
            "server.address": request.hostname.decode("latin-1"),
            "url.path": path,
        }
        if query:
            found["url.query"] = query
    if exchange.route is not None:
        found["http.route"] = exchange.route.name
    if exchange.cluster is not None:
        found["txproxy.cluster"] = exchange.cluster.name
    if exchange.cache:
        found["txproxy.cache"] = exchange.cache.decode("latin-1")
    if exchange.backend is not None:
        found["txproxy.backend"] = exchange.backend_names()
        if exchange.replied_at != NOT_YET:
            queue, connect, first_byte, _, _ = exchange.timings()
            found |= {"txproxy.queue_s": queue, "txproxy.connect_s": connect, "txproxy.first_byte_s": first_byte}
    return found
