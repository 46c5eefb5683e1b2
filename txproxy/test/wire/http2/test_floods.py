"""What costs its sender nothing has a budget; what is of use is never taken for it. Time is virtual."""

from __future__ import annotations

from collections.abc import Callable

from h2.errors import ErrorCodes
from twisted.trial.unittest import SynchronousTestCase

from txproxy.test.wire.http2.engine_case import (
    ACK,
    FIELDS,
    REPLY,
    REQUEST,
    WINDOW_BYTES,
    block_of,
    calling,
    continuation,
    data,
    feed,
    goaway,
    headers,
    held,
    outcome,
    ping,
    priority,
    raw,
    reset,
    said,
    serving,
    settings,
    window,
)
from txproxy.wire.http2.engine import Engine, EngineSettings
from txproxy.wire.http2.floods import Floods

_CREDIT = 1000
"""Frames without use that are let pass in a row."""
_PER_S = 20
"""How many of them each second gives back."""

_CALM = "connection ENHANCE_YOUR_CALM"


class ResetBudgetTests(SynchronousTestCase):
    """Streams that end early, in 60 s."""

    def test_asManyAsAllowed(self) -> None:
        """The budget may be used up at once; one more is too many."""
        for most in (1, 100):
            floods = Floods(most)
            self.assertEqual([floods.is_reset_too_often(5.0) for _ in range(most + 1)], [False] * most + [True])

    def test_aMinuteLaterTheyAreForgotten(self) -> None:
        """Each counts for 60 s, not less and not more."""
        for later, is_too_often in ((59.9, True), (60.0, False), (600.0, False)):
            floods = Floods(2)
            floods.is_reset_too_often(0.0)
            floods.is_reset_too_often(30.0)
            self.assertIs(floods.is_reset_too_often(later), is_too_often)

    def test_aSteadyRate(self) -> None:
        """The budget per minute may be used each minute, for hours, and little is remembered."""
        floods = Floods(100)
        for number in range(20_000):
            self.assertFalse(floods.is_reset_too_often(number * 0.61))
        self.assertLess(held(floods), 110)


class CreditTests(SynchronousTestCase):
    """Frames that carry nothing."""

    def pass_until_refused(self, floods: Floods, now: float) -> int:
        """Return how many frames without use pass."""
        for number in range(100_000):
            if floods.is_without_use(now):
                return number
        self.fail("none was refused")

    def test_aThousandInARow(self) -> None:
        """The next one is too many, at whatever time it is."""
        for now in (0.0, 1e9):
            self.assertEqual(self.pass_until_refused(Floods(1), now), _CREDIT)

    def test_timeGivesBack(self) -> None:
        """Twenty a second, and never more than what there was at first."""
        for later, more in ((0.0, 0), (1.0, _PER_S), (10.0, 10 * _PER_S), (3600.0, _CREDIT)):
            floods = Floods(1)
            for _ in range(_CREDIT):
                self.assertFalse(floods.is_without_use(100.0))
            self.assertIn(self.pass_until_refused(floods, 100.0 + later), (more, more + 1))

    def test_aSteadyRate(self) -> None:
        """What time gives back may be used up for ever; more may not."""
        for rate, is_refused in ((_PER_S, False), (_PER_S + 2, True)):
            floods = Floods(1)
            self.assertIs(any(floods.is_without_use(number / rate) for number in range(50_000)), is_refused, rate)

    def test_useGivesBack(self) -> None:
        """A request pays for four frames, content for two and one more for each KiB; it is not saved up."""
        uses: tuple[tuple[Callable[[Floods], None], int], ...] = (
            (Floods.request_came, 4),
            (lambda floods: floods.content_went(1), 2),
            (lambda floods: floods.content_went(16384), 18),
        )
        for use, worth in uses:
            floods = Floods(1)
            for _ in range(10_000):
                use(floods)
                self.assertFalse(any(floods.is_without_use(0.0) for _ in range(worth)))
            for _ in range(10_000):
                use(floods)
            self.assertLessEqual(self.pass_until_refused(floods, 0.0), _CREDIT + worth)


def _open(count: int = 1) -> Callable[[], Engine]:
    """Return what makes a server with streams that are open."""

    def make() -> Engine:
        engine = serving(floods=Floods(100))
        feed(engine, *[headers(2 * number + 1) for number in range(count)])
        engine.take()
        return engine

    return make


