"""A client that speaks HTTP/2 (RFC 9113) on the fake transport of a ``Dialogue``; its windows are in the test's hands.

What it sends is written by ``h2``, which looks after states and windows but takes any head, or it is a frame of
``hyperframe``, or plain bytes. What comes is judged by ``h2``, too: a proxy that breaks a rule makes it raise. It reads
when it is asked for something::

    client = Http2Client(dialogue.client())
    stream = client.asks(b"POST", ended=False)
    stream.says(b"hello", ended=True)
    dialogue.backend().says(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok")
    self.assertEqual(stream.gets_head().line, b"HTTP/2 200")
    self.assertEqual((stream.gets(), stream.has_ended), (b"ok", True))
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from h2 import events
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.settings import SettingCodes, Settings
from hyperframe.frame import Frame, GoAwayFrame, PingFrame

from txproxy.testing.peer import Head, Peer

WIDE_BYTES = 2**31 - 1
"""The largest window that there is (RFC 9113 section 6.9.1)."""

Field = tuple[bytes, bytes]

_DEFAULT_WINDOW_BYTES = 65535
_FRAME_HEAD_BYTES = 9


class Http2Client:
    """A connection of HTTP/2, from its preface on.

    :param peer: a client of a dialogue that has said nothing yet.
    :param window_bytes: the window of each stream; a test opens more of it by ``ClientStream.opens``.
    :param connection_window_bytes: the window of the connection, 65535 or more; opened by ``opens``.
    :param settings: what else it announces, by the settings' codes.
    :param scheme: of its requests.
    :param begins: whether it begins at once; else it is silent until the test has sent ``preface``, or something else,
        and says so by ``is_silent``.
    """

    def __init__(
        self,
        peer: Peer,
        window_bytes: int = WIDE_BYTES,
        connection_window_bytes: int = WIDE_BYTES,
        settings: Mapping[int, int] | None = None,
        scheme: bytes = b"http",
        begins: bool = True,
    ) -> None:
        self.peer = peer
        self.scheme = scheme
        self.answers_pings = True
        """Whether it answers PING."""
        self.is_silent = not begins
        """It sends nothing by itself: what it has to answer waits for what the test sends next."""
        self.streams: dict[int, ClientStream] = {}
        """All that it has begun, by their numbers."""
        self._frames: list[Frame] = []
        self._unread = b""
        self._gathered: bytearray | None = None
        self._h2 = H2Connection(
            H2Configuration(
                client_side=True,
                header_encoding=None,
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
            )
        )
        own = {SettingCodes.ENABLE_PUSH: 0, SettingCodes.INITIAL_WINDOW_SIZE: window_bytes, **(settings or {})}
        self._h2.local_settings = Settings(client=True, initial_values=own)  # type: ignore[arg-type]
        self._h2.max_inbound_frame_size = self._h2.local_settings.max_frame_size
        self._h2.initiate_connection()
        if connection_window_bytes > _DEFAULT_WINDOW_BYTES:
            self._h2.increment_flow_control_window(connection_window_bytes - _DEFAULT_WINDOW_BYTES)
        self.preface = self._h2.data_to_send()
        """What a client says first: the preface, its SETTINGS, and the window of the connection."""
        if begins:
            self.says(self.preface)
            self.listens()

    # What it says.

    def asks(
        self,
        method: bytes = b"GET",
        path: bytes = b"/",
        *fields: Field,
        ended: bool = True,
        authority: bytes = b"a.example",
    ) -> ClientStream:
        """Send a request's head.

        :param fields: further fields; names are sent as they are given.
        :param ended: neither content nor trailers follow.
        :return: its stream.
        """
        pseudo = (b":method", method), (b":scheme", self.scheme), (b":authority", authority), (b":path", path)
        return self.sends_head([*pseudo, *fields], ended)

    def sends_head(self, fields: list[Field], ended: bool = True) -> ClientStream:
        """Send a head of these fields and no others, whether they make sense or not.

        :return: its stream.
        """
        self.listens()
        id = self._h2.get_next_available_stream_id()
        stream = self.streams[id] = ClientStream(self, self._h2, id)
        self._h2.send_headers(id, fields, end_stream=ended)
        self.flush()
        return stream

    def encodes(self, fields: list[Field]) -> bytes:
        """Return a header block, which must be the next that is sent."""
        block: bytes = self._h2.encoder.encode(fields)
        return block

    def opens(self, count: int) -> None:
        """Open the connection's window.

        :param count: bytes.
        """
        self.listens()
        self._h2.increment_flow_control_window(count)
        self.flush()

    def changes(self, settings: Mapping[int, int]) -> None:
        """Announce other settings."""
        self.listens()
        self._h2.update_settings(settings)  # type: ignore[arg-type]
        self.flush()

    def goes_away(self, code: ErrorCodes = ErrorCodes.NO_ERROR) -> None:
        """Say that it will open no more streams."""
        self.says_frame(GoAwayFrame(0, last_stream_id=0, error_code=code))

    def says_frame(self, frame: Frame) -> None:
        """Send a frame; ``h2`` learns nothing of it."""
        self.says(frame.serialize())

    def says(self, data: bytes) -> None:
        """Send bytes; ``h2`` learns nothing of them."""
        if self._gathered is not None:
            self._gathered += data
        elif data:
            self.peer.says(data)

    @contextmanager
    def in_one_packet(self) -> Iterator[bytearray]:
        """Hold back what is said meanwhile, and send it at the end at once.

        :return: the bytes that are held back; a test may take some of them out, to send them in its own way.
        """
        assert self._gathered is None, "packets do not nest"
        self.listens()
        self._gathered = gathered = bytearray()
        try:
            yield gathered
        finally:
            self._gathered = None
        self.says(bytes(gathered))

    # What it hears.

    @property
    def frames(self) -> list[Frame]:
        """All frames that have come, in their order."""
        self.listens()
        return self._frames

    @property
    def goaways(self) -> list[GoAwayFrame]:
        """All frames GOAWAY that have come, in their order."""
        return [frame for frame in self.frames if isinstance(frame, GoAwayFrame)]

    @property
    def server_settings(self) -> Settings:
        """What the proxy has announced."""
        self.listens()
        return self._h2.remote_settings

    @property
    def room(self) -> int:
        """How many bytes of content the window of the connection lets pass."""
        self.listens()
        return self._h2.outbound_flow_control_window

    def listens(self) -> None:
        """Read all that has come, and answer what has to be answered.

        :raises h2.exceptions.ProtocolError: if the proxy has broken a rule.
        """
        while data := self.peer.gets():
            self._unread += data
            while (frame := self._next_frame()) is not None:
                self._frames.append(frame)
            if not self.is_silent:
                self.flush()

    def _next_frame(self) -> Frame | None:
        data = self._unread
        if len(data) < _FRAME_HEAD_BYTES:
            return None
        frame, size = Frame.parse_frame_header(memoryview(data[:_FRAME_HEAD_BYTES]))
        end = _FRAME_HEAD_BYTES + size
        if len(data) < end:
            return None
        self._unread = data[end:]
        frame.parse_body(memoryview(data[_FRAME_HEAD_BYTES:end]))
        # To h2 GOAWAY is the end of the connection; to its streams it is not.
        if not isinstance(frame, GoAwayFrame) and (self.answers_pings or not isinstance(frame, PingFrame)):
            for event in self._h2.receive_data(data[:end]):
                stream = self.streams.get(getattr(event, "stream_id", None) or 0)
                if stream is not None:
                    stream.take(event)
        return frame

    def flush(self) -> None:
        """Send what ``h2`` has ready."""
        self.says(self._h2.data_to_send())

    def __repr__(self) -> str:
        return f"<Http2Client {len(self.streams)} streams, {self.peer!r}>"


class ClientStream:
    """One stream: a request, and what comes back.

    :param client: whose stream it is.
    :param h2: keeps the states and windows of its connection.
    :param id: its number.
    """

    def __init__(self, client: Http2Client, h2: H2Connection, id: int) -> None:
        self.id = id
        self._client = client
        self._h2 = h2
        self._heads: list[Head] = []
        self._content = b""
        self._trailers: list[Field] | None = None
        self._has_ended = False
        self._reset_code: int | None = None

    # What it says.

    @property
    def room(self) -> int:
        """How many bytes of content the windows of the stream and of the connection let pass."""
        self._client.listens()
        return self._h2.local_flow_control_window(self.id)

    def says(self, content: bytes, ended: bool = False) -> None:
        """Send content, in frames as large as the proxy takes them.

        :param ended: it is the last.
        :raises h2.exceptions.FlowControlError: if there is no ``room`` for it.
        """
        self._client.listens()
        h2 = self._h2
        most = h2.max_outbound_frame_size
        for start in range(0, max(1, len(content)), most):
            h2.send_data(self.id, content[start : start + most], end_stream=ended and start + most >= len(content))
        self._client.flush()

    def finishes(self, *trailers: Field) -> None:
        """Send the end of the request, with trailers if there are any."""
        if trailers:
            self._client.listens()
            self._h2.send_headers(self.id, trailers, end_stream=True)
            self._client.flush()
        else:
            self.says(b"", ended=True)

    def resets(self, code: ErrorCodes = ErrorCodes.CANCEL) -> None:
        """End the stream early."""
        self._client.listens()
        self._h2.reset_stream(self.id, code)
        self._client.flush()

    def opens(self, count: int) -> None:
        """Open the stream's window.

        :param count: bytes.
        """
        self._client.listens()
        self._h2.increment_flow_control_window(count, self.id)
        self._client.flush()

    # What it hears.

    def gets_head(self) -> Head:
        """Return the next head, be it interim or final; its line is the status as curl shows it: ``HTTP/2 200``.

        :raises AssertionError: if none has come.
        """
        self._client.listens()
        if not self._heads:
            ended = "" if self._reset_code is None else f", it was reset by {self._reset_code}"
            raise AssertionError(f"stream {self.id} got no head{ended}; frames: {self._client.frames}")
        return self._heads.pop(0)

    def gets(self) -> bytes:
        """Return the content that has come since this was asked last."""
        self._client.listens()
        content, self._content = self._content, b""
        return content

    @property
    def heads(self) -> list[Head]:
        """The heads that ``gets_head`` has not returned yet."""
        self._client.listens()
        return self._heads

    @property
    def frames(self) -> list[Frame]:
        """All frames that have come on this stream, in their order."""
        return [frame for frame in self._client.frames if frame.stream_id == self.id]

    @property
    def trailers(self) -> list[Field] | None:
        """The trailer section; None if none has come."""
        self._client.listens()
        return self._trailers

    @property
    def has_ended(self) -> bool:
        """Whether the reply is complete: it has come to its own end, whatever followed that."""
        self._client.listens()
        return self._has_ended

    @property
    def reset_code(self) -> int | None:
        """Why the proxy has ended the stream early; None if it has not."""
        self._client.listens()
        return self._reset_code

    def take(self, event: Any) -> None:
        """Take note of what ``h2`` has to say of what came."""
        if isinstance(event, (events.ResponseReceived, events.InformationalResponseReceived)):
            (_, status), *fields = [(bytes(name), bytes(value)) for name, value in event.headers or ()]
            self._heads.append(Head(b"HTTP/2 " + status, fields))
        elif isinstance(event, events.DataReceived):
            self._content += event.data or b""
        elif isinstance(event, events.TrailersReceived):
            self._trailers = [(bytes(name), bytes(value)) for name, value in event.headers or ()]
        elif isinstance(event, events.StreamEnded):
            self._has_ended = True
        elif isinstance(event, events.StreamReset):
            self._reset_code = int(event.error_code or 0)

    def __repr__(self) -> str:
        state = "ended" if self._has_ended else "open" if self._reset_code is None else f"reset by {self._reset_code}"
        return f"<ClientStream {self.id} {state}>"
