"""Windows (RFC 9113 section 5.2): nobody sends more than is let, and nobody waits for what nobody reads."""

from __future__ import annotations

from collections.abc import Callable

from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txproxy.test.wire.http2.engine_case import (
    ACK,
    FIELDS,
    FRAME_BYTES,
    REPLY,
    REQUEST,
    WINDOW_BYTES,
    Talk,
    calling,
    data,
    feed,
    frames_in,
    headers,
    outcome,
    pair,
    reset,
    said,
    serving,
    settings,
    stock,
    window,
)
from txproxy.test.wire.making import QUICK
from txproxy.wire.http2.engine import Engine, EngineSettings
from txproxy.wire.http2.events import DataReceived, SettingsChanged, WindowOpened

_SMALL = EngineSettings(stream_window_bytes=65536, connection_window_bytes=65536)


class GivingBackTests(SynchronousTestCase):
    """What a peer may send."""

    def test_theStreamWaitsForItsReader(self) -> None:
        """Half of its window is given back at a time, when it is consumed, and not before."""
        engine = serving(_SMALL)
        feed(engine, headers(1), data(1, bytes(16384)), data(1, bytes(16384)), data(1, bytes(16384)))
        engine.take()
        for count, sent in (
            (16384, []),
            (16383, []),
            (1, ["WindowUpdate 1 +32768"]),
            (0, []),
            (16383, []),
            (0, []),
        ):
            engine.consumed(1, count)
            self.assertEqual(said(engine.take()), sent)
        feed(engine, data(1, bytes(16383), pad=0), data(1, bytes(9999), pad=255))
        engine.take()
        engine.consumed(1, 16385)
        self.assertEqual(said(engine.take()), ["WindowUpdate 1 +32768"])

    def test_thePaddingIsGivenBackToo(self) -> None:
        """What is told of content is what it has taken of the window."""
        engine = serving(_SMALL)
        feed(engine, headers(1))
        for _ in range(400):
            (event,) = feed(engine, data(1, b"x" * 5, pad=250))
            assert isinstance(event, DataReceived)
            engine.consumed(1, event.credit)
        self.assertFalse(engine.has_failed)

    def test_nothingIsGivenBackInVain(self) -> None:
        """Not on a stream that sends no more, was reset, or never was."""
        for end in (data(1, ended=True), headers(1, ended=True), reset(1)):
            engine = serving(_SMALL)
            feed(engine, headers(1), headers(3), data(1, bytes(16384)), data(1, bytes(16384)), end)
            engine.reset(3, ErrorCodes.CANCEL)
            engine.take()
            for id in (1, 3, 5, 0):
                engine.consumed(id, 60_000)
            self.assertEqual(engine.take(), b"")

    def test_theConnectionDoesNotWait(self) -> None:
        """Its window is given back at once: streams that nobody reads take nothing from the others."""
        engine = serving(_SMALL)
        for id in range(1, 41, 2):
            events = feed(engine, headers(id), *[data(id, bytes(16384))] * 4)
            self.assertEqual(events[1:], [DataReceived(id, bytes(16384), 16384, False)] * 4)
        self.assertEqual(said(engine.take()), ["WindowUpdate 0 +32768"] * 40)

    def test_halfAtATime(self) -> None:
        """The connection's window is given back when half of it is used, whatever the stream."""
        engine = serving(EngineSettings(connection_window_bytes=131072))
        feed(engine, headers(1), headers(3), data(1, bytes(16384)), data(3, bytes(16384)), data(1, bytes(16384)))
        self.assertEqual(engine.take(), b"")
        feed(engine, data(3, bytes(16384)))
        self.assertEqual(said(engine.take()), ["WindowUpdate 0 +65536"])

    def test_whatIsThrownAwayIsGivenBack(self) -> None:
        """Content of streams that have ended counts for the connection's window, and comes back like any other."""
        engine, left = serving(_SMALL), 65536
        feed(engine, headers(1))
        for id in range(3, 63, 2):
            feed(engine, headers(id))
            engine.reset(id, ErrorCodes.NO_ERROR)
            for part in (
                data(id, bytes(16383)),
                data(1, bytes(500)),
                data(id, bytes(8000), pad=99),
                data(id, b"x", True),
            ):
                left -= len(part) - 9
                self.assertGreater(left, 0)
                came = [event.stream_id for event in feed(engine, part) if isinstance(event, DataReceived)]
                self.assertEqual(came, [1] if len(part) == 509 else [])
                frames = frames_in(engine.take())
                left += sum(frame.window_increment for frame in frames if not frame.stream_id)
        self.assertGreater(left, 32768)
        self.assertLessEqual(left, 65536)

    def test_noMoreThanTheWindow(self) -> None:
        """What exceeds a stream's window ends the connection; padding counts."""
        for last, verdict in ((16384, "goes on"), (16385, "connection FLOW_CONTROL_ERROR")):
            engine = serving(_SMALL)
            feed(engine, headers(1), *[data(1, bytes(16384))] * 3)
            parts = data(1, bytes(last - 300), pad=255) + data(1, bytes(300 - 256))
            self.assertEqual(outcome(engine, parts), verdict)

    def test_aLargeWindowCounts(self) -> None:
        """For streams that were opened before the client knew of it, and after."""
        engine = serving(EngineSettings(stream_window_bytes=200_000), acknowledged=False)
        feed(engine, headers(1))
        self.assertEqual(outcome(engine, *[data(1, bytes(16384))] * 3), "goes on")
        self.assertEqual(outcome(engine, ACK, *[data(1, bytes(16384))] * 9), "goes on")
        feed(engine, headers(3))
        self.assertEqual(outcome(engine, *[data(3, bytes(16384))] * 12), "goes on")
        self.assertEqual(outcome(engine, data(3, bytes(16384))), "connection FLOW_CONTROL_ERROR")

    def test_theLargestWindows(self) -> None:
        """They may be as large as there are any."""
        client, server, talk = pair(EngineSettings(10, 2**31 - 1, 2**31 - 1))
        id = client.open_stream(REQUEST, False)
        self.assertEqual(client.room(id), 2**31 - 1)
        for _ in range(20):
            client.send_data(id, bytes(100_000))
            for event in talk.go_on()[1][-1:]:
                server.consumed(id, event.credit)
        self.assertFalse(server.has_failed)


