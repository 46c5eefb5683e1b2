"""Clients of HTTP/2 that reset a stream or leave: whatever works for them stops at once (HF20)."""

from __future__ import annotations

from h2.errors import ErrorCodes

from txproxy.test.http2_talk import CLEAN_POOL, Http2Case, frame, length
from txproxy.test.talk import GET, OK, head, reply
from txproxy.testing import Dialogue

ONE = "pool.max_connections = 1"


class ResetTests(Http2Case):
    """RST_STREAM, in each phase of an exchange; the connection and its other streams go on."""

    def assertLeft(self, dialogue: Dialogue, status: int = 499) -> None:
        """Check the line of the exchange that was given up."""
        self.assertEnd(dialogue, "client-left", status)

    def test_codes(self) -> None:
        """Whatever reason it gives, a client that resets a stream has left it."""
        dialogue = self.proxy()
        client = self.h2(dialogue)
        for code in (ErrorCodes.NO_ERROR, ErrorCodes.CANCEL, ErrorCodes.INTERNAL_ERROR, 0xDEAD):
            stream = client.asks()
            backend = dialogue.backend()
            backend.gets()
            client.says(frame(3, 0, stream.id, int(code).to_bytes(4, "big")))
            self.assertTrue(backend.sees_reset)
            self.assertLeft(dialogue)
            self.assertEqual(stream.frames, [])
        self.assertEqual(repr(dialogue.pool), CLEAN_POOL)
        self.assertTrue(client.peer.is_open)

    def test_queued(self) -> None:
        """While it waits for a connection: it leaves the queue too, and the next in line is served."""
        dialogue = self.proxy(cluster=ONE)
        client, first, backend = self.asked(dialogue)
        second, third = client.asks(), client.asks()
        self.assertIn("2 waiting", repr(dialogue.pool))
        second.resets()
        self.assertLeft(dialogue)
        self.assertIn("1 waiting", repr(dialogue.pool))
        backend.says(OK)
        self.assertReply(first, 200)
        backend.says(reply(b"third"))
        self.assertReply(third, 200, b"third")

    def test_connecting(self) -> None:
        """While its connection is being made: the connection stays for the next request."""
        dialogue = self.proxy()
        client = self.h2(dialogue)
        client.asks().resets()
        self.assertLeft(dialogue)
        backend = dialogue.backend()
        self.assertEqual(backend.gets(), b"")
        stream = client.asks()
        backend.says(OK)
        self.assertReply(stream, 200)

    def test_uploading(self) -> None:
        """In mid-body: the backend's connection is reset, the body has no clean end."""
        for fields in ((), (length(10),)):
            dialogue = self.proxy()
            client, stream, backend = self.asked(dialogue, b"POST", b"/", *fields, ended=False)
            stream.says(b"abc")
            backend.gets()
            stream.resets()
            self.assertEqual((backend.gets(), backend.sees_reset), (b"", True))
            self.assertLeft(dialogue)
            self.assertEqual(repr(dialogue.pool), CLEAN_POOL)
            self.assertTrue(client.peer.is_open)

    def test_downloading(self) -> None:
        """In the middle of the reply: the backend's connection is reset, what was sent is counted."""
        dialogue = self.proxy()
        client, stream, backend = self.asked(dialogue)
        backend.says(head(b"Content-Length: 10") + b"abc")
        self.assertEqual(stream.gets(), b"abc")
        stream.resets()
        self.assertTrue(backend.sees_reset)
        self.assertEqual(self.assertEnd(dialogue, "client-left", 499)["bytes_out"], 3)
        other = client.asks()
        dialogue.backend().says(OK)
        self.assertReply(other, 200)

    def test_interim(self) -> None:
        """After an interim reply."""
        dialogue = self.proxy()
        _, stream, backend = self.asked(dialogue)
        backend.says(head(status=b"HTTP/1.1 103 Early Hints"))
        stream.resets()
        self.assertTrue(backend.sees_reset)
        self.assertLeft(dialogue)

    def test_withoutWindow(self) -> None:
        """While content waits for its window: it is dropped, and the other streams have their turns."""
        dialogue = self.proxy()
        client = self.h2(dialogue, connection_window_bytes=65_535)
        first, second = client.asks(), client.asks()
        backends = [dialogue.backend(), dialogue.backend()]
        for backend in backends:
            backend.says(head(b"Content-Length: 500000") + bytes(500_000))
        self.assertFalse(backends[0].transport.is_reading)
        first.resets()
        self.assertTrue(backends[0].sees_reset)
        client.opens(1_000_000)
        self.assertReply(second, 200, bytes(500_000 - 0))
        self.assertEqual(self.ends(dialogue), [(499, "client-left"), (200, "ok")])

    def test_lastOfAReplyThatWaits(self) -> None:
        """When the backend has finished, and only the window is missing: it has left too."""
        dialogue = self.proxy()
        _, stream, backend = self.asked(dialogue, window_bytes=1)
        backend.says(OK)
        stream.resets()
        self.assertLeft(dialogue)
        self.assertTrue(backend.is_open)
        self.assertIn("1 idle", repr(dialogue.pool))

    def test_afterTheEnd(self) -> None:
        """A reset that crosses the end of the reply changes nothing."""
        dialogue = self.proxy()
        client, stream, backend = self.asked(dialogue)
        backend.says(OK)
        client.says(frame(3, 0, stream.id, bytes(4)))
        self.assertEqual(self.ends(dialogue), [(200, "ok")])
        self.assertTrue(client.peer.is_open)

    def test_malformedReset(self) -> None:
        """A reset of what has not begun, or of another length, ends the connection (RFC 9113 section 6.4)."""
        for said, code in (
            (frame(3, 0, 3, bytes(4)), ErrorCodes.PROTOCOL_ERROR),
            (frame(3, 0, 0, bytes(4)), ErrorCodes.PROTOCOL_ERROR),
            (frame(3, 0, 1, bytes(3)), ErrorCodes.FRAME_SIZE_ERROR),
        ):
            dialogue = self.proxy()
            client, _, backend = self.asked(dialogue)
            client.says(said)
            self.assertFailed(client, code, 1)
            self.assertEqual(self.ends(dialogue), [(400, "bad-request")])
            self.assertTrue(backend.sees_reset)

    def test_rapidResets(self) -> None:
        """More resets than the budget of a minute end the connection, and nothing of them is left (CVE-2023-44487)."""
        dialogue = self.proxy(listener="h2_reset_budget = 10")
        client = self.h2(dialogue)
        for _ in range(10):
            client.asks().resets()
        self.assertEqual(client.goaways, [])
        dialogue.advance(61)
        for _ in range(10):
            client.asks().resets()
        self.assertEqual(client.goaways, [])
        waits = client.asks()
        client.asks().resets()
        self.assertFailed(client, ErrorCodes.ENHANCE_YOUR_CALM, 43)
        self.assertEqual(len(dialogue.lines), 22)
        self.assertEqual(waits.heads, [])
        self.assertEqual(dialogue.assembled.counters.http2_failures, {"enhance_your_calm": 1})
        dialogue.advance_past(5)
        self.assertIn("0 waiting", repr(dialogue.pool))


