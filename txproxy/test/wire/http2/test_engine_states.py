"""Any frame on a stream in any state costs its sender what RFC 9113 section 5.1 says."""

from __future__ import annotations

from collections.abc import Callable

import hpack
from h2.errors import ErrorCodes
from twisted.trial.unittest import SynchronousTestCase

from txproxy.test.wire.http2.engine_case import (
    ANSWERED,
    FIELDS,
    REPLY,
    REQUEST,
    TRAILERS,
    calling,
    data,
    feed,
    headers,
    outcome,
    priority,
    reset,
    said,
    serving,
    window,
)
from txproxy.wire.http2.engine import Engine
from txproxy.wire.http2.events import HeadReceived, StreamReset

_ON = "goes on"
_CLOSED = "stream STREAM_CLOSED"
_PROTOCOL = "connection PROTOCOL_ERROR"
_MALFORMED = "PROTOCOL_ERROR"
"""Of the stream or the connection, as one likes."""


def _half_closed_here(engine: Engine, id: int) -> None:
    feed(engine, headers(id))
    engine.send_head(id, REPLY)
    engine.send_data(id, b"x", True)


def _ended_by_both(engine: Engine, id: int) -> None:
    _half_closed_here(engine, id)
    feed(engine, data(id, b"x", True))


def _ended_by_both_at_once(engine: Engine, id: int) -> None:
    feed(engine, headers(id, ended=True))
    engine.send_head(id, REPLY, True)


def _reset_here(engine: Engine, id: int) -> None:
    feed(engine, headers(id))
    engine.reset(id, ErrorCodes.NO_ERROR)


_SERVER_STATES: dict[str, tuple[Callable[[Engine, int], object], tuple[str, str, str, str, str]]] = {
    # What DATA, trailers, RST_STREAM, WINDOW_UPDATE and PRIORITY lead to (RFC 9113 section 5.1).
    "idle": (lambda engine, id: None, (_PROTOCOL, _ON, _PROTOCOL, _PROTOCOL, _ON)),
    "open": (lambda engine, id: feed(engine, headers(id)), (_ON, _ON, _ON, _ON, _ON)),
    "half-closed (remote)": (
        lambda engine, id: feed(engine, headers(id, ended=True)),
        (_CLOSED, _CLOSED, _ON, _ON, _ON),
    ),
    "half-closed (local)": (_half_closed_here, (_ON, _ON, _ON, _ON, _ON)),
    "closed by both ends": (_ended_by_both, (_CLOSED, "connection STREAM_CLOSED", _ON, _ON, _ON)),
    "closed by request and reply": (_ended_by_both_at_once, (_CLOSED, "connection STREAM_CLOSED", _ON, _ON, _ON)),
    "reset by the client": (lambda engine, id: feed(engine, headers(id), reset(id)), (_CLOSED, _CLOSED, _ON, _ON, _ON)),
    "reset by us": (_reset_here, (_ON, _ON, _ON, _ON, _ON)),
    "passed over": (lambda engine, id: feed(engine, headers(id + 2)), (_CLOSED, _PROTOCOL, _ON, _ON, _ON)),
}


def _answered(engine: Engine, id: int) -> None:
    feed(engine, headers(id, REPLY, True))


_CLIENT_STATES: dict[str, tuple[bool, Callable[[Engine, int], object], tuple[str, str, str, str, str]]] = {
    # Whether the request has ended; what happens then; the same, with the head of a reply in place of trailers.
    "asked": (True, lambda engine, id: None, (_MALFORMED, _ON, _ON, _ON, _ON)),
    "asking": (False, lambda engine, id: None, (_MALFORMED, _ON, _ON, _ON, _ON)),
    "answering": (True, lambda engine, id: feed(engine, headers(id, REPLY)), (_ON, _ON, _ON, _ON, _ON)),
    "answered": (True, _answered, (_CLOSED, "connection STREAM_CLOSED", _ON, _ON, _ON)),
    "answered early": (False, _answered, (_CLOSED, _CLOSED, _ON, _ON, _ON)),
    "reset by the server": (False, lambda engine, id: feed(engine, reset(id)), (_CLOSED, _CLOSED, _ON, _ON, _ON)),
    "reset by us": (False, lambda engine, id: engine.reset(id, ErrorCodes.CANCEL), (_ON, _ON, _ON, _ON, _ON)),
}


