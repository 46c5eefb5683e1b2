"""Backends that speak HTTP/2 and send what nobody has asked for, or too late, or read nothing."""

from __future__ import annotations

from h2.errors import ErrorCodes
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from txproxy.test.talk import GET, POST_5, request
from txproxy.test.upstream.http2_backend import Http2Backend, Http2Case

OK_HEAD = b"\x88"
"""The header block of a head with status 200."""


def head_frame(id: int, ended: bool = False) -> bytes:
    """Return the frame of a head with status 200."""
    return bytes(HeadersFrame(id, OK_HEAD, flags=["END_HEADERS", *(["END_STREAM"] if ended else [])]).serialize())


class FloodTests(Http2Case):
    """Frames that carry nothing are let pass as long as they are not without end; then the connection ends."""

    def flooded(self, frame: bytes, most: int = 100_000) -> int:
        """Return after how many of a frame the connection was ended, with requests on it and one that comes later."""
        dialogue = self.h2_proxy("retry.idempotent_tries = 1")
        (client, begun), backend = self.asked(dialogue, POST_5, GET)
        backend.head(3)
        came = 0
        while backend.peer.is_open and came < most:
            backend.peer.says(frame * 500)
            came += 500
        self.assertFalse(backend.peer.is_open, f"{came} frames of {frame!r} did not end it")
        backend.reads()
        self.assertEqual(backend.goaway, ErrorCodes.ENHANCE_YOUR_CALM)
        self.assertStatus(client, 502)
        self.assertFalse(begun.is_open)
        self.assertPool(dialogue, 0, 0, 0)
        client.says(GET)
        self.answer(dialogue).reply(1)
        self.assertStatus(client, 200)
        return came

    def test_all(self) -> None:
        """Of each kind thousands are let pass, and tens of thousands are not."""
        for frame in (
            PingFrame(0, b"x" * 8),
            PingFrame(0, b"x" * 8, flags=["ACK"]),
            SettingsFrame(0),
            DataFrame(3, b""),
            DataFrame(3, b"", flags=["PADDED"], pad_length=3),
            PriorityFrame(1, depends_on=0, stream_weight=1),
            WindowUpdateFrame(0, window_increment=1),
            WindowUpdateFrame(1, window_increment=1),
        ):
            came = self.flooded(frame.serialize())
            self.assertTrue(5_000 <= came <= 20_000, (frame, came))
        self.flooded(b"\x00\x00\x01\xfa\x00\x00\x00\x00\x00x")  # A type that nobody knows.

    def test_continuation(self) -> None:
        """A header block without end."""
        for piece, most in ((b"", 500), (b"x" * 16000, 20)):
            dialogue = self.h2_proxy("retry.idempotent_tries = 1")
            (client,), backend = self.asked(dialogue, GET)
            backend.peer.says(HeadersFrame(1, OK_HEAD).serialize())
            for _ in range(most):
                if backend.peer.is_open:
                    backend.peer.says(ContinuationFrame(1, piece).serialize())
            self.assertFalse(backend.peer.is_open)
            self.assertStatus(client, 502)

    def test_headBomb(self) -> None:
        """A small header block that is a large list of fields."""
        dialogue = self.h2_proxy("retry.idempotent_tries = 1")
        (client,), backend = self.asked(dialogue, GET)
        bomb = b"\x40\x01a\x7f\x81\x1e" + b"b" * 4000 + b"\xbe" * 10_000
        backend.peer.says(HeadersFrame(1, OK_HEAD + bomb, flags=["END_HEADERS"]).serialize())
        self.assertStatus(client, 502)
        self.assertFalse(backend.peer.is_open)

    def test_largeHead(self) -> None:
        """A head of a size that HTTP/1.1 allows passes, in as many frames as it needs; the backend is told that it may."""
        dialogue = self.h2_proxy()
        (client,), backend = self.asked(dialogue, GET)
        self.assertGreaterEqual(backend.h2.remote_settings.max_header_list_size or 0, 65536)
        backend.head(1, *[(b"x-%d" % number, b"v" * 20_000) for number in range(3)], ended=True)
        head = client.gets_head()
        self.assertEqual((head.line, len(head.get(b"x-2") or b"")), (b"HTTP/1.1 200 OK", 20_000))
        self.assertEnd(dialogue, "ok", 200)

    def test_usefulFrames(self) -> None:
        """What belongs to requests and content is no flood, however much it is in the end."""
        dialogue = self.h2_proxy()
        (client,), backend = self.asked(dialogue, POST_5)
        ping = PingFrame(0, b"x" * 8).serialize()
        for number in range(900):
            id = 2 * number + 1
            backend.peer.says(
                WindowUpdateFrame(0, window_increment=5).serialize()
                + WindowUpdateFrame(id, window_increment=5).serialize()
                + ping * 10
                + head_frame(id)
                + DataFrame(id, b"").serialize()
                + DataFrame(id, b"a", flags=["END_STREAM"]).serialize()
            )
            self.assertTrue(client.gets().endswith(b"0\r\n\r\n"))
            client.says(POST_5)
        backend.peer.says(head_frame(1801, True))
        self.assertStatus(client, 200)

    def test_unreadAnswers(self) -> None:
        """A backend that earns its credit by content, asks and asks, and reads no answer."""
        dialogue = self.h2_proxy("retry.idempotent_tries = 1")
        (client,), backend = self.asked(dialogue, GET)
        backend.peer.stops_reading()
        backend.peer.says(head_frame(1))
        both = DataFrame(1, b"x").serialize() + PingFrame(0, b"x" * 8).serialize() * 15
        for _ in range(65_000 // 250):
            if backend.peer.is_open:
                backend.peer.says(both * 250)
        for _ in range(200):
            if backend.peer.is_open:
                backend.peer.says(both * 250)
        self.assertFalse(backend.peer.is_open)
        self.assertLess(backend.peer.transport.queued_bytes, 8 << 20)
        self.assertFalse(client.is_open)


class CancelledTests(Http2Case):
    """A backend may not know yet that a stream was cancelled."""

    def cancelled(self, count: int) -> Http2Backend:
        """Return a backend with so many cancelled requests and one that is under way, which is the first."""
        dialogue = self.h2_proxy("pool.max_connections = 1")
        (self.client,), backend = self.asked(dialogue, GET)
        for _ in range(count):
            client = dialogue.client()
            client.says(GET)
            client.resets()
        backend.reads()
        self.assertEqual(len(backend.under_way), 1)
        return backend

    def test_lateReplies(self) -> None:
        """Whatever it sends on many of them is ignored."""
        for count in (50, 250):
            backend = self.cancelled(count)
            for id in range(3, 2 * count + 3, 2):
                backend.peer.says(head_frame(id) + DataFrame(id, b"x" * 100).serialize())
                backend.peer.says(WindowUpdateFrame(id, window_increment=5).serialize())
                backend.peer.says(DataFrame(id, b"x" * 100, flags=["END_STREAM"]).serialize())
            self.assertTrue(backend.peer.is_open)
            backend.peer.says(head_frame(1, True))
            self.assertStatus(self.client, 200)

    def test_lateResets(self) -> None:
        """Resets of them are, too."""
        backend = self.cancelled(600)
        for id in range(3, 1203, 2):
            backend.peer.says(RstStreamFrame(id, error_code=ErrorCodes.CANCEL).serialize())
        backend.peer.says(head_frame(1, True))
        self.assertStatus(self.client, 200)

    def test_windowsOfOldStreams(self) -> None:
        """A backend may give back windows of streams that have ended long ago."""
        dialogue = self.h2_proxy()
        (client,), backend = self.asked(dialogue, POST_5)
        for number in range(700):
            backend.peer.says(head_frame(2 * number + 1, True))
            self.assertStatus(client, 200)
            client.says(POST_5)
        for number in range(700):
            backend.peer.says(WindowUpdateFrame(2 * number + 1, window_increment=5).serialize())
        backend.peer.says(head_frame(1401, True))
        self.assertStatus(client, 200)

    def test_windowOfTheConnection(self) -> None:
        """What comes late takes nothing of the connection's window from others."""
        backend = self.cancelled(40)
        for id in range(3, 83, 2):
            backend.peer.says(head_frame(id) + DataFrame(id, b"x" * 16384).serialize() * 4)
        backend.peer.says(head_frame(1))
        for _ in range(100):
            backend.peer.says(DataFrame(1, b"x" * 16384).serialize())
        self.assertEqual(self.client.gets().partition(b"\r\n\r\n")[2].count(b"x"), 100 * 16384)
        backend.peer.says(DataFrame(1, b"", flags=["END_STREAM"]).serialize())

    def test_unread(self) -> None:
        """Requests that come and are cancelled while the backend reads nothing do not pile up for ever."""
        dialogue = self.h2_proxy("pool.max_connections = 2")
        (client,), backend = self.asked(dialogue, GET)
        backend.peer.stops_reading()
        large = request(b"GET / HTTP/1.1", *[b"X-%d: " % number + b"v" * 15_000 for number in range(2)])
        for _ in range(400):
            other = dialogue.client()
            other.says(large)
            other.resets()
        self.assertLess(backend.peer.transport.queued_bytes, 6 << 20)
        self.assertPool(dialogue, 0, 1, 1, 1, 0)
        second = self.answer(dialogue)
        third = dialogue.client()
        third.says(GET)
        second.reply(1)
        self.assertStatus(third, 200)
        backend.peer.reads()
        backend.reply(1)
        self.assertStatus(client, 200)
        self.assertFalse(backend.peer.is_open)
