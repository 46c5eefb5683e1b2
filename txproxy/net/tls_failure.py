"""Why TLS on a connection came to nothing, and whose fault that was."""

from __future__ import annotations

import os
from enum import Enum

from OpenSSL import SSL
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


_NO_TLS = "it spoke no TLS"
_NO_COMMON_VERSION = "no version of TLS in common"

# OpenSSL's reasons (err/openssl.txt) that say too little by themselves.
_WORDS = {
    "http request": "it spoke plain HTTP",
    "https proxy request": "it spoke plain HTTP",
    "wrong version number": _NO_TLS,
    "unknown protocol": _NO_TLS,
    "record layer failure": _NO_TLS,
    "unsupported protocol": _NO_COMMON_VERSION,
    "unsupported ssl version": _NO_COMMON_VERSION,
    "version too low": _NO_COMMON_VERSION,
    "no shared cipher": "no cipher in common",
    "no suitable groups": "no group for the key exchange in common",
    "no suitable key share": "no group for the key exchange in common",
    "no suitable signature algorithm": "no signature algorithm in common",
    "no shared signature algorithms": "no signature algorithm in common",
    "no application protocol": "no application protocol in common",
    "peer did not return a certificate": "it showed no certificate",
    "certificate verify failed": "its certificate was not accepted",
    "callback failed": "it asked for a name that is not served here",
    "clienthello tlsext": "it asked for a name that is not served here",
}

# What goes wrong without any doing of the peer. All else that OpenSSL finds wrong is about what the peer sent.
_OURS = frozenset(
    {
        "bad write retry",
        "internal error",
        "key values mismatch",
        "library bug",
        "malloc failure",
        "missing fatal",
        "no certificate assigned",
        "no certificate set",
        "no ciphers available",
        "no private key assigned",
        "no protocols available",
        "null ssl ctx",
        "null ssl method passed",
        "passed a null parameter",
        "passed invalid argument",
        "protocol is shutdown",
        "shutdown while in init",
        "uninitialized",
        "unsupported",
    }
)

_ALERT = " alert "
"""In the reasons of alerts that were received: C{tlsv1 alert unknown ca}, C{ssl/tls alert bad certificate}."""


def failure_of(error: Exception, in_handshake: bool) -> TlsFailure:
    """
    Sort an error of OpenSSL.

    @param error: as C{SSL.Connection} raised it; neither C{WantReadError} nor C{WantWriteError}.
    @param in_handshake: it was raised before the handshake was complete.
    @return: the same, with the fault and words for a log.
    """
    if isinstance(error, SSL.SysCallError):
        return cut(_system_words(error.args[0]), in_handshake)
    if isinstance(error, SSL.ZeroReturnError):
        return TlsFailure(TlsFault.PEER, "it gave up the handshake")
    reasons = _reasons(error)
    for reason in reasons:
        before, is_alert, alert = reason.partition(_ALERT)
        if is_alert and before.startswith(("ssl", "tls")):
            return TlsFailure(TlsFault.PEER, f"it sent the alert: {alert}")
    # Oldest first: what was wrong, then what came to nothing because of it.
    for reason in reasons:
        if reason in _OURS:
            return TlsFailure(TlsFault.OURS, reason)
    for reason in reasons:
        if reason in _WORDS:
            return TlsFailure(TlsFault.PEER, _WORDS[reason])
    if reasons:
        return TlsFailure(TlsFault.PEER, reasons[0])
    if error.args and error.args[0] and isinstance(error.args[0], list):
        # So OpenSSL reports alerts of numbers that it has no name for.
        return TlsFailure(TlsFault.PEER, "it sent an alert that is not known")
    return TlsFailure(TlsFault.OURS, "an error that OpenSSL does not explain")


def cut(words: str, in_handshake: bool = False) -> TlsFailure:
    """@return: a failure of the network."""
    return TlsFailure(TlsFault.NETWORK, f"{words} in the handshake" if in_handshake else words)


def _system_words(number: object) -> str:
    if isinstance(number, int) and number > 0:
        return os.strerror(number).lower()
    return "closed without a close alert"


def _reasons(error: Exception) -> list[str]:
    entries = error.args[0] if error.args else None
    if not isinstance(entries, list):
        return []
    return [entry[2].lower() for entry in entries if isinstance(entry, tuple) and len(entry) == 3 and entry[2]]
