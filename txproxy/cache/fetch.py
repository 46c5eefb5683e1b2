"""A request of ours to a backend, on behalf of all who want its reply: they read it as it comes, and it may be kept.

It is the client of an exchange of its own, so that a backend, its retries and its failures know nothing of the cache,
and so that it goes on when the client that has caused it leaves.
"""

from __future__ import annotations

from typing import Any

from txproxy.bridge.valve import NO_VALVE
from txproxy.cache.content import NO_TRAILERS, PIECE_BYTES, WholeContent
from txproxy.cache.entry import Terms, Variant
from txproxy.cache.errand import Errand
from txproxy.cache.owner import Owner
from txproxy.cache.reader import Reader
from txproxy.cache.store import Purge
from txproxy.errors import ProxyError, WriteTimeout
from txproxy.exchange import Exchange
from txproxy.observe.log import Logger
from txproxy.wire.fields import Field
from txproxy.wire.messages import ReplyHead, RequestHead
from txproxy.wire.proxy_protocol import Place

log = Logger()

_TRIM_BYTES = 1 << 20
LAG_BYTES = 256 * 1024
"""By which readers may always lag behind others."""
MOST_DRAINED_BYTES = 65536
"""Content that is read although nobody wants it, so that the connection can be used again."""
LEAST_BYTES = 256 * 1024
"""Content that has to come from one look to the next while nobody reads it."""


