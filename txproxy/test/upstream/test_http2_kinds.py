"""Kinds of replies of backends that speak HTTP/2, true and false, and settings that change while requests are sent."""

from __future__ import annotations

from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from hyperframe.frame import SettingsFrame

from txproxy.test.talk import GET, POST_5, chunked, post, request
from txproxy.test.upstream.http2_backend import Http2Backend, Http2Case
from txproxy.testing.http2 import ClientStream, Http2Client

HEAD = request(b"HEAD / HTTP/1.1")


class NoContentTests(Http2Case):
    """Replies that have no content (RFC 9110 section 6.4.1)."""

    def test_true(self) -> None:
        """They end with their head, in one frame or in two; a length belongs to what would have come."""
        for says, status, length in ((HEAD, b"200", b"9"), (GET, b"304", b"9"), (GET, b"204", b"")):
            for ended in (True, False):
                dialogue = self.h2_proxy()
                (client,), backend = self.asked(dialogue, says)
                backend.head(1, *[(b"content-length", length)] * bool(length), status=status, ended=ended)
                if not ended:
                    backend.data(1, b"", ended=True)
                head = client.gets_head()
                self.assertEqual((head.line[9:12], head.get(b"content-length") or b""), (status, length))
                self.assertIsNone(head.get(b"transfer-encoding"))
                self.assertEqual(client.gets(), b"")
                client.says(GET)
                backend.reply(3)
                self.assertStatus(client, 200)

    def test_false(self) -> None:
        """Content nevertheless is malformed: it never gets to the client, and only that stream is concerned."""
        for says, status in ((HEAD, b"200"), (GET, b"304"), (GET, b"204")):
            dialogue = self.h2_proxy()
            (client, other), backend = self.asked(dialogue, says, GET)
            backend.head(1, (b"etag", b'"1"'), status=status)
            backend.data(1, b"HTTP/1.1 200 OK\r\n\r\n", ended=True)
            self.assertFalse(client.is_open)
            self.assertTrue(client.gets().endswith(b"\r\n\r\n"))
            self.assertEnd(dialogue, "reply-cut", int(status))
            backend.reply(3)
            self.assertStatus(other, 200)
            self.assertPool(dialogue, 1, 0, 0)


class InterimTests(Http2Case):
    """Interim replies (RFC 9110 section 15.2)."""

    def test_many(self) -> None:
        """All are passed on in order, before what is final; a trailer section stays apart from them."""
        dialogue = self.h2_proxy()
        (client,), backend = self.asked(dialogue, GET)
        for number in range(3):
            backend.head(1, (b"link", b"</%d>" % number), status=b"103")
        backend.reply(1, b"ok", trailers=[(b"x-sum", b"7")])
        for number in range(3):
            head = client.gets_head()
            self.assertEqual((head.line, head.get(b"link")), (b"HTTP/1.1 103 Early Hints", b"</%d>" % number))
        self.assertEqual(client.gets_head().line, b"HTTP/1.1 200 OK")
        self.assertEqual(client.gets(), b"2\r\nok\r\n0\r\nx-sum: 7\r\n\r\n")

    def test_wrong(self) -> None:
        """One that ends its stream, or comes after the final head, breaks the reply."""
        dialogue = self.h2_proxy("retry.idempotent_tries = 1")
        (first, second, third), backend = self.asked(dialogue, GET, GET, GET)
        backend.peer.says(b"\x00\x00\x05\x01\x05\x00\x00\x00\x01\x08\x03103")
        self.assertStatus(first, 502)
        backend.head(3)
        backend.peer.says(b"\x00\x00\x05\x01\x04\x00\x00\x00\x03\x08\x03103")
        self.assertFalse(second.is_open)
        self.assertEqual([line["end"] for line in dialogue.lines], ["bad-reply", "reply-cut"])
        backend.reads()
        self.assertEqual([backend.streams[id].reset for id in (1, 3)], [ErrorCodes.PROTOCOL_ERROR] * 2)
        backend.reply(5)
        self.assertStatus(third, 200)

    def test_contentFirst(self) -> None:
        """Content without a head is no reply, and nothing is asked again for that."""
        dialogue = self.h2_proxy()
        (client, other), backend = self.asked(dialogue, GET, GET)
        backend.peer.says(b"\x00\x00\x01\x00\x00\x00\x00\x00\x01x")
        self.assertStatus(client, 502)
        self.assertEnd(dialogue, "bad-reply", 502)
        backend.reply(3)
        self.assertStatus(other, 200)


