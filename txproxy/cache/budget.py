"""Content that is in memory besides what a store holds: on its way into it, or with clients that read it slowly."""

from __future__ import annotations


class Budget:
    """Bytes of content that may be in memory besides what is stored.

    What clients read counts even while it is stored, for it stays in memory when it is evicted; once, however many
    read it. As long as nothing of that is evicted, it cannot be more than a store holds.

    :param max_bytes: of what is fetched, until the last has read it for whom it was fetched, or others find it stored.
    :param max_read_bytes: of what clients read that was stored before.
    """

    __slots__ = ("_loans", "left_bytes", "left_read_bytes")

    def __init__(self, max_bytes: int, max_read_bytes: int) -> None:
        self.left_bytes = max_bytes
        self.left_read_bytes = max_read_bytes
        self._loans: dict[int, Loan] = {}
        """By identity of bodies, which their loans keep alive."""

    def take(self, count: int) -> bool:
        """Return whether so many bytes more may be kept."""
        if count > self.left_bytes:
            return False
        self.left_bytes -= count
        return True

    def give_back(self, count: int) -> None:
        """Take note that so many bytes are not kept any more."""
        self.left_bytes += count

    def may_lend(self, body: bytes) -> bool:
        """Return whether there is room for one more to read this, which is stored."""
        loan = self._loans.get(id(body))
        return (loan is not None and not loan.is_fetched) or len(body) <= self.left_read_bytes

    def lend(self, body: bytes, count: int = 1, is_fetched: bool = False) -> Loan:
        """Have so many more read this, even if there is no room; each has to return it.

        :param is_fetched: it was not stored before, and takes of the room for what is fetched until it is found stored.
        """
        loan = self._loans.get(id(body))
        if loan is None:
            loan = self._loans[id(body)] = Loan(self, body, is_fetched)
            self._take_for(loan, len(body))
        elif loan.is_fetched and not is_fetched:
            # Readers of what is asked for often may follow each other for ever, and fetches must not wait for that.
            self._take_for(loan, -len(body))
            loan.is_fetched = False
            self._take_for(loan, len(body))
        loan.count += count
        return loan

    def returned(self, loan: Loan) -> None:
        """Take note that one of those who read something reads it no more."""
        loan.count -= 1
        if not loan.count:
            del self._loans[id(loan.body)]
            self._take_for(loan, -len(loan.body))

    def _take_for(self, loan: Loan, count: int) -> None:
        if loan.is_fetched:
            self.left_bytes -= count
        else:
            self.left_read_bytes -= count


class Loan:
    """A body that clients read.

    :param budget: that it is a part of.
    :param body: the whole of it.
    :param is_fetched: it was not stored before, and was not found stored since.
    """

    __slots__ = ("_budget", "body", "count", "is_fetched")

    def __init__(self, budget: Budget, body: bytes, is_fetched: bool) -> None:
        self._budget = budget
        self.body = body
        self.is_fetched = is_fetched
        self.count = 0
        """Who read it."""

    def end(self) -> None:
        """Take note that one of them reads it no more."""
        self._budget.returned(self)
