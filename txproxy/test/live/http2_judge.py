"""A strict judge of what an HTTP/2 server sends: its own reading of RFC 9113, sharing no code with the proxy."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import hpack

from .http2_bytes import (
    ACK,
    END_HEADERS,
    END_STREAM,
    FRAME_LIMIT,
    PADDED,
    PRIORITIZED,
    WINDOW_BYTES,
    WINDOW_LIMIT,
    Frame,
    Kind,
    Setting,
)

Fields = list[tuple[bytes, bytes]]

_FLAGS: dict[int, int] = {
    Kind.DATA: END_STREAM | PADDED,
    Kind.HEADERS: END_STREAM | END_HEADERS | PADDED | PRIORITIZED,
    Kind.SETTINGS: ACK,
    Kind.PING: ACK,
    Kind.CONTINUATION: END_HEADERS,
}
"""Flags that a type of frame defines; the others must be unset."""
_LENGTHS: dict[int, int] = {Kind.RST_STREAM: 4, Kind.PING: 8, Kind.WINDOW_UPDATE: 4, Kind.PRIORITY: 5}
_OF_CONNECTION = (Kind.SETTINGS, Kind.PING, Kind.GOAWAY)
_OF_STREAM = (Kind.DATA, Kind.HEADERS, Kind.PRIORITY, Kind.RST_STREAM, Kind.CONTINUATION)
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
_VALUE = re.compile(rb"(?:[\x21-\x7e\x80-\xff](?:[\t \x21-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?")
_OF_HTTP1 = frozenset(b"connection proxy-connection keep-alive transfer-encoding upgrade te".split())


@dataclass(slots=True)
class Http2Reply:
    """What came on one stream."""

    fields: Fields = field(default_factory=list)
    """Of the final head, ``:status`` among them."""
    body: bytearray = field(default_factory=bytearray, repr=False)
    trailers: Fields = field(default_factory=list)
    interim: list[Fields] = field(default_factory=list)
    """Heads with a status 1xx."""
    is_ended: bool = False
    """By END_STREAM."""
    reset_by: int = -1
    """Code of the RST_STREAM that ended it; -1: none did."""
    window: int = WINDOW_BYTES
    """Content that the server may still send."""
    our_window: int = 0
    """Content that we may still send, once the server's settings are known: see ``Http2Judge.our_room``."""

    @property
    def status(self) -> int:
        """Of the final head; 0 before it came."""
        return int(dict(self.fields).get(b":status", 0))

    @property
    def is_over(self) -> bool:
        """Nothing more may come."""
        return self.is_ended or self.reset_by >= 0

    def values(self, name: bytes) -> list[bytes]:
        """Return all values of a field in order."""
        return [value for spelled, value in self.fields if spelled == name]

    def value(self, name: bytes) -> bytes | None:
        """Return the only value of a field, None if it is absent."""
        values = self.values(name)
        assert len(values) <= 1, f"{name!r} stands there {len(values)} times: {values!r}"
        return values[0] if values else None


