"""Which certificate a client gets, by the name that it asks for (RFC 6066 section 3, RFC 9525 section 6.3)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import ip_address
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")

_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})*", re.ASCII)
_WILDCARD = re.compile(rf"\*(?:\.{_LABEL}){{2,}}", re.ASCII)
_LONGEST_NAME = 253


class Entry(NamedTuple, Generic[T]):
    """A certificate as the index knows it."""

    names: tuple[str, ...]
    """Host names, wildcards and IP addresses, as ``presented_name`` returns them."""
    not_before: float
    """Since when it holds, in seconds since 1970."""
    not_after: float
    """Until when it holds, that second included."""
    value: T
    """Whatever is to be found."""

    def holds(self, now: float) -> bool:
        """Tell whether it is valid at a moment (RFC 5280 section 4.1.2.5: both ends are part of the time).

        :param now: in seconds since 1970.
        """
        return self.not_before <= now <= self.not_after


class CertificateIndex(Generic[T]):
    """Finds certificates by name, however many there are.

    A name that a certificate has itself comes before a wildcard. Of several certificates with the same name, the first
    that holds is found; one that does not hold at the moment is as if it were not there.

    :param entries: in the order of the configuration.
    """

    def __init__(self, entries: Iterable[Entry[T]]) -> None:
        self._entries = tuple(entries)
        by_name: dict[str, list[Entry[T]]] = {}
        for entry in self._entries:
            for name in entry.names:
                by_name.setdefault(name, []).append(entry)
        self._by_name = {name: tuple(named) for name, named in by_name.items()}

    def find(self, name: str, now: float) -> Entry[T] | None:
        """Return the certificate for a name, else the default: the first one that holds. None if none holds.

        :param name: as the client sent it; empty if it sent none.
        :param now: in seconds since 1970.
        """
        found = self.find_named(name, now)
        if found is not None:
            return found
        for entry in self._entries:
            if entry.not_before <= now <= entry.not_after:
                return entry
        return None

    def find_named(self, name: str, now: float) -> Entry[T] | None:
        """Return the certificate that has a name, or None. See ``find``."""
        name = asked_name(name)
        by_name = self._by_name
        for entry in by_name.get(name, ()):
            if entry.not_before <= now <= entry.not_after:
                return entry
        _, dot, parent = name.partition(".")
        # No name that is asked for begins with "*", and none of an empty first label is worth a certificate.
        if dot and not name.startswith("."):
            for entry in by_name.get(f"*.{parent}", ()):
                if entry.not_before <= now <= entry.not_after:
                    return entry
        return None


def asked_name(name: str) -> str:
    """Return a name that a client asks for in the form of the index: lower case, no dot at the end.

    A name with other than ASCII letters is in its A-label form already (RFC 6066 section 3), so nothing is left to
    convert. An IPv6 address is given with or without brackets, in any of its forms.
    """
    name = name.lower().removesuffix(".")
    if ":" in name:
        try:
            return str(ip_address(name.removeprefix("[").removesuffix("]")))
        except ValueError:
            return name
    return "" if name.startswith("*") else name


def presented_name(text: str) -> str | None:
    """Return a DNS name of a certificate in the form of the index, or None if no client will accept it for any host.

    A wildcard is the whole leftmost label and stands for exactly one (RFC 9525 section 6.3). At least two labels must
    follow it: the RFC leaves ``*.com`` open, browsers and OpenSSL refuse it.

    :param text: as it stands in the certificate.
    """
    name = text.lower().removesuffix(".")
    if len(name) > _LONGEST_NAME or not (_HOST.fullmatch(name) or _WILDCARD.fullmatch(name)):
        return None
    # A name whose last label is a number is an address to whoever connects, and those stand in entries of their own.
    return None if name.rpartition(".")[2].isdigit() else name
