"""Whatever a client sends, the engine and a server of h2 judge alike; and nothing makes the engine raise.

They differ where the docstring of ``Engine``'s module, or the RFC, says so:

- Malformed messages cost the stream: fields are not looked at here on either side; HEADERS that are no end on a stream
  that is open are an error of the stream for us, and of the connection for h2 (RFC 9113 section 8.1).
- A stream above the limit is refused alone: none of the sequences opens so many.
- GOAWAY of the client ends nothing: h2 is not shown it, unless it cannot be one.
- The connection's window is given back at once: h2 is given one that is large enough.
- Floods are counted: these sequences are too short for any. So are those settings that h2 would keep.
- What comes on a stream that we have reset is thrown away (section 5.1): h2 resets it again.
- DATA on a stream that ended otherwise is refused each time, by both; of h2's resets one per stream is counted here.
- A head whose stream is to depend on itself ends the connection, also where the stream has ended.
- RST_STREAM of an idle stream ends the connection (section 5.1): h2 lets it pass.
- WINDOW_UPDATE by 0 costs the stream (section 6.9), the connection for h2; its reserved bit is ignored, h2 is shocked.
- Padding may fill the first frame of a header block (section 6.2), and is never taken from its priority.
- Of a setting that is there twice, both values are looked at (section 6.5.3).
- The first frame is SETTINGS (section 3.4): all sequences begin so. Of extensions h2 knows ALTSVC, which none has.
"""

from __future__ import annotations

from typing import NamedTuple

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txproxy.test.wire.http2.engine_case import (
    ACK,
    ANSWERED,
    FRAME_BYTES,
    MOST_STREAMS,
    PUSH,
    REPLY,
    REQUEST,
    TABLE_BYTES,
    TRAILED,
    TRAILERS,
    WINDOW_BYTES,
    calling,
    continuation,
    data,
    feed,
    frames_in,
    goaway,
    headers,
    ping,
    prioritised,
    priority,
    push,
    raw,
    reset,
    serving,
    settings,
    window,
)
from txproxy.test.wire.making import QUICK, pieces_of
from txproxy.wire.http2.engine import Engine, EngineSettings
from txproxy.wire.http2.events import ConnectionFailed
from txproxy.wire.http2.floods import Floods
from txproxy.wire.http2.frames import PREFACE

_ON, _STREAM, _CONNECTION = "goes on", "stream", "connection"


class Step(NamedTuple):
    """What happens: bytes of the client, or, if there are none, something that the server says."""

    sent: bytes
    said: str = ""
    stream_id: int = 0


_ids = st.sampled_from([1, 1, 3, 3, 5, 7, 9, 11])
_flags = st.sampled_from([0, 1, 4, 5, 8, 0x0D, 0x20, 0x25, 0x2D, 0xFF])
_bodies = st.sampled_from(
    [b"", b"\x00", b"\x02abc", REQUEST, bytes(4), b"\x00\x00\x00\x01", bytes(5), bytes(6), bytes(8), bytes(9)]
)


@st.composite
def _valid(draw: st.DrawFn) -> bytes:
    """Return one or two frames that may be right, if the stream's state is."""
    id, ended = draw(_ids), draw(st.booleans())
    pad = draw(st.sampled_from([None, None, 0, 9]))
    block = draw(st.sampled_from([REQUEST, REQUEST, TRAILERS, b"\x82\x40\x01x\x01y", b"\x20\x82", b"\xbe"]))
    return draw(
        st.sampled_from(
            [
                headers(id, block, ended, pad=pad),
                headers(id, block, True, pad=pad),
                headers(id, block[:2], ended, False, pad) + continuation(id, block[2:]),
                prioritised(id, 13, block, pad),
                data(id, b"abc", ended, pad),
                data(id, b"", ended, pad),
                data(id, bytes(16384)) * 3,
                reset(id),
                window(id, 1),
                window(id, 2**31 - 1),
                window(0, 5),
                settings({WINDOW_BYTES: 100}),
                settings({WINDOW_BYTES: 2**31 - 1}),
                settings({TABLE_BYTES: 0, PUSH: 0, MOST_STREAMS: 1, FRAME_BYTES: 20_000, 99: 1}),
                ACK,
                ping(),
                ping(answer=True),
                priority(id, 13),
                raw(0xEE, 0xFF, id, b"what"),
                goaway(id),
            ]
        )
    )


