"""Requests to backends that speak HTTP/2: what they get, and what comes back."""

from __future__ import annotations

from typing import Any

from h2.errors import ErrorCodes
from hyperframe.frame import SettingsFrame

from txproxy.test.talk import GET, OK, POST_5, chunked, post, request
from txproxy.test.upstream.http2_backend import Http2Case


class ForwardingTests(Http2Case):
    """One request, one reply."""

    def test_get(self) -> None:
        """A request with its pseudo-fields and ours, on stream 1; the reply as by HTTP/1.1."""
        dialogue = self.h2_proxy()
        client = dialogue.client()
        client.says(request(b"GET /a?b HTTP/1.1", b"X-A: 1"))
        backend = self.answer(dialogue)
        stream = backend.stream()
        self.assertEqual(
            stream.fields[:4],
            [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/a?b"), (b":authority", b"a.example")],
        )
        self.assertEqual((stream.get(b"x-a"), stream.get(b"via"), stream.has_ended), (b"1", b"1.1 txproxy", True))
        self.assertEqual(stream.get(b"x-forwarded-for"), b"192.0.2.1")
        backend.reply(1, b"hello", (b"content-length", b"5"), (b"x-b", b"2"))
        head = client.gets_head()
        self.assertEqual((head.line, head.get(b"x-b")), (b"HTTP/1.1 200 OK", b"2"))
        self.assertEqual(head.get(b"Via"), b"2.0 txproxy")
        self.assertEqual(client.gets(), b"hello")
        self.assertEnd(dialogue, "ok", 200)
        self.assertPool(dialogue, 1, 0, 0)

    def test_secure(self) -> None:
        """Over TLS the scheme is https."""
        dialogue = self.h2_proxy("tls = { enabled = true, verify = false }", backends=("10.0.0.1:443",))
        (client,), backend = self.asked(dialogue, GET)
        self.assertEqual(backend.stream().get(b":scheme"), b"https")
        backend.reply(1)
        self.assertStatus(client, 200)

    def test_noLength(self) -> None:
        """A reply whose length is not said has chunks for a client of HTTP/1.1."""
        dialogue = self.h2_proxy()
        (client,), backend = self.asked(dialogue, GET)
        backend.head(1)
        self.assertEqual(client.gets_head().get(b"Transfer-Encoding"), b"chunked")
        backend.data(1, b"abc")
        self.assertEqual(client.gets(), b"3\r\nabc\r\n")
        backend.data(1, b"", ended=True)
        self.assertEqual(client.gets(), b"0\r\n\r\n")

    def test_together(self) -> None:
        """What comes together goes on together: one write for a head, its content and its trailers."""
        dialogue = self.h2_proxy()
        (client,), backend = self.asked(dialogue, GET)
        writes: list[bytes] = []
        write = client.transport.write
        client.transport.write = lambda data: (writes.append(data), write(data))  # type: ignore
        backend.reply(1, b"abc", trailers=[(b"x-sum", b"7")])
        self.assertEqual(len(writes), 1)
        self.assertTrue(writes[0].endswith(b"\r\n\r\n3\r\nabc\r\n0\r\nx-sum: 7\r\n\r\n"), writes)

    def test_head(self) -> None:
        """The reply to HEAD ends with its head, whatever length it names, and whichever frame says so."""
        for ended in (True, False):
            dialogue = self.h2_proxy()
            (client,), backend = self.asked(dialogue, request(b"HEAD / HTTP/1.1"))
            backend.head(1, (b"content-length", b"9"), ended=ended)
            if not ended:
                backend.data(1, b"", ended=True)
            self.assertEqual(client.gets_head().get(b"content-length"), b"9")
            self.assertEqual(client.gets(), b"")
            self.assertEnd(dialogue, "ok", 200)

    def test_trailersOnly(self) -> None:
        """A gRPC error: a head that is all of the reply."""
        dialogue = self.h2_proxy()
        (client,), backend = self.asked(dialogue, chunked(b"TE: trailers") + b"0\r\n\r\n")
        self.assertEqual(backend.stream().get(b"te"), b"trailers")
        backend.head(1, (b"content-type", b"application/grpc"), (b"grpc-status", b"12"), ended=True)
        head = client.gets_head()
        self.assertEqual((head.get(b"grpc-status"), head.get(b"Content-Length")), (b"12", b"0"))
        self.assertEnd(dialogue, "ok", 200)

    def test_interim(self) -> None:
        """Interim replies are passed on, the final one after them."""
        dialogue = self.h2_proxy()
        (client,), backend = self.asked(dialogue, GET)
        backend.head(1, (b"link", b"</a>"), status=b"103")
        self.assertEqual(client.gets_head().line, b"HTTP/1.1 103 Early Hints")
        backend.reply(1)
        self.assertStatus(client, 200)

    def test_scheduling(self) -> None:
        """Requests of many clients share a connection, and are answered in any order."""
        dialogue = self.h2_proxy()
        clients, backend = self.asked(dialogue, GET, GET, GET)
        self.assertEqual(list(backend.streams), [1, 3, 5])
        self.assertPool(dialogue, 0, 1, 3)
        for index in (2, 0, 1):
            backend.reply(2 * index + 1, b"%d" % index)
            self.assertTrue(self.assertStatus(clients[index], 200).startswith(b"1\r\n%d\r\n" % index))
        self.assertPool(dialogue, 1, 0, 0)
        self.assertEqual((dialogue.pool.stats.created, dialogue.pool.stats.reused), (1, 2))

    def test_again(self) -> None:
        """The next request of a client goes out on the same connection, at once."""
        dialogue = self.h2_proxy()
        (client,), backend = self.asked(dialogue, GET)
        for number in range(5):
            backend.reply(2 * number + 1)
            self.assertStatus(client, 200)
            client.says(GET)
            self.assertTrue(backend.stream(2 * number + 3).has_ended)
        backend.reply(11)
        self.assertStatus(client, 200)


class BodyTests(Http2Case):
    """Bodies of requests."""

    def test_whole(self) -> None:
        """A short body goes out along with its head."""
        dialogue = self.h2_proxy()
        (client,), backend = self.asked(dialogue, POST_5)
        stream = backend.stream()
        self.assertEqual((stream.content, stream.has_ended, stream.get(b"content-length")), (b"hello", True, b"5"))
        backend.reply(1)
        self.assertStatus(client, 200)

    def test_pieces(self) -> None:
        """A body that comes in pieces goes out in pieces; chunks and their trailers lose their framing."""
        dialogue = self.h2_proxy()
        client = dialogue.client()
        client.says(chunked())
        backend = self.answer(dialogue)
        self.assertFalse(backend.stream().has_ended)
        for piece in (b"abc", b"defg"):
            client.says(b"%x\r\n%b\r\n" % (len(piece), piece))
        self.assertEqual(backend.stream().content, b"abcdefg")
        self.assertIsNone(backend.stream().get(b"transfer-encoding"))
        client.says(b"0\r\nX-Sum: 7\r\nContent-Length: 9\r\n\r\n")
        self.assertEqual(backend.stream().trailers, [(b"x-sum", b"7")])
        self.assertTrue(backend.stream().has_ended)
        backend.reply(1)
        self.assertStatus(client, 200)

    def test_trailersThatMayNotPass(self) -> None:
        """If none of the trailers may go on, the body ends without."""
        dialogue = self.h2_proxy()
        (client,), backend = self.asked(dialogue, chunked() + b"1\r\na\r\n0\r\nContent-Length: 9\r\n\r\n")
        stream = backend.stream()
        self.assertEqual((stream.content, stream.has_ended, stream.trailers), (b"a", True, None))
        backend.reply(1)
        self.assertStatus(client, 200)

    def test_empty(self) -> None:
        """A body of chunks that holds nothing."""
        dialogue = self.h2_proxy()
        (client,), backend = self.asked(dialogue, chunked() + b"0\r\n\r\n")
        self.assertEqual((backend.stream().content, backend.stream().has_ended), (b"", True))
        backend.reply(1)
        self.assertStatus(client, 200)

    def test_expectation(self) -> None:
        """100-continue end to end."""
        dialogue = self.h2_proxy()
        (client,), backend = self.asked(dialogue, post(3, b"Expect: 100-continue"))
        self.assertEqual(backend.stream().get(b"expect"), b"100-continue")
        backend.head(1, status=b"100")
        self.assertEqual(client.gets_head().line, b"HTTP/1.1 100 Continue")
        client.says(b"abc")
        self.assertEqual((backend.stream().content, backend.stream().has_ended), (b"abc", True))
        backend.reply(1)
        self.assertStatus(client, 200)

    def test_expectationThatIsNotMet(self) -> None:
        """While the client waits to be told to go on, the backend has first_byte_s for that."""
        dialogue = self.h2_proxy("timeouts.first_byte_s = 10")
        (client,), backend = self.asked(dialogue, post(3, b"Expect: 100-continue"))
        dialogue.advance(9.8)
        self.assertEqual(client.gets(), b"")
        dialogue.advance_past(0.2)
        self.assertStatus(client, 504)
        self.assertEqual(backend.stream().reset, ErrorCodes.CANCEL)

    def test_earlyReply(self) -> None:
        """A reply that is complete before the request ends the exchange: the stream is reset, the others go on."""
        dialogue = self.h2_proxy()
        (client, other), backend = self.asked(dialogue, post(10) + b"abc", GET)
        backend.head(1, status=b"413", ended=True)
        self.assertStatus(client, 413)
        self.assertEqual(backend.stream().reset, ErrorCodes.CANCEL)
        backend.reply(3)
        self.assertStatus(other, 200)
        self.assertTrue(backend.peer.is_open)
        self.assertPool(dialogue, 1, 0, 0)

    def test_earlyReplyAndReset(self) -> None:
        """A backend that resets the stream after a complete reply wants no more of the body; that is no failure."""
        dialogue = self.h2_proxy()
        (client,), backend = self.asked(dialogue, post(10) + b"abc")
        backend.h2.send_headers(1, [(b":status", b"200"), (b"content-length", b"2")])
        backend.h2.send_data(1, b"no", end_stream=True)
        backend.h2.reset_stream(1, ErrorCodes.NO_ERROR)
        backend.says()
        self.assertEqual(self.assertStatus(client, 200), b"no")
        self.assertEnd(dialogue, "ok", 200)
        self.assertPool(dialogue, 1, 0, 0)

    def test_brokenBody(self) -> None:
        """A body that turns out to be malformed is given up: the backend must not take it for complete."""
        dialogue = self.h2_proxy()
        (client,), backend = self.asked(dialogue, chunked() + b"3\r\nabc\r\n")
        client.says(b"zz\r\n")
        self.assertStatus(client, 400)
        self.assertEqual(backend.stream().reset, ErrorCodes.CANCEL)
        self.assertFalse(backend.stream().has_ended)
        self.assertPool(dialogue, 1, 0, 0)


class CancelTests(Http2Case):
    """HF20: a client that leaves."""

    def test_cancelled(self) -> None:
        """Its stream is reset within the same turn; the connection stays, and the log has 499."""
        dialogue = self.h2_proxy()
        (client, other), backend = self.asked(dialogue, GET, GET)
        client.resets()
        self.assertEqual(backend.stream(1).reset, ErrorCodes.CANCEL)
        self.assertIsNone(backend.stream(3).reset)
        self.assertEnd(dialogue, "client-left", 499)
        self.assertPool(dialogue, 0, 1, 1)
        backend.reply(3)
        self.assertStatus(other, 200)

    def test_late(self) -> None:
        """What the backend still sends on that stream hurts nobody."""
        dialogue = self.h2_proxy()
        (client, other), backend = self.asked(dialogue, GET, GET)
        backend.head(1)
        client.transport.lose()
        backend.data(1, b"x" * 1000)
        self.assertEqual(backend.stream(1).reset, ErrorCodes.CANCEL)
        backend.reply(3)
        self.assertStatus(other, 200)
        self.assertTrue(backend.peer.is_open)

    def test_whileWaiting(self) -> None:
        """One who leaves before there is a connection leaves nothing behind: it serves the next."""
        dialogue = self.h2_proxy()
        client = dialogue.client()
        client.says(GET)
        client.resets()
        backend = self.answer(dialogue)
        backend.reads()
        self.assertEqual(backend.streams, {})
        self.assertPool(dialogue, 1, 0, 0)
        other = dialogue.client()
        other.says(GET)
        backend.reply(1)
        self.assertStatus(other, 200)

    def test_lostBetweenLeases(self) -> None:
        """One whose connection ends while others are given their places on it gets another."""
        dialogue = self.h2_proxy("retry.idempotent_tries = 1")
        first, second = dialogue.client(), dialogue.client()
        for client in (first, second):
            client.says(POST_5)
        forward = next(iter(dialogue.pool.waiting)).on_lease
        leased = forward.leased

        def drop(exchange: object, place: Any) -> None:
            forward.leased = leased
            leased(exchange, place)
            place.connection.drop()

        forward.leased = drop
        dialogue.backend(says=SettingsFrame(0).serialize())
        self.assertStatus(first, 502)
        backend = self.answer(dialogue)
        self.assertEqual(backend.stream().content, b"hello")
        backend.reply(1)
        self.assertStatus(second, 200)

    def test_betweenLeases(self) -> None:
        """One whose client leaves while others are given their places gives its own back."""
        dialogue = self.h2_proxy()
        first, second, third = (dialogue.client() for _ in range(3))
        for client in (first, second, third):
            client.says(GET)
        waiters = list(dialogue.pool.waiting)
        forward = waiters[0].on_lease
        leased = forward.leased

        def leave_another(exchange: object, connection: object) -> None:
            leased(exchange, connection)
            second.transport.protocol.readConnectionLost()

        forward.leased = leave_another
        backend = self.answer(dialogue)
        forward.leased = leased
        backend.reads()
        self.assertEqual(len(backend.under_way), 2)
        self.assertPool(dialogue, 0, 1, 2)
        for stream in backend.under_way:
            backend.reply(stream.id)
        self.assertStatus(first, 200)
        self.assertStatus(third, 200)


class StageTests(Http2Case):
    """Stages see requests and replies as they do by HTTP/1.1."""

    def test_hsts(self) -> None:
        """A route's own fields."""
        dialogue = self.h2_proxy(route='reply_headers = { set = { X-Set = "1" } }')
        (client,), backend = self.asked(dialogue, GET)
        backend.reply(1)
        self.assertEqual(client.gets_head().get(b"X-Set"), b"1")

    def test_mixed(self) -> None:
        """A cluster of HTTP/1.1 beside one of HTTP/2."""
        rest = '[[route]]\nname = "old"\npath = "/old"\ncluster = "old"\n[cluster.old]\nbackends = [{ address = "10.0.0.9:80" }]'
        dialogue = self.h2_proxy(rest=rest)
        dialogue.script("10.0.0.9:80", OK)
        client = dialogue.client()
        client.says(request(b"GET /old HTTP/1.1"))
        self.assertStatus(client, 200)
        client.says(GET)
        backend = self.answer(dialogue)
        backend.reply(1)
        self.assertStatus(client, 200)
