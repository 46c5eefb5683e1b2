"""The last stage of a route with a cache: answers what is stored, and has everything else fetched or forwarded."""

from __future__ import annotations

from functools import partial
from typing import Any

from txproxy.cache.engine import CacheEngine
from txproxy.cache.entry import Entry
from txproxy.errors import MethodRefused, NotStored
from txproxy.exchange import Exchange, Reply
from txproxy.pipeline.asked import Asked, CachedRoute, asked_of
from txproxy.pipeline.cache_forwards import ChangingForward, FetchForward, PassingForward
from txproxy.pipeline.fetching import Fetching
from txproxy.pipeline.forward import Forward, ForwardTools
from txproxy.pipeline.stored_replies import StoredReplies, record, say
from txproxy.policy.caching.cache_status import Forward as Why
from txproxy.policy.caching.cache_status import Outcome
from txproxy.policy.caching.directives import NOTHING_ASKED
from txproxy.policy.caching.key import url_of
from txproxy.policy.caching.reuse import Kind, decide, may_send_on_error

_READING = (b"GET", b"HEAD")
_WHY = {
    b"request-no-cache": Why.REQUEST,
    b"request-max-age": Why.REQUEST,
    b"request-min-fresh": Why.REQUEST,
}


class CachedForward:
    """Serves the exchanges of one route.

    :param route: whose rules apply.
    :param tools: of its forwarding stage.
    :param settings: how it uses the cache.
    :param engine: the cache.
    """

    def __init__(self, route: Any, tools: ForwardTools, settings: CachedRoute, engine: CacheEngine) -> None:
        self._settings = settings
        self._chooses = settings.chooses
        self._engine = engine
        self._lookup = engine.store.lookup
        self._swept = engine.sweep.urls
        self._wall_clock = engine.wall_clock
        self._forward = PassingForward(route, tools)
        self._changing = ChangingForward(route, tools, engine, settings)
        self._stored = StoredReplies(route, engine)
        self._fetching = Fetching(settings, engine, self._stored, FetchForward(route, tools), self.pass_by)

    def start(self, exchange: Exchange) -> None:
        """Answer an exchange, or take it to a backend."""
        request = exchange.request
        assert request is not None
        asked: Asked | None = request.asked
        # What an equal head meant that came by a like connection: the same as ``asked_of``, without a call.
        if (
            asked is None
            or asked.route is not self._settings
            or asked.told != exchange.client.hop.told
            or exchange.body is not None
            or self._chooses
        ):
            if request.method not in _READING or exchange.body is not None:
                self._start_other(exchange)
                return
            asked = asked_of(exchange, self._settings)
        if asked.passes:
            self.pass_by(exchange, Why.BYPASS, asked.passes, self._changing)
            return
        lookup = self._lookup  # What an instance holds is called in half the time when it is not called as a method.
        entry = lookup(asked.key, request)
        if entry is None or (self._swept and entry.url in self._swept):
            self._start_missing(exchange, asked)
            return
        clock = self._wall_clock
        now = clock()
        freshness = entry.freshness
        if asked.directives is NOTHING_ASKED and not entry.directives.no_cache:
            # The same as ``decide``, without a look at what was not said.
            age_s = freshness.age_s(now)
            if age_s < freshness.lifetime_s:
                self._stored.send_hit(exchange, asked, entry, age_s)
                return
        decision = decide(freshness, entry.directives, asked.directives, now)
        if decision.kind is Kind.FRESH:
            self._stored.send_hit(exchange, asked, entry, freshness.age_s(now))
        else:
            self._start_stale(exchange, asked, entry, now, decision.kind, decision.reason)

    def _start_missing(self, exchange: Exchange, asked: Asked) -> None:
        variants = self._engine.store.variants(asked.key)
        why = Why.VARY_MISS if variants else Why.URI_MISS
        if asked.directives.only_if_cached:
            self._refuse(exchange)
        elif asked.directives.no_store:
            self.pass_by(exchange, why, b"request-no-store")
        elif exchange.request.method == b"HEAD":  # type: ignore[union-attr]
            self.pass_by(exchange, why, b"head", self._changing)
        elif asked.is_ranged:
            self.pass_by(exchange, why, b"range")
        else:
            self._fetching.fetch(exchange, asked, why, variants)

    def _start_stale(
        self, exchange: Exchange, asked: Asked, entry: Entry, now: float, kind: Kind, reason: bytes
    ) -> None:
        if kind is Kind.GATEWAY_TIMEOUT:
            self._refuse(exchange)
            return
        if kind in (Kind.STALE, Kind.STALE_WHILE_REVALIDATE):
            # What comes for somebody with credentials is stored only if it is public.
            is_of_use = not asked.directives.no_store and (not asked.is_alone or entry.directives.public)
            if kind is Kind.STALE_WHILE_REVALIDATE and is_of_use:
                self._fetching.validate_behind(exchange, asked, entry)
            self._stored.send(exchange, asked, entry, now, Outcome(from_store=True, is_stale=True, detail=reason))
            return
        self._validate(exchange, asked, entry, now, _WHY.get(reason, Why.STALE))

    def _validate(self, exchange: Exchange, asked: Asked, entry: Entry, now: float, why: Why) -> None:
        """Ask a backend for what is stored, which it may say to hold still."""
        no_store = asked.directives.no_store
        if not no_store and may_send_on_error(entry.freshness, entry.directives, asked.directives, now):
            # Only what is fetched can be answered with what is stored where that fails: also HEAD, and any range.
            self._fetching.fetch(exchange, asked, why, (entry,), entry)
        elif exchange.request.method == b"HEAD":  # type: ignore[union-attr]
            self.pass_by(exchange, why, b"head", self._changing)
        elif no_store:
            self.pass_by(exchange, why, b"request-no-store")
        elif asked.is_ranged and not entry.has_validator:
            self.pass_by(exchange, why, b"range")
        else:
            self._fetching.fetch(exchange, asked, why, (entry,), entry)

    def _refuse(self, exchange: Exchange) -> None:
        """Answer 504: the client wants nothing that comes from further away (RFC 9111 section 5.2.1.7)."""
        record(exchange, self._engine, Outcome())
        exchange.client.fail(exchange, NotStored())

    def _start_other(self, exchange: Exchange) -> None:
        request = exchange.request
        assert request is not None
        if request.method == b"PURGE":
            self._purge(exchange)
        else:
            self.pass_by(exchange, Why.METHOD, b"", self._changing)

    def _purge(self, exchange: Exchange) -> None:
        purgers = self._settings.purgers
        if purgers is None:
            exchange.client.fail(exchange, MethodRefused("PURGE"))
        elif exchange.client_address not in purgers:
            exchange.client.respond(exchange, Reply(403, b"not allowed\n", _TEXT, "purge-refused"))
        else:
            url = url_of(exchange.request, exchange.client.hop.scheme)  # type: ignore[arg-type]
            self._engine.sweep_url(url, partial(_tell_purged, exchange))

    def pass_by(self, exchange: Exchange, why: Why, detail: bytes, forward: Forward | None = None) -> None:
        """Take an exchange to a backend; its reply is not stored.

        :param why: the cache has no part in it.
        :param detail: more of why.
        """
        say(exchange, self._engine, Outcome(why, detail=detail))
        (forward or self._forward).start(exchange)


_TEXT = ((b"Content-Type", b"text/plain; charset=utf-8"),)


def _tell_purged(exchange: Exchange, count: int) -> None:
    if not exchange.ended:  # The client may have left meanwhile.
        exchange.client.respond(exchange, Reply(200, b"%d purged\n" % count, _TEXT, "purged"))
