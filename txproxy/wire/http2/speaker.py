"""The half of an ``Engine`` that speaks: frames of ours, and what is known of the connection."""

from __future__ import annotations

from typing import NamedTuple

from h2.config import H2Configuration
from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from h2.stream import StreamInputs
from hyperframe.frame import GoAwayFrame, SettingsFrame

from txproxy.wire.http2 import frames
from txproxy.wire.http2.codecs import INTERIM, LOST, NO_FIELDS, BlockEncoder, NoDecoder, StateKeeper
from txproxy.wire.http2.compression import HeadDecoder
from txproxy.wire.http2.floods import Floods
from txproxy.wire.http2.frames import FrameReader
from txproxy.wire.http2.parsing import OneFrame
from txproxy.wire.http2.windows import DEFAULT_WINDOW_BYTES, InboundWindows

HIGHEST_STREAM_ID = 2**31 - 1
PEER_ENDED, WE_ENDED = 1, 2
"""Which side of a stream has said all that it has to say."""

_UNLIMITED = 2**31
_MOST_RESETS_KEPT = 1024
_FOLD = 4
"""A header list of so many times what is let pass is read, so that it can be answered; more ends the connection."""
PING_WORDS = b"txproxy!"


class EngineSettings(NamedTuple):
    """What one side announces."""

    max_streams: int = 100
    """That the peer may have open at once."""
    stream_window_bytes: int = 65536
    connection_window_bytes: int = 1048576
    max_header_bytes: int = 32768
    """Of a header list: what is let pass."""


