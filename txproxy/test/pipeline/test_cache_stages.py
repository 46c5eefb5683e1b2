"""A cache and stages of a route: they see what a client gets."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from txproxy.exchange import Exchange
from txproxy.pipeline import catalogue
from txproxy.test.pipeline.cache_case import ETAG, FRESH, LARGE, STORABLE, CacheCase, get
from txproxy.test.talk import head, reply
from txproxy.testing import Dialogue


class _Stage:
    """Notes what it sees, and changes replies."""

    def __init__(self) -> None:
        self.seen: list[int] = []
        self.waits: list[Deferred[Any]] | None = None

    def on_reply(self, exchange: Exchange) -> Any:
        assert exchange.reply is not None
        self.seen.append(exchange.reply.status)
        exchange.reply.fields.append((b"X-Stage", b"%d" % len(self.seen)))
        if self.waits is None:
            return None
        self.waits.append(Deferred())
        return self.waits[-1]


class StageTests(CacheCase):
    """Stages see each reply that a client gets, not what is stored."""

    def staged(self, cache: str = "true", **parts: Any) -> tuple[Dialogue, _Stage]:
        stage = _Stage()
        self.patch(catalogue, "STAGES", (*catalogue.STAGES, lambda settings, config: stage))
        return self.cached(cache, **parts), stage

    def test_eachDelivery(self) -> None:
        """A miss, a hit, a part, a 304, and a 304 that was validated: each is changed once, by itself."""
        dialogue, stage = self.staged()
        client = self.asks(dialogue)
        backend = dialogue.backend()
        backend.says(reply(b"stored", FRESH, ETAG))
        self.assertEqual(self.assertGets(client, b"MISS", b"stored").all(b"X-Stage"), [b"1"])
        backend.gets()
        for number, fields, status, body in (
            (2, [], 200, b"stored"),
            (3, [b"Range: bytes=0-0"], 206, b"s"),
            (4, [b'If-None-Match: "1"'], 304, b""),
        ):
            client.says(get(b"/", *fields))
            self.assertEqual(self.assertGets(client, b"HIT", body, status).all(b"X-Stage"), [b"%d" % number])
        dialogue.advance(61)
        client.says(get())
        self.assertAsked(backend, b"If-None-Match")
        backend.says(head(FRESH, ETAG, status=b"HTTP/1.1 304 Not Modified"))
        self.assertEqual(self.assertGets(client, b"REVALIDATED", b"stored").all(b"X-Stage"), [b"5"])
        self.assertEqual(stage.seen, [200, 200, 206, 304, 200])

    def test_waits(self) -> None:
        """A stage that waits delays its own client alone; a large hit and a miss follow when it agrees."""
        dialogue, stage = self.staged()
        stage.waits = []
        clients = [self.asks(dialogue) for _ in range(2)]
        backend = dialogue.backend()
        backend.says(head(FRESH, b"Content-Length: %d" % len(LARGE)) + LARGE[:100])
        stage.waits[1].callback(None)
        dialogue.settle()
        self.assertEqual(clients[0].gets(), b"")
        clients[1].gets_head()
        self.assertEqual(clients[1].gets(), LARGE[:100])
        backend.says(LARGE[100:])
        self.assertEqual(clients[1].gets(), LARGE[100:])
        clients.append(self.asks(dialogue))
        self.assertEqual(clients[2].gets(), b"")
        for client, waits in ((clients[0], stage.waits[0]), (clients[2], stage.waits[2])):
            waits.callback(None)
            dialogue.settle()
            client.gets_head()
            self.assertEqual(client.gets(), LARGE)

    def test_agreesBeforeContent(self) -> None:
        """The head goes out when a stage agrees, though the content is slower."""
        dialogue, stage = self.staged()
        stage.waits = []
        client = self.asks(dialogue)
        backend = dialogue.backend()
        backend.says(head(FRESH, b"Content-Length: 2"))
        stage.waits[0].callback(None)
        dialogue.settle()
        client.gets_head()
        backend.says(b"ok")
        self.assertEqual(client.gets(), b"ok")

    def test_answersItself(self) -> None:
        """A stage that raises, or a client that leaves while it decides: what is stored is not touched."""
        dialogue, stage = self.staged()
        self.store(dialogue)
        stage.waits = []
        client = self.asks(dialogue)
        client.finishes()
        self.assertEnd(dialogue, "client-left", 499)
        client = self.asks(dialogue)
        stage.waits[1].errback(ValueError("no"))
        dialogue.settle()
        self.assertStatus(client, 500)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        stage.waits = None
        self.assertStill(dialogue, b"HIT", b"stored")

    def test_cutWhileItDecides(self) -> None:
        """A reply that is cut while a stage decides gives an error, and is not stored."""
        dialogue, stage = self.staged()
        stage.waits = []
        client = self.asks(dialogue)
        backend = dialogue.backend()
        backend.says(head(FRESH, b"Content-Length: 6") + b"sto")
        backend.finishes()
        self.assertStatus(client, 502)
        self.assertEnd(dialogue, "reply-cut", 502)
        self.assertEqual(len(self.cache_of(dialogue).store.variants(b"")), 0)
        self.assertEqual(self.cache_of(dialogue).statistics().store.objects, 0)

    def test_holdsBackWhatIsNotKept(self) -> None:
        """While a stage decides on what is not stored the backend waits, so that it does not fill our memory."""
        dialogue, stage = self.staged()
        stage.waits = []
        client = self.asks(dialogue)
        backend = dialogue.backend()
        backend.says(head(b"Cache-Control: no-store", b"Content-Length: 200000") + bytes(1000))
        self.assertFalse(backend.transport.is_reading)
        stage.waits[0].callback(None)
        dialogue.settle()
        self.assertTrue(backend.transport.is_reading)
        backend.says(bytes(199_000))
        self.assertGets(client, b"MISS", bytes(200_000))


class StickyTests(CacheCase):
    """Routes with a cache and a cookie that keeps clients at their backends."""

    def test_aHitSetsNoCookie(self) -> None:
        """Who causes a fetch has met a backend; who reads what is stored, or joins, has met nobody."""
        dialogue = self.cached(cluster='sticky = "s"', backends=("10.0.0.1:80", "10.0.0.2:80"))
        first, second = self.asks(dialogue), self.asks(dialogue)
        dialogue.backend().says(STORABLE)
        self.assertEqual(len(self.assertGets(first, b"MISS", b"stored").all(b"Set-Cookie")), 1)
        self.assertEqual(self.assertGets(second, b"MISS", b"stored").all(b"Set-Cookie"), [])
        self.assertEqual(self.assertStill(dialogue, b"HIT", b"stored").all(b"Set-Cookie"), [])
