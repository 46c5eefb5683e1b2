"""A backend that speaks HTTP/2, spoken for by a test: the library h2 in the role of a server, on a peer of a dialogue.

Its library judges what the proxy sends: a head, a frame or a window that is not right raises in the test.
"""

from __future__ import annotations

from typing import Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    RequestReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.settings import SettingCodes
from hyperframe.frame import GoAwayFrame

from txproxy.test.talk import TalkCase
from txproxy.testing import Dialogue, Peer

PROTOCOL = 'protocol = "h2"'

Fields = list[tuple[bytes, bytes]]


class Stream:
    """A request as the backend got it."""

    def __init__(self, id: int, fields: Fields) -> None:
        self.id = id
        self.fields = fields
        self.content = b""
        self.trailers: Fields | None = None
        self.has_ended = False
        self.reset: int | None = None
        """The code by which the proxy has given it up."""

    def get(self, name: bytes) -> bytes | None:
        """Return the value of the only field of a name, or None."""
        values = [value for field, value in self.fields if field == name]
        assert len(values) < 2, f"{name!r} stands {len(values)} times in {self.fields}"
        return values[0] if values else None


class Http2Backend:
    """One connection.

    :param peer: whose bytes it speaks.
    :param most: streams at once that it allows; None: it does not say.
    :param greets: it says its SETTINGS at once.
    :param settings: further ones.
    """

    def __init__(
        self, peer: Peer, most: int | None = 100, greets: bool = True, settings: dict[int, int] | None = None
    ) -> None:
        self.peer = peer
        self.streams: dict[int, Stream] = {}
        self.goaway: int | None = None
        """The code by which the proxy has said that it goes."""
        self.consumes = True
        """It gives windows back as soon as content has come."""
        self.h2 = H2Connection(H2Configuration(client_side=False, header_encoding=None))
        values: dict[int, int] = {} if most is None else {SettingCodes.MAX_CONCURRENT_STREAMS: most}
        # h2 would hold the proxy to a limit that the proxy may not know of yet.
        self.h2.local_settings.update({SettingCodes.MAX_CONCURRENT_STREAMS: 1 << 20})
        self.h2.local_settings.acknowledge()
        self.h2.initiate_connection()
        self.h2.clear_outbound_data_buffer()
        self.h2.update_settings({**values, **(settings or {})})
        if greets:
            self.says()

    def says(self, noticed: bool = True) -> None:
        """Send what is ready."""
        self.peer.says(self.h2.data_to_send(), noticed)

    def reads(self) -> None:
        """Take in what has come, answer what is the library's to answer, and do so until nothing more comes."""
        while data := self.peer.gets():
            for event in self.h2.receive_data(data):
                self._take(event)
            answer = self.h2.data_to_send()
            if answer and self.peer.is_open:
                self.peer.says(answer)

    def _take(self, event: Any) -> None:
        if isinstance(event, RequestReceived):
            assert event.stream_id is not None
            self.streams[event.stream_id] = Stream(event.stream_id, list(event.headers or []))
        elif isinstance(event, DataReceived):
            self.streams[event.stream_id].content += event.data or b""
            if self.consumes and event.flow_controlled_length:
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, TrailersReceived):
            self.streams[event.stream_id].trailers = list(event.headers or [])
        elif isinstance(event, StreamEnded):
            self.streams[event.stream_id].has_ended = True
        elif isinstance(event, StreamReset):
            self.streams[event.stream_id].reset = int(event.error_code or 0)
        elif isinstance(event, ConnectionTerminated):
            self.goaway = int(event.error_code or 0)

    @property
    def under_way(self) -> list[Stream]:
        """Requests that were not given up, in order."""
        return [stream for stream in self.streams.values() if stream.reset is None]

    def stream(self, id: int = 1) -> Stream:
        """Return a request after reading what has come."""
        self.reads()
        return self.streams[id]

    def head(self, id: int, *fields: tuple[bytes, bytes], status: bytes = b"200", ended: bool = False) -> None:
        """Send a head."""
        self.reads()
        self.h2.send_headers(id, [(b":status", status), *fields], end_stream=ended)
        self.says()

    def data(self, id: int, data: bytes, ended: bool = False) -> None:
        """Send content, in frames of the usual size."""
        self.reads()
        pieces = [data[start : start + 16384] for start in range(0, len(data), 16384)] or [b""]
        for number, piece in enumerate(pieces, 1):
            self.h2.send_data(id, piece, end_stream=ended and number == len(pieces))
        self.says()

    def reply(self, id: int, body: bytes = b"ok", *fields: tuple[bytes, bytes], trailers: Fields | None = None) -> None:
        """Send a whole reply at once."""
        self.reads()
        self.h2.send_headers(id, [(b":status", b"200"), *fields])
        self.h2.send_data(id, body, end_stream=trailers is None)
        if trailers is not None:
            self.h2.send_headers(id, trailers, end_stream=True)
        self.says()

    def resets(self, id: int, code: ErrorCodes) -> None:
        """Send RST_STREAM."""
        self.reads()
        self.h2.reset_stream(id, code)
        self.says()

    def goes_away(self, last_id: int, code: ErrorCodes = ErrorCodes.NO_ERROR, noticed: bool = True) -> None:
        """Send GOAWAY; for the library that would be the end."""
        self.reads()
        self.peer.says(GoAwayFrame(0, last_stream_id=last_id, error_code=code).serialize(), noticed)

    def settles(self, settings: dict[int, int]) -> None:
        """Send other settings."""
        self.reads()
        self.h2.update_settings(settings)
        self.says()


class Http2Case(TalkCase):
    """Tests of a proxy whose backends speak HTTP/2."""

    def h2_proxy(self, cluster: str = "", **parts: Any) -> Dialogue:
        """Return a proxy; see ``txproxy.testing.site`` for the parts of its configuration."""
        return self.proxy(cluster=f"{PROTOCOL}\n{cluster}", **parts)

    def answer(self, dialogue: Dialogue, address: str | None = None, **how: Any) -> Http2Backend:
        """Accept the connection that the proxy has been making for the longest time."""
        return Http2Backend(dialogue.backend(address), **how)

    def asked(self, dialogue: Dialogue, *says: bytes, **how: Any) -> tuple[list[Peer], Http2Backend]:
        """Return clients that have sent a request each, and the backend that has read them, on streams 1, 3, ..."""
        clients = []
        for each in says:
            clients.append(dialogue.client())
            clients[-1].says(each)
        backend = self.answer(dialogue, **how)
        backend.reads()
        return clients, backend

    def assertPool(
        self, dialogue: Dialogue, idle: int, busy: int, carried: int, making: int = 0, wait: int = 0
    ) -> None:
        """Check what the pool shows."""
        expected = f"<SharedPool {idle} idle, {busy} carrying {carried}, {making} connecting, {wait} waiting>"
        self.assertEqual(repr(dialogue.pool), expected)
