"""What breaks a rule costs its sender what RFC 9113 says: nothing, the stream, or the connection."""

from __future__ import annotations

from h2.errors import ErrorCodes
from twisted.trial.unittest import SynchronousTestCase

from txproxy.test.wire.http2.engine_case import (
    ACK,
    FIELDS,
    FRAME_BYTES,
    HEADER_BYTES,
    INTERIM,
    MOST_STREAMS,
    PUSH,
    REPLY,
    REQUEST,
    TABLE_BYTES,
    TRAILERS,
    WINDOW_BYTES,
    block_of,
    calling,
    continuation,
    data,
    feed,
    goaway,
    headers,
    outcome,
    ping,
    prioritised,
    priority,
    push,
    raw,
    said,
    serving,
    settings,
    window,
)
from txproxy.wire.http2.engine import Engine, EngineSettings
from txproxy.wire.http2.events import ConnectionFailed, HeadReceived

_ON = "goes on"
_PROTOCOL = "connection PROTOCOL_ERROR"


class MalformedTests(SynchronousTestCase):
    """What a message says is not judged here; the order of its parts is (RFC 9113 section 8.1)."""

    def test_anyFieldsPass(self) -> None:
        """Whoever reads them decides, for one stream alone."""
        for fields in (
            [],
            [(b"", b"")],
            [(b":path", b"/"), (b":path", b"/")],
            [(b"connection", b"x")],
            [(b"A", b"\n")],
        ):
            engine = serving()
            for id in (1, 3):
                self.assertEqual(feed(engine, headers(id, block_of(fields), True)), [HeadReceived(id, fields, True)])

    def test_aRequestIsNoReply(self) -> None:
        """A status in a request, or its trailers, is malformed as any other field that may not be there."""
        status = [(b":status", b"100")]
        self.assertEqual(outcome(serving(), headers(1, block_of([*status, *FIELDS]), True)), _ON)
        self.assertEqual(outcome(serving(), headers(1), headers(1, block_of(status), True)), _ON)

    def test_trailersAreTheEnd(self) -> None:
        """Without END_STREAM they make the request malformed: an error of the stream."""
        self.assertEqual(outcome(serving(), headers(1), headers(1, TRAILERS)), "stream PROTOCOL_ERROR")

    def malformed_reply(self, *parts: bytes) -> None:
        """Assert that a reply costs no more than its stream."""
        engine = calling()
        id, other = engine.open_stream(REQUEST, True), engine.open_stream(REQUEST, True)
        self.assertEqual(outcome(engine, *parts), "stream PROTOCOL_ERROR")
        self.assertEqual((engine.is_open(id), engine.is_open(other)), (False, True))

    def test_anInterimReplyHasNoEnd(self) -> None:
        """Something has to follow it."""
        self.malformed_reply(headers(1, INTERIM, True))

    def test_noInterimReplyAfterTheFinalOne(self) -> None:
        """It is too late."""
        self.malformed_reply(headers(1, REPLY), headers(1, INTERIM))

    def test_contentHasAHead(self) -> None:
        """It does not come first."""
        self.malformed_reply(data(1, b"x"))

    def test_trailersOfAReplyAreTheEnd(self) -> None:
        """Without END_STREAM they make the reply malformed."""
        self.malformed_reply(headers(1, REPLY), headers(1, TRAILERS))


_SIZE, _FLOW, _CALM, _COMPRESSION = (
    f"connection {name}"
    for name in ("FRAME_SIZE_ERROR", "FLOW_CONTROL_ERROR", "ENHANCE_YOUR_CALM", "COMPRESSION_ERROR")
)

_BAD_BLOCKS = (
    b"\x80",
    b"\xff\xff\xff\xff\xff\x0f",
    b"\x40\x7f",
    b"\x3f\xe2\x1f",
    b"\x82\x3f\x00",
    b"\x00\x81\xff\x00",
    b"\xfe",
)
"""No such index, an endless one, a block cut off, a table too large, a size update too late, bad Huffman, no entry."""

