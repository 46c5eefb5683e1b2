"""What a certificate must be to be served: each rule says what is wrong and what to do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from enum import Enum
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from txproxy.config.problems import quoted
from txproxy.policy.certificate_index import presented_name
from txproxy.tls.certificate_pem import PrivateKey, first_line

_LEAST_RSA_BITS = 2048
"""NIST SP 800-57 part 1, and what browsers ask for; OpenSSL refuses less at its default level."""


class Purpose(Enum):
    """What a certificate is shown for."""

    SERVER = "serverAuth"
    CLIENT = "clientAuth"

    @property
    def usage(self) -> ObjectIdentifier:
        """As extendedKeyUsage names it (RFC 5280 section 4.2.1.12)."""
        return ExtendedKeyUsageOID.SERVER_AUTH if self is Purpose.SERVER else ExtendedKeyUsageOID.CLIENT_AUTH


class Complaint(NamedTuple):
    """Something that is wrong with a pair."""

    key: str
    """Of the configuration: ``chain``, ``key`` or ``ocsp``."""
    text: str
    is_warning: bool = False
    """Whether the pair is served all the same."""
    retry_at: float | None = None
    """When it will be right by itself, in seconds since 1970; None: never."""


class Leaf(NamedTuple):
    """What is read from the certificate itself, the first of its chain."""

    names: tuple[str, ...]
    """As ``policy.certificate_index`` has them; IP addresses as text."""
    not_before: float
    not_after: float
    complaints: tuple[Complaint, ...]


def shown_time(moment: float) -> str:
    """Return a moment as messages show it.

    :param moment: in seconds since 1970.
    """
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def read_leaf(name: str, leaf: x509.Certificate, now: float, purpose: Purpose) -> Leaf:
    """Return what matters of a certificate, and what is wrong with it.

    :param name: of its file, for messages.
    :param now: in seconds since 1970.
    """
    not_before, not_after = leaf.not_valid_before_utc.timestamp(), leaf.not_valid_after_utc.timestamp()
    complaints = list(_dates(name, not_before, not_after, now))
    names: tuple[str, ...] = ()
    try:
        extensions = leaf.extensions
        complaints += _usage(name, extensions, purpose)
        if purpose is Purpose.SERVER:
            names, about_names = _names(name, leaf.subject, extensions)
            complaints += about_names
    except Exception as error:  # ValueError, DuplicateExtension, UnsupportedGeneralNameType, KeyError and others.
        complaints.append(
            Complaint("chain", f"extensions of the certificate in {quoted(name)} are damaged: {first_line(error)}")
        )
    complaints += _strength(name, leaf)
    return Leaf(names, not_before, not_after, tuple(complaints))


def asks_for_staple(leaf: x509.Certificate) -> bool:
    """Tell whether clients are to refuse a certificate without a stapled OCSP reply (RFC 7633)."""
    try:
        feature = leaf.extensions.get_extension_for_class(x509.TLSFeature).value
    except Exception:
        return False  # It is not there, or the extensions are damaged, which is said elsewhere.
    return x509.TLSFeatureType.status_request in feature


def check_key(files: tuple[str, str], chain: Sequence[x509.Certificate], key: PrivateKey) -> Iterator[Complaint]:
    """Yield a complaint if a key is not that of the first certificate.

    :param files: names of chain and key, for messages.
    """
    mine = _spki(key.public_key())
    for position, certificate in enumerate(chain):
        try:
            matches = _spki(certificate.public_key()) == mine
        except Exception:
            continue  # The rule for strength says it of the first; of others it does not matter.
        if matches and position == 0:
            return
        if matches:
            text = f"the key in {quoted(files[1])} is that of certificate {position + 1} in {quoted(files[0])}"
            yield Complaint("chain", f"{text} (the server's own must stand first)")
            return
    text = f"the key in {quoted(files[1])} is not that of the certificate in {quoted(files[0])}"
    yield Complaint("key", f"{text} (were both replaced?)")


def check_order(name: str, chain: Sequence[x509.Certificate], now: float) -> Iterator[Complaint]:
    """Yield what is wrong with the certificates after the first: each must certify the one before.

    That is RFC 5246 section 7.4.2; TLS 1.3 only recommends it, but the same chain serves both.

    :param name: of the file, for messages.
    :param now: in seconds since 1970.
    """
    for position, (subject, issuer) in enumerate(zip(chain, chain[1:], strict=False), 1):
        if not _issued(issuer, subject):
            what = (
                f"certificate {position + 1} in {quoted(name)} ({_common_name(issuer)}) did not issue the one before it"
            )
            others = [other for other, each in enumerate(chain, 1) if other != position and _issued(each, subject)]
            hint = f"certificate {others[0]} did" if others else "is it of another authority?"
            yield Complaint(
                "chain", f"{what} ({hint}; the server's own stands first, each is followed by that of its issuer)"
            )
            return
    for position, certificate in enumerate(chain[1:], 2):
        ended_at = certificate.not_valid_after_utc.timestamp()
        if now > ended_at:
            what = f"certificate {position} in {quoted(name)} ({_common_name(certificate)}) expired"
            yield Complaint(
                "chain", f"{what} on {shown_time(ended_at)} (clients may refuse the chain)", is_warning=True
            )


def _dates(name: str, not_before: float, not_after: float, now: float) -> Iterator[Complaint]:
    if now > not_after:
        yield Complaint("chain", f"the certificate in {quoted(name)} expired on {shown_time(not_after)} (renew it)")
    elif now < not_before:
        text = f"the certificate in {quoted(name)} is not valid before {shown_time(not_before)} (is the clock right?)"
        yield Complaint("chain", text, retry_at=not_before)


def _usage(name: str, extensions: x509.Extensions, purpose: Purpose) -> Iterator[Complaint]:
    what = f"the certificate in {quoted(name)}"
    try:
        usage = extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        pass
    else:
        # All handshakes that we take part in sign (RFC 8446 section 4.4.2.2; ECDHE and DHE of TLS 1.2).
        if not usage.digital_signature:
            yield Complaint("chain", f"{what} may not sign handshakes: its keyUsage lacks digitalSignature")
    try:
        usages = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return
    if purpose.usage not in usages and ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE not in usages:
        whose = "a server's" if purpose is Purpose.SERVER else "a client's"
        yield Complaint("chain", f"{what} is not {whose}: its extendedKeyUsage lacks {purpose.value}")


def _names(name: str, subject: x509.Name, extensions: x509.Extensions) -> tuple[tuple[str, ...], list[Complaint]]:
    try:
        alternative = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        texts = [str(each.value) for each in subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        usable = [found for text in texts if (found := presented_name(text)) is not None]
        text = f"the certificate in {quoted(name)} has no subjectAltName, browsers refuse it (have one issued with it)"
        return tuple(dict.fromkeys(usable)), [Complaint("chain", text, is_warning=True)]
    names, complaints = [], []
    for text in alternative.get_values_for_type(x509.DNSName):
        found = presented_name(text)
        if found is None:
            message = f"no client accepts the name {quoted(text)} of the certificate in {quoted(name)} for any host"
            complaints.append(Complaint("chain", f"{message} (RFC 9525: NAME, *.NAME)", is_warning=True))
        else:
            names.append(found)
    for address in alternative.get_values_for_type(x509.IPAddress):
        if isinstance(address, IPv4Address | IPv6Address):
            names.append(str(address))
    return tuple(dict.fromkeys(names)), complaints


def _strength(name: str, leaf: x509.Certificate) -> Iterator[Complaint]:
    try:
        key = leaf.public_key()
    except Exception:
        yield Complaint("chain", f"the key of the certificate in {quoted(name)} is of an unknown kind (use RSA or EC)")
        return
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < _LEAST_RSA_BITS:
        text = f"the RSA key of the certificate in {quoted(name)} has {key.key_size} bits"
        yield Complaint("chain", f"{text} (allowed: at least {_LEAST_RSA_BITS})")


def _issued(issuer: x509.Certificate, subject: x509.Certificate) -> bool:
    if issuer.subject != subject.issuer:
        return False
    try:
        subject.verify_directly_issued_by(issuer)
    except (TypeError, UnsupportedAlgorithm):
        return True  # A kind of signature that cannot be checked here; the names are right.
    except Exception:  # InvalidSignature, or a key that cannot be read.
        return False
    return True


def _common_name(certificate: x509.Certificate) -> str:
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return quoted(str(names[0].value)) if names else "without a common name"


def _spki(key: object) -> bytes:
    found: bytes = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined]
    return found
