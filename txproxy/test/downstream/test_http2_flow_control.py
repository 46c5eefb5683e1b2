"""Streams of HTTP/2 whose one end is slow: nothing piles up here, and no stream stalls another."""

from __future__ import annotations

from random import Random

from h2.settings import SettingCodes

from txproxy.test.http2_talk import Http2Case, frame, length
from txproxy.test.talk import OK, head, reply
from txproxy.testing import ClientStream

WINDOW_BYTES = 65_536
HELD_BYTES = 2 * 65_536
"""The most that is held of one reply: what one read brings, above a watermark."""
MANY = 300_000


def says_what_it_may(stream: ClientStream, content: bytes) -> bytes:
    """Send as much as the windows let pass; return the rest."""
    room = stream.room
    if room and content:
        stream.says(content[:room], ended=room >= len(content))
    return content[room:]


class RequestTests(Http2Case):
    """Backends that take a body slowly, or not yet."""

    def test_slowBackend(self) -> None:
        """The window of its stream is kept back, other streams go on, and all arrives in the end (D1, HF1, H5)."""
        dialogue = self.proxy()
        client, stream, backend = self.asked(dialogue, b"POST", b"/", length(MANY), ended=False)
        backend.stops_reading()
        content = bytes(range(256)) * (MANY // 256) + bytes(MANY % 256)
        rest = content
        for _ in range(10):
            rest = says_what_it_may(stream, rest)
        self.assertEqual(stream.room, 0)
        self.assertLess(backend.transport.queued_bytes, 3 * 65_536)
        other = client.asks(b"POST", ended=False)
        other_backend = dialogue.backend()
        other.says(b"quick", ended=True)
        self.assertTrue(other_backend.gets().endswith(b"5\r\nquick\r\n0\r\n\r\n"))
        other_backend.says(OK)
        self.assertReply(other, 200, b"ok")
        self.assertTrue(client.peer.transport.is_reading)
        got = b""
        for _ in range(100):
            if len(got) == MANY:
                break
            backend.reads(20_000)
            got += backend.gets()
            rest = says_what_it_may(stream, rest)
            self.assertLess(backend.transport.queued_bytes, 3 * 65_536)
        self.assertEqual(got, content)
        backend.says(OK)
        self.assertReply(stream, 200, b"ok")
        self.assertEqual(self.assertEnd(dialogue, "ok")["bytes_in"], MANY)

    def test_noBackendYet(self) -> None:
        """While no backend is connected 64 KiB are taken; then the window opens again."""
        dialogue = self.proxy()
        stream = self.h2(dialogue).asks(b"PUT", b"/", length(MANY), ended=False)
        rest = says_what_it_may(stream, bytes(MANY))
        rest = says_what_it_may(stream, rest)
        rest = says_what_it_may(stream, rest)
        self.assertEqual(stream.room, 0)
        self.assertGreater(len(rest), MANY - 3 * 65_536)
        backend = dialogue.backend()
        backend.gets_head()
        self.assertGreater(stream.room, 32_000)
        while rest:
            rest = says_what_it_may(stream, rest)
        self.assertEqual(len(backend.gets()), MANY)
        backend.says(OK)
        self.assertReply(stream, 200)

    def test_stalledStreamsLeaveTheConnectionAlone(self) -> None:
        """Streams that nobody takes content of hold more than the connection's window between them: one more goes on."""
        dialogue = self.proxy(listener="h2_connection_window_bytes = 262144", cluster="pool.max_connections = 1000")
        client = self.h2(dialogue)
        stalled = [client.asks(b"POST", b"/%d" % number, ended=False) for number in range(8)]
        for stream in stalled:
            says_what_it_may(stream, says_what_it_may(stream, bytes(MANY)))
            self.assertEqual(stream.room, 0)
        for _ in stalled[1:]:
            dialogue.refuse()
        self.assertEqual([stream.gets_head().line[7:] for stream in stalled[:7]], [b"502"] * 7)
        last = client.asks(b"POST", ended=False)
        self.assertGreater(last.room, 65_000)
        backends = [dialogue.backend(), dialogue.backend()]
        last.says(bytes(60_000), ended=True)
        self.assertEqual([len(backend.gets()) > 60_000 for backend in backends], [True, True])
        stalled[7].finishes()
        for backend in backends:
            backend.says(OK)
        dialogue.advance_past(1)
        self.assertReply(last, 200)

    def test_padding(self) -> None:
        """Padding takes of the window as content does, and is given back like it (RFC 9113 section 6.1)."""
        dialogue = self.proxy()
        client, stream, backend = self.asked(dialogue, b"POST", ended=False)
        for _ in range(600):
            client.says(frame(0, 8, stream.id, b"\xff" + b"x" + bytes(255)))
        updates = [each for each in stream.frames if self.kinds([each]) == ["WindowUpdate"]]
        given = sum(each.window_increment for each in updates)  # type: ignore[attr-defined]
        self.assertGreater(given, 600 * 257 - WINDOW_BYTES // 2)
        self.assertLessEqual(given, 600 * 257)
        self.assertEqual(backend.gets().count(b"1\r\nx\r\n"), 600)
        stream.finishes()
        backend.says(OK)
        self.assertReply(stream, 200)
        self.assertEqual(self.assertEnd(dialogue, "ok")["bytes_in"], 600)

    def test_beyondTheWindow(self) -> None:
        """A client that sends more than it may loses the stream, or the connection (RFC 9113 section 6.9.1)."""
        dialogue = self.proxy()
        client = self.h2(dialogue)
        stream = client.asks(b"POST", ended=False)
        backend = dialogue.backend()
        backend.stops_reading()
        for _ in range(20):
            client.says(frame(0, 0, stream.id, bytes(16_384)))
        self.assertTrue(client.goaways or stream.reset_code is not None)
        line = dialogue.lines[-1]
        self.assertEqual((line["status"], len(dialogue.lines)), (400, 1))
        self.assertLessEqual(line["bytes_in"], 3 * 65_536)
        self.assertTrue(backend.sees_reset)
        client.peer.finishes()
        dialogue.advance_past(2)
        self.assertNothingLeft(dialogue)

    def test_heldWindowOfAStreamThatEnds(self) -> None:
        """A backend that answers and takes no more: the stream ends, its window is nobody's business any more."""
        dialogue = self.proxy()
        client, stream, backend = self.asked(dialogue, b"POST", b"/", length(MANY), ended=False)
        backend.stops_reading()
        rest = says_what_it_may(stream, bytes(MANY))
        rest = says_what_it_may(stream, rest)
        rest = says_what_it_may(stream, rest)
        backend.says(OK)
        self.assertReply(stream, 200, b"ok")
        for _ in range(5):
            rest = says_what_it_may(stream, rest)
        self.assertEqual((stream.room, bool(rest)), (0, True))
        dialogue.advance_past(1)
        other = client.asks()
        dialogue.backend().says(OK)
        self.assertReply(other, 200, b"ok")


class ReplyTests(Http2Case):
    """Clients that take a reply slowly."""

    def test_noWindow(self) -> None:
        """Without window the backend is paused; other streams go on; the rest comes as the window opens (D1, H5)."""
        dialogue = self.proxy()
        client, stream, backend = self.asked(dialogue, window_bytes=1000)
        content = bytes(range(256)) * 4000
        backend.says(head(b"Content-Length: %d" % len(content)) + content)
        self.assertFalse(backend.transport.is_reading)
        self.assertGreater(len(backend.transport.arriving), len(content) - HELD_BYTES)
        other = client.asks()
        other.opens(MANY)
        other_backend = dialogue.backend()
        other_backend.says(reply(bytes(200_000)))
        self.assertReply(other, 200, bytes(200_000))
        got = stream.gets()
        self.assertEqual(len(got), 1000)
        while len(got) < len(content):
            arriving = len(backend.transport.arriving)
            stream.opens(30_000)
            new = stream.gets()
            self.assertEqual(len(new), min(30_000, len(content) - len(got)))
            got += new
            self.assertLessEqual(arriving - len(backend.transport.arriving), HELD_BYTES)
        self.assertEqual(got, content)
        self.assertTrue(stream.has_ended)
        self.assertEqual(self.assertEnd(dialogue, "ok", 200)["bytes_out"], len(content))

    def test_windowOfTheConnection(self) -> None:
        """Without window of the connection all wait; what it opens is shared out by turns, a frame each."""
        dialogue = self.proxy()
        client = self.h2(dialogue, connection_window_bytes=65_535)
        first, *streams = [client.asks() for _ in range(4)]
        first_backend, *backends = [dialogue.backend() for _ in range(4)]
        first_backend.says(reply(bytes(65_535)))
        self.assertReply(first, 200, bytes(65_535))
        for backend in backends:
            backend.says(head(b"Content-Length: 150000") + bytes(150_000))
            self.assertFalse(backend.transport.is_reading)
        self.assertEqual([stream.gets() for stream in streams], [b""] * 3)
        client.opens(6 * 16_384)
        got = [len(stream.gets()) for stream in streams]
        self.assertEqual(got, [2 * 16_384] * 3)
        client.opens(1_000_000)
        for stream in streams:
            self.assertEqual(len(stream.gets()), 150_000 - 2 * 16_384)
            self.assertTrue(stream.has_ended)
        self.assertEqual(self.ends(dialogue), [(200, "ok")] * 4)

    def test_otherSettings(self) -> None:
        """Another SETTINGS_INITIAL_WINDOW_SIZE changes the windows of open streams, even below zero (RFC 9113 section 6.9.2)."""
        dialogue = self.proxy()
        client, stream, backend = self.asked(dialogue, window_bytes=10_000)
        backend.says(head(b"Content-Length: 40000") + bytes(40_000))
        self.assertEqual(len(stream.gets()), 10_000)
        client.changes({SettingCodes.INITIAL_WINDOW_SIZE: 5_000})
        stream.opens(4_000)
        self.assertEqual(stream.gets(), b"")
        stream.opens(2_000)
        self.assertEqual(len(stream.gets()), 1_000)
        client.changes({SettingCodes.INITIAL_WINDOW_SIZE: 60_000})
        self.assertEqual((len(stream.gets()), stream.has_ended), (29_000, True))

    def test_largerFrames(self) -> None:
        """Frames are as large as the client takes them, and no larger than is fair."""
        dialogue = self.proxy()
        client, stream, backend = self.asked(dialogue, settings={SettingCodes.MAX_FRAME_SIZE: 20_000})
        backend.says(reply(bytes(60_000)))
        self.assertReply(stream, 200, bytes(60_000))
        sizes = [each.body_len for each in stream.frames if self.kinds([each]) == ["Data"]]
        self.assertLessEqual(max(sizes), 20_000)
        self.assertEqual(sum(sizes), 60_000)

    def test_endNeedsNoWindow(self) -> None:
        """An end without content comes through a window that is used up; so do trailers."""
        for end, trailers in ((b"0\r\n\r\n", None), (b"0\r\nX-Sum: 1\r\n\r\n", [(b"x-sum", b"1")])):
            dialogue = self.proxy()
            _, stream, backend = self.asked(dialogue, window_bytes=5)
            backend.says(head(b"Transfer-Encoding: chunked") + b"5\r\nhello\r\n")
            self.assertEqual(stream.gets(), b"hello")
            backend.says(end)
            self.assertEqual((stream.has_ended, stream.trailers), (True, trailers))

    def test_trailersWait(self) -> None:
        """Trailers come after all of the content, however late that is."""
        dialogue = self.proxy()
        _, stream, backend = self.asked(dialogue, window_bytes=3)
        backend.says(head(b"Transfer-Encoding: chunked") + b"5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n")
        self.assertEqual((stream.gets(), stream.trailers, stream.has_ended), (b"hel", None, False))
        self.assertIn("1 idle", repr(dialogue.pool))
        self.assertEqual(dialogue.lines, [])
        stream.opens(1)
        self.assertEqual((stream.gets(), stream.trailers), (b"l", None))
        stream.opens(1)
        self.assertEqual((stream.gets(), stream.trailers, stream.has_ended), (b"o", [(b"x-sum", b"1")], True))
        self.assertEqual(self.assertEnd(dialogue, "ok")["bytes_out"], 5)

    def test_backendThatHasFinishedServesOthers(self) -> None:
        """A client that is slow cannot pause a backend that works for another by now."""
        dialogue = self.proxy()
        client, stream, backend = self.asked(dialogue, window_bytes=10)
        backend.says(reply(bytes(60_000)))
        self.assertIn("1 idle", repr(dialogue.pool))
        other = client.asks()
        other.opens(1_000_000)
        backend.gets_head()
        backend.says(head(b"Content-Length: 100000") + bytes(50_000))
        client.peer.stops_reading()
        stream.opens(20_000)
        client.peer.reads()
        backend.says(bytes(50_000))
        self.assertReply(other, 200, bytes(100_000))
        stream.resets()
        self.assertTrue(backend.is_open)
        self.assertEqual(self.ends(dialogue), [(200, "ok"), (499, "client-left")])

    def test_mixed(self) -> None:
        """Replies of random sizes in random pieces through random windows: each arrives as it is (D2)."""
        dialogue = self.proxy()
        dice = Random(7)
        client = self.h2(dialogue, window_bytes=2_000, connection_window_bytes=65_535)
        contents = [dice.randbytes(dice.randrange(1, 120_000)) for _ in range(8)]
        streams = [client.asks() for _ in contents]
        backends = [dialogue.backend() for _ in contents]
        left = {}
        for index, (content, backend) in enumerate(zip(contents, backends, strict=True)):
            backend.says(head(b"Content-Length: %d" % len(content)))
            left[index] = content
        got = [b""] * len(streams)
        for _ in range(2_000):
            if all(stream.has_ended for stream in streams):
                break
            index = dice.randrange(len(streams))
            size = dice.randrange(1, 30_000)
            if left[index]:
                backends[index].says(left[index][:size])
                left[index] = left[index][size:]
            stream = streams[dice.randrange(len(streams))]
            if not stream.has_ended:
                stream.opens(dice.randrange(1, 20_000))
            client.opens(dice.randrange(1, 20_000))
            for index, stream in enumerate(streams):
                got[index] += stream.gets()
        self.assertEqual(got, contents)
        self.assertEqual(self.ends(dialogue), [(200, "ok")] * len(streams))
