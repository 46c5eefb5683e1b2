"""Errors of OpenSSL are sorted by whose fault they are."""

from __future__ import annotations

import errno

from OpenSSL import SSL
from twisted.internet.error import ConnectionLost
from twisted.trial.unittest import SynchronousTestCase

from txproxy.net.tls_failure import TlsFailure, TlsFault, cut, failure_of

PEER, OURS, NETWORK = TlsFault.PEER, TlsFault.OURS, TlsFault.NETWORK


def of_openssl(*reasons: str) -> SSL.Error:
    """Return an error as pyOpenSSL raises it."""
    return SSL.Error([("SSL routines", "", reason) for reason in reasons])


class FailureTests(SynchronousTestCase):
    """A failure says whose fault it was, and what, in words that the peer cannot choose."""

    def test_table(self) -> None:
        """OpenSSL's reasons, and what is made of them."""
        for error, fault, words in (
            (of_openssl("http request"), PEER, "it spoke plain HTTP"),
            (of_openssl("https proxy request"), PEER, "it spoke plain HTTP"),
            (of_openssl("wrong version number"), PEER, "it spoke no TLS"),
            (of_openssl("unsupported protocol"), PEER, "no version of TLS in common"),
            (of_openssl("no shared cipher"), PEER, "no cipher in common"),
            (of_openssl("no application protocol"), PEER, "no application protocol in common"),
            (of_openssl("peer did not return a certificate"), PEER, "it showed no certificate"),
            (of_openssl("certificate verify failed"), PEER, "its certificate was not accepted"),
            (of_openssl("tlsv1 alert unknown ca"), PEER, "it sent the alert: unknown ca"),
            (of_openssl("ssl/tls alert bad certificate"), PEER, "it sent the alert: bad certificate"),
            (of_openssl("tlsv13 alert certificate required"), PEER, "it sent the alert: certificate required"),
            (of_openssl("no alert sent"), PEER, "no alert sent"),
            (of_openssl("decryption failed or bad record mac"), PEER, "decryption failed or bad record mac"),
            (of_openssl("a reason of tomorrow"), PEER, "a reason of tomorrow"),
            (of_openssl("nested asn1 error", "Something Else"), PEER, "nested asn1 error"),
            (of_openssl("bad signature", "certificate verify failed"), PEER, "its certificate was not accepted"),
            (of_openssl("internal error"), OURS, "internal error"),
            (of_openssl("no certificate assigned"), OURS, "no certificate assigned"),
            (of_openssl("malloc failure", "no shared cipher"), OURS, "malloc failure"),
            (of_openssl(""), PEER, "it sent an alert that is not known"),
            (of_openssl(), OURS, "an error that OpenSSL does not explain"),
            (SSL.Error(), OURS, "an error that OpenSSL does not explain"),
            (SSL.Error("text"), OURS, "an error that OpenSSL does not explain"),
            (SSL.SysCallError(-1, "Unexpected EOF"), NETWORK, "closed without a close alert"),
            (SSL.SysCallError(errno.ECONNRESET, "ECONNRESET"), NETWORK, "connection reset by peer"),
            (SSL.SysCallError(errno.EPIPE, "EPIPE"), NETWORK, "broken pipe"),
            (SSL.ZeroReturnError(), PEER, "it gave up the handshake"),
        ):
            failure = failure_of(error, False)
            self.assertEqual((failure.fault, failure.words, str(failure)), (fault, words, words), error)

    def test_cutInTheHandshake(self) -> None:
        """The network's failures say if it was in the handshake."""
        failure = failure_of(SSL.SysCallError(errno.ECONNRESET, "ECONNRESET"), True)
        self.assertEqual(str(failure), "connection reset by peer in the handshake")
        self.assertEqual((cut("lost").fault, str(cut("lost"))), (NETWORK, "lost"))

    def test_itIsALoss(self) -> None:
        """Whoever waits for the end of a body takes it for what it is: not the end."""
        self.assertIsInstance(TlsFailure(PEER, "x"), ConnectionLost)