class GrpcTests(Http2Case):
    """HTTP/2 on both sides."""

    def both(self) -> tuple[ClientStream, Http2Backend]:
        """Return a request that has begun, and the backend that has it."""
        timeouts = "timeouts = { between_bytes_s = 10, stream_s = 1000 }"
        self.dialogue = dialogue = self.h2_proxy(timeouts, listener="body_timeout_s = 1000")
        client = Http2Client(dialogue.client())
        fields = [(b"te", b"trailers"), (b"content-type", b"application/grpc")]
        stream = client.asks(b"POST", b"/Echo", *fields, ended=False)
        stream.says(b"hello")
        backend = self.answer(dialogue)
        backend.reads()
        return stream, backend

    def test_trailersOnly(self) -> None:
        """A head that is all of the reply stays one, while the request is not complete; the stream is given up."""
        stream, backend = self.both()
        backend.head(1, (b"content-type", b"application/grpc"), (b"grpc-status", b"12"), ended=True)
        head = stream.gets_head()
        self.assertEqual((head.get(b"grpc-status"), head.get(b"content-length")), (b"12", None))
        self.assertEqual((stream.gets(), stream.has_ended), (b"", True))
        self.assertEqual(backend.stream().reset, ErrorCodes.CANCEL)
        self.assertPool(self.dialogue, 1, 0, 0)
        self.dialogue.advance_past(1)

    def test_messages(self) -> None:
        """Messages go both ways as they come, and may be far apart; trailers have the status."""
        stream, backend = self.both()
        backend.head(1, (b"content-type", b"application/grpc"))
        for number in range(5):
            self.dialogue.advance(50)
            stream.says(b"question %d" % number)
            self.assertTrue(backend.stream().content.endswith(b"question %d" % number))
            self.dialogue.advance(50)
            backend.data(1, b"answer %d" % number)
            self.assertEqual(stream.gets(), b"answer %d" % number)
        stream.says(b"", ended=True)
        self.assertTrue(backend.stream().has_ended)
        backend.h2.send_headers(1, [(b"grpc-status", b"0")], end_stream=True)
        backend.says()
        stream.gets()
        self.assertTrue(stream.has_ended)
        self.assertIsNone(backend.stream().reset)

    def test_noMoreWanted(self) -> None:
        """RST_STREAM with NO_ERROR after a complete reply (RFC 9113 section 8.1): it is complete for the client too."""
        stream, backend = self.both()
        backend.h2.send_headers(1, [(b":status", b"200")])
        backend.h2.send_data(1, b"enough", end_stream=True)
        backend.h2.reset_stream(1, ErrorCodes.NO_ERROR)
        backend.says()
        self.assertEqual((stream.gets(), stream.has_ended), (b"enough", True))
        self.assertEnd(self.dialogue, "ok", 200)
        self.dialogue.advance_past(1)


