"""Exchanges that nobody's deadline ended: each took the other side's away."""

from __future__ import annotations

from txproxy.test.talk import TalkCase, head, post


class DeadlineTests(TalkCase):
    """Whoever has the next word has a deadline, in every state."""

    def test_uploadAfterAnEarlyReply(self) -> None:
        """A backend that falls silent in its reply is not forgiven because the client's upload went on (Q6)."""
        dialogue = self.proxy()
        client, backend = self.busy(dialogue, post(10) + b"12345")
        backend.says(head(b"Content-Length: 100") + b"abc")
        client.says(b"67890")
        dialogue.advance_past(61)
        self.assertFalse(client.is_open)
        self.assertEnd(dialogue, "reply-cut")

    def test_endOfTheUploadOfAClientThatDoesNotRead(self) -> None:
        """A client that does not read its reply is closed, also if it sends the rest of its request (Q2)."""
        dialogue = self.proxy()
        client, backend = self.busy(dialogue, post(10) + b"12345")
        client.stops_reading()
        backend.says(head(b"Content-Length: 300000") + bytes(300_000))
        client.says(b"67890")
        dialogue.advance_past(61)
        self.assertFalse(client.is_open)
        self.assertEnd(dialogue, "write-timeout")

    def test_interimReplyOfABackendThatDoesNotRead(self) -> None:
        """An interim reply does not excuse a backend from reading."""
        dialogue = self.proxy()
        client, backend = self.busy(dialogue, post(400_000))
        backend.stops_reading()
        client.says(bytes(400_000))
        backend.says(head(status=b"HTTP/1.1 102 Processing"))
        dialogue.advance_past(122)
        self.assertEnd(dialogue, "reply-timeout", 504)

    def test_earlyHintsBeforeContinue(self) -> None:
        """Only 100 tells a client to send its body: a backend that is silent after 103 is to blame."""
        dialogue = self.proxy()
        client, backend = self.busy(dialogue, post(5, b"Expect: 100-continue"))
        backend.says(head(status=b"HTTP/1.1 103 Early Hints"))
        dialogue.advance_past(61)
        self.assertEnd(dialogue, "reply-timeout", 504)

    def test_backendThatReadsSlowlyButSteadily(self) -> None:
        """A backend that reads on is waited for."""
        dialogue = self.proxy()
        client, backend = self.busy(dialogue, post(150_000))
        backend.stops_reading()
        client.says(bytes(150_000))
        for _ in range(5):
            dialogue.advance(50)
            backend.reads(1000)
        self.assertEqual(dialogue.lines, [])
        client.resets()
