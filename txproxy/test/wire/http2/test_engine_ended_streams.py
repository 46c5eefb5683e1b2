"""What still comes of streams that have ended, and what they leave behind."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txproxy.test.wire.http2.engine_case import (
    REPLY,
    REQUEST,
    WINDOW_BYTES,
    feed,
    headers,
    outcome,
    reset,
    serving,
    settings,
    window,
)
from txproxy.wire.http2.engine import Engine
from txproxy.wire.http2.floods import Floods

_MOST_WINDOW = 2**31 - 1


def answered(engine: Engine, stream_id: int, ended: bool) -> None:
    """Have a stream whose reply is complete."""
    feed(engine, headers(stream_id, REQUEST, ended))
    engine.send_head(stream_id, REPLY, True)


class EndedStreamTests(SynchronousTestCase):
    """Streams that have ended, on both sides or on ours."""

    def test_resetAfterTheReply(self) -> None:
        """A client that was answered early does not send the rest of its request, as it was asked to."""
        engine = serving(floods=Floods(3))
        for stream_id in range(1, 41, 2):
            answered(engine, stream_id, ended=False)
            self.assertEqual(outcome(engine, reset(stream_id)), "goes on")

    def test_resetBeforeTheReplyIsComplete(self) -> None:
        """The same before the end of the reply is what rapid resets are."""
        engine = serving(floods=Floods(3))
        said = []
        for stream_id in range(1, 9, 2):
            feed(engine, headers(stream_id, REQUEST, False))
            engine.send_head(stream_id, REPLY)
            said.append(outcome(engine, reset(stream_id)))
        self.assertEqual(said, ["goes on"] * 3 + ["connection ENHANCE_YOUR_CALM"])

    def test_theirWindowsAreGone(self) -> None:
        """Windows of streams that have ended do not overflow when those of streams to come are made larger."""
        engine = serving()
        feed(engine, headers(1, REQUEST, True), window(1, _MOST_WINDOW - 65535))
        engine.send_head(1, REPLY, True)
        self.assertEqual(outcome(engine, settings({WINDOW_BYTES: 70_000})), "goes on")

    def test_aStreamThatIsOpenStillOverflows(self) -> None:
        """RFC 9113 section 6.9.2."""
        engine = serving()
        feed(engine, headers(1, REQUEST, True), window(1, _MOST_WINDOW - 65535))
        self.assertEqual(outcome(engine, settings({WINDOW_BYTES: 70_000})), "connection FLOW_CONTROL_ERROR")

    def test_littleIsKeptOfThem(self) -> None:
        """A connection that has served thousands of requests is no larger than one that has served a hundred."""
        engine = serving()
        sizes = []
        for stream_id in range(1, 4001, 2):
            answered(engine, stream_id, ended=True)
            engine.take()
            sizes.append(len(engine._h2.streams) + len(engine._h2._closed_streams))
        self.assertLessEqual(max(sizes), 64)
