"""Heads of replies in HTTP/2: those of backends, and those for clients (RFC 9113 sections 8.1 to 8.3)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txproxy.errors import BadReply
from txproxy.test.wire import reading
from txproxy.test.wire.http2.heads_case import decoded
from txproxy.test.wire.judging import judge_reply
from txproxy.test.wire.making import QUICK, fields
from txproxy.wire.fields import Field
from txproxy.wire.forwarding import NO_REPLY_RULES, ReplyRules, write_reply_head
from txproxy.wire.http2.replies import parse_reply, parse_reply_trailers, write_interim, write_reply, write_trailers
from txproxy.wire.limits import MAX_TRAILER_BYTES, REPLY_LIMITS
from txproxy.wire.messages import ReplyHead

_OK = (b":status", b"200")
_ADDED = [(b"Date", b"today"), (b"Via", b"2.0 txproxy")]
_OURS = [(b"date", b"today"), (b"via", b"2.0 txproxy"), (b"x-request-id", b"id-1")]
_NO_SHORT_CUT = ReplyRules(remove=frozenset((b"x-not-there",)))


def reply_with(*fields: Field, status: bytes = b"200", ended: bool = False, method: bytes = b"GET") -> ReplyHead:
    """Return the model of a backend's reply with these fields."""
    return parse_reply([(b":status", status), *fields], ended, method)


