"""A connection to a backend that carries raw bytes for one client: made for it, and never used again."""

from __future__ import annotations

from typing import Any

from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from txproxy.policy.deadlines import NEVER


class RawConnection(Protocol):
    """Reads nothing until somebody takes its transport: what the backend says first waits in the kernel.

    It is what the pool counts, and stays so while another protocol uses the transport, until ``end``.

    :param backend: told by ``lost`` when it is gone.
    """

    transport: Any

    refusal = ""
    """Why the backend did not accept us; it would say so only to one who reads."""
    has_spoken = False
    """Likewise: nobody has asked."""
    requests = 0
    """It carries nothing before it carries its client."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        self.is_reusable = False
        """It is open, and nobody has had it yet."""
        self.in_pool = False
        """The pool knows it, and must be told when it is gone."""
        self.stale_at = NEVER

    # What Twisted calls.

    def connectionMade(self) -> None:
        """Wait to be used."""
        self.is_reusable = True
        self.transport.pauseProducing()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """It was lost before anybody used it."""
        self.is_reusable = False
        self.transport = None
        self.end()

    # What the backend calls.

    def hear_first(self) -> None:
        """Do nothing: what the backend says first is for the client."""

    def expect_idle(self, now: float) -> None:
        """Close: the client that it was made for has left, and the backend may have begun to talk to it."""
        self.hand_back()

    def retire(self) -> None:
        """Close a connection that the pool has let go of already."""
        self.in_pool = False
        if self.is_reusable:
            self.is_reusable = False
            self.transport.abortConnection()

    # What whoever has leased it calls.

    def hand_back(self) -> None:
        """Give it up unused."""
        self.retire()
        self._backend.lost(self)

    def take_transport(self) -> Any:
        """Return the transport: from here on it is the caller's, who calls ``end`` when it is lost."""
        self.is_reusable = False
        # Who made the connection knows this object, and the transport knows who made it: a cycle for each client.
        transport, self.transport = self.transport, None
        return transport

    def end(self) -> None:
        """Take note that the transport is lost: the pool has one connection less."""
        if self.in_pool:
            self.in_pool = False
            self._backend.lost(self)

    def __repr__(self) -> str:
        return f"<RawConnection {'unused' if self.is_reusable else 'in use' if self.in_pool else 'closed'}>"
