"""Addresses that need no name server: those of the hosts file, of this machine, and names that are addresses."""

from __future__ import annotations

import ipaddress


def addresses_in_hosts(text: str, name: str) -> tuple[str, ...]:
    """Return the addresses that a hosts file has for a name (hosts(5)); of several lines, all.

    :param text: the whole file.
    :param name: in any case of letters, without a dot at its end.
    """
    name = name.lower()
    text = text.lower()
    if name not in text:
        return ()  # The usual answer, and such a file may have a hundred thousand lines.
    found = []
    for line in text.splitlines():
        if name in line:
            words = line.partition("#")[0].split()
            if name in words[1:] and is_address(words[0]):
                found.append(words[0])
    return tuple(found)


def is_localhost(name: str) -> bool:
    """Return whether a name is one of this machine's own: ``localhost`` and all below it (RFC 6761 section 6.3).

    :param name: without a dot at its end.
    """
    return f".{name.lower()}".endswith(".localhost")


def is_address(text: str) -> bool:
    """Return whether text is an IP address rather than a name."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
