"""What h2 is given in place of its own parts: codecs whose work is done beside it."""

from __future__ import annotations

from typing import Any

from h2.connection import H2Connection
from h2.settings import Settings
from hpack import Decoder, Encoder, HeaderTuple

from txproxy.wire.fields import Field

NO_FIELDS: list[Field] = []
INTERIM: list[Field] = [(b":status", b"100")]
"""All that h2 has to know of a head: whether another one follows."""

_FIRST_TABLE_BYTES = 4096


class StateKeeper(H2Connection):
    """Keeps the states of a connection and its streams, and does not remember too much of those that have ended."""

    # Of each stream that it remembers, h2 keeps how it was closed: at most ten kilobytes, not six megabytes.
    MAX_CLOSED_STREAMS = 64

    @property
    def open_inbound_streams(self) -> int:
        """How many streams of the peer are open, of which h2 is to know too little to object."""
        return 0

    def forget(self, stream_id: int) -> None:
        """Keep of a stream that has ended no more than how.

        h2 would do so when it next counts its streams, and take the windows of those that have ended for real ones.
        """
        stream = self.streams.pop(stream_id, None)
        if stream is not None:
            self._closed_streams[stream_id] = stream.closed_by


class LostConnection(StateKeeper):
    """Stands for the states of a connection that is lost: it has nothing to say, and knows of no stream."""

    def __init__(self) -> None:
        self.highest_inbound_stream_id = self.highest_outbound_stream_id = 0
        self.remote_settings = Settings(client=True)

    def data_to_send(self, amount: int | None = None) -> bytes:
        """Return nothing."""
        return b""


LOST = LostConnection()


class BlockEncoder(Encoder):
    """Gives h2 header blocks that were made elsewhere, without the dynamic table."""

    def __init__(self) -> None:
        super().__init__()
        self.block = b""
        self._prefix = b""
        self._is_told = False

    @property
    def header_table_size(self) -> int:
        """Size of the table that the peer allows."""
        return 0

    @header_table_size.setter
    def header_table_size(self, value: int) -> None:
        # A smaller table than at the start must be acknowledged (RFC 7541 section 4.2); none is the smallest.
        if value < _FIRST_TABLE_BYTES and not self._is_told:
            self._is_told, self._prefix = True, b"\x20"

    def encode(self, headers: Any, huffman: bool = True) -> bytes:
        """Return the block that is ready."""
        block, self._prefix = self._prefix + self.block, b""
        return block


class NoDecoder(Decoder):
    """Tells h2 that there are no fields: they are read elsewhere."""

    def decode(self, data: bytes, raw: bool = False) -> list[HeaderTuple]:
        """Return nothing."""
        return []
