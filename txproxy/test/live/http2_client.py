"""A client of HTTP/2 on a blocking socket that judges what it gets: its own reading of RFC 9113, sharing no code with the proxy.

Frames and header compression are those of hyperframe and hpack; states, windows and fields are checked here, and whatever
a strict client would not take is an ``AssertionError``. Every window is under the test's control.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import time
from collections.abc import Callable, Iterable
from typing import Any

import hpack
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from .client import DEADLINE_S
from .http2_stream import Fields, Stream, judge_fields

__all__ = ["Http2Client", "Stream"]

NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, REFUSED_STREAM, CANCEL, ENHANCE_YOUR_CALM = 0, 1, 2, 7, 8, 11
GREATEST_ID = (1 << 31) - 1
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_FRAME_BYTES = 16_384
_CONNECTION_WINDOW = (1 << 30) - 1


class Http2Client:
    """One connection, to be used as a context manager; a thread of its own may use it.

    :param tls: settings of TLS with ALPN ``h2``, see ``trusting``; None: prior knowledge, no TLS.
    :param name: for SNI, and the authority of requests.
    :param window: bytes that each stream may be sent at first.
    :param connection_window: bytes that all streams together may be sent; what comes is always granted anew.
    :param receive_buffer: size of the socket's receive buffer in bytes; 0: the system's.
    """

    def __init__(
        self,
        port: int,
        *,
        tls: ssl.SSLContext | None = None,
        name: str = "a.example",
        window: int = 65_535,
        connection_window: int = _CONNECTION_WINDOW,
        receive_buffer: int = 0,
    ) -> None:
        plain = socket.socket()
        if receive_buffer:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        plain.settimeout(DEADLINE_S)
        plain.connect(("127.0.0.1", port))
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = plain if tls is None else tls.wrap_socket(plain, server_hostname=name)
        if isinstance(self.socket, ssl.SSLSocket):
            assert self.socket.selected_alpn_protocol() == "h2", self.socket.selected_alpn_protocol()
        self.name = name
        self.streams: dict[int, Stream] = {}
        self.goaways: list[tuple[int, int]] = []
        """Last stream and code of each GOAWAY that came."""
        self.closed = False
        """The peer ended the connection."""
        self.settings: dict[int, int] = {}
        """Those of the peer."""
        self.room = 65_535
        """Bytes that we may still send over all streams."""
        self._window = window
        self._granted = self._connection_window = max(65_535, connection_window)
        self._fresh: set[int] = set()
        self._next_id = 1
        self._pings = 0
        self._answers: list[bytes] = []
        self._buffer = b""
        self._encoder, self._decoder = hpack.Encoder(), hpack.Decoder()
        self._block: tuple[HeadersFrame, bytes] | None = None
        self._has_settings = False
        greeting = SettingsFrame(settings={SettingsFrame.ENABLE_PUSH: 0, SettingsFrame.INITIAL_WINDOW_SIZE: window})
        more = self._granted - 65_535
        self.send(_PREFACE, greeting, *([WindowUpdateFrame(0, more)] if more else []))

    def __enter__(self) -> Http2Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self.socket.close()

    def abort(self) -> None:
        """Close the connection by a reset."""
        with contextlib.suppress(OSError):
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    # What we say

    def send(self, *parts: bytes | Frame) -> None:
        """Send bytes and frames; a peer that has left is no error, reading tells."""
        data = b"".join(part if isinstance(part, bytes) else part.serialize() for part in parts)
        self.socket.settimeout(DEADLINE_S)
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionError, ssl.SSLError):
            return

    def open(
        self,
        target: str = "/",
        method: str = "GET",
        *,
        fields: Iterable[tuple[bytes, bytes]] = (),
        authority: str | None = None,
        body: bytes | None = None,
        ended: bool = True,
        is_read: bool = True,
    ) -> Stream:
        """Begin a request.

        :param authority: with a port if it has one; None: our ``name``.
        :param body: all of it; None: none follows if ``ended``, else it is sent by ``send_body``.
        :param is_read: grant anew what comes; else only ``grant`` and ``read`` do.
        """
        stream = Stream(self._next_id, method, target, self._window, self._initial_room, is_read)
        self._next_id += 2
        self.streams[stream.id] = stream
        head = [
            (b":method", method.encode()),
            (b":scheme", b"https" if isinstance(self.socket, ssl.SSLSocket) else b"http"),
            (b":authority", (self.name if authority is None else authority).encode()),
            (b":path", target.encode("latin-1")),
            *fields,
        ]
        block = self._encoder.encode(head)
        flags = ["END_HEADERS"] + (["END_STREAM"] if ended and body is None else [])
        pieces = [block[start : start + _FRAME_BYTES] for start in range(0, len(block), _FRAME_BYTES)]
        first = HeadersFrame(stream.id, pieces[0], flags=flags[:1] * (len(pieces) == 1) + flags[1:])
        rest = [ContinuationFrame(stream.id, piece) for piece in pieces[1:]]
        if rest:
            rest[-1].flags.add("END_HEADERS")
        self.send(first, *rest)
        if body is not None:
            self.send_body(stream, body, ended=ended)
        return stream

    @property
    def _initial_room(self) -> int:
        return self.settings.get(SettingsFrame.INITIAL_WINDOW_SIZE, 65_535)

    def send_some(self, stream: Stream, data: bytes, ended: bool = False) -> int:
        """Send as much of a body as the windows allow now; return how much.

        :param ended: the stream ends with the last byte of ``data``.
        """
        sent = 0
        while True:
            count = min(len(data) - sent, self.room, stream.room, _FRAME_BYTES)
            is_last = sent + count == len(data)
            if count <= 0 and not (is_last and ended):
                return sent
            frame = DataFrame(stream.id, data[sent : sent + count], flags=["END_STREAM"] if is_last and ended else [])
            self.room -= count
            stream.room -= count
            sent += count
            self.send(frame)
            if is_last:
                return sent

    def send_body(self, stream: Stream, data: bytes, ended: bool = True) -> int:
        """Send all of a body as windows open; return how much was sent before the peer ended or reset the stream."""
        sent = 0
        while True:
            sent += self.send_some(stream, data[sent:], ended)
            if sent == len(data):
                return sent
            if not self.pump(lambda: stream.is_over or self.closed or (self.room > 0 and stream.room > 0)):
                raise AssertionError(f"no window for {len(data) - sent} of {len(data)} bytes of {stream}")
            if stream.is_over or self.closed:
                return sent

    def send_trailers(self, stream: Stream, fields: Fields) -> None:
        """End a request with trailers."""
        block = self._encoder.encode(fields)
        self.send(HeadersFrame(stream.id, block, flags=["END_HEADERS", "END_STREAM"]))

    def cancel(self, stream: Stream, code: int = CANCEL) -> None:
        """Reset a stream."""
        stream.cancelled = True
        self.send(RstStreamFrame(stream.id, code))

    def grant(self, stream: Stream, count: int) -> None:
        """Let the peer send so many bytes more on a stream."""
        stream.granted += count
        self.send(WindowUpdateFrame(stream.id, count))

    def read(self, stream: Stream) -> None:
        """From now on take a stream's body as fast as it comes."""
        stream.is_read = True
        missing = self._window - stream.granted
        if missing > 0 and not stream.is_over:
            self.grant(stream, missing)

    def leave(self) -> None:
        """Send a GOAWAY, as clients do that want no more."""
        self.send(GoAwayFrame(0, last_stream_id=0))

    # What the peer says

    def pump(self, condition: Callable[[], object], timeout_s: float = DEADLINE_S) -> bool:
        """Take in what comes until a condition holds or the peer ends the connection.

        :return: whether the condition holds; False also after ``timeout_s`` seconds.
        """
        deadline = time.monotonic() + timeout_s
        while not condition():
            left = deadline - time.monotonic()
            if self.closed or left <= 0:
                return False
            self._take(left)
        return True

    def finish(self, *streams: Stream, timeout_s: float = DEADLINE_S) -> None:
        """Take in what comes until these streams are over.

        :raises AssertionError: if they do not end in time, or the connection ends before.
        """
        done = self.pump(lambda: all(stream.is_over for stream in streams), timeout_s)
        waiting = [stream for stream in streams if not stream.is_over]
        assert done, f"not over: {waiting[:3]} ({len(waiting)}); closed={self.closed}, goaways={self.goaways}"

    def request(self, target: str = "/", method: str = "GET", **more: Any) -> Stream:
        """Make a request, see ``open``; return it once its reply is over."""
        stream = self.open(target, method, **more)
        self.finish(stream)
        return stream

    def round_trip(self, timeout_s: float = DEADLINE_S) -> None:
        """Wait until the peer has answered a PING: it has read all that we sent, and we all that it had said."""
        self._pings += 1
        data = struct.pack(">Q", self._pings)
        self.send(PingFrame(0, data))
        assert self.pump(lambda: data in self._answers, timeout_s), f"no answer to a PING; closed={self.closed}"

    def pump_until_closed(self, timeout_s: float = DEADLINE_S) -> bool:
        """Take in what comes until the peer ends the connection; return whether it did."""
        self.pump(lambda: self.closed, timeout_s)
        return self.closed

    def _take(self, timeout_s: float) -> None:
        self.socket.settimeout(timeout_s)
        try:
            data = self.socket.recv(1 << 16)
        except TimeoutError:
            return
        except (OSError, ssl.SSLError):
            data = b""
        if not data:
            self.closed = True
            return
        self._buffer += data
        position = 0
        view = memoryview(self._buffer)
        while len(view) - position >= 9:
            frame, length = Frame.parse_frame_header(view[position : position + 9])
            assert length <= _FRAME_BYTES, f"a frame of {length} bytes: {frame}"
            if len(view) - position < 9 + length:
                break
            frame.parse_body(view[position + 9 : position + 9 + length])
            position += 9 + length
            self._on_frame(frame)
        self._buffer = self._buffer[position:]
        self._grant_anew()

    def _grant_anew(self) -> None:
        fresh, self._fresh = self._fresh, set()
        grants = []
        missing = self._connection_window - self._granted
        if missing * 2 >= self._connection_window:
            self._granted += missing
            grants.append(WindowUpdateFrame(0, missing))
        for stream in (self.streams[id] for id in fresh):
            missing = self._window - stream.granted
            if missing > 0 and missing * 2 >= self._window and not stream.is_over:
                stream.granted += missing
                grants.append(WindowUpdateFrame(stream.id, missing))
        if grants:
            self.send(*grants)

    def _on_frame(self, frame: Frame) -> None:
        if not self._has_settings:
            assert isinstance(frame, SettingsFrame) and "ACK" not in frame.flags, f"the first frame is {frame}"
            self._has_settings = True
        if self._block is not None:
            assert isinstance(frame, ContinuationFrame), f"{frame} within a header block"
            first, block = self._block
            self._on_block(first, block + frame.data, "END_HEADERS" in frame.flags)
        elif isinstance(frame, DataFrame):
            self._on_data(frame)
        elif isinstance(frame, HeadersFrame):
            self._on_block(frame, frame.data, "END_HEADERS" in frame.flags)
        elif isinstance(frame, SettingsFrame):
            self._on_settings(frame)
        elif isinstance(frame, WindowUpdateFrame):
            self._on_window(frame)
        elif isinstance(frame, RstStreamFrame):
            self._known(frame).reset = frame.error_code
        elif isinstance(frame, GoAwayFrame):
            last = frame.last_stream_id
            assert not self.goaways or last <= self.goaways[-1][0], f"{self.goaways}, then {frame}"
            self.goaways.append((last, frame.error_code))
        elif isinstance(frame, PingFrame):
            if "ACK" in frame.flags:
                self._answers.append(bytes(frame.opaque_data))
            else:
                self.send(PingFrame(0, frame.opaque_data, flags=["ACK"]))
        else:
            raise AssertionError(f"a frame that no server sends: {frame}")

    def _known(self, frame: Frame) -> Stream:
        stream = self.streams.get(frame.stream_id)
        assert stream is not None, f"{frame} for a stream that was never opened"
        stream.check(frame)
        return stream

    def _on_settings(self, frame: SettingsFrame) -> None:
        if "ACK" in frame.flags:
            return
        assert frame.settings.get(SettingsFrame.ENABLE_PUSH, 0) == 0, frame
        grown = frame.settings.get(SettingsFrame.INITIAL_WINDOW_SIZE, self._initial_room) - self._initial_room
        for stream in self.streams.values():
            stream.room += grown
        self.settings.update(frame.settings)
        if SettingsFrame.HEADER_TABLE_SIZE in frame.settings:
            self._encoder.header_table_size = min(4096, frame.settings[SettingsFrame.HEADER_TABLE_SIZE])
        self.send(SettingsFrame(flags=["ACK"]))

    def _on_window(self, frame: WindowUpdateFrame) -> None:
        assert frame.window_increment > 0, frame
        if frame.stream_id == 0:
            self.room += frame.window_increment
            assert self.room < 1 << 31, self.room
        elif (stream := self.streams.get(frame.stream_id)) is not None and stream.reset is None:
            stream.room += frame.window_increment
            assert stream.room < 1 << 31, stream

    def _on_data(self, frame: DataFrame) -> None:
        stream, count = self._known(frame), frame.flow_controlled_length
        self._granted -= count
        stream.granted -= count
        assert self._granted >= 0, "more than the connection's window allows"
        assert stream.granted >= 0, f"more than the window of {stream} allows, by {-stream.granted}"
        assert stream.status or stream.cancelled, f"content before a head: {stream}"
        is_ended = "END_STREAM" in frame.flags
        if stream.cancelled:
            stream.ended = is_ended
            return
        assert not (stream.method == "HEAD" or stream.status in (204, 304)) or not frame.data, f"content: {stream}"
        stream.body += frame.data
        if is_ended:
            stream.end()
        elif stream.is_read:
            self._fresh.add(stream.id)

    def _on_block(self, first: HeadersFrame, block: bytes, is_complete: bool) -> None:
        self._block = None if is_complete else (first, block)
        if not is_complete:
            return
        stream = self._known(first)
        fields: Fields = [(bytes(name), bytes(value)) for name, value in self._decoder.decode(block, raw=True)]
        if stream.cancelled:
            return
        is_ended, is_trailers = "END_STREAM" in first.flags, stream.status != 0
        judge_fields(fields, is_trailers)
        if is_trailers:
            assert is_ended, f"a second head: {fields}"
            stream.trailers = fields
        elif (status := int(fields[0][1])) < 200:
            assert status != 101 and not is_ended, fields
            stream.interim.append(fields)
        else:
            stream.status, stream.fields = status, fields[1:]
        if is_ended:
            stream.end()