class RoomTests(SynchronousTestCase):
    """What may be sent."""

    def setUp(self) -> None:
        """Begin two replies to a client with small windows."""
        self.engine = serving(hello={WINDOW_BYTES: 1000})
        feed(self.engine, headers(1), headers(3))
        for id in (1, 3):
            self.engine.send_head(id, REPLY)
        self.engine.take()

    def room(self, *parts: bytes) -> tuple[int, int]:
        """Return how much may be sent on each stream after something was received."""
        feed(self.engine, *parts)
        return self.engine.room(1), self.engine.room(3)

    def test_bothWindowsCount(self) -> None:
        """That of the stream, and that of the connection, which all share."""
        self.assertEqual(self.room(), (1000, 1000))
        self.engine.send_data(1, bytes(400))
        self.assertEqual(self.room(), (600, 1000))
        self.assertEqual(self.room(window(1, 1)), (601, 1000))
        self.assertEqual(self.room(window(1, 100_000)), (65135, 1000))
        self.engine.send_data(1, bytes(65135))
        self.assertEqual(self.room(), (0, 0))
        self.assertEqual(self.room(window(0, 10)), (10, 10))
        self.assertEqual(self.room(window(0, 10**9)), (100_601 - 65135, 1000))

    def test_whatIsSaidOfIt(self) -> None:
        """Which stream may go on is told; 0 for all."""
        self.assertEqual(
            feed(self.engine, window(3, 1), window(0, 1), window(1, 1), settings({WINDOW_BYTES: 7})),
            [WindowOpened(3), WindowOpened(0), WindowOpened(1), SettingsChanged()],
        )

    def test_windowsOfAllStreamsChange(self) -> None:
        """By the difference, for streams that are open and for later ones; below nothing, too (section 6.9.2)."""
        self.engine.send_data(1, bytes(400))
        self.assertEqual(self.room(settings({WINDOW_BYTES: 1500})), (1100, 1500))
        self.assertEqual(self.room(settings({WINDOW_BYTES: 0})), (0, 0))
        self.engine.send_data(1, b"")
        self.assertEqual(self.room(window(1, 400)), (0, 0))
        self.assertEqual(self.room(window(1, 5)), (5, 0))
        self.assertEqual(self.room(settings({WINDOW_BYTES: 10})), (15, 10))
        self.assertEqual(self.room(settings({WINDOW_BYTES: 20, FRAME_BYTES: 16384})), (25, 20))
        feed(self.engine, headers(5))
        self.assertEqual(self.engine.room(5), 20)
        self.assertEqual(self.room(settings({WINDOW_BYTES: 2**31 - 10})), (65135, 65135))
        self.assertFalse(self.engine.has_failed)

    def test_theFirstStreamKnowsTheSettingsToo(self) -> None:
        """Those that came before it."""
        for hello, room in (({}, 65535), ({WINDOW_BYTES: 3}, 3), ({WINDOW_BYTES: 10**6}, 65535)):
            engine = serving(hello=hello)
            feed(engine, headers(1))
            self.assertEqual(engine.room(1), room)

    def test_tooMuchForAStream(self) -> None:
        """A window above the largest costs the stream; if it is the connection's, or all, the connection."""
        most = 2**31 - 1
        self.assertEqual(outcome(self.engine, window(1, most - 1000)), "goes on")
        self.assertEqual(outcome(self.engine, window(1, 1)), "stream FLOW_CONTROL_ERROR")
        self.assertEqual(outcome(self.engine, window(3, most - 1000), window(0, most - 65535)), "goes on")
        self.assertEqual(outcome(self.engine, settings({WINDOW_BYTES: 999})), "goes on")
        self.assertEqual(outcome(self.engine, settings({WINDOW_BYTES: 1001})), "connection FLOW_CONTROL_ERROR")
        engine = serving(hello={WINDOW_BYTES: most})
        feed(engine, headers(1))
        self.assertEqual(outcome(engine, window(1, 1)), "stream FLOW_CONTROL_ERROR")
        self.assertEqual(outcome(engine, window(0, most - 65535)), "goes on")
        self.assertEqual(outcome(engine, window(0, 1)), "connection FLOW_CONTROL_ERROR")

    def test_windowsOfWhatHasEnded(self) -> None:
        """They are none: no setting can make them too large."""
        most = 2**31 - 1
        ends: tuple[Callable[[], object], ...] = (
            lambda: self.engine.send_trailers(1, REPLY),
            lambda: self.engine.reset(1, ErrorCodes.CANCEL),
            lambda: feed(self.engine, reset(1)),
        )
        for end in ends:
            self.setUp()
            feed(self.engine, data(1, ended=True), window(1, most - 1000))
            end()
            self.engine.take()
            self.assertEqual(outcome(self.engine, window(3, 5), settings({WINDOW_BYTES: 65535})), "goes on")
            self.assertEqual(self.engine.room(3), 65535)
        client = calling()
        id = client.open_stream(REQUEST, True)
        feed(client, window(id, most - 65535), headers(id, REPLY, True))
        self.assertEqual(outcome(client, settings({WINDOW_BYTES: most})), "goes on")

    def test_noRoomAfterTheEnd(self) -> None:
        """What has been said cannot be said again."""
        self.engine.send_data(1, b"x", True)
        self.engine.reset(3, ErrorCodes.CANCEL)
        self.assertEqual(self.room(window(1, 9), window(3, 9)), (0, 0))

    def test_framesFitThePeer(self) -> None:
        """Content is cut into frames as large as the peer takes them; the end stands on the last."""
        feed(self.engine, settings({WINDOW_BYTES: 10**6}), window(0, 10**6))
        self.engine.take()
        for size, most, sent in (
            (16384, 16384, ["16384 END_STREAM"]),
            (16385, 16384, ["16384", "1 END_STREAM"]),
            (50_000, 16384, ["16384", "16384", "16384", "848 END_STREAM"]),
            (50_000, 40_000, ["40000", "10000 END_STREAM"]),
            (50_000, 2**24 - 1, ["50000 END_STREAM"]),
            (0, 16384, ["0 END_STREAM"]),
        ):
            id = self.engine.last_peer_stream_id + 2
            feed(self.engine, settings({FRAME_BYTES: most}), headers(id))
            self.engine.send_head(id, REPLY)
            self.engine.take()
            content = bytes(number & 0xFF for number in range(size))
            self.engine.send_data(id, content, True)
            out = self.engine.take()
            self.assertEqual(said(out), [f"Data {id} {words}" for words in sent])
            self.assertEqual(b"".join(frame.data for frame in frames_in(out)), content)


