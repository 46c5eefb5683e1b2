"""Certificates for tests, made while they run."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey

CLIENT = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
SERVER = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
ANY_USE = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE])
MUST_STAPLE = x509.TLSFeature([x509.TLSFeatureType.status_request])


class Identity(NamedTuple):
    """A certificate and its key, as PEM."""

    certificate: bytes
    """Its own first, then those of intermediate authorities."""
    key: bytes

    def encrypted_key(self, password: bytes = b"secret") -> bytes:
        """Return the key under a password."""
        key = load_pem_private_key(self.key, None)
        return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(password))

    @property
    def leaf(self) -> x509.Certificate:
        """Its own certificate."""
        return x509.load_pem_x509_certificate(self.certificate)


class Authority:
    """Signs certificates of servers, clients and other authorities.

    :param name: its own.
    :param ends_in_days: how long its own certificate holds; negative: it has expired.
    :param issuer: who signs for it; itself if None.
    """

    def __init__(self, name: str = "Test Authority", ends_in_days: float = 1, issuer: Authority | None = None) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(name)
        self._certificate = (
            _begun(self._name, self._key, _in_days(ends_in_days))
            .issuer_name(self._name if issuer is None else issuer._name)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._key if issuer is None else issuer._key, SHA256())
        )
        self.certificate = self._certificate.public_bytes(Encoding.PEM)
        """Its own, as PEM: who trusts this trusts all that it signs."""
        self._sent_along: bytes = b"" if issuer is None else self.certificate + issuer._sent_along

    def intermediate(self, name: str = "Intermediate", ends_in_days: float = 1) -> Authority:
        """Return an authority that this one signs for; its identities bring its certificate along."""
        return Authority(name, ends_in_days, self)

    def identity(
        self,
        *names: str,
        ends_in_days: float = 0.5,
        begins_in_days: float | None = None,
        key: str = "ec",
        more: Sequence[x509.ExtensionType] = (),
        common_name: str = "a server",
        subject: x509.Name | None = None,
    ) -> Identity:
        """Return a new certificate.

        :param names: host names and addresses that it is for.
        :param ends_in_days: how long it holds; negative: it has expired.
        :param begins_in_days: when it begins to hold; a year before its end if omitted.
        :param key: ``ec``, ``p192``, ``ed25519``, ``rsa``, or ``rsa`` with a number of bits, as ``rsa1024``.
        :param more: further extensions.
        :param subject: in place of one with the common name alone.
        """
        own = _make_key(key)
        beginning = None if begins_in_days is None else _in_days(begins_in_days)
        builder = _begun(subject or _name(common_name), own, _in_days(ends_in_days), beginning)
        if names:
            more = (x509.SubjectAlternativeName(list(map(_general_name, names))), *more)
        for extension in more:
            builder = builder.add_extension(extension, critical=False)
        certificate = builder.issuer_name(self._name).sign(self._key, SHA256())
        return Identity(
            certificate.public_bytes(Encoding.PEM) + self._sent_along,
            own.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        )

    def signed_anew(self, identity: Identity, old: bytes, new: bytes) -> x509.Certificate:
        """Return a certificate with bytes of its contents replaced, which no builder of certificates would write.

        :param new: as long as the old ones.
        """
        leaf = identity.leaf
        contents, algorithm = leaf.tbs_certificate_bytes.replace(old, new), _der(0x30, _ECDSA_WITH_SHA256)
        signature = self._key.sign(contents, ec.ECDSA(SHA256()))
        return x509.load_der_x509_certificate(_der(0x30, contents + algorithm + _der(3, b"\0" + signature)))

    def staple(
        self,
        identity: Identity,
        status: ocsp.OCSPCertStatus = ocsp.OCSPCertStatus.GOOD,
        ends_in_days: float | None = 1,
        begins_in_days: float = -2,
    ) -> bytes:
        """Return an OCSP reply about a certificate, in DER.

        :param ends_in_days: when there will be a newer one; negative: there should be; None: it does not say.
        :param begins_in_days: since when it holds.
        """
        is_revoked = status is ocsp.OCSPCertStatus.REVOKED
        builder = ocsp.OCSPResponseBuilder().add_response(
            cert=identity.leaf,
            issuer=self._certificate,
            algorithm=SHA256(),
            cert_status=status,
            this_update=_in_days(begins_in_days),
            next_update=None if ends_in_days is None else _in_days(ends_in_days),
            revocation_time=_in_days(-1) if is_revoked else None,
            revocation_reason=x509.ReasonFlags.key_compromise if is_revoked else None,
        )
        reply = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, self._certificate).sign(self._key, SHA256())
        return reply.public_bytes(Encoding.DER)


_ECDSA_WITH_SHA256 = bytes.fromhex("06082a8648ce3d040302")


def _der(tag: int, content: bytes) -> bytes:
    length = len(content)
    if length < 0x80:
        return bytes((tag, length)) + content
    digits = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(digits))) + digits + content


def self_signed(*names: str, ends_in_days: float = 0.5) -> Identity:
    """Return a certificate that its own key has signed, as `openssl req -x509` makes it."""
    key = _make_key("ec")
    name = _name("self-signed")
    certificate = (
        _begun(name, key, _in_days(ends_in_days))
        .issuer_name(name)
        .add_extension(x509.SubjectAlternativeName(list(map(_general_name, names))), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, SHA256())
    )
    return Identity(
        certificate.public_bytes(Encoding.PEM), key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )


def key_usage(*granted: str) -> x509.KeyUsage:
    """Return a keyUsage that grants only these, as ``digital_signature``."""
    every = (
        "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
        "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
    )  # fmt: skip
    return x509.KeyUsage(**{each: each in granted for each in every})


def _make_key(kind: str) -> Key:
    if kind == "ec":
        return ec.generate_private_key(ec.SECP256R1())
    if kind == "p192":
        return ec.generate_private_key(ec.SECP192R1())
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    return rsa.generate_private_key(65537, int(kind.removeprefix("rsa") or 2048))


def _begun(
    subject: x509.Name, key: Key, ending: datetime, beginning: datetime | None = None
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(beginning or ending - timedelta(days=365))
        .not_valid_after(ending)
    )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _in_days(days: float) -> datetime:
    return datetime.now(UTC) + timedelta(days=days)


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)
