"""How much a peer may send (RFC 9113 section 5.2): the windows of one connection and its streams, as we open them."""

from __future__ import annotations

from h2.errors import ErrorCodes

from txproxy.wire.http2.frames import ConnectionFault

DEFAULT_WINDOW_BYTES = 65535
"""Of the connection and of each stream, before anything else is agreed on (RFC 9113 section 6.9.2)."""


class InboundWindows:
    """The windows that the peer sends into.

    The connection's is given back at once, a stream's when its content has left us.

    :param connection_bytes: of the connection.
    :param stream_bytes: of each stream.
    """

    __slots__ = ("_connection", "_connection_bytes", "_half_stream_bytes", "_owed", "_stream_bytes", "_streams")

    def __init__(self, connection_bytes: int, stream_bytes: int) -> None:
        self._connection = self._connection_bytes = max(connection_bytes, DEFAULT_WINDOW_BYTES)
        # Until it knows of a larger window, a peer uses less than it may; there are no smaller ones.
        self._stream_bytes = max(stream_bytes, DEFAULT_WINDOW_BYTES)
        self._half_stream_bytes = self._stream_bytes >> 1
        self._streams: dict[int, int] = {}
        self._owed: dict[int, int] = {}
        """Bytes by which each stream's window is to be opened."""

    @property
    def first_increment(self) -> int:
        """By how much the connection's window is opened at the start, in bytes."""
        return self._connection_bytes - DEFAULT_WINDOW_BYTES

    def __len__(self) -> int:
        """Return how many streams there are on which content may come."""
        return len(self._streams)

    def begin(self, stream_id: int) -> None:
        """Let content come on a stream."""
        self._streams[stream_id] = self._stream_bytes
        self._owed[stream_id] = 0

    def end(self, stream_id: int) -> None:
        """Take note that no more comes on a stream; nothing is given back for it any more."""
        if self._streams.pop(stream_id, None) is not None:
            del self._owed[stream_id]

    def came(self, credit: int, stream_id: int = 0) -> int:
        """Take note of content.

        :param credit: what it takes of the windows, in bytes.
        :param stream_id: 0 for a stream that takes none any more.
        :return: by how much the connection's window is to be opened now, in bytes; mostly 0.
        :raises ConnectionFault: if it is more than the peer was allowed to send.
        """
        left = self._connection - credit
        if stream_id:
            self._streams[stream_id] = stream_left = self._streams[stream_id] - credit
            if stream_left < 0:
                raise ConnectionFault(ErrorCodes.FLOW_CONTROL_ERROR, "more content than the stream's window")
        if left < 0:
            raise ConnectionFault(ErrorCodes.FLOW_CONTROL_ERROR, "more content than the connection's window")
        if left <= self._connection_bytes >> 1:
            self._connection = self._connection_bytes
            return self._connection_bytes - left
        self._connection = left
        return 0

    def went(self, stream_id: int, credit: int) -> int:
        """Take note that content of a stream has left us.

        :param credit: what it has taken of the windows, in bytes.
        :return: by how much the stream's window is to be opened now, in bytes; 0 if that can wait, or is of no use.
        """
        owed = self._owed.get(stream_id)
        if owed is None:
            return 0
        owed += credit
        if owed < self._half_stream_bytes:
            self._owed[stream_id] = owed
            return 0
        self._owed[stream_id] = 0
        self._streams[stream_id] += owed
        return owed
