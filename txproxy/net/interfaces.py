"""What the transports and ports of this package offer beyond Twisted's own interfaces."""

from __future__ import annotations

from twisted.internet.interfaces import IListeningPort, ITransport
from zope.interface import Attribute


class IEagerTransport(ITransport):
    """
    A stream transport whose C{write} tries the socket at once and queues only what the kernel did not take.

    It keeps the semantics of C{twisted.internet.tcp} with these deviations: a streaming producer that was paused is
    resumed when the queue has shrunk to 32 KiB, not only when it is empty, so that the socket never runs dry while the
    producer wakes up; and it is paused once, not again by every write until it is resumed.
    """

    queued_bytes = Attribute("How many bytes were accepted by C{write} and not yet taken by the kernel (C{int}).")

    def has_unread_or_closed() -> bool:
        """
        Ask the kernel, without consuming anything, whether this connection is still quiet and open.

        @return: C{True} if the peer closed or reset the connection, or if bytes wait to be read, or if the connection
            is already lost; C{False} if an idle connection may be used for another request (RFC 9112 section 9.3).
        """


class IPausablePort(IListeningPort):
    """A listening port that can stop accepting for a while; clients meanwhile wait in the kernel's backlog."""

    def pause_accepting() -> None:
        """Accept no further connection until L{resume_accepting}. Calling it again changes nothing."""

    def resume_accepting() -> None:
        """Accept connections again. Calling it on a port that was not paused changes nothing."""
