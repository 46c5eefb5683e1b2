"""Whose certificate a backend has shown, who signed it, until when it holds; and what is said if it will not do."""

from __future__ import annotations

from datetime import UTC, datetime
from ipaddress import ip_address
from typing import NamedTuple

from cryptography import x509
from OpenSSL import SSL
from service_identity.cryptography import verify_certificate_hostname, verify_certificate_ip_address

from txproxy.net.tls_failure import TlsFailure, TlsFault, failure_of

_CHAIN_PROBLEMS = {
    # Numbers of OpenSSL's x509_vfy.h; see the manual of X509_STORE_CTX_get_error.
    **dict.fromkeys((2, 7, 18, 19, 20, 21, 24, 27, 30, 32, 79), "is not signed by a known authority"),
    9: "is not valid yet",
    10: "has expired",
    23: "is revoked",
    26: "is not that of a server",
    **dict.fromkeys((47, 48), "is for a name that its authority may not sign"),
    **dict.fromkeys((66, 67, 68), "is signed with too weak a key or digest"),
}
_NO_TLS = frozenset(("wrong version number", "packet length too long", "http request", "https proxy request"))
"""What OpenSSL says when the first bytes are no record of TLS."""
_REFUSALS = frozenset(
    (
        "certificate required",
        "bad certificate",
        "unsupported certificate",
        "certificate revoked",
        "certificate expired",
        "certificate unknown",
        "unknown ca",
        "access denied",
        "decrypt error",
        "handshake failure",
    )
)
"""Alerts by which a server refuses who we are (RFC 8446 section 6.2), as OpenSSL calls them."""
_AMBIGUOUS = ("handshake failure", "decrypt error")
"""Those that may also mean that there is no version or cipher in common, if they come early."""
_ALERT = " alert "
"""In OpenSSL's text for an alert that was received: ``tlsv1 alert unknown ca``."""
_LONGEST_NAME = 253


class NotVerified(TlsFailure):
    """The certificate of a backend will not do.

    :param words: why not.
    """

    def __init__(self, words: str) -> None:
        super().__init__(TlsFault.PEER, words)


class PeerRefused(TlsFailure):
    """A backend did not accept us: its own side of the handshake failed, so that it has read nothing that was sent.

    In TLS 1.3 that is heard only after our side of it was complete (RFC 8446 section 4.4.2.4).

    :param words: why not.
    """

    def __init__(self, words: str) -> None:
        super().__init__(TlsFault.PEER, words)


class PeerName(NamedTuple):
    """For whom a backend's certificate must be."""

    text: str
    """A host name in the form of the DNS, or an IP address."""
    is_address: bool

    @classmethod
    def of(cls, name: str) -> PeerName:
        """Return what a name means.

        :param name: a host name, also a final dot or letters beyond ASCII in it; or an IP address, also in brackets.
        :raises ValueError: it is neither.
        """
        text = name.strip("[]").partition("%")[0]
        try:
            return cls(str(ip_address(text)), True)
        except ValueError:
            pass
        # The DNS's final dot stands neither in certificates nor in SNI (RFC 6066 section 3).
        text = name.removesuffix(".").lower()
        if not text.isascii():
            text = text.encode("idna").decode()
        legal = text and len(text) <= _LONGEST_NAME and all(each.isalnum() or each in "-_." for each in text)
        if not legal:
            raise ValueError(f"{name!r} is neither a host name nor an IP address")
        return cls(text, False)

    @property
    def server_name(self) -> bytes:
        """What SNI says; nothing for an address (RFC 6066 section 3)."""
        return b"" if self.is_address else self.text.encode()


def chain_problem(number: int, depth: int) -> str:
    """Return what is wrong with a chain of certificates.

    :param number: OpenSSL's, of the error.
    :param depth: of the certificate that it is about: 0 is the backend's own.
    """
    whose = "the certificate" if depth == 0 else "the certificate of its authority"
    return f"{whose} {_CHAIN_PROBLEMS.get(number, f'is not valid (error {number} of OpenSSL)')}"


def identity_problem(certificate: x509.Certificate | None, name: PeerName) -> str:
    """Return why a certificate is not for a name (RFC 9525); nothing if it is."""
    if certificate is None:
        return "there is no certificate"
    verify = verify_certificate_ip_address if name.is_address else verify_certificate_hostname
    try:
        verify(certificate, name.text)
    except Exception:
        # The certificate is the peer's: there are many ways in which its names cannot be read.
        return f"the certificate is not for {name.text}"
    return ""


def has_expired(certificate: x509.Certificate | None) -> bool:
    """Return whether the time of a certificate is over."""
    return certificate is None or certificate.not_valid_after_utc <= datetime.now(UTC)


def handshake_failure(error: Exception, noted: str, shows_certificate: bool) -> TlsFailure:
    """Return what a failed handshake is reported as.

    :param error: what pyOpenSSL raised.
    :param noted: what is wrong with the peer's chain, if that was the reason.
    :param shows_certificate: we have one of our own.
    """
    if noted:
        return NotVerified(noted)
    if isinstance(error, SSL.ZeroReturnError | SSL.SysCallError | OSError):
        return TlsFailure(TlsFault.NETWORK, "closed during the TLS handshake")
    reasons = reasons_of(error)
    if not _NO_TLS.isdisjoint(reasons):
        return TlsFailure(TlsFault.PEER, "it does not speak TLS")
    alert = _alert(reasons)
    found = failure_of(error, True)
    if alert in _REFUSALS and alert not in _AMBIGUOUS:
        return TlsFailure(found.fault, _refusal(alert, shows_certificate))
    return TlsFailure(found.fault, f"TLS handshake failed: {found.words}")


def late_failure(error: Exception, is_tls13: bool, shows_certificate: bool) -> TlsFailure:
    """Return what a failure is reported as that comes after our side of the handshake and before the peer's first word.

    :param is_tls13: by that version, a server learns who we are only after our side of the handshake.
    """
    alert = _alert(reasons_of(error))
    if is_tls13 and alert in _REFUSALS:
        return PeerRefused(_refusal(alert, shows_certificate))
    return failure_of(error, False)


def reasons_of(error: Exception) -> list[str]:
    """Return OpenSSL's reasons of an error, oldest first."""
    queue = error.args[0] if error.args else ()
    return [each[-1] for each in queue] if isinstance(queue, list) else []


def _alert(reasons: list[str]) -> str:
    return next((reason.rpartition(_ALERT)[2] for reason in reasons if _ALERT in reason), "")


def _refusal(alert: str, shows_certificate: bool) -> str:
    what = "it does not accept our certificate" if shows_certificate else "it asks for a certificate of ours"
    return f"{what} ({alert})"
