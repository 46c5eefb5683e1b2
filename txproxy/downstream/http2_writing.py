"""The half of an HTTP/2 connection that writes: whose turn it is, and when what is ready is sent."""

from __future__ import annotations

from typing import Any

from txproxy.downstream.http2_stream import Http2Stream
from txproxy.downstream.lingering import LingeringConnection
from txproxy.wire.http2.engine import Engine
from txproxy.wire.http2.floods import Floods
from txproxy.wire.http2.frames import MAX_FRAME_BYTES

_MUCH_BYTES = 16384
"""A record of TLS: what is gained by putting writes together is gained with that."""


class WritingConnection(LingeringConnection):
    """Writes.

    :param site: the listener that it belongs to.
    """

    def __init__(self, site: Any) -> None:
        super().__init__(site)
        settings = site.settings
        self.engine = Engine(False, settings.http2, Floods(settings.h2_reset_budget))
        self._waiting: dict[int, Http2Stream] = {}
        """Streams that have something to send, and may not yet; the one whose turn it is first."""
        self._busy = False
        """What comes is being read: what is said meanwhile is sent together at the end."""
        self._fresh_bytes = 0
        """Content that was given to the engine since the last flush."""
        self._may_pump = False
        """Those who wait may be able to go on."""
        self._bodies_begun: list[Http2Stream] = []
        """Streams whose body has begun in what is being read; mostly it is complete at the end of that."""

    def await_body(self, stream: Http2Stream) -> bool:
        """Have a stream wait for its body after all that has come was read.

        :return: False if nothing is being read.
        """
        if self._busy:
            self._bodies_begun.append(stream)
        return self._busy

    def flush(self) -> None:
        """Send what is ready, unless more of it is about to come."""
        if not self._busy:
            self._fresh_bytes = 0
            data = self.engine.take()
            if data:
                self.transport.write(data)

    def flush_soon(self, size: int) -> None:
        """Send what is ready at the end of this turn, or now if it is much.

        :param size: of the content that has just become ready, in bytes.
        """
        if not self._busy:
            self._fresh_bytes += size
            if self._fresh_bytes >= _MUCH_BYTES:
                self.flush()
            else:
                self.site.together.flush_soon(self)

    def wait(self, stream: Http2Stream) -> None:
        """Let a stream have its turn when something may be sent."""
        self._waiting[stream.id] = stream

    def wait_no_more(self, stream: Http2Stream) -> None:
        """Let a stream have no turn."""
        self._waiting.pop(stream.id, None)

    def _pump(self) -> None:
        """Let all who wait send a frame each, again and again, while the client takes it."""
        self._may_pump = False
        sent = True
        while sent and not self.is_full and not self._closing:
            sent = False
            for stream in tuple(self._waiting.values()):
                if self.is_full or self._closing:
                    break
                if stream.send_waiting(MAX_FRAME_BYTES):
                    sent = True
                    self.flush()
