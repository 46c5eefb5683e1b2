"""Who makes fetches, as a fetch knows it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeVar

from txproxy.cache.budget import Loan
from txproxy.cache.reader import Reader
from txproxy.errors import ProxyError
from txproxy.wire.messages import ReplyHead

Fetch = TypeVar("Fetch", contravariant=True)  # noqa: PLC0105 - it stands for the class of that name


class Owner(Protocol[Fetch]):
    """Who makes fetches, and decides on their replies."""

    def replied(self, fetch: Fetch, reply: ReplyHead) -> None:
        """Decide on the head of a reply."""

    def fetched(self, fetch: Fetch, body: bytes) -> bool:
        """Store a reply that was kept, and is complete; return whether a store holds it now."""

    def failed(self, fetch: Fetch, error: ProxyError) -> None:
        """Help those who wait for a head otherwise, if that is possible."""

    def ended(self, fetch: Fetch) -> None:
        """Take note that nothing more comes."""

    def may_keep(self, fetch: Fetch, count: int) -> bool:
        """Return whether so many bytes more may be kept for now."""

    def dropped(self, fetch: Fetch, count: int) -> None:
        """Take note that so many bytes are not here any more."""

    def look_later(self, call: Callable[..., Any], *arguments: object) -> Any:
        """Have something called after the time for which others wait; return the call."""

    def kept_no_more(self, fetch: Fetch) -> None:
        """Take note that a reply is longer than what may be kept."""

    def lent(self, body: bytes, readers: Iterable[Reader], is_stored: bool) -> Loan:
        """Take note that readers go on with what is complete, and stays here for them."""

    def abandoned(self, fetch: Fetch, reader: Reader) -> None:
        """Take note that the client of a reader has left."""
