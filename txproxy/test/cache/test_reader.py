"""Who is given content as fast as it is taken, whatever the client does meanwhile."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from txproxy.cache.content import PIECE_BYTES, WholeContent
from txproxy.cache.reader import Reader
from txproxy.exchange import Exchange

BODY = bytes(range(256)) * 1024


class _Client:
    """Takes a reply; does what it is told to at each piece."""

    def __init__(self, act: Any = lambda exchange: None) -> None:
        self.taken: list[bytes] = []
        self.ended = 0
        self.site = self
        self.act = act
        self.exchange = Exchange(b"1", None, self, 0.0)

    def clock(self) -> float:
        return 5.0

    def write_reply(self, data: bytes) -> None:
        self.taken.append(data)
        self.act(self.exchange)

    def end_reply(self, data: bytes, trailers: Any, now: float) -> None:
        self.taken.append(data)
        self.ended += 1
        assert self.exchange.server is None
        assert now == 5.0

    def reads(self, content: Any = None) -> Reader:
        return Reader(self.exchange, content or WholeContent(BODY))


class ReaderTests(SynchronousTestCase):
    """A reader and its client."""

    def test_pieces(self) -> None:
        """All of it in order, the last piece with the end."""
        client = _Client()
        client.reads().begin()
        self.assertEqual([len(piece) for piece in client.taken], [PIECE_BYTES] * 4)
        self.assertEqual((b"".join(client.taken), client.ended), (BODY, 1))

    def test_nothing(self) -> None:
        """No content at all: the end alone."""
        client = _Client()
        client.reads(WholeContent(b"")).begin()
        self.assertEqual((client.taken, client.ended), ([b""], 1))

    def test_fromTheMiddle(self) -> None:
        """What is left of content begins at its own position."""
        client = _Client()
        reader = client.reads(WholeContent(BODY[100:], 100))
        reader.position = 200
        reader.begin()
        self.assertEqual(b"".join(client.taken), BODY[200:])

    def test_pauses(self) -> None:
        """A paused one is given nothing; pausing and resuming twice is the same as once."""
        client = _Client(lambda exchange: exchange.server.pause_reply())
        reader = client.reads()
        reader.begin()
        reader.pause_reply()
        self.assertEqual(len(client.taken), 1)
        reader.resume_reply()
        self.assertEqual(len(client.taken), 2)
        client.act = lambda exchange: None
        reader.resume_reply()
        reader.resume_reply()
        self.assertEqual((b"".join(client.taken), client.ended), (BODY, 1))

    def test_resumesWithinAWrite(self) -> None:
        """A client that pauses and resumes while it is written to gets nothing twice, and nothing nested."""
        depth = most = 0

        def act(exchange: Exchange) -> None:
            nonlocal depth, most
            depth += 1
            most = max(most, depth)
            exchange.server.pause_reply()
            exchange.server.resume_reply()
            depth -= 1

        client = _Client(act)
        client.reads().begin()
        self.assertEqual((b"".join(client.taken), client.ended, most), (BODY, 1, 1))

    def test_leavesWithinAWrite(self) -> None:
        """A client that leaves while it is written to gets nothing more."""
        client = _Client(lambda exchange: exchange.cancel_upstream())
        client.reads().begin()
        self.assertEqual((len(client.taken), client.ended), (1, 0))

    def test_notBegun(self) -> None:
        """Before it has the head it is given nothing, paused or not."""
        client = _Client()
        reader = client.reads()
        reader.pause_reply()
        reader.resume_reply()
        self.assertFalse(reader.is_ready)
        self.assertEqual(client.taken, [])
        self.assertIn("Reader at 0", repr(reader))
