"""Heads of stored replies: lines that are ready, and fields that can be had from them."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txproxy.cache.stored_head import StoredHead
from txproxy.errors import BadReply
from txproxy.test.cache.entries import reply_of
from txproxy.wire.fields import Field
from txproxy.wire.forwarding import ReplyRules, kept_reply_fields, write_reply_head
from txproxy.wire.http2.replies import write_reply
from txproxy.wire.messages import ReplyHead

_TYPE = b"Content-Type: text/plain"


class LinesTests(SynchronousTestCase):
    """What is kept of a head."""

    def test_linesOfAStoredReply(self) -> None:
        """Each row: status, lines as they came, length of the body, lines that are sent."""
        for status, lines, length, expected in (
            # The usual case: as it came.
            (b"200 OK", [_TYPE, b"Content-Length: 7", b"ETag: x"], 7, [_TYPE, b"Content-Length: 7", b"ETag: x"]),
            # A body that came in chunks, or until the close, has a length now.
            (b"200 OK", [b"Transfer-Encoding: chunked"], 5, [b"Content-Length: 5"]),
            (b"404 Not Found", [_TYPE], 0, [_TYPE, b"Content-Length: 0"]),
            # The body that is stored counts, not what was said of it.
            (b"200 OK", [b"A: 1", b"content-length: 9", b"B: 2"], 5, [b"A: 1", b"content-length: 5", b"B: 2"]),
            # One way to write a number (RFC 9110 section 8.6).
            (b"200 OK", [b"content-length: 007"], 7, [b"content-length: 7"]),
            # Fields of the connection are not stored (RFC 9111 section 3.1), nor those it names.
            (
                b"200 OK",
                [b"Connection: close, X-Hop", b"X-Hop: 1", b"Keep-Alive: 5", b"Upgrade: x", b"Content-Length: 1"],
                1,
                [b"Content-Length: 1"],
            ),
            # Age is made anew (RFC 9111 section 5.1), and so is what a cache says of one delivery.
            (b"200 OK", [b"Age: 7", b"X-Cache-Status: HIT", b"Content-Length: 1"], 1, [b"Content-Length: 1"]),
            (b"200 OK", [b"X-Request-Id: 7", b"Content-Length: 1"], 1, [b"Content-Length: 1"]),
            # A 204 has no length (RFC 9110 section 8.6).
            (b"204 No Content", [_TYPE], 0, [_TYPE]),
            (b"204 No Content", [], 0, []),
            # No content of a value is lost: empty, with colons, repeated names.
            (
                b"200 Fine: really",
                [b"X-Empty:", b"X-Url: http://a/: b", b"Set-Cookie: a", b"Set-Cookie: b", b"Content-Length: 2"],
                2,
                [b"X-Empty: ", b"X-Url: http://a/: b", b"Set-Cookie: a", b"Set-Cookie: b", b"Content-Length: 2"],
            ),
        ):
            head = StoredHead(reply_of(*lines, status=status), length)
            wanted = b"\r\n".join([b"HTTP/1.1 " + status, *expected])
            self.assertEqual(head.lines, wanted)
            self.assertEqual([b"%b: %b" % field for field in head.fields], expected)
            self.assertEqual((head.content_length, head.status), (length, int(status[:3])))
            self.assertEqual(write_reply_head(head, b"\r\nAge: 1\r\n\r\n"), wanted + b"\r\nAge: 1\r\n\r\n")

    def test_framingIsThatOfALength(self) -> None:
        """However the body came."""
        reply = reply_of(b"Transfer-Encoding: chunked", b"Connection: close")
        self.assertEqual((reply.chunked, reply.keep_alive), (True, False))
        head = StoredHead(reply, 3)
        self.assertEqual((head.chunked, head.until_close, head.lacks_length), (False, False, False))
        self.assertEqual((head.keep_alive, head.options, head.block), (True, None, None))
        self.assertEqual(StoredHead(reply_of(), 3).until_close, False)

    def test_whatIsKnown(self) -> None:
        """The proxy knows what it knew of the reply, but for what is gone, and the length, which is an attribute."""
        reply = reply_of(_TYPE, b"Content-Length: 1", b"Date: x", b"Connection: keep-alive", b"Age: 1", b"Via: 1.1 a")
        known = StoredHead(reply, 1).known
        self.assertEqual(known, {b"content-type": b"text/plain", b"date": b"x", b"via": b"1.1 a"})

    def test_theVersionIsThatOfTheBackend(self) -> None:
        """Via tells it (RFC 9110 section 7.6.3)."""
        reply = reply_of()
        reply.version, reply.minor = b"2.0", 1
        head = StoredHead(reply, 0)
        self.assertEqual((head.version, head.minor, head.reason), (b"2.0", 1, b"OK"))


_some_names = st.sampled_from(
    (
        b"Content-Length",
        b"content-length",
        b"Connection",
        b"Age",
        b"X-Cache-Status",
        b"ETag",
        b"Date",
        b"X_Y",
        b"Hop",
        b"Via",
    )
)


class ShortWayTests(SynchronousTestCase):
    """What is usual costs less, and gives the same."""

    @settings(max_examples=300, deadline=None)
    @given(
        st.lists(st.tuples(_some_names, st.sampled_from((b"7", b"07", b"8", b"hop", b"close, x"))), max_size=6),
        st.sampled_from((200, 204, 404)),
        st.sampled_from(((), (b"etag",), (b"content-length", b"date", b"absent"))),
    )
    def test_theSameAsStepByStep(self, lines: list[Field], status: int, withheld: tuple[bytes, ...]) -> None:
        """Against one rule after the other."""
        try:
            reply = reply_of(*map(b": ".join, lines), status=b"%d X" % status)
        except BadReply:
            return  # Its lengths contradict each other.
        head = StoredHead(reply, 7, withheld)
        left_out = {b"age", b"x-cache-status", *withheld}
        fields = [field for field in kept_reply_fields(reply) if field[0].lower() not in left_out]
        places = [at for at, (name, _) in enumerate(fields) if name.lower() == b"content-length"]
        if status != 204:
            name = fields[places[0]][0] if places else b"Content-Length"
            at = places[0] if places else len(fields)
            fields[at : at + 1] = [(name, b"7")]
        self.assertEqual(head.lines, b"\r\n".join([b"HTTP/1.1 %d X" % status, *map(b": ".join, fields)]))
        kept = {name.lower() for name, _ in fields} - {b"content-length"}
        self.assertEqual(head.known, {name: value for name, value in reply.known.items() if name in kept})


class SharingTests(SynchronousTestCase):
    """It behaves as any head that many hold."""

    def test_aCopyCanBeChanged(self) -> None:
        """And the stored one stays as it was."""
        head = StoredHead(reply_of(b"Date: x", b"Content-Length: 1"), 1)
        before = head.lines
        other = head.copy()
        self.assertIs(type(other), ReplyHead)
        other.fields.append((b"X-More", b"1"))
        other.known.pop(b"date")
        self.assertEqual((head.lines, head.known), (before, {b"date": b"x"}))
        self.assertEqual(head.fields, [(b"Date", b"x"), (b"Content-Length", b"1")])
        self.assertEqual(write_reply_head(other, b""), before + b"\r\nX-More: 1")

    def test_itHasAllThatAHeadHas(self) -> None:
        """Also what a head is given later on: it is made without the constructor of its base."""
        head = StoredHead(reply_of(), 0)
        self.assertEqual([name for name in ReplyHead.__slots__ if not hasattr(head, name)], [])

    def test_storedAgainItIsTheSame(self) -> None:
        """A head that a 304 has freshened goes the same way."""
        head = StoredHead(reply_of(_TYPE, b"Age: 4"), 9)
        again = StoredHead(head.copy(), 9)
        self.assertEqual((again.lines, again.known), (head.lines, head.known))

    def test_rulesOfARouteAndHttp2SeeItsFields(self) -> None:
        """Whatever cannot take the lines as they are."""
        head = StoredHead(reply_of(_TYPE, b"X-Old: 1"), 4)
        rules = ReplyRules(remove=frozenset((b"x-old",)), add=((b"X-New", b"2"),))
        self.assertEqual(
            write_reply_head(head, b"\r\n\r\n", rules),
            b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 4\r\nX-New: 2\r\n\r\n",
        )
        plain = ReplyHead(200, b"OK", 1, head.fields, {})
        self.assertEqual(write_reply(head, [], b""), write_reply(plain, [], b""))
        self.assertIsNotNone(head.block)
