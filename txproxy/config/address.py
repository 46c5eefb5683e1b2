"""Addresses and host names as text: what is valid, and what the text means."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Literal

from txproxy.config.problems import shown

_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?", re.ASCII)
_PORT = re.compile(r"[0-9]{1,5}", re.ASCII)
_LONGEST_NAME = 253
"""RFC 1035 section 2.3.4, without the length octets."""
_LONGEST_UNIX_PATH = 107
"""``sun_path`` of Linux has 108 bytes, of which the last is NUL."""


@dataclass(frozen=True, slots=True)
class Address:
    """An address to listen on or to connect to."""

    kind: Literal["tcp", "unix", "systemd"]
    host: str = ""
    """IP address (version 6 without brackets) or host name; empty unless ``kind`` is ``tcp``."""
    port: int = 0
    """0 on a listener: any free port."""
    path: str = ""
    """Path of the unix socket, or the name of the socket that systemd hands over."""

    @property
    def is_ipv6(self) -> bool:
        """True if the host is an IP address of version 6."""
        return ":" in self.host

    @property
    def is_ip(self) -> bool:
        """True if the host is an IP address, so that nothing is left to be resolved."""
        return is_ip(self.host)

    @property
    def is_loopback(self) -> bool:
        """True if only this machine can reach the host: a loopback address, or ``localhost``."""
        return ipaddress.ip_address(self.host).is_loopback if self.is_ip else self.host.lower() == "localhost"

    @property
    def comparable(self) -> str:
        """The address in one form for all ways to write it."""
        if self.kind != "tcp":
            return str(self)
        host = str(ipaddress.ip_address(self.host)) if self.is_ip else self.host.lower().removesuffix(".")
        return f"{bracketed(host)}:{self.port}"

    def __str__(self) -> str:
        if self.kind == "tcp":
            return f"{bracketed(self.host)}:{self.port}"
        return f"{self.kind}:{self.path}"


def is_ip(host: str) -> bool:
    """Tell whether a host is an IP address (version 6 without brackets)."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def bracketed(host: str) -> str:
    """Return a host as it stands before a port: IPv6 addresses in brackets."""
    return f"[{host}]" if ":" in host else host


def parse_address(text: str) -> Address:
    """Return what an address means.

    :param text: ``host:port``, ``[v6]:port``, ``unix:/path`` or ``systemd:name``.
    :raises ValueError: it is none of them; the message says why.
    """
    if text.startswith("unix:"):
        return Address("unix", path=_unix_path(text[5:]))
    if text.startswith("systemd:"):
        name = text[8:]
        if not name or ":" in name or not name.isprintable() or " " in name:
            raise ValueError(f"{shown(text)} does not name a socket (allowed: systemd:NAME)")
        return Address("systemd", path=name)
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        raise ValueError(f"{shown(text)} has no port (allowed: HOST:PORT, [IPV6]:PORT, unix:/PATH)")
    if not _PORT.fullmatch(port) or int(port) > 65535:
        raise ValueError(f"{shown(port)} is not a port (allowed: 0 to 65535)")
    if host in ("", "*"):
        raise ValueError(f"{shown(text)} has no host (did you mean '0.0.0.0:{port}' or '[::]:{port}'?)")
    return Address("tcp", host=_host_of_address(host, port), port=int(port))


def check_listen_address(text: str) -> str:
    """Return an address that a listener can have, as given.

    :raises ValueError: it is not valid.
    """
    parse_address(text)
    return text


def check_backend_address(text: str) -> str:
    """Return an address that a backend can have, as given.

    :raises ValueError: it is not valid, or one that only a listener can have.
    """
    address = parse_address(text)
    if address.kind == "systemd":
        raise ValueError(f"{shown(text)} is for listeners only (allowed: HOST:PORT, [IPV6]:PORT, unix:/PATH)")
    if address.kind == "tcp" and not address.port:
        raise ValueError("0 is not a port to connect to (allowed: 1 to 65535)")
    return text