class SettingsTests(Http2Case):
    """SETTINGS that come while requests are under way (RFC 9113 section 6.5)."""

    def test_frames(self) -> None:
        """Content goes out in frames of the size that the backend takes; it may become larger."""
        dialogue = self.h2_proxy()
        windows = {SettingCodes.INITIAL_WINDOW_SIZE: 2**31 - 1}
        (client,), backend = self.asked(dialogue, post(200_000), settings=windows)
        backend.h2.increment_flow_control_window(2**30)
        backend.says()
        for most in (16384, 50_000):
            backend.settles({SettingCodes.MAX_FRAME_SIZE: most})
            backend.reads()  # From here on it holds the proxy to that.
            client.says(b"x" * 100_000)
            data = backend.peer.gets()
            sizes = frame_sizes(data)
            self.assertEqual((sum(sizes), max(sizes) <= most), (100_000, True), sizes)
            backend.h2.receive_data(data)
        backend.head(1, ended=True)
        self.assertStatus(client, 200)

    def test_fewerStreams(self) -> None:
        """A limit that falls while requests are on their way: what is above it is refused, and goes out again."""
        dialogue = self.h2_proxy("retry = { budget = 0.0, min_per_s = 0 }\npool.max_connections = 2")
        clients, backend = self.asked(dialogue, *[POST_5] * 4)
        backend.h2.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: 2})
        for id in (5, 7):
            backend.h2.reset_stream(id, ErrorCodes.REFUSED_STREAM)
        backend.says()
        second = self.answer(dialogue, most=2)
        for id in (1, 3):
            second.reply(id)
            backend.reply(id)
        for client in clients:
            self.assertStatus(client, 200)
        for client in clients:
            client.says(GET)
        self.assertEqual([len(each.stream(5).fields) > 0 for each in (second,)], [True])
        backend.reads()
        ids = [id for id in backend.streams if id > 7]
        self.assertEqual((len(ids), len(second.streams)), (2, 4))
        for each, numbers in ((backend, ids), (second, (5, 7))):
            for id in numbers:
                each.reply(id)
        for client in clients:
            self.assertStatus(client, 200)

    def test_tables(self) -> None:
        """A backend that wants no table of fields: what it is sent can be read without one."""
        dialogue = self.h2_proxy()
        (client,), backend = self.asked(dialogue, GET, settings={SettingCodes.HEADER_TABLE_SIZE: 0})
        for number in range(5):
            backend.reply(2 * number + 1)
            self.assertStatus(client, 200)
            client.says(request(b"GET /%d HTTP/1.1" % number, b"X-A: %d" % number))
            self.assertEqual(backend.stream(2 * number + 3).get(b":path"), b"/%d" % number)
        backend.reply(11)
        self.assertStatus(client, 200)

    def test_wrong(self) -> None:
        """Values that nobody may set end the connection, before it was of use and after."""
        for code, value in ((SettingsFrame.MAX_FRAME_SIZE, 5), (SettingsFrame.INITIAL_WINDOW_SIZE, 2**31)):
            for greets in (True, False):
                dialogue = self.h2_proxy("retry.idempotent_tries = 1")
                client = dialogue.client()
                client.says(GET)
                backend = self.answer(dialogue, greets=greets)
                backend.peer.says(SettingsFrame(0, settings={code: value}).serialize())
                self.assertFalse(backend.peer.is_open)
                self.assertStatus(client, 502)
                self.assertEnd(dialogue, "bad-reply" if greets else "connect-failed", 502)
                self.assertPool(dialogue, 0, 0, 0)

    def test_windowsThatOverflow(self) -> None:
        """A window above 2^31-1: of a stream, only that is reset; of the connection, that ends."""
        for stream_id in (1, 0):
            dialogue = self.h2_proxy("retry.idempotent_tries = 1")
            (client, other), backend = self.asked(dialogue, chunked(), GET)
            for _ in range(2):
                backend.peer.says(b"\x00\x00\x04\x08\x00\x00\x00\x00%c\x7f\xff\xff\xff" % stream_id)
            self.assertIn(b"HTTP/1.1 502 ", client.gets())
            self.assertEqual(backend.peer.is_open, bool(stream_id))
            if stream_id:
                backend.reply(3)
            self.assertStatus(other, 200 if stream_id else 502)


def frame_sizes(data: bytes) -> list[int]:
    """Return the sizes of the frames of content."""
    sizes = []
    while data:
        size = int.from_bytes(data[:3], "big")
        if data[3] == 0:
            sizes.append(size)
        data = data[9 + size :]
    return sizes
