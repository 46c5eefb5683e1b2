"""What an ``Engine`` tells its owner of what a peer has sent."""

from __future__ import annotations

from typing import Any, NamedTuple

from h2.errors import ErrorCodes

from txproxy.wire.fields import Field


class HeadReceived(NamedTuple):
    """A request (to a server) or a reply, interim or final (to a client), has begun."""

    stream_id: int
    fields: list[Field]
    """As they were sent, in order; not looked at yet. Not to be changed."""
    ended: bool
    """Neither content nor trailers follow."""


class DataReceived(NamedTuple):
    """Content has come."""

    stream_id: int
    data: bytes
    """May be empty."""
    credit: int
    """What it has taken of the stream's window, in bytes: to be given back by ``Engine.consumed``."""
    ended: bool


class TrailersReceived(NamedTuple):
    """A trailer section has come; it is the end of the stream's content."""

    stream_id: int
    fields: list[Field]


class StreamReset(NamedTuple):
    """A stream has ended early."""

    stream_id: int
    code: int
    by_peer: bool
    """Else it was us: the peer broke a rule."""


class WindowOpened(NamedTuple):
    """More may be sent."""

    stream_id: int
    """0 for the connection, or all of its streams."""


class SettingsChanged(NamedTuple):
    """The peer's settings have come, or others than before."""


class PingAnswered(NamedTuple):
    """The peer has everything that was sent before ``Engine.ping``."""


class PeerGoesAway(NamedTuple):
    """The peer will take no stream above the last that it names (RFC 9113 section 6.8)."""

    last_id: int
    code: int


class ConnectionFailed(NamedTuple):
    """The connection can only be closed; a GOAWAY that says so waits to be sent."""

    code: ErrorCodes
    words: str
    """What was wrong, for logs."""


Event = (
    HeadReceived
    | DataReceived
    | TrailersReceived
    | StreamReset
    | WindowOpened
    | SettingsChanged
    | PingAnswered
    | PeerGoesAway
    | ConnectionFailed
)

_HANDLERS = {
    HeadReceived: "_head_received",
    DataReceived: "_data_received",
    TrailersReceived: "_trailers_received",
    StreamReset: "_stream_reset",
    WindowOpened: "_window_opened",
    SettingsChanged: "_settings_changed",
    PingAnswered: "_ping_answered",
    PeerGoesAway: "_peer_goes_away",
    ConnectionFailed: "_connection_failed",
}


def handlers_of(connection: type) -> dict[type, Any]:
    """Return by the kind of event what a class of connections does about it: the method with the event's name."""
    return {event: getattr(connection, method) for event, method in _HANDLERS.items()}
