"""What tests of the engine have in common: frames as a peer may send them, words for what was sent, connected peers."""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterable
from typing import Any

import hpack
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    PushPromiseFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from txproxy.wire.fields import Field
from txproxy.wire.http2.engine import Engine, EngineSettings
from txproxy.wire.http2.events import ConnectionFailed, Event
from txproxy.wire.http2.floods import Floods
from txproxy.wire.http2.frames import PREFACE

TABLE_BYTES, PUSH, MOST_STREAMS, WINDOW_BYTES, FRAME_BYTES, HEADER_BYTES = range(1, 7)
"""Settings (RFC 9113 section 6.5.2)."""

FIELDS: list[Field] = [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"a"), (b":path", b"/")]
ANSWERED: list[Field] = [(b":status", b"200"), (b"server", b"x")]
TRAILED: list[Field] = [(b"x-sum", b"1")]


def block_of(fields: Iterable[Field]) -> bytes:
    """Return a header block that any decoder can read: it relies on no earlier one."""
    return hpack.Encoder().encode(list(fields))


REQUEST, REPLY, TRAILERS = block_of(FIELDS), block_of(ANSWERED), block_of(TRAILED)
INTERIM = block_of([(b":status", b"103"), (b"link", b"</a>")])

# Frames of a peer.


def headers(
    stream_id: int, block: bytes = REQUEST, ended: bool = False, whole: bool = True, pad: int | None = None
) -> bytes:
    frame = HeadersFrame(stream_id, block)
    frame.flags |= {name for name, is_set in (("END_STREAM", ended), ("END_HEADERS", whole)) if is_set}
    return _padded(frame, pad)


def prioritised(stream_id: int, depends_on: int = 0, block: bytes = REQUEST, pad: int | None = None) -> bytes:
    frame = HeadersFrame(stream_id, block, depends_on=depends_on, stream_weight=7)
    frame.flags |= {"END_HEADERS", "END_STREAM", "PRIORITY"}
    return _padded(frame, pad)


def continuation(stream_id: int, block: bytes = b"", last: bool = True) -> bytes:
    return ContinuationFrame(stream_id, block, flags=["END_HEADERS"] if last else []).serialize()


def data(stream_id: int, content: bytes = b"", ended: bool = False, pad: int | None = None) -> bytes:
    return _padded(DataFrame(stream_id, content, flags=["END_STREAM"] if ended else []), pad)


def _padded(frame: Any, pad: int | None) -> bytes:
    if pad is not None:
        frame.flags.add("PADDED")
        frame.pad_length = pad
    return frame.serialize()


def reset(stream_id: int, code: int = ErrorCodes.CANCEL) -> bytes:
    return RstStreamFrame(stream_id, code).serialize()


def settings(values: dict[int, int] | None = None) -> bytes:
    return SettingsFrame(0, values).serialize()


def window(stream_id: int, increment: int) -> bytes:
    return WindowUpdateFrame(stream_id, increment).serialize()


def ping(words: bytes = b"12345678", answer: bool = False) -> bytes:
    return PingFrame(0, words, flags=["ACK"] if answer else []).serialize()


def goaway(last_id: int, code: int = 0, words: bytes = b"") -> bytes:
    return GoAwayFrame(0, last_id, code, words).serialize()


def priority(stream_id: int, depends_on: int = 0) -> bytes:
    return PriorityFrame(stream_id, depends_on).serialize()


def push(stream_id: int, promised: int = 2) -> bytes:
    return PushPromiseFrame(stream_id, promised, REQUEST, flags=["END_HEADERS"]).serialize()


def raw(kind: int, flags: int = 0, stream_id: int = 0, body: bytes = b"") -> bytes:
    """Return a frame of any type with anything in it."""
    return struct.pack(">I", len(body))[1:] + bytes((kind, flags)) + struct.pack(">I", stream_id) + body


ACK = SettingsFrame(0, flags=["ACK"]).serialize()

# What was sent, in words.


def frames_in(sent: bytes) -> list[Any]:
    """Return the frames that a peer gets."""
    view = memoryview(sent.removeprefix(PREFACE))
    frames = []
    while view:
        frame, length = Frame.parse_frame_header(view[:9], strict=True)
        frame.parse_body(view[9 : 9 + length])
        frame.body_len = length
        frames.append(frame)
        view = view[9 + length :]
    return frames


def said(sent: bytes) -> list[str]:
    """Return each frame that a peer gets, in words."""
    return [_in_words(frame) for frame in frames_in(sent)]


def _in_words(frame: Any) -> str:
    kind = type(frame).__name__.removesuffix("Frame")
    more = {
        "RstStream": lambda: ErrorCodes(frame.error_code).name,
        "GoAway": lambda: f"{frame.last_stream_id} {ErrorCodes(frame.error_code).name}",
        "WindowUpdate": lambda: f"+{frame.window_increment}",
        "Data": lambda: f"{frame.body_len}",
        "Ping": lambda: frame.opaque_data.decode(),
        "Settings": lambda: ",".join(f"{key}={value}" for key, value in sorted(frame.settings.items())),
    }.get(kind, str)()
    flags = "+".join(sorted(flag for flag in frame.flags if flag != "END_HEADERS"))
    return " ".join(word for word in (kind, str(frame.stream_id), more, flags) if word)


