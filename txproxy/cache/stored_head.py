"""The head of a stored reply: its lines, ready to be sent, and little else."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from txproxy.wire.fields import Field, fields_of, write_fields
from txproxy.wire.forwarding import kept_reply_fields
from txproxy.wire.messages import ReplyHead

_LEFT_OUT = frozenset((b"age", b"transfer-encoding", b"x-cache-status"))
"""Fields that say something of one delivery, not of what is stored; a cache makes Age anew (RFC 9111 section 5.1)."""
_LENGTH = b"content-length"
_NO_LENGTH = 204
_PICKLED = ("status", "reason", "minor", "version", "content_length", "lines", "known")


class StoredHead(ReplyHead):
    """A reply head that has its lines from the start, and works its fields out of them when they are asked for.

    A list of eight fields takes a kilobyte beside what it says; the lines are needed for each hit anyway. As with any
    head that others may hold too, nothing of it is changed in place: ``copy`` gives one of one's own.

    :param reply: what a backend sent; hop-by-hop fields and Age are left out (RFC 9111 section 3.1).
    :param body_bytes: length of the stored body, which every delivery has.
    :param withheld: names in lower case of further fields that are left out.
    """

    __slots__ = ()

    def __init__(self, reply: ReplyHead, body_bytes: int, withheld: Collection[bytes] = ()) -> None:
        fields = kept_reply_fields(reply)
        names = {name.lower() for name, _ in fields}
        if withheld or not names.isdisjoint(_LEFT_OUT):
            left_out = _LEFT_OUT.union(withheld)
            fields = [field for field in fields if field[0].lower() not in left_out]
            names -= left_out
        length = b"%d" % body_bytes
        # Most have it already; of those, what is known is what stands there.
        if reply.status != _NO_LENGTH and (_LENGTH not in names or reply.known.get(_LENGTH) != length):
            fields = _with_length(fields, length)
        self.status = reply.status
        self.reason = reply.reason
        self.minor = reply.minor
        self.version = reply.version
        self.content_length = body_bytes
        self._be_whole()
        start = b"HTTP/1.1 %d %b" % (reply.status, reply.reason)
        self.lines: bytes = start + b"\r\n" + write_fields(fields) if fields else start
        names.discard(_LENGTH)
        self.known = {name: value for name, value in reply.known.items() if name in names}
        """Without Content-Length, which differs from reply to reply: so that many can share what is left."""

    def __getstate__(self) -> tuple[Any, ...]:
        """Return what it is made anew from; for ``pickle``."""
        return tuple(getattr(self, name) for name in _PICKLED)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        """Be what another was; for ``pickle``."""
        self._be_whole()
        for name, value in zip(_PICKLED, state, strict=True):
            setattr(self, name, value)

    def _be_whole(self) -> None:
        """Be delivered by a length, whatever its connection was like."""
        self.chunked = self.until_close = self.lacks_length = False
        self.keep_alive = True
        self.options = None
        self.block = None

    @property  # type: ignore[misc]
    def fields(self) -> list[Field]:
        """The fields, in a list that is made anew each time."""
        return fields_of(self.lines.split(b"\r\n")[1:])


def _with_length(fields: list[Field], length: bytes) -> list[Field]:
    """Return fields with one Content-Length, where the first one stood or at the end."""
    for place, (name, value) in enumerate(fields):
        if name.lower() == _LENGTH:
            if value == length:
                return fields
            return [*fields[:place], (name, length), *fields[place + 1 :]]
    return [*fields, (b"Content-Length", length)]
