"""A client's side of a connection: requests go out, replies come in; and both sides of ours with each other."""

from __future__ import annotations

import random
from typing import Any

import hpack
from h2.errors import ErrorCodes
from twisted.trial.unittest import SynchronousTestCase

from txproxy.test.wire.http2.engine_case import (
    ANSWERED,
    FIELDS,
    FRAME_BYTES,
    INTERIM,
    MOST_STREAMS,
    REPLY,
    REQUEST,
    TABLE_BYTES,
    TRAILED,
    TRAILERS,
    WINDOW_BYTES,
    Talk,
    block_of,
    calling,
    data,
    feed,
    frames_in,
    goaway,
    headers,
    held,
    outcome,
    pair,
    ping,
    reset,
    said,
    settings,
    stock,
    window,
)
from txproxy.wire.http2.engine import Engine, EngineSettings
from txproxy.wire.http2.events import (
    DataReceived,
    HeadReceived,
    PeerGoesAway,
    SettingsChanged,
    StreamReset,
    TrailersReceived,
)

_INTERIM_FIELDS = [(b":status", b"103"), (b"link", b"</a>")]


class RequestTests(SynchronousTestCase):
    """What is sent."""

    def test_aServerOfH2ReadsIt(self) -> None:
        """Heads, content, trailers, in this order, on streams of rising numbers."""
        engine = Engine(True, EngineSettings())
        engine.start()
        server = stock(False)
        talk = Talk(engine, server)
        talk.go_on()
        whole = engine.open_stream(REQUEST, True)
        parts = engine.open_stream(REQUEST, False)
        engine.send_data(parts, b"abc")
        engine.send_data(parts, b"")
        engine.send_trailers(parts, TRAILERS)
        other = engine.open_stream(REQUEST, False)
        engine.send_data(other, b"x", True)
        self.assertEqual((whole, parts, other), (1, 3, 5))
        came = [
            (type(event).__name__, event.stream_id, getattr(event, "headers", None) or getattr(event, "data", None))
            for event in talk.go_on()[1]
        ]
        self.assertEqual(
            came,
            [
                ("RequestReceived", 1, FIELDS),
                ("StreamEnded", 1, None),
                ("RequestReceived", 3, FIELDS),
                ("DataReceived", 3, b"abc"),
                ("DataReceived", 3, b""),
                ("TrailersReceived", 3, TRAILED),
                ("StreamEnded", 3, None),
                ("RequestReceived", 5, FIELDS),
                ("DataReceived", 5, b"x"),
                ("StreamEnded", 5, None),
            ],
        )

    def test_largeHeads(self) -> None:
        """A block that does not fit goes on in further frames; content follows."""
        engine = calling()
        block = bytes(40_000)
        id = engine.open_stream(block, False)
        engine.send_data(id, b"x", True)
        sent = engine.take()
        self.assertEqual(said(sent), ["Headers 1", "Continuation 1", "Continuation 1", "Data 1 1 END_STREAM"])
        self.assertEqual(b"".join(frame.data for frame in frames_in(sent)), block + b"x")

    def test_whatAServerAllows(self) -> None:
        """Its limits are known as soon as they have come, and when they change."""
        engine = calling()
        self.assertGreaterEqual(engine.peer_max_streams, 2**31)
        for most in (7, 0, 2**32 - 1):
            self.assertEqual(feed(engine, settings({MOST_STREAMS: most})), [SettingsChanged()])
            self.assertEqual(engine.peer_max_streams, most)
        engine = calling(hello={WINDOW_BYTES: 5, FRAME_BYTES: 20_000})
        self.assertEqual(engine.room(engine.open_stream(REQUEST, False)), 5)
        self.assertEqual(engine.room(engine.open_stream(REQUEST, True)), 0)

    def test_theTableOfAServerMayShrink(self) -> None:
        """The first block after that says that it is empty, as it was all the time (RFC 7541 section 4.2)."""
        for size in (0, 100, 4096, 65536):
            engine, decoder = calling(), hpack.Decoder()
            engine.open_stream(REQUEST, True)
            decoder.decode(frames_in(engine.take())[0].data)
            decoder.max_allowed_table_size = size
            feed(engine, settings({TABLE_BYTES: size}), settings({TABLE_BYTES: size}))
            engine.take()
            for _ in range(2):
                engine.open_stream(REQUEST, True)
                (frame,) = frames_in(engine.take())
                self.assertEqual(decoder.decode(frame.data, raw=True), FIELDS)
            self.assertEqual(frame.data, REQUEST)

    def test_numbersRunOut(self) -> None:
        """Then no stream can be opened any more; those that are open go on."""
        engine = calling()
        self.assertTrue(engine.may_open)
        # Nobody can wait for two thousand million streams.
        engine._h2.highest_outbound_stream_id = 2**31 - 7
        self.assertTrue(engine.may_open)
        ids = []
        while engine.may_open:
            ids.append(engine.open_stream(REQUEST, True))
        self.assertIn(ids, ([2**31 - 5, 2**31 - 3], [2**31 - 5, 2**31 - 3, 2**31 - 1]))
        self.assertEqual(feed(engine, headers(ids[-1], REPLY, True)), [HeadReceived(ids[-1], ANSWERED, True)])
        self.assertFalse(engine.has_failed)


