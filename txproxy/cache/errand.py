"""What a fetch is for."""

from __future__ import annotations

from typing import Any, NamedTuple

from txproxy.cache.entry import Entry
from txproxy.policy.caching.cache_status import Forward
from txproxy.policy.caching.key import url_in
from txproxy.policy.caching.validation import without_conditions
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
    """By which a backend is asked whether it holds; none where that cannot be asked, or was in vain."""
    is_shared: bool = True
    """Others may join."""
    detail: bytes = b""
    """More of why, for Cache-Status."""

    @property
    def url(self) -> bytes:
        """What is fetched, whatever else its key holds."""
        return url_in(self.room[0])

    @property
    def for_backend(self) -> RequestHead:
        """What a backend is asked: for the whole, and only if it has changed where something is to be validated.

        What is for one client alone is asked as that client does.
        """
        request = self.request
        if self.entry is None and (not self.is_shared or not self.asked.has_conditions):
            return request
        return request.with_fields(without_conditions(request.fields) + self.conditions)
