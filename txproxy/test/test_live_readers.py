"""The strict readers that live tests judge by are judged themselves: a judge that sees nothing proves nothing."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from .live.judge import Judge, judge
from .live.replies import NotHttp, read_replies
from .malformed import CASES, REQUESTS, split_points

_GET = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"
_CHUNKED = b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class JudgeTests(SynchronousTestCase):
    """The judge of what a backend received."""

    def test_cleanStreamIsReadHoweverItIsCut(self) -> None:
        """Two requests, one with chunks and trailers, read the same from any two pieces."""
        stream = _CHUNKED + b'5;a="b c"\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n' + _GET
        for point in split_points(stream):
            judged = Judge()
            judged.feed(stream[:point])
            judged.feed(stream[point:])
            self.assertEqual([request.body for request in judged.requests], [b"hello", b""])
            self.assertEqual((judged.tail, judged.violations), ("clean", []))

    def test_everyCutIsSeen(self) -> None:
        """A message that is not complete is never counted as one."""
        stream = _CHUNKED + b"5\r\nhello\r\n0\r\n\r\n"
        for point in split_points(stream):
            judged = judge(stream[:point])
            self.assertEqual(judged.requests, [])
            self.assertIn(judged.tail, ("head", "body"))

    def test_malformedRequestsAreViolations(self) -> None:
        """Whatever the table says no backend may see is a violation, or is not complete, but for a few cases.

        What only the proxy's own policy refuses (limits, dot segments, expectations) is no matter of bytes.
        """
        policy = ("29-5k", "32-huge", "46-", "54-list-tight", "54-port-range", "54-empty", "55-path", "56-", "60-")
        for case in REQUESTS:
            if case.upstream == "one clean request" or case.id.startswith(policy):
                continue
            judged = judge(case.raw)
            self.assertTrue(judged.violations or not judged.requests, case.id)

    def test_acceptedRequestsOfAPeerAreClean(self) -> None:
        """A judge that objects to everything would prove nothing either."""
        self.assertEqual(judge(_GET).violations, [])
        self.assertEqual(judge(b"OPTIONS * HTTP/1.1\r\nHost: a:80\r\n\r\n").violations, [])
        value = bytes(range(0x80, 0x100))
        self.assertEqual(judge(b"GET / HTTP/1.1\r\nHost: a\r\nX: \t" + value + b"\r\n\r\n").violations, [])


class ReplyReaderTests(SynchronousTestCase):
    """The reader of what a client received."""

    def test_endsAreToldApart(self) -> None:
        """A body says how it ended, and a cut one never looks complete."""
        chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n"
        for data, ended in (
            (_OK, "length"), (_OK[:-1], "truncated"), (chunked + b"0\r\n\r\n", "chunked"), (chunked, "truncated"),
            (chunked + b"0\r\n", "truncated"), (b"HTTP/1.1 200 OK\r\n\r\nok", "close"),
            (b"HTTP/1.1 204 No Content\r\n\r\n", "none"),
        ):  # fmt: skip
            self.assertEqual([reply.ended for reply in read_replies(data, True)], [ended], data)

    def test_onlyCompleteRepliesWhileOpen(self) -> None:
        """While the connection is open a reply counts once it is complete."""
        for point in split_points(_OK):
            self.assertEqual(read_replies(_OK[:point], False), [])
        self.assertEqual(len(read_replies(_OK + _OK, False)), 2)

    def test_interimRepliesBelongToTheFinalOne(self) -> None:
        """1xx replies stand with the reply they came before."""
        (reply,) = read_replies(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + _OK, True)
        self.assertEqual([interim.status for interim in reply.interim], [103])
        self.assertEqual(reply.size, len(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + _OK))

    def test_headHasNoBody(self) -> None:
        """The reply to HEAD ends with its head, and what follows is the next one."""
        head = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"
        self.assertEqual([reply.body for reply in read_replies(head + _OK, True, ("HEAD", "GET"))], [b"", b"ok"])

    def test_whatIsNotHttpFails(self) -> None:
        """Bytes that no reply may hold are refused."""
        for data in (b"garbage\r\n\r\n", _OK + b"more\r\n\r\n", b"HTTP/1.1 200 OK\nX: y\n\r\n\r\n",
                     b"HTTP/1.1 200 OK\r\nX Y: z\r\n\r\n", b"HTTP/1.1 204 N\r\nContent-Length: 0\r\n\r\n"):  # fmt: skip
            with self.assertRaises(NotHttp):
                read_replies(data, True)


class TableTests(SynchronousTestCase):
    """The table of malformed messages."""

    def test_everyNumberIsThere(self) -> None:
        """Cases 1 to 66, each variant with an id of its own."""
        ids = [case.id for case in CASES]
        self.assertEqual(len(ids), len(set(ids)))
        self.assertEqual({int(name[:2]) for name in ids}, set(range(1, 67)))