def _closed() -> Engine:
    engine = _open()()
    feed(engine, data(1, ended=True))
    engine.send_head(1, REPLY, True)
    engine.take()
    return engine


def _reset() -> Engine:
    engine = _open()()
    engine.reset(1, ErrorCodes.NO_ERROR)
    engine.take()
    return engine


_ALWAYS: list[tuple[str, Callable[[], Engine], bytes]] = [
    ("PING", _open(), ping()),
    ("answers to no PING", _open(), ping(answer=True)),
    ("SETTINGS", _open(), settings({WINDOW_BYTES: 5})),
    ("SETTINGS without any", _open(), settings()),
    ("ACK", _open(), ACK),
    ("PRIORITY", _open(), priority(1)),
    ("PRIORITY on idle streams", _open(), priority(999)),
    ("WINDOW_UPDATE of the connection", _open(), window(0, 1)),
    ("WINDOW_UPDATE of a stream", _open(), window(1, 1)),
    ("WINDOW_UPDATE of what was closed", _closed, window(1, 1)),
    ("GOAWAY", _open(), goaway(0)),
    ("what is unknown", _open(), raw(0xEE, 0xFF, 0, b"x" * 100)),
    ("RST_STREAM of what was closed", _closed, reset(1)),
    ("RST_STREAM of what we have reset", _reset, reset(1)),
]
"""What may come at any time, on a connection where nothing else happens."""

_WITH_FAULTS: list[tuple[str, Callable[[], Engine], bytes]] = [
    ("empty DATA", _open(), data(1)),
    ("empty DATA with padding", _open(), data(1, pad=5)),
    ("DATA on what was closed", _closed, data(1, b"x")),
    ("DATA on what we have reset", _reset, data(1, b"x")),
    ("trailers on what we have reset", _reset, headers(1, ended=True)),
]


