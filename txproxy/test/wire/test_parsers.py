"""Parsers that remember heads: what comes again means the same again."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txproxy.errors import BadReply, BadRequest, HeadersTooLarge
from txproxy.test.wire.reading import LIMITS, facts, forwarded, reply_of, request_of
from txproxy.wire.fields import FieldTokenizer
from txproxy.wire.forwarding import write_reply_head
from txproxy.wire.limits import HeadLimits
from txproxy.wire.parsers import ReplyParser, RequestParser


class RequestParserTests(SynchronousTestCase):
    """A listener's parser."""

    def setUp(self) -> None:
        self.parser = RequestParser(FieldTokenizer(), LIMITS)

    def test_theSameHeadMeansTheSame(self) -> None:
        """Whether it is understood for the first time or recalled, and whatever was written from it."""
        heads = [
            b"GET /%d HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % (number, number)
            for number in range(3)
        ]
        fresh = [facts(request_of(head)) for head in heads]
        written = [forwarded(request_of(head)) for head in heads]
        for _ in range(5):
            for head, expected, sent in zip(heads, fresh, written, strict=True):
                request = self.parser.parse(head)
                self.assertEqual(facts(request), expected)
                self.assertEqual(forwarded(request), sent)
                self.assertEqual(facts(request), expected)

    def test_whatIsRefusedIsRefusedAgain(self) -> None:
        """No verdict is softer the second time."""
        for head in (b"GET / HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"):
            for _ in range(4):
                self.assertRaises(BadRequest, self.parser.parse, head)

    def test_nearlyTheSameIsNotTheSame(self) -> None:
        """One other byte is another head."""
        for _ in range(3):
            for host in (b"a", b"A", b"b"):
                self.assertEqual(self.parser.parse(b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n").host, host)

    def test_limitsAreThoseOfTheListener(self) -> None:
        """Another listener's parser may refuse what this one lets pass."""
        head = b"GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n\r\n"
        self.assertEqual(self.parser.parse(head).host, b"a")
        strict = RequestParser(FieldTokenizer(), HeadLimits(fields=1))
        for _ in range(3):
            self.assertRaises(HeadersTooLarge, strict.parse, head)

    def test_memoryIsBounded(self) -> None:
        """More heads than are remembered are all understood rightly."""
        for _ in range(2):
            for number in range(1300):
                target = b"/%d" % (number // 2)
                self.assertEqual(self.parser.parse(b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n").target, target)
        large = b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 4000 + b"\r\n\r\n"
        models = [self.parser.parse(large) for _ in range(4)]
        self.assertEqual({len(model.fields) for model in models}, {2})
        self.assertEqual(len({id(model) for model in models}), 4)


class ReplyParserTests(SynchronousTestCase):
    """The parser of all backends' replies."""

    def test_theMethodDecidesOnTheLength(self) -> None:
        """The same bytes mean another length as a reply to HEAD, in whatever order they come."""
        parser = ReplyParser(FieldTokenizer())
        head = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
        for method, length in ((b"GET", 5), (b"HEAD", 0), (b"GET", 5), (b"GET", 5), (b"HEAD", 0), (b"POST", 5)):
            self.assertEqual(parser.parse(head, method).content_length, length, method)

    def test_theSameHeadMeansTheSame(self) -> None:
        """Whether it is understood for the first time or recalled."""
        parser = ReplyParser(FieldTokenizer())
        for line in (b"Connection: close", b"Connection: x", b"A: b"):
            head = b"HTTP/1.0 200 OK\r\n" + line + b"\r\nContent-Length: 05\r\n\r\n"
            written = write_reply_head(reply_of(head), b"\r\n\r\n")
            for _ in range(4):
                reply = parser.parse(head, b"GET")
                self.assertEqual(facts(reply), facts(reply_of(head)))
                self.assertEqual(write_reply_head(reply, b"\r\n\r\n"), written)

    def test_whatIsRefusedIsRefusedAgain(self) -> None:
        """No verdict is softer the second time."""
        parser = ReplyParser(FieldTokenizer())
        for _ in range(4):
            self.assertRaises(BadReply, parser.parse, b"HTTP/1.1 2 OK\r\n\r\n", b"GET")

    def test_closingBackendsAreUnderstoodForEver(self) -> None:
        """Replies of different lengths that each close their connection: none spoils the next."""
        parser = ReplyParser(FieldTokenizer())
        for number in range(200):
            head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % (10_000 + number)
            self.assertEqual(parser.parse(head, b"GET").content_length, 10_000 + number)

    def test_memoryIsBounded(self) -> None:
        """More heads than are remembered are all understood rightly."""
        parser = ReplyParser(FieldTokenizer())
        for _ in range(2):
            for number in range(1300):
                head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (number // 2)
                self.assertEqual(parser.parse(head, b"GET").content_length, number // 2)
