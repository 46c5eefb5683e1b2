"""Spans go to a collector by OTLP, and no request waits for it."""

from __future__ import annotations

import time
from typing import Any

import pytest

from .helpers import get
from .peers import Backend, BlackHole, ProxyProcess, config_for, fixed, unused_port, wait_for

pytest.importorskip("opentelemetry.exporter.otlp.proto.http")

_PARENT = "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7"


def _stage(place: str, more: str = "") -> str:
    return f'[stage.tracing]\nendpoint = "http://{place}/v1/traces"\nsample_ratio = 1\n{more}\n'


def _spans(collector: Backend) -> list[Any]:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    found = []
    for request in collector.requests:
        message = ExportTraceServiceRequest.FromString(request.body)
        found += [span for resource in message.resource_spans for scope in resource.scope_spans for span in scope.spans]
    return found


def test_spans_reach_a_collector() -> None:
    """Each request is a span; its backend's parent is that span, in the trace of its client."""
    with Backend() as backend, Backend(fixed(body=b"")) as collector:
        with ProxyProcess(config_for(backend.address, more=_stage(collector.address))) as proxy:
            get(proxy.port, "/a?b=c", fields=f"traceparent: 00-{_PARENT}-01\r\ntracestate: v=1\r\n")
            get(proxy.port, "/unsampled", fields=f"traceparent: 00-{_PARENT}-00\r\n")
            get(proxy.port, "/begun")
            wait_for(lambda: len(_spans(collector)) >= 2, "two spans")
        first, second, third = backend.requests
        assert first.value(b"tracestate") == b"v=1"
        spans = {
            next(each.value.string_value for each in span.attributes if each.key == "url.path"): span
            for span in _spans(collector)
        }
        assert set(spans) == {"/a", "/begun"}
        trace_id, parent_id = _PARENT.split("-")
        assert (spans["/a"].trace_id.hex(), spans["/a"].parent_span_id.hex()) == (trace_id, parent_id)
        for request, span in ((first, spans["/a"]), (third, spans["/begun"])):
            told = f"00-{span.trace_id.hex()}-{span.span_id.hex()}-01"
            assert (request.value(b"traceparent") or b"").decode() == told
        assert spans["/begun"].parent_span_id == b""
        assert abs(spans["/begun"].start_time_unix_nano / 1e9 - time.time()) < 60
        assert (second.value(b"traceparent") or b"").startswith(b"00-" + trace_id.encode())


def test_the_last_spans_are_sent_before_the_end() -> None:
    """A stop sends what was recorded just before."""
    with Backend() as backend, Backend(fixed(body=b"")) as collector:
        with ProxyProcess(config_for(backend.address, more=_stage(collector.address))) as proxy:
            get(proxy.port, "/")
        assert len(_spans(collector)) == 1


@pytest.mark.parametrize("kind", ["refuses", "silent"])
def test_no_collector(kind: str) -> None:
    """Where nobody takes spans, requests are served all the same, and a stop does not wait for them."""
    with Backend() as backend, BlackHole() as hole:
        place = f"127.0.0.1:{unused_port()}" if kind == "refuses" else hole.address
        with ProxyProcess(config_for(backend.address, more=_stage(place, "timeout_s = 30"))) as proxy:
            begun = time.monotonic()
            for _ in range(50):
                assert get(proxy.port).status == 200
            time.sleep(1.5)  # By now spans are on their way.
            assert get(proxy.port).status == 200
            assert time.monotonic() - begun < 20