class ParseReplyTests(SynchronousTestCase):
    """Replies of backends."""

    def refused(self, *fields: Field, ended: bool = False, method: bytes = b"GET") -> None:
        self.assertRaises(BadReply, parse_reply, list(fields), ended, method)

    def test_likeHttp1(self) -> None:
        """All that a model says but for the version."""
        lines = b"server: x\r\nset-cookie: a\r\nset-cookie: b\r\nvia: 1.1 a\r\nvia: 1.1 b\r\ncontent-length: 05\r\n"
        h1 = reading.reply_of(b"HTTP/1.1 404 Not Found\r\n" + lines + b"\r\n")
        pairs = [tuple(line.split(b": ")) for line in lines.splitlines()]
        h2 = reply_with(*pairs, status=b"404")  # type: ignore[arg-type]
        self.assertEqual(reading.facts(h2), {**reading.facts(h1), "version": b"2.0"})
        self.assertEqual(reply_with(status=b"599").reason, b"")

    def test_status(self) -> None:
        """Exactly one, first, of three digits in the range that has a meaning, and never 101."""
        for valid in (100, 103, 199, 200, 404, 599):
            self.assertEqual(reply_with(status=b"%d" % valid).status, valid)
        for status in (b"", b"0", b"99", b"099", b"600", b"999", b"1000", b" 200", b"200 ", b"2 0", b"+20", b"\xb2\xb2\xb2",
                       b"200 OK", b"200\r\nA: b", b"101", b"0200"):  # fmt: skip
            self.refused((b":status", status))
        self.refused()
        self.refused((b"a", b"b"))
        self.refused((b"a", b"b"), _OK)
        self.refused((b"a", b"200"))
        self.refused((b":path", b"200"), (b"a", b"b"))
        self.refused(_OK, _OK)
        self.refused(_OK, (b"a", b"b"), _OK)

    def test_otherPseudoFields(self) -> None:
        """A reply has none."""
        for name in (b":path", b":method", b":authority", b":scheme", b":", b":x"):
            self.refused((name, b"1"), _OK)
            self.refused(_OK, (name, b"1"))

    def test_fields(self) -> None:
        """As strict as with requests."""
        for field in (
            (b"", b"a"), (b"A", b"a"), (b"a b", b"a"), (b"a:", b"a"), (b"a\r\nb", b"a"), (b"caf\xe9", b"a"),
            (b"a", b"b\r\nc: d"), (b"a", b"\x00"), (b"a", b"\x7f"), (b"a", b"b\n"), (b"a", b" b"), (b"a", b"b\t"),
            (b"connection", b"close"), (b"keep-alive", b"5"), (b"proxy-connection", b"x"), (b"upgrade", b"h2c"),
            (b"transfer-encoding", b"chunked"), (b"te", b"gzip"),
        ):  # fmt: skip
            self.refused(_OK, field)
            self.refused(_OK, (b"x", b"y"), field, (b"z", b""))
        self.assertEqual(reply_with((b"a", b"\xff\t \x85")).fields, [(b"a", b"\xff\t \x85")])

    def test_lengths(self) -> None:
        """Declared, none by what the reply is or because the stream has ended, or unknown."""
        five, none = (b"content-length", b"5"), (b"content-length", b"0")
        self.assertEqual(self.framing(reply_with(five)), (5, False))
        self.assertEqual(self.framing(reply_with()), (None, False))
        self.assertEqual(self.framing(reply_with(none, ended=True)), (0, False))
        self.assertEqual(self.framing(reply_with(ended=True)), (0, True))
        for status, method in ((b"200", b"HEAD"), (b"204", b"GET"), (b"304", b"GET")):
            for lengths in ((), (five,)):
                for ended in (True, False):
                    reply = reply_with(*lengths, status=status, method=method, ended=ended)
                    self.assertEqual(self.framing(reply), (0, False))
        self.assertEqual(self.framing(reply_with(five, status=b"103")), (0, False))
        self.refused(_OK, five, ended=True)
        self.refused(_OK, five, five)
        for value in (b"", b"-1", b"+5", b"5,5", b"5, 5", b"0x5", b"9" * 20):
            for method in (b"GET", b"HEAD"):
                self.refused(_OK, (b"content-length", value), method=method)

    def framing(self, reply: ReplyHead) -> tuple[object, ...]:
        self.assertEqual((reply.chunked, reply.until_close, reply.keep_alive), (False, False, True))
        return reply.content_length, reply.lacks_length

    def test_interimRepliesDoNotEnd(self) -> None:
        """A final one must follow (RFC 9113 section 8.1)."""
        self.refused((b":status", b"100"), ended=True)

    def test_limits(self) -> None:
        """Those of HTTP/1.1, counted in the same way."""
        longest = REPLY_LIMITS.field_bytes - len(b"a: ")
        self.assertEqual(len(reply_with((b"a", b"b" * longest)).fields), 1)
        self.refused(_OK, (b"a", b"b" * (longest + 1)))
        many = [(b"a", b"")] * REPLY_LIMITS.fields
        self.assertEqual(len(reply_with(*many).fields), REPLY_LIMITS.fields)
        self.refused(_OK, *many, (b"a", b""))
        self.refused(_OK, *[(b"a", b"b" * 30_000)] * 3)

    def test_trailers(self) -> None:
        """gRPC tells by them how it went; none of them may be a pseudo-field."""
        trailers = [(b"grpc-status", b"0"), (b"grpc-message", b"")]
        self.assertEqual(parse_reply_trailers(trailers), trailers)
        for field in (_OK, (b"A", b"b"), (b"a", b"b "), (b"connection", b"close"), (b"a", b"b" * MAX_TRAILER_BYTES)):
            self.assertRaises(BadReply, parse_reply_trailers, [*trailers, field])

    def test_copies(self) -> None:
        """They say the same, and are written anew."""
        reply = reply_with(ended=True)
        write_reply(reply, _ADDED, b"id-1")
        copy = reply.copy()
        self.assertEqual(reading.facts(copy), reading.facts(reply))
        copy.fields.append((b"a", b"b"))
        self.assertIn((b"a", b"b"), decoded(write_reply(copy, _ADDED, b"id-1")))
        self.assertNotIn((b"a", b"b"), decoded(write_reply(reply, _ADDED, b"id-1")))


