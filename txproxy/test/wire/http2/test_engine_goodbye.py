"""Streams that are not taken, connections that end in peace, and what is left of either: nothing."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable

import hpack
from h2.errors import ErrorCodes
from twisted.trial.unittest import SynchronousTestCase

from txproxy.test.wire.http2.engine_case import (
    FIELDS,
    INTERIM,
    REPLY,
    TRAILERS,
    block_of,
    data,
    feed,
    frames_in,
    goaway,
    headers,
    held,
    outcome,
    ping,
    push,
    reset,
    said,
    serving,
    window,
)
from txproxy.wire.http2.codecs import NO_FIELDS
from txproxy.wire.http2.engine import HIGHEST_STREAM_ID, Engine, EngineSettings
from txproxy.wire.http2.events import (
    DataReceived,
    HeadReceived,
    PeerGoesAway,
)
from txproxy.wire.http2.floods import Floods


class RefusalTests(SynchronousTestCase):
    """Streams that are not taken are refused alone, so that their client may try them again."""

    def test_tooMany(self) -> None:
        """Above the limit; whether the client knows of it or not; the table of headers is kept up."""
        for acknowledged in (True, False):
            engine = serving(EngineSettings(max_streams=2), Floods(100), acknowledged=acknowledged)
            encoder = hpack.Encoder()
            events = feed(engine, *[headers(id, encoder.encode([*FIELDS, (b"x", b"%d" % id)])) for id in (1, 3, 5, 7)])
            self.assertEqual([event.stream_id for event in events if isinstance(event, HeadReceived)], [1, 3])
            self.assertEqual(said(engine.take()), ["RstStream 5 REFUSED_STREAM", "RstStream 7 REFUSED_STREAM"])
            self.assertFalse(engine.is_open(5))
            late = feed(
                engine, data(5, b"x"), headers(5, encoder.encode([(b"late", b"1")]), True), reset(7), window(7, 1)
            )
            self.assertEqual((late, engine.take()), ([], b""))
            engine.reset(1, ErrorCodes.CANCEL)
            engine.take()
            fields = [*FIELDS, (b"x", b"7"), (b"late", b"1")]
            self.assertEqual(feed(engine, headers(9, encoder.encode(fields))), [HeadReceived(9, fields, False)])
            self.assertEqual(outcome(engine, headers(11, encoder.encode(fields), True)), "stream REFUSED_STREAM")

    def test_whatHasEndedDoesNotCount(self) -> None:
        """Half-closed streams count, those that were ended do not."""
        engine = serving(EngineSettings(max_streams=2))
        feed(engine, headers(1, ended=True), headers(3))
        engine.send_head(3, REPLY, True)
        self.assertEqual(outcome(engine, headers(5)), "stream REFUSED_STREAM")
        feed(engine, data(3, ended=True))
        self.assertEqual(outcome(engine, headers(7)), "goes on")


class GoodbyeTests(SynchronousTestCase):
    """Connections that end in peace (RFC 9113 section 6.8)."""

    def test_inTwoSteps(self) -> None:
        """What is on its way is taken; then what was taken is completed, and what comes later is refused."""
        engine = serving(floods=Floods(2))
        feed(engine, headers(1))
        engine.go_away(HIGHEST_STREAM_ID)
        engine.ping()
        goodbye, asked = frames_in(engine.take())
        self.assertEqual((goodbye.last_stream_id, goodbye.error_code), (2**31 - 1, 0))
        self.assertEqual(len(feed(engine, headers(3), ping(asked.opaque_data, True))), 2)
        engine.go_away(engine.last_peer_stream_id, words=b"bye")
        sent = engine.take()
        self.assertEqual((said(sent), sent[-3:]), (["GoAway 0 3 NO_ERROR"], b"bye"))
        for id in range(5, 25, 2):
            self.assertEqual(outcome(engine, headers(id, ended=True), data(id)), "stream REFUSED_STREAM")
        for id in (3, 1):
            self.assertEqual(feed(engine, data(id, b"x", True)), [DataReceived(id, b"x", 1, True)])
            engine.send_head(id, REPLY)
            engine.send_data(id, b"y", True)
            self.assertEqual(said(engine.take()), [f"Headers {id}", f"Data {id} 1 END_STREAM"])
            self.assertFalse(engine.is_open(id))
        self.assertFalse(engine.has_failed)

    def test_goodbyeOfTheClient(self) -> None:
        """What it has opened is completed, in both directions."""
        engine = serving()
        feed(engine, headers(1))
        self.assertEqual(feed(engine, goaway(0), goaway(0)), [PeerGoesAway(0, 0)] * 2)
        engine.send_head(1, REPLY)
        self.assertEqual(feed(engine, data(1, b"x", True), ping()), [DataReceived(1, b"x", 1, True)])
        engine.send_data(1, b"y", True)
        self.assertEqual(
            [word for word in said(engine.take()) if "Ping" not in word], ["Headers 1", "Data 1 1 END_STREAM"]
        )

    def test_theLastStreamMayBeYetToCome(self) -> None:
        """It is taken like those before it."""
        engine = serving()
        engine.go_away(5)
        engine.take()
        self.assertEqual([outcome(engine, headers(id)) for id in (1, 5)], ["goes on"] * 2)
        self.assertTrue(engine.is_open(5))
        self.assertEqual(outcome(engine, headers(7)), "stream REFUSED_STREAM")

    def test_theLastStreamIsLastForEver(self) -> None:
        """The number in GOAWAY never grows: the client may have tried again what was above it."""
        for fault in (push(1), data(99)):
            engine = serving()
            feed(engine, headers(1))
            engine.go_away(1)
            feed(engine, headers(3), fault)
            self.assertEqual(said(engine.take())[-1], "GoAway 0 1 PROTOCOL_ERROR")


class ReleaseTests(SynchronousTestCase):
    """A connection that is lost: who still speaks of it does no harm, and it leaves memory at once."""

    def released(self, *parts: bytes) -> Engine:
        """Return a server with two streams whose connection was lost."""
        engine = serving(floods=Floods(100))
        feed(engine, headers(1), headers(3, ended=True), *parts)
        engine.send_head(1, REPLY)
        engine.send_data(1, b"x")
        engine.release()
        return engine

    def test_nothingIsSentAnyMore(self) -> None:
        """Whatever is called; what waited to be sent is gone."""
        for parts in ((), (ping(),), (push(1),), (headers(5, whole=False),)):
            engine = self.released(*parts)
            for id in (1, 3, 5, 99):
                engine.send_head(id, REPLY)
                engine.send_head(id, INTERIM, interim=True)
                engine.send_data(id, b"x", True)
                engine.send_trailers(id, TRAILERS)
                engine.consumed(id, 10**6)
                engine.reset(id, ErrorCodes.CANCEL, True)
                self.assertEqual((engine.is_open(id), engine.room(id)), (False, 0))
            engine.ping()
            engine.go_away(0)
            engine.fail(ErrorCodes.NO_ERROR)
            engine.release()
            self.assertEqual((feed(engine, ping(), headers(7)), engine.may_open), ([], False))
            self.assertTrue(engine.has_begun)
            self.assertEqual(engine.last_peer_stream_id, 0)
            self.assertGreater(engine.peer_max_streams, 0)

    def test_thereIsNothingToTake(self) -> None:
        """A write that was put off until the end of the turn comes too late."""
        engine = self.released(ping())
        self.assertEqual((engine.take(), engine.take()), (b"", b""))

    def test_whileItIsRead(self) -> None:
        """What was received together with the last that is acted on is not read."""
        engine, seen = serving(), 0
        for _ in engine.receive(headers(1) + headers(3) + data(3) + ping(), 0.0):
            seen += 1
            engine.release()
        self.assertEqual(seen, 1)

    def test_noGarbageIsLeft(self) -> None:
        """Without waiting for the collector: h2 refers to itself."""
        gc.disable()
        self.addCleanup(gc.enable)
        engine = self.released(ping())
        keeper = serving()
        feed(keeper, headers(1))
        parts: list[Callable[[], object]] = [
            weakref.ref(keeper._h2),
            weakref.ref(keeper._h2.streams[1]),
            weakref.ref(keeper),
        ]
        keeper.release()
        del engine, keeper
        self.assertEqual([part() for part in parts], [None] * 3)


class MemoryTests(SynchronousTestCase):
    """Streams leave nothing behind."""

    def test_twentyThousandStreams(self) -> None:
        """However they end: answered, reset by either side, refused, in error."""
        engine = serving(EngineSettings(max_streams=10), Floods(10**6))
        encoder, early = hpack.Encoder(), 0
        for number in range(20_000):
            id, way, now = 2 * number + 1, number % 5, float(number)
            head = headers(id, encoder.encode([*FIELDS, (b"x", b"%d" % id)]), way != 3)
            feed(engine, head, window(0, 1), now=now)
            if way == 0:
                engine.send_head(id, REPLY, True)
            elif way == 1:
                feed(engine, reset(id), now=now)
            elif way == 2:
                feed(engine, data(id, b"x"), now=now)
            elif way == 3:
                feed(engine, data(id, b"x"), now=now)
                engine.reset(id, ErrorCodes.CANCEL)
                feed(engine, data(id, b"x"), now=now)
            else:
                engine.send_head(id, REPLY)
                engine.send_trailers(id, TRAILERS)
            engine.take()
            if number == 8000:
                early = held(engine)
        self.assertFalse(engine.has_failed)
        self.assertLess(held(engine), early + 200)
        self.assertLess(held(engine), 10_000)
        self.assertEqual(NO_FIELDS, [])

    def test_lateHeadsAmongManyOpen(self) -> None:
        """While more streams are open than h2 is let remember when they have ended, a late head costs what it costs."""
        engine = serving()
        feed(engine, headers(1), reset(1), *[headers(id) for id in range(3, 203, 2)])
        self.assertEqual(outcome(engine, headers(1, TRAILERS, True)), "stream STREAM_CLOSED")
        self.assertTrue(all(map(engine.is_open, range(3, 203, 2))))

    def test_manyOpenAtOnce(self) -> None:
        """A thousand streams that are open, and nothing of them when they are closed."""
        engine = serving(EngineSettings(max_streams=1000))
        feed(engine, headers(1, ended=True))
        engine.send_head(1, REPLY, True)
        before = held(engine)
        for start in range(3, 20_003, 2000):
            feed(engine, *[headers(id, block_of(FIELDS), True) for id in range(start, start + 2000, 2)])
            self.assertTrue(all(engine.is_open(id) for id in range(start, start + 2000, 2)))
            for id in range(start, start + 2000, 2):
                engine.send_head(id, REPLY, True)
            engine.take()
        feed(engine, *[headers(20_003 + 2 * number, ended=True) for number in range(64)])
        self.assertLess(held(engine) - before, 5000)