class ReplyTests(SynchronousTestCase):
    """What comes back."""

    def setUp(self) -> None:
        """Ask for something, and send something."""
        self.engine = calling()
        self.got = self.engine.open_stream(REQUEST, True)
        self.posted = self.engine.open_stream(REQUEST, False)
        self.engine.take()

    def test_everyPart(self) -> None:
        """Interim heads, the head, content, trailers; whole, and byte by byte."""
        for id in (self.got, self.posted):
            parts = [
                headers(id, INTERIM),
                headers(id, INTERIM),
                headers(id, REPLY),
                data(id, b"abc", pad=3),
                headers(id, TRAILERS, True),
            ]
            events = [
                HeadReceived(id, _INTERIM_FIELDS, False),
                HeadReceived(id, _INTERIM_FIELDS, False),
                HeadReceived(id, ANSWERED, False),
                DataReceived(id, b"abc", 7, False),
                TrailersReceived(id, TRAILED),
            ]
            octets = [bytes((octet,)) for octet in b"".join(parts)]
            self.assertEqual(feed(self.engine, *(parts if id == self.got else octets)), events)
        self.assertEqual((self.engine.is_open(self.got), self.engine.is_open(self.posted)), (False, True))

    def test_ends(self) -> None:
        """With the head, with content, with an empty frame."""
        for parts, last in (
            ([headers(1, REPLY, True)], HeadReceived(1, ANSWERED, True)),
            ([headers(1, REPLY), data(1, b"x", True)], DataReceived(1, b"x", 1, True)),
            ([headers(1, REPLY), data(1, ended=True)], DataReceived(1, b"", 0, True)),
        ):
            self.setUp()
            self.assertEqual(feed(self.engine, *parts)[-1], last)
            self.assertFalse(self.engine.is_open(1))

    def test_anEarlyReply(self) -> None:
        """A server may answer before it has read everything, and have the rest not sent (RFC 9113 section 8.1)."""
        id = self.posted
        self.assertEqual(feed(self.engine, headers(id, REPLY, True)), [HeadReceived(id, ANSWERED, True)])
        self.assertTrue(self.engine.is_open(id))
        self.engine.send_data(id, b"more")
        self.assertEqual(said(self.engine.take()), [f"Data {id} 4"])
        self.assertEqual(feed(self.engine, reset(id, 0)), [StreamReset(id, 0, True)])
        self.engine.send_data(id, b"more", True)
        self.assertEqual((self.engine.is_open(id), self.engine.take()), (False, b""))

    def test_refusals(self) -> None:
        """A stream is refused alone; after GOAWAY those below the last go on."""
        self.assertEqual(feed(self.engine, reset(self.posted, 7)), [StreamReset(self.posted, 7, True)])
        self.assertEqual(feed(self.engine, goaway(self.got)), [PeerGoesAway(self.got, 0)])
        self.assertEqual(feed(self.engine, headers(self.got, REPLY, True)), [HeadReceived(self.got, ANSWERED, True)])
        self.assertFalse(self.engine.has_failed)

    def test_whatWeHaveReset(self) -> None:
        """Whatever was on its way is thrown away; the table of headers is kept up."""
        encoder = hpack.Encoder()
        self.engine.reset(self.got, ErrorCodes.CANCEL)
        self.assertEqual(said(self.engine.take()), ["RstStream 1 CANCEL"])
        late = (
            headers(1, encoder.encode([*_INTERIM_FIELDS, (b"late", b"1")])),
            headers(1, encoder.encode([*ANSWERED, (b"late", b"2")])),
            data(1, b"x"),
            window(1, 5),
            headers(1, encoder.encode([(b"late", b"3")]), True),
            reset(1),
        )
        self.assertEqual((feed(self.engine, *late), self.engine.take()), ([], b""))
        fields = [*ANSWERED, (b"late", b"3")]
        self.assertEqual(
            feed(self.engine, headers(self.posted, encoder.encode(fields))), [HeadReceived(self.posted, fields, False)]
        )

    def test_goodbyeOfOurs(self) -> None:
        """What is under way is completed."""
        self.engine.go_away(0)
        self.assertEqual(said(self.engine.take()), ["GoAway 0 0 NO_ERROR"])
        self.assertEqual(len(feed(self.engine, headers(1, REPLY), data(1, b"x", True))), 2)

    def test_credit(self) -> None:
        """Replies that nobody reads keep their own window shut, and no other."""
        feed(self.engine, headers(1, REPLY), *[data(1, bytes(16384))] * 4)
        self.assertEqual(outcome(self.engine, headers(3, REPLY), *[data(3, bytes(16384))] * 4), "goes on")
        self.engine.consumed(1, 65536)
        self.assertIn("WindowUpdate 1 +65536", said(self.engine.take()))
        self.assertEqual(outcome(self.engine, data(1, b"x")), "goes on")
        self.assertEqual(outcome(self.engine, data(3, b"x")), "connection FLOW_CONTROL_ERROR")

    def test_twentyThousandStreams(self) -> None:
        """They leave nothing behind, however they end."""
        engine, encoder, early = calling(EngineSettings(max_streams=10)), hpack.Encoder(), 0
        for number in range(20_000):
            id = engine.open_stream(REQUEST, number % 2 == 0)
            head = encoder.encode([*ANSWERED, (b"x", b"%d" % number)])
            if number % 4 == 1:
                feed(engine, headers(id, head), reset(id))
            elif number % 4 == 3:
                engine.reset(id, ErrorCodes.CANCEL)
                feed(engine, headers(id, head, True))
            else:
                feed(engine, headers(id, head), data(id, b"x", True))
            engine.take()
            if number == 8000:
                early = held(engine)
        self.assertFalse(engine.has_failed)
        self.assertLess(held(engine), early + 200)
        self.assertLess(held(engine), 10_000)