_CONNECTION_FAULTS: list[tuple[str, bytes]] = [
    (_PROTOCOL, settings({PUSH: 2})),
    (_FLOW, settings({WINDOW_BYTES: 2**31})),
    (_PROTOCOL, settings({FRAME_BYTES: 16383})),
    (_PROTOCOL, settings({FRAME_BYTES: 2**24})),
    (_SIZE, raw(4, 0, 0, bytes(5))),
    (_SIZE, raw(4, 1, 0, bytes(6))),
    (_PROTOCOL, raw(4, 0, 1)),
    (_CALM, raw(4, 0, 0, b"\x00\x63\x00\x00\x00\x00" * 33)),
    (_PROTOCOL, push(1)),
    (_PROTOCOL, raw(0, 0, 0, b"x")),
    (_PROTOCOL, raw(1, 4, 0, REQUEST)),
    (_PROTOCOL, raw(1, 0, 0, REQUEST[:5]) + raw(9, 4, 0, REQUEST[5:])),
    (_PROTOCOL, raw(2, 0, 0, bytes(5))),
    (_PROTOCOL, raw(3, 0, 0, bytes(4))),
    (_PROTOCOL, raw(5, 4, 0, bytes(4))),
    (_PROTOCOL, continuation(1)),
    (_PROTOCOL, headers(3, whole=False) + ping()),
    (_PROTOCOL, headers(3, whole=False) + raw(99)),
    (_PROTOCOL, raw(7, 0, 1, bytes(8))),
    (_SIZE, raw(7, 0, 0, bytes(7))),
    (_PROTOCOL, raw(8, 0, 0, bytes(4))),
    (_FLOW, window(0, 2**31 - 1)),
    (_SIZE, raw(6, 0, 0, bytes(7))),
    (_SIZE, raw(0, 0, 1, bytes(16385))),
    (_PROTOCOL, data(1, b"abc", pad=0)[:9] + b"\x04abc"),
    (_FLOW, data(1, bytes(16384)) * 4 + data(1, b"x")),
    (_FLOW, window(1, 2**31 - 1 - 65535) + settings({WINDOW_BYTES: 65536})),
    *[(_COMPRESSION, headers(id, block, True)) for id in (1, 3, 5) for block in _BAD_BLOCKS],
]
"""On a server with stream 1 open and 3 reset."""


