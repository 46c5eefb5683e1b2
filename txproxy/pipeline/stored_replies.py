"""Replies that are stored, to clients: whole, in part, or the word that they have not changed."""

from __future__ import annotations

from typing import Any

from txproxy.cache.content import NO_TRAILERS, PIECE_BYTES, WholeContent
from txproxy.cache.engine import CacheEngine
from txproxy.cache.entry import Entry
from txproxy.cache.reader import Reader
from txproxy.exchange import Exchange, Reply
from txproxy.pipeline.asked import Asked
from txproxy.policy.caching.cache_status import Outcome, cache_status, hit_status, word_of
from txproxy.policy.caching.ranges import Part, Unsatisfiable, part_of, partial_head, unsatisfiable_fields
from txproxy.policy.caching.validation import is_not_modified, not_modified_of
from txproxy.wire.fields import Field
from txproxy.wire.messages import ReplyHead

_HIT = (b"X-Cache-Status", b"HIT")


def not_modified(reply: ReplyHead) -> ReplyHead:
    """Return the head that says that a reply has not changed."""
    head = ReplyHead(304, b"Not Modified", 1, not_modified_of(reply), reply.known)
    head.version, head.options = reply.version, reply.options
    head.content_length = 0
    return head


def without_content(reply: ReplyHead) -> ReplyHead:
    """Return the head of a reply to GET as one to HEAD: it says the same, and nothing follows."""
    head = reply.copy()
    head.content_length = 0
    return head


class StoredReplies:
    """Sends what is stored to clients of one route.

    :param route: the route as it is served; its stages see each reply.
    :param engine: the cache.
    """

    def __init__(self, route: Any, engine: CacheEngine) -> None:
        self._route = route
        self._engine = engine
        self._counters = engine.counters
        self._clock = engine.clock
        # What `send_hit` adds, ready to be sent; a percent sign in a name stands for itself.
        status = hit_status(engine.name, 0)[:-1].replace(b"%", b"%%") + b"%d"
        self._said_of: Any = None
        self._said_age_s = 0
        self._said = b""
        """Of the last hit; what is asked for most says the same for a second."""
        self._hit_lines = b"\r\nAge: %d\r\nCache-Status: " + status + b"\r\n" + b": ".join(_HIT) + b"\r\n\r\n"

    def send_hit(self, exchange: Exchange, asked: Asked, entry: Entry, exact_age_s: float) -> None:
        """Send what is fresh.

        :param exact_age_s: how old it is.
        """
        body = entry.body
        freshness, age_s = entry.freshness, int(exact_age_s)
        exchange.cache = b"HIT"
        self._counters.hits += 1
        if len(body) <= PIECE_BYTES and not asked.has_conditions and not self._route.chain.on_reply:
            if exchange.request.method == b"HEAD":  # type: ignore[union-attr]
                body = b""
            if freshness is not self._said_of or age_s != self._said_age_s:
                self._said_of, self._said_age_s = freshness, age_s
                self._said = self._hit_lines % (age_s, int(freshness.lifetime_s) - age_s)
            clock = self._clock
            if exchange.client.send_stored(exchange, entry.head, self._said, body, clock()):
                return
        status = hit_status(self._engine.name, int(freshness.lifetime_s) - age_s)
        exchange.added = ((b"Age", b"%d" % age_s), (b"Cache-Status", status), _HIT)
        self._send(exchange, asked, entry)

    def send(self, exchange: Exchange, asked: Asked, entry: Entry, now: float, outcome: Outcome) -> None:
        """Send what is stored, for any other reason.

        :param now: seconds since the epoch.
        :param outcome: what is said of it; the rest of its life is filled in here.
        """
        freshness = entry.freshness
        age_s = int(freshness.age_s(now))
        outcome = outcome._replace(ttl_s=int(freshness.lifetime_s) - age_s)
        say(exchange, self._engine, outcome, (b"Age", b"%d" % age_s))
        self._send(exchange, asked, entry)

    def _send(self, exchange: Exchange, asked: Asked, entry: Entry) -> None:
        head: ReplyHead = entry.head
        body = entry.body
        part: Part | None = None
        if asked.has_conditions:
            if is_not_modified(exchange.request, head, entry.freshness.received_at):  # type: ignore[arg-type]
                head, body = not_modified(head), b""
            else:
                found = part_of(exchange.request, head, len(body))  # type: ignore[arg-type]
                if isinstance(found, Unsatisfiable):
                    fields = (*unsatisfiable_fields(len(body)), *exchange.added)
                    exchange.client.respond(exchange, Reply(416, b"", fields, "unsatisfiable-range"))
                    return
                if found is not None:
                    head, part = partial_head(head, found), found
        self.deliver(exchange, head, body, part, entry)

    def deliver(
        self, exchange: Exchange, head: ReplyHead, body: bytes, part: Part | None = None, entry: Entry | None = None
    ) -> None:
        """Send a reply that is here, past the route's stages.

        :param part: of the body that is sent; None for all of it.
        :param entry: whose body it is, if it may be stored.
        """
        if exchange.request.method == b"HEAD":  # type: ignore[union-attr]
            body, part = b"", None
        start, stop = (0, len(body)) if part is None else (part.start, part.end)
        if stop - start <= PIECE_BYTES:
            body, start, stop = body[start:stop], 0, stop - start
            if not self._route.chain.on_reply:
                exchange.client.start_reply(exchange, head)
                exchange.client.end_reply(body, NO_TRAILERS, self._engine.clock())
                return
        content = WholeContent(body, -start, stop=stop)
        reader = Reader(exchange, content)
        if stop - start > PIECE_BYTES:
            is_stored = entry is not None and self._engine.store.holds(entry)
            content.loan = self._engine.budget.lend(body, (reader,), is_stored)
        if self._route.chain.on_reply:
            self.pass_stages(reader, head)
        else:
            exchange.client.start_reply(exchange, head)
            reader.begin()

    def pass_stages(self, reader: Reader, head: ReplyHead) -> None:
        """Let the stages decide on a reply, and send it if they agree."""
        exchange = reader.exchange
        exchange.reply = head.copy()
        if self._route.chain.reply(exchange, _agreed_late):
            _agreed(exchange)


def _agreed(exchange: Exchange) -> None:
    """Send a reply that all stages agree to, and then what it is read from."""
    reader = exchange.server
    if reader is not None:
        exchange.client.start_reply(exchange, exchange.reply)
        reader.begin()


def _agreed_late(exchange: Exchange) -> None:
    """Do the same after some time: content that is here already may be followed by more only later."""
    reader = exchange.server
    if reader is not None:
        _agreed(exchange)
        reader.flush()


def say(exchange: Exchange, engine: CacheEngine, outcome: Outcome, *first: Field) -> None:
    """Have a reply say what the cache did for it, and count it.

    :param first: further fields.
    """
    word = record(exchange, engine, outcome)
    exchange.added = (*first, (b"Cache-Status", cache_status(engine.name, outcome)), (b"X-Cache-Status", word))


def record(exchange: Exchange, engine: CacheEngine, outcome: Outcome) -> bytes:
    """Count what the cache did for an exchange, and keep it for the log; return it in one word."""
    word = word_of(outcome)
    engine.counters.count(word)
    exchange.cache = word.value
    return word.value
