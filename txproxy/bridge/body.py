"""A request's body on its way from a client to a backend, before there is one and when another must be tried."""

from __future__ import annotations

from typing import Protocol

from txproxy.bridge.spliced_reader import SplicedReader
from txproxy.bridge.valve import Reason, Valve
from txproxy.wire.fields import Field

HIGH_WATERMARK_BYTES = 65536
"""Content that is kept: for a backend that is not connected yet, and to be sent again to another."""

_SHORT_BYTES = 2048
"""Pieces below it are put together."""


class BodySink(Protocol):
    """Where content goes: an upstream connection."""

    def send_body(self, data: bytes) -> None:
        """Take a part of the content; it is not empty."""

    def end_body(self, trailers: list[Field]) -> None:
        """Take the end of the body."""


class RequestBody:
    """Passes content on as it comes, and keeps the first of it so that it can be replayed.

    :param valve: of the client's transport; shut while too much waits for a backend.
    :param kept_bytes: how much is kept; a body that has grown beyond it cannot be sent again.
    """

    __slots__ = ("_kept", "_kept_bytes", "_sink", "_valve", "complete", "received", "spliced", "trailers")

    def __init__(self, valve: Valve, kept_bytes: int = HIGH_WATERMARK_BYTES) -> None:
        self._valve = valve
        self._kept_bytes = kept_bytes
        self._kept: list[bytes] | None = []
        self._sink: BodySink | None = None
        self.received = 0
        """Bytes of content that have come."""
        self.complete = False
        self.trailers: list[Field] = []
        self.spliced: SplicedReader | None = None
        """Passes it on unread, once nothing of it is kept any more."""

    @property
    def can_be_sent(self) -> bool:
        """Whether all that has come is still held, so that it can be sent from the start."""
        return self._kept is not None

    def keep_at_most(self, kept_bytes: int) -> None:
        """Change how much is kept, before the body has a backend."""
        self._kept_bytes = kept_bytes

    def write(self, data: bytes) -> None:
        """Take content from the client; it is not empty."""
        self.received += len(data)
        kept = self._kept
        if kept is not None:
            # Thirty thousand pieces of two bytes would take thirty times what they hold.
            if kept and len(kept[-1]) < _SHORT_BYTES:
                kept[-1] += data
            else:
                kept.append(data)
        if self._sink is not None:
            if self.received > self._kept_bytes:
                self._kept = None
            self._sink.send_body(data)
        elif self.received >= self._kept_bytes:
            self._valve.shut(Reason.NO_PEER_YET)

    def end(self, trailers: list[Field]) -> None:
        """Take the end of the body from the client."""
        self.complete = True
        self.trailers = trailers
        if self._sink is not None:
            self._sink.end_body(trailers)

    def attach(self, sink: BodySink) -> list[bytes]:
        """Give the body a backend.

        :return: the content that has come so far, which the backend is to send first. If the body is complete by
            now, ``end_body`` is not called: the caller looks at ``complete``.
        """
        kept = self._kept
        assert kept is not None, "attach after the body was let go"
        self._sink = sink
        if self.received > self._kept_bytes:
            self._kept = None
        self._valve.open(Reason.NO_PEER_YET)
        return kept

    def detach(self) -> None:
        """Take the backend away: it failed, or has finished."""
        if self.spliced is not None:
            self.spliced.stop()
        self._sink = None
        self._valve.open(Reason.PEER_IS_SLOW)
        self._valve.open(Reason.NO_PEER_YET)

    def let_go(self) -> None:
        """Keep nothing from here on: a reply has begun, so that no other backend will be tried."""
        self._kept = None
