"""Certificates for tests, made while they run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID


class Identity(NamedTuple):
    """A certificate and its key, as PEM."""

    certificate: bytes
    key: bytes


class Authority:
    """Signs certificates of servers.

    :param name: its own.
    :param ends_in_days: how long its own certificate holds; negative: it has expired.
    """

    def __init__(self, name: str = "Test Authority", ends_in_days: float = 1) -> None:
        self._key = generate_private_key(SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        ending = datetime.now(UTC) + timedelta(days=ends_in_days)
        self._certificate = (
            self._begun(self._name, self._key, ending)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._key, SHA256())
        )
        self.certificate = self._certificate.public_bytes(Encoding.PEM)
        """Its own, as PEM: who trusts this trusts all that it signs."""

    def identity(self, *names: str, ends_in_days: float = 0.5, begins_in_days: float | None = None) -> Identity:
        """Return a new certificate of a server.

        :param names: host names and addresses that it is for.
        :param ends_in_days: how long it holds; negative: it has expired.
        :param begins_in_days: when it begins to hold; a year before its end if omitted.
        """
        key = generate_private_key(SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a server")])
        now = datetime.now(UTC)
        builder = self._begun(subject, key, now + timedelta(days=ends_in_days))
        if begins_in_days is not None:
            builder = self._begun(
                subject, key, now + timedelta(days=ends_in_days), now + timedelta(days=begins_in_days)
            )
        if names:
            builder = builder.add_extension(
                x509.SubjectAlternativeName(list(map(_general_name, names))), critical=False
            )
        return Identity(
            builder.sign(self._key, SHA256()).public_bytes(Encoding.PEM),
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        )

    def _begun(
        self, subject: x509.Name, key: EllipticCurvePrivateKey, ending: datetime, beginning: datetime | None = None
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(beginning or ending - timedelta(days=365))
            .not_valid_after(ending)
        )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)
