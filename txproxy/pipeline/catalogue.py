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
from txproxy.pipeline.forward import Forward
from txproxy.pipeline.screen import Screen


def _screen(settings: RouteSettings, config: Config) -> Screen:
    return Screen(config.proxy.via_name.encode(), settings.allow_dot_segments, settings.max_body_bytes)


STAGES: tuple[Callable[[RouteSettings, Config], Any], ...] = (_screen,)


def make_chain(route: Any, settings: RouteSettings, config: Config, clock: Callable[[], float]) -> Chain:
    """Return the chain of one route.

    :param clock: the monotonic clock, in seconds.
    """
    stages = [stage for make in STAGES if (stage := make(settings, config)) is not None]
    return Chain(stages, Forward(route, clock))