class StreamStateTests(SynchronousTestCase):
    """Any frame on a stream in any state: what it leads to, and that the other streams do not suffer."""

    def test_streamsOfAServer(self) -> None:
        """Those of the first stream, and of later ones."""
        for state, (bring, verdicts) in _SERVER_STATES.items():
            for id in (1, 7):
                for frame, verdict in zip(self.frames(id, TRAILERS), verdicts, strict=True):
                    engine = serving()
                    if id > 1:
                        feed(engine, headers(1, ended=True), headers(3, ended=True))
                    bring(engine, id)
                    engine.take()
                    self.assertEqual(outcome(engine, frame), verdict, (state, id, frame))
                    self.others_go_on(engine, id, verdict, state)

    def others_go_on(self, engine: Engine, id: int, verdict: str, state: str) -> None:
        """Look at what else the connection is good for."""
        if verdict.startswith("connection"):
            self.assertEqual(feed(engine, headers(id + 4)), [])
            return
        if verdict != _ON:
            self.assertFalse(engine.is_open(id), state)
        self.assertEqual(feed(engine, headers(id + 4, ended=True)), [HeadReceived(id + 4, FIELDS, True)])
        engine.send_head(id + 4, REPLY, True)
        self.assertEqual(said(engine.take()), [f"Headers {id + 4} END_STREAM"])

    def test_streamsOfAClient(self) -> None:
        """The same for what a server sends."""
        for state, (is_complete, bring, verdicts) in _CLIENT_STATES.items():
            for frame, verdict in zip(self.frames(1, REPLY), verdicts, strict=True):
                engine = calling()
                id = engine.open_stream(REQUEST, is_complete)
                bring(engine, id)
                engine.take()
                got = outcome(engine, frame)
                self.assertEqual(got.split()[-1] if verdict == _MALFORMED else got, verdict, (state, frame))
                if not engine.has_failed:
                    id = engine.open_stream(REQUEST, True)
                    self.assertEqual(feed(engine, headers(id, REPLY, True)), [HeadReceived(id, ANSWERED, True)])

    def frames(self, id: int, block: bytes) -> tuple[bytes, ...]:
        """Return a frame of each type that may come on a stream."""
        return data(id, b"x"), headers(id, block, True), reset(id), window(id, 1), priority(id)

    def test_whatEndedLongAgo(self) -> None:
        """It is known that a stream has been, not how it ended, and what little may come late does no harm."""
        for end in (data(1, ended=True), reset(1)):
            for frame, verdict in (
                (window(1, 1), _ON),
                (window(1, 2**31 - 1), _ON),
                (reset(1), _ON),
                (priority(1, 3), _ON),
                (data(1, b"x"), _CLOSED),
                (headers(1, ended=True), _PROTOCOL),
            ):
                engine = serving()
                feed(engine, headers(1))
                engine.send_head(1, REPLY, True)
                feed(engine, end)
                for id in range(3, 1203, 2):
                    feed(engine, headers(id, ended=True))
                    engine.send_head(id, REPLY, True)
                engine.take()
                self.assertEqual(outcome(engine, frame), verdict, (end, frame))

    def test_wrongNumbers(self) -> None:
        """Numbers that are not for this side to give, or have been passed over (RFC 9113 section 5.1.1)."""
        for engine, frame in (
            (serving(), headers(2)),
            (serving(), data(2)),
            (serving(), reset(2)),
            (serving(), window(2, 1)),
            (calling(), headers(1, REPLY)),
            (calling(), data(1)),
            (calling(), data(2)),
            (calling(), reset(1)),
            (calling(), reset(2)),
        ):
            self.assertEqual(outcome(engine, frame), _PROTOCOL, frame)
        engine = serving()
        feed(engine, headers(1), headers(9))
        self.assertEqual(outcome(engine, headers(5)), _PROTOCOL)

    def test_noStreamOfAServer(self) -> None:
        """A server cannot open one: it may not push."""
        self.assertEqual(outcome(calling(), headers(2, REPLY)), _PROTOCOL)

    def test_theTablesOfHeadersAgree(self) -> None:
        """Blocks that are of no use change the dynamic table all the same (RFC 9113 section 4.3)."""
        for state, (bring, verdicts) in _SERVER_STATES.items():
            if verdicts[1].startswith("connection"):
                continue
            engine, encoder = serving(), hpack.Encoder()
            feed(engine, headers(1))
            bring(engine, 3)
            feed(engine, headers(3, encoder.encode([(b"x-new", state.encode())]), True))
            fields = [*FIELDS, (b"x-new", state.encode())]
            (event,) = feed(engine, headers(9, encoder.encode(fields), True))
            self.assertEqual(event, HeadReceived(9, fields, True))

    def test_anEventSaysSo(self) -> None:
        """Who owns the streams is told of what was reset, with the reason; once."""
        for frame, code in (
            (data(1), ErrorCodes.STREAM_CLOSED),
            (headers(1, TRAILERS, True), ErrorCodes.STREAM_CLOSED),
            (window(1, 2**31 - 1), ErrorCodes.FLOW_CONTROL_ERROR),
        ):
            engine = serving()
            self.assertEqual(feed(engine, headers(1, ended=True), frame, frame)[1:], [StreamReset(1, code, False)])
            self.assertEqual(said(engine.take()), [f"RstStream 1 {code.name}"])
