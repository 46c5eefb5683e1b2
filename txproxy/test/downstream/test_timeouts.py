"""Every limit of time towards clients, just before it and at it."""

from __future__ import annotations

from txproxy.test.talk import GET, OK, TalkCase, chunked, head, post
from txproxy.testing import Dialogue, Peer


class TimeoutTests(TalkCase):
    """What a client that keeps us waiting gets, and what becomes of its connection."""

    def just_before(self, dialogue: Dialogue, client: Peer, limit_s: float) -> None:
        """Let all but a little of the limit pass: nothing may have happened."""
        dialogue.advance(limit_s - 0.2)
        self.assertEqual((client.gets(), client.is_open), (b"", True))
        dialogue.advance(0.4)

    def test_head(self) -> None:
        """A head must be complete 10 s after its first byte, whatever progress it makes (Q1): 408, staged close."""
        dialogue = self.proxy()
        client = dialogue.client()
        dialogue.advance(30)
        for index in range(9):
            client.says(GET[index : index + 1])
            dialogue.advance(1)
        self.just_before(dialogue, client, 1)
        self.assertStatus(client, 408)
        self.assertEnd(dialogue, "request-timeout", 408)
        self.assertTrue(client.sees_end)
        dialogue.advance_past(2)
        self.assertTrue(client.transport.disconnected)

    def test_headOfSecondRequest(self) -> None:
        """The same for a later request of a connection."""
        dialogue = self.proxy(listener="header_timeout_s = 3")
        dialogue.script("10.0.0.1:80", OK)
        client = dialogue.client()
        client.says(GET + GET[:5])
        client.gets()
        self.just_before(dialogue, client, 3)
        self.assertStatus(client, 408)
        dialogue.advance_past(2)

    def test_headBehindALongReply(self) -> None:
        """The clock of a head that was pipelined runs from when we begin to read it, not from its arrival."""
        dialogue = self.proxy()
        client, backend = self.busy(dialogue, GET + GET[:5])
        dialogue.advance(30)
        backend.says(OK)
        client.gets()
        self.just_before(dialogue, client, 10)
        self.assertStatus(client, 408)
        dialogue.advance_past(2)

    def test_emptyLinesOnly(self) -> None:
        """A client that sends nothing but an empty line is closed in the end, without a reply or with 408."""
        dialogue = self.proxy()
        client = dialogue.client()
        client.says(b"\r\n")
        dialogue.advance_past(75)
        dialogue.advance_past(2)
        self.assertTrue(client.transport.disconnected)

    def test_firstRequestNeverComes(self) -> None:
        """A connection on which nothing comes is closed, without a line in the log."""
        dialogue = self.proxy()
        client = dialogue.client()
        self.just_before(dialogue, client, 75)
        self.assertEqual((client.gets(), client.is_open, dialogue.lines), (b"", False, []))

    def test_keepAlive(self) -> None:
        """75 s without another request close a connection (Q7); each request starts the time anew."""
        dialogue = self.proxy()
        dialogue.script("10.0.0.1:80", OK)
        client = dialogue.client()
        for _ in range(2):
            dialogue.advance(70)
            client.says(GET)
            client.gets()
        self.just_before(dialogue, client, 75)
        self.assertTrue(client.sees_end)
        self.assertEqual((client.gets(), len(dialogue.lines)), (b"", 2))

    def test_body(self) -> None:
        """60 s without a byte of a body: 408, the backend is reset (Q2); each byte starts the time anew."""
        for says, more in ((post(10) + b"a", b"b"), (chunked() + b"1\r\na\r\n", b"1\r\nb\r\n")):
            dialogue = self.proxy()
            client, backend = self.busy(dialogue, says)
            dialogue.advance(59)
            client.says(more)
            self.just_before(dialogue, client, 60)
            self.assertStatus(client, 408)
            self.assertTrue(backend.sees_reset)
            self.assertEnd(dialogue, "request-timeout", 408)
            dialogue.advance_past(2)
            self.assertTrue(client.transport.disconnected)

    def test_bodyAfterReplyHasBegun(self) -> None:
        """If a reply has begun, the connection is closed instead."""
        dialogue = self.proxy(cluster="timeouts.between_bytes_s = 600")
        client, backend = self.busy(dialogue, post(10) + b"a")
        backend.says(head(b"Content-Length: 10") + b"abc")
        client.gets()
        self.just_before(dialogue, client, 60)
        self.assertEqual((client.gets(), client.is_open), (b"", False))
        self.assertTrue(backend.sees_reset)
        self.assertEnd(dialogue, "request-timeout", 200)
        dialogue.advance_past(2)

    def test_bodyOfASlowBackend(self) -> None:
        """A client is not blamed while the backend does not take what it sent: 504 when the backend's time is over."""
        dialogue = self.proxy(listener="body_timeout_s = 10", cluster="timeouts.first_byte_s = 30")
        client = dialogue.client()
        client.says(post(1_000_000))
        backend = dialogue.backend()
        backend.stops_reading()
        client.says(bytes(400_000))
        self.assertFalse(client.transport.is_reading)
        dialogue.advance(29.5)
        self.assertEqual(client.gets(), b"")
        dialogue.advance_past(1)
        self.assertStatus(client, 504)
        self.assertEnd(dialogue, "reply-timeout", 504)
        dialogue.advance_past(2)

    def test_write(self) -> None:
        """60 s in which a client reads nothing of a reply: reset, the backend is freed (Q2)."""
        dialogue = self.proxy()
        client, backend = self.busy(dialogue)
        client.stops_reading()
        backend.says(head(b"Content-Length: 1000000") + bytes(200_000))
        dialogue.advance(59.8)
        self.assertTrue(client.is_open)
        dialogue.advance(0.4)
        self.assertTrue(client.sees_reset)
        self.assertTrue(backend.sees_reset)
        self.assertEnd(dialogue, "write-timeout")

    def test_writeWithProgress(self) -> None:
        """A client that reads slowly, but reads, is served."""
        dialogue = self.proxy()
        client, backend = self.busy(dialogue)
        client.stops_reading()
        backend.says(head(b"Content-Length: 200000") + bytes(200_000))
        for _ in range(10):
            dialogue.advance(50)
            client.reads(1000)
        self.assertTrue(client.is_open)
        client.reads()
        self.assertEqual(len(self.assertStatus(client, 200)), 200_000)

    def test_writeThroughTheKernel(self) -> None:
        """A client that reads steadily is served although the kernel, which holds megabytes, takes nothing for long."""
        dialogue = self.proxy()
        client, backend = self.busy(dialogue)
        client.stops_reading()
        client.transport.in_kernel = 3_000_000
        backend.says(head(b"Content-Length: 200000") + bytes(200_000))
        for _ in range(10):
            dialogue.advance(50)
            client.transport.in_kernel -= 100_000
        self.assertTrue(client.is_open)
        dialogue.advance(121)
        self.assertTrue(client.sees_reset)
        self.assertEnd(dialogue, "write-timeout")

    def test_writeOfTheLastBytes(self) -> None:
        """The limit holds for the last bytes of a reply too, when the backend has finished long ago."""
        for size in (1000, 30_000, 100_000):
            dialogue = self.proxy()
            client = dialogue.client()
            client.says(GET)
            client.stops_reading()
            dialogue.backend().says(head(b"Content-Length: %d" % size) + bytes(size))
            dialogue.advance_past(60)
            dialogue.advance_past(75)
            self.assertFalse(client.is_open, size)
            self.assertEqual(dialogue.assembled.gate.connections, 0)

    def test_writeWhileClosing(self) -> None:
        """A client that does not read the last of a reply after Connection: close is not kept for ever."""
        dialogue = self.proxy()
        client, backend = self.busy(dialogue, GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        client.stops_reading()
        backend.says(head(b"Content-Length: 1000") + bytes(1000))
        dialogue.advance(59.8)
        self.assertTrue(client.is_open)
        dialogue.advance(0.4)
        self.assertFalse(client.is_open)

    def test_deadlineOfOneExchangeIsNotTheNexts(self) -> None:
        """A limit that an exchange left behind does not hit the next one."""
        dialogue = self.proxy(cluster="timeouts.first_byte_s = 600")
        client, backend = self.busy(dialogue, post(2) + b"a")
        dialogue.advance(50)
        client.says(b"b")
        backend.says(OK)
        client.gets()
        client.says(GET)
        dialogue.advance(100)
        self.assertEqual(client.gets(), b"")
        backend.says(OK)
        self.assertStatus(client, 200)

    def test_nobodyIsTimedOutWhileAStreamRuns(self) -> None:
        """A reply that lasts longer than every limit of the client's side is not cut."""
        dialogue = self.proxy()
        client, backend = self.busy(dialogue)
        backend.says(head(b"Content-Type: text/event-stream"))
        client.gets()
        for _ in range(5):
            dialogue.advance(200)
            backend.says(b"data: x\n\n")
            self.assertIn(b"data: x", client.gets())
        client.finishes()