class PairTests(SynchronousTestCase):
    """A client and a server of ours."""

    def test_manyAtOnce(self) -> None:
        """Requests and replies of any size, with windows that are small for them, in any order: every byte is right."""
        dice = random.Random(9113)
        client, server, talk = pair(EngineSettings(50, 65535, 65535))
        bodies = {
            client.open_stream(block_of(FIELDS), False): dice.randbytes(dice.choice([1, 900, 70_000, 150_000]))
            for _ in range(20)
        }
        got: dict[tuple[Any, int], bytearray] = {(side, id): bytearray() for side in (client, server) for id in bodies}
        left = {key: bodies[key[1]] for key in got}
        answered = set()
        for _ in range(10_000):
            if not left:
                break
            side, id = dice.choice(list(left))
            if side is server and id not in answered:
                if server.is_open(id):
                    server.send_head(id, REPLY)
                    answered.add(id)
            else:
                rest = left[side, id]
                size = min(side.room(id), len(rest), dice.choice([1, 1000, 100_000]))
                if size:
                    side.send_data(id, rest[:size], size == len(rest))
                    left[side, id] = rest[size:]
                    if size == len(rest):
                        del left[side, id]
            for receiver, events in zip((client, server), talk.go_on(), strict=True):
                for event in events:
                    if isinstance(event, DataReceived):
                        got[receiver, event.stream_id] += event.data
                        receiver.consumed(event.stream_id, event.credit)
        self.assertEqual(left, {})
        for (_, id), content in got.items():
            self.assertEqual(content, bodies[id])
        self.assertFalse(client.has_failed or server.has_failed or any(map(client.is_open, bodies)))

    def test_refusedAndTriedAgain(self) -> None:
        """A client that knows no limit yet learns of it, and which of its streams was not taken."""
        client, server = Engine(True, EngineSettings()), Engine(False, EngineSettings(max_streams=1))
        client.start()
        ids = [client.open_stream(REQUEST, True) for _ in range(3)]
        server.start()
        talk = Talk(client, server)
        to_client, to_server = talk.go_on()
        self.assertEqual([event.stream_id for event in to_server if isinstance(event, HeadReceived)], ids[:1])
        self.assertEqual(
            [event for event in to_client if isinstance(event, StreamReset)],
            [StreamReset(id, ErrorCodes.REFUSED_STREAM, True) for id in ids[1:]],
        )
        self.assertEqual(client.peer_max_streams, 1)
        server.send_head(ids[0], REPLY, True)
        talk.go_on()
        again = client.open_stream(REQUEST, True)
        self.assertEqual(talk.go_on()[1], [HeadReceived(again, FIELDS, True)])

    def test_goodbyeInTwoSteps(self) -> None:
        """A client that follows the rules loses nothing."""
        client, server, talk = pair()
        first = client.open_stream(REQUEST, True)
        talk.go_on()
        server.go_away(2**31 - 1)
        server.ping()
        second = client.open_stream(REQUEST, True)  # On its way when the server says goodbye.
        to_client, to_server = talk.go_on()
        self.assertEqual(to_client, [PeerGoesAway(2**31 - 1, 0)])
        self.assertEqual(len(to_server), 2)
        server.go_away(server.last_peer_stream_id)
        self.assertEqual(talk.go_on()[0], [PeerGoesAway(second, 0)])
        for id in (first, second):
            server.send_head(id, REPLY, True)
            self.assertEqual(talk.go_on()[0], [HeadReceived(id, ANSWERED, True)])
        self.assertEqual(outcome(client, ping()), "goes on")

    def test_failuresAreUnderstood(self) -> None:
        """What one side says at its end reaches the other."""
        client, server, talk = pair()
        client.open_stream(REQUEST, True)
        talk.go_on()
        server.fail(ErrorCodes.ENHANCE_YOUR_CALM, "too much")
        self.assertEqual(talk.go_on()[0], [PeerGoesAway(1, ErrorCodes.ENHANCE_YOUR_CALM)])
        self.assertFalse(client.has_failed)
