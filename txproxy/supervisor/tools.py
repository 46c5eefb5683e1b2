"""What a supervisor is made with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from txproxy.assembly import Clocks
from txproxy.config.model import Config
from txproxy.reload import Source
from txproxy.supervisor.sockets import Given


class SupervisorTools(NamedTuple):
    """What a supervisor needs."""

    reactor: Any
    """Provides IReactorCore and IReactorTime."""
    launcher: Any
    """See ``member.Launcher``."""
    count: Callable[[Config], int]
    """Says how many workers a configuration wants."""
    source: Source | None = None
    """Where the configuration came from; None if it cannot be read again."""
    given: Given | None = None
    """Has listening sockets that need not be bound."""
    clocks: Clocks = Clocks()
