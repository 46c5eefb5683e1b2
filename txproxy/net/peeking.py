"""The server's side of a connection whose first bytes are not for who serves it: not one byte too many is read."""

from __future__ import annotations

import socket
from functools import partial
from typing import Any

from twisted.internet.interfaces import IAddress
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST

PEEK_BYTES = 4352
"""At most so many bytes are shown at a time: more than any such beginning has."""


class Peeking:
    """
    Mixed into a transport of the server's side, which is an L{IPeekingTransport} then; one that is never asked for it
    pays nothing.

    @ivar proxied: see L{IPeekingTransport}.
    """

    proxied: Any = None

    def begin_peeking(self) -> None:
        """See L{IPeekingTransport.begin_peeking}."""
        # Shadowed on the instance, so that connections without it pay for no test of a flag in each read.
        self.__dict__["doRead"] = partial(_peek, self)

    def end_peeking(self) -> None:
        """See L{IPeekingTransport.end_peeking}."""
        self.__dict__.pop("doRead", None)

    def present_as(self, peer: IAddress, proxied: Any) -> None:
        """See L{IPeekingTransport.present_as}."""
        self.proxied = proxied
        self.__dict__["getPeer"] = lambda: peer


def _peek(transport: Any) -> Any:
    """
    Show the protocol what has arrived, and take as much of it as it says.

    @return: C{None}, or the reason why the connection is over.
    """
    skt, protocol = transport.socket, transport.protocol
    try:
        data = skt.recv(PEEK_BYTES, socket.MSG_PEEK)
    except BlockingIOError:
        return None
    except OSError:
        return CONNECTION_LOST
    if not data:
        return CONNECTION_DONE
    count = protocol.peeked(data)
    if count:
        try:
            skt.recv(count)
        except OSError:
            return CONNECTION_LOST
        protocol.taken()
    return None