class ToHttp1Tests(SynchronousTestCase):
    """Replies of HTTP/2 backends on their way to a client of HTTP/1."""

    def test_emptyReplies(self) -> None:
        """A reply that only its stream's end has told to be empty gets a length, where one may stand."""
        for rules in (NO_REPLY_RULES, _NO_SHORT_CUT):
            for status, method, expected in (
                (b"200", b"GET", b"HTTP/1.1 200 OK\r\na: b\r\nContent-Length: 0\r\n\r\n"),
                (b"200", b"HEAD", b"HTTP/1.1 200 OK\r\na: b\r\n\r\n"),
                (b"204", b"GET", b"HTTP/1.1 204 No Content\r\na: b\r\n\r\n"),
                (b"304", b"GET", b"HTTP/1.1 304 Not Modified\r\na: b\r\n\r\n"),
            ):
                reply = reply_with((b"a", b"b"), status=status, method=method, ended=True)
                for _ in range(2):
                    self.assertEqual(write_reply_head(reply, b"\r\n\r\n", rules), expected)
            reply = reply_with((b"content-length", b"0"), ended=True)
            self.assertEqual(write_reply_head(reply, b"\r\n\r\n", rules).count(b"ength"), 1)
            bare = write_reply_head(reply_with(ended=True), b"\r\n\r\n", rules)
            self.assertEqual(bare, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    @QUICK
    @given(fields, st.sampled_from([(), ((b"content-length", b"07"),)]), st.booleans())
    def test_theirMeaningArrives(self, others: list[Field], length: tuple[Field, ...], ended: bool) -> None:
        """What was accepted is read back as it was."""
        lower = [(name.lower(), value) for name, value in others]
        reply = reply_with(*lower, *(() if ended else length), ended=ended)
        added = b"\r\nTransfer-Encoding: chunked\r\n\r\n" if reply.content_length is None else b"\r\n\r\n"
        head = write_reply_head(reply, added)
        judge_reply(head)
        again = reading.reply_of(head)
        self.assertEqual((again.status, again.content_length), (200, reply.content_length))
        self.assertEqual(again.fields[: len(lower)], lower)


class WriteReplyTests(SynchronousTestCase):
    """Replies on their way to a client of HTTP/2."""

    def sent(self, reply: ReplyHead, rules: ReplyRules | None = None) -> list[Field]:
        """Return the fields that a client gets, after checking that both ways of writing give the same."""
        block = write_reply(reply, _ADDED, b"id-1", rules or NO_REPLY_RULES)
        if rules is None:
            self.assertEqual(decoded(write_reply(reply, _ADDED, b"id-1", _NO_SHORT_CUT)), decoded(block))
            self.assertEqual(write_reply(reply, _ADDED, b"id-1"), block)
        return decoded(block)

    def test_endToEndFields(self) -> None:
        """Order, repetition and bytes are kept, names are in lower case; the length is canonical."""
        lines = [b"Content-LENGTH: 0005", b"set-cookie: a", b"Set-Cookie: b", b"X_U: 1", b"X: caf\xe9", b"E: ",
                 b"Trailer: T"]  # fmt: skip
        expected = [
            _OK, (b"content-length", b"5"), (b"set-cookie", b"a"), (b"set-cookie", b"b"), (b"x_u", b"1"),
            (b"x", b"caf\xe9"), (b"e", b""), (b"trailer", b"T"), *_OURS,
        ]  # fmt: skip
        self.assertEqual(self.sent(reading.reply_with(*lines)), expected)

    def test_connectionFieldsAreDropped(self) -> None:
        """Whatever a backend of HTTP/1 says of its connection."""
        reply = reading.reply_with(
            b"Connection: close, X-Foo, date", b"X-Foo: 1", b"Keep-Alive: timeout=5", b"Proxy-Connection: close",
            b"Transfer-Encoding: chunked", b"Upgrade: h2c", b"TE: x", b"X-Request-Id: theirs", b"A: b",
        )  # fmt: skip
        self.assertEqual(self.sent(reply), [_OK, (b"a", b"b"), *_OURS])

    def test_fromHttp2(self) -> None:
        """An ended stream says that there is nothing; no length is made up for it."""
        self.assertEqual(
            self.sent(reply_with((b"grpc-status", b"5"), ended=True)), [_OK, (b"grpc-status", b"5"), *_OURS]
        )
        self.assertEqual(self.sent(reply_with(status=b"204"))[0], (b":status", b"204"))

    def test_rules(self) -> None:
        """Applied after ours; none can bring in what has no place in HTTP/2."""
        rules = ReplyRules(
            remove=frozenset((b"server", b"x-request-id")),
            set=((b"X-Set", b" new "), (b"via", b"hidden"), (b"Connection", b"close")),
            add=((b"Server", b"ours"), (b"UPGRADE", b"h2c"), (b"keep-alive", b"1"), (b"Proxy-Connection", b"x"),
                 (b"Transfer-Encoding", b"chunked"), (b"te", b"x")),
        )  # fmt: skip
        reply = reply_with((b"server", b"x"), (b"x-set", b"old"))
        self.assertEqual(
            self.sent(reply, rules),
            [_OK, (b"date", b"today"), (b"x-set", b"new"), (b"via", b"hidden"), (b"server", b"ours")],
        )

    def test_remembered(self) -> None:
        """What comes from the backend is written once; what is ours is each reply's own."""
        reply = reply_with((b"a", b"b"))
        for number in range(3):
            fields = decoded(write_reply(reply, [(b"n", b"%d" % number)], b"id-%d" % number))
            self.assertEqual(fields, [_OK, (b"a", b"b"), (b"n", b"%d" % number), (b"x-request-id", b"id-%d" % number)])

    def test_theModelIsNotChanged(self) -> None:
        """Others may hold it too."""
        reply = reading.reply_with(b"Connection: close, a", b"A: 1", b"Content-Length: 05")
        before = {name: repr(value) for name, value in reading.facts(reply).items()}
        self.sent(reply)
        self.sent(reply, ReplyRules(remove=frozenset((b"a",)), add=((b"B", b"c"),)))
        self.assertEqual({name: repr(value) for name, value in reading.facts(reply).items()}, before)

    def test_interimReplies(self) -> None:
        """Nothing is added to them, and their length is dropped (RFC 9110 section 8.6)."""
        reply = reading.reply_with(b"Link: </a>", b"Content-Length: 5", line=b"HTTP/1.1 103 Early Hints")
        self.assertEqual(decoded(write_interim(reply)), [(b":status", b"103"), (b"link", b"</a>")])
        self.assertEqual(decoded(write_interim(reply_with(status=b"100"))), [(b":status", b"100")])

    @QUICK
    @given(
        st.integers(200, 599), fields, st.sampled_from([(), (b"Content-Length: 07",), (b"Transfer-Encoding: chunked",)])
    )
    def test_theirMeaningArrives(self, status: int, others: list[Field], framing: tuple[bytes, ...]) -> None:
        """What a backend says by HTTP/1.1 is understood by a client of HTTP/2."""
        lines = [name + b": " + value for name, value in others]
        reply = reading.reply_with(*lines, *framing, line=b"HTTP/1.1 %d X" % status)
        again = parse_reply(self.sent(reply), False, b"GET")
        self.assertEqual((again.status, again.content_length), (status, reply.content_length))
        self.assertEqual(again.fields[: len(others)], [(name.lower(), value) for name, value in others])


class WriteTrailersTests(SynchronousTestCase):
    """Trailers, in either direction."""

    def test_someMayNotGoOn(self) -> None:
        """The same as in HTTP/1.1."""
        trailers = [(b"Grpc-Status", b"0"), (b"Content-Length", b"5"), (b"Connection", b"x"), (b"TE", b"trailers"),
                    (b"x-sum", b"1"), (b"X-SUM", b"2")]  # fmt: skip
        self.assertEqual(
            decoded(write_trailers(trailers)), [(b"grpc-status", b"0"), (b"x-sum", b"1"), (b"x-sum", b"2")]
        )

    def test_none(self) -> None:
        """Nothing is nothing."""
        self.assertEqual(write_trailers([]), b"")
        self.assertEqual(write_trailers([(b"host", b"a")]), b"")
