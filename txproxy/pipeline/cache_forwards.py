"""The ways to a backend that a cache looks after: past it, for it, and with what may change what it holds."""

from __future__ import annotations

from typing import Any

from txproxy.cache.engine import CacheEngine
from txproxy.exchange import Exchange
from txproxy.pipeline.asked import CachedRoute, understand
from txproxy.pipeline.forward import Forward, ForwardTools
from txproxy.policy.caching.fields import has_field
from txproxy.policy.caching.invalidation import invalidated
from txproxy.policy.caching.validation import is_same_representation
from txproxy.wire.forwarding import without
from txproxy.wire.messages import ReplyHead

_WORD = b"x-cache-status"


class PassingForward(Forward):
    """Forwards what passes the cache by."""

    def reply_received(self, exchange: Exchange, reply: ReplyHead) -> bool:
        """Pass on a reply, without what another cache says in our own field."""
        return super().reply_received(exchange, _without_word(reply))


class FetchForward(Forward):
    """Forwards what the cache asks. Stages see a reply when it goes to a client, not when it is stored."""

    def reply_received(self, exchange: Exchange, reply: ReplyHead) -> bool:
        """Take note of the head of a reply, and hand it on."""
        self.count_reply(exchange, reply)
        exchange.client.start_reply(exchange, _without_word(reply))
        return not exchange.ended


class InvalidatingForward(Forward):
    """Forwards requests of a route without a cache, which may change what others have stored.

    :param route: whose rules apply.
    :param tools: of its forwarding stage.
    :param engine: the cache.
    """

    def __init__(self, route: Any, tools: ForwardTools, engine: CacheEngine) -> None:
        super().__init__(route, tools)
        self._engine = engine

    def reply_received(self, exchange: Exchange, reply: ReplyHead) -> bool:
        """Take out what the reply says does not hold any more, and pass it on (RFC 9111 section 4.4)."""
        request = exchange.request
        assert request is not None
        for url in invalidated(request, reply, exchange.client.hop.scheme):
            self._engine.sweep_url(url)
        return super().reply_received(exchange, reply)


class ChangingForward(InvalidatingForward):
    """Forwards requests of a route with a cache that are not answered from it: with other methods, HEAD, and those that
    pass it by for what they say, as the name of another method.

    :param settings: how the route uses the cache.
    """

    def __init__(self, route: Any, tools: ForwardTools, engine: CacheEngine, settings: CachedRoute) -> None:
        super().__init__(route, tools, engine)
        self._settings = settings

    def reply_received(self, exchange: Exchange, reply: ReplyHead) -> bool:
        """Take out what the reply shows not to hold any more, and pass it on."""
        if exchange.request.method == b"HEAD" and reply.status == 200:  # type: ignore[union-attr]
            self._compare(exchange, reply)
        return super().reply_received(exchange, _without_word(reply))

    def _compare(self, exchange: Exchange, reply: ReplyHead) -> None:
        """Take out what a reply to HEAD shows to be another one now (RFC 9111 section 4.3.5)."""
        asked, store = understand(exchange, self._settings), self._engine.store
        # What somebody with credentials gets says nothing of what others do, nor does what may answer something else.
        if asked.passes or asked.is_alone:
            return
        entry = store.lookup(asked.key, exchange.request)  # type: ignore[arg-type]
        if entry is None or asked.has_cookie and entry.freshness.is_fresh(self._engine.wall_clock()):
            return
        if not is_same_representation(entry.head, reply, len(entry.body)):
            store.remove(entry)


def _without_word(reply: ReplyHead) -> ReplyHead:
    return without(reply, _WORD) if has_field(reply.fields, _WORD) else reply