class Http2Judge:
    """Reads both directions of one connection; whatever the server may not send is a violation."""

    def __init__(self) -> None:
        self.violations: list[str] = []
        self.repeated_resets: list[str] = []
        """RST_STREAM on streams that the server had reset before: what it should not do (section 5.4.2)."""
        self.settings: dict[int, int] = {}
        """What the server has set."""
        self.blocks: list[bytes] = []
        """Header blocks as they came."""
        self.decoder = hpack.Decoder(max_header_list_size=1 << 20)
        self.streams: dict[int, Http2Reply] = {}
        """By the streams that we have opened, in whatever state."""
        self.our_window = WINDOW_BYTES
        """Content that we may still send on the connection."""
        self.window = WINDOW_BYTES
        """Content that the server may still send on the connection."""
        self._unacknowledged: list[Frame] = []
        self._initial_window = WINDOW_BYTES
        self._frame_limit = FRAME_LIMIT
        self._frames = 0
        self._fragments: list[Frame] = []
        self._last_stream = WINDOW_LIMIT

    # What we send

    def sent(self, frame: Frame) -> None:
        """Take note of a frame of ours."""
        if frame.kind == Kind.HEADERS and frame.stream not in self.streams:
            self.streams[frame.stream] = Http2Reply(window=self._initial_window)
        elif frame.kind == Kind.SETTINGS and not frame.has(ACK):
            self._unacknowledged.append(frame)
        elif frame.kind == Kind.WINDOW_UPDATE and len(frame.payload) == 4:
            self._credit(frame.stream, int.from_bytes(frame.payload, "big") & WINDOW_LIMIT)
        elif frame.kind == Kind.DATA:
            self.our_window -= len(frame.payload)
            self.streams.setdefault(frame.stream, Http2Reply()).our_window -= len(frame.payload)

    def our_room(self, stream: int) -> int:
        """Return how much content we may send on a stream now."""
        initial = self.settings.get(Setting.INITIAL_WINDOW_SIZE, WINDOW_BYTES)
        return min(self.our_window, initial + self.streams[stream].our_window)

    def _credit(self, stream: int, increment: int) -> None:
        if stream == 0:
            self.window += increment
        elif stream in self.streams:
            self.streams[stream].window += increment

    # What the server sends

    def _blame(self, what: str, frame: Frame) -> None:
        self.violations.append(f"{what}: {frame}")

    def received(self, frame: Frame) -> None:
        """Judge a frame of the server."""
        self._frames += 1
        self._judge_form(frame)
        if self._fragments and not frame.is_a(Kind.CONTINUATION, self._fragments[0].stream):
            self._blame("a frame within a header block", frame)
        if frame.kind == Kind.SETTINGS:
            self._judge_settings(frame)
        elif frame.kind == Kind.WINDOW_UPDATE:
            increment = int.from_bytes(frame.payload, "big")
            if frame.stream == 0:
                self.our_window += increment
            elif frame.stream in self.streams:
                self.streams[frame.stream].our_window += increment
        elif frame.kind == Kind.GOAWAY:
            if frame.last_stream > self._last_stream:
                self._blame("a second GOAWAY names a higher stream", frame)
            self._last_stream = frame.last_stream
        elif frame.kind in (Kind.DATA, Kind.HEADERS, Kind.CONTINUATION, Kind.RST_STREAM):
            self._judge_stream(frame)

    def _judge_form(self, frame: Frame) -> None:
        if self._frames == 1 and (frame.kind != Kind.SETTINGS or frame.has(ACK)):
            self._blame("the first frame is no SETTINGS", frame)
        if frame.reserved:
            self._blame("the reserved bit is set", frame)
        if len(frame.payload) > self._frame_limit:
            self._blame("a frame over our SETTINGS_MAX_FRAME_SIZE", frame)
        kind = frame.kind
        if kind <= Kind.CONTINUATION and frame.flags & ~_FLAGS.get(kind, 0):
            self._blame("undefined flags", frame)
        if len(frame.payload) != _LENGTHS.get(kind, len(frame.payload)):
            self._blame("a wrong length", frame)
        if (kind in _OF_CONNECTION and frame.stream) or (kind in _OF_STREAM and not frame.stream):
            self._blame("on the wrong stream", frame)
        if kind == Kind.PUSH_PROMISE:
            self._blame("a push", frame)
        if kind == Kind.WINDOW_UPDATE and not int.from_bytes(frame.payload, "big"):
            self._blame("an increment of 0", frame)

    def _judge_settings(self, frame: Frame) -> None:
        if not frame.has(ACK):
            self.settings.update(frame.pairs)
            return
        if frame.payload or not self._unacknowledged:
            self._blame("an acknowledgement of nothing", frame)
            return
        for setting, value in self._unacknowledged.pop(0).pairs:
            if setting == Setting.INITIAL_WINDOW_SIZE:
                for reply in self.streams.values():
                    reply.window += value - self._initial_window
                self._initial_window = value
            elif setting == Setting.MAX_FRAME_SIZE:
                self._frame_limit = value
            elif setting == Setting.HEADER_TABLE_SIZE:
                # The decoder then wants the change in the next block (RFC 9113 section 4.3.1).
                self.decoder.max_allowed_table_size = value

    def _judge_stream(self, frame: Frame) -> None:
        reply = self.streams.get(frame.stream)
        if reply is None or frame.stream % 2 == 0:
            self._blame("on a stream that we have not opened", frame)
            reply = self.streams.setdefault(frame.stream, Http2Reply())
        if frame.kind == Kind.RST_STREAM:
            if reply.reset_by >= 0:
                self.repeated_resets.append(str(frame))
            reply.reset_by = frame.code
            return
        if reply.is_over and not self._fragments:
            self._blame("on a stream that is over", frame)
        if frame.kind == Kind.DATA:
            self._judge_data(reply, frame)
        else:
            self._judge_fragment(reply, frame)

    def _judge_data(self, reply: Http2Reply, frame: Frame) -> None:
        length = len(frame.payload)
        if length and length > min(self.window, reply.window):
            self._blame(f"over the windows ({self.window} of the connection, {reply.window} of the stream)", frame)
        self.window -= length
        reply.window -= length
        if not reply.fields or reply.trailers:
            self._blame("DATA before the head or after trailers", frame)
        reply.body += frame.content
        self._end(reply, frame)

    def _judge_fragment(self, reply: Http2Reply, frame: Frame) -> None:
        if frame.kind == Kind.CONTINUATION and not self._fragments:
            self._blame("CONTINUATION of nothing", frame)
        self._fragments.append(frame)
        if not frame.has(END_HEADERS):
            return
        first, block = self._fragments[0], b"".join(each.content for each in self._fragments)
        self._fragments = []
        self.blocks.append(block)
        try:
            decoded = self.decoder.decode(block, raw=True)
        except hpack.HPACKError as error:
            self._blame(f"a block that cannot be decoded ({error})", frame)
            return
        fields = [(bytes(name), bytes(value)) for name, value in decoded]
        self._judge_fields(fields, bool(reply.fields), frame)
        if reply.fields:
            if not first.has(END_STREAM):
                self._blame("trailers without END_STREAM", first)
            reply.trailers = fields
        elif dict(fields).get(b":status", b"").startswith(b"1"):
            if first.has(END_STREAM) or dict(fields)[b":status"] == b"101":
                self._blame("an interim reply that ends the stream, or 101", first)
            reply.interim.append(fields)
        else:
            reply.fields = fields
        self._end(reply, first)

    def _judge_fields(self, fields: Fields, in_trailers: bool, frame: Frame) -> None:
        pseudo = [name for name, _ in fields if name.startswith(b":")]
        if pseudo != ([] if in_trailers else [b":status"]) or (pseudo and fields[0][0] != b":status"):
            self._blame(f"pseudo-fields {pseudo}", frame)
        for name, value in fields:
            if (not name.startswith(b":") and not _NAME.fullmatch(name)) or not _VALUE.fullmatch(value):
                self._blame(f"a malformed field {name!r}: {value!r}", frame)
            if name in _OF_HTTP1:
                self._blame(f"a field of HTTP/1 connections, {name!r}: {value!r}", frame)

    def _end(self, reply: Http2Reply, frame: Frame) -> None:
        if not frame.has(END_STREAM):
            return
        reply.is_ended = True
        length = reply.value(b"content-length")
        # A reply to HEAD, or a 304, declares what it does not send.
        if length is not None and reply.body and int(length) != len(reply.body):
            self._blame(f"content-length {length!r}, but {len(reply.body)} bytes", frame)
