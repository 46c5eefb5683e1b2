"""Whether there is a supervisor, and how many workers it has."""

from __future__ import annotations

import os

from txproxy.config.model import Config


def workers_of(config: Config) -> int:
    """Return how many processes are to serve: as many as the configuration says, or one for each core."""
    if config.proxy.workers:
        return config.proxy.workers
    affinity = getattr(os, "sched_getaffinity", None)
    return os.cpu_count() or 1 if affinity is None else len(affinity(0))


def is_supervised(config: Config) -> bool:
    """Return whether those who serve are other processes than the one that is started.

    They are if they are several; and if they become another user, for the one who binds ports has to stay root.
    """
    becomes_another = bool(config.proxy.user or config.proxy.group) and os.geteuid() == 0
    return workers_of(config) > 1 or becomes_another
