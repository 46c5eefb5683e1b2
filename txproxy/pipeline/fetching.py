"""What a cached route fetches from backends: decides on each reply that comes, for all who wait for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from txproxy.cache.budget import Loan
from txproxy.cache.engine import CacheEngine
from txproxy.cache.entry import Entry
from txproxy.cache.errand import Errand
from txproxy.cache.fetch import Fetch
from txproxy.cache.reader import Reader
from txproxy.errors import BadReply, ProxyError
from txproxy.exchange import Exchange
from txproxy.pipeline.asked import Asked, CachedRoute
from txproxy.pipeline.cache_forwards import FetchForward
from txproxy.pipeline.judging import aged, answers, dated, entry_of, is_for_all, judge_reply
from txproxy.pipeline.stored_replies import StoredReplies, not_modified, record, say, without_content
from txproxy.policy.caching.cache_status import Forward as Why
from txproxy.policy.caching.cache_status import Outcome
from txproxy.policy.caching.reuse import Kind, decide, may_send_on_error
from txproxy.policy.caching.validation import (
    conditional_fields,
    freshened,
    is_not_modified,
    is_same_representation,
    validators_of,
)
from txproxy.policy.caching.vary import secondary_key
from txproxy.wire.forwarding import without
from txproxy.wire.messages import ReplyHead

_GET = b"GET"
_FIRST_ERROR = 400
_FIRST_SERVER_ERROR = 500
_NOT_MODIFIED = 304
_LOCK_TIMEOUT = b"lock-timeout"
_GONE = (404, 410)
"""Errors that are about what is asked for, not about the request or the backend."""


class Fetching:
    """Makes the fetches of one route.

    :param settings: of the route's cache.
    :param engine: the cache.
    :param stored: sends what is stored.
    :param forward: sends requests to backends.
    :param pass_by: takes an exchange to a backend past the cache, with the reason.
    """

    def __init__(
        self, settings: CachedRoute, engine: CacheEngine, stored: StoredReplies, forward: FetchForward, pass_by: Any
    ) -> None:
        self._settings = settings
        self._engine = engine
        self._stored = stored
        self._forward = forward
        self._pass_by = pass_by

    # Beginning, and joining.

    def fetch(
        self, exchange: Exchange, asked: Asked, why: Why, variants: tuple[Entry, ...] = (), entry: Entry | None = None
    ) -> None:
        """Have an exchange read what a backend sends, or what is stored if that still holds.

        :param variants: what is stored of its key.
        :param entry: what is to be validated.
        """
        engine, request = self._engine, exchange.request
        assert request is not None
        room = engine.room_of(asked.key, request, variants)
        # Where each request needs the backend's own word, waiting for that of another is in vain.
        is_for_each = engine.is_passed_by(room, asked.has_cookie) or (entry is not None and entry.directives.no_cache)
        if asked.is_alone or is_for_each:
            self._begin(exchange, self._errand(exchange, asked, why, room, entry, is_shared=False))
            return
        fetch = engine.fetch_in(room)
        if fetch is not None and fetch.variant is not None and not answers(fetch.variant, request):
            # Now it is known by what the reply varies, each variant has a fetch of its own.
            names = fetch.variant.names
            room = asked.key, names, secondary_key(names, request)
            fetch = engine.fetch_in(room)
        if fetch is None or not self._joins(exchange, asked, fetch):
            self._begin(exchange, self._errand(exchange, asked, why, room, entry))

    def validate_behind(self, exchange: Exchange, asked: Asked, entry: Entry) -> None:
        """Ask a backend whether what is stored still holds; nobody waits for it."""
        room = asked.key, entry.variant.names, entry.variant.secondary_key
        if not self._engine.is_under_way(room):
            errand = self._errand(exchange, asked, Why.STALE, room, entry, is_shared=not asked.is_alone)
            self._begin(exchange, errand, is_behind=True)

    def _errand(
        self, exchange: Exchange, asked: Asked, why: Why, room: Any, entry: Entry | None, is_shared: bool = True
    ) -> Errand:
        request = exchange.request
        assert request is not None
        if request.method != _GET:  # HEAD is answered from what is stored, or is coming to be: that is the whole.
            request = request.with_fields(request.fields)
            request.method = _GET
        conditions = [] if entry is None else conditional_fields(validators_of(entry.head))
        return Errand(room, asked, request, why, self._engine.wall_clock(), entry, conditions, is_shared)

    def _begin(self, exchange: Exchange, errand: Errand, is_behind: bool = False) -> Fetch:
        fetch = Fetch(self, errand, errand.for_backend, exchange, is_behind)
        if not is_behind:
            fetch.add(exchange, errand.asked)
        self._engine.begin(fetch)
        self._forward.start(fetch.exchange)
        return fetch

    def _joins(self, exchange: Exchange, asked: Asked, fetch: Fetch) -> bool:
        """Have an exchange read what is being fetched already; return whether it can."""
        if fetch.reply is None:
            reader = fetch.add(exchange, asked)
            exchange.attempt = self._engine.call_later(
                self._settings.lock_timeout_s, self._waited_too_long, reader, fetch
            )
            return True
        terms = fetch.terms
        if not fetch.is_kept or terms is None:
            return False
        # What had come before the request is to it what a stored reply is.
        now = self._engine.wall_clock()
        if decide(terms.freshness, terms.directives, asked.directives, now).kind is not Kind.FRESH:
            return False
        reader = fetch.add(exchange, asked)
        self._give(reader, fetch, age_s=terms.freshness.age_s(now))
        reader.flush()
        return True

    def _waited_too_long(self, reader: Reader, fetch: Fetch) -> None:
        exchange, errand = reader.exchange, fetch.errand
        exchange.attempt = exchange.server = None
        fetch.left(reader)
        if errand.entry is None or fetch.is_outdated:
            self._pass_by(exchange, errand.why, _LOCK_TIMEOUT)
        else:  # It is asked whether what is stored holds, and that may be sent if the backend fails.
            self._begin_alone(exchange, reader.asked, errand, errand.entry, _LOCK_TIMEOUT)

    def _go_alone(self, reader: Reader, fetch: Fetch, entry: Entry | None) -> None:
        """Have an exchange that has waited fetch for itself, and wait for nobody any more."""
        self._begin_alone(fetch.release(reader), reader.asked, fetch.errand, entry)

    def _begin_alone(
        self, exchange: Exchange, asked: Asked, errand: Errand, entry: Entry | None, detail: bytes = b""
    ) -> None:
        """Begin a fetch for one exchange, which had waited for another."""
        alone = self._errand(exchange, asked, errand.why, errand.room, entry, is_shared=False)
        self._begin(exchange, alone._replace(detail=detail))

    # What comes.

    def replied(self, fetch: Fetch, reply: ReplyHead) -> None:
        """Decide on the head of a reply."""
        errand = fetch.errand
        fetch.received_at = now = self._engine.wall_clock()
        for reader in fetch.readers:
            reader.wait_no_more()
        entry = errand.entry
        if entry is not None:
            if reply.status == _NOT_MODIFIED and errand.conditions:
                self._validated(fetch, entry, reply, now)
                return
            if reply.status >= _FIRST_SERVER_ERROR and self._send_in_spite(fetch, entry, now, reply.status):
                self._engine.close(fetch)
                fetch.drain()
                return
        judgement = judge_reply(self._settings, errand, reply, now)
        if judgement.reason:
            self._give_to_first(fetch, reply, judgement.reason)
            return
        fetch.terms, fetch.variant = judgement.terms, judgement.variant
        if reply.content_length is not None and not fetch.is_outdated:
            self._engine.may_be_stored(errand.room, errand.asked.has_cookie)
        fetch.keep(self._settings.max_object_bytes)
        self._share(fetch)

    def _share(self, fetch: Fetch) -> None:
        """Give all who wait what is to be stored; those whom it does not answer ask for themselves."""
        assert fetch.variant is not None and fetch.terms is not None
        is_shared = is_for_all(fetch.terms, fetch.received_at)
        for reader in _reading(fetch):
            if not is_shared and reader.exchange is not fetch.first:
                self._go_alone(reader, fetch, None)
            elif answers(fetch.variant, reader.exchange.request):  # type: ignore[arg-type]
                self._give(reader, fetch)
            else:
                self.fetch(fetch.release(reader), reader.asked, Why.VARY_MISS)
        if fetch.is_outdated:
            fetch.outdate()  # If nobody reads it, nobody needs it.

    def _give_to_first(self, fetch: Fetch, reply: ReplyHead, reason: bytes) -> None:
        """Give who has caused it what is for nobody else; all others go on in parallel."""
        engine, errand, entry = self._engine, fetch.errand, fetch.errand.entry
        engine.close(fetch)
        is_failure = reply.status >= _FIRST_SERVER_ERROR
        # What somebody with credentials gets says nothing of what others do, nor do most errors, which one odd request
        # may have caused; and a 304 says nothing of what can be stored. A cookie may be credentials, or may not.
        is_telling = reply.status < _FIRST_ERROR or reply.status in _GONE
        if is_telling and not errand.asked.is_alone and reply.status != _NOT_MODIFIED:
            engine.pass_by(errand.room, errand.asked.has_cookie)
            self._rule_out(fetch, entry)
        for reader in _reading(fetch):
            if reader.exchange is fetch.first:
                self._give(reader, fetch, reason)
            else:  # Also if who has caused it has left: it may hold what is for that one's eyes only.
                self._go_alone(reader, fetch, entry if is_failure and not fetch.is_outdated else None)
        if not fetch.readers:
            fetch.drain()

    def _rule_out(self, fetch: Fetch, entry: Entry | None) -> None:
        """Take out what a reply shows not to hold any more, and store nothing that was asked for before it.

        What somebody with a cookie gets may be that one's own: what is fresh stays for all others.
        """
        may_be_own = fetch.errand.asked.has_cookie
        if not may_be_own:
            self._engine.rule_out_older(fetch)
        if entry is not None and not (may_be_own and entry.freshness.is_fresh(fetch.received_at)):
            self._engine.store.remove(entry)

    def _give(self, reader: Reader, fetch: Fetch, reason: bytes = b"", age_s: float | None = None) -> None:
        """Begin to give a client what comes.

        :param reason: why it is not stored.
        :param age_s: how old it is to one that has asked after the head had come; None for all others.
        """
        exchange, reply = reader.exchange, fetch.reply
        assert reply is not None
        is_collapsed = self._is_collapsed(reader, fetch)
        outcome = Outcome(
            fetch.errand.why,
            is_stored=fetch.is_kept and not fetch.is_outdated,
            is_collapsed=is_collapsed,
            detail=reason or fetch.errand.detail,
        )
        if is_collapsed and fetch.terms is not None:
            for name in fetch.terms.directives.withheld_fields:  # They are for the first alone.
                reply = without(reply, name)
        if age_s is None:
            say(exchange, self._engine, outcome)
        else:
            reply = aged(reply, fetch.received_at)
            say(exchange, self._engine, outcome, (b"Age", b"%d" % age_s))
        if fetch.is_kept and is_not_modified(exchange.request, reply, fetch.received_at):  # type: ignore[arg-type]
            self._stored.deliver(fetch.release(reader), not_modified(reply), b"")
        elif exchange.request.method != _GET:  # type: ignore[union-attr]
            self._stored.deliver(fetch.release(reader), without_content(reply), b"")
        elif exchange.route.chain.on_reply:
            self._stored.pass_stages(reader, reply)
        else:
            exchange.client.start_reply(exchange, reply)
            reader.begin()

    def _is_collapsed(self, reader: Reader, fetch: Fetch) -> bool:
        """Return whether a reader shares the fetch of another; who has caused it says where its reply comes from."""
        if reader.exchange is fetch.first:
            fetch.exchange.tell_tries(reader.exchange)
            return False
        self._engine.counters.collapsed += 1
        return True

    # What is validated.

    def _validated(self, fetch: Fetch, entry: Entry, reply: ReplyHead, now: float) -> None:
        """Take note that what is stored still holds (RFC 9111 section 4.3.4)."""
        engine, errand = self._engine, fetch.errand
        engine.close(fetch)
        if fetch.is_outdated:
            for reader in _reading(fetch):  # The 304 was about something that is not stored any more.
                self.fetch(fetch.release(reader), reader.asked, Why.MISS)
            return
        if not is_same_representation(entry.head, reply, len(entry.body)):
            self._ask_without_conditions(fetch, now)
            return
        head = freshened(entry.head, dated(reply, now))
        judgement = judge_reply(self._settings, errand, head, now)
        variant = entry.variant if judgement.reason else judgement.variant
        fresh = Entry(entry.key, variant, head, entry.body, judgement.terms)
        is_stored = not judgement.reason and engine.put(fetch, fresh, now)
        if judgement.reason and not errand.asked.is_alone:
            self._rule_out(fetch, entry)
        is_shared = not judgement.reason and is_for_all(judgement.terms, now)
        for reader in _reading(fetch):
            exchange = reader.exchange
            if not is_shared and exchange is not fetch.first:
                # Also if who has caused it has left: its fields may be for that one's eyes only.
                self._go_alone(reader, fetch, None if judgement.reason else fresh)
                continue
            if not answers(variant, exchange.request):  # type: ignore[arg-type]
                self.fetch(fetch.release(reader), reader.asked, Why.VARY_MISS)
                continue
            outcome = Outcome(
                errand.why,
                _NOT_MODIFIED,
                from_store=True,
                is_stored=is_stored,
                is_collapsed=self._is_collapsed(reader, fetch),
                detail=errand.detail,
            )
            self._stored.send(fetch.release(reader), reader.asked, fresh, now, outcome)

    def _ask_without_conditions(self, fetch: Fetch, now: float) -> None:
        """Ask for the whole: a 304 was about something that is not stored. What is stored stays until that has come."""
        errand = fetch.errand._replace(why=Why.MISS, requested_at=now, conditions=[])
        again = self._begin(fetch.exchange, errand, is_behind=True) if fetch.is_behind else None
        for reader in _reading(fetch):
            exchange, asked = fetch.release(reader), reader.asked
            if again is None or again.has_ended or not self._joins(exchange, asked, again):
                own = self._errand(exchange, asked, errand.why, errand.room, errand.entry, errand.is_shared)
                again = self._begin(exchange, own._replace(conditions=[], detail=errand.detail))

    def _send_in_spite(self, fetch: Fetch, entry: Entry, now: float, status: int | None) -> bool:
        """Send what is stored although it is stale, for the backend fails; return whether all are served."""
        if fetch.is_outdated:
            return False
        for reader in _reading(fetch):
            if may_send_on_error(entry.freshness, entry.directives, reader.asked.directives, now):
                outcome = Outcome(
                    fetch.errand.why,
                    status,
                    from_store=True,
                    is_stale=True,
                    is_collapsed=self._is_collapsed(reader, fetch),
                    detail=b"stale-if-error",
                )
                self._stored.send(fetch.release(reader), reader.asked, entry, now, outcome)
        return not fetch.readers

    # The end.

    def fetched(self, fetch: Fetch, body: bytes) -> bool:
        """Store a reply that is complete; return whether the store holds this very body now."""
        engine = self._engine
        if fetch.trailers:  # They would have to be sent each time, and HTTP/1.0 clients cannot be sent them.
            engine.rule_out_older(fetch)
            return False
        entry = entry_of(fetch, body)
        if not engine.put(fetch, entry, fetch.received_at):
            return False
        engine.may_be_stored(fetch.errand.room, fetch.errand.asked.has_cookie)
        return engine.store.holds(entry)

    def failed(self, fetch: Fetch, error: ProxyError) -> None:
        """Serve what is stored to those who take it, and have others ask again if it may be the first's own fault."""
        if fetch.reply is not None:
            return
        for reader in fetch.readers:
            reader.wait_no_more()
        entry = None if fetch.is_outdated else fetch.errand.entry
        if entry is not None:
            self._send_in_spite(fetch, entry, self._engine.wall_clock(), None)
        for reader in _reading(fetch):
            if reader.exchange is fetch.first:
                fetch.exchange.tell_tries(reader.exchange)
            elif isinstance(error, BadReply):
                self._go_alone(reader, fetch, entry)
                continue
            record(reader.exchange, self._engine, Outcome(fetch.errand.why))

    def ended(self, fetch: Fetch) -> None:
        """Let nobody join it any more."""
        self._engine.ended(fetch)

    def may_keep(self, fetch: Fetch, count: int) -> bool:
        """Return whether so many bytes more may be kept for now."""
        return self._engine.reserve(fetch, count)

    def dropped(self, fetch: Fetch, count: int) -> None:
        """Give room back."""
        self._engine.give_back(fetch, count)

    def lent(self, body: bytes, readers: Iterable[Reader], is_stored: bool) -> Loan:
        """Take note of what readers have not read yet."""
        return self._engine.budget.lend(body, readers, is_stored)

    def abandoned(self, fetch: Fetch, reader: Reader) -> None:
        """Count a request whose client has left before anything was done for it."""
        if not reader.exchange.cache:
            record(reader.exchange, self._engine, Outcome(fetch.errand.why))

    def look_later(self, call: Callable[..., Any], *arguments: object) -> Any:
        """Have a fetch looked at later."""
        return self._engine.call_later(self._settings.lock_timeout_s, call, *arguments)

    def kept_no_more(self, fetch: Fetch) -> None:
        """Let nobody join it any more; if it is too long, later requests for it wait for nobody."""
        self._engine.close(fetch)
        if fetch.size > self._settings.max_object_bytes:
            self._engine.pass_by(fetch.errand.room, fetch.errand.asked.has_cookie)
            self._engine.rule_out_older(fetch)


def _reading(fetch: Fetch) -> Iterator[Reader]:
    """Yield who reads now, the oldest first; while one is served, others may leave."""
    return (reader for reader in tuple(fetch.readers) if reader.is_reading)
