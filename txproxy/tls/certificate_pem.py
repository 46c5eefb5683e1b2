"""Certificates and keys in files of PEM (RFC 7468), with a word for each way in which such a file is mistaken."""

from __future__ import annotations

import re
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_der_private_key, load_pem_private_key

from txproxy.config.problems import quoted

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey

_KEY_TYPES: tuple[tuple[str, type], ...] = (
    ("rsa", rsa.RSAPrivateKey),
    ("ec", ec.EllipticCurvePrivateKey),
    ("ed25519", ed25519.Ed25519PrivateKey),
    ("ed448", ed448.Ed448PrivateKey),
)
_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,64})-----(.*?)-----END \1-----", re.DOTALL)
_BEGIN = re.compile(rb"-----BEGIN [A-Z0-9 ]{1,64}-----")
_CERTIFICATE_LABELS = ("CERTIFICATE", "X509 CERTIFICATE")


class PemError(Exception):
    """A file does not hold what it should; the message names it and says what to do."""


class _Block(NamedTuple):
    label: str
    text: bytes
    """With its first and last line."""

    @property
    def is_key(self) -> bool:
        return self.label.endswith("PRIVATE KEY")

    @property
    def is_encrypted(self) -> bool:
        # The second is how the formats of single algorithms say it (RFC 1421 section 4.6.1.1).
        return self.label == "ENCRYPTED PRIVATE KEY" or b"Proc-Type: 4,ENCRYPTED" in self.text


def parse_certificates(name: str, data: bytes) -> tuple[x509.Certificate, ...]:
    """Return the certificates in a file, in its order; at least one.

    :param name: of the file, for messages.
    :raises PemError: there is none, or one of them cannot be read.
    """
    blocks = _blocks(name, data)
    wanted = [block for block in blocks if block.label in _CERTIFICATE_LABELS]
    if not wanted:
        raise PemError(_no_certificate(name, data, blocks))
    found = []
    for number, block in enumerate(wanted, 1):
        try:
            certificate = x509.load_pem_x509_certificate(block.text)
            # These are read when they are asked for, and whoever asks later is not prepared for what is raised.
            _ = (
                certificate.subject,
                certificate.issuer,
                certificate.not_valid_before_utc,
                certificate.not_valid_after_utc,
            )
            found.append(certificate)
        except Exception as error:  # Besides ValueError there are InvalidVersion, KeyError and others.
            what = f"certificate {number} of {len(wanted)} in {quoted(name)}"
            raise PemError(f"{what} is damaged: {first_line(error)}") from None
    return tuple(found)


def holds_key(data: bytes) -> bool:
    """Tell whether there is a private key in a file."""
    return any(match[1].endswith(b"PRIVATE KEY") for match in _BLOCK.finditer(data))


def parse_key(name: str, data: bytes) -> PrivateKey:
    """Return the one private key in a file, which may hold certificates too.

    :param name: of the file, for messages.
    :raises PemError: there is none or more than one, or it is encrypted, damaged or of a kind that TLS has no use for.
    """
    blocks = _blocks(name, data)
    keys = [block for block in blocks if block.is_key]
    if not keys:
        raise PemError(_no_key(name, data, blocks))
    if len(keys) > 1:
        raise PemError(f"{quoted(name)} holds {len(keys)} private keys (leave one in it)")
    if keys[0].is_encrypted:
        raise PemError(f"the key in {quoted(name)} is encrypted (openssl pkey -in FILE -out FILE takes that away)")
    try:
        # The full check of an RSA key takes a quarter of a second, in which no other thread runs. Whether it belongs to
        # the certificate is found out, and the file is the operator's own.
        key = load_pem_private_key(keys[0].text, None, unsafe_skip_rsa_key_validation=True)
    except Exception as error:  # See parse_certificates.
        raise PemError(f"the key in {quoted(name)} is damaged or of an unknown kind: {first_line(error)}") from None
    if not isinstance(key, PrivateKey):
        raise PemError(f"the key in {quoted(name)} is of a kind that TLS has no use for (make one of RSA or EC)")
    return key


def key_type_of(key: PrivateKey) -> str:
    """Return ``rsa``, ``ec``, ``ed25519`` or ``ed448``."""
    return next(word for word, kind in _KEY_TYPES if isinstance(key, kind))


def first_line(error: Exception) -> str:
    """Return the first line of what a library says."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else "no reason is given"


def _blocks(name: str, data: bytes) -> list[_Block]:
    blocks = [_Block(match[1].decode("ascii"), match[0]) for match in _BLOCK.finditer(data)]
    if len(blocks) != len(_BEGIN.findall(data)):
        raise PemError(f"{quoted(name)} is cut off: a BEGIN line has no END line")
    return blocks


def _no_certificate(name: str, data: bytes, blocks: list[_Block]) -> str:
    if any(block.is_key for block in blocks):
        return f"{quoted(name)} holds a private key and no certificate (are chain and key interchanged?)"
    if not blocks and _is_der_certificate(data):
        return f"{quoted(name)} is in DER, not in PEM (openssl x509 -inform der -in FILE -out NEW converts it)"
    return f"{quoted(name)} holds no certificate in PEM{_instead(blocks)}"


def _no_key(name: str, data: bytes, blocks: list[_Block]) -> str:
    if any(block.label in _CERTIFICATE_LABELS for block in blocks):
        return f"{quoted(name)} holds a certificate and no private key (are chain and key interchanged?)"
    if not blocks and _is_der_key(data):
        return f"{quoted(name)} is in DER, not in PEM (openssl pkey -inform der -in FILE -out NEW converts it)"
    return f"{quoted(name)} holds no private key in PEM{_instead(blocks)}"


def _instead(blocks: list[_Block]) -> str:
    return f" but {', '.join(dict.fromkeys(block.label for block in blocks))}" if blocks else ""


def _is_der_certificate(data: bytes) -> bool:
    try:
        x509.load_der_x509_certificate(data)
    except Exception:  # See parse_certificates.
        return False
    return True


def _is_der_key(data: bytes) -> bool:
    try:
        load_der_private_key(data, None, unsafe_skip_rsa_key_validation=True)
    except TypeError:
        return True  # It is encrypted as well.
    except Exception:  # See parse_certificates.
        return False
    return True
