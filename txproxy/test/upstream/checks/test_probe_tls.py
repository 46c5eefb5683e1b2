"""C2: checks over TLS, as far as they are not the business of ``tls.client``: what a check makes of its failures."""

from __future__ import annotations

import time
from unittest import mock

from txproxy.net.tls_failure import TlsFailure, TlsFault
from txproxy.test.upstream.checks.probe_case import PASSED, ProbeCase
from txproxy.tls.client import ClientContext, ClientSettings
from txproxy.tls.verification import NotVerified, PeerRefused
from txproxy.upstream.checks.probes import ProbeSettings, make_probe

TLS = ClientContext(ClientSettings(verify=False), time.time())
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CUT = TlsFailure(TlsFault.NETWORK, "closed without a close alert")


class TlsCheckTests(ProbeCase):
    """Checks whose connections are made by a TLS handshake, which here succeeds or fails at will."""

    def test_handshake(self) -> None:
        """A check of type tls has passed when there is a connection; the peer sees an ordinary end of it."""
        self.begin(type="tls", tls=TLS)
        self.assert_verdict()
        backend = self.accept()
        self.assert_verdict(PASSED)
        self.assertEqual((backend.gets(), backend.sees_end), (b"", True))

    def test_failures(self) -> None:
        """What was wrong with the handshake is the reason, in the same words as for requests."""
        for error in (
            NotVerified("the certificate has expired"),
            TlsFailure(TlsFault.PEER, "it does not speak TLS"),
            TlsFailure(TlsFault.NETWORK, "closed during the TLS handshake"),
        ):
            for kind in ("tls", "http"):
                self.verdicts.clear()
                self.begin(type=kind, tls=TLS)
                self.refuse(error)
                self.assert_verdict(str(error))

    def test_reply(self) -> None:
        """An http check sends its request when the handshake is over."""
        self.begin(type="http", tls=TLS)
        backend = self.accept()
        self.assertEqual(backend.gets_head().line, b"GET /health HTTP/1.1")
        backend.says(OK)
        self.assert_verdict(PASSED)

    def test_refusedLate(self) -> None:
        """A backend that does not accept us says so after our side of the handshake, be that before or after a request."""
        for is_early in (True, False):
            self.verdicts.clear()
            self.begin(type="http", tls=TLS)
            transport = self.connect(self.take_attempt()) if is_early else self.accept().transport
            transport.lose(PeerRefused("it asks for a certificate of ours"))
            transport.turn()
            self.settle()
            self.assert_verdict("it asks for a certificate of ours")

    def test_cut(self) -> None:
        """A body that ends with the connection needs a close alert, for anybody can send a FIN (RFC 8446 section 6.1)."""
        for error, verdict in ((None, PASSED), (CUT, "the reply was cut")):
            self.verdicts.clear()
            self.begin(type="http", tls=TLS)
            backend = self.accept()
            backend.says(b"HTTP/1.1 200 OK\r\n\r\nall is well")
            if error is None:
                backend.finishes()
            else:
                backend.transport.lose(error)
            self.settle()
            self.assert_verdict(verdict)

    def test_whatIsOffered(self) -> None:
        """Where backends speak HTTP/2, an http check offers nothing else; to a tls check it does not matter."""
        tls = ClientContext(ClientSettings(verify=False, http2=True), time.time())
        for kind, only_http2 in (("http", True), ("tls", False)):
            with mock.patch.object(ClientContext, "to", autospec=True, side_effect=ClientContext.to) as to:
                self.begin(type=kind, tls=tls, http2=True).cancel()
            self.assertEqual([call.args[2] for call in to.call_args_list], [only_http2])

    def test_settings(self) -> None:
        """How TLS is spoken must be said."""
        self.assertRaises(ValueError, make_probe, ProbeSettings(type="tls"), self.reactor)
