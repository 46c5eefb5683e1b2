"""One exchange that is given content as fast as its client takes it: of a fetch that is under way, or of a store."""

from __future__ import annotations

from typing import Any

from txproxy.cache.content import Content
from txproxy.exchange import Exchange


class Reader:
    """Stands for a backend: it is the server of an exchange whose reply comes from here.

    :param exchange: whose client reads.
    :param content: what is read.
    :param asked: what its request means to the cache; see ``pipeline.asked``.
    """

    __slots__ = ("_has_begun", "_is_in_turn", "_is_paused", "asked", "content", "exchange", "position")

    def __init__(self, exchange: Exchange, content: Content, asked: Any = None) -> None:
        self.asked = asked
        self.exchange = exchange
        self.content = content
        self.position = 0
        """Of what it reads next, in bytes from the start."""
        self._has_begun = False
        self._is_paused = False
        self._is_in_turn = False
        exchange.server = self

    @property
    def is_reading(self) -> bool:
        """Whether its exchange is still answered from here."""
        return self.exchange.server is self

    @property
    def is_ready(self) -> bool:
        """Whether it can be given what follows that which it has."""
        return self._has_begun and not self._is_paused and not self._is_in_turn and self.exchange.server is self

    # What clients of exchanges call.

    def pause_reply(self) -> None:
        """Give the client no more: it reads too slowly."""
        if not self._is_paused:
            self._is_paused = True
            self.content.slowed(self)

    def resume_reply(self) -> None:
        """Go on."""
        if self._is_paused:
            self._is_paused = False
            self.go_on()

    def cancel(self) -> None:
        """The client has left."""
        self.content.abandoned(self)

    # What the content's side calls.

    def wait_no_more(self) -> None:
        """Cancel the call that ends the wait for a head."""
        attempt, self.exchange.attempt = self.exchange.attempt, None
        if attempt is not None:
            attempt.cancel()

    def begin(self) -> None:
        """Give the client what there is: it has the head."""
        self._has_begun = True
        self.go_on()

    def flush(self) -> None:
        """Have the head sent if it still waits for content."""
        if self._has_begun and not self.position and self.is_reading:
            self.exchange.client.flush_reply()

    def take(self, data: bytes) -> None:
        """Give the client what follows that which it has; it is ready, and this is not the last."""
        self.position += len(data)
        self.exchange.client.write_reply(data)

    def go_on(self, now: float | None = None) -> None:
        """Give the client as much of what there is as it takes.

        :param now: the moment, in seconds, if it is known.
        """
        # What the client is given may make it resume at once; whoever is in the loop already goes on.
        if not self._has_begun or self._is_in_turn:
            return
        self._is_in_turn = True
        try:
            while not self._is_paused and self.is_reading:
                if not self._give(now):
                    break
        finally:
            self._is_in_turn = False
        if not self._is_paused and self.is_reading:
            self.content.caught_up(self)

    def _give(self, now: float | None) -> bool:
        """Give the client the next piece; return whether there may be more."""
        content = self.content
        piece = content.read(self.position)
        self.position += len(piece)
        if self.position == content.end:
            exchange = self.exchange
            exchange.server = None
            content.left(self)
            client = exchange.client
            client.end_reply(piece, content.trailers, client.site.clock() if now is None else now)
            return False
        if not piece:
            return False
        self.exchange.client.write_reply(piece)
        return True

    def __repr__(self) -> str:
        return f"<Reader at {self.position} of {self.exchange!r}>"
