"""Traces are gone on with, or begun, and recorded."""

from __future__ import annotations

import logging
import sys
import threading
from typing import Any
from unittest.mock import patch

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from txproxy.config.load import ConfigError, load_text
from txproxy.config.stage_model import has_opentelemetry
from txproxy.errors import ReplyCut
from txproxy.observe.spans import Spans, SpanSettings, attributes_of, hear
from txproxy.pipeline.tracing import Span, Tracing
from txproxy.test.config.helpers import MINIMAL
from txproxy.test.observe.test_access_log import exchange, unreadable
from txproxy.test.talk import GET, OK, TalkCase, request
from txproxy.test.upstream.observing import logged
from txproxy.wire.trace_context import TraceParent, take_traceparent

_TRACE, _SPAN = b"4bf92f3577b34da6a3ce929d0e0e4736", b"00f067aa0ba902b7"
_PARENT = TraceParent(_TRACE, _SPAN, True)
_NO_OTEL = "" if has_opentelemetry() else "txproxy[otel] is not installed"


class ForwardingTests(TalkCase):
    """What backends are told."""

    def forwarded(self, says: bytes, **settings: Any) -> tuple[TraceParent | None, list[tuple[bytes, bytes]]]:
        """Return what a backend gets to know of a client's trace, and the other fields."""
        rest = "\n".join(["[stage.tracing]", *(f"{key} = {value}" for key, value in settings.items())])
        proxy = self.proxy(rest=rest)
        client = proxy.client()
        client.says(says)
        backend = proxy.backend()
        fields = backend.gets_head().fields
        backend.says(OK)
        self.assertStatus(client, 200)
        return take_traceparent(fields)

    def test_off(self) -> None:
        """Without the stage a client's fields go on like all others, and nothing is added."""
        proxy = self.proxy()
        client = proxy.client()
        client.says(request(b"GET / HTTP/1.1", b"traceparent: what ever"))
        backend = proxy.backend()
        self.assertIn((b"traceparent", b"what ever"), backend.gets_head().fields)
        backend.says(OK)
        self.assertStatus(client, 200)

    def test_kept(self) -> None:
        """A trace of the client's goes on as it is, if no spans are recorded here."""
        says = request(b"GET / HTTP/1.1", b"Traceparent: " + _PARENT.write(), b"Tracestate: a=1", b"Tracestate: b=2")
        parent, fields = self.forwarded(says)
        self.assertEqual(parent, _PARENT)
        self.assertEqual([value for name, value in fields if name == b"Tracestate"], [b"a=1", b"b=2"])

    def test_begun(self) -> None:
        """Where there is none, or none that is valid, one begins."""
        for more in ((), (b"traceparent: junk", b"tracestate: a=1")):
            for ratio, is_sampled in ((1.0, True), (0.0, False)):
                parent, fields = self.forwarded(request(b"GET / HTTP/1.1", *more), sample_ratio=ratio)
                assert parent is not None
                self.assertEqual(parent.is_sampled, is_sampled)
                self.assertNotIn(b"tracestate", [name.lower() for name, _ in fields])

    def test_eachItsOwn(self) -> None:
        """Equal requests have different traces."""
        proxy = self.proxy(rest="[stage.tracing]")
        client = proxy.client()
        seen = set()
        backend = None
        for _ in range(3):
            client.says(GET)
            backend = backend or proxy.backend()
            parent, _fields = take_traceparent(backend.gets_head().fields)
            seen.add(parent)
            backend.says(OK)
            self.assertStatus(client, 200)
        self.assertEqual((len(seen), None in seen), (3, False))


