"""How long backends that speak HTTP/2 may take."""

from __future__ import annotations

from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from twisted.internet.error import ConnectionLost

from txproxy.test.talk import GET, POST_5, chunked, post
from txproxy.test.upstream.http2_backend import Http2Case

A, B = "10.0.0.1:80", "10.0.0.2:80"


class TimeoutTests(Http2Case):
    """Each stream has its own time."""

    def test_firstByte(self) -> None:
        """first_byte_s from the moment that the request was sent; other streams are not concerned."""
        dialogue = self.h2_proxy("timeouts.first_byte_s = 10\nretry.idempotent_tries = 1")
        (client,), backend = self.asked(dialogue, GET)
        dialogue.advance(5)
        other = dialogue.client()
        other.says(GET)
        backend.reads()
        dialogue.advance(4.8)
        self.assertEqual(client.gets(), b"")
        dialogue.advance(0.4)
        self.assertStatus(client, 504)
        self.assertEnd(dialogue, "reply-timeout", 504)
        self.assertEqual(backend.stream().reset, ErrorCodes.CANCEL)
        backend.reply(3)
        self.assertStatus(other, 200)

    def test_deadConnection(self) -> None:
        """A connection on which nothing at all has come meanwhile gets no more requests."""
        dialogue = self.h2_proxy("timeouts.first_byte_s = 10\nretry.idempotent_tries = 1")
        (client,), backend = self.asked(dialogue, GET)
        backend.reply(1)
        self.assertStatus(client, 200)
        client.says(GET)
        dialogue.advance(5)
        other = dialogue.client()
        other.says(GET)
        dialogue.advance(5.2)
        self.assertStatus(client, 504)
        client.says(GET)
        second = self.answer(dialogue)
        second.reply(1)
        self.assertStatus(client, 200)
        backend.reply(5)
        self.assertStatus(other, 200)
        backend.reads()
        self.assertEqual(backend.goaway, ErrorCodes.NO_ERROR)

    def test_slowUpload(self) -> None:
        """While the client has the next word, the backend is not blamed; from the end of the body on it is."""
        dialogue = self.h2_proxy("timeouts.first_byte_s = 10\nretry.idempotent_tries = 1")
        (client,), backend = self.asked(dialogue, chunked())
        dialogue.advance(30)
        client.says(b"1\r\na\r\n")
        dialogue.advance(30)
        client.says(b"0\r\n\r\n")
        dialogue.advance(9.8)
        self.assertEqual(client.gets(), b"")
        dialogue.advance(0.4)
        self.assertStatus(client, 504)
        backend.reads()

    def test_betweenBytes(self) -> None:
        """between_bytes_s within a reply; what comes sets it anew."""
        dialogue = self.h2_proxy("timeouts.between_bytes_s = 10")
        (client,), backend = self.asked(dialogue, GET)
        backend.head(1)
        for _ in range(3):
            dialogue.advance(9)
            backend.data(1, b"a")
        dialogue.advance_past(10)
        self.assertFalse(client.is_open)
        self.assertEnd(dialogue, "reply-cut", 200)
        self.assertEqual(backend.stream().reset, ErrorCodes.CANCEL)
        self.assertPool(dialogue, 1, 0, 0)

    def test_streams(self) -> None:
        """Event streams and gRPC may be silent for stream_s."""
        for kind in (b"text/event-stream", b"application/grpc", b"application/grpc+proto", b"Application/gRPC"):
            dialogue = self.h2_proxy("timeouts = { between_bytes_s = 10, stream_s = 100 }")
            (client,), backend = self.asked(dialogue, GET)
            backend.head(1, (b"content-type", kind))
            dialogue.advance(99)
            self.assertTrue(client.is_open)
            dialogue.advance_past(1)
            self.assertFalse(client.is_open)

    def test_slowClient(self) -> None:
        """While the client is slow, the backend is not blamed."""
        dialogue = self.h2_proxy("timeouts.between_bytes_s = 10", listener="write_timeout_s = 1000")
        (client,), backend = self.asked(dialogue, GET)
        client.stops_reading()
        backend.head(1)
        backend.data(1, b"x" * 65535)
        backend.data(1, b"", ended=False)
        dialogue.advance(100)
        self.assertIsNone(backend.stream().reset)
        client.reads()
        backend.data(1, b"y", ended=True)
        self.assertTrue(client.gets().endswith(b"0\r\n\r\n"))

    def test_pausedBeforeTheReply(self) -> None:
        """The same if the client was slow before, with interim replies: what was left of first_byte_s is no matter then."""
        dialogue = self.h2_proxy("timeouts.first_byte_s = 20", listener="write_timeout_s = 1000")
        (client,), backend = self.asked(dialogue, GET)
        client.stops_reading()
        for _ in range(6):
            backend.head(1, *[(b"x-%d" % number, b"v" * 4000) for number in range(6)], status=b"103")
        self.assertTrue(client.transport.producer_paused)
        dialogue.advance(10)
        backend.head(1, (b"content-length", b"5"))
        backend.data(1, b"ab")
        dialogue.advance(100)
        self.assertIsNone(backend.stream().reset)
        client.reads()
        backend.data(1, b"cde", ended=True)
        self.assertEnd(dialogue, "ok", 200)

    def test_clientsPace(self) -> None:
        """What a client does or does not read before its reply has begun gives the backend no more time for that."""
        dialogue = self.h2_proxy("timeouts.first_byte_s = 10\nretry.idempotent_tries = 1")
        (client,), backend = self.asked(dialogue, GET)
        connection = client.transport.protocol
        for _ in range(3):
            dialogue.advance(3)
            connection.pauseProducing()
            dialogue.advance(0.1)
            connection.resumeProducing()
        self.assertEqual(client.gets(), b"")
        dialogue.advance(1)
        self.assertStatus(client, 504)
        self.assertEqual(backend.stream().reset, ErrorCodes.CANCEL)

    def test_lastBytes(self) -> None:
        """A backend that reads slowly has its time anew while it takes the end of a request, which no more waits here."""
        dialogue = self.h2_proxy("timeouts.first_byte_s = 10\nretry.idempotent_tries = 1")
        windows = {SettingCodes.INITIAL_WINDOW_SIZE: 2**31 - 1}
        (client,), backend = self.asked(dialogue, post(65_530), settings=windows)
        backend.h2.increment_flow_control_window(2**30)
        backend.says()
        backend.peer.stops_reading()
        client.says(b"x" * 65_530)
        self.assertGreater(backend.peer.transport.queued_bytes, 65_536)
        for _ in range(5):
            dialogue.advance(9)
            backend.peer.reads(1000)
        self.assertEqual(client.gets(), b"")
        dialogue.advance_past(20)
        self.assertStatus(client, 504)

    def test_idle(self) -> None:
        """An idle connection is closed after idle_timeout_s, with a GOAWAY."""
        dialogue = self.h2_proxy("pool.idle_timeout_s = 7")
        (client,), backend = self.asked(dialogue, GET)
        dialogue.advance(5)
        backend.reply(1)
        self.assertStatus(client, 200)
        dialogue.advance(6.8)
        self.assertTrue(backend.peer.is_open)
        dialogue.advance(0.4)
        backend.reads()
        self.assertEqual(backend.goaway, ErrorCodes.NO_ERROR)
        self.assertFalse(backend.peer.is_open)
        self.assertPool(dialogue, 0, 0, 0)

    def test_age(self) -> None:
        """One that is too old gets no more requests; it completes those that it has."""
        dialogue = self.h2_proxy("pool.max_age_s = 20")
        (client,), backend = self.asked(dialogue, GET)
        dialogue.advance_past(20)
        other = dialogue.client()
        other.says(GET)
        second = self.answer(dialogue)
        second.reply(1)
        self.assertStatus(other, 200)
        self.assertPool(dialogue, 1, 1, 1)
        backend.reply(1)
        self.assertStatus(client, 200)
        backend.reads()
        self.assertEqual(backend.goaway, ErrorCodes.NO_ERROR)
        self.assertPool(dialogue, 1, 0, 0)
        dialogue.advance_past(20)
        self.assertPool(dialogue, 0, 0, 0)

    def test_queue(self) -> None:
        """One who waits for a place waits no longer than queue_timeout_s."""
        dialogue = self.h2_proxy("pool = { max_connections = 1, queue_timeout_s = 3 }")
        clients, backend = self.asked(dialogue, GET, GET, most=1)
        dialogue.advance_past(3)
        self.assertStatus(clients[1], 503)
        self.assertEnd(dialogue, "queue-timeout", 503)
        backend.reply(1)
        self.assertStatus(clients[0], 200)

    def test_lost(self) -> None:
        """A connection that its transport gives up."""
        dialogue = self.h2_proxy(backends=(A, B))
        (client,), backend = self.asked(dialogue, POST_5)
        backend.peer.transport.lose(ConnectionLost("timed out"))
        dialogue.settle()
        self.assertStatus(client, 502)
