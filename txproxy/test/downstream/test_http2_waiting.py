"""Replies of our own that wait for the client's window, while the client goes on with its request."""

from __future__ import annotations

from h2.errors import ErrorCodes

from txproxy.errors import ShuttingDown
from txproxy.test.http2_talk import CLEAN_POOL, Field, Http2Case, frame, length
from txproxy.test.talk import OK, reply
from txproxy.testing import ClientStream, Dialogue, Http2Client

REFUSALS: tuple[tuple[int, str, bytes, tuple[Field, ...]], ...] = (
    (414, "uri-too-long", b"/" + b"x" * 8_200, ()),
    (431, "headers-too-large", b"/", tuple((b"x-%d" % number, b"y") for number in range(130))),
    (417, "bad-expectation", b"/", ((b"expect", b"tea"),)),
    (404, "no-route", b"/b", ()),
    (404, "no-route", b"/b", (length(10),)),
    (413, "body-too-large", b"/a", (length(101),)),
)
ROUTE = 'path = "/a"\nmax_body_bytes = 100'


class WaitingTests(Http2Case):
    """A client without window that was answered before its request was complete."""

    def refused(self, dialogue: Dialogue, path: bytes, *fields: Field) -> tuple[Http2Client, ClientStream]:
        """Return a client whose windows are shut, and a stream of it with a body."""
        client = self.h2(dialogue, window_bytes=0)
        return client, client.asks(b"POST", path, *fields, ended=False)

    def assertWhole(self, dialogue: Dialogue, stream: ClientStream, status: int, reason: str) -> None:
        """Open the window, and check that the reply comes to its end."""
        self.assertEqual(dialogue.lines, [])
        stream.opens(1_000)
        got = stream.gets_head()
        self.assertEqual(got.line, b"HTTP/2 %d" % status)
        self.assertEqual((len(stream.gets()), stream.has_ended), (int(got.get(b"content-length") or 0), True))
        self.assertEnd(dialogue, reason, status)
        self.assertEqual(len(dialogue.lines), 1)
        self.assertEqual(dialogue.attempts, [])

    def test_contentComes(self) -> None:
        """Content that comes meanwhile is passed over; the reply is complete when the window opens."""
        for status, reason, path, fields in REFUSALS:
            dialogue = self.proxy(route=ROUTE)
            client, stream = self.refused(dialogue, path, *fields)
            stream.says(b"hello")
            self.assertEqual((client.goaways, stream.reset_code), ([], None))
            self.assertWhole(dialogue, stream, status, reason)
            dialogue.advance_past(1)
            self.assertReset(stream, ErrorCodes.NO_ERROR)

    def test_requestEnds(self) -> None:
        """The end of the request, with content or trailers or neither, begins nothing anew."""
        for status, reason, path, fields in REFUSALS[:4]:
            for way in ("content", "empty", "trailers"):
                dialogue = self.proxy(route=ROUTE)
                client, stream = self.refused(dialogue, path, *fields)
                if way == "content":
                    stream.says(b"hello", ended=True)
                else:
                    stream.finishes(*([(b"x-sum", b"1")] if way == "trailers" else []))
                self.assertEqual((client.goaways, stream.reset_code), ([], None))
                self.assertWhole(dialogue, stream, status, reason)
                dialogue.advance_past(1)
                self.assertIsNone(stream.reset_code)

    def test_emptyBodyThatComesLate(self) -> None:
        """A body of no bytes that had no end in time: the late end does not send the request to a backend."""
        dialogue = self.proxy(listener="body_timeout_s = 5")
        _, stream = self.refused(dialogue, b"/", length(0))
        dialogue.advance_past(5)
        stream.finishes()
        self.assertWhole(dialogue, stream, 408, "request-timeout")
        self.assertIsNone(stream.reset_code)

    def test_stalledBody(self) -> None:
        """A body that stalled and goes on after the answer."""
        dialogue = self.proxy(listener="body_timeout_s = 5")
        _, stream = self.refused(dialogue, b"/")
        backend = dialogue.backend()
        dialogue.advance_past(5)
        self.assertTrue(backend.sees_reset)
        stream.says(b"hello", ended=True)
        self.assertWhole(dialogue, stream, 408, "request-timeout")

    def test_tooLarge(self) -> None:
        """A body over the limit that goes on: it is refused once."""
        dialogue = self.proxy(route="max_body_bytes = 5")
        _, stream = self.refused(dialogue, b"/")
        backend = dialogue.backend()
        for _ in range(3):
            stream.says(b"hello!")
        self.assertTrue(backend.sees_reset)
        self.assertWhole(dialogue, stream, 413, "body-too-large")

    def test_tooLargeBehindAReply(self) -> None:
        """A backend's reply that is complete here is not taken back because the body turns out too large."""
        dialogue = self.proxy(route="max_body_bytes = 5")
        _, stream = self.refused(dialogue, b"/")
        backend = dialogue.backend()
        stream.says(b"hello")
        backend.says(reply(b"done"))
        stream.says(b"!")
        stream.opens(4)
        self.assertReply(stream, 200, b"done")
        self.assertEnd(dialogue, "ok", 200)
        dialogue.advance_past(1)

    def test_muchContent(self) -> None:
        """What comes of a body after its answer is never held: it may be longer than any window."""
        dialogue = self.proxy(route='path = "/a"')
        client, stream = self.refused(dialogue, b"/b")
        sent = 0
        while sent < 300_000 and stream.room:
            sent += (size := min(stream.room, 16_384))
            stream.says(bytes(size))
        # A client may look at its answer, and open the window, only when it has sent everything.
        self.assertGreaterEqual(sent, 300_000)
        self.assertGreater(client.room, 100_000)
        self.assertWhole(dialogue, stream, 404, "no-route")
        dialogue.advance_past(1)

    def test_neverOpened(self) -> None:
        """A window that is never opened: the limit of a write, and not the one of a body."""
        dialogue = self.proxy(route='path = "/a"', listener="body_timeout_s = 5\nwrite_timeout_s = 20")
        client, stream = self.refused(dialogue, b"/b")
        dialogue.advance(19.8)
        stream.says(b"hello")
        self.assertIsNone(stream.reset_code)
        dialogue.advance(0.4)
        self.assertReset(stream, ErrorCodes.CANCEL)
        self.assertEnd(dialogue, "write-timeout", 404)
        self.assertTrue(client.peer.is_open)

    def test_reset(self) -> None:
        """A client that resets such a stream has left."""
        dialogue = self.proxy(route='path = "/a"')
        client, stream = self.refused(dialogue, b"/b")
        stream.resets()
        self.assertEnd(dialogue, "client-left", 499)
        self.assertTrue(client.peer.is_open)
        self.assertEqual(repr(dialogue.pool), CLEAN_POOL)

    def test_connectionEnds(self) -> None:
        """A connection that fails, or is cut: the line keeps the status that the client has seen."""
        for reason in ("bad-request", "shutdown"):
            dialogue = self.proxy(route='path = "/a"')
            client, stream = self.refused(dialogue, b"/b")
            self.assertEqual(stream.gets_head().line, b"HTTP/2 404")
            if reason == "shutdown":
                self.assertEqual(dialogue.assembled.sites["web"].cut(ShuttingDown()), 1)
                dialogue.settle()
            else:
                client.says(frame(6, 0, 0, b"short"))
            self.assertEqual(self.ends(dialogue), [(404, reason)])
            dialogue.advance_past(2)
            self.assertNothingLeft(dialogue)

    def test_bodyOfAFailedBackend(self) -> None:
        """A 502 that waits, while the body goes on: no other backend sees any of it."""
        dialogue = self.proxy(backends=("10.0.0.1:80", "10.0.0.2:80"), cluster="retry.tries = 1")
        _, stream = self.refused(dialogue, b"/")
        dialogue.refuse()
        for _ in range(4):
            stream.says(bytes(10_000))
        self.assertWhole(dialogue, stream, 502, "connect-failed")
        dialogue.advance_past(1)

    def test_lengthThatLies(self) -> None:
        """A request that turns out to be malformed after its answer: whatever becomes of its stream, no other suffers."""
        dialogue = self.proxy(route='path = "/a"')
        client, stream = self.refused(dialogue, b"/b", length(3))
        stream.says(b"hello")
        if stream.reset_code is None:
            stream.opens(1_000)
        self.assertTrue(stream.has_ended or stream.reset_code == ErrorCodes.PROTOCOL_ERROR)
        self.assertEqual((len(dialogue.lines), dialogue.lines[0]["status"]), (1, 404))
        dialogue.script("10.0.0.1:80", OK)
        other = client.asks(b"GET", b"/a")
        other.opens(2)
        self.assertReply(other, 200, b"ok")
