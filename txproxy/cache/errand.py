"""What a fetch is for."""

from __future__ import annotations

from typing import Any, NamedTuple

from txproxy.cache.entry import END_OF_URL, Entry
from txproxy.policy.caching.cache_status import Forward
from txproxy.wire.fields import Field
from txproxy.wire.messages import RequestHead

Room = tuple[bytes, tuple[bytes, ...], bytes]
"""What is fetched once for all who want it: a primary key, and which variant as far as that is known before."""


class Errand(NamedTuple):
    """What a fetch is for."""

    room: Room
    asked: Any
    """What the first request means to the cache; see ``pipeline.asked``."""
    request: RequestHead
    """The first client's own; the backend may get another one."""
    why: Forward
    """Why a backend is asked."""
    requested_at: float
    """The moment, in seconds since the epoch."""
    entry: Entry | None = None
    """What is stale, and may turn out to hold still."""
    conditions: list[Field] = []  # noqa: RUF012 - never changed
    """By which a backend is asked whether it holds."""
    is_shared: bool = True
    """Others may join."""
    detail: bytes = b""
    """More of why, for Cache-Status."""

    @property
    def url(self) -> bytes:
        """What is fetched, whatever else its key holds."""
        return self.room[0].partition(END_OF_URL)[0]
