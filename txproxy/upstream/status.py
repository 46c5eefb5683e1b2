"""What there is to know of a backend at one moment."""

from __future__ import annotations

from typing import NamedTuple


class LastCheck(NamedTuple):
    """How the last check of a backend ended."""

    at_s: float
    """Seconds since 1970."""
    passed: bool
    reason: str
    """Why it failed; empty if it passed."""
    took_s: float


class BackendStatus(NamedTuple):
    """One backend as it is now."""

    name: str
    entry: str
    """Its address in the configuration; the same as the name, but for servers that were found by the DNS."""
    state: str
    """``checking``, ``up``, ``down``, ``ejected``, ``trial``, ``draining`` or ``maintenance``."""
    since_s: float
    """When it came to this state, in seconds since 1970."""
    weight: int
    share: float
    """Part of its weight that it has by now, 0 to 1: less than 1 during a slow start."""
    backup: bool
    active: int
    """Requests that it was given and that have not ended, those that wait for a connection included."""
    queued: int
    """Requests that wait for a connection."""
    connections: int
    idle: int
    """Connections that carry nothing."""
    failures: int
    """Failed requests in a row."""
    ejections: int
    last_error: str
    last_check: LastCheck | None