class Fetch:
    """One request, and its reply as it comes.

    While the content is kept, all of it stays here until it is complete: whoever joins reads from its start, and who is
    slow holds up nobody. Otherwise only what not all have read yet stays here. If it was kept before, who is slow may
    lag a little, and more as long as there is room; then it is cut. Else, or when all are slow, the slowest sets the
    pace.

    :param owner: see there.
    :param errand: what it is for.
    :param request: as the backend gets it.
    :param cause: the exchange that has caused it; its client may be gone before it ends.
    :param is_behind: nobody waits for it, and it goes on whoever joins and leaves.
    """

    __slots__ = (
        "_base",
        "_held",
        "_is_drained",
        "_is_pausing",
        "_look",
        "_may_lag",
        "_most_bytes",
        "_slow",
        "_trimmed_at",
        "errand",
        "exchange",
        "first",
        "has_ended",
        "hop",
        "is_behind",
        "is_kept",
        "is_outdated",
        "number",
        "owner",
        "peer",
        "readers",
        "received_at",
        "reply",
        "reserved_bytes",
        "settings",
        "site",
        "size",
        "terms",
        "tls",
        "trailers",
        "variant",
    )

    # What an exchange's client has.
    valve, pipes = NO_VALVE, None
    # What content has: as long as it comes, its end is not known.
    end: int | None = None

    def __init__(
        self, owner: Owner[Fetch], errand: Errand, request: RequestHead, cause: Exchange, is_behind: bool = False
    ) -> None:
        self.owner = owner
        self.errand = errand
        self.is_behind = is_behind
        self.number = 0
        """In the order in which they began; kept by the engine."""
        self.reserved_bytes = 0
        """Kept by the engine."""
        self.received_at = errand.requested_at
        """When the head of the reply came, in seconds since the epoch."""
        self.reply: ReplyHead | None = None
        """The head of the final reply; None until it has come."""
        self.terms: Terms | None = None
        self.variant: Variant | None = None
        """Which requests the reply answers, and on what terms, once it is known that it can be stored."""
        self.first = None if is_behind else cause
        """The exchange that has caused it; it may have left."""
        self.readers: dict[Reader, None] = {}
        self.is_kept = False
        self.is_outdated = False
        """What it brings was asked for before a purge, so that it is not stored after it."""
        self.size = 0
        """Bytes of content that have come."""
        self.has_ended = False
        """Nothing more comes, whether it is complete or not."""
        self.trailers: list[Field] = NO_TRAILERS
        self._most_bytes = 0
        """Content that may be kept."""
        self._held = bytearray()
        """Content from ``_base`` on."""
        self._base = 0
        self._slow: set[Reader] = set()
        """Who takes nothing for now, or does not have the head yet."""
        self._is_pausing = False
        """The backend has to wait."""
        self._is_drained = False
        self._may_lag = False
        """Those who are slow need not hold up the others, though the content is not to be stored."""
        self._trimmed_at = 0
        self._look: Any = None
        """The call that looks whether content comes that nobody waits for."""
        client = cause.client
        self.hop, self.settings, self.tls = client.hop, client.settings, client.tls
        self.peer, self.site = client.peer, client.site
        self.exchange = cause.for_client(self, request)

    # What the exchange's client is told.

    def places(self) -> tuple[Place | None, Place | None]:
        """Return where the connection of whoever has caused this comes from and goes to, as far as that is known."""
        return (None, None) if self.first is None else self.first.client.places()

    def send_interim(self, exchange: Exchange, reply: ReplyHead) -> None:
        """Pass an interim reply on to whoever has caused this."""
        first = self.first
        if first is not None and first.server in self.readers:
            first.client.send_interim(first, reply)
            exchange.interim_sent = first.interim_sent

    def start_reply(self, exchange: Exchange, reply: ReplyHead) -> None:
        """Take the head of the final reply."""
        self.reply = reply
        exchange.status = reply.status
        exchange.head_sent = True
        self.owner.replied(self, reply)
        self._pace()

    def write_reply(self, data: bytes) -> None:
        """Take content; it is not empty."""
        start, self.size = self.size, self.size + len(data)
        if self.is_kept:
            if self.size > self._most_bytes or not self.owner.may_keep(self, len(data)):
                self._keep_no_more()
        elif self._may_lag and self._slow and not self.owner.may_keep(self, len(data)):
            self._cut_laggards()
        if self.has_ended or self._is_drained:
            self._base = self.size
            return
        ready = [reader for reader in self.readers if reader.is_ready and reader.position == start]
        if self.is_kept or len(ready) < len(self.readers):
            self._held += data
        else:
            self._base = self.size
        for reader in ready:
            # What one is given may pause another, or be its end: they can be streams of one connection.
            if reader.is_reading:
                reader.take(data)

    def flush_reply(self) -> None:
        """Have the heads sent: the content is slower."""
        for reader in tuple(self.readers):
            reader.flush()

    def end_reply(self, data: bytes, trailers: list[Field], now: float) -> None:
        """Take the last of the content, which may be empty, and the end of the reply."""
        self.size += len(data)
        self.trailers = trailers
        held, self._held = self._held, bytearray()
        if held:
            held += data
            data = bytes(held)
        is_stored = False
        if self.is_kept:
            if self.size > self._most_bytes:
                self.owner.kept_no_more(self)
            else:
                is_stored = self._hand_over(data)
        readers, self.readers = self.readers, {}
        # What is left to be read is the same bytes that a store holds.
        loan = self.owner.lent(data, readers, is_stored) if readers and len(data) > PIECE_BYTES else None
        content = WholeContent(data, self._base, trailers, loan=loan)
        for reader in readers:
            reader.content = content
        self._end("ok", now)
        for reader in readers:
            if reader.is_reading:
                reader.go_on(now)

    def fail(self, exchange: Exchange, error: ProxyError) -> None:
        """Tell all readers that it is not going to be complete."""
        if self.has_ended:
            return
        exchange.cancel_upstream()
        exchange.failed(error)
        if not self.readers:
            self.site.log_failure(exchange, error)
        self._end(error.end_reason, self.site.clock())
        self.owner.failed(self, error)
        for reader in tuple(self.readers):
            if reader.is_reading:
                other = self.release(reader)
                other.client.fail(other, error)

    # What readers call.

    def read(self, position: int) -> bytes:
        """See ``Content``."""
        begin = position - self._base
        return bytes(self._held[begin : begin + PIECE_BYTES])

    def slowed(self, reader: Reader) -> None:
        """See ``Content``."""
        self._slow.add(reader)
        self._pace()

    def caught_up(self, reader: Reader) -> None:
        """See ``Content``."""
        self._slow.discard(reader)
        self._pace()

    def left(self, reader: Reader) -> None:
        """Take note that a reader wants no more; if nobody does, the backend is told to stop."""
        self.readers.pop(reader, None)
        self._slow.discard(reader)
        if self.has_ended:
            return
        if self.readers or self._is_of_use:
            self._pace()
        else:
            self.cancel("client-left")

    def abandoned(self, reader: Reader) -> None:
        """See ``Content``."""
        self.owner.abandoned(self, reader)
        self.left(reader)
        self._watch()

    # What the owner calls.

    def add(self, exchange: Exchange, asked: Any) -> Reader:
        """Have one more exchange read this."""
        reader = Reader(exchange, self, asked)
        self.readers[reader] = None
        self._slow.add(reader)
        return reader

    def release(self, reader: Reader) -> Exchange:
        """Return a reader's exchange, which reads nothing here any more; this goes on."""
        self.readers.pop(reader, None)
        self._slow.discard(reader)
        exchange = reader.exchange
        exchange.server = None
        return exchange

    def keep(self, most_bytes: int) -> None:
        """Keep the content.

        :param most_bytes: if it turns out to be longer, it is passed on only.
        """
        self.is_kept, self._most_bytes = True, most_bytes

    def drain(self) -> None:
        """Read to its end what nobody wants, if that is not far, so that the connection can be used again."""
        length = self.reply.content_length if self.reply is not None else None
        self._is_drained = length is not None and length <= MOST_DRAINED_BYTES
        if not self._is_drained:
            self.cancel("not-wanted")

    def outdate(self) -> None:
        """Store nothing: something that was asked for later says that it does not hold any more."""
        self.is_outdated = True
        if not self.readers and self.is_kept and not self.has_ended:
            self.cancel("outdated")

    def cancel(self, end_reason: str) -> None:
        """Give it up; nobody reads it."""
        if not self.has_ended:
            self.exchange.cancel_upstream()
            self._end(end_reason, self.site.clock())

    def is_meant(self, what: Purge) -> bool:
        """Return whether a purge is about this, as far as that is known."""
        if what.kind == "url":
            return self.errand.url == what.value
        if what.kind == "prefix":
            return self.errand.url.startswith(what.value)
        return what.kind == "all" or self.terms is None or what.value in self.terms.tags

    @property
    def _is_of_use(self) -> bool:
        """Whether it goes on although nobody reads it."""
        return (self.is_kept and not self.is_outdated) or (self.is_behind and self.reply is None)

    def _keep_no_more(self) -> None:
        """Pass the content on only."""
        self.is_kept = False
        self._may_lag = True
        self.owner.kept_no_more(self)
        self._pace()
        if not self.readers:
            self.cancel("not-stored")

    def _hand_over(self, body: bytes) -> bool:
        """Have the whole stored; whoever reads it gets it, whatever becomes of that."""
        try:
            return self.owner.fetched(self, body)
        except Exception:
            log.failure("cache: {fetch} cannot be stored", fetch=self)
            return False

    def _cut_laggards(self) -> None:
        """Cut those who lag too far behind others: there is no room. If all are slow, the backend waits instead."""
        if len(self._slow) == len(self.readers):
            return
        for reader in tuple(self._slow):
            if self.size - reader.position > LAG_BYTES and reader.is_reading:
                other = self.release(reader)
                other.client.fail(other, WriteTimeout("others read the same, and there is no room to wait"))
        self._trimmed_at = -_TRIM_BYTES  # What only they had not read takes room no more.
        self._pace()

    def _watch(self) -> None:
        """Look again after some time if all have left: a slow backend is not kept busy for nobody.

        What nobody has waited for from the start, or all have been answered from, has all its time.
        """
        if not self.readers and not self.has_ended and self.reply is not None and self._look is None:
            self._look = self.owner.look_later(self._look_at, self.size)

    def _look_at(self, size_before: int) -> None:
        self._look = None
        if not self.readers and self.size - size_before < LEAST_BYTES:
            self.cancel("client-left")
        else:
            self._watch()

    def _pace(self) -> None:
        """Have the backend go on or wait, and drop what all have read."""
        if self.has_ended or self.reply is None:
            return
        server = self.exchange.server
        if not self.is_kept:
            self._trim()
        has_to_wait = self._slow and not self.is_kept and not (self._may_lag and len(self._slow) < len(self.readers))
        if server is not None and bool(has_to_wait) is not self._is_pausing:
            self._is_pausing = not self._is_pausing
            if self._is_pausing:
                server.pause_reply()
            else:
                server.resume_reply()

    def _trim(self) -> None:
        """Drop what all have read; where some are slow, not each time, for that takes a look at each of them."""
        if not self._held:
            return
        if not self._slow:
            count = len(self._held)
        elif self._trimmed_at + _TRIM_BYTES > self.size:
            return
        else:
            count = min(reader.position for reader in self._slow) - self._base
        self._trimmed_at = self.size
        del self._held[:count]
        self._base += count
        self.owner.dropped(self, count)

    def _end(self, end_reason: str, now: float) -> None:
        self.has_ended, exchange = True, self.exchange
        if self._look is not None:
            self._look.cancel()
            self._look = None
        exchange.ended, exchange.end_reason, exchange.ended_at = True, end_reason, now
        exchange.client = None  # The two would hold each other until the garbage collector looks.
        self.owner.ended(self)

    def __repr__(self) -> str:
        state = "ended" if self.has_ended else f"{len(self.readers)} readers"
        return f"<Fetch {self.errand.room!r} {state}, {self.size} bytes>"