_steps = st.lists(
    st.tuples(
        st.sampled_from(["send", "read", "upload", "consume", "window"]), st.integers(0, 3), st.integers(0, 70_000)
    ),
    max_size=25,
)


class AgreementTests(SynchronousTestCase):
    """Both sides of a connection have the same idea of its windows, whatever happens on it."""

    @given(_steps, st.booleans())
    @QUICK
    def test_bothSidesAgree(self, steps: list[tuple[str, int, int]], is_early: bool) -> None:
        """After any contents, readings and changes of settings; the other side is a client of h2."""
        engine = Engine(False, EngineSettings(connection_window_bytes=100_000))
        engine.start()
        client = stock(True)
        talk = Talk(engine, client)
        if not is_early:
            talk.go_on()
        ids = (1, 3, 5, 7)
        for id in ids:
            client.send_headers(id, FIELDS)
        talk.go_on()
        unread, kept = dict.fromkeys(ids, 0), dict.fromkeys(ids, 0)
        for id in ids:
            engine.send_head(id, REPLY)
        for kind, place, size in steps:
            id = ids[place]
            if kind == "send":
                size = min(size, engine.room(id))
                if size:  # To h2 an empty frame is one too many where the window is below nothing.
                    engine.send_data(id, bytes(size))
                    unread[id] += size
            elif kind == "read":
                client.acknowledge_received_data(min(size, unread[id]), id)
                unread[id] -= min(size, unread[id])
            elif kind == "upload":
                client.send_data(id, bytes(min(size, client.local_flow_control_window(id), 16384)))
            elif kind == "consume":
                engine.consumed(id, kept[id])
                kept[id] = 0
            else:
                client.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: size})
            for event in talk.go_on()[0]:
                if isinstance(event, DataReceived):
                    kept[event.stream_id] += event.credit
            self.assertFalse(engine.has_failed)
            for id in ids:
                self.assertEqual(engine.room(id), max(0, client.remote_flow_control_window(id)))
                self.assertGreaterEqual(client.outbound_flow_control_window, 50_000)
                window_left = client.streams[id].outbound_flow_control_window
                self.assertGreaterEqual(window_left, 65536 - 32768 - kept[id])
                self.assertLessEqual(window_left, 65536 - kept[id])
