"""What resolv.conf says: which name servers are asked, and for which names (resolv.conf(5))."""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple

DNS_PORT = 53
_LONGEST_NAME = 253
"""RFC 1035 section 2.3.4, without the length octets."""
_MOST_SERVERS = 3
"""As many as libc looks at."""
_MOST_DOTS = 15
"""Likewise."""
_WITH_PORT = re.compile(r"\[([^\]]*)\]:([0-9]{1,5})", re.ASCII)


class NameServer(NamedTuple):
    """Where a name server listens, on UDP and TCP."""

    host: str
    """IP address."""
    port: int = DNS_PORT

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}"


class ResolvConf(NamedTuple):
    """What is used of the file."""

    servers: tuple[NameServer, ...] = (NameServer("127.0.0.1"),)
    """In the order in which they are asked; never empty."""
    search: tuple[str, ...] = ()
    """Domains that a name is tried in."""
    ndots: int = 1
    """A name with fewer dots is tried in these domains first."""


def parse_resolv_conf(text: str) -> ResolvConf:
    """Return what a file says; a line that makes no sense is passed over, as libc does.

    :param text: the whole file. Without a valid ``nameserver`` in it, this machine is asked.
    """
    servers: list[NameServer] = []
    search: tuple[str, ...] = ()
    ndots = 1
    for line in text.splitlines():
        keyword, *words = line.split() or [""]
        if keyword == "nameserver" and words:
            server = _server(words[0])
            if server is not None and server not in servers:
                servers.append(server)
        elif keyword == "domain" and words:
            search = _domains(words[:1])
        elif keyword == "search" and words:
            search = _domains(words)
        elif keyword == "options":
            for word in words:
                option, _, value = word.partition(":")
                if option == "ndots" and value.isascii() and value.isdecimal():
                    ndots = min(int(value[:9]), _MOST_DOTS)
    return ResolvConf(tuple(servers[:_MOST_SERVERS]) or ResolvConf().servers, search, ndots)


def names_to_ask(name: str, conf: ResolvConf) -> tuple[str, ...]:
    """Return the complete names that a name may stand for, in the order in which they are asked for.

    :param name: in ASCII. With a dot at its end it is complete; else the search list applies, as in libc.
    :return: names without a dot at the end that can be asked for; empty if the name is none.
    """
    if name.endswith("."):
        names = [name[:-1]]
    else:
        searched = [f"{name}.{domain}" for domain in conf.search]
        names = [name, *searched] if name.count(".") >= conf.ndots else [*searched, name]
    return tuple(dict.fromkeys(each.lower() for each in names if can_be_asked(each)))


def can_be_asked(name: str) -> bool:
    """Return whether a question can hold a name: labels of 1 to 63 octets, 253 in all (RFC 1035 section 2.3.4).

    :param name: without a dot at its end.
    """
    return len(name) <= _LONGEST_NAME and all(0 < len(label) < 64 for label in name.split("."))


def _server(word: str) -> NameServer | None:
    found = _WITH_PORT.fullmatch(word)
    host, port = (found[1], int(found[2])) if found else (word, DNS_PORT)
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    return NameServer(str(address), port) if 0 < port < 65536 else None


def _domains(words: list[str]) -> tuple[str, ...]:
    # The root, written as a dot, adds nothing to a name.
    return tuple(word.rstrip(".") for word in words if word.isascii() and word.rstrip("."))
