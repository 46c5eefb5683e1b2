"""Certificates as a public authority would sign them, for judges that know the rules of browsers and of Mozilla."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256, Hash
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def _key(kind: str) -> Key:
    if kind == "rsa":
        return rsa.generate_private_key(65537, 2048)
    return ec.generate_private_key(ec.SECP256R1())


@dataclass(frozen=True)
class Leaf:
    """A certificate with its key and the certificates between it and the root."""

    certificate: x509.Certificate
    private_key: Key
    chain: bytes
    """Its own certificate first, as PEM."""

    @property
    def key(self) -> bytes:
        """Its private key, as PEM."""
        return self.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the certificate, in lower case hexadecimal digits."""
        return self.certificate.fingerprint(SHA256()).hex()

    @property
    def public_key_hash(self) -> bytes:
        """SHA-256 of its public key, as pins name it."""
        digest = Hash(SHA256())
        digest.update(self.private_key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
        return digest.finalize()

    def save(self, directory: Path, stem: str, key_mode: int = 0o600) -> str:
        """Write ``STEM.pem`` and ``STEM.key``, each in one step, and return the pair as a configuration names it."""
        replace(directory / f"{stem}.pem", self.chain)
        replace(directory / f"{stem}.key", self.key, key_mode)
        return pair(directory, stem)


def pair(directory: Path, stem: str, ocsp_path: str = "") -> str:
    """Return a pair of files as a configuration names it."""
    more = f', ocsp = "{ocsp_path}"' if ocsp_path else ""
    return f'{{ chain = "{directory / stem}.pem", key = "{directory / stem}.key"{more} }}'


def replace(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Put a file in place of another as careful tools do: nobody ever reads half of it."""
    new = path.with_name(f".{path.name}.new")
    new.write_bytes(data)
    new.chmod(mode)
    new.replace(path)


class Issuer:
    """An authority.

    :param name: its own.
    :param above: who signed it; None: it is a root.
    """

    def __init__(self, name: str = "Live Test Root", above: Issuer | None = None) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        signer, signer_name = (above._key, above._name) if above else (self._key, self._name)
        now = datetime.now(UTC)
        self.certificate = (
            self._begun(self._name, signer_name, self._key, now - timedelta(days=30), now + timedelta(days=300))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .add_extension(_key_of_issuer(signer), critical=False)
            .sign(signer, SHA256())
        )
        self.pem = self.certificate.public_bytes(Encoding.PEM)
        self.chain: bytes = (self.pem + above.chain) if above else b""
        """What a server sends of it: everything below the root."""

    def leaf(
        self,
        *names: str,
        kind: str = "ecdsa",
        common_name: str = "",
        client: bool = False,
        days: tuple[float, float] = (-1, 80),
    ) -> Leaf:
        """Return a new certificate.

        :param names: host names that it is for; a name in other letters as its A-label.
        :param kind: of its key: ``ecdsa`` or ``rsa``.
        :param common_name: of its subject; the first name if omitted.
        :param client: it is a client's, not a server's.
        :param days: when it begins and ends, in days from now. As given it holds less than the 90 that Mozilla allows.
        """
        key = _key(kind)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name or names[0])])
        now = datetime.now(UTC)
        begin, end = (now + timedelta(days=each) for each in days)
        use = ExtendedKeyUsageOID.CLIENT_AUTH if client else ExtendedKeyUsageOID.SERVER_AUTH
        builder = (
            self._begun(subject, self._name, key, begin, end)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([use]), critical=False)
            .add_extension(_key_of_issuer(self._key), critical=False)
        )
        if names:
            sans = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
            builder = builder.add_extension(sans, critical=False)
        certificate = builder.sign(self._key, SHA256())
        return Leaf(certificate, key, certificate.public_bytes(Encoding.PEM) + self.chain)

    def ocsp_reply(self, leaf: Leaf) -> bytes:
        """Return an OCSP reply (DER) that calls one of our certificates good."""
        now = datetime.now(UTC)
        return (
            ocsp.OCSPResponseBuilder()
            .add_response(
                leaf.certificate,
                self.certificate,
                SHA256(),
                ocsp.OCSPCertStatus.GOOD,
                now - timedelta(hours=1),
                now + timedelta(days=2),
                None,
                None,
            )
            .responder_id(ocsp.OCSPResponderEncoding.HASH, self.certificate)
            .sign(self._key, SHA256())
            .public_bytes(Encoding.DER)
        )

    def _begun(
        self, subject: x509.Name, issuer: x509.Name, key: Key, begin: datetime, end: datetime
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(end)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        )


def _key_of_issuer(key: ec.EllipticCurvePrivateKey) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())


def _usage(signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
