"""Clients that leave before their reply is complete: whatever works for them stops at once (HF20)."""

from __future__ import annotations

from txproxy.test.talk import GET, OK, TalkCase, chunked, head, post
from txproxy.testing import Dialogue, Peer

CLEAN = "<Pool 0 idle, 0 leased, 0 connecting, 0 waiting>"


class LeavingTests(TalkCase):
    """A FIN or a reset, in each phase of an exchange."""

    def leaves(self, dialogue: Dialogue, client: Peer, way: str, status: int = 499) -> None:
        getattr(client, way)()
        self.assertFalse(client.is_open, way)
        self.assertEnd(dialogue, "client-left", status)

    def test_queued(self) -> None:
        """While it waits for a connection: it leaves the queue too, and the next in line is served."""
        for way in ("finishes", "resets"):
            dialogue = self.proxy(cluster="pool.max_connections = 1")
            first, backend = self.busy(dialogue)
            second, third = dialogue.client(), dialogue.client()
            second.says(GET)
            third.says(GET)
            self.assertIn("2 waiting", repr(dialogue.pool))
            self.leaves(dialogue, second, way)
            self.assertIn("1 waiting", repr(dialogue.pool))
            backend.says(OK)
            self.assertStatus(first, 200)
            backend.says(OK)
            self.assertStatus(third, 200)

    def test_connecting(self) -> None:
        """While its connection is being made: the connection stays for the next request."""
        for way in ("finishes", "resets"):
            dialogue = self.proxy()
            client = dialogue.client()
            client.says(GET)
            self.leaves(dialogue, client, way)
            backend = dialogue.backend()
            self.assertEqual(backend.gets(), b"")
            self.assertEqual(repr(dialogue.pool), "<Pool 1 idle, 0 leased, 0 connecting, 0 waiting>")
            other = dialogue.client()
            other.says(GET)
            self.assertEqual(backend.gets_head().line, b"GET / HTTP/1.1")
            backend.says(OK)
            self.assertStatus(other, 200)

    def test_waiting(self) -> None:
        """While the backend works on it: the backend's connection is reset."""
        for way in ("finishes", "resets"):
            dialogue = self.proxy()
            client, backend = self.busy(dialogue)
            self.leaves(dialogue, client, way)
            self.assertTrue(backend.sees_reset)
            self.assertEqual(repr(dialogue.pool), CLEAN)

    def test_uploading(self) -> None:
        """A reset in mid-body: the backend's connection is reset, the body has no clean end."""
        for says in (post(10) + b"abc", chunked() + b"1\r\na\r\n"):
            dialogue = self.proxy()
            client, backend = self.busy(dialogue, says)
            self.leaves(dialogue, client, "resets")
            self.assertTrue(backend.sees_reset)
            self.assertEqual(backend.gets(), b"")
            self.assertEqual(repr(dialogue.pool), CLEAN)

    def test_downloading(self) -> None:
        """In the middle of the reply: the backend's connection is reset, what was sent is counted."""
        for way in ("finishes", "resets"):
            dialogue = self.proxy()
            client, backend = self.busy(dialogue)
            backend.says(head(b"Content-Length: 10") + b"abc")
            self.assertEqual(self.assertStatus(client, 200), b"abc")
            getattr(client, way)()
            self.assertTrue(backend.sees_reset)
            self.assertEqual(self.assertEnd(dialogue, "client-left", 499)["bytes_out"], 3)
            self.assertEqual(repr(dialogue.pool), CLEAN)

    def test_interim(self) -> None:
        """After an interim reply."""
        dialogue = self.proxy()
        client, backend = self.busy(dialogue)
        backend.says(head(status=b"HTTP/1.1 103 Early Hints"))
        self.leaves(dialogue, client, "resets")
        self.assertTrue(backend.sees_reset)

    def test_withRequestsBehind(self) -> None:
        """Requests that were pipelined behind are dropped with it."""
        dialogue = self.proxy()
        client, backend = self.busy(dialogue, GET * 3)
        client.resets()
        self.assertTrue(backend.sees_reset)
        self.assertEqual([line["end"] for line in dialogue.lines], ["client-left"])

    def test_slowReader(self) -> None:
        """While it reads too slowly and the backend is paused: a reset ends both."""
        dialogue = self.proxy()
        client, backend = self.busy(dialogue)
        client.stops_reading()
        backend.says(head(b"Content-Length: 1000000") + bytes(500_000))
        self.assertFalse(backend.transport.is_reading)
        client.resets()
        self.assertTrue(backend.sees_reset)
        self.assertEnd(dialogue, "client-left", 499)

    def test_inTheHead(self) -> None:
        """In the middle of its head: one line, no upstream contact."""
        for way in ("finishes", "resets"):
            dialogue = self.proxy()
            client = dialogue.client()
            client.says(GET[:10])
            getattr(client, way)()
            line = self.assertEnd(dialogue, "client-left", 499)
            self.assertEqual((len(dialogue.lines), line["method"], line["client"]), (1, None, "192.0.2.1"))
            self.assertEqual(dialogue.attempts, [])

    def test_beforeAnything(self) -> None:
        """A client that connects and leaves makes no line."""
        dialogue = self.proxy()
        dialogue.client().resets()
        dialogue.client().finishes()
        self.assertEqual(dialogue.lines, [])

    def test_backendAnswersLate(self) -> None:
        """What a backend says after it was cancelled reaches nobody."""
        dialogue = self.proxy()
        client, backend = self.busy(dialogue)
        backend.says(OK, noticed=False)
        client.transport.lose()
        dialogue.settle()
        self.assertEqual(len(dialogue.lines), 1)
