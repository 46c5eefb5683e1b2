"""Which stages there are, in the order in which a request passes them. This is the file to edit for a new stage.

A maker is called once per route, with the route's settings and the whole configuration, and returns its stage, or None
where the route has no need of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from txproxy.config.model import Config
from txproxy.config.route_model import Route as RouteSettings
from txproxy.pipeline.chain import Chain
from txproxy.pipeline.forward import Forward, ForwardTools
from txproxy.pipeline.screen import Screen
from txproxy.pipeline.sticky import Sticky


def _screen(settings: RouteSettings, config: Config) -> Screen:
    return Screen(config.proxy.via_name.encode(), settings.allow_dot_segments, settings.max_body_bytes)


def _sticky(settings: RouteSettings, config: Config) -> Sticky | None:
    # A function may choose any cluster.
    clusters = config.clusters.values() if settings.choose else (config.clusters[settings.cluster],)
    return Sticky() if any(cluster.sticky for cluster in clusters) else None


STAGES: tuple[Callable[[RouteSettings, Config], Any], ...] = (_screen, _sticky)


def make_chain(route: Any, settings: RouteSettings, config: Config, tools: ForwardTools) -> Chain:
    """Return the chain of one route."""
    stages = [stage for make in STAGES if (stage := make(settings, config)) is not None]
    return Chain(stages, Forward(route, tools))
