"""One side of one HTTP/2 connection (RFC 9113): bytes in, events out; calls in, bytes out. It does no I/O.

The library h2 keeps the states and the windows of the connection and its streams. What a proxy decides otherwise, or
does a hundred thousand times a second, is done around it; the states are set then as h2 would set them:

- Fields are decoded and encoded beside it, so that a malformed message costs its sender the stream, not the
  connection, and so that a head that was seen before costs next to nothing.
- A stream above the limit is refused alone, so that the client may try it again.
- GOAWAY is sent and read here: for h2 it ends the connection at once, and what is under way is to be finished
  (https://github.com/python-hyper/h2/issues/1181).
- The connection's window is given back at once and only that of a stream waits for whoever reads its content: streams
  that nobody reads take nothing from the others, and a connection holds at most the sum of its streams' windows.
- Floods are counted, and what h2 would keep without bound is kept from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from h2.connection import ConnectionInputs
from h2.errors import ErrorCodes
from h2.events import StreamReset as H2StreamReset
from h2.events import WindowUpdated as H2WindowUpdated
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes
from h2.stream import H2Stream, StreamInputs, StreamState
from hpack import HPACKError, OversizedHeaderListError
from hyperframe.frame import HeadersFrame, SettingsFrame

from txproxy.wire.fields import Field
from txproxy.wire.http2 import frames
from txproxy.wire.http2.events import (
    ConnectionFailed,
    DataReceived,
    Event,
    HeadReceived,
    PeerGoesAway,
    PingAnswered,
    SettingsChanged,
    StreamReset,
    TrailersReceived,
    WindowOpened,
)
from txproxy.wire.http2.frames import ConnectionFault, Frame
from txproxy.wire.http2.parsing import content_of, header_block_of, understand
from txproxy.wire.http2.speaker import HIGHEST_STREAM_ID, PEER_ENDED, PING_WORDS, WE_ENDED, EngineSettings, Speaker

__all__ = ["HIGHEST_STREAM_ID", "Engine", "EngineSettings"]

_MOST_SETTINGS = 32
_KNOWN_SETTINGS = range(1, 7)
_STREAM_COST = 4
_GOAWAY_HEADER = frames.header(8, frames.GOAWAY, 0, 0)
_GOAWAY_BYTES = len(_GOAWAY_HEADER) + 8
_NO_EVENTS: tuple[Event, ...] = ()


class Engine(Speaker):
    """One side of a connection.

    :param is_client: which side.
    :param settings: what this side announces.
    :param floods: budgets of the peer; None for a peer that is trusted not to flood.
    """

    def receive(self, data: bytes, now: float) -> Iterator[Event]:
        """Yield what has come. The next frame is read when the next event is asked for, so that each can be acted on.

        :param now: the moment, in seconds.
        """
        if self.has_failed:
            return
        self._now = now
        try:
            for frame in self._reader.feed(data):
                yield from _READERS.get(frame.kind, Engine._read_unknown)(self, frame)
                if self.has_failed:
                    return
                if self._blamed:
                    raise ConnectionFault(ErrorCodes.ENHANCE_YOUR_CALM, "too many streams that end early")
        except ConnectionFault as fault:
            self.fail(fault.code, fault.words)
            yield ConnectionFailed(fault.code, fault.words)
        except ProtocolError as error:
            code = ErrorCodes(error.error_code)
            # The last that h2 has said is a GOAWAY of its own, which does not know what ours have said before.
            said = self._h2.data_to_send()
            self._out.append(said[:-_GOAWAY_BYTES] if said[-_GOAWAY_BYTES:-8] == _GOAWAY_HEADER else said)
            self.fail(code, str(error))
            yield ConnectionFailed(code, str(error))

    def _tell_h2(self, frame: Frame) -> Sequence[Any]:
        """Let h2 move its states and windows; return its events."""
        return self._h2.receive_data(understand(frame))  # type: ignore[arg-type]

    def _read_headers(self, frame: Frame) -> Sequence[Event]:
        stream_id, ended = frame.stream_id, frame.flags & frames.END_STREAM != 0
        if not stream_id:
            raise ConnectionFault(ErrorCodes.PROTOCOL_ERROR, "a head on no stream")
        # Whatever becomes of the stream, the block may have changed the table.
        fields = self._decode(header_block_of(frame))
        sides = self._streams.get(stream_id)
        if sides is not None:
            return self._read_more(stream_id, sides, fields, ended)
        if (stream_id & 1) == self._is_client and stream_id <= self._h2.highest_outbound_stream_id:
            return self._read_late_headers(frame)
        if not stream_id & 1 or self._is_client:
            raise ConnectionFault(ErrorCodes.PROTOCOL_ERROR, "a head on a stream that the peer may not begin")
        if stream_id <= self._h2.highest_inbound_stream_id:
            return self._read_late_headers(frame)
        return self._read_request(stream_id, fields, ended)

    def _decode(self, block: bytes) -> list[Field]:
        try:
            return self._decoder.decode(block)
        except OversizedHeaderListError:
            raise ConnectionFault(ErrorCodes.ENHANCE_YOUR_CALM, "a header list without end") from None
        except (HPACKError, IndexError) as error:
            raise ConnectionFault(ErrorCodes.COMPRESSION_ERROR, f"header block: {error}") from None

    def _read_more(self, stream_id: int, sides: int, fields: list[Field], ended: bool) -> Sequence[Event]:
        """Take a head of a stream that has begun: trailers, or a reply, interim or final."""
        if sides & PEER_ENDED:
            return self._reset_for(stream_id, ErrorCodes.STREAM_CLOSED)
        machine = self._h2.streams[stream_id].state_machine
        is_interim = self._is_client and fields[:1] and fields[0][0] == b":status" and fields[0][1][:1] == b"1"
        are_trailers = bool(machine.headers_received)
        if are_trailers and (is_interim or not ended) or is_interim and ended:
            # RFC 9113 section 8.1: malformed.
            return self._reset_for(stream_id, ErrorCodes.PROTOCOL_ERROR)
        informs, finishes = StreamInputs.RECV_INFORMATIONAL_HEADERS, StreamInputs.RECV_HEADERS
        machine.process_input(informs if is_interim else finishes)
        if ended:
            machine.process_input(StreamInputs.RECV_END_STREAM)
            self._ended(stream_id, PEER_ENDED)
        return (TrailersReceived(stream_id, fields) if are_trailers else HeadReceived(stream_id, fields, ended),)

    def _read_late_headers(self, frame: Frame) -> Sequence[Event]:
        """Take a head of a stream that has ended; what it deserves, h2 knows."""
        self._useless()
        if frame.stream_id not in self._reset_here:
            empty = HeadersFrame(frame.stream_id, b"", flags=("END_HEADERS",))
            self._h2.receive_data(empty)  # type: ignore[arg-type]
        return _NO_EVENTS

    def _reset_for(self, stream_id: int, code: ErrorCodes) -> Sequence[Event]:
        """End a stream on which the peer has broken a rule."""
        self.reset(stream_id, code, True)
        return (StreamReset(stream_id, code, False),)

    def _read_request(self, stream_id: int, fields: list[Field], ended: bool) -> Sequence[Event]:
        """Take the usual request in a third of the time: what h2 would do to its states, for a stream that is new."""
        h2 = self._h2
        if not h2.highest_inbound_stream_id:
            h2.state_machine.process_input(ConnectionInputs.RECV_HEADERS)
        stream = H2Stream(stream_id, h2.config, *self._first_windows)
        stream.max_outbound_frame_size = h2.max_outbound_frame_size
        machine = stream.state_machine
        machine.client = False
        machine.headers_received = True
        machine.state = StreamState.HALF_CLOSED_REMOTE if ended else StreamState.OPEN
        h2.highest_inbound_stream_id = stream_id
        h2.streams[stream_id] = stream
        return self._begin(stream_id, fields, ended)

    def _begin(self, stream_id: int, fields: list[Field], ended: bool) -> Sequence[Event]:
        self._streams[stream_id] = 0
        self._windows.begin(stream_id)
        if not self._takes(stream_id):
            self._useless()
            return _NO_EVENTS
        if self._floods is not None:
            self._floods.request_came()
        if ended:
            self._ended(stream_id, PEER_ENDED)
        return (HeadReceived(stream_id, fields, ended),)

    def _takes(self, stream_id: int) -> bool:
        """Return whether a new stream is taken; it is refused if not, so that the peer may try it again elsewhere."""
        too_late = stream_id > self._last_id
        if not too_late and len(self._streams) <= self.settings.max_streams:
            return True
        # Before it knows of the limit, a peer cannot be blamed.
        self.reset(stream_id, ErrorCodes.REFUSED_STREAM, self._is_acknowledged and not too_late)
        return False

    def _read_data(self, frame: Frame) -> Sequence[Event]:
        """Take content past h2, which would copy it, and write it down for a log that nobody keeps."""
        stream_id, sides, credit = frame.stream_id, self._streams.get(frame.stream_id), len(frame.body)
        data = content_of(frame)
        if sides is None or sides & PEER_ENDED:
            return self._read_late_data(frame)
        self._open_window(0, self._windows.came(credit, stream_id))
        machine = self._h2.streams[stream_id].state_machine
        if not machine.headers_received:
            return self._reset_for(stream_id, ErrorCodes.PROTOCOL_ERROR)
        ended = frame.flags & frames.END_STREAM != 0
        if ended:
            machine.process_input(StreamInputs.RECV_END_STREAM)
            self._ended(stream_id, PEER_ENDED)
        elif not data:
            self._useless()
        elif self._floods is not None:
            self._floods.content_went(len(data))
        return (DataReceived(stream_id, data, credit, ended),)

    def _read_late_data(self, frame: Frame) -> Sequence[Event]:
        """Take content of a stream that has ended, at least on the peer's side (RFC 9113 section 5.1)."""
        stream_id = frame.stream_id
        self._refuse_idle(stream_id)
        self._open_window(0, self._windows.came(len(frame.body)))
        self._useless()
        if stream_id in self._streams:
            return self._reset_for(stream_id, ErrorCodes.STREAM_CLOSED)
        if stream_id not in self._reset_here:
            code = int(ErrorCodes.STREAM_CLOSED).to_bytes(4, "big")
            self._out.append(frames.header(4, frames.RST_STREAM, 0, stream_id) + code)
        return _NO_EVENTS

    def _read_reset(self, frame: Frame) -> Sequence[Event]:
        stream_id = frame.stream_id
        self._refuse_idle(stream_id)
        sides = self._streams.get(stream_id)
        h2_events = self._tell_h2(frame)
        if sides is None:
            self._useless()
            return _NO_EVENTS
        self._forget(stream_id)
        if sides & WE_ENDED:
            # What is left of the request is not sent, as we would have it: it has been answered.
            self._useless()
        else:
            self._blame()
        return tuple(
            StreamReset(stream_id, int(event.error_code or 0), True)
            for event in h2_events
            if isinstance(event, H2StreamReset)
        )

    def _was_reset(self, event: H2StreamReset) -> Sequence[Event]:
        """Take note that h2 has answered a mistake with a reset."""
        stream_id = event.stream_id
        assert stream_id is not None
        self._forget(stream_id)
        self._was_reset_here(stream_id)
        self._blame()
        return (StreamReset(stream_id, int(event.error_code or 0), False),)

    def _read_settings(self, frame: Frame) -> Sequence[Event]:
        self._useless()
        if frame.flags & frames.ACK:
            if frame.body:
                raise ConnectionFault(ErrorCodes.FRAME_SIZE_ERROR, "an acknowledgement of settings with settings")
            self._is_acknowledged = True
            self._tell_h2(frame)
            self._note_windows()
            return _NO_EVENTS
        settings = understand(frame)
        assert isinstance(settings, SettingsFrame)
        if len(frame.body) > 6 * _MOST_SETTINGS:
            raise ConnectionFault(ErrorCodes.ENHANCE_YOUR_CALM, "too many settings")
        # What is unknown has no effect (RFC 9113 section 6.5.2); h2 would keep it, and see but the last of each.
        settings.settings = {}
        for entry in range(0, len(frame.body), 6):
            number = int.from_bytes(frame.body[entry : entry + 2], "big")
            if number in _KNOWN_SETTINGS:
                value = int.from_bytes(frame.body[entry + 2 : entry + 6], "big")
                self._h2.remote_settings.validate_received_setting(SettingCodes(number), value)
                settings.settings[number] = value
                if number == SettingCodes.HEADER_TABLE_SIZE:
                    self._encoder.header_table_size = value
        window = self._first_windows[1]
        if settings.settings.get(SettingCodes.INITIAL_WINDOW_SIZE, window) != window:
            # It is work for each stream, and what each may send then, be it a byte, brings credit.
            self._useless(_STREAM_COST * len(self._streams))
        self._h2.receive_data(settings)  # type: ignore[arg-type]
        self._take_from_h2()  # The acknowledgement, before anything that obeys what it is for.
        self._note_windows()
        return (SettingsChanged(),)

    def _note_windows(self) -> None:
        h2 = self._h2
        self._first_windows = h2.local_settings.initial_window_size, h2.remote_settings.initial_window_size

    def _read_push(self, frame: Frame) -> Sequence[Event]:
        raise ConnectionFault(ErrorCodes.PROTOCOL_ERROR, "PUSH_PROMISE that nobody may send")

    def _read_ping(self, frame: Frame) -> Sequence[Event]:
        self._useless()
        self._tell_h2(frame)
        if frame.flags & frames.ACK and frame.body == PING_WORDS:
            return (PingAnswered(),)
        return _NO_EVENTS

    def _read_goaway(self, frame: Frame) -> Sequence[Event]:
        body = frame.body
        if frame.stream_id:
            raise ConnectionFault(ErrorCodes.PROTOCOL_ERROR, "GOAWAY on a stream")
        if len(body) < 8:
            raise ConnectionFault(ErrorCodes.FRAME_SIZE_ERROR, "GOAWAY that is too short")
        self._useless()
        last_id = int.from_bytes(body[:4], "big") & HIGHEST_STREAM_ID
        return (PeerGoesAway(last_id, int.from_bytes(body[4:8], "big")),)

    def _read_window_update(self, frame: Frame) -> Sequence[Event]:
        self._useless()
        if frame.body[:1] > b"\x7f":  # A reserved bit, which is to be ignored (RFC 9113 section 6.9).
            frame = frame._replace(body=bytes((frame.body[0] & 0x7F,)) + frame.body[1:])
        if frame.stream_id in self._streams and frame.body == b"\x00\x00\x00\x00":
            return self._reset_for(frame.stream_id, ErrorCodes.PROTOCOL_ERROR)
        opened: list[Event] = []
        for event in self._tell_h2(frame):
            if isinstance(event, H2WindowUpdated):
                opened.append(WindowOpened(event.stream_id or 0))
            elif isinstance(event, H2StreamReset):
                opened += self._was_reset(event)
        return opened

    def _read_priority(self, frame: Frame) -> Sequence[Event]:
        self._useless()
        self._tell_h2(frame)
        return _NO_EVENTS

    def _read_unknown(self, frame: Frame) -> Sequence[Event]:
        self._useless()
        return _NO_EVENTS

    def _refuse_idle(self, stream_id: int) -> None:
        """Refuse what can be said of a stream only after it has begun (RFC 9113 section 5.1)."""
        is_ours = (stream_id % 2 == 1) == self._is_client
        highest = self._h2.highest_outbound_stream_id if is_ours else self._h2.highest_inbound_stream_id
        if not 0 < stream_id <= highest:
            raise ConnectionFault(ErrorCodes.PROTOCOL_ERROR, "a frame of an idle stream")

    def _useless(self, cost: int = 1) -> None:
        if self._floods is not None and self._floods.is_without_use(self._now, cost):
            raise ConnectionFault(ErrorCodes.ENHANCE_YOUR_CALM, "too many frames that carry nothing")


_READERS: dict[int, Callable[[Engine, Frame], Sequence[Event]]] = {
    frames.DATA: Engine._read_data,  # noqa: SLF001 - a table of its own methods
    frames.HEADERS: Engine._read_headers,  # noqa: SLF001
    frames.RST_STREAM: Engine._read_reset,  # noqa: SLF001
    frames.SETTINGS: Engine._read_settings,  # noqa: SLF001
    frames.PUSH_PROMISE: Engine._read_push,  # noqa: SLF001
    frames.PING: Engine._read_ping,  # noqa: SLF001
    frames.GOAWAY: Engine._read_goaway,  # noqa: SLF001
    frames.WINDOW_UPDATE: Engine._read_window_update,  # noqa: SLF001
    frames.PRIORITY: Engine._read_priority,  # noqa: SLF001
}