def check_host(text: str) -> str:
    """Return a host in lower case, with brackets around IPv6, as it may stand in Host (RFC 9110 section 7.2).

    :raises ValueError: it is neither an IP address nor a host name.
    """
    if text.startswith("[") and text.endswith("]"):
        _ipv6(text[1:-1])
        return text.lower()
    if ":" in text:
        if is_ip(text):
            raise ValueError(f"an IPv6 address stands in brackets (did you mean '[{text}]'?)")
        raise ValueError(f"{shown(text)} must be a host without a port")
    _check_name(text)
    return text.lower()


def check_host_pattern(text: str) -> str:
    """Return a host or ``*.`` wildcard in lower case.

    :raises ValueError: it is neither; the message says why.
    """
    if not text.startswith("*"):
        return check_host(text)
    if text == "*":
        raise ValueError('"*" is not a host (leave the key out for any host; allowed: NAME, *.NAME)')
    if not text.startswith("*.") or is_ip(text[2:]) or "*" in text[1:]:
        raise ValueError(f"{shown(text)} is not a wildcard (allowed: *.NAME)")
    _check_name(text[2:])
    return text.lower()


def check_host_with_port(text: str) -> str:
    """Return ``host`` or ``host:port``, as given.

    :raises ValueError: it is neither.
    """
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        check_host(text)
    elif not _PORT.fullmatch(port) or not 0 < int(port) < 65536:
        raise ValueError(f"{shown(port)} is not a port (allowed: 1 to 65535)")
    else:
        check_host(host)
    return text


def check_network(text: str) -> str:
    """Return an IP address or network in CIDR notation, as given.

    :raises ValueError: it is not valid.
    """
    try:
        ipaddress.ip_network(text)
    except ValueError:
        try:
            network = ipaddress.ip_network(text, strict=False)
        except ValueError:
            raise ValueError(f"{shown(text)} is not a network (allowed: ADDRESS or ADDRESS/BITS)") from None
        raise ValueError(f"{shown(text)} has bits set beyond its prefix (did you mean '{network}'?)") from None
    return text


def check_peer(text: str) -> str:
    """Return an IP address, a network or the word for peers on unix sockets, as given.

    :raises ValueError: it is not valid.
    """
    try:
        return text if text == "unix" else check_network(text)
    except ValueError as error:
        raise ValueError(str(error).replace("ADDRESS/BITS)", "ADDRESS/BITS, unix)")) from None


def _unix_path(path: str) -> str:
    if not path.startswith("/") or "\0" in path or path.endswith("/"):
        raise ValueError(f"{shown(path)} is not the absolute path of a socket (allowed: unix:/PATH)")
    if len(path.encode()) > _LONGEST_UNIX_PATH:
        raise ValueError(f"the path of a unix socket has at most {_LONGEST_UNIX_PATH} bytes")
    return path


def _host_of_address(host: str, port: str) -> str:
    if host.startswith("[") and host.endswith("]"):
        return _ipv6(host[1:-1])
    if ":" in host:
        if is_ip(host):
            raise ValueError(f"an IPv6 address stands in brackets (did you mean '[{host}]:{port}'?)")
        raise ValueError(f"{shown(f'{host}:{port}')} is not an address (allowed: HOST:PORT, [IPV6]:PORT, unix:/PATH)")
    _check_name(host)
    return host


def _ipv6(text: str) -> str:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        raise ValueError(f"{shown(text)} is not an IPv6 address") from None
    return text


def _check_name(name: str) -> None:
    if not name.isascii():
        raise ValueError(f"{shown(name)} is not ASCII (write the name in its xn-- form)")
    labels = name.removesuffix(".").split(".")
    if len(name) > _LONGEST_NAME or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError(f"{shown(name)} is not a host name or IP address")
    # A name whose last label is a number is taken for an IPv4 address by resolvers (WHATWG URL, "ends in a number").
    if labels[-1].isdigit() and not is_ip(name):
        raise ValueError(f"{shown(name)} is not an IPv4 address")