class ConnectionFaultTests(SynchronousTestCase):
    """What ends the connection, and what is left of it."""

    def broken(self, *parts: bytes) -> Engine:
        """Return a server with a stream that is open, and one that was reset, after some bytes."""
        engine = serving()
        feed(engine, headers(1), headers(3))
        engine.reset(3, ErrorCodes.CANCEL)
        engine.take()
        self.verdict = outcome(engine, *parts)
        return engine

    def test_whatEndsIt(self) -> None:
        """The reason is the one that the RFC names, whatever else was received with it."""
        for verdict, sent in _CONNECTION_FAULTS:
            for after in (b"", ping() + headers(9)):
                self.broken(sent + after)
                self.assertEqual(self.verdict, verdict, sent)

    def test_whatDoesNot(self) -> None:
        """Settings at their bounds, and those that mean nothing; frames of no known type or flag."""
        for sent in (
            settings({PUSH: 0}),
            settings({PUSH: 1}),
            settings({WINDOW_BYTES: 2**31 - 1}),
            settings({WINDOW_BYTES: 0}),
            settings({FRAME_BYTES: 16384}),
            settings({FRAME_BYTES: 2**24 - 1}),
            settings({MOST_STREAMS: 2**32 - 1, TABLE_BYTES: 2**32 - 1, HEADER_BYTES: 0}),
            settings({MOST_STREAMS: 0, TABLE_BYTES: 0, 8: 77, 0: 1}),
            raw(4, 0, 0, b"\xff\xff\x00\x00\x00\x09" * 32),
            raw(4, 0xFE, 0),
            raw(6, 0xFE, 0, bytes(8)),
            raw(8, 0, 0, b"\x80\x00\x00\x01"),
            raw(10, 0, 1, b"\xff"),
            raw(255, 255, 999, b"x" * 99),
            priority(77),
            data(1, bytes(16384)) * 4,
            window(0, 2**31 - 1 - 65535),
            window(1, 2**31 - 1 - 65535),
            goaway(99, 99),
            ACK * 3,
            prioritised(5, 1),
        ):
            self.broken(sent)
            self.assertEqual(self.verdict, _ON, sent)

    def test_settingsAreLookedAtOneByOne(self) -> None:
        """They are processed in the order in which they appear (RFC 9113 section 6.5.3)."""
        self.broken(raw(4, 0, 0, b"\x00\x04\x80\x00\x00\x00\x00\x04\x00\x00\x00\x01"))
        self.assertEqual(self.verdict, _FLOW)

    def test_aServerDoesNotPush(self) -> None:
        """It cannot ask to be pushed to, nor push although it was told not to (RFC 9113 section 8.4)."""
        for sent in (settings({PUSH: 1}), settings({PUSH: 2}), push(1), push(1, 3)):
            engine = calling()
            engine.open_stream(REQUEST, True)
            engine.take()
            self.assertEqual(outcome(engine, sent), _PROTOCOL)
        self.assertEqual(outcome(calling(), settings({PUSH: 0})), _ON)

    def test_nothingIsSentAfterwards(self) -> None:
        """The last frame is GOAWAY with the last stream that was taken; nothing that is called changes that."""
        for _, sent in _CONNECTION_FAULTS:
            engine = serving()
            feed(engine, headers(1), headers(3))
            engine.reset(3, ErrorCodes.CANCEL)
            events = feed(engine, sent)
            self.assertIsInstance(events[-1], ConnectionFailed)
            goodbye = said(engine.take())[-1]
            self.assertTrue(goodbye.startswith("GoAway 0 "), goodbye)
            self.assert_silent(engine)

    def test_failing(self) -> None:
        """The owner may end it too; its words go with it, in plain letters, and it ends once."""
        engine = serving()
        feed(engine, headers(5))
        engine.send_head(5, REPLY)
        engine.fail(ErrorCodes.INTERNAL_ERROR, "oh \u2713")
        engine.fail(ErrorCodes.PROTOCOL_ERROR, "again")
        sent = engine.take()
        self.assertEqual(said(sent), ["Headers 5", "GoAway 0 5 INTERNAL_ERROR"])
        self.assertTrue(sent.endswith(b"oh ?"))
        self.assert_silent(engine)

    def assert_silent(self, engine: Engine) -> None:
        """Call whatever there is."""
        self.assertTrue(engine.has_failed)
        self.assertFalse(engine.may_open)
        for id in (1, 3, 5, 99):
            self.assertEqual(engine.room(id), 0)
            engine.send_head(id, REPLY)
            engine.send_data(id, b"x", True)
            engine.send_trailers(id, TRAILERS)
            engine.consumed(id, 10**6)
            engine.reset(id, ErrorCodes.CANCEL, True)
        engine.ping()
        engine.fail(ErrorCodes.NO_ERROR)
        self.assertEqual(feed(engine, ping(), headers(7), b"\xff" * 99), [])
        self.assertEqual(engine.take(), b"")

    def test_noGoodbyeAfterTheLast(self) -> None:
        """Who leaves with a failure does not leave again in peace."""
        engine = self.broken(push(1))
        engine.go_away(0)
        self.assertEqual(engine.take(), b"")

    def test_refusedLists(self) -> None:
        """A list of up to four times what is let pass is read, so that it can be answered."""
        for count, verdict in ((31, _ON), (32, _CALM)):
            block = block_of([(b"x", b"y" * 4000)]) + b"\xbe" * count
            engine = serving(EngineSettings(max_header_bytes=32768))
            self.assertEqual(outcome(engine, headers(1, block, True)), verdict)

    def test_blocksAreAsLargeAsAllowed(self) -> None:
        """What is announced to be let pass is let pass."""
        engine = serving(EngineSettings(max_header_bytes=131072))
        field = b"\x00\x02xx\x7f\x81\x7d" + b"\xfe" * 16128
        self.assertEqual(outcome(engine, headers(1, whole=False), *[continuation(1, field, False)] * 5), _ON)
        self.assertEqual(outcome(engine, continuation(1)), _ON)
