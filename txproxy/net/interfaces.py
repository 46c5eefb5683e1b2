"""What the transports and ports of this package offer beyond Twisted's own interfaces."""

from __future__ import annotations

from socket import socket

from OpenSSL import SSL
from twisted.internet.interfaces import IAddress, IListeningPort, ITransport
from zope.interface import Attribute, Interface

from txproxy.net.tls_failure import TlsFailure


class IEagerTransport(ITransport):
    """
    A stream transport whose C{write} tries the socket at once and queues only what the kernel did not take.

    It keeps the semantics of C{twisted.internet.tcp} with these deviations: a streaming producer that was paused is
    resumed when the queue has shrunk to 32 KiB, not only when it is empty, so that the socket never runs dry while the
    producer wakes up; and it is paused once, not again by every write until it is resumed.
    """

    queued_bytes = Attribute("How many bytes were accepted by C{write} and not yet taken by the kernel (C{int}).")

    def unread_bytes() -> int:
        """
        Ask the kernel how much the peer has not taken yet.

        @return: C{queued_bytes}, and what the kernel has sent and not seen acknowledged, or not sent yet; it falls as
            long as the peer reads, also while the socket is not writable because the kernel holds megabytes.
        """

    def has_unread_or_closed() -> bool:
        """
        Ask the kernel, without consuming anything, whether this connection is still quiet and open.

        @return: C{True} if the peer closed or reset the connection, or if bytes wait to be read, or if the connection
            is already lost; C{False} if an idle connection may be used for another request (RFC 9112 section 9.3).
        """


class IPeekingTransport(ITransport):
    """
    A transport of the server's side that can leave in the kernel what its protocol does not want.

    While it peeks, its protocol has C{peeked(data)}, which is shown what has arrived and returns how many of these
    bytes it takes, from the first on, and C{taken()}, which is called once they are out of the kernel. One that takes
    none of them has to end the connection or the peeking, for it is shown them again at once.
    """

    proxied = Attribute("What a proxy in front has said of the peer that C{getPeer} returns; C{None} if there is none.")

    def begin_peeking() -> None:
        """Let C{peeked} be called in place of C{dataReceived}, and before any handshake of TLS begins."""

    def end_peeking() -> None:
        """Read from here on as any transport does. To be called, also if the connection is lost while it peeks."""

    def present_as(peer: IAddress, proxied: object) -> None:  # noqa: N805 - a method of an interface has no self
        """
        Have somebody stand for the peer: the one behind the proxy that has connected.

        @param peer: what C{getPeer} returns from here on.
        @param proxied: what the proxy says of it.
        """


class IPausablePort(IListeningPort):
    """A listening port that can stop accepting for a while; clients meanwhile wait in the kernel's backlog."""

    def pause_accepting() -> None:
        """Accept no further connection until L{resume_accepting}. Calling it again changes nothing."""

    def resume_accepting() -> None:
        """Accept connections again. Calling it on a port that was not paused changes nothing."""


class ISharedPort(IListeningPort):
    """A listening port whose socket may outlive it."""

    def share() -> None:
        """
        Let somebody else have the socket too.

        Closing this port then only closes its descriptor: the socket goes on listening, with the connections that wait
        in it, and the file of a unix socket stays.
        """

    def own_file() -> None:
        """
        Remove the file of a unix socket at the end, although the socket was adopted: whoever bound it is gone.

        Without effect on other ports.
        """


class IServerTls(Interface):
    """What a listening port needs to speak TLS: a context factory as C{IReactorSSL.listenSSL} takes it."""

    def getContext() -> SSL.Context:
        """@return: the context that a new connection begins with; asked for each connection."""


class IClientTls(Interface):
    """What a connecting transport needs to speak TLS to one server."""

    def connection(skt: socket) -> SSL.Connection:  # noqa: N805 - a method of an interface has no self
        """
        Begin the TLS of a connection.

        @param skt: the connected socket.
        @return: a connection on that socket in connect state, with the name for SNI, ALPN and a session to resume set.
        """

    def check(connection: SSL.Connection) -> None:  # noqa: N805 - a method of an interface has no self
        """
        Decide whether the peer is the one that was meant; asked once, when the handshake is complete.

        @raise TlsFailure: if it is not; the connection is closed then, and no protocol is made.
        """

    def failure(connection: SSL.Connection, error: Exception) -> TlsFailure:  # noqa: N805 - a method of an interface has no self
        """@return: what a handshake that failed with C{error} is reported as."""

    def secured(connection: SSL.Connection) -> None:  # noqa: N805 - a method of an interface has no self
        """Take note of a connection that has just received its first application data: its session can be kept."""
