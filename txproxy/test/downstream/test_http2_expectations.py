"""Clients of HTTP/2 that wait to be told to send their body (RFC 9110 section 10.1.1)."""

from __future__ import annotations

from h2.errors import ErrorCodes

from txproxy.test.http2_talk import Field, Http2Case, length
from txproxy.test.talk import OK, head, reply
from txproxy.testing import ClientStream, Dialogue

EXPECT = (b"expect", b"100-continue")
CONTINUE = head(status=b"HTTP/1.1 100 Continue")


class ExpectationTests(Http2Case):
    """Expect: 100-continue."""

    def expecting(self, dialogue: Dialogue, *fields: Field, field: Field = EXPECT) -> ClientStream:
        """Return a stream whose body waits."""
        return self.h2(dialogue).asks(b"POST", b"/", field, *fields, ended=False)

    def test_refusedByUs(self) -> None:
        """What we refuse is not asked for; the client is told a second later that its body is not wanted."""
        for status, fields, parts in (
            (413, (length(6),), "max_body_bytes = 5"),
            (404, (), 'hosts = ["b.example"]'),
        ):
            dialogue = self.proxy(route=parts)
            stream = self.expecting(dialogue, *fields)
            self.assertEqual([each.line for each in stream.heads], [b"HTTP/2 %d" % status])
            self.assertReply(stream, status)
            dialogue.advance_past(1)
            self.assertReset(stream, ErrorCodes.NO_ERROR)
            self.assertEqual((len(dialogue.lines), dialogue.attempts), (1, []))

    def test_refusedByTheBackend(self) -> None:
        """A final reply instead of a 100: it is passed on, and the body that never came is no failure of the backend."""
        for fields in ((), (length(5),)):
            dialogue = self.proxy()
            stream = self.expecting(dialogue, *fields)
            backend = dialogue.backend()
            backend.says(reply(b"no", status=b"401 Unauthorized"))
            self.assertReply(stream, 401, b"no")
            self.assertFalse(backend.is_open)
            self.assertEqual(self.assertEnd(dialogue, "ok", 401)["bytes_in"], 0)
            stream.resets()
            dialogue.advance(3)
            self.assertIsNone(stream.reset_code)

    def test_clientDoesNotWait(self) -> None:
        """A client that sends its body nevertheless is served, and a late 100 does no harm."""
        dialogue = self.proxy()
        stream = self.expecting(dialogue, length(5))
        backend = dialogue.backend()
        stream.says(b"hello", ended=True)
        self.assertTrue(backend.gets().endswith(b"hello"))
        backend.says(CONTINUE + OK)
        self.assertEqual(stream.gets_head().line, b"HTTP/2 100")
        self.assertReply(stream, 200, b"ok")

    def test_clientGivesUpWaiting(self) -> None:
        """Once some of the body has come, its time runs although nobody has said 100."""
        dialogue = self.proxy(listener="body_timeout_s = 10", cluster="timeouts.first_byte_s = 600")
        stream = self.expecting(dialogue)
        dialogue.backend()
        dialogue.advance(50)
        stream.says(b"he")
        dialogue.advance(9.8)
        self.assertEqual(stream.heads, [])
        dialogue.advance(0.4)
        self.assertReply(stream, 408)
        dialogue.advance_past(1)

    def test_otherInterimReplies(self) -> None:
        """103 is no leave to go on: the client still waits, and is not blamed for it."""
        dialogue = self.proxy(listener="body_timeout_s = 10", cluster="timeouts.first_byte_s = 600")
        stream = self.expecting(dialogue)
        backend = dialogue.backend()
        backend.says(head(status=b"HTTP/1.1 103 Early Hints"))
        dialogue.advance(50)
        self.assertEqual([each.line for each in stream.heads], [b"HTTP/2 103"])
        backend.says(CONTINUE)
        dialogue.advance(8)
        self.assertEqual([each.line for each in stream.heads], [b"HTTP/2 103", b"HTTP/2 100"])
        dialogue.advance_past(2)
        self.assertEqual(stream.heads[-1].line, b"HTTP/2 408")
        self.assertTrue(backend.sees_reset)
        stream.finishes()

    def test_nothingIsToCome(self) -> None:
        """An expectation without a body is passed over: the request is complete."""
        dialogue = self.proxy()
        stream = self.h2(dialogue).asks(b"GET", b"/", EXPECT)
        backend = dialogue.backend()
        backend.says(OK)
        self.assertReply(stream, 200, b"ok")

    def test_emptyBody(self) -> None:
        """A body that is said to be empty, and whose end does not come: nobody will say 100, so that its time runs."""
        dialogue = self.proxy(listener="body_timeout_s = 10")
        stream = self.expecting(dialogue, length(0))
        dialogue.advance_past(10)
        self.assertReply(stream, 408)
        self.assertEqual(dialogue.attempts, [])
        dialogue.advance_past(1)

    def test_emptyBodyThatEnds(self) -> None:
        """The same with its end."""
        dialogue = self.proxy()
        stream = self.expecting(dialogue, length(0))
        stream.finishes()
        backend = dialogue.backend()
        self.assertEqual(backend.gets_head().get(b"Content-Length"), b"0")
        backend.says(OK)
        self.assertReply(stream, 200, b"ok")

    def test_anotherBackend(self) -> None:
        """A backend that cannot be reached is replaced; the 100 of the other is passed on."""
        dialogue = self.proxy(backends=("10.0.0.1:80", "10.0.0.2:80"))
        stream = self.expecting(dialogue, length(5))
        dialogue.refuse()
        dialogue.advance(1)
        backend = dialogue.backend()
        self.assertEqual(backend.gets_head().get(b"Expect"), b"100-continue")
        backend.says(CONTINUE)
        self.assertEqual(stream.gets_head().line, b"HTTP/2 100")
        stream.says(b"hello", ended=True)
        backend.says(OK)
        self.assertReply(stream, 200, b"ok")

    def test_spelling(self) -> None:
        """The expectation is understood in any case of letters; others are refused, of a HEAD too."""
        dialogue = self.proxy()
        stream = self.expecting(dialogue, length(5), field=(b"expect", b"100-Continue"))
        dialogue.backend().says(CONTINUE)
        self.assertEqual(stream.gets_head().line, b"HTTP/2 100")
        stream.resets()
        other = self.h2(dialogue).asks(b"HEAD", b"/", (b"expect", b"200-ok"))
        self.assertReply(other, 417, b"")

    def test_interimRepliesInARow(self) -> None:
        """Interim replies behind the head of a request that is complete, then an own reply."""
        dialogue = self.proxy(cluster="timeouts.first_byte_s = 10")
        _, stream, backend = self.asked(dialogue)
        backend.says(CONTINUE + head(b"Link: </a>", status=b"HTTP/1.1 103 Early Hints"))
        dialogue.advance_past(10)
        lines = [each.line for each in stream.heads]
        self.assertEqual(lines, [b"HTTP/2 100", b"HTTP/2 103", b"HTTP/2 504"])
        self.assertTrue(stream.has_ended)
        self.assertEnd(dialogue, "reply-timeout", 504)