@st.composite
def _nearly_valid(draw: st.DrawFn) -> bytes:
    """Return a frame that is mostly wrong."""
    id = draw(_ids)
    anything = st.builds(raw, st.sampled_from([*range(10), 11]), _flags, st.sampled_from([0, 1, 2, 3, 5]), _bodies)
    return draw(
        anything
        | st.sampled_from(
            [
                headers(id, whole=False),
                headers(2),
                headers(0x7FFFFFFF, ended=True),
                continuation(id),
                data(2, b"x"),
                prioritised(id, id),
                priority(id, id),
                push(id),
                window(0, 2**31 - 1),
                window(2, 1),
                settings({PUSH: 2}),
                settings({WINDOW_BYTES: 2**31}),
                settings({FRAME_BYTES: 1}),
                raw(0, 0, id, bytes(16385)),
                headers(id, b"\x80"),
                headers(id, b"\x3f\xe2\x1f"),
            ]
        )
    )


_of_client = st.builds(Step, _valid() | _valid() | _valid() | _nearly_valid())
_of_server = st.builds(Step, st.just(b""), st.sampled_from(["head", "end", "reset", "trailers"]), _ids)
_steps = st.lists(_of_client | _of_client | _of_server, max_size=20)


class Judge:
    """A server of h2, with the same limits."""

    def __init__(self) -> None:
        self._h2 = H2Connection(
            H2Configuration(client_side=False, header_encoding=None, validate_inbound_headers=False)
        )
        self._h2.local_settings = type(self._h2.local_settings)(
            client=False,
            initial_values={SettingCodes.MAX_CONCURRENT_STREAMS: 100, SettingCodes.INITIAL_WINDOW_SIZE: 65536},
        )
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(2**30)
        self.reset_here: set[int] = set()
        self.judge(PREFACE + settings() + ACK)

    def judge(self, sent: bytes) -> str:
        """Return what comes of these bytes."""
        try:
            self._h2.receive_data(sent)
        except ProtocolError:
            return _CONNECTION
        frames = frames_in(self._h2.data_to_send())
        resets = {frame.stream_id for frame in frames if type(frame).__name__ == "RstStreamFrame"}
        fresh = resets - self.reset_here
        self.reset_here |= resets
        return _STREAM if fresh else _ON

    def say(self, step: Step) -> None:
        """Send something."""
        if step.said == "head":
            self._h2.send_headers(step.stream_id, ANSWERED)
        elif step.said == "end":
            self._h2.send_data(step.stream_id, b"", end_stream=True)
        elif step.said == "trailers":
            self._h2.send_headers(step.stream_id, TRAILED, end_stream=True)
        else:
            self.reset_here.add(step.stream_id)
            self._h2.reset_stream(step.stream_id)
        self._h2.data_to_send()


def say(engine: Engine, step: Step, begun: set[int]) -> bool:
    """Have an engine send something, if there is a stream for it; return whether there is.

    :param begun: streams whose reply has begun.
    """
    id = step.stream_id
    if not engine.is_open(id) or engine.room(id) == 0 and step.said != "reset":
        return False
    if (step.said == "head") == (id in begun) and step.said != "reset":
        return False
    if step.said == "head":
        engine.send_head(id, REPLY)
        begun.add(id)
    elif step.said == "end":
        engine.send_data(id, b"", True)
    elif step.said == "trailers":
        engine.send_trailers(id, TRAILERS)
    else:
        engine.reset(id, ErrorCodes.NO_ERROR)
    return True


def judged(engine: Engine, sent: bytes) -> str:
    """Return what comes of these bytes for us."""
    events = feed(engine, sent)
    frames = frames_in(engine.take())
    if engine.has_failed:
        assert isinstance(events[-1], ConnectionFailed), events
        return _CONNECTION
    return _STREAM if any(type(frame).__name__ == "RstStreamFrame" for frame in frames) else _ON