# Engines, and who they speak with.

_USUAL = EngineSettings()


def feed(engine: Engine, *parts: bytes, now: float = 0.0) -> list[Event]:
    """Return what comes of these bytes.

    :param parts: what is received, one after the other.
    :param now: the moment, in seconds.
    """
    return [event for part in parts for event in engine.receive(part, now)]


def serving(
    announced: EngineSettings = _USUAL,
    floods: Floods | None = None,
    hello: dict[int, int] | None = None,
    acknowledged: bool = True,
) -> Engine:
    """Return the engine of a server whose client has said what comes first; what was sent until then is gone.

    :param hello: settings of the client.
    :param acknowledged: the client knows the server's settings.
    """
    engine = Engine(False, announced, floods)
    engine.start()
    feed(engine, PREFACE + settings(hello) + (ACK if acknowledged else b""))
    engine.take()
    return engine


def calling(announced: EngineSettings = _USUAL, hello: dict[int, int] | None = None) -> Engine:
    """Return the engine of a client whose server has said what comes first; what was sent until then is gone.

    :param hello: settings of the server.
    """
    engine = Engine(True, announced)
    engine.start()
    feed(engine, settings(hello) + ACK)
    engine.take()
    return engine


def outcome(engine: Engine, *parts: bytes, now: float = 0.0) -> str:
    """Return what a peer sees of an engine's judgement on what it has sent.

    :return: "goes on"; or "stream", or "connection", and the name of the error.
    """
    events = feed(engine, *parts, now=now)
    sent = frames_in(engine.take())
    if engine.has_failed:
        last, goodbye = events[-1], sent[-1]
        assert isinstance(last, ConnectionFailed) and isinstance(goodbye, GoAwayFrame), (last, goodbye)
        assert last.code == goodbye.error_code, (last, goodbye)
        return f"connection {last.code.name}"
    codes = [ErrorCodes(frame.error_code).name for frame in sent if isinstance(frame, RstStreamFrame)]
    return " ".join(["stream", *codes]) if codes else "goes on"


def stock(is_client: bool) -> H2Connection:
    """Return one side of a connection as h2 has it, begun."""
    connection = H2Connection(H2Configuration(client_side=is_client, header_encoding=None))
    connection.initiate_connection()
    return connection


class Talk:
    """Two sides, connected: an ``Engine``, and another one or one of h2."""

    def __init__(self, left: Engine, right: Engine | H2Connection) -> None:
        self._sides = (left, right)

    def go_on(self, now: float = 0.0) -> tuple[list[Any], list[Any]]:
        """Deliver until nobody says more; return what came to each side."""
        left, right = self._sides
        events: tuple[list[Any], list[Any]] = ([], [])
        while True:
            to_right, to_left = _sent(left), _sent(right)
            if not to_right and not to_left:
                return events
            events[0].extend(_receive(left, to_left, now))
            events[1].extend(_receive(right, to_right, now))


def _sent(side: Engine | H2Connection) -> bytes:
    return side.take() if isinstance(side, Engine) else side.data_to_send()


def _receive(side: Engine | H2Connection, received: bytes, now: float) -> Iterable[Any]:
    if not received:
        return ()
    return side.receive(received, now) if isinstance(side, Engine) else side.receive_data(received)


def pair(settings: EngineSettings = _USUAL) -> tuple[Engine, Engine, Talk]:
    """Return a client and a server that know each other's settings, and what connects them."""
    client, server = Engine(True, settings), Engine(False, settings)
    client.start()
    server.start()
    talk = Talk(client, server)
    talk.go_on()
    return client, server, talk


_OURS = ("txproxy.wire.http2", "h2.", "hpack.", "hyperframe.")


def held(thing: Any, seen: set[int] | None = None) -> int:
    """Return how many entries all containers have that an object holds, and that its parts hold: what may grow."""
    seen = set() if seen is None else seen
    if id(thing) in seen or isinstance(thing, type):
        return 0
    seen.add(id(thing))
    if isinstance(thing, bytes | bytearray | str):
        return len(thing) if isinstance(thing, bytearray) else 0
    if isinstance(thing, dict):
        return len(thing) + sum(held(value, seen) for value in thing.values())
    if isinstance(thing, list | tuple | set | frozenset | deque):
        return len(thing) + sum(held(value, seen) for value in thing)
    if not type(thing).__module__.startswith(_OURS):
        return 0
    slots = [name for base in type(thing).__mro__ for name in getattr(base, "__slots__", ())]
    parts = [getattr(thing, name) for name in slots if hasattr(thing, name)]
    return sum(held(part, seen) for part in (*parts, *getattr(thing, "__dict__", {}).values()))
