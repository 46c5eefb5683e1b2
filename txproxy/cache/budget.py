"""Content that may be in memory besides what a store holds: on its way into it, or with clients that read it slowly."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from txproxy.errors import WriteTimeout


class Budget:
    """Bytes of content besides what is stored.

    What clients read counts once it is stored no more, and once, however many read it. Nobody is refused for that: when
    there is too much of it, those are cut who have taken nothing for the longest time.

    :param max_bytes: of what is on its way into the store.
    :param max_read_bytes: of what clients read and no store holds.
    :param clock: returns seconds of the monotonic clock.
    :param call_later: the reactor's.
    """

    __slots__ = ("_call_later", "_is_stopped", "_loans", "_next", "clock", "left_bytes", "left_read_bytes")

    def __init__(
        self, max_bytes: int, max_read_bytes: int, clock: Callable[[], float], call_later: Callable[..., Any]
    ) -> None:
        self.left_bytes = max_bytes
        self.left_read_bytes = max_read_bytes
        self.clock = clock
        self._call_later = call_later
        self._loans: dict[int, Loan] = {}
        """By identity of bodies, which their loans keep alive."""
        self._next: Any = None
        self._is_stopped = False

    def grow(self, by_bytes: int, read_by_bytes: int) -> None:
        """Have more room from here on, or less.

        :param by_bytes: for what is on its way into the store.
        :param read_by_bytes: for what clients read and no store holds.
        """
        self.left_bytes += by_bytes
        self.left_read_bytes += read_by_bytes

    @property
    def lends(self) -> bool:
        """Whether anybody reads anything."""
        return bool(self._loans)

    # What is on its way.

    def take(self, count: int) -> bool:
        """Return whether so many bytes more may be kept."""
        if count > self.left_bytes:
            return False
        self.left_bytes -= count
        return True

    def give_back(self, count: int) -> None:
        """Take note that so many bytes are not kept any more."""
        self.left_bytes += count

    # What clients read.

    def lend(self, body: bytes, readers: Iterable[Any], is_stored: bool) -> Loan:
        """Have some more read this; each of them has to say when it does no more.

        :param readers: as ``cache.reader``.
        :param is_stored: a store holds it, and says when it does no more (``removed``).
        """
        loan = self._loans.get(id(body))
        if loan is None:
            loan = self._loans[id(body)] = Loan(self, body)
        now = self.clock()
        loan.readers.update((reader, now) for reader in readers)
        self._count(loan, not is_stored)
        return loan

    def removed(self, body: bytes) -> None:
        """Take note that a store does not hold this any more."""
        loan = self._loans.get(id(body))
        if loan is not None:
            self._count(loan, True)

    def stored(self, body: bytes) -> None:
        """Take note that a store holds this again: a 304 has had its body stored anew."""
        loan = self._loans.get(id(body))
        if loan is not None:
            self._count(loan, False)

    def returned(self, loan: Loan) -> None:
        """Take note that nobody reads something any more."""
        self._count(loan, False)
        del self._loans[id(loan.body)]

    def stop(self) -> None:
        """Cut nobody any more."""
        self._is_stopped = True
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def _count(self, loan: Loan, counts: bool) -> None:
        if counts is loan.counts:
            return
        loan.counts = counts
        self.left_read_bytes += -len(loan.body) if counts else len(loan.body)
        if self.left_read_bytes < 0 and self._next is None and not self._is_stopped:
            # Not at once: a store may be in the middle of making room.
            self._next = self._call_later(0, self._make_room)

    def _make_room(self) -> None:
        self._next = None
        since = [(at, id(reader), reader) for loan in self._counted() for reader, at in loan.readers.items()]
        for _, _, reader in sorted(since):
            if self.left_read_bytes >= 0:
                break
            if reader.is_reading:
                error = WriteTimeout("what it reads is not stored any more, and there is no room for it")
                reader.exchange.client.fail(reader.exchange, error)

    def _counted(self) -> list[Loan]:
        return [loan for loan in self._loans.values() if loan.counts]


class Loan:
    """A body that clients read.

    :param budget: that it is a part of.
    :param body: the whole of it.
    """

    __slots__ = ("_budget", "body", "counts", "readers")

    def __init__(self, budget: Budget, body: bytes) -> None:
        self._budget = budget
        self.body = body
        self.counts = False
        """No store holds it."""
        self.readers: dict[Any, float] = {}
        """Since when each has taken nothing, in seconds of the monotonic clock."""

    def moved(self, reader: Any) -> None:
        """Take note that a reader has taken something just now."""
        self.readers[reader] = self._budget.clock()

    def end(self, reader: Any) -> None:
        """Take note that a reader reads it no more."""
        if self.readers.pop(reader, None) is not None and not self.readers:
            self._budget.returned(self)