class FloodTests(SynchronousTestCase):
    """Each kind of flood ends the connection with ENHANCE_YOUR_CALM, with memory flat."""

    def test_framesWithoutUse(self) -> None:
        """About a thousand of them at once; what is answered is no more than what came."""
        for name, make, flood in _ALWAYS + _WITH_FAULTS:
            engine = make()
            feed(engine, *[flood] * 500)
            self.assertLessEqual(len(engine.take()), 500 * max(len(flood), 17), name)
            held_before, came = held(engine), 500
            while not engine.has_failed and came < _CREDIT + 20:
                verdict = outcome(engine, flood)
                came += 1
            self.assertEqual(verdict, _CALM, name)
            self.assertGreater(came, _CREDIT - 20, name)
            self.assertLess(held(engine) - held_before, 10, name)

    def test_windowsThatChangeForAllStreams(self) -> None:
        """SETTINGS that let each stream send one byte more are work for each, and what is sent brings no credit."""
        engine = serving(floods=Floods(100), hello={WINDOW_BYTES: 0})
        for stream_id in range(1, 200, 2):
            feed(engine, headers(stream_id, REQUEST, True))
            engine.send_head(stream_id, REPLY)
        for size in range(1, 50):
            if outcome(engine, settings({WINDOW_BYTES: size})) != "goes on":
                break
            for stream_id in range(1, 200, 2):
                engine.send_data(stream_id, b"x")
        self.assertTrue(engine.has_failed)
        self.assertGreater(size, 3)

    def test_allInOnePiece(self) -> None:
        """Also where they are received together, the answers stop at the thousandth."""
        for name, make, flood in _ALWAYS + _WITH_FAULTS:
            engine = make()
            self.assertEqual(outcome(engine, flood * 3000), _CALM, name)

    def test_theSameAtEaseIsNone(self) -> None:
        """Twenty a second may come for ever."""
        for name, make, frame in _ALWAYS:
            engine = make()
            feed(engine, *[frame] * 500)
            for number in range(1000):
                feed(engine, frame, frame, now=number / 10)
                engine.take()
            self.assertFalse(engine.has_failed, name)

    def test_rapidReset(self) -> None:
        """Streams that their client resets as soon as they are open (CVE-2023-44487)."""
        engine = serving(floods=Floods(100))
        verdicts = [outcome(engine, headers(2 * number + 1) + reset(2 * number + 1)) for number in range(101)]
        self.assertEqual(verdicts, ["goes on"] * 100 + [_CALM])

    def test_resetsInPeace(self) -> None:
        """A hundred a minute are let pass, for ever; so is a reset of what has been answered."""
        engine = serving(floods=Floods(100))
        for number in range(1000):
            id, now = 4 * number + 1, number * 0.61
            feed(engine, headers(id, ended=True), reset(id), headers(id + 2, ended=True), now=now)
            engine.send_head(id + 2, REPLY, True)
            feed(engine, reset(id + 2), now=now)
        self.assertFalse(engine.has_failed)

    def test_resetsOfWhatWasAnswered(self) -> None:
        """Who does not send the rest of a request that has been answered is not to blame; nor is it of use."""
        engine = serving(floods=Floods(5))
        for id in range(1, 201, 2):
            feed(engine, headers(id))
            engine.send_head(id, REPLY, True)
            self.assertEqual(outcome(engine, reset(id)), "goes on")
            self.assertFalse(engine.is_open(id))
        for id in range(201, 211, 2):
            feed(engine, headers(id))
            engine.send_head(id, REPLY)
            self.assertEqual(outcome(engine, reset(id)), "goes on")
        feed(engine, headers(211))
        engine.send_head(211, REPLY)
        self.assertEqual(outcome(engine, reset(211)), _CALM)
        engine = serving(floods=Floods(5))
        for id in range(1, 4001, 2):  # Each request pays for four frames, and five are too many.
            feed(engine, headers(id))
            engine.send_head(id, REPLY, True)
            feed(engine, reset(id), *[ping()] * 4)
        self.assertTrue(engine.has_failed)

    def test_madeToReset(self) -> None:
        """Streams that we reset because their client breaks a rule on each (CVE-2025-8671)."""
        for name, ended, fault in (
            ("window", False, lambda id: window(id, 2**31 - 1)),
            ("content after the end", True, lambda id: data(id, b"x")),
            ("trailers after the end", True, lambda id: headers(id, ended=True)),
        ):
            engine = serving(floods=Floods(100))
            verdicts: list[str] = []
            while not engine.has_failed and len(verdicts) < 200:
                id = 2 * len(verdicts) + 1
                verdicts.append(outcome(engine, headers(id, ended=ended), fault(id)))
            self.assertEqual((len(verdicts), verdicts[-1]), (101, _CALM), name)

    def test_whatTheOwnerBlames(self) -> None:
        """Streams that the owner resets count where it says that the client is to blame."""
        for blame, fails in ((True, True), (False, False)):
            engine = serving(floods=Floods(100))
            for number in range(101):
                feed(engine, headers(2 * number + 1))
                engine.reset(2 * number + 1, ErrorCodes.PROTOCOL_ERROR, blame)
            engine.take()
            self.assertEqual(outcome(engine, ping()), _CALM if fails else "goes on")

    def test_moreStreamsThanAllowed(self) -> None:
        """A client that knows the limit and goes on to open streams above it."""
        engine = serving(EngineSettings(max_streams=5), Floods(100))
        verdicts = [outcome(engine, headers(2 * number + 1)) for number in range(106)]
        self.assertEqual(verdicts, ["goes on"] * 5 + ["stream REFUSED_STREAM"] * 100 + [_CALM])

    def test_refusalsAreNotWithoutEnd(self) -> None:
        """Also a client that has acknowledged nothing cannot have streams refused for ever."""
        engine = serving(EngineSettings(max_streams=1), Floods(100), acknowledged=False)
        for number in range(5000):
            feed(engine, headers(2 * number + 1))
        self.assertTrue(engine.has_failed)

    def test_headerBlocksWithoutEnd(self) -> None:
        """CONTINUATION (CVE-2024-27316) with much, with nothing, with one octet each."""
        for part in (bytes(16384), b"", b"\x00"):
            engine = serving(floods=Floods(100))
            verdicts = [outcome(engine, headers(1, whole=False))]
            while not engine.has_failed and len(verdicts) < 100:
                verdicts.append(outcome(engine, continuation(1, part, last=False)))
            self.assertEqual(verdicts[-1], _CALM)

    def test_hpackBomb(self) -> None:
        """A small block that is a large list (CVE-2016-6581): it is not unpacked."""
        big = block_of([(b"x", b"y" * 4000)])
        bomb = block_of(FIELDS) + big + b"\xbe" * 10_000
        engine = serving(EngineSettings(max_header_bytes=32768), Floods(100))
        self.assertEqual(outcome(engine, headers(1, bomb)), _CALM)

    def test_aBackendIsTrusted(self) -> None:
        """Who has no budgets is not counted."""
        engine = calling()
        self.assertEqual(outcome(engine, (ping() + window(0, 1) + settings()) * 2000), "goes on")


