"""A body of known length whose bytes the kernel moves from one connection to another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeGuard

from txproxy.net.pipes import PipePool
from txproxy.net.splice import Splice, SpliceEnd, can_splice
from txproxy.wire.bodies import LengthReader

_LEAST_BYTES = 262144
"""What is left of a body must be more than this: setting a splice up costs about as much as it saves on so much."""


class SplicedReader(LengthReader):
    """Stands in for the reader of a body, all but the last byte of which is moved without being read.

    The last byte comes to ``feed`` with whatever follows it, so that the end of a body is found where all others are.
    If the splice ends before, by the end of a connection, that is told as always.

    :param length: what is left of the body, in bytes.
    :param source: the transport that it comes from.
    :param target: the transport that it goes to.
    :param pipes: lends the pipes.
    :param on_moved: called with the number of bytes that have moved since the last call, and whether the target has to
        read before more can.
    """

    __slots__ = ("_on_moved", "_splice", "_target")

    def __init__(
        self, length: int, source: Any, target: Any, pipes: PipePool, on_moved: Callable[[int, bool], None]
    ) -> None:
        super().__init__(length)
        self._on_moved = on_moved
        self._target = target
        self._splice: Splice | None = Splice(source, target, self, pipes, length - 1)
        self._splice.start()

    @property
    def waits_for_target(self) -> bool:
        """Whether the target has to read before anything can move."""
        splice = self._splice
        return splice is not None and (splice.held > 0 or self._target.has_queue)

    def stop(self) -> None:
        """End the splice, if it has not ended: what has been taken goes into the target's queue."""
        splice = self._splice
        if splice is not None:
            splice.stop()
            self._splice = None

    def splice_moved(self, byte_count: int) -> None:
        """Count what has moved."""
        self.remaining -= byte_count
        self._on_moved(byte_count, self.waits_for_target)

    def splice_ended(self, end: SpliceEnd) -> None:
        """Read on as any other reader; the two would hold each other until the garbage collector looks."""
        self._splice = None
        # What was copied may wait in the target's queue. Nobody would say when it is gone, unless the transport has
        # paused its producer for that.
        self._on_moved(0, self._target.producerPaused)


def is_worth_a_splice(reader: object) -> TypeGuard[LengthReader]:
    """Return whether a body's length is known, enough is left of it, and it is not spliced yet."""
    return type(reader) is LengthReader and reader.remaining > _LEAST_BYTES


def splice_body(
    reader: LengthReader, source: Any, target: Any, pipes: PipePool, on_moved: Callable[[int, bool], None]
) -> SplicedReader | None:
    """Have the kernel move what is left of a body.

    :return: what stands in for the reader from now on; None if these two transports need the bytes to be copied.
    """
    if not can_splice(source, target):
        return None
    return SplicedReader(reader.remaining, source, target, pipes, on_moved)
