"""Joins what belongs to traces: the stage that all routes share, and who records spans."""

from __future__ import annotations

import os
from typing import Any

from txproxy.config.model import Config
from txproxy.config.problems import ConfigError, Problem
from txproxy.observe.spans import Spans, SpanSettings
from txproxy.pipeline.tracing import Tracing

LAST_SPANS_S = 1.0
"""How long a stop waits until what is left is sent."""


def make_tracing(config: Config, clocks: Any, before: Spans | None) -> tuple[Spans | None, Tracing | None]:
    """Return who records spans, and the stage; None if they are not wanted.

    :param clocks: where time and chance come from.
    :param before: who has recorded them so far: the same, if the settings are.
    :raises ConfigError: if packages are needed that are not installed.
    """
    tracing = config.stage.tracing
    if tracing is None:
        return None, None
    spans = None
    if tracing.endpoint:
        settings = SpanSettings(tracing.endpoint, tracing.service_name, tracing.timeout_s)
        spans = before if before is not None and before.settings == settings else _spans(settings, clocks)
    record = None if spans is None else spans.record
    return spans, Tracing(tracing.sample_ratio, clocks.random, os.urandom, record)


def _spans(settings: SpanSettings, clocks: Any) -> Spans:
    try:
        return Spans(settings, clocks.wall, clocks.monotonic)
    except ImportError as error:
        missing = f"needs packages that are not installed (pip install txproxy[otel]): {error}"
        raise ConfigError((Problem("configuration", 0, "stage.tracing.endpoint", missing),)) from None
