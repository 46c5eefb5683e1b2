"""Tests for :mod:`bench.sink`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

try:
    from bench.sink import Reading, WrongRequestError
except ModuleNotFoundError:
    skip = "bench is no part of an installed package"


def post(target: bytes, length: int, more: bytes = b"") -> bytes:
    return b"POST %b HTTP/1.1\r\nHost: b\r\nContent-Length: %d\r\n%b\r\n" % (target, length, more)


class ReadingTests(SynchronousTestCase):
    """One connection of the backend."""

    def setUp(self) -> None:
        self.reading = Reading()

    def assertAnswers(self, replies: bytes, *bodies: bytes, status: bytes = b"200 OK") -> None:
        found = replies.split(b"HTTP/1.1 ")[1:]
        self.assertEqual([each.partition(b"\r\n")[0] for each in found], [status] * len(bodies))
        self.assertEqual([each.partition(b"\r\n\r\n")[2] for each in found], list(bodies))

    def test_whole(self) -> None:
        """A request that comes in one piece is answered with the length of its body."""
        self.assertAnswers(self.reading.received(post(b"/sink/5", 5) + b"abcde"), b"5")

    def test_pieces(self) -> None:
        """No answer comes before the whole body has."""
        head = post(b"/sink/5", 5)
        self.assertEqual(self.reading.received(head[:20]), b"")
        self.assertEqual(self.reading.received(head[20:] + b"ab"), b"")
        self.assertEqual(self.reading.left, 3)
        self.assertEqual(self.reading.counted(2), b"")
        self.assertAnswers(self.reading.counted(1), b"5")

    def test_several(self) -> None:
        """Requests that come together are answered in turn, and a GET has no body."""
        data = post(b"/sink/2", 2) + b"ab" + b"GET / HTTP/1.1\r\nHost: b\r\n\r\n" + post(b"/sink/3", 3) + b"c"
        self.assertAnswers(self.reading.received(data), b"2", b"0")
        self.assertAnswers(self.reading.counted(2), b"3")

    def test_wrongCount(self) -> None:
        """A body of another length than the target says is an error by its status."""
        replies = self.reading.received(post(b"/sink/6", 5) + b"abcde")
        self.assertAnswers(replies, b"5", status=b"500 Wrong Count")

    def test_last(self) -> None:
        """A client that asks for it, or knows no keep-alive, has the connection closed."""
        self.assertIn(b"Connection: close", self.reading.received(post(b"/sink/1", 1, b"Connection: close\r\n") + b"a"))
        self.assertTrue(self.reading.ended)
        old = Reading()
        old.received(b"GET / HTTP/1.0\r\n\r\n")
        self.assertTrue(old.ended)

    def test_withoutLength(self) -> None:
        """Bodies that end some other way are not read."""
        head = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
        self.assertRaises(WrongRequestError, self.reading.received, head)

    def test_endless(self) -> None:
        """A head that does not end is not kept for ever."""
        self.assertRaises(WrongRequestError, self.reading.received, b"a" * 70_000)
