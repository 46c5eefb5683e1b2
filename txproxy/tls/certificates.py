"""Certificates with their keys: read from files, checked, and ready to be served or shown."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from typing import NamedTuple

from cryptography import x509
from OpenSSL import SSL, crypto

from txproxy.config.files import MOST_AUTHORITIES_BYTES, FileContent, FileError, read_file
from txproxy.config.model import Certificate
from txproxy.config.problems import quoted
from txproxy.tls.certificate_files import Stamp, stamp_of
from txproxy.tls.certificate_pem import (
    PemError,
    PrivateKey,
    holds_key,
    key_type_of,
    parse_certificates,
    parse_key,
)
from txproxy.tls.certificate_rules import (
    Complaint,
    Leaf,
    Purpose,
    asks_for_staple,
    check_key,
    check_order,
    read_leaf,
    shown_time,
)
from txproxy.tls.certificate_staple import NO_STAPLE, Staple, left_out, read_staple

__all__ = [
    "Authorities",
    "CertificateError",
    "Inspection",
    "Pair",
    "Purpose",
    "inspect_pair",
    "load_authorities",
    "load_pair",
]

_MOST_BYTES = 64 * 1024
"""Of a file with a chain, a key or an OCSP reply; ten certificates have a quarter of that."""
_OTHERS_MAY = 0o007


class CertificateError(Exception):
    """A pair cannot be used; the text is one line that names the file and says what to do.

    :ivar key: of the configuration: ``chain``, ``key`` or ``ocsp``.
    :ivar text: what is wrong.
    :ivar retry_at: when it will be right by itself, in seconds since 1970; None: never.
    """

    def __init__(self, key: str, text: str, retry_at: float | None = None) -> None:
        super().__init__(text)
        self.key = key
        self.text = text
        self.retry_at = retry_at


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """A certificate with its key, checked. Two of them are never equal: which one is served can be asked by ``is``."""

    source: Certificate
    """Where it comes from."""
    names: tuple[str, ...]
    """Hosts that it is for: A-labels in lower case, ``*.x`` and IP addresses as text."""
    not_before: float
    """Since when it holds, in seconds since 1970."""
    not_after: float
    """Until when it holds."""
    chain: tuple[x509.Certificate, ...] = field(repr=False)
    """Its own certificate first."""
    key: PrivateKey = field(repr=False)
    key_type: str
    """``rsa``, ``ec``, ``ed25519`` or ``ed448``."""
    staple: bytes = field(repr=False)
    """The OCSP reply, in DER; empty: none."""
    staple_until: float
    """When that is too old, in seconds since 1970."""
    warnings: tuple[str, ...]
    """What is doubtful, in a line each."""
    stamp: Stamp = field(repr=False)
    """Of the files of chain, key and OCSP reply, taken before they were read."""
    digest: bytes = field(repr=False)
    """Of what was in them."""

    @property
    def title(self) -> str:
        """The first names, for a line of the log."""
        if not self.names:
            return "no host"
        more = f" and {len(self.names) - 3} more" if len(self.names) > 3 else ""
        return ", ".join(self.names[:3]) + more

    @property
    def summary(self) -> str:
        """Whose it is, where it stands and when it ends, for a line of the log."""
        return f"{self.title} ({quoted(self.source.chain)}), expires on {shown_time(self.not_after)}"


class Inspection(NamedTuple):
    """What came of looking at the files of a pair."""

    pair: Pair | None
    """None if it cannot be used."""
    errors: tuple[Complaint, ...]
    """All that is wrong with it; empty if there is a pair."""
    warnings: tuple[Complaint, ...]
    stamp: Stamp
    """Of the files of chain, key and OCSP reply, taken before they were read."""


class Authorities(NamedTuple):
    """Whose signatures are trusted."""

    pem: bytes
    """As it stands in the file."""
    certificates: tuple[x509.Certificate, ...]
    warnings: tuple[str, ...]
    stamp: Stamp


def load_pair(files: Certificate, now: float, purpose: Purpose = Purpose.SERVER) -> Pair:
    """Return a certificate with its key, if it can be used.

    :param files: where they are.
    :param now: in seconds since 1970.
    :param purpose: what it will be shown for.
    :raises CertificateError: the first thing that is wrong with it.
    """
    found = inspect_pair(files, now, purpose)
    if found.pair is None:
        first = found.errors[0]
        raise CertificateError(first.key, first.text, first.retry_at)
    return found.pair


def inspect_pair(files: Certificate, now: float, purpose: Purpose = Purpose.SERVER) -> Inspection:
    """Return a certificate with its key, or all that is wrong with it. See ``load_pair``."""
    stamp = stamp_of((files.chain, files.key, files.ocsp))
    inspector = _Inspector(files, now, purpose)
    inspector.inspect()
    errors = tuple(each for each in inspector.complaints if not each.is_warning)
    warnings = tuple(each for each in inspector.complaints if each.is_warning)
    return Inspection(None if errors else inspector.pair(stamp, warnings), errors, warnings, stamp)


def load_authorities(name: str, now: float) -> Authorities:
    """Return the certificates in a file of authorities.

    :param name: of the file.
    :param now: in seconds since 1970.
    :raises CertificateError: it cannot be read, or holds none. The key of the error is empty.
    """
    stamp = stamp_of((name,))
    try:
        data = read_file(name, MOST_AUTHORITIES_BYTES).data
        certificates = parse_certificates(name, data)
    except (FileError, PemError) as error:
        raise CertificateError("", str(error)) from None
    ended = [each for each in certificates if now > each.not_valid_after_utc.timestamp()]
    warnings = []
    if ended:
        what = "the only authority" if len(certificates) == 1 else f"{len(ended)} of {len(certificates)} authorities"
        last = max(each.not_valid_after_utc.timestamp() for each in ended)
        warnings.append(f"{what} in {quoted(name)} expired, the last on {shown_time(last)}")
    return Authorities(data, certificates, tuple(warnings), stamp)


class _Inspector:
    """Reads each file of a pair once and gathers complaints."""

    def __init__(self, files: Certificate, now: float, purpose: Purpose) -> None:
        self.complaints: list[Complaint] = []
        self._files = files
        self._now = now
        self._purpose = purpose
        self._chain: tuple[x509.Certificate, ...] = ()
        self._leaf: Leaf | None = None
        self._key: PrivateKey | None = None
        self._staple: Staple = NO_STAPLE
        self._digest = sha256()

    def inspect(self) -> None:
        """Read everything and apply every rule."""
        files = self._files
        chain, key = self._read("chain", files.chain), self._read("key", files.key)
        staple = self._read("ocsp", files.ocsp) if files.ocsp else None
        if chain is not None:
            self._parse_chain(chain)
        if key is not None:
            self._parse_key(key)
        is_other_first = False
        if self._chain and self._key is not None:
            about_key = list(check_key((files.chain, files.key), self._chain, self._key))
            is_other_first = any(each.key == "chain" for each in about_key)
            self.complaints += about_key
        if self._chain and not is_other_first:
            self._check_chain(staple)
        if self._key is not None and all(each.is_warning for each in self.complaints):
            self.complaints += _refusals(files, self._chain, self._key)

    def pair(self, stamp: Stamp, warnings: tuple[Complaint, ...]) -> Pair:
        """Return what was found, if there was no error."""
        assert self._key is not None and self._leaf is not None
        return Pair(
            source=self._files,
            names=self._leaf.names,
            not_before=self._leaf.not_before,
            not_after=self._leaf.not_after,
            chain=self._chain,
            key=self._key,
            key_type=key_type_of(self._key),
            staple=self._staple.data,
            staple_until=self._staple.until,
            warnings=tuple(each.text for each in warnings),
            stamp=stamp,
            digest=self._digest.digest(),
        )

    def _read(self, key: str, name: str) -> FileContent | None:
        try:
            content = read_file(name, _MOST_BYTES)
        except FileError as error:
            self.complaints.append(left_out(str(error)) if key == "ocsp" else Complaint(key, str(error)))
            return None
        self._digest.update(b"%d:" % len(content.data) + content.data)
        return content

    def _parse_chain(self, content: FileContent) -> None:
        name = self._files.chain
        try:
            self._chain = parse_certificates(name, content.data)
        except PemError as error:
            self.complaints.append(Complaint("chain", str(error)))
        else:
            if name != self._files.key and holds_key(content.data):
                text = f"{quoted(name)} holds a private key too (take it out, {quoted(self._files.key)} is read)"
                self.complaints.append(Complaint("chain", text, is_warning=True))

    def _parse_key(self, content: FileContent) -> None:
        name = self._files.key
        try:
            self._key = parse_key(name, content.data)
        except PemError as error:
            self.complaints.append(Complaint("key", str(error)))
        if content.mode & _OTHERS_MAY:
            text = f"others than its owner and group may open {quoted(name)} (chmod o= takes that away)"
            self.complaints.append(Complaint("key", text, is_warning=True))

    def _check_chain(self, staple: FileContent | None) -> None:
        files, now = self._files, self._now
        self._leaf = read_leaf(files.chain, self._chain[0], now, self._purpose)
        self.complaints += self._leaf.complaints
        self.complaints += check_order(files.chain, self._chain, now)
        if staple is not None:
            self._staple, complaints = read_staple(files.ocsp, staple.data, self._chain[0], now)
            self.complaints += complaints
        elif not files.ocsp and self._purpose is Purpose.SERVER and asks_for_staple(self._chain[0]):
            text = f"the certificate in {quoted(files.chain)} wants an OCSP reply stapled (set ocsp)"
            self.complaints.append(Complaint("chain", text, is_warning=True))


def _refusals(files: Certificate, chain: tuple[x509.Certificate, ...], key: PrivateKey) -> Iterator[Complaint]:
    """Yield what OpenSSL has against a pair that has passed all rules, such as a signature by SHA-1."""
    context = SSL.Context(SSL.TLS_METHOD)
    try:
        leaf, *others = map(crypto.X509.from_cryptography, chain)
        context.use_certificate(leaf)
        for other in others:
            context.add_extra_chain_cert(other)
    except (SSL.Error, crypto.Error) as error:
        yield Complaint("chain", f"OpenSSL refuses the certificate in {quoted(files.chain)}: {_reason(error)}")
        return
    try:
        context.use_privatekey(crypto.PKey.from_cryptography_key(key))
        context.check_privatekey()
    except (SSL.Error, crypto.Error) as error:
        yield Complaint("key", f"OpenSSL refuses the key in {quoted(files.key)}: {_reason(error)}")


def _reason(error: Exception) -> str:
    # A list of (library, function, reason) is what pyOpenSSL raises.
    queue = error.args[0] if error.args else ()
    return ", ".join(str(each[-1]) for each in queue) if queue else "no reason is given"
