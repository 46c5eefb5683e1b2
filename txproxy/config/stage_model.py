"""``[stage.NAME]``: the settings of further stages, one table each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from txproxy.config.problems import Finding, shown
from txproxy.config.values import Ratio, Seconds, Section

_PACKAGES = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http.trace_exporter")


def _check_endpoint(text: str) -> str:
    scheme, found, rest = text.partition("://")
    host = rest.partition("/")[0]
    if text and (scheme not in ("http", "https") or not found or not host or not text.isascii() or " " in text):
        raise ValueError(f"{shown(text)} is not a URL (allowed: http://HOST:PORT/PATH, https://HOST:PORT/PATH)")
    return text


class Tracing(Section):
    """``[stage.tracing]``: W3C Trace Context, and spans for OpenTelemetry."""

    endpoint: Annotated[str, AfterValidator(_check_endpoint)] = Field(
        default="",
        description="URL that spans are sent to by OTLP over HTTP, as http://127.0.0.1:4318/v1/traces; empty: none are "
        "made. Needs the packages of txproxy[otel].",
    )
    sample_ratio: Ratio = Field(
        default=0.1,
        description="Part of the traces begun here that are recorded, 0 to 1; others are as their clients say.",
    )
    service_name: str = Field(default="txproxy", min_length=1, description="What spans call this proxy.")
    timeout_s: Seconds = Field(default=5.0, description="Seconds that sending spans may take; then they are lost.")


class Stages(Section):
    """``[stage]``: stages that are off unless they have a table."""

    tracing: Tracing | None = Field(default=None, description="Traces across services; none if omitted.")


def check_stages(raw: Mapping[str, object]) -> Iterator[Finding]:
    """Yield a finding for every stage that needs what is not installed.

    :param raw: the configuration in the shape of TOML, of any types.
    """
    stages: Any = raw.get("stage")
    tracing = stages.get("tracing") if isinstance(stages, Mapping) else None
    if isinstance(tracing, Mapping) and tracing.get("endpoint") and not has_opentelemetry():
        missing = "needs packages that are not installed (pip install txproxy[otel])"
        yield Finding(("stage", "tracing", "endpoint"), missing)


def has_opentelemetry() -> bool:
    """Return whether spans can be exported."""
    try:
        return all(find_spec(name) is not None for name in _PACKAGES)
    except ImportError:
        return False