class StageTests(SynchronousTestCase):
    """Whose span is told, and what is recorded."""

    def setUp(self) -> None:
        self.recorded: list[Any] = []
        self.chosen = [b"\0" * 16, b"\1" * 16, b"\2" * 8]

    def pass_by(self, made: Any, chance: float = 0.5) -> TraceParent | None:
        stage = Tracing(0.4, lambda: chance, lambda _: self.chosen.pop(0), lambda *args: self.recorded.append(args))
        stage.on_request(made)
        stage.on_end(made)
        return take_traceparent(made.request.fields)[0]

    def test_ours(self) -> None:
        """If spans are recorded, the backend's parent is ours, in the client's trace; never one of zeros."""
        made = exchange(b"GET / HTTP/1.1\r\nHost: a\r\ntraceparent: " + _PARENT.write() + b"\r\n\r\n")
        self.chosen = [b"\0" * 8, b"\3" * 8]
        told = self.pass_by(made)
        self.assertEqual(told, TraceParent(_TRACE, b"03" * 8, True))
        self.assertEqual(self.recorded, [(made, Span(told, _PARENT))])  # type: ignore[arg-type]

    def test_sampled(self) -> None:
        """A trace that begins here is recorded by chance, one of a client's as the client says."""
        made = exchange()
        told = self.pass_by(made, 0.3)
        self.assertEqual(told, TraceParent(b"01" * 16, b"02" * 8, True))
        self.assertEqual(self.recorded, [(made, Span(told, None))])  # type: ignore[arg-type]
        self.recorded.clear()
        self.chosen = [b"\1" * 16, b"\2" * 8, b"\3" * 8]
        self.pass_by(exchange(), 0.5)
        unsampled = _PARENT._replace(is_sampled=False)
        self.pass_by(exchange(b"GET / HTTP/1.1\r\nHost: a\r\ntraceparent: " + unsampled.write() + b"\r\n\r\n"), 0.0)
        self.assertEqual(self.recorded, [])

    def test_neverBegan(self) -> None:
        """An exchange that no stage has seen has no span."""
        stage = Tracing(1.0, lambda: 0.0, bytes, lambda *args: self.recorded.append(args))
        stage.on_end(unreadable())
        self.assertEqual(self.recorded, [])


class _Exporter:
    """Stands for what sends spans."""

    def __init__(self) -> None:
        self.spans: list[Any] = []

    def export(self, spans: Any) -> Any:
        self.spans += spans
        from opentelemetry.sdk.trace.export import SpanExportResult

        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        pass

    def force_flush(self, timeout_millis: int = 0) -> bool:
        return True


class SpansTests(TestCase):
    """What is recorded."""

    skip = _NO_OTEL or None

    def recorded(self, *spans: tuple[Any, Span]) -> list[Any]:
        exporter = _Exporter()
        made = Spans(SpanSettings("http://x", "edge", 1.0), lambda: 1010.0, lambda: 10.0, exporter)
        for each in spans:
            made.record(*each)
        made.stop(10.0)
        return exporter.spans

    def test_threads(self) -> None:
        """There is one from the first span on, not before: a configuration may come to nothing. After the end none is made."""
        before = threading.active_count()
        made = Spans(SpanSettings("http://x", "edge", 1.0), lambda: 1010.0, lambda: 10.0, _Exporter())
        self.assertEqual(threading.active_count(), before)
        made.stop(10.0)
        made.record(exchange(), Span(TraceParent(_TRACE, b"12" * 8, True), None))
        self.assertEqual(threading.active_count(), before)

    def test_span(self) -> None:
        """A span has its place in the trace, its times by the clock, and what it was."""
        own = TraceParent(_TRACE, b"12" * 8, True)
        (span,) = self.recorded((exchange(), Span(own, _PARENT)))
        self.assertEqual((span.context.trace_id, span.context.span_id), (int(_TRACE, 16), int(b"12" * 8, 16)))
        self.assertEqual((span.parent.span_id, span.parent.is_remote), (int(_SPAN, 16), True))
        self.assertEqual((span.start_time, span.end_time), (1010 * 10**9, 1010 * 10**9 + 500_000_000))
        self.assertEqual((span.name, span.kind.name, span.status.status_code.name), ("GET api", "SERVER", "UNSET"))
        self.assertEqual(span.resource.attributes["service.name"], "edge")
        self.assertEqual((span.attributes["url.path"], span.attributes["url.query"]), ("/a", "b=c"))
        self.assertEqual(span.attributes["http.response.status_code"], 200)

    def test_failed(self) -> None:
        """What went wrong is an error with its reason; one without a request is one too."""
        failed = exchange()
        failed.failed(ReplyCut())
        failed.end_reason = "reply-cut"
        spans = self.recorded(*((each, Span(_PARENT, None)) for each in (failed, unreadable())))
        self.assertEqual((spans[0].status.status_code.name, spans[0].status.description), ("ERROR", "reply-cut"))
        self.assertEqual((spans[1].name, spans[1].parent), ("HTTP", None))

    def test_strangeMethods(self) -> None:
        """Names of spans have few values, whatever clients send."""
        (span,) = self.recorded(
            (exchange(b"X-AB HTTP HTTP/1.1\r\nHost: a\r\n\r\n".replace(b" HTTP ", b" / ")), Span(_PARENT, None))
        )
        self.assertEqual((span.name, span.attributes["http.request.method"]), ("HTTP api", "X-AB"))

    def test_attributes(self) -> None:
        """Attributes say where it went and how long that took."""
        found = attributes_of(exchange())
        self.assertEqual((found["txproxy.backend"], found["txproxy.tries"]), ("10.0.0.2:80,10.0.0.1:80", 2))
        self.assertAlmostEqual(float(found["txproxy.first_byte_s"]), 0.0115)


