"""Whoever reads slowly slows its counterpart down, and nobody's bytes pile up here."""

from __future__ import annotations

from txproxy.test.talk import GET, OK, TalkCase, chunked, head, post

MEGABYTE = 1_000_000


class SlowClientTests(TalkCase):
    """Clients that read more slowly than the backend sends."""

    def test_backendIsPaused(self) -> None:
        """Above 64 KiB the backend is read no more; at 32 KiB it is read again; all arrives (D1, HF2)."""
        dialogue = self.proxy()
        client, backend = self.busy(dialogue)
        client.stops_reading()
        content = bytes(range(256)) * 4000
        backend.says(head(b"Content-Length: %d" % len(content)) + content)
        self.assertFalse(backend.transport.is_reading)
        self.assertLess(client.transport.queued_bytes, 3 * 65536)
        self.assertGreater(len(backend.transport.arriving), 800_000)
        got = b""
        for _ in range(200):
            arriving, waiting = len(backend.transport.arriving), client.transport.queued_bytes
            client.reads(7_000)
            self.assertLess(client.transport.queued_bytes, 3 * 65536)
            if arriving:
                read_on = len(backend.transport.arriving) < arriving
                self.assertEqual(read_on, waiting - 7_000 <= 32768)
            got += client.gets()
        self.assertTrue(got.endswith(content))
        self.assertEnd(dialogue, "ok")

    def test_chunked(self) -> None:
        """The same with chunks and trailers."""
        dialogue = self.proxy()
        client, backend = self.busy(dialogue)
        client.stops_reading()
        backend.says(head(b"Transfer-Encoding: chunked") + b"%x\r\n" % MEGABYTE)
        backend.says(bytes(MEGABYTE) + b"\r\n0\r\nA: b\r\n\r\n")
        self.assertFalse(backend.transport.is_reading)
        client.reads()
        client.gets_head()
        got = client.gets()
        self.assertGreater(len(got), MEGABYTE)
        self.assertTrue(got.endswith(b"0\r\nA: b\r\n\r\n"))

    def test_untilClose(self) -> None:
        """The same for a reply that ends with its connection: the end is not seen before all is read."""
        dialogue = self.proxy()
        client, backend = self.busy(dialogue)
        client.stops_reading()
        backend.says(head() + bytes(300_000), noticed=False)
        backend.finishes()
        self.assertEqual(len(dialogue.lines), 0)
        client.reads()
        client.gets_head()
        self.assertTrue(client.gets().endswith(b"0\r\n\r\n"))
        self.assertEnd(dialogue, "ok")

    def test_nextRequestWaits(self) -> None:
        """While most of a reply still waits for its client, the next request of that client is not begun."""
        dialogue = self.proxy()
        client = dialogue.client()
        client.stops_reading()
        client.says(GET + GET)
        backend = dialogue.backend()
        backend.gets_head()
        backend.says(head(b"Content-Length: 100000") + bytes(100_000))
        self.assertEqual(backend.gets(), b"")
        client.reads()
        self.assertEqual(backend.gets_head().line, b"GET / HTTP/1.1")
        backend.says(OK)
        self.assertTrue(client.gets().endswith(b"ok"))

    def test_finishedBackendServesOthers(self) -> None:
        """A backend whose reply was read to its end serves others while the client still reads."""
        dialogue = self.proxy()
        client, backend = self.busy(dialogue)
        client.stops_reading()
        backend.says(head(b"Content-Length: 65000") + bytes(65_000))
        self.assertIn("1 idle", repr(dialogue.pool))
        other = dialogue.client()
        other.says(GET)
        backend.gets_head()
        backend.says(OK)
        self.assertStatus(other, 200)
        client.reads()
        self.assertEqual(len(self.assertStatus(client, 200)), 65_000)

    def test_slowClientDoesNotPauseAnothers(self) -> None:
        """A client that is slow cannot pause the backend once it serves another (the finished are cut off)."""
        dialogue = self.proxy()
        client, backend = self.busy(dialogue)
        client.stops_reading()
        backend.says(head(b"Content-Length: 70000") + bytes(70_000))
        other = dialogue.client()
        other.says(GET)
        target = backend if backend.gets().startswith(b"GET") else dialogue.backend()
        target.says(head(b"Content-Length: 4") + b"ab")
        client.reads(60_000)
        client.resets()
        target.says(b"cd")
        self.assertEqual(self.assertStatus(other, 200), b"abcd")

    def test_interimRepliesToAClientThatDoesNotRead(self) -> None:
        """A client that reads nothing pauses a backend that sends large interim replies."""
        dialogue = self.proxy()
        client, backend = self.busy(dialogue)
        client.stops_reading()
        backend.says(head(b"Link: " + b"x" * 7000, status=b"HTTP/1.1 103 Early Hints") * 90)
        self.assertLess(client.transport.queued_bytes, 4 * 65536)
        client.reads()
        backend.says(OK)
        self.assertTrue(client.gets().endswith(b"ok"))

    def test_pausedBeforeTheFirstByte(self) -> None:
        """A client whose transport is full before its next reply begins: the reply waits and is complete."""
        dialogue = self.proxy()
        client = dialogue.client()
        client.says(GET)
        backend = dialogue.backend()
        client.stops_reading()
        for _ in range(3):
            client.says(GET)
        backend.says(head(b"Content-Length: 200000") + bytes(200_000))
        dialogue.script("10.0.0.1:80", OK)
        client.reads()
        self.assertGreaterEqual(len(client.gets()), 200_000)
        for _ in range(3):
            backend.gets_head()
            backend.says(OK)
        self.assertEqual(client.gets().count(b"200 OK"), 3)

    def test_closesAfterTheLastByte(self) -> None:
        """With Connection: close all is sent before the end, however slowly it is read."""
        dialogue = self.proxy()
        client, backend = self.busy(dialogue, GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        client.stops_reading()
        backend.says(head(b"Content-Length: 300000") + bytes(300_000))
        for _ in range(40):
            client.reads(10_000)
        self.assertEqual((len(self.assertStatus(client, 200)), client.sees_end), (300_000, True))

    def test_cutWhileSlow(self) -> None:
        """A backend that resets in mid-body: what was received is still sent, then the connection ends."""
        dialogue = self.proxy()
        client, backend = self.busy(dialogue)
        client.stops_reading()
        backend.says(head(b"Content-Length: 1000000") + bytes(100_000))
        backend.resets()
        client.reads()
        self.assertFalse(client.is_open)
        self.assertEnd(dialogue, "reply-cut")


class SlowBackendTests(TalkCase):
    """Backends that read more slowly than the client sends."""

    def test_clientIsPaused(self) -> None:
        """Above 64 KiB the client is read no more; at 32 KiB it is read again; all arrives (D1, HF1)."""
        dialogue = self.proxy()
        client, backend = self.busy(dialogue, post(MEGABYTE))
        backend.stops_reading()
        client.says(bytes(MEGABYTE))
        self.assertFalse(client.transport.is_reading)
        self.assertLess(backend.transport.queued_bytes, 3 * 65536)
        got = 0
        while got < MEGABYTE:
            backend.reads(20_000)
            self.assertLess(backend.transport.queued_bytes, 3 * 65536)
            got += len(backend.gets())
        backend.says(OK)
        self.assertStatus(client, 200)
        self.assertEqual(self.assertEnd(dialogue, "ok")["bytes_in"], MEGABYTE)

    def test_chunked(self) -> None:
        """The same with chunks."""
        dialogue = self.proxy()
        client, backend = self.busy(dialogue, chunked())
        backend.stops_reading()
        client.says(b"%x\r\n" % MEGABYTE + bytes(MEGABYTE) + b"\r\n0\r\n\r\n")
        self.assertFalse(client.transport.is_reading)
        backend.reads()
        self.assertTrue(backend.gets().endswith(b"\r\n0\r\n\r\n"))
        backend.says(OK)
        self.assertStatus(client, 200)

    def test_answersWhileItDoesNotRead(self) -> None:
        """A slow backend's early reply comes through; what the client still sends is thrown away until it closes."""
        dialogue = self.proxy()
        client, backend = self.busy(dialogue, post(MEGABYTE))
        backend.stops_reading()
        client.says(bytes(300_000))
        backend.says(OK)
        self.assertStatus(client, 200)
        self.assertFalse(client.transport.disconnected)
        dialogue.advance_past(2)
        self.assertFalse(client.is_open)

    def test_resetWhileItDoesNotRead(self) -> None:
        """A slow backend that resets: 502, and the client's connection ends."""
        dialogue = self.proxy()
        client, backend = self.busy(dialogue, post(MEGABYTE))
        backend.stops_reading()
        client.says(bytes(300_000))
        backend.resets()
        self.assertStatus(client, 502)
        dialogue.advance_past(2)
        self.assertFalse(client.is_open)

    def test_leftoverOfTheLastRequest(self) -> None:
        """A backend that answered while the end of a body still waits to be sent is not asked too much at once."""
        dialogue = self.proxy()
        client = dialogue.client()
        client.says(post(60_000))
        backend = dialogue.backend()
        backend.stops_reading()
        client.says(bytes(60_000))
        backend.says(OK)
        self.assertStatus(client, 200)
        client.says(post(60_000) + bytes(60_000))
        backend.reads()
        self.assertEqual(backend.gets().count(b"POST / HTTP/1.1"), 2)
        backend.says(OK)
        self.assertStatus(client, 200)

    def test_bothSlow(self) -> None:
        """Both ways at once, both slow: nothing is lost and nothing deadlocks."""
        dialogue = self.proxy()
        client, backend = self.busy(dialogue, post(MEGABYTE))
        client.stops_reading()
        backend.stops_reading()
        client.says(bytes(MEGABYTE), noticed=False)
        backend.says(head(b"Content-Length: %d" % MEGABYTE) + bytes(MEGABYTE - 1))
        up = down = 0
        for _ in range(400):
            client.reads(5_000)
            backend.reads(5_000)
            up += len(backend.gets())
            down += len(client.gets())
        self.assertEqual(up, MEGABYTE)
        backend.says(b"x")
        down += len(client.gets())
        self.assertGreater(down, MEGABYTE)
        self.assertEnd(dialogue, "ok")
