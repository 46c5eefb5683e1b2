"""What a worker is given when it is forked."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from txproxy.config.address import Address
from txproxy.config.model import Config
from txproxy.supervisor.memory import Order, Verdict

MakeProxy = Callable[..., Any]
"""Given a configuration, the reactor, users' functions and what has listening sockets, returns a proxy: a
``ProxyService``."""


class Place(NamedTuple):
    """The place of one worker among the others."""

    number: int
    """From 0. The sockets belong to the number, whoever has it."""
    config: Config
    functions: Mapping[str, Callable[..., Any]]
    load: Callable[[], Any] | None
    """Reads the configuration anew; None if it came from no file."""
    sockets: list[tuple[Address, socket.socket]]
    """Its own, in the order of the listeners."""
    tls: Mapping[str, Any]
    """A ``SharedTls`` for each section."""
    is_checking: bool
    """It is the one that checks backends."""
    verdicts: list[Verdict]
    """What the others know of backends."""
    orders: list[Order]
    """What the operator wants of them."""
    level: str
    """What the operator wants of the application log; empty for what the configuration says."""
    log_file: Any
    """The application log, if it is ours."""
    close_others: Callable[[], None]
    """Closes the sockets of the supervisor and of other workers, in the worker's process."""

    @property
    def name(self) -> str:
        """What it is called in the log."""
        return f"worker {self.number + 1}"


def shared_out(config: Config, workers: int) -> Config:
    """Return what a configuration means for each of several workers: its share of what is for all of them together.

    :param workers: how many there are.
    """
    most = -(-config.proxy.max_connections // workers)
    proxy = config.proxy.model_copy(update={"max_connections": most})
    # Operators are attended to by the supervisor.
    return config.model_copy(update={"proxy": proxy, "admin": None})
