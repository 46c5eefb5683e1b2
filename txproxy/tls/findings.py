"""What is wrong with the certificates that a configuration names, each with the key that names it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping

from txproxy.config.model import Certificate
from txproxy.config.patterns import Raw, matches
from txproxy.config.problems import Finding, KeyPath, Remark, format_path, quoted
from txproxy.tls.certificates import CertificateError, Inspection, Pair, Purpose, inspect_pair, load_authorities
from txproxy.tls.profile import problem_of_ciphers

_AUTHORITIES = ("tls.*.client_ca", "cluster.*.tls.ca")


def check_certificates(raw: Raw, now: float | None = None) -> list[Finding | Remark]:
    """Return everything that is wrong with certificates, keys, OCSP replies and authorities.

    :param raw: the configuration in the shape of TOML, of any types.
    :param now: in seconds since 1970; the present if None.
    """
    now = time.time() if now is None else now
    return [*_sections(raw, now), *check_trusted_files(raw, now)]


def check_trusted_files(raw: Raw, now: float | None = None) -> list[Finding | Remark]:
    """Return what is wrong with authorities, with the certificates that are shown to backends, and with ciphers.

    Without these the proxy does not start, while of certificates for clients one may fail and the others serve.

    :param raw: the configuration in the shape of TOML, of any types.
    :param now: in seconds since 1970; the present if None.
    """
    now = time.time() if now is None else now
    return [*_authorities(raw, now), *_client_pairs(raw, now), *_ciphers(raw)]


def _sections(raw: Raw, now: float) -> Iterator[Finding | Remark]:
    for section_path, section in matches(raw, "tls.*"):
        pairs: list[tuple[KeyPath, Pair]] = []
        for inner, table in matches(section, "certificates[*]"):
            path = section_path + inner
            files = _files(table, "chain", "key", "ocsp")
            if files is None:
                continue
            found = inspect_pair(files, now)
            yield from _complaints(path, found, {"chain": "chain", "key": "key", "ocsp": "ocsp"})
            if found.pair is not None:
                pairs.append((path, found.pair))
        yield from _unused(pairs)


def _authorities(raw: Raw, now: float) -> Iterator[Finding | Remark]:
    for pattern in _AUTHORITIES:
        for path, name in matches(raw, pattern):
            if not isinstance(name, str) or not name:
                continue
            try:
                found = load_authorities(name, now)
            except CertificateError as error:
                yield Finding(path, error.text)
            else:
                yield from (Remark(path, warning) for warning in found.warnings)


def _ciphers(raw: Raw) -> Iterator[Finding]:
    for path, ciphers in matches(raw, "tls.*.ciphers"):
        problem = problem_of_ciphers(ciphers) if isinstance(ciphers, str) and ciphers else ""
        if problem:
            yield Finding(path, f"{quoted(str(ciphers))}: {problem}")


def _client_pairs(raw: Raw, now: float) -> Iterator[Finding | Remark]:
    for path, table in matches(raw, "cluster.*.tls"):
        files = _files(table, "client_chain", "client_key")
        if files is not None:
            found = inspect_pair(files, now, Purpose.CLIENT)
            yield from _complaints(path, found, {"chain": "client_chain", "key": "client_key"})


def _complaints(path: KeyPath, found: Inspection, keys: Mapping[str, str]) -> Iterator[Finding | Remark]:
    for each in found.errors:
        yield Finding((*path, keys[each.key]), each.text)
    for each in found.warnings:
        yield Remark((*path, keys[each.key]), each.text)


def _files(table: object, chain_key: str, key_key: str, ocsp_key: str = "") -> Certificate | None:
    """Return the names of files in a table, or None if those that are needed are not there."""
    if not isinstance(table, Mapping):
        return None
    chain, key, ocsp = (table.get(each, "") for each in (chain_key, key_key, ocsp_key))
    if not isinstance(chain, str) or not isinstance(key, str) or not isinstance(ocsp, str) or not chain or not key:
        return None
    return Certificate(chain=chain, key=key, ocsp=ocsp)


def _unused(pairs: list[tuple[KeyPath, Pair]]) -> Iterator[Remark]:
    """Yield a remark for every pair to which no name leads; one of another key type for the same names is used."""
    owners: dict[str, KeyPath] = {}
    groups: dict[frozenset[str], set[str]] = {}
    for path, pair in pairs:
        names = frozenset(pair.names)
        types = groups.setdefault(names, set())
        if names and names <= owners.keys() and (not types or pair.key_type in types):
            owner = owners[pair.names[0]]
            text = f"no name leads to the certificate in {quoted(pair.source.chain)}"
            yield Remark((*path, "chain"), f"{text}: {pair.names[0]} is that of {format_path(owner)} already")
        types.add(pair.key_type)
        for name in names:
            owners.setdefault(name, path)
