"""A request's body between a client and whichever backend takes it."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from txproxy.bridge.body import HIGH_WATERMARK_BYTES, RequestBody
from txproxy.bridge.valve import Valve
from txproxy.test.bridge.test_valve import Transport


class Sink:
    """Notes what it gets."""

    def __init__(self) -> None:
        self.got: list[Any] = []

    def send_body(self, data: bytes) -> None:
        self.got.append(data)

    def end_body(self, trailers: list[tuple[bytes, bytes]]) -> None:
        self.got.append(trailers)


class RequestBodyTests(SynchronousTestCase):
    """It passes content on, and keeps the first of it for another try."""

    def setUp(self) -> None:
        self.transport = Transport()
        self.body = RequestBody(Valve(self.transport))
        self.sink = Sink()

    def test_passesOn(self) -> None:
        """Content goes to the backend as it comes, then the end with its trailers."""
        self.assertEqual(self.body.attach(self.sink), [])
        self.body.write(b"a")
        self.body.write(b"b")
        self.body.end([(b"T", b"1")])
        self.assertEqual(self.sink.got, [b"a", b"b", [(b"T", b"1")]])
        self.assertEqual((self.body.received, self.body.complete), (2, True))

    def test_comesBefore(self) -> None:
        """What came before there is a backend is handed over with it; its end is seen by asking."""
        self.body.write(b"a")
        self.body.end([])
        self.assertEqual((self.body.attach(self.sink), self.body.complete, self.sink.got), ([b"a"], True, []))

    def test_another(self) -> None:
        """Another backend gets all of it again, as long as it is short."""
        self.body.write(b"a")
        self.body.attach(self.sink)
        self.body.write(b"b")
        self.body.detach()
        self.body.write(b"c")
        self.assertTrue(self.body.can_be_sent)
        self.assertEqual(b"".join(self.body.attach(Sink())), b"abc")

    def test_shortPiecesArePutTogether(self) -> None:
        """A client that sends its body two bytes at a time has it take no more memory than the body."""
        for _ in range(30_000):
            self.body.write(b"ab")
        kept = self.body.attach(self.sink)
        self.assertLess(len(kept), 50)
        self.assertEqual(b"".join(kept), b"ab" * 30_000)

    def test_tooLong(self) -> None:
        """Exactly the watermark can be sent again, one byte more cannot."""
        self.body.attach(self.sink)
        self.body.write(bytes(HIGH_WATERMARK_BYTES))
        self.assertTrue(self.body.can_be_sent)
        self.body.write(b"x")
        self.assertFalse(self.body.can_be_sent)

    def test_letGo(self) -> None:
        """Nothing is kept once a reply has begun."""
        self.body.attach(self.sink)
        self.body.let_go()
        self.body.write(b"x")
        self.assertFalse(self.body.can_be_sent)
        self.assertEqual(self.sink.got, [b"x"])

    def test_waitsForABackend(self) -> None:
        """At the watermark the client is read no more until there is a backend."""
        self.body.write(bytes(HIGH_WATERMARK_BYTES - 1))
        self.assertEqual(self.transport.told, [])
        self.body.write(b"x")
        self.assertEqual(self.transport.told, ["pause"])
        self.body.attach(self.sink)
        self.assertEqual(self.transport.told, ["pause", "resume"])
