"""A valve on what a transport reads: open only while nobody has a reason to keep it shut."""

from __future__ import annotations

from twisted.internet.interfaces import IPushProducer


class Reason:
    """Why reading is paused: bits of a plain number, for a flag of ``enum`` costs a microsecond each time."""

    PEER_IS_SLOW = 1
    """The other side's transport is full."""
    NO_PEER_YET = 2
    """What was read has no place to go yet, and enough of it waits."""
    PIPELINED = 4
    """Enough bytes of later requests wait."""
    DECIDING = 8
    """A stage is still deciding on what came before."""

    NAMES = {PEER_IS_SLOW: "PEER_IS_SLOW", NO_PEER_YET: "NO_PEER_YET", PIPELINED: "PIPELINED", DECIDING: "DECIDING"}


class Valve:
    """Pauses and resumes a transport; each reason counts once, however often it is given.

    :param transport: whose reading is meant.
    """

    __slots__ = ("_transport", "reasons")

    def __init__(self, transport: IPushProducer) -> None:
        self._transport = transport
        self.reasons = 0
        """Why nothing is read; 0 while the valve is open. Only this class changes it."""

    @property
    def is_shut(self) -> bool:
        """Whether there is any reason to read nothing."""
        return bool(self.reasons)

    def shut(self, reason: int) -> None:
        """Read nothing while this reason holds."""
        before = self.reasons
        self.reasons = before | reason
        if not before:
            self._transport.pauseProducing()

    def open(self, reason: int) -> None:
        """Take a reason away; reading goes on if it was the last."""
        before = self.reasons
        if before & reason:
            self.reasons = before & ~reason
            if before == reason:
                self._transport.resumeProducing()

    def open_wide(self) -> None:
        """Take all reasons away: the parties of the last exchange have no say in the next."""
        if self.reasons:
            self.reasons = 0
            self._transport.resumeProducing()

    def __repr__(self) -> str:
        names = "|".join([name for reason, name in Reason.NAMES.items() if self.reasons & reason])
        return f"<Valve {'shut: ' + names if names else 'open'}>"


class _NoValve(Valve):
    """Stays open."""

    __slots__ = ()

    def __init__(self) -> None:
        self.reasons = 0

    def shut(self, reason: int) -> None:
        """Do nothing: there is nothing to be read."""


NO_VALVE: Valve = _NoValve()
"""Of whoever has nothing to send."""
