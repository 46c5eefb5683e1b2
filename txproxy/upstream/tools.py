"""What connections to backends are given: their patience, and what all of them share."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from txproxy.policy.deadlines import Deadlines
from txproxy.wire.parsers import ReplyParser

MOST_INTERIM_REPLIES = 100
"""A backend that sends more before one final reply is not going to send it."""


class UpstreamTimeouts(NamedTuple):
    """How long a backend may take, in seconds; see the configuration's ``timeouts`` and ``pool`` sections."""

    first_byte_s: float = 60
    between_bytes_s: float = 60
    stream_s: float = 3600
    """Instead of the last, for event streams and gRPC."""
    idle_s: float = 30
    """How long a connection may stay without an exchange."""
    tunnel_idle_s: float = 3600
    """How long nothing may go through a tunnel, either way."""
    tunnel_max_s: float = 0
    """How long a tunnel may last; 0 for no limit."""


class UpstreamTools(NamedTuple):
    """What all connections to backends share."""

    clock: Callable[[], float]
    deadlines: Deadlines
    parser: ReplyParser
