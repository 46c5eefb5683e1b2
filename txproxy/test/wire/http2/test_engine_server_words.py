"""What a server may say to us as its client, right or wrong, and what that costs it."""

from __future__ import annotations

from h2.errors import ErrorCodes
from twisted.trial.unittest import SynchronousTestCase

from txproxy.test.wire.http2.engine_case import (
    ACK,
    ANSWERED,
    FRAME_BYTES,
    HEADER_BYTES,
    INTERIM,
    MOST_STREAMS,
    PUSH,
    REPLY,
    REQUEST,
    TABLE_BYTES,
    TRAILED,
    TRAILERS,
    WINDOW_BYTES,
    block_of,
    calling,
    continuation,
    data,
    feed,
    frames_in,
    goaway,
    headers,
    outcome,
    ping,
    priority,
    push,
    raw,
    reset,
    said,
    settings,
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

_ON = "goes on"
_MOST = 2**31 - 1
_PROTOCOL, _SIZE, _FLOW, _CALM, _COMPRESSION = (
    f"connection {name}"
    for name in ("PROTOCOL_ERROR", "FRAME_SIZE_ERROR", "FLOW_CONTROL_ERROR", "ENHANCE_YOUR_CALM", "COMPRESSION_ERROR")
)


def asked(count: int = 2, ended: bool = False, hello: dict[int, int] | None = None) -> Engine:
    """Return a client that has asked for something on the streams 1, 3 and so on; what it has sent is gone.

    :param hello: settings of the server.
    """
    engine = calling(hello=hello)
    for _ in range(count):
        engine.open_stream(REQUEST, ended)
    engine.take()
    return engine


class FaultTests(SynchronousTestCase):
    """What a server has no right to say."""

    def test_whatEndsTheConnection(self) -> None:
        """Frames that no stream is to blame for, with the reason that the RFC names."""
        for verdict, sent in (
            (_PROTOCOL, raw(1, 4, 0, REPLY)),
            (_PROTOCOL, headers(2, REPLY)),
            (_PROTOCOL, headers(9, REPLY)),
            (_PROTOCOL, raw(0, 0, 0, b"x")),
            (_PROTOCOL, data(9, b"x")),
            (_PROTOCOL, raw(3, 0, 0, bytes(4))),
            (_PROTOCOL, reset(9)),
            (_PROTOCOL, window(2, 1)),
            (_PROTOCOL, window(9, 1)),
            (_PROTOCOL, raw(8, 0, 0, bytes(4))),
            (_PROTOCOL, raw(8, 0, 9, bytes(4))),
            (_FLOW, window(0, _MOST)),
            (_PROTOCOL, continuation(1)),
            (_PROTOCOL, headers(1, REPLY, whole=False) + continuation(3)),
            (_PROTOCOL, headers(1, REPLY, whole=False) + ping()),
            (_PROTOCOL, push(1)),
            (_PROTOCOL, push(1, 4)),
            (_PROTOCOL, push(9)),
            (_PROTOCOL, settings({PUSH: 1})),
            (_PROTOCOL, settings({FRAME_BYTES: 16383})),
            (_FLOW, settings({WINDOW_BYTES: 2**31})),
            (_SIZE, raw(4, 0, 0, bytes(7))),
            (_SIZE, raw(4, 1, 0, bytes(6))),
            (_PROTOCOL, raw(4, 0, 1)),
            (_SIZE, raw(6, 0, 0, bytes(9))),
            (_PROTOCOL, raw(6, 0, 1, bytes(8))),
            (_SIZE, raw(7, 0, 0, bytes(7))),
            (_PROTOCOL, raw(7, 0, 1, bytes(8))),
            (_SIZE, raw(0, 0, 1, bytes(16385))),
            (_SIZE, PREFACE),
            (_COMPRESSION, headers(1, b"\xbe")),
            (_COMPRESSION, headers(1, b"\x3f\xe2\x1f")),
            (_CALM, headers(1, block_of([(b"x", b"y" * 4000)]) + b"\xbe" * 40)),
        ):
            engine = asked()
            self.assertEqual(outcome(engine, sent + headers(1, REPLY)), verdict, sent)
            self.assertEqual((engine.may_open, engine.room(1)), (False, 0))

    def test_whatEndsAStream(self) -> None:
        """Its owner is told, once; what else comes on it is thrown away, and the others go on."""
        malformed, closed, flow = ErrorCodes.PROTOCOL_ERROR, ErrorCodes.STREAM_CLOSED, ErrorCodes.FLOW_CONTROL_ERROR
        for code, parts in (
            (malformed, [data(1, b"x")]),
            (malformed, [data(1, ended=True)]),
            (malformed, [headers(1, INTERIM), data(1, b"x")]),
            (malformed, [headers(1, INTERIM, True)]),
            (malformed, [headers(1, INTERIM), headers(1, INTERIM, True)]),
            (malformed, [headers(1, REPLY), headers(1, INTERIM)]),
            (malformed, [headers(1, REPLY), headers(1, INTERIM, True)]),
            (malformed, [headers(1, REPLY), headers(1, TRAILERS)]),
            (malformed, [headers(1, REPLY), data(1, b"x"), headers(1, REPLY)]),
            (malformed, [window(1, 0)]),
            (malformed, [raw(8, 0, 1, b"\x80\x00\x00\x00")]),
            (closed, [headers(1, REPLY, True), data(1, b"x")]),
            (closed, [headers(1, REPLY, True), headers(1, TRAILERS, True)]),
            (closed, [headers(1, REPLY), headers(1, TRAILERS, True), data(1)]),
            (flow, [window(1, _MOST)]),
            (flow, [window(1, _MOST - 65535), window(1, 1)]),
        ):
            engine = asked()
            *_, last = feed(engine, *parts)
            self.assertEqual(last, StreamReset(1, code, False), parts)
            self.assertEqual(said(engine.take()), [f"RstStream 1 {code.name}"])
            late = (headers(1, REPLY), data(1, b"x"), headers(1, TRAILERS, True), window(1, 9), reset(1))
            self.assertEqual((feed(engine, *late), engine.take()), ([], b""), parts)
            self.assertEqual((engine.is_open(1), engine.room(1), engine.is_open(3)), (False, 0, True))
            self.assertEqual(feed(engine, headers(3, REPLY, True)), [HeadReceived(3, ANSWERED, True)])

    def test_whatIsOdd(self) -> None:
        """Fields are for their reader to judge; what is unknown means nothing; priorities are for others."""
        for sent in (
            headers(1, block_of([])),
            headers(1, block_of([(b":status", b"")])),
            headers(1, block_of([(b":status", b"2000")])),
            headers(1, block_of([(b"x", b"y"), (b":status", b"100")]), True),
            headers(1, TRAILERS, True),
            headers(1, REPLY) + headers(1, block_of([(b":path", b"/")]), True),
            settings({PUSH: 0, TABLE_BYTES: 2**32 - 1, HEADER_BYTES: 1, 0: 1, 0xFFFF: 9}),
            ACK * 9,
            priority(2, 4) + priority(1, 0) + raw(99, 0xFF, 2, b"?") + ping(answer=True),
            headers(1, REPLY) + data(1, b"", pad=7) * 20,
        ):
            self.assertEqual(outcome(asked(), sent), _ON, sent)

    def test_theReasonLeavesAfterAllElse(self) -> None:
        """What was owed is sent before GOAWAY, which is sent once and names no stream of the server."""
        for fault in (push(1), window(0, _MOST), settings({FRAME_BYTES: 1}), headers(9, REPLY), data(9)):
            engine = asked()
            engine.send_data(1, b"x")
            sent = ping(b"abcdefgh") + window(3, _MOST) + fault
            *_, last = feed(engine, sent)
            words = said(engine.take())
            self.assertEqual(words[:3], ["Data 1 1", "Ping 0 abcdefgh ACK", "RstStream 3 FLOW_CONTROL_ERROR"])
            self.assertEqual(words[3:], [f"GoAway 0 0 {last.code.name}"])  # type: ignore[union-attr]


class ReplyTests(SynchronousTestCase):
    """The order of a reply's parts, while the request is on its way or behind it."""

    def test_interimHeads(self) -> None:
        """As many as there are, also while content is sent; they end nothing."""
        engine = asked(1)
        for _ in range(5):
            self.assertEqual(len(feed(engine, headers(1, INTERIM))), 1)
            engine.send_data(1, b"x")
            self.assertEqual(said(engine.take()), ["Data 1 1"])
        engine.send_data(1, b"y", True)
        self.assertEqual(len(feed(engine, headers(1, INTERIM), headers(1, INTERIM))), 2)
        parts = (headers(1, REPLY), data(1, b"x"), headers(1, TRAILERS, True))
        self.assertEqual(
            feed(engine, *parts),
            [HeadReceived(1, ANSWERED, False), DataReceived(1, b"x", 1, False), TrailersReceived(1, TRAILED)],
        )
        self.assertFalse(engine.is_open(1))

    def test_trailersOfTheRequestMayComeLate(self) -> None:
        """A stream whose reply is complete is open until we have said all; gRPC calls end like that."""
        engine = asked(1)
        feed(engine, headers(1, REPLY), data(1, b"x"), headers(1, TRAILERS, True))
        self.assertTrue(engine.is_open(1))
        engine.send_data(1, b"y")
        engine.send_trailers(1, TRAILERS)
        self.assertEqual(said(engine.take()), ["Data 1 1", "Headers 1 END_STREAM"])
        self.assertFalse(engine.is_open(1))

    def test_refusedStreams(self) -> None:
        """Whatever the reason, the stream alone is over, and its place is free for the next."""
        for code in (0, 2, 5, 7, 8, 11, 13, 99, 2**32 - 1):
            engine = asked(2, hello={MOST_STREAMS: 2})
            self.assertEqual(feed(engine, reset(3, code)), [StreamReset(3, code, True)])
            self.assertEqual((engine.is_open(3), engine.room(3), engine.is_open(1)), (False, 0, True))
            self.assertEqual(engine.open_stream(REQUEST, True), 5)
            self.assertEqual(feed(engine, headers(5, REPLY, True)), [HeadReceived(5, ANSWERED, True)])

    def test_lateContentCounts(self) -> None:
        """What comes on streams that we have reset is given back to the connection's window, and not to theirs."""
        engine = Engine(True, EngineSettings(connection_window_bytes=65536))
        engine.start()
        feed(engine, settings() + ACK)
        ids = [engine.open_stream(REQUEST, True) for _ in range(5)]
        for id in ids:
            engine.reset(id, ErrorCodes.CANCEL)
        engine.take()
        self.assertEqual(feed(engine, *[data(id, bytes(16384)) for id in ids * 4]), [])
        self.assertEqual(said(engine.take()), ["WindowUpdate 0 +32768"] * 10)

    def test_manyResets(self) -> None:
        """What comes late on any of the last thousand that we have reset is no reason to end the connection."""
        engine = calling()
        ids = [engine.open_stream(REQUEST, False) for _ in range(1100)]
        for id in ids:
            engine.reset(id, ErrorCodes.CANCEL)
        engine.take()
        recent = [frame for id in ids[-1000:] for frame in (headers(id, REPLY), data(id, b"x"), reset(id))]
        self.assertEqual((feed(engine, *recent), engine.take()), ([], b""))
        # Older ones are not remembered for ever.
        self.assertEqual(outcome(engine, data(1, b"x")), "stream STREAM_CLOSED")


class GoodbyeTests(SynchronousTestCase):
    """GOAWAY of a server (RFC 9113 section 6.8): the owner decides what becomes of the streams."""

    def test_itIsPassedOn(self) -> None:
        """The last stream without the reserved bit, and any code; with words or without, and as often as it comes."""
        engine = asked()
        for sent, event in (
            (goaway(_MOST), PeerGoesAway(_MOST, 0)),
            (goaway(1, 2, b"words"), PeerGoesAway(1, 2)),
            (raw(7, 0xFF, 0, b"\x80\x00\x00\x01\xff\xff\xff\xff"), PeerGoesAway(1, 2**32 - 1)),
            (goaway(0, 11), PeerGoesAway(0, 11)),
        ):
            self.assertEqual(feed(engine, sent), [event])
        self.assertEqual((engine.has_failed, engine.take()), (False, b""))

    def test_whatWasTakenIsCompleted(self) -> None:
        """On both sides; and no stream is touched that the server will not take, until it is reset."""
        engine = asked()
        feed(engine, goaway(1, 0))
        self.assertTrue(engine.is_open(3))
        engine.reset(3, ErrorCodes.CANCEL)
        self.assertEqual(said(engine.take()), ["RstStream 3 CANCEL"])
        engine.send_data(1, b"x")
        engine.send_trailers(1, TRAILERS)
        self.assertEqual(said(engine.take()), ["Data 1 1", "Headers 1 END_STREAM"])
        feed(engine, window(0, 5), window(1, 5), settings({WINDOW_BYTES: 9}), ping())
        self.assertEqual(said(engine.take()), ["Settings 0 ACK", "Ping 0 12345678 ACK"])
        self.assertEqual(
            feed(engine, headers(1, INTERIM), headers(1, REPLY), data(1, b"y", True))[-1],
            DataReceived(1, b"y", 1, True),
        )
        self.assertFalse(engine.is_open(1))


class AllowanceTests(SynchronousTestCase):
    """How much a server lets us send, and how that changes."""

    def test_windowsOfStreams(self) -> None:
        """The first window counts for all streams, by the difference for those that are open (section 6.9.2)."""
        engine = asked(2, hello={WINDOW_BYTES: 1000})
        engine.send_data(1, bytes(400))
        rooms = []
        for size in (1000, 0, 300, 500, 2**31 - 1):
            self.assertEqual(feed(engine, settings({WINDOW_BYTES: size})), [SettingsChanged()])
            rooms.append((engine.room(1), engine.room(3), engine.room(engine.open_stream(REQUEST, False))))
        left = 65535 - 400
        self.assertEqual(rooms, [(600, 1000, 1000), (0, 0, 0), (0, 300, 300), (100, 500, 500), (left, left, left)])
        self.assertFalse(engine.has_failed)

    def test_settingsThatOverflow(self) -> None:
        """A window that one stream cannot have ends the connection, and it takes but one (section 6.9.2)."""
        for more, verdict in ((_MOST - 65536, _ON), (_MOST - 65535, _FLOW)):
            engine = asked()
            feed(engine, window(3, more))
            self.assertEqual(outcome(engine, settings({WINDOW_BYTES: 65536})), verdict)

    def test_windowsThatOverflow(self) -> None:
        """By one more than the largest; what was sent meanwhile counts."""
        engine = asked()
        self.assertEqual(feed(engine, window(1, _MOST - 65535), window(0, _MOST - 65535))[1:], [WindowOpened(0)])
        engine.send_data(1, b"xyz")
        self.assertEqual(feed(engine, window(1, 3), window(0, 3)), [WindowOpened(1), WindowOpened(0)])
        self.assertEqual(engine.room(1), _MOST)
        self.assertEqual(outcome(engine, window(1, 1)), "stream FLOW_CONTROL_ERROR")
        self.assertEqual(outcome(engine, window(0, 1)), _FLOW)

    def test_theReservedBit(self) -> None:
        """It makes no window larger or smaller (section 6.9)."""
        engine = asked()
        feed(engine, raw(8, 0, 1, b"\x80\x00\x00\x05"), raw(8, 0, 0, b"\x80\x00\x00\x07"))
        self.assertEqual((engine.room(1), engine.room(3)), (65540, 65535))

    def test_howManyStreams(self) -> None:
        """Fewer than there are do not end any; it is for the owner to open no more."""
        engine = asked(3)
        for most in (1, 0, 5):
            feed(engine, settings({MOST_STREAMS: most}))
            self.assertEqual(engine.peer_max_streams, most)
            self.assertTrue(all(map(engine.is_open, (1, 3, 5))))
        self.assertEqual(engine.open_stream(REQUEST, True), 7)
        feed(engine, settings({TABLE_BYTES: 0}))
        self.assertEqual(engine.peer_max_streams, 5)

    def test_framesInOneSize(self) -> None:
        """Content and heads are cut as the server says, from the moment on at which it does."""
        engine = asked(1, hello={FRAME_BYTES: 30_000})
        engine.send_data(1, bytes(40_000))
        self.assertEqual(said(engine.take()), ["Data 1 30000", "Data 1 10000"])
        feed(engine, settings({FRAME_BYTES: 16384}))
        engine.send_data(1, bytes(20_000))
        engine.open_stream(bytes(20_000), True)
        self.assertEqual(
            said(engine.take())[1:], ["Data 1 16384", "Data 1 3616", "Headers 3 END_STREAM", "Continuation 3"]
        )

    def test_theTable(self) -> None:
        """The least size that a server has named before we wrote again is acknowledged (RFC 7541 section 4.2)."""
        size = TABLE_BYTES.to_bytes(2, "big")
        for values, is_told in (
            ((100, 8192), True),
            ((8192, 100), True),
            ((4096, 0, 4096), True),
            ((4095,), True),
            ((4096, 8192), False),
            ((2**32 - 1,), False),
        ):
            whole = raw(4, 0, 0, b"".join([size + value.to_bytes(4, "big") for value in values]))
            one_by_one = b"".join([raw(4, 0, 0, size + value.to_bytes(4, "big")) for value in values])
            for sent in (whole, one_by_one):
                engine = asked(0)
                feed(engine, sent)
                engine.take()
                engine.open_stream(REQUEST, True)
                engine.open_stream(REQUEST, True)
                first, second = (frame.data for frame in frames_in(engine.take()))
                self.assertEqual((first, second), (b"\x20" * is_told + REQUEST, REQUEST), values)

    def test_pingsOfOurs(self) -> None:
        """Only the answer to our own counts; a request with the same words is no answer."""
        engine = asked()
        engine.ping()
        (question,) = frames_in(engine.take())
        words = question.opaque_data
        self.assertEqual(feed(engine, ping(words), ping(b"otherone", answer=True)), [])
        self.assertEqual(feed(engine, ping(words, answer=True)), [PingAnswered()])