def excused(engine: Engine, sent: bytes) -> set[str]:
    """Return the judgements of ours that the RFC allows, or asks for, although h2 has another; none if it is to agree."""
    kind, flags, id = sent[3], sent[4], int.from_bytes(sent[5:9], "big")
    if kind == 1 and flags & 0x20 and sent[9:13] == sent[5:9]:
        return {_CONNECTION}
    if kind == 1 and not flags & 1 and engine.is_open(id):
        return {_STREAM}
    if kind == 3 and len(sent) == 13 and id and id > engine.last_peer_stream_id:
        return {_CONNECTION}
    if kind == 8 and sent[9:] == bytes(4) and engine.is_open(id):
        return {_STREAM}
    if kind == 0 and 0 < id <= engine.last_peer_stream_id and not engine.is_open(id):
        return {_STREAM}
    if kind == 1 and flags & 8:
        return {_ON, _STREAM, _CONNECTION}
    return set()


class OracleTests(SynchronousTestCase):
    """Sequences of frames, most of them right."""

    @given(_steps)
    @hypothesis_settings(QUICK, max_examples=250)
    @example([Step(headers(1)), Step(b"", "reset", 1), Step(data(1, b"x")), Step(headers(1, TRAILERS, True))])
    @example(
        [Step(headers(1, ended=True)), Step(b"", "head", 1), Step(b"", "end", 1), Step(headers(1, TRAILERS, True))]
    )
    @example([Step(headers(1)), Step(headers(5)), Step(headers(3))])
    @example([Step(headers(3)), Step(data(1, b"x")), Step(data(1, b"x"))])
    @example([Step(settings({WINDOW_BYTES: 2**31 - 1})), Step(headers(1)), Step(window(1, 1)), Step(data(1))])
    def test_theyJudgeAlike(self, steps: list[Step]) -> None:
        """After each step the connection goes on, has lost a stream, or is over, for both."""
        engine, judge = serving(EngineSettings(connection_window_bytes=2**30)), Judge()
        begun: set[int] = set()
        for step in steps:
            if not step.sent:
                if say(engine, step, begun):
                    judge.say(step)
                engine.take()
                continue
            if step.sent[3] == 7 and step.sent[5:9] == bytes(4) and len(step.sent) >= 17:
                self.assertEqual(judged(engine, step.sent), _ON)
                continue
            others = excused(engine, step.sent)
            ours, theirs = judged(engine, step.sent), judge.judge(step.sent)
            if engine.is_in_block:  # We judge at the end of a block, and nothing else may come before that.
                self.assertEqual(judged(engine, ping()), _CONNECTION)
                return
            if ours != theirs:
                self.assertIn(ours, others, (step, theirs))
                return
            if ours == _CONNECTION:
                self.assertEqual(feed(engine, ping()), [])
                return

    @given(
        st.data(), st.lists(_valid() | _valid() | _nearly_valid() | st.binary(max_size=30), max_size=12), st.booleans()
    )
    @QUICK
    def test_nothingIsRaised(self, draw: st.DataObject, parts: list[bytes], is_client: bool) -> None:
        """Whatever comes, cut anywhere: a judgement comes of it, the same as in one piece."""
        sent = b"".join(parts)
        verdicts = []
        for pieces in ([sent], draw.draw(pieces_of(sent))):
            engine = calling() if is_client else serving(floods=Floods(100))
            if is_client:
                engine.open_stream(REQUEST, True)
                engine.open_stream(REQUEST, False)
            events = feed(engine, *pieces)
            verdicts.append((events, engine.has_failed, engine.take()))
        self.assertEqual(*verdicts)
        failures = [event for event in verdicts[0][0] if isinstance(event, ConnectionFailed)]
        self.assertEqual(len(failures), verdicts[0][1])

    @given(st.binary(max_size=200), st.binary(max_size=200))
    @QUICK
    def test_noise(self, first: bytes, second: bytes) -> None:
        """Octets that mean nothing, after a preface, and after the settings."""
        for before in (PREFACE, PREFACE + settings() + headers(1), b""):
            engine = Engine(False, EngineSettings(), Floods(10))
            engine.start()
            feed(engine, before, first, second)
            engine.take()