class ComplaintsTests(SynchronousTestCase):
    """What OpenTelemetry logs."""

    def test_aLineInAMinute(self) -> None:
        """It comes to the log of the proxy, on one line, once in a while, and nowhere else."""
        clock = Clock()
        theirs = logging.getLogger("opentelemetry")
        self.patch(theirs, "handlers", [])  # Another test may have had its complaints heard.
        self.patch(theirs, "propagate", True)
        complaints = hear(clock.seconds)
        self.assertIs(hear(clock.seconds), complaints)
        with logged() as lines:
            for _ in range(3):
                logging.getLogger("opentelemetry.exporter").warning("cannot %s\nat all", "export")
            self.assertEqual(lines, ["spans: cannot export at all"])
            clock.advance(61)
            logging.getLogger("opentelemetry.sdk").error("again")
        self.assertEqual(lines[1:], ["spans: again"])
        self.assertFalse(theirs.propagate)


class SettingsTests(SynchronousTestCase):
    """``[stage.tracing]``."""

    def errors(self, text: str) -> str:
        return str(self.assertRaises(ConfigError, load_text, MINIMAL + text, "f", {}))

    def test_defaults(self) -> None:
        """It is off unless it has a table, and sends nothing unless it is told where."""
        self.assertIsNone(load_text(MINIMAL).config.stage.tracing)
        tracing = load_text(MINIMAL + "[stage.tracing]\n").config.stage.tracing
        assert tracing is not None
        self.assertEqual((tracing.endpoint, tracing.sample_ratio), ("", 0.1))

    def test_errors(self) -> None:
        """Stages that nobody knows, and values that are not valid, are refused."""
        self.assertIn("stage.tracng: unknown key (did you mean 'tracing'?)", self.errors("[stage.tracng]\n"))
        self.assertIn("stage.limit: unknown key (allowed: tracing)", self.errors("[stage.limit]\nrate = 1\n"))
        self.assertIn("stage.tracing.ratio: unknown key", self.errors("[stage.tracing]\nratio = 1\n"))
        self.assertIn("is out of range", self.errors("[stage.tracing]\nsample_ratio = 1.5\n"))
        self.assertIn('"x:1" is not a URL', self.errors("[stage.tracing]\nendpoint = 'x:1'\n"))

    def test_notInstalled(self) -> None:
        """Who wants spans without the packages for them is told which to install, at the line."""
        text = "[stage.tracing]\nendpoint = 'http://127.0.0.1:4318/v1/traces'\n"
        with patch.dict(sys.modules, {"opentelemetry.sdk.trace": None, "opentelemetry": None}):
            error = self.errors(text)
        self.assertIn("f:12: stage.tracing.endpoint: needs packages that are not installed", error)
        self.assertIn("pip install txproxy[otel]", error)