class UsefulTests(SynchronousTestCase):
    """What is of use is never taken for a flood, even where time stands still."""

    def setUp(self) -> None:
        """Begin a connection with the budgets of a default configuration."""
        self.engine = serving(floods=Floods(100))

    def serve(self, stream_id: int, content: bytes, *before: bytes) -> None:
        """Let the client send something, then answer."""
        feed(self.engine, *before)
        self.engine.send_head(stream_id, REPLY)
        self.engine.send_data(stream_id, content, True)
        self.engine.take()

    def test_requestsWithoutEnd(self) -> None:
        """10,000 requests, each answer of which gives back both windows."""
        for number in range(10_000):
            id = 2 * number + 1
            self.serve(id, b"hello", headers(id, ended=True))
            feed(self.engine, window(0, 5) + window(id, 5))
        self.assertFalse(self.engine.has_failed)

    def test_downloads(self) -> None:
        """10,000 frames of content, each answered by two WINDOW_UPDATEs."""
        feed(self.engine, headers(1, ended=True))
        self.engine.send_head(1, REPLY)
        for _ in range(10_000):
            self.engine.send_data(1, b"x" * 1000)
            feed(self.engine, window(0, 1000) + window(1, 1000))
            self.engine.take()
        self.assertFalse(self.engine.has_failed)

    def test_uploads(self) -> None:
        """10,000 frames of content, with a PING each."""
        feed(self.engine, headers(1))
        for _ in range(10_000):
            feed(self.engine, data(1, b"x") + ping())
            self.engine.consumed(1, 1)
            self.engine.take()
        self.assertFalse(self.engine.has_failed)

    def test_remoteCalls(self) -> None:
        """Messages both ways on one stream as gRPC sends them: a PING for each to measure the path, and windows."""
        feed(self.engine, headers(1))
        self.engine.send_head(1, REPLY)
        for _ in range(10_000):
            feed(self.engine, data(1, b"\x00\x00\x00\x00\x05hello"))
            self.engine.consumed(1, 10)
            self.engine.send_data(1, b"\x00\x00\x00\x00\x05hello")
            feed(self.engine, ping() + window(0, 10) + window(1, 10))
            self.engine.take()
        self.assertFalse(self.engine.has_failed)

    def test_tinyWindows(self) -> None:
        """A client whose windows let an octet through at a time."""
        self.engine = serving(floods=Floods(100), hello={WINDOW_BYTES: 1})
        for number in range(500):
            id = 2 * number + 1
            feed(self.engine, headers(id, ended=True))
            self.engine.send_head(id, REPLY)
            for part in range(20):
                self.assertEqual(self.engine.room(id), 1)
                self.engine.send_data(id, b"x", part == 19)
                feed(self.engine, window(0, 1) + window(id, 1))
            self.engine.take()
        self.assertFalse(self.engine.has_failed)

    def test_windowsInSmallPieces(self) -> None:
        """A client that reads 4 KiB at a time, and gives back both windows each time, as Go's does."""
        self.engine = serving(floods=Floods(100), hello={WINDOW_BYTES: 4 << 20})
        feed(self.engine, headers(1, ended=True))
        self.engine.send_head(1, REPLY)
        for _ in range(2000):
            self.engine.send_data(1, b"x" * 16384)
            feed(self.engine, (window(0, 4096) + window(1, 4096)) * 4)
            self.engine.take()
        self.assertFalse(self.engine.has_failed)

    def test_aBrowserThatLeaves(self) -> None:
        """A page with a hundred requests that is left at once."""
        feed(self.engine, *[priority(id) for id in (3, 5, 7, 9, 11)])
        feed(self.engine, *[headers(2 * number + 13, REQUEST, True) for number in range(100)])
        feed(self.engine, *[reset(2 * number + 13) for number in range(100)])
        self.assertEqual(said(self.engine.take()), [])
        self.assertFalse(self.engine.has_failed)