class ConnectionLostTests(Http2Case):
    """A client whose connection ends while streams are under way."""

    def test_manyStreams(self) -> None:
        """A FIN or a reset ends them all, in each of their phases, at once."""
        for way in ("finishes", "resets"):
            dialogue = self.proxy(cluster="pool.max_connections = 4", rest="[proxy]\nmax_connections = 1")
            client = self.h2(dialogue, window_bytes=1_000)
            streams = [client.asks(b"POST" if number == 2 else b"GET", ended=number != 2) for number in range(6)]
            backends = [dialogue.backend() for _ in range(3)]
            backends[0].says(head(b"Content-Length: 500000") + bytes(300_000))
            backends[1].says(head(b"Content-Length: 10") + b"abc")
            streams[2].says(b"hello")
            self.assertEqual(dialogue.pool.leased, 3)
            self.assertFalse(dialogue.port.is_accepting)
            getattr(client.peer, way)()
            self.assertEqual([backend.sees_reset for backend in backends], [True] * 3)
            self.assertEqual(self.ends(dialogue), [(499, "client-left")] * 6)
            self.assertIn("0 leased", repr(dialogue.pool))
            self.assertIn("0 waiting", repr(dialogue.pool))
            self.assertFalse(client.peer.is_open)
            self.assertTrue(dialogue.port.is_accepting)
            self.assertNothingLeft(dialogue)
            dialogue.refuse()

    def test_idle(self) -> None:
        """A client that leaves between streams makes no line."""
        for way in ("finishes", "resets"):
            dialogue = self.proxy()
            dialogue.script("10.0.0.1:80", OK)
            client = self.h2(dialogue)
            self.assertReply(client.asks(), 200)
            getattr(client.peer, way)()
            self.assertEqual(self.ends(dialogue), [(200, "ok")])
            self.assertNothingLeft(dialogue)

    def test_beforeAnything(self) -> None:
        """A client that leaves before it has said what comes first, or a part of that, makes no line."""
        for said in (b"", b"PRI * HTTP/2.0\r\n\r\nSM"):
            for way in ("finishes", "resets"):
                dialogue = self.proxy()
                client = self.secure(dialogue, begins=False)
                client.says(said)
                getattr(client.peer, way)()
                self.assertEqual(dialogue.lines, [])
                self.assertNothingLeft(dialogue)

    def test_inAHeaderBlock(self) -> None:
        """In the middle of a head: no upstream contact."""
        dialogue = self.proxy()
        client = self.h2(dialogue)
        client.says(self.fragments(self.unsaid(client)[1], 3)[0])
        client.peer.resets()
        self.assertEqual(dialogue.attempts, [])
        self.assertNothingLeft(dialogue)

    def test_slowReader(self) -> None:
        """While it reads nothing and all backends are paused."""
        dialogue = self.proxy()
        client, _, backend = self.asked(dialogue)
        client.peer.stops_reading()
        backend.says(head(b"Content-Length: 1000000") + bytes(500_000))
        self.assertFalse(backend.transport.is_reading)
        client.peer.resets()
        self.assertTrue(backend.sees_reset)
        self.assertEnd(dialogue, "client-left", 499)
        self.assertNothingLeft(dialogue)

    def test_backendAnswersLate(self) -> None:
        """What backends say after they were cancelled reaches nobody, and is not written either."""
        dialogue = self.proxy()
        client, _, backend = self.asked(dialogue)
        backend.says(OK, noticed=False)
        client.peer.transport.lose()
        dialogue.settle()
        self.assertEqual(len(dialogue.lines), 1)
        self.assertNothingLeft(dialogue)

    def test_whileAReplyLingers(self) -> None:
        """While what is left of a request is thrown away: the exchange has ended already."""
        for way in ("finishes", "resets"):
            dialogue = self.proxy()
            client, stream, backend = self.asked(dialogue, b"POST", ended=False)
            backend.says(OK)
            self.assertReply(stream, 200)
            getattr(client.peer, way)()
            self.assertNothingLeft(dialogue)
            dialogue.advance(3)
            self.assertEqual(self.ends(dialogue), [(200, "ok")])

    def test_queueServesOthers(self) -> None:
        """Places in the queue are free at once for clients of either version."""
        dialogue = self.proxy(cluster=ONE + "\npool.queue = 3")
        other = dialogue.client()
        client, _, backend = self.asked(dialogue)
        for _ in range(3):
            client.asks()
        self.assertReply(client.asks(), 503)
        client.peer.resets()
        self.assertTrue(backend.sees_reset)
        other.says(GET)
        dialogue.backend().says(OK)
        self.assertStatus(other, 200)

    def test_goesAwayItself(self) -> None:
        """A client that says GOAWAY has its streams completed, then the connection closes."""
        dialogue = self.proxy()
        client, stream, backend = self.asked(dialogue)
        client.goes_away()
        client.goes_away()
        self.assertTrue(client.peer.is_open)
        self.assertEqual([each.error_code for each in client.goaways], [ErrorCodes.NO_ERROR])
        backend.says(OK)
        self.assertReply(stream, 200, b"ok")
        self.assertTrue(client.peer.sees_end)
        dialogue.advance_past(2)
        self.assertNothingLeft(dialogue)

    def test_goesAwayIdle(self) -> None:
        """The same without streams: it closes at once."""
        dialogue = self.proxy()
        client = self.h2(dialogue)
        client.goes_away(ErrorCodes.INTERNAL_ERROR)
        self.assertTrue(client.peer.sees_end)
        dialogue.advance_past(2)
        self.assertNothingLeft(dialogue)
        self.assertEqual(dialogue.lines, [])
