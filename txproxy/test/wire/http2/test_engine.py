"""A server's side of a connection: what comes of each frame, what is sent, and how it ends in peace."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import hpack
from h2.errors import ErrorCodes
from twisted.trial.unittest import SynchronousTestCase

from txproxy.test.wire.http2.engine_case import (
    ACK,
    ANSWERED,
    FIELDS,
    FRAME_BYTES,
    INTERIM,
    REPLY,
    REQUEST,
    TABLE_BYTES,
    TRAILED,
    TRAILERS,
    Talk,
    continuation,
    data,
    feed,
    frames_in,
    goaway,
    headers,
    held,
    outcome,
    ping,
    prioritised,
    priority,
    raw,
    reset,
    said,
    serving,
    settings,
    stock,
    window,
)
from txproxy.wire.http2.engine import Engine, EngineSettings
from txproxy.wire.http2.events import (
    DataReceived,
    HeadReceived,
    PeerGoesAway,
    PingAnswered,
    SettingsChanged,
    StreamReset,
    TrailersReceived,
    WindowOpened,
)
from txproxy.wire.http2.frames import PREFACE


class BeginningTests(SynchronousTestCase):
    """What each side says first (RFC 9113 section 3.4)."""

    def test_ofAServer(self) -> None:
        """Its limits, and a window for all of its streams."""
        engine = Engine(False, EngineSettings(7, 70_000, 200_000, 5000))
        engine.start()
        self.assertEqual(said(engine.take()), ["Settings 0 3=7,4=70000,6=5000,8=1", "WindowUpdate 0 +134465"])
        self.assertEqual(feed(engine, PREFACE + settings()), [SettingsChanged()])
        self.assertEqual(said(engine.take()), ["Settings 0 ACK"])

    def test_ofAClient(self) -> None:
        """The preface, and that it wants nothing pushed; no window if the usual one is enough."""
        engine = Engine(True, EngineSettings(7, 70_000, 65535, 5000))
        engine.start()
        sent = engine.take()
        self.assertTrue(sent.startswith(PREFACE))
        self.assertEqual(said(sent), ["Settings 0 2=0,4=70000,6=5000"])

    def test_whetherItHasBegun(self) -> None:
        """Known by the settings of the peer; and whether a header block is incomplete."""
        engine = Engine(False, EngineSettings())
        engine.start()
        feed(engine, PREFACE)
        self.assertFalse(engine.has_begun)
        feed(engine, settings())
        self.assertTrue(engine.has_begun)
        self.assertFalse(engine.is_in_block)
        feed(engine, headers(1, whole=False))
        self.assertTrue(engine.is_in_block)
        feed(engine, continuation(1), headers(3), data(3, b"x"), headers(3, ended=True))
        self.assertEqual((engine.is_in_block, engine.blocks), (False, 3))


class EventTests(SynchronousTestCase):
    """What comes of each frame."""

    def test_whatComes(self) -> None:
        """On stream 1, and on a later one: the message with its parts, and what is said about it."""
        for id in (1, 3):
            for parts, events in (
                ([headers(id, ended=True)], [HeadReceived(id, FIELDS, True)]),
                ([headers(id)], [HeadReceived(id, FIELDS, False)]),
                ([headers(id, pad=5)], [HeadReceived(id, FIELDS, False)]),
                ([prioritised(id, 9, pad=5)], [HeadReceived(id, FIELDS, True)]),
                ([headers(id, REQUEST[:3], True, False, 2), continuation(id, REQUEST[3:])], [HeadReceived(id, FIELDS, True)]),
                ([headers(id, REQUEST[:3], False, False), continuation(id, REQUEST[3:])], [HeadReceived(id, FIELDS, False)]),
                ([headers(id), data(id, b"abc")], [DataReceived(id, b"abc", 3, False)]),
                ([headers(id), data(id, b"abc", pad=4)], [DataReceived(id, b"abc", 8, False)]),
                ([headers(id), data(id, pad=0)], [DataReceived(id, b"", 1, False)]),
                ([headers(id), data(id, b"abc", True)], [DataReceived(id, b"abc", 3, True)]),
                ([headers(id), data(id, ended=True)], [DataReceived(id, b"", 0, True)]),
                ([headers(id), headers(id, TRAILERS, True)], [TrailersReceived(id, TRAILED)]),
                ([headers(id), data(id, b"x"), headers(id, TRAILERS, True)], [DataReceived(id, b"x", 1, False), TrailersReceived(id, TRAILED)]),
                ([headers(id), reset(id, 8)], [StreamReset(id, 8, True)]),
                ([headers(id), reset(id, 0xFFFFFFFF)], [StreamReset(id, 0xFFFFFFFF, True)]),
                ([headers(id), reset(id), reset(id), window(id, 1)], [StreamReset(id, 8, True)]),
                ([headers(id, ended=True), window(id, 9)], [WindowOpened(id)]),
                ([headers(id), window(0, 9)], [WindowOpened(0)]),
                ([headers(id), settings({5: 20000})], [SettingsChanged()]),
                ([headers(id), ACK, ping(), ping(answer=True), priority(id), raw(0xBE, 1, id, b"x")], []),
                ([headers(id), goaway(6, 11, b"words")], [PeerGoesAway(6, 11)]),
                ([headers(id), goaway(0xFFFFFFFF, 99)], [PeerGoesAway(0x7FFFFFFF, 99)]),
            ):  # fmt: skip
                engine = serving()
                if id > 1:
                    feed(engine, headers(1, ended=True))
                whole = feed(engine, *parts)
                self.assertEqual(whole if len(events) == len(whole) else whole[1:], events, parts)
                engine = serving()
                if id > 1:
                    feed(engine, headers(1, ended=True))
                octets = [bytes((octet,)) for octet in b"".join(parts)]
                self.assertEqual(feed(engine, *octets), whole, parts)

    def test_pings(self) -> None:
        """They are answered with the same words; answers count if they are to our own."""
        engine = serving()
        feed(engine, ping(b"abcdefgh"))
        self.assertEqual(said(engine.take()), ["Ping 0 abcdefgh ACK"])
        engine.ping()
        (asked,) = frames_in(engine.take())
        self.assertEqual(feed(engine, ping(b"abcdefgh", answer=True)), [])
        self.assertEqual(feed(engine, ping(asked.opaque_data, answer=True)), [PingAnswered()])
        self.assertEqual(engine.take(), b"")

    def test_theNextFrameWaits(self) -> None:
        """Each event can be acted on before the next frame is read."""
        engine = serving()
        seen: list[Any] = []
        for event in engine.receive(headers(1) + data(1, b"x") + headers(3) + data(3, b"y") + headers(5), 0.0):
            seen.append(event)
            if event == HeadReceived(1, FIELDS, False):
                engine.reset(1, ErrorCodes.CANCEL)
            elif isinstance(event, DataReceived):
                engine.fail(ErrorCodes.INTERNAL_ERROR)
        self.assertEqual(
            seen, [HeadReceived(1, FIELDS, False), HeadReceived(3, FIELDS, False), DataReceived(3, b"y", 1, False)]
        )
        self.assertEqual(said(engine.take())[-1], "GoAway 0 3 INTERNAL_ERROR")

    def test_goodbyes(self) -> None:
        """The last stream without the reserved bit, and any code."""
        sent = raw(7, 0xFF, 0, b"\x80\x00\x00\x05\xff\xff\xff\xffwords")
        self.assertEqual(feed(serving(), sent), [PeerGoesAway(5, 2**32 - 1)])

    def test_theReservedBitOfWindows(self) -> None:
        """It makes none larger or smaller (RFC 9113 section 6.9)."""
        engine = serving()
        feed(engine, headers(1), headers(3), raw(8, 0, 1, b"\x80\x00\x00\x05"), raw(8, 0, 0, b"\x80\x00\x00\x07"))
        self.assertEqual((engine.room(1), engine.room(3)), (65540, 65535))
        self.assertEqual(outcome(engine, raw(8, 0, 3, b"\x80\x00\x00\x00")), "stream PROTOCOL_ERROR")
        self.assertEqual(outcome(engine, raw(8, 0, 0, b"\x80\x00\x00\x00")), "connection PROTOCOL_ERROR")

    def test_settings(self) -> None:
        """They are acknowledged before anything that obeys them; unknown ones are not kept."""
        engine = serving()
        feed(engine, headers(1, ended=True))
        before = held(engine)
        for number in range(7, 2000):
            feed(engine, settings({number & 0xFF | 0x80: number}), raw(4, 0, 0, number.to_bytes(2, "big") + bytes(4)))
        self.assertEqual(set(said(engine.take())), {"Settings 0 ACK"})
        self.assertLess(held(engine), before + 10)
        feed(engine, settings({FRAME_BYTES: 20_000}))
        engine.send_head(1, REPLY)
        engine.send_data(1, bytes(20_000))
        self.assertEqual(said(engine.take()), ["Settings 0 ACK", "Headers 1", "Data 1 20000"])


class ReplyTests(SynchronousTestCase):
    """What is sent, as a client of h2 reads it."""

    def setUp(self) -> None:
        """Connect a client."""
        self.engine = Engine(False, EngineSettings())
        self.engine.start()
        self.client = stock(True)
        self.talk = Talk(self.engine, self.client)
        self.client.send_headers(1, FIELDS, end_stream=True)
        self.client.send_headers(3, FIELDS)
        self.talk.go_on()

    def answers(self) -> list[tuple[str, Any]]:
        """Return what has come to the client: what, and what is in it."""
        return [
            (type(event).__name__, getattr(event, "headers", None) or getattr(event, "data", None))
            for event in self.talk.go_on()[1]
        ]

    def test_everyPart(self) -> None:
        """Interim heads, the head, content, trailers, in this order; on the first stream and another."""
        for id in (1, 3):
            self.engine.send_head(id, INTERIM, interim=True)
            self.engine.send_head(id, INTERIM, interim=True)
            self.talk.go_on()
            self.engine.send_head(id, REPLY)
            self.engine.send_data(id, b"abc")
            self.engine.send_trailers(id, TRAILERS)
            self.assertEqual(
                self.answers(),
                [
                    ("ResponseReceived", ANSWERED),
                    ("DataReceived", b"abc"),
                    ("TrailersReceived", TRAILED),
                    ("StreamEnded", None),
                ],
            )

    def test_ends(self) -> None:
        """The end comes with the head, with content, with an empty frame, with trailers."""
        engine = self.engine
        ends: tuple[tuple[bool, Callable[[int], None]], ...] = (
            (True, lambda id: engine.send_head(id, REPLY, True)),
            (False, lambda id: engine.send_data(id, b"x", True)),
            (False, lambda id: engine.send_data(id, b"", True)),
            (False, lambda id: engine.send_trailers(id, TRAILERS)),
        )
        for is_head, end in ends:
            for is_complete in (True, False):
                id = self.client.get_next_available_stream_id()
                self.client.send_headers(id, FIELDS, end_stream=is_complete)
                self.talk.go_on()
                if not is_head:
                    engine.send_head(id, REPLY)
                end(id)
                self.assertEqual(self.answers()[-1][0], "StreamEnded")
                self.assertIs(self.engine.is_open(id), not is_complete)
                self.assertEqual(self.engine.room(id), 0)
                self.engine.send_data(id, b"more")
                self.engine.send_head(id, REPLY)
                self.assertEqual(self.engine.take(), b"")

    def test_largeHeads(self) -> None:
        """A block that does not fit goes on in further frames, and content comes after it."""
        fields = [*ANSWERED, *[(b"x-%d" % number, b"v" * 4000) for number in range(12)]]
        self.engine.send_head(1, hpack.Encoder().encode(fields, huffman=False))
        (answer,) = self.answers()
        self.assertEqual(answer, ("ResponseReceived", fields))

    def test_framesLeaveInOrder(self) -> None:
        """A stream's frames are sent in the order in which they were made, however they are made."""
        self.engine.send_head(1, INTERIM, interim=True)
        self.engine.send_head(1, REPLY)
        blocks = [frame.data.removeprefix(b"\x20") for frame in frames_in(self.engine.take())]
        self.assertEqual(blocks, [INTERIM, REPLY])
        self.engine.send_head(3, bytes(16384))
        self.engine.send_data(3, b"x")
        self.assertEqual(said(self.engine.take()), ["Headers 3", "Data 3 1"])

    def test_longHeadsComeFirst(self) -> None:
        """Content follows a head of several frames."""
        self.engine.send_head(3, bytes(20_000))
        self.engine.send_data(3, b"x")
        self.assertEqual(said(self.engine.take()), ["Headers 3", "Continuation 3", "Data 3 1"])

    def test_closedStreams(self) -> None:
        """What is meant for a stream that has ended, or never was, goes nowhere."""
        self.engine.send_head(1, REPLY, True)
        self.engine.reset(3, ErrorCodes.CANCEL)
        self.engine.take()
        for id in (1, 3, 5, 2, 0):
            self.assertEqual((self.engine.is_open(id), self.engine.room(id)), (False, 0))
            self.engine.send_head(id, REPLY)
            self.engine.send_head(id, INTERIM, interim=True)
            self.engine.send_data(id, b"x", True)
            self.engine.send_trailers(id, TRAILERS)
            self.engine.consumed(id, 10**6)
            self.engine.reset(id, ErrorCodes.CANCEL, True)
        self.assertEqual(self.engine.take(), b"")

    def test_theTableOfAClientMayShrink(self) -> None:
        """What is written relies on no table: a client that allows none can read it, whenever it says so."""
        decoder = hpack.Decoder()
        for id, size in ((1, 0), (3, 4096), (5, 100), (7, 2**32 - 1)):
            feed(self.engine, headers(5), headers(7)) if id == 1 else None
            decoder.max_allowed_table_size = size
            feed(self.engine, settings({TABLE_BYTES: size}))
            self.engine.take()
            self.engine.send_head(id, REPLY)
            self.engine.send_trailers(id, TRAILERS)
            blocks = [frame.data for frame in frames_in(self.engine.take())]
            self.assertEqual([decoder.decode(block, raw=True) for block in blocks], [ANSWERED, TRAILED])

    def test_theLeastTableCounts(self) -> None:
        """Of those that a client names in one frame, or in several (RFC 7541 section 4.2)."""
        size = TABLE_BYTES.to_bytes(2, "big")
        for values, is_told in (
            ((100, 8192), True),
            ((8192, 0), True),
            ((0, 0, 4096), True),
            ((4096, 8192), False),
            ((8192, 4096), False),
        ):
            settled = [size + value.to_bytes(4, "big") for value in values]
            for sent in (raw(4, 0, 0, b"".join(settled)), b"".join([raw(4, 0, 0, one) for one in settled])):
                engine = serving()
                feed(engine, headers(1, ended=True), headers(3), sent)
                engine.take()
                engine.send_head(1, REPLY, True)
                engine.send_head(3, REPLY)
                blocks = [frame.data for frame in frames_in(engine.take())]
                self.assertEqual(blocks, [b"\x20" * is_told + REPLY, REPLY], values)

    def test_itIsSaidOnce(self) -> None:
        """A table without any room cannot get smaller, nor is it made larger."""
        engine = serving()
        feed(engine, headers(1, ended=True), headers(3, ended=True), headers(5, ended=True))
        blocks = []
        for id, size in ((1, 100), (3, 8192), (5, 50)):
            feed(engine, settings({TABLE_BYTES: size}))
            engine.take()
            engine.send_head(id, REPLY, True)
            blocks += [frame.data for frame in frames_in(engine.take())]
        self.assertEqual(blocks, [b"\x20" + REPLY, REPLY, REPLY])

    def test_theUpdateCountsForTheSizeOfAFrame(self) -> None:
        """A block that would just fit without it does not with it."""
        feed(self.engine, settings({TABLE_BYTES: 0}))
        self.engine.take()
        self.engine.send_head(1, bytes(16384))
        self.assertEqual([frame.body_len for frame in frames_in(self.engine.take())], [16384, 1])

    def test_theFirstBlockSaysHowLargeTheTableIs(self) -> None:
        """Whatever the stream that it is for, the first to leave has the update (RFC 7541 section 4.2)."""
        self.engine.send_head(1, REPLY)
        feed(self.engine, settings({TABLE_BYTES: 0}))
        self.engine.take()
        self.engine.send_trailers(1, TRAILERS)
        self.engine.send_head(3, REPLY)
        blocks = [frame.data for frame in frames_in(self.engine.take())]
        self.assertEqual(blocks, [b"\x20" + TRAILERS, REPLY])
