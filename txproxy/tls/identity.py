"""Who a client has shown itself to be by its certificate, in a form that fits into fields of a request."""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from OpenSSL import SSL

SUCCESS, NONE = b"SUCCESS", b"NONE"
"""As nginx's C{$ssl_client_verify} calls them; a certificate that is not accepted fails the handshake."""

_MOST_SUBJECT_BYTES = 4096
"""A longer subject is left out: backends would refuse it, and half of it could be another's."""


class NotAccepted(Exception):
    """The certificate of a client will not do; the message says why, in words of ours."""


def client_identity(connection: SSL.Connection, client_auth: str, now: float) -> tuple[bytes, bytes, bytes]:
    """Return subject, fingerprint and outcome of a client's verification, each ready to be a field's value.

    :param connection: its handshake is complete.
    :param client_auth: ``none``, ``optional`` or ``required``.
    :param now: in seconds since 1970.
    :return: the subject as RFC 4514 writes it, the SHA-256 of the certificate in hexadecimal digits, and ``SUCCESS`` or
        ``NONE``. All are empty if no certificate was asked for, the first two if none was shown.
    :raises NotAccepted: if the certificate has expired: OpenSSL looks at it when a session begins, not when it goes on.
    """
    if client_auth == "none":
        return b"", b"", b""
    certificate = connection.get_peer_certificate(as_cryptography=True)
    if certificate is None:
        return b"", b"", NONE
    if certificate.not_valid_after_utc.timestamp() < now:
        raise NotAccepted("the client's certificate has expired since its session began")
    return _subject_of(certificate), certificate.fingerprint(SHA256()).hex().encode(), SUCCESS


def _subject_of(certificate: x509.Certificate) -> bytes:
    try:
        return _field_value(certificate.subject.rfc4514_string())
    except Exception:
        # Names in old kinds of strings, which OpenSSL accepts and cryptography does not read; the fingerprint remains.
        return b""


def _field_value(text: str) -> bytes:
    """Return a text with all but printable ASCII as pairs of hexadecimal digits (RFC 4514 section 2.4)."""
    raw = text.encode("utf-8", "surrogateescape")
    escaped = b"".join(bytes((byte,)) if 0x20 <= byte < 0x7F else b"\\%02X" % byte for byte in raw)
    return escaped.strip(b" ") if len(escaped) <= _MOST_SUBJECT_BYTES else b""