class Speaker:
    """See ``Engine``."""

    def __init__(self, is_client: bool, settings: EngineSettings, floods: Floods | None = None) -> None:
        self.settings = settings
        self.has_failed = False
        """Nothing can be sent any more, but what ``take`` returns."""
        self._is_client = is_client
        self._floods = floods
        self._reader = FrameReader(not is_client, settings.max_header_bytes)
        self._h2: StateKeeper = StateKeeper(
            H2Configuration(
                client_side=is_client,
                header_encoding=None,
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
                validate_inbound_headers=False,
                normalize_inbound_headers=False,
            )
        )
        self._h2.incoming_buffer = OneFrame()  # type: ignore[assignment]
        self._encoder = self._h2.encoder = BlockEncoder()
        self._h2.decoder = NoDecoder()
        self._decoder = HeadDecoder(_FOLD * settings.max_header_bytes)
        self._out: list[bytes | memoryview] = []
        """Frames that h2 does not know of, and what came before them."""
        self._streams: dict[int, int] = {}
        """Which sides of each open stream have ended."""
        self._reset_here: dict[int, None] = {}
        """The last streams that we have reset."""
        self._windows = InboundWindows(settings.connection_window_bytes, settings.stream_window_bytes)
        self._last_id = HIGHEST_STREAM_ID
        """The last stream of the peer that is taken."""
        self._first_windows = (DEFAULT_WINDOW_BYTES, DEFAULT_WINDOW_BYTES)
        """Of a stream that begins now: ours, and the peer's."""
        self._is_acknowledged = False
        """The peer knows our settings."""
        self._blamed = False
        self._now = 0.0

    # What is known.

    @property
    def has_begun(self) -> bool:
        """Whether the peer's settings have come."""
        return self._reader.has_begun

    @property
    def is_in_block(self) -> bool:
        """Whether a header block has begun, and not ended; so has a frame that may turn out to be one."""
        return self._reader.is_in_block

    @property
    def blocks(self) -> int:
        """How many header blocks have come."""
        return self._reader.blocks

    @property
    def last_peer_stream_id(self) -> int:
        """The last stream that the peer has opened; 0 for none."""
        return self._h2.highest_inbound_stream_id

    @property
    def peer_max_streams(self) -> int:
        """How many streams the peer lets us have open at once."""
        return self._h2.remote_settings.max_concurrent_streams

    @property
    def may_open(self) -> bool:
        """Whether there is an id left for a stream of ours."""
        return not self.has_failed and self._h2.highest_outbound_stream_id < HIGHEST_STREAM_ID - 2

    def is_open(self, stream_id: int) -> bool:
        """Return whether a stream has begun, and has not ended on both sides."""
        return stream_id in self._streams

    def room(self, stream_id: int) -> int:
        """Return how many bytes of content may be sent on a stream now; 0 if it has ended."""
        if self._streams.get(stream_id, WE_ENDED) & WE_ENDED or self.has_failed:
            return 0
        return max(0, self._h2.local_flow_control_window(stream_id))

    def take(self) -> bytes:
        """Return what is to be sent."""
        out = self._out
        if not out:
            return self._h2.data_to_send()
        out.append(self._h2.data_to_send())
        data = b"".join(out)
        out.clear()
        return data

    # What this side says.

    def start(self) -> None:
        """Say what comes first: a client's preface, the settings, the connection's window."""
        h2, settings = self._h2, self.settings
        # To h2 a stream too many would be the end of the connection: it is not told of our limit.
        h2.local_settings[SettingCodes.MAX_CONCURRENT_STREAMS] = _UNLIMITED
        h2.local_settings.acknowledge()
        h2.initiate_connection()
        h2.local_settings.update({SettingCodes.INITIAL_WINDOW_SIZE: settings.stream_window_bytes})
        h2.clear_outbound_data_buffer()
        frame = SettingsFrame(0)
        frame.settings = {
            SettingCodes.INITIAL_WINDOW_SIZE: settings.stream_window_bytes,
            SettingCodes.MAX_HEADER_LIST_SIZE: settings.max_header_bytes,
        }
        if self._is_client:
            self._out.append(frames.PREFACE)
            frame.settings[SettingCodes.ENABLE_PUSH] = 0
            h2.local_settings.enable_push = 0
            h2.local_settings.acknowledge()
        else:
            frame.settings[SettingCodes.MAX_CONCURRENT_STREAMS] = settings.max_streams
            frame.settings[SettingCodes.ENABLE_CONNECT_PROTOCOL] = 1
        self._out.append(frame.serialize())
        self._open_window(0, self._windows.first_increment)

    def open_stream(self, block: bytes, ended: bool) -> int:
        """Begin a request; there must be an id for it (``may_open``), and the peer must let us.

        :param block: its header block.
        :param ended: neither content nor trailers follow.
        :return: the stream's id.
        """
        stream_id = self._h2.get_next_available_stream_id()
        self._encoder.block = block
        self._h2.send_headers(stream_id, NO_FIELDS, end_stream=ended)
        self._take_from_h2()
        self._streams[stream_id] = WE_ENDED if ended else 0
        self._windows.begin(stream_id)
        return stream_id

    def send_head(self, stream_id: int, block: bytes, ended: bool = False, interim: bool = False) -> None:
        """Send the head of a reply.

        :param block: its header block.
        :param ended: neither content nor trailers follow.
        :param interim: another head follows.
        """
        if not self._may_send(stream_id):
            return
        h2 = self._h2
        machine = h2.streams[stream_id].state_machine
        self._encoder.block = block
        if interim or machine.headers_sent or self._is_client or len(block) >= h2.max_outbound_frame_size:
            h2.send_headers(stream_id, INTERIM if interim else NO_FIELDS, end_stream=ended)
            self._take_from_h2()
        else:
            # The usual case, at a third of the time: what h2 would do to its states, and the same frame.
            machine.headers_sent = True
            if ended:
                machine.process_input(StreamInputs.SEND_END_STREAM)
            flags = frames.END_HEADERS | frames.END_STREAM if ended else frames.END_HEADERS
            block = self._encoder.encode(())
            self._out += (frames.header(len(block), frames.HEADERS, flags, stream_id), block)
        if ended:
            self._ended(stream_id, WE_ENDED)

    def send_trailers(self, stream_id: int, block: bytes) -> None:
        """Send a trailer section, and with it the end of what this side says on a stream."""
        self.send_head(stream_id, block, True)

    def send_data(self, stream_id: int, data: bytes, ended: bool = False) -> None:
        """Send content.

        :param data: no more than there is ``room`` for; may be empty.
        :param ended: it is the last.
        """
        if not self._may_send(stream_id):
            return
        # Past h2, which would copy the content five times: its windows and states are kept as it would keep them.
        h2, size = self._h2, len(data)
        stream, most = h2.streams[stream_id], h2.max_outbound_frame_size
        assert size <= h2.outbound_flow_control_window and size <= stream.outbound_flow_control_window or not size
        h2.outbound_flow_control_window -= size
        stream.outbound_flow_control_window -= size
        view = memoryview(data)
        while size > most:
            self._out += (frames.header(most, frames.DATA, 0, stream_id), view[:most])
            view = view[most:]
            size -= most
        self._out += (frames.header(size, frames.DATA, frames.END_STREAM if ended else 0, stream_id), view)
        if self._floods is not None and data:
            self._floods.content_went(len(data))
        if ended:
            stream.state_machine.process_input(StreamInputs.SEND_END_STREAM)
            self._ended(stream_id, WE_ENDED)

    def consumed(self, stream_id: int, count: int) -> None:
        """Give a stream's window back: content has gone where it was to go.

        :param count: the credit of what has gone, in bytes.
        """
        if not self.has_failed:
            self._open_window(stream_id, self._windows.went(stream_id, count))

    def _open_window(self, stream_id: int, increment: int) -> None:
        if increment:
            self._out.append(frames.header(4, frames.WINDOW_UPDATE, 0, stream_id) + increment.to_bytes(4, "big"))

    def reset(self, stream_id: int, code: ErrorCodes, blame: bool = False) -> None:
        """End a stream early.

        :param blame: it is the peer's fault, and counted as such.
        """
        if stream_id in self._streams and not self.has_failed:
            self._h2.reset_stream(stream_id, code)
            self._forget(stream_id)
            self._was_reset_here(stream_id)
            if blame:
                self._blame()

    def ping(self) -> None:
        """Ask the peer to say when it has read everything that was sent before this."""
        if not self.has_failed:
            self._h2.ping(PING_WORDS)

    def go_away(self, last_id: int, code: ErrorCodes = ErrorCodes.NO_ERROR, words: bytes = b"") -> None:
        """Say which of the peer's streams is the last that is taken (RFC 9113 section 6.8); later ones are refused.

        :param words: for whoever debugs the peer.
        """
        if self.has_failed:
            return
        self._last_id = last_id = min(last_id, self._last_id)  # RFC 9113 section 6.8: it never rises.
        frame = GoAwayFrame(0, last_stream_id=last_id, error_code=code, additional_data=words)
        self._take_from_h2()
        self._out.append(frame.serialize())

    def fail(self, code: ErrorCodes, words: str = "") -> None:
        """End the connection; the caller writes what is left to be written, and closes.

        :param words: for whoever debugs the peer.
        """
        if not self.has_failed:
            self.go_away(self.last_peer_stream_id, code, words.encode("ascii", "replace"))
            self.has_failed = True

    def _take_from_h2(self) -> None:
        """Have what h2 has made stand before what is made without it from here on."""
        self._out.append(self._h2.data_to_send())

    def release(self) -> None:
        """Let go of what is large: the connection is lost, and nothing is asked of this any more.

        h2 refers to itself in many ways, so that else all of it would wait for the garbage collector.
        """
        if self._h2 is not LOST:
            vars(self._h2).clear()
        self._h2 = LOST
        self.has_failed = True
        self._streams.clear()
        self._out.clear()

    def _may_send(self, stream_id: int) -> bool:
        return not self._streams.get(stream_id, WE_ENDED) & WE_ENDED and not self.has_failed

    def _ended(self, stream_id: int, side: int) -> None:
        sides = self._streams[stream_id] | side
        if side == PEER_ENDED:
            self._windows.end(stream_id)
        if sides == PEER_ENDED | WE_ENDED:
            del self._streams[stream_id]
            self._h2.forget(stream_id)
        else:
            self._streams[stream_id] = sides

    def _was_reset_here(self, stream_id: int) -> None:
        """Remember that what is still on its way on a stream is to be ignored (RFC 9113 section 5.1)."""
        recent = self._reset_here
        recent[stream_id] = None
        if len(recent) > _MOST_RESETS_KEPT:
            del recent[next(iter(recent))]

    def _forget(self, stream_id: int) -> None:
        self._streams.pop(stream_id, None)
        self._windows.end(stream_id)
        self._h2.forget(stream_id)

    def _blame(self) -> None:
        if self._floods is not None and self._floods.is_reset_too_often(self._now):
            self._blamed = True
