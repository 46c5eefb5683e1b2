"""Socket addresses as Twisted's address objects."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address

_MAPPED_PREFIX = "::ffff:"


def plain_sockaddr(sockaddr: tuple[Any, ...]) -> tuple[Any, ...]:
    """
    Bring the address of an IP socket into the form in which it is shown.

    An IPv4 peer of a dual-stack socket has an IPv4-mapped address (RFC 4291 section 2.5.5.2); it becomes the IPv4
    address, so that access rules and logs see one form only. A link-local IPv6 address gets its zone (C{fe80::1%eth0});
    no other address needs the look-up.

    @param sockaddr: what C{accept}, C{getpeername} or C{getsockname} returned: a pair for IPv4, a 4-tuple for IPv6.
    @return: a pair for IPv4 and mapped addresses, else a 4-tuple.
    """
    if len(sockaddr) == 2:
        return sockaddr
    host = sockaddr[0]
    if host.startswith(_MAPPED_PREFIX) and "." in host:
        return (host[len(_MAPPED_PREFIX) :], sockaddr[1])
    if sockaddr[3]:
        host = socket.getnameinfo(sockaddr, socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)[0]
        return (host, *sockaddr[1:])
    return sockaddr


def ip_address(sockaddr: tuple[Any, ...]) -> IPv4Address | IPv6Address:
    """
    @param sockaddr: an address as L{plain_sockaddr} returns it.
    @return: the same as an address object of the stream type.
    """
    if len(sockaddr) == 2:
        return IPv4Address("TCP", *sockaddr)
    return IPv6Address("TCP", *sockaddr)
