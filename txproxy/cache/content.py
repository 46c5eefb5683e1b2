"""Content of a reply, as readers find it: on its way from a backend, or all of it here."""

from __future__ import annotations

from typing import Any, Protocol

from txproxy.cache.budget import Loan
from txproxy.wire.fields import Field

PIECE_BYTES = 65536
"""Content that a client is given at a time: what its transport may hold."""
NO_TRAILERS: list[Field] = []


class Content(Protocol):
    """Where content comes from. Positions are in bytes from its start; readers are those of ``cache.reader``."""

    end: int | None
    """Where it ends; None as long as that is not known."""
    trailers: list[Field]
    """Fields that follow it."""

    def read(self, position: int) -> bytes:
        """Return a piece of what is here from a position on; empty if nothing is."""

    def slowed(self, reader: Any) -> None:
        """Take note that a reader takes nothing for now."""

    def caught_up(self, reader: Any) -> None:
        """Take note that a reader has taken all that there is, and takes more."""

    def left(self, reader: Any) -> None:
        """Take note that a reader wants no more, or has all of it."""

    def abandoned(self, reader: Any) -> None:
        """Take note that the client of a reader has left."""


class WholeContent:
    """Content that is here, to its end.

    :param body: the content, or what is left of it to be read.
    :param start: position of its first byte; less than 0 if what is before 0 is not wanted.
    :param trailers: fields that follow it.
    :param stop: where in the body that ends which is wanted; None for all of it.
    :param loan: of the body to the readers.
    """

    __slots__ = ("_body", "_start", "_stop", "end", "loan", "trailers")

    end: int | None

    def __init__(
        self,
        body: bytes,
        start: int = 0,
        trailers: list[Field] = NO_TRAILERS,
        stop: int | None = None,
        loan: Loan | None = None,
    ) -> None:
        self._body = body
        self._start = start
        self._stop = len(body) if stop is None else stop
        self.loan = loan
        """Each reader is told of in it when it leaves."""
        self.end = start + self._stop
        self.trailers = trailers

    def read(self, position: int) -> bytes:
        """See ``Content``."""
        begin = position - self._start
        return self._body[begin : min(begin + PIECE_BYTES, self._stop)]

    def slowed(self, reader: Any) -> None:
        """Take note that a reader has taken something before."""
        if self.loan is not None:
            self.loan.moved(reader)

    def caught_up(self, reader: Any) -> None:
        """Nothing has waited."""

    def left(self, reader: Any) -> None:
        """Give its room back when nobody reads it any more."""
        if self.loan is not None:
            self.loan.end(reader)

    def abandoned(self, reader: Any) -> None:
        """See ``left``."""
        self.left(reader)
