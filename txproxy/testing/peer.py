"""The far end of a connection of the proxy: a client or a backend, spoken for by a test."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from txproxy.testing.transport import FakeTransport


class Head(NamedTuple):
    """The head of a message as a peer got it."""

    line: bytes
    """Request line or status line."""
    fields: list[tuple[bytes, bytes]]
    """In their order, names as they were spelled."""

    def all(self, name: bytes) -> list[bytes]:
        """Return the values of all fields of a name, in any case of letters."""
        return [value for field, value in self.fields if field.lower() == name.lower()]

    def get(self, name: bytes) -> bytes | None:
        """Return the value of the only field of a name, or None if there is none.

        :raises AssertionError: if there is more than one.
        """
        values = self.all(name)
        assert len(values) < 2, f"{name!r} stands {len(values)} times in {self}"
        return values[0] if values else None


class Peer:
    """A client or a backend.

    :param name: stands in the trace.
    :param transport: the proxy's side of the connection.
    :param settle: lets the proxy do all that can be done now.
    :param trace: where what is said and got is noted down.
    """

    def __init__(self, name: str, transport: FakeTransport, settle: Callable[[], None], trace: list[str]) -> None:
        self.name = name
        self.transport = transport
        self._settle = settle
        self._trace = trace
        self._got = b""

    def says(self, data: bytes, noticed: bool = True) -> None:
        """Send bytes.

        :param noticed: let the proxy read them; else they wait in the kernel.
        """
        self._note("says", data)
        self.transport.arriving += data
        self._after(noticed)

    def says_bytewise(self, data: bytes) -> None:
        """Send bytes, each in a packet of its own."""
        for index in range(len(data)):
            self.says(data[index : index + 1])

    def finishes(self, noticed: bool = True) -> None:
        """Send a FIN: it sends no more, and may be gone."""
        self._note("finishes")
        self.transport.peer_finished = True
        self._after(noticed)

    def resets(self) -> None:
        """Send a reset."""
        self._note("resets")
        self.transport.lose()
        self._settle()

    def stops_reading(self, room: int = 0) -> None:
        """Read nothing more, once so many bytes more have come."""
        self._note(f"stops reading after {room} bytes")
        self.transport.room = room

    def reads(self, size: int | None = None) -> None:
        """Read on.

        :param size: bytes that are read; all there are, from now on, if omitted.
        """
        self._note(f"reads {'on' if size is None else size}")
        self.transport.room = None if size is None else (self.transport.room or 0) + size
        self._settle()

    def gets(self) -> bytes:
        """Return what has come since this or ``gets_head`` was asked last."""
        data, self._got = self._take(), b""
        return data

    def gets_head(self) -> Head:
        """Return the next message's head; what follows it is for ``gets``.

        :raises AssertionError: if none has come.
        """
        data = self._take()
        head, end, self._got = data.partition(b"\r\n\r\n")
        if not end:
            raise AssertionError("\n".join((f"{self.name} got no head but {data!r}", *self._trace)))
        line, *lines = head.split(b"\r\n")
        fields = []
        for each in lines:
            name, _, value = each.partition(b":")
            fields.append((name, value.strip(b" ")))
        return Head(line, fields)

    def _take(self) -> bytes:
        new = bytes(self.transport.sent)
        self.transport.sent.clear()
        if new:
            self._note("gets", new)
        return self._got + new

    @property
    def is_open(self) -> bool:
        """Whether nothing that it has seen says that the connection has ended."""
        return not (self.transport.disconnected or self.transport.was_aborted or self.transport.is_shut)

    @property
    def sees_end(self) -> bool:
        """Whether it has seen a FIN: all was sent that would be."""
        transport = self.transport
        return not transport.was_aborted and (transport.is_shut or transport.disconnected)

    @property
    def sees_reset(self) -> bool:
        """Whether it has seen a reset."""
        return self.transport.was_aborted

    def _after(self, noticed: bool) -> None:
        if noticed:
            self._settle()

    def _note(self, what: str, data: bytes | None = None) -> None:
        shown = "" if data is None else f" {data!r}" if len(data) < 2000 else f" {len(data)} bytes: {data[:60]!r}..."
        self._trace.append(f"{self.name} {what}{shown}")

    def __repr__(self) -> str:
        return f"<Peer {self.name} {self.transport!r}>"
