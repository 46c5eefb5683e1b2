"""Why TLS on a connection came to nothing, and whose fault that was."""

from __future__ import annotations

from enum import Enum

from twisted.internet.error import ConnectionLost


class TlsFault(Enum):
    """Whose fault a failure is."""

    PEER = "peer"
    """The other side spoke no TLS, nothing that we speak, or did not accept or prove an identity."""
    OURS = "ours"
    """A setting or a bug of this side."""
    NETWORK = "network"
    """The connection was cut: a reset, an end without a close alert, a timeout."""


class TlsFailure(ConnectionLost):
    """
    TLS came to nothing, in its handshake or after it.

    It is a C{ConnectionLost}: whoever waits for the end of a body learns that this end cannot be relied on.

    @ivar fault: whose fault it was.
    @ivar words: what was wrong, for a log line: lower case, nothing that the peer chose.
    """

    def __init__(self, fault: TlsFault, words: str) -> None:
        super().__init__(words)
        self.fault = fault
        self.words = words

    def __str__(self) -> str:
        return self.words
